//! Putting the log in order as the plan says: passes 4 to 7.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::bytes::{any_set, rewrite, save_tail};
use super::indexes::IndexBuilder;
use super::plan::Plan;
use super::replay::{Replay, write_snapshot};
use super::survey::{Survey, no_file_holds};
use super::table::{self, Behind, Here, Next, Then};
use super::{Cut, FoundAs, Recovered, RecoveryReport, into_open_error};
use crate::error::{Damage, FileError, OpenError};
use crate::folder::{Folder, failed};
use crate::log::Rolled;
use crate::log_checkpoint::{LeftAs, LogCheckpoint};
use crate::offsets::Tail;
use crate::segment::{ActiveSegment, Check, FileName, IndexSlot, Seal, Segment, WalkError};

/// Passes 4 to 7 work on this.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) replay: Replay,
    pub(super) unsealed: Vec<Rolled>,
    pub(super) report: RecoveryReport,
}

/// Where the good part of the log ends, and why.
pub(super) struct ScanEnd {
    /// Place of the last segment that is kept.
    segment: usize,
    position: u64,
    offset: Offset,
    damage: Option<String>,
    here: Here,
    then: Then,
}

impl Run {
    /// Pass 4.
    pub(super) fn prepare(folder: &Folder, survey: &Survey, plan: Plan) -> Result<Self, OpenError> {
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
        // Epochs that no checkpoint lists must be read from every batch.
        let first = segments.first().map_or(Offset::ZERO, |first| first.base());
        let newest = if plan.epochs.is_some() { plan.from.offset } else { first };
        let epochs = plan.epochs.clone().unwrap_or_default();
        let (mut replay, from) = Replay::from(folder, &survey.snapshots, first..=newest, epochs)?;
        report.damages.extend(replay.walk(&below, from, plan.from, &mut unsealed)?);
        // Nobody misses what is deleted.
        let deleted = below.iter().filter(|segment| Some(segment.base()) < plan.floor);
        let deleted: Vec<PathBuf> = deleted.map(|segment| segment.log_path()).collect();
        report.damages.retain(|damage| !deleted.contains(&damage.file));
        report.damages.dedup();
        Ok(Self { plan, segments, replay, unsealed, report })
    }

    /// Pass 5: every byte above the recovery point is checked; state and indexes follow.
    pub(super) fn scan(&mut self) -> Result<ScanEnd, OpenError> {
        let mut place =
            self.segments.partition_point(|segment| segment.base() < self.plan.from.segment);
        let mut end = ScanEnd {
            segment: place,
            position: self.plan.from.position,
            offset: self.plan.from.offset,
            damage: None,
            here: Here::Keep,
            then: Then::EndsHere,
        };
        loop {
            let segment = Arc::clone(&self.segments[place]);
            self.scan_segment(&segment, &mut end)?;
            self.decide(&segment, &mut end)?;
            if end.then != Then::GoOn {
                return Ok(end);
            }
            if end.here == Here::Trim {
                segment.trim()?;
            }
            let producers = Some(self.replay.producers.clone());
            self.unsealed.push(Rolled { segment, producers });
            place += 1;
            end = ScanEnd { segment: place, position: 0, damage: None, ..end };
        }
    }

    /// What is to be done where the scan of a segment has ended.
    fn decide(&self, segment: &Segment, end: &mut ScanEnd) -> Result<(), FileError> {
        let behind = look_behind(segment, end.position)?;
        let next = match self.segments.get(end.segment + 1).map(|next| next.base()) {
            None => Next::NoSegment,
            Some(base) if base == end.offset => Next::Adjoins,
            Some(base) => {
                let expected = end.offset;
                end.damage.get_or_insert_with(|| {
                    format!("the next segment starts at offset {base}, expected {expected}")
                });
                Next::Apart
            }
        };
        (end.here, end.then) = table::segment_end(behind, next);
        Ok(())
    }

