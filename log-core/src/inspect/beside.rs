//! The small files beside a log's segments: whose log it is, its start, its checkpoint with the
//! leader epochs, and what producers had written.
//!
//! The rule: a file is read as a start reads it, and what a start would do without it is said with
//! the damage. `log-start` is looked at where the log files are held against it.

use log_proto::types::Offset;

use super::VerifyReport;
use crate::error::{Damage, FileError, OpenError};
use crate::folder::Folder;
use crate::identity::LogIdentity;
use crate::log_checkpoint::LogCheckpoint;
use crate::producer::{self, window::Merged};
use crate::segment::FileName;

/// Larger than any of them: a snapshot holds every producer of the last day.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a file is of no use.
type Fault = String;

/// Checks the files of a log's folder that belong to no segment.
pub(super) fn verify(folder: &Folder, report: &mut VerifyReport) -> Result<(), FileError> {
    let names: Vec<_> =
        folder.list()?.iter().filter_map(|entry| FileName::parse(&entry.name)).collect();
    let holds_log = names.iter().any(|name| matches!(name, FileName::Log(_)));
    verify_identity(folder, holds_log, report)?;
    for name in names {
        let checked = match name {
            FileName::Checkpoint => checkpoint(folder)?,
            FileName::Snapshot(offset) => snapshot(folder, offset)?,
            FileName::Window(offset) => window(folder, offset)?,
            _ => Ok(()),
        };
        if let Err(fault) = checked {
            report.damaged(Damage { file: folder.path_of(&name), position: 0, detail: fault });
        }
    }
    Ok(())
}

fn verify_identity(
    folder: &Folder,
    holds_log: bool,
    report: &mut VerifyReport,
) -> Result<(), FileError> {
    let file = folder.path_of(&FileName::Partition);
    match LogIdentity::of(folder) {
        Ok(Some(_)) => {}
        Ok(None) if !holds_log => {}
        Ok(None) => {
            let detail = "missing beside log files: the log does not open without it".to_owned();
            report.damaged(Damage { file, position: 0, detail });
        }
        Err(OpenError::Damaged(damage)) => {
            let detail = format!("{}: the log does not open with it", damage.detail);
            report.damaged(Damage { detail, ..damage });
        }
        Err(OpenError::File(error)) => return Err(error),
        Err(other) => {
            report.damaged(Damage { file, position: 0, detail: other.to_string() });
        }
    }
    Ok(())
}

fn checkpoint(folder: &Folder) -> Result<Result<(), Fault>, FileError> {
    let read = bytes_of(folder, &FileName::Checkpoint)?;
    let decoded = read.and_then(|bytes| LogCheckpoint::decode(&bytes).map_err(|e| e.to_string()));
    Ok(decoded.map(drop).map_err(|fault| format!("{fault}: the next start scans more without it")))
}

fn snapshot(folder: &Folder, offset: Offset) -> Result<Result<(), Fault>, FileError> {
    let read = bytes_of(folder, &FileName::Snapshot(offset))?;
    let checked = read.and_then(|bytes| states(&bytes, offset).map(drop));
    Ok(checked.map_err(|fault| format!("{fault}: the next start takes an older one")))
}

fn states(bytes: &[u8], offset: Offset) -> Result<producer::ProducerStates, Fault> {
    let states = producer::snapshot::decode(bytes).map_err(|error| error.to_string())?;
    let fault = || "producer snapshot tells of offsets that lie behind its own".to_owned();
    if states.is_below(offset) { Ok(states) } else { Err(fault()) }
}

fn window(folder: &Folder, offset: Offset) -> Result<Result<(), Fault>, FileError> {
    let read = bytes_of(folder, &FileName::Window(offset))?;
    let checked = read.and_then(|bytes| producer::window::check(&bytes).map(|()| bytes));
    let bytes = match checked {
        Ok(bytes) => bytes,
        Err(fault) => {
            let cost = "the next start recognises fewer batches that are sent again";
            return Ok(Err(format!("{fault}: {cost}")));
        }
    };
    // The snapshot is the truth; where it is damaged, that is reported of itself.
    let snapshot = folder.read_hint(&FileName::Snapshot(offset), FILE_BYTES_MAX)?;
    let states = snapshot.and_then(|snapshot| states(&snapshot, offset).ok());
    let merged = states.map(|mut states| producer::window::merge(&mut states, &bytes));
    Ok(match merged {
        Some(Merged::OtherBatches) => {
            Err("it knows of other batches than its snapshot: the next start takes an older \
                 snapshot"
                .to_owned())
        }
        _ => Ok(()),
    })
}

fn bytes_of(folder: &Folder, name: &FileName) -> Result<Result<Vec<u8>, Fault>, FileError> {
    let bytes = folder.read_hint(name, FILE_BYTES_MAX)?;
    Ok(bytes.ok_or_else(|| format!("gone since, or larger than {FILE_BYTES_MAX} bytes")))
}
