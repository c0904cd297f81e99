//! DescribeProducers, key 61, version 0 (KIP-664).
//!
//! Who writes to a partition with a producer id, how far it has come, and where its open
//! transaction began. A partition that is asked for twice is answered once, lest a small request
//! have a large answer.

use std::collections::HashSet;

use log_core::ProducerEntry;
use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicRequest, TopicResponse,
};
use log_proto::types::{CoordinatorEpoch, Offset, ProducerId, Sequence};

use super::{TopicRef, partition_of};
use crate::kafka::Context;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut seen = HashSet::new();
    let topics = request.topics.iter().map(|topic| TopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partition_indexes
            .iter()
            .filter(|index| seen.insert((&topic.name, **index)))
            .map(|index| describe(context, topic, *index))
            .collect(),
    });
    DescribeProducersResponse { topics: topics.collect(), ..Default::default() }
}

fn describe(context: &Context, topic: &TopicRequest, index: i32) -> PartitionResponse {
    match partition_of(&context.broker, TopicRef::Name(&topic.name), index) {
        Ok((_, partition)) => PartitionResponse {
            partition_index: index,
            error_code: ErrorCode::None.number(),
            error_message: None,
            active_producers: partition.log().producers().into_iter().map(state).collect(),
        },
        Err(refusal) => PartitionResponse {
            partition_index: index,
            error_code: refusal.number(),
            error_message: refusal.text(),
            active_producers: Vec::new(),
        },
    }
}

fn state((id, entry): (ProducerId, ProducerEntry)) -> ProducerState {
    ProducerState {
        producer_id: id.get(),
        producer_epoch: i32::from(entry.producer_epoch().get()),
        last_sequence: entry.last_sequence().map_or(-1, Sequence::get),
        last_timestamp: entry.last_timestamp().get(),
        coordinator_epoch: entry.coordinator_epoch().map_or(-1, CoordinatorEpoch::get),
        current_txn_start_offset: entry.current_txn_first_offset().map_or(-1, Offset::get),
    }
}
