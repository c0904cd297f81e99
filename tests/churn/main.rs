//! One group of a hundred partitions whose fifty members come, leave and die without a pause, in
//! the classic protocol and in KIP-848's.
//!
//! What must hold: each record is delivered to somebody; no two members have a partition at one
//! generation, nor does anybody go on with one that a later generation has given away; what is
//! committed never goes back, also not by members that do not know yet that they are out; and when
//! nobody comes or goes, the group settles within its rebalance timeout, after a death within the
//! session timeout more.
//!
//! The members are threads with a socket and the codec. A client library would prove the same of
//! the broker, hide what it was told, and need fifty processes. `CHURN_SECONDS` and `CHURN_SEED`
//! make longer runs of the same.
#![allow(clippy::print_stdout, reason = "a run says what it has seen")]

#[path = "../support/mod.rs"]
mod support;

mod classic;
mod consumer;
mod ledger;
mod reading;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ledger::Ledger;
use log_proto::kafka::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::TimestampMs;
use support::kafka::Client;
use support::{Broker, data_folder};

const TOPIC: &str = "churn";
const GROUP: &str = "crowd";
const PARTITIONS: i32 = 100;
const MEMBERS: usize = 50;

/// How long members may take to give up what they have.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a member says that it is there. Protocols allow less, which makes for a slower test.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);

/// A join waits for all others.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// What a member is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Stay,
    Leave,
    /// Goes without a word, like a process that is killed.
    Die,
    /// Says nothing for longer than its session, and goes on as if nothing had happened.
    Stall,
}

/// Where a member reads its order.
#[derive(Clone, Default)]
struct Orders(Arc<AtomicU8>);

impl Orders {
    fn give(&self, order: Order) {
        self.0.store(order as u8, Ordering::Relaxed);
    }

    fn read(&self) -> Order {
        match self.0.load(Ordering::Relaxed) {
            0 => Order::Stay,
            1 => Order::Leave,
            2 => Order::Die,
            _ => Order::Stall,
        }
    }

    /// Sleeps through a session, at the end of which others have what was one's own.
    fn stall(&self, session_timeout: Duration) {
        thread::sleep(session_timeout + Duration::from_secs(2));
        // Whatever it was told to do meanwhile, it has not heard.
        self.give(Order::Stay);
    }
}

/// What a member is given.
struct Member<'a> {
    number: usize,
    address: &'a str,
    ledger: &'a Mutex<Ledger>,
    orders: Orders,
}

