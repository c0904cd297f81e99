//! DeleteTopics, key 20, versions 1 to 6 (KIP-4, KIP-516, KIP-599).
//!
//! Each topic by itself, by name or, from version 6 on, by id. A topic that is deleted by its id is
//! that topic, whatever has its name by now. When this answers it is gone, and its folders too
//! unless the disk refused.
//!
//! Left out: `timeout_ms` (a topic is deleted in one go).

use std::sync::Arc;

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::repeats::Repeats;
use super::{TopicRef, topic_of, wire_id};
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number, text};
use crate::topics::Topic;

/// The first version that may name topics by id.
const BY_ID: i16 = 6;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked = asked(version, request);
    // Its name and its id are one topic.
    let key = |topic: &DeleteTopicState| match find(context, topic) {
        Ok(found) => (None, wire_id(&found)),
        Err(_) => (topic.name.clone(), topic.topic_id),
    };
    let keys: Vec<_> = asked.iter().map(key).collect();
    let mut repeats = Repeats::count(&keys);
    let mut responses = Vec::with_capacity(asked.len());
    for (topic, key) in asked.iter().zip(&keys) {
        match repeats.check(&key) {
            Some(Ok(())) => responses.push(delete(context, topic).await),
            Some(Err(refusal)) => responses.push(result(topic, None, &Err(refusal))),
            None => {}
        }
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

fn asked(version: i16, request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    if version >= BY_ID {
        return request.topics.clone();
    }
    let named =
        |name: &_| DeleteTopicState { name: Some(Clone::clone(name)), ..Default::default() };
    request.topic_names.iter().map(named).collect()
}

async fn delete(context: &Context, asked: &DeleteTopicState) -> DeletableTopicResult {
    let topic = match find(context, asked) {
        Ok(topic) => topic,
        Err(refusal) => return result(asked, None, &Err(refusal)),
    };
    let deleted = context.broker.delete_this_topic(&context.principal, Arc::clone(&topic)).await;
    result(asked, Some(&topic), &deleted.map_err(Refusal::from))
}

fn find(context: &Context, asked: &DeleteTopicState) -> Result<Arc<Topic>, Refusal> {
    let named = match &asked.name {
        Some(name) if asked.topic_id.is_zero() => TopicRef::Name(name),
        None if !asked.topic_id.is_zero() => TopicRef::Id(asked.topic_id),
        _ => {
            let message = "name each topic by its name or its id, not by both or none";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    };
    topic_of(&context.broker, named)
}

fn result(
    asked: &DeleteTopicState,
    found: Option<&Topic>,
    outcome: &Result<(), Refusal>,
) -> DeletableTopicResult {
    let (name, topic_id) = match found {
        Some(topic) => (Some(topic.name.as_str().into()), wire_id(topic)),
        None => (asked.name.clone(), asked.topic_id),
    };
    DeletableTopicResult {
        name,
        topic_id,
        error_code: number(outcome),
        error_message: text(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use log_proto::kafka::{Str, Uuid};

    fn by_id(topic_id: Uuid) -> DeleteTopicState {
        DeleteTopicState { name: None, topic_id }
    }

    async fn delete(rig: &Rig, topics: Vec<DeleteTopicState>) -> Vec<DeletableTopicResult> {
        let request = DeleteTopicsRequest { topics, ..Default::default() };
        let response = handle(&rig.context, 6, &request).await;
        assert_encodes(6, &response);
        response.responses
    }

    #[tokio::test]
    async fn an_id_stands_for_its_topic_and_for_no_successor() {
        let rig = Rig::with_topic().await;
        let id = wire_id(&rig.context.broker.topics().get("t").expect("the rig has it"));
        let deleted = delete(&rig, vec![by_id(id)]).await;
        assert_eq!((deleted[0].error_code, deleted[0].name.clone()), (0, Some("t".into())));
        rig.create("t").await;
        let again = delete(&rig, vec![by_id(id)]).await;
        assert_eq!(code(again[0].error_code), ErrorCode::UnknownTopicId);
        assert_eq!((again[0].name.clone(), again[0].topic_id), (None, id));
        assert!(rig.context.broker.topics().get("t").is_ok());
    }

    #[tokio::test]
    async fn a_topic_is_named_in_one_way_and_once() {
        let rig = Rig::with_topic().await;
        let id = wire_id(&rig.context.broker.topics().get("t").expect("the rig has it"));
        let named = |name: &str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let both = DeleteTopicState { topic_id: id, ..named("t") };
        let topics = vec![both, by_id(Uuid::ZERO), named("t"), named("t"), named("u")];
        let codes: Vec<_> =
            delete(&rig, topics).await.iter().map(|topic| code(topic.error_code)).collect();
        let refused = ErrorCode::InvalidRequest;
        assert_eq!(codes, [refused, refused, refused, ErrorCode::UnknownTopicOrPartition]);
        assert!(rig.context.broker.topics().get("t").is_ok());
    }

    #[tokio::test]
    async fn old_versions_delete_by_name() {
        let rig = Rig::start().await;
        for version in 1..=5 {
            rig.create("t").await;
            let topic_names = vec![Str::from("t"), Str::from("__consumer_offsets")];
            let request = DeleteTopicsRequest { topic_names, ..Default::default() };
            let response = handle(&rig.context, version, &request).await;
            assert_encodes(version, &response);
            let codes: Vec<_> = response.responses.iter().map(|one| code(one.error_code)).collect();
            assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidTopicException]);
        }
    }
}
