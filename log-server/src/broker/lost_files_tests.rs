//! Goal: a start that would lose what topics there are refuses, and names the file; a start that
//! has refused has changed nothing, so that putting the file back is enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use log_core::inspect::{self, FilePiece};
use log_core::io::{Disk, Entry, File, OpenMode, Storage};
use log_proto::record::{BatchBuilder, BatchOptions};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::own_files_tests::{
    Left, commit_at, copied, crashed, end, files, findings, known, log_of, put_back, start, stop,
    stopped,
};
use super::startup::{METADATA_LOG, OFFSETS_LOG};
use super::tests::{commit, create, try_start_on};
use super::{Acks, Broker, Principal};

/// The files of the internal logs and their snapshots.
fn own_files(data: &Path) -> impl Iterator<Item = PathBuf> {
    files(data).into_iter().filter(|file| {
        file.starts_with("coordinators") || file.to_string_lossy().starts_with("topics/__")
    })
}

fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let marker = data.join("clean-stop").exists().then(|| PathBuf::from("clean-stop"));
    let files = own_files(data).chain(marker);
    files.map(|file| (file.clone(), fs::read(data.join(file)).unwrap())).collect()
}

/// Three lives; the third begins after a crash and ends in one. So the checkpoints know of all that
/// the second has written, and the snapshots do not.
async fn lived() -> Left {
    let before = stopped().await;
    let broker = start(before.data.path()).await.unwrap();
    create(&broker, "third").await;
    commit_at(&broker, "h", 6, "last").await;
    let known = known(&broker).await;
    let crashed = copied(before.data.path());
    end(broker);
    let broker = start(crashed.path()).await.unwrap();
    let data = copied(crashed.path());
    end(broker);
    Left { data, known }
}

/// One life of a moment: no checkpoint, no snapshot.
async fn young() -> Left {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path()).await.unwrap();
    create(&broker, "first").await;
    commit_at(&broker, "g", 3, "early").await;
    let left = Left { data: copied(data.path()), known: known(&broker).await };
    end(broker);
    left
}

async fn lived_without_snapshots() -> Left {
    let left = lived().await;
    fs::remove_dir_all(left.data.path().join("coordinators")).unwrap();
    left
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Missing,
    CutTo(u64),
}

/// Each own file once missing.
fn missing(data: &Path) -> Vec<(PathBuf, Loss)> {
    own_files(data).map(|file| (file, Loss::Missing)).collect()
}

/// And the logs cut wherever a batch ends.
fn losses(data: &Path) -> Vec<(PathBuf, Loss)> {
    let mut losses = missing(data);
    for log in [METADATA_LOG, OFFSETS_LOG].map(log_of) {
        for piece in inspect::pieces(&data.join(&log)).unwrap() {
            let FilePiece::Batch(position, _) = piece.unwrap() else { panic!("{log:?} is sound") };
            losses.push((log.clone(), Loss::CutTo(position)));
        }
    }
    losses
}

fn lose(file: &Path, loss: Loss) {
    match loss {
        Loss::Missing => fs::remove_file(file).unwrap(),
        Loss::CutTo(bytes) => {
            fs::File::options().write(true).open(file).unwrap().set_len(bytes).unwrap()
        }
    }
}

/// How many starts went which way.
#[derive(Default, Debug)]
struct Counts {
    whole: usize,
    told: usize,
    refused: usize,
}

