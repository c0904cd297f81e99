//! Power that fails in any operation of a log's life, also while a start puts the last failure in
//! order; disks that fail, fill up and lie. Each seed is a life of its own, and the same each time.
//!
//! `POWER_SEED=n` plays one seed and says what it does; `POWER_SEEDS=n` plays so many, from
//! `POWER_FIRST` on.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]
#![allow(clippy::print_stdout, reason = "a long run says what it did")]

mod common;

use std::sync::Arc;

use common::model::{Id, Model, Sent};
use common::power::seeds::{Lived, Talk, assert_lies_are_found_out, lived, play_seeds};
use common::power::{Honesty, PoweredDisk, Random, Tally, TroubleKind};
use common::{Data, IDENTITY, LAZY, NOW, Seen, TestClock, data, offset, producer, take};
use log_core::record::{EndTxnKind, EndTxnMarker, end_txn_marker};
use log_core::{
    AppendError, AppendKind, AppendOrigin, Appended, Clock, Committer, CoordinatorEpoch, Damage,
    FlushPolicy, FoundAs, Isolation, LeaderEpoch, Log, LogConfig, OpenError, OpenLog,
    ProducerStateError,
};

/// What was asked for, and answered with an error or not at all: it may be there or not.
#[derive(Clone, Debug)]
enum Doubt {
    Batch(Id, Option<Id>, Data),
    Marker(Id, EndTxnKind),
}

/// What somebody was told.
#[derive(Default, Debug)]
struct Promises {
    /// Everything below is on disk.
    durable: i64,
    /// A reader has seen everything below, and will see it again.
    seen: i64,
    /// Deleted for good.
    deleted: i64,
    /// Perhaps deleted.
    asked_to_delete: i64,
}

/// How a log's time in one process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    PowerLoss,
    Kill,
    Stop,
}

struct Run {
    random: Random,
    honesty: Honesty,
    disk: PoweredDisk,
    clock: Arc<TestClock>,
    config: LogConfig,
    epoch: i32,
    committer: Arc<Committer>,
    log: Option<Log>,
    model: Model,
    promises: Promises,
    doubt: Option<Doubt>,
    talk: Talk,
    tally: Tally,
    starts: u64,
    was_full: bool,
}

/// More starts than this without one that succeeds: something else is wrong.
const STARTS_MAX: u64 = 12;

