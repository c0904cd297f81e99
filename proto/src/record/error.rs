//! What can be wrong with a batch, as types.
//!
//! The rule: an error says what was found and what was expected, and its [`BatchErrorKind`] says
//! which of Kafka's error codes fits; the code itself is the server's business. A flat enum, not
//! one per function: every caller treats a bad batch the same way and only reports the reason.

use thiserror::Error;

use super::compression::{Compression, DecompressError};

/// Why bytes are not a sound record batch, or not one that may be appended.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum BatchError {
    /// The bytes end inside the batch.
    #[error("batch is cut short: it needs {needed} bytes and {available} are there")]
    Truncated {
        /// How many bytes the batch has by its own account.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// Not the format v2.
    #[error("batch has magic {magic}: only record batches of format v2 (magic 2) are taken")]
    UnsupportedMagic {
        /// The magic byte found.
        magic: i8,
    },
    /// The length field counts fewer bytes than a header has.
    #[error("batch length {batch_length} is shorter than a batch header")]
    BadLength {
        /// The length field.
        batch_length: i32,
    },
    /// A field that counts something is negative.
    #[error("batch field {field} is negative: {value}")]
    NegativeField {
        /// The field's name in the format.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The last offset does not exist.
    #[error("batch from offset {base_offset} with last offset delta {delta} ends past all offsets")]
    OffsetsOverflow {
        /// The offset of its first record.
        base_offset: i64,
        /// How much later its last one is.
        delta: i32,
    },
    /// A codec that no version of the format knows.
    #[error(
        "batch names the unknown compression codec {code}: use none, gzip, snappy, lz4 or zstd"
    )]
    UnknownCompression {
        /// The codec's number, 5 to 7.
        code: u8,
    },
    /// The batch is not what its writer sent.
    #[error("batch has crc {declared:#010x} but its bytes give {computed:#010x}")]
    CrcMismatch {
        /// The checksum in the header.
        declared: u32,
        /// That of the bytes.
        computed: u32,
    },
    /// Something follows the batch that is no batch.
    #[error("{extra} bytes follow the batch: send exactly one batch")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// More than one batch where one is taken.
    #[error("more than one batch: send one batch for each partition and request")]
    TooManyBatches,
    /// The batch is larger than the topic takes.
    #[error("batch of {size} bytes is over the limit of {max}: send smaller batches")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A batch without a record, where one is required.
    #[error("batch holds no record: send at least one")]
    NoRecords,
    /// The count of records and their offsets do not fit together.
    #[error(
        "batch of {record_count} records has last offset delta {last_offset_delta}: \
         it must be one less than the count"
    )]
    CountMismatch {
        /// The count in the header.
        record_count: u32,
        /// The last offset delta in the header.
        last_offset_delta: u32,
    },
    /// A record that does not parse, although the CRC is right: its writer is at fault.
    #[error("record {index} of the batch is malformed: {reason}")]
    MalformedRecord {
        /// Its place in the batch, from 0.
        index: u32,
        /// What is wrong with it.
        reason: RecordError,
    },
    /// The records end, but the batch does not.
    #[error("bytes are left over behind the last of {record_count} records")]
    BytesBehindRecords {
        /// The count in the header.
        record_count: u32,
    },
    /// The records do not decompress.
    #[error("records do not decompress as {codec}: {reason}")]
    Decompress {
        /// The codec that the header names.
        codec: Compression,
        /// What the decoder says.
        reason: String,
    },
    /// The records decompress to more than is allowed.
    #[error("records expand to more than {max} bytes: send smaller batches")]
    ExpandsTooFar {
        /// The limit in bytes.
        max: usize,
    },
    /// A timestamp that is negative (other than -1, none) or past the number space.
    #[error("record {index} has the invalid timestamp {base} + {delta} ms")]
    InvalidTimestamp {
        /// The record's place in the batch, from 0.
        index: u32,
        /// The batch's base timestamp.
        base: i64,
        /// The record's timestamp delta.
        delta: i64,
    },
    /// LogAppendTime is stamped by the log, never by a producer.
    #[error("batch is marked LogAppendTime: producers send CreateTime, the log stamps the other")]
    LogAppendTimeNotAllowed,
    /// Producer id, epoch, sequence and flags contradict each other.
    #[error(
        "batch with producer id {producer_id}, epoch {epoch}, base sequence {sequence}: {rule}"
    )]
    ProducerFields {
        /// The producer id field.
        producer_id: i64,
        /// The producer epoch field.
        epoch: i16,
        /// The base sequence field.
        sequence: i32,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A control batch that does not hold one readable control record.
    #[error("control batch is malformed: {reason}")]
    MalformedControl {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A control record was asked of a batch of data.
    #[error("batch holds data, not a control record")]
    NotControl,
}

/// What kind of error a [`BatchError`] is, along the lines of Kafka's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchErrorKind {
    /// Not what the writer sent, so that sending it again may help (CORRUPT_MESSAGE).
    Corrupt,
    /// What the writer sent, and wrong (INVALID_RECORD).
    Invalid,
    /// Past a limit on size (MESSAGE_TOO_LARGE).
    TooLarge,
    /// A time that is not taken (INVALID_TIMESTAMP).
    Timestamp,
    /// A codec that is not known (UNSUPPORTED_COMPRESSION_TYPE).
    UnsupportedCompression,
    /// An old message format (UNSUPPORTED_FOR_MESSAGE_FORMAT).
    UnsupportedMagic,
}

