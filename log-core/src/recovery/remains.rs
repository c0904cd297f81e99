//! What is left of a log, told without touching it.
//!
//! Opening a log decides at once: what is not there is reported, and the log goes on behind it.
//! Whoever would rather have a lost file put back than go on without looks here first. The rule:
//! a look changes nothing, and asks the same table as an opening. An opening that reports and then
//! waits for an answer was rejected: it would hold half of its passes in the air, and nearly all
//! logs are to go on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_proto::types::Offset;

use super::plan::{Begin, Plan, Way};
use super::survey::{Survey, no_file_holds};
use crate::error::{Damage, OpenError};
use crate::folder::Folder;
use crate::io::Storage;
use crate::log_checkpoint::LogCheckpoint;
use crate::segment::{FileName, Seal};

/// What a folder holds of what was written in it, as far as it knows itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remains {
    /// There is no such folder.
    NoFolder,
    /// There is no log file, and nothing that tells of one: it was never made, or all is gone.
    NoLog {
        /// What a new log would begin with.
        first: PathBuf,
    },
    /// Bytes that had been synced are gone.
    Lacking(Lacking),
    /// Nothing is known to be gone.
    Whole,
}

/// What is gone of a log. Power loss takes no synced bytes: files were lost, or cut by somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lacking {
    /// Where.
    pub damage: Damage,
    /// Everything that is known to have been synced lies below this offset.
    pub below: Offset,
}

impl Remains {
    /// Looks at the folder of a log that nobody has open. Blocks on the disk.
    pub fn of(folder: &Path, storage: Arc<dyn Storage>) -> Result<Self, OpenError> {
        let folder = Folder::new(folder.to_path_buf(), storage);
        let survey = match Survey::of(&folder) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(Self::NoFolder),
            survey => survey?,
        };
        let log_start = crate::log_start::read(&folder)?;
        let checkpoint = LogCheckpoint::read(&folder)?;
        let lacking = match Plan::make(&folder, &survey, log_start, checkpoint.clone())? {
            Way::Begin(Begin { lost: None, at, .. }) => {
                return Ok(Self::NoLog { first: folder.path_of(&FileName::Log(at)) });
            }
            Way::Begin(Begin { lost: Some(damage), at, .. }) => Some(Lacking { damage, below: at }),
            Way::Look(plan) => {
                // Reported too is a checkpoint that is another log's. It takes nothing from this.
                let ahead = plan.lost.and(checkpoint);
                let end = ahead.and_then(|ahead| lacking_end(&folder, &survey, &ahead));
                match end.or_else(|| lacking_start(&folder, &survey, log_start)) {
                    None => lacking_between(&folder, &survey, plan.floor)?,
                    lacking => lacking,
                }
            }
        };
        Ok(lacking.map_or(Self::Whole, Self::Lacking))
    }
}

fn lacking_end(folder: &Folder, survey: &Survey, checkpoint: &LogCheckpoint) -> Option<Lacking> {
    let damage = survey.missing_bytes(folder, checkpoint)?;
    Some(Lacking { damage, below: checkpoint.recovery_point.offset })
}

fn lacking_start(folder: &Folder, survey: &Survey, log_start: Offset) -> Option<Lacking> {
    let gone = survey.missing_start(log_start)?;
    let below = gone.end;
    Some(Lacking { damage: no_file_holds(folder, gone), below })
}

/// Of segments that were sealed, and so synced, and what came right behind them.
fn lacking_between(
    folder: &Folder,
    survey: &Survey,
    floor: Option<Offset>,
) -> Result<Option<Lacking>, OpenError> {
    let undeleted = survey.logs.iter().filter(|(base, _)| Some(**base) >= floor);
    let next = survey.logs.keys().skip_while(|base| Some(**base) <= floor);
    for ((base, bytes), next) in undeleted.zip(next) {
        let Some(Seal { log_bytes, next_offset, .. }) = Seal::read(folder, *base)? else {
            continue;
        };
        let (file, position, detail) = if *bytes < log_bytes {
            (*base, *bytes, format!("the file has {bytes} bytes, it was sealed with {log_bytes}"))
        } else if next_offset < *next {
            (next_offset, 0, format!("no file holds offsets {next_offset} to {next}"))
        } else {
            continue;
        };
        let damage = Damage { file: folder.path_of(&FileName::Log(file)), position, detail };
        return Ok(Some(Lacking { damage, below: *next }));
    }
    Ok(None)
}
