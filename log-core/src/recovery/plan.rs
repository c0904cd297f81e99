//! Where a start has to look: pass 3.
//!
//! The rule: a checkpoint is a hint, and believed only as far as the log files agree with it. One
//! that is wrong costs a longer scan; followed, it would cut sound batches away.

use std::ops::Range;
use std::sync::Arc;

use log_proto::types::{Offset, TimestampMs};

use super::FoundAs;
use super::survey::Survey;
use super::table::{self, Checkpoint, Decision, FileEnd, Logs};
use crate::error::{Damage, FileError};
use crate::folder::Folder;
use crate::io::OpenMode;
use crate::leader_epoch::LeaderEpochCache;
use crate::log_checkpoint::{LeftAs, LogCheckpoint};
use crate::offsets::Tail;
use crate::segment::{BatchWalk, Check, FileName, IndexSums, Indexes, Seal, WalkError};

/// Pass 3: what need not be looked at, and where looking starts.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) found_as: FoundAs,
    /// Everything below is taken as it is.
    pub(super) from: Tail,
    pub(super) active_since: Option<TimestampMs>,
    /// Of the segment that `from` lies in.
    pub(super) indexes: Option<IndexSums>,
    pub(super) epochs: Option<LeaderEpochCache>,
    /// See [`Survey::floor`].
    pub(super) floor: Option<Offset>,
    /// What the checkpoint says, and the log files do not.
    pub(super) lost: Option<Damage>,
}

/// A new log, from this offset on.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) at: Offset,
    /// What was here before, as far as the checkpoint knows.
    pub(super) epochs: LeaderEpochCache,
    pub(super) lost: Option<Damage>,
}

/// How a start goes on.
#[derive(Debug)]
pub(super) enum Way {
    /// With a new log.
    Begin(Begin),
    /// With what is there.
    Look(Plan),
}

impl Plan {
    pub(super) fn make(
        folder: &Folder,
        survey: &Survey,
        log_start: Offset,
        checkpoint: Option<LogCheckpoint>,
    ) -> Result<Way, FileError> {
        let floor = survey.floor(log_start);
        let used = survey.used_below(checkpoint.as_ref());
        let (logs, (state, file_end)) = if survey.logs.is_empty() {
            (Logs::None, (without_logs(log_start, used), FileEnd::Elsewhere))
        } else {
            (Logs::Some, classify(folder, survey, floor, checkpoint.as_ref())?)
        };
        let decision = table::opening(logs, state, file_end);
        let begin = |at, lost| {
            let epochs = checkpoint.as_ref().map(|known| known.epochs.clone()).unwrap_or_default();
            Ok(Way::Begin(Begin { at, epochs, lost }))
        };
        let found_as = match decision {
            Decision::BeginAnew => return begin(log_start, None),
            Decision::ReportAndBeginBehind => {
                let at = used.unwrap_or(log_start);
                let noted = checkpoint.as_ref().map(|known| known.recovery_point.segment);
                return begin(at, Some(all_gone(folder, noted, log_start..at)));
            }
            Decision::ScanNothing => FoundAs::Clean,
            _ => FoundAs::Crashed,
        };
        let wrong = match decision {
            Decision::ReportAndScanBehindSeals => checkpoint.as_ref(),
            _ => None,
        };
        let lost = wrong.map(|checkpoint| survey.missing(folder, checkpoint));
        let trusted = checkpoint.filter(|_| {
            matches!(decision, Decision::ScanNothing | Decision::ScanFromRecoveryPoint)
        });
        let from = match &trusted {
            Some(checkpoint) => checkpoint.recovery_point,
            None => behind_seals(folder, survey, floor)?,
        };
        let active_since = trusted.as_ref().and_then(|checkpoint| checkpoint.active_since);
        let indexes = trusted.as_ref().map(|checkpoint| checkpoint.indexes);
        let epochs = trusted.map(|checkpoint| checkpoint.epochs);
        Ok(Way::Look(Self { found_as, from, active_since, indexes, epochs, floor, lost }))
    }
}

/// Of a folder that holds no log file any more, or none yet.
fn without_logs(log_start: Offset, used: Option<Offset>) -> Checkpoint {
    match used {
        None => Checkpoint::Absent,
        Some(used) if used > log_start => Checkpoint::Ahead,
        Some(_) => Checkpoint::Deleted,
    }
}

/// Names the file that the checkpoint does, where there is one: it was there, and was the last.
fn all_gone(folder: &Folder, noted: Option<Offset>, Range { start, end }: Range<Offset>) -> Damage {
    Damage {
        file: folder.path_of(&FileName::Log(noted.unwrap_or(start))),
        position: 0,
        detail: format!("no log file is left of offsets {start} to {end}, which were synced"),
    }
}

