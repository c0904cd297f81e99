//! The check before an append: one walk over a batch that finds everything wrong with it, and
//! everything that the log needs to know of its records.
//!
//! The rule: a [`CheckedBatch`] can be stored and read back by every client. What depends on the
//! topic or the log (keys on compacted topics, how far a timestamp may lie off, sequences) is
//! decided later, from what the walk found. Records that are not compressed are walked as slices;
//! compressed ones are walked as they expand, in a fixed buffer, so that a batch that expands to
//! gigabytes costs no memory on its way to being refused.
//!
//! Where clients differ, this follows what Kafka takes rather than what it documents:
//!
//! - A wrong max timestamp is corrected when the batch is placed; some clients never set it.
//! - Without a producer id, epoch and sequence are ignored; some clients leave zeros there.
//! - The base offset is ignored; placing the batch assigns it.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::{
    NO_TIMESTAMP,
    batch::RecordBatch,
    compression::{self, Compression},
    control::ControlRecord,
    error::{BatchError, RecordError},
    header::{BatchHeader, CRC_START, HEADER_BYTES, TimestampType},
    input::{Fields, Input, SliceInput, StreamInput, read_record},
};
use crate::types::{LeaderEpoch, Offset, TimestampMs};

/// How large a batch may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckLimits {
    /// Of the whole batch in bytes, as sent (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Of its records in bytes, once decompressed.
    pub expanded_bytes_max: usize,
}

/// A batch that is fit to append, with what a walk over its records found.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    batch: RecordBatch,
    found: Findings,
    control: Option<ControlRecord>,
}

impl CheckedBatch {
    /// Takes bytes that are exactly one batch of sound records, within the limits.
    pub fn check(bytes: Bytes, limits: &CheckLimits) -> Result<Self, BatchError> {
        let batch = parse_one(bytes, limits)?;
        check_counts(batch.header())?;
        check_producer(batch.header())?;
        let found = walk_batch(&batch, limits)?;
        let control = read_control(&batch)?;
        Ok(Self { batch, found, control })
    }

    /// The header as it came.
    pub fn header(&self) -> &BatchHeader {
        self.batch.header()
    }

    /// The whole batch as it came.
    pub fn bytes(&self) -> &Bytes {
        self.batch.bytes()
    }

    /// Everything behind the header: placing the batch does not change it.
    pub fn body(&self) -> &[u8] {
        &self.batch.bytes()[HEADER_BYTES..]
    }

    /// The batch as parsed, for reading its records.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The largest timestamp of a record, whatever the header says;
    /// [`NO_TIMESTAMP`](super::NO_TIMESTAMP) when none has one.
    pub fn max_timestamp(&self) -> TimestampMs {
        self.found.max_timestamp
    }

    /// The first record that has the largest timestamp, counted from the batch's base offset.
    pub fn offset_delta_of_max_timestamp(&self) -> u32 {
        self.found.offset_delta_of_max_timestamp
    }

    /// The smallest timestamp among the records that have one;
    /// [`NO_TIMESTAMP`](super::NO_TIMESTAMP) when none has.
    pub fn min_timestamp(&self) -> TimestampMs {
        self.found.min_timestamp.unwrap_or(NO_TIMESTAMP)
    }

    /// How many records have no key.
    pub fn keyless_records(&self) -> u32 {
        self.found.keyless_records
    }

    /// What a control batch says; `None` for a batch of data.
    pub fn control(&self) -> Option<ControlRecord> {
        self.control.clone()
    }

    /// The header that the batch is stored with, in place of the one that it came with.
    ///
    /// Base offset and leader epoch lie outside the CRC. A new CRC is computed only when
    /// `append_time` makes the batch LogAppendTime, or its max timestamp was wrong.
    pub fn place(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        append_time: Option<TimestampMs>,
    ) -> PlacedHeader {
        let mut header = *self.header();
        header.base_offset = base_offset.get();
        header.leader_epoch = leader_epoch.get();
        match append_time {
            Some(append_time) => header.set_log_append_time(append_time),
            None => header.max_timestamp = self.found.max_timestamp.get(),
        }
        if append_time.is_some() || header.max_timestamp != self.header().max_timestamp {
            header.crc = crc_of(&header.to_bytes(), self.body());
        }
        PlacedHeader { bytes: header.to_bytes(), header }
    }
}

/// A header with its place in the log: write [`PlacedHeader::bytes`], then the batch's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacedHeader {
    bytes: [u8; HEADER_BYTES],
    header: BatchHeader,
}

impl PlacedHeader {
    /// The header as bytes.
    pub fn bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.bytes
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }
}

fn crc_of(header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[CRC_START..]);
    digest.update(body);
    digest.finalize() as u32
}

