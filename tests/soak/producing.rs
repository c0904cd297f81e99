//! Producers that write chains at a set rate, through restarts and kills, and meet every
//! acknowledgement again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log_client::{Acks, Client, Compression, Delivery, Producer, ProducerRecord};
use tokio::sync::mpsc;

use crate::chain::{Chain, PREFIX_BYTES, ProducerNumber};
use crate::support::Random;
use crate::topics::{self, TOPICS, TopicNumber};

/// How each producer differs from the others.
const PRODUCERS: [(Acks, Compression, u64); 4] = [
    (Acks::All, Compression::None, 5),
    (Acks::Leader, Compression::Lz4, 0),
    (Acks::All, Compression::Zstd, 20),
    (Acks::All, Compression::Snappy, 50),
];

/// Batches of these are cut by size now and then.
const BATCH_BYTES: usize = 64 << 10;
/// What payloads are cut from.
const POOL_BYTES: u64 = 1 << 20;
const TICK: Duration = Duration::from_millis(50);
/// A rate is kept for so many ticks before another is drawn.
const MOOD_TICKS: u64 = 100;

/// A partition of the run.
pub(crate) type Partition = (TopicNumber, u32);
/// What every producer has written to every partition.
pub(crate) type Written = HashMap<(Partition, ProducerNumber), Chain>;

/// Where acknowledgements and records meet: each record that is read was acknowledged at its
/// offset, and each acknowledged one is read. Whoever comes first waits here.
#[derive(Default)]
pub(crate) struct Meetings {
    waiting: Mutex<HashMap<(Partition, i64), (ProducerNumber, u64)>>,
    /// Below these retention was faster than the reader.
    floors: Mutex<HashMap<Partition, i64>>,
    /// How many records that is.
    pub(crate) missed: AtomicU64,
}

impl Meetings {
    pub(crate) fn meet(&self, at: (Partition, i64), record: (ProducerNumber, u64)) {
        let floor = self.floors.lock().expect("nobody panics with it").get(&at.0).copied();
        if floor.is_some_and(|floor| at.1 < floor) {
            return;
        }
        let mut waiting = self.waiting.lock().expect("nobody panics with it");
        let other = waiting.insert(at, record);
        if let Some(other) = other {
            waiting.remove(&at);
            drop(waiting);
            assert_eq!(other, record, "acknowledged and read at {at:?} are not the same record");
        }
    }

    /// Nobody will read what lies in this range of a partition, or below.
    pub(crate) fn forget(&self, partition: Partition, missed: Range<i64>) {
        let offset = missed.end;
        self.missed.fetch_add((missed.end - missed.start) as u64, Ordering::Relaxed);
        self.floors.lock().expect("nobody panics with it").insert(partition, offset);
        let mut waiting = self.waiting.lock().expect("nobody panics with it");
        waiting.retain(|(at, waits), _| *at != partition || *waits >= offset);
    }

    /// Records that were acknowledged and not read, or read and not acknowledged.
    pub(crate) fn unmet(&self) -> usize {
        self.waiting.lock().expect("nobody panics with it").len()
    }
}

/// What all producers share.
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) bytes_per_second: u64,
    pub(crate) stop: AtomicBool,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) meetings: Meetings,
}

/// All producers of the run, each with what it draws its records from.
pub(crate) fn all(
    load: &Arc<Load>,
    seed: u64,
) -> impl Iterator<Item = impl Future<Output = Written> + use<>> + use<> {
    let load = Arc::clone(load);
    (0..).zip(PRODUCERS).map(move |(number, (acks, compression, linger_ms))| {
        let client = Client::new(&load.address).expect("an address");
        let builder = client.producer().acks(acks).compression(compression);
        let builder = builder.linger(Duration::from_millis(linger_ms)).batch_bytes(BATCH_BYTES);
        let sender = builder.buffer_bytes(4 << 20).build().expect("sound settings");
        let random = Random::new((seed + 1) * 1000 + u64::from(number));
        Writer::new(number, sender, random, Arc::clone(&load)).run()
    })
}

struct Writer {
    number: ProducerNumber,
    sender: Producer,
    random: Random,
    load: Arc<Load>,
    pool: Vec<u8>,
    names: [Arc<str>; TOPICS.len()],
    written: Written,
}

/// A record on its way.
struct Sent {
    partition: Partition,
    count: u64,
    delivery: Delivery,
}

impl Writer {
    fn new(number: ProducerNumber, sender: Producer, mut random: Random, load: Arc<Load>) -> Self {
        // Sixteen letters: half of it can be compressed away.
        let pool = (0..POOL_BYTES).map(|_| b'a' + random.below(16) as u8).collect();
        let (names, written) = (topics::names(), Written::new());
        Self { number, sender, random, load, pool, names, written }
    }

    async fn run(mut self) -> Written {
        let (sent, unanswered) = mpsc::channel(20_000);
        let load = Arc::clone(&self.load);
        let collector = tokio::spawn(collect(load, self.number, unanswered));
        let share = self.load.bytes_per_second * TICK.as_millis() as u64 / 1000;
        let share = share / PRODUCERS.len() as u64;
        let mut ticks = tokio::time::interval(TICK);
        // After an outage the rate is what it was: nobody catches up.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut budget, mut percent) = (0, 100);
        for tick in 0u64.. {
            ticks.tick().await;
            if self.load.stop.load(Ordering::Relaxed) {
                break;
            }
            if tick % MOOD_TICKS == 0 {
                percent = self.random.below(201);
            }
            budget += (share * percent / 100) as i64;
            while budget > 0 {
                let (record, bytes) = self.send().await;
                budget -= bytes as i64;
                sent.send(record).await.expect("the collector runs");
            }
        }
        drop(sent);
        self.sender.close().await.expect("everything is delivered in the end");
        collector.await.expect("no assertion failed");
        self.written
    }

    async fn send(&mut self) -> (Sent, usize) {
        let partition = self.choose_partition();
        let (from, len) = self.choose_payload();
        let chain = self.written.entry((partition, self.number)).or_default();
        let count = chain.count;
        let value = chain.link(self.number, &self.pool[from..from + len]);
        let record = ProducerRecord::new(Arc::clone(&self.names[partition.0]));
        let record = record.partition(partition.1).value(value);
        let delivery = self.sender.send(record).await.expect("room in the buffer");
        (Sent { partition, count, delivery }, PREFIX_BYTES + len)
    }

    fn choose_partition(&mut self) -> Partition {
        let mut percent = self.random.below(100);
        let topic = TOPICS.iter().position(|topic| {
            let chosen = percent < topic.percent;
            percent = percent.saturating_sub(topic.percent);
            chosen
        });
        let topic = topic.expect("they make a hundred");
        (topic, self.random.below(TOPICS[topic].partitions.into()) as u32)
    }

    /// Mostly small, some of them large, and a few larger than a whole batch.
    fn choose_payload(&mut self) -> (usize, usize) {
        let len = match self.random.below(1000) {
            0..900 => self.random.below(1500),
            900..999 => self.random.below(16 << 10),
            _ => self.random.below(200 << 10),
        };
        (self.random.below(POOL_BYTES - len) as usize, len as usize)
    }
}

async fn collect(load: Arc<Load>, producer: ProducerNumber, mut unanswered: mpsc::Receiver<Sent>) {
    while let Some(Sent { partition, count, delivery }) = unanswered.recv().await {
        let stored = delivery.await.expect("every record is delivered in the end");
        assert_eq!(stored.partition, partition.1);
        let offset = stored.offset.expect("acknowledged").get();
        load.meetings.meet((partition, offset), (producer, count));
        load.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}
