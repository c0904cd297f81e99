//! JoinGroup, key 11, versions 0 to 9 (KIP-62, KIP-345, KIP-394, KIP-559, KIP-800, KIP-814).
//!
//! Waits for the rebalance that it begins or belongs to. From version 4 on a member that is new
//! and not static is first given its id, and asks again with it. The leader alone is told of all
//! members.
//!
//! Version 0 knows one timeout only, which is then both. What came without a value is `None` for
//! the coordinator; what an old answer cannot leave empty is an empty string in it.

use std::time::Duration;

use log_proto::kafka::Str;
use log_proto::kafka::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};

use super::group_fields::{instance, owned};
use crate::broker::GroupId;
use crate::broker::group_members::{
    JoinGroup, JoinGroupError, Joined, JoinedMember, LeaderReturn, MemberId, NewMember, Protocol,
};
use crate::kafka::Context;
use crate::kafka::error::Refusal;

/// The first version in which a new member is given its id before it is one.
const KNOWN_ID: i16 = 4;
/// The first version in which the protocol may be null.
const NULL_PROTOCOL: i16 = 7;
/// The first version in which a leader can be told to leave the assignment alone.
const SKIP_ASSIGNMENT: i16 = 9;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &JoinGroupRequest,
) -> JoinGroupResponse {
    let joining = match translate(context, version, request) {
        Ok(joining) => joining,
        Err(refusal) => return refused(version, request, &refusal),
    };
    match context.broker.join_group(&context.principal, joining).await {
        Ok(joined) => admitted(version, joined),
        Err(JoinGroupError::MemberIdRequired { member }) => {
            let response = refused(
                version,
                request,
                &JoinGroupError::MemberIdRequired { member: member.clone() }.into(),
            );
            JoinGroupResponse { member_id: member.as_str().into(), ..response }
        }
        Err(error) => refused(version, request, &error.into()),
    }
}

fn translate(
    context: &Context,
    version: i16,
    request: &JoinGroupRequest,
) -> Result<JoinGroup, Refusal> {
    let instance = instance(request.group_instance_id.as_ref())?;
    let must_know_its_id = version >= KNOWN_ID && instance.is_none();
    let session_timeout = millis(request.session_timeout_ms).unwrap_or_default();
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.as_str().to_owned(),
        metadata: owned(&protocol.metadata),
    });
    Ok(JoinGroup {
        group: GroupId::new(request.group_id.as_str())?,
        member: MemberId::new(request.member_id.as_str()),
        instance,
        client_id: context.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_host: context.client_host.to_string(),
        session_timeout,
        rebalance_timeout: millis(request.rebalance_timeout_ms).unwrap_or(session_timeout),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        new_member: match must_know_its_id {
            true => NewMember::RequireKnownId,
            false => NewMember::Admit,
        },
        leader_return: match version >= SKIP_ASSIGNMENT {
            true => LeaderReturn::SkipsAssignment,
            false => LeaderReturn::Follows,
        },
        reason: request.reason.as_ref().map(ToString::to_string),
    })
}

fn millis(number: i32) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_millis)
}

fn admitted(version: i16, joined: Joined) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: joined.generation.get(),
        protocol_type: joined.protocol_type.map(Into::into),
        protocol_name: protocol_name(version, joined.protocol),
        leader: joined.leader.as_ref().map_or("", MemberId::as_str).into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.as_str().into(),
        members: joined.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn protocol_name(version: i16, name: Option<String>) -> Option<Str> {
    let absent = (version < NULL_PROTOCOL).then(Str::default);
    name.map(Str::from).or(absent)
}

fn member(member: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember {
        member_id: member.member.as_str().into(),
        group_instance_id: member.instance.map(|instance| instance.as_str().into()),
        metadata: member.metadata,
    }
}

