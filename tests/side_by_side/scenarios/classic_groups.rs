//! Groups of the classic protocol: members come, agree, commit and go; and who is turned away.

use bytes::Bytes;
use log_proto::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use log_proto::kafka::messages::delete_groups::DeleteGroupsRequest;
use log_proto::kafka::messages::describe_groups::DescribeGroupsRequest;
use log_proto::kafka::messages::heartbeat::HeartbeatRequest;
use log_proto::kafka::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use log_proto::kafka::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use log_proto::kafka::messages::list_groups::ListGroupsRequest;
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use log_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use log_proto::kafka::{ApiKey, ErrorCode, Str, encode_embedded};

use super::Named;
use crate::run::{Run, defaulted};

/// The first version in which a member must come back with the id that it was given (KIP-394).
const ID_REQUIRED_FROM: i16 = 4;

/// The first version with static members (KIP-345).
const STATIC_FROM: i16 = 5;

pub(crate) fn play(run: &mut Run) {
    run.wait_for_groups();
    run.rounds(ApiKey::JoinGroup, |run, version| {
        turned_away(run, version);
        let mut group = Group::first_member(run, version);
        group.synchronizes(run);
        group.beats(run);
        group.commits(run);
        group.is_described(run);
        group.takes_a_second_member(run);
        group.loses_its_members(run);
    });
    run.rounds(ApiKey::JoinGroup, |run, version| {
        if version >= STATIC_FROM {
            static_members(run, version);
        }
    });
    nobody(run);
    run.rounds(ApiKey::ListGroups, listed);
}

/// The version that goes with a version of JoinGroup, as far as the API has one.
fn beside(api: ApiKey, version: i16) -> i16 {
    version.clamp(api.versions().first, api.versions().last)
}

fn joining(group: &str, member: &str) -> JoinGroupRequest {
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["subscribed".into()], ..defaulted() };
    let metadata = encode_embedded(0, &subscription).expect("version 0 can say this");
    let protocol =
        |name: &str| JoinGroupRequestProtocol { name: name.into(), metadata: metadata.clone() };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..defaulted()
    }
}

fn turned_away(run: &mut Run, version: i16) {
    let group = run.named("closed");
    let plain = || joining(&group, "");
    run.ask("an unknown member", version, &joining(&group, "nobody"));
    run.ask("to a group without a name", version, &joining("", ""));
    for (step, session_timeout_ms) in [("short", 1), ("long", 100_000_000), ("negative", -1)] {
        let request = JoinGroupRequest { session_timeout_ms, ..plain() };
        run.ask(&format!("with a session too {step}"), version, &request);
    }
    let none = JoinGroupRequest { protocols: vec![], ..plain() };
    run.ask("with no protocol", version, &none);
    let untyped = JoinGroupRequest { protocol_type: "".into(), ..plain() };
    run.ask("with no protocol type", version, &untyped);
}

/// A group in the course of its life.
struct Group {
    version: i16,
    name: String,
    generation: i32,
    first: Str,
}

impl Group {
    /// From version 4 on, the first answer is an id to come back with.
    fn first_member(run: &mut Run, version: i16) -> Self {
        let name = run.named("group");
        let mut member = Str::default();
        if version >= ID_REQUIRED_FROM {
            member = run.ask("a member without an id", version, &joining(&name, "")).member_id;
        }
        let request = joining(&name, member.as_str());
        let JoinGroupResponse { member_id: first, generation_id: generation, .. } =
            run.ask("the first member", version, &request);
        Self { version, name, generation, first }
    }

