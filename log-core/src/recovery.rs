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

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use log_proto::record::BatchHeader;
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use crate::error::{Damage, FileError, OpenError, ReadError};
use crate::folder::{Folder, failed};
use crate::index::AbortedTxn;
use crate::io::{File, OpenMode};
use crate::leader_epoch::LeaderEpochCache;
use crate::log::Rolled;
use crate::log_checkpoint::{LeftAs, LogCheckpoint};
use crate::offsets::Tail;
use crate::producer::{AppendOrigin, ProducerStates, SequenceCheck, TxnOutcome};
use crate::read::read_batch;
use crate::segment::{
    ActiveSegment, Check, FileName, IndexEntryDue, IndexSlot, IndexSums, Indexes, Located, Seal,
    Segment, WalkError,
};

/// How much is copied or looked at in one piece.
const CHUNK_BYTES: usize = 1 << 20;

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
#[derive(Clone, PartialEq, Eq, Debug)]
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
    let Some(plan) = Plan::make(folder, &survey, log_start, checkpoint)? else {
        return begin(folder, log_start, epoch);
    };
    let mut run = Run::prepare(folder, &survey, plan)?;
    if run.plan.found_as == FoundAs::Crashed {
        let end = run.scan()?;
        // Who is fenced changes nothing.
        run.check_owner(epoch)?;
        run.cut(folder, end)?;
        run.make_tail_durable()?;
    }
    run.check_owner(epoch)?;
    survey.remove_stale_snapshots(folder, run.end_offset())?;
    if run.end_offset() < log_start {
        run.begin_again(folder, log_start)?;
    }
    run.finish(folder, log_start, epoch, now)
}

/// A folder without a log gets its first, empty segment.
fn begin(folder: &Folder, log_start: Offset, epoch: LeaderEpoch) -> Result<Recovered, OpenError> {
    let active = ActiveSegment::create(folder, log_start)?;
    folder.sync()?;
    let mut epochs = LeaderEpochCache::default();
    epochs.assign(epoch, log_start);
    Ok(Recovered {
        segments: vec![Arc::clone(active.segment())],
        end: Tail { offset: log_start, segment: log_start, position: 0 },
        active,
        log_start,
        producers: ProducerStates::default(),
        epochs,
        unsealed: Vec::new(),
        report: RecoveryReport {
            found_as: FoundAs::New,
            scanned_bytes: 0,
            cuts: Vec::new(),
            damages: Vec::new(),
        },
    })
}

/// What lies in the folder.
#[derive(Default, Debug)]
struct Survey {
    /// Log files with their lengths.
    logs: BTreeMap<Offset, u64>,
    snapshots: Vec<Offset>,
    windows: Vec<Offset>,
    /// Indexes and seals.
    derived: Vec<(Offset, FileName)>,
    /// What was written aside and not renamed.
    leftovers: Vec<FileName>,
}

