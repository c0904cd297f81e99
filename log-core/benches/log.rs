//! The log beside the raw system calls that it cannot be faster than, in one run.
//!
//! Each group measures the same bytes twice: once through the log, once through the barest loop
//! that does the same to the disk. What counts is the ratio of the two within a run; the times
//! themselves say more about the machine. Files lie in cargo's target folder, on its file system.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_core::record::{BatchBuilder, BatchHeader, BatchOptions, CheckedBatch};
use log_core::{
    AppendOrigin, Committer, FlushPolicy, Isolation, Log, LogConfig, LogIdentity, Offset, OpenLog,
    TimestampMs,
};
use tempfile::TempDir;

/// Record bytes and records per batch.
const SHAPES: [(usize, usize); 7] =
    [(100, 1), (100, 100), (100, 1000), (1024, 1), (1024, 16), (1024, 1000), (65_536, 1)];
/// A fresh log after so many bytes, to keep the disk and the page cache out of the picture.
const BYTES_PER_LOG: u64 = 512 << 20;
const LAZY: FlushPolicy = FlushPolicy::Lazy { messages: u64::MAX, interval_ms: u64::MAX };

struct Bench {
    folder: TempDir,
    committer: Arc<Committer>,
    log: Log,
}

impl Bench {
    fn new(flush: FlushPolicy) -> Self {
        Self::with(LogConfig { flush, max_message_bytes: 128 << 20, ..LogConfig::default() })
    }

    fn with(config: LogConfig) -> Self {
        let folder = fresh_folder();
        let committer = Committer::start(2);
        let log = open(folder.path(), &committer, config);
        Self { folder, committer, log }
    }

    fn append(&self, batch: &Bytes) -> Offset {
        let checked = self.log.check(batch.clone()).expect("a sound batch");
        self.append_checked(&checked)
    }

    fn append_checked(&self, batch: &CheckedBatch) -> Offset {
        let epoch = self.log.leader_epoch();
        let appended = self.log.append(batch, AppendOrigin::Client, epoch).expect("room on disk");
        appended.last_offset
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.log.delete().expect("the folder is ours");
        self.committer.stop();
    }
}

fn fresh_folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a writable target folder")
}

fn open(folder: &Path, committer: &Arc<Committer>, config: LogConfig) -> Log {
    let identity = LogIdentity { topic_id: uuid::Uuid::from_u128(1), partition: 0 };
    let open = OpenLog::new(folder.join("bench-0"), identity, Arc::clone(committer));
    Log::open(OpenLog { config, ..open }).expect("a sound log").0
}

fn batch_of(record_bytes: usize, records: usize) -> Bytes {
    let now =
        i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis());
    let value: Vec<u8> = (0..record_bytes).map(|byte| (byte * 31 % 251) as u8).collect();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        let stamp = TimestampMs::new(now.expect("a date in range"));
        builder.push(stamp, None, Some(&value), &[]).expect("a small record");
    }
    builder.build().expect("a small batch")
}

/// Runs `each` for `iters` times, on a new value of `T` whenever `BYTES_PER_LOG` are reached;
/// making and dropping those is not counted.
fn measured<T>(iters: u64, bytes: u64, make: impl Fn() -> T, each: impl Fn(&T, u64)) -> Duration {
    let per_round = (BYTES_PER_LOG / bytes).max(1);
    let mut left = iters;
    let mut total = Duration::ZERO;
    while left > 0 {
        let round = left.min(per_round);
        let target = make();
        let start = Instant::now();
        for step in 0..round {
            each(&target, step);
        }
        total += start.elapsed();
        left -= round;
    }
    total
}

fn raw_file() -> (TempDir, fs::File) {
    let folder = fresh_folder();
    let file = fs::File::create(folder.path().join("raw")).expect("a writable folder");
    (folder, file)
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append/page-cache");
    for (record_bytes, records) in SHAPES {
        let batch = batch_of(record_bytes, records);
        let size = batch.len() as u64;
        let shape = format!("{record_bytes}B x {records}");
        group.throughput(Throughput::Bytes(size));
        group.bench_function(BenchmarkId::new("log", &shape), |bencher| {
            bencher.iter_custom(|iters| {
                measured(
                    iters,
                    size,
                    || Bench::new(LAZY),
                    |bench, _| {
                        black_box(bench.append(&batch));
                    },
                )
            });
        });
        group.bench_function(BenchmarkId::new("raw pwrite", &shape), |bencher| {
            bencher.iter_custom(|iters| {
                measured(iters, size, raw_file, |(_, file), step| {
                    file.write_all_at(&batch, step * size).expect("room on disk");
                })
            });
        });
    }
    group.finish();
}

fn append_synced(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append/synced");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for (record_bytes, records) in [(100, 1), (1024, 1), (1024, 16), (1024, 1000), (65_536, 1)] {
        let batch = batch_of(record_bytes, records);
        let size = batch.len() as u64;
        let shape = format!("{record_bytes}B x {records}");
        group.throughput(Throughput::Bytes(size));
        group.bench_function(BenchmarkId::new("log", &shape), |bencher| {
            bencher.iter_custom(|iters| {
                measured(
                    iters,
                    size,
                    || Bench::new(FlushPolicy::EveryAppend),
                    |bench, _| {
                        let last = bench.append(&batch);
                        bench.log.wait_durable(last.next()).expect("a disk that syncs");
                    },
                )
            });
        });
        group.bench_function(BenchmarkId::new("raw pwrite + fdatasync", &shape), |bencher| {
            bencher.iter_custom(|iters| {
                measured(iters, size, raw_file, |(_, file), step| {
                    file.write_all_at(&batch, step * size).expect("room on disk");
                    file.sync_data().expect("a disk that syncs");
                })
            });
        });
    }
    group.finish();
}

