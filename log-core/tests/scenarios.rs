//! The log as its user knows it: what is appended, read, deleted and refused, before and after it
//! is opened again.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::sync::Arc;
use std::sync::mpsc;

use common::storage::Watched;
use common::{
    Contents, Data, Home, LAZY, NOW, Opened, at, contents, data, epoch, offset, producer,
    read_through, records, small_segments, take, values,
};
use log_core::io::Storage;
use log_core::record::{Compression, EndTxnKind, RecordBatch, TimestampType};
use log_core::{
    AppendError, AppendKind, CleanupPolicy, FlushPolicy, FoundAs, Isolation, LogConfig,
    LogIdentity, OpenError, ProducerStateError, ReadError, RetentionError,
};

/// How a log is opened again.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Clean,
    Crash,
}

const ENDINGS: [Ending; 2] = [Ending::Clean, Ending::Crash];

fn reopen(home: &Home, log: Opened, ending: Ending) -> Opened {
    match ending {
        Ending::Clean => log.stop(),
        Ending::Crash => log.crash(),
    }
    home.open()
}

fn names(batches: &[&Data]) -> Vec<String> {
    batches.iter().flat_map(|batch| batch.values()).collect()
}

#[test]
fn what_was_appended_is_there_after_each_way_to_end() {
    for ending in ENDINGS {
        let home = Home::new();
        let (a, b) = (data("a", 3), data("b", 2).compressed(Compression::Zstd));
        let log = home.open();
        assert_eq!(log.report.found_as, FoundAs::New);
        let first = log.put(&a);
        assert_eq!((first.base_offset, first.last_offset), (offset(0), offset(2)));
        assert_eq!(first.kind, AppendKind::Stored);
        assert_eq!(log.put_durable(&b).base_offset, offset(3));

        let log = reopen(&home, log, ending);
        assert_eq!(log.values(), names(&[&a, &b]), "{ending:?}");
        assert_eq!(log.offsets().log_end, offset(5));
        assert_eq!(log.put(&data("c", 1)).base_offset, offset(5));
        log.stop();
    }
}

#[test]
fn an_append_that_nobody_waited_for_survives_the_process() {
    let home = Home::new();
    let log = home.open_unsynced();
    log.put(&data("a", 1));
    assert_eq!(log.values(), [""; 0]);
    log.crash();
    assert_eq!(home.open().values(), ["a.0"]);
}

