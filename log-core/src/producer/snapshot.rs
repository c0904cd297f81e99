//! The producer snapshot: the state of all producers below one offset. Kafka's `.snapshot`.
//!
//! ```text
//! 0         2        6       10
//! +---------+--------+-------+---------+---------+ …
//! | version | CRC    | count | entry   | entry   |     big-endian
//! | i16 = 1 | u32    | i32   | 46 bytes| 46 bytes|     CRC-32C over everything from byte 6 on
//! +---------+--------+-------+---------+---------+ …
//!
//! entry   0  producer id               i64
//!         8  producer epoch            i16
//!         10 last sequence             i32   -1: no batch, or one without a sequence
//!         14 last offset               i64   -1: no batch under this epoch
//!         22 offset delta              i32   last minus base offset of the last batch
//!         26 timestamp                 i64   of the last batch or end marker
//!         34 coordinator epoch         i32   -1: no transaction has ended
//!         38 current txn first offset  i64   -1: no transaction is open
//! ```
//!
//! The rule: byte for byte what Kafka writes, so that its tools read our folders; entries are by
//! producer id, so that the same state gives the same bytes. The format has room for one batch of
//! each producer; the other four are in a file beside it, see [`window`](super::window).

use crc_fast::crc32_iscsi;
use log_proto::types::{
    CoordinatorEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use thiserror::Error;

use super::ProducerStates;
use super::entry::{BatchMetadata, ProducerEntry};
use crate::checkpoint::{PayloadDamage, Reader, Writer};

/// The only version of the format that Kafka has had.
const VERSION: i16 = 1;

/// Version and CRC: what the CRC does not cover.
const UNCOVERED_BYTES: usize = 2 + 4;

const ENTRY_BYTES: usize = 46;

/// Why a file is no producer snapshot. The remedy is to go back to an older one, or to the start
/// of the log, and to replay from there.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum SnapshotDamage {
    /// The file is from elsewhere.
    #[error("producer snapshot has version {found} and this build knows {VERSION}")]
    Version {
        /// The file's version.
        found: i16,
    },
    /// Some byte changed since the file was written.
    #[error("producer snapshot has checksum {found:#010x} where its bytes give {expected:#010x}")]
    Checksum {
        /// Computed over the bytes.
        expected: u32,
        /// Stored before the bytes.
        found: u32,
    },
    /// The checksum is right, and what it covers makes no sense.
    #[error("producer snapshot: {0}")]
    Payload(#[from] PayloadDamage),
    /// Two entries contradict each other.
    #[error(
        "producer snapshot names producer {producer_id}, or the start of its transaction, twice"
    )]
    Twice {
        /// The second entry's producer.
        producer_id: ProducerId,
    },
}

/// The bytes of the whole file.
pub(crate) fn encode(states: &ProducerStates) -> Vec<u8> {
    let mut covered = Writer::with_capacity(4 + states.entries.len() * ENTRY_BYTES);
    let count = i32::try_from(states.entries.len()).expect("2^31 producers do not fit in memory");
    covered.put_i32(count);
    for (id, entry) in states.entries() {
        put_entry(&mut covered, id, entry);
    }
    let mut file = Writer::with_capacity(UNCOVERED_BYTES + covered.as_slice().len());
    file.put_i16(VERSION);
    file.put_u32(crc32_iscsi(covered.as_slice()));
    file.put_slice(covered.as_slice());
    file.into_vec()
}

fn put_entry(out: &mut Writer, id: ProducerId, entry: &ProducerEntry) {
    let batch = entry.newest_batch();
    let offset_delta = batch.map_or(0, |batch| batch.offset_delta);
    out.put_i64(id.get());
    out.put_i16(entry.producer_epoch.get());
    out.put_i32(entry.last_sequence().map_or(-1, Sequence::get));
    out.put_i64(batch.map_or(-1, |batch| batch.last_offset.get()));
    out.put_i32(i32::try_from(offset_delta).expect("the batch format has 31 bits for it"));
    out.put_i64(entry.last_timestamp.get());
    out.put_i32(entry.coordinator_epoch.map_or(-1, CoordinatorEpoch::get));
    out.put_i64(entry.current_txn_first_offset.map_or(-1, Offset::get));
}

