//! Fetches: slices of the log, bounded by isolation and a byte budget.
//!
//! A slice holds whole batches, byte for byte as stored. It begins with the batch that holds the
//! offset asked for, and holds at least that one however small the budget is; it ends at the
//! offset that the reader may see, at a segment's end, or before the first batch that does not
//! follow on.

use bytes::Bytes;
use log_proto::record::{BatchHeader, NO_TIMESTAMP, RecordBatch};
use log_proto::types::{Offset, TimestampMs};

use crate::continuity;
use crate::error::{Damage, FileError, ReadError};
use crate::index::{AbortedTxn, SearchEnd};
use crate::log::Inner;
use crate::offsets::{Offsets, ReadBounds, Tail};
use crate::segment::{BatchWalk, Check, Located, Segment};

/// How far a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Everything appended, synced or not: for the broker's own coordinators.
    LogEnd,
    /// Up to the high watermark: read-uncommitted.
    HighWatermark,
    /// Up to the last stable offset: read-committed.
    LastStable,
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Whole batches back to back; empty when the reader has seen all that it may. The first may
    /// begin before the offset asked for.
    pub batches: Bytes,
    /// With [`Isolation::LastStable`]: whose records among these batches were aborted.
    pub aborted: Vec<AbortedTxn>,
    /// The offsets when the read was bounded.
    pub offsets: Offsets,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampedOffset {
    /// The record.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
}

/// How a segment hands out its bytes.
type Take = fn(&Segment, u64, u64) -> Result<Bytes, FileError>;

/// How to read.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) take: Take,
    /// What is looked at before it is handed out.
    pub(crate) check: Check,
}

