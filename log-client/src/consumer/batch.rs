//! Records out of the batches that a response carries.
//!
//! The rule: batches are checked (CRC-32C) and decoded when they are reached, one at a time, so
//! that at most one batch is expanded in memory. Never shown: control records, records below the
//! offset asked for (a batch is sent whole), and under read_committed the records of aborted
//! transactions, which the broker names with each response.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use log_proto::{
    record::{
        BatchError, BatchHeader, Batches, ControlRecord, EndTxnKind, NO_TIMESTAMP, Record,
        RecordBatch, Records, batches,
    },
    types::{Offset, ProducerId},
};

use super::error::ConsumeError;
use crate::record::ConsumerRecord;

/// What one batch may expand to. A bound against bombs, far above what a broker takes by default.
const EXPANDED_BYTES_MAX: usize = 256 << 20;

/// Records of one partition that arrived together. Iterating over it decodes as it goes, and ends
/// after the first error.
#[derive(Debug)]
pub struct ConsumerBatch {
    topic: Arc<str>,
    partition: u32,
    rest: Batches,
    current: Option<(BatchHeader, Records)>,
    /// Records below it are not shown. Moves with each record that is.
    position: Offset,
    next_offset: Offset,
    high_watermark: Offset,
    aborted: AbortedFilter,
}

/// What a response says about the batches in it.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    pub(super) from: Offset,
    pub(super) next_offset: Offset,
    pub(super) high_watermark: Offset,
    pub(super) aborted: Vec<AbortedTxn>,
}

/// A transaction that was aborted: its producer, and its first offset in the partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct AbortedTxn {
    pub(super) producer: ProducerId,
    pub(super) first_offset: Offset,
}

