//! Fetches: slices of the log, bounded by isolation and a byte budget.
//!
//! A slice holds whole batches, byte for byte as stored. It begins with the batch that holds the
//! offset asked for, and holds at least that one however small the budget is; it ends at the
//! offset that the reader may see, or at a segment's end.

use bytes::Bytes;
use log_proto::record::{BatchHeader, RecordBatch};
use log_proto::types::{Offset, TimestampMs};

use crate::error::{Damage, FileError, ReadError};
use crate::index::{AbortedTxn, SearchEnd};
use crate::log::Inner;
use crate::offsets::{Offsets, ReadBounds, Tail};
use crate::segment::{Check, Located, Segment};

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

impl Inner {
    pub(crate) fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
        take: Take,
    ) -> Result<Fetched, ReadError> {
        let bounds = self.marks.bounds();
        let end = self.end_for(&bounds, isolation);
        self.check_in_range(from, &bounds)?;
        let mut fetched =
            Fetched { batches: Bytes::new(), aborted: Vec::new(), offsets: bounds.offsets };
        if from >= end {
            return Ok(fetched);
        }
        let Some((segment, start)) = self.locate(from, bounds.log_end)? else {
            return Ok(fetched);
        };
        if start.header.base_offset() >= end {
            return Ok(fetched);
        }
        let limit = self.limit_within(&segment, end, &bounds)?;
        let stop = segment.cut(start, bytes_max as u64, limit)?;
        fetched.batches = take(&segment, start.position, stop)?;
        if isolation == Isolation::LastStable {
            fetched.aborted = self.aborted_between(from, end)?;
        }
        Ok(fetched)
    }

    fn end_for(&self, bounds: &ReadBounds, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::LogEnd => bounds.log_end.offset,
            Isolation::HighWatermark => bounds.high_watermark.offset,
            Isolation::LastStable => bounds.offsets.last_stable,
        }
    }

    fn check_in_range(&self, requested: Offset, bounds: &ReadBounds) -> Result<(), ReadError> {
        let Offsets { log_start, log_end, .. } = bounds.offsets;
        if requested < log_start || requested > log_end {
            return Err(ReadError::OutOfRange { requested, log_start, log_end });
        }
        Ok(())
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
                segment.locate(from, limit).map_err(|error| resumable(error, &segment))?;
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
        let bounds = self.marks.bounds();
        let end = bounds.high_watermark.offset;
        for segment in self.segments.from(bounds.offsets.log_start) {
            if segment.max_timestamp()?.is_none_or(|(largest, _)| largest < wanted) {
                continue;
            }
            let from = segment.floor_timestamp(wanted)?.max(bounds.offsets.log_start);
            if let Some(found) = self.search(&segment, from, end, &bounds, wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record from `from` on, below `end`, that is stamped at or after `wanted`.
    fn search(
        &self,
        segment: &Segment,
        from: Offset,
        end: Offset,
        bounds: &ReadBounds,
        wanted: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let limit = segment_end(segment, bounds.log_end);
        let Some(start) = segment.locate(from, limit)? else {
            return Ok(None);
        };
        let mut walk = segment.walk(Check::Headers, start.position, limit)?;
        while let Some(batch) = walk.next()? {
            if batch.header.base_offset() >= end {
                break;
            }
            if batch.header.max_timestamp() < wanted || batch.header.is_control() {
                continue;
            }
            if let Some(found) = self.first_record(segment, &batch, from, wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn first_record(
        &self,
        segment: &Segment,
        located: &Located,
        from: Offset,
        wanted: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let batch = read_batch(segment, located)?;
        let header = *batch.header();
        let bound = self.config.load().expanded_bytes_max as usize;
        let damaged = |detail: String| ReadError::from(segment.damage(located.position, detail));
        for record in batch.records(bound).map_err(|error| damaged(error.to_string()))? {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let (offset, timestamp) = (header.offset_of(&record), header.timestamp_of(&record));
            if timestamp >= wanted && offset >= from {
                return Ok(Some(TimestampedOffset { offset, timestamp }));
            }
        }
        Ok(None)
    }

    pub(crate) fn max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        let log_start = self.marks.offsets().log_start;
        let mut largest: Option<TimestampMs> = None;
        for segment in self.segments.from(log_start) {
            largest = largest.max(segment.max_timestamp()?.map(|(timestamp, _)| timestamp));
        }
        match largest {
            Some(timestamp) if timestamp.get() >= 0 => self.offset_for_timestamp(timestamp),
            _ => Ok(None),
        }
    }
}

/// One whole batch, checked.
pub(crate) fn read_batch(segment: &Segment, located: &Located) -> Result<RecordBatch, ReadError> {
    let end = located.position + located.header.size_bytes() as u64;
    RecordBatch::parse(segment.copy(located.position, end)?)
        .map_err(|error| segment.damage(located.position, error.to_string()).into())
}

fn segment_end(segment: &Segment, log_end: Tail) -> u64 {
    if segment.base() == log_end.segment { log_end.position } else { segment.end() }
}

/// Adds where reading could go on behind the damage.
fn resumable(error: ReadError, segment: &Segment) -> ReadError {
    match error {
        ReadError::Damaged { damage, resume_at: None } => {
            let resume_at = segment.sound_after(damage.position);
            ReadError::Damaged { damage, resume_at }
        }
        other => other,
    }
}

/// Offsets are dense: where some are missing, bytes have been lost.
fn gap(segment: &Segment, from: Offset, next: &Located) -> ReadError {
    let resume_at = BatchHeader::base_offset(&next.header);
    let detail = format!("offsets {from} to {resume_at} are missing");
    let damage: Damage = segment.damage(next.position, detail);
    ReadError::Damaged { damage, resume_at: Some(resume_at) }
}
