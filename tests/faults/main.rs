//! The real broker on a real file system that runs full: at each place that writes, with a few
//! bytes to spare or none.
//!
//! What must hold: a producer is refused with an error that says "later"; what was acknowledged
//! is read; topics can be deleted; a start without a free byte works; writing resumes by itself
//! once there is room, and the process never dies of it (a mapped write would end it by SIGBUS).
//!
//! The file system is a tmpfs of its own, which takes the right to mount one. Where that is missing
//! the test says so and proves nothing; with `FAULTS_REQUIRED=1` it fails instead.
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use log_client::{Client, DeliveryError, NewTopic, Producer, ProducerRecord, StartAt};
use support::{Broker, Signal, data_folder};

/// Room enough for the reserve, which wants to be a fraction of what is free.
const DISK: &str = "size=48m";
const TOPIC: &str = "events";
const PAYLOAD_BYTES: usize = 8 << 10;
/// How long a client tries before it gives a record up. Long enough for a busy machine.
const DELIVERY: Duration = Duration::from_secs(2);
/// Writing resumes without being asked, but not at once on a busy machine.
const RESUME: Duration = Duration::from_secs(60);

/// A small file system; unmounted when dropped.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount() -> Option<Self> {
        let at = data_folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at.path());
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self { at }),
            Ok(done) => Self::cannot(&String::from_utf8_lossy(&done.stderr)),
            Err(error) => Self::cannot(&error.to_string()),
        }
    }

    fn cannot(why: &str) -> Option<Self> {
        let required = std::env::var_os("FAULTS_REQUIRED").is_some();
        assert!(!required, "no small file system can be mounted: {why}");
        eprintln!("SKIPPED: no small file system can be mounted here: {why}");
        None
    }

    fn data(&self) -> PathBuf {
        self.at.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.at.path().join("ballast")
    }

    /// Fills the disk to its last byte, then gives `free_bytes` back.
    fn fill(&self, free_bytes: u64) {
        let mut ballast =
            OpenOptions::new().create(true).append(true).open(self.ballast()).expect("a ballast");
        for piece in [64 << 10, 4 << 10, 1] {
            let zeros = vec![1; piece];
            while ballast.write_all(&zeros).is_ok() {}
        }
        let len = fs::metadata(self.ballast()).expect("the ballast").len();
        ballast.set_len(len.saturating_sub(free_bytes)).expect("the ballast shrinks");
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.at.path()).status();
    }
}

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
    let resumed = tokio::time::timeout(RESUME, async {
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

async fn create(client: &Client, topic: &str) {
    let topic = NewTopic::new(topic).partitions(1).config("segment.bytes", "65536");
    client.admin().create_topic(topic).await.expect("a new topic");
}

/// Fills the disk up to `spare` bytes, then goes through what must work on a full disk.
async fn run_full(disk: &SmallDisk, spare: u64, ending: Signal) {
    let data = disk.data();
    let broker = Broker::start(&data);
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    let client = Client::new(&grpc).expect("an address");
    create(&client, TOPIC).await;
    create(&client, "spare").await;
    let (sender, mut acked) = (producer(&client), Acked::new());
    let mut number = 0;
    while number < 30 {
        send(&sender, number, &mut acked).await.expect("there is room");
        number += 1;
    }
    disk.fill(spare);
    number = send_until_full(&sender, number, &mut acked).await;
    check(&client, &acked).await;
    // A refusal is as good as success; an end of the process is not.
    let _ = client.admin().create_topic(NewTopic::new("more").partitions(1)).await;
    check(&client, &acked).await;

    // A start without a free byte.
    broker.end(ending);
    disk.fill(0);
    let broker = Broker::restart(&data, &grpc, &http);
    let client = Client::new(&grpc).expect("an address");
    check(&client, &acked).await;
    client.admin().delete_topic("spare").await.expect("deleting needs no room to speak of");

    disk.fill(0);
    let sender = producer(&client);
    number = send_until_full(&sender, number, &mut acked).await;
    disk.make_room();
    number = send_until_taken(&sender, number, &mut acked).await;
    send(&sender, number, &mut acked).await.expect("there is room");
    check(&client, &acked).await;
    assert!(broker.end(Signal::Term), "a clean stop ends well");

    let broker = Broker::restart(&data, &grpc, &http);
    check(&Client::new(&grpc).expect("an address"), &acked).await;
    assert!(broker.end(Signal::Term), "a clean stop ends well");
    remove(&data);
}

fn remove(data: &Path) {
    fs::remove_dir_all(data).expect("the broker has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_mode_and_not_an_end() {
    let Some(disk) = SmallDisk::mount() else { return };
    // A few bytes more each time, so that something else is the first that finds no room: a batch,
    // room ahead of it, a new segment, its indexes, a seal, a checkpoint.
    let spares = [0, 4 << 10, 24 << 10, 100 << 10, 300 << 10];
    for (spare, ending) in spares.into_iter().zip([Signal::Kill, Signal::Term].into_iter().cycle())
    {
        run_full(&disk, spare, ending).await;
    }
}

/// The helper above relies on it: a file that is written until nothing fits leaves nothing.
#[test]
fn a_filled_disk_has_no_room_for_a_byte() {
    let Some(disk) = SmallDisk::mount() else { return };
    disk.fill(0);
    let mut more = File::create(disk.at.path().join("more")).expect("names need no room here");
    assert!(more.write_all(b"x").is_err());
}
