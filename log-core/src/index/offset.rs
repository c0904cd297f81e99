//! The offset index: where in the log file to begin to look for an offset. Kafka's `.index`.
//!
//! ```text
//! 0                 4              8
//! +-----------------+--------------+
//! | relative offset | position     |   big-endian, one entry about every index.interval.bytes
//! | i32             | i32, bytes   |
//! +-----------------+--------------+
//! ```
//!
//! The offset is that of the *last* record of a batch, relative to the segment's base offset; the
//! position is where that batch *begins* in the `.log`. Both grow strictly from entry to entry.
//!
//! The rule for lookups follows from it. For a target offset take the entry with the largest last
//! offset at or below the target, and walk the batches from its position:
//!
//! ```text
//!   entry (19, 4096)            batch 10..=19 begins at byte 4096
//!   target 19                   the batch at 4096 holds it
//!   target 23                   the batch at 4096 ends before it: walk on, batch by batch
//!   target below every entry    no entry: walk from byte 0
//! ```
//!
//! A batch with the target is never missed, because every batch before that position ends at an
//! offset below the target. Indexing first offsets instead would save one step of the walk and
//! break Kafka's tools.

use bytes::{Buf, Bytes};
use log_proto::types::Offset;

use super::{Entries, Expected, IndexDamage, IndexField, Push, absolute, expect, relative};

const ENTRY_BYTES: usize = 8;

/// Offsets to positions, for one segment.
#[derive(Clone, Debug)]
pub(crate) struct OffsetIndex {
    base_offset: Offset,
    entries: Entries<ENTRY_BYTES>,
}

/// One batch that the index knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexEntry {
    /// Offset of the batch's last record.
    pub(crate) last_offset: Offset,
    /// Where the batch begins, in bytes from the start of the log file.
    pub(crate) position: u32,
}

impl OffsetIndex {
    /// An empty index that grows.
    pub(crate) const fn new(base_offset: Offset) -> Self {
        Self { base_offset, entries: Entries::new() }
    }

    /// The index that a file holds, with every entry checked against the one before it and against
    /// `log_bytes`, the size of the log file. Time grows with the number of entries; memory does
    /// not.
    pub(crate) fn parse(
        base_offset: Offset,
        bytes: Bytes,
        log_bytes: u64,
    ) -> Result<Self, IndexDamage> {
        let index = Self { base_offset, entries: Entries::fixed(bytes)? };
        let mut above = Stored { relative: -1, position: -1 };
        for (number, entry) in index.entries.as_slice().iter().enumerate() {
            let stored = Stored::decode(entry);
            stored.check(number, &above, &index, log_bytes)?;
            above = stored;
        }
        Ok(index)
    }

    /// Adds the batch that ends with `last_offset` and begins at byte `position`.
    pub(crate) fn push(&mut self, last_offset: Offset, position: u32) -> Push {
        let relative = relative(self.base_offset, last_offset);
        let (Some(relative), Ok(stored_position)) = (relative, i32::try_from(position)) else {
            return Push::OutOfReach;
        };
        if let Some(last) = self.last()
            && (last_offset <= last.last_offset || position <= last.position)
        {
            return Push::NotLater;
        }
        self.entries.push(Stored { relative, position: stored_position }.encode());
        Push::Added
    }

    /// The entry with the largest last offset at or below `offset`; `None` when all lie above it.
    /// The module says how to walk from there.
    pub(crate) fn floor(&self, offset: Offset) -> Option<IndexEntry> {
        let target = offset.get() - self.base_offset.get();
        let above =
            self.entries.count_while(|entry| i64::from(Stored::decode(entry).relative) <= target);
        self.entry(above.checked_sub(1)?)
    }

    /// The largest start of a batch that the index knows at or below byte `position`.
    pub(crate) fn floor_position(&self, position: u64) -> Option<u64> {
        let above =
            self.entries.count_while(|entry| u64::from(Stored::decode(entry).start()) <= position);
        Some(self.entry(above.checked_sub(1)?)?.position.into())
    }

    /// The first batch that the index knows to begin at byte `position` or behind it.
    pub(crate) fn ceiling(&self, position: u64) -> Option<IndexEntry> {
        let before =
            self.entries.count_while(|entry| u64::from(Stored::decode(entry).start()) < position);
        self.entry(before)
    }

