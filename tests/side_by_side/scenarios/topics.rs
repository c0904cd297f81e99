//! Topics made, grown and deleted; and what is refused on the way.

use log_proto::kafka::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use log_proto::kafka::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use log_proto::kafka::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use log_proto::kafka::messages::metadata::MetadataResponseTopic;
use log_proto::kafka::{ApiKey, ErrorCode, Uuid};

use crate::run::{Run, defaulted};

pub(crate) fn play(run: &mut Run) {
    run.rounds(ApiKey::CreateTopics, create_topics);
    run.rounds(ApiKey::CreateTopics, create_with_assignments);
    run.rounds(ApiKey::CreateTopics, create_with_configs);
    run.rounds(ApiKey::CreatePartitions, create_partitions);
    run.rounds(ApiKey::CreatePartitions, create_assigned_partitions);
    run.rounds(ApiKey::DeleteTopics, delete_topics);
    run.round(6);
    delete_by_id(run, 6);
}

fn create_topics(run: &mut Run, version: i16) {
    let new = run.named("new");
    run.ask("a topic", version, &creating(vec![topic(&new, 2, 1)]));
    run.ask("the same again", version, &creating(vec![topic(&new, 2, 1)]));
    let only = CreateTopicsRequest {
        validate_only: true,
        ..creating(vec![topic(&run.named("not"), 3, 1), topic(&new, 3, 1)])
    };
    run.ask("to be validated only", version, &only);
    run.ask("nothing", version, &creating(vec![]));
    let overlong = "x".repeat(250);
    for (step, name) in [
        ("an empty name", ""),
        ("a dot", "."),
        ("two dots", ".."),
        ("a name with a space", "a b"),
        ("a name with a slash", "a/b"),
        ("a name that is not ASCII", "ä"),
        ("a name of 250 characters", &overlong),
    ] {
        run.ask(step, version, &creating(vec![topic(name, 1, 1)]));
    }
    let (dotted, scored) = (run.named("a.b"), run.named("a_b"));
    run.create(&dotted, 1, &[]);
    run.ask("a name that collides in metrics", version, &creating(vec![topic(&scored, 1, 1)]));
    for partitions in [0, -2] {
        let request = creating(vec![topic(&run.named("parts"), partitions, 1)]);
        run.ask(&format!("{partitions} partitions"), version, &request);
    }
    for replication in [0, -2, 2] {
        let request = creating(vec![topic(&run.named("replicas"), 1, replication)]);
        run.ask(&format!("a replication factor of {replication}"), version, &request);
    }
    if version >= 4 {
        let request = creating(vec![topic(&run.named("usual"), -1, -1)]);
        run.ask("as the broker sees fit", version, &request);
    }
    let twice = run.named("twice");
    let request = creating(vec![topic(&twice, 1, 1), topic(&twice, 2, 1)]);
    run.ask("the same name twice", version, &request);
    let mixed = creating(vec![topic(&run.named("good"), 1, 1), topic("b d", 1, 1)]);
    run.ask("one good, one bad", version, &mixed);
}

fn create_with_assignments(run: &mut Run, version: i16) {
    for (step, partitions, assignments) in [
        ("assigned", -1, vec![(0, vec![1]), (1, vec![1])]),
        ("assigned and counted", 2, vec![(0, vec![1]), (1, vec![1])]),
        ("assigned to an unknown broker", -1, vec![(0, vec![9])]),
        ("assigned to nobody", -1, vec![(0, vec![])]),
        ("assigned twice to one broker", -1, vec![(0, vec![1, 1])]),
        ("assigned from 1 on", -1, vec![(1, vec![1])]),
        ("assigned with a gap", -1, vec![(0, vec![1]), (2, vec![1])]),
        ("assigned, one partition twice", -1, vec![(0, vec![1]), (0, vec![1])]),
    ] {
        let assignments = assignments.into_iter().map(|(partition_index, broker_ids)| {
            CreatableReplicaAssignment { partition_index, broker_ids }
        });
        let name = run.named(&step.replace([' ', ','], "-"));
        let topic =
            CreatableTopic { assignments: assignments.collect(), ..topic(&name, partitions, -1) };
        run.ask(step, version, &creating(vec![topic]));
    }
}

fn create_with_configs(run: &mut Run, version: i16) {
    for (step, configs) in [
        ("two configs", vec![("retention.ms", Some("1000")), ("cleanup.policy", Some("compact"))]),
        ("an unknown config", vec![("no.such.thing", Some("1"))]),
        ("a config that is no number", vec![("retention.ms", Some("soon"))]),
        ("a config out of range", vec![("retention.ms", Some("-2"))]),
        ("a config of another set", vec![("cleanup.policy", Some("shred"))]),
        ("a config without a value", vec![("retention.ms", None)]),
        ("an empty config name", vec![("", Some("1"))]),
        ("a config twice", vec![("retention.ms", Some("1000")), ("retention.ms", Some("2000"))]),
        ("segments too small", vec![("segment.bytes", Some("1"))]),
        ("more in sync than there are", vec![("min.insync.replicas", Some("0"))]),
    ] {
        let configs = configs.into_iter().map(|(name, value)| CreatableTopicConfig {
            name: name.into(),
            value: value.map(Into::into),
        });
        let name = run.named(&step.replace(' ', "-"));
        let topic = CreatableTopic { configs: configs.collect(), ..topic(&name, 1, 1) };
        run.ask(step, version, &creating(vec![topic]));
    }
}

