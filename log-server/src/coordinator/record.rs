//! Records of internal logs: prost messages as the values of ordinary record batches.
//!
//! The rule: the batches of one request's records are one batch, so that it is in the log as a
//! whole or not at all. Their format is the one of every other log: whatever reads, verifies or
//! dumps logs does so with these too.

use bytes::Bytes;
use log_proto::record::{BatchBuilder, BatchOptions, BuildError, RecordBatch};
use log_proto::types::TimestampMs;
use prost::Message;

use super::NotUnderstood;

/// `records` as one batch.
pub(super) fn encode<R: Message>(records: &[R], now: TimestampMs) -> Result<Bytes, BuildError> {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let mut value = Vec::new();
    for record in records {
        value.clear();
        record.encode(&mut value).expect("a vector grows as it must");
        batch.push(now, None, Some(&value), &[])?;
    }
    batch.build()
}

/// The records of one batch, in order.
pub(super) fn decode<R: Message + Default>(batch: &RecordBatch) -> Result<Vec<R>, NotUnderstood> {
    let not_understood = |what| move |_| NotUnderstood { what };
    let records =
        batch.records(0).map_err(|_| NotUnderstood { what: "its batch is unreadable" })?;
    records
        .map(|record| {
            let record = record.map_err(|_| NotUnderstood { what: "its batch is unreadable" })?;
            let value = record.value.ok_or(NotUnderstood { what: "it has no value" })?;
            R::decode(value).map_err(not_understood("its value is no message of this kind"))
        })
        .collect()
}
