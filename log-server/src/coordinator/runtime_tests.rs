//! Goal: what a coordinator has answered is there after any restart, and what it has refused or
//! failed to write leaves no trace.

use std::io::ErrorKind;
use std::path::Path;

use log_core::io::Disk;
use log_core::io::faulty::{Faulty, Operation};
use log_core::{Committer, LogConfig, SystemClock};
use log_proto::types::LeaderEpoch;
use prost::Message as _;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::partition::{OpenPartition, PartitionParts};
use crate::topics::{TopicId, TopicName};

/// Adds up numbers.
#[derive(Default)]
struct Sum(u64);

#[derive(Clone, PartialEq, prost::Message)]
struct Added {
    #[prost(uint64, tag = "1")]
    number: u64,
}

impl StateMachine for Sum {
    type Record = Added;

    fn replay(&mut self, record: Added) -> Result<(), NotUnderstood> {
        self.0 += record.number;
        Ok(())
    }

    fn snapshot(&self) -> Vec<Added> {
        vec![Added { number: self.0 }]
    }
}

struct House {
    folder: TempDir,
    storage: Faulty,
}

impl House {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), storage: Faulty::over(Disk) }
    }

    fn partition(&self) -> Arc<Partition> {
        let parts = PartitionParts {
            storage: Arc::new(self.storage.clone()),
            clock: Arc::new(SystemClock),
            committer: Committer::start(1),
            pressure: Arc::default(),
            room: Arc::default(),
        };
        let open = OpenPartition {
            topic: TopicName::new("sums").unwrap(),
            topic_id: TopicId(Uuid::from_u128(7)),
            number: 0,
            folder: self.folder.path().join("sums-0"),
            leader_epoch: LeaderEpoch::ZERO,
            config: LogConfig { segment_bytes: 4096, retention_ms: None, ..LogConfig::default() },
        };
        Arc::new(Partition::open(open, &parts).unwrap().0)
    }

    fn snapshot_file(&self) -> std::path::PathBuf {
        self.folder.path().join("sums.snapshot")
    }

    fn start(&self) -> Result<Coordinator<Sum>, LoadError> {
        self.start_with(self.partition())
    }

    fn start_with(&self, partition: Arc<Partition>) -> Result<Coordinator<Sum>, LoadError> {
        let storage: Arc<dyn Storage> = Arc::new(self.storage.clone());
        let snapshot_file = self.snapshot_file();
        let clock = Arc::new(SystemClock);
        Coordinator::start(OpenCoordinator { partition, snapshot_file, storage, clock }, |_| {})
    }
}

async fn add(sum: &Coordinator<Sum>, number: u64) -> Result<u64, WriteError<&'static str>> {
    sum.write(move |state| match number {
        0 => Err("zero adds nothing"),
        _ => Ok((vec![Added { number }], state.0 + number)),
    })
    .await
}

async fn total(sum: &Coordinator<Sum>) -> Result<u64, CoordinatorError> {
    sum.query(|state| state.0).await
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let house = House::new();
    let sum = house.start().unwrap();
    for number in 1..=10 {
        add(&sum, number).await.unwrap();
    }
    assert_eq!(add(&sum, 0).await, Err(WriteError::Refused("zero adds nothing")));
    drop(sum);
    assert_eq!(total(&house.start().unwrap()).await, Ok(55));
}

#[tokio::test]
async fn requests_of_one_round_see_each_other() {
    let house = House::new();
    let sum = Arc::new(house.start().unwrap());
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let sum = Arc::clone(&sum);
        adding.spawn(async move { add(&sum, 1).await.unwrap() });
    }
    let mut answers = adding.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_the_head_of_the_log() {
    let house = House::new();
    let partition = house.partition();
    let sum = house.start_with(Arc::clone(&partition)).unwrap();
    let records = SNAPSHOT_RECORDS_MIN as u64 + 10;
    let many = move |_: &Sum| Ok::<_, ()>((vec![Added { number: 1 }; 1000], ()));
    for _ in 0..records.div_ceil(1000) {
        sum.write(many).await.unwrap();
    }
    sum.stop();
    assert!(partition.offsets().log_start > Offset::ZERO);
    drop((sum, partition));
    let sum = house.start().unwrap();
    assert_eq!(total(&sum).await, Ok(records.div_ceil(1000) * 1000));
    drop(sum);
    std::fs::remove_file(house.snapshot_file()).unwrap();
    assert!(matches!(house.start(), Err(LoadError::Gap { .. })), "a lost snapshot is noticed");
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_passes() {
    let house = House::new();
    let sum = house.start().unwrap();
    add(&sum, 5).await.unwrap();
    house.storage.fail(Operation::Write, ErrorKind::StorageFull);
    let error = add(&sum, 7).await.unwrap_err();
    assert!(matches!(error, WriteError::Coordinator(CoordinatorError::DiskFull { .. })));
    house.storage.heal();
    assert_eq!(add(&sum, 1).await, Ok(6));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_told_any_more() {
    let house = House::new();
    let sum = house.start().unwrap();
    add(&sum, 5).await.unwrap();
    house.storage.fail(Operation::Sync, ErrorKind::Other);
    let failed = |error: &CoordinatorError| matches!(error, CoordinatorError::Failed { .. });
    match add(&sum, 7).await {
        Err(WriteError::Coordinator(error)) => assert!(failed(&error)),
        other => panic!("{other:?}"),
    }
    house.storage.heal();
    assert!(failed(&total(&sum).await.unwrap_err()), "the state may be ahead of the disk");
    assert!(add(&sum, 0).await.is_err());
}

#[test]
fn a_record_that_is_not_understood_is_named_by_its_place() {
    let house = House::new();
    let partition = house.partition();
    let bytes = record::encode(&[NotAdded { text: "x".to_owned() }], SystemClock.now()).unwrap();
    let batch = partition.check(bytes).unwrap();
    let log = partition.log();
    log.append(&batch, AppendOrigin::Coordinator, LeaderEpoch::ZERO).unwrap();
    log.flush().unwrap();
    let error = house.start_with(partition).err().unwrap().to_string();
    assert!(error.contains("sums, batch at offset 0"), "{error}");
}

#[derive(Clone, PartialEq, prost::Message)]
struct NotAdded {
    #[prost(string, tag = "1")]
    text: String,
}

#[test]
fn a_state_survives_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sum");
    snapshot::write(&Disk, &file, &Sum(41), Offset::new(9).unwrap()).unwrap();
    let read = snapshot::read::<Sum>(&Disk, &file).unwrap();
    assert_eq!((read.state.0, read.next_offset.get(), read.records), (41, 9, 1));
    let missing = snapshot::read::<Sum>(&Disk, Path::new("/nowhere/at/all")).unwrap();
    assert_eq!((missing.state.0, missing.next_offset), (0, Offset::ZERO));
    assert_eq!(Added { number: 0 }.encoded_len(), 0, "an empty record is one byte of length");
}
