//! The state of the metadata: rebuilt by replay, read as an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use log_proto::types::LeaderEpoch;

use super::record::{
    Change, LeaderEpochRaised, MetadataRecord, PartitionsAdded, ProducerIdsAllotted,
    TopicConfigured, TopicCreated, TopicRef,
};
use crate::coordinator::{AfterLoss, NotUnderstood, StateMachine};
use crate::topic_config::TopicConfigs;
use crate::topics::{TopicId, TopicName};

/// A topic, as far as it must be remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicMetadata {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    /// At least one.
    pub(crate) partitions: u32,
    pub(crate) configs: TopicConfigs,
}

/// A topic that is gone for its users, but not from the disk.
pub(crate) type DeletedTopic = TopicMetadata;

/// Everything that the metadata log says. A clone shares the topics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MetadataState {
    pub(crate) topics: BTreeMap<TopicName, Arc<TopicMetadata>>,
    /// What a crash may have left half removed.
    pub(crate) deleted: BTreeMap<TopicId, Arc<DeletedTopic>>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// No producer has this id or a later one.
    pub(crate) next_producer_id: i64,
    /// The names of `topics`, by id.
    names: BTreeMap<TopicId, TopicName>,
}

impl MetadataState {
    pub(crate) fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions as usize).sum()
    }

    fn created(&mut self, created: TopicCreated) -> Result<(), NotUnderstood> {
        if created.partitions == 0 {
            return Err(NotUnderstood { what: "a topic without partitions" });
        }
        let topic = TopicMetadata {
            name: TopicName::new(&created.name)
                .map_err(|_| NotUnderstood { what: "a topic name that is none" })?,
            id: topic_id(&created.topic_id)?,
            partitions: created.partitions,
            configs: parse_configs(&created.configs)?,
        };
        self.names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), Arc::new(topic));
        Ok(())
    }

    fn configured(&mut self, configured: &TopicConfigured) -> Result<(), NotUnderstood> {
        let configs = parse_configs(&configured.configs)?;
        let name = self.name_of(&configured.topic_id)?;
        let topic = self.topics.get_mut(&name).ok_or(UNKNOWN_TOPIC)?;
        *topic = Arc::new(TopicMetadata { configs, ..TopicMetadata::clone(topic) });
        Ok(())
    }

    fn grown(&mut self, added: &PartitionsAdded) -> Result<(), NotUnderstood> {
        let name = self.name_of(&added.topic_id)?;
        let topic = self.topics.get_mut(&name).ok_or(UNKNOWN_TOPIC)?;
        if added.partitions <= topic.partitions {
            return Err(NotUnderstood { what: "partitions added that were there" });
        }
        let partitions = added.partitions;
        *topic = Arc::new(TopicMetadata { partitions, ..TopicMetadata::clone(topic) });
        Ok(())
    }

    fn deleted(&mut self, topic: &TopicRef) -> Result<(), NotUnderstood> {
        let name = self.name_of(&topic.topic_id)?;
        let topic = self.topics.remove(&name).ok_or(UNKNOWN_TOPIC)?;
        self.names.remove(&topic.id);
        self.deleted.insert(topic.id, topic);
        Ok(())
    }

    fn removed(&mut self, topic: &TopicRef) -> Result<(), NotUnderstood> {
        self.deleted.remove(&topic_id(&topic.topic_id)?).map(drop).ok_or(UNKNOWN_TOPIC)
    }

    fn name_of(&self, id: &[u8]) -> Result<TopicName, NotUnderstood> {
        self.names.get(&topic_id(id)?).cloned().ok_or(UNKNOWN_TOPIC)
    }
}

const UNKNOWN_TOPIC: NotUnderstood = NotUnderstood { what: "a topic that there is not" };

fn topic_id(bytes: &[u8]) -> Result<TopicId, NotUnderstood> {
    TopicId::from_slice(bytes).ok_or(NotUnderstood { what: "a topic id that is none" })
}

fn parse_configs(configs: &BTreeMap<String, String>) -> Result<TopicConfigs, NotUnderstood> {
    let pairs = configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    TopicConfigs::parse(pairs).map_err(|_| NotUnderstood { what: "a topic config that is none" })
}

impl StateMachine for MetadataState {
    type Record = MetadataRecord;

    /// Topics would be gone, the settings by which records are kept, or an epoch given out twice.
    const AFTER_LOSS: AfterLoss = AfterLoss::Refuse;

    fn replay(&mut self, record: MetadataRecord) -> Result<(), NotUnderstood> {
        match record.change.ok_or(NotUnderstood { what: "a change of an unknown kind" })? {
            Change::TopicCreated(created) => self.created(created),
            Change::TopicConfigured(configured) => self.configured(&configured),
            Change::PartitionsAdded(added) => self.grown(&added),
            Change::TopicDeleted(topic) => self.deleted(&topic),
            Change::TopicRemoved(topic) => self.removed(&topic),
            Change::LeaderEpochRaised(LeaderEpochRaised { leader_epoch }) => {
                self.leader_epoch = LeaderEpoch::new(leader_epoch)
                    .ok_or(NotUnderstood { what: "a negative leader epoch" })?;
                Ok(())
            }
            Change::ProducerIdsAllotted(ProducerIdsAllotted { next_producer_id }) => {
                self.next_producer_id = next_producer_id;
                Ok(())
            }
        }
    }

    fn snapshot(&self) -> Vec<MetadataRecord> {
        let leader_epoch = self.leader_epoch.get();
        let next_producer_id = self.next_producer_id;
        let mut records: Vec<MetadataRecord> = vec![
            Change::LeaderEpochRaised(LeaderEpochRaised { leader_epoch }).into(),
            Change::ProducerIdsAllotted(ProducerIdsAllotted { next_producer_id }).into(),
        ];
        // Deleted ones first: a topic of the same name may have been made since.
        for topic in self.deleted.values() {
            records.push(Change::TopicCreated(topic.to_record()).into());
            records.push(Change::TopicDeleted(topic.id.to_record()).into());
        }
        let live = self.topics.values();
        records.extend(live.map(|topic| Change::TopicCreated(topic.to_record()).into()));
        records
    }
}

impl TopicMetadata {
    pub(super) fn to_record(&self) -> TopicCreated {
        TopicCreated {
            name: self.name.to_string(),
            topic_id: self.id.0.as_bytes().to_vec(),
            partitions: self.partitions,
            configs: configs_to_record(&self.configs),
        }
    }
}

impl TopicId {
    pub(super) fn to_record(self) -> TopicRef {
        TopicRef { topic_id: self.0.as_bytes().to_vec() }
    }
}

pub(super) fn configs_to_record(configs: &TopicConfigs) -> BTreeMap<String, String> {
    configs.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
