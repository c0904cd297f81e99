//! Goal: a bit that flips in one of the broker's own files costs no more than what that file alone
//! knew. The broker starts with everything else and says what is damaged, or refuses and says
//! where; it never panics, blames a newer broker or loses something in silence.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_core::io::Disk;
use log_proto::types::Offset;
use tempfile::TempDir;

use super::startup::{METADATA_LOG, OFFSETS_LOG};
use super::tests::{commit, create, start_on, try_start_on};
use super::*;

/// How many places of a file are damaged, one at a time.
const PLACES: usize = 6;

pub(super) async fn start(data: &Path) -> Result<Broker, StartupError> {
    try_start_on(data, Arc::new(Disk)).await
}

pub(super) async fn commit_at(broker: &Broker, group: &str, offset: i64, metadata: &str) {
    let offset = GroupOffset {
        topic: "first".to_owned(),
        partition: 1,
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: metadata.to_owned(),
    };
    broker.commit_offsets(&Principal::Anonymous, group, vec![offset]).await.unwrap();
}

/// What a user sees of topics and groups.
#[derive(PartialEq, Debug)]
pub(super) struct Known {
    pub(super) topics: Vec<(String, usize)>,
    pub(super) offsets: Vec<GroupOffset>,
}

pub(super) async fn known(broker: &Broker) -> Known {
    let all = broker.topics().all();
    let topics = all.iter().map(|topic| (topic.name.to_string(), topic.serving().count()));
    let mut topics: Vec<_> = topics.collect();
    topics.sort_unstable();
    let mut offsets = Vec::new();
    for group in ["g", "h"] {
        offsets.extend(broker.fetch_offsets(&Principal::Anonymous, group).await.unwrap());
    }
    Known { topics, offsets }
}

pub(super) fn findings(broker: &Broker, log: &str) -> Vec<String> {
    broker.topics().get(log).unwrap().serving().next().unwrap().findings()
}

pub(super) fn end(broker: Broker) {
    broker.inner.parts.committer.stop();
}

pub(super) fn stop(broker: Broker) {
    broker.begin_stop();
    broker.finish_stop();
}

/// A data folder, and what it holds.
pub(super) struct Left {
    pub(super) data: TempDir,
    pub(super) known: Known,
}

/// Two lives, both stopped cleanly.
pub(super) async fn stopped() -> Left {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path()).await.unwrap();
    create(&broker, "first").await;
    commit_at(&broker, "g", 3, "early").await;
    stop(broker);
    let broker = start(data.path()).await.unwrap();
    create(&broker, "second").await;
    commit_at(&broker, "g", 7, "late").await;
    commit_at(&broker, "h", 5, "other").await;
    let known = known(&broker).await;
    stop(broker);
    Left { data, known }
}

/// The second life crashes, and no snapshot was ever written: the logs are all there is. What the
/// first has written lies below the recovery point.
pub(super) async fn crashed() -> Left {
    let before = stopped().await;
    fs::remove_dir_all(before.data.path().join("coordinators")).unwrap();
    let broker = start(before.data.path()).await.unwrap();
    create(&broker, "third").await;
    commit_at(&broker, "h", 6, "last").await;
    let known = known(&broker).await;
    let data = copied(before.data.path());
    end(broker);
    Left { data, known }
}

pub(super) fn copied(data: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files(data) {
        let to = copy.path().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, trimmed(&data.join(file))).unwrap();
    }
    copy
}

/// Without the room that was made ahead in logs.
fn trimmed(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    if file.extension().is_some_and(|kind| kind == "log") {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used.next_multiple_of(64).min(bytes.len()));
    }
    bytes
}

/// All files but those that say nothing, relative to the folder.
pub(super) fn files(data: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![data.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !["lock", "reserve"].iter().any(|name| path.ends_with(name)) {
                files.push(path.strip_prefix(data).unwrap().to_owned());
            }
        }
    }
    files.sort_unstable();
    files
}

fn is_own(file: &Path) -> bool {
    !file.starts_with("topics") || file.to_string_lossy().contains("/__")
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1 << (at % 8);
    fs::write(file, bytes).unwrap();
}

/// How many starts went which way.
#[derive(Default, Debug)]
struct Counts {
    whole: usize,
    told: usize,
    refused: usize,
}

/// Flips a bit at many places, each in a copy. `may_refuse` are parts of the names of files that
/// nothing else can stand in for.
async fn flip_everywhere(left: &Left, may_refuse: &[&str]) -> Counts {
    let mut counts = Counts::default();
    for file in files(left.data.path()).into_iter().filter(|file| is_own(file)) {
        let bytes = fs::metadata(left.data.path().join(&file)).unwrap().len() as usize;
        let step = bytes.div_ceil(PLACES).max(1);
        for at in (0..bytes).step_by(step) {
            let copy = copied(left.data.path());
            flip(&copy.path().join(&file), at);
            let what = format!("{}, byte {at}", file.display());
            match start(copy.path()).await {
                Ok(broker) => started(broker, left, &what, &mut counts).await,
                Err(error) => {
                    let error = error.to_string();
                    let at_fault = file.parent().unwrap().to_string_lossy();
                    assert!(error.contains(&*at_fault), "{what}: {error}");
                    assert!(!error.contains("newer"), "{what}: {error}");
                    assert!(error.contains("docs/recovery.md"), "{what}: {error}");
                    assert!(may_refuse.iter().any(|name| what.contains(name)), "{what}: {error}");
                    put_back(&file, left, copy.path()).await;
                    counts.refused += 1;
                }
            }
        }
    }
    counts
}

