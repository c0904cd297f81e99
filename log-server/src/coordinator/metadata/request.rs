//! What can be asked of the metadata: each a pure function from the state to records and a reply.

use std::sync::Arc;

use log_proto::types::{LeaderEpoch, ProducerId};

use super::record::{
    Change, LeaderEpochRaised, MetadataRecord, PartitionsAdded, ProducerIdsAllotted,
    TopicConfigured,
};
use super::state::{MetadataState, TopicMetadata, configs_to_record};
use crate::error::{
    AlterConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, LookupError,
};
use crate::limits;
use crate::topic_config::{ConfigChange, TopicConfigs};
use crate::topics::{TopicId, TopicName};

type Decided<T, E> = Result<(Vec<MetadataRecord>, T), E>;

/// Whether a topic may be created. Also asked before its folders are made.
pub(crate) fn check_create(
    state: &MetadataState,
    name: &TopicName,
    partitions: u32,
    partitions_max: u32,
) -> Result<(), CreateTopicError> {
    let present = state.partition_count();
    if state.topics.contains_key(name) {
        return Err(CreateTopicError::Exists { name: name.clone() });
    }
    if partitions == 0 || partitions > limits::TOPIC_PARTITIONS_MAX {
        return Err(CreateTopicError::Partitions { count: partitions });
    }
    if present + partitions as usize > partitions_max as usize {
        let max = partitions_max;
        return Err(CreateTopicError::BrokerPartitions { count: partitions, present, max });
    }
    Ok(())
}

/// Makes a topic known. Its folders are there already.
pub(crate) fn create_topic(
    state: &MetadataState,
    topic: &TopicMetadata,
    partitions_max: u32,
) -> Decided<(), CreateTopicError> {
    check_create(state, &topic.name, topic.partitions, partitions_max)?;
    Ok((vec![Change::TopicCreated(topic.to_record()).into()], ()))
}

/// Whether a topic may have `count` partitions instead of fewer. Also asked before their folders
/// are made. Answers what the topic is before.
pub(crate) fn check_partitions(
    state: &MetadataState,
    name: &TopicName,
    count: u32,
    partitions_max: u32,
) -> Result<Arc<TopicMetadata>, CreatePartitionsError> {
    let topic = find(state, name)?;
    let present = topic.partitions;
    if count <= present {
        let topic = topic.name.clone();
        return Err(CreatePartitionsError::NotMore { topic, present, count });
    }
    if count > limits::TOPIC_PARTITIONS_MAX {
        return Err(CreatePartitionsError::Partitions { count });
    }
    let (all, added, max) = (state.partition_count(), count - present, partitions_max);
    if all + added as usize > max as usize {
        let (count, present) = (added, all);
        return Err(CreatePartitionsError::BrokerPartitions { count, present, max });
    }
    Ok(Arc::clone(topic))
}

/// Makes more partitions of a topic known. Their folders are there already.
pub(crate) fn add_partitions(
    state: &MetadataState,
    name: &TopicName,
    count: u32,
    partitions_max: u32,
) -> Decided<(), CreatePartitionsError> {
    let topic = check_partitions(state, name, count, partitions_max)?;
    let topic_id = topic.id.0.as_bytes().to_vec();
    let record = PartitionsAdded { topic_id, partitions: count };
    Ok((vec![Change::PartitionsAdded(record).into()], ()))
}

/// Takes a topic from its users, unless it is another of the same name by now. Answers what is to
/// be removed.
pub(crate) fn delete_topic(
    state: &MetadataState,
    name: &TopicName,
    id: TopicId,
) -> Decided<Arc<TopicMetadata>, DeleteTopicError> {
    let topic = find(state, name)?;
    if topic.id != id {
        return Err(LookupError::UnknownTopic { name: name.to_string() }.into());
    }
    Ok((vec![Change::TopicDeleted(topic.id.to_record()).into()], Arc::clone(topic)))
}

/// Notes that nothing of a deleted topic is left. Asked again after a crash: then it is no news.
pub(crate) fn topic_removed(
    state: &MetadataState,
    topic: &TopicMetadata,
) -> Decided<(), std::convert::Infallible> {
    if !state.deleted.contains_key(&topic.id) {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Change::TopicRemoved(topic.id.to_record()).into()], ()))
}

/// Changes what is set on a topic, all of it or nothing. `defaults` is what the broker sets for
/// all topics. Answers what is set then.
pub(crate) fn alter_configs(
    state: &MetadataState,
    name: &TopicName,
    change: &ConfigChange,
    defaults: &TopicConfigs,
) -> Decided<TopicConfigs, AlterConfigsError> {
    let topic = find(state, name)?;
    let configs = change.apply(&topic.configs, defaults)?;
    if configs == topic.configs {
        return Ok((Vec::new(), configs));
    }
    let topic_id = topic.id.0.as_bytes().to_vec();
    let record = TopicConfigured { topic_id, configs: configs_to_record(&configs) };
    Ok((vec![Change::TopicConfigured(record).into()], configs))
}

/// A leader epoch that no batch of this broker was written under.
pub(crate) fn raise_leader_epoch(state: &MetadataState) -> Decided<LeaderEpoch, EpochsExhausted> {
    let raised = state.leader_epoch.next().ok_or(EpochsExhausted)?;
    let record = LeaderEpochRaised { leader_epoch: raised.get() };
    Ok((vec![Change::LeaderEpochRaised(record).into()], raised))
}

/// All leader epochs are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("all leader epochs are used up: 2^31 unclean starts are the most")]
pub(crate) struct EpochsExhausted;

