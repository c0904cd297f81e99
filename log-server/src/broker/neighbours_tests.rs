//! Goal: whatever is wrong with one partition's folder is that partition's trouble alone: the
//! others are read and written, topics come, groups commit, and once it is put right it serves
//! again with all that it had acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_core::io::faulty::{Faulty, Operation};
use log_core::io::{Disk, Entry, File, OpenMode, Storage};
use log_core::{Isolation, SEGMENT_BYTES_MIN};
use log_proto::record::{BatchBuilder, BatchOptions, batches};
use log_proto::types::{Offset, TimestampMs};

use super::tests::{commit, start_on};
use super::*;
use crate::error::ProduceError;
use crate::partition::Acks;
use crate::topic_config::TopicConfigs;

/// The one with the trouble, and those beside it.
pub(super) const SICK: (&str, u32) = ("sick", 1);
const WELL: [(&str, u32); 3] = [("sick", 0), ("well", 0), ("well", 1)];

/// A disk that is bad below one folder.
#[derive(Clone, Debug)]
pub(super) struct BadSpot {
    pub(super) folder: PathBuf,
    pub(super) bad: Faulty,
}

impl BadSpot {
    pub(super) fn below(data: &Path) -> Self {
        Self { folder: data.join("topics/sick-1"), bad: Faulty::over(Disk) }
    }

    fn at(&self, path: &Path) -> &dyn Storage {
        if path.starts_with(&self.folder) { &self.bad } else { &Disk }
    }
}

impl Storage for BadSpot {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.at(path).open(path, mode)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.at(path).create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.at(folder).list(folder)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.at(path).len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(from).rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at(path).remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.at(path).remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.at(path).sync_folder(path)
    }
}

async fn create(broker: &Broker, name: &str) {
    let segment_bytes = SEGMENT_BYTES_MIN.to_string();
    let configs = TopicConfigs::parse([("segment.bytes", segment_bytes.as_str())]).unwrap();
    let created = broker.create_topic(&Principal::Anonymous, name, Some(2), configs, Mode::Apply);
    created.await.unwrap();
}

/// A few of them make a segment.
fn batch(value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let padding = [b'.'; 300];
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"padding", Some(&padding))];
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = TimestampMs::new(i64::try_from(now).unwrap());
    batch.push(now, None, Some(value.as_bytes()), &headers).unwrap();
    batch.build().unwrap()
}

pub(super) async fn append(
    broker: &Broker,
    at: (&str, u32),
    value: &str,
) -> Result<(), ProduceError> {
    let (topic, batch) = (broker.topic_to_produce(at.0)?, batch(value));
    let memory = broker.admit(batch.len()).await?;
    let submitted = broker.submit(&Principal::Anonymous, &topic, at.1, batch, memory).await?;
    submitted.acknowledged(Acks::All).await.map(drop)
}

pub(super) fn values(broker: &Broker, at: (&str, u32)) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    read(broker, at, &mut values).map(|()| values)
}