impl BatchError {
    /// What kind of error this is.
    pub fn kind(&self) -> BatchErrorKind {
        match self {
            Self::Truncated { .. }
            | Self::BadLength { .. }
            | Self::NegativeField { .. }
            | Self::OffsetsOverflow { .. }
            | Self::CrcMismatch { .. }
            | Self::TrailingBytes { .. } => BatchErrorKind::Corrupt,
            Self::TooManyBatches
            | Self::NoRecords
            | Self::CountMismatch { .. }
            | Self::MalformedRecord { .. }
            | Self::BytesBehindRecords { .. }
            | Self::Decompress { .. }
            | Self::ProducerFields { .. }
            | Self::MalformedControl { .. }
            | Self::NotControl => BatchErrorKind::Invalid,
            Self::TooLarge { .. } | Self::ExpandsTooFar { .. } => BatchErrorKind::TooLarge,
            Self::InvalidTimestamp { .. } | Self::LogAppendTimeNotAllowed => {
                BatchErrorKind::Timestamp
            }
            Self::UnknownCompression { .. } => BatchErrorKind::UnsupportedCompression,
            Self::UnsupportedMagic { .. } => BatchErrorKind::UnsupportedMagic,
        }
    }

    pub(super) fn from_decompress(codec: Compression, error: DecompressError) -> Self {
        match error {
            DecompressError::TooLarge { max } => Self::ExpandsTooFar { max },
            DecompressError::Malformed { reason } => Self::Decompress { codec, reason },
        }
    }
}

/// What is wrong with one record.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RecordError {
    /// The records end before this one does.
    #[error("the records end inside it")]
    CutShort,
    /// A field reaches past the record that it is in.
    #[error("a field reaches past the record's end")]
    FieldPastEnd,
    /// A variable-length integer has too many bits.
    #[error("a variable-length integer is too long")]
    VarintTooLong,
    /// A length or a count below what is allowed.
    #[error("its {field} is negative: {value}")]
    Negative {
        /// Which length or count.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// Offsets within a batch are dense.
    #[error("its offset delta is {found}, it must be {expected}")]
    OffsetDelta {
        /// Its place in the batch.
        expected: u32,
        /// Its offset delta.
        found: i32,
    },
    /// The record's length counts bytes that no field uses.
    #[error("{extra} of its bytes belong to no field")]
    LeftOver {
        /// How many.
        extra: usize,
    },
}
