//! The cluster: what it speaks, where things are, what lies on its disks.

use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::api_versions::ApiVersionsRequest;
use log_proto::kafka::messages::describe_acls::DescribeAclsRequest;
use log_proto::kafka::messages::describe_cluster::DescribeClusterRequest;
use log_proto::kafka::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use log_proto::kafka::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use log_proto::kafka::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use log_proto::kafka::{Str, Uuid};

use crate::run::{Run, defaulted, patched};
use crate::wire::frame;

pub(crate) fn play(run: &mut Run) {
    api_versions(run);
    metadata(run);
    describe_cluster(run);
    describe_acls(run);
    describe_log_dirs(run);
    describe_topic_partitions(run);
}

fn api_versions(run: &mut Run) {
    run.rounds(ApiKey::ApiVersions, |run, version| {
        run.ask("of a client with a name", version, &software("apache-kafka-java", "4.3.0"));
    });
    for version in [3, 4] {
        run.ask("of a client without a name", version, &software("", "1"));
        run.ask("of a client with a bad name", version, &software("a b", "1"));
        run.ask("of a client with a bad version", version, &software("a", "-1"));
    }
    let newer = patched(&frame(4, &software("a", "1")), 6, &99_i16.to_be_bytes());
    run.raw::<ApiVersionsRequest>("in version 99", 0, &newer);
    let negative = patched(&frame(0, &software("", "")), 6, &(-1_i16).to_be_bytes());
    run.raw::<ApiVersionsRequest>("in version -1", 0, &negative);
}

fn software(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: version.into(),
    }
}

fn metadata(run: &mut Run) {
    run.rounds(ApiKey::Metadata, |run, version| {
        run.ask("of all topics, where there are none", version, &all_topics(version));
    });
    let id = run.create("plain", 3, &[]);
    run.rounds(ApiKey::Metadata, |run, version| {
        let of = |names: &[&str]| of_topics(version, names);
        run.ask("of all topics", version, &all_topics(version));
        if version > 0 {
            run.ask("of no topics", version, &of(&[]));
        }
        run.ask("of one topic", version, &of(&["plain"]));
        run.ask("of one topic twice", version, &of(&["plain", "plain"]));
        run.ask("of names that no topic can have", version, &of(&["a b", "..", &"x".repeat(250)]));
        run.ask("of an empty name", version, &of(&[""]));
        if version >= 4 {
            run.ask("of a topic that is not there", version, &of(&["plain", "missing"]));
        }
    });
    metadata_by_id(run, id);
    authorized_operations(run);
    metadata_that_creates(run);
}

fn metadata_by_id(run: &mut Run, id: Uuid) {
    for version in 10..=13 {
        let by_id = |name: Option<&str>, topic_id| MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { topic_id, name: name.map(Str::from) }]),
            allow_auto_topic_creation: false,
            ..defaulted()
        };
        run.round(version);
        if version >= 12 {
            run.ask("by id", version, &by_id(None, id));
            run.ask("by an unknown id", version, &by_id(None, Uuid::from_bytes([7; 16])));
            run.ask("by no name and no id", version, &by_id(None, Uuid::ZERO));
            run.ask("by name and id", version, &by_id(Some("plain"), id));
        } else {
            run.ask("by id, too early", version, &by_id(Some("plain"), id));
        }
    }
}

fn authorized_operations(run: &mut Run) {
    for version in 8..=13 {
        run.round(version);
        let request = MetadataRequest {
            include_cluster_authorized_operations: version <= 10,
            include_topic_authorized_operations: true,
            ..of_topics(version, &["plain"])
        };
        run.ask("with authorized operations", version, &request);
    }
}

/// Kafka answers the first request with an error, as the topic is not there yet: what counts is
/// that it is there later.
fn metadata_that_creates(run: &mut Run) {
    run.rounds(ApiKey::Metadata, |run, version| {
        let name = run.named("made");
        let request = MetadataRequest {
            allow_auto_topic_creation: true,
            ..of_topics(version, &[name.as_str()])
        };
        run.ask("of a topic that is created by asking", version, &request);
        run.wait_for_topic(&name, |topic| topic.error_code == 0);
        run.ask("of a topic that was created by asking", version, &request);
    });
}