impl Inner {
    pub(crate) fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
        way: Way,
    ) -> Result<Fetched, ReadError> {
        let bounds = self.marks.bounds();
        check_in_range(from, &bounds.offsets)?;
        let read = self.read_within(&bounds, from, bytes_max, isolation, way);
        // What was deleted while it was read is out of range: not damaged or missing, and not the
        // end either, where a reader would wait for more.
        if read.as_ref().map_or(true, |fetched| fetched.batches.is_empty()) {
            check_in_range(from, &self.marks.offsets())?;
        }
        read
    }

    fn read_within(
        &self,
        bounds: &ReadBounds,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
        way: Way,
    ) -> Result<Fetched, ReadError> {
        let end = end_for(bounds, isolation);
        let mut fetched =
            Fetched { batches: Bytes::new(), aborted: Vec::new(), offsets: bounds.offsets };
        if from >= end {
            return Ok(fetched);
        }
        let Some((segment, start)) = self.locate(from, bounds.log_end)? else {
            return Err(self.missing(from, end));
        };
        if start.header.base_offset() >= end {
            return Ok(fetched);
        }
        let limit = self.limit_within(&segment, end, bounds)?;
        let mut stop = segment.cut(start, bytes_max as u64, limit)?;
        if stop.position == limit {
            stop.next = Some(end.min(segment.next_offset()));
        }
        let bytes = (way.take)(&segment, start.position, stop.position)?;
        let first = start.header.base_offset();
        fetched.batches = match continuity::check(&bytes, first, stop.next, way.check) {
            Ok(()) => bytes,
            // Whoever goes on there is told.
            Err(broken) if broken.at > 0 => bytes.slice(..broken.at),
            Err(broken) => return Err(self.broken(&segment, start, broken.detail, limit)),
        };
        let stop = start.position + fetched.batches.len() as u64;
        if isolation == Isolation::LastStable {
            // Of what was read, and not of all that follows: a log can have many aborts.
            let end = end.min(segment.offset_bound(stop)?);
            fetched.aborted = self.aborted_between(from, end)?;
        }
        Ok(fetched)
    }

    /// What is told where batches end before the log does: the last one says so wrongly.
    fn missing(&self, from: Offset, end: Offset) -> ReadError {
        let last = self.segments.from(from).last().unwrap_or_else(|| self.segments.active());
        last.damage(last.end(), format!("offsets {from} to {end} are missing")).into()
    }

    /// What is told of a batch that cannot be handed out.
    fn broken(&self, segment: &Segment, batch: Located, detail: String, limit: u64) -> ReadError {
        let header = batch.header;
        let next =
            segment.walk(Check::Checksums, batch.position + header.size_bytes() as u64, limit);
        let next = next.map(|walk| walk.expecting(header.next_offset()).next());
        let sound = match next {
            Ok(Ok(Some(next))) => Some(next),
            // Its header may be what is wrong, or the next one as well.
            _ => segment.sound_after(batch.position, limit),
        };
        let resume_at = sound.map(|batch| batch.header.base_offset());
        let damage = segment.damage(batch.position, detail);
        self.resumable(ReadError::Damaged { damage, resume_at }, segment)
    }

    /// The first batch at or behind `from`, below the log's end.
    fn locate(
        &self,
        from: Offset,
        log_end: Tail,
    ) -> Result<Option<(std::sync::Arc<Segment>, Located)>, ReadError> {
        for segment in self.segments.from(from) {
            if segment.base() > log_end.segment {
                break;
            }
            let limit = segment_end(&segment, log_end);
            let located =
                segment.locate(from, limit).map_err(|error| self.resumable(error, &segment))?;
            let Some(located) = located else { continue };
            if located.header.base_offset() > from {
                return Err(gap(&segment, from, &located));
            }
            return Ok(Some((segment, located)));
        }
        Ok(None)
    }

    /// Up to which byte of `segment` a reader bounded by offset `end` may see. The common bounds
    /// come with their positions; a last stable offset in the middle of the log is looked up.
    fn limit_within(
        &self,
        segment: &Segment,
        end: Offset,
        bounds: &ReadBounds,
    ) -> Result<u64, ReadError> {
        let whole = segment_end(segment, bounds.log_end);
        for tail in [bounds.high_watermark, bounds.log_end] {
            if end == tail.offset {
                return Ok(if segment.base() == tail.segment { tail.position } else { whole });
            }
        }
        Ok(segment.locate(end, whole)?.map_or(whole, |batch| batch.position))
    }

    fn aborted_between(&self, from: Offset, end: Offset) -> Result<Vec<AbortedTxn>, ReadError> {
        let mut aborted = Vec::new();
        for segment in self.segments.from(from) {
            let search = segment.aborted(from, end)?;
            aborted.extend(search.aborted);
            if search.end == SearchEnd::Complete {
                break;
            }
        }
        Ok(aborted)
    }

    pub(crate) fn offset_for_timestamp(
        &self,
        wanted: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.undeleted(|bounds| {
            for segment in self.segments.from(bounds.offsets.log_start) {
                if segment.max_timestamp()?.is_none_or(|(largest, _)| largest < wanted) {
                    continue;
                }
                let start = segment.floor_timestamp(wanted)?;
                if let Some(found) = self.search(&segment, start, bounds, wanted)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    /// Looks something up, once more if what it looked at was deleted meanwhile.
    fn undeleted<T>(
        &self,
        look: impl Fn(&ReadBounds) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            let bounds = self.marks.bounds();
            match look(&bounds) {
                Err(_) if self.marks.offsets().log_start > bounds.offsets.log_start => {}
                done => return done,
            }
        }
    }

    /// The first record of `segment` that is stamped at or after `wanted`. No batch before the one
    /// that holds `start` has it.
    fn search(
        &self,
        segment: &Segment,
        start: Offset,
        bounds: &ReadBounds,
        wanted: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let log_start = bounds.offsets.log_start;
        let Some(mut walk) = walk_from(segment, start.max(log_start), bounds)? else {
            return Ok(None);
        };
        while let Some(batch) = next_data(&mut walk, bounds)? {
            if batch.header.max_timestamp() < wanted {
                continue;
            }
            let stamps = self.stamps(segment, &batch, log_start)?;
            if let Some(found) = stamps.into_iter().find(|found| found.timestamp >= wanted) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Offsets and timestamps of a batch's records, from `log_start` on.
    fn stamps(
        &self,
        segment: &Segment,
        located: &Located,
        log_start: Offset,
    ) -> Result<Vec<TimestampedOffset>, ReadError> {
        let batch = read_batch(segment, located)?;
        let header = *batch.header();
        let bound = self.config.load().expanded_bytes_max as usize;
        let damaged = |detail: String| ReadError::from(segment.damage(located.position, detail));
        let mut stamps = Vec::new();
        for record in batch.records(bound).map_err(|error| damaged(error.to_string()))? {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let (offset, timestamp) = (header.offset_of(&record), header.timestamp_of(&record));
            if offset >= log_start {
                stamps.push(TimestampedOffset { offset, timestamp });
            }
        }
        Ok(stamps)
    }

    pub(crate) fn max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        self.undeleted(|bounds| {
            let mut largest = None;
            for segment in self.segments.from(bounds.offsets.log_start) {
                largest = self.max_in(&segment, bounds, largest)?;
            }
            Ok(largest)
        })
    }

    /// The first record of `segment` with its largest timestamp, if that is larger than the one of
    /// `known`.
    ///
    /// The index knows a bound. It is met by a record, unless that has been deleted, is not yet
    /// below the high watermark, or is an end marker; then every batch must be asked.
    fn max_in(
        &self,
        segment: &Segment,
        bounds: &ReadBounds,
        known: Option<TimestampedOffset>,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let above = known.map_or(NO_TIMESTAMP, |known| known.timestamp);
        let Some((bound, _)) = segment.max_timestamp()?.filter(|(bound, _)| *bound > above) else {
            return Ok(known);
        };
        let start = segment.floor_timestamp(bound)?;
        if let Some(found) = self.search(segment, start, bounds, bound)? {
            return Ok(Some(found));
        }
        let log_start = bounds.offsets.log_start;
        let Some(mut walk) = walk_from(segment, log_start, bounds)? else { return Ok(known) };
        let mut largest = known;
        while let Some(batch) = next_data(&mut walk, bounds)? {
            let above = largest.map_or(NO_TIMESTAMP, |largest| largest.timestamp);
            if batch.header.max_timestamp() > above {
                let stamps = self.stamps(segment, &batch, log_start)?;
                let found = stamps.into_iter().filter(|found| found.timestamp > above);
                // Of several the first, which `max_by_key` would not give.
                largest = found.rev().max_by_key(|found| found.timestamp).or(largest);
            }
        }
        Ok(largest)
    }

    /// Adds where reading could go on behind the damage: if not in the segment, in the next one.
    fn resumable(&self, error: ReadError, segment: &Segment) -> ReadError {
        let ReadError::Damaged { damage, resume_at: None } = error else { return error };
        let segments = self.segments.all();
        let next = segments.iter().map(|next| next.base()).find(|next| *next > segment.base());
        ReadError::Damaged { damage, resume_at: next }
    }
}

fn end_for(bounds: &ReadBounds, isolation: Isolation) -> Offset {
    match isolation {
        Isolation::LogEnd => bounds.log_end.offset,
        Isolation::HighWatermark => bounds.high_watermark.offset,
        Isolation::LastStable => bounds.offsets.last_stable,
    }
}

fn check_in_range(requested: Offset, offsets: &Offsets) -> Result<(), ReadError> {
    let Offsets { log_start, log_end, .. } = *offsets;
    if requested < log_start || requested > log_end {
        return Err(ReadError::OutOfRange { requested, log_start, log_end });
    }
    Ok(())
}

/// Goes over `segment` from the batch that holds `start`; `None` when it ends before that.
fn walk_from(
    segment: &Segment,
    start: Offset,
    bounds: &ReadBounds,
) -> Result<Option<BatchWalk>, ReadError> {
    let limit = segment_end(segment, bounds.log_end);
    let Some(start) = segment.locate(start, limit)? else { return Ok(None) };
    Ok(Some(segment.walk(Check::Headers, start.position, limit)?))
}

/// The next batch of data below the high watermark.
fn next_data(walk: &mut BatchWalk, bounds: &ReadBounds) -> Result<Option<Located>, ReadError> {
    while let Some(batch) = walk.next()? {
        if batch.header.base_offset() >= bounds.high_watermark.offset {
            return Ok(None);
        }
        if !batch.header.is_control() {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// One whole batch, checked.
pub(crate) fn read_batch(segment: &Segment, located: &Located) -> Result<RecordBatch, ReadError> {
    let end = located.position + located.header.size_bytes() as u64;
    RecordBatch::parse(segment.copy(located.position, end)?)
        .map_err(|error| segment.damage(located.position, error.to_string()).into())
}

pub(crate) fn segment_end(segment: &Segment, log_end: Tail) -> u64 {
    if segment.base() == log_end.segment { log_end.position } else { segment.end() }
}

/// Offsets are dense: where some are missing, bytes have been lost.
fn gap(segment: &Segment, from: Offset, next: &Located) -> ReadError {
    let resume_at = BatchHeader::base_offset(&next.header);
    let detail = format!("offsets {from} to {resume_at} are missing");
    let damage: Damage = segment.damage(next.position, detail);
    ReadError::Damaged { damage, resume_at: Some(resume_at) }
}
