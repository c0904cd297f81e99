//! Heartbeat, key 12, versions 0 to 4 (KIP-345).
//!
//! Keeps a member's session. REBALANCE_IN_PROGRESS asks it to join again.

use log_proto::kafka::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::group_fields::{generation, instance, member};
use crate::broker::GroupId;
use crate::broker::group_members::Heartbeat;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &HeartbeatRequest,
) -> HeartbeatResponse {
    let outcome = beat(context, request).await;
    HeartbeatResponse { error_code: number(&outcome), ..Default::default() }
}

async fn beat(context: &Context, request: &HeartbeatRequest) -> Result<(), Refusal> {
    let heartbeat = Heartbeat {
        group: GroupId::new(request.group_id.as_str())?,
        member: member(&request.member_id)?,
        instance: instance(request.group_instance_id.as_ref())?,
        generation: generation(request.generation_id)?,
    };
    Ok(context.broker.heartbeat(&context.principal, &heartbeat).await?)
}
