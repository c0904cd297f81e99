//! DescribeTopicPartitions, key 75, version 0 (KIP-966).
//!
//! Metadata in pages: topics by name, at most so many partitions in an answer, and a cursor that
//! says where the next page begins. No list of topics means all of them, a cursor begins at its
//! topic and partition, or at the next topic if its own is gone; where topics are listed, it must be
//! one of them.
//!
//! Left out: eligible leader replicas (there is one replica, which leads).

use std::sync::Arc;

use log_proto::kafka::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use log_proto::kafka::{ErrorCode, Str};

use super::metadata::TOPIC_OPERATIONS;
use super::wire_id;
use crate::kafka::{Context, NODE_ID};
use crate::topics::{PartitionState, Topic, TopicKind, TopicName};

/// `max.request.partition.size.limit` of Kafka: partitions in one answer.
const PARTITIONS_MAX: i32 = 2000;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let limit = request.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let mut left = usize::try_from(limit).expect("between 1 and the maximum");
    let begin = request.cursor.as_ref().map_or(0, |cursor| cursor.partition_index);
    let Ok(begin) = usize::try_from(begin) else { return refused(request) };
    if !is_asked_for(request) {
        return refused(request);
    }
    let mut topics = Vec::new();
    for name in names(context, request) {
        let is_cursor = request.cursor.as_ref().is_some_and(|cursor| cursor.topic_name == name);
        let first = if is_cursor { begin } else { 0 };
        if left == 0 {
            return DescribeTopicPartitionsResponse {
                topics,
                next_cursor: Some(cursor(&name, 0)),
                ..Default::default()
            };
        }
        let Ok(topic) = context.broker.topics().get(name.as_str()) else {
            topics.push(missing(&name));
            continue;
        };
        let page = describe(&topic, first, left);
        let next = first + page.partitions.len();
        left -= page.partitions.len();
        topics.push(page);
        if next < topic.partitions.len() {
            return DescribeTopicPartitionsResponse {
                topics,
                next_cursor: Some(cursor(&name, next)),
                ..Default::default()
            };
        }
    }
    DescribeTopicPartitionsResponse { topics, ..Default::default() }
}

/// Whether the cursor, if there is one, points into what the request lists.
fn is_asked_for(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let mut names = request.topics.iter().map(|topic| &topic.name);
    names.len() == 0 || names.any(|name| *name == cursor.topic_name)
}

/// What is asked for, from the cursor on, in order and once.
fn names(context: &Context, request: &DescribeTopicPartitionsRequest) -> Vec<Str> {
    let mut names: Vec<Str> = match request.topics.is_empty() {
        true => {
            let all = context.broker.topics().all();
            all.iter().map(|topic: &Arc<Topic>| topic.name.as_str().into()).collect()
        }
        false => request.topics.iter().map(|topic| topic.name.clone()).collect(),
    };
    names.sort_unstable();
    names.dedup();
    if let Some(cursor) = &request.cursor {
        names.retain(|name| *name >= cursor.topic_name);
    }
    names
}

fn cursor(topic_name: &Str, partition: usize) -> Cursor {
    let partition_index = i32::try_from(partition).expect("partitions have at most five digits");
    Cursor { topic_name: topic_name.clone(), partition_index }
}

fn describe(topic: &Topic, first: usize, max: usize) -> DescribeTopicPartitionsResponseTopic {
    let partitions = (0..).zip(topic.partitions.iter()).skip(first).take(max);
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: wire_id(topic),
        is_internal: topic.kind == TopicKind::Internal,
        partitions: partitions.map(|(index, state)| partition(index, state)).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

/// A partition whose log did not open has no leader, as where its only replica is down.
fn partition(index: i32, state: &PartitionState) -> DescribeTopicPartitionsResponsePartition {
    let nodes = vec![NODE_ID];
    let partition = DescribeTopicPartitionsResponsePartition {
        partition_index: index,
        replica_nodes: nodes.clone(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    };
    match state {
        PartitionState::Serving(serving) => DescribeTopicPartitionsResponsePartition {
            leader_id: NODE_ID,
            leader_epoch: serving.leader_epoch().get(),
            isr_nodes: nodes,
            ..partition
        },
        PartitionState::Failed(_) => DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::LeaderNotAvailable.number(),
            leader_id: -1,
            offline_replicas: nodes,
            ..partition
        },
    }
}

fn missing(name: &Str) -> DescribeTopicPartitionsResponseTopic {
    let code = match TopicName::new(name.as_str()) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..failed(name, code)
    }
}

