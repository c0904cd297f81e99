//! Goal: whoever is asked to stop stops soon, whatever the load, and the next start finds
//! everything that was acknowledged, once, and has nothing to recover.
//!
//! A start says `log recovered` for each log that it had to scan, and the leader epoch rises
//! where the last stop was no clean one: both are looked at, and a kill shows that they would
//! tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log_client::{Client, Delivery, NewTopic, ProducerRecord, StartAt};
use log_proto::v1::partition_start::Position;
use tokio::sync::Notify;

use crate::rig::{Doors, plain, request, starting_at};
use crate::support::{Broker, Signal, data_folder};

const PRODUCERS: u32 = 4;

/// The bound is two seconds for a release build on an idle machine; here the build is a
/// slow one and other tests run beside it.
const STOP_MAX: Duration = Duration::from_secs(10);

const RECOVERED: &str = "log recovered";

#[derive(Default)]
struct Load {
    acknowledged: AtomicU64,
    moved: Notify,
    over: AtomicBool,
}

impl Load {
    async fn at_least(&self, count: u64) {
        while self.acknowledged.load(Ordering::Relaxed) < count {
            self.moved.notified().await;
        }
    }

    /// Sends numbers to a partition of its own until it is over. Returns how many; each was
    /// acknowledged at the offset that is its number.
    async fn produce(self: Arc<Self>, address: String, partition: u32) -> u64 {
        let producer = Client::new(&address).expect("an address").producer();
        let producer = producer.batch_bytes(4096).build().expect("sound settings");
        let (sent, mut waiting) = tokio::sync::mpsc::channel::<Delivery>(2000);
        let load = Arc::clone(&self);
        let acknowledging = tokio::spawn(async move {
            let mut count = 0;
            while let Some(delivery) = waiting.recv().await {
                let stored = delivery.await.expect("everything is delivered in the end");
                assert_eq!(stored.offset.map(|offset| offset.get()), Some(count));
                count += 1;
                load.acknowledged.fetch_add(1, Ordering::Relaxed);
                load.moved.notify_one();
            }
        });
        let mut number = 0u64;
        while !self.over.load(Ordering::Relaxed) {
            let record = ProducerRecord::new("t").partition(partition).value(number.to_string());
            let delivery = producer.send(record).await.expect("room in the buffer");
            sent.send(delivery).await.expect("somebody waits for them");
            number += 1;
        }
        drop(sent);
        producer.close().await.expect("everything is delivered in the end");
        acknowledging.await.expect("no assertion failed");
        number
    }
}

/// Every partition holds exactly its numbers, in order.
async fn check(address: &str, counts: &[u64]) {
    let client = Client::new(address).expect("an address");
    let consumer = client.consumer().topic("t", StartAt::Earliest).build();
    let mut consumer = consumer.expect("sound settings");
    let mut next = vec![0u64; counts.len()];
    for _ in 0..counts.iter().sum::<u64>() {
        let record = consumer.next().await.expect("more records").expect("a readable record");
        let next = &mut next[record.partition as usize];
        assert_eq!(record.offset.get(), *next as i64);
        assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
        *next += 1;
    }
    assert_eq!(next, counts, "nothing is missing");
    let ends = client.admin().describe_topic("t").await.expect("the topic is there").partitions;
    let ends: Vec<_> = ends.iter().map(|end| end.log_end_offset.get() as u64).collect();
    assert_eq!(ends, counts, "and nothing is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_is_prompt_and_loses_nothing() {
    let data = data_folder();
    let mut broker = Broker::start(data.path());
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    let admin = Client::new(&grpc).expect("an address").admin();
    let topic = NewTopic::new("t").partitions(PRODUCERS).config("segment.bytes", "1048576");
    admin.create_topic(topic).await.expect("a new topic");
    let first_epoch = Doors::of(&broker).await.describe("t").await.leader_epoch;
    let load = Arc::new(Load::default());
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|partition| tokio::spawn(Arc::clone(&load).produce(grpc.clone(), partition)))
        .collect();
    for signal in [Signal::Term, Signal::Int] {
        load.at_least(load.acknowledged.load(Ordering::Relaxed) + 2000).await;
        broker.signal(signal);
        let ended = broker.wait();
        println!("{signal:?} under load: {} after {:?}", ended.status, ended.took);
        assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
        assert!(ended.took < STOP_MAX, "{:?}", ended.took);
        broker = Broker::restart(data.path(), &grpc, &http);
        assert!(!broker.said().contains(RECOVERED), "{}", broker.said());
        assert_eq!(Doors::of(&broker).await.describe("t").await.leader_epoch, first_epoch);
    }
    load.at_least(load.acknowledged.load(Ordering::Relaxed) + 1000).await;
    // The same start after a kill has something to say.
    broker.end(Signal::Kill);
    broker = Broker::restart(data.path(), &grpc, &http);
    assert!(broker.said().contains(RECOVERED), "{}", broker.said());
    assert!(Doors::of(&broker).await.describe("t").await.leader_epoch > first_epoch);
    load.over.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for producer in producers {
        counts.push(producer.await.expect("no assertion failed"));
    }
    check(&grpc, &counts).await;
}

/// A caller that holds its stream open cannot hold up the stop for longer than it is given, and
/// whoever has no patience at all asks twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_stop_that_waits() {
    let data = data_folder();
    let hour = ["--set", "shutdown.timeout.ms=3600000"];
    let broker = Broker::start_with(data.path(), &hour);
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    doors.produce(request("t", plain("x"))).await.expect("a good request");
    let start = starting_at("t", 0, Position::Offset(0));
    let mut reading = doors.consume(start).await.expect("a topic to read");
    broker.signal(Signal::Term);
    while let Ok(Some(_)) = reading.responses.message().await {}
    // Longer than two signals can be one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.signal(Signal::Term);
    let ended = broker.wait();
    assert!(!ended.status.success(), "it was not a clean stop");
    let broker = Broker::start(data.path());
    assert_eq!(Doors::of(&broker).await.read("t").await.len(), 1);
    drop(reading);
}

/// Two signals at once, as `timeout` sends them to a process and its group, are one stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_and_its_echo_are_one_stop() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    // An open stream makes the stop take its time.
    let reading = doors.consume(starting_at("t", 0, Position::Offset(0))).await;
    broker.signal(Signal::Term);
    broker.signal(Signal::Term);
    let ended = broker.wait();
    assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    drop(reading);
}

#[test]
fn a_stop_of_nothing_is_a_stop() {
    let data = data_folder();
    for signal in [Signal::Term, Signal::Int] {
        // Right after it has said that it is ready.
        let broker = Broker::start(data.path());
        broker.signal(signal);
        let ended = broker.wait();
        assert!(ended.status.success(), "{signal:?}: {}", ended.status);
        assert!(ended.took < STOP_MAX, "{:?}", ended.took);
        assert!(data.path().join("clean-stop").exists());
    }
}
