//! A disk that is full, slow to heal or broken: what was acknowledged stays, what was not is
//! refused with a reason, and readers go on.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc;

use common::{Home, LAZY, Opened, contents, data, offset, producer, small_segments};
use log_core::io::Disk;
use log_core::io::faulty::{Faulty, Operation};
use log_core::record::EndTxnKind;
use log_core::{
    AppendError, AppendKind, FlushError, FoundAs, Isolation, LogConfig, OpenError, ReadError,
};

fn faulty(config: LogConfig) -> (Home, Faulty) {
    let disk = Faulty::over(Disk);
    let mut home = Home::with(config);
    home.storage = Arc::new(disk.clone());
    (home, disk)
}

fn is_disk_full(error: &AppendError) -> bool {
    matches!(error, AppendError::DiskFull(_))
}

/// Nothing of what was refused can be read, now or after the log is opened again.
fn check_unchanged(home: &Home, log: &Opened, values: &[&str]) {
    assert_eq!(log.values(), values);
    assert_eq!(common::values(&log.see(1, Isolation::LogEnd)), values);
    let copied = home.copy();
    let copy = copied.open();
    assert_eq!(copy.values(), values);
    copy.stop();
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    for torn_bytes in [0, 1, 50, 100, usize::MAX] {
        let (home, disk) = faulty(LogConfig::default());
        let log = home.open();
        log.put_durable(&data("a", 1));
        disk.fail(Operation::Write, ErrorKind::StorageFull);
        disk.tear_writes_after(torn_bytes);
        for _ in 0..2 {
            let refused = log.try_put(&data("b", 1).by(producer(7, 0), 0)).unwrap_err();
            assert!(is_disk_full(&refused), "{refused}");
            check_unchanged(&home, &log, &["a.0"]);
        }
        disk.heal();
        let appended = log.put_durable(&data("c", 1).by(producer(7, 0), 0));
        assert_eq!((appended.base_offset, appended.kind), (offset(1), AppendKind::Stored));
        check_unchanged(&home, &log, &["a.0", "c.0"]);
        log.stop();
        let log = home.open();
        assert_eq!((log.report.found_as, log.report.cuts.len()), (FoundAs::Clean, 0));
        log.stop();
    }
}

#[test]
fn a_full_disk_at_a_roll_refuses_and_rolls_later() {
    for operation in [Operation::Create, Operation::Write] {
        let (home, disk) = faulty(small_segments());
        let log = home.open();
        log.put_durable(&data("a", 1).padded(800));
        disk.fail(operation, ErrorKind::StorageFull);
        let refused = log.try_put(&data("b", 1).padded(800)).unwrap_err();
        assert!(is_disk_full(&refused), "{refused}");
        check_unchanged(&home, &log, &["a.0"]);
        disk.heal();
        log.put_durable(&data("c", 1).padded(800));
        check_unchanged(&home, &log, &["a.0", "c.0"]);
        assert_eq!(log.describe().segments, 2);
        log.stop();
        let log = home.open();
        assert_eq!((log.report.found_as, log.values().len()), (FoundAs::Clean, 2));
        log.stop();
    }
}

#[test]
fn a_full_disk_can_be_read_deleted_from_closed_and_opened() {
    let (home, disk) = faulty(LogConfig { retention_bytes: Some(1000), ..small_segments() });
    let log = home.open();
    for n in 0..10 {
        log.put_durable(
            &data(format!("n{n}"), 1).padded(300).by(producer(7, 0), n).transactional(),
        );
    }
    log.end_txn(producer(7, 0), EndTxnKind::Abort);
    log.flush().unwrap();
    log.crash();
    // Without the indexes, so that they are built where nothing can be written.
    for name in home.names().into_iter().filter(|name| name.ends_with("index")) {
        home.remove(&name);
    }
    disk.fail(Operation::Create, ErrorKind::StorageFull);
    let log = home.open();
    // Only now, because what recovery writes over itself needs no room.
    disk.fail(Operation::Write, ErrorKind::StorageFull);
    assert_eq!(log.values().len(), 10);
    assert_eq!(log.committed(), [""; 0]);
    log.tick();
    let retired = log.apply_retention().unwrap();
    assert!(retired.segments > 0);
    assert_eq!(log.offsets().log_start, retired.log_start);
    let left = log.values();
    let logs = home.names_with(".log");
    assert!(is_disk_full(&log.try_put(&data("more", 1)).unwrap_err()));
    assert!(log.close().is_err(), "a stop that could not note that it was clean says so");
    log.crash();
    disk.heal();
    let log = home.open();
    assert_eq!((log.values(), log.offsets().log_start), (left, retired.log_start));
    assert_eq!(home.names_with(".log"), logs);
    assert_eq!(log.committed(), [""; 0]);
    log.stop();
}