#[test]
fn stored_bytes_are_those_that_were_sent_but_for_their_place() {
    let mut home = Home::new();
    home.epoch = epoch(7);
    let log = home.open();
    log.put_durable(&data("before", 2));
    let sent = data("a", 3).compressed(Compression::Lz4).bytes();
    let batch = log.check(sent.clone()).unwrap();
    log.append(&batch, log_core::AppendOrigin::Client, epoch(7)).unwrap();
    log.flush().unwrap();
    let stored = log.read(offset(2), 1, Isolation::HighWatermark).unwrap().batches;
    assert_eq!(stored[..8], 2_i64.to_be_bytes());
    assert_eq!(stored[8..12], sent[8..12]);
    assert_eq!(stored[12..16], 7_i32.to_be_bytes());
    assert_eq!(stored[16..], sent[16..]);
    assert_eq!(log.read_copied(offset(2), 1, Isolation::HighWatermark).unwrap().batches, stored);
    log.stop();
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset_and_ends_between_two() {
    let home = Home::new();
    let log = home.open();
    for name in ["a", "b", "c", "d"] {
        log.put_durable(&data(name, 3));
    }
    let size = data("a", 3).bytes().len();
    let read = |from, bytes_max| {
        let fetched = log.read(offset(from), bytes_max, Isolation::HighWatermark).unwrap();
        assert_eq!(fetched.batches.len() % size, 0);
        fetched.batches.len() / size
    };
    for (from, bytes_max, batches) in [
        (0, 0, 1),
        (0, size - 1, 1),
        (0, size, 1),
        (0, 2 * size - 1, 1),
        (0, 2 * size, 2),
        (5, 2 * size, 2),
        (5, usize::MAX, 3),
        (11, usize::MAX, 1),
        (12, usize::MAX, 0),
    ] {
        assert_eq!(read(from, bytes_max), batches, "from {from}, at most {bytes_max} bytes");
    }
    let beyond = log.read(offset(13), 1, Isolation::HighWatermark).unwrap_err();
    assert!(matches!(beyond, ReadError::OutOfRange { .. }), "{beyond}");
    log.stop();
}

#[test]
fn nobody_reads_what_is_not_synced_unless_they_ask_for_it() {
    let home = Home::small();
    let log = home.open_unsynced();
    let (a, b) = (data("a", 2).padded(300), data("b", 2).padded(300));
    log.put(&a);
    log.flush().unwrap();
    log.put(&b);
    assert_eq!(log.describe().segments, 2);
    assert_eq!(log.offsets().high_watermark, offset(2));
    assert_eq!(log.values(), a.values());
    assert_eq!(values(&log.see(1, Isolation::LogEnd)), names(&[&a, &b]));
    let waiting = log.read(offset(3), 1, Isolation::HighWatermark).unwrap();
    assert!(waiting.batches.is_empty());
    assert_eq!(log.flush().unwrap(), offset(4));
    assert_eq!(log.values(), names(&[&a, &b]));
}

#[test]
fn reads_go_on_across_segments_with_any_budget() {
    let home = Home::small();
    let log = home.open();
    let batches: Vec<Data> = (0..20).map(|n| data(format!("n{n}"), 1 + n % 3).padded(90)).collect();
    let expected = names(&batches.iter().collect::<Vec<_>>());
    log.put_all(&batches);
    let segments = log.describe().segments;
    assert!(segments >= 5, "{segments} segments");
    for log in [log, home.open()] {
        for bytes_max in [0, 500, 1024, usize::MAX] {
            assert_eq!(values(&log.see(bytes_max, Isolation::HighWatermark)), expected);
        }
        for from in 0..i64::try_from(expected.len()).unwrap() {
            let seen = read_through(&log, offset(from), 400, Isolation::HighWatermark);
            assert_eq!(seen[0].offset, from);
        }
        log.stop();
    }
}

#[test]
fn a_segment_ends_before_it_outgrows_its_size() {
    let home = Home::small();
    let log = home.open();
    for n in 0..9 {
        log.put(&data(format!("n{n}"), 1).padded(300));
    }
    // Larger than a segment may get: one of its own.
    log.put(&data("large", 1).padded(3000));
    log.put(&data("last", 1));
    log.stop();
    let logs = home.names_with(".log");
    let sizes: Vec<usize> = logs.iter().map(|name| home.bytes_of(name).len()).collect();
    let (small, large): (Vec<usize>, Vec<usize>) = sizes.iter().partition(|size| **size <= 1024);
    assert_eq!((small.len(), large.len()), (6, 1), "{sizes:?}");
}

#[test]
fn a_segment_that_has_had_records_for_long_enough_is_rolled() {
    let home = Home::with(LogConfig { segment_ms: 1000, ..small_segments() });
    let log = home.open();
    home.clock.advance(5000);
    log.tick();
    assert_eq!(log.describe().segments, 1, "nothing to roll in an empty segment");
    log.put_durable(&data("a", 1));
    home.clock.advance(999);
    log.put_durable(&data("b", 1));
    assert_eq!(log.describe().segments, 1);
    home.clock.advance(1);
    log.put_durable(&data("c", 1));
    assert_eq!(log.describe().segments, 2);
    home.clock.advance(1000);
    log.tick();
    assert_eq!(log.describe().segments, 3);
    log.tick();
    assert_eq!(log.values(), ["a.0", "b.0", "c.0"]);
    log.stop();

    let log = home.open();
    assert_eq!((log.report.found_as, log.report.scanned_bytes), (FoundAs::Clean, 0));
    assert_eq!(log.values(), ["a.0", "b.0", "c.0"]);
    log.stop();
}

#[test]
fn age_goes_on_counting_while_a_log_is_closed() {
    for ending in ENDINGS {
        let home = Home::with(LogConfig { segment_ms: 60_000, ..LogConfig::default() });
        let log = home.open();
        log.put_durable(&data("a", 1));
        let log = reopen(&home, log, ending);
        home.clock.advance(60_000);
        log.tick();
        assert_eq!(log.describe().segments, 2, "{ending:?}");
        log.stop();
    }
}

/// What each search for a timestamp finds, in a log whose stamps go back and forth.
fn check_timestamps(log: &Opened) {
    let all = log.see(usize::MAX, Isolation::HighWatermark);
    let stamps: Vec<i64> = all.iter().map(|seen| seen.timestamp).collect();
    for wanted in stamps.iter().flat_map(|stamp| [stamp - 1, *stamp, stamp + 1]) {
        let expected = all.iter().find(|seen| seen.timestamp >= wanted);
        let found = log.offset_for_timestamp(at(wanted)).unwrap();
        let found = found.map(|found| (found.offset.get(), found.timestamp.get()));
        assert_eq!(found, expected.map(|seen| (seen.offset, seen.timestamp)), "for {wanted}");
    }
    let largest = stamps.iter().max().copied();
    let expected = all.iter().find(|seen| Some(seen.timestamp) == largest);
    let found = log.max_timestamp().unwrap().map(|found| found.offset.get());
    assert_eq!(found, expected.map(|seen| seen.offset), "the largest timestamp");
}

#[test]
fn a_timestamp_finds_the_first_record_at_or_after_it() {
    for index_interval_bytes in [0, 300, 4096] {
        for ending in ENDINGS {
            let home = Home::with(LogConfig { index_interval_bytes, ..small_segments() });
            let log = home.open();
            assert_eq!(log.max_timestamp().unwrap(), None);
            assert_eq!(log.offset_for_timestamp(at(0)).unwrap(), None);
            for (n, stamps) in [
                &[5, 5, 5][..],
                &[5, 30, 10],
                &[30, 30, 4],
                &[7, 7, 7],
                &[40, 20, 40],
                &[9],
                &[3, 41, 41],
                &[12],
            ]
            .into_iter()
            .enumerate()
            {
                log.put_durable(&data(format!("n{n}"), 1).stamped(stamps).padded(60));
            }
            assert!(log.describe().segments > 1);
            check_timestamps(&log);
            let log = reopen(&home, log, ending);
            check_timestamps(&log);
            log.put_durable(&data("late", 1).stamped(&[50]));
            let log = reopen(&home, log, ending);
            check_timestamps(&log);
            log.delete_records_before(offset(4)).unwrap();
            check_timestamps(&log);
            log.stop();
        }
    }
}

#[test]
fn the_largest_timestamp_is_a_records_that_can_be_read() {
    let home = Home::new();
    let log = home.open_unsynced();
    log.put(&data("a", 2).stamped(&[50, 40]));
    log.put(&data("b", 1).stamped(&[45]));
    log.put(&data("txn", 1).stamped(&[30]).by(producer(1, 0), 0).transactional());
    // The marker is stamped later than any record.
    log.end_txn(producer(1, 0), EndTxnKind::Commit);
    log.flush().unwrap();
    log.put(&data("unsynced", 1).stamped(&[60]));
    check_timestamps(&log);
    log.delete_records_before(offset(1)).unwrap();
    check_timestamps(&log);
    assert_eq!(log.max_timestamp().unwrap().map(|found| found.offset), Some(offset(2)));
}

#[test]
fn records_without_a_time_have_no_timestamp_to_find() {
    let home = Home::new();
    let log = home.open();
    log.put_durable(&data("a", 2).stamped(&[-1, -1]));
    assert_eq!(log.max_timestamp().unwrap(), None);
    assert_eq!(log.offset_for_timestamp(at(0)).unwrap(), None);
    log.stop();
}

#[test]
fn records_without_a_time_do_not_count_as_old() {
    let home = Home::with(LogConfig { retention_ms: Some(1000), ..small_segments() });
    let log = home.open();
    for n in 0..6 {
        log.put_durable(&data(format!("n{n}"), 1).stamped(&[-1]).padded(400));
    }
    log.tick();
    assert_eq!(log.apply_retention().unwrap().segments, 0);
    let log = reopen(&home, log, Ending::Clean);
    assert_eq!(log.apply_retention().unwrap().segments, 0);
    assert_eq!(log.values().len(), 6);
    log.stop();
}

#[test]
fn with_log_append_time_the_log_stamps_every_record() {
    let timestamp_type = TimestampType::LogAppendTime;
    let home = Home::with(LogConfig { timestamp_type, ..LogConfig::default() });
    let log = home.open();
    let sent = data("a", 2).stamped(&[1, i64::MAX]).by(producer(1, 0), 0);
    let stored = log.put_durable(&sent);
    assert_eq!(stored.append_time, Some(at(NOW)));
    let seen = log.see(1, Isolation::HighWatermark);
    assert!(seen.iter().all(|seen| seen.timestamp == NOW), "{seen:?}");
    home.clock.advance(500);
    let again = log.put(&sent);
    assert_eq!((again.kind, again.append_time), (AppendKind::Duplicate, Some(at(NOW))));
    assert_eq!(log.offset_for_timestamp(at(NOW)).unwrap().unwrap().offset, offset(0));
    log.stop();
}

#[test]
fn a_repeated_batch_is_stored_once_whatever_happens_between() {
    for ending in ENDINGS {
        let home = Home::small();
        let mut log = home.open();
        let sent: Vec<Data> =
            (0..8).map(|n| data(format!("n{n}"), 2).padded(60).by(producer(7, 2), n * 2)).collect();
        log.put_all(&sent);
        for _ in 0..3 {
            for (n, batch) in sent.iter().enumerate().skip(3) {
                let again = log.put(batch);
                let base = offset(n as i64 * 2);
                let found = (again.kind, again.base_offset, again.last_offset);
                assert_eq!(found, (AppendKind::Duplicate, base, base.next()), "{ending:?} {n}");
            }
            log = reopen(&home, log, ending);
        }
        assert_eq!(log.values(), names(&sent.iter().collect::<Vec<_>>()));
        assert_eq!(log.put(&data("next", 1).by(producer(7, 2), 16)).kind, AppendKind::Stored);
        log.stop();
    }
}

#[test]
fn a_gap_and_an_old_epoch_are_refused_and_leave_no_trace() {
    for ending in ENDINGS {
        let home = Home::new();
        let log = home.open();
        log.put_durable(&data("a", 2).by(producer(7, 1), 0));
        let log = reopen(&home, log, ending);
        let before = log.offsets();
        let gap = log.try_put(&data("gap", 1).by(producer(7, 1), 3)).unwrap_err();
        let gapped = ProducerStateError::OutOfOrderSequence {
            producer_id: producer(7, 1).id,
            expected: log_core::Sequence::new(2).unwrap(),
            found: log_core::Sequence::new(3).unwrap(),
        };
        assert!(matches!(gap, AppendError::Producer(found) if found == gapped), "{gap}");
        let old = log.try_put(&data("old", 1).by(producer(7, 0), 2)).unwrap_err();
        let AppendError::Producer(ProducerStateError::InvalidProducerEpoch { .. }) = old else {
            panic!("{old}");
        };
        assert_eq!(log.offsets(), before);
        assert_eq!(log.put(&data("b", 1).by(producer(7, 1), 2)).base_offset, offset(2));
        log.stop();
    }
}

/// Three producers' transactions, interleaved over several segments: 1 is aborted early and late,
/// 2 commits, 3 stays open.
fn transactions(log: &Opened) -> Vec<String> {
    let (one, two, three) = (producer(1, 0), producer(2, 0), producer(3, 0));
    let mut kept = Vec::new();
    let mut write = |name: &str, batch: Data, fate: EndTxnKind| {
        log.put(&batch);
        if fate == EndTxnKind::Commit {
            kept.extend(batch.values());
        }
        assert!(!name.is_empty());
    };
    let part =
        |name: &str, by, sequence| data(name, 2).padded(120).by(by, sequence).transactional();
    write("a", part("a", one, 0), EndTxnKind::Abort);
    write("b", part("b", two, 0), EndTxnKind::Commit);
    log.end_txn(one, EndTxnKind::Abort);
    write("c", part("c", one, 2), EndTxnKind::Abort);
    write("d", data("d", 2).padded(120), EndTxnKind::Commit);
    write("e", part("e", two, 2), EndTxnKind::Commit);
    write("f", part("f", one, 4), EndTxnKind::Abort);
    log.end_txn(two, EndTxnKind::Commit);
    write("g", data("g", 2).padded(120), EndTxnKind::Commit);
    log.end_txn(one, EndTxnKind::Abort);
    write("h", part("h", one, 6), EndTxnKind::Commit);
    log.end_txn(one, EndTxnKind::Commit);
    log.put(&part("open", three, 0));
    log.put(&data("behind", 1));
    log.flush().unwrap();
    kept
}

fn check_transactions(log: &Opened, kept: &[String]) {
    let offsets = log.offsets();
    assert_eq!(offsets.last_stable, offset(20), "the open transaction's first offset");
    assert_eq!(offsets.high_watermark, offset(23));
    for bytes_max in [1, 700, usize::MAX] {
        assert_eq!(values(&log.see(bytes_max, Isolation::LastStable)), kept);
    }
    for from in 0..20 {
        let seen = read_through(log, offset(from), 300, Isolation::LastStable);
        assert_eq!(values(&seen), kept[kept.len() - seen.len()..], "from {from}");
    }
}

#[test]
fn aborted_records_are_never_seen_by_who_reads_committed() {
    let home = Home::small();
    let log = home.open();
    let kept = transactions(&log);
    assert!(log.describe().segments > 3);
    check_transactions(&log, &kept);
    log.crash();
    // Again after a crash, after the segments were sealed, after a clean stop, and idle.
    let log = home.open();
    check_transactions(&log, &kept);
    log.tick();
    check_transactions(&log, &kept);
    let log = reopen(&home, log, Ending::Crash);
    check_transactions(&log, &kept);
    let log = reopen(&home, log, Ending::Clean);
    check_transactions(&log, &kept);
    for _ in 0..40 {
        log.tick();
    }
    check_transactions(&log, &kept);
    log.end_txn(producer(3, 0), EndTxnKind::Abort);
    log.flush().unwrap();
    assert_eq!(log.offsets().last_stable, offset(24));
    assert_eq!(log.committed(), [&kept[..], &["behind.0".to_owned()]].concat());
    log.stop();
}

/// The files of a log with transactions that Kafka's dump-log tool is shown in `tests/interop`.
fn shown_to_kafkas_tool() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/tools/transactions")
}

