//! Goal: what a stop has cut short, the next start finishes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log_core::io::{Disk, Storage};
use log_core::{Committer, SystemClock};
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::{Offset, TimestampMs};

use super::*;
use crate::topics::TopicName;

async fn start(folder: &Path) -> Broker {
    start_on(folder, Arc::new(Disk)).await
}

pub(super) async fn start_on(folder: &Path, storage: Arc<dyn Storage>) -> Broker {
    try_start_on(folder, storage).await.unwrap()
}

pub(super) async fn try_start_on(
    folder: &Path,
    storage: Arc<dyn Storage>,
) -> Result<Broker, StartupError> {
    let parts = PartitionParts {
        storage,
        clock: Arc::new(SystemClock),
        committer: Committer::start(1),
        pressure: Arc::default(),
        room: Arc::default(),
    };
    let config = ServerConfig { data_dir: folder.to_owned(), ..ServerConfig::default() };
    Broker::start(config, parts).await
}

pub(super) async fn create(broker: &Broker, name: &str) {
    let configs = TopicConfigs::default();
    let created = broker.create_topic(&Principal::Anonymous, name, Some(2), configs, Mode::Apply);
    created.await.unwrap();
}

pub(super) async fn commit(broker: &Broker, topic: &str) {
    let offset = GroupOffset {
        topic: topic.to_owned(),
        partition: 0,
        offset: Offset::ZERO,
        leader_epoch: None,
        metadata: String::new(),
    };
    broker.commit_offsets(&Principal::Anonymous, "g", vec![offset]).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    create(&broker, "t").await;
    create(&broker, "u").await;
    commit(&broker, "t").await;
    let topic = broker.topics().get("t").unwrap();
    let written = broker
        .inner
        .metadata
        .write(move |state| request::delete_topic(state, &topic.name, topic.id));
    written.await.unwrap();
    drop(broker);
    // Half of its folders are gone, and the identity of another.
    std::fs::remove_dir_all(folder.path().join("topics/t-0")).unwrap();
    std::fs::remove_file(folder.path().join("topics/t-1/partition.json")).unwrap();

    let broker = start(folder.path()).await;
    assert!(broker.topics().get("t").is_err());
    assert!(broker.topics().get("u").is_ok());
    assert!(!folder.path().join("topics/t-1").exists());
    assert!(broker.inner.image.load().deleted.is_empty());
    create(&broker, "t").await;
    let offsets = broker.fetch_offsets(&Principal::Anonymous, "g").await.unwrap();
    assert!(offsets.is_empty(), "a new topic inherits no offsets: {offsets:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_leave_half_a_topic() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let configs = TopicConfigs::default();
    let principal = Principal::Anonymous;
    {
        let creating = broker.create_topic(&principal, "t", Some(1), configs, Mode::Apply);
        tokio::select! {
            biased;
            _ = creating => panic!("it waits for the disk at least once"),
            () = std::future::ready(()) => {}
        }
    }
    // Those who change topics stand in a queue: this one is behind it.
    create(&broker, "u").await;
    assert!(broker.topics().get("t").is_ok());
    assert!(broker.inner.image.load().topics.len() == 2);
}

async fn grow(broker: &Broker, topic: &str, count: u32) {
    let grown = broker.create_partitions(&Principal::Anonymous, topic, count, Mode::Apply);
    grown.await.unwrap();
}

/// A stop between the folders and the record leaves folders that nobody has heard of; one after
/// the record leaves a topic that has grown.
#[tokio::test]
async fn a_topic_that_was_to_grow_has_grown_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    create(&broker, "t").await;
    let metadata = broker.inner.image.load().topics[&TopicName::new("t").unwrap()].clone();
    assert!(broker.open_partition(&metadata, 2).is_ok());
    drop(broker);

    let broker = start(folder.path()).await;
    assert_eq!(broker.topics().get("t").unwrap().partitions.len(), 2);
    assert!(!folder.path().join("topics/t-2").exists());
    grow(&broker, "t", 4).await;
    drop(broker);

    let broker = start(folder.path()).await;
    let topic = broker.topics().get("t").unwrap();
    assert_eq!(topic.serving().count(), 4);
    grow(&broker, "t", 5).await;
    assert!(topic.partition(4).is_ok());
    broker.delete_topic(&Principal::Anonymous, "t").await.unwrap();
    assert!(!folder.path().join("topics/t-4").exists());
}

/// What stands in the way of one new partition takes back the others.
#[tokio::test]
async fn a_topic_grows_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    create(&broker, "t").await;
    let foreign = folder.path().join("topics/t-3");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.tex"), "x").unwrap();
    let refused = broker.create_partitions(&Principal::Anonymous, "t", 5, Mode::Apply);
    assert!(refused.await.unwrap_err().to_string().contains("t-3"));
    assert_eq!(broker.topics().get("t").unwrap().partitions.len(), 2);
    for number in [2, 4] {
        assert!(!folder.path().join(format!("topics/t-{number}")).exists());
    }
    std::fs::remove_file(foreign.join("thesis.tex")).unwrap();
    // What creating a partition may leave is in nobody's way.
    grow(&broker, "t", 5).await;
}

/// Goal: whoever copies old records into a topic can see why they do not stay.
#[tokio::test]
async fn records_older_than_they_are_kept_are_counted_and_warned_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    create(&broker, "t").await;
    let topic = broker.topics().get("t").unwrap();
    let day = 24 * 3_600_000;
    for age in [0, 6 * day, 8 * day, 9 * day] {
        let mut batch = BatchBuilder::new(BatchOptions::default());
        let stamp = TimestampMs::new(broker.now().get() - age);
        batch.push(stamp, None, Some(b"value"), &[]).unwrap();
        let batch = batch.build().unwrap();
        let memory = broker.admit(batch.len()).await.unwrap();
        let submitted = broker.submit(&Principal::Anonymous, &topic, 0, batch, memory).await;
        submitted.unwrap().acknowledged(Acks::All).await.unwrap();
    }
    let text = broker.metrics().encode().unwrap();
    let counted = "cairn_topic_records_past_retention_total{topic=\"t\"} 2";
    assert!(text.contains(counted), "it is seven days that records are kept: {text}");
    let minute = Duration::from_secs(60);
    let (now, later) = (broker.now(), TimestampMs::new(broker.now().get() + 61_000));
    assert!(!topic.metrics.past_retention(1, now, minute), "it was warned of a moment ago");
    assert!(topic.metrics.past_retention(1, later, minute), "but they go on coming");
}