/// The state that a whole file holds.
pub(crate) fn decode(bytes: &[u8]) -> Result<ProducerStates, SnapshotDamage> {
    let mut reader = Reader::new(bytes);
    let version = reader.take_i16()?;
    if version != VERSION {
        return Err(SnapshotDamage::Version { found: version });
    }
    let found = reader.take_u32()?;
    let expected = crc32_iscsi(&bytes[UNCOVERED_BYTES..]);
    if expected != found {
        return Err(SnapshotDamage::Checksum { expected, found });
    }
    let states = take_entries(&mut reader)?;
    reader.finish()?;
    Ok(states)
}

fn take_entries(reader: &mut Reader<'_>) -> Result<ProducerStates, SnapshotDamage> {
    let to_count = |found| u32::try_from(found).ok();
    let count = reader.take_as("count of producers", Reader::take_i32, to_count)?;
    let mut states = ProducerStates::default();
    for _ in 0..reader.room_for(count, ENTRY_BYTES)? {
        let (producer_id, entry) = take_entry(reader)?;
        add(&mut states, producer_id, entry)?;
    }
    Ok(states)
}

fn add(
    states: &mut ProducerStates,
    producer_id: ProducerId,
    entry: ProducerEntry,
) -> Result<(), SnapshotDamage> {
    let first_offset = entry.current_txn_first_offset;
    let other_txn = first_offset.and_then(|first| states.open_txns.insert(first, producer_id));
    let other_entry = states.entries.insert(producer_id, entry);
    if other_txn.is_some() || other_entry.is_some() {
        return Err(SnapshotDamage::Twice { producer_id });
    }
    Ok(())
}

fn take_entry(reader: &mut Reader<'_>) -> Result<(ProducerId, ProducerEntry), PayloadDamage> {
    let id = reader.take_as("producer id", Reader::take_i64, ProducerId::new)?;
    let epoch = reader.take_as("producer epoch", Reader::take_i16, ProducerEpoch::new)?;
    let mut entry = ProducerEntry::new(epoch);
    let last_sequence = take_last_sequence(reader)?;
    let last_offset = reader.take_as("last offset", Reader::take_i64, or_none(Offset::new))?;
    let delta_max = last_offset.map_or(i64::MAX, Offset::get);
    let offset_delta = take_offset_delta(reader, delta_max)?;
    let timestamp = TimestampMs::new(reader.take_i64()?);
    entry.last_timestamp = timestamp;
    entry.window[0] = last_offset.map(|last_offset| BatchMetadata {
        last_sequence,
        last_offset,
        offset_delta,
        timestamp,
    });
    entry.coordinator_epoch =
        reader.take_as("coordinator epoch", Reader::take_i32, or_none(CoordinatorEpoch::new))?;
    entry.current_txn_first_offset =
        reader.take_as("transaction's first offset", Reader::take_i64, or_none(Offset::new))?;
    Ok((id, entry))
}

/// The last sequence of a batch, here and in the file of windows.
pub(super) fn take_last_sequence(
    reader: &mut Reader<'_>,
) -> Result<Option<Sequence>, PayloadDamage> {
    reader.take_as("last sequence", Reader::take_i32, or_none(Sequence::new))
}

/// The offset delta of a batch, here and in the file of windows.
pub(super) fn take_offset_delta(
    reader: &mut Reader<'_>,
    delta_max: i64,
) -> Result<u32, PayloadDamage> {
    reader.take_as("offset delta", Reader::take_i32, |found| {
        u32::try_from(found).ok().filter(|delta| i64::from(*delta) <= delta_max)
    })
}

