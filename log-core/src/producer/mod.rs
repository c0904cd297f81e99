//! What a log knows of its producers: who may write what next, and which transactions are open.
//!
//! Idempotence and transactions stand on this (KIP-98, KIP-890). Every batch of an idempotent
//! producer carries its id, epoch and sequence; the state here says whether the batch is the next
//! one, a repetition of one of the last five, or out of order, and whether its producer has been
//! succeeded by a newer epoch.
//!
//! The rule: the state is a function of the log. Checking a batch changes nothing
//! ([`ProducerStates::check`]); only a batch that was written does ([`ProducerStates::apply`]), so
//! that replaying the log from a snapshot gives the very same state. What the log has not stored,
//! such as the wall clock, decides nothing about a batch; it only decides when an idle producer is
//! forgotten.
//!
//! A transaction leaves this state with its end marker. That its records stay unstable until the
//! marker is below the high watermark is a matter of offsets, and is kept with them.

mod append_info;
mod entry;
pub(crate) mod snapshot;
pub(crate) mod window;

#[cfg(test)]
mod tests;

pub(crate) use append_info::{AppendInfo, SequenceCheck};
pub use append_info::{AppendOrigin, ProducerStateError};
pub use entry::{BatchMetadata, ProducerEntry};
/// How a transaction ended.
pub(crate) use log_proto::record::EndTxnKind as TxnOutcome;

use std::collections::BTreeMap;

use log_proto::record::{BatchHeader, ControlRecord};
use log_proto::types::{Offset, ProducerId, TimestampMs};

use append_info::Content;

/// A transaction that an end marker has just ended in this partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CompletedTxn {
    /// Whose transaction.
    pub(crate) producer_id: ProducerId,
    /// Offset of its first record here.
    pub(crate) first_offset: Offset,
    /// Offset of its end marker. Inclusive.
    pub(crate) last_offset: Offset,
    /// How it ended.
    pub(crate) outcome: TxnOutcome,
}

/// All producers of one log.
///
/// Ordered maps: snapshots list producers by id, so that the same state gives the same bytes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct ProducerStates {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// First offset of each open transaction, and whose it is: exactly those that the entries
    /// name.
    open_txns: BTreeMap<Offset, ProducerId>,
}

impl ProducerStates {
    /// What `batch` is to its producer's state. `control` is what it says if it is a control
    /// batch. Changes nothing.
    pub(crate) fn check(
        &self,
        batch: &BatchHeader,
        origin: AppendOrigin,
        control: Option<&ControlRecord>,
    ) -> Result<SequenceCheck, ProducerStateError> {
        let Some(producer) = batch.producer() else {
            return Ok(SequenceCheck::NotIdempotent);
        };
        let entry = self.entries.get(&producer.id);
        if !batch.is_control() {
            return append_info::check_data(entry, producer, batch, origin);
        }
        match append_info::marker_in(control) {
            Some(marker) => append_info::check_marker(entry, producer, marker, origin),
            None => Ok(SequenceCheck::NotIdempotent),
        }
    }

    /// Follows a batch that was checked and has been written. `placed` is its header as written,
    /// with its final offsets. Returns the transaction that it ended, if it ended one.
    pub(crate) fn apply(&mut self, info: AppendInfo, placed: &BatchHeader) -> Option<CompletedTxn> {
        let AppendInfo { producer, content } = info;
        let entry =
            self.entries.entry(producer.id).or_insert_with(|| ProducerEntry::new(producer.epoch));
        match content {
            Content::Data => {
                let begun = entry.data_written(producer.epoch, placed);
                self.open_txns.extend(begun.map(|first_offset| (first_offset, producer.id)));
                None
            }
            Content::EndTxn(marker) => {
                let (epoch, timestamp) = (marker.coordinator_epoch, placed.max_timestamp());
                let first_offset = entry.marker_written(producer.epoch, epoch, timestamp)?;
                self.open_txns.remove(&first_offset);
                Some(CompletedTxn {
                    producer_id: producer.id,
                    first_offset,
                    last_offset: placed.last_offset(),
                    outcome: marker.kind,
                })
            }
        }
    }

    /// Forgets which transactions are open: of none is a record left, and end markers may be lost
    /// with the records.
    pub(crate) fn forget_txns(&mut self) {
        for producer_id in std::mem::take(&mut self.open_txns).values() {
            if let Some(entry) = self.entries.get_mut(producer_id) {
                entry.current_txn_first_offset = None;
            }
        }
    }

    /// Where the earliest open transaction began.
    pub(crate) fn first_open_offset(&self) -> Option<Offset> {
        self.open_txns.keys().next().copied()
    }

    /// The last stable offset right after the transaction was completed, as the transaction index
    /// wants it: everything below is decided, whether or not it is durable yet.
    pub(crate) fn last_stable_offset_after(&self, completed: &CompletedTxn) -> Offset {
        self.first_open_offset().unwrap_or(completed.last_offset.next())
    }

    /// Whether all that is known of here lies below `offset`.
    pub(crate) fn is_below(&self, offset: Offset) -> bool {
        let batches = self.entries.values().filter_map(ProducerEntry::newest_batch);
        let last_offsets = batches.map(BatchMetadata::last_offset);
        last_offsets.chain(self.open_txns.keys().copied()).all(|known| known < offset)
    }

    /// Every producer, by rising id.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Forgets producers that have not written for `expiration_ms`, unless they have a transaction
    /// open. Meant to be called now and then with the log's clock.
    ///
    /// Time counts from the first call that finds a producer idle. The stamps of its records,
    /// which Kafka goes by, are the client's: one that writes old data would be forgotten between
    /// two batches, and its repetitions stored twice.
    pub(crate) fn remove_expired(&mut self, now: TimestampMs, expiration_ms: u64) {
        self.entries.retain(|_, entry| {
            let idle_since = *entry.idle_since.get_or_insert(now);
            let is_expired =
                u64::try_from(now.since(idle_since)).is_ok_and(|ms| ms >= expiration_ms);
            !is_expired || entry.current_txn_first_offset.is_some()
        });
    }
}
