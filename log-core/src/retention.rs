//! Deleting old records: what to drop is chosen apart from dropping it.
//!
//! Whole segments go, oldest first, never the active one and never one that is not synced. The
//! new log start is made durable before the first file goes: power loss may undo any of the
//! removals, and a start then finishes them instead of finding a hole.

use std::sync::Arc;

use log_proto::types::{Offset, TimestampMs};

use crate::append::WriterState;
use crate::config::LogConfig;
use crate::error::{FileError, RetentionError};
use crate::log::{Inner, Progress};
use crate::segment::Segment;
use crate::sync::MutexGuard;

/// What a deletion did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retired {
    /// Segments that are gone.
    pub segments: usize,
    /// Bytes of log that they held.
    pub bytes: u64,
    /// The log's first offset now.
    pub log_start: Offset,
}

/// Whether the active segment was ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rolled {
    Yes,
    No,
}

/// Whether the new log start is durable on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartNoted {
    Yes,
    /// The disk is full, which deleting is to change: each removal is made durable before the
    /// next, so that power loss leaves no hole.
    No,
}

/// One segment, as far as choosing needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    bytes: u64,
    /// `None` when it holds no stamped record, or its indexes cannot be read.
    max_timestamp: Option<TimestampMs>,
    next_offset: Offset,
}

/// How many segments from the front are due. `total_bytes` counts all segments, the active one
/// too; `candidates` are those that may go, and are looked at only as far as they are due.
fn due(
    candidates: impl IntoIterator<Item = Candidate>,
    total_bytes: u64,
    log_start: Offset,
    config: &LogConfig,
    now: TimestampMs,
) -> usize {
    let mut bytes_left = total_bytes;
    let mut count = 0;
    for candidate in candidates {
        let deleted_already = candidate.next_offset <= log_start;
        let too_old = match (config.retention_ms, candidate.max_timestamp) {
            (Some(keep_ms), Some(stamp)) => {
                u64::try_from(now.since(stamp)).is_ok_and(|age| age > keep_ms)
            }
            _ => false,
        };
        let too_much = config
            .retention_bytes
            .is_some_and(|keep| bytes_left.saturating_sub(candidate.bytes) >= keep);
        if !(deleted_already || config.cleanup.deletes() && (too_old || too_much)) {
            break;
        }
        bytes_left -= candidate.bytes;
        count += 1;
    }
    count
}

impl Inner {
    pub(crate) fn apply_retention(self: &Arc<Self>) -> Result<Retired, RetentionError> {
        // Holding the commit lock keeps a commit from syncing what is about to be removed.
        let mut progress = self.hold_open()?;
        if self.roll_expired() == Rolled::Yes {
            // So that the segment may go. A failure is kept by the log, and no reason to stop here.
            let _ = self.sync(&mut progress);
        }
        let segments = self.segments.all();
        let durable = self.marks.synced_tail().segment;
        let durable = segments.iter().take_while(|segment| segment.base() < durable);
        let config = self.config.load();
        let candidates = durable.map(|segment| candidate(segment, &config));
        let total = self.segments.bytes();
        let log_start = self.marks.offsets().log_start;
        let count = due(candidates, total, log_start, &config, self.clock.now());
        self.drop_first(&segments, count, progress)
    }

    /// Takes the first `count` segments out of the log and removes their files.
    fn drop_first(
        &self,
        segments: &[Arc<Segment>],
        count: usize,
        progress: MutexGuard<'_, Progress>,
    ) -> Result<Retired, RetentionError> {
        let (retired, noted) = self.retire(segments, count)?;
        // Removing large files takes its time, and no commit is concerned any more. Only where the
        // order of removals matters nobody else may begin.
        let _alone = (noted == StartNoted::No).then_some(progress);
        let bytes = retired.iter().map(|segment| segment.end()).sum();
        for segment in &retired {
            segment.remove_files()?;
            if noted == StartNoted::No {
                self.folder.sync()?;
            }
        }
        let log_start = self.marks.offsets().log_start;
        Ok(Retired { segments: retired.len(), bytes, log_start })
    }

    pub(crate) fn delete_records_before(
        self: &Arc<Self>,
        offset: Offset,
    ) -> Result<Offset, RetentionError> {
        {
            let commit = self.hold_open()?;
            let offsets = self.marks.offsets();
            if offset > offsets.high_watermark {
                return Err(RetentionError::OutOfRange {
                    requested: offset,
                    log_start: offsets.log_start,
                    high_watermark: offsets.high_watermark,
                });
            }
            match self.move_start(offset) {
                Err(error) if error.is_disk_full() => {
                    self.make_room_below(offset, commit)?;
                    let _commit = self.hold_open()?;
                    self.move_start(offset)?;
                }
                moved => moved?,
            }
        }
        Ok(self.apply_retention()?.log_start)
    }

