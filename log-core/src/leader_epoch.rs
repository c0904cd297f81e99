//! Leader epochs and the offsets at which they began (KIP-101, KIP-320).
//!
//! ```text
//!   epoch        0            1     4
//!                |------------|-----|---------->  log end
//!   start        0          100   120
//! ```
//!
//! The rule: both numbers grow strictly from entry to entry, so that any offset belongs to one
//! epoch and any epoch ends at one offset. A client that last read under epoch 0 learns that it
//! ended at 100; if the client is past that, the records it saw were lost, and the offsets
//! it remembers now hold others.

use log_proto::types::{LeaderEpoch, Offset};

use crate::checkpoint::{PayloadDamage, Reader, Writer};

/// An epoch, and the first offset that was written under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EpochStart {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) start_offset: Offset,
}

/// What became of an epoch that was assigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EpochAssignment {
    /// It is the latest now.
    Added,
    /// It was the latest before, and keeps its start.
    Known,
    /// It is older than the latest: its writer has been succeeded, and nothing changed.
    Superseded,
}

/// The epochs of one log, oldest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct LeaderEpochCache(Vec<EpochStart>);

/// An epoch i32 and a start offset i64.
const ENTRY_BYTES: usize = 4 + 8;

impl LeaderEpochCache {
    /// Notes that `epoch` writes from `start_offset` on. Epochs that would begin there or later
    /// never wrote anything that is still in the log, and are forgotten.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> EpochAssignment {
        if let Some(latest) = self.latest() {
            if epoch == latest.epoch {
                return EpochAssignment::Known;
            }
            if epoch < latest.epoch {
                return EpochAssignment::Superseded;
            }
        }
        self.truncate_from_end(start_offset);
        self.0.push(EpochStart { epoch, start_offset });
        EpochAssignment::Added
    }

    /// The epoch that writes now.
    pub(crate) fn latest(&self) -> Option<EpochStart> {
        self.0.last().copied()
    }

    /// The epoch that wrote at `offset`; of one that is yet to be written, the latest.
    pub(crate) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let begun = self.0.partition_point(|entry| entry.start_offset <= offset);
        begun.checked_sub(1).map(|covering| self.0[covering].epoch)
    }

    /// Where the records of `epoch` end, as Kafka's OffsetForLeaderEpoch answers: the latest epoch
    /// at or below the one asked for that wrote anything, and the exclusive end of its records.
    ///
    /// The end of the latest epoch is the log's. An epoch older than all that are known ends where
    /// the oldest known one begins: its records are deleted. `None` for an epoch that is yet to
    /// come, and while no epoch is known.
    pub(crate) fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end_offset: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let later = self.0.partition_point(|entry| entry.epoch <= epoch);
        match (later.checked_sub(1).map(|floor| self.0[floor]), self.0.get(later)) {
            (Some(floor), Some(next)) => Some((floor.epoch, next.start_offset)),
            (None, Some(next)) => Some((epoch, next.start_offset)),
            (Some(latest), None) if latest.epoch == epoch => Some((epoch, log_end_offset)),
            (_, None) => None,
        }
    }

    /// Forgets epochs that began at or behind `end_offset`, the new end of the log.
    pub(crate) fn truncate_from_end(&mut self, end_offset: Offset) {
        let keep = self.0.partition_point(|entry| entry.start_offset < end_offset);
        self.0.truncate(keep);
    }

    /// Forgets epochs that ended at or before `start_offset`, the new start of the log. The one
    /// that wrote at that offset, or the latest one, stays and now begins there.
    pub(crate) fn truncate_from_start(&mut self, start_offset: Offset) {
        let begun = self.0.partition_point(|entry| entry.start_offset <= start_offset);
        if let Some(covering) = begun.checked_sub(1) {
            self.0.drain(..covering);
            self.0[0].start_offset = start_offset;
        }
    }

    /// Appends a u32 count, then for each entry its epoch as i32 and its start offset as i64.
    pub(crate) fn write_to(&self, out: &mut Writer) {
        let count = u32::try_from(self.0.len()).expect("epochs are 31-bit numbers, each held once");
        out.put_u32(count);
        for entry in &self.0 {
            out.put_i32(entry.epoch.get());
            out.put_i64(entry.start_offset.get());
        }
    }

    /// Takes what [`LeaderEpochCache::write_to`] wrote.
    pub(crate) fn read_from(reader: &mut Reader<'_>) -> Result<Self, PayloadDamage> {
        let count = reader.take_u32()?;
        let mut entries: Vec<EpochStart> = Vec::with_capacity(reader.room_for(count, ENTRY_BYTES)?);
        for _ in 0..count {
            let above = entries.last().copied();
            let epoch = reader.take_as("leader epoch", Reader::take_i32, |found| {
                LeaderEpoch::new(found)
                    .filter(|epoch| above.is_none_or(|above| above.epoch < *epoch))
            })?;
            let start_offset =
                reader.take_as("epoch's start offset", Reader::take_i64, |found| {
                    Offset::new(found)
                        .filter(|start| above.is_none_or(|above| above.start_offset < *start))
                })?;
            entries.push(EpochStart { epoch, start_offset });
        }
        Ok(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(value: i32) -> LeaderEpoch {
        LeaderEpoch::new(value).unwrap()
    }

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::default();
        for (number, start) in entries {
            assert_eq!(cache.assign(epoch(*number), offset(*start)), EpochAssignment::Added);
        }
        cache
    }

    fn entries(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache.0.iter().map(|entry| (entry.epoch.get(), entry.start_offset.get())).collect()
    }

    fn encoded(cache: &LeaderEpochCache) -> Vec<u8> {
        let mut out = Writer::default();
        cache.write_to(&mut out);
        out.into_vec()
    }

    #[test]
    fn an_epoch_keeps_its_start_and_gives_way_only_to_a_later_one() {
        let mut cache = cache(&[(0, 0), (1, 100)]);
        assert_eq!(cache.assign(epoch(1), offset(150)), EpochAssignment::Known);
        assert_eq!(cache.assign(epoch(0), offset(150)), EpochAssignment::Superseded);
        assert_eq!(entries(&cache), [(0, 0), (1, 100)]);
    }

    #[test]
    fn epochs_that_wrote_nothing_are_forgotten() {
        let mut written = cache(&[(0, 0), (1, 100), (2, 120)]);
        assert_eq!(written.assign(epoch(3), offset(120)), EpochAssignment::Added);
        assert_eq!(entries(&written), [(0, 0), (1, 100), (3, 120)]);
        assert_eq!(written.assign(epoch(7), offset(50)), EpochAssignment::Added);
        assert_eq!(entries(&written), [(0, 0), (7, 50)]);
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let cache = cache(&[(1, 10), (2, 100), (5, 120)]);
        let end = |asked| {
            let end = cache.end_offset_for(epoch(asked), offset(200))?;
            Some((end.0.get(), end.1.get()))
        };
        assert_eq!(end(0), Some((0, 10)));
        assert_eq!(end(1), Some((1, 100)));
        assert_eq!(end(2), Some((2, 120)));
        assert_eq!(end(4), Some((2, 120)));
        assert_eq!(end(5), Some((5, 200)));
        assert_eq!(end(6), None);
        assert_eq!(LeaderEpochCache::default().end_offset_for(epoch(0), offset(0)), None);
    }

    #[test]
    fn a_new_start_keeps_the_epoch_that_covers_it() {
        let mut cache = cache(&[(0, 0), (1, 100), (2, 120)]);
        cache.truncate_from_start(offset(110));
        assert_eq!(entries(&cache), [(1, 110), (2, 120)]);
        cache.truncate_from_start(offset(120));
        assert_eq!(entries(&cache), [(2, 120)]);
        cache.truncate_from_start(offset(500));
        assert_eq!(entries(&cache), [(2, 500)]);
        cache.truncate_from_start(offset(3));
        assert_eq!(entries(&cache), [(2, 500)]);
    }

    #[test]
    fn a_new_end_forgets_what_began_behind_it() {
        let mut cache = cache(&[(0, 0), (1, 100), (2, 120)]);
        cache.truncate_from_end(offset(120));
        assert_eq!(entries(&cache), [(0, 0), (1, 100)]);
        cache.truncate_from_end(offset(0));
        assert_eq!(entries(&cache), []);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            encoded(&cache(&[(1, 10), (258, 515)])),
            b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x0a\0\0\x01\x02\0\0\0\0\0\0\x02\x03"
        );
    }

    #[test]
    fn entries_that_do_not_grow_are_refused() {
        for bytes in [
            &b"\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0"[..],
            b"\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x0a\0\0\0\x01\0\0\0\0\0\0\0\x0b",
            b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x0a\0\0\0\x02\0\0\0\0\0\0\0\x0a",
        ] {
            let refused = LeaderEpochCache::read_from(&mut Reader::new(bytes)).unwrap_err();
            assert!(matches!(refused, PayloadDamage::Value { .. }), "{refused}");
        }
    }

    #[test]
    fn a_count_that_the_file_cannot_hold_is_refused_before_memory_is_reserved() {
        let refused = LeaderEpochCache::read_from(&mut Reader::new(&[255; 40])).unwrap_err();
        let wanted = u64::from(u32::MAX) * 12;
        assert_eq!(refused, PayloadDamage::Truncated { position: 4, wanted, remaining: 36 });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Assign(i32, i64),
        CutEnd(i64),
        CutStart(i64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..30, 0_i64..100).prop_map(|(number, start)| Step::Assign(number, start)),
            1 => (0_i64..100).prop_map(Step::CutEnd),
            1 => (0_i64..100).prop_map(Step::CutStart),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_both_numbers_grow_and_survive_the_disk(
            steps in prop::collection::vec(any_step(), 0..40),
        ) {
            let mut cache = LeaderEpochCache::default();
            for step in steps {
                match step {
                    Step::Assign(number, start) => {
                        cache.assign(epoch(number), offset(start));
                    }
                    Step::CutEnd(end) => cache.truncate_from_end(offset(end)),
                    Step::CutStart(start) => cache.truncate_from_start(offset(start)),
                }
                let grows = cache.0.is_sorted_by(|above, entry| {
                    above.epoch < entry.epoch && above.start_offset < entry.start_offset
                });
                prop_assert!(grows, "{cache:?}");
            }
            let bytes = encoded(&cache);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(LeaderEpochCache::read_from(&mut reader), Ok(cache));
            prop_assert_eq!(reader.finish(), Ok(()));
            for len in 0..bytes.len() {
                prop_assert!(LeaderEpochCache::read_from(&mut Reader::new(&bytes[..len])).is_err());
            }
        }
    }
}
