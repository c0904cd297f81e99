//! What groups have read: offsets committed, fetched and deleted, without any member.

use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::delete_groups::DeleteGroupsRequest;
use log_proto::kafka::messages::describe_groups::DescribeGroupsRequest;
use log_proto::kafka::messages::find_coordinator::FindCoordinatorRequest;
use log_proto::kafka::messages::list_groups::ListGroupsRequest;
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use log_proto::kafka::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use super::Named;
use crate::run::{Run, defaulted};

pub(crate) fn play(run: &mut Run) {
    run.wait_for_groups();
    run.rounds(ApiKey::ListGroups, |run, version| {
        run.ask("where there are no groups", version, &ListGroupsRequest::default());
    });
    run.rounds(ApiKey::FindCoordinator, find_coordinator);
    run.round(0);
    let topic = Named::create(run, "read", 2, &[]);
    run.rounds(ApiKey::OffsetCommit, |run, version| commit(run, version, &topic));
    run.rounds(ApiKey::OffsetFetch, |run, version| fetch(run, version, &topic));
    run.rounds(ApiKey::OffsetFetch, fetch_of_several);
    run.round(0);
    delete_offsets(run, &topic);
    run.rounds(ApiKey::DeleteGroups, |run, version| delete_groups(run, version, &topic));
}

fn find_coordinator(run: &mut Run, version: i16) {
    let types = if version == 0 { 0..=0 } else { 0..=3 };
    for key_type in types {
        let request = |key: &str| FindCoordinatorRequest {
            key: if version < 4 { key.into() } else { defaulted() },
            key_type,
            coordinator_keys: if version < 4 { vec![] } else { vec![key.into()] },
        };
        // For a transaction Kafka first creates a topic, which takes it as long as it takes.
        if key_type != 1 {
            run.ask(&format!("of type {key_type}"), version, &request("readers"));
        }
        if key_type == 0 {
            run.ask("of an empty name", version, &request(""));
        }
    }
    if version >= 4 {
        let several = FindCoordinatorRequest {
            coordinator_keys: vec!["one".into(), "two".into(), "".into()],
            ..defaulted()
        };
        run.ask("of several", version, &several);
        run.ask("of none", version, &FindCoordinatorRequest::default());
    }
}

fn committing(group: &str, topic: &Named, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition =
        |(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *committed_offset,
            committed_leader_epoch: -1,
            committed_metadata: Some("note".into()),
        };
    let topic = OffsetCommitRequestTopic {
        name: topic.name.as_str().into(),
        topic_id: topic.id,
        partitions: offsets.iter().map(partition).collect(),
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![topic],
        ..defaulted()
    }
}

fn commit(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("committing");
    let of = |offsets: &[(i32, i64)]| committing(&group, topic, offsets);
    run.ask("two offsets", version, &of(&[(0, 5), (1, 0)]));
    run.ask("an offset below", version, &of(&[(0, 2)]));
    run.ask("of partitions that are not there", version, &of(&[(7, 1), (-1, 1)]));
    run.ask(
        "of a topic that is not there",
        version,
        &committing(&group, &Named::missing(), &[(0, 1)]),
    );
    run.ask("of no partition", version, &of(&[]));
    run.ask("a negative offset", version, &of(&[(0, -1)]));
    run.ask("one partition twice", version, &of(&[(1, 3), (1, 4)]));
    run.ask("to a group without a name", version, &committing("", topic, &[(0, 1)]));
    let member = OffsetCommitRequest { member_id: "nobody".into(), ..of(&[(0, 1)]) };
    run.ask("of an unknown member", version, &member);
    let generation = |generation| OffsetCommitRequest {
        generation_id_or_member_epoch: generation,
        member_id: "nobody".into(),
        ..of(&[(0, 1)])
    };
    run.ask("of an unknown member's generation", version, &generation(1));
    let new = run.named("never-seen");
    let request = OffsetCommitRequest { group_id: new.as_str().into(), ..generation(1) };
    run.ask("of a generation of a group that is not there", version, &request);
    let mut long = of(&[(0, 6)]);
    long.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097).into());
    run.ask("with more metadata than allowed", version, &long);
    let mut none = of(&[(0, 7)]);
    none.topics[0].partitions[0].committed_metadata = None;
    run.ask("with no metadata", version, &none);
    if version >= 6 {
        let mut led = of(&[(1, 8)]);
        led.topics[0].partitions[0].committed_leader_epoch = 3;
        run.ask("with a leader epoch", version, &led);
    }
    if version >= 7 {
        let fixed =
            OffsetCommitRequest { group_instance_id: Some("fixed".into()), ..of(&[(0, 1)]) };
        run.ask("of an unknown static member", version, &fixed);
    }
    run.ask("what is committed now", 7, &fetching(7, &group, topic, Some(&[0, 1])));
}

/// The fields that the version has, set alike.
fn fetching(
    version: i16,
    group: &str,
    topic: &Named,
    partitions: Option<&[i32]>,
) -> OffsetFetchRequest {
    if version >= 8 {
        let groups = vec![of_group(group, topic, partitions)];
        return OffsetFetchRequest { groups, ..defaulted() };
    }
    let topics = partitions.map(|partitions| {
        let partition_indexes = partitions.to_vec();
        vec![OffsetFetchRequestTopic { name: topic.name.as_str().into(), partition_indexes }]
    });
    OffsetFetchRequest { group_id: group.into(), topics, ..defaulted() }
}

