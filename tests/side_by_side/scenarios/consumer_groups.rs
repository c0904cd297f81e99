//! Groups of KIP-848, in which the broker assigns; and the two kinds of groups side by side.

use log_proto::kafka::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use log_proto::kafka::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use log_proto::kafka::messages::delete_groups::DeleteGroupsRequest;
use log_proto::kafka::messages::describe_groups::DescribeGroupsRequest;
use log_proto::kafka::messages::heartbeat::HeartbeatRequest;
use log_proto::kafka::messages::list_groups::ListGroupsRequest;
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use log_proto::kafka::{ApiKey, ErrorCode, Str};

use super::Named;
use crate::run::{Run, defaulted};

/// Leaves for good, and for a while.
const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;

pub(crate) fn play(run: &mut Run) {
    run.wait_for_groups();
    run.rounds(ApiKey::ConsumerGroupHeartbeat, |run, version| {
        let topic = Named::create(run, "shared", 2, &[]);
        turned_away(run, version, &topic);
        one_member(run, version, &topic);
        static_member(run, version, &topic);
        // Version 0 has no field for it.
        if version >= 1 {
            by_pattern(run, version, &topic);
        }
    });
    described(run);
}

/// A member's first heartbeat. In version 0 the broker may name it.
fn joining(group: &str, member: &str, topic: &Named) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec![topic.name.as_str().into()]),
        topic_partitions: Some(vec![]),
        ..beating(group, member, 0)
    }
}

/// A heartbeat that says nothing new.
fn beating(group: &str, member: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch,
        rebalance_timeout_ms: -1,
        ..defaulted()
    }
}

fn turned_away(run: &mut Run, version: i16, topic: &Named) {
    type Change = fn(&mut ConsumerGroupHeartbeatRequest);
    let group = run.named("closed");
    let changes: [(&str, Change); 12] = [
        ("a group without a name", |one| one.group_id = "".into()),
        ("a member without a subscription", |one| one.subscribed_topic_names = None),
        ("a member without a timeout", |one| one.rebalance_timeout_ms = -1),
        ("a member that says nothing of what it has", |one| one.topic_partitions = None),
        ("a new member that has something", |one| {
            let topic_partitions = TopicPartitions { partitions: vec![0], ..defaulted() };
            one.topic_partitions = Some(vec![topic_partitions]);
        }),
        ("an assignor that nobody knows", |one| one.server_assignor = Some("best".into())),
        ("an empty assignor", |one| one.server_assignor = Some("".into())),
        ("an empty instance id", |one| one.instance_id = Some("".into())),
        ("an empty rack", |one| one.rack_id = Some("".into())),
        ("an epoch below all", |one| one.member_epoch = -3),
        ("a static member's leave without its name", |one| one.member_epoch = LEAVE_STATIC),
        ("an unknown member that leaves", |one| one.member_epoch = LEAVE),
    ];
    for (step, change) in changes {
        let mut request = joining(&group, "mine", topic);
        change(&mut request);
        run.ask(step, version, &request);
    }
    let unknown = beating(&group, "mine", 5);
    run.ask("a member of a group that is not there", version, &unknown);
    if version >= 1 {
        run.ask("a member without an id", version, &joining(&group, "", topic));
    }
}

fn one_member(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("served");
    let own = if version == 0 { "" } else { "own" };
    let request = joining(&group, own, topic);
    let joined: ConsumerGroupHeartbeatResponse = run.ask("the first member", version, &request);
    let member = joined.member_id.unwrap_or_default();
    let member = member.as_str();
    let epoch = joined.member_epoch;
    let owned = ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(vec![TopicPartitions {
            topic_id: topic.id,
            partitions: vec![0, 1],
        }]),
        ..beating(&group, member, epoch)
    };
    run.ask("which has what it was given", version, &owned);
    run.ask("which says nothing new", version, &beating(&group, member, epoch));
    run.ask("with an epoch to come", version, &beating(&group, member, epoch + 5));
    run.ask("an unknown member", version, &beating(&group, "nobody", epoch));
    let again = joining(&group, member, topic);
    run.ask("which joins again", version, &again);
    let missing = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["missing".into()]),
        ..beating(&group, "", epoch)
    };
    run.ask("without an id, in an epoch", version, &missing);
    beside_the_classic(run, &group, member);
    commits(run, &group, member, epoch, topic);
    let describe = describing(&[&group]);
    run.ask("a group of one member", version, &describe);
    run.ask("it leaves", version, &beating(&group, member, LEAVE));
    run.ask("it leaves again", version, &beating(&group, member, LEAVE));
    run.ask("an empty group", version, &describe);
    let delete = DeleteGroupsRequest { groups_names: vec![group.as_str().into()] };
    run.ask("an empty group", 2, &delete);
}

/// What a client of the classic protocol is told.
fn beside_the_classic(run: &mut Run, group: &str, member: &str) {
    let classic = DescribeGroupsRequest { groups: vec![group.into()], ..defaulted() };
    for version in [5, 6] {
        run.ask(&format!("a consumer group, asked in version {version}"), version, &classic);
    }
    let beat = HeartbeatRequest {
        group_id: group.into(),
        generation_id: 1,
        member_id: member.into(),
        ..defaulted()
    };
    run.ask("of a member that is none of the classic protocol", 4, &beat);
    let delete = DeleteGroupsRequest { groups_names: vec![group.into()] };
    run.ask("a consumer group that has members", 2, &delete);
    let list = ListGroupsRequest {
        types_filter: vec!["consumer".into()],
        states_filter: vec!["Stable".into()],
    };
    run.ask("consumer groups", 5, &list);
}

