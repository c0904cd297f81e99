//! Writers, readers, housekeeping and deletion at once, over a committer with threads: offsets
//! stay dense, nobody sees what is not there yet or gone already, and what was acknowledged stays.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]
#![allow(clippy::needless_collect, reason = "collecting starts every thread before the first wait")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use common::{Data, Home, data, offset, producer, small_segments, take};
use log_core::record::{EndTxnKind, EndTxnMarker, end_txn_marker};
use log_core::{
    AppendKind, AppendOrigin, Committer, CoordinatorEpoch, Isolation, LeaderEpoch, Log, LogConfig,
    Offset, OffsetListener, Offsets, OpenLog, ReadError,
};

const WRITERS: i64 = 4;
const BATCHES_EACH: i64 = 150;

/// Sees that offsets only ever rise.
#[derive(Default)]
struct Rising(Mutex<Offsets>);

impl OffsetListener for Rising {
    fn moved(&self, now: &Offsets) {
        let mut before = self.0.lock().unwrap();
        assert!(
            now.log_start >= before.log_start
                && now.last_stable >= before.last_stable
                && now.high_watermark >= before.high_watermark
                && now.log_end >= before.log_end
                && now.durable >= before.durable,
            "{before:?} became {now:?}"
        );
        *before = *now;
    }
}

struct Bench {
    home: Home,
    committer: Arc<Committer>,
    rising: Arc<Rising>,
}

impl Bench {
    fn new(config: LogConfig) -> Self {
        let (home, rising) = (Home::with(config), Arc::default());
        Self { home, committer: Committer::start(2), rising }
    }

    fn open(&self) -> Log {
        let committer = Arc::clone(&self.committer);
        let listener = Arc::clone(&self.rising) as Arc<dyn OffsetListener>;
        let config = self.home.config.clone();
        let open = OpenLog::new(self.home.folder(), common::IDENTITY, committer);
        Log::open(OpenLog { listener, config, ..open }).unwrap().0
    }
}

fn batch_of(writer: i64, n: i64) -> Data {
    let records = 1 + (n % 3) as usize;
    let batch = data(format!("w{writer}n{n}"), records).padded(60);
    // Of a wrapping producer: every batch has as many sequences as records.
    let base: i64 = (0..n).map(|n| 1 + n % 3).sum();
    batch.by(producer(writer, 0), i32::try_from(base).unwrap())
}

/// Appends and waits, sends every fifth batch twice; returns where each went.
fn write(log: &Log, writer: i64) -> Vec<(Data, Offset)> {
    let mut acknowledged = Vec::new();
    for n in 0..BATCHES_EACH {
        let batch = batch_of(writer, n);
        let checked = batch.checked(log);
        let send = || log.append(&checked, AppendOrigin::Client, LeaderEpoch::ZERO).unwrap();
        let appended = send();
        assert_eq!(appended.kind, AppendKind::Stored);
        if n % 5 == 0 {
            let again = send();
            assert_eq!(
                (again.kind, again.base_offset),
                (AppendKind::Duplicate, appended.base_offset)
            );
        }
        let offsets = log.wait_durable(appended.last_offset.next()).unwrap();
        assert!(offsets.high_watermark > appended.last_offset);
        acknowledged.push((batch, appended.base_offset));
    }
    acknowledged
}

/// Follows the log from its start until it has seen `end` after `done`; jumps where deletion
/// overtook it. Returns what it saw.
fn follow(log: &Log, isolation: Isolation, done: &AtomicBool) -> BTreeMap<i64, String> {
    let mut seen = BTreeMap::new();
    let mut next = log.offsets().log_start;
    loop {
        let was_done = done.load(Ordering::SeqCst);
        match log.read(next, 2000, isolation) {
            Ok(fetched) if fetched.batches.is_empty() => {
                if was_done {
                    return seen;
                }
                std::thread::yield_now();
            }
            Ok(fetched) => {
                let (records, behind) = take(&fetched, next, isolation);
                seen.extend(records.into_iter().map(|record| (record.offset, record.value)));
                next = behind;
            }
            Err(ReadError::OutOfRange { log_start, .. }) if next < log_start => next = log_start,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn four_writers_share_a_log_with_readers_and_rolls() {
    let bench = Bench::new(LogConfig { segment_bytes: 4096, ..small_segments() });
    let log = bench.open();
    let done = AtomicBool::new(false);
    let (acknowledged, seen) = std::thread::scope(|scope| {
        let log = &log;
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(log, n))).collect();
        let done = &done;
        let readers = [Isolation::HighWatermark, Isolation::LastStable, Isolation::LogEnd]
            .map(|isolation| scope.spawn(move || follow(log, isolation, done)));
        let keeper = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                log.tick();
                std::thread::yield_now();
            }
        });
        let acknowledged: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        keeper.join().unwrap();
        (acknowledged, readers.map(|reader| reader.join().unwrap()))
    });
    assert!(log.describe().segments > 10);
    let expected = records_of(acknowledged.iter().flatten());
    assert!(expected.keys().copied().eq(0..log.offsets().log_end.get()), "offsets are dense");
    for seen in seen {
        assert_eq!(seen, expected);
    }
    log.close().unwrap();
    let log = bench.open();
    let done = AtomicBool::new(true);
    assert_eq!(follow(&log, Isolation::HighWatermark, &done), expected);
    log.close().unwrap();
    bench.committer.stop();
}

