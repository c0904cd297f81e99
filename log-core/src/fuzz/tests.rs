//! The corpora as ordinary tests, and what they were made of.

use std::fs;

use log_proto::record::{
    BatchBuilder, BatchOptions, Compression, EndTxnKind, EndTxnMarker, Transactional,
    end_txn_marker,
};
use log_proto::types::{CoordinatorEpoch, Producer, ProducerEpoch, ProducerId, Sequence};

use super::corpus::put;
use super::*;
use crate::{AppendOrigin, LogConfig};

macro_rules! corpora {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let usual_runs = if stringify!($name) == "folder" { 300 } else { 2000 };
            corpus::run(&TARGETS, stringify!($name), usual_runs);
        }
    )*
        #[test]
        fn each_target_has_its_test() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}
corpora! {
    batch records index timeindex txnindex snapshot snapshot_entries window seal checkpoint
    log_start leader_epochs identity file_name folder
}

fn a_batch(compression: Compression) -> Bytes {
    let producer = a_producer();
    let options = BatchOptions {
        compression,
        producer: Some((producer, Sequence::ZERO)),
        transactional: Transactional::Yes,
        ..BatchOptions::default()
    };
    let mut batch = BatchBuilder::new(options);
    for n in 0..3 {
        let value = [b'v'; 40];
        let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"x"))];
        batch.push(TimestampMs::new(1000 + n), Some(b"key"), Some(&value), &headers).unwrap();
    }
    batch.build().unwrap()
}

fn a_producer() -> Producer {
    Producer { id: ProducerId::new(7).unwrap(), epoch: ProducerEpoch::new(0).unwrap() }
}

/// A log's folder after a clean stop, and after none.
fn folders() -> [Vec<(String, Vec<u8>)>; 2] {
    [true, false].map(|stops| {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("log");
        let committer = Committer::start(1);
        committer.stop();
        let config =
            LogConfig { segment_bytes: 1024, index_interval_bytes: 0, ..Default::default() };
        let open = OpenLog { config, ..OpenLog::new(&folder, LOG_3, committer) };
        let (log, _) = Log::open(open).unwrap();
        for n in 0..9_i32 {
            let mut options = BatchOptions {
                producer: Some((a_producer(), Sequence::new(n).unwrap())),
                ..BatchOptions::default()
            };
            if n > 4 {
                options.transactional = Transactional::Yes;
            }
            let mut batch = BatchBuilder::new(options);
            batch.push(TimestampMs::new(1000), Some(b"key"), Some(&[b'v'; 120]), &[]).unwrap();
            let batch = log.check(batch.build().unwrap()).unwrap();
            log.append(&batch, AppendOrigin::Client, log.leader_epoch()).unwrap();
        }
        let coordinator_epoch = CoordinatorEpoch::new(0).unwrap();
        let marker = EndTxnMarker { kind: EndTxnKind::Abort, coordinator_epoch };
        let marker = end_txn_marker(a_producer(), marker, TimestampMs::new(1000));
        let marker = log.check(marker).unwrap();
        log.append(&marker, AppendOrigin::Coordinator, log.leader_epoch()).unwrap();
        log.flush().unwrap();
        log.tick();
        if stops {
            log.close().unwrap();
        }
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| {
                let mut bytes = fs::read(entry.path()).unwrap();
                // Room ahead would be most of the input.
                bytes.truncate(1200);
                (entry.file_name().into_string().unwrap(), bytes)
            })
            .collect();
        files.sort_unstable();
        files
    })
}

/// Writes the corpora anew, from what this build writes. Kept beside what fuzzing has found.
#[test]
#[ignore = "changes the sources: to be run after a format has changed"]
fn write_the_corpora() {
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        for target in ["batch", "records"] {
            put(target, compression.name(), &a_batch(compression));
        }
    }
    for target in ["log_start", "file_name", "identity", "snapshot"] {
        put(target, "empty", b"");
    }
    let names: [(&str, &[u8]); 3] = [
        ("log", b"00000000000000000005.log"),
        ("cut", b"00000000000000000000.cut-17"),
        ("tmp", b"log-start.tmp"),
    ];
    names.iter().for_each(|(name, bytes)| put("file_name", name, bytes));
    let mut epochs = LeaderEpochCache::default();
    for (epoch, start) in [(0, 0), (3, 7), (9, 100)] {
        epochs.assign(LeaderEpoch::new(epoch).unwrap(), Offset::new(start).unwrap());
    }
    let mut written = Writer::default();
    epochs.write_to(&mut written);
    put("leader_epochs", "three", written.as_slice());
    put("log_start", "payload", &9_i64.to_be_bytes());
    put("log_start", "file", &frame(CheckpointKind::LogStart, 1, &9_i64.to_be_bytes()));
    for (place, files) in folders().into_iter().enumerate() {
        let how = ["stopped", "crashed"][place];
        for (name, bytes) in &files {
            let kind = name.rsplit('.').next().unwrap();
            match kind {
                "index" | "timeindex" | "txnindex" => put(kind, name, bytes),
                "snapshot" => {
                    put(kind, name, bytes);
                    put("snapshot_entries", name, &bytes[6..]);
                }
                "window" | "seal" | "checkpoint" => {
                    put(kind, &format!("{how}-{name}"), bytes);
                    put(kind, &format!("{how}-{name}-payload"), &bytes[10..bytes.len() - 4]);
                }
                "json" => put("identity", name, bytes),
                _ => {}
            }
        }
        let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
        put("folder", how, &memory::pack(files));
    }
}