fn refused(version: i16, request: &JoinGroupRequest, refusal: &Refusal) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: refusal.number(),
        protocol_name: protocol_name(version, None),
        member_id: request.member_id.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use crate::kafka::handlers::{heartbeat, leave_group, sync_group};
    use futures_util::future::join_all;
    use log_proto::kafka::ErrorCode;
    use log_proto::kafka::messages::heartbeat::HeartbeatRequest;
    use log_proto::kafka::messages::join_group::JoinGroupRequestProtocol;
    use log_proto::kafka::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
    use log_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

    fn request(group: &str, member: &Str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            member_id: member.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: bytes::Bytes::from_static(b"\0\x01"),
            }],
            ..Default::default()
        }
    }

    /// Goal: what a client says in each version leads into the group and out of it again. All at
    /// once, because a new group waits some seconds for its second member.
    #[tokio::test]
    async fn a_member_comes_and_goes_in_every_version() {
        let rig = Rig::start().await;
        join_all((0..=9).map(|version| come_and_go(&rig.context, version))).await;
    }

    async fn come_and_go(context: &Context, version: i16) {
        let group = format!("g{version}");
        let mut joined = handle(context, version, &request(&group, &Str::default())).await;
        assert_encodes(version, &joined);
        if version >= KNOWN_ID {
            assert_eq!(code(joined.error_code), ErrorCode::MemberIdRequired);
            assert!(!joined.member_id.is_empty());
            joined = handle(context, version, &request(&group, &joined.member_id)).await;
        }
        assert_eq!(code(joined.error_code), ErrorCode::None, "version {version}");
        assert_encodes(version, &joined);
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
        assert_eq!(joined.protocol_name.as_ref().map(Str::as_str), Some("range"));
        share_work(context, version.min(5), &group, &joined).await;
        leave(context, version.min(5), &group, &joined.member_id).await;
    }

    async fn share_work(context: &Context, version: i16, group: &str, joined: &JoinGroupResponse) {
        let work = bytes::Bytes::from_static(b"everything");
        let mut syncing = SyncGroupRequest {
            group_id: group.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: joined.member_id.clone(),
                assignment: work.clone(),
            }],
            ..Default::default()
        };
        let synced = sync_group::handle(context, version, &syncing).await;
        assert_encodes(version, &synced);
        assert_eq!((code(synced.error_code), synced.assignment), (ErrorCode::None, work));
        syncing.protocol_name = None;
        let synced = sync_group::handle(context, 5, &syncing).await;
        assert_eq!(code(synced.error_code), ErrorCode::InconsistentGroupProtocol);
        for (generation, expected) in [
            (joined.generation_id, ErrorCode::None),
            (joined.generation_id + 1, ErrorCode::IllegalGeneration),
            (-1, ErrorCode::IllegalGeneration),
        ] {
            let beat = HeartbeatRequest {
                group_id: group.into(),
                generation_id: generation,
                member_id: joined.member_id.clone(),
                ..Default::default()
            };
            let response = heartbeat::handle(context, 4, &beat).await;
            assert_eq!(code(response.error_code), expected);
        }
    }

    async fn leave(context: &Context, version: i16, group: &str, member: &Str) {
        let leaving = LeaveGroupRequest {
            group_id: group.into(),
            member_id: member.clone(),
            members: vec![MemberIdentity { member_id: member.clone(), ..Default::default() }],
        };
        for expected in [ErrorCode::None, ErrorCode::UnknownMemberId] {
            let left = leave_group::handle(context, version, &leaving).await;
            assert_encodes(version, &left);
            let outcome = left.members.first().map_or(left.error_code, |one| one.error_code);
            assert_eq!(code(outcome), expected, "version {version}");
            assert_eq!(left.members.len(), usize::from(version >= 3));
        }
    }

    #[tokio::test]
    async fn what_no_group_takes_is_refused_by_its_code() {
        let rig = Rig::start().await;
        let good = request("g", &Str::default());
        let cases = [
            (request("", &Str::default()), ErrorCode::InvalidGroupId),
            (
                JoinGroupRequest { session_timeout_ms: -1, ..good.clone() },
                ErrorCode::InvalidSessionTimeout,
            ),
            (
                JoinGroupRequest { protocols: vec![], ..good.clone() },
                ErrorCode::InconsistentGroupProtocol,
            ),
            (request("g", &"nobody".into()), ErrorCode::UnknownMemberId),
            (
                JoinGroupRequest { group_instance_id: Some(Str::default()), ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
        ];
        for (request, expected) in cases {
            let refused = handle(&rig.context, 9, &request).await;
            assert_eq!(code(refused.error_code), expected);
            assert_eq!((refused.generation_id, refused.protocol_name), (-1, None));
            let refused = handle(&rig.context, 5, &request).await;
            assert_encodes(5, &refused);
        }
    }
}
