//! Metadata, key 3, versions 0 to 13 (KIP-4, KIP-516, KIP-430, KIP-1102).
//!
//! One broker, which leads every partition. A topic that is asked for by name and not there is
//! created, if the request allows it and `auto.create.topics.enable` does; it is there when the
//! answer says so, without the LEADER_NOT_AVAILABLE that a cluster needs some rounds of.
//!
//! Authorized operations: with no authorization everything is allowed, and that is what is said.

use std::sync::Arc;

use log_proto::kafka::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use log_proto::kafka::{ErrorCode, Uuid};

use super::repeats::once;
use super::{TopicRef, topic_of, wire_id};
use crate::broker::Mode;
use crate::error::CreateTopicError;
use crate::kafka::error::Refusal;
use crate::kafka::{Context, NODE_ID};
use crate::topic_config::TopicConfigs;
use crate::topics::{PartitionState, Topic, TopicKind, TopicName};

/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: one bit each,
/// by their numbers in Kafka's AclOperation.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// What stands for operations that were not asked for.
const NOT_ASKED: i32 = i32::MIN;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &MetadataRequest,
) -> MetadataResponse {
    let topics = match &request.topics {
        // Version 0 has no null: an empty list means all.
        Some(topics) if version > 0 || !topics.is_empty() => {
            let mut found = Vec::new();
            for asked in once(topics, |asked| (&asked.name, asked.topic_id)) {
                found.push(look_up(context, version, request, asked).await);
            }
            found
        }
        _ => context.broker.topics().all().iter().map(|topic| describe(request, topic)).collect(),
    };
    let cluster_operations = match request.include_cluster_authorized_operations {
        true => CLUSTER_OPERATIONS,
        false => NOT_ASKED,
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NODE_ID,
            host: (&*context.advertised.host).into(),
            port: i32::from(context.advertised.port),
            rack: None,
        }],
        cluster_id: Some(context.broker.cluster_id().into()),
        controller_id: NODE_ID,
        topics,
        cluster_authorized_operations: cluster_operations,
        ..Default::default()
    }
}

async fn look_up(
    context: &Context,
    version: i16,
    request: &MetadataRequest,
    asked: &MetadataRequestTopic,
) -> MetadataResponseTopic {
    // Who gives an id means it, whatever stands where the name would be: the Java client leaves an
    // empty one there.
    let name = asked.name.as_ref().filter(|_| asked.topic_id == Uuid::ZERO);
    let found = match name {
        Some(name) => find_or_create(context, version, request, name.as_str()).await,
        None => topic_of(&context.broker, TopicRef::Id(asked.topic_id)),
    };
    match found {
        Ok(topic) => describe(request, &topic),
        Err(refusal) => MetadataResponseTopic {
            error_code: refusal.number(),
            name: name.cloned().or((version < 12).then(Default::default)),
            topic_id: asked.topic_id,
            topic_authorized_operations: NOT_ASKED,
            ..Default::default()
        },
    }
}

async fn find_or_create(
    context: &Context,
    version: i16,
    request: &MetadataRequest,
    name: &str,
) -> Result<Arc<Topic>, Refusal> {
    let broker = &context.broker;
    let missing = match broker.topics().get(name) {
        Ok(topic) => return Ok(topic),
        Err(missing) => missing,
    };
    if let Err(error) = TopicName::new(name) {
        return Err(Refusal::new(ErrorCode::InvalidTopicException, error.to_string()));
    }
    // Before version 4 a request could not say.
    let is_asked_for = version < 4 || request.allow_auto_topic_creation;
    if !(is_asked_for && broker.config().auto_create_topics) {
        return Err(missing.into());
    }
    let nothing_set = TopicConfigs::default();
    let created =
        broker.create_topic(&context.principal, name, None, nothing_set, Mode::Apply).await;
    match created {
        // Somebody else was faster, which is as good.
        Ok(_) | Err(CreateTopicError::Exists { .. }) => Ok(broker.topics().get(name)?),
        Err(error) => Err(error.into()),
    }
}

fn describe(request: &MetadataRequest, topic: &Topic) -> MetadataResponseTopic {
    let operations = match request.include_topic_authorized_operations {
        true => TOPIC_OPERATIONS,
        false => NOT_ASKED,
    };
    let partitions = (0..).zip(topic.partitions.iter());
    MetadataResponseTopic {
        error_code: ErrorCode::None.number(),
        name: Some(topic.name.as_str().into()),
        topic_id: wire_id(topic),
        is_internal: topic.kind == TopicKind::Internal,
        partitions: partitions.map(|(index, state)| partition(index, state)).collect(),
        topic_authorized_operations: operations,
    }
}

/// A partition whose log did not open has no leader, as where its only replica is down.
fn partition(index: i32, state: &PartitionState) -> MetadataResponsePartition {
    let nodes = vec![NODE_ID];
    match state {
        PartitionState::Serving(partition) => MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE_ID,
            leader_epoch: partition.leader_epoch().get(),
            replica_nodes: nodes.clone(),
            isr_nodes: nodes,
            ..Default::default()
        },
        PartitionState::Failed(_) => MetadataResponsePartition {
            error_code: ErrorCode::LeaderNotAvailable.number(),
            partition_index: index,
            leader_id: -1,
            replica_nodes: nodes.clone(),
            offline_replicas: nodes,
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};

    /// Goal: a consumer that knows a topic by its id alone learns its name, whatever its client
    /// puts where the name would be.
    #[tokio::test]
    async fn an_id_finds_a_topic_beside_an_empty_name() {
        let rig = Rig::with_topic().await;
        let topic_id = wire_id(&rig.context.broker.topics().get("t").expect("the rig has it"));
        for (topic_id, name, found) in [
            (topic_id, Some("".into()), ErrorCode::None),
            (topic_id, None, ErrorCode::None),
            (Uuid::from_bytes([7; 16]), Some("".into()), ErrorCode::UnknownTopicId),
        ] {
            let asked = MetadataRequestTopic { topic_id, name };
            let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
            let response = handle(&rig.context, 13, &request).await;
            assert_encodes(13, &response);
            let topic = &response.topics[0];
            assert_eq!((code(topic.error_code), topic.topic_id), (found, topic_id));
            let name = topic.name.as_ref().map(|name| name.as_str());
            assert_eq!(name, (found == ErrorCode::None).then_some("t"));
        }
    }
}
