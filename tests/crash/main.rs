//! `kill -9` on the real broker while real producers write to it, again and again.
//!
//! What must hold at the end: every acknowledged record is there, once, at the offset that its
//! acknowledgement named; records of one producer are in the order in which it sent them; offsets
//! are dense. `CRASH_CYCLES` and `CRASH_SEED` make longer runs of the same.

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log_client::{Client, NewTopic, ProducerRecord, StartAt};
use support::{Broker, Random, Signal, data_folder, setting};
use tokio::sync::Notify;

const TOPIC: &str = "crash";
const PARTITIONS: u32 = 4;
const PRODUCERS: u64 = 4;

/// Where an acknowledged record must be.
type Acked = HashMap<(u32, i64), Vec<u8>>;

struct Progress {
    acked: AtomicU64,
    moved: Notify,
    stop: AtomicBool,
}

/// Sends numbered records to all partitions in turn until told to stop; returns what was
/// acknowledged, and where.
async fn produce(address: String, producer: u64, progress: Arc<Progress>) -> Acked {
    let client = Client::new(&address).expect("an address");
    let sender = client.producer().linger(Duration::ZERO).batch_bytes(2048).build().expect("sound");
    let (acks, mut pending) = tokio::sync::mpsc::channel(500);
    let collector = tokio::spawn({
        let progress = Arc::clone(&progress);
        async move {
            let mut acked = Acked::new();
            while let Some((partition, value, delivery)) = pending.recv().await {
                let delivery: log_client::Delivery = delivery;
                let stored = delivery.await.expect("every record is delivered in the end");
                assert_eq!(stored.partition, partition);
                let twice =
                    acked.insert((partition, stored.offset.expect("acks=all").get()), value);
                assert_eq!(twice, None, "two acknowledgements named one offset");
                progress.acked.fetch_add(1, Ordering::Relaxed);
                progress.moved.notify_one();
            }
            acked
        }
    });
    let mut number = 0u64;
    while !progress.stop.load(Ordering::Relaxed) {
        let partition = (number % u64::from(PARTITIONS)) as u32;
        let value = format!("{producer}:{number}:{}", "x".repeat((number % 300) as usize));
        let record =
            ProducerRecord::new(TOPIC).partition(partition).value(value.clone().into_bytes());
        let delivery = sender.send(record).await.expect("room in the buffer");
        acks.send((partition, value.into_bytes(), delivery)).await.expect("the collector runs");
        number += 1;
    }
    drop(acks);
    sender.close().await.expect("everything is delivered");
    collector.await.expect("no assertion failed")
}

/// Reads everything back and holds it against what was acknowledged.
async fn check(address: &str, acked: &Acked) -> u64 {
    let client = Client::new(address).expect("an address");
    let topic = client.admin().describe_topic(TOPIC).await.expect("the topic is there");
    let ends: Vec<i64> =
        topic.partitions.iter().map(|partition| partition.high_watermark.get()).collect();
    let total: i64 = ends.iter().sum();
    let mut consumer =
        client.consumer().topic(TOPIC, StartAt::Earliest).build().expect("sound settings");
    let mut next = vec![0i64; PARTITIONS as usize];
    let mut last_number: HashMap<(u32, u64), u64> = HashMap::new();
    let mut found = 0u64;
    for _ in 0..total {
        let record = consumer.next().await.expect("more records").expect("a readable record");
        let (partition, offset) = (record.partition, record.offset.get());
        assert_eq!(offset, next[partition as usize], "offsets of partition {partition} are dense");
        next[partition as usize] += 1;
        let value = record.value.expect("none was null");
        let text = std::str::from_utf8(&value).expect("written as text");
        let mut parts = text.split(':').map(|part| part.parse::<u64>());
        let producer = parts.next().expect("a producer").expect("a number");
        let number = parts.next().expect("a number").expect("a number");
        let before = last_number.insert((partition, producer), number);
        assert!(
            before.is_none_or(|before| before < number),
            "partition {partition} offset {offset}: record {number} of producer {producer} \
             follows {before:?}: twice, or out of order"
        );
        if let Some(expected) = acked.get(&(partition, offset)) {
            assert_eq!(&value[..], &expected[..], "partition {partition} offset {offset}");
            found += 1;
        }
    }
    assert_eq!(found, acked.len() as u64, "acknowledged records are missing");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    let cycles = setting("CRASH_CYCLES", 20);
    let seed = setting("CRASH_SEED", 0x5eed);
    let mut random = Random::new(seed);
    let data = data_folder();
    let mut broker = Broker::start(data.path());
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", "262144");
    let admin = Client::new(&grpc).expect("an address").admin();
    admin.create_topic(topic).await.expect("a new topic");

    let progress = Arc::new(Progress {
        acked: AtomicU64::new(0),
        moved: Notify::new(),
        stop: AtomicBool::new(false),
    });
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| tokio::spawn(produce(grpc.clone(), producer, Arc::clone(&progress))))
        .collect();
    for _ in 0..cycles {
        let until = progress.acked.load(Ordering::Relaxed) + 1 + random.below(1500);
        while progress.acked.load(Ordering::Relaxed) < until {
            progress.moved.notified().await;
        }
        assert!(!broker.end(Signal::Kill), "a killed broker does not end well");
        broker = Broker::restart(data.path(), &grpc, &http);
    }
    progress.stop.store(true, Ordering::Relaxed);
    let mut acked = Acked::new();
    for producer in producers {
        acked.extend(producer.await.expect("no assertion failed"));
    }
    let found = check(&grpc, &acked).await;
    println!("{cycles} kills, seed {seed}: {found} acknowledged records, all there once, in order");

    assert!(broker.end(Signal::Term), "a clean stop ends well");
    let broker = Broker::restart(data.path(), &grpc, &http);
    check(&grpc, &acked).await;
    drop(broker);
}
