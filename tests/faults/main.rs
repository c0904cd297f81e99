//! The real broker on a real file system that runs full, a tmpfs and an ext4 of its own, with a few
//! bytes to spare or none.
//!
//! What is done on the full disk, each time:
//!
//! - records are produced through the gRPC door and the Kafka door, offsets committed, topics made
//!   and configs altered, until each is refused with an error that says "later", and for want of
//!   room: for a batch, for the internal logs, and for a new partition's folder, which the errors
//!   name. All of them succeed without being told once there is room again;
//! - what was acknowledged is read, before, meanwhile, and after each start;
//! - records are deleted, and a topic, and what that frees is written to;
//! - the broker is killed or stopped, started without a free byte, and applies retention;
//! - the broker's log tells of the full disk once, and once when it is over.
//!
//! Not seen from here: indexes, seals and checkpoints, which are written later where they find no
//! room, and say nothing. `log-core/tests/faults.rs` and `power_seeds.rs` are about those.
//!
//! Mounting takes a right that not everybody has, and the ext4 takes `mkfs.ext4`. Where one is
//! missing the tests print `SKIPPED` and prove nothing; with `FAULTS_REQUIRED=1` they fail instead.

mod disk;
mod doors;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use disk::{Kind, SmallDisk};
use doors::{ALTERED, Taken};
use log_client::{Client, DeliveryError, NewTopic, Producer, ProducerRecord, StartAt};
use support::{Broker, Signal};

const TOPIC: &str = "events";
/// Is over its `retention.bytes` from the beginning; nobody looks before the next start.
const OLD: &str = "old";
const PAYLOAD_BYTES: usize = 8 << 10;
/// How long a client tries before it gives a record up. Long enough for a busy machine.
const DELIVERY: Duration = Duration::from_secs(2);
/// Whatever comes by itself comes within this time, but not at once on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// What was acknowledged, by offset.
type Acked = BTreeMap<i64, Vec<u8>>;

fn producer(client: &Client) -> Producer {
    let producer = client.producer().linger(Duration::ZERO).delivery_timeout(DELIVERY);
    producer.build().expect("sound settings")
}

fn payload(number: usize) -> Vec<u8> {
    let mut value = format!("{number}:").into_bytes();
    value.resize(PAYLOAD_BYTES, b'.');
    value
}

/// One record; what was acknowledged is noted.
async fn send(producer: &Producer, number: usize, acked: &mut Acked) -> Result<(), DeliveryError> {
    let value = payload(number);
    let record = ProducerRecord::new(TOPIC).partition(0).value(value.clone());
    let delivery = producer.send(record).await.expect("the topic is known");
    let stored = delivery.await?;
    let before = acked.insert(stored.offset.expect("acks=all").get(), value);
    assert_eq!(before, None, "two acknowledgements named one offset");
    Ok(())
}

/// Sends until the broker refuses; returns how many numbers were used.
async fn send_until_full(producer: &Producer, from: usize, acked: &mut Acked) -> usize {
    for number in from.. {
        match send(producer, number, acked).await {
            Ok(()) => {}
            Err(error) => {
                assert!(error.is_retriable(), "a full disk is no reason to give up: {error}");
                assert!(error.to_string().contains("full"), "{error}");
                return number + 1;
            }
        }
    }
    unreachable!("there are more numbers than bytes")
}

/// Everything acknowledged is at its offset.
async fn check(client: &Client, acked: &Acked) {
    let mut consumer =
        client.consumer().topic(TOPIC, StartAt::Earliest).build().expect("sound settings");
    let last = *acked.keys().next_back().expect("something was acknowledged");
    let mut found = 0;
    loop {
        let record = consumer.next().await.expect("more records").expect("a readable record");
        let offset = record.offset.get();
        if let Some(value) = acked.get(&offset) {
            assert_eq!(record.value.as_deref(), Some(&value[..]), "offset {offset}");
            found += 1;
        }
        if offset >= last {
            break;
        }
    }
    assert_eq!(found, acked.len(), "acknowledged records are missing");
}

/// Sends until a record is taken: nobody tells the broker that there is room again.
async fn send_until_taken(producer: &Producer, from: usize, acked: &mut Acked) -> usize {
    let resumed = tokio::time::timeout(PATIENCE, async {
        for number in from.. {
            match send(producer, number, acked).await {
                Ok(()) => return number + 1,
                Err(error) => assert!(error.is_retriable(), "{error}"),
            }
        }
        unreachable!("there are more numbers than seconds")
    });
    resumed.await.expect("writing resumes once there is room")
}

/// Waits for what happens without being asked for.
async fn eventually(what: &str, happened: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !happened().await {
            tokio::time::sleep(PAUSE).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} does not happen");
}

async fn create(client: &Client, topic: &str, configs: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic).partitions(1);
    for (name, value) in configs {
        new = new.config(*name, *value);
    }
    client.admin().create_topic(new).await.expect("a new topic");
}

async fn log_start(client: &Client, topic: &str) -> i64 {
    let described = client.admin().describe_topic(topic).await.expect("a topic");
    described.partitions[0].log_start_offset.get()
}

