//! FindCoordinator, key 10, versions 0 to 6 (KIP-699, KIP-890, KIP-932).
//!
//! One broker coordinates every group, so every group is told of this one, under the address by
//! which its client has come in. Version 4 and later ask for many at a time.
//!
//! Left out: transactions and share groups. They are refused for good: a client that is told to
//! look again later would do so for a minute before it says what is wrong. For transactions that
//! takes TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the one code upon which every client gives up.

use log_proto::kafka::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use log_proto::kafka::{ErrorCode, Str};

use super::repeats::once;
use crate::kafka::error::{Refusal, number, text};
use crate::kafka::{Context, NODE_ID};

/// The first version that asks for many keys.
const BATCHED: i16 = 4;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if version < BATCHED {
        return alone(find(context, request.key_type, &request.key));
    }
    let keys = once(&request.coordinator_keys, |key| *key);
    let coordinators = keys.map(|key| {
        let found = find(context, request.key_type, key);
        // Kafka's clients of these versions read an empty text as none.
        let error_message = found.error_message.or(Some(Str::default()));
        Coordinator { error_message, ..found }
    });
    FindCoordinatorResponse {
        error_message: None,
        coordinators: coordinators.collect(),
        ..Default::default()
    }
}

fn find(context: &Context, key_type: i8, key: &Str) -> Coordinator {
    let outcome = check(key_type);
    let (node_id, host, port) = match &outcome {
        Ok(()) => (NODE_ID, (&*context.advertised.host).into(), i32::from(context.advertised.port)),
        Err(_) => (-1, Str::default(), -1),
    };
    Coordinator {
        key: key.clone(),
        node_id,
        host,
        port,
        error_code: number(&outcome),
        error_message: text(&outcome),
    }
}

fn check(key_type: i8) -> Result<(), Refusal> {
    let refused = |code, message: &str| Err(Refusal::new(code, message));
    match key_type {
        0 => Ok(()),
        1 => refused(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "this broker coordinates no transactions yet",
        ),
        2 => refused(ErrorCode::InvalidRequest, "this broker coordinates no share groups"),
        other => refused(
            ErrorCode::InvalidRequest,
            &format!("coordinator type {other} is unknown: 0 is a group's"),
        ),
    }
}

/// The one coordinator of an old answer, in which Kafka words even that nothing is wrong.
fn alone(found: Coordinator) -> FindCoordinatorResponse {
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message.or(Some(ErrorCode::None.name().into())),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};

    /// Goal: every client finds the coordinator where it has come in, and hears at once what there
    /// is no coordinator for.
    #[tokio::test]
    async fn every_group_is_coordinated_here() {
        let rig = Rig::start().await;
        let mut request = FindCoordinatorRequest {
            key: "g".into(),
            coordinator_keys: vec!["g".into(), "h".into()],
            ..Default::default()
        };
        for version in 0..=6 {
            let response = handle(&rig.context, version, &request).await;
            assert_encodes(version, &response);
            let (node, host, port) = match response.coordinators.last() {
                Some(found) => (found.node_id, &found.host, found.port),
                None => (response.node_id, &response.host, response.port),
            };
            assert_eq!((node, host.as_str(), port), (NODE_ID, "cairn.example", 9092));
            assert_eq!(response.coordinators.len(), if version < 4 { 0 } else { 2 });
        }
        request.key_type = 1;
        let old = handle(&rig.context, 2, &request).await;
        let new = handle(&rig.context, 4, &request).await;
        let refused = ErrorCode::TransactionalIdAuthorizationFailed;
        assert_eq!(code(old.error_code), refused);
        assert_eq!(code(new.coordinators[1].error_code), refused);
        assert_eq!((old.node_id, new.coordinators[1].node_id), (-1, -1));
    }
}
