//! DeleteGroups, key 42, versions 0 to 2 (KIP-229).
//!
//! Forgets groups without members, and what they have committed; on the disk when this answers.

use log_proto::kafka::Str;
use log_proto::kafka::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use crate::broker::GroupId;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in &request.groups_names {
        let error_code = number(&delete(context, id).await);
        results.push(DeletableGroupResult { group_id: id.clone(), error_code });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}

async fn delete(context: &Context, id: &Str) -> Result<(), Refusal> {
    let group = GroupId::new(id.as_str())?;
    Ok(context.broker.delete_group(&context.principal, group).await?)
}