impl ConsumerBatch {
    pub(super) fn new(topic: Arc<str>, partition: u32, payload: Payload) -> Self {
        Self {
            topic,
            partition,
            rest: batches(payload.bytes),
            current: None,
            position: payload.from,
            next_offset: payload.next_offset,
            high_watermark: payload.high_watermark,
            aborted: AbortedFilter::new(payload.aborted),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition, counted from 0.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Where reading goes on after these records. Larger than the last one's offset plus one when
    /// records that are not shown follow it.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Where the records that could be read ended when the broker sent these.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Behind the last record that the iterator has yielded.
    pub(super) fn position(&self) -> Offset {
        self.position
    }

    /// The next of these records.
    pub fn next_record(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        self.try_next().map_err(|error| self.corrupt(error)).transpose()
    }

    fn try_next(&mut self) -> Result<Option<ConsumerRecord>, BatchError> {
        loop {
            let Some((header, records)) = &mut self.current else {
                let Some(batch) = self.rest.next() else {
                    return Ok(None);
                };
                self.current = self.enter(batch?)?;
                continue;
            };
            let Some(record) = records.next() else {
                self.current = None;
                continue;
            };
            let (header, record) = (*header, record?);
            if header.offset_of(&record) >= self.position {
                return Ok(Some(self.show(&header, record)));
            }
        }
    }

    /// The records of a batch, if any of them is to be shown.
    fn enter(&mut self, batch: RecordBatch) -> Result<Option<(BatchHeader, Records)>, BatchError> {
        let header = *batch.header();
        let hidden = self.aborted.hides(&batch)?;
        if hidden || header.is_control() || header.last_offset() < self.position {
            return Ok(None);
        }
        Ok(Some((header, batch.records(EXPANDED_BYTES_MAX)?)))
    }

    fn show(&mut self, header: &BatchHeader, record: Record) -> ConsumerRecord {
        let offset = header.offset_of(&record);
        let timestamp = header.timestamp_of(&record);
        self.position = offset.next();
        ConsumerRecord {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset,
            timestamp: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    fn corrupt(&mut self, error: BatchError) -> ConsumeError {
        self.current = None;
        self.rest = batches(Bytes::new());
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        ConsumeError::Corrupt { topic, partition, offset: self.position, error }
    }
}

impl IntoIterator for ConsumerBatch {
    type Item = Result<ConsumerRecord, ConsumeError>;
    type IntoIter = ConsumerRecords;

    fn into_iter(self) -> ConsumerRecords {
        ConsumerRecords { batch: self }
    }
}

/// The records of a [`ConsumerBatch`], in order.
#[derive(Debug)]
pub struct ConsumerRecords {
    batch: ConsumerBatch,
}

impl Iterator for ConsumerRecords {
    type Item = Result<ConsumerRecord, ConsumeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch.next_record()
    }
}

/// Tells the batches of aborted transactions, as Kafka's consumer does: a transaction hides its
/// producer's transactional batches from its first offset on, until its abort marker.
#[derive(Debug)]
struct AbortedFilter {
    /// Not reached yet, by first offset.
    ahead: VecDeque<AbortedTxn>,
    open: HashSet<ProducerId>,
}

impl AbortedFilter {
    fn new(mut aborted: Vec<AbortedTxn>) -> Self {
        aborted.sort_by_key(|txn| txn.first_offset);
        Self { ahead: aborted.into(), open: HashSet::new() }
    }

    fn hides(&mut self, batch: &RecordBatch) -> Result<bool, BatchError> {
        let header = batch.header();
        while self.ahead.front().is_some_and(|txn| txn.first_offset <= header.last_offset()) {
            self.open.extend(self.ahead.pop_front().map(|txn| txn.producer));
        }
        let Some(producer) = header.producer() else {
            return Ok(false);
        };
        if self.open.is_empty() || !header.is_transactional() {
            return Ok(false);
        }
        if header.is_control() && is_abort(batch)? {
            self.open.remove(&producer.id);
        }
        Ok(self.open.contains(&producer.id))
    }
}

fn is_abort(batch: &RecordBatch) -> Result<bool, BatchError> {
    match batch.control_record() {
        Ok(ControlRecord::EndTxnMarker(marker)) => Ok(marker.kind == EndTxnKind::Abort),
        // Emptied by compaction: the transaction's records are gone too.
        Ok(ControlRecord::Unknown { .. }) | Err(BatchError::NoRecords) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use log_proto::{
        record::{
            BatchBuilder, BatchOptions, Compression, EndTxnMarker, Transactional, end_txn_marker,
        },
        types::{CoordinatorEpoch, Producer, ProducerEpoch, Sequence, TimestampMs},
    };

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn producer(id: i64) -> Producer {
        Producer { id: ProducerId::new(id).unwrap(), epoch: ProducerEpoch::new(0).unwrap() }
    }

    fn batch(base: i64, values: &[&str], options: BatchOptions) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset: offset(base), ..options });
        for value in values {
            builder.push(TimestampMs::new(5), None, Some(value.as_bytes()), &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn transactional(id: i64) -> BatchOptions {
        BatchOptions {
            producer: Some((producer(id), Sequence::ZERO)),
            transactional: Transactional::Yes,
            ..BatchOptions::default()
        }
    }

    fn abort_marker(base: i64, id: i64) -> Bytes {
        let coordinator_epoch = CoordinatorEpoch::new(0).unwrap();
        let marker = EndTxnMarker { kind: EndTxnKind::Abort, coordinator_epoch };
        let mut bytes = end_txn_marker(producer(id), marker, TimestampMs::new(5)).to_vec();
        // The log writes the base offset over the front, which the CRC does not cover.
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes.into()
    }

    fn shown(from: i64, parts: &[Bytes], aborted: Vec<AbortedTxn>) -> Vec<(i64, String)> {
        let payload = Payload {
            bytes: parts.concat().into(),
            from: offset(from),
            next_offset: offset(100),
            high_watermark: offset(100),
            aborted,
        };
        ConsumerBatch::new("t".into(), 0, payload)
            .into_iter()
            .map(|record| {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                (record.offset.get(), value)
            })
            .collect()
    }

    #[test]
    fn records_before_the_start_are_not_shown() {
        let options = BatchOptions { compression: Compression::Lz4, ..BatchOptions::default() };
        let parts = [batch(10, &["a", "b"], options), batch(12, &["c", "d", "e"], options)];
        let expected = [(13, "d".to_owned()), (14, "e".to_owned())];
        assert_eq!(shown(13, &parts, Vec::new()), expected);
    }

    /// What follows an abort marker belongs to the producer's next transaction.
    #[test]
    fn an_aborted_transaction_ends_at_its_marker() {
        let parts = [
            batch(0, &["other"], BatchOptions::default()),
            batch(1, &["aborted"], transactional(7)),
            batch(2, &["committed"], transactional(8)),
            abort_marker(3, 7),
            batch(4, &["next"], transactional(7)),
        ];
        let aborted = vec![AbortedTxn { producer: producer(7).id, first_offset: offset(1) }];
        let shown: Vec<_> = shown(0, &parts, aborted).into_iter().map(|(at, _)| at).collect();
        assert_eq!(shown, [0, 2, 4]);
    }

    #[test]
    fn a_damaged_batch_ends_the_records_with_its_offset() {
        let sound = batch(0, &["a"], BatchOptions::default());
        let mut damaged = batch(1, &["b"], BatchOptions::default()).to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let payload = Payload {
            bytes: [sound, damaged.into()].concat().into(),
            from: offset(0),
            next_offset: offset(2),
            high_watermark: offset(2),
            aborted: Vec::new(),
        };
        let mut records = ConsumerBatch::new("t".into(), 0, payload).into_iter();
        assert!(records.next().unwrap().is_ok());
        let Some(Err(ConsumeError::Corrupt { offset: at, .. })) = records.next() else {
            panic!("damage went unnoticed");
        };
        assert_eq!(at, offset(1));
        assert!(records.next().is_none());
    }
}