fn creating(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions, replication_factor, ..defaulted() }
}

fn create_partitions(run: &mut Run, version: i16) {
    let name = run.named("growing");
    run.create(&name, 2, &[]);
    for (step, count) in [
        ("as many as there are", 2),
        ("fewer than there are", 1),
        ("none", 0),
        ("less than none", -1),
    ] {
        run.ask(step, version, &growing(vec![to(&name, count)]));
    }
    let only = CreatePartitionsRequest { validate_only: true, ..growing(vec![to(&name, 5)]) };
    run.ask("more, to be validated only", version, &only);
    run.ask("one more", version, &growing(vec![to(&name, 3)]));
    run.wait_for_topic(&name, |topic| topic.partitions.len() == 3);
    run.ask("of a topic that is not there", version, &growing(vec![to("missing", 3)]));
    run.ask("of a name that no topic can have", version, &growing(vec![to("a b", 3)]));
    run.ask("of an empty name", version, &growing(vec![to("", 3)]));
    run.ask("of nothing", version, &growing(vec![]));
    let twice = growing(vec![to(&name, 4), to(&name, 5)]);
    run.ask("of one topic twice", version, &twice);
}

fn create_assigned_partitions(run: &mut Run, version: i16) {
    let name = run.named("placed");
    run.create(&name, 1, &[]);
    for (step, count, brokers) in [
        ("placed nowhere", 2, vec![]),
        ("placed on an unknown broker", 2, vec![vec![9]]),
        ("placed on no broker", 2, vec![vec![]]),
        ("placed twice on one broker", 2, vec![vec![1, 1]]),
        ("placed too often", 2, vec![vec![1], vec![1]]),
        ("placed too rarely", 3, vec![vec![1]]),
        ("placed", 3, vec![vec![1], vec![1]]),
    ] {
        let assignments =
            brokers.into_iter().map(|broker_ids| CreatePartitionsAssignment { broker_ids });
        let topic =
            CreatePartitionsTopic { assignments: Some(assignments.collect()), ..to(&name, count) };
        run.ask(step, version, &growing(vec![topic]));
    }
}

fn growing(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

fn to(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic { name: name.into(), count, assignments: None }
}

fn delete_topics(run: &mut Run, version: i16) {
    let (name, other) = (run.named("gone"), run.named("gone-too"));
    run.create(&name, 1, &[]);
    run.create(&other, 1, &[]);
    run.ask("a topic and one that is not there", version, &deleting(version, &[&name, "missing"]));
    run.wait_for_topic(&name, is_gone);
    run.ask("a topic that was deleted", version, &deleting(version, &[&name]));
    run.ask("a topic twice", version, &deleting(version, &[&other, &other]));
    run.ask("nothing", version, &deleting(version, &[]));
    run.ask("a name that no topic can have", version, &deleting(version, &["a b"]));
    run.ask("an empty name", version, &deleting(version, &[""]));
}

fn is_gone(topic: &MetadataResponseTopic) -> bool {
    topic.error_code == ErrorCode::UnknownTopicOrPartition.number()
}

/// The names lie in one field before version 6 and in the other from there on.
fn deleting(version: i16, names: &[&str]) -> DeleteTopicsRequest {
    let state = |name: &&str| DeleteTopicState { name: Some((*name).into()), ..defaulted() };
    let is_new = version >= 6;
    DeleteTopicsRequest {
        topics: names.iter().filter(|_| is_new).map(state).collect(),
        topic_names: names.iter().filter(|_| !is_new).map(|name| (*name).into()).collect(),
        timeout_ms: 30_000,
    }
}

fn delete_by_id(run: &mut Run, version: i16) {
    let name = run.named("known-by-id");
    let topic_id = run.create(&name, 1, &[]);
    let by = |states: &[(Option<&str>, Uuid)]| DeleteTopicsRequest {
        topics: states
            .iter()
            .map(|(name, topic_id)| DeleteTopicState {
                name: name.map(Into::into),
                topic_id: *topic_id,
            })
            .collect(),
        topic_names: vec![],
        timeout_ms: 30_000,
    };
    let unknown = Uuid::from_bytes([7; 16]);
    run.ask("an unknown id", version, &by(&[(None, unknown)]));
    run.ask("neither name nor id", version, &by(&[(None, Uuid::ZERO)]));
    run.ask("name and id", version, &by(&[(Some(&name), topic_id)]));
    run.ask("by id and by name", version, &by(&[(Some(&name), Uuid::ZERO), (None, topic_id)]));
    run.ask("one id twice", version, &by(&[(None, topic_id), (None, topic_id)]));
    run.ask("by id", version, &by(&[(None, topic_id)]));
    run.wait_for_topic(&name, is_gone);
    run.ask("by id again", version, &by(&[(None, topic_id)]));
}