/// A start that has refused has made nothing worse: with the one file put back all is there.
pub(super) async fn put_back(file: &Path, left: &Left, data: &Path) {
    fs::write(data.join(file), trimmed(&left.data.path().join(file))).unwrap();
    let broker = start(data).await.unwrap();
    assert_eq!(known(&broker).await, left.known, "{} was put back", file.display());
    end(broker);
}

async fn started(broker: Broker, left: &Left, what: &str, counts: &mut Counts) {
    let found = known(&broker).await;
    let [metadata, offsets] = [METADATA_LOG, OFFSETS_LOG].map(|log| findings(&broker, log));
    assert!(found.topics == left.known.topics || !metadata.is_empty(), "{what}: {found:?}");
    assert!(found.offsets == left.known.offsets || !offsets.is_empty(), "{what}: {found:?}");
    let told = [metadata, offsets].concat();
    counts.whole += usize::from(found == left.known);
    counts.told += usize::from(!told.is_empty());
    commit(&broker, "first").await;
    end(broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_no_bit_of_logs_or_snapshots_is_missed() {
    let left = stopped().await;
    let whole = start(left.data.path()).await.unwrap();
    assert_eq!(known(&whole).await, left.known);
    stop(whole);
    let counts = flip_everywhere(&left, &["format", "cluster-id", "partition.json"]).await;
    println!("{counts:?}");
    assert!(counts.told > 20 && counts.refused > 20, "{counts:?}");
    assert!(counts.whole > counts.told, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_what_is_lost_is_told() {
    let left = crashed().await;
    let alone = ["format", "cluster-id", "partition.json", "__cluster_metadata-0/000"];
    let counts = flip_everywhere(&left, &alone).await;
    println!("{counts:?}");
    assert!(counts.told > 5 && counts.refused > 20 && counts.whole > 20, "{counts:?}");
}

/// Where the log of these is.
pub(super) fn log_of(name: &str) -> PathBuf {
    Path::new("topics").join(format!("{name}-0")).join("00000000000000000000.log")
}

fn flip_text(data: &Path, log: &str, text: &str) {
    let file = data.join(log_of(log));
    let bytes = fs::read(&file).unwrap();
    let at = bytes.windows(text.len()).position(|found| found == text.as_bytes()).unwrap();
    flip(&file, at);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_covers_is_told_and_not_missed() {
    let left = stopped().await;
    flip_text(left.data.path(), OFFSETS_LOG, "late");
    flip_text(left.data.path(), METADATA_LOG, "second");
    let broker = start(left.data.path()).await.unwrap();
    assert_eq!(known(&broker).await, left.known);
    for log in [OFFSETS_LOG, METADATA_LOG] {
        let findings = findings(&broker, log);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let place = format!("{}, byte ", log_of(log).display());
        assert!(findings[0].contains(&place) && findings[0].contains("a snapshot"), "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_leaves_the_one_before_and_all_others() {
    let left = stopped().await;
    fs::remove_dir_all(left.data.path().join("coordinators")).unwrap();
    flip_text(left.data.path(), OFFSETS_LOG, "late");
    let broker = start_on(left.data.path(), Arc::new(Disk)).await;
    let known = known(&broker).await;
    assert_eq!(known.topics, left.known.topics);
    let committed: Vec<_> = known.offsets.iter().map(|offset| offset.metadata.as_str()).collect();
    assert_eq!(committed, ["early", "other"]);
    let findings = findings(&broker, OFFSETS_LOG);
    assert!(findings[0].contains("byte") && findings[0].ends_with("are lost"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_topic_vanishes_with_its_record() {
    let left = stopped().await;
    fs::remove_dir_all(left.data.path().join("coordinators")).unwrap();
    let log = left.data.path().join(log_of(METADATA_LOG));
    let backup = fs::read(&log).unwrap();
    flip_text(left.data.path(), METADATA_LOG, "second");
    let error = start(left.data.path()).await.err().unwrap().to_string();
    let place = format!("{}, byte ", log_of(METADATA_LOG).display());
    assert!(error.contains(&place) && error.contains("backup"), "{error}");
    assert!(!error.contains("newer"), "{error}");
    fs::write(log, backup).unwrap();
    assert!(start(left.data.path()).await.is_ok(), "put back, it serves again");
}
