//! What a start finds, and what it does about it: the cases as data.
//!
//! The passes ask these tables and do what the row says, so that the tables are not a picture of
//! the code but a part of it. `docs/recovery.md` shows the same rows to people; tests hold that it
//! does, that every combination is answered, and that no two rows answer the same one.

use std::fmt;

/// Whether there are log files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Logs {
    None,
    Some,
}

/// What the checkpoint says, held against the log files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checkpoint {
    /// None, or one that is torn or damaged.
    Absent,
    /// It names a segment that is deleted.
    Deleted,
    /// It names bytes that are not there.
    Ahead,
    /// Its recovery point is not where a batch ends.
    Misplaced,
    /// The log was in use.
    Running,
    /// The log was stopped cleanly.
    Clean,
}

/// Where the last log file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileEnd {
    AtRecoveryPoint,
    Elsewhere,
}

/// Where to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    BeginAnew,
    ReportAndBeginBehind,
    ScanNothing,
    ScanFromRecoveryPoint,
    ScanBehindSeals,
    ReportAndScanBehindSeals,
}

/// One case of an opening. `None` and an empty list stand for any.
pub(super) struct Opening {
    logs: Logs,
    checkpoint: &'static [Checkpoint],
    file_end: Option<FileEnd>,
    pub(super) decision: Decision,
    reason: &'static str,
}

const OPENINGS: [Opening; 9] = [
    Opening {
        logs: Logs::None,
        checkpoint: &[Checkpoint::Absent, Checkpoint::Deleted],
        file_end: None,
        decision: Decision::BeginAnew,
        reason: "nothing was kept here yet",
    },
    Opening {
        logs: Logs::None,
        checkpoint: &[
            Checkpoint::Ahead,
            Checkpoint::Misplaced,
            Checkpoint::Running,
            Checkpoint::Clean,
        ],
        file_end: None,
        decision: Decision::ReportAndBeginBehind,
        reason: "every segment is gone: their offsets must not be given out again",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Absent],
        file_end: None,
        decision: Decision::ScanBehindSeals,
        reason: "a seal was written after its segment and all before it were synced",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Deleted],
        file_end: None,
        decision: Decision::ScanBehindSeals,
        reason: "power loss brought back an old checkpoint, and the deletion was durable",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Ahead],
        file_end: None,
        decision: Decision::ReportAndScanBehindSeals,
        reason: "synced bytes are gone: only what can be checked counts",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Misplaced],
        file_end: None,
        decision: Decision::ReportAndScanBehindSeals,
        reason: "it is another log's; to scan from the middle of a batch would cut sound ones away",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Running],
        file_end: None,
        decision: Decision::ScanFromRecoveryPoint,
        reason: "a crash",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Clean],
        file_end: Some(FileEnd::AtRecoveryPoint),
        decision: Decision::ScanNothing,
        reason: "a clean stop syncs, trims, and writes the checkpoint last",
    },
    Opening {
        logs: Logs::Some,
        checkpoint: &[Checkpoint::Clean],
        file_end: Some(FileEnd::Elsewhere),
        decision: Decision::ScanFromRecoveryPoint,
        reason: "the log was written to again; the checkpoint is from before",
    },
];

impl Opening {
    fn answers(&self, logs: Logs, checkpoint: Checkpoint, file_end: FileEnd) -> bool {
        self.logs == logs
            && (self.checkpoint.is_empty() || self.checkpoint.contains(&checkpoint))
            && self.file_end.is_none_or(|end| end == file_end)
    }
}

/// What to do with a folder in this state.
pub(super) fn opening(logs: Logs, checkpoint: Checkpoint, file_end: FileEnd) -> Decision {
    let row = OPENINGS.iter().find(|row| row.answers(logs, checkpoint, file_end));
    row.expect("a test walks through all combinations").decision
}

/// What lies behind the last good batch of a segment that is scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Behind {
    Nothing,
    Zeros,
    Bytes,
}

/// Where the next segment starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    NoSegment,
    /// At the offset at which this one ends.
    Adjoins,
    /// Elsewhere.
    Apart,
}

/// What becomes of what lies behind the last good batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Here {
    Keep,
    Trim,
    SaveAndCut,
}

/// How the scan goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    EndsHere,
    GoOn,
    SetLaterAside,
}

/// One case of a segment's end, as a scan finds it.
pub(super) struct SegmentEnd {
    behind: Behind,
    next: &'static [Next],
    here: Here,
    then: Then,
    reason: &'static str,
}

