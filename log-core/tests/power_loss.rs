//! Power that fails at random moments, on a disk that keeps no more than it must. Whatever was
//! durable is there afterwards, at its offset and in order; what else is there was appended next.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::model::{Id, Model};
use common::power::PoweredDisk;
use common::{Home, LAZY, NOW, Opened, data, epoch, offset, producer};
use log_core::io::{Storage, make_folder};
use log_core::record::EndTxnKind;
use log_core::{AppendKind, FlushPolicy, FoundAs, Isolation, LogConfig, Remains};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

#[derive(Clone, Debug)]
enum Step {
    Idempotent(Id, usize),
    Transactional(Id, usize),
    EndTxn(Id, EndTxnKind),
    Flush,
    Tick,
    /// In thousandths of the log.
    DeleteBefore(i64),
    Wait(i64),
    Stop,
    /// The process dies; the page cache stays.
    Kill,
    LosePower(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![1 => Just(EndTxnKind::Commit), 2 => Just(EndTxnKind::Abort)];
    prop_oneof![
        6 => (1..3_i64, 0..700_usize).prop_map(|(id, size)| Step::Idempotent(Id(id), size)),
        6 => (11..13_i64, 0..700_usize).prop_map(|(id, size)| Step::Transactional(Id(id), size)),
        3 => (11..13_i64, kind).prop_map(|(id, kind)| Step::EndTxn(Id(id), kind)),
        5 => Just(Step::Flush),
        3 => Just(Step::Tick),
        1 => (0..1000_i64).prop_map(Step::DeleteBefore),
        2 => (0..1500_i64).prop_map(Step::Wait),
        1 => Just(Step::Stop),
        2 => Just(Step::Kill),
        3 => any::<u64>().prop_map(Step::LosePower),
    ]
}

struct Run {
    home: Home,
    disk: PoweredDisk,
    log: Option<Opened>,
    model: Model,
}

impl Run {
    fn new(flush: FlushPolicy) -> Self {
        let config = LogConfig {
            segment_bytes: 2048,
            index_interval_bytes: 200,
            segment_ms: 5000,
            retention_ms: None,
            flush,
            ..LogConfig::default()
        };
        let disk = PoweredDisk::default();
        let mut home = Home::with(config);
        home.storage = Arc::new(disk.clone());
        let log = Some(home.open_unsynced());
        Self { home, disk, log, model: Model::default() }
    }

    fn log(&self) -> &Opened {
        self.log.as_ref().expect("the log is open between steps")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Idempotent(id, padding) => self.put(id, padding, None),
            Step::Transactional(id, padding) => self.put(id, padding, Some(id)),
            Step::EndTxn(id, kind) => {
                let by = self.model.sent.get(&id).map_or(0, |sent| sent.epoch);
                self.log().end_txn(producer(id.0, by), kind);
                self.model.end_txn(id, kind);
                if self.home.config.flush == LAZY {
                    // As a coordinator does: else a marker that was deleted could be lost.
                    self.log().flush().unwrap();
                }
            }
            Step::Flush => drop(self.log().flush().unwrap()),
            Step::Tick => self.log().tick(),
            Step::DeleteBefore(place) => {
                let before = self.log().offsets().high_watermark.get() * place / 1000;
                let start = self.log().delete_records_before(offset(before)).unwrap();
                self.model.log_start = start.get();
            }
            Step::Wait(ms) => self.home.clock.advance(ms),
            Step::Stop => self.stop(),
            Step::Kill => self.kill(),
            Step::LosePower(seed) => self.lose_power(seed),
        }
    }

    fn put(&mut self, id: Id, padding: usize, txn: Option<Id>) {
        let name = self.model.name();
        let sent = self.model.sent.entry(id).or_default();
        let batch = data(name, 1).padded(padding).stamped(&[NOW + padding as i64]);
        let batch = batch.by(producer(id.0, sent.epoch), sent.next_sequence);
        let batch = if txn.is_some() { batch.transactional() } else { batch };
        sent.next_sequence += 1;
        self.log().put(&batch);
        let (base, last) = self.model.store(&batch, txn);
        self.model.sent.entry(id).or_default().batches.push((batch, base, last));
    }

