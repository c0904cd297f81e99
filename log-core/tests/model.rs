//! Random histories of a log, each step checked against a model that fits on a page: a list of
//! batches in memory. Opening again, cleanly or after a crash, is a step like any other.
//!
//! A failing history is shrunk and printed; its seed is kept in `model.regressions` beside this
//! file and is tried first from then on.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use common::model::{Id, Model, Sent};
use common::{Data, Home, LAZY, NOW, Opened, at, data, offset, producer, take};
use log_core::record::EndTxnKind;
use log_core::{
    AppendError, AppendKind, FlushPolicy, FoundAs, Isolation, LogConfig, ProducerStateError,
    ReadError,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Sizes small enough that every history rolls, and ages that it reaches.
fn config(segment_bytes: u32, index_interval_bytes: u32, flush: FlushPolicy) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes,
        flush,
        segment_ms: 5000,
        retention_ms: None,
        retention_bytes: Some(4000),
        ..LogConfig::default()
    }
}

/// Producers 1 and 2 are idempotent, 11 and 12 transactional.
#[derive(Clone, Debug)]
enum Step {
    Plain(Shape),
    Idempotent(Id, Shape),
    Transactional(Id, Shape),
    /// Sends the batch again that came so many before the producer's last.
    Repeat(Id, usize),
    Gap(Id),
    NewEpoch(Id),
    EndTxn(Id, EndTxnKind),
    /// From a place in the log, in thousandths of it.
    Read(i64, usize, Isolation),
    FindTime(i64),
    FindNewest,
    DeleteBefore(i64),
    Retain,
    Flush,
    Tick,
    Idle,
    Wait(i64),
    Configure(LogConfig),
    Stop(Loss),
    Crash(Loss),
}

#[derive(Clone, Debug)]
struct Shape {
    stamps: Vec<i64>,
    padding: usize,
}

/// Derived files that are gone when the log is opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    Nothing,
    Ending(&'static str),
}

const ENDINGS: [&str; 6] = [".index", ".timeindex", ".txnindex", ".seal", "checkpoint", "index"];

fn shape() -> impl Strategy<Value = Shape> {
    let stamp = prop_oneof![9 => (0..9000_i64).prop_map(|ms| NOW + ms), 1 => Just(-1)];
    let stamps = proptest::collection::vec(stamp, 1..4);
    (stamps, 0..250_usize).prop_map(|(stamps, padding)| Shape { stamps, padding })
}

fn idempotent() -> impl Strategy<Value = Id> {
    (1..3_i64).prop_map(Id)
}

fn transactional() -> impl Strategy<Value = Id> {
    (11..13_i64).prop_map(Id)
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        1 => Just(Isolation::LogEnd),
        1 => Just(Isolation::HighWatermark),
        3 => Just(Isolation::LastStable),
    ]
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        2 => Just(Loss::Nothing),
        1 => proptest::sample::select(&ENDINGS[..]).prop_map(Loss::Ending),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![1 => Just(EndTxnKind::Commit), 2 => Just(EndTxnKind::Abort)];
    let flush = prop_oneof![Just(FlushPolicy::EveryAppend), Just(LAZY)];
    let interval = prop_oneof![Just(0_u32), Just(300), Just(4096)];
    let configured = (1024..4096_u32, interval, flush)
        .prop_map(|(size, interval, flush)| Step::Configure(config(size, interval, flush)));
    prop_oneof![
        6 => shape().prop_map(Step::Plain),
        6 => (idempotent(), shape()).prop_map(|(id, shape)| Step::Idempotent(id, shape)),
        8 => (transactional(), shape()).prop_map(|(id, shape)| Step::Transactional(id, shape)),
        4 => (idempotent(), 0..6_usize).prop_map(|(id, back)| Step::Repeat(id, back)),
        1 => idempotent().prop_map(Step::Gap),
        1 => idempotent().prop_map(Step::NewEpoch),
        4 => (transactional(), kind).prop_map(|(id, kind)| Step::EndTxn(id, kind)),
        6 => (0..1100_i64, 0..1500_usize, isolation()).prop_map(|(at, max, isolation)| {
            Step::Read(at, max, isolation)
        }),
        2 => (-10..9100_i64).prop_map(|ms| Step::FindTime(NOW + ms)),
        1 => Just(Step::FindNewest),
        1 => (0..1100_i64).prop_map(Step::DeleteBefore),
        1 => Just(Step::Retain),
        2 => Just(Step::Flush),
        3 => Just(Step::Tick),
        1 => Just(Step::Idle),
        2 => (0..2000_i64).prop_map(Step::Wait),
        1 => configured,
        2 => loss().prop_map(Step::Stop),
        3 => loss().prop_map(Step::Crash),
    ]
}

