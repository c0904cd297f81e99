//! Indexes of one segment: sorted entries of a fixed width, byte for byte Kafka's files.
//!
//! The rule: an index is derived. It may be missing, short or wrong at any time, and is then
//! rebuilt from the log; so an index is either taken whole or refused with the first reason found,
//! and never repaired in part. A preallocated mapped file that is written in place, as Kafka keeps
//! it, was rejected: it needs trimming after every crash, and a write to it can kill the process
//! on a full disk. Here an index grows in memory, and its file is appended to.

mod offset;
mod time;
mod txn;

pub(crate) use offset::{IndexEntry, OffsetIndex};
pub(crate) use time::TimeIndex;
pub use txn::AbortedTxn;
pub(crate) use txn::{SearchEnd, TxnIndex, TxnSearch};

use std::fmt;

use bytes::Bytes;
use log_proto::types::Offset;
use thiserror::Error;

/// Entries of `N` bytes, back to back as on disk.
///
/// They grow in memory, or are a slice of a mapped file. Pushing to the latter copies it first:
/// a mapped file is never written.
#[derive(Clone, Debug)]
pub(crate) struct Entries<const N: usize>(Backing);

#[derive(Clone, Debug)]
enum Backing {
    Growing(Vec<u8>),
    Fixed(Bytes),
}

impl<const N: usize> Entries<N> {
    /// No entries yet; reserves no memory.
    pub(crate) const fn new() -> Self {
        Self(Backing::Growing(Vec::new()))
    }

    /// The entries that a file holds.
    pub(crate) fn fixed(bytes: Bytes) -> Result<Self, IndexDamage> {
        if !bytes.len().is_multiple_of(N) {
            return Err(IndexDamage::Length { entry_bytes: N as u64, found: bytes.len() as u64 });
        }
        Ok(Self(Backing::Fixed(bytes)))
    }

    /// The file's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Backing::Growing(bytes) => bytes,
            Backing::Fixed(bytes) => bytes,
        }
    }

    /// The entries in order, in place.
    pub(crate) fn as_slice(&self) -> &[[u8; N]] {
        self.as_bytes().as_chunks().0
    }

    /// How many entries `keep` holds for, which must be those at the front.
    fn count_while(&self, keep: impl Fn(&[u8; N]) -> bool) -> usize {
        self.as_slice().partition_point(keep)
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: [u8; N]) {
        match &mut self.0 {
            Backing::Growing(bytes) => bytes.extend_from_slice(&entry),
            Backing::Fixed(bytes) => self.0 = Backing::Growing([bytes.as_ref(), &entry].concat()),
        }
    }

    /// Keeps the first `len` entries.
    fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Backing::Growing(bytes) => bytes.truncate(len.saturating_mul(N)),
            Backing::Fixed(bytes) => bytes.truncate(len.saturating_mul(N)),
        }
    }
}

/// Why a file is no index of its segment. The remedy is always the same: rebuild it from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum IndexDamage {
    /// The file does not end with a whole entry.
    #[error("index of {found} bytes does not divide into entries of {entry_bytes}; rebuild it")]
    Length {
        /// Size of one entry in bytes.
        entry_bytes: u64,
        /// Size of the file in bytes.
        found: u64,
    },
    /// A field of an entry cannot be right.
    #[error("index entry {entry} has {field} {found} where {expected} was expected; rebuild it")]
    Entry {
        /// Number of the entry, from 0.
        entry: u64,
        /// The field.
        field: IndexField,
        /// What any right value would be.
        expected: Expected,
        /// The value as stored.
        found: i64,
    },
}

/// A field of an index entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexField {
    /// Offset, counted from the segment's base offset.
    RelativeOffset,
    /// Position in the log file, in bytes.
    Position,
    /// Timestamp, in milliseconds.
    Timestamp,
    /// Format version of the entry.
    Version,
    /// Producer id.
    ProducerId,
    /// First offset of the transaction.
    FirstOffset,
    /// Offset of the transaction's end marker.
    LastOffset,
    /// Last stable offset after the transaction.
    LastStableOffset,
}

impl fmt::Display for IndexField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RelativeOffset => "relative offset",
            Self::Position => "position",
            Self::Timestamp => "timestamp",
            Self::Version => "version",
            Self::ProducerId => "producer id",
            Self::FirstOffset => "first offset",
            Self::LastOffset => "last offset",
            Self::LastStableOffset => "last stable offset",
        })
    }
}

/// A bound that a field must keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// This value.
    Exactly(i64),
    /// This value or a larger one.
    AtLeast(i64),
    /// This value or a smaller one.
    AtMost(i64),
    /// A larger value.
    Above(i64),
    /// A smaller value.
    Below(i64),
}

impl Expected {
    const fn holds_for(self, found: i64) -> bool {
        match self {
            Self::Exactly(value) => found == value,
            Self::AtLeast(bound) => found >= bound,
            Self::AtMost(bound) => found <= bound,
            Self::Above(bound) => found > bound,
            Self::Below(bound) => found < bound,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::Above(bound) => write!(f, "more than {bound}"),
            Self::Below(bound) => write!(f, "less than {bound}"),
        }
    }
}

/// Damage unless `found` keeps the bound.
fn expect(
    entry: usize,
    field: IndexField,
    expected: Expected,
    found: i64,
) -> Result<(), IndexDamage> {
    if expected.holds_for(found) {
        Ok(())
    } else {
        Err(IndexDamage::Entry { entry: entry as u64, field, expected, found })
    }
}

/// What became of an entry that was offered to a sparse index. Each way the index stays right:
/// an entry left out costs a longer walk, never a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Push {
    /// It is in the index.
    Added,
    /// It brings no lookup nearer to its target: it does not come after the last entry.
    NotLater,
    /// It lies further behind the segment's start than the 31 bits of the format reach. Segments
    /// are rolled before that.
    OutOfReach,
}

/// `offset` as the format stores it; `None` beyond its 31 bits or before the base.
fn relative(base_offset: Offset, offset: Offset) -> Option<i32> {
    i32::try_from(offset.get() - base_offset.get()).ok().filter(|relative| *relative >= 0)
}

/// The inverse of [`relative`], for what was checked when it was parsed or pushed.
fn absolute(base_offset: Offset, relative: i32) -> Offset {
    let absolute = base_offset.checked_add(i64::from(relative));
    absolute.expect("offsets are checked when they are parsed or pushed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_index_is_copied_before_it_grows() {
        let file = Bytes::from_static(b"aabb");
        let mut entries = Entries::<2>::fixed(file.clone()).unwrap();
        entries.truncate(1);
        entries.push(*b"cc");
        assert_eq!(entries.as_bytes(), b"aacc");
        entries.push(*b"dd");
        assert_eq!(entries.as_slice(), [*b"aa", *b"cc", *b"dd"]);
        assert_eq!(file, "aabb");
    }

    #[test]
    fn damage_says_what_was_expected_and_what_to_do() {
        let damage = expect(3, IndexField::Position, Expected::Above(4096), 17).unwrap_err();
        assert_eq!(
            damage.to_string(),
            "index entry 3 has position 17 where more than 4096 was expected; rebuild it"
        );
    }
}