/// How a group is spoken to.
struct Protocol {
    name: &'static str,
    run: fn(Member<'_>),
    /// For how long a death may go unnoticed.
    session_timeout: Duration,
}

struct Terms {
    seconds: u64,
    seed: u64,
    /// How long members come and go before the group is left to settle.
    round: Duration,
    silence: Silence,
}

/// How many members of a round stall.
const STALLING: usize = 3;

/// Whether members go silent. It is noticed only after their session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    None,
    /// Some die.
    Deaths,
    /// Some die, and some come back.
    Long,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// A few seconds of it, or as many as the environment says.
fn terms(in_short_runs: Silence) -> Terms {
    let seconds = setting("CHURN_SECONDS");
    let seed = setting("CHURN_SEED").unwrap_or(0x5eed);
    match seconds {
        Some(seconds) => {
            Terms { seconds, seed, round: Duration::from_secs(20), silence: Silence::Long }
        }
        None => Terms { seconds: 2, seed, round: Duration::from_secs(2), silence: in_short_runs },
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Who is in the group, as the one who sends them knows it.
struct Crowd<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    protocol: &'env Protocol,
    address: &'env str,
    ledger: &'env Mutex<Ledger>,
    random: Random,
    members: Vec<Orders>,
    stalling: Vec<Orders>,
    started: usize,
    left: usize,
    died: usize,
    stalled: usize,
}

impl Crowd<'_, '_> {
    fn start_one(&mut self) {
        let orders = Orders::default();
        let member = Member {
            number: self.started,
            address: self.address,
            ledger: self.ledger,
            orders: orders.clone(),
        };
        let run = self.protocol.run;
        self.scope.spawn(move || run(member));
        self.members.push(orders);
        self.started += 1;
    }

    fn end_one(&mut self, order: Order) {
        let chosen = self.random.below(self.members.len() as u64) as usize;
        self.members.swap_remove(chosen).give(order);
        match order {
            Order::Leave => self.left += 1,
            _ => self.died += 1,
        }
    }

    /// Only at the start of a round, so that nobody is told to leave who does not listen.
    fn stall_one(&mut self) {
        let chosen = self.random.below(self.members.len() as u64) as usize;
        let stalled = self.members.swap_remove(chosen);
        stalled.give(Order::Stall);
        self.stalling.push(stalled);
        self.stalled += 1;
    }

    /// Members come and go for a while. Returns how many have gone silent.
    fn churn(&mut self, terms: &Terms) -> usize {
        let (begun, silent) = (Instant::now(), self.died + self.stalled);
        if terms.silence == Silence::Long {
            (0..STALLING).for_each(|_| self.stall_one());
        }
        while begun.elapsed() < terms.round {
            thread::sleep(Duration::from_millis(20 + self.random.below(300)));
            match self.random.below(4) {
                _ if self.members.len() < MEMBERS / 2 => self.start_one(),
                0 => self.end_one(Order::Leave),
                1 if terms.silence != Silence::None => self.end_one(Order::Die),
                _ if self.members.len() + self.stalling.len() < MEMBERS => self.start_one(),
                _ => self.end_one(Order::Leave),
            }
        }
        self.members.append(&mut self.stalling);
        self.died + self.stalled - silent
    }

    fn fill(&mut self) {
        while self.members.len() < MEMBERS {
            self.start_one();
        }
    }

    /// Waits until each partition has one owner, all in one generation.
    fn settle(&self, limit: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            match self.ledger.lock().expect("no assertion failed").settled(self.members.len()) {
                Ok(()) => return begun.elapsed(),
                Err(why) => assert!(begun.elapsed() < limit, "not settled in {limit:?}: {why}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn records(from: i64, count: i64) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_millis();
    // Older ones would be deleted before they are read.
    let now = TimestampMs::new(i64::try_from(now).expect("in this age"));
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for number in from..from + count {
        let value = number.to_string();
        batch.push(now, None, Some(value.as_bytes()), &[]).expect("it is small");
    }
    batch.build().expect("a batch of records")
}

/// Appends to all partitions until told to stop. Returns how many records each has then.
fn produce(address: &str, stop: &AtomicBool) -> i64 {
    const BATCH: i64 = 3;
    let mut client = Client::at(address, JOIN_PATIENCE);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let records = records(next, BATCH);
        let partition = |index| PartitionProduceData { index, records: Some(records.clone()) };
        let topic = TopicProduceData {
            name: TOPIC.into(),
            partition_data: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        };
        let topic_data = vec![topic];
        let request =
            ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
        for stored in &client.ask(9, &request).responses[0].partition_responses {
            assert_eq!((stored.error_code, stored.base_offset), (0, next));
        }
        next += BATCH;
        thread::sleep(Duration::from_millis(50));
    }
    next
}

/// Looks at what is committed until told to stop.
fn watch(address: &str, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    let mut client = Client::at(address, JOIN_PATIENCE);
    let all: Vec<i32> = (0..PARTITIONS).collect();
    while !stop.load(Ordering::Relaxed) {
        let committed = reading::committed(&mut client, &all, None).expect("nobody to be fenced");
        ledger.lock().expect("no assertion failed").committed(&committed);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Stops whoever looks at it when it goes, also where an assertion has failed: the others would
/// run on, and be waited for.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn run(protocol: &Protocol, terms: &Terms) {
    let data = data_folder();
    let flags = ["--set", "group.initial.rebalance.delay.ms=0"];
    let broker = Broker::start_with(data.path(), &flags);
    Client::of(&broker).create(TOPIC, PARTITIONS);
    let ledger = Mutex::new(Ledger::default());
    let stop = AtomicBool::new(false);
    let mut settling = Vec::new();
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let producer = scope.spawn(|| produce(&broker.kafka, &stop));
        scope.spawn(|| watch(&broker.kafka, &ledger, &stop));
        let mut crowd = Crowd {
            scope,
            protocol,
            address: &broker.kafka,
            ledger: &ledger,
            random: Random(terms.seed.max(1)),
            members: Vec::new(),
            stalling: Vec::new(),
            started: 0,
            left: 0,
            died: 0,
            stalled: 0,
        };
        let begun = Instant::now();
        crowd.fill();
        settling.push(crowd.settle(REBALANCE_TIMEOUT));
        loop {
            let silent = crowd.churn(terms);
            let unnoticed = if silent > 0 { protocol.session_timeout } else { Duration::ZERO };
            settling.push(crowd.settle(REBALANCE_TIMEOUT + unnoticed));
            if begun.elapsed() > Duration::from_secs(terms.seconds) {
                break;
            }
        }
        drop(stopping);
        let produced = producer.join().expect("no assertion failed");
        wait_for_all(&ledger, produced);
        let lived = begun.elapsed();
        let Crowd { started, left, died, stalled, .. } = crowd;
        crowd.members.iter().for_each(|orders| orders.give(Order::Leave));
        settling.sort_unstable();
        println!(
            "{}, seed {:#x}, {lived:.0?}: {started} members came, {left} left, {died} died, \
             {stalled} stalled; settled {} times, in {:.1?} (median) to {:.1?}",
            protocol.name,
            terms.seed,
            settling.len(),
            settling[settling.len() / 2],
            settling[settling.len() - 1],
        );
        println!("{}", ledger.lock().expect("no assertion failed").summary(produced));
    });
}

fn wait_for_all(ledger: &Mutex<Ledger>, produced: i64) {
    let begun = Instant::now();
    while let Some(missing) = ledger.lock().expect("no assertion failed").missing(produced) {
        assert!(begun.elapsed() < JOIN_PATIENCE, "never delivered: {missing}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_classic_protocol_holds_under_churn() {
    let session_timeout = classic::SESSION_TIMEOUT;
    let protocol = Protocol { name: "classic", run: classic::run, session_timeout };
    run(&protocol, &terms(Silence::Deaths));
}

#[test]
fn the_consumer_protocol_holds_under_churn() {
    let session_timeout = consumer::SESSION_TIMEOUT;
    let protocol = Protocol { name: "consumer", run: consumer::run, session_timeout };
    run(&protocol, &terms(Silence::None));
}