/// Holds the checkpoint against the log files, of which there are some.
fn classify(
    folder: &Folder,
    survey: &Survey,
    floor: Option<Offset>,
    checkpoint: Option<&LogCheckpoint>,
) -> Result<(Checkpoint, FileEnd), FileError> {
    let Some(checkpoint) = checkpoint else {
        return Ok((Checkpoint::Absent, FileEnd::Elsewhere));
    };
    let Tail { segment, position, .. } = checkpoint.recovery_point;
    let is_end = survey.logs.last_key_value() == Some((&segment, &position));
    let file_end = if is_end { FileEnd::AtRecoveryPoint } else { FileEnd::Elsewhere };
    let bytes = survey.logs.get(&segment).copied();
    let state = if floor.is_none_or(|floor| segment < floor) {
        Checkpoint::Deleted
    } else if bytes.unwrap_or(0) < position {
        Checkpoint::Ahead
    } else if bytes.is_none() {
        // It says nothing of what is there.
        Checkpoint::Absent
    } else if checkpoint.left_as == LeftAs::Clean && is_end {
        // Thousands of logs are left like this: what has the right length is not opened.
        Checkpoint::Clean
    } else if is_misplaced(folder, checkpoint, bytes.unwrap_or(0))? {
        Checkpoint::Misplaced
    } else {
        match checkpoint.left_as {
            LeftAs::Clean => Checkpoint::Clean,
            LeftAs::Running => Checkpoint::Running,
        }
    };
    Ok((state, file_end))
}

/// Whether sound batches say that the recovery point is not where one of them ends. Damage says
/// nothing: below the recovery point it is left alone, and must not move it.
fn is_misplaced(
    folder: &Folder,
    checkpoint: &LogCheckpoint,
    bytes: u64,
) -> Result<bool, FileError> {
    let Tail { segment: base, position, offset } = checkpoint.recovery_point;
    if position == 0 {
        return Ok(offset != base);
    }
    let log = FileName::Log(base);
    // For reading alone: whoever only looks at a folder may not be allowed more.
    let file = folder.open(&log, OpenMode::Read)?;
    let walk =
        |check, start| BatchWalk::new(Arc::clone(&file), folder.path_of(&log), check, start, bytes);
    let indexes = Indexes::read(folder, base, &checkpoint.indexes)?;
    // Two entries back: so that the last batch is one that has followed another.
    let before = |position: u64| {
        let indexes = indexes.as_ref()?;
        indexes.offset.floor_position(position.checked_sub(1)?)
    };
    let start = before(position).and_then(before).unwrap_or(0);
    let mut headers = walk(Check::Headers, start);
    if start == 0 {
        headers = headers.expecting(base);
    }
    let last = loop {
        match headers.next() {
            Ok(Some(batch)) if headers.position() >= position => break batch,
            Ok(Some(_)) => {}
            Ok(None) | Err(WalkError::Damaged(_)) => return Ok(false),
            Err(WalkError::File(error)) => return Err(error),
        }
    };
    if headers.position() == position && last.header.next_offset() == offset {
        return Ok(false);
    }
    match walk(Check::Checksums, last.position).next() {
        Ok(batch) => Ok(batch.is_some()),
        Err(WalkError::Damaged(_)) => Ok(false),
        Err(WalkError::File(error)) => Err(error),
    }
}

