//! Tests of the batch codec as a whole, by what they guard against.

mod golden;
mod hostile;
mod malformed;
mod placing;
mod round_trip;

use bytes::Bytes;

use super::{
    builder::{EMPTY_HEADER, header_room, seal},
    *,
};
use crate::types::*;

const LIMITS: CheckLimits = CheckLimits { batch_bytes_max: 1 << 20, expanded_bytes_max: 1 << 20 };

/// 2020-09-13, in the middle of nothing.
const T0: i64 = 1_600_000_000_000;

fn ms(value: i64) -> TimestampMs {
    TimestampMs::new(value)
}

fn check(bytes: impl Into<Bytes>) -> Result<CheckedBatch, BatchError> {
    CheckedBatch::check(bytes.into(), &LIMITS)
}

fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId::new(id).unwrap(), epoch: ProducerEpoch::new(epoch).unwrap() }
}

fn sequence(value: i32) -> Sequence {
    Sequence::new(value).unwrap()
}

/// A batch with the given records, each `(milliseconds after T0, key, value)`.
fn batch_of(options: BatchOptions, records: &[(i64, Option<&str>, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (after, key, value) in records {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        builder.push(ms(T0 + after), key, value, &[]).unwrap();
    }
    builder.build().unwrap()
}

/// A header for `count` records, for batches that no builder makes.
fn header_for(count: i32) -> BatchHeader {
    BatchHeader {
        last_offset_delta: count - 1,
        base_timestamp: T0,
        max_timestamp: T0,
        record_count: count,
        ..EMPTY_HEADER
    }
}

/// A batch with any header and any bytes for records, but the right length and CRC.
fn sealed(header: BatchHeader, body: &[u8]) -> Bytes {
    seal(header, [&header_room()[..], body].concat()).unwrap()
}

/// A record with everything absent, at T0: seven bytes.
fn bare_record(offset_delta: i32) -> Vec<u8> {
    let record = record::RecordRef {
        offset_delta,
        timestamp_delta: 0,
        key: None,
        value: None,
        headers: &[],
    };
    let mut bytes = Vec::new();
    record.write(record.length_field().unwrap(), &mut bytes);
    bytes
}
