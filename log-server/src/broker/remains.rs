//! What is left of the internal logs, before any of them is opened for writing.
//!
//! An opening goes on behind what is gone. Of the metadata that is the wrong thing: topics would
//! vanish with their names. The rule: as long as a file can be put back, nothing is written that
//! it would not fit any more. So the look comes before the opening, and a start that it refuses
//! has changed nothing. To open, refuse and undo was rejected: what if the undoing is cut short?

use std::sync::Arc;

use log_core::{Damage, Lacking, Remains};

use super::startup::{StartupError, internal_name};
use crate::coordinator::{AfterLoss, StateMachine, snapshot_end};
use crate::data_dir::DataDir;
use crate::partition::PartitionParts;

/// What an internal log has lost, and nothing else knows.
#[derive(Debug, thiserror::Error)]
#[error(
    "{log} has lost what was synced, and no snapshot has it: {damage}: put that file back from a \
     backup (docs/recovery.md); the broker does not start without, because topics would be gone, \
     and has changed nothing"
)]
pub struct LostLog {
    /// Which log.
    pub log: &'static str,
    /// What is gone.
    pub damage: Damage,
}

/// Refuses if the log has lost what its state cannot do without.
pub(super) fn look<S: StateMachine>(
    data_dir: &DataDir,
    parts: &PartitionParts,
    log: &'static str,
) -> Result<(), StartupError> {
    if S::AFTER_LOSS == AfterLoss::GoOn {
        return Ok(());
    }
    let topic = internal_name(log);
    let remains = Remains::of(&data_dir.partition(&topic, 0), Arc::clone(&parts.storage));
    match remains.map_err(|source| StartupError::Open { log, source })? {
        Remains::Lacking(Lacking { damage, below }) => {
            let covered = snapshot_end::<S>(&data_dir.snapshot(&topic), &*parts.storage)?;
            if covered.is_some_and(|end| end >= below) {
                return Ok(());
            }
            Err(LostLog { log, damage }.into())
        }
        Remains::NoFolder | Remains::NoLog | Remains::Whole => Ok(()),
    }
}
