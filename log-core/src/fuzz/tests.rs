//! The corpora as ordinary tests: each input as it is, and with a few mutations of a seed.

use std::fs;
use std::path::PathBuf;

use log_proto::record::{
    BatchBuilder, BatchOptions, Compression, EndTxnKind, EndTxnMarker, Transactional,
    end_txn_marker,
};
use log_proto::types::{CoordinatorEpoch, Producer, ProducerEpoch, ProducerId, Sequence};

use super::*;
use crate::{AppendOrigin, LogConfig};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target)
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus(target)).expect("each target has a corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A counter, mixed until no bit can be told from its neighbours.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        usize::try_from((mixed ^ (mixed >> 32)) >> 1).unwrap_or(0) % bound.max(1)
    }
}

/// Values at which decoders go wrong.
const EDGES: [&[u8]; 6] =
    [&[0], &[0xff], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0; 8], &[0xff; 8]];

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len());
        match random.below(7) {
            _ if input.is_empty() => input.push(random.below(256) as u8),
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.below(256) as u8,
            2 => input.truncate(at),
            3 => {
                let edge = EDGES[random.below(EDGES.len())];
                let end = (at + edge.len()).min(input.len());
                input.splice(at..end, edge.iter().copied());
            }
            4 => {
                let end = (at + 1 + random.below(64)).min(input.len());
                let copy = input[at..end].to_vec();
                let to = random.below(input.len());
                input.splice(to..to, copy);
            }
            5 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                input.drain(at..end);
            }
            _ => {
                let other = &others[random.below(others.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len())..]);
            }
        }
    }
}

/// `FUZZ_RUNS` sets another number of mutations for each target, `FUZZ_TARGET` chooses one.
fn runs(target: &str) -> u64 {
    let chosen = std::env::var("FUZZ_TARGET").ok().is_none_or(|chosen| chosen == target);
    let runs = std::env::var("FUZZ_RUNS").ok().map(|runs| runs.parse().expect("a number"));
    let usual = if target == "folder" { 300 } else { 2000 };
    if chosen { runs.unwrap_or(usual) } else { 0 }
}

fn run(target: &str) {
    let (_, function) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let inputs = inputs(target);
    inputs.iter().for_each(|input| function(input));
    for seed in 0..runs(target) {
        let mut random = Random(seed);
        let mut input = inputs[random.below(inputs.len())].clone();
        mutate(&mut input, &inputs, &mut random);
        let ran = std::panic::catch_unwind(|| function(&input));
        assert!(ran.is_ok(), "{target}, mutation {seed}: {}", hex(&input));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! corpora {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
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
    let put = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(name), bytes).unwrap();
    };
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
