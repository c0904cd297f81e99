//! Opening a log, whatever state it was left in: numbered passes, one function each.
//!
//! 1. survey the folder;
//! 2. finish deletions;
//! 3. decide where to look;
//! 4. restore producer state up to there;
//! 5. scan to the end;
//! 6. cut at the first bad batch;
//! 7. make the tail durable.
//!
//! The rules:
//!
//! - Below the recovery point nothing is cut away. Damage there is reported and stays.
//! - Above it the log ends before the first bad batch. If anything but zeros follows, those bytes
//!   are saved and reported: they may have been acknowledged.
//! - The page cache is not trusted. What a scan read may never have reached the disk, and after a
//!   failed sync a second sync would not write it either, as the pages count as clean. So the
//!   tail is written once more, over itself with the same bytes, and synced, before any of it is
//!   served. Copying the segment aside was rejected: a tail is at most a second's worth, a
//!   segment a gigabyte.
//! - Derived files are rebuilt, never believed against the log.

mod bytes;
mod indexes;
mod plan;
mod remains;
mod replay;
mod run;
mod survey;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use crate::error::{Damage, FileError, OpenError, ReadError};
use crate::folder::Folder;
use crate::leader_epoch::LeaderEpochCache;
use crate::log::Rolled;
use crate::log_checkpoint::LogCheckpoint;
use crate::offsets::Tail;
use crate::producer::ProducerStates;
use crate::segment::{ActiveSegment, FileName, Segment};

pub(crate) use indexes::build_indexes;
use plan::{Begin, Plan, Way};
pub use remains::{Lacking, Remains};
pub(crate) use replay::write_snapshot;
use run::Run;
use survey::{Survey, no_file_holds};

/// How a log was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundAs {
    /// The folder held no log.
    New,
    /// Stopped cleanly: nothing was scanned.
    Clean,
    /// Not stopped cleanly.
    Crashed,
}

/// Bytes that an opening took off the end of the log. Zeros do not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{}, byte {position}: {reason}: {bytes} bytes from there on are no part of the log any more, and kept in {}",
    file.display(),
    saved_to.display()
)]
pub struct Cut {
    /// Which log file.
    pub file: PathBuf,
    /// It ends here now, in bytes.
    pub position: u64,
    /// How many bytes were taken off.
    pub bytes: u64,
    /// What was wrong with the first batch behind the end.
    pub reason: String,
    /// Where the bytes are kept.
    pub saved_to: PathBuf,
}

/// What opening a log found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryReport {
    /// How it was found.
    pub found_as: FoundAs,
    /// Bytes of log that were read and checked.
    pub scanned_bytes: u64,
    /// What was cut off: perhaps acknowledged records.
    pub cuts: Vec<Cut>,
    /// Damage that was found and left alone.
    pub damages: Vec<Damage>,
}

/// A log in order, ready to be served.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) active: ActiveSegment,
    pub(crate) end: Tail,
    pub(crate) log_start: Offset,
    pub(crate) producers: ProducerStates,
    pub(crate) epochs: LeaderEpochCache,
    pub(crate) unsealed: Vec<Rolled>,
    pub(crate) report: RecoveryReport,
}

/// Puts the folder in order and says what it holds.
pub(crate) fn recover(
    folder: &Folder,
    epoch: LeaderEpoch,
    now: TimestampMs,
) -> Result<Recovered, OpenError> {
    let mut survey = Survey::of(folder)?;
    survey.remove_leftovers(folder)?;
    let log_start = crate::log_start::read(folder)?;
    survey.finish_deletions(folder, log_start)?;
    let checkpoint = LogCheckpoint::read(folder)?;
    let plan = match Plan::make(folder, &survey, log_start, checkpoint)? {
        Way::Look(plan) => plan,
        Way::Begin(new) => return begin(folder, &survey, new, epoch),
    };
    let mut run = Run::prepare(folder, &survey, plan)?;
    if run.plan.found_as == FoundAs::Crashed {
        let end = run.scan()?;
        // Who is fenced cuts nothing away.
        check_owner(folder, &run.replay.epochs, epoch)?;
        run.cut(folder, end)?;
        run.make_tail_durable()?;
    }
    check_owner(folder, &run.replay.epochs, epoch)?;
    survey.remove_stale_snapshots(folder, run.end_offset())?;
    if run.end_offset() < log_start {
        run.begin_again(folder, log_start)?;
    }
    run.finish(folder, log_start, epoch, now)
}

/// What was synced, as far as the folder knows, and is not in its log files. Changes nothing.
pub(crate) fn missing(folder: &Folder) -> Result<Option<Damage>, FileError> {
    let log_start = match crate::log_start::read(folder) {
        Ok(log_start) => log_start,
        Err(OpenError::Damaged(damage)) => return Ok(Some(damage)),
        Err(error) => {
            let file = folder.path_of(&FileName::LogStart);
            return Ok(Some(Damage { file, position: 0, detail: error.to_string() }));
        }
    };
    let survey = Survey::of(folder)?;
    let checkpoint = LogCheckpoint::read(folder)?;
    let start = || survey.missing_start(log_start).map(|gone| no_file_holds(folder, gone));
    Ok(match Plan::make(folder, &survey, log_start, checkpoint)? {
        Way::Look(plan) => plan.lost.or_else(start),
        Way::Begin(begin) => begin.lost,
    })
}

/// A folder without a log gets its first, empty segment.
fn begin(
    folder: &Folder,
    survey: &Survey,
    Begin { at, mut epochs, lost }: Begin,
    epoch: LeaderEpoch,
) -> Result<Recovered, OpenError> {
    check_owner(folder, &epochs, epoch)?;
    survey.remove_stale_snapshots(folder, at)?;
    let found_as = if lost.is_some() { FoundAs::Crashed } else { FoundAs::New };
    if lost.is_some() {
        // What producers had written is gone; that they had is of no use to anybody.
        write_snapshot(folder, at, &ProducerStates::default())?;
    }
    let active = ActiveSegment::create(folder, at)?;
    folder.sync()?;
    if lost.is_some() {
        // Told once. Where it cannot be noted, it is told again.
        let _ = crate::log_start::write(folder, at);
    }
    epochs.assign(epoch, at);
    epochs.truncate_from_start(at);
    let damages = lost.into_iter().collect();
    Ok(Recovered {
        segments: vec![Arc::clone(active.segment())],
        end: Tail { offset: at, segment: at, position: 0 },
        active,
        log_start: at,
        producers: ProducerStates::default(),
        epochs,
        unsealed: Vec::new(),
        report: RecoveryReport { found_as, scanned_bytes: 0, cuts: Vec::new(), damages },
    })
}

/// The log has been written under no newer epoch.
fn check_owner(
    folder: &Folder,
    epochs: &LeaderEpochCache,
    asked: LeaderEpoch,
) -> Result<(), OpenError> {
    match epochs.latest().map(|latest| latest.epoch) {
        Some(latest) if latest > asked => {
            let folder = folder.path().to_path_buf();
            Err(OpenError::FencedLeaderEpoch { folder, asked, latest })
        }
        _ => Ok(()),
    }
}

fn into_open_error(error: ReadError) -> OpenError {
    match error {
        ReadError::Damaged { damage, .. } => damage.into(),
        ReadError::File(error) => error.into(),
        ReadError::OutOfRange { .. } => unreachable!("recovery asks for no offset"),
    }
}
