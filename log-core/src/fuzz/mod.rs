//! Every parser of bytes that a disk or a stranger wrote, as a function that takes any bytes.
//!
//! The rule: each returns, whatever it is given. It does not panic, does not allocate by a
//! stranger's number, and what it takes it also gives back. Checksums would keep random bytes out
//! of what lies behind them; so each target that has one comes a second time, with the checksum
//! put right.
//!
//! Compiled for tests and with the feature `fuzz`. The crate in `fuzz/` runs these under
//! cargo-fuzz; the tests here run its corpora, each with some mutations, and `FUZZ_RUNS` makes
//! them long. A copy of the parsers in the fuzz crate was rejected: it would be what is tested.

#[cfg(test)]
mod corpus;
mod memory;

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::crc32_iscsi;
use log_proto::record::{CheckLimits, CheckedBatch, HEADER_BYTES, RecordBatch};
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use crate::checkpoint::{CheckpointKind, Reader, Writer, frame};
use crate::index::{OffsetIndex, TimeIndex, TxnIndex};
use crate::leader_epoch::LeaderEpochCache;
use crate::log_checkpoint::LogCheckpoint;
use crate::producer::{snapshot, window};
use crate::segment::{FileName, Seal};
use crate::{Committer, Isolation, Log, LogIdentity, OpenLog, ReadError};

/// A parser, or what stands behind one.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 15] = [
    ("batch", batch),
    ("records", records),
    ("index", index),
    ("timeindex", timeindex),
    ("txnindex", txnindex),
    ("snapshot", snapshot_file),
    ("snapshot_entries", snapshot_entries),
    ("window", window_payload),
    ("seal", seal),
    ("checkpoint", checkpoint),
    ("log_start", log_start),
    ("leader_epochs", leader_epochs),
    ("identity", identity),
    ("file_name", file_name),
    ("folder", folder),
];

const LIMITS: CheckLimits = CheckLimits { batch_bytes_max: 1 << 20, expanded_bytes_max: 1 << 20 };
const BASE: Offset = Offset::ZERO;

fn batch(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let parsed = RecordBatch::parse(bytes.clone());
    let checked = CheckedBatch::check(bytes, &LIMITS);
    if let Ok(batch) = &parsed
        && let Ok(records) = batch.records(LIMITS.expanded_bytes_max)
    {
        records.take(1 << 16).for_each(drop);
    }
    let Ok(checked) = checked else { return };
    let read = checked.batch().records(LIMITS.expanded_bytes_max).expect("what was checked");
    let count =
        read.inspect(|record| assert!(record.is_ok(), "what was checked can be read")).count();
    assert_eq!(count as u64, u64::from(checked.header().record_count()));
    let placed = checked.place(Offset::new(7).expect("not negative"), LeaderEpoch::ZERO, None);
    let whole = [&placed.bytes()[..], checked.body()].concat();
    RecordBatch::parse(whole.into()).expect("a placed batch is a batch");
}

