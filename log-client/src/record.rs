//! Records as applications hand them in and get them back.
//!
//! The rule: payloads are [`Bytes`], so that a record is sliced out of what was read or received
//! instead of copied. A key or value that is absent (null) is not the same as an empty one.

use std::sync::Arc;

use bytes::Bytes;
use log_proto::{
    record::Header,
    types::{Offset, TimestampMs},
};

/// A record to produce.
///
/// ```
/// use log_client::ProducerRecord;
///
/// let record = ProducerRecord::new("orders")
///     .key("customer-17")
///     .value(r#"{"item": "lamp"}"#)
///     .header("trace", "4bf92f35");
/// assert_eq!(record.partition, None, "chosen from the key");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Where it goes. An `Arc`, so that a loop clones it instead of copying the name.
    pub topic: Arc<str>,
    /// The partition; `None`: chosen from the key, or spread when there is no key.
    pub partition: Option<u32>,
    /// What the record is about.
    pub key: Option<Bytes>,
    /// What it says; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// In their order; keys may repeat.
    pub headers: Vec<Header>,
    /// When it happened; `None`: when it is handed to the producer.
    pub timestamp: Option<TimestampMs>,
}

impl ProducerRecord {
    /// A record for `topic` with nothing in it yet.
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        }
    }

    /// Sets the partition, counted from 0.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds a header behind the others.
    pub fn header(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { key: key.into(), value: Some(value.into()) });
        self
    }

    /// Sets the timestamp.
    pub fn timestamp(mut self, timestamp: TimestampMs) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// How much it is.
    pub(crate) fn size(&self) -> RecordSize {
        let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
        let header = |header: &Header| header.key.len() + length(&header.value);
        let headers: usize = self.headers.iter().map(header).sum();
        let payload = length(&self.key) + length(&self.value) + headers;
        let overhead = RECORD_OVERHEAD + self.headers.len() * HEADER_OVERHEAD;
        RecordSize { payload, encoded: payload + overhead }
    }
}

/// How much a record, or several, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordSize {
    /// Bytes of keys, values and headers.
    pub(crate) payload: usize,
    /// At most how many bytes that takes in a batch that is not compressed.
    pub(crate) encoded: usize,
}

impl std::ops::AddAssign for RecordSize {
    fn add_assign(&mut self, other: Self) {
        self.payload += other.payload;
        self.encoded += other.encoded;
    }
}

impl std::iter::Sum for RecordSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |mut sum, size| {
            sum += size;
            sum
        })
    }
}

/// Lengths, deltas, attributes and counts around a record, in varints of their largest sizes:
/// four of 5 bytes, one of 10, and the attributes, and the count of headers.
const RECORD_OVERHEAD: usize = 36;
/// Two lengths.
const HEADER_OVERHEAD: usize = 10;

/// A record that was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Where it was.
    pub topic: Arc<str>,
    /// Its partition, counted from 0.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: Offset,
    /// The producer's time or, on topics with `message.timestamp.type=LogAppendTime`, the broker's.
    /// `None` when its producer gave it none.
    pub timestamp: Option<TimestampMs>,
    /// What the record is about.
    pub key: Option<Bytes>,
    /// What it says; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// In their order; keys may repeat.
    pub headers: Vec<Header>,
}