/// Without a checkpoint, seals say what was synced: a segment gets one only after it and all
/// before it were. So everything up to the last one is below the recovery point, and damage there
/// is no reason to cut. Neither is a hole where segments were being deleted.
fn behind_seals(
    folder: &Folder,
    survey: &Survey,
    floor: Option<Offset>,
) -> Result<Tail, FileError> {
    let bases: Vec<Offset> = survey.logs.keys().copied().collect();
    let mut start = floor;
    for pair in bases.windows(2).rev() {
        if Seal::read(folder, pair[0])?.is_some() {
            start = start.max(Some(pair[1]));
            break;
        }
    }
    let base = start.expect("a log with files has a floor");
    Ok(Tail { offset: base, segment: base, position: 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::io::{Disk, OpenMode};

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn tail(segment: i64, position: u64) -> Tail {
        Tail { offset: offset(segment), segment: offset(segment), position }
    }

    fn checkpoint(left_as: LeftAs, recovery_point: Tail) -> LogCheckpoint {
        let (indexes, epochs) = Default::default();
        LogCheckpoint { left_as, recovery_point, active_since: None, indexes, epochs }
    }

    /// Segments of 1000 bytes at offsets 0 and 10, and one of 300 at 20; `sealed` ones have seals.
    fn folder(sealed: &[i64]) -> (tempfile::TempDir, Folder, Survey) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_path_buf(), Arc::new(Disk));
        let logs = [(0, 1000), (10, 1000), (20, 300)];
        let logs: BTreeMap<_, _> = logs.map(|(base, bytes)| (offset(base), bytes)).into();
        for base in sealed {
            let (log_crc, indexes) = Default::default();
            let next_offset = offset(base + 10);
            let seal = Seal { log_bytes: 1000, log_crc, next_offset, indexes };
            seal.write(&folder, offset(*base)).unwrap();
        }
        for (base, bytes) in &logs {
            let log = folder.open(&FileName::Log(*base), OpenMode::CreateNew).unwrap();
            log.set_len(*bytes).unwrap();
        }
        (root, folder, Survey { logs, ..Survey::default() })
    }

    fn look(
        folder: &Folder,
        survey: &Survey,
        log_start: i64,
        checkpoint: Option<LogCheckpoint>,
    ) -> Plan {
        match Plan::make(folder, survey, offset(log_start), checkpoint).unwrap() {
            Way::Look(plan) => plan,
            Way::Begin(_) => panic!("there are log files"),
        }
    }

    /// Where looking starts, row by row: what the checkpoint says, which segments are sealed,
    /// where the log starts.
    #[test]
    fn each_state_of_a_folder_has_its_row() {
        use FoundAs::{Clean, Crashed};
        let clean = |segment, position| Some(checkpoint(LeftAs::Clean, tail(segment, position)));
        let running =
            |segment, position| Some(checkpoint(LeftAs::Running, tail(segment, position)));
        let none: &[i64] = &[];
        let rows = [
            // A checkpoint that fits decides.
            (clean(20, 300), none, 0, Clean, tail(20, 300)),
            (running(20, 300), none, 0, Crashed, tail(20, 300)),
            (running(20, 100), none, 0, Crashed, tail(20, 100)),
            (running(10, 700), none, 0, Crashed, tail(10, 700)),
            (running(10, 700), &[0, 10], 0, Crashed, tail(10, 700)),
            // A clean stop counts only as long as nothing was written since.
            (clean(20, 299), none, 0, Crashed, tail(20, 299)),
            (clean(10, 1000), none, 0, Crashed, tail(10, 1000)),
            // Without one that fits, the seals say what was synced.
            (None, none, 0, Crashed, tail(0, 0)),
            (None, &[0], 0, Crashed, tail(10, 0)),
            (None, &[0, 10], 0, Crashed, tail(20, 0)),
            (None, &[10], 0, Crashed, tail(20, 0)),
            (None, &[20], 0, Crashed, tail(0, 0)),
            (clean(20, 301), &[0], 0, Crashed, tail(10, 0)),
            (running(15, 1), &[0], 0, Crashed, tail(10, 0)),
            // What lies before the segment of the log's start is deleted.
            (None, none, 9, Crashed, tail(0, 0)),
            (None, none, 10, Crashed, tail(10, 0)),
            (None, &[0], 25, Crashed, tail(20, 0)),
            (running(0, 10), none, 12, Crashed, tail(10, 0)),
            (running(10, 10), none, 12, Crashed, tail(10, 10)),
        ];
        for (checkpoint, sealed, log_start, found_as, from) in rows {
            let what = format!("{checkpoint:?}, sealed {sealed:?}, start {log_start}");
            let (_root, folder, survey) = folder(sealed);
            let plan = look(&folder, &survey, log_start, checkpoint);
            assert_eq!((plan.found_as, plan.from), (found_as, from), "{what}");
        }
    }

    #[test]
    fn only_bytes_that_were_synced_and_not_deleted_are_missed() {
        let rows = [
            (tail(20, 300), 0, false),
            (tail(20, 301), 0, true),
            (tail(30, 1), 0, true),
            (tail(30, 0), 0, false),
            (tail(5, 500), 0, true),
            (tail(5, 500), 10, false),
        ];
        for (recovery_point, log_start, is_lost) in rows {
            let (_root, folder, survey) = folder(&[]);
            let checkpoint = Some(checkpoint(LeftAs::Running, recovery_point));
            let plan = look(&folder, &survey, log_start, checkpoint);
            assert_eq!(plan.lost.is_some(), is_lost, "{recovery_point:?}");
        }
    }

    /// Offsets that were given out are not given out again for other records.
    #[test]
    fn a_log_without_files_goes_on_behind_what_was_synced() {
        let (_root, folder, _) = folder(&[]);
        let begin = |log_start, checkpoint, snapshots: &[i64]| {
            let snapshots = snapshots.iter().copied().map(offset).collect();
            let survey = Survey { snapshots, ..Survey::default() };
            match Plan::make(&folder, &survey, offset(log_start), checkpoint).unwrap() {
                Way::Begin(begin) => (begin.at.get(), begin.lost.is_some()),
                Way::Look(_) => panic!("there is nothing to look at"),
            }
        };
        let known = || Some(checkpoint(LeftAs::Clean, tail(20, 300)));
        assert_eq!(begin(0, None, &[]), (0, false));
        assert_eq!(begin(7, None, &[]), (7, false));
        assert_eq!(begin(0, known(), &[]), (20, true));
        assert_eq!(begin(0, known(), &[10, 30]), (30, true), "a roll that the checkpoint missed");
        assert_eq!(begin(0, None, &[10]), (10, true));
        assert_eq!(begin(20, known(), &[]), (20, false), "all of it had been deleted");
    }
}