fn parse_one(bytes: Bytes, limits: &CheckLimits) -> Result<RecordBatch, BatchError> {
    let header = BatchHeader::parse(&bytes)?;
    if header.size_bytes() > limits.batch_bytes_max {
        let (size, max) = (header.size_bytes(), limits.batch_bytes_max);
        return Err(BatchError::TooLarge { size, max });
    }
    if let Some(rest) = bytes.get(header.size_bytes()..)
        && BatchHeader::parse(rest).is_ok()
    {
        return Err(BatchError::TooManyBatches);
    }
    RecordBatch::parse(bytes)
}

/// Before the log compacts it, every offset of a batch has its record.
fn check_counts(header: &BatchHeader) -> Result<(), BatchError> {
    if header.record_count() == 0 {
        return Err(BatchError::NoRecords);
    }
    if header.last_offset_delta() != header.record_count() - 1 {
        return Err(BatchError::CountMismatch {
            record_count: header.record_count(),
            last_offset_delta: header.last_offset_delta(),
        });
    }
    Ok(())
}

fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let has_id = header.producer_id >= 0;
    let broken_rule = if header.is_transactional() && !has_id {
        "a transactional batch must have a producer id"
    } else if has_id && header.producer_epoch < 0 {
        "a producer id needs an epoch"
    } else if has_id && header.base_sequence < 0 && !header.is_control() {
        "a producer id needs a sequence"
    } else if header.producer_id < -1 {
        "a producer id is not negative, and none is -1"
    } else {
        return Ok(());
    };
    Err(BatchError::ProducerFields {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        sequence: header.base_sequence,
        rule: broken_rule,
    })
}

fn read_control(batch: &RecordBatch) -> Result<Option<ControlRecord>, BatchError> {
    if !batch.header().is_control() {
        return Ok(None);
    }
    if batch.header().record_count() != 1 {
        return Err(BatchError::MalformedControl { reason: "it must hold one record" });
    }
    batch.control_record().map(Some)
}

/// What the walk found.
#[derive(Clone, Copy, Debug)]
struct Findings {
    max_timestamp: TimestampMs,
    offset_delta_of_max_timestamp: u32,
    min_timestamp: Option<TimestampMs>,
    keyless_records: u32,
}

fn walk_batch(batch: &RecordBatch, limits: &CheckLimits) -> Result<Findings, BatchError> {
    let header = batch.header();
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTimeNotAllowed);
    }
    let body = &batch.bytes()[HEADER_BYTES..];
    match header.compression() {
        Compression::None => walk(header, SliceInput::new(body)),
        codec => {
            let stream = compression::stream(codec, body, limits.expanded_bytes_max)
                .map_err(|error| BatchError::from_decompress(codec, error))?;
            walk(header, StreamInput::new(stream, limits.expanded_bytes_max))
        }
    }
}

fn walk<I: Input>(header: &BatchHeader, mut input: I) -> Result<Findings, BatchError> {
    let mut findings = Findings {
        max_timestamp: NO_TIMESTAMP,
        offset_delta_of_max_timestamp: 0,
        min_timestamp: None,
        keyless_records: 0,
    };
    for index in 0..header.record_count() {
        let record = read_record(&mut input, |_, _| ()).map_err(|error| error.at(index, header))?;
        findings.add(header, index, &record)?;
    }
    match input.is_at_end() {
        Ok(true) => Ok(findings),
        Ok(false) => Err(BatchError::BytesBehindRecords { record_count: header.record_count() }),
        Err(error) => Err(error.at(header.record_count(), header)),
    }
}

impl Findings {
    fn add<F>(
        &mut self,
        header: &BatchHeader,
        index: u32,
        record: &Fields<F>,
    ) -> Result<(), BatchError> {
        if i64::from(record.offset_delta) != i64::from(index) {
            let reason = RecordError::OffsetDelta { expected: index, found: record.offset_delta };
            return Err(BatchError::MalformedRecord { index, reason });
        }
        self.keyless_records += u32::from(record.key.is_none());
        let timestamp = timestamp_of(header, index, record)?;
        if timestamp == NO_TIMESTAMP {
            return Ok(());
        }
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.offset_delta_of_max_timestamp = index;
        }
        self.min_timestamp = Some(self.min_timestamp.map_or(timestamp, |min| min.min(timestamp)));
        Ok(())
    }
}

/// The record's time: [`NO_TIMESTAMP`] or not negative.
fn timestamp_of<F>(
    header: &BatchHeader,
    index: u32,
    record: &Fields<F>,
) -> Result<TimestampMs, BatchError> {
    let (base, delta) = (header.base_timestamp, record.timestamp_delta);
    base.checked_add(delta)
        .filter(|&timestamp| timestamp >= NO_TIMESTAMP.get())
        .map(TimestampMs::new)
        .ok_or(BatchError::InvalidTimestamp { index, base, delta })
}