    /// A clean stop loses nothing, also if the power fails right after it.
    fn stop(&mut self) {
        self.log.take().expect("the log is open between steps").stop();
        self.disk = self.disk.after_power_loss(0);
        self.home.storage = Arc::new(self.disk.clone());
        let log = self.home.open_unsynced();
        assert_eq!((log.report.found_as, log.report.scanned_bytes), (FoundAs::Clean, 0));
        self.log = Some(log);
        self.check();
    }

    /// What was appended is there, and counts as durable: so it must be.
    fn kill(&mut self) {
        self.log.take().expect("the log is open between steps").crash();
        let log = self.home.open_unsynced();
        assert_eq!((log.report.damages.len(), log.report.cuts.len()), (0, 0), "{:?}", log.report);
        self.log = Some(log);
        self.check_repetitions(self.model.end());
        self.check();
    }

    fn lose_power(&mut self, seed: u64) {
        let durable = self.log().offsets().durable.get();
        self.disk = self.disk.after_power_loss(seed);
        self.log.take().expect("the log is open between steps").crash();
        self.home.storage = Arc::new(self.disk.clone());
        self.home.epoch = epoch(self.home.epoch.get() + 1);
        let remains = Remains::of(&self.home.folder(), Arc::clone(&self.home.storage)).unwrap();
        assert_eq!(remains, Remains::Whole, "power loss alone takes nothing that was synced");
        let log = self.home.open_unsynced();
        assert_eq!(log.report.damages, [], "nothing durable is damaged");
        let end = log.offsets().log_end.get();
        assert!(end >= durable, "{durable} was durable, the log ends at {end}");
        if end > self.model.end() {
            assert_eq!(end, self.model.log_start, "deleted records may be lost");
        }
        self.log = Some(log);
        self.check_repetitions(end);
        self.model.lose_from(end);
        self.model.skip_to(end);
        self.check();
    }

    /// A producer that repeats its last batch is not stored twice. One whose batches are all
    /// deleted may have been forgotten with them.
    fn check_repetitions(&self, end: i64) {
        for sent in self.model.sent.values() {
            let Some((batch, base, _)) = sent.batches.last() else { continue };
            if (self.model.log_start..end).contains(base) {
                assert_eq!(self.log().put(batch).kind, AppendKind::Duplicate);
            }
        }
    }

    fn check(&self) {
        let offsets = self.log().offsets();
        assert_eq!(offsets.log_start.get(), self.model.log_start);
        assert_eq!(offsets.log_end.get(), self.model.end());
        assert_eq!(offsets.durable, offsets.log_end);
        // Of an open transaction, the part that was deleted may be forgotten when it is lost too.
        let (known, undeleted) = (self.model.last_stable(), self.model.last_stable_from_start());
        assert!([known, undeleted].contains(&offsets.last_stable.get()), "{offsets:?}");
        for isolation in [Isolation::HighWatermark, Isolation::LastStable] {
            let end = match isolation {
                Isolation::LastStable => offsets.last_stable,
                _ => offsets.high_watermark,
            };
            let expected = self.model.visible(self.model.log_start, end.get(), isolation);
            assert_eq!(self.log().see(900, isolation), expected);
        }
        let all = self.model.visible(self.model.log_start, i64::MAX, Isolation::LogEnd);
        let largest = all.iter().map(|seen| seen.timestamp).max();
        let found = self.log().max_timestamp().unwrap();
        assert_eq!(found.map(|found| found.timestamp.get()), largest);
    }
}

/// `PROPTEST_CASES` sets another number.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

/// A process is killed while it makes a folder; the next finds what there is, makes the rest, and
/// then the power fails.
#[test]
fn a_folder_that_was_made_is_there_with_those_above_it() {
    let folder = Path::new("/var/lib/data/topics");
    let made_in = {
        let disk = PoweredDisk::default();
        make_folder(&disk, folder).unwrap();
        disk.operations()
    };
    for operations in 0..made_in {
        let disk = PoweredDisk::default();
        disk.fail_power_after(operations);
        assert!(make_folder(&disk, folder).is_err());
        let found = disk.after_kill();
        found.turn_on();
        make_folder(&found, folder).unwrap();
        assert!(found.synced().list(folder).is_ok(), "killed in operation {operations}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 3000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_durable_survives_power_loss(
        lazy: bool,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new(if lazy { LAZY } else { FlushPolicy::EveryAppend });
        for step in steps {
            run.take(step);
        }
        run.lose_power(1);
        run.stop();
    }
}
