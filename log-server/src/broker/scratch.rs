//! A broker in a folder of its own, which is deleted with it: for tests and fuzzing.

use std::sync::Arc;

use log_core::io::Disk;
use log_core::{Committer, SystemClock};
use tempfile::TempDir;

use super::Broker;
use crate::config::ServerConfig;
use crate::partition::PartitionParts;

/// The broker, and its folder. Dropped, the broker ends its threads in the order that they need.
pub(crate) struct Scratch {
    pub(crate) broker: Broker,
    _folder: TempDir,
}

impl Scratch {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let parts = PartitionParts {
            storage: Arc::new(Disk),
            clock: Arc::new(SystemClock),
            committer: Committer::start(1),
            pressure: Arc::default(),
            room: Arc::default(),
        };
        let config = ServerConfig { data_dir: folder.path().to_owned(), ..config };
        let broker = Broker::start(config, parts).await.expect("an empty folder");
        Self { broker, _folder: folder }
    }
}
