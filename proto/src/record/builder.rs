//! Builds a batch: records in, bytes out.
//!
//! The rule: a batch that was built passes [`CheckedBatch::check`](super::CheckedBatch::check),
//! as long as its timestamps are not negative and it is within the limits of who takes it. Limits
//! are the caller's business; [`BatchBuilder::size_bytes`] tells when to stop. Who produces it can
//! be said at the start or with [`stamp`] at the moment of sending, since a sequence is only known
//! once the order of the batches is.

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum_combine, crc32_iscsi};
use thiserror::Error;

use super::{
    compression::{self, Compression},
    error::BatchError,
    header::{BatchHeader, CRC_START, HEADER_BYTES},
    record::RecordRef,
};
use crate::types::{Offset, Producer, Sequence, TimestampMs};

/// Whether a batch belongs to a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Transactional {
    /// Its records are visible once they are durable.
    #[default]
    No,
    /// Its records are visible once its producer commits.
    Yes,
}

/// What a batch says besides its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchOptions {
    /// How the records are compressed.
    pub compression: Compression,
    /// Who produces it, and the sequence of its first record; `None`: not idempotent, or not yet
    /// known and given to [`stamp`].
    pub producer: Option<(Producer, Sequence)>,
    /// Whether it belongs to a transaction of that producer.
    pub transactional: Transactional,
    /// The offset of the first record: 0 for what is sent to a log, which assigns it.
    pub base_offset: Offset,
}

/// Why no batch can be built.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// No record was pushed.
    #[error("batch holds no record: push at least one")]
    NoRecords,
    /// Sizes are 31 bits in the format.
    #[error("batch would pass the 2 GiB that the format can describe: build smaller batches")]
    TooLarge,
    /// The distance between the timestamps does not fit 64 bits.
    #[error("timestamp {timestamp} is too far from the batch's first, {base}")]
    TimestampTooFar {
        /// The record's.
        timestamp: TimestampMs,
        /// The first record's.
        base: TimestampMs,
    },
    /// A transaction belongs to a producer.
    #[error("transactional batch without a producer: say who produces it")]
    NoProducer,
    /// The codec failed.
    #[error("records do not compress as {codec}: {reason}")]
    Compress {
        /// The codec.
        codec: Compression,
        /// What it says.
        reason: String,
    },
}

/// How long a record's length can get as a variable-length integer.
const LENGTH_PREFIX_BYTES_MAX: usize = 5;

/// A batch in the making.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records so far, encoded but not compressed.
    batch: Vec<u8>,
    count: i32,
    /// Of the first record; meaningless while there is none.
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        Self {
            options,
            batch: header_room(),
            count: 0,
            base_timestamp: super::NO_TIMESTAMP,
            max_timestamp: super::NO_TIMESTAMP,
        }
    }

    /// Makes room for records of about so many bytes, so that they are not moved as more come.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.reserve(bytes);
    }

    /// Adds a record behind the others. After an error the batch is as before.
    pub fn push(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let (base, max) = self.timestamps_with(timestamp);
        let timestamp_delta = timestamp
            .get()
            .checked_sub(base.get())
            .ok_or(BuildError::TimestampTooFar { timestamp, base })?;
        let record = RecordRef { offset_delta: self.count, timestamp_delta, key, value, headers };
        let length = record.length_field().ok_or(BuildError::TooLarge)?;
        let size_max = self.batch.len() + length as usize + LENGTH_PREFIX_BYTES_MAX;
        BatchHeader::length_field(size_max).ok_or(BuildError::TooLarge)?;
        record.write(length, &mut self.batch);
        self.count += 1;
        (self.base_timestamp, self.max_timestamp) = (base, max);
        Ok(())
    }

    /// Base and max timestamp once a record of this time is added.
    fn timestamps_with(&self, timestamp: TimestampMs) -> (TimestampMs, TimestampMs) {
        match self.count {
            0 => (timestamp, timestamp),
            _ => (self.base_timestamp, self.max_timestamp.max(timestamp)),
        }
    }

    /// The size of the batch so far in bytes, header included, if it were not compressed.
    pub fn size_bytes(&self) -> usize {
        self.batch.len()
    }

    /// How many records were pushed.
    pub fn record_count(&self) -> u32 {
        self.count as u32
    }

    /// The batch, whole.
    pub fn build(self) -> Result<Bytes, BuildError> {
        let header = self.header()?;
        let codec = self.options.compression;
        let batch = match codec {
            Compression::None => self.batch,
            _ => compression::compress(codec, &self.batch[HEADER_BYTES..], header_room())
                .map_err(|error| BuildError::Compress { codec, reason: error.to_string() })?,
        };
        seal(header, batch).ok_or(BuildError::TooLarge)
    }

    fn header(&self) -> Result<BatchHeader, BuildError> {
        let options = &self.options;
        if self.count == 0 {
            return Err(BuildError::NoRecords);
        }
        if options.transactional == Transactional::Yes && options.producer.is_none() {
            return Err(BuildError::NoProducer);
        }
        let mut header = BatchHeader {
            base_offset: options.base_offset.get(),
            attributes: i16::from(options.compression.code()),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp.get(),
            max_timestamp: self.max_timestamp.get(),
            record_count: self.count,
            ..EMPTY_HEADER
        };
        let producer = options.producer.map(|(producer, sequence)| (producer, Some(sequence)));
        set_producer(&mut header, producer, options.transactional);
        Ok(header)
    }
}

