//! Readers of three kinds, and what each of them proves.
//!
//! - One fast reader for each topic reads every record soon, and meets its acknowledgement.
//! - Slow readers stop for seconds on end with records on their way to them, and fall behind until
//!   retention has taken what they would read next.
//! - A group reads a while, commits, goes away and comes back to where it committed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log_client::{Client, Consumer, ConsumerBatch, Edge, GroupOffset, StartAt};
use log_proto::types::Offset;
use tokio::sync::watch;

use crate::chain::Place;
use crate::producing::{Load, Written};
use crate::support::Random;
use crate::topics::{self, TOPICS, TopicNumber};

/// Where all partitions end, once nobody writes any more.
pub(crate) type Ends = Arc<HashMap<(TopicNumber, u32), i64>>;
/// `None` while the load is on.
pub(crate) type Ending = watch::Receiver<Option<Ends>>;

/// How often what must be seen has happened.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// A reader has found that retention was faster.
    pub(crate) overtaken: AtomicU64,
    pub(crate) commits: AtomicU64,
}

/// Reads a topic and holds each record against what its chain must be.
pub(crate) struct Reader {
    client: Client,
    topic: TopicNumber,
    credit_bytes: u64,
    places: Vec<Place>,
    tally: Arc<Tally>,
}

/// What became of a wait for more.
enum Got {
    Records(Vec<Met>),
    /// What comes next is not there any more: to go on takes another start.
    Overtaken,
}

/// A record that was read.
pub(crate) struct Met {
    partition: u32,
    offset: i64,
    record: (u32, u64),
}

impl Reader {
    /// A reader from where each partition begins.
    pub(crate) async fn new(client: Client, topic: TopicNumber, tally: &Arc<Tally>) -> Self {
        let description = topics::describe(&client, topic).await;
        let starts = description.partitions.iter().map(|partition| partition.log_start_offset);
        let places = starts.map(|start| Place::at(start.get())).collect();
        Self { client, topic, credit_bytes: 8 << 20, places, tally: Arc::clone(tally) }
    }

    fn open(&self) -> Consumer {
        let mut builder = self.client.consumer().credit_bytes(self.credit_bytes);
        for (partition, place) in (0..).zip(&self.places) {
            let offset = Offset::new(place.next).expect("not negative");
            builder =
                builder.partition(TOPICS[self.topic].name, partition, StartAt::Offset(offset));
        }
        builder.build().expect("sound settings")
    }

    /// Waits for records and checks them.
    async fn read(&mut self, consumer: &mut Consumer) -> Got {
        match consumer.next_batch().await.expect("a reader that has not failed goes on") {
            Ok(batch) => Got::Records(self.check(batch)),
            Err(error) => {
                let code = error.refusal().map(log_client::BrokerError::code);
                let topic = TOPICS[self.topic].name;
                let overtaken = code == Some(log_client::ErrorCode::OffsetOutOfRange);
                assert!(overtaken, "{topic}: {error}");
                Got::Overtaken
            }
        }
    }

    fn check(&mut self, batch: ConsumerBatch) -> Vec<Met> {
        let (partition, high_watermark) = (batch.partition(), batch.high_watermark());
        let mut met = Vec::new();
        for record in batch {
            let record = record.expect("a readable record");
            let (offset, value) = (record.offset.get(), record.value.expect("none was null"));
            assert!(record.offset < high_watermark, "{offset} is beyond {high_watermark}");
            let read = self.places[partition as usize].read(offset, &value);
            let name = TOPICS[self.topic].name;
            let record = read.unwrap_or_else(|wrong| panic!("{name}-{partition}: {wrong}"));
            met.push(Met { partition, offset, record });
            self.tally.bytes.fetch_add(value.len() as u64, Ordering::Relaxed);
        }
        self.tally.records.fetch_add(met.len() as u64, Ordering::Relaxed);
        met
    }

    /// Goes on where the log begins, in each partition that retention has cut further than this
    /// has read. Returns which, and what is gone.
    async fn catch_up(&mut self) -> Vec<(u32, Range<i64>)> {
        let description = topics::describe(&self.client, self.topic).await;
        let mut jumped = Vec::new();
        for (partition, place) in description.partitions.iter().zip(&mut self.places) {
            let start = partition.log_start_offset.get();
            if place.next < start {
                jumped.push((partition.partition, place.next..start));
                place.jump(start);
            }
        }
        assert!(!jumped.is_empty(), "out of range, and nothing has begun later than was read");
        self.tally.overtaken.fetch_add(jumped.len() as u64, Ordering::Relaxed);
        jumped
    }