/// Topics of small segments, so that there is something that can be deleted, with records in them.
async fn prepare(broker: &Broker, client: &Client) {
    const SMALL: (&str, &str) = ("segment.bytes", "65536");
    create(client, TOPIC, &[SMALL]).await;
    create(client, OLD, &[SMALL, ("retention.bytes", "65536")]).await;
    for topic in ["spare", "deleted"] {
        create(client, topic, &[SMALL]).await;
    }
    for topic in [doors::KAFKA, ALTERED] {
        create(client, topic, &[]).await;
    }
    let mut kafka = support::kafka::Client::of(broker);
    for topic in [OLD, "spare", "deleted"] {
        for number in 0..30 {
            let produced = doors::produce(&mut kafka, topic, &payload(number));
            assert_eq!(produced, Ok(()), "there is room");
        }
    }
}

/// What frees room on a full disk: a record is taken that was refused before.
async fn delete_records_for_room(
    (broker, disk, client): (&Broker, &SmallDisk, &Client),
    sender: &Producer,
    (mut number, acked): (usize, &mut Acked),
) -> usize {
    disk.fill(0);
    number = send_until_full(sender, number, acked).await;
    doors::delete_records(&mut support::kafka::Client::of(broker), "deleted");
    assert_eq!(log_start(client, "deleted").await, 30);
    send_until_taken(sender, number, acked).await
}

/// The same with a whole topic. After a clean stop, no log has room that was made ahead.
async fn delete_a_topic_for_room(
    disk: &SmallDisk,
    client: &Client,
    (mut number, acked): (usize, &mut Acked),
) {
    eventually("the reserve", async || disk.data().join("reserve").exists()).await;
    let sender = producer(client);
    disk.fill(0);
    number = send_until_full(&sender, number, acked).await;
    client.admin().delete_topic("spare").await.expect("there is a reserve for that");
    assert!(!disk.data().join("topics/spare-0").exists());
    send_until_taken(&sender, number, acked).await;
}

/// How often the broker has said this.
fn said(broker: &Broker, what: &str) -> usize {
    broker.said().matches(what).count()
}

const FULL: &str = "the disk is full: writes are refused";
const OVER: &str = "the disk has room again";

/// Fills the disk up to `spare` bytes, then goes through what must work on a full disk.
async fn run_full(disk: &SmallDisk, spare: u64, ending: Signal) {
    let data = disk.data();
    let broker = Broker::start(&data);
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    let client = Client::new(&grpc).expect("an address");
    prepare(&broker, &client).await;
    let mut taken = Taken::with_room(&client).await;
    let (sender, mut acked) = (producer(&client), Acked::new());
    let mut number = 0;
    while number < 30 {
        send(&sender, number, &mut acked).await.expect("there is room");
        number += 1;
    }
    disk.fill(spare);
    number = send_until_full(&sender, number, &mut acked).await;
    check(&client, &acked).await;
    taken.until_full(&broker, &client, || disk.fill(0)).await;
    check(&client, &acked).await;
    assert_eq!((said(&broker, FULL), said(&broker, OVER)), (1, 0), "told once: {}", broker.said());
    assert_eq!(log_start(&client, OLD).await, 0, "nobody has looked for what is too much");

    // A start without a free byte.
    broker.end(ending);
    disk.fill(0);
    let broker = Broker::restart(&data, &grpc, &http);
    let client = Client::new(&grpc).expect("an address");
    check(&client, &acked).await;
    taken.check(&client).await;
    eventually("retention", async || log_start(&client, OLD).await > 0).await;

    let sender = producer(&client);
    number = delete_records_for_room((&broker, disk, &client), &sender, (number, &mut acked)).await;
    disk.fill(0);
    number = send_until_full(&sender, number, &mut acked).await;
    disk.make_room();
    number = send_until_taken(&sender, number, &mut acked).await;
    send(&sender, number, &mut acked).await.expect("there is room");
    number += 1;
    taken.resume(&broker, &client).await;
    eventually("the end of it", async || said(&broker, OVER) > 0).await;
    assert_eq!((said(&broker, FULL), said(&broker, OVER)), (1, 1), "{}", broker.said());
    check(&client, &acked).await;
    assert!(broker.end(Signal::Term), "a clean stop ends well");

    let broker = Broker::restart(&data, &grpc, &http);
    let client = Client::new(&grpc).expect("an address");
    check(&client, &acked).await;
    taken.check(&client).await;
    delete_a_topic_for_room(disk, &client, (number, &mut acked)).await;
    check(&client, &acked).await;
    assert!(broker.end(Signal::Term), "a clean stop ends well");
    disk.make_room();
    std::fs::remove_dir_all(&data).expect("the broker has ended");
}

/// A few bytes more each time, so that something else is the first that finds no room.
async fn run_with(kind: Kind, spares: &[u64]) {
    let Some(disk) = SmallDisk::mount(kind) else { return };
    let endings = [Signal::Kill, Signal::Term].into_iter().cycle();
    for (spare, ending) in spares.iter().zip(endings) {
        run_full(&disk, *spare, ending).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tmpfs_is_a_mode_and_not_an_end() {
    run_with(Kind::Tmpfs, &[0, 24 << 10]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ext4_is_a_mode_and_not_an_end() {
    run_with(Kind::Ext4, &[100 << 10]).await;
}

/// The tests above rely on it: a disk that is written until nothing fits takes nothing.
#[test]
fn a_filled_disk_has_no_room_for_a_byte() {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let Some(disk) = SmallDisk::mount(kind) else { continue };
        disk.fill(0);
        assert!(!disk.takes_a_byte(), "{kind:?}");
    }
}
