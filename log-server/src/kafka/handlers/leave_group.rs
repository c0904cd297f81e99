//! LeaveGroup, key 13, versions 0 to 5 (KIP-345, KIP-800).
//!
//! Takes members out of a group. Up to version 2 there is one, and its outcome is the answer;
//! after that each has its own, and an administrator may name static members by instance alone.
//! Of a group that is not there every member is unknown.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::group_fields::instance;
use crate::broker::GroupId;
use crate::broker::group_members::{
    LeaveGroup, LeaveGroupError, LeavingMember, MemberError, MemberId,
};
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

/// The first version in which many leave at once.
const BATCHED: i16 = 3;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &LeaveGroupRequest,
) -> LeaveGroupResponse {
    let members = match version < BATCHED {
        true => vec![MemberIdentity { member_id: request.member_id.clone(), ..Default::default() }],
        false => request.members.clone(),
    };
    let outcomes = match leave(context, request, &members).await {
        Ok(outcomes) => outcomes,
        Err(refusal) => {
            return LeaveGroupResponse { error_code: refusal.number(), ..Default::default() };
        }
    };
    if version < BATCHED {
        let error_code = outcomes.first().map_or(ErrorCode::None.number(), number);
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    let members = members.into_iter().zip(&outcomes).map(|(member, outcome)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: number(outcome),
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}

async fn leave(
    context: &Context,
    request: &LeaveGroupRequest,
    members: &[MemberIdentity],
) -> Result<Vec<Result<(), Refusal>>, Refusal> {
    let group = GroupId::new(request.group_id.as_str())?;
    let leaving = members.iter().map(leaving).collect::<Result<_, _>>()?;
    let request = LeaveGroup { group, members: leaving };
    match context.broker.leave_group(&context.principal, request).await {
        Ok(outcomes) => Ok(outcomes.into_iter().map(|(_, left)| Ok(left?)).collect()),
        Err(LeaveGroupError::UnknownGroup) => {
            let unknown = || Err(MemberError::UnknownMember.into());
            Ok(members.iter().map(|_| unknown()).collect())
        }
        Err(error) => Err(error.into()),
    }
}

fn leaving(member: &MemberIdentity) -> Result<LeavingMember, Refusal> {
    Ok(LeavingMember {
        member: MemberId::new(member.member_id.as_str()),
        instance: instance(member.group_instance_id.as_ref())?,
        reason: member.reason.as_ref().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, code};

    #[tokio::test]
    async fn of_an_unknown_group_every_member_is_unknown() {
        let rig = Rig::start().await;
        let member = MemberIdentity { member_id: "m".into(), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            members: vec![member.clone(), member],
        };
        let old = handle(&rig.context, 2, &request).await;
        assert_eq!(code(old.error_code), ErrorCode::UnknownMemberId);
        let new = handle(&rig.context, 3, &request).await;
        let codes: Vec<_> = new.members.iter().map(|member| code(member.error_code)).collect();
        assert_eq!(code(new.error_code), ErrorCode::None);
        assert_eq!(codes, [ErrorCode::UnknownMemberId; 2]);
    }
}