/// What was deleted must not be taken for lost when the disk has long had room again.
#[test]
fn where_a_log_starts_is_noted_once_there_is_room() {
    for stopped in [true, false] {
        let config = LogConfig { retention_bytes: Some(1000), ..small_segments() };
        let (home, disk) = faulty(config);
        let log = home.open();
        for n in 0..10 {
            log.put_durable(&data(format!("n{n}"), 1).padded(300));
        }
        disk.fail(Operation::Create, ErrorKind::StorageFull);
        disk.fail(Operation::Write, ErrorKind::StorageFull);
        assert!(log.apply_retention().unwrap().segments > 0);
        let left = log.values();
        disk.heal();
        if stopped {
            log.stop();
        } else {
            log.tick();
            log.crash();
        }
        let log = home.open();
        assert_eq!((log.report.damages.len(), log.values()), (0, left), "{:?}", log.report);
        log.stop();
    }
}

/// A crowd of clients can take all descriptors; that must not end a log for good.
#[test]
fn a_log_without_descriptors_waits_for_them() {
    let (home, disk) = faulty(small_segments());
    let log = home.open();
    log.put_durable(&data("a", 1).padded(800));
    let out = |log: &Opened| log.try_put(&data("b", 1).padded(800)).unwrap_err();
    // Another segment is due.
    disk.run_out_of_descriptors();
    assert!(matches!(out(&log), AppendError::OutOfDescriptors(_)), "{}", out(&log));
    disk.heal();
    log.put_durable(&data("c", 1).padded(100));
    // Idle for so long that it holds no file.
    (0..100).for_each(|_| log.tick());
    disk.run_out_of_descriptors();
    assert!(matches!(out(&log), AppendError::OutOfDescriptors(_)), "{}", out(&log));
    assert!(matches!(log.read(offset(0), 1, Isolation::LogEnd), Err(ReadError::File(_))));
    disk.heal();
    check_unchanged(&home, &log, &["a.0", "c.0"]);
    log.stop();
    let log = home.open();
    assert_eq!(log.report.found_as, FoundAs::Clean);
    log.stop();
}

/// What was appended and could not be synced is synced once that is possible, without being asked
/// to again.
#[test]
fn a_sync_without_descriptors_is_made_up_for() {
    let (home, disk) = faulty(LogConfig { flush: LAZY, ..small_segments() });
    let log = home.open();
    log.put(&data("a", 1).padded(800));
    // In another segment: its name is to be synced with it.
    let appended = log.put(&data("b", 1).padded(800));
    disk.run_out_of_descriptors();
    assert!(matches!(log.flush(), Err(FlushError::OutOfDescriptors(_))));
    assert!(!log.offsets().stopped);
    disk.heal();
    log.wait_durable(appended.last_offset.next()).unwrap();
    check_unchanged(&home, &log, &["a.0", "b.0"]);
    log.stop();
}

