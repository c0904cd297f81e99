//! The check of one batch against its producer's state, before it is written.
//!
//! The rule: a check changes nothing. Its result is a value that [`ProducerStates::apply`] takes
//! once the batch has been written, so that a write that fails leaves no trace. Changing the state
//! first and undoing it after a failed write was rejected: the undo would be the code that never
//! runs before it is needed.
//!
//! | | epoch | sequence | transaction |
//! | --- | --- | --- | --- |
//! | data, `Client` | not older | next one, or a repetition | not outside of an open one |
//! | data, `Coordinator` | not older | any | not outside of an open one |
//! | end marker | not older; nor its coordinator's | – | any: it may end none |
//! | anything, `Recovery` | any | any | any: it was accepted when it was written |
//!
//! [`ProducerStates::apply`]: super::ProducerStates::apply

use log_proto::record::{BatchHeader, ControlRecord, EndTxnMarker};
use log_proto::types::{
    CoordinatorEpoch, Offset, Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use thiserror::Error;

use super::entry::ProducerEntry;

/// Who appends, which decides how much is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOrigin {
    /// A producer, through a door.
    Client,
    /// A coordinator of the broker: end markers, and records that carry no sequence.
    Coordinator,
    /// Recovery, which replays what the log holds.
    Recovery,
}

/// What a batch is to its producer's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SequenceCheck {
    /// It has no producer, or it is a control batch of an unknown kind: no state is concerned.
    NotIdempotent,
    /// It may be written; then the state follows.
    Fresh(AppendInfo),
    /// It was written before, at these offsets, and must not be written again.
    Duplicate {
        /// Offset of the first record.
        base_offset: Offset,
        /// Offset of the last record. Inclusive.
        last_offset: Offset,
        /// The largest timestamp of the records, as they were written.
        timestamp: TimestampMs,
    },
}

/// That a batch was checked, to be applied once it has been written.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "the state must follow once the batch has been written"]
pub(crate) struct AppendInfo {
    pub(super) producer: Producer,
    pub(super) content: Content,
}

/// What the batch holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Data,
    EndTxn(EndTxnMarker),
}

/// Why a batch does not fit its producer's state. Nothing happened, for sure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProducerStateError {
    /// The producer has been succeeded by one with the same id and a newer epoch.
    #[error(
        "producer {producer_id} writes under epoch {found}, but epoch {current} has succeeded it; \
         initialize the producer again"
    )]
    InvalidProducerEpoch {
        /// Which producer.
        producer_id: ProducerId,
        /// The epoch that counts.
        current: ProducerEpoch,
        /// The batch's.
        found: ProducerEpoch,
    },
    /// Records before this batch are missing, or it repeats one that is too old to be recognised.
    #[error(
        "producer {producer_id} sent sequence {found} where {expected} is next; send the missing \
         batches first"
    )]
    OutOfOrderSequence {
        /// Which producer.
        producer_id: ProducerId,
        /// The sequence that the next record must have.
        expected: Sequence,
        /// The batch's first.
        found: Sequence,
    },
    /// A producer's batch without a sequence.
    #[error("producer {producer_id} sent a batch without a sequence; number its records")]
    MissingSequence {
        /// Which producer.
        producer_id: ProducerId,
    },
    /// Data outside of a transaction while the producer has one open.
    #[error(
        "producer {producer_id} has a transaction open since offset {first_offset} and sent data \
         outside of it; end the transaction first"
    )]
    InvalidTxnState {
        /// Which producer.
        producer_id: ProducerId,
        /// Where its open transaction began.
        first_offset: Offset,
    },
    /// The end marker comes from a coordinator that has been succeeded.
    #[error(
        "end marker for producer {producer_id} comes from coordinator epoch {found}, but epoch \
         {current} has succeeded it; load the coordinator's state again"
    )]
    CoordinatorFenced {
        /// Whose transaction.
        producer_id: ProducerId,
        /// The coordinator epoch that counts.
        current: CoordinatorEpoch,
        /// The marker's.
        found: CoordinatorEpoch,
    },
}

