//! The state that follows from the batches: producers, transactions, leader epochs. It is read from
//! a snapshot and brought up to date by headers alone.
//!
//! The rule: what a snapshot says is taken only where every record behind it is there to be
//! replayed. Bodies are read of control batches only; a replay costs little beside a scan.

use std::ops::RangeInclusive;
use std::sync::Arc;

use log_proto::types::Offset;

use crate::error::{Damage, FileError, ReadError};
use crate::folder::Folder;
use crate::index::AbortedTxn;
use crate::leader_epoch::LeaderEpochCache;
use crate::log::Rolled;
use crate::offsets::Tail;
use crate::producer::window::Merged;
use crate::producer::{AppendOrigin, ProducerStates, SequenceCheck, TxnOutcome};
use crate::read::read_batch;
use crate::segment::{Check, FileName, Located, Segment};

/// State that follows from the batches, one after the other.
pub(super) struct Replay {
    pub(super) producers: ProducerStates,
    pub(super) epochs: LeaderEpochCache,
}

impl Replay {
    /// Begins with the newest snapshot of `within` that can be read; returns the offset that it
    /// stands for, or the first of `within`.
    ///
    /// A snapshot from before the first segment is as good as none: between the two, records have
    /// been deleted, and end markers with them. A transaction that is open in the snapshot would
    /// stay so for ever, and hold back all who read committed records. (A deletion writes a
    /// snapshot first; on a full disk it cannot.)
    pub(super) fn from(
        folder: &Folder,
        snapshots: &[Offset],
        within: RangeInclusive<Offset>,
        epochs: LeaderEpochCache,
    ) -> Result<(Self, Offset), FileError> {
        for offset in snapshots.iter().rev().filter(|offset| within.contains(offset)) {
            if let Some(producers) = read_snapshot(folder, *offset)? {
                return Ok((Self { producers, epochs }, *offset));
            }
        }
        Ok((Self { producers: ProducerStates::default(), epochs }, *within.start()))
    }

    /// Brings the state from offset `from` up to `to`, by headers; those of `unsealed` that it
    /// passes learn the state at their end. What is damaged there is passed over and returned: it
    /// must not keep the rest of the log from being served.
    pub(super) fn walk(
        &mut self,
        segments: &[Arc<Segment>],
        from: Offset,
        to: Tail,
        unsealed: &mut [Rolled],
    ) -> Result<Vec<Damage>, FileError> {
        let mut damages = Vec::new();
        for segment in segments {
            if segment.next_offset() <= from || segment.base() > to.segment {
                continue;
            }
            let limit = if segment.base() == to.segment { to.position } else { segment.end() };
            let mut start = from.max(segment.base());
            while let Err(error) = self.walk_segment(segment, start, limit) {
                let damage = match error {
                    ReadError::File(error) => return Err(error),
                    ReadError::Damaged { damage, .. } => damage,
                    ReadError::OutOfRange { .. } => unreachable!("a walk is asked for no offset"),
                };
                let sound = segment.sound_after(damage.position, limit);
                damages.push(damage);
                match sound.map(|batch| batch.header.base_offset()).filter(|sound| *sound > start) {
                    Some(sound) => start = sound,
                    None => break,
                }
            }
            let base = segment.base();
            if let Some(rolled) = unsealed.iter_mut().find(|rolled| rolled.segment.base() == base) {
                rolled.producers = Some(self.producers.clone());
            }
        }
        Ok(damages)
    }

    pub(super) fn walk_segment(
        &mut self,
        segment: &Segment,
        from: Offset,
        limit: u64,
    ) -> Result<(), ReadError> {
        let Some(first) = segment.locate(from, limit)? else { return Ok(()) };
        let mut walk = segment.walk(Check::Headers, first.position, limit)?;
        while let Some(batch) = walk.next()? {
            self.step(segment, &batch)?;
        }
        Ok(())
    }

    /// One batch; returns the transaction that it aborted.
    pub(super) fn step(
        &mut self,
        segment: &Segment,
        batch: &Located,
    ) -> Result<Option<AbortedTxn>, ReadError> {
        let header = &batch.header;
        if let Some(epoch) = header.leader_epoch() {
            self.epochs.assign(epoch, header.base_offset());
        }
        if header.producer().is_none() {
            return Ok(None);
        }
        let control = if header.is_control() {
            let read = read_batch(segment, batch)?.control_record();
            Some(read.map_err(|error| segment.damage(batch.position, error.to_string()))?)
        } else {
            None
        };
        let checked = self.producers.check(header, AppendOrigin::Recovery, control.as_ref());
        let Ok(SequenceCheck::Fresh(info)) = checked else {
            return Ok(None);
        };
        let completed = self.producers.apply(info, header);
        Ok(completed.filter(|txn| txn.outcome == TxnOutcome::Abort).map(|txn| AbortedTxn {
            producer_id: txn.producer_id,
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset: self.producers.last_stable_offset_after(&txn),
        }))
    }
}

/// Snapshots hold every producer of the last day; a larger file is none of ours.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// `None` for one that cannot be read, or is not of this offset.
fn read_snapshot(folder: &Folder, offset: Offset) -> Result<Option<ProducerStates>, FileError> {
    let Some(bytes) = folder.read_hint(&FileName::Snapshot(offset), SNAPSHOT_BYTES_MAX)? else {
        return Ok(None);
    };
    let Ok(mut states) = crate::producer::snapshot::decode(&bytes) else {
        return Ok(None);
    };
    if !states.is_below(offset) {
        return Ok(None);
    }
    let window = folder.read_hint(&FileName::Window(offset), SNAPSHOT_BYTES_MAX)?;
    let merged = window
        .map_or(Merged::Nothing, |window| crate::producer::window::merge(&mut states, &window));
    match merged {
        // Two files of one offset that tell of different batches: one took another's place, and
        // nothing says which. A snapshot from too early would let repetitions in.
        Merged::OtherBatches => Ok(None),
        // Without the window, only the newest batch of each producer is recognised when repeated.
        Merged::Nothing | Merged::Windows => Ok(Some(states)),
    }
}

/// Writes the producer state as of `offset`, in Kafka's format, with our window beside it. Once
/// the folder is synced too, what lies before `offset` may be deleted: without a snapshot, a start
/// has to replay it.
pub(crate) fn write_snapshot(
    folder: &Folder,
    offset: Offset,
    states: &ProducerStates,
) -> Result<(), FileError> {
    let window = crate::producer::window::encode(states);
    crate::durable::replace_unsynced(folder, &FileName::Window(offset), &window)?;
    let snapshot = crate::producer::snapshot::encode(states);
    crate::durable::replace_unsynced(folder, &FileName::Snapshot(offset), &snapshot)
}