const READ_BYTES: u64 = 256 << 20;

/// A log of [`READ_BYTES`] in 16 KiB batches over several segments.
fn filled() -> Bench {
    let bench =
        Bench::with(LogConfig { flush: LAZY, segment_bytes: 128 << 20, ..LogConfig::default() });
    let batch = bench.log.check(batch_of(1024, 16)).expect("a sound batch");
    for _ in 0..READ_BYTES / batch.bytes().len() as u64 {
        bench.append_checked(&batch);
    }
    bench.log.flush().expect("a disk that syncs");
    bench
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(whole, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

fn read_sequentially(criterion: &mut Criterion) {
    let bench = filled();
    let mut group = criterion.benchmark_group("read/sequential");
    group.sample_size(20).throughput(Throughput::Bytes(bench.log.describe().size_bytes));
    group.bench_function("log, 1 MiB fetches", |bencher| {
        bencher.iter(|| {
            let mut from = Offset::ZERO;
            let mut total = 0u64;
            loop {
                let fetched =
                    bench.log.read(from, 1 << 20, Isolation::HighWatermark).expect("a sound log");
                if fetched.batches.is_empty() {
                    break total;
                }
                total = total.wrapping_add(sum(&fetched.batches));
                from = next_offset(&fetched.batches);
            }
        });
    });
    let segments = whole_segments(&bench.log);
    group.bench_function("raw mapping", |bencher| {
        bencher.iter(|| segments.iter().fold(0u64, |total, bytes| total.wrapping_add(sum(bytes))));
    });
    group.finish();
}

fn segment_files(bench: &Bench) -> Vec<std::path::PathBuf> {
    log_core::inspect::log_files(&bench.folder.path().join("bench-0")).expect("segments")
}

/// Every segment's mapping in one piece, taken once: summing these is summing a raw mapping.
fn whole_segments(log: &Log) -> Vec<Bytes> {
    let mut from = Offset::ZERO;
    let mut segments = Vec::new();
    while from < log.offsets().high_watermark {
        let fetched = log.read(from, usize::MAX, Isolation::HighWatermark).expect("a sound log");
        from = next_offset(&fetched.batches);
        segments.push(fetched.batches);
    }
    segments
}

/// Where a reader of these batches goes on: it hops from header to header.
fn next_offset(mut batches: &[u8]) -> Offset {
    let mut next = Offset::ZERO;
    while !batches.is_empty() {
        let header = BatchHeader::parse(batches).expect("a sound batch");
        next = header.next_offset();
        batches = &batches[header.size_bytes()..];
    }
    next
}

fn look_up(criterion: &mut Criterion) {
    let bench = filled();
    let end = bench.log.offsets().log_end.get();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random_offset = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Offset::new(i64::try_from(state >> 1).unwrap_or(0) % end).expect("not negative")
    };
    let mut group = criterion.benchmark_group("look-up");
    group.bench_function("random read of one 16 KiB batch", |bencher| {
        bencher.iter(|| {
            let fetched = bench.log.read(random_offset(), 1, Isolation::HighWatermark);
            sum(&fetched.expect("a sound log").batches)
        });
    });
    let path = segment_files(&bench).remove(0);
    let raw = fs::File::open(&path).expect("a segment");
    let len = raw.metadata().expect("a length").len();
    let mut buffer = vec![0; 16 << 10];
    let mut at = 0;
    group.bench_function("raw pread of 16 KiB", |bencher| {
        bencher.iter(|| {
            at = (at + 7919 * 4096) % (len - buffer.len() as u64);
            raw.read_exact_at(&mut buffer, at).expect("within the file");
            sum(&buffer)
        });
    });
    group.bench_function("offset for timestamp", |bencher| {
        bencher.iter(|| bench.log.offset_for_timestamp(TimestampMs::new(1)).expect("a sound log"));
    });
    group.finish();
}

fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    let folder = fresh_folder();
    let committer = Committer::start(2);
    let config = LogConfig { flush: LAZY, ..LogConfig::default() };
    let log = open(folder.path(), &committer, config.clone());
    let batch = log.check(batch_of(1024, 16)).expect("a sound batch");
    for _ in 0..READ_BYTES / batch.bytes().len() as u64 {
        log.append(&batch, AppendOrigin::Client, log.leader_epoch()).expect("room on disk");
    }
    log.close().expect("a disk that syncs");
    drop(log);
    let checkpoint = folder.path().join("bench-0/checkpoint");
    group.sample_size(10).throughput(Throughput::Bytes(READ_BYTES));
    group.bench_function("scan of everything, no checkpoint", |bencher| {
        bencher.iter(|| {
            fs::remove_file(&checkpoint).expect("written by close or by the last recovery");
            open(folder.path(), &committer, config.clone());
        });
    });
    group.bench_function("raw read and sync of the same file", |bencher| {
        bencher.iter(|| {
            let path = folder.path().join("bench-0/00000000000000000000.log");
            let bytes = fs::read(&path).expect("the segment");
            fs::File::open(&path).and_then(|file| file.sync_data()).expect("a disk that syncs");
            sum(&bytes)
        });
    });
    group.finish();
    committer.stop();
}

criterion_group!(benches, append, append_synced, read_sequentially, look_up, recover);
criterion_main!(benches);
