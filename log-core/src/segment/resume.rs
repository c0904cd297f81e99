//! Where a log file goes on behind damage.
//!
//! ```text
//!   │ batch │▒▒▒▒▒▒▒▒▒│ batch │ batch │
//!           ▲         ▲
//!           damaged   where it says that it ends, or where the offset index knows of a batch
//! ```
//!
//! The rule: only a batch whose checksum holds counts, at a place that something leads to. Bytes in
//! between are not searched for one, because a record may hold what looks like a batch.

use std::ops::Range;

use log_proto::types::Offset;

use super::{BatchWalk, Check, Located, WalkError};
use crate::error::FileError;
use crate::index::IndexEntry;

/// The first of `entries` that leads to a sound batch. `walk` goes over the file from a byte on.
pub(crate) fn first_sound(
    entries: impl IntoIterator<Item = IndexEntry>,
    walk: impl Fn(Check, u64) -> Result<BatchWalk, FileError>,
) -> Option<Located> {
    let found = |entry: IndexEntry, check| {
        let walk = walk(check, u64::from(entry.position)).ok()?;
        walk.expecting_last(entry.last_offset).next().ok().flatten()
    };
    // Of most that lead nowhere the header tells, for a few KiB where a checksum takes 1 MiB.
    entries.into_iter().find_map(|entry| {
        found(entry, Check::Headers)?;
        found(entry, Check::Checksums)
    })
}

/// The first sound batch behind the one at byte `damaged`: where that says that it ends, or else
/// the one that is `indexed`, which takes longer to find out. `missed` begins where the damaged
/// batch should, and ends with the segment.
pub(crate) fn sound_behind(
    damaged: u64,
    missed: Range<Offset>,
    indexed: impl FnOnce() -> Option<Located>,
    walk: impl Fn(Check, u64) -> Result<BatchWalk, FileError>,
) -> Result<Option<Located>, FileError> {
    let first = |check, start| sound_or_none(walk(check, start)?.next());
    let declared = match first(Check::Headers, damaged)? {
        Some(here) => first(Check::Checksums, damaged + here.header.size_bytes() as u64)?,
        None => None,
    };
    let is_later = |batch: &Located| {
        batch.header.base_offset() > missed.start && batch.header.next_offset() <= missed.end
    };
    Ok(declared.filter(is_later).or_else(|| indexed().filter(is_later)))
}

fn sound_or_none(step: Result<Option<Located>, WalkError>) -> Result<Option<Located>, FileError> {
    match step {
        Ok(found) => Ok(found),
        Err(WalkError::Damaged(_)) => Ok(None),
        Err(WalkError::File(error)) => Err(error),
    }
}