    fn has_read(&self, ends: &Ends) -> bool {
        let mut places = (0..).zip(&self.places);
        places.all(|(partition, place)| place.next >= ends[&(self.topic, partition)])
    }

    /// Asserts that what was read ends where the producers have ended.
    pub(crate) fn assert_complete(&self, written: &Written) {
        for (&((topic, partition), producer), &end) in written {
            if topic == self.topic {
                let whole = self.places[partition as usize].ends_with(producer, end);
                let name = TOPICS[topic].name;
                assert!(whole, "{name}-{partition}: not all of producer {producer}: {end:?}");
            }
        }
    }

    /// Reads all there is, up to the ends.
    pub(crate) async fn read_all(mut self, ends: &Ends) -> Self {
        let mut consumer = self.open();
        while !self.has_read(ends) {
            if let Got::Overtaken = self.read(&mut consumer).await {
                self.catch_up().await;
                consumer = self.open();
            }
        }
        self
    }

    /// Reads everything as soon as it is there, and meets the acknowledgements, to the ends.
    pub(crate) async fn read_along(mut self, load: Arc<Load>, mut ending: Ending) -> Self {
        let mut consumer = self.open();
        loop {
            let ends = ending.borrow_and_update().clone();
            if ends.is_some_and(|ends| self.has_read(&ends)) {
                return self;
            }
            let got = tokio::select! {
                got = self.read(&mut consumer) => got,
                Ok(()) = ending.changed() => continue,
            };
            match got {
                Got::Records(records) => {
                    for Met { partition, offset, record } in records {
                        load.meetings.meet(((self.topic, partition), offset), record);
                    }
                }
                Got::Overtaken => {
                    for (partition, missed) in self.catch_up().await {
                        load.meetings.forget((self.topic, partition), missed);
                    }
                    consumer = self.open();
                }
            }
        }
    }

    /// Reads so slowly that retention is faster, with records waiting on the way.
    pub(crate) async fn dawdle(mut self, mut random: Random, mut ending: Ending) -> Self {
        self.credit_bytes = 256 << 10;
        let mut consumer = self.open();
        while ending.borrow().is_none() {
            let got = tokio::select! {
                got = self.read(&mut consumer) => got,
                Ok(()) = ending.changed() => break,
            };
            if let Got::Overtaken = got {
                self.catch_up().await;
                consumer = self.open();
            }
            let pause = if random.below(50) == 0 { 20_000 } else { random.below(1000) };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(pause)) => {}
                Ok(()) = ending.changed() => break,
            }
        }
        self
    }

    /// Comes and goes as a group does, one that is called as its topic.
    pub(crate) async fn commit_now_and_then(
        mut self,
        mut random: Random,
        mut ending: Ending,
    ) -> Self {
        self.commit().await;
        while ending.borrow().is_none() {
            let committed = self.places.clone();
            let mut consumer = self.open_committed();
            let mut left = 1 + random.below(200);
            while left > 0 {
                left -= 1;
                let got = tokio::select! {
                    got = self.read(&mut consumer) => got,
                    Ok(()) = ending.changed() => return self,
                };
                if let Got::Overtaken = got {
                    self.places = committed.clone();
                    self.catch_up().await;
                    left = 0;
                }
            }
            // Now and then it goes without a commit, and must meet the same records again.
            match random.below(4) == 0 && self.is_ahead_of(&committed) {
                true => self.places = committed,
                false => self.commit().await,
            }
        }
        self
    }

    fn is_ahead_of(&self, committed: &[Place]) -> bool {
        self.places.iter().zip(committed).all(|(now, then)| now.next >= then.next)
    }

    async fn commit(&self) {
        let (name, group) = (TOPICS[self.topic].name, TOPICS[self.topic].name);
        let offsets = (0..).zip(&self.places).map(|(partition, place)| {
            GroupOffset::new(name, partition, Offset::new(place.next).expect("not negative"))
        });
        let offsets: Vec<_> = offsets.collect();
        self.client.commit_offsets(group, &offsets).await.expect("a commit in the end");
        let mut found = self.client.committed_offsets(group, &[]).await.expect("an answer");
        found.sort_by_key(|offset| offset.partition);
        assert_eq!(found, offsets, "{group} has committed something else");
        self.tally.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn open_committed(&self) -> Consumer {
        let group = TOPICS[self.topic].name;
        let start = StartAt::Committed { group: group.into(), otherwise: Edge::Latest };
        let builder = self.client.consumer().credit_bytes(1 << 20);
        builder.topic(TOPICS[self.topic].name, start).build().expect("sound settings")
    }
}