/// Gives a batch its producer and the sequence of its first record, in place of what it had.
/// Copies the batch only if its bytes are shared.
///
/// The records are not read again: the CRC moves by what the header's change makes of it. Damaged
/// bytes thus keep a CRC that calls them damaged.
pub fn stamp(
    batch: Bytes,
    producer: Producer,
    base_sequence: Sequence,
    transactional: Transactional,
) -> Result<Bytes, BatchError> {
    let mut header = BatchHeader::parse(&batch)?;
    header.verify_size(&batch)?;
    let before = crc32_iscsi(&batch[CRC_START..HEADER_BYTES]);
    set_producer(&mut header, Some((producer, Some(base_sequence))), transactional);
    let mut batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let after = crc32_iscsi(&header.to_bytes()[CRC_START..]);
    let records_bytes = (batch.len() - HEADER_BYTES) as u64;
    let change = u64::from(before ^ after);
    header.crc ^= checksum_combine(CrcAlgorithm::Crc32Iscsi, change, 0, records_bytes) as u32;
    batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Ok(batch.freeze())
}

/// The header of a batch that says nothing yet.
pub(super) const EMPTY_HEADER: BatchHeader = BatchHeader {
    base_offset: 0,
    batch_length: 0,
    leader_epoch: -1,
    crc: 0,
    attributes: 0,
    last_offset_delta: 0,
    base_timestamp: super::NO_TIMESTAMP.get(),
    max_timestamp: super::NO_TIMESTAMP.get(),
    producer_id: -1,
    producer_epoch: -1,
    base_sequence: -1,
    record_count: 0,
};

/// Sets who produces the batch; a control batch has no sequence.
pub(super) fn set_producer(
    header: &mut BatchHeader,
    producer: Option<(Producer, Option<Sequence>)>,
    transactional: Transactional,
) {
    header.producer_id = producer.map_or(-1, |(producer, _)| producer.id.get());
    header.producer_epoch = producer.map_or(-1, |(producer, _)| producer.epoch.get());
    header.base_sequence =
        producer.and_then(|(_, sequence)| sequence).map_or(-1, |sequence| sequence.get());
    match transactional {
        Transactional::Yes => header.set_transactional(),
        Transactional::No => header.clear_transactional(),
    }
}

/// What a batch is built behind.
pub(super) fn header_room() -> Vec<u8> {
    vec![0; HEADER_BYTES]
}

/// Fills the header room of `batch`, with the length and the CRC that result. `None` past 2 GiB.
pub(super) fn seal(mut header: BatchHeader, mut batch: Vec<u8>) -> Option<Bytes> {
    header.batch_length = BatchHeader::length_field(batch.len())?;
    write_header(header, &mut batch);
    Some(batch.into())
}

/// Writes the header over the front of its batch, with the CRC that results.
fn write_header(mut header: BatchHeader, batch: &mut [u8]) {
    batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    header.crc = crc32_iscsi(&batch[CRC_START..]);
    batch[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
}
