//! What a user knows of a broker: the model, and the look at the real one.
//!
//! The rule: only what a user can see counts. To compare the broker's own state would hold its
//! records against themselves.

use std::collections::BTreeMap;

use log_core::Isolation;
use log_proto::record::batches;
use log_proto::types::Offset;

use super::super::startup::{METADATA_LOG, OFFSETS_LOG};
use super::super::{Broker, Partition, Principal};
use crate::topics::{Topic, TopicId};

pub(super) const GROUPS: [&str; 2] = ["g", "h"];

/// A topic as a user knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KnownTopic {
    /// Nobody was told the id of a topic that was being created when the power failed.
    pub(super) id: Option<TopicId>,
    pub(super) retention_ms: Option<String>,
    /// The values of each partition's records.
    pub(super) partitions: Vec<Vec<String>>,
}

/// What a user knows of a broker.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) topics: BTreeMap<String, KnownTopic>,
    /// By group, topic and partition.
    pub(super) offsets: BTreeMap<(String, String, u32), i64>,
}

impl Known {
    /// All that a user sees.
    pub(super) async fn of(broker: &Broker) -> Self {
        let mut found = Self::default();
        for topic in broker.topics().all() {
            if ![METADATA_LOG, OFFSETS_LOG].contains(&topic.name.as_str()) {
                found.topics.insert(topic.name.to_string(), KnownTopic::of(&topic));
            }
        }
        for group in GROUPS {
            let committed = broker.fetch_offsets(&Principal::Anonymous, group).await;
            for of in committed.unwrap() {
                found.offsets.insert((group.to_owned(), of.topic, of.partition), of.offset.get());
            }
        }
        found
    }

    /// Whether this is what was found.
    pub(super) fn is(&self, found: &Self) -> bool {
        let mut known = self.clone();
        for (name, topic) in &mut known.topics {
            topic.id = topic.id.or(found.topics.get(name).and_then(|found| found.id));
        }
        known == *found
    }

    pub(super) fn delete(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.offsets.retain(|(_, of, _), _| of != topic);
    }
}

impl KnownTopic {
    fn of(topic: &Topic) -> Self {
        let configs = topic.configs.load();
        let retention_ms = configs.iter().find(|(name, _)| *name == "retention.ms");
        Self {
            id: Some(topic.id),
            retention_ms: retention_ms.map(|(_, value)| value.to_owned()),
            partitions: topic.serving().map(|partition| values(partition)).collect(),
        }
    }
}

fn values(partition: &Partition) -> Vec<String> {
    let fetched = partition.read(Offset::ZERO, usize::MAX, Isolation::HighWatermark).unwrap();
    let mut values = Vec::new();
    for batch in batches(fetched.batches) {
        for record in batch.unwrap().records(1 << 20).unwrap() {
            let record = record.unwrap();
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}