/// One loss after the other, each in a copy. No topic is ever lost, no offset in silence, and what
/// has refused starts once it has its file back.
async fn lose_each(left: &Left, losses: Vec<(PathBuf, Loss)>) -> Counts {
    let mut counts = Counts::default();
    for (file, loss) in losses {
        let (data, what) = (copied(left.data.path()), format!("{loss:?} {}", file.display()));
        lose(&data.path().join(&file), loss);
        match start(data.path()).await {
            Ok(broker) => {
                let found = known(&broker).await;
                assert_eq!(found.topics, left.known.topics, "{what}");
                let told = findings(&broker, OFFSETS_LOG).concat();
                let is_told = told.contains(file.to_str().unwrap());
                assert!(found == left.known || is_told, "{what}: {found:?}, {told}");
                counts.whole += usize::from(found == left.known);
                counts.told += usize::from(found != left.known);
                end(broker);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(file.to_str().unwrap()), "{what}: {error}");
                assert!(error.contains("docs/recovery.md"), "{what}: {error}");
                put_back(&file, left, data.path()).await;
                counts.refused += 1;
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_snapshots_and_logs_stand_in_for_each_other() {
    let left = stopped().await;
    let counts = lose_each(&left, losses(left.data.path())).await;
    assert!(counts.whole > 20 && counts.told == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_after_a_crash_takes_no_topic_with_it() {
    let left = lived().await;
    let counts = lose_each(&left, losses(left.data.path())).await;
    assert!(counts.whole > 10 && counts.told > 2 && counts.refused > 5, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_before_the_first_checkpoint_takes_no_topic_with_it() {
    let left = young().await;
    let counts = lose_each(&left, missing(left.data.path())).await;
    assert!(counts.told == 1 && counts.refused == 3, "{counts:?}");
}

/// Of a young broker too, which has nothing else that remembers what was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_logs_that_is_lost_refuses_until_it_is_put_back() {
    let internal = [METADATA_LOG, OFFSETS_LOG].map(|log| log_of(log).parent().unwrap().to_owned());
    for left in [young().await, stopped().await] {
        for folder in internal.iter().map(PathBuf::as_path).chain([Path::new("topics")]) {
            let data = copied(left.data.path());
            let aside = data.path().join("aside");
            fs::rename(data.path().join(folder), &aside).unwrap();
            for _ in 0..2 {
                refused(data.path(), &[folder.to_str().unwrap(), "put it back"]).await;
            }
            fs::rename(aside, data.path().join(folder)).expect("it is not made again");
            knows_all(&left, data.path()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_what_groups_committed_gets_the_rest() {
    let left = young().await;
    let folder = left.data.path().join(log_of(OFFSETS_LOG).parent().unwrap());
    fs::remove_dir_all(&folder).unwrap();
    refused(left.data.path(), &[folder.to_str().unwrap(), "make it, empty"]).await;
    fs::create_dir(&folder).unwrap();
    let broker = start(left.data.path()).await.unwrap();
    let found = known(&broker).await;
    assert_eq!((found.topics, found.offsets), (left.known.topics, vec![]));
    let told = findings(&broker, OFFSETS_LOG).concat();
    assert!(told.contains(folder.to_str().unwrap()) && told.contains("lost"), "{told}");
    commit_at(&broker, "g", 4, "again").await;
    end(broker);
}

/// What lies in a data folder before each step of its first start.
#[derive(Clone, Debug)]
struct Watched {
    data: PathBuf,
    seen: Arc<Mutex<Vec<TempDir>>>,
}

impl Watched {
    fn before_a_step(&self) -> Disk {
        let copy = copied(&self.data);
        for folder in ["topics", "coordinators"] {
            if self.data.join(folder).exists() {
                fs::create_dir_all(copy.path().join(folder)).unwrap();
            }
        }
        self.seen.lock().push(copy);
        Disk
    }
}

impl Storage for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::CreateNew | OpenMode::CreateOrEmpty => self.before_a_step().open(path, mode),
            _ => Disk.open(path, mode),
        }
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.before_a_step().create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        Disk.list(folder)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Disk.len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before_a_step().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.before_a_step().remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.before_a_step().remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_cut_short_anywhere_is_gone_on_with() {
    let data = tempfile::tempdir().unwrap();
    let watched = Watched { data: data.path().to_owned(), seen: Arc::default() };
    end(try_start_on(data.path(), Arc::new(watched.clone())).await.unwrap());
    let states = std::mem::take(&mut *watched.seen.lock());
    assert!(states.len() > 10, "{} steps", states.len());
    for state in states.iter().map(TempDir::path) {
        let broker = start(state).await.unwrap();
        create(&broker, "first").await;
        end(broker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_before_the_first_snapshot_takes_no_topic_with_it() {
    let left = lived_without_snapshots().await;
    let counts = lose_each(&left, losses(left.data.path())).await;
    assert!(counts.whole > 8 && counts.told > 2 && counts.refused > 5, "{counts:?}");
}

/// The start is refused, says why in these words, and has changed nothing.
async fn refused(data: &Path, words: &[&str]) {
    let before = contents(data);
    let error = start(data).await.err().expect("it must refuse").to_string();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(contents(data) == before, "changed, and refused: {error}");
}

async fn knows_all(left: &Left, data: &Path) {
    let broker = start(data).await.unwrap();
    assert_eq!(known(&broker).await, left.known);
    end(broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_log_whose_file_is_gone_refuses_until_it_is_put_back() {
    let left = crashed().await;
    let data = copied(left.data.path());
    let file = log_of(METADATA_LOG);
    fs::remove_file(data.path().join(&file)).unwrap();
    for _ in 0..2 {
        refused(data.path(), &[file.to_str().unwrap(), "put", "backup"]).await;
    }
    put_back(&file, &left, data.path()).await;
}

/// Metadata files of an earlier time, put in by mistake: what they do not know is left as it is,
/// empty partitions and commits included, until the right ones are back.
#[tokio::test]
async fn a_start_on_older_metadata_takes_nothing_away() {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path()).await.unwrap();
    create(&broker, "first").await;
    stop(broker);
    let older = copied(data.path());
    let broker = start(data.path()).await.unwrap();
    create(&broker, "second").await;
    produce_one(&broker, "second").await;
    commit(&broker, "second").await;
    let known_before = known(&broker).await;
    stop(broker);
    let newer = copied(data.path());
    let put_metadata = |from: &Path| {
        for file in own_files(from).filter(|file| file.to_string_lossy().contains(METADATA_LOG)) {
            fs::copy(from.join(&file), data.path().join(&file)).unwrap();
        }
    };
    put_metadata(older.path());
    let broker = start(data.path()).await.unwrap();
    assert!(broker.topics().get("second").is_err());
    stop(broker);
    put_metadata(newer.path());
    let broker = start(data.path()).await.unwrap();
    assert_eq!(known(&broker).await, known_before);
    stop(broker);
}

async fn produce_one(broker: &Broker, topic: &str) {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(broker.now(), None, Some(b"value"), &[]).unwrap();
    let batch = batch.build().unwrap();
    let topic = broker.topics().get(topic).unwrap();
    let memory = broker.admit(batch.len()).await.unwrap();
    let submitted = broker.submit(&Principal::Anonymous, &topic, 0, batch, memory).await;
    submitted.unwrap().acknowledged(Acks::All).await.unwrap();
}
