//! What a disk may make of coordinators' files: snapshots, and records of their logs.
//!
//! The checksums around them are put right: behind them random bytes would never come.

use bytes::Bytes;
use log_proto::record::{BatchBuilder, BatchOptions, RecordBatch};
use log_proto::types::TimestampMs;

use super::group::state::GroupsState;
use super::metadata::MetadataState;
use super::{StateMachine, record, snapshot};

/// A snapshot of each kind.
pub(crate) fn snapshots(bytes: &[u8]) {
    snapshot::fuzz::<MetadataState>(bytes);
    snapshot::fuzz::<GroupsState>(bytes);
}

/// Values of records, each behind a length, applied one after the other to each kind of state.
pub(crate) fn records(bytes: &[u8]) {
    replay::<MetadataState>(bytes);
    replay::<GroupsState>(bytes);
}

fn replay<S: StateMachine>(mut bytes: &[u8]) {
    let mut state = S::default();
    while let Some(value) = crate::fuzz::next_part(&mut bytes) {
        let Ok(records) = record::decode::<S::Record>(&batch_of(value)) else { return };
        if records.into_iter().try_for_each(|record| state.replay(record)).is_err() {
            return;
        }
    }
    let mut again = S::default();
    for record in state.snapshot() {
        again.replay(record).expect("what a state says of itself is understood");
    }
    assert!(again.snapshot() == state.snapshot(), "a snapshot is all of a state");
}

fn batch_of(value: &[u8]) -> RecordBatch {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(TimestampMs::new(0), None, Some(value), &[]).expect("inputs are small");
    let bytes: Bytes = batch.build().expect("it holds a record");
    RecordBatch::parse(bytes).expect("what is built is sound")
}
