//! From a broker back to a folder.
//!
//! The rule: first nothing new is taken, then what is under way is answered, then the
//! coordinators stop, then every log is closed; and only if all of that went well is the stop
//! noted as clean. A stop that is cut short is a crash, which costs the next start a little time
//! and nothing else.

use std::sync::Arc;

use super::{Broker, Stage};
use crate::parallel;
use crate::partition::Partition;

impl Broker {
    /// Refuses whatever is new from now on, tells the streams to end, and answers those who wait
    /// for other members of their groups.
    pub fn begin_stop(&self) {
        self.inner.stage.send_replace(Stage::Stopping);
        self.inner.groups.release();
    }

    /// Stops the coordinators, closes every log and notes a clean stop. Blocks on the disk.
    pub fn finish_stop(&self) {
        self.inner.metadata.stop();
        self.inner.groups.stop();
        let topics = self.inner.topics.all();
        let partitions: Vec<&Arc<Partition>> =
            topics.iter().flat_map(|topic| topic.serving()).collect();
        let closed = parallel::map(&partitions, |partition| close(partition));
        self.inner.parts.committer.stop();
        if closed.contains(&Closed::Uncleanly) {
            return tracing::warn!("not every log was closed cleanly: the next start will recover");
        }
        if let Err(error) = self.data_dir().mark_clean_stop() {
            tracing::warn!(%error, "the clean stop is not noted: the next start will recover");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    Cleanly,
    Uncleanly,
}

fn close(partition: &Partition) -> Closed {
    match partition.log().close() {
        Ok(()) => Closed::Cleanly,
        Err(error) => {
            tracing::error!(%partition, %error, "log not closed cleanly");
            Closed::Uncleanly
        }
    }
}
