//! The transaction index: which transactions of a segment were aborted. Kafka's `.txnindex`.
//!
//! ```text
//! 0         2             10             18            26                   34
//! +---------+-------------+--------------+-------------+--------------------+
//! | version | producer id | first offset | last offset | last stable offset |   big-endian
//! | i16 = 0 | i64         | i64          | i64         | i64                |
//! +---------+-------------+--------------+-------------+--------------------+
//! ```
//!
//! An aborted transaction stands in the index of the segment that holds its end marker, and its
//! last offset is the marker's; it may have begun segments earlier. Entries are in the order of
//! their markers.
//!
//! The rule: a read-committed fetch must be told of *every* aborted transaction with records in
//! its range. Any of them can end far behind the range, so the search goes on through later
//! entries and later segments, until an entry says that everything below the range's end was
//! decided by then. That is what the last stable offset in each entry is for.

use bytes::{Buf, Bytes};
use log_proto::types::{Offset, ProducerId};
use thiserror::Error;

use super::{Entries, Expected, IndexDamage, IndexField, expect};

const ENTRY_BYTES: usize = 34;

/// The only version of the entry's format.
const VERSION: i16 = 0;

/// A transaction that was aborted in this partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTxn {
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// Offset of its first record here.
    pub first_offset: Offset,
    /// Offset of its abort marker. Inclusive.
    pub last_offset: Offset,
    /// The last stable offset as of the marker: everything below was decided.
    pub last_stable_offset: Offset,
}

/// What a search in one segment's index gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TxnSearch {
    /// Aborted transactions with records in the range, by their markers.
    pub(crate) aborted: Vec<AbortedTxn>,
    /// Where the search stands.
    pub(crate) end: SearchEnd,
}

/// Whether later segments can hold more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SearchEnd {
    /// No later entry can touch the range.
    Complete,
    /// The next segment's index must be searched too, if there is one.
    InLaterSegment,
}

/// Markers come in the order of the log, each once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "end marker at offset {found} does not follow the one at {last_offset}, the last in the transaction index"
)]
pub(crate) struct MarkerOutOfOrder {
    /// The last marker in the index.
    pub(crate) last_offset: Offset,
    /// The marker to add.
    pub(crate) found: Offset,
}

/// Aborted transactions, for one segment.
#[derive(Clone, Debug)]
pub(crate) struct TxnIndex(Entries<ENTRY_BYTES>);

impl TxnIndex {
    /// An empty index that grows.
    pub(crate) const fn new() -> Self {
        Self(Entries::new())
    }

    /// The index that a file holds, with every entry checked. Aborts are few, so that there is no
    /// need for a faster way. `base_offset` is the segment's.
    pub(crate) fn parse(base_offset: Offset, bytes: Bytes) -> Result<Self, IndexDamage> {
        let entries = Entries::fixed(bytes)?;
        let mut above = base_offset.get() - 1;
        for (number, entry) in entries.as_slice().iter().enumerate() {
            let stored = Stored::decode(entry);
            stored.check(number, above)?;
            above = stored.last_offset;
        }
        Ok(Self(entries))
    }

    /// Adds a transaction whose marker was just written. Unlike an entry of the sparse indexes
    /// this one must not be left out: readers would see what was aborted.
    pub(crate) fn push(&mut self, aborted: AbortedTxn) -> Result<(), MarkerOutOfOrder> {
        if let Some(last) = self.0.as_slice().last() {
            let last_offset = Stored::decode(last).to_aborted().last_offset;
            if aborted.last_offset <= last_offset {
                return Err(MarkerOutOfOrder { last_offset, found: aborted.last_offset });
            }
        }
        self.0.push(Stored::of(&aborted).encode());
        Ok(())
    }

    /// Aborted transactions with an offset in `fetch_offset..upper_bound`, as far as this segment
    /// knows.
    pub(crate) fn overlapping(&self, fetch_offset: Offset, upper_bound: Offset) -> TxnSearch {
        let entries = self.0.as_slice();
        // An entry that ends before the range has a last stable offset before it too, so leaving
        // it out cannot end the search too late.
        let before =
            self.0.count_while(|entry| Stored::decode(entry).last_offset < fetch_offset.get());
        let mut aborted = Vec::new();
        for entry in &entries[before..] {
            let txn = Stored::decode(entry).to_aborted();
            if txn.first_offset < upper_bound {
                aborted.push(txn);
            }
            if txn.last_stable_offset >= upper_bound {
                return TxnSearch { aborted, end: SearchEnd::Complete };
            }
        }
        TxnSearch { aborted, end: SearchEnd::InLaterSegment }
    }