    /// The indexed batches that begin behind byte `position`, nearest first.
    pub(crate) fn entries_after(&self, position: u64) -> impl Iterator<Item = IndexEntry> {
        let before =
            self.entries.count_while(|entry| u64::from(Stored::decode(entry).start()) <= position);
        let behind = self.entries.as_slice()[before..].iter().map(Stored::decode);
        behind.map(|stored| stored.absolute(self.base_offset))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<IndexEntry> {
        self.entry(self.entries.as_slice().len().checked_sub(1)?)
    }

    /// Forgets batches that end at or behind `end_offset`.
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

    fn entry(&self, number: usize) -> Option<IndexEntry> {
        let stored = Stored::decode(self.entries.as_slice().get(number)?);
        Some(stored.absolute(self.base_offset))
    }
}

/// An entry as it is on disk.
#[derive(Clone, Copy)]
struct Stored {
    relative: i32,
    position: i32,
}

impl Stored {
    fn decode(entry: &[u8; ENTRY_BYTES]) -> Self {
        let entry: &mut &[u8] = &mut entry.as_slice();
        Self { relative: entry.get_i32(), position: entry.get_i32() }
    }

    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&self.relative.to_be_bytes());
        entry[4..].copy_from_slice(&self.position.to_be_bytes());
        entry
    }

    /// Positions are checked when they are parsed or pushed: none is negative.
    const fn start(self) -> u32 {
        self.position.unsigned_abs()
    }

    fn absolute(self, base_offset: Offset) -> IndexEntry {
        let last_offset = absolute(base_offset, self.relative);
        IndexEntry { last_offset, position: self.start() }
    }

    fn check(
        self,
        number: usize,
        above: &Self,
        index: &OffsetIndex,
        log_bytes: u64,
    ) -> Result<(), IndexDamage> {
        let offset = i64::from(self.relative);
        let position = i64::from(self.position);
        let log_bytes = i64::try_from(log_bytes).unwrap_or(i64::MAX);
        let reach = Offset::MAX.get() - index.base_offset.get();
        expect(number, IndexField::RelativeOffset, Expected::Above(above.relative.into()), offset)?;
        expect(number, IndexField::RelativeOffset, Expected::AtMost(reach), offset)?;
        expect(number, IndexField::Position, Expected::Above(above.position.into()), position)?;
        expect(number, IndexField::Position, Expected::Below(log_bytes), position)
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

    fn index_of(entries: &[(i64, u32)]) -> OffsetIndex {
        let mut index = OffsetIndex::new(BASE);
        for (last_offset, position) in entries {
            assert_eq!(index.push(offset(*last_offset), *position), Push::Added);
        }
        index
    }

    fn damage(entry: u64, field: IndexField, expected: Expected, found: i64) -> IndexDamage {
        IndexDamage::Entry { entry, field, expected, found }
    }

    #[test]
    fn golden_bytes_are_kafkas() {
        let index = index_of(&[(109, 0), (165, 4096)]);
        assert_eq!(index.as_bytes(), b"\0\0\0\x09\0\0\0\0\0\0\0\x41\0\0\x10\0");
    }

    #[test]
    fn a_lookup_answers_the_last_batch_that_ends_at_or_before_the_target() {
        let index = index_of(&[(109, 0), (119, 700), (165, 4096)]);
        let found = |target| index.floor(offset(target)).map(|entry| entry.position);
        assert_eq!(found(0), None);
        assert_eq!(found(108), None);
        assert_eq!(found(109), Some(0));
        assert_eq!(found(118), Some(0));
        assert_eq!(found(119), Some(700));
        assert_eq!(found(i64::MAX), Some(4096));
        assert_eq!(index.floor(offset(120)).unwrap().last_offset, offset(119));
    }

    #[test]
    fn truncating_forgets_every_batch_that_reaches_the_end_offset() {
        let mut index = index_of(&[(109, 0), (119, 700), (165, 4096)]);
        index.truncate_to(offset(166));
        assert_eq!(index.as_bytes().len(), 24);
        index.truncate_to(offset(165));
        assert_eq!(index.last(), Some(IndexEntry { last_offset: offset(119), position: 700 }));
        assert_eq!(index.push(offset(130), 701), Push::Added);
        index.truncate_to(Offset::ZERO);
        assert_eq!(index.last(), None);
    }

    #[test]
    fn what_the_format_cannot_hold_is_left_out() {
        let mut index = OffsetIndex::new(BASE);
        let far = offset(100 + i64::from(i32::MAX));
        assert_eq!(index.push(far.next(), 0), Push::OutOfReach);
        assert_eq!(index.push(far, 1 << 31), Push::OutOfReach);
        assert_eq!(index.push(offset(99), 0), Push::OutOfReach);
        assert_eq!(index.as_bytes(), b"");
        assert_eq!(index.push(far, (1 << 31) - 1), Push::Added);
        assert_eq!(index.last(), Some(IndexEntry { last_offset: far, position: (1 << 31) - 1 }));
    }

    #[test]
    fn entries_only_grow() {
        let mut index = index_of(&[(109, 700)]);
        assert_eq!(index.push(offset(109), 800), Push::NotLater);
        assert_eq!(index.push(offset(110), 700), Push::NotLater);
        assert_eq!(index.push(offset(110), 701), Push::Added);
    }

    #[test]
    fn damage_is_named_by_entry_and_field() {
        let parse = |entries: &[(i32, i32)], log_bytes| {
            let bytes: Vec<u8> = entries
                .iter()
                .flat_map(|(relative, position)| {
                    Stored { relative: *relative, position: *position }.encode()
                })
                .collect();
            OffsetIndex::parse(BASE, bytes.into(), log_bytes).map(|_| ())
        };
        use {Expected::*, IndexField::*};
        assert_eq!(parse(&[(9, 0), (19, 50)], 51), Ok(()));
        assert_eq!(parse(&[(9, 0), (19, 50)], 50), Err(damage(1, Position, Below(50), 50)));
        assert_eq!(parse(&[(9, 0), (9, 50)], 99), Err(damage(1, RelativeOffset, Above(9), 9)));
        assert_eq!(parse(&[(9, 7), (19, 7)], 99), Err(damage(1, Position, Above(7), 7)));
        assert_eq!(parse(&[(-1, 0)], 99), Err(damage(0, RelativeOffset, Above(-1), -1)));
        assert_eq!(parse(&[(0, -5)], 99), Err(damage(0, Position, Above(-1), -5)));
        // Padding at the end, as a preallocated file has, is no exception.
        assert_eq!(parse(&[(9, 40), (0, 0)], 99), Err(damage(1, RelativeOffset, Above(9), 0)));
    }

    #[test]
    fn offsets_near_the_end_of_the_number_space_do_not_overflow() {
        let base = offset(i64::MAX - 5);
        let mut index = OffsetIndex::new(base);
        assert_eq!(index.push(Offset::MAX, 0), Push::Added);
        assert_eq!(index.floor(Offset::MAX).unwrap().last_offset, Offset::MAX);
        let beyond = Bytes::from_static(b"\0\0\0\x06\0\0\0\0");
        assert!(OffsetIndex::parse(base, beyond, 100).is_err());
    }

    /// Batches as (records, bytes), each at least one.
    fn any_batches() -> impl Strategy<Value = Vec<(i64, u32)>> {
        prop::collection::vec((1_i64..50, 1_u32..5000), 0..60)
    }

    proptest! {
        #[test]
        fn a_walk_from_the_floor_finds_every_offset(
            batches in any_batches(),
            sparse in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut index = OffsetIndex::new(BASE);
            let (mut next, mut position) = (100, 0);
            let mut placed = Vec::new();
            for ((records, bytes), indexed) in batches.iter().zip(sparse) {
                if indexed {
                    prop_assert_eq!(index.push(offset(next + records - 1), position), Push::Added);
                }
                placed.push((next, next + records - 1, position));
                next += records;
                position += bytes;
            }
            let read = OffsetIndex::parse(BASE, index.as_bytes().to_vec().into(), position.into());
            let read = read.unwrap();
            for target in 100..next {
                let start = read.floor(offset(target)).map_or(0, |entry| entry.position);
                let found = placed.iter().filter(|batch| batch.2 >= start);
                let found = found.into_iter().find(|batch| batch.1 >= target).unwrap();
                prop_assert!(found.0 <= target);
            }
            for probe in 0..position.min(2000) {
                let starts = index.entries.as_slice().iter().map(|entry| Stored::decode(entry).start());
                let floor = starts.take_while(|start| *start <= probe).max().map(u64::from);
                prop_assert_eq!(index.floor_position(probe.into()), floor);
                let after: Vec<_> = index.entries_after(probe.into()).collect();
                prop_assert!(after.iter().all(|entry| entry.position > probe));
                let before = index.as_bytes().len() / ENTRY_BYTES - after.len();
                prop_assert_eq!(before == 0, floor.is_none());
            }
        }

        #[test]
        fn only_whole_entries_are_taken(batches in 1_i64..20, cut in 1_usize..8) {
            let entries: Vec<_> = (0..batches).map(|n| (100 + n, n as u32)).collect();
            let bytes = Bytes::copy_from_slice(index_of(&entries).as_bytes());
            let found = (bytes.len() - cut) as u64;
            let short = OffsetIndex::parse(BASE, bytes.slice(..bytes.len() - cut), 1000);
            prop_assert_eq!(short.unwrap_err(), IndexDamage::Length { entry_bytes: 8, found });
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, target in 0..i64::MAX, log_bytes: u64) {
            if let Ok(mut index) = OffsetIndex::parse(BASE, bytes.into(), log_bytes) {
                index.floor(offset(target));
                index.floor_position(target as u64);
                index.truncate_to(offset(target));
            }
        }
    }
}