/// Accepts -1 as "none", and otherwise what `accept` does.
fn or_none<N: Into<i64> + Copy, T>(
    accept: impl FnOnce(N) -> Option<T>,
) -> impl FnOnce(N) -> Option<Option<T>> {
    |found| {
        if found.into() == -1 { Some(None) } else { accept(found).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Partition, any_script, data, marker, offset};
    use super::super::{AppendOrigin, TxnOutcome};
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &[u8] = b"\
        \x00\x01\
        \xe8\xb3\x7e\xf6\
        \x00\x00\x00\x02\
        \x00\x00\x00\x00\x00\x00\x00\x07\x00\x03\x00\x00\x00\x01\
        \x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03\xe8\
        \xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x09\x00\x01\xff\xff\xff\xff\
        \xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\xea\
        \x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff";

    /// Producer 7 has written two records of an open transaction, producer 9 only ended one.
    fn golden_states() -> ProducerStates {
        let mut log = Partition::default();
        log.append(data(7, 3, 0, 2).transactional(), AppendOrigin::Client).unwrap();
        log.append(marker(9, 1, TxnOutcome::Abort, 5), AppendOrigin::Coordinator).unwrap();
        log.states
    }

    /// A file that only its checksum vouches for.
    fn with_right_checksum(mut file: Vec<u8>) -> Vec<u8> {
        let checksum = crc32_iscsi(&file[UNCOVERED_BYTES..]);
        file[2..6].copy_from_slice(&checksum.to_be_bytes());
        file
    }

    #[test]
    fn golden_bytes_are_kafkas() {
        assert_eq!(encode(&golden_states()), GOLDEN);
        assert_eq!(decode(GOLDEN).unwrap(), golden_states());
    }

    #[test]
    fn an_open_transaction_survives() {
        let states = decode(GOLDEN).unwrap();
        assert_eq!(states.first_open_offset(), Some(Offset::ZERO));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        for len in 0..GOLDEN.len() {
            assert!(decode(&GOLDEN[..len]).is_err(), "{len} bytes");
            assert!(decode(&with_right_checksum(GOLDEN[..len.max(6)].to_vec())).is_err());
        }
        for bit in 0..GOLDEN.len() * 8 {
            let mut flipped = GOLDEN.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        let longer = with_right_checksum([GOLDEN, &[0]].concat());
        assert!(matches!(
            decode(&longer),
            Err(SnapshotDamage::Payload(PayloadDamage::Trailing { remaining: 1, .. }))
        ));
    }

    #[test]
    fn a_count_that_the_file_cannot_hold_is_refused() {
        for count in [3_i32, i32::MAX, -1, i32::MIN] {
            let mut file = GOLDEN.to_vec();
            file[6..10].copy_from_slice(&count.to_be_bytes());
            let refused = decode(&with_right_checksum(file)).unwrap_err();
            assert!(matches!(refused, SnapshotDamage::Payload(_)), "{refused}");
        }
    }

    #[test]
    fn contradictions_are_refused_whatever_the_checksum_says() {
        let mut same_id = GOLDEN.to_vec();
        same_id[56 + 7] = 7;
        let refused = decode(&with_right_checksum(same_id)).unwrap_err();
        let producer_id = ProducerId::new(7).unwrap();
        assert_eq!(refused, SnapshotDamage::Twice { producer_id });

        let mut begins_below_zero = GOLDEN.to_vec();
        begins_below_zero[10 + 25] = 2;
        let refused = decode(&with_right_checksum(begins_below_zero)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "producer snapshot: offset delta at byte 32 is 2, which it cannot be"
        );
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut newer = GOLDEN.to_vec();
        newer[1] = 2;
        assert_eq!(decode(&newer), Err(SnapshotDamage::Version { found: 2 }));
    }

    proptest! {
        #[test]
        fn a_snapshot_keeps_all_but_the_older_batches(script in any_script()) {
            let states = Partition::after(&script).states;
            let read = decode(&encode(&states)).unwrap();
            prop_assert_eq!(read.first_open_offset(), states.first_open_offset());
            prop_assert_eq!(encode(&read), encode(&states));
            for ((id, read), (known_id, known)) in read.entries().zip(states.entries()) {
                prop_assert_eq!(id, known_id);
                prop_assert!(read.batches().count() <= 1);
                prop_assert_eq!(read.last_sequence(), known.last_sequence());
                prop_assert_eq!(read.producer_epoch(), known.producer_epoch());
                prop_assert_eq!(read.coordinator_epoch(), known.coordinator_epoch());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(payload: Vec<u8>, count in 0_i32..4) {
            let mut file = vec![0, 1, 0, 0, 0, 0];
            file.extend(count.to_be_bytes());
            file.extend(payload);
            let _ = decode(&with_right_checksum(file)).map(|states| {
                states.entries().for_each(|(_, entry)| {
                    entry.batches().for_each(|batch| assert!(batch.base_offset() >= offset(0)));
                });
            });
        }
    }
}