fn failed(name: &Str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.number(),
        name: Some(name.clone()),
        ..Default::default()
    }
}

/// The response has no error of its own, so each topic has it.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let names = request.topics.iter().map(|topic| &topic.name);
    let topics = names.map(|name| failed(name, ErrorCode::InvalidRequest)).collect();
    DescribeTopicPartitionsResponse { topics, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use log_proto::kafka::messages::describe_topic_partitions::TopicRequest;

    /// Topic and number of every partition, or the topic's error.
    fn flat(response: &DescribeTopicPartitionsResponse) -> Vec<String> {
        let mut flat = Vec::new();
        for topic in &response.topics {
            let name = topic.name.clone().unwrap_or_default();
            if topic.error_code != 0 {
                flat.push(format!("{name}: {}", code(topic.error_code)));
            }
            flat.extend(
                topic.partitions.iter().map(|one| format!("{name}-{}", one.partition_index)),
            );
        }
        flat
    }

    /// Goal: page by page, each partition is told once.
    #[tokio::test]
    async fn the_cursor_leads_through_all_partitions() {
        let rig = Rig::start().await;
        for name in ["a", "c", "d"] {
            rig.create(name).await;
        }
        let names = ["d", "b", "a", "c", "a"];
        let topics = names.map(|name| TopicRequest { name: name.into() }).to_vec();
        for (limit, pages) in [(1, 6), (2, 3), (3, 2), (100, 1)] {
            let mut request = DescribeTopicPartitionsRequest {
                topics: topics.clone(),
                response_partition_limit: limit,
                cursor: None,
            };
            let mut seen = Vec::new();
            for page in 1..=pages {
                let response = handle(&rig.context, 0, &request).await;
                assert_encodes(0, &response);
                seen.extend(flat(&response));
                request.cursor = response.next_cursor;
                assert_eq!(request.cursor.is_none(), page == pages, "page {page} of {pages}");
            }
            let all = ["a-0", "a-1", "b: UNKNOWN_TOPIC_OR_PARTITION", "c-0", "c-1", "d-0", "d-1"];
            assert_eq!(seen, all, "limit {limit}");
        }
    }

    #[tokio::test]
    async fn a_cursor_points_into_what_is_asked_for() {
        let rig = Rig::with_topic().await;
        let topics = vec![TopicRequest { name: "t".into() }];
        for (topic_name, partition_index) in [("t", -1), ("s", 0)] {
            let cursor = Some(Cursor { topic_name: topic_name.into(), partition_index });
            let topics = topics.clone();
            let request =
                DescribeTopicPartitionsRequest { topics, response_partition_limit: 1, cursor };
            let refused = handle(&rig.context, 0, &request).await;
            assert_eq!(flat(&refused), ["t: INVALID_REQUEST"]);
        }
    }

    /// A page without anything on it would be the same page for ever.
    #[tokio::test]
    async fn a_page_holds_at_least_one_partition() {
        let rig = Rig::with_topic().await;
        for response_partition_limit in [0, -1] {
            let topics = vec![TopicRequest { name: "t".into() }];
            let request =
                DescribeTopicPartitionsRequest { topics, response_partition_limit, cursor: None };
            let page = handle(&rig.context, 0, &request).await;
            assert_eq!(flat(&page), ["t-0"]);
        }
    }
}
