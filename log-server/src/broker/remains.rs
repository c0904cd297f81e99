//! What is left of the internal logs, before any of them is opened for writing.
//!
//! An opening goes on behind what is gone. Of the metadata that is the wrong thing: topics would
//! vanish with their names. The rule: as long as a file can be put back, nothing is written that
//! it would not fit any more. So the look comes before the opening, and a start that it refuses
//! has changed nothing. To open, refuse and undo was rejected: what if the undoing is cut short?

use std::path::PathBuf;
use std::sync::Arc;

use log_core::{Damage, Lacking, Remains};

use super::startup::{StartupError, internal_name};
use crate::coordinator::{AfterLoss, StateMachine, snapshot_end};
use crate::data_dir::{DataDir, OwnLogs};
use crate::partition::PartitionParts;

/// What an internal log has lost, and nothing else knows.
#[derive(Debug, thiserror::Error)]
pub enum LostLog {
    /// Part of it, or all.
    #[error(
        "{log} has lost what was synced, and no snapshot has it: {damage}: put that file back from \
         a backup (docs/recovery.md); the broker does not start without, because topics would be \
         gone, and has left the log as it is"
    )]
    Synced {
        /// Which log.
        log: &'static str,
        /// What is gone.
        damage: Damage,
    },
    /// Its whole folder: more likely a slip, or a disk that is not mounted, than a broken one.
    #[error(
        "{} is missing, and was there before: put it back, or mount what it lies on{otherwise} \
         (docs/recovery.md)", folder.display()
    )]
    Folder {
        /// Where it was.
        folder: PathBuf,
        /// What else can be done.
        otherwise: &'static str,
    },
}

/// Refuses if the log has lost what its state cannot do without. Returns what is lost otherwise,
/// where opening the log cannot find it out.
pub(super) fn look<S: StateMachine>(
    data_dir: &DataDir,
    parts: &PartitionParts,
    log: &'static str,
) -> Result<Option<Damage>, StartupError> {
    let topic = internal_name(log);
    let folder = data_dir.partition(&topic, 0);
    let remains = Remains::of(&folder, Arc::clone(&parts.storage));
    let was_made = data_dir.own_logs() == OwnLogs::Made;
    match remains.map_err(|source| StartupError::Open { log, source })? {
        Remains::NoFolder if was_made => Err(lost_folder::<S>(folder).into()),
        Remains::NoLog { first } if was_made => match S::AFTER_LOSS {
            AfterLoss::GoOn => Ok(Some(all_gone(first))),
            AfterLoss::Refuse => Err(LostLog::Synced { log, damage: all_gone(first) }.into()),
        },
        Remains::Lacking(Lacking { damage, below }) if S::AFTER_LOSS == AfterLoss::Refuse => {
            let snapshot = snapshot_end::<S>(&data_dir.snapshot(&topic), &*parts.storage)?;
            match snapshot.is_some_and(|end| end >= below) {
                true => Ok(None),
                false => Err(LostLog::Synced { log, damage }.into()),
            }
        }
        // What is lacking and can be done without, the opening reports.
        Remains::NoFolder | Remains::NoLog { .. } | Remains::Lacking(_) | Remains::Whole => {
            Ok(None)
        }
    }
}

fn lost_folder<S: StateMachine>(folder: PathBuf) -> LostLog {
    let otherwise = match S::AFTER_LOSS {
        AfterLoss::GoOn => ", or make it, empty, to start without what groups have committed",
        AfterLoss::Refuse => "",
    };
    LostLog::Folder { folder, otherwise }
}

/// A log that was made has a file at all times.
fn all_gone(first: PathBuf) -> Damage {
    let detail = "the log had a file, and has none any more".to_owned();
    Damage { file: first, position: 0, detail }
}