impl Survey {
    /// Pass 1. Names that are not ours are left alone.
    fn of(folder: &Folder) -> Result<Self, FileError> {
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
    fn remove_leftovers(&self, folder: &Folder) -> Result<(), FileError> {
        self.leftovers.iter().try_for_each(|name| folder.remove(name))
    }

    /// The segment that holds the log's start. What lies before it is deleted: there may be holes.
    fn floor(&self, log_start: Offset) -> Option<Offset> {
        let before = self.logs.range(..=log_start).next_back();
        before.or(self.logs.first_key_value()).map(|(base, _)| *base)
    }

    /// What the checkpoint says was synced, and is not there.
    fn lost(&self, folder: &Folder, checkpoint: &LogCheckpoint) -> Option<Damage> {
        let Tail { segment, position, .. } = checkpoint.recovery_point;
        let bytes = self.logs.get(&segment).copied().unwrap_or(0);
        (bytes < position).then(|| Damage {
            file: folder.path_of(&FileName::Log(segment)),
            position: bytes,
            detail: format!("the file has {bytes} bytes, of which {position} were synced"),
        })
    }

    /// Keeps the snapshots at the segments' starts and the newest one. One from behind the log's
    /// end must go: it tells of batches that are gone, and the log will pass its offset again.
    fn remove_stale_snapshots(&self, folder: &Folder, end: Offset) -> Result<(), FileError> {
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
    fn finish_deletions(&mut self, folder: &Folder, log_start: Offset) -> Result<(), FileError> {
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

/// Pass 3: what need not be looked at, and where looking starts.
#[derive(Debug)]
struct Plan {
    found_as: FoundAs,
    /// Everything below is taken as it is.
    from: Tail,
    active_since: Option<TimestampMs>,
    /// Of the segment that `from` lies in.
    indexes: Option<IndexSums>,
    epochs: Option<LeaderEpochCache>,
    /// See [`Survey::floor`].
    floor: Option<Offset>,
    /// What the checkpoint says was synced, and is not there.
    lost: Option<Damage>,
}

impl Plan {
    /// `None` when there is no log.
    fn make(
        folder: &Folder,
        survey: &Survey,
        log_start: Offset,
        checkpoint: Option<LogCheckpoint>,
    ) -> Result<Option<Self>, FileError> {
        let Some((last, last_bytes)) = survey.logs.last_key_value() else {
            return Ok(None);
        };
        let floor = survey.floor(log_start);
        // One from before a deletion may be all that power loss left.
        let checkpoint = checkpoint.filter(|checkpoint| {
            floor.is_some_and(|floor| checkpoint.recovery_point.segment >= floor)
        });
        let fits = |checkpoint: &LogCheckpoint| {
            let Tail { segment, position, .. } = checkpoint.recovery_point;
            survey.logs.get(&segment).is_some_and(|bytes| position <= *bytes)
        };
        let lost = checkpoint.as_ref().and_then(|checkpoint| survey.lost(folder, checkpoint));
        let Some(checkpoint) = checkpoint.filter(fits) else {
            let from = behind_seals(folder, survey, floor)?;
            return Ok(from.map(|from| Self {
                found_as: FoundAs::Crashed,
                from,
                active_since: None,
                indexes: None,
                epochs: None,
                floor,
                lost,
            }));
        };
        let from = checkpoint.recovery_point;
        let untouched = from.segment == *last && from.position == *last_bytes;
        let found_as = match checkpoint.left_as {
            LeftAs::Clean if untouched => FoundAs::Clean,
            LeftAs::Clean | LeftAs::Running => FoundAs::Crashed,
        };
        Ok(Some(Self {
            found_as,
            from,
            active_since: checkpoint.active_since,
            indexes: Some(checkpoint.indexes),
            epochs: Some(checkpoint.epochs),
            floor,
            lost,
        }))
    }
}

/// Without a checkpoint, seals say what was synced: a segment gets one only after it and all
/// before it were. So everything up to the last one is below the recovery point, and damage there
/// is no reason to cut. Neither is a hole where segments were being deleted.
fn behind_seals(
    folder: &Folder,
    survey: &Survey,
    floor: Option<Offset>,
) -> Result<Option<Tail>, FileError> {
    let bases: Vec<Offset> = survey.logs.keys().copied().collect();
    let mut start = floor;
    for pair in bases.windows(2).rev() {
        if Seal::read(folder, pair[0])?.is_some() {
            start = start.max(Some(pair[1]));
            break;
        }
    }
    Ok(start.map(|base| Tail { offset: base, segment: base, position: 0 }))
}

/// Passes 4 to 7 work on this.
struct Run {
    plan: Plan,
    segments: Vec<Arc<Segment>>,
    replay: Replay,
    unsealed: Vec<Rolled>,
    report: RecoveryReport,
}

/// State that follows from the batches, one after the other.
struct Replay {
    producers: ProducerStates,
    epochs: LeaderEpochCache,
}

/// Where the good part of the log ends, and why.
struct ScanEnd {
    /// Place of the last segment that is kept.
    segment: usize,
    position: u64,
    offset: Offset,
    damage: Option<String>,
}

impl Run {
    /// Pass 4.
    fn prepare(folder: &Folder, survey: &Survey, plan: Plan) -> Result<Self, OpenError> {
        let mut report = RecoveryReport {
            found_as: plan.found_as,
            scanned_bytes: 0,
            cuts: Vec::new(),
            damages: plan.lost.iter().cloned().collect(),
        };
        let mut unsealed = Vec::new();
        let segments = known_segments(folder, survey, &plan, &mut report, &mut unsealed)?;
        let below: Vec<Arc<Segment>> = segments
            .iter()
            .filter(|segment| segment.base() <= plan.from.segment)
            .cloned()
            .collect();
        let mut replay = Replay {
            producers: ProducerStates::default(),
            epochs: plan.epochs.clone().unwrap_or_default(),
        };
        // Epochs that no checkpoint lists must be read from every batch.
        let first = segments.first().map_or(Offset::ZERO, |first| first.base());
        let newest = if plan.epochs.is_some() { plan.from.offset } else { first };
        let (states, from) = newest_snapshot(folder, &survey.snapshots, newest)?;
        replay.producers = states;
        report.damages.extend(replay.walk(&below, from, plan.from, &mut unsealed)?);
        // Nobody misses what is deleted.
        let deleted = below.iter().filter(|segment| Some(segment.base()) < plan.floor);
        let deleted: Vec<PathBuf> = deleted.map(|segment| segment.log_path()).collect();
        report.damages.retain(|damage| !deleted.contains(&damage.file));
        Ok(Self { plan, segments, replay, unsealed, report })
    }

    /// Pass 5: every byte above the recovery point is checked; state and indexes follow.
    fn scan(&mut self) -> Result<ScanEnd, OpenError> {
        let first =
            self.segments.partition_point(|segment| segment.base() < self.plan.from.segment);
        let mut end = ScanEnd {
            segment: first,
            position: self.plan.from.position,
            offset: self.plan.from.offset,
            damage: None,
        };
        for place in first..self.segments.len() {
            let segment = Arc::clone(&self.segments[place]);
            if place > first {
                if segment.base() != end.offset {
                    end.damage = Some(format!(
                        "the next segment starts at offset {}, expected {}",
                        segment.base(),
                        end.offset
                    ));
                    break;
                }
                self.unsealed.push(Rolled {
                    segment: Arc::clone(&self.segments[place - 1]),
                    producers: Some(self.replay.producers.clone()),
                });
                end = ScanEnd { segment: place, position: 0, ..end };
            }
            self.scan_segment(&segment, &mut end)?;
            let next = self.segments.get(place + 1).map(|next| next.base());
            if end.damage.is_some() && next == Some(end.offset) {
                end.damage = trim_room(&segment, end.damage)?;
            }
            if end.damage.is_some() {
                break;
            }
        }
        Ok(end)
    }

    fn scan_segment(&mut self, segment: &Arc<Segment>, end: &mut ScanEnd) -> Result<(), OpenError> {
        let file = segment.file()?;
        let len = file.len().map_err(failed("read", segment.log_path()))?;
        let mut builder =
            IndexBuilder::above(segment, end.position, end.offset).map_err(into_open_error)?;
        let mut walk = segment.walk(Check::Checksums, end.position, len)?.expecting(end.offset);
        let start = end.position;
        end.damage = loop {
            match walk.next() {
                Ok(Some(batch)) => {
                    let aborted = self.replay.step(segment, &batch).map_err(into_open_error)?;
                    builder.add(&batch, aborted);
                    end.position = walk.position();
                    end.offset = batch.header.next_offset();
                }
                Ok(None) => break None,
                Err(WalkError::Damaged(damage)) => break Some(damage.detail),
                Err(WalkError::File(error)) => return Err(error.into()),
            }
        };
        self.report.scanned_bytes += end.position - start;
        segment.settle(end.position, end.offset);
        segment.set_indexes(builder.finish());
        Ok(())
    }

    fn end_offset(&self) -> Offset {
        self.segments.last().map_or(Offset::ZERO, |last| last.next_offset())
    }

    /// The log has been written under no newer epoch.
    fn check_owner(&self, asked: LeaderEpoch) -> Result<(), OpenError> {
        match self.replay.epochs.latest().map(|latest| latest.epoch) {
            Some(latest) if latest > asked => Err(OpenError::FencedLeaderEpoch { asked, latest }),
            _ => Ok(()),
        }
    }

    /// Pass 6.
    fn cut(&mut self, folder: &Folder, end: ScanEnd) -> Result<(), OpenError> {
        let Some(reason) = end.damage else {
            return Ok(());
        };
        let kept = Arc::clone(&self.segments[end.segment]);
        let file = kept.file()?;
        let len = file.len().map_err(failed("read", kept.log_path()))?;
        if len > end.position {
            let saved_to = save_tail(folder, &kept, &*file, end.position, len)?;
            file.set_len(end.position).map_err(failed("cut", kept.log_path()))?;
            folder.remove(&FileName::Seal(kept.base()))?;
            // Zeros are room that was made ahead, and no loss.
            self.report.cuts.extend(saved_to.map(|saved_to| Cut {
                file: kept.log_path(),
                position: end.position,
                bytes: len - end.position,
                reason: reason.clone(),
                saved_to,
            }));
        }
        for later in self.segments.split_off(end.segment + 1) {
            if !any_set(&later, &*later.file()?, 0, later.end())? {
                later.remove_files()?;
                continue;
            }
            let saved = FileName::Cut { base_offset: later.base(), position: 0 };
            folder.rename(&FileName::Log(later.base()), &saved)?;
            later.remove_derived()?;
            self.report.cuts.push(Cut {
                file: later.log_path(),
                position: 0,
                bytes: later.end(),
                reason: format!("behind a cut: {reason}"),
                saved_to: folder.path_of(&saved),
            });
        }
        Ok(())
    }

    /// Pass 7: see the module's word on the page cache.
    fn make_tail_durable(&mut self) -> Result<(), OpenError> {
        for segment in &self.segments {
            if segment.base() < self.plan.from.segment {
                continue;
            }
            let in_first = segment.base() == self.plan.from.segment;
            let start = if in_first { self.plan.from.position } else { 0 };
            rewrite(segment, start)?;
        }
        let folder = self.segments[0].folder();
        Ok(folder.sync()?)
    }

    /// Power loss may take records that were deleted, but not that they were: the log then ends
    /// before its start. Nothing of it is left to read; it goes on from there.
    fn begin_again(&mut self, folder: &Folder, log_start: Offset) -> Result<(), OpenError> {
        self.unsealed.clear();
        self.replay.producers.forget_txns();
        write_snapshot(folder, log_start, &self.replay.producers)?;
        let active = ActiveSegment::create(folder, log_start)?;
        folder.sync()?;
        for deleted in std::mem::replace(&mut self.segments, vec![Arc::clone(active.segment())]) {
            deleted.remove_files()?;
        }
        Ok(())
    }

    fn finish(
        mut self,
        folder: &Folder,
        log_start: Offset,
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Recovered, OpenError> {
        let last = self.segments.last().map(Arc::clone).expect("a plan has at least one segment");
        let end = Tail { offset: last.next_offset(), segment: last.base(), position: last.end() };
        self.replay.epochs.assign(epoch, end.offset);
        let log_start = log_start.max(self.segments[0].base());
        // Of a segment whose age got lost, it counts from now on.
        let known = self.plan.active_since.filter(|_| last.base() == self.plan.from.segment);
        let active_since = known.or((end.position > 0).then_some(now));
        let active = ActiveSegment::reopen(Arc::clone(&last), active_since);
        let recovered = Recovered {
            segments: self.segments,
            active,
            end,
            log_start,
            producers: self.replay.producers,
            epochs: self.replay.epochs,
            unsealed: self.unsealed,
            report: self.report,
        };
        if recovered.report.found_as == FoundAs::Crashed
            && let Ok(indexes) = last.persist_indexes()
        {
            let checkpoint = LogCheckpoint {
                left_as: LeftAs::Running,
                recovery_point: end,
                active_since,
                indexes,
                epochs: recovered.epochs.clone(),
            };
            // A hint. On a full disk the log opens without it, and the next start looks again.
            let _ = checkpoint.write(folder);
        }
        Ok(recovered)
    }
}

/// Segments with what is known of them. Those below the recovery point are taken as they are;
/// only one without a seal is opened, to find where its batches end.
fn known_segments(
    folder: &Folder,
    survey: &Survey,
    plan: &Plan,
    report: &mut RecoveryReport,
    unsealed: &mut Vec<Rolled>,
) -> Result<Vec<Arc<Segment>>, FileError> {
    let mut segments = Vec::new();
    let mut logs = survey.logs.iter().peekable();
    while let Some((base, bytes)) = logs.next() {
        let next = logs.peek().map_or(*base, |(next, _)| **next);
        let seal = if *base < plan.from.segment { Seal::read(folder, *base)? } else { None };
        let indexes = match &seal {
            Some(seal) => IndexSlot::OnDisk(seal.indexes),
            None if *base == plan.from.segment => {
                plan.indexes.map_or(IndexSlot::Unknown, IndexSlot::OnDisk)
            }
            None => IndexSlot::Unknown,
        };
        let known = |end, offset| Segment::known(folder.clone(), *base, end, offset, indexes);
        let segment = Arc::new(if *base == plan.from.segment {
            known(plan.from.position, plan.from.offset)
        } else {
            known(*bytes, next)
        });
        if *base < plan.from.segment {
            match seal {
                Some(seal) => report.damages.extend(check_seal(&segment, &seal, next)),
                None => {
                    report.damages.extend(find_end(&segment)?);
                    let segment = Arc::clone(&segment);
                    unsealed.push(Rolled { segment, producers: None });
                }
            }
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// What a segment's seal has to say, without reading the segment.
fn check_seal(segment: &Segment, seal: &Seal, next: Offset) -> Option<Damage> {
    let bytes = segment.end();
    if seal.log_bytes != bytes {
        let detail = format!("the file has {bytes} bytes, it was sealed with {}", seal.log_bytes);
        return Some(segment.damage(bytes.min(seal.log_bytes), detail));
    }
    (seal.next_offset != next).then(|| {
        let sealed = seal.next_offset;
        let detail = format!("the next segment starts at offset {next}, not at {sealed}");
        segment.damage(bytes, detail)
    })
}

/// Power loss can undo the trimming of a segment that was rolled. Where the next one goes on just
/// where this one ends, zeros in between are nothing but room.
fn trim_room(segment: &Segment, damage: Option<String>) -> Result<Option<String>, FileError> {
    let file = segment.file()?;
    let len = file.len().map_err(failed("read", segment.log_path()))?;
    if any_set(segment, &*file, segment.end(), len)? {
        return Ok(damage);
    }
    file.set_len(segment.end()).map_err(failed("trim", segment.log_path()))?;
    Ok(None)
}

/// Leaves out the zeros behind the last batch of a segment that was rolled just before a crash.
/// Anything else there is damage, and stays.
fn find_end(segment: &Segment) -> Result<Option<Damage>, FileError> {
    let mut walk = segment.walk(Check::Headers, 0, segment.end())?.expecting(segment.base());
    let damage = loop {
        match walk.next() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(WalkError::File(error)) => return Err(error),
            Err(WalkError::Damaged(damage)) => break damage,
        }
    };
    let file = segment.file()?;
    if any_set(segment, &*file, walk.position(), segment.end())? {
        return Ok(Some(damage));
    }
    segment.settle(walk.position(), segment.next_offset());
    Ok(None)
}

impl Replay {
    /// Brings the state from offset `from` up to `to`, by headers; those of `unsealed` that it
    /// passes learn the state at their end. What is damaged there is passed over and returned: it
    /// must not keep the rest of the log from being served.
    fn walk(
        &mut self,
        segments: &[Arc<Segment>],
        from: Offset,
        to: Tail,
        unsealed: &mut [Rolled],
    ) -> Result<Vec<Damage>, FileError> {
        let mut damages = Vec::new();
        for segment in segments {
            if segment.next_offset() <= from || segment.base() > to.segment {
                continue;
            }
            let limit = if segment.base() == to.segment { to.position } else { segment.end() };
            let mut start = from.max(segment.base());
            while let Err(error) = self.walk_segment(segment, start, limit) {
                let damage = match error {
                    ReadError::File(error) => return Err(error),
                    ReadError::Damaged { damage, .. } => damage,
                    ReadError::OutOfRange { .. } => unreachable!("a walk is asked for no offset"),
                };
                let sound = segment.sound_after(damage.position, limit);
                damages.push(damage);
                match sound.map(|batch| batch.header.base_offset()).filter(|sound| *sound > start) {
                    Some(sound) => start = sound,
                    None => break,
                }
            }
            let base = segment.base();
            if let Some(rolled) = unsealed.iter_mut().find(|rolled| rolled.segment.base() == base) {
                rolled.producers = Some(self.producers.clone());
            }
        }
        Ok(damages)
    }

    fn walk_segment(
        &mut self,
        segment: &Segment,
        from: Offset,
        limit: u64,
    ) -> Result<(), ReadError> {
        let Some(first) = segment.locate(from, limit)? else { return Ok(()) };
        let mut walk = segment.walk(Check::Headers, first.position, limit)?;
        while let Some(batch) = walk.next()? {
            self.step(segment, &batch)?;
        }
        Ok(())
    }

    /// One batch; returns the transaction that it aborted.
    fn step(
        &mut self,
        segment: &Segment,
        batch: &Located,
    ) -> Result<Option<AbortedTxn>, ReadError> {
        let header = &batch.header;
        if let Some(epoch) = header.leader_epoch() {
            self.epochs.assign(epoch, header.base_offset());
        }
        if header.producer().is_none() {
            return Ok(None);
        }
        let control = if header.is_control() {
            let read = read_batch(segment, batch)?.control_record();
            Some(read.map_err(|error| segment.damage(batch.position, error.to_string()))?)
        } else {
            None
        };
        let checked = self.producers.check(header, AppendOrigin::Recovery, control.as_ref());
        let Ok(SequenceCheck::Fresh(info)) = checked else {
            return Ok(None);
        };
        let completed = self.producers.apply(info, header);
        Ok(completed.filter(|txn| txn.outcome == TxnOutcome::Abort).map(|txn| AbortedTxn {
            producer_id: txn.producer_id,
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset: self.producers.last_stable_offset_after(&txn),
        }))
    }
}

/// The newest snapshot at or below `upto` that can be read, and the offset that it stands for.
fn newest_snapshot(
    folder: &Folder,
    snapshots: &[Offset],
    upto: Offset,
) -> Result<(ProducerStates, Offset), FileError> {
    for offset in snapshots.iter().rev().filter(|offset| **offset <= upto) {
        if let Some(states) = read_snapshot(folder, *offset)? {
            return Ok((states, *offset));
        }
    }
    Ok((ProducerStates::default(), Offset::ZERO))
}

/// Snapshots hold every producer of the last day; a larger file is none of ours.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

fn read_snapshot(folder: &Folder, offset: Offset) -> Result<Option<ProducerStates>, FileError> {
    let Some(bytes) = folder.read_hint(&FileName::Snapshot(offset), SNAPSHOT_BYTES_MAX)? else {
        return Ok(None);
    };
    let Ok(mut states) = crate::producer::snapshot::decode(&bytes) else {
        return Ok(None);
    };
    let window = folder.read_hint(&FileName::Window(offset), SNAPSHOT_BYTES_MAX)?;
    if let Some(window) = window {
        // Without the window, only the newest batch of each producer is recognised when repeated.
        let _ = crate::producer::window::merge(&mut states, &window);
    }
    Ok(Some(states))
}

/// Writes the producer state as of `offset`, in Kafka's format, with our window beside it. Once
/// the folder is synced too, what lies before `offset` may be deleted: without a snapshot, a start
/// has to replay it.
pub(crate) fn write_snapshot(
    folder: &Folder,
    offset: Offset,
    states: &ProducerStates,
) -> Result<(), FileError> {
    let window = crate::producer::window::encode(states);
    crate::durable::replace_unsynced(folder, &FileName::Window(offset), &window)?;
    let snapshot = crate::producer::snapshot::encode(states);
    crate::durable::replace_unsynced(folder, &FileName::Snapshot(offset), &snapshot)
}

/// Rebuilds a segment's indexes from its log file.
pub(crate) fn build_indexes(segment: &Segment) -> Result<Indexes, ReadError> {
    let folder = segment.folder();
    let survey = Survey::of(folder)?;
    let base = segment.base();
    // Which transactions were open at the segment's start is in the batches before it.
    let (producers, from) = newest_snapshot(folder, &survey.snapshots, base)?;
    let mut replay = Replay { producers, epochs: LeaderEpochCache::default() };
    let mut earlier = Vec::new();
    let bases: Vec<(Offset, u64)> = survey.logs.range(..base).map(|(b, len)| (*b, *len)).collect();
    for (place, (at, len)) in bases.iter().enumerate() {
        let next = bases.get(place + 1).map_or(base, |(next, _)| *next);
        let indexes = IndexSlot::Loaded(Box::new(Indexes::empty(*at)));
        earlier.push(Arc::new(Segment::known(folder.clone(), *at, *len, next, indexes)));
    }
    let to = Tail { offset: base, segment: base, position: 0 };
    replay.walk(&earlier, from, to, &mut [])?;

    let mut builder = IndexBuilder { indexes: Indexes::empty(base), since_entry: 0 };
    let mut walk = segment.walk(Check::Headers, 0, segment.end())?.expecting(base);
    while let Some(batch) = walk.next()? {
        let aborted = replay.step(segment, &batch)?;
        builder.add(&batch, aborted);
    }
    Ok(builder.finish())
}

/// Kafka's default interval. What the topic says does not matter here: an index that is denser or
/// sparser answers the same.
const INDEX_INTERVAL_BYTES: u64 = 4096;

struct IndexBuilder {
    indexes: Indexes,
    since_entry: u64,
}

impl IndexBuilder {
    /// Goes on behind byte `position`, keeping what the files say of the bytes before.
    fn above(segment: &Segment, position: u64, offset: Offset) -> Result<Self, ReadError> {
        let base = segment.base();
        let indexes = if position == 0 {
            Indexes::empty(base)
        } else {
            match segment.indexes_below(offset)? {
                Some(indexes) => indexes,
                None => build_indexes(segment)?,
            }
        };
        let mut builder = Self { indexes, since_entry: 0 };
        builder.look_back(segment, position)?;
        Ok(builder)
    }

    /// The time index knows the largest timestamp up to the last offset index entry; the batches
    /// from there to byte `position` have to be asked.
    fn look_back(&mut self, segment: &Segment, position: u64) -> Result<(), ReadError> {
        let start = self.indexes.offset.last().map_or(0, |entry| u64::from(entry.position));
        let mut walk = segment.walk(Check::Headers, start, position)?;
        // Damage below the recovery point is left alone, here too.
        while let Ok(Some(batch)) = walk.next() {
            let header = &batch.header;
            self.indexes.appended(
                batch.position,
                header.last_offset(),
                header.max_timestamp(),
                IndexEntryDue::Later,
            );
        }
        Ok(())
    }

    fn add(&mut self, batch: &Located, aborted: Option<AbortedTxn>) {
        let header: &BatchHeader = &batch.header;
        let due = if self.since_entry > INDEX_INTERVAL_BYTES {
            self.since_entry = 0;
            IndexEntryDue::Now
        } else {
            IndexEntryDue::Later
        };
        self.indexes.appended(batch.position, header.last_offset(), header.max_timestamp(), due);
        self.since_entry += header.size_bytes() as u64;
        if let Some(aborted) = aborted {
            self.indexes.add_aborted(&aborted);
        }
    }

    fn finish(mut self) -> Indexes {
        self.indexes.settle_time();
        self.indexes
    }
}

/// Keeps the bytes from `start` on in a file of their own, durably; `None` if they are all zeros.
fn save_tail(
    folder: &Folder,
    segment: &Segment,
    file: &dyn File,
    start: u64,
    end: u64,
) -> Result<Option<PathBuf>, FileError> {
    if !any_set(segment, file, start, end)? {
        return Ok(None);
    }
    let name = FileName::Cut { base_offset: segment.base(), position: start };
    let path = folder.path_of(&name);
    // Behind what was cut off here before, and may be wanted as well.
    let (saved, behind) = match folder.open(&name, OpenMode::CreateNew) {
        Ok(saved) => (saved, 0),
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            (folder.open(&name, OpenMode::Write)?, folder.len(&name)?)
        }
        Err(error) => return Err(error),
    };
    for_chunks(segment, file, start, end, |chunk, position| {
        saved
            .write_at(&[IoSlice::new(chunk)], behind + position - start)
            .map_err(failed("write", path.clone()))
    })?;
    saved.sync_data().map_err(failed("sync", path.clone()))?;
    folder.sync()?;
    Ok(Some(path))
}

fn any_set(segment: &Segment, file: &dyn File, start: u64, end: u64) -> Result<bool, FileError> {
    let mut set = false;
    for_chunks(segment, file, start, end, |chunk, _| {
        set |= chunk.iter().any(|byte| *byte != 0);
        Ok(())
    })?;
    Ok(set)
}

/// Writes the segment's bytes from `start` on over themselves, and syncs them.
fn rewrite(segment: &Segment, start: u64) -> Result<(), FileError> {
    let file = segment.file()?;
    for_chunks(segment, &*file, start, segment.end(), |chunk, position| {
        file.write_at(&[IoSlice::new(chunk)], position).map_err(failed("write", segment.log_path()))
    })?;
    file.sync_data().map_err(failed("sync", segment.log_path()))
}

fn for_chunks(
    segment: &Segment,
    file: &dyn File,
    mut position: u64,
    end: u64,
    mut each: impl FnMut(&[u8], u64) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let chunk = &mut buffer[..wanted];
        file.read_exact_at(chunk, position).map_err(failed("read", segment.log_path()))?;
        each(chunk, position)?;
        position += wanted as u64;
    }
    Ok(())
}

fn into_open_error(error: ReadError) -> OpenError {
    match error {
        ReadError::Damaged { damage, .. } => damage.into(),
        ReadError::File(error) => error.into(),
        ReadError::OutOfRange { .. } => unreachable!("recovery asks for no offset"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Disk;

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
        let logs = logs.map(|(base, bytes)| (offset(base), bytes)).into();
        for base in sealed {
            let (log_crc, indexes) = Default::default();
            let next_offset = offset(base + 10);
            let seal = Seal { log_bytes: 1000, log_crc, next_offset, indexes };
            seal.write(&folder, offset(*base)).unwrap();
        }
        (root, folder, Survey { logs, ..Survey::default() })
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
            let plan =
                Plan::make(&folder, &survey, offset(log_start), checkpoint).unwrap().unwrap();
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
            let plan =
                Plan::make(&folder, &survey, offset(log_start), checkpoint).unwrap().unwrap();
            assert_eq!(plan.lost.is_some(), is_lost, "{recovery_point:?}");
        }
    }

    #[test]
    fn a_folder_without_a_log_needs_no_plan() {
        let (_root, folder, _) = folder(&[]);
        let checkpoint = Some(checkpoint(LeftAs::Clean, tail(20, 300)));
        let plan = Plan::make(&folder, &Survey::default(), offset(0), checkpoint).unwrap();
        assert!(plan.is_none());
    }
}
