//! The time index: where to begin to look for a timestamp. Kafka's `.timeindex`.
//!
//! ```text
//! 0               8                 12
//! +---------------+-----------------+
//! | timestamp     | relative offset |   big-endian
//! | i64, ms       | i32             |
//! +---------------+-----------------+
//! ```
//!
//! An entry (T, O) says that T is the largest timestamp of the segment so far, and that the batch
//! which first reached it ends with offset O. So timestamps grow strictly and offsets never
//! shrink, although the records' own timestamps may go back and forth.
//!
//! The rule for lookups follows from it: every record stamped later than T lies behind offset O.
//! To find the first record at or after a target, take the entry with the largest timestamp at or
//! below the target, and walk on from the batch that holds its offset. Every record before that
//! batch is stamped below T.

use bytes::{Buf, Bytes};
use log_proto::record::NO_TIMESTAMP;
use log_proto::types::{Offset, TimestampMs};

use super::{Entries, Expected, IndexDamage, IndexField, Push, absolute, expect, relative};

const ENTRY_BYTES: usize = 12;

/// Timestamps to offsets, for one segment.
#[derive(Clone, Debug)]
pub(crate) struct TimeIndex {
    base_offset: Offset,
    entries: Entries<ENTRY_BYTES>,
}

impl TimeIndex {
    /// An empty index that grows.
    pub(crate) const fn new(base_offset: Offset) -> Self {
        Self { base_offset, entries: Entries::new() }
    }

    /// The index that a file holds, with every entry checked against the one before it.
    pub(crate) fn parse(base_offset: Offset, bytes: Bytes) -> Result<Self, IndexDamage> {
        let index = Self { base_offset, entries: Entries::fixed(bytes)? };
        let mut above = Stored { timestamp: -1, relative: 0 };
        for (number, entry) in index.entries.as_slice().iter().enumerate() {
            let stored = Stored::decode(entry);
            stored.check(number, &above, base_offset)?;
            above = stored;
        }
        Ok(index)
    }

    /// Adds an entry if it moves time forward. `timestamp` is the largest of the segment so far,
    /// `offset` the last of the batch that first reached it. Negative timestamps, which stand for
    /// none, are left out.
    pub(crate) fn push_if_larger(&mut self, timestamp: TimestampMs, offset: Offset) -> Push {
        let (largest, last_offset) = self.last().unwrap_or((NO_TIMESTAMP, Offset::ZERO));
        if timestamp <= largest || offset < last_offset {
            return Push::NotLater;
        }
        let Some(relative) = relative(self.base_offset, offset) else {
            return Push::OutOfReach;
        };
        self.entries.push(Stored { timestamp: timestamp.get(), relative }.encode());
        Push::Added
    }

    /// The entry with the largest timestamp at or below `timestamp`; `None` when all lie above it
    /// and the walk begins with the segment.
    pub(crate) fn floor(&self, timestamp: TimestampMs) -> Option<(TimestampMs, Offset)> {
        let above =
            self.entries.count_while(|entry| Stored::decode(entry).timestamp <= timestamp.get());
        self.entry(above.checked_sub(1)?)
    }

    /// The last entry: the segment's largest timestamp, as far as it is indexed.
    pub(crate) fn last(&self) -> Option<(TimestampMs, Offset)> {
        self.entry(self.entries.as_slice().len().checked_sub(1)?)
    }

    /// Forgets entries at or behind `end_offset`.
    pub(crate) fn truncate_to(&mut self, end_offset: Offset) {
        let end = end_offset.get() - self.base_offset.get();
        let keep =
            self.entries.count_while(|entry| i64::from(Stored::decode(entry).relative) < end);
        self.entries.truncate(keep);
    }

    /// The file's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.entries.as_bytes()
    }

    fn entry(&self, number: usize) -> Option<(TimestampMs, Offset)> {
        let stored = Stored::decode(self.entries.as_slice().get(number)?);
        Some((TimestampMs::new(stored.timestamp), absolute(self.base_offset, stored.relative)))
    }
}

/// An entry as it is on disk.
#[derive(Clone, Copy)]
struct Stored {
    timestamp: i64,
    relative: i32,
}