fn commits(run: &mut Run, group: &str, member: &str, epoch: i32, topic: &Named) {
    let commit = |member: &str, epoch| OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: epoch,
        member_id: member.into(),
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 4,
                committed_leader_epoch: -1,
                ..defaulted()
            }],
        }],
        ..defaulted()
    };
    for version in [8, 9, 10] {
        let step = |what: &str| format!("{what}, asked in version {version}");
        run.ask(&step("of a member"), version, &commit(member, epoch));
        run.ask(&step("of an epoch to come"), version, &commit(member, epoch + 5));
        run.ask(&step("of an old epoch"), version, &commit(member, epoch - 1));
        run.ask(&step("of an unknown member"), version, &commit("nobody", epoch));
        run.ask(&step("of nobody"), version, &commit("", -1));
    }
    let fetch = |member: &str, member_epoch| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            member_id: Some(member.into()),
            member_epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.name.as_str().into(),
                topic_id: topic.id,
                partition_indexes: vec![0],
            }]),
        }],
        ..defaulted()
    };
    for version in [9, 10] {
        let step = |what: &str| format!("{what}, asked in version {version}");
        run.ask(&step("for a member"), version, &fetch(member, epoch));
        run.ask(&step("for an epoch to come"), version, &fetch(member, epoch + 5));
        run.ask(&step("for an unknown member"), version, &fetch("nobody", epoch));
    }
}

fn static_member(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("fixed");
    let with = |request: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
        instance_id: Some("one".into()),
        ..request
    };
    let joined = run.ask("a static member", version, &with(joining(&group, "first", topic)));
    let epoch = joined.member_epoch;
    run.ask("another of its name", version, &with(joining(&group, "second", topic)));
    run.ask("its heartbeat", version, &with(beating(&group, "first", epoch)));
    run.ask("it leaves for a while", version, &with(beating(&group, "first", LEAVE_STATIC)));
    run.ask("another takes its place", version, &with(joining(&group, "second", topic)));
    run.ask("its heartbeat, after that", version, &with(beating(&group, "first", epoch)));
    run.ask("the other leaves for good", version, &with(beating(&group, "second", LEAVE)));
}

/// A member whose topics are those that match. Kafka looks for them in the background, so that how
/// many heartbeats it takes to find them is nobody's contract: that is waited for.
fn by_pattern(run: &mut Run, version: i16, topic: &Named) {
    let group = run.named("matched");
    let with = |pattern: &str, member_epoch| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(pattern.into()),
        member_epoch,
        ..joining(&group, "mine", topic)
    };
    for (step, pattern) in [
        ("a pattern that is not closed", "shared("),
        ("a pattern that only other languages know", "(?=shared).*"),
    ] {
        run.ask(step, version, &with(pattern, 0));
    }
    let nothing = ConsumerGroupHeartbeatRequest {
        group_id: run.named("unmatched").as_str().into(),
        ..with("", 0)
    };
    run.ask("an empty pattern", version, &nothing);
    let pattern = format!("(?i)SH[a-z]+{}|none-.+", topic.name.trim_start_matches("shared"));
    let epoch = run.quietly(version, &with(&pattern, 0)).member_epoch;
    let found = |response: &ConsumerGroupHeartbeatResponse| {
        response.assignment.as_ref().is_some_and(|given| !given.topic_partitions.is_empty())
    };
    let epoch = run.until(version, &with(&pattern, epoch), found).member_epoch;
    run.ask("a member that has said by which pattern", version, &with(&pattern, epoch));
    run.ask("a group by pattern", version, &describing(&[&group]));
    run.ask("a bad pattern instead", version, &with("[shared", epoch));
    run.ask("a member by pattern leaves", version, &beating(&group, "mine", LEAVE));
}

fn describing(groups: &[&str]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest {
        group_ids: groups.iter().map(|group| Str::from(*group)).collect(),
        include_authorized_operations: false,
    }
}

fn described(run: &mut Run) {
    run.round(0);
    let topic = Named::create(run, "offsets", 1, &[]);
    let commit = OffsetCommitRequest {
        group_id: "classic".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: vec![defaulted()],
        }],
        ..defaulted()
    };
    run.until(9, &commit, |response| {
        response.topics[0].partitions[0].error_code == ErrorCode::None.number()
    });
    run.rounds(ApiKey::ConsumerGroupDescribe, |run, version| {
        run.ask("one that is not there", version, &describing(&["missing"]));
        run.ask("one without a name", version, &describing(&[""]));
        run.ask("a classic one", version, &describing(&["classic"]));
        run.ask("none", version, &describing(&[]));
        let operations = ConsumerGroupDescribeRequest {
            include_authorized_operations: true,
            ..describing(&["missing"])
        };
        run.ask("with authorized operations", version, &operations);
    });
}
