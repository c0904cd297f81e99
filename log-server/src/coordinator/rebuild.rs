//! From what lies on the disk to a coordinator's state: a snapshot, and the log behind it.
//!
//! ```text
//!              log start       previous snapshot's end     newest snapshot's end      log end
//!   (deleted)  │── checked ────────────┼── checked ────────────────┼── replayed ──────────│
//! ```
//!
//! The rule: nothing is left out in silence. Damage is told with file and position and kept among
//! the log's findings. What a sound snapshot covers is not needed of the log, and what the log
//! still has is not needed of a snapshot. What neither has is lost, and then it is for the state
//! to say whether it can do without ([`AfterLoss`]). A record that is sound and not understood is
//! no damage: a newer broker wrote it, and this one does not start.

use std::path::PathBuf;

use log_core::{FileError, FoundBatch, LostRange, Scanned};
use log_proto::record::Compression;
use log_proto::types::Offset;

use super::runtime::OpenCoordinator;
use super::snapshot::{Amount, Snapshot, SnapshotFiles};
use super::{AfterLoss, NotUnderstood, StateMachine, record};
use crate::durable_file::DurableFileError;
use crate::partition::Partition;

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] DurableFileError),
    /// A record of its snapshot cannot be applied.
    #[error("{}: {source}; a newer broker may have written it: run that one", file.display())]
    SnapshotRecord {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: NotUnderstood,
    },
    /// Its log cannot be read.
    #[error("{log}: {source}")]
    Read {
        /// Which log.
        log: String,
        /// Why.
        source: FileError,
    },
    /// Part of its log is damaged, and it cannot do without.
    #[error(
        "{log} has lost offsets {} to {}, which no snapshot covers: {}: put that file back from a \
         backup (docs/recovery.md); the broker does not start without, because topics would be gone",
        lost.offsets.start,
        lost.offsets.end,
        lost.damage
    )]
    Lost {
        /// Which log.
        log: String,
        /// What is damaged.
        lost: LostRange,
    },
    /// Snapshot and log do not meet.
    #[error(
        "{log} holds {log_start} to {log_end}, but the snapshot {} ends at {snapshot}: put the \
         matching one back (docs/recovery.md)",
        file.display()
    )]
    Gap {
        /// Which log.
        log: String,
        /// Its first offset.
        log_start: Offset,
        /// One past its last.
        log_end: Offset,
        /// The snapshot.
        file: PathBuf,
        /// The first offset that the snapshot does not know.
        snapshot: Offset,
    },
    /// A record of the log cannot be applied.
    #[error(
        "{log}, batch at offset {offset}: {source}; a newer broker may have written it: run that one"
    )]
    Record {
        /// Which log.
        log: String,
        /// Where.
        offset: Offset,
        /// Why.
        source: NotUnderstood,
    },
}

/// A state as it was left.
pub(super) struct Rebuilt<S> {
    pub(super) state: S,
    pub(super) files: SnapshotFiles,
    /// What the snapshot took.
    pub(super) snapshot: Amount,
    /// What was replayed from the log.
    pub(super) replayed: Amount,
}

/// What the state was when its snapshot was written.
struct Begun<S> {
    snapshot: Snapshot<S>,
    /// Up to here the log need not be replayed.
    from: Offset,
    meeting: Meeting,
}

/// How snapshot and log fit together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meeting {
    AsLeft,
    /// One of them has lost something, as was told: they are made to fit before anything is
    /// written.
    Anew,
}

/// Rebuilds a state. Blocks on the disk.
pub(super) fn rebuild<S: StateMachine>(open: &OpenCoordinator) -> Result<Rebuilt<S>, LoadError> {
    let mut files = SnapshotFiles::new(&open.snapshot_file);
    let Begun { snapshot, from, meeting } = begin::<S>(open, &mut files)?;
    let mut replay =
        Replay { partition: &open.partition, state: snapshot.state, replayed: Amount::default() };
    replay.run(from)?;
    let Replay { state, replayed, .. } = replay;
    let mut rebuilt = Rebuilt { state, files, snapshot: snapshot.amount, replayed };
    if meeting == Meeting::Anew {
        let log_end = open.partition.offsets().log_end;
        rebuilt.snapshot = rebuilt.files.replace(&*open.storage, &rebuilt.state, log_end)?;
        rebuilt.replayed = Amount::default();
    }
    Ok(rebuilt)
}