impl Stored {
    fn decode(entry: &[u8; ENTRY_BYTES]) -> Self {
        let entry: &mut &[u8] = &mut entry.as_slice();
        Self { timestamp: entry.get_i64(), relative: entry.get_i32() }
    }

    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&self.relative.to_be_bytes());
        entry
    }

    fn check(self, number: usize, above: &Self, base_offset: Offset) -> Result<(), IndexDamage> {
        let offset = i64::from(self.relative);
        let reach = Offset::MAX.get() - base_offset.get();
        expect(number, IndexField::Timestamp, Expected::Above(above.timestamp), self.timestamp)?;
        let lowest = Expected::AtLeast(above.relative.into());
        expect(number, IndexField::RelativeOffset, lowest, offset)?;
        expect(number, IndexField::RelativeOffset, Expected::AtMost(reach), offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Offset = match Offset::new(100) {
        Some(offset) => offset,
        None => Offset::ZERO,
    };

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn at(timestamp: i64) -> TimestampMs {
        TimestampMs::new(timestamp)
    }

    fn index_of(entries: &[(i64, i64)]) -> TimeIndex {
        let mut index = TimeIndex::new(BASE);
        for (timestamp, last_offset) in entries {
            let pushed = index.push_if_larger(at(*timestamp), offset(*last_offset));
            assert_eq!(pushed, Push::Added);
        }
        index
    }

    #[test]
    fn golden_bytes_are_kafkas() {
        let index = index_of(&[(0, 100), (0x0102_0304_0506, 165)]);
        assert_eq!(
            index.as_bytes(),
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\0\0\0\x41"
        );
    }

    #[test]
    fn time_only_moves_forward() {
        let mut index = index_of(&[(1000, 109)]);
        assert_eq!(index.push_if_larger(at(1000), offset(119)), Push::NotLater);
        assert_eq!(index.push_if_larger(at(-7), offset(119)), Push::NotLater);
        assert_eq!(index.push_if_larger(at(1001), offset(109)), Push::Added);
        assert_eq!(index.last(), Some((at(1001), offset(109))));
    }

    #[test]
    fn records_without_a_time_are_not_indexed() {
        let mut index = TimeIndex::new(BASE);
        assert_eq!(index.push_if_larger(at(-1), offset(100)), Push::NotLater);
        assert_eq!(index.last(), None);
    }

    #[test]
    fn entries_that_the_format_cannot_hold_are_left_out() {
        let mut index = index_of(&[(1000, 109)]);
        let far = offset(101 + i64::from(i32::MAX));
        assert_eq!(index.push_if_larger(at(2000), far), Push::OutOfReach);
        assert_eq!(index.push_if_larger(at(2000), offset(108)), Push::NotLater);
        assert_eq!(index.last(), Some((at(1000), offset(109))));
    }

    #[test]
    fn a_lookup_answers_the_largest_timestamp_at_or_below_the_target() {
        let index = index_of(&[(1000, 109), (2000, 119), (3000, 165)]);
        assert_eq!(index.floor(at(999)), None);
        assert_eq!(index.floor(at(i64::MIN)), None);
        assert_eq!(index.floor(at(1000)), Some((at(1000), offset(109))));
        assert_eq!(index.floor(at(2999)), Some((at(2000), offset(119))));
        assert_eq!(index.floor(at(i64::MAX)), Some((at(3000), offset(165))));
    }

    #[test]
    fn truncating_forgets_entries_from_the_end_offset_on() {
        let mut index = index_of(&[(1000, 109), (2000, 119), (3000, 165)]);
        index.truncate_to(offset(119));
        assert_eq!(index.last(), Some((at(1000), offset(109))));
        assert_eq!(index.push_if_larger(at(1500), offset(119)), Push::Added);
    }

    #[test]
    fn damage_is_named_by_entry_and_field() {
        let parse = |entries: &[(i64, i32)]| {
            let bytes: Vec<u8> = entries
                .iter()
                .flat_map(|(timestamp, relative)| {
                    Stored { timestamp: *timestamp, relative: *relative }.encode()
                })
                .collect();
            TimeIndex::parse(BASE, bytes.into()).map(|_| ())
        };
        let damage = |entry, field, expected, found| {
            Err(IndexDamage::Entry { entry, field, expected, found })
        };
        use {Expected::*, IndexField::*};
        assert_eq!(parse(&[(0, 0), (1, 0), (2, 5)]), Ok(()));
        assert_eq!(parse(&[(7, 0), (7, 1)]), damage(1, Timestamp, Above(7), 7));
        assert_eq!(parse(&[(7, 3), (8, 2)]), damage(1, RelativeOffset, AtLeast(3), 2));
        assert_eq!(parse(&[(-1, 0)]), damage(0, Timestamp, Above(-1), -1));
        assert_eq!(parse(&[(7, 1), (0, 0)]), damage(1, Timestamp, Above(7), 0));
        assert_eq!(parse(&[(7, -1)]), damage(0, RelativeOffset, AtLeast(0), -1));
    }

    proptest! {
        #[test]
        fn every_record_later_than_an_entry_lies_behind_it(
            stamps in prop::collection::vec(0_i64..50, 1..60),
            target in 0_i64..50,
        ) {
            let mut index = TimeIndex::new(BASE);
            for (n, stamp) in stamps.iter().enumerate() {
                index.push_if_larger(at(*stamp), offset(100 + n as i64));
            }
            let read = TimeIndex::parse(BASE, index.as_bytes().to_vec().into()).unwrap();
            let start = read.floor(at(target)).map_or(100, |(_, offset)| offset.get());
            let first = stamps.iter().position(|stamp| *stamp >= target);
            if let Some(first) = first {
                prop_assert!(start <= 100 + first as i64);
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, target: i64, end in 0..i64::MAX) {
            if let Ok(mut index) = TimeIndex::parse(BASE, bytes.into()) {
                index.floor(at(target));
                index.last();
                index.truncate_to(offset(end));
            }
        }
    }
}
