//! CreateTopics, key 19, versions 2 to 7 (KIP-4, KIP-195, KIP-464, KIP-516, KIP-525).
//!
//! Each topic by itself: one that is refused does not keep the others from being made. A topic is
//! on the disk and ready to use when the answer says so. -1 partitions are as many as
//! `num.partitions` says, and replicas are one: -1 and 1 are taken for their number. Partitions may
//! be assigned by hand, to the one broker that there is. From version 5 on the answer carries the
//! configs of the new topic. More than 10,000 topics in one request are refused.
//!
//! Left out: `timeout_ms` (a topic is made in one go).

use log_proto::kafka::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use log_proto::kafka::{ErrorCode, Uuid};

use super::config_entries::{Detail, of_topic};
use super::repeats::Repeats;
use crate::broker::{CreatedTopic, Mode};
use crate::kafka::error::Refusal;
use crate::kafka::{Context, NODE_ID};
use crate::limits::CREATE_TOPICS_MAX;
use crate::topic_config::{TopicConfigError, TopicConfigs};

/// What stands for a number that is left to the broker.
const UNSAID: i32 = -1;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mode = super::mode(request.validate_only);
    let count = check_count(request);
    let mut repeats = Repeats::count(request.topics.iter().map(|topic| &topic.name));
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let Some(checked) = repeats.check(&&topic.name) else { continue };
        let outcome = match checked.and(count.clone()) {
            Ok(()) => create(context, topic, mode).await,
            Err(refusal) => Err(refusal),
        };
        let result = outcome.unwrap_or_else(|refusal| refused(&refusal));
        topics.push(CreatableTopicResult { name: topic.name.clone(), ..result });
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

/// A topic is answered with all of its configs, also where none is made.
fn check_count(request: &CreateTopicsRequest) -> Result<(), Refusal> {
    let (count, max) = (request.topics.len(), CREATE_TOPICS_MAX);
    if count <= max {
        return Ok(());
    }
    let message = format!("{count} topics in one request: create at most {max} at once");
    Err(Refusal::new(ErrorCode::PolicyViolation, message))
}

async fn create(
    context: &Context,
    topic: &CreatableTopic,
    mode: Mode,
) -> Result<CreatableTopicResult, Refusal> {
    let partitions = partitions(topic)?;
    let configs = configs(topic)?;
    let created = context
        .broker
        .create_topic(&context.principal, topic.name.as_str(), partitions, configs.clone(), mode)
        .await?;
    Ok(describe(context, &created, &configs))
}

/// How many partitions; `None` leaves it to the broker.
fn partitions(topic: &CreatableTopic) -> Result<Option<u32>, Refusal> {
    if !topic.assignments.is_empty() {
        return assigned(topic).map(Some);
    }
    check_replicas(topic.replication_factor)?;
    if topic.num_partitions == UNSAID {
        return Ok(None);
    }
    let count = u32::try_from(topic.num_partitions).ok().filter(|count| *count > 0);
    count.map(Some).ok_or_else(|| {
        let message = format!("{} partitions: ask for at least one", topic.num_partitions);
        Refusal::new(ErrorCode::InvalidPartitions, message)
    })
}

fn check_replicas(replication_factor: i16) -> Result<(), Refusal> {
    if matches!(replication_factor, -1 | 1) {
        return Ok(());
    }
    let message =
        format!("replication factor {replication_factor}: there is one broker, ask for 1");
    Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
}