#[test]
fn a_log_that_could_not_be_closed_says_so_each_time() {
    let (home, disk) = faulty(LogConfig { flush: LAZY, ..small_segments() });
    let log = home.open();
    log.put(&data("a", 1).padded(800));
    log.put(&data("b", 1).padded(800));
    disk.run_out_of_descriptors();
    assert!(matches!(log.close(), Err(FlushError::OutOfDescriptors(_))));
    assert!(log.offsets().stopped, "nobody waits for it any more");
    disk.heal();
    assert!(matches!(log.close(), Err(FlushError::Failed(_))));
    log.crash();
    let log = home.open();
    assert_ne!(log.report.found_as, FoundAs::Clean);
    check_unchanged(&home, &log, &["a.0", "b.0"]);
    log.stop();
}

#[test]
fn a_write_that_fails_otherwise_ends_all_writing_and_no_reading() {
    for torn_bytes in [0, 70] {
        let (home, disk) = faulty(LogConfig::default());
        let log = home.open();
        log.put_durable(&data("a", 1));
        disk.fail(Operation::Write, ErrorKind::Other);
        disk.tear_writes_after(torn_bytes);
        let first = log.try_put(&data("b", 1)).unwrap_err();
        assert!(matches!(first, AppendError::Failed(_)), "{first}");
        disk.heal();
        let later = log.try_put(&data("c", 1)).unwrap_err();
        assert_eq!(later.to_string(), first.to_string(), "the first reason stays");
        assert!(log.offsets().stopped);
        check_unchanged(&home, &log, &["a.0"]);
        assert!(log.close().is_err());
        log.crash();
        let log = home.open();
        assert_eq!((log.values(), log.report.cuts.len()), (vec!["a.0".to_owned()], 0));
        log.stop();
    }
}

#[test]
fn what_a_torn_write_left_is_never_read_even_if_it_cannot_be_cut_off() {
    // Padded, so that it does not end with zeros: the room behind it would make up for those.
    let batch = data("torn", 2).padded(3);
    let size = batch.bytes().len();
    for torn_bytes in [1, 60, 61, size - 1] {
        let (home, disk) = faulty(LogConfig::default());
        let log = home.open();
        log.put_durable(&data("a", 1));
        log.put(&data("b", 1));
        disk.fail(Operation::Write, ErrorKind::StorageFull);
        disk.fail(Operation::SetLen, ErrorKind::Other);
        disk.tear_writes_after(torn_bytes);
        let failed = log.try_put(&batch).unwrap_err();
        assert!(matches!(failed, AppendError::Failed(_)), "{failed}");
        disk.heal();
        assert!(matches!(log.try_put(&data("c", 1)).unwrap_err(), AppendError::Failed(_)));
        assert_eq!(common::values(&log.see(1, Isolation::LogEnd)), ["a.0", "b.0"]);
        log.crash();
        let log = home.open();
        assert_eq!(log.values(), ["a.0", "b.0"]);
        assert_eq!(log.put_durable(&data("d", 1)).base_offset, offset(2));
        log.stop();
    }
}

#[test]
fn a_failed_sync_is_final() {
    let (home, disk) = faulty(LogConfig::default());
    let log = home.open();
    log.put_durable(&data("a", 1));
    disk.fail(Operation::Sync, ErrorKind::Other);
    let unsynced = log.put(&data("b", 1).by(producer(7, 0), 0));
    let failed = log.wait_durable(unsynced.last_offset.next()).unwrap_err();
    // A second sync would succeed and mean nothing.
    disk.heal();
    assert_eq!(log.flush().unwrap_err().to_string(), failed.to_string());
    assert_eq!(log.wait_durable(offset(2)).unwrap_err().to_string(), failed.to_string());
    let refused = log.try_put(&data("c", 1)).unwrap_err();
    assert_eq!(refused.to_string(), failed.to_string());
    assert!(matches!(
        log.try_put(&data("b", 1).by(producer(7, 0), 0)),
        Err(AppendError::Failed(_))
    ));
    assert_eq!(log.describe().failure.unwrap().to_string(), failed.to_string());
    assert_eq!(log.offsets().durable, offset(1));
    assert_eq!(log.values(), ["a.0"]);
    log.tick();
    assert!(log.close().is_err());
    log.crash();
    let log = home.open();
    assert_eq!(log.report.found_as, FoundAs::Crashed);
    assert_eq!(log.values()[0], "a.0");
    assert_eq!(log.offsets().durable, log.offsets().log_end);
    log.stop();
}

