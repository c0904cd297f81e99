//! From a frame to its handler.
//!
//! The rule: what is served is what this table lists, and what is advertised is read off the same
//! list. A version that the codec does not know ends the connection, as with Kafka: the client has
//! not kept to what it was told. ApiVersions alone is answered in a version that everyone reads,
//! because it is asked before anything was told.

use std::pin::Pin;

use log_proto::kafka::messages::api_versions::ApiVersionsRequest;
use log_proto::kafka::{
    ApiKey, ErrorCode, HeaderError, Reader, Request, RequestFrame, RequestHeader, encode_response,
};

use super::Context;
use super::connection::{Closed, Frame, Handled};
use super::handlers::*;
use crate::limits::KAFKA_REQUEST_ARRAYS_BYTES_MAX;

/// Whether a request may be begun before those in front of it are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Overlaps,
    Alone,
}

/// A request on its way to its handler.
pub(super) struct Routed {
    pub(super) turn: Turn,
    pub(super) handling: Pin<Box<dyn Future<Output = Result<Handled, Closed>> + Send>>,
}

/// What is advertised, by number.
pub(super) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::DescribeTopicPartitions,
];

/// Finds the handler and gives it the request.
pub(super) fn route(context: &mut Context, frame: Frame) -> Result<Routed, Closed> {
    let size = frame.bytes.len();
    let reader = Reader::with_budget(frame.bytes, KAFKA_REQUEST_ARRAYS_BYTES_MAX);
    let RequestFrame { header, body } = match RequestFrame::open_reader(reader) {
        Ok(request) => request,
        Err(HeaderError::UnsupportedVersion { header })
            if header.api_key == ApiKey::ApiVersions =>
        {
            return Ok(alone(async move { unknown_api_versions(header) }));
        }
        Err(error) => return Err(Closed::Request(error.to_string())),
    };
    tracing::trace!(api = %header.api_key, version = header.version, size, "request");
    context.client_id.clone_from(&header.client_id);
    let context = context.clone();
    if header.api_key == ApiKey::Produce {
        let request = decode(&header, body)?;
        let memory = frame.memory;
        let handling = produce::begin(context, header, request, size, memory);
        return Ok(Routed { turn: Turn::Overlaps, handling: Box::pin(handling) });
    }
    // The frame's bytes stay counted until they are not needed any more.
    let memory = frame.memory;
    Ok(alone(async move {
        let _memory = memory;
        dispatch(&context, header, body).await
    }))
}

fn alone(handling: impl Future<Output = Result<Handled, Closed>> + Send + 'static) -> Routed {
    Routed { turn: Turn::Alone, handling: Box::pin(handling) }
}

async fn dispatch(
    context: &Context,
    header: RequestHeader,
    body: Reader,
) -> Result<Handled, Closed> {
    macro_rules! to {
        ($handler:path) => {{
            let request = decode(&header, body)?;
            answer(&header, &request, $handler(context, header.version, &request).await)
        }};
    }
    match header.api_key {
        ApiKey::Fetch => to!(fetch::handle),
        ApiKey::ListOffsets => to!(list_offsets::handle),
        ApiKey::Metadata => to!(metadata::handle),
        ApiKey::OffsetCommit => to!(offset_commit::handle),
        ApiKey::OffsetFetch => to!(offset_fetch::handle),
        ApiKey::FindCoordinator => to!(find_coordinator::handle),
        ApiKey::JoinGroup => to!(join_group::handle),
        ApiKey::Heartbeat => to!(heartbeat::handle),
        ApiKey::LeaveGroup => to!(leave_group::handle),
        ApiKey::SyncGroup => to!(sync_group::handle),
        ApiKey::DescribeGroups => to!(describe_groups::handle),
        ApiKey::ListGroups => to!(list_groups::handle),
        ApiKey::ApiVersions => to!(api_versions::handle),
        ApiKey::CreateTopics => to!(create_topics::handle),
        ApiKey::DeleteTopics => to!(delete_topics::handle),
        ApiKey::DeleteRecords => to!(delete_records::handle),
        ApiKey::InitProducerId => to!(init_producer_id::handle),
        ApiKey::OffsetForLeaderEpoch => to!(offset_for_leader_epoch::handle),
        ApiKey::DescribeAcls => to!(describe_acls::handle),
        ApiKey::DescribeConfigs => to!(describe_configs::handle),
        ApiKey::AlterConfigs => to!(alter_configs::handle),
        ApiKey::DescribeLogDirs => to!(describe_log_dirs::handle),
        ApiKey::CreatePartitions => to!(create_partitions::handle),
        ApiKey::DeleteGroups => to!(delete_groups::handle),
        ApiKey::IncrementalAlterConfigs => to!(incremental_alter_configs::handle),
        ApiKey::OffsetDelete => to!(offset_delete::handle),
        ApiKey::DescribeCluster => to!(describe_cluster::handle),
        ApiKey::DescribeProducers => to!(describe_producers::handle),
        ApiKey::ConsumerGroupHeartbeat => to!(consumer_group_heartbeat::handle),
        ApiKey::ConsumerGroupDescribe => to!(consumer_group_describe::handle),
        ApiKey::DescribeTopicPartitions => to!(describe_topic_partitions::handle),
        other => Err(Closed::Request(format!("{other} is not served, and was not advertised"))),
    }
}

fn decode<R: Request>(header: &RequestHeader, mut body: Reader) -> Result<R, Closed> {
    R::decode(header.version, &mut body).map_err(|error| Closed::Request(error.to_string()))
}

/// The response in the version of its request. The request is there for its type.
fn answer<R: Request>(
    header: &RequestHeader,
    _: &R,
    response: R::Response,
) -> Result<Handled, Closed> {
    let rope = encode_response::<R>(header, &response);
    rope.map(Handled::Answer).map_err(|error| Closed::Request(error.to_string()))
}

fn unknown_api_versions(mut header: RequestHeader) -> Result<Handled, Closed> {
    header.version = 0;
    let response = api_versions::response(ErrorCode::UnsupportedVersion);
    answer(&header, &ApiVersionsRequest::default(), response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_listed_once_and_in_order() {
        assert!(SERVED.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }
}