/// Checks a batch of data. `entry` is what is known of its producer.
pub(super) fn check_data(
    entry: Option<&ProducerEntry>,
    producer: Producer,
    batch: &BatchHeader,
    origin: AppendOrigin,
) -> Result<SequenceCheck, ProducerStateError> {
    let fresh = SequenceCheck::Fresh(AppendInfo { producer, content: Content::Data });
    match origin {
        AppendOrigin::Recovery => return Ok(fresh),
        AppendOrigin::Client => {
            // Before all else: the repetition of a stored batch is answered as it was the first
            // time, whatever came after it.
            if let Some(duplicate) = find_duplicate(entry, producer, batch)? {
                return Ok(duplicate);
            }
            check_epoch(entry, producer)?;
            check_sequence(entry, producer, batch)?;
        }
        AppendOrigin::Coordinator => check_epoch(entry, producer)?,
    }
    let open_txn = entry.and_then(ProducerEntry::current_txn_first_offset);
    match open_txn {
        Some(first_offset) if !batch.is_transactional() => {
            Err(ProducerStateError::InvalidTxnState { producer_id: producer.id, first_offset })
        }
        _ => Ok(fresh),
    }
}

/// Checks the end marker of a transaction. `entry` is what is known of its producer.
///
/// A marker for a producer without an open transaction is fine: the coordinator repeats markers
/// that it does not know to be written, and enlists partitions before the first record arrives.
/// Under transactions of version 2 its epoch is one above the data's, under version 1 the same;
/// in both cases it is not older, which is all that the log can tell.
pub(super) fn check_marker(
    entry: Option<&ProducerEntry>,
    producer: Producer,
    marker: EndTxnMarker,
    origin: AppendOrigin,
) -> Result<SequenceCheck, ProducerStateError> {
    if origin != AppendOrigin::Recovery {
        check_epoch(entry, producer)?;
        check_coordinator_epoch(entry, producer, marker)?;
    }
    Ok(SequenceCheck::Fresh(AppendInfo { producer, content: Content::EndTxn(marker) }))
}

fn check_epoch(
    entry: Option<&ProducerEntry>,
    producer: Producer,
) -> Result<(), ProducerStateError> {
    match entry {
        Some(entry) if producer.epoch < entry.producer_epoch => {
            Err(ProducerStateError::InvalidProducerEpoch {
                producer_id: producer.id,
                current: entry.producer_epoch,
                found: producer.epoch,
            })
        }
        _ => Ok(()),
    }
}

fn check_coordinator_epoch(
    entry: Option<&ProducerEntry>,
    producer: Producer,
    marker: EndTxnMarker,
) -> Result<(), ProducerStateError> {
    match entry.and_then(ProducerEntry::coordinator_epoch) {
        Some(current) if marker.coordinator_epoch < current => {
            Err(ProducerStateError::CoordinatorFenced {
                producer_id: producer.id,
                current,
                found: marker.coordinator_epoch,
            })
        }
        _ => Ok(()),
    }
}

fn find_duplicate(
    entry: Option<&ProducerEntry>,
    producer: Producer,
    batch: &BatchHeader,
) -> Result<Option<SequenceCheck>, ProducerStateError> {
    let (Some(base), Some(last)) = (batch.base_sequence(), batch.last_sequence()) else {
        return Err(ProducerStateError::MissingSequence { producer_id: producer.id });
    };
    let found = entry.and_then(|entry| entry.find_batch(producer.epoch, base, last));
    Ok(found.map(|stored| SequenceCheck::Duplicate {
        base_offset: stored.base_offset(),
        last_offset: stored.last_offset(),
        timestamp: stored.timestamp(),
    }))
}

fn check_sequence(
    entry: Option<&ProducerEntry>,
    producer: Producer,
    batch: &BatchHeader,
) -> Result<(), ProducerStateError> {
    // Of a producer that is not known any sequence is taken, as in Kafka: it may have written
    // before and have been forgotten after a long silence, and it cannot know that.
    let Some(entry) = entry else { return Ok(()) };
    let expected = next_sequence(entry, producer.epoch);
    match batch.base_sequence() {
        Some(found) if found != expected => Err(ProducerStateError::OutOfOrderSequence {
            producer_id: producer.id,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// The sequence that the next record under `epoch` must have: a new epoch counts from 0.
fn next_sequence(entry: &ProducerEntry, epoch: ProducerEpoch) -> Sequence {
    let last = if epoch == entry.producer_epoch { entry.last_sequence() } else { None };
    last.map_or(Sequence::ZERO, Sequence::next)
}

/// The end marker in a control batch, if it holds one.
pub(super) fn marker_in(control: Option<&ControlRecord>) -> Option<EndTxnMarker> {
    match control {
        Some(ControlRecord::EndTxnMarker(marker)) => Some(*marker),
        Some(ControlRecord::Unknown { .. }) | None => None,
    }
}
