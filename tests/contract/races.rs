//! Goal: topics come and go under everybody's feet, and nobody is told what is not so: an
//! acknowledged record is in the topic that it was sent to, a reader learns that its topic is
//! gone, one of two creators wins.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_response::Event;
use log_proto::v1::partition_start::Position;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Status;

use crate::rig::{Doors, error_of, plain, request, starting_at};
use crate::support::{Broker, Signal, data_folder};
use crate::traces::{get, metric};

const PATIENCE: Duration = Duration::from_secs(20);

fn code_of(status: &Status) -> ErrorCode {
    error_of(status).unwrap_or_else(|| panic!("no detail: {status}")).code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let doors = Doors::of(&broker).await;
    for round in 0..10 {
        let name = format!("t{round}");
        let mut creating = JoinSet::new();
        for _ in 0..8 {
            let (mut doors, name) = (doors.clone(), name.clone());
            creating.spawn(async move { doors.try_create(&name, 2, &[]).await });
        }
        let outcomes = creating.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for status in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(code_of(&status), ErrorCode::TopicAlreadyExists, "{status}");
        }
        let mut deleting = JoinSet::new();
        for _ in 0..4 {
            let (mut doors, name) = (doors.clone(), name.clone());
            deleting.spawn(async move { doors.delete(&name).await });
        }
        let outcomes = deleting.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for status in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(code_of(&status), ErrorCode::UnknownTopicOrPartition, "{status}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(data.path().join("topics")).expect("a folder").collect();
    assert_eq!(left.len(), 2, "only the broker's own are left: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_learns_that_its_topic_is_gone_and_keeps_the_others() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("goes", &[]).await;
    doors.create("stays", &[]).await;
    let mut start = starting_at("goes", 0, Position::Offset(0));
    start.partitions.extend(starting_at("stays", 0, Position::Offset(0)).partitions);
    let mut reading = doors.consume(start).await.expect("topics to read");
    doors.delete("goes").await.expect("it was there");
    let ended = async {
        loop {
            if let Event::Error(error) = reading.event().await {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, ended).await.expect("it is told");
    assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition);
    assert!(error.message.contains("goes") && error.message.contains("deleted"), "{error:?}");
    // A new topic of that name is another topic: its records are not for this reader.
    doors.create("goes", &[]).await;
    doors.produce(request("goes", plain("other"))).await.expect("a good request");
    doors.produce(request("stays", plain("mine"))).await.expect("a good request");
    loop {
        match timeout(PATIENCE, reading.event()).await.expect("the other goes on") {
            Event::Records(records) => {
                assert_eq!(records.records[0].value.as_deref(), Some(&b"mine"[..]));
                break;
            }
            Event::CaughtUp(_) | Event::Started(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Produces numbers to the topic, whichever it is at the moment, until told to stop. Returns how
/// many were acknowledged.
async fn produce_on(mut doors: Doors, worker: usize, rounds: usize) -> usize {
    let mut acknowledged = 0;
    for number in 0..rounds {
        let value = format!("{worker}:{number}");
        match doors.produce(request("t", plain(value))).await {
            Ok(_) => acknowledged += 1,
            Err(status) => {
                let code = code_of(&status);
                let gone = [ErrorCode::UnknownTopicOrPartition, ErrorCode::ShuttingDown];
                assert!(gone.contains(&code), "{code:?}: {status}");
            }
        }
    }
    acknowledged
}

/// Reads the topic from its start, whichever it is, again and again. A reader sees the records
/// of one topic: offsets without a gap, and nothing twice.
async fn read_on(mut doors: Doors, rounds: usize) {
    for _ in 0..rounds {
        let start = starting_at("t", 0, Position::Offset(0));
        let mut reading = match doors.consume(start).await {
            Ok(reading) => reading,
            Err(status) => {
                assert_eq!(code_of(&status), ErrorCode::UnknownTopicOrPartition, "{status}");
                continue;
            }
        };
        let (mut next, mut seen) = (0, HashSet::new());
        loop {
            match timeout(PATIENCE, reading.event()).await.expect("something happens") {
                Event::Started(_) => {}
                Event::Records(records) => {
                    for record in records.records {
                        assert_eq!(record.offset, next);
                        next += 1;
                        assert!(seen.insert(record.value), "stored twice");
                    }
                }
                Event::CaughtUp(_) => break,
                Event::Error(error) => {
                    assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition, "{error:?}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_come_and_go_under_load() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    let mut working = JoinSet::new();
    for worker in 0..4 {
        working.spawn(produce_on(Doors::of(&broker).await, worker, 400));
    }
    let mut reading = JoinSet::new();
    for _ in 0..2 {
        reading.spawn(read_on(Doors::of(&broker).await, 60));
    }
    for _ in 0..25 {
        doors.delete("t").await.expect("it was there");
        doors.create("t", &[("segment.bytes", "1048576")]).await;
    }
    let acknowledged: usize = working.join_all().await.into_iter().sum();
    reading.join_all().await;
    assert!(acknowledged > 0, "some got through");
    assert_eq!(metric(&broker, "cairn_failed_partitions", ""), 0);
    // What is there now is one topic, whole, after a crash too.
    let before = doors.read("t").await;
    assert!(!broker.end(Signal::Kill));
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    assert_eq!(doors.read("t").await, before);
    doors.produce(request("t", plain("x"))).await.expect("a good request");
}

/// Each append is answered once, and whatever was acknowledged before the delete was asked for is
/// counted in no topic after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_into_a_deleted_topic_is_answered_to_the_end() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    doors.create("stays", &[]).await;
    let mut stream = doors.stream().await;
    const REQUESTS: u64 = 600;
    for id in 0..REQUESTS / 2 {
        let topic = if id % 2 == 0 { "t" } else { "stays" };
        stream.send(id, request(topic, plain(id.to_string())));
    }
    doors.delete("t").await.expect("it was there");
    for id in REQUESTS / 2..REQUESTS {
        let topic = if id % 2 == 0 { "t" } else { "stays" };
        stream.send(id, request(topic, plain(id.to_string())));
    }
    let mut unanswered: HashSet<u64> = (0..REQUESTS).collect();
    let mut stored = 0;
    while !unanswered.is_empty() {
        let (id, result) = timeout(PATIENCE, stream.answer()).await.expect("every one is answered");
        assert!(unanswered.remove(&id), "{id} is answered twice");
        match result {
            v1::produce_response::Result::Appended(_) if id % 2 == 1 => stored += 1,
            v1::produce_response::Result::Appended(_) => assert!(id < REQUESTS / 2),
            v1::produce_response::Result::Error(error) => {
                assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition, "{id}: {error:?}");
                assert_eq!(id % 2, 0, "{error:?}");
            }
        }
    }
    assert_eq!(doors.describe("stays").await.log_end_offset, stored);
    assert_eq!(stored as u64, REQUESTS / 2);
}

/// Creates, fills and deletes topics of its own names until the broker is gone.
async fn create_and_delete(mut doors: Doors, worker: usize, done: Arc<Semaphore>) {
    for round in 0.. {
        let name = format!("{worker}-{}", round % 3);
        let made = match round / 3 % 2 {
            0 => doors.try_create(&name, 3, &[]).await,
            _ => doors.delete(&name).await,
        };
        if made.is_err() {
            return;
        }
        done.add_permits(1);
    }
}

/// Topics and folders, by name.
async fn topics_and_folders(doors: &mut Doors, data: &Path) -> (Vec<String>, Vec<String>) {
    let list = v1::ListTopicsRequest { include_internal: true };
    let topics = doors.admin.list_topics(list).await.expect("a good request").into_inner().topics;
    let folders_of = |topic: v1::Topic| {
        (0..topic.partitions).map(move |partition| format!("{}-{partition}", topic.name))
    };
    let mut expected: Vec<_> = topics.into_iter().flat_map(folders_of).collect();
    let entries = std::fs::read_dir(data.join("topics")).expect("a folder").flatten();
    let mut found: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    (expected, found)
}

/// Wherever in the making or removing of a topic the broker dies: at the next start each topic is
/// there with all its partitions, or gone with all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_no_half_topics() {
    let data = data_folder();
    for cycle in 0..8 {
        let broker = Broker::start(data.path());
        let mut doors = Doors::of(&broker).await;
        let (expected, found) = topics_and_folders(&mut doors, data.path()).await;
        assert_eq!(found, expected, "cycle {cycle}");
        assert_eq!(get(&broker.http, "/readyz").0, 200, "cycle {cycle}: {}", broker.said());
        for name in expected.iter().filter_map(|folder| folder.strip_suffix("-0")) {
            if !name.starts_with("__") {
                doors.produce(request(name, plain("x"))).await.expect("it takes records");
                doors.delete(name).await.expect("it is there");
            }
        }
        let done = Arc::new(Semaphore::new(0));
        let mut working = JoinSet::new();
        for worker in 0..3 {
            let doors = Doors::of(&broker).await;
            working.spawn(create_and_delete(doors, worker, Arc::clone(&done)));
        }
        let enough = done.acquire_many(5 + 3 * cycle).await;
        enough.expect("the semaphore stays open").forget();
        assert!(!broker.end(Signal::Kill));
        working.join_all().await;
    }
}
