//! The 61 bytes at the front of every batch: read, patched and written here only.
//!
//! The rule: a [`BatchHeader`] has a sound shape, so that its accessors cannot fail; whether its
//! CRC is right is a question to the whole batch. `-1` for "none" ends here. Fields are parsed
//! once into a small `Copy` struct rather than read from the bytes at each access, because the
//! log keeps headers where the bytes are gone.

use crc_fast::crc32_iscsi;

use super::{compression::Compression, error::BatchError, record::Record};
use crate::types::{
    LeaderEpoch, Offset, Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};

/// The size of a batch header, up to and including the count of records.
pub const HEADER_BYTES: usize = 61;

/// The bytes that the length field does not count: base offset and length themselves.
const LENGTH_OVERHEAD: usize = 12;

/// What the length field counts at least: the rest of the header.
const LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_OVERHEAD) as i32;

/// Where the bytes begin that the CRC covers.
pub(super) const CRC_START: usize = at::ATTRIBUTES;

const MAGIC: i8 = 2;

/// Positions of the header's fields.
mod at {
    pub(super) const BASE_OFFSET: usize = 0;
    pub(super) const BATCH_LENGTH: usize = 8;
    pub(super) const LEADER_EPOCH: usize = 12;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const LAST_OFFSET_DELTA: usize = 23;
    pub(super) const BASE_TIMESTAMP: usize = 27;
    pub(super) const MAX_TIMESTAMP: usize = 35;
    pub(super) const PRODUCER_ID: usize = 43;
    pub(super) const PRODUCER_EPOCH: usize = 51;
    pub(super) const BASE_SEQUENCE: usize = 53;
    pub(super) const RECORD_COUNT: usize = 57;
}

/// Bits of the attributes field.
mod attribute {
    pub(super) const COMPRESSION: i16 = 0b111;
    pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
    pub(super) const TRANSACTIONAL: i16 = 1 << 4;
    pub(super) const CONTROL: i16 = 1 << 5;
    pub(super) const DELETE_HORIZON: i16 = 1 << 6;
}

/// What the timestamps of a batch mean (KIP-32).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// Each record carries the time that its producer gave it.
    CreateTime,
    /// Every record has the time at which the log took the batch.
    LogAppendTime,
}

