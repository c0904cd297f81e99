//! The life of a broker, process after process, on a disk that loses its power.
//!
//! The rule: one thing is asked at a time, so that when the power fails at most one is in doubt,
//! and what is found is one of two states.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use log_core::io::Storage;
use log_core::{Clock, Committer};
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::startup::METADATA_LOG;
use super::super::*;
use super::known::{GROUPS, Known, KnownTopic};
use super::power::seeds::Talk;
use super::power::{Honesty, PoweredDisk, Random, Tally, TroubleKind};
use crate::topic_config::ConfigChange;
use crate::topics::PartitionState;

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// More starts than this without one that succeeds: something else is wrong.
const STARTS_MAX: u64 = 12;

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> TimestampMs {
        TimestampMs::new(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

/// How a broker's time in one process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    PowerLoss,
    Kill,
    Stop,
}

/// One broker in one process.
struct Life {
    broker: Broker,
    runtime: Runtime,
}

impl Life {
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

pub(super) struct Run {
    random: Random,
    disk: PoweredDisk,
    /// Holds the lock of the data folder, and nothing else.
    folder: TempDir,
    clock: Arc<TestClock>,
    life: Option<Life>,
    known: Known,
    /// What is known if what was asked last, and not answered, was done.
    doubt: Option<Known>,
    leader_epoch: Option<LeaderEpoch>,
    producer_ids: BTreeSet<i64>,
    named: u64,
    pub(super) starts: u64,
    talk: Talk,
    pub(super) tally: Tally,
}

impl Run {
    pub(super) fn new(seed: u64, talk: Talk) -> Self {
        Self {
            random: Random::new(seed),
            disk: PoweredDisk::default(),
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
            life: None,
            known: Known::default(),
            doubt: None,
            leader_epoch: None,
            producer_ids: BTreeSet::new(),
            named: 0,
            starts: 0,
            talk,
            tally: Tally::default(),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.talk == Talk::Steps {
            println!("{:6} {}", self.disk.operations(), what());
        }
    }

    /// Some processes' lives, one after the other, each begun with a look at what is there.
    pub(super) fn live(&mut self, honesty: Honesty) {
        self.start_after(Ending::PowerLoss);
        // Only now: a folder that cannot even be made would show nothing.
        self.disk.be(honesty);
        for _ in 0..1 + self.random.below(4) {
            let ending = self.live_once();
            self.end(ending);
        }
        self.end_life();
        self.tally.add(&self.disk.tally());
    }

    /// Steps until the power fails, or for a while.
    fn live_once(&mut self) -> Ending {
        let ending = match self.random.below(6) {
            0 => Ending::Kill,
            1 => Ending::Stop,
            _ => Ending::PowerLoss,
        };
        if ending != Ending::Kill {
            self.disk.fail_power_after(self.random.below(200));
        }
        if self.random.below(8) == 0 {
            let after = self.random.below(200);
            self.disk.trouble_after(after, 1 + self.random.below(3), TroubleKind::Broken);
        }
        for _ in 0..4 + self.random.below(20) {
            self.step();
            if self.disk.is_off() {
                return Ending::PowerLoss;
            }
            if self.doubt.is_some() {
                // Half of those who run a broker whose disk fails turn it off.
                return [Ending::Kill, Ending::PowerLoss][self.random.below(2) as usize];
            }
        }
        ending
    }

    fn step(&mut self) {
        let topic = TOPICS[self.random.below(3) as usize];
        match self.random.below(16) {
            0..3 => self.create(topic),
            3 => self.delete(topic),
            4 => self.grow(topic),
            5 => self.alter(topic),
            6..9 => self.produce(topic),
            9..12 => self.commit(topic),
            12 => self.take_producer_id(),
            _ => self.tick(),
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("a broker runs between two endings")
    }

    /// Asks the broker for something that would make `then` of what is known.
    fn ask<E: std::fmt::Display>(
        &mut self,
        what: String,
        then: Known,
        answer: impl AsyncFnOnce(&Broker) -> Result<(), E>,
    ) {
        let life = self.life();
        let answered = life.block_on(answer(&life.broker));
        self.say(|| {
            format!("{what}: {}", answered.as_ref().map_or_else(E::to_string, |()| "done".into()))
        });
        match answered {
            Ok(()) => self.known = then,
            Err(error) => {
                assert!(self.disk.had_trouble_since(0), "{what}: {error}");
                self.doubt = Some(then);
            }
        }
    }

    fn create(&mut self, name: &'static str) {
        if self.known.topics.contains_key(name) {
            return;
        }
        self.disk.now_doing("create a topic");
        let partitions = 1 + self.random.below(2) as u32;
        let topic = KnownTopic {
            id: None,
            retention_ms: None,
            partitions: vec![Vec::new(); partitions as usize],
        };
        let mut then = self.known.clone();
        then.topics.insert(name.to_owned(), topic);
        self.ask(format!("create {name} with {partitions}"), then, async |broker| {
            let configs = TopicConfigs::default();
            let principal = &Principal::Anonymous;
            broker
                .create_topic(principal, name, Some(partitions), configs, Mode::Apply)
                .await
                .map(drop)
        });
        if let Some(topic) = self.known.topics.get_mut(name) {
            let created = self.life.as_ref().and_then(|life| life.broker.topics().get(name).ok());
            topic.id = created.map(|topic| topic.id);
        }
    }

    fn delete(&mut self, name: &'static str) {
        if !self.known.topics.contains_key(name) {
            return;
        }
        self.disk.now_doing("delete a topic");
        let mut then = self.known.clone();
        then.delete(name);
        self.ask(format!("delete {name}"), then, async |broker| {
            broker.delete_topic(&Principal::Anonymous, name).await
        });
    }

    fn grow(&mut self, name: &'static str) {
        let mut then = self.known.clone();
        let Some(topic) = then.topics.get_mut(name) else { return };
        self.disk.now_doing("create a partition");
        topic.partitions.push(Vec::new());
        let count = topic.partitions.len() as u32;
        self.ask(format!("grow {name} to {count}"), then, async |broker| {
            broker.create_partitions(&Principal::Anonymous, name, count, Mode::Apply).await
        });
    }

    fn alter(&mut self, name: &'static str) {
        let mut then = self.known.clone();
        let Some(topic) = then.topics.get_mut(name) else { return };
        self.disk.now_doing("alter a topic");
        let days = 100 + self.random.below(1000);
        let value = (days * 86_400_000).to_string();
        topic.retention_ms = Some(value.clone());
        let mut set = TopicConfigs::default();
        set.set("retention.ms", &value).unwrap();
        self.ask(format!("retention.ms of {name} to {value}"), then, async |broker| {
            let change = ConfigChange::edit(set, Vec::new());
            broker.alter_configs(&Principal::Anonymous, name, change, Mode::Apply).await
        });
    }

    /// A partition of the topic.
    fn some_partition(&mut self, name: &str) -> Option<u32> {
        let count = self.known.topics.get(name)?.partitions.len();
        Some(self.random.below(count as u64) as u32)
    }

    fn produce(&mut self, name: &'static str) {
        let Some(partition) = self.some_partition(name) else { return };
        self.disk.now_doing("produce");
        self.named += 1;
        let value = format!("v{}", self.named);
        let mut then = self.known.clone();
        let topic = then.topics.get_mut(name).expect("it has a partition");
        topic.partitions[partition as usize].push(value.clone());
        let mut batch = BatchBuilder::new(BatchOptions::default());
        batch.push(self.clock.now(), None, Some(value.as_bytes()), &[]).unwrap();
        let batch = batch.build().unwrap();
        self.ask(format!("produce {value} to {name}-{partition}"), then, async |broker| {
            let topic = broker.topic_to_produce(name)?;
            let memory = broker.admit(batch.len()).await?;
            let submitted = broker.submit(&Principal::Anonymous, &topic, partition, batch, memory);
            submitted.await?.acknowledged(Acks::All).await.map(drop)
        });
    }

    fn commit(&mut self, name: &'static str) {
        let Some(partition) = self.some_partition(name) else { return };
        self.disk.now_doing("commit offsets");
        let group = GROUPS[self.random.below(2) as usize];
        let offset = self.random.below(1000) as i64;
        let mut then = self.known.clone();
        then.offsets.insert((group.to_owned(), name.to_owned(), partition), offset);
        let committed = GroupOffset {
            topic: name.to_owned(),
            partition,
            offset: Offset::new(offset).unwrap(),
            leader_epoch: None,
            metadata: String::new(),
        };
        self.ask(
            format!("commit {offset} of {name}-{partition} by {group}"),
            then,
            async |broker| {
                broker.commit_offsets(&Principal::Anonymous, group, vec![committed]).await
            },
        );
    }

    fn take_producer_id(&mut self) {
        self.disk.now_doing("take a producer id");
        let mut taken = None;
        let same = self.known.clone();
        self.ask("take a producer id".to_owned(), same, async |broker| {
            taken = Some(broker.init_producer(&Principal::Anonymous).await?.id.get());
            Ok::<_, InitProducerError>(())
        });
        if let Some(id) = taken {
            assert!(self.producer_ids.insert(id), "producer id {id} was given out twice");
        }
    }

    fn tick(&mut self) {
        self.disk.now_doing("housekeeping");
        self.clock.0.fetch_add(300 + self.random.below(1500) as i64, Ordering::Relaxed);
        for topic in self.life().broker.topics().all() {
            topic.serving().for_each(|partition| partition.keep_house());
        }
        self.say(|| "housekeeping".to_owned());
    }

    fn end(&mut self, ending: Ending) {
        self.say(|| format!("-- {ending:?}"));
        if ending == Ending::Stop {
            self.disk.now_doing("stop");
            let broker = &self.life().broker;
            broker.begin_stop();
            broker.finish_stop();
        }
        self.start_after(ending);
    }

    /// Ends the process. What it still does, it does to a disk that nobody will find.
    fn end_life(&mut self) {
        if let Some(life) = self.life.take() {
            self.disk.turn_off();
            drop(life);
        }
    }

    fn lose_power(&mut self) {
        let seed = self.random.next();
        self.disk.turn_off();
        self.disk = self.disk.after_power_loss(seed);
    }

    /// Starts until one start succeeds; the power may fail in the first few.
    fn start_after(&mut self, ending: Ending) {
        let kept = self.disk.after_kill();
        self.end_life();
        match ending {
            Ending::Kill => self.disk = kept,
            // The power may have failed in the stop, or fail right after it.
            Ending::Stop if !kept.is_off() && self.random.below(2) == 0 => self.disk = kept,
            Ending::Stop | Ending::PowerLoss => self.lose_power(),
        }
        for attempt in 0..STARTS_MAX {
            self.disk.heal();
            if attempt < 3 && self.random.below(2) == 0 {
                self.disk.fail_power_after(self.random.below(150));
            }
            self.disk.now_doing(if attempt == 0 { "start" } else { "start after a start" });
            match self.try_start() {
                Ok(life) if !self.disk.is_off() => {
                    self.life = Some(life);
                    return self.check(ending);
                }
                Ok(_) => self.say(|| "-- the power failed in the start".to_owned()),
                Err(error) => {
                    self.say(|| format!("-- no start: {error}"));
                    assert!(self.disk.is_off(), "no start: {error}");
                }
            }
            self.lose_power();
        }
        panic!("no start succeeds");
    }

    fn try_start(&mut self) -> Result<Life, StartupError> {
        self.starts += 1;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let committer = Committer::start(1);
        let parts = PartitionParts {
            storage: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            committer: Arc::clone(&committer),
            pressure: Arc::default(),
            room: Arc::default(),
        };
        let config = ServerConfig {
            data_dir: self.folder.path().join("data"),
            snapshot_records_min: 6,
            ..ServerConfig::default()
        };
        std::fs::create_dir_all(&config.data_dir).unwrap();
        let started = runtime.block_on(Broker::start(config, parts));
        // A broker ends its threads itself; what did not become one leaves them to us.
        let broker = started.inspect_err(|_| committer.stop())?;
        Ok(Life { broker, runtime })
    }

    /// What must be true of every broker that starts.
    fn check(&mut self, ending: Ending) {
        // This look is neither cut short nor misled.
        self.disk.heal();
        self.check_tidy();
        self.check_leader_epoch(ending);
        let life = self.life();
        let found = life.block_on(Known::of(&life.broker));
        let doubt = self.doubt.take().filter(|doubt| doubt.is(&found));
        let known = doubt.as_ref().unwrap_or(&self.known);
        assert!(known.is(&found), "known: {known:#?}\nfound: {found:#?}");
        self.known = found;
    }

    /// Every partition serves, nothing is damaged, and no folder is left that belongs to nobody.
    fn check_tidy(&self) {
        let broker = &self.life().broker;
        let mut explained: BTreeSet<String> = BTreeSet::new();
        let mut was_cut = false;
        for topic in broker.topics().all() {
            for (number, state) in topic.partitions.iter().enumerate() {
                let name = topic.name.folder_of(number as u32);
                assert!(matches!(state, PartitionState::Serving(_)), "{name} is out of service");
                explained.insert(name);
            }
            for finding in topic.serving().flat_map(|partition| partition.findings()) {
                // A torn write is worth telling of; whether it was promised is looked at elsewhere.
                assert!(finding.contains("are no part of the log any more"), "{finding}");
                was_cut |= topic.name.as_str() == METADATA_LOG;
            }
        }
        let listed = self.disk.list(&broker.data_dir().topics()).unwrap();
        let found: BTreeSet<String> = listed.into_iter().map(|entry| entry.name).collect();
        assert!(found.is_superset(&explained), "{found:?} lacks some of {explained:?}");
        // Where metadata may be missing, nothing is tidied away.
        for folder in found.difference(&explained) {
            let path = broker.data_dir().topics().join(folder);
            let files = self.disk.list(&path).unwrap();
            let with_len = |file: &log_core::io::Entry| {
                (file.name.clone(), self.disk.len(&path.join(&file.name)).unwrap())
            };
            let files: Vec<_> = files.iter().map(with_len).collect();
            assert!(was_cut, "{folder} is left with {files:?}");
        }
    }

    /// After a crash it is another one, so that clients notice. A stop may have come far enough, and
    /// starts after it not far enough, for all to be as it was.
    fn check_leader_epoch(&mut self, ending: Ending) {
        let epoch = self.life().broker.leader_epoch();
        if let Some(before) = self.leader_epoch.replace(epoch) {
            let may_be_same = ending == Ending::Stop && epoch == before;
            assert!(epoch > before || may_be_same, "{before}, and {epoch} after a {ending:?}");
        }
    }
}
