//! CreatePartitions, key 37, versions 0 to 3 (KIP-195, KIP-599).
//!
//! Gives topics more partitions: `count` is how many a topic has afterwards. Each topic by itself.
//! New partitions may be assigned by hand, to the one broker that there is. They are on the disk
//! and ready to use when the answer says so.
//!
//! Left out: `timeout_ms` (partitions are made in one go).

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::repeats::Repeats;
use super::{TopicRef, topic_of};
use crate::broker::Mode;
use crate::kafka::error::{Refusal, number, text};
use crate::kafka::{Context, NODE_ID};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mode = super::mode(request.validate_only);
    let mut repeats = Repeats::count(request.topics.iter().map(|topic| &topic.name));
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let Some(checked) = repeats.check(&&topic.name) else { continue };
        let outcome = match checked {
            Ok(()) => create(context, topic, mode).await,
            Err(refusal) => Err(refusal),
        };
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: number(&outcome),
            error_message: text(&outcome),
        });
    }
    CreatePartitionsResponse { results, ..Default::default() }
}

async fn create(
    context: &Context,
    asked: &CreatePartitionsTopic,
    mode: Mode,
) -> Result<(), Refusal> {
    let topic = topic_of(&context.broker, TopicRef::Name(&asked.name))?;
    // A count that is negative is at any rate not more than there are.
    let count = u32::try_from(asked.count).unwrap_or(0);
    check_assignments(asked, i64::from(count) - topic.partitions.len() as i64)?;
    let name = asked.name.as_str();
    Ok(context.broker.create_partitions(&context.principal, name, count, mode).await?)
}

fn check_assignments(asked: &CreatePartitionsTopic, added: i64) -> Result<(), Refusal> {
    let Some(assignments) = asked.assignments.as_ref().filter(|_| added > 0) else {
        return Ok(());
    };
    let refused = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if assignments.len() as i64 != added {
        let given = assignments.len();
        return refused(format!("{added} partitions are added, and {given} are assigned"));
    }
    if assignments.iter().any(|assignment| assignment.broker_ids != [NODE_ID]) {
        return refused(format!("there is one broker: assign each partition to {NODE_ID}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use log_proto::kafka::messages::create_partitions::CreatePartitionsAssignment;

    fn to(name: &str, count: i32) -> CreatePartitionsTopic {
        CreatePartitionsTopic { name: name.into(), count, assignments: None }
    }

    fn by_hand(count: i32, brokers: &[i32]) -> CreatePartitionsTopic {
        let assignment = |broker: &i32| CreatePartitionsAssignment { broker_ids: vec![*broker] };
        let assignments = Some(brokers.iter().map(assignment).collect());
        CreatePartitionsTopic { assignments, ..to("t", count) }
    }

    async fn outcomes(rig: &Rig, topics: Vec<CreatePartitionsTopic>) -> Vec<ErrorCode> {
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let response = handle(&rig.context, 3, &request).await;
        assert_encodes(3, &response);
        response.results.iter().map(|result| code(result.error_code)).collect()
    }

    #[tokio::test]
    async fn a_topic_grows_and_never_shrinks() {
        let rig = Rig::with_topic().await;
        let topic = rig.context.broker.topics().get("t").expect("the rig has it");
        for count in [-1, 0, 1, 2, i32::MAX] {
            let refused = outcomes(&rig, vec![to("t", count)]).await;
            assert_eq!(refused, [ErrorCode::InvalidPartitions], "{count}");
        }
        let unknown = outcomes(&rig, vec![to("u", 3), to("t", 3), to("t", 4)]).await;
        assert_eq!(unknown, [ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidRequest]);
        for brokers in [&[1, 1][..], &[2]] {
            let refused = outcomes(&rig, vec![by_hand(3, brokers)]).await;
            assert_eq!(refused, [ErrorCode::InvalidReplicaAssignment]);
        }
        assert_eq!(outcomes(&rig, vec![by_hand(3, &[1])]).await, [ErrorCode::None]);
        assert_eq!(outcomes(&rig, vec![to("t", 7)]).await, [ErrorCode::None]);
        assert_eq!(topic.partitions.len(), 7, "whoever has the topic sees it grow");
        assert!(topic.partition(6).is_ok());
    }

    #[tokio::test]
    async fn a_question_changes_nothing() {
        let rig = Rig::with_topic().await;
        let topics = vec![to("t", 9)];
        let request = CreatePartitionsRequest { topics, validate_only: true, ..Default::default() };
        let response = handle(&rig.context, 0, &request).await;
        assert_eq!(code(response.results[0].error_code), ErrorCode::None);
        let topic = rig.context.broker.topics().get("t").expect("the rig has it");
        assert_eq!(topic.partitions.len(), 2);
    }
}
