//! What lies in a log's folder, and the deletions that are still to be finished: passes 1 and 2.

use std::collections::BTreeMap;
use std::ops::Range;

use log_proto::types::Offset;

use crate::error::{Damage, FileError};
use crate::folder::Folder;
use crate::log_checkpoint::LogCheckpoint;
use crate::offsets::Tail;
use crate::segment::FileName;

/// What lies in the folder.
#[derive(Default, Debug)]
pub(super) struct Survey {
    /// Log files with their lengths.
    pub(super) logs: BTreeMap<Offset, u64>,
    pub(super) snapshots: Vec<Offset>,
    pub(super) windows: Vec<Offset>,
    /// Indexes and seals.
    pub(super) derived: Vec<(Offset, FileName)>,
    /// What was written aside and not renamed.
    pub(super) leftovers: Vec<FileName>,
}

impl Survey {
    /// Pass 1. Names that are not ours are left alone.
    pub(super) fn of(folder: &Folder) -> Result<Self, FileError> {
        let mut survey = Self::default();
        for entry in folder.list()? {
            match FileName::parse(&entry.name) {
                Some(name @ FileName::Temporary(_)) => survey.leftovers.push(name),
                Some(name @ FileName::Log(base)) => {
                    survey.logs.insert(base, folder.len(&name)?);
                }
                Some(FileName::Snapshot(offset)) => survey.snapshots.push(offset),
                Some(FileName::Window(offset)) => survey.windows.push(offset),
                Some(
                    name @ (FileName::Index(base)
                    | FileName::TimeIndex(base)
                    | FileName::TxnIndex(base)
                    | FileName::Seal(base)),
                ) => survey.derived.push((base, name)),
                _ => {}
            }
        }
        survey.snapshots.sort_unstable();
        Ok(survey)
    }

    /// Leftovers of interrupted replacements go.
    pub(super) fn remove_leftovers(&self, folder: &Folder) -> Result<(), FileError> {
        self.leftovers.iter().try_for_each(|name| folder.remove(name))
    }

    /// The segment that holds the log's start. What lies before it is deleted: there may be holes.
    pub(super) fn floor(&self, log_start: Offset) -> Option<Offset> {
        let before = self.logs.range(..=log_start).next_back();
        before.or(self.logs.first_key_value()).map(|(base, _)| *base)
    }

    /// Offsets below this one were given out: a snapshot is written where a segment ends.
    pub(super) fn used_below(&self, checkpoint: Option<&LogCheckpoint>) -> Option<Offset> {
        let noted = checkpoint.map(|checkpoint| checkpoint.recovery_point.offset);
        noted.max(self.snapshots.last().copied())
    }

    /// What the checkpoint says was synced, and is not there; or is there, and no batch ends so.
    pub(super) fn missing(&self, folder: &Folder, checkpoint: &LogCheckpoint) -> Damage {
        self.missing_bytes(folder, checkpoint).unwrap_or_else(|| {
            let Tail { segment, position, .. } = checkpoint.recovery_point;
            let log = FileName::Log(segment);
            let detail = format!("it points at byte {position} of {log}, where no batch ends");
            Damage { file: folder.path_of(&FileName::Checkpoint), position: 0, detail }
        })
    }

    /// What the checkpoint says was synced, and is not there. What is deleted nobody misses.
    pub(super) fn missing_bytes(
        &self,
        folder: &Folder,
        checkpoint: &LogCheckpoint,
    ) -> Option<Damage> {
        let Tail { segment, position, .. } = checkpoint.recovery_point;
        let bytes = self.logs.get(&segment).copied();
        let detail = match bytes {
            Some(bytes) if bytes >= position => return None,
            Some(bytes) => format!("the file has {bytes} bytes, of which {position} were synced"),
            None => format!("the file is missing, and {position} bytes of it were synced"),
        };
        let file = folder.path_of(&FileName::Log(segment));
        Some(Damage { file, position: bytes.unwrap_or(0), detail })
    }

    /// The offsets behind the log's start that no file holds, where there are files.
    pub(super) fn missing_start(&self, log_start: Offset) -> Option<Range<Offset>> {
        let first = *self.logs.first_key_value()?.0;
        (first > log_start).then_some(log_start..first)
    }

    /// Keeps the snapshots at the segments' starts and the newest one. One from behind the log's
    /// end must go: it tells of batches that are gone, and the log will pass its offset again.
    pub(super) fn remove_stale_snapshots(
        &self,
        folder: &Folder,
        end: Offset,
    ) -> Result<(), FileError> {
        let newest = self.snapshots.iter().filter(|offset| **offset <= end).max();
        let keep = |offset: &Offset| {
            *offset <= end && (self.logs.contains_key(offset) || Some(offset) == newest)
        };
        for offset in self.snapshots.iter().filter(|offset| !keep(offset)) {
            folder.remove(&FileName::Snapshot(*offset))?;
        }
        for offset in self.windows.iter().filter(|offset| !keep(offset)) {
            folder.remove(&FileName::Window(*offset))?;
        }
        Ok(())
    }

    /// Pass 2. Power loss may have undone some removals of a deletion whose log start is durable.
    /// A segment that was not due yet stays until the log has noted what producers wrote in it.
    pub(super) fn finish_deletions(
        &mut self,
        folder: &Folder,
        log_start: Offset,
    ) -> Result<(), FileError> {
        let noted = |base: &&Offset| self.snapshots.binary_search(base).is_ok();
        let keep = self.logs.range(..=log_start).map(|(base, _)| base).rev().find(noted).copied();
        // All before it, or none: what is left must have no hole.
        for base in keep.iter().flat_map(|keep| self.logs.range(..keep)).map(|(base, _)| *base) {
            folder.remove(&FileName::Log(base))?;
        }
        self.logs.retain(|base, _| Some(*base) >= keep);
        for (offset, name) in &self.derived {
            if !self.logs.contains_key(offset) {
                folder.remove(name)?;
            }
        }
        Ok(())
    }
}

/// What is to be said of the offsets from the log's start on, where the first file begins later.
pub(super) fn no_file_holds(folder: &Folder, Range { start, end }: Range<Offset>) -> Damage {
    Damage {
        file: folder.path_of(&FileName::Log(start)),
        position: 0,
        detail: format!(
            "no file holds offsets {start} to {end}: they are lost, or were deleted while the \
             disk was full"
        ),
    }
}