fn all_topics(version: i16) -> MetadataRequest {
    MetadataRequest { topics: (version == 0).then(Vec::new), ..of_topics(version, &[]) }
}

/// Before version 4 every request may create what it asks for.
fn of_topics(version: i16, names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..defaulted() };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: version < 4,
        ..defaulted()
    }
}

fn describe_cluster(run: &mut Run) {
    run.rounds(ApiKey::DescribeCluster, |run, version| {
        let plain = || DescribeClusterRequest::default();
        run.ask("the cluster", version, &plain());
        let operations =
            DescribeClusterRequest { include_cluster_authorized_operations: true, ..plain() };
        run.ask("the cluster, with authorized operations", version, &operations);
        if version >= 1 {
            for endpoint_type in [2, 0, 3] {
                let request = DescribeClusterRequest { endpoint_type, ..plain() };
                run.ask(&format!("endpoints of type {endpoint_type}"), version, &request);
            }
        }
        if version >= 2 {
            let fenced = DescribeClusterRequest { include_fenced_brokers: true, ..plain() };
            run.ask("the cluster, with fenced brokers", version, &fenced);
        }
    });
}

fn describe_acls(run: &mut Run) {
    run.rounds(ApiKey::DescribeAcls, |run, version| {
        let request = |resource_type_filter| DescribeAclsRequest {
            resource_type_filter,
            pattern_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..defaulted()
        };
        run.ask("all", version, &request(1));
        run.ask("of a resource type that nobody knows", version, &request(0));
    });
}

fn describe_log_dirs(run: &mut Run) {
    run.create("lying", 2, &[]);
    run.rounds(ApiKey::DescribeLogDirs, |run, version| {
        let of = |topic: &str, partitions: &[i32]| {
            let partitions = partitions.to_vec();
            let topic = DescribableLogDirTopic { topic: topic.into(), partitions };
            DescribeLogDirsRequest { topics: Some(vec![topic]) }
        };
        run.ask("of two partitions", version, &of("lying", &[0, 1]));
        run.ask("of a partition that is not there", version, &of("lying", &[0, 7]));
        run.ask("of a topic that is not there", version, &of("missing", &[0]));
        run.ask("of nothing", version, &DescribeLogDirsRequest { topics: Some(vec![]) });
        run.ask("of no partitions", version, &of("lying", &[]));
    });
}

fn describe_topic_partitions(run: &mut Run) {
    let of = |names: &[&str]| DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
        response_partition_limit: 2000,
        cursor: None,
    };
    run.create("second", 4, &[]);
    let at =
        |topic: &str, partition_index| Some(Cursor { topic_name: topic.into(), partition_index });
    run.ask("two topics", 0, &of(&["plain", "second"]));
    run.ask("one that is not there", 0, &of(&["missing", "plain"]));
    run.ask("a name that no topic can have", 0, &of(&["a b"]));
    run.ask("an empty name", 0, &of(&[""]));
    run.ask("one topic twice", 0, &of(&["plain", "plain"]));
    for limit in [1, 3, 4, 0, -1] {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: limit,
            ..of(&["plain", "second"])
        };
        run.ask(&format!("two topics, {limit} partitions at most"), 0, &request);
    }
    for (step, cursor) in [
        ("from the second topic on", at("second", 0)),
        ("from the middle of a topic on", at("second", 2)),
        ("from behind a topic on", at("second", 9)),
        ("from a topic on that is not there", at("q", 0)),
        ("from behind all topics on", at("z", 0)),
        ("from a negative partition on", at("second", -1)),
        ("from an empty name on", at("", 0)),
    ] {
        let request = DescribeTopicPartitionsRequest { cursor, ..of(&["plain", "second"]) };
        run.ask(step, 0, &request);
    }
}
