//! DescribeGroups, key 15, versions 0 to 6 (KIP-345, KIP-430, KIP-1043).
//!
//! Groups in full. One that is not there is, up to version 5, described as dead, and an error from
//! version 6 on. What members said of themselves and were assigned is told while the group is
//! stable. What is asked for twice is answered once, lest a small request have a large answer.
//!
//! Authorized operations: with no authorization everything is allowed, and that is what is said.

use log_proto::kafka::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use log_proto::kafka::{ErrorCode, Str};

use super::repeats::once;
use crate::broker::GroupId;
use crate::broker::group_members::{GroupDescription, MemberDescription};
use crate::kafka::Context;
use crate::kafka::error::Refusal;

/// The first version in which it is an error if a group is not there.
const NOT_FOUND: i16 = 6;

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: one bit each, by their numbers in
/// Kafka's AclOperation.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    let operations = match request.include_authorized_operations {
        true => GROUP_OPERATIONS,
        false => i32::MIN,
    };
    for id in once(&request.groups, |id| *id) {
        let described = match describe(context, id).await {
            Ok(Some(group)) => DescribedGroup { authorized_operations: operations, ..found(group) },
            Ok(None) if version < NOT_FOUND => dead(operations),
            Ok(None) => refused(version, &Refusal::new(ErrorCode::GroupIdNotFound, MISSING)),
            Err(refusal) => refused(version, &refusal),
        };
        groups.push(DescribedGroup { group_id: id.clone(), ..described });
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}

async fn describe(context: &Context, id: &Str) -> Result<Option<GroupDescription>, Refusal> {
    let group = GroupId::new(id.as_str())?;
    Ok(context.broker.describe_group(&context.principal, group).await?)
}

fn found(group: GroupDescription) -> DescribedGroup {
    DescribedGroup {
        group_state: Str::from_static(group.listing.state.name()),
        protocol_type: group.listing.protocol_type.unwrap_or_default().into(),
        protocol_data: group.protocol.unwrap_or_default().into(),
        members: group.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member.as_str().into(),
        group_instance_id: member.instance.map(|instance| instance.as_str().into()),
        client_id: member.client_id.into(),
        // Java prints an address without a name in this way, and tools show it.
        client_host: format!("/{}", member.client_host).into(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    }
}

const DEAD: Str = Str::from_static("Dead");

const MISSING: &str = "there is no such group";

/// How a group that is not there was described before that was an error.
fn dead(authorized_operations: i32) -> DescribedGroup {
    DescribedGroup { group_state: DEAD, authorized_operations, ..Default::default() }
}

fn refused(version: i16, refusal: &Refusal) -> DescribedGroup {
    DescribedGroup {
        error_code: refusal.number(),
        error_message: refusal.text().filter(|_| version >= NOT_FOUND),
        group_state: if version < NOT_FOUND { Str::default() } else { DEAD },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};

    /// Goal: old tools see a dead group where new ones see an error, as with Kafka.
    #[tokio::test]
    async fn an_unknown_group_is_dead_and_later_an_error() {
        let rig = Rig::start().await;
        let groups = vec!["g".into(), "g".into(), Str::default()];
        let request = DescribeGroupsRequest { groups, ..Default::default() };
        for version in 0..=6 {
            let response = handle(&rig.context, version, &request).await;
            assert_encodes(version, &response);
            let [group, invalid] = &response.groups[..] else { unreachable!("two ids") };
            let expected = if version < 6 { ErrorCode::None } else { ErrorCode::GroupIdNotFound };
            assert_eq!((code(group.error_code), group.group_state.as_str()), (expected, "Dead"));
            assert_eq!(code(invalid.error_code), ErrorCode::InvalidGroupId);
        }
    }
}