    fn synchronizing(&self, member: &Str, assigned: &[&Str]) -> SyncGroupRequest {
        let assignment = |member: &&Str| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: Bytes::from_static(b"what it gets"),
        };
        SyncGroupRequest {
            group_id: self.name.as_str().into(),
            generation_id: self.generation,
            member_id: member.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assigned.iter().map(assignment).collect(),
            ..defaulted()
        }
    }

    fn synchronizes(&self, run: &mut Run) {
        let version = beside(ApiKey::SyncGroup, self.version);
        let sound = self.synchronizing(&self.first, &[&self.first]);
        let other = |change: fn(&mut SyncGroupRequest)| {
            let mut request = sound.clone();
            change(&mut request);
            request
        };
        run.ask("of a wrong generation", version, &other(|one| one.generation_id = 9));
        run.ask("of a negative generation", version, &other(|one| one.generation_id = -1));
        run.ask("of an unknown member", version, &other(|one| one.member_id = "nobody".into()));
        run.ask("without a member", version, &other(|one| one.member_id = "".into()));
        if version >= 5 {
            let typed = other(|one| one.protocol_type = Some("connect".into()));
            run.ask("of another protocol type", version, &typed);
            let named = other(|one| one.protocol_name = Some("sticky".into()));
            run.ask("of another protocol", version, &named);
        }
        run.ask("of the leader", version, &sound);
        run.ask("of the leader again", version, &sound);
    }

    fn beating(&self, generation_id: i32, member: &str) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.name.as_str().into(),
            generation_id,
            member_id: member.into(),
            ..defaulted()
        }
    }

    fn beats(&self, run: &mut Run) {
        let version = beside(ApiKey::Heartbeat, self.version);
        let first = self.first.as_str();
        for (step, generation, member) in [
            ("of a member", self.generation, first),
            ("of a wrong generation", self.generation + 1, first),
            ("of an old generation", self.generation - 1, first),
            ("of a negative generation", -1, first),
            ("of an unknown member", self.generation, "nobody"),
            ("without a member", self.generation, ""),
        ] {
            run.ask(step, version, &self.beating(generation, member));
        }
    }

    fn commits(&self, run: &mut Run) {
        let version = beside(ApiKey::OffsetCommit, self.version);
        if version >= 10 {
            return;
        }
        let topic = Named::create(run, "subscribed", 1, &[]);
        let commit = |generation_id_or_member_epoch, member: &str| OffsetCommitRequest {
            group_id: self.name.as_str().into(),
            generation_id_or_member_epoch,
            member_id: member.into(),
            retention_time_ms: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.name.as_str().into(),
                topic_id: topic.id,
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: 3,
                    committed_leader_epoch: -1,
                    ..defaulted()
                }],
            }],
            ..defaulted()
        };
        let first = self.first.as_str();
        run.ask("of a member", version, &commit(self.generation, first));
        run.ask("of a wrong generation", version, &commit(self.generation + 1, first));
        run.ask("of an unknown member", version, &commit(self.generation, "nobody"));
        run.ask("of nobody, while there are members", version, &commit(-1, ""));
    }

    fn is_described(&self, run: &mut Run) {
        let version = beside(ApiKey::DescribeGroups, self.version);
        let request = DescribeGroupsRequest {
            groups: vec![self.name.as_str().into()],
            include_authorized_operations: false,
        };
        run.ask("a group of one member", version, &request);
        let delete = DeleteGroupsRequest { groups_names: vec![self.name.as_str().into()] };
        run.ask("a group that has members", beside(ApiKey::DeleteGroups, self.version), &delete);
        let offsets = |topic: &str| OffsetDeleteRequest {
            group_id: self.name.as_str().into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: topic.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        };
        run.ask("of a topic that a member reads", 0, &offsets("subscribed"));
    }

    /// The second member waits until the first has come back.
    fn takes_a_second_member(&mut self, run: &mut Run) {
        let version = self.version;
        let mut other = joining(&self.name, "");
        other.protocols[0].name = "sticky".into();
        other.protocols.truncate(1);
        run.ask("a member with another protocol", version, &other);
        let typed = JoinGroupRequest { protocol_type: "connect".into(), ..joining(&self.name, "") };
        run.ask("a member with another protocol type", version, &typed);
        let mut second = Str::default();
        if version >= ID_REQUIRED_FROM {
            let request = joining(&self.name, "");
            second = run.ask("a second member without an id", version, &request).member_id;
        }
        run.send(1, version, &joining(&self.name, second.as_str()));
        let beat = self.beating(self.generation, self.first.as_str());
        let beats = beside(ApiKey::Heartbeat, version);
        let rebalancing = ErrorCode::RebalanceInProgress.number();
        run.until(beats, &beat, |response| response.error_code == rebalancing);
        run.ask("of a member, while others join", beats, &beat);
        let sync = self.synchronizing(&self.first, &[]);
        run.ask("while others join", beside(ApiKey::SyncGroup, version), &sync);
        run.send(0, version, &joining(&self.name, self.first.as_str()));
        let joined = run.receive::<JoinGroupRequest>(0, "the first member again", version);
        let second = run.receive::<JoinGroupRequest>(1, "the second member", version).member_id;
        self.generation = joined.generation_id;
        self.second_agrees(run, &second);
        run.ask(
            "of a member, once all agree",
            beats,
            &self.beating(self.generation, second.as_str()),
        );
        self.second_leaves(run, &second);
    }

    /// The follower waits for what the leader decides.
    fn second_agrees(&self, run: &mut Run, second: &Str) {
        let version = beside(ApiKey::SyncGroup, self.version);
        run.send(1, version, &self.synchronizing(second, &[]));
        run.ask(
            "of the leader of two",
            version,
            &self.synchronizing(&self.first, &[&self.first, second]),
        );
        run.receive::<SyncGroupRequest>(1, "of the follower", version);
    }

    /// Before version 3 one member leaves at a time.
    fn leaving(&self, members: &[&str]) -> LeaveGroupRequest {
        let identity =
            |member: &&str| MemberIdentity { member_id: (*member).into(), ..defaulted() };
        match self.version < 3 {
            true => LeaveGroupRequest {
                group_id: self.name.as_str().into(),
                member_id: members[0].into(),
                ..defaulted()
            },
            false => LeaveGroupRequest {
                group_id: self.name.as_str().into(),
                members: members.iter().map(identity).collect(),
                ..defaulted()
            },
        }
    }

    fn second_leaves(&self, run: &mut Run, second: &Str) {
        let version = beside(ApiKey::LeaveGroup, self.version);
        run.ask("an unknown member", version, &self.leaving(&["nobody"]));
        run.ask(
            "the second member and an unknown one",
            version,
            &self.leaving(&[second.as_str(), "nobody"]),
        );
        let beats = beside(ApiKey::Heartbeat, self.version);
        let first = self.first.as_str();
        run.ask("after a member has left", beats, &self.beating(self.generation, first));
        let gone = self.beating(self.generation, second.as_str());
        run.ask("of a member that has left", beats, &gone);
    }

    fn loses_its_members(&self, run: &mut Run) {
        let version = beside(ApiKey::LeaveGroup, self.version);
        run.ask("the last member", version, &self.leaving(&[self.first.as_str()]));
        run.ask("the last member again", version, &self.leaving(&[self.first.as_str()]));
        let request = DescribeGroupsRequest {
            groups: vec![self.name.as_str().into(), "missing".into()],
            include_authorized_operations: self.version >= 3,
        };
        let describes = beside(ApiKey::DescribeGroups, self.version);
        run.ask("an empty group and one that is not there", describes, &request);
    }
}