/// What a clean stop leaves of [`transactions`], in Kafka's formats: its own tool can read it.
fn transactions_on_disk() -> Contents {
    let home = Home::new();
    let log = home.open();
    transactions(&log);
    log.stop();
    let mut files = contents(&home.folder());
    files.retain(|name, _| {
        [".log", ".index", ".timeindex", ".txnindex", ".snapshot"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
    });
    files
}

#[test]
fn transactions_leave_the_files_that_kafkas_tool_has_read() {
    let shown = contents(&shown_to_kafkas_tool());
    let written = transactions_on_disk();
    assert_eq!(shown.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, bytes) in &written {
        assert!(shown[name] == *bytes, "{name} is not what the tool was shown");
    }
}

#[test]
#[ignore = "writes into the source tree; after a change of a format"]
fn write_the_files_for_kafkas_tool() {
    std::fs::create_dir_all(shown_to_kafkas_tool()).unwrap();
    for (name, bytes) in transactions_on_disk() {
        std::fs::write(shown_to_kafkas_tool().join(name), bytes).unwrap();
    }
}

#[test]
fn a_read_is_told_only_of_aborts_among_what_it_got() {
    let home = Home::new();
    let log = home.open();
    for n in 0..50 {
        log.put(&data(format!("n{n}"), 1).by(producer(1, 0), n).transactional());
        log.end_txn(producer(1, 0), EndTxnKind::Abort);
    }
    log.put(&data("large", 1).padded(100_000));
    for n in 50..100 {
        log.put(&data(format!("n{n}"), 1).by(producer(1, 0), n).transactional());
        log.end_txn(producer(1, 0), EndTxnKind::Abort);
    }
    log.flush().unwrap();
    let first = log.read(offset(0), 1, Isolation::LastStable).unwrap();
    assert!(!first.aborted.is_empty() && first.aborted.len() <= 51, "{}", first.aborted.len());
    assert_eq!(log.committed(), ["large.0"]);
    log.stop();
}

#[test]
fn the_last_stable_offset_waits_until_the_marker_can_be_read() {
    let home = Home::new();
    let log = home.open_unsynced();
    log.put(&data("a", 2).by(producer(1, 0), 0).transactional());
    log.flush().unwrap();
    log.end_txn(producer(1, 0), EndTxnKind::Commit);
    assert_eq!(log.offsets().last_stable, offset(0));
    log.flush().unwrap();
    assert_eq!(log.offsets().last_stable, offset(3));
}

#[test]
fn a_log_roll_in_a_transaction_loses_nothing_of_its_bookkeeping() {
    let home = Home::small();
    let log = home.open();
    let by = producer(1, 0);
    for n in 0..12 {
        log.put_durable(&data(format!("n{n}"), 1).padded(300).by(by, n).transactional());
        log.tick();
    }
    for ending in [Ending::Crash, Ending::Clean] {
        let copy = home.copy();
        let opened = copy.open();
        assert_eq!(opened.offsets().last_stable, offset(0), "{ending:?}");
        opened.end_txn(by, EndTxnKind::Abort);
        let opened = reopen(&copy, opened, ending);
        assert_eq!(opened.committed(), [""; 0]);
        assert_eq!(opened.offsets().last_stable, offset(13));
        opened.stop();
    }
    log.stop();
}

#[test]
fn an_old_owner_is_fenced() {
    let mut home = Home::new();
    home.epoch = epoch(3);
    let log = home.open();
    let batch = data("a", 2).checked(&log);
    for wrong in [2, 4] {
        let refused = log.append(&batch, log_core::AppendOrigin::Client, epoch(wrong)).unwrap_err();
        assert!(matches!(refused, AppendError::FencedLeaderEpoch { .. }), "{refused}");
    }
    log.put_durable(&data("a", 2));
    log.stop();
    home.epoch = epoch(5);
    let log = home.open();
    log.put_durable(&data("b", 2));
    let ends = [0, 3, 4, 5, 6].map(|asked| log.epoch_end(epoch(asked)));
    let (third, fifth) = ((epoch(3), offset(2)), (epoch(5), offset(4)));
    assert_eq!(ends, [Some((epoch(0), offset(0))), Some(third), Some(third), Some(fifth), None]);
    log.crash();
    home.epoch = epoch(4);
    let before = contents(&home.folder());
    let refused = home.try_open().map(|log| log.report).unwrap_err();
    assert!(matches!(refused, OpenError::FencedLeaderEpoch { .. }), "{refused}");
    assert_eq!(contents(&home.folder()), before, "a log that is refused stays as it is");
}

#[test]
fn a_log_whose_files_are_gone_says_so_once_and_keeps_its_terms() {
    let mut home = Home::new();
    home.epoch = epoch(3);
    let log = home.open();
    log.put_durable(&data("a", 4));
    log.stop();
    home.names_with(".log").iter().for_each(|file| home.remove(file));
    home.epoch = epoch(2);
    let refused = home.try_open().map(|log| log.report).unwrap_err();
    assert!(matches!(refused, OpenError::FencedLeaderEpoch { .. }), "{refused}");
    home.epoch = epoch(4);
    for damages in [1, 0] {
        let log = home.open();
        assert_eq!(log.report.damages.len(), damages, "{:?}", log.report);
        assert_eq!((log.offsets().log_start, log.offsets().log_end), (offset(4), offset(4)));
        assert_eq!(log.epoch_of(offset(4)), Some(epoch(4)));
        log.crash();
    }
}

#[test]
fn retention_by_size_keeps_at_least_what_was_asked_for() {
    let home = Home::with(LogConfig { retention_bytes: Some(2000), ..small_segments() });
    let log = home.open();
    for n in 0..20 {
        log.put_durable(&data(format!("n{n}"), 1).padded(300));
    }
    let before = log.describe();
    let retired = log.apply_retention().unwrap();
    let after = log.describe();
    assert!(retired.segments > 0 && after.size_bytes >= 2000);
    assert_eq!(before.segments - after.segments, retired.segments);
    assert_eq!(before.size_bytes - after.size_bytes, retired.bytes);
    assert_eq!(after.offsets.log_start, retired.log_start);
    let gone = log.read(offset(0), 1, Isolation::HighWatermark).unwrap_err();
    assert!(matches!(gone, ReadError::OutOfRange { .. }), "{gone}");
    let left = log.values();
    for ending in [Ending::Crash, Ending::Clean] {
        let copy = home.copy();
        let log = reopen(&copy, copy.open(), ending);
        assert_eq!((log.values(), log.offsets().log_start), (left.clone(), retired.log_start));
        log.stop();
    }
    log.stop();
}

#[test]
fn retention_by_time_deletes_what_is_too_old_and_nothing_else() {
    let home = Home::with(LogConfig { retention_ms: Some(1000), ..small_segments() });
    let log = home.open();
    for n in 0..10 {
        log.put_durable(&data(format!("old{n}"), 1).padded(300));
    }
    home.clock.advance(1001);
    for n in 0..10 {
        log.put_durable(&data(format!("new{n}"), 1).padded(300).stamped(&[NOW + 1001]));
    }
    log.apply_retention().unwrap();
    let left = log.values();
    assert!(left.len() < 13 && left.ends_with(&["new8.0".to_owned(), "new9.0".to_owned()]));
    assert!((0..10).all(|n| left.contains(&format!("new{n}.0"))), "{left:?}");
    log.stop();
}

#[test]
fn records_that_are_too_old_go_also_from_a_log_that_nobody_writes_to() {
    let home = Home::with(LogConfig { retention_ms: Some(1000), ..LogConfig::default() });
    let log = home.open();
    log.put_durable(&data("old", 3));
    home.clock.advance(1001);
    // The broker's housekeeping: a tick a second, retention now and then.
    for _ in 0..2 {
        log.tick();
        log.apply_retention().unwrap();
        log.flush().unwrap();
    }
    assert_eq!(log.values(), [""; 0]);
    assert_eq!(log.offsets().log_start, offset(3));
    let log = reopen(&home, log, Ending::Clean);
    assert_eq!(log.put(&data("new", 1)).base_offset, offset(3));
    log.stop();
}

#[test]
fn deleted_records_stay_deleted() {
    for ending in ENDINGS {
        let home = Home::small();
        let log = home.open();
        for n in 0..10 {
            log.put_durable(&data(format!("n{n}"), 2).padded(150));
        }
        let beyond = log.delete_records_before(offset(21)).unwrap_err();
        assert!(matches!(beyond, RetentionError::OutOfRange { .. }), "{beyond}");
        assert_eq!(log.delete_records_before(offset(9)).unwrap(), offset(9));
        assert_eq!(log.delete_records_before(offset(5)).unwrap(), offset(9));
        let left = log.values();
        assert_eq!(left[0], "n4.1");
        let log = reopen(&home, log, ending);
        assert_eq!(log.values(), left);
        let gone = log.read(offset(8), 1, Isolation::HighWatermark).unwrap_err();
        assert!(matches!(gone, ReadError::OutOfRange { .. }), "{gone}");
        assert_eq!(log.delete_records_before(offset(20)).unwrap(), offset(20));
        let log = reopen(&home, log, ending);
        assert_eq!(log.values(), [""; 0]);
        assert_eq!(log.put_durable(&data("next", 1)).base_offset, offset(20));
        assert_eq!(log.values(), ["next.0"]);
        log.stop();
    }
}

#[test]
fn retention_may_pass_an_open_transaction() {
    let home = Home::small();
    let log = home.open();
    log.put_durable(&data("txn", 2).by(producer(1, 0), 0).transactional());
    for n in 0..5 {
        log.put_durable(&data(format!("n{n}"), 2).padded(300));
    }
    log.delete_records_before(offset(7)).unwrap();
    let check = |log: &Opened| {
        assert_eq!((log.offsets().log_start, log.offsets().last_stable), (offset(7), offset(7)));
        assert_eq!(log.committed(), [""; 0]);
    };
    check(&log);
    let log = reopen(&home, log, Ending::Crash);
    check(&log);
    log.end_txn(producer(1, 0), EndTxnKind::Abort);
    log.flush().unwrap();
    assert_eq!(log.committed(), ["n2.1", "n3.0", "n3.1", "n4.0", "n4.1"]);
    log.stop();
}

#[test]
fn a_closed_log_takes_nothing_and_can_still_be_read() {
    let home = Home::new();
    let log = home.open();
    log.put(&data("a", 1));
    log.close().unwrap();
    log.close().unwrap();
    // A commit that was asked for before may come by later.
    home.clock.advance(2000);
    log.flush().unwrap();
    assert!(log.offsets().stopped);
    let refused = log.try_put(&data("b", 1)).unwrap_err();
    assert!(matches!(refused, AppendError::Closed), "{refused}");
    assert!(matches!(log.apply_retention().unwrap_err(), RetentionError::Closed));
    assert!(log.wait_durable(offset(2)).is_err());
    log.tick();
    assert_eq!(log.values(), ["a.0"]);
    log.stop();
    let log = home.open();
    assert_eq!((log.report.found_as, log.report.scanned_bytes), (FoundAs::Clean, 0));
    log.stop();
}

#[test]
fn whoever_waits_is_told_when_the_log_goes_away() {
    for delete in [false, true] {
        let home = Home::new();
        let log = home.open();
        let (told, answer) = mpsc::channel();
        let waiting = Clone::clone(&*log);
        let waiter =
            std::thread::spawn(move || told.send(waiting.wait_durable(offset(1)).is_err()));
        if delete {
            log.delete().unwrap();
            assert!(!home.folder().exists());
        } else {
            log.close().unwrap();
        }
        assert!(answer.recv().unwrap());
        waiter.join().unwrap().unwrap();
    }
}

#[test]
fn what_a_reader_holds_outlives_roll_retention_and_deletion() {
    let home = Home::small();
    let log = home.open();
    let held = data("held", 3).padded(200);
    log.put_durable(&held);
    let slice = log.read(offset(0), usize::MAX, Isolation::HighWatermark).unwrap().batches;
    let before = slice.to_vec();
    for n in 0..20 {
        log.put_durable(&data(format!("n{n}"), 1).padded(400));
    }
    log.delete_records_before(offset(10)).unwrap();
    assert!(!home.folder().join("00000000000000000000.log").exists());
    assert_eq!(slice, before);
    log.close().unwrap();
    log.delete().unwrap();
    drop(log);
    let batch = RecordBatch::parse(slice).unwrap();
    let seen = records(&batch).into_iter().map(|seen| seen.value).collect::<Vec<_>>();
    assert_eq!(seen, held.values());
}

#[test]
fn new_settings_count_from_the_next_append_on() {
    let home = Home::with(LogConfig { flush: LAZY, ..LogConfig::default() });
    let log = home.open();
    log.put(&data("a", 1));
    assert_eq!((log.offsets().durable, log.offsets().high_watermark), (offset(0), offset(1)));
    let bad = LogConfig { segment_bytes: 1, ..LogConfig::default() };
    assert!(log.reconfigure(bad).is_err());
    assert_eq!(log.config().segment_bytes, 1 << 30);

    log.reconfigure(small_segments()).unwrap();
    // What was lazily appended is synced by the change itself.
    assert_eq!(log.wait_durable(offset(1)).unwrap().high_watermark, offset(1));
    for n in 0..4 {
        log.put_durable(&data(format!("n{n}"), 1).padded(600));
    }
    assert_eq!(log.describe().segments, 4);
    log.reconfigure(LogConfig { max_message_bytes: 100, ..small_segments() }).unwrap();
    let refused = log.check(data("large", 1).padded(100).bytes()).unwrap_err();
    assert!(matches!(refused, AppendError::Batch(_)), "{refused}");
    log.stop();
}

#[test]
fn a_lazy_log_shows_what_is_appended_and_syncs_it_soon() {
    let flush = FlushPolicy::Lazy { messages: u64::MAX, interval_ms: 20 };
    let home = Home::with(LogConfig { flush, ..LogConfig::default() });
    let log = home.open();
    log.put(&data("a", 1));
    assert_eq!(log.values(), ["a.0"]);
    // Ends by itself, or the test never does.
    while log.offsets().durable < offset(1) {
        std::thread::yield_now();
    }
    log.put(&data("b", 1));
    while log.offsets().durable < offset(2) {
        std::thread::yield_now();
    }
    log.stop();
}

#[test]
fn a_lazy_log_syncs_after_so_many_records() {
    let flush = FlushPolicy::Lazy { messages: 4, interval_ms: u64::MAX };
    let home = Home::with(LogConfig { flush, ..LogConfig::default() });
    let log = home.open();
    log.put(&data("a", 4));
    while log.offsets().durable < offset(4) {
        std::thread::yield_now();
    }
    log.stop();
}

#[test]
fn what_the_topic_forbids_is_refused_and_leaves_no_trace() {
    let home = Home::with(LogConfig {
        cleanup: CleanupPolicy::Compact,
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 1000,
        ..LogConfig::default()
    });
    let log = home.open();
    let refused = |batch: Data| log.try_put(&batch).unwrap_err();
    let keyless = refused(data("a", 2).keyless());
    let AppendError::KeylessRecords { keyless: 2, records: 2 } = keyless else {
        panic!("{keyless}");
    };
    for stamps in [[NOW, NOW + 1001], [NOW - 1001, NOW], [0, NOW]] {
        let outside = refused(data("a", 2).stamped(&stamps));
        assert!(matches!(outside, AppendError::TimestampOutOfRange { .. }), "{outside}");
    }
    log.put(&data("a", 3).stamped(&[NOW + 1000, -1, NOW - 1000]));
    assert_eq!(log.offsets().log_end, offset(3));
    log.stop();
}

#[test]
fn clients_do_not_write_control_batches() {
    let home = Home::new();
    let log = home.open();
    let marker = log_core::record::EndTxnMarker {
        kind: EndTxnKind::Commit,
        coordinator_epoch: log_core::CoordinatorEpoch::new(0).unwrap(),
    };
    let marker = log_core::record::end_txn_marker(producer(1, 0), marker, at(NOW));
    let marker = log.check(marker).unwrap();
    let refused = log.append(&marker, log_core::AppendOrigin::Client, log.leader_epoch());
    assert!(matches!(refused.unwrap_err(), AppendError::ControlBatch));
    assert_eq!(log.offsets().log_end, offset(0));
    log.stop();
}

#[test]
fn a_folder_opens_as_the_log_that_it_is_and_as_no_other() {
    let home = Home::new();
    let log = home.open();
    log.put_durable(&data("a", 1));
    log.stop();
    assert_eq!(LogIdentity::read(&home.storage, &home.folder()).unwrap(), Some(common::IDENTITY));

    let description = String::from_utf8(home.bytes_of("partition.json")).unwrap();
    for other in [
        description.replace("ca12", "ca13"),
        description.replace("\"partition\":3", "\"partition\":4"),
    ] {
        assert_ne!(other, description);
        home.put("partition.json", other.as_bytes());
        let refused = home.try_open().map(|log| log.report).unwrap_err();
        assert!(matches!(refused, OpenError::OtherLog { .. }), "{refused}");
    }
    for damaged in ["", "{", "{}", "null", &"x".repeat(5000)] {
        home.put("partition.json", damaged.as_bytes());
        assert!(home.try_open().is_err(), "{damaged:.10}");
    }
    // A deletion that was cut short may leave this: another topic's records without its name.
    home.remove("partition.json");
    let refused = home.try_open().map(|log| log.report).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused}");
    assert!(!home.folder().join("partition.json").exists());

    home.put("partition.json", description.as_bytes());
    let log = home.open();
    assert_eq!(log.values(), ["a.0"]);
    log.stop();
}