    /// Keeps commits out of a log that is open.
    fn hold_open(&self) -> Result<MutexGuard<'_, Progress>, RetentionError> {
        let commit = self.flush.hold();
        self.check_open()?;
        Ok(commit)
    }

    /// On a disk that has no room to note where the log is to start: what is to be deleted makes
    /// it. Segments go in their order, so that the log begins with the first that is left.
    fn make_room_below(
        &self,
        offset: Offset,
        progress: MutexGuard<'_, Progress>,
    ) -> Result<(), RetentionError> {
        let segments = self.segments.all();
        let durable = self.marks.synced_tail().segment;
        let is_below =
            |segment: &&Arc<Segment>| segment.base() < durable && segment.next_offset() <= offset;
        let count = segments.iter().take_while(is_below).count();
        self.drop_first(&segments, count, progress).map(drop)
    }

    /// Ends the active segment if all that it holds is too old: else the last records of a log
    /// that nobody writes to would never be deleted.
    fn roll_expired(&self) -> Rolled {
        let config = self.config.load();
        let Some(keep_ms) = config.retention_ms.filter(|_| config.cleanup.deletes()) else {
            return Rolled::No;
        };
        let mut writer = self.writer.lock();
        let newest = writer.active.segment().max_timestamp().ok().flatten();
        let is_expired = newest.is_some_and(|(stamp, _)| {
            u64::try_from(self.clock.now().since(stamp)).is_ok_and(|age| age > keep_ms)
        });
        if writer.active.size() > 0 && is_expired && self.roll(&mut writer).is_ok() {
            Rolled::Yes
        } else {
            Rolled::No
        }
    }

    /// Takes the first `count` segments out of the log; their files are still there.
    fn retire(
        &self,
        segments: &[Arc<Segment>],
        count: usize,
    ) -> Result<(Vec<Arc<Segment>>, StartNoted), RetentionError> {
        if count == 0 {
            return Ok((Vec::new(), StartNoted::Yes));
        }
        let start = segments[count].base();
        self.flush.unseal(start, &self.folder)?;
        let noted = match self.move_start(start) {
            Err(error) if error.is_disk_full() => StartNoted::No,
            moved => moved.map(|()| StartNoted::Yes)?,
        };
        self.marks.start_moved(start);
        // The writer alone changes the list, so this takes its lock.
        let _writer = self.writer.lock();
        Ok((self.segments.retire_front(count), noted))
    }

    /// The log starts at `offset` or behind it, durably. On a full disk it may have moved already
    /// without having been noted.
    fn move_start(&self, offset: Offset) -> Result<(), FileError> {
        let mut noted = self.noted_start.lock();
        if offset > *noted {
            crate::log_start::write(&self.folder, offset)?;
            *noted = offset;
            self.marks.start_moved(offset);
            self.epochs.lock().truncate_from_start(offset);
        }
        Ok(())
    }

    /// Notes where the log starts, if a full disk had no room for it when that moved. Otherwise the
    /// next start takes what was deleted for lost.
    pub(crate) fn note_start(&self) -> Result<(), FileError> {
        self.move_start(self.marks.offsets().log_start)
    }

    fn check_open(&self) -> Result<(), RetentionError> {
        match self.writer.lock().state {
            WriterState::Open => Ok(()),
            WriterState::Closed => Err(RetentionError::Closed),
        }
    }
}

fn candidate(segment: &Segment, config: &LogConfig) -> Candidate {
    let asks_age = config.cleanup.deletes() && config.retention_ms.is_some();
    // A segment whose indexes cannot be read is kept: deleting needs a reason.
    let max_timestamp = if asks_age { segment.max_timestamp().unwrap_or(None) } else { None };
    Candidate {
        bytes: segment.end(),
        max_timestamp: max_timestamp.map(|(stamp, _)| stamp),
        next_offset: segment.next_offset(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(sizes_and_stamps: &[(u64, i64)]) -> Vec<Candidate> {
        let mut next = 0;
        let candidate = |(bytes, stamp): &(u64, i64)| {
            next += 10;
            Candidate {
                bytes: *bytes,
                max_timestamp: Some(TimestampMs::new(*stamp)),
                next_offset: Offset::new(next).unwrap(),
            }
        };
        sizes_and_stamps.iter().map(candidate).collect()
    }

    fn config(retention_ms: Option<u64>, retention_bytes: Option<u64>) -> LogConfig {
        LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
    }

    fn count(candidates: &[Candidate], total: u64, start: i64, config: &LogConfig) -> usize {
        let now = TimestampMs::new(1000);
        let start = Offset::new(start).unwrap();
        due(candidates.iter().copied(), total, start, config, now)
    }

    #[test]
    fn age_deletes_from_the_front_and_stops_at_the_first_young_segment() {
        let segments = candidates(&[(10, 100), (10, 899), (10, 950), (10, 100)]);
        assert_eq!(count(&segments, 50, 0, &config(Some(100), None)), 2);
    }

    #[test]
    fn size_keeps_at_least_what_was_asked_for() {
        let segments = candidates(&[(10, 0), (10, 0), (10, 0)]);
        assert_eq!(count(&segments, 35, 0, &config(None, Some(20))), 1);
        assert_eq!(count(&segments, 35, 0, &config(None, Some(35))), 0);
        assert_eq!(count(&segments, 35, 0, &config(None, Some(0))), 3);
    }

    #[test]
    fn what_lies_below_the_log_start_goes_whatever_the_policy() {
        let segments = candidates(&[(10, 0), (10, 0)]);
        let keep = LogConfig {
            cleanup: crate::config::CleanupPolicy::Compact,
            ..config(Some(1), Some(0))
        };
        assert_eq!(count(&segments, 20, 15, &keep), 1);
    }
}
