//! Fields that the requests of groups share: from sentinels to the coordinator's words.

use bytes::Bytes;
use log_proto::kafka::{ErrorCode, Str};

use crate::broker::group_members::{GenerationId, GroupInstanceId, MemberError, MemberId};
use crate::kafka::error::Refusal;

/// The member that speaks. One without an id is none that the group knows.
pub(super) fn member(id: &Str) -> Result<MemberId, Refusal> {
    MemberId::new(id.as_str()).ok_or_else(|| MemberError::UnknownMember.into())
}

/// Its name as a static member, if it has one.
pub(super) fn instance(id: Option<&Str>) -> Result<Option<GroupInstanceId>, Refusal> {
    let instance = id.map(|id| GroupInstanceId::new(id.as_str())).transpose();
    instance.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))
}

/// The generation that it is in. No generation is negative, so a negative one is not current.
pub(super) fn generation(id: i32) -> Result<GenerationId, Refusal> {
    GenerationId::new(id).ok_or_else(|| {
        let message = format!("generation {id} is none: join the group first");
        Refusal::new(ErrorCode::IllegalGeneration, message)
    })
}

/// A copy that does not keep the whole request in memory for as long as the group keeps it.
pub(super) fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
