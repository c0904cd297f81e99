//! DescribeCluster, key 60, versions 0 to 2 (KIP-700, KIP-919, KIP-1073).
//!
//! One broker, under the address by which the client has come in; it is the controller too.
//! Whoever asks for controllers is told that this is a broker, as Kafka's brokers do.
//!
//! Authorized operations: with no authorization everything is allowed, and that is what is said.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::metadata::CLUSTER_OPERATIONS;
use crate::kafka::error::Refusal;
use crate::kafka::{Context, NODE_ID};

/// The kinds of endpoints, by their numbers in the protocol.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if let Err(refusal) = check_endpoint(request.endpoint_type) {
        return DescribeClusterResponse {
            error_code: refusal.number(),
            error_message: refusal.text(),
            ..Default::default()
        };
    }
    DescribeClusterResponse {
        cluster_id: context.broker.cluster_id().into(),
        controller_id: NODE_ID,
        brokers: vec![DescribeClusterBroker {
            broker_id: NODE_ID,
            host: (&*context.advertised.host).into(),
            port: i32::from(context.advertised.port),
            ..Default::default()
        }],
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..Default::default()
    }
}

fn check_endpoint(endpoint_type: i8) -> Result<(), Refusal> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => {
            let message = "this is a broker: ask it for brokers";
            Err(Refusal::new(ErrorCode::MismatchedEndpointType, message))
        }
        other => {
            let message = format!("endpoint type {other} is unknown: {BROKERS} is the brokers'");
            Err(Refusal::new(ErrorCode::UnsupportedEndpointType, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};

    #[tokio::test]
    async fn one_broker_is_the_cluster_and_it_is_no_controller_to_ask() {
        let rig = Rig::start().await;
        let mut request = DescribeClusterRequest::default();
        for version in 0..=2 {
            let response = handle(&rig.context, version, &request).await;
            assert_encodes(version, &response);
            assert_eq!((response.controller_id, response.brokers[0].broker_id), (1, 1));
            assert!(!response.cluster_id.is_empty());
        }
        for (endpoint_type, expected) in
            [(2, ErrorCode::MismatchedEndpointType), (3, ErrorCode::UnsupportedEndpointType)]
        {
            request.endpoint_type = endpoint_type;
            let refused = handle(&rig.context, 1, &request).await;
            assert_eq!(code(refused.error_code), expected);
        }
    }
}