const SEGMENT_ENDS: [SegmentEnd; 8] = [
    SegmentEnd {
        behind: Behind::Nothing,
        next: &[Next::NoSegment],
        here: Here::Keep,
        then: Then::EndsHere,
        reason: "the log ends with its last batch",
    },
    SegmentEnd {
        behind: Behind::Nothing,
        next: &[Next::Adjoins],
        here: Here::Keep,
        then: Then::GoOn,
        reason: "a roll",
    },
    SegmentEnd {
        behind: Behind::Nothing,
        next: &[Next::Apart],
        here: Here::Keep,
        then: Then::SetLaterAside,
        reason: "records behind missing ones cannot be served under dense offsets",
    },
    SegmentEnd {
        behind: Behind::Zeros,
        next: &[Next::NoSegment],
        here: Here::Trim,
        then: Then::EndsHere,
        reason: "room that was made ahead of writing: no loss",
    },
    SegmentEnd {
        behind: Behind::Zeros,
        next: &[Next::Adjoins],
        here: Here::Trim,
        then: Then::GoOn,
        reason: "power loss undid the trimming of a segment that was rolled",
    },
    SegmentEnd {
        behind: Behind::Zeros,
        next: &[Next::Apart],
        here: Here::Trim,
        then: Then::SetLaterAside,
        reason: "the missing records were never written here, but something came after them",
    },
    SegmentEnd {
        behind: Behind::Bytes,
        next: &[Next::NoSegment],
        here: Here::SaveAndCut,
        then: Then::EndsHere,
        reason: "a torn write, or acknowledged records that the disk lost: a person should know",
    },
    SegmentEnd {
        behind: Behind::Bytes,
        next: &[Next::Adjoins, Next::Apart],
        here: Here::SaveAndCut,
        then: Then::SetLaterAside,
        reason: "as above; and records behind missing ones cannot be served",
    },
];

/// What to do at a segment's end in this state.
pub(super) fn segment_end(behind: Behind, next: Next) -> (Here, Then) {
    let row = SEGMENT_ENDS.iter().find(|row| row.behind == behind && row.next.contains(&next));
    let row = row.expect("a test walks through all combinations");
    (row.here, row.then)
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logs = match self.logs {
            Logs::None => "none",
            Logs::Some => "there",
        };
        let file_end = match self.file_end {
            None => "–",
            Some(FileEnd::AtRecoveryPoint) => "at the recovery point",
            Some(FileEnd::Elsewhere) => "elsewhere",
        };
        let checkpoint = match self.checkpoint {
            [] => "–",
            [Checkpoint::Absent, Checkpoint::Deleted] => "none, or of what is deleted",
            [Checkpoint::Absent, ..] => "none, torn or damaged",
            [Checkpoint::Deleted, ..] => "names a deleted segment",
            [Checkpoint::Ahead, ..] => "names bytes that are not there",
            [Checkpoint::Misplaced, ..] => "points into the middle of a batch",
            [Checkpoint::Running, ..] => "running",
            [Checkpoint::Clean, ..] => "stopped cleanly",
        };
        let decision = match self.decision {
            Decision::BeginAnew => "a new log, from `log-start` on",
            Decision::ReportAndBeginBehind => "report it, a new log from the recovery point on",
            Decision::ScanNothing => "scan nothing",
            Decision::ScanFromRecoveryPoint => "scan from the recovery point",
            Decision::ScanBehindSeals => "scan behind the last seal",
            Decision::ReportAndScanBehindSeals => "report it, scan behind the last seal",
        };
        write!(f, "| {logs} | {checkpoint} | {file_end} | {decision} | {} |", self.reason)
    }
}

impl fmt::Display for SegmentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = match self.behind {
            Behind::Nothing => "nothing",
            Behind::Zeros => "nothing but zeros",
            Behind::Bytes => "anything else",
        };
        let next = match self.next {
            [Next::NoSegment] => "none",
            [Next::Adjoins] => "goes on there",
            [Next::Apart] => "starts elsewhere",
            _ => "any",
        };
        let here = match self.here {
            Here::Keep => "keep the file",
            Here::Trim => "trim the file",
            Here::SaveAndCut => "save the bytes, report them, cut them off",
        };
        let then = match self.then {
            Then::EndsHere => "the log ends here",
            Then::GoOn => "go on with the next",
            Then::SetLaterAside => "set all later segments aside",
        };
        write!(f, "| {behind} | {next} | {here}; {then} | {} |", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/recovery.md");

    #[test]
    fn each_state_of_a_folder_is_answered_by_one_row() {
        use Checkpoint::{Absent, Ahead, Clean, Deleted, Misplaced, Running};
        for logs in [Logs::None, Logs::Some] {
            for checkpoint in [Absent, Deleted, Ahead, Misplaced, Running, Clean] {
                for file_end in [FileEnd::AtRecoveryPoint, FileEnd::Elsewhere] {
                    let answers = |row: &&Opening| row.answers(logs, checkpoint, file_end);
                    let rows = OPENINGS.iter().filter(answers).count();
                    assert_eq!(rows, 1, "{logs:?}, {checkpoint:?}, {file_end:?}");
                }
            }
        }
    }

    #[test]
    fn each_end_of_a_segment_is_answered_by_one_row() {
        for behind in [Behind::Nothing, Behind::Zeros, Behind::Bytes] {
            for next in [Next::NoSegment, Next::Adjoins, Next::Apart] {
                let answers = |row: &&SegmentEnd| row.behind == behind && row.next.contains(&next);
                let rows = SEGMENT_ENDS.iter().filter(answers).count();
                assert_eq!(rows, 1, "{behind:?}, {next:?}");
            }
        }
    }

    #[test]
    fn the_document_shows_these_rows_and_in_this_order() {
        let rows = OPENINGS.iter().map(ToString::to_string);
        let mut rest = DOCUMENT;
        for row in rows.chain(SEGMENT_ENDS.iter().map(ToString::to_string)) {
            let Some((_, behind)) = rest.split_once(&row) else {
                panic!("docs/recovery.md lacks, or has elsewhere: {row}");
            };
            rest = behind;
        }
    }
}
