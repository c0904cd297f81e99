//! Control records: what the transaction coordinator writes among the data (KIP-98).
//!
//! ```text
//! key:   version i16 │ type i16: 0 abort, 1 commit
//! value: version i16 │ coordinator_epoch i32
//! ```
//!
//! The rule: types and versions that are not known are kept and left to the caller, since a
//! later version may have written them. Fields that a later version appends are ignored.

use bytes::Bytes;

use super::{
    builder::{self, Transactional},
    error::BatchError,
    header::BatchHeader,
    record::{Record, RecordRef},
};
use crate::types::{CoordinatorEpoch, Producer, TimestampMs};

/// What a control batch says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlRecord {
    /// The end of a producer's transaction in this partition.
    EndTxnMarker(EndTxnMarker),
    /// A type of control record that this version does not know.
    Unknown {
        /// Its number.
        type_code: i16,
        /// The whole key.
        key: Bytes,
        /// The whole value.
        value: Option<Bytes>,
    },
}

/// The end of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTxnMarker {
    /// How it ends.
    pub kind: EndTxnKind,
    /// The term of the coordinator that decided it; an older one than seen before is fenced.
    pub coordinator_epoch: CoordinatorEpoch,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndTxnKind {
    /// Its records become visible.
    Commit,
    /// Its records are never seen.
    Abort,
}

const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;

impl ControlRecord {
    pub(super) fn read(record: &Record) -> Result<Self, BatchError> {
        let key = record.key.as_ref().ok_or(malformed("its record has no key"))?;
        let (version, rest) =
            key.split_first_chunk::<2>().ok_or(malformed("its key is too short"))?;
        let type_code = rest.first_chunk::<2>().ok_or(malformed("its key is too short"))?;
        if i16::from_be_bytes(*version) < 0 {
            return Err(malformed("its key has a negative version"));
        }
        let type_code = i16::from_be_bytes(*type_code);
        let kind = match type_code {
            TYPE_ABORT => EndTxnKind::Abort,
            TYPE_COMMIT => EndTxnKind::Commit,
            _ => {
                let (key, value) = (key.clone(), record.value.clone());
                return Ok(Self::Unknown { type_code, key, value });
            }
        };
        let value = record.value.as_ref().ok_or(malformed("its end marker has no value"))?;
        Ok(Self::EndTxnMarker(EndTxnMarker { kind, coordinator_epoch: coordinator_epoch(value)? }))
    }
}

fn coordinator_epoch(value: &[u8]) -> Result<CoordinatorEpoch, BatchError> {
    let fields = value.first_chunk::<6>().ok_or(malformed("its end marker is too short"))?;
    let [v0, v1, epoch @ ..] = *fields;
    if i16::from_be_bytes([v0, v1]) < 0 {
        return Err(malformed("its end marker has a negative version"));
    }
    CoordinatorEpoch::new(i32::from_be_bytes(epoch))
        .ok_or(malformed("its end marker has a negative coordinator epoch"))
}

fn malformed(reason: &'static str) -> BatchError {
    BatchError::MalformedControl { reason }
}

/// The control batch that ends a transaction of `producer` in a partition, at base offset 0.
pub fn end_txn_marker(producer: Producer, marker: EndTxnMarker, timestamp: TimestampMs) -> Bytes {
    let type_code = match marker.kind {
        EndTxnKind::Abort => TYPE_ABORT,
        EndTxnKind::Commit => TYPE_COMMIT,
    };
    let [type_high, type_low] = type_code.to_be_bytes();
    let mut value = [0; 6];
    value[2..].copy_from_slice(&marker.coordinator_epoch.get().to_be_bytes());
    let record = RecordRef {
        offset_delta: 0,
        timestamp_delta: 0,
        key: Some(&[0, 0, type_high, type_low]),
        value: Some(&value),
        headers: &[],
    };
    let mut batch = builder::header_room();
    let length = record.length_field().expect("a marker is a few bytes");
    record.write(length, &mut batch);
    builder::seal(marker_header(producer, timestamp), batch).expect("a marker is a few bytes")
}

fn marker_header(producer: Producer, timestamp: TimestampMs) -> BatchHeader {
    let mut header = BatchHeader {
        base_timestamp: timestamp.get(),
        max_timestamp: timestamp.get(),
        record_count: 1,
        ..builder::EMPTY_HEADER
    };
    builder::set_producer(&mut header, Some((producer, None)), Transactional::Yes);
    header.set_control();
    header
}