#[test]
fn strangers_files_are_left_alone() {
    let home = Home::new();
    home.open().stop();
    home.put("notes.txt", b"mine");
    home.put("00000000000000000000.cut-17", b"kept for a person to look at");
    let log = home.open();
    log.put_durable(&data("a", 1));
    log.crash();
    home.open().stop();
    assert_eq!(home.bytes_of("notes.txt"), b"mine");
    assert!(home.names().contains(&"00000000000000000000.cut-17".to_owned()));
}

#[test]
fn stopping_again_and_again_leaves_no_files_behind() {
    let home = Home::new();
    let mut counts = Vec::new();
    for n in 0..6 {
        let log = home.open();
        log.put_durable(&data(format!("n{n}"), 1).by(producer(1, 0), n));
        log.stop();
        counts.push(home.names().len());
    }
    assert_eq!(counts[5], counts[2], "{:?}", home.names());
}

#[test]
fn nothing_counts_as_durable_that_was_rolled_away_from_a_sync() {
    let watched = Watched::default();
    let mut home = Home::small();
    home.storage = Arc::new(watched.clone());
    let log = home.open_unsynced();
    let large = |name: &str| data(name, 1).padded(800);
    log.put(&large("a"));
    log.put(&large("b"));
    // While the first segment is synced, the second one ends and the third begins.
    let writer = Clone::clone(&*log);
    let batch = large("c").checked(&log);
    watched.before_next_sync(move || {
        writer.append(&batch, log_core::AppendOrigin::Client, writer.leader_epoch()).unwrap();
    });
    let durable = log.flush().unwrap();
    for name in home.names_with(".log") {
        let base: i64 = name[..20].parse().unwrap();
        let path = home.folder().join(&name);
        let written = watched.len(&path).unwrap();
        if offset(base) < durable {
            assert_eq!(watched.synced_bytes(&path), written, "{name} below {durable}");
        }
    }
}

#[test]
fn a_fetch_is_bounded_by_the_moment_at_which_it_looked() {
    let home = Home::new();
    let log = home.open();
    log.put_durable(&data("a", 1));
    let fetched = log.read(offset(0), usize::MAX, Isolation::HighWatermark).unwrap();
    log.put_durable(&data("b", 1));
    let (seen, end) = take(&fetched, offset(0), Isolation::HighWatermark);
    assert_eq!((seen.len(), end, fetched.offsets.log_end), (1, offset(1), offset(1)));
    log.stop();
}
