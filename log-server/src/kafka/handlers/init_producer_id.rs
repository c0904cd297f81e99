//! InitProducerId, key 22, versions 0 to 5 (KIP-98, KIP-360, KIP-890).
//!
//! Idempotent producers get an id that nobody has had before, with epoch 0. One that sends its old
//! id and epoch, to go on after an error, gets a new id as well: it starts its sequences anew
//! either way.
//!
//! Left out: transactional ids, which are answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED's
//! neighbour, INVALID_REQUEST, until there is a transaction coordinator.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use log_proto::types::Producer;

use crate::kafka::Context;
use crate::kafka::error::Refusal;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(context, request).await {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.id.get(),
            producer_epoch: producer.epoch.get(),
            ..Default::default()
        },
        Err(refusal) => InitProducerIdResponse {
            error_code: refusal.number(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    }
}

async fn init(context: &Context, request: &InitProducerIdRequest) -> Result<Producer, Refusal> {
    if request.transactional_id.is_some() {
        let message = "this broker coordinates no transactions yet";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    Ok(context.broker.init_producer(&context.principal).await?)
}