/// Reads as a consumer does: up to the end, or to the first bytes that are not sound.
fn read(broker: &Broker, at: (&str, u32), values: &mut Vec<String>) -> Result<(), String> {
    let (_, partition) = broker.partition(at.0, at.1).expect("it serves");
    let mut next = Offset::ZERO;
    loop {
        let fetched = partition.read(next, usize::MAX, Isolation::HighWatermark);
        let fetched = fetched.map_err(|error| error.to_string())?;
        if fetched.batches.is_empty() {
            return Ok(());
        }
        for batch in batches(fetched.batches) {
            let batch = batch.map_err(|error| error.to_string())?;
            next = batch.header().next_offset();
            for record in batch.records(1 << 20).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
    }
}

/// What was acknowledged, in order.
pub(super) type Acknowledged = BTreeMap<(&'static str, u32), Vec<String>>;

/// Appends to one partition; what is acknowledged is noted.
pub(super) async fn append_noted(
    broker: &Broker,
    at: (&'static str, u32),
    acknowledged: &mut Acknowledged,
) -> Result<(), ProduceError> {
    let noted = acknowledged.entry(at).or_default();
    let value = format!("{}-{} {}", at.0, at.1, noted.len());
    append(broker, at, &value).await?;
    noted.push(value);
    Ok(())
}

/// Those beside the trouble do all that a partition does.
pub(super) async fn assert_well(broker: &Broker, acknowledged: &mut Acknowledged) {
    for at in WELL {
        for _ in 0..6 {
            append_noted(broker, at, acknowledged).await.unwrap();
        }
        let (_, partition) = broker.partition(at.0, at.1).unwrap();
        partition.keep_house();
        partition.log().apply_retention().unwrap();
        assert_eq!(partition.failure(), None);
        assert_eq!(values(broker, at).unwrap(), acknowledged[&at]);
    }
    commit(broker, "well").await;
}

pub(super) async fn filled(data: &Path, spot: &BadSpot) -> (Broker, Acknowledged) {
    let broker = start_on(data, Arc::new(spot.clone())).await;
    create(&broker, "sick").await;
    create(&broker, "well").await;
    let mut acknowledged = Acknowledged::new();
    for at in WELL.into_iter().chain([SICK]) {
        for _ in 0..6 {
            append_noted(&broker, at, &mut acknowledged).await.unwrap();
        }
    }
    (broker, acknowledged)
}

/// All is right again: what was acknowledged is there in its order, and more is taken.
async fn assert_recovered(data: &Path, spot: &BadSpot, acknowledged: &mut Acknowledged) {
    let broker = start_on(data, Arc::new(spot.clone())).await;
    let found = values(&broker, SICK).unwrap();
    let mut rest = found.iter();
    let all_there = acknowledged[&SICK].iter().all(|value| rest.any(|found| found == value));
    assert!(all_there, "of {:?} there is {found:?}", acknowledged[&SICK]);
    append(&broker, SICK, "again").await.unwrap();
    assert_well(&broker, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_bad_below_one_partition_fails_that_one_alone() {
    let troubles = [
        (Operation::Write, ErrorKind::Other),
        (Operation::Write, ErrorKind::StorageFull),
        (Operation::Sync, ErrorKind::Other),
        (Operation::Create, ErrorKind::Other),
        (Operation::Create, ErrorKind::StorageFull),
        (Operation::Read, ErrorKind::Other),
    ];
    for (operation, kind) in troubles {
        let data = tempfile::tempdir().unwrap();
        let spot = BadSpot::below(data.path());
        let (broker, mut acknowledged) = filled(data.path(), &spot).await;
        spot.bad.fail(operation, kind);
        let mut refused = 0;
        for _ in 0..6 {
            let appended = append_noted(&broker, SICK, &mut acknowledged).await;
            refused += usize::from(appended.is_err());
        }
        match operation {
            Operation::Read => drop(values(&broker, SICK).expect_err("a disk that cannot be read")),
            _ => assert!(refused > 0, "{operation:?} {kind}: nothing was refused"),
        }
        broker.partition(SICK.0, SICK.1).unwrap().1.keep_house();
        assert_well(&broker, &mut acknowledged).await;
        create(&broker, "new").await;
        drop(broker);
        spot.bad.heal();
        assert_recovered(data.path(), &spot, &mut acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_does_not_open_leaves_the_others_to_serve() {
    let troubles: [fn(&Faulty); 2] =
        [|bad| bad.fail(Operation::Read, ErrorKind::Other), Faulty::run_out_of_descriptors];
    for trouble in troubles {
        let data = tempfile::tempdir().unwrap();
        let spot = BadSpot::below(data.path());
        let (broker, mut acknowledged) = filled(data.path(), &spot).await;
        drop(broker);
        trouble(&spot.bad);
        let broker = start_on(data.path(), Arc::new(spot.clone())).await;
        let refused = append(&broker, SICK, "x").await.unwrap_err().to_string();
        assert!(refused.contains("sick-1"), "{refused}");
        assert_well(&broker, &mut acknowledged).await;
        drop(broker);
        spot.bad.heal();
        assert_recovered(data.path(), &spot, &mut acknowledged).await;
    }
}

/// The first segment of a partition.
pub(super) const FIRST: &str = "00000000000000000000.log";

pub(super) fn overwrite(file: &Path, from: usize, len: usize) {
    let mut bytes = fs::read(file).unwrap();
    let end = bytes.len().min(from + len);
    bytes[from..end].fill(0xa5);
    fs::write(file, bytes).unwrap();
}

/// What a stranger, or a disk, may do to the files of a partition.
type Damage = fn(&Path);

fn damages() -> [(&'static str, Damage); 6] {
    [
        ("a header in the first segment", |folder| overwrite(&folder.join(FIRST), 0, 61)),
        ("a record in the first segment", |folder| overwrite(&folder.join(FIRST), 100, 4)),
        ("the first segment is gone", |folder| fs::remove_file(folder.join(FIRST)).unwrap()),
        ("the first segment is empty", |folder| fs::write(folder.join(FIRST), "").unwrap()),
        ("the identity", |folder| overwrite(&folder.join("partition.json"), 0, 20)),
        ("a folder where the log should be", |folder| {
            fs::remove_file(folder.join(FIRST)).unwrap();
            fs::create_dir(folder.join(FIRST)).unwrap();
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_one_folder_is_not_felt_beside_it() {
    for (what, damage) in damages() {
        let data = tempfile::tempdir().unwrap();
        let spot = BadSpot::below(data.path());
        let (broker, mut acknowledged) = filled(data.path(), &spot).await;
        drop(broker);
        damage(&spot.folder);
        let broker = start_on(data.path(), Arc::new(spot.clone())).await;
        assert_well(&broker, &mut acknowledged).await;
        // It serves what is sound of it, or says why not; it never makes anything up.
        if broker.partition(SICK.0, SICK.1).is_ok() {
            let mut found = Vec::new();
            let read = read(&broker, SICK, &mut found);
            assert!(read.is_err() || found == acknowledged[&SICK], "{what}: {found:?}");
            assert!(acknowledged[&SICK].starts_with(&found), "{what}: {found:?}");
        } else {
            let refused = append(&broker, SICK, "x").await.unwrap_err().to_string();
            assert!(refused.contains("sick-1"), "{what}: {refused}");
        }
    }
}