/// A header's fields and a body; length, magic and checksum are put right.
fn records(bytes: &[u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let mut batch_bytes = bytes.to_vec();
    let length = i32::try_from(bytes.len() - 12).unwrap_or(i32::MAX);
    batch_bytes[8..12].copy_from_slice(&length.to_be_bytes());
    batch_bytes[16] = 2;
    let crc = crc32_iscsi(&batch_bytes[21..]);
    batch_bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    batch(&batch_bytes);
}

fn index(bytes: &[u8]) {
    let Ok(index) = OffsetIndex::parse(BASE, Bytes::copy_from_slice(bytes), 1 << 30) else {
        return;
    };
    assert_eq!(index.as_bytes(), bytes);
    let entries: Vec<_> = index.entries_after(0).collect();
    assert!(entries.windows(2).all(|pair| pair[0].last_offset < pair[1].last_offset));
    if let Some(last) = index.last() {
        assert_eq!(index.floor(last.last_offset), Some(last));
    }
}

fn timeindex(bytes: &[u8]) {
    let Ok(mut index) = TimeIndex::parse(BASE, Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(index.as_bytes(), bytes);
    index.floor(TimestampMs::new(1000));
    if let Some((timestamp, offset)) = index.last() {
        assert_eq!(index.floor(timestamp), Some((timestamp, offset)));
        index.truncate_to(offset);
    }
}

fn txnindex(bytes: &[u8]) {
    let Ok(mut index) = TxnIndex::parse(BASE, Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(index.as_bytes(), bytes);
    index.overlapping(BASE, Offset::MAX);
    index.truncate_to(Offset::new(100).expect("not negative"));
}

fn snapshot_file(bytes: &[u8]) {
    let Ok(states) = snapshot::decode(bytes) else { return };
    let again = snapshot::decode(&snapshot::encode(&states)).expect("what was read is written");
    assert_eq!(states, again);
}

/// What the snapshot's checksum covers.
fn snapshot_entries(bytes: &[u8]) {
    let crc = crc32_iscsi(bytes).to_be_bytes();
    snapshot_file(&[&1_i16.to_be_bytes()[..], &crc, bytes].concat());
}

fn window_payload(bytes: &[u8]) {
    let states = snapshot::decode(bytes).unwrap_or_default();
    for file in [bytes.to_vec(), frame(CheckpointKind::ProducerWindows, 1, bytes)] {
        window::merge(&mut states.clone(), &file);
    }
}

fn seal(bytes: &[u8]) {
    for file in [bytes.to_vec(), frame(CheckpointKind::Seal, 1, bytes)] {
        let _ = Seal::decode(&file);
    }
}

fn checkpoint(bytes: &[u8]) {
    for file in [bytes.to_vec(), frame(CheckpointKind::Log, 1, bytes)] {
        if let Ok(checkpoint) = LogCheckpoint::decode(&file) {
            let again = LogCheckpoint::decode(&checkpoint.encode());
            assert_eq!(again.ok(), Some(checkpoint), "what was read is written");
        }
    }
}

fn log_start(bytes: &[u8]) {
    for file in [bytes.to_vec(), frame(CheckpointKind::LogStart, 1, bytes)] {
        let _ = crate::log_start::decode(&file);
    }
}

fn leader_epochs(bytes: &[u8]) {
    let Ok(cache) = LeaderEpochCache::read_from(&mut Reader::new(bytes)) else { return };
    let mut written = Writer::default();
    cache.write_to(&mut written);
    assert!(bytes.starts_with(written.as_slice()), "what was read is written");
}

fn identity(bytes: &[u8]) {
    let read: Result<LogIdentity, _> = serde_json::from_slice(bytes);
    if let Ok(identity) = read {
        let again = serde_json::to_vec(&identity).expect("two plain fields");
        let again: LogIdentity = serde_json::from_slice(&again).expect("what was written");
        assert_eq!(again, identity);
    }
}

fn file_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = FileName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
}

const LOG_3: LogIdentity = LogIdentity { topic_id: uuid::Uuid::from_u128(0xca12), partition: 3 };

/// A folder of any files, packed as [`memory::pack`] does it: recovery, reads, appends, a second
/// recovery.
fn folder(bytes: &[u8]) {
    let disk = memory::unpack(bytes);
    let committer = Committer::start(1);
    // Everything below is synced by hand.
    committer.stop();
    let open = OpenLog {
        storage: Arc::new(disk),
        leader_epoch: LeaderEpoch::new(i32::MAX).expect("not negative"),
        ..OpenLog::new(memory::FOLDER, LOG_3, committer)
    };
    let Ok((log, _)) = Log::open(open.clone()) else { return };
    let offsets = log.offsets();
    read_through(&log);
    log.tick();
    let _ = log.flush();
    let _ = log.close();
    drop(log);
    let Ok((log, report)) = Log::open(open) else {
        panic!("a log that was opened and closed opens again");
    };
    assert_eq!((log.offsets().log_end, report.cuts.len()), (offsets.log_end, 0));
    read_through(&log);
}

fn read_through(log: &Log) {
    let offsets = log.offsets();
    let mut next = offsets.log_start;
    // A few steps show as much as all of them.
    for _ in 0..64 {
        match log.read_copied(next, 1, Isolation::LastStable) {
            Ok(fetched) if fetched.batches.is_empty() => return,
            Ok(fetched) => {
                let header = log_proto::record::BatchHeader::parse(&fetched.batches);
                let header = header.expect("a read gives whole batches");
                assert!(header.next_offset() > next && header.next_offset() <= offsets.log_end);
                next = header.next_offset();
            }
            Err(ReadError::Damaged { resume_at: Some(resume_at), .. }) => {
                assert!(resume_at > next, "reading goes on behind the damage");
                next = resume_at;
            }
            Err(_) => return,
        }
        if next > offsets.log_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
