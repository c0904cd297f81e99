//! SyncGroup, key 14, versions 0 to 5 (KIP-345, KIP-559).
//!
//! Gives a member its assignment, and takes everybody's from the leader. Waits for the leader, and
//! until the assignment is on the disk. Version 5 and later must say which protocol they believe
//! in.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::group_fields::{generation, instance, member, owned};
use crate::broker::GroupId;
use crate::broker::group_members::{MemberId, SyncGroup, Synced};
use crate::kafka::Context;
use crate::kafka::error::Refusal;

/// The first version that names its protocol.
const NAMES_PROTOCOL: i16 = 5;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &SyncGroupRequest,
) -> SyncGroupResponse {
    match sync(context, version, request).await {
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.map(Into::into),
            protocol_name: synced.protocol.map(Into::into),
            assignment: synced.assignment,
            ..Default::default()
        },
        Err(refusal) => SyncGroupResponse { error_code: refusal.number(), ..Default::default() },
    }
}

async fn sync(
    context: &Context,
    version: i16,
    request: &SyncGroupRequest,
) -> Result<Synced, Refusal> {
    let says_all = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= NAMES_PROTOCOL && !says_all {
        let message = "the request names no protocol type or no protocol: name both";
        return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, message));
    }
    let assignments = request.assignments.iter().filter_map(|assignment| {
        let member = MemberId::new(assignment.member_id.as_str())?;
        Some((member, owned(&assignment.assignment)))
    });
    let syncing = SyncGroup {
        group: GroupId::new(request.group_id.as_str())?,
        member: member(&request.member_id)?,
        instance: instance(request.group_instance_id.as_ref())?,
        generation: generation(request.generation_id)?,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments.collect(),
    };
    Ok(context.broker.sync_group(&context.principal, syncing).await?)
}