fn records_of<'a>(batches: impl Iterator<Item = &'a (Data, Offset)>) -> BTreeMap<i64, String> {
    batches.flat_map(|(batch, base)| (base.get()..).zip(batch.values())).collect()
}

#[test]
fn readers_never_take_deletion_for_damage() {
    let bench = Bench::new(LogConfig { retention_bytes: Some(3000), ..small_segments() });
    let log = bench.open();
    let done = AtomicBool::new(false);
    let deleted = AtomicI64::new(0);
    std::thread::scope(|scope| {
        let (log, done, deleted) = (&log, &done, &deleted);
        let writers: Vec<_> = (0..2).map(|n| scope.spawn(move || write(log, n))).collect();
        for isolation in [Isolation::HighWatermark, Isolation::LastStable] {
            // Each time from the start, where the files go away.
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let from = log.offsets().log_start;
                    match log.read(from, 500, isolation) {
                        Ok(fetched) if fetched.batches.is_empty() => {}
                        Ok(fetched) => drop(take(&fetched, from, isolation)),
                        Err(ReadError::OutOfRange { log_start, .. }) => assert!(from < log_start),
                        Err(error) => panic!("{error}"),
                    }
                    log.offset_for_timestamp(common::at(0)).unwrap();
                    log.max_timestamp().unwrap();
                }
            });
        }
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                log.tick();
                deleted.fetch_add(log.apply_retention().unwrap().segments as i64, Ordering::SeqCst);
            }
        });
        writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
        done.store(true, Ordering::SeqCst);
    });
    assert!(deleted.load(Ordering::SeqCst) > 10);
    log.close().unwrap();
    let log = bench.open();
    assert!(log.offsets().log_start > offset(0));
    log.close().unwrap();
    bench.committer.stop();
}

/// A transaction of two batches, committed or aborted; returns what a reader may see of it.
fn transact(log: &Log, id: i64, n: i64) -> Vec<String> {
    let by = producer(id, 0);
    let parts = [0, 1].map(|part| {
        let name = format!("t{id}n{n}p{part}");
        data(name, 1).padded(200).by(by, i32::try_from(n * 2 + part).unwrap()).transactional()
    });
    for part in &parts {
        log.append(&part.checked(log), AppendOrigin::Client, LeaderEpoch::ZERO).unwrap();
        std::thread::yield_now();
    }
    let kind = if n % 2 == 0 { EndTxnKind::Commit } else { EndTxnKind::Abort };
    let coordinator_epoch = CoordinatorEpoch::new(0).unwrap();
    let marker = end_txn_marker(by, EndTxnMarker { kind, coordinator_epoch }, common::at(0));
    let marker = log.check(marker).unwrap();
    log.append(&marker, AppendOrigin::Coordinator, LeaderEpoch::ZERO).unwrap();
    match kind {
        EndTxnKind::Commit => parts.iter().flat_map(Data::values).collect(),
        EndTxnKind::Abort => Vec::new(),
    }
}

#[test]
fn whoever_reads_committed_never_sees_half_a_transaction_nor_an_aborted_one() {
    let bench = Bench::new(small_segments());
    let log = bench.open();
    let done = AtomicBool::new(false);
    let (kept, seen) = std::thread::scope(|scope| {
        let (log, done) = (&log, &done);
        let reader = scope.spawn(move || follow(log, Isolation::LastStable, done));
        let writers: Vec<_> = (0..3)
            .map(|id| {
                scope.spawn(move || (0..60).flat_map(|n| transact(log, id, n)).collect::<Vec<_>>())
            })
            .collect();
        let mut kept: Vec<String> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        log.flush().unwrap();
        done.store(true, Ordering::SeqCst);
        kept.sort_unstable();
        (kept, reader.join().unwrap())
    });
    let mut seen: Vec<String> = seen.into_values().collect();
    seen.sort_unstable();
    assert_eq!(seen, kept);
    log.close().unwrap();
    bench.committer.stop();
}
