//! What a log costs that nobody uses: nothing that is counted per process.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use common::{Home, data};
use log_core::{Committer, Log, LogIdentity, OpenLog};

/// Alone in its file, because descriptors are counted for the whole process.
#[test]
fn a_thousand_logs_that_nobody_uses_hold_no_descriptor() {
    let root = common::root();
    let committer = Committer::start(1);
    let settings = |partition: u32| {
        let identity = LogIdentity { topic_id: uuid::Uuid::from_u128(1), partition };
        OpenLog::new(root.path().join(format!("log-{partition}")), identity, committer.clone())
    };
    let before = descriptors();
    let logs: Vec<Log> = (0..1000).map(|n| Log::open(settings(n)).unwrap().0).collect();
    assert_eq!(descriptors(), before, "just made");
    for log in &logs {
        log.close().unwrap();
    }
    drop(logs);
    let logs: Vec<Log> = (0..1000).map(|n| Log::open(settings(n)).unwrap().0).collect();
    assert_eq!(descriptors(), before, "opened again");
    drop(logs);

    // One that was written to and read lets go of what it holds once it is idle.
    let home = Home::small();
    let log = home.open();
    for n in 0..10 {
        log.put_durable(&data(format!("n{n}"), 1).padded(400));
    }
    assert_eq!(log.values().len(), 10);
    assert!(descriptors() > before);
    let maps = maps_of(&home);
    assert!(maps > 0);
    for _ in 0..40 {
        log.tick();
    }
    assert_eq!((descriptors(), maps_of(&home)), (before, 0));
    // Also when it is housekeeping that looked into it.
    log.apply_retention().unwrap();
    log.max_timestamp().unwrap();
    for _ in 0..40 {
        log.tick();
    }
    assert_eq!((descriptors(), maps_of(&home)), (before, 0));
    assert_eq!(log.values().len(), 10);
    log.stop();
    committer.stop();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of the log's files.
fn maps_of(home: &Home) -> usize {
    let folder = home.folder();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(folder.to_str().unwrap())).count()
}
