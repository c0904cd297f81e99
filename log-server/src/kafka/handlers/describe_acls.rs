//! DescribeAcls, key 29, versions 1 to 3.
//!
//! Answers SECURITY_DISABLED, as Kafka does without an authorizer: nothing is authorized here yet,
//! and tools say so instead of showing an empty list that looks like protection.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

use crate::kafka::Context;

pub(in crate::kafka) async fn handle(
    _: &Context,
    _: i16,
    _: &DescribeAclsRequest,
) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.number(),
        error_message: Some("nothing is authorized: every client may do everything".into()),
        ..Default::default()
    }
}