/// Sets a block of producer ids aside, which nobody will be given again. Answers the first.
pub(crate) fn allot_producer_ids(state: &MetadataState) -> Decided<ProducerId, IdsExhausted> {
    let first = ProducerId::new(state.next_producer_id).ok_or(IdsExhausted)?;
    let next_producer_id =
        first.get().checked_add(limits::PRODUCER_ID_BLOCK).ok_or(IdsExhausted)?;
    Ok((vec![Change::ProducerIdsAllotted(ProducerIdsAllotted { next_producer_id }).into()], first))
}

/// All producer ids are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdsExhausted;

fn find<'a>(
    state: &'a MetadataState,
    name: &TopicName,
) -> Result<&'a Arc<TopicMetadata>, LookupError> {
    let found = state.topics.get(name);
    found.ok_or_else(|| LookupError::UnknownTopic { name: name.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::StateMachine;
    use crate::topics::TopicId;
    use uuid::Uuid;

    fn topic(name: &str, id: u128) -> TopicMetadata {
        TopicMetadata {
            name: TopicName::new(name).unwrap(),
            id: TopicId(Uuid::from_u128(id)),
            partitions: 3,
            configs: TopicConfigs::parse([("retention.ms", "5")]).unwrap(),
        }
    }

    fn apply<T, E: std::fmt::Debug>(state: &mut MetadataState, decided: Decided<T, E>) -> T {
        let (records, reply) = decided.unwrap();
        for record in records {
            state.replay(record).unwrap();
        }
        reply
    }

    fn create(state: &mut MetadataState, topic: &TopicMetadata) {
        let decided = create_topic(state, topic, 100);
        apply(state, decided);
    }

    /// A deleted topic whose folders are still there, and its successor of the same name.
    fn with_successor() -> MetadataState {
        let mut state = MetadataState::default();
        create(&mut state, &topic("t", 1));
        let first = topic("t", 1);
        let decided = delete_topic(&state, &first.name, first.id);
        apply(&mut state, decided);
        create(&mut state, &topic("t", 2));
        let decided = add_partitions(&state, &first.name, 5, 100);
        apply(&mut state, decided);
        let decided = allot_producer_ids(&state);
        apply(&mut state, decided);
        let decided = raise_leader_epoch(&state);
        apply(&mut state, decided);
        state
    }

    #[test]
    fn a_snapshot_rebuilds_the_state() {
        let state = with_successor();
        let mut rebuilt = MetadataState::default();
        for record in state.snapshot() {
            rebuilt.replay(record).unwrap();
        }
        assert_eq!(rebuilt, state);
        assert_eq!(rebuilt.next_producer_id, limits::PRODUCER_ID_BLOCK);
        assert_eq!(rebuilt.leader_epoch.get(), 1);
    }

    #[test]
    fn a_deleted_topic_is_remembered_until_it_is_removed() {
        let mut state = with_successor();
        assert_eq!(state.deleted.len(), 1);
        for _ in 0..2 {
            let decided = topic_removed(&state, &topic("t", 1));
            apply(&mut state, decided);
        }
        assert!(state.deleted.is_empty());
        assert_eq!(state.topics.len(), 1);
    }

    #[test]
    fn a_topic_is_created_once_and_within_bounds() {
        let state = with_successor();
        let exists = create_topic(&state, &topic("t", 3), 100).unwrap_err();
        assert!(matches!(exists, CreateTopicError::Exists { .. }));
        let full = create_topic(&state, &topic("u", 3), 7).unwrap_err();
        assert!(matches!(full, CreateTopicError::BrokerPartitions { present: 5, .. }));
        let none = TopicMetadata { partitions: 0, ..topic("u", 3) };
        assert!(matches!(create_topic(&state, &none, 5), Err(CreateTopicError::Partitions { .. })));
    }

    #[test]
    fn partitions_are_added_within_bounds_and_never_taken_away() {
        let mut state = with_successor();
        let name = topic("t", 2).name;
        for count in [0, 4, 5] {
            let refused = add_partitions(&state, &name, count, 100).unwrap_err();
            assert!(matches!(refused, CreatePartitionsError::NotMore { present: 5, .. }));
        }
        let full = add_partitions(&state, &name, 7, 6).unwrap_err();
        assert!(matches!(full, CreatePartitionsError::BrokerPartitions { count: 2, .. }));
        let many = add_partitions(&state, &name, u32::MAX, u32::MAX).unwrap_err();
        assert!(matches!(many, CreatePartitionsError::Partitions { .. }));
        let decided = add_partitions(&state, &name, 7, 7);
        apply(&mut state, decided);
        assert_eq!(state.topics[&name].partitions, 7);
    }

    /// Somebody who deletes by an old id, or found the topic just before it was replaced, must not
    /// hit its successor.
    #[test]
    fn deleting_a_topic_spares_its_successor() {
        let state = with_successor();
        let old = topic("t", 1);
        let refused = delete_topic(&state, &old.name, old.id).unwrap_err();
        assert!(matches!(refused, DeleteTopicError::Lookup(LookupError::UnknownTopic { .. })));
    }

    #[test]
    fn configs_change_all_or_none() {
        let mut state = with_successor();
        let name = topic("t", 2).name;
        let nothing = TopicConfigs::default();
        let set = TopicConfigs::parse([("flush.messages", "7")]).unwrap();
        let edit = |unset: &str| ConfigChange::edit(set.clone(), vec![unset.to_owned()]);
        assert!(alter_configs(&state, &name, &edit("nonsense"), &nothing).is_err());
        let decided = alter_configs(&state, &name, &edit("retention.ms"), &nothing);
        assert_eq!(apply(&mut state, decided), set);
        assert_eq!(state.topics[&name].configs, set);
        let same = ConfigChange::Replace(set);
        let (records, _) = alter_configs(&state, &name, &same, &nothing).unwrap();
        assert!(records.is_empty(), "what changes nothing writes nothing");
    }
}
