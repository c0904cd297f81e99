//! What is left of a log, told without touching it.
//!
//! Opening a log decides at once: what is not there is reported, and the log goes on behind it.
//! Whoever would rather have a lost file put back than go on without looks here first. The rule:
//! a look changes nothing, and asks the same table as an opening. An opening that reports and then
//! waits for an answer was rejected: it would hold half of its passes in the air, and nearly all
//! logs are to go on.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use log_proto::types::Offset;

use super::plan::{Plan, Way};
use super::survey::Survey;
use crate::error::{Damage, OpenError};
use crate::folder::Folder;
use crate::io::Storage;
use crate::log_checkpoint::LogCheckpoint;

/// What a folder holds of what was written in it, as far as it knows itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remains {
    /// There is no such folder.
    NoFolder,
    /// There is no log file, and nothing that tells of one: it was never made, or all is gone.
    NoLog,
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
        Ok(match Plan::make(&folder, &survey, log_start, checkpoint)? {
            Way::Begin(begin) => match begin.lost {
                Some(damage) => Self::Lacking(Lacking { damage, below: begin.at }),
                None => Self::NoLog,
            },
            Way::Look(_) => Self::Whole,
        })
    }
}