fn of_group(group: &str, topic: &Named, partitions: Option<&[i32]>) -> OffsetFetchRequestGroup {
    let topics = partitions.map(|partitions| {
        vec![OffsetFetchRequestTopics {
            name: topic.name.as_str().into(),
            topic_id: topic.id,
            partition_indexes: partitions.to_vec(),
        }]
    });
    OffsetFetchRequestGroup { group_id: group.into(), member_epoch: -1, topics, ..defaulted() }
}

fn fetch(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("fetching");
    let committed = run.quietly(7, &committing(&group, topic, &[(0, 5)]));
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let of = |group: &str, partitions| fetching(version, group, topic, partitions);
    run.ask("of two partitions, one committed", version, &of(&group, Some(&[0, 1])));
    run.ask("of partitions that are not there", version, &of(&group, Some(&[7, -1])));
    run.ask("of no partition", version, &of(&group, Some(&[])));
    run.ask("of a group that is not there", version, &of("missing", Some(&[0])));
    run.ask("of a group without a name", version, &of("", Some(&[0])));
    let missing = fetching(version, &group, &Named::missing(), Some(&[0]));
    run.ask("of a topic that is not there", version, &missing);
    if version >= 2 {
        run.ask("of all partitions", version, &of(&group, None));
        run.ask("of all partitions of a group that is not there", version, &of("missing", None));
    }
    if version >= 7 {
        let stable = OffsetFetchRequest { require_stable: true, ..of(&group, Some(&[0])) };
        run.ask("of what is stable", version, &stable);
    }
}

/// Several groups in one request came with version 8, members with version 9.
fn fetch_of_several(run: &mut Run, version: i16) {
    if version < 8 {
        return;
    }
    let topic = Named::create(run, "shared", 1, &[]);
    let (one, two) = (run.named("one"), run.named("two"));
    for (group, offset) in [(&one, 1), (&two, 2)] {
        run.quietly(7, &committing(group, &topic, &[(0, offset)]));
    }
    let groups = [one.as_str(), two.as_str(), "missing", ""];
    let groups: Vec<_> = groups.iter().map(|group| of_group(group, &topic, Some(&[0]))).collect();
    let request = OffsetFetchRequest { groups, ..defaulted() };
    run.ask("of several groups", version, &request);
    run.ask("of no group", version, &OffsetFetchRequest::default());
    let mut twice = fetching(version, &one, &topic, Some(&[0]));
    twice.groups.push(twice.groups[0].clone());
    run.ask("of one group twice", version, &twice);
    if version >= 9 {
        for (step, group) in [("", one.as_str()), (" of a group that is not there", "missing")] {
            let mut member = fetching(version, group, &topic, Some(&[0]));
            member.groups[0].member_id = Some("nobody".into());
            member.groups[0].member_epoch = 3;
            run.ask(&format!("of an unknown member{step}"), version, &member);
        }
    }
}

fn delete_offsets(run: &mut Run, topic: &Named) {
    let group = run.named("forgetting");
    run.quietly(7, &committing(&group, topic, &[(0, 5), (1, 6)]));
    let of = |group: &str, topic: &str, partitions: &[i32]| {
        let partition = |index: &i32| OffsetDeleteRequestPartition { partition_index: *index };
        let partitions = partitions.iter().map(partition).collect();
        let topics = vec![OffsetDeleteRequestTopic { name: topic.into(), partitions }];
        OffsetDeleteRequest { group_id: group.into(), topics }
    };
    run.ask("one offset", 0, &of(&group, &topic.name, &[0]));
    run.ask("what is left", 7, &fetching(7, &group, topic, None));
    run.ask("one that is not there", 0, &of(&group, &topic.name, &[0]));
    run.ask("of a partition that is not there", 0, &of(&group, &topic.name, &[7]));
    run.ask("of a topic that is not there", 0, &of(&group, "missing", &[0]));
    run.ask("of a group that is not there", 0, &of("missing", &topic.name, &[0]));
    run.ask("of a group without a name", 0, &of("", &topic.name, &[0]));
    let nothing = OffsetDeleteRequest { group_id: group.as_str().into(), topics: vec![] };
    run.ask("nothing", 0, &nothing);
}

fn delete_groups(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("leaving");
    run.quietly(7, &committing(&group, topic, &[(0, 5)]));
    let described = |group: &str| DescribeGroupsRequest {
        groups: vec![group.into()],
        include_authorized_operations: false,
    };
    run.ask("a group of offsets alone", 5, &described(&group));
    let of = |names: &[&str]| DeleteGroupsRequest {
        groups_names: names.iter().map(|name| (*name).into()).collect(),
    };
    run.ask("a group and one that is not there", version, &of(&[&group, "missing"]));
    run.ask("it again", version, &of(&[&group]));
    run.ask("a group without a name", version, &of(&[""]));
    run.ask("no group", version, &of(&[]));
    run.ask("what is left of the group", 7, &fetching(7, &group, topic, None));
}