/// The header of a batch, of sound shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub(super) base_offset: i64,
    pub(super) batch_length: i32,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes` and checks its shape. Does not look past it: the
    /// batch may be incomplete, and its CRC wrong.
    ///
    /// A batch without records is of sound shape: compaction leaves such behind. Attribute bits
    /// that have no meaning yet are ignored, as Kafka does.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic comes first: messages of the old formats may be shorter than this header.
        if let Some(&magic) = bytes.get(at::MAGIC)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::UnsupportedMagic { magic: magic as i8 });
        }
        let fields = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() })?;
        let header = Self::read(fields);
        header.check_shape()?;
        Ok(header)
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(bytes, at::BASE_OFFSET)),
            batch_length: i32::from_be_bytes(field(bytes, at::BATCH_LENGTH)),
            leader_epoch: i32::from_be_bytes(field(bytes, at::LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(bytes, at::CRC)),
            attributes: i16::from_be_bytes(field(bytes, at::ATTRIBUTES)),
            last_offset_delta: i32::from_be_bytes(field(bytes, at::LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(bytes, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, at::BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(bytes, at::RECORD_COUNT)),
        }
    }

    fn check_shape(&self) -> Result<(), BatchError> {
        if self.batch_length < LENGTH_MIN {
            return Err(BatchError::BadLength { batch_length: self.batch_length });
        }
        for (field, value) in [
            ("base_offset", self.base_offset),
            ("last_offset_delta", i64::from(self.last_offset_delta)),
            ("record_count", i64::from(self.record_count)),
        ] {
            if value < 0 {
                return Err(BatchError::NegativeField { field, value });
            }
        }
        if self.base_offset.checked_add(i64::from(self.last_offset_delta)).is_none() {
            return Err(BatchError::OffsetsOverflow {
                base_offset: self.base_offset,
                delta: self.last_offset_delta,
            });
        }
        let code = self.compression_code();
        Compression::from_code(code).ok_or(BatchError::UnknownCompression { code })?;
        Ok(())
    }

    /// The header as bytes: the inverse of [`BatchHeader::parse`].
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(at::BASE_OFFSET, &self.base_offset.to_be_bytes());
        put(at::BATCH_LENGTH, &self.batch_length.to_be_bytes());
        put(at::LEADER_EPOCH, &self.leader_epoch.to_be_bytes());
        put(at::MAGIC, &MAGIC.to_be_bytes());
        put(at::CRC, &self.crc.to_be_bytes());
        put(at::ATTRIBUTES, &self.attributes.to_be_bytes());
        put(at::LAST_OFFSET_DELTA, &self.last_offset_delta.to_be_bytes());
        put(at::BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(at::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(at::PRODUCER_ID, &self.producer_id.to_be_bytes());
        put(at::PRODUCER_EPOCH, &self.producer_epoch.to_be_bytes());
        put(at::BASE_SEQUENCE, &self.base_sequence.to_be_bytes());
        put(at::RECORD_COUNT, &self.record_count.to_be_bytes());
        bytes
    }

    /// The size of the whole batch in bytes, header included; at least [`HEADER_BYTES`].
    pub fn size_bytes(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.base_offset).expect("checked at parse: not negative")
    }

    /// The offset of the last record, as the batch was written. Compaction may have removed it;
    /// the number stays. Saturates at [`Offset::MAX`].
    pub fn last_offset(&self) -> Offset {
        self.base_offset().checked_add(i64::from(self.last_offset_delta)).unwrap_or(Offset::MAX)
    }

    /// The offset that the next batch begins at. Saturates at [`Offset::MAX`].
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// How much later the last offset is than the first.
    pub fn last_offset_delta(&self) -> u32 {
        self.last_offset_delta as u32
    }

    /// How many records the batch holds. After compaction it may be fewer than its offsets, or 0.
    pub fn record_count(&self) -> u32 {
        self.record_count as u32
    }

    /// The epoch of the leader that placed the batch; `None` while no log has.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::new(self.leader_epoch)
    }

    /// The CRC-32C that the header declares.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// What the records' timestamp deltas count from: the first record's time, usually.
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs::new(self.base_timestamp)
    }

    /// The largest timestamp of a record, or with LogAppendTime the time of every one;
    /// [`NO_TIMESTAMP`](super::NO_TIMESTAMP) when none has a time.
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs::new(self.max_timestamp)
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.has(attribute::LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        Compression::from_code(self.compression_code()).expect("checked at parse: a known codec")
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.has(attribute::TRANSACTIONAL)
    }

    /// Whether the batch holds a control record instead of data.
    pub fn is_control(&self) -> bool {
        self.has(attribute::CONTROL)
    }

    /// When compaction may remove the batch's tombstones (KIP-534); `None` when it is not set.
    pub fn delete_horizon(&self) -> Option<TimestampMs> {
        self.has(attribute::DELETE_HORIZON).then(|| self.base_timestamp())
    }

    /// Who wrote the batch; `None` unless the writer is idempotent.
    pub fn producer(&self) -> Option<Producer> {
        Some(Producer {
            id: ProducerId::new(self.producer_id)?,
            epoch: ProducerEpoch::new(self.producer_epoch)?,
        })
    }

    /// The sequence of the first record. `None` without a producer (some clients leave a stray 0
    /// there) and in control batches.
    pub fn base_sequence(&self) -> Option<Sequence> {
        self.producer()?;
        Sequence::new(self.base_sequence)
    }

    /// The sequence of the last record, which may have wrapped below the first.
    pub fn last_sequence(&self) -> Option<Sequence> {
        Some(self.base_sequence()?.wrapping_add(self.last_offset_delta()))
    }

    /// The offset of one of this batch's records. Saturates at [`Offset::MAX`].
    pub fn offset_of(&self, record: &Record) -> Offset {
        self.base_offset().checked_add(i64::from(record.offset_delta)).unwrap_or(Offset::MAX)
    }

    /// The time of one of this batch's records. Saturates at the ends of the number space.
    pub fn timestamp_of(&self, record: &Record) -> TimestampMs {
        match self.timestamp_type() {
            TimestampType::LogAppendTime => self.max_timestamp(),
            TimestampType::CreateTime => {
                TimestampMs::new(self.base_timestamp.saturating_add(record.timestamp_delta))
            }
        }
    }

    /// Checks the CRC. `batch` is the whole batch, header included, and nothing else.
    pub fn verify_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        self.verify_size(batch)?;
        let computed = crc32_iscsi(&batch[CRC_START..]);
        if computed != self.crc {
            return Err(BatchError::CrcMismatch { declared: self.crc, computed });
        }
        Ok(())
    }

    /// Checks that `batch` is the whole batch and nothing else.
    pub(super) fn verify_size(&self, batch: &[u8]) -> Result<(), BatchError> {
        if batch.len() < self.size_bytes() {
            return Err(BatchError::Truncated {
                needed: self.size_bytes(),
                available: batch.len(),
            });
        }
        if batch.len() > self.size_bytes() {
            return Err(BatchError::TrailingBytes { extra: batch.len() - self.size_bytes() });
        }
        Ok(())
    }

    pub(super) fn set_log_append_time(&mut self, append_time: TimestampMs) {
        self.attributes |= attribute::LOG_APPEND_TIME;
        self.max_timestamp = append_time.get();
    }

    pub(super) fn set_transactional(&mut self) {
        self.attributes |= attribute::TRANSACTIONAL;
    }

    pub(super) fn clear_transactional(&mut self) {
        self.attributes &= !attribute::TRANSACTIONAL;
    }

    pub(super) fn set_control(&mut self) {
        self.attributes |= attribute::CONTROL;
    }

    /// The length field of a batch of this size; `None` past what the field can say.
    pub(super) fn length_field(size_bytes: usize) -> Option<i32> {
        i32::try_from(size_bytes.checked_sub(LENGTH_OVERHEAD)?).ok()
    }

    fn has(&self, bit: i16) -> bool {
        self.attributes & bit != 0
    }

    fn compression_code(&self) -> u8 {
        (self.attributes & attribute::COMPRESSION) as u8
    }
}

/// The `N` bytes of the field at `at`.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