fn begin<S: StateMachine>(
    open: &OpenCoordinator,
    files: &mut SnapshotFiles,
) -> Result<Begun<S>, LoadError> {
    let mut damaged = None;
    let found = files.read::<S>(&*open.storage, |error| {
        open.partition.found(error.to_string());
        damaged.get_or_insert(error);
    })?;
    let offsets = open.partition.offsets();
    let holds_all = offsets.log_start == Offset::ZERO && offsets.log_end > Offset::ZERO;
    match (found, damaged) {
        (Some(snapshot), _) => meet(open, snapshot),
        (None, Some(error)) if !holds_all => match S::AFTER_LOSS {
            AfterLoss::Refuse => Err(error.into()),
            AfterLoss::GoOn => {
                let lost = format!("what was written below offset {} is lost", offsets.log_start);
                open.partition.found(lost);
                let (snapshot, from) = (Snapshot::default(), offsets.log_start);
                Ok(Begun { snapshot, from, meeting: Meeting::AsLeft })
            }
        },
        (None, _) => meet(open, Snapshot::default()),
    }
}

/// Holds a snapshot against the log. Where the log has lost its beginning or its end this start
/// has said so; where nobody knows why they do not meet, they are of different times.
fn meet<S: StateMachine>(
    open: &OpenCoordinator,
    snapshot: Snapshot<S>,
) -> Result<Begun<S>, LoadError> {
    let offsets = open.partition.offsets();
    let (log_start, log_end, next) = (offsets.log_start, offsets.log_end, snapshot.next_offset);
    let has_lost = !open.partition.findings().is_empty();
    let (from, meeting) = if next > log_end && has_lost {
        (log_end, Meeting::Anew)
    } else if next < log_start && has_lost && S::AFTER_LOSS == AfterLoss::GoOn {
        open.partition.found(format!("offsets {next} to {log_start} are lost"));
        (log_start, Meeting::Anew)
    } else if next < log_start || next > log_end {
        let (log, file) = (open.partition.topic.to_string(), open.snapshot_file.clone());
        return Err(LoadError::Gap { log, log_start, log_end, file, snapshot: next });
    } else {
        (next, Meeting::AsLeft)
    };
    Ok(Begun { snapshot, from, meeting })
}

struct Replay<'a, S> {
    partition: &'a Partition,
    state: S,
    replayed: Amount,
}

impl<S: StateMachine> Replay<'_, S> {
    /// Checks all of the log, and applies it from `from` on.
    fn run(&mut self, from: Offset) -> Result<(), LoadError> {
        let log = || self.partition.topic.to_string();
        for step in self.partition.log().scan(self.partition.offsets().log_start) {
            match step.map_err(|source| LoadError::Read { log: log(), source })? {
                Scanned::Lost(lost) => self.lost(lost, from)?,
                Scanned::Found(found) if found.batch.header().next_offset() <= from => {}
                Scanned::Found(found) => match self.apply(&found)? {
                    Applied::Whole => {}
                    Applied::Not(lost) => self.lost(lost, from)?,
                },
            }
        }
        Ok(())
    }

    /// All records of a batch, or none.
    fn apply(&mut self, found: &FoundBatch) -> Result<Applied, LoadError> {
        let header = found.batch.header();
        let offset = header.base_offset();
        let log = self.partition.topic.to_string();
        let at = |source| LoadError::Record { log: log.clone(), offset, source };
        if header.compression() != Compression::None || header.is_control() {
            return Err(at(NotUnderstood { what: "its batch is of an unknown kind" }));
        }
        let records = match record::decode::<S::Record>(&found.batch) {
            Ok(records) => records,
            Err(error) => {
                let offsets = offset..header.next_offset();
                return Ok(Applied::Not(LostRange { damage: found.damage(error.what), offsets }));
            }
        };
        self.replayed.records += records.len();
        self.replayed.bytes += found.batch.bytes().len();
        for record in records {
            self.state.replay(record).map_err(at)?;
        }
        Ok(Applied::Whole)
    }

    fn lost(&self, lost: LostRange, from: Offset) -> Result<(), LoadError> {
        let LostRange { damage, offsets } = &lost;
        let (start, end) = (offsets.start, offsets.end);
        if end <= from {
            let whole = format!("{damage}; a snapshot has what offsets {start} to {end} said");
            self.partition.found(whole);
            return Ok(());
        }
        match S::AFTER_LOSS {
            AfterLoss::Refuse => {
                Err(LoadError::Lost { log: self.partition.topic.to_string(), lost })
            }
            AfterLoss::GoOn => {
                self.partition.found(format!("{damage}; offsets {start} to {end} are lost"));
                Ok(())
            }
        }
    }
}

enum Applied {
    Whole,
    Not(LostRange),
}