    /// Forgets transactions whose marker is at or behind `end_offset`.
    pub(crate) fn truncate_to(&mut self, end_offset: Offset) {
        let keep = self.0.count_while(|entry| Stored::decode(entry).last_offset < end_offset.get());
        self.0.truncate(keep);
    }

    /// The file's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// An entry as it is on disk.
#[derive(Clone, Copy)]
struct Stored {
    version: i16,
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

impl Stored {
    fn of(aborted: &AbortedTxn) -> Self {
        Self {
            version: VERSION,
            producer_id: aborted.producer_id.get(),
            first_offset: aborted.first_offset.get(),
            last_offset: aborted.last_offset.get(),
            last_stable_offset: aborted.last_stable_offset.get(),
        }
    }

    fn decode(entry: &[u8; ENTRY_BYTES]) -> Self {
        let entry: &mut &[u8] = &mut entry.as_slice();
        Self {
            version: entry.get_i16(),
            producer_id: entry.get_i64(),
            first_offset: entry.get_i64(),
            last_offset: entry.get_i64(),
            last_stable_offset: entry.get_i64(),
        }
    }

    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..2].copy_from_slice(&self.version.to_be_bytes());
        entry[2..10].copy_from_slice(&self.producer_id.to_be_bytes());
        entry[10..18].copy_from_slice(&self.first_offset.to_be_bytes());
        entry[18..26].copy_from_slice(&self.last_offset.to_be_bytes());
        entry[26..].copy_from_slice(&self.last_stable_offset.to_be_bytes());
        entry
    }

    fn to_aborted(self) -> AbortedTxn {
        const HOLDS: &str = "entries are checked when they are parsed or pushed";
        AbortedTxn {
            producer_id: ProducerId::new(self.producer_id).expect(HOLDS),
            first_offset: Offset::new(self.first_offset).expect(HOLDS),
            last_offset: Offset::new(self.last_offset).expect(HOLDS),
            last_stable_offset: Offset::new(self.last_stable_offset).expect(HOLDS),
        }
    }

    /// `above` is the last offset of the entry before.
    fn check(self, number: usize, above: i64) -> Result<(), IndexDamage> {
        use Expected::{Above, AtLeast, AtMost, Below, Exactly};
        let last_stable_max = self.last_offset.saturating_add(1);
        for (field, expected, found) in [
            (IndexField::Version, Exactly(VERSION.into()), self.version.into()),
            (IndexField::ProducerId, AtLeast(0), self.producer_id),
            (IndexField::LastOffset, Above(above), self.last_offset),
            (IndexField::FirstOffset, AtLeast(0), self.first_offset),
            (IndexField::FirstOffset, Below(self.last_offset), self.first_offset),
            (IndexField::LastStableOffset, AtLeast(0), self.last_stable_offset),
            (IndexField::LastStableOffset, AtMost(last_stable_max), self.last_stable_offset),
        ] {
            expect(number, field, expected, found)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn aborted(id: i64, first: i64, last: i64, last_stable: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: ProducerId::new(id).unwrap(),
            first_offset: offset(first),
            last_offset: offset(last),
            last_stable_offset: offset(last_stable),
        }
    }

    fn index_of(entries: &[AbortedTxn]) -> TxnIndex {
        let mut index = TxnIndex::new();
        for entry in entries {
            index.push(*entry).unwrap();
        }
        index
    }

    #[test]
    fn golden_bytes_are_kafkas() {
        let index = index_of(&[aborted(7, 100, 165, 166)]);
        assert_eq!(
            index.as_bytes(),
            b"\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\xa5\0\0\0\0\0\0\0\xa6"
        );
    }

    #[test]
    fn a_search_ends_only_when_everything_below_the_range_end_was_decided() {
        // Producer 2 is open from 5 on, and holds the last stable offset there until it aborts.
        let index = index_of(&[aborted(1, 0, 10, 5), aborted(3, 11, 12, 5), aborted(2, 5, 20, 21)]);
        let search = |from, to| index.overlapping(offset(from), offset(to));
        let ids = |search: &TxnSearch| {
            search.aborted.iter().map(|txn| txn.producer_id.get()).collect::<Vec<_>>()
        };

        let early = search(0, 5);
        assert_eq!((ids(&early), early.end), (vec![1], SearchEnd::Complete));
        let middle = search(6, 9);
        assert_eq!((ids(&middle), middle.end), (vec![1, 2], SearchEnd::Complete));
        let late = search(13, 21);
        assert_eq!((ids(&late), late.end), (vec![2], SearchEnd::Complete));
        let beyond = search(21, 30);
        assert_eq!((ids(&beyond), beyond.end), (vec![], SearchEnd::InLaterSegment));
        let edge = search(10, 22);
        assert_eq!((ids(&edge), edge.end), (vec![1, 3, 2], SearchEnd::InLaterSegment));
    }

    #[test]
    fn markers_come_in_the_order_of_the_log() {
        let mut index = index_of(&[aborted(1, 0, 10, 11)]);
        let refused = MarkerOutOfOrder { last_offset: offset(10), found: offset(10) };
        assert_eq!(index.push(aborted(2, 5, 10, 11)), Err(refused));
        index.truncate_to(offset(10));
        assert_eq!(index.push(aborted(2, 5, 10, 11)), Ok(()));
    }

    #[test]
    fn damage_is_named_by_entry_and_field() {
        use {Expected::*, IndexField::*};
        let good = Stored {
            version: 0,
            producer_id: 7,
            first_offset: 90,
            last_offset: 110,
            last_stable_offset: 111,
        };
        let parse = |entries: &[Stored]| {
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.encode()).collect();
            TxnIndex::parse(offset(100), bytes.into()).map(|_| ())
        };
        let damage = |entry, field, expected, found| {
            Err(IndexDamage::Entry { entry, field, expected, found })
        };
        assert_eq!(parse(&[good, Stored { last_offset: 120, ..good }]), Ok(()));
        assert_eq!(parse(&[good, good]), damage(1, LastOffset, Above(110), 110));
        assert_eq!(parse(&[Stored { version: 1, ..good }]), damage(0, Version, Exactly(0), 1));
        assert_eq!(
            parse(&[Stored { producer_id: -1, ..good }]),
            damage(0, ProducerId, AtLeast(0), -1)
        );
        assert_eq!(
            parse(&[Stored { last_offset: 99, ..good }]),
            damage(0, LastOffset, Above(99), 99)
        );
        assert_eq!(
            parse(&[Stored { first_offset: 110, ..good }]),
            damage(0, FirstOffset, Below(110), 110)
        );
        assert_eq!(
            parse(&[Stored { last_stable_offset: 112, ..good }]),
            damage(0, LastStableOffset, AtMost(111), 112)
        );
    }

