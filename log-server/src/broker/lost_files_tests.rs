//! Goal: a start that would lose what topics there are refuses, and names the file; a start that
//! has refused has changed nothing, so that putting the file back is enough.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use log_core::inspect;

use super::own_files_tests::{
    Left, commit_at, copied, crashed, end, files, findings, known, log_of, start, stopped,
};
use super::startup::{METADATA_LOG, OFFSETS_LOG};
use super::tests::create;

/// The files of the internal logs and their snapshots.
fn own_files(data: &Path) -> impl Iterator<Item = PathBuf> {
    files(data).into_iter().filter(|file| {
        file.starts_with("coordinators") || file.to_string_lossy().starts_with("topics/__")
    })
}

fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    own_files(data).map(|file| (file.clone(), fs::read(data.join(file)).unwrap())).collect()
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

/// Each own file once missing, and the logs cut wherever a batch ends.
fn losses(data: &Path) -> Vec<(PathBuf, Loss)> {
    let mut losses: Vec<_> = own_files(data).map(|file| (file, Loss::Missing)).collect();
    for log in [METADATA_LOG, OFFSETS_LOG].map(log_of) {
        let batches = inspect::batches(&data.join(&log)).unwrap();
        losses.extend(batches.map(|batch| (log.clone(), Loss::CutTo(batch.unwrap().0))));
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
async fn lose_each(left: &Left) -> Counts {
    let mut counts = Counts::default();
    for (file, loss) in losses(left.data.path()) {
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
                fs::copy(left.data.path().join(&file), data.path().join(&file)).unwrap();
                knows_all(left, data.path()).await;
                counts.refused += 1;
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_snapshots_and_logs_stand_in_for_each_other() {
    let counts = lose_each(&stopped().await).await;
    assert!(counts.whole > 20 && counts.told == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_after_a_crash_takes_no_topic_with_it() {
    let counts = lose_each(&lived().await).await;
    assert!(counts.whole > 10 && counts.told > 2 && counts.refused > 5, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_before_the_first_snapshot_takes_no_topic_with_it() {
    let counts = lose_each(&lived_without_snapshots().await).await;
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
    fs::copy(left.data.path().join(&file), data.path().join(&file)).unwrap();
    knows_all(&left, data.path()).await;
}