impl Run {
    fn new(seed: u64, honesty: Honesty, talk: Talk) -> Self {
        let mut random = Random::new(seed);
        let flush = if random.below(3) == 0 { LAZY } else { FlushPolicy::EveryAppend };
        let config = LogConfig {
            segment_bytes: 1024 + random.below(2) as u32 * 1024,
            index_interval_bytes: random.below(2) as u32 * 200,
            segment_ms: 5000,
            retention_ms: None,
            retention_bytes: (random.below(4) == 0).then_some(3000),
            flush,
            ..LogConfig::default()
        };
        let committer = Committer::start(1);
        // Whatever is synced is synced by a step: a thread would make each run another.
        committer.stop();
        Self {
            random,
            honesty,
            disk: PoweredDisk::default(),
            clock: Arc::new(TestClock::default()),
            config,
            epoch: 0,
            committer,
            log: None,
            model: Model::default(),
            promises: Promises::default(),
            doubt: None,
            talk,
            tally: Tally::default(),
            starts: 0,
            was_full: false,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.talk == Talk::Steps {
            println!("{:6} {}", self.disk.operations(), what());
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open")
    }

    /// Some processes' lives, one after the other, and a last look.
    fn live(&mut self) {
        self.open_somehow(Ending::Kill);
        // Only now: a log that cannot even be made would show nothing.
        self.disk.be(self.honesty);
        for _ in 0..1 + self.random.below(4) {
            let ending = self.live_once();
            self.end(ending);
        }
        self.end(Ending::Kill);
        self.tally.add(&self.disk.tally());
    }

    /// Steps until the power fails, or for a while.
    fn live_once(&mut self) -> Ending {
        let ending = match self.random.below(8) {
            0 => Ending::Kill,
            1 => Ending::Stop,
            _ => Ending::PowerLoss,
        };
        if ending == Ending::PowerLoss || self.random.below(3) == 0 {
            self.disk.fail_power_after(self.random.below(220));
        }
        if self.random.below(4) == 0 {
            self.make_trouble();
        }
        for _ in 0..5 + self.random.below(40) {
            self.step();
            if self.disk.is_off() {
                return Ending::PowerLoss;
            }
        }
        ending
    }

    fn make_trouble(&mut self) {
        let after = self.random.below(120);
        let (count, kind) = match self.random.below(2) {
            0 => (1 + self.random.below(3), TroubleKind::Broken),
            _ => (1 + self.random.below(40), TroubleKind::Full),
        };
        self.was_full |= kind == TroubleKind::Full;
        self.say(|| format!("from operation +{after} on: {kind:?}, {count} times"));
        self.disk.trouble_after(after, count, kind);
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..7 => self.put(),
            7..10 => self.end_txn(),
            10..15 => self.flush(),
            15..17 => self.tick(),
            17 => self.delete(),
            18 => self.retain(),
            19 => {
                let ms = 300 + self.random.below(1500);
                self.clock.advance(ms as i64);
            }
            _ => self.look(),
        }
    }

    fn put(&mut self) {
        let doubt = self.doubt.take();
        let (id, txn, batch) = match doubt {
            // A client that knows nothing asks again.
            Some(Doubt::Batch(id, txn, batch)) => (id, txn, batch),
            Some(Doubt::Marker(id, kind)) => return self.end_this_txn(id, kind),
            None => self.new_batch(),
        };
        self.disk.now_doing("append");
        let before = self.disk.operations();
        let checked = self.log().check(batch.bytes()).unwrap();
        let appended = self.log().append(&checked, AppendOrigin::Client, self.leader_epoch());
        self.say(|| format!("put {:?} of {id:?}: {appended:?}", batch.values()));
        match appended {
            Ok(appended) => {
                assert_eq!(appended.kind, AppendKind::Stored);
                self.store(id, txn, batch, Some(appended));
            }
            Err(AppendError::Producer(ProducerStateError::OutOfOrderSequence { .. }))
                if self.may_be_forgotten(id) =>
            {
                // What a client does then.
                let sent = self.model.sent.entry(id).or_default();
                *sent = Sent { epoch: sent.epoch + 1, ..Sent::default() };
            }
            Err(error) => {
                self.check_refusal(&error, before);
                self.doubt = Some(Doubt::Batch(id, txn, batch));
            }
        }
    }

    /// What a producer wrote is deleted, and no snapshot may tell of it: on a full disk none could be
    /// written, and where it was not synced, power loss may have taken it before.
    fn may_be_forgotten(&self, id: Id) -> bool {
        let start = self.model.log_start;
        let is_deleted = |sent: &Sent| sent.batches.iter().all(|(_, base, _)| *base < start);
        let may_be_lost = self.was_full || self.config.flush == LAZY;
        may_be_lost && self.model.sent.get(&id).is_some_and(is_deleted)
    }

    fn new_batch(&mut self) -> (Id, Option<Id>, Data) {
        let id = Id([1, 2, 11, 12][self.random.below(4) as usize]);
        let txn = (id.0 > 10).then_some(id);
        let name = self.model.name();
        let padding_max = if self.random.below(8) == 0 { 5000 } else { 300 };
        let padding = self.random.below(padding_max) as usize;
        let sent = self.model.sent.entry(id).or_default();
        let records = 1 + padding % 3;
        let stamps: Vec<i64> = (0..records).map(|n| NOW + (padding + n) as i64).collect();
        let batch = data(name, records).padded(padding / records).stamped(&stamps);
        let batch = batch.by(producer(id.0, sent.epoch), sent.next_sequence);
        (id, txn, if txn.is_some() { batch.transactional() } else { batch })
    }

    /// The batch is in the log.
    fn store(&mut self, id: Id, txn: Option<Id>, batch: Data, appended: Option<Appended>) {
        let (base, last) = self.model.store(&batch, txn);
        if let Some(appended) = appended {
            let found = (appended.base_offset.get(), appended.last_offset.get());
            assert_eq!(found, (base, last), "offsets are dense");
        }
        let sent = self.model.sent.entry(id).or_default();
        sent.next_sequence += batch.values().len() as i32;
        sent.batches.push((batch, base, last));
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        common::epoch(self.epoch)
    }

    /// Nothing is refused without a reason.
    fn check_refusal(&self, error: &AppendError, since: u64) {
        let stopped = self.log().offsets().stopped;
        match error {
            AppendError::DiskFull(_) => {
                assert!(self.disk.had_trouble_since(since), "{error}");
                assert!(!stopped, "a full disk ends nothing");
            }
            AppendError::Failed(_) => assert!(stopped, "{error}"),
            error => panic!("refused: {error}"),
        }
    }

    fn end_txn(&mut self) {
        if let Some(Doubt::Batch(..)) = self.doubt {
            return self.put();
        }
        let kind = [EndTxnKind::Commit, EndTxnKind::Abort][self.random.below(2) as usize];
        let (id, kind) = match self.doubt.take() {
            Some(Doubt::Marker(id, kind)) => (id, kind),
            _ => (Id(11 + self.random.below(2) as i64), kind),
        };
        self.end_this_txn(id, kind);
    }

    fn end_this_txn(&mut self, id: Id, kind: EndTxnKind) {
        let by = self.model.sent.get(&id).map_or(0, |sent| sent.epoch);
        let marker = EndTxnMarker { kind, coordinator_epoch: CoordinatorEpoch::new(0).unwrap() };
        let marker = end_txn_marker(producer(id.0, by), marker, self.clock.now());
        self.disk.now_doing("append");
        let before = self.disk.operations();
        let marker = self.log().check(marker).unwrap();
        let appended = self.log().append(&marker, AppendOrigin::Coordinator, self.leader_epoch());
        self.say(|| format!("{kind:?} {id:?}: {appended:?}"));
        match appended {
            Ok(appended) => {
                assert_eq!(appended.base_offset.get(), self.model.end(), "offsets are dense");
                self.model.end_txn(id, kind);
                if self.config.flush == LAZY {
                    // As a coordinator does: else a marker that was deleted could be lost.
                    self.flush();
                }
            }
            Err(error) => {
                self.check_refusal(&error, before);
                self.doubt = Some(Doubt::Marker(id, kind));
            }
        }
    }

    fn flush(&mut self) {
        self.disk.now_doing("commit");
        let flushed = self.log().flush();
        self.say(|| format!("flush: {flushed:?}"));
        let Ok(durable) = flushed else {
            assert!(self.log().offsets().stopped, "a sync that failed is final");
            return;
        };
        assert_eq!(durable.get(), self.model.end(), "a flush syncs everything");
        self.promises.durable = durable.get();
    }

    fn tick(&mut self) {
        self.disk.now_doing("housekeeping");
        self.log().tick();
        self.say(|| "tick".to_owned());
    }

    fn delete(&mut self) {
        let high_watermark = self.log().offsets().high_watermark.get();
        let before = self.random.below(high_watermark as u64 + 1) as i64;
        self.ask_to_delete(before);
        self.disk.now_doing("deletion");
        let deleted = self.log().delete_records_before(offset(before));
        self.say(|| format!("delete before {before}: {deleted:?}"));
        self.deleted(if deleted.is_ok() { before } else { 0 });
    }

    fn retain(&mut self) {
        self.ask_to_delete(0);
        self.disk.now_doing("deletion");
        let retired = self.log().apply_retention();
        self.say(|| format!("retention: {retired:?}"));
        let gone = retired.ok().filter(|retired| retired.segments > 0);
        self.deleted(gone.map_or(0, |retired| retired.log_start.get()));
    }

    /// Besides what is asked for, the log's size may make more due.
    fn ask_to_delete(&mut self, before: i64) {
        let due = if self.config.retention_bytes.is_some() { self.model.end() } else { before };
        self.promises.asked_to_delete = self.promises.asked_to_delete.max(due);
    }

    /// What is deleted stays deleted, once whoever asked for it has been told.
    fn deleted(&mut self, promised: i64) {
        let start = self.log().offsets().log_start.get();
        assert!((self.promises.deleted..=self.promises.asked_to_delete).contains(&start));
        assert!(promised <= start);
        self.promises.deleted = self.promises.deleted.max(promised);
        self.model.log_start = start;
    }

    /// Somebody reads from somewhere to the end.
    fn look(&mut self) {
        let offsets = self.log().offsets();
        let (start, end) = (offsets.log_start.get(), offsets.high_watermark.get());
        let from = start + self.random.below((end - start) as u64 + 1) as i64;
        let isolation =
            [Isolation::HighWatermark, Isolation::LastStable][self.random.below(2) as usize];
        let bytes_max = [1, 700, usize::MAX][self.random.below(3) as usize];
        self.disk.now_doing("read");
        let before = self.disk.operations();
        let copied = self.random.below(2) == 0;
        let (seen, upto) = match self.read(from, bytes_max, isolation, copied) {
            Ok(read) => read,
            Err(error) => {
                assert!(self.disk.had_trouble_since(before), "reading failed: {error}");
                return;
            }
        };
        self.say(|| format!("read {isolation:?} {from}..{upto}"));
        assert_eq!(seen, self.model.visible(from, upto, isolation), "from {from} to {upto}");
        if self.config.flush == FlushPolicy::EveryAppend {
            self.promises.seen = self.promises.seen.max(upto);
        }
    }

    /// All records from `from` on, and where they end.
    fn read(
        &self,
        from: i64,
        bytes_max: usize,
        isolation: Isolation,
        copied: bool,
    ) -> Result<(Vec<Seen>, i64), log_core::ReadError> {
        let mut next = offset(from);
        let mut seen = Vec::new();
        loop {
            let fetched = if copied {
                self.log().read_copied(next, bytes_max, isolation)?
            } else {
                self.log().read(next, bytes_max, isolation)?
            };
            if fetched.batches.is_empty() {
                return Ok((seen, next.get()));
            }
            let (found, end) = take(&fetched, next, isolation);
            seen.extend(found);
            next = end;
        }
    }

    fn end(&mut self, ending: Ending) {
        self.say(|| format!("-- {ending:?}"));
        match ending {
            Ending::Stop => {
                self.disk.now_doing("stop");
                let closed = self.log().close();
                self.say(|| format!("close: {closed:?}"));
                if closed.is_ok() {
                    self.promises.durable = self.model.end();
                    return self.reopen_clean();
                }
                let ending = if self.disk.is_off() { Ending::PowerLoss } else { Ending::Kill };
                self.log = None;
                self.open_somehow(ending);
            }
            Ending::Kill | Ending::PowerLoss => {
                self.log = None;
                self.open_somehow(ending);
            }
        }
    }

    /// What was stopped well needs no look, also if the power fails right after it.
    fn reopen_clean(&mut self) {
        self.log = None;
        if self.random.below(2) == 0 {
            self.lose_power();
        }
        self.disk.heal();
        self.disk.now_doing("start");
        match self.try_open() {
            Ok(found_as) => {
                assert_eq!(found_as, FoundAs::Clean);
                self.check_opened(Ending::Kill);
            }
            Err(_) => self.open_somehow(Ending::PowerLoss),
        }
    }

    fn lose_power(&mut self) {
        let seed = self.random.next();
        self.disk = self.disk.after_power_loss(seed);
        self.epoch += 1;
    }

    /// Starts until one start succeeds; the power may fail in the first few.
    fn open_somehow(&mut self, mut ending: Ending) {
        let mut lost_power = false;
        for attempt in 0..STARTS_MAX {
            if ending == Ending::PowerLoss {
                self.lose_power();
                lost_power = true;
            } else {
                self.disk.heal();
                self.epoch += 1;
            }
            if attempt < 3 && self.random.below(2) == 0 {
                self.disk.fail_power_after(self.random.below(60));
            }
            if attempt < 3 && self.random.below(6) == 0 {
                self.make_trouble();
            }
            self.disk.now_doing(if attempt == 0 { "start" } else { "start after a start" });
            match self.try_open() {
                Ok(found_as) => {
                    self.say(|| format!("-- found as {found_as:?}"));
                    return self.check_opened(if lost_power { Ending::PowerLoss } else { ending });
                }
                Err(error) => {
                    self.say(|| format!("-- no start: {error}"));
                    assert!(matches!(error, OpenError::File(_)), "{error}");
                    assert!(self.disk.had_trouble_since(0), "{error}");
                }
            }
            ending = if self.disk.is_off() || self.random.below(2) == 0 {
                Ending::PowerLoss
            } else {
                Ending::Kill
            };
        }
        panic!("no start succeeds");
    }

    fn try_open(&mut self) -> Result<FoundAs, OpenError> {
        self.starts += 1;
        let open = OpenLog {
            leader_epoch: self.leader_epoch(),
            config: self.config.clone(),
            storage: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as _,
            ..OpenLog::new("/data/log-3", IDENTITY, Arc::clone(&self.committer))
        };
        let (log, report) = Log::open(open)?;
        self.say(|| format!("{report:?}"));
        let told = |damage: &&Damage| !self.may_be_told(damage);
        let damages: Vec<_> = report.damages.iter().filter(told).collect();
        assert_eq!(damages, [] as [&Damage; 0], "nothing durable is damaged");
        self.log = Some(log);
        Ok(report.found_as)
    }

    /// A full disk could not note where the log starts when its first segments were deleted.
    fn may_be_told(&self, damage: &Damage) -> bool {
        self.was_full && damage.detail.contains("deleted while the disk was full")
    }

    /// What must be true of every log that opens.
    fn check_opened(&mut self, ending: Ending) {
        let offsets = self.log().offsets();
        let (start, end) = (offsets.log_start.get(), offsets.log_end.get());
        let deletions = self.promises.deleted..=self.promises.asked_to_delete;
        assert!(deletions.contains(&start), "{start} is not in {deletions:?}");
        self.promises.deleted = start;
        self.model.log_start = start;
        self.settle_doubt(end);
        if end > self.model.end() {
            assert_eq!(end, start, "only deleted records may be lost and not missed");
        }
        for (promise, upto) in [("durable", self.promises.durable), ("seen", self.promises.seen)] {
            assert!(upto <= end, "{promise} was {upto}, the log ends at {end}");
        }
        if ending == Ending::Kill {
            assert_eq!(end, self.model.end(), "a kill takes nothing");
        }
        let is_off = self.disk.is_off();
        // This look itself is neither cut short nor misled.
        self.disk.heal();
        if !is_off {
            self.check_repetitions(end);
        }
        // Where all is deleted it cannot be seen whether the last of it had been lost before.
        if end < self.model.end() || end == start && ending == Ending::PowerLoss {
            self.model.lose_from(end);
            self.doubt = None;
        }
        self.model.skip_to(end);
        self.promises.durable = end;
        if is_off {
            self.log = None;
            return self.open_somehow(Ending::PowerLoss);
        }
        self.check_everything();
    }

    /// Finds out what became of what nobody was told about.
    fn settle_doubt(&mut self, end: i64) {
        if end <= self.model.end() || end == self.model.log_start {
            return;
        }
        match self.doubt.take() {
            Some(Doubt::Batch(id, txn, batch)) => self.store(id, txn, batch, None),
            Some(Doubt::Marker(id, kind)) => self.model.end_txn(id, kind),
            None => panic!("the log ends at {end}, behind all that was appended"),
        }
        assert!(end <= self.model.end(), "the log ends at {end}, behind all that was appended");
    }

    /// A producer that repeats its newest batch is not stored twice; an older one never is.
    fn check_repetitions(&self, end: i64) {
        let start = self.model.log_start;
        for sent in self.model.sent.values() {
            let there = sent.batches.iter().filter(|(_, base, _)| (start..end).contains(base));
            for (place, (batch, base, _)) in there.rev().take(5).enumerate() {
                let checked = self.log().check(batch.bytes()).unwrap();
                let again = self.log().append(&checked, AppendOrigin::Client, self.leader_epoch());
                match again {
                    Ok(again) => {
                        let found = (again.kind, again.base_offset.get());
                        assert_eq!(found, (AppendKind::Duplicate, *base), "{:?}", batch.values());
                    }
                    Err(error) => {
                        let is_forgotten = matches!(error, AppendError::Producer(_)) && place > 0;
                        assert!(is_forgotten, "{:?} again: {error}", batch.values());
                    }
                }
            }
        }
    }

    fn check_everything(&self) {
        let offsets = self.log().offsets();
        assert_eq!(offsets.log_end.get(), self.model.end());
        assert_eq!(offsets.durable, offsets.log_end);
        // Of an open transaction, the part that was deleted may be forgotten when it is lost too.
        let (known, undeleted) = (self.model.last_stable(), self.model.last_stable_from_start());
        assert!([known, undeleted].contains(&offsets.last_stable.get()), "{offsets:?}");
        for isolation in [Isolation::HighWatermark, Isolation::LastStable] {
            let (seen, upto) = self.read(self.model.log_start, 900, isolation, true).unwrap();
            let end = match isolation {
                Isolation::LastStable => offsets.last_stable,
                _ => offsets.high_watermark,
            };
            assert!(upto >= end.get());
            assert_eq!(seen, self.model.visible(self.model.log_start, end.get(), isolation));
        }
    }
}

fn play(seed: u64, honesty: Honesty, talk: Talk) -> Lived {
    lived(|| {
        let mut run = Run::new(seed, honesty, talk);
        run.live();
        (run.tally, run.starts)
    })
}

#[test]
fn nothing_promised_is_lost_whenever_the_power_fails() {
    play_seeds(2000, |seed, talk| play(seed, Honesty::Honest, talk));
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    assert_lies_are_found_out(|seed, honesty| play(seed, honesty, Talk::Nothing));
}

#[test]
fn a_seed_is_the_same_each_time() {
    for seed in 0..20 {
        let play =
            || play(seed, Honesty::Honest, Talk::Nothing).map(|(tally, _)| format!("{tally:?}"));
        assert_eq!(play(), play());
    }
}