/// A member with a name of its own comes back, and its place is kept.
fn static_members(run: &mut Run, version: i16) {
    let name = run.named("fixed");
    let with = |instance: &str, member: &str| JoinGroupRequest {
        group_instance_id: Some(instance.into()),
        ..joining(&name, member)
    };
    let first = run.ask("a static member", version, &with("one", ""));
    let group = Group {
        version,
        name: name.clone(),
        generation: first.generation_id,
        first: first.member_id,
    };
    let mut sync = group.synchronizing(&group.first, &[&group.first]);
    sync.group_instance_id = Some("one".into());
    let syncs = beside(ApiKey::SyncGroup, version);
    run.ask("of a static leader", syncs, &sync);
    let unknown = with("two", "nobody");
    run.ask("a static member with an unknown id", version, &unknown);
    let again = run.ask("the static member again", version, &with("one", ""));
    let fenced = with("one", group.first.as_str());
    run.ask("the static member with its old id", version, &fenced);
    run.ask("of a static leader with its old id", syncs, &sync);
    let beats = beside(ApiKey::Heartbeat, version);
    let beat = |member: &str, instance: &str| HeartbeatRequest {
        group_instance_id: Some(instance.into()),
        ..group.beating(again.generation_id, member)
    };
    run.ask("of a static member", beats, &beat(again.member_id.as_str(), "one"));
    run.ask("of a static member with its old id", beats, &beat(group.first.as_str(), "one"));
    run.ask("of an unknown static member", beats, &beat("nobody", "two"));
    let described = DescribeGroupsRequest { groups: vec![name.as_str().into()], ..defaulted() };
    run.ask("a group of a static member", beside(ApiKey::DescribeGroups, version), &described);
    let leave = |members: &[(&str, &str)]| LeaveGroupRequest {
        group_id: name.as_str().into(),
        members: members
            .iter()
            .map(|(member, instance)| MemberIdentity {
                member_id: (*member).into(),
                group_instance_id: Some((*instance).into()),
                reason: None,
            })
            .collect(),
        ..defaulted()
    };
    let leaves = beside(ApiKey::LeaveGroup, version);
    run.ask("a static member with its old id", leaves, &leave(&[(group.first.as_str(), "one")]));
    run.ask("static members by name alone", leaves, &leave(&[("", "one"), ("", "two")]));
}