    pub(super) fn scan_segment(
        &mut self,
        segment: &Arc<Segment>,
        end: &mut ScanEnd,
    ) -> Result<(), OpenError> {
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

    pub(super) fn end_offset(&self) -> Offset {
        self.segments.last().map_or(Offset::ZERO, |last| last.next_offset())
    }

    /// Pass 6.
    pub(super) fn cut(&mut self, folder: &Folder, end: ScanEnd) -> Result<(), OpenError> {
        let kept = Arc::clone(&self.segments[end.segment]);
        let reason = end.damage.unwrap_or_default();
        if end.here != Here::Keep {
            let file = kept.file()?;
            let len = file.len().map_err(failed("read", kept.log_path()))?;
            if end.here == Here::SaveAndCut {
                let saved_to = save_tail(folder, &kept, &*file, end.position, len)?;
                self.report.cuts.push(Cut {
                    file: kept.log_path(),
                    position: end.position,
                    bytes: len - end.position,
                    reason: reason.clone(),
                    saved_to,
                });
            }
            file.set_len(end.position).map_err(failed("cut", kept.log_path()))?;
            folder.remove(&FileName::Seal(kept.base()))?;
        }
        match end.then {
            Then::SetLaterAside => self.set_aside(folder, end.segment + 1, &reason),
            Then::EndsHere | Then::GoOn => Ok(()),
        }
    }

    /// Renames the segments from the one at `place` on; those that hold nothing go.
    fn set_aside(&mut self, folder: &Folder, place: usize, why: &str) -> Result<(), OpenError> {
        for later in self.segments.split_off(place) {
            if !any_set(&later, &*later.file()?, 0, later.end())? {
                later.remove_files()?;
                continue;
            }
            let saved_to = set_aside(folder, &later)?;
            later.remove_derived()?;
            self.report.cuts.push(Cut {
                file: later.log_path(),
                position: 0,
                bytes: later.end(),
                reason: format!("behind a cut: {why}"),
                saved_to,
            });
        }
        Ok(())
    }

    /// Pass 7: see the module's word on the page cache.
    pub(super) fn make_tail_durable(&mut self) -> Result<(), OpenError> {
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
    pub(super) fn begin_again(
        &mut self,
        folder: &Folder,
        log_start: Offset,
    ) -> Result<(), OpenError> {
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

    /// The log's start, and a word about what was before it and is not there.
    fn note_missing_start(&mut self, folder: &Folder, log_start: Offset) -> Offset {
        let first = self.segments[0].base();
        if first <= log_start {
            return log_start;
        }
        self.report.damages.push(no_file_holds(folder, log_start..first));
        // Told once. Where it cannot be noted, it is told again.
        let _ = crate::log_start::write(folder, first);
        first
    }

    pub(super) fn finish(
        mut self,
        folder: &Folder,
        log_start: Offset,
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Recovered, OpenError> {
        let last = self.segments.last().map(Arc::clone).expect("a plan has at least one segment");
        let end = Tail { offset: last.next_offset(), segment: last.base(), position: last.end() };
        self.replay.epochs.assign(epoch, end.offset);
        let log_start = self.note_missing_start(folder, log_start);
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

/// Renames a segment's log file, or adds it to what was cut off at this offset before.
fn set_aside(folder: &Folder, segment: &Segment) -> Result<PathBuf, FileError> {
    let log = FileName::Log(segment.base());
    let saved = FileName::Cut { base_offset: segment.base(), position: 0 };
    match folder.len(&saved) {
        Ok(_) => {
            save_tail(folder, segment, &*segment.file()?, 0, segment.end())?;
            folder.remove(&log)?;
        }
        Err(error) if error.source.kind() == ErrorKind::NotFound => folder.rename(&log, &saved)?,
        Err(error) => return Err(error),
    }
    Ok(folder.path_of(&saved))
}

/// Segments with what is known of them. Those below the recovery point are taken as they are;
/// only one without a seal is opened, to find where its batches end.
pub(super) fn known_segments(
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
                Some(seal) => {
                    leave_out_room(&segment, &seal)?;
                    report.damages.extend(check_seal(&segment, &seal, next));
                }
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

/// Zeros behind what was sealed are room: the cut that took it back did not reach the disk, as can
/// happen where a sync has failed.
fn leave_out_room(segment: &Segment, seal: &Seal) -> Result<(), FileError> {
    let (sealed, found) = (seal.log_bytes, segment.end());
    if sealed < found && !any_set(segment, &*segment.file()?, sealed, found)? {
        segment.settle(sealed, segment.next_offset());
        segment.trim()?;
    }
    Ok(())
}

/// What a segment's seal has to say, without reading the segment.
pub(super) fn check_seal(segment: &Segment, seal: &Seal, next: Offset) -> Option<Damage> {
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

/// What the file holds from byte `position` on.
fn look_behind(segment: &Segment, position: u64) -> Result<Behind, FileError> {
    let file = segment.file()?;
    let len = file.len().map_err(failed("read", segment.log_path()))?;
    Ok(if len <= position {
        Behind::Nothing
    } else if any_set(segment, &*file, position, len)? {
        Behind::Bytes
    } else {
        Behind::Zeros
    })
}

/// Leaves out the zeros behind the last batch of a segment that was rolled just before a crash.
/// Anything else there is damage, and stays.
pub(super) fn find_end(segment: &Segment) -> Result<Option<Damage>, FileError> {
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
