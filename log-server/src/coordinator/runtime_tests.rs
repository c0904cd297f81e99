//! Goal: what a coordinator has answered is there after any restart, and what it has refused or
//! failed to write leaves no trace.

use std::io::ErrorKind;
use std::path::Path;

use log_core::io::Disk;
use log_core::io::faulty::{Faulty, Operation};
use log_core::{Committer, LogConfig, SystemClock};
use log_proto::types::LeaderEpoch;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::coordinator::{AfterLoss, NotUnderstood};
use crate::limits::SNAPSHOT_RECORDS_MIN;
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

    const AFTER_LOSS: AfterLoss = AfterLoss::Refuse;

    fn replay(&mut self, record: Added) -> Result<(), NotUnderstood> {
        if record.number == u64::MAX {
            return Err(NotUnderstood { what: "a number of an unknown kind" });
        }
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
        let (clock, snapshot_records_min) = (Arc::new(SystemClock), SNAPSHOT_RECORDS_MIN);
        let open =
            OpenCoordinator { partition, snapshot_file, storage, clock, snapshot_records_min };
        Coordinator::start(open, |_| {})
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

/// Two snapshots' worth of records.
async fn grown(house: &House) -> u64 {
    let partition = house.partition();
    let sum = house.start_with(Arc::clone(&partition)).unwrap();
    let many = move |_: &Sum| Ok::<_, ()>((vec![Added { number: 1 }; 200], ()));
    let writes = 2 * (SNAPSHOT_RECORDS_MIN as u64).div_ceil(200);
    for _ in 0..writes {
        sum.write(many).await.unwrap();
    }
    sum.stop();
    let log_start = partition.offsets().log_start.get() as u64;
    assert_eq!(log_start, writes * 100, "what the one before covers is deleted");
    writes * 200
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_the_head_of_the_log() {
    let house = House::new();
    let sum = grown(&house).await;
    assert_eq!(total(&house.start().unwrap()).await, Ok(sum));
    let previous = house.snapshot_file().with_extension("previous-snapshot");
    std::fs::remove_file(house.snapshot_file()).unwrap();
    assert_eq!(total(&house.start().unwrap()).await, Ok(sum), "there is the one before");
    for file in [house.snapshot_file(), previous] {
        std::fs::remove_file(file).unwrap();
    }
    assert!(matches!(house.start(), Err(LoadError::Gap { .. })), "lost snapshots are noticed");
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_snapshot_is_replaced_by_the_one_before_and_the_log() {
    let house = House::new();
    let sum = grown(&house).await;
    let previous = house.snapshot_file().with_extension("previous-snapshot");
    flip(&house.snapshot_file(), 25);
    let partition = house.partition();
    let started = house.start_with(Arc::clone(&partition)).unwrap();
    assert_eq!(total(&started).await, Ok(sum));
    let findings = partition.findings();
    assert!(findings[0].contains("sums.snapshot is damaged"), "{findings:?}");
    drop((started, partition));
    // The stop has written the newest anew, because there was something to replay.
    flip(&previous, 25);
    assert_eq!(total(&house.start().unwrap()).await, Ok(sum));
    flip(&house.snapshot_file(), 25);
    let error = house.start().err().unwrap().to_string();
    assert!(error.contains("sums.snapshot is damaged"), "{error}");
}

/// What the file keeps deleted, the snapshots cover: it may be removed where it is damaged.
#[tokio::test]
async fn records_that_come_back_below_a_snapshot_change_nothing() {
    let house = House::new();
    let sum = grown(&house).await;
    std::fs::remove_file(house.folder.path().join("sums-0/log-start")).unwrap();
    let partition = house.partition();
    assert!(partition.offsets().log_start.get() < sum as i64 / 2, "some are back");
    assert_eq!(total(&house.start_with(partition).unwrap()).await, Ok(sum));
}

/// A crash that damages what was synced a moment before, above the recovery point.
#[tokio::test]
async fn a_snapshot_outlives_the_end_of_its_log() {
    let house = House::new();
    let sum = house.start().unwrap();
    for number in 1..=10 {
        add(&sum, number).await.unwrap();
    }
    drop(sum);
    let log = house.folder.path().join("sums-0/00000000000000000000.log");
    let used = std::fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, used);
    let partition = house.partition();
    assert!(!partition.findings().is_empty(), "the end was cut off");
    let sum = house.start_with(partition).unwrap();
    assert_eq!(total(&sum).await, Ok(55));
    add(&sum, 5).await.unwrap();
    drop(sum);
    assert_eq!(total(&house.start().unwrap()).await, Ok(60), "offsets given out again count");
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

/// The error may come behind the last byte, and what was written not be undone: whoever is told that
/// nothing was changed would clean up behind a change that the next start finds.
#[tokio::test]
async fn a_write_that_failed_may_have_been_done() {
    let house = House::new();
    let sum = house.start().unwrap();
    add(&sum, 5).await.unwrap();
    house.storage.tear_writes_after(usize::MAX);
    for operation in [Operation::Write, Operation::SetLen] {
        house.storage.fail(operation, ErrorKind::Other);
    }
    let error = add(&sum, 7).await.unwrap_err();
    let is_unknown = matches!(error, WriteError::Coordinator(CoordinatorError::Failed { .. }));
    assert!(is_unknown, "{error:?}");
    house.storage.heal();
    assert!(total(&sum).await.is_err(), "nor does anybody know the sum");
    drop(sum);
    assert_eq!(total(&house.start().unwrap()).await, Ok(12));
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

/// What the log's start says where it holds this record alone.
fn refusal<R: prost::Message>(house: &House, record: R) -> String {
    let partition = house.partition();
    let bytes = record::encode(&[record], SystemClock.now()).unwrap();
    let batch = partition.check(bytes).unwrap();
    let log = partition.log();
    log.append(&batch, AppendOrigin::Coordinator, LeaderEpoch::ZERO).unwrap();
    log.flush().unwrap();
    house.start_with(partition).err().unwrap().to_string()
}

#[test]
fn a_record_of_a_newer_broker_is_no_damage() {
    let error = refusal(&House::new(), Added { number: u64::MAX });
    assert!(error.contains("sums, batch at offset 0"), "{error}");
    assert!(error.contains("a newer broker"), "{error}");
}

#[test]
fn a_record_that_is_none_is_damage_and_named_by_its_place() {
    let error = refusal(&House::new(), NotAdded { text: "x".to_owned() });
    assert!(error.contains("sums-0/00000000000000000000.log, byte 0"), "{error}");
    assert!(error.contains("offsets 0 to 1") && !error.contains("newer"), "{error}");
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
    let read = || {
        let none_damaged = |error| panic!("{error}");
        SnapshotFiles::new(&file).read::<Sum>(&Disk, none_damaged).unwrap()
    };
    assert!(read().is_none());
    let mut files = SnapshotFiles::new(&file);
    files.write(&Disk, &Sum(41), Offset::new(9).unwrap()).unwrap();
    let snapshot = read().unwrap();
    assert_eq!((snapshot.state.0, snapshot.next_offset.get()), (41, 9));
    assert_eq!(snapshot.amount.records, 1);
}