/// How many partitions were assigned by hand. Their numbers go from 0 on, and all are here.
fn assigned(topic: &CreatableTopic) -> Result<u32, Refusal> {
    if i32::from(topic.replication_factor) != UNSAID || topic.num_partitions != UNSAID {
        let message = "partitions are assigned by hand: leave their number and the replication \
                       factor at -1";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let mut numbers: Vec<i32> = topic.assignments.iter().map(|one| one.partition_index).collect();
    numbers.sort_unstable();
    let here = |one: &CreatableReplicaAssignment| one.broker_ids == [NODE_ID];
    if !numbers.iter().zip(0..).all(|(number, place)| *number == place) {
        let message = "the assigned partitions are not those from 0 on, each once";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    if !topic.assignments.iter().all(here) {
        let message = format!("there is one broker: assign each partition to {NODE_ID}");
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    u32::try_from(numbers.len())
        .map_err(|_| Refusal::new(ErrorCode::InvalidPartitions, "too many partitions"))
}

fn configs(topic: &CreatableTopic) -> Result<TopicConfigs, Refusal> {
    let mut configs = TopicConfigs::default();
    for config in &topic.configs {
        let value = config.value.as_ref().ok_or_else(|| {
            let message = format!("{} is null: give it a value or leave it out", config.name);
            Refusal::new(ErrorCode::InvalidConfig, message)
        })?;
        let set = configs.set(config.name.as_str(), value.as_str());
        set.map_err(|error: TopicConfigError| {
            Refusal::new(ErrorCode::InvalidConfig, error.to_string())
        })?;
    }
    Ok(configs)
}

fn describe(
    context: &Context,
    created: &CreatedTopic,
    configs: &TopicConfigs,
) -> CreatableTopicResult {
    let defaults = &context.broker.config().topic_defaults;
    let detail = Detail { synonyms: false, documentation: false };
    let entries = of_topic(configs, defaults, detail, |_| true);
    let entries = entries.into_iter().map(|entry| CreatableTopicConfigs {
        name: entry.name,
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.config_source,
        is_sensitive: entry.is_sensitive,
    });
    CreatableTopicResult {
        topic_id: created.id.map_or(Uuid::ZERO, |id| Uuid::from_bytes(*id.0.as_bytes())),
        error_message: None,
        num_partitions: i32::try_from(created.partitions).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs: Some(entries.collect()),
        ..Default::default()
    }
}

fn refused(refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        error_code: refusal.number(),
        error_message: refusal.text(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code, new_topic};
    use log_proto::kafka::messages::create_topics::CreatableTopicConfig;

    fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
        CreateTopicsRequest { topics, ..Default::default() }
    }

    fn assign(partitions: &[(i32, &[i32])]) -> Vec<CreatableReplicaAssignment> {
        let assignment = |(partition_index, broker_ids): &(i32, &[i32])| {
            let (partition_index, broker_ids) = (*partition_index, broker_ids.to_vec());
            CreatableReplicaAssignment { partition_index, broker_ids }
        };
        partitions.iter().map(assignment).collect()
    }

    fn config(name: &str, value: Option<&str>) -> Vec<CreatableTopicConfig> {
        vec![CreatableTopicConfig { name: name.into(), value: value.map(Into::into) }]
    }

    async fn outcome(rig: &Rig, topic: CreatableTopic) -> ErrorCode {
        let response = handle(&rig.context, 7, &request(vec![topic])).await;
        code(response.topics[0].error_code)
    }

    #[tokio::test]
    async fn each_mistake_has_its_code() {
        let rig = Rig::with_topic().await;
        let new = || new_topic("new");
        let by_hand = |partitions| CreatableTopic { assignments: assign(partitions), ..new() };
        let configured = |name, value| CreatableTopic { configs: config(name, value), ..new() };
        let cases = [
            (new_topic("t"), ErrorCode::TopicAlreadyExists),
            (new_topic("a/b"), ErrorCode::InvalidTopicException),
            (new_topic("__consumer_offsets"), ErrorCode::InvalidTopicException),
            (CreatableTopic { num_partitions: 0, ..new() }, ErrorCode::InvalidPartitions),
            (CreatableTopic { num_partitions: i32::MAX, ..new() }, ErrorCode::InvalidPartitions),
            (
                CreatableTopic { replication_factor: 3, ..new() },
                ErrorCode::InvalidReplicationFactor,
            ),
            (
                CreatableTopic { replication_factor: 0, ..new() },
                ErrorCode::InvalidReplicationFactor,
            ),
            (
                CreatableTopic { num_partitions: 1, ..by_hand(&[(0, &[1])]) },
                ErrorCode::InvalidRequest,
            ),
            (by_hand(&[(1, &[1])]), ErrorCode::InvalidReplicaAssignment),
            (by_hand(&[(0, &[1]), (0, &[1])]), ErrorCode::InvalidReplicaAssignment),
            (by_hand(&[(0, &[1, 2])]), ErrorCode::InvalidReplicaAssignment),
            (configured("retention", Some("1")), ErrorCode::InvalidConfig),
            (configured("retention.ms", Some("x")), ErrorCode::InvalidConfig),
            (configured("retention.ms", None), ErrorCode::InvalidConfig),
            (configured("min.insync.replicas", Some("2")), ErrorCode::InvalidConfig),
        ];
        for (topic, expected) in cases {
            let text = format!("{topic:?}");
            assert_eq!(outcome(&rig, topic).await, expected, "{text}");
        }
        assert!(rig.context.broker.topics().get("new").is_err());
    }

    #[tokio::test]
    async fn a_new_topic_is_described_to_those_who_can_read_it() {
        let rig = Rig::start().await;
        for version in 2..=7 {
            let name = format!("t{version}");
            let topic = CreatableTopic {
                assignments: assign(&[(1, &[1]), (0, &[1])]),
                configs: config("retention.ms", Some("7")),
                ..new_topic(&name)
            };
            let response = handle(&rig.context, version, &request(vec![topic])).await;
            assert_encodes(version, &response);
            let created = &response.topics[0];
            assert_eq!((created.error_code, created.num_partitions), (0, 2));
            let topic = rig.context.broker.topics().get(&name).expect("it is there");
            assert_eq!(created.topic_id.as_bytes(), topic.id.0.as_bytes());
            let configs = created.configs.as_deref().unwrap_or_default();
            let retention = configs.iter().find(|config| config.name == "retention.ms");
            let retention = retention.expect("every config is told");
            assert_eq!((retention.value.clone(), retention.config_source), (Some("7".into()), 1));
        }
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused_and_told_so() {
        let rig = Rig::start().await;
        let names = (0..=CREATE_TOPICS_MAX).map(|number| new_topic(&format!("t{number}")));
        let asked = CreateTopicsRequest { validate_only: true, ..request(names.collect()) };
        let response = handle(&rig.context, 7, &asked).await;
        let refused = |topic: &CreatableTopicResult| {
            code(topic.error_code) == ErrorCode::PolicyViolation
                && topic.configs.as_deref().is_none_or(<[_]>::is_empty)
        };
        assert!(response.topics.len() == asked.topics.len() && response.topics.iter().all(refused));
    }

    #[tokio::test]
    async fn a_question_makes_no_topic_and_a_repetition_neither() {
        let rig = Rig::start().await;
        let asked = CreateTopicsRequest { validate_only: true, ..request(vec![new_topic("t")]) };
        let response = handle(&rig.context, 7, &asked).await;
        assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 1));
        let twice = request(vec![new_topic("t"), new_topic("u"), new_topic("t")]);
        let response = handle(&rig.context, 7, &twice).await;
        let codes: Vec<_> = response.topics.iter().map(|topic| code(topic.error_code)).collect();
        assert_eq!(codes, [ErrorCode::InvalidRequest, ErrorCode::None]);
        assert!(rig.context.broker.topics().get("t").is_err());
    }
}