    /// Transactions with distinct markers, each either committed or aborted.
    fn any_log() -> impl Strategy<Value = Vec<(i64, i64, bool)>> {
        prop::collection::vec((0_i64..40, 1_i64..40, any::<bool>()), 0..20).prop_map(|mut txns| {
            for (n, txn) in txns.iter_mut().enumerate() {
                // Spread by number, so that no two markers share an offset.
                txn.0 = txn.0 * 100 + n as i64;
                txn.1 = txn.0 + txn.1 * 100;
            }
            txns.sort_by_key(|txn| txn.1);
            txns
        })
    }

    proptest! {
        #[test]
        fn no_aborted_transaction_of_the_range_is_missed(
            log in any_log(), from in 0_i64..8000, len in 1_i64..8000, split in 0_usize..20,
        ) {
            let mut all = Vec::new();
            for (n, (first, last, is_aborted)) in log.iter().enumerate() {
                let open = log.iter().filter(|txn| txn.0 < *last && txn.1 > *last).map(|txn| txn.0);
                if *is_aborted {
                    all.push(aborted(n as i64, *first, *last, open.min().unwrap_or(last + 1)));
                }
            }
            let (earlier, later) = all.split_at(split.min(all.len()));
            let (from, to) = (offset(from), offset(from + len));
            let mut found = Vec::new();
            for segment in [earlier, later] {
                let bytes = index_of(segment).as_bytes().to_vec();
                let search = TxnIndex::parse(Offset::ZERO, bytes.into()).unwrap().overlapping(from, to);
                found.extend(search.aborted);
                if search.end == SearchEnd::Complete {
                    break;
                }
            }
            all.retain(|txn| txn.last_offset >= from && txn.first_offset < to);
            prop_assert_eq!(found, all);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, from in 0_i64..i64::MAX) {
            if let Ok(mut index) = TxnIndex::parse(Offset::ZERO, bytes.into()) {
                index.overlapping(offset(from), Offset::MAX);
                index.truncate_to(offset(from));
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed_or_stays_a_sound_index(bit in 0_usize..(2 * 34 * 8)) {
            let index = index_of(&[aborted(7, 100, 165, 166), aborted(8, 110, 170, 171)]);
            let mut bytes = index.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(index) = TxnIndex::parse(Offset::ZERO, bytes.into()) {
                index.overlapping(Offset::ZERO, Offset::MAX);
            }
        }
    }
}