/// The log, the model, and what connects them.
struct Run {
    home: Home,
    /// `None` only while it is opened again.
    log: Option<Opened>,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let home = Home::with(config(1024, 0, FlushPolicy::EveryAppend));
        let log = Some(home.open());
        Self { home, log, model: Model::default() }
    }

    fn log(&self) -> &Opened {
        self.log.as_ref().expect("the log is open between steps")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Plain(shape) => {
                let batch = self.batch(&shape);
                self.put(&batch, None);
            }
            Step::Idempotent(id, shape) => self.put_next(id, &shape, None),
            Step::Transactional(id, shape) => self.put_next(id, &shape, Some(id)),
            Step::Repeat(id, back) => self.repeat(id, back),
            Step::Gap(id) => self.leave_a_gap(id),
            Step::NewEpoch(id) => {
                let sent = self.model.sent.entry(id).or_default();
                *sent = Sent { epoch: sent.epoch + 1, ..Sent::default() };
            }
            Step::EndTxn(id, kind) => {
                self.log().end_txn(producer(id.0, 0), kind);
                self.model.end_txn(id, kind);
                self.settle();
            }
            Step::Read(place, bytes_max, isolation) => self.read(place, bytes_max, isolation),
            Step::FindTime(stamp) => self.find_time(stamp),
            Step::FindNewest => self.find_newest(),
            Step::DeleteBefore(place) => self.delete_before(place),
            Step::Retain => {
                let retired = self.log().apply_retention().unwrap();
                let start = retired.log_start.get();
                assert!(start >= self.model.log_start);
                let is_enough = self.log().describe().size_bytes >= 4000;
                assert!(start == self.model.log_start || is_enough);
                self.model.log_start = start;
            }
            Step::Flush => assert_eq!(self.log().flush().unwrap().get(), self.model.end()),
            Step::Tick => self.log().tick(),
            Step::Idle => (0..40).for_each(|_| self.log().tick()),
            Step::Wait(ms) => self.home.clock.advance(ms),
            Step::Configure(config) => {
                self.log().reconfigure(config.clone()).unwrap();
                self.home.config = config;
                self.settle();
            }
            Step::Stop(loss) => self.stop(loss),
            Step::Crash(loss) => self.crash(loss),
        }
        self.check_offsets();
    }

    fn batch(&mut self, shape: &Shape) -> Data {
        data(self.model.name(), 0).stamped(&shape.stamps).padded(shape.padding)
    }

    /// Under the default policy readers see what is synced; waiting makes that everything.
    fn settle(&self) {
        if self.home.config.flush == FlushPolicy::EveryAppend {
            self.log().wait_durable(offset(self.model.end())).unwrap();
        }
    }

    fn put(&mut self, batch: &Data, txn: Option<Id>) -> (i64, i64) {
        let appended = self.log().put(batch);
        assert_eq!(appended.kind, AppendKind::Stored);
        let (base, last) = self.model.store(batch, txn);
        assert_eq!((appended.base_offset.get(), appended.last_offset.get()), (base, last));
        self.settle();
        (base, last)
    }

    fn put_next(&mut self, id: Id, shape: &Shape, txn: Option<Id>) {
        let batch = self.batch(shape);
        let sent = self.model.sent.entry(id).or_default();
        let batch = batch.by(producer(id.0, sent.epoch), sent.next_sequence);
        sent.next_sequence += shape.stamps.len() as i32;
        let batch = if txn.is_some() { batch.transactional() } else { batch };
        let (base, last) = self.put(&batch, txn);
        self.model.sent.entry(id).or_default().batches.push((batch, base, last));
    }

    fn repeat(&mut self, id: Id, back: usize) {
        let sent = self.model.sent.entry(id).or_default().batches.clone();
        let Some((batch, base, last)) = sent.iter().rev().nth(back) else { return };
        match self.log().try_put(batch) {
            Ok(appended) => {
                assert_eq!(appended.kind, AppendKind::Duplicate);
                let found = (appended.base_offset.get(), appended.last_offset.get());
                assert_eq!(found, (*base, *last));
            }
            Err(AppendError::Producer(ProducerStateError::OutOfOrderSequence { .. })) => {
                assert!(back >= 5, "one of the last five batches was not recognised");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn leave_a_gap(&mut self, id: Id) {
        let sent = self.model.sent.entry(id).or_default().clone();
        if sent.batches.is_empty() {
            return;
        }
        let gap = data("gap", 1).by(producer(id.0, sent.epoch), sent.next_sequence + 1);
        let refused = self.log().try_put(&gap).unwrap_err();
        assert!(
            matches!(refused, AppendError::Producer(ProducerStateError::OutOfOrderSequence { .. })),
            "{refused}"
        );
    }

    /// An offset in the log, or a little before or behind it.
    fn place(&self, place: i64) -> i64 {
        let (start, end) = (self.model.log_start, self.model.end());
        (start + (end - start) * (place - 20) / 1000).max(0)
    }

    fn read(&self, place: i64, bytes_max: usize, isolation: Isolation) {
        let from = self.place(place);
        let fetched = match self.log().read(offset(from), bytes_max, isolation) {
            Ok(fetched) => fetched,
            Err(ReadError::OutOfRange { .. }) => {
                return assert!(from < self.model.log_start || from > self.model.end());
            }
            Err(error) => panic!("{error}"),
        };
        let end = if isolation == Isolation::LastStable {
            self.model.last_stable()
        } else {
            self.model.end()
        };
        if fetched.batches.is_empty() {
            return assert!(from >= end, "nothing from {from}, where {end} is the end");
        }
        let copied = self.log().read_copied(offset(from), bytes_max, isolation).unwrap();
        assert_eq!(copied.batches, fetched.batches);
        let (seen, next) = take(&fetched, offset(from), isolation);
        assert!(next.get() > from && next.get() <= end);
        assert_eq!(seen, self.model.visible(from, next.get(), isolation));
    }

    fn find_time(&self, stamp: i64) {
        let all = self.model.visible(self.model.log_start, i64::MAX, Isolation::LogEnd);
        let expected = all.iter().find(|seen| seen.timestamp >= stamp);
        let found = self.log().offset_for_timestamp(at(stamp)).unwrap();
        assert_eq!(
            found.map(|found| (found.offset.get(), found.timestamp.get())),
            expected.map(|seen| (seen.offset, seen.timestamp))
        );
    }

    fn find_newest(&self) {
        let all = self.model.visible(self.model.log_start, i64::MAX, Isolation::LogEnd);
        let largest = all.iter().map(|seen| seen.timestamp).max().filter(|stamp| *stamp >= 0);
        let expected = all.iter().find(|seen| Some(seen.timestamp) == largest);
        let found = self.log().max_timestamp().unwrap();
        assert_eq!(found.map(|found| found.offset.get()), expected.map(|seen| seen.offset));
    }

    fn delete_before(&mut self, place: i64) {
        let before = self.place(place);
        match self.log().delete_records_before(offset(before)) {
            Ok(start) => {
                // Retention by size, which is applied at once, may have gone further.
                assert!(start.get() >= before.max(self.model.log_start));
                self.model.log_start = start.get();
            }
            Err(_) => assert!(before > self.model.end()),
        }
    }

    fn stop(&mut self, loss: Loss) {
        self.log.take().expect("the log is open between steps").stop();
        self.lose(loss);
        let log = self.home.open();
        if loss != Loss::Ending("checkpoint") {
            assert_eq!((log.report.found_as, log.report.scanned_bytes), (FoundAs::Clean, 0));
        }
        self.opened(log);
    }

    fn crash(&mut self, loss: Loss) {
        self.log.take().expect("the log is open between steps").crash();
        self.lose(loss);
        let log = self.home.open();
        self.opened(log);
    }

    fn lose(&self, loss: Loss) {
        if let Loss::Ending(ending) = loss {
            self.home.names_with(ending).iter().for_each(|name| self.home.remove(name));
        }
    }

    fn opened(&mut self, log: Opened) {
        assert_eq!((log.report.cuts.len(), log.report.damages.len()), (0, 0), "{:?}", log.report);
        self.log = Some(log);
        self.check_everything();
    }

    fn check_offsets(&self) {
        let offsets = self.log().offsets();
        assert_eq!(offsets.log_start.get(), self.model.log_start);
        assert_eq!(offsets.last_stable.get(), self.model.last_stable());
        assert_eq!(offsets.high_watermark.get(), self.model.end());
        assert_eq!(offsets.log_end.get(), self.model.end());
    }

    fn check_everything(&self) {
        self.check_offsets();
        for isolation in [Isolation::HighWatermark, Isolation::LastStable] {
            let end = match isolation {
                Isolation::LastStable => self.model.last_stable(),
                _ => self.model.end(),
            };
            let expected = self.model.visible(self.model.log_start, end, isolation);
            assert_eq!(self.log().see(500, isolation), expected);
        }
        self.find_newest();
    }
}

/// Enough to find most of what there is in a few seconds; `PROPTEST_CASES` sets another number.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 2000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_log_is_its_batches_in_order(steps in proptest::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.check_everything();
        run.stop(Loss::Nothing);
    }
}