#[test]
fn whoever_waits_for_a_sync_that_fails_is_woken() {
    let (home, disk) = faulty(LogConfig::default());
    let log = home.open_unsynced();
    log.put(&data("a", 1));
    let (told, answers) = mpsc::channel();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (log, told) = (Clone::clone(&*log), told.clone());
            std::thread::spawn(move || told.send(log.wait_durable(offset(1)).is_err()))
        })
        .collect();
    disk.fail(Operation::Sync, ErrorKind::Other);
    assert!(log.flush().is_err());
    for waiter in waiters {
        assert!(answers.recv().unwrap());
        waiter.join().unwrap().unwrap();
    }
}

#[test]
fn a_sync_that_fails_behind_a_roll_acknowledges_nothing_in_either_segment() {
    let (home, disk) = faulty(LogConfig { flush: LAZY, ..small_segments() });
    let log = home.open();
    log.put(&data("a", 1).padded(800));
    log.put(&data("b", 1).padded(800));
    disk.fail(Operation::Sync, ErrorKind::Other);
    assert!(log.flush().is_err());
    assert_eq!(log.offsets().durable, offset(0));
    // Readers of a lazy log have seen both, and go on seeing them.
    assert_eq!(log.values(), ["a.0", "b.0"]);
    log.crash();
    disk.heal();
    assert_eq!(home.open().values(), ["a.0", "b.0"]);
}

#[test]
fn a_tail_that_cannot_be_made_durable_is_not_served() {
    let (home, disk) = faulty(LogConfig::default());
    let log = home.open();
    log.put_durable(&data("a", 1));
    log.crash();
    for operation in [Operation::Sync, Operation::Write, Operation::Read] {
        disk.fail(operation, ErrorKind::Other);
        let refused = home.try_open().map(|log| log.report).unwrap_err();
        assert!(matches!(refused, OpenError::File(_)), "{refused}");
        disk.heal();
    }
    let log = home.open();
    assert_eq!(log.values(), ["a.0"]);
    log.stop();
}

#[test]
fn a_bad_disk_answers_a_copying_read_with_an_error() {
    let (home, disk) = faulty(small_segments());
    let log = home.open();
    for n in 0..6 {
        log.put_durable(&data(format!("n{n}"), 1).padded(300));
    }
    disk.fail(Operation::Read, ErrorKind::Other);
    for from in 0..6 {
        for isolation in [Isolation::HighWatermark, Isolation::LastStable, Isolation::LogEnd] {
            let failed = log.read_copied(offset(from), 1, isolation).unwrap_err();
            assert!(matches!(failed, ReadError::File(_)), "{failed}");
        }
    }
    assert!(log.offset_for_timestamp(common::at(0)).is_err());
    disk.heal();
    assert_eq!(log.values().len(), 6);
    assert_eq!(log.put(&data("next", 1)).base_offset, offset(6));
    log.stop();
}

#[test]
fn housekeeping_that_fails_is_done_later() {
    let (home, disk) = faulty(small_segments());
    let log = home.open();
    for n in 0..6 {
        log.put_durable(&data(format!("n{n}"), 1).padded(300));
    }
    disk.fail(Operation::Create, ErrorKind::StorageFull);
    log.tick();
    assert_eq!(home.names_with(".seal"), [""; 0]);
    disk.heal();
    log.tick();
    assert_eq!(home.names_with(".seal").len(), log.describe().segments - 1);
    assert_eq!(home.names_with(".tmp"), [""; 0]);
    log.stop();
    let before = contents(&home.folder());
    home.open().stop();
    assert_eq!(
        contents(&home.folder()),
        before,
        "opening and stopping a clean log changes nothing"
    );
}