/// Requests about groups that nobody is in.
fn nobody(run: &mut Run) {
    run.rounds(ApiKey::Heartbeat, |run, version| {
        for group in ["", "missing"] {
            let request = HeartbeatRequest {
                group_id: group.into(),
                generation_id: 1,
                member_id: "nobody".into(),
                ..defaulted()
            };
            run.ask(&format!("to the group '{group}'"), version, &request);
        }
    });
    run.rounds(ApiKey::SyncGroup, |run, version| {
        for group in ["", "missing"] {
            let request = SyncGroupRequest {
                group_id: group.into(),
                generation_id: 1,
                member_id: "nobody".into(),
                protocol_type: Some("consumer".into()),
                protocol_name: Some("range".into()),
                ..defaulted()
            };
            run.ask(&format!("to the group '{group}'"), version, &request);
        }
    });
    run.rounds(ApiKey::LeaveGroup, |run, version| {
        for group in ["", "missing"] {
            let name = group.to_owned();
            let group = Group { version, name, generation: 1, first: defaulted() };
            let step = format!("from the group '{}'", group.name);
            run.ask(&step, version, &group.leaving(&["nobody"]));
        }
    });
    run.rounds(ApiKey::DescribeGroups, |run, version| {
        let of = |names: &[&str]| DescribeGroupsRequest {
            groups: names.iter().map(|name| (*name).into()).collect(),
            ..defaulted()
        };
        run.ask("no group", version, &of(&[]));
        run.ask("a group without a name", version, &of(&[""]));
        run.ask("a group twice that is not there", version, &of(&["missing", "missing"]));
    });
}

fn listed(run: &mut Run, version: i16) {
    run.ask("all groups", version, &ListGroupsRequest::default());
    let words = |words: &[&str]| words.iter().map(|word| Str::from(*word)).collect::<Vec<_>>();
    if version >= 4 {
        for states in [&["Empty"][..], &["empty"], &["Stable", "Empty"], &["Stable"], &["Sleepy"]] {
            let request = ListGroupsRequest { states_filter: words(states), ..defaulted() };
            run.ask(&format!("in the states {states:?}"), version, &request);
        }
    }
    if version >= 5 {
        for types in [&["classic"][..], &["Classic"], &["consumer"], &["share"], &["other"]] {
            let request = ListGroupsRequest { types_filter: words(types), ..defaulted() };
            run.ask(&format!("of the types {types:?}"), version, &request);
        }
        let both = ListGroupsRequest {
            states_filter: words(&["Empty"]),
            types_filter: words(&["classic"]),
        };
        run.ask("in a state and of a type", version, &both);
    }
}
