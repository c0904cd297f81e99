//! Goal: a start that would lose what topics there are refuses, and names the file; a start that
//! has refused has changed nothing, so that putting the file back is enough.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::own_files_tests::{Left, copied, crashed, files, known, log_of, start};
use super::startup::METADATA_LOG;

/// All files of the internal logs and their snapshots.
fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let ours = files(data).into_iter().filter(|file| {
        file.starts_with("coordinators") || file.to_string_lossy().starts_with("topics/__")
    });
    ours.map(|file| (file.clone(), fs::read(data.join(file)).unwrap())).collect()
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
