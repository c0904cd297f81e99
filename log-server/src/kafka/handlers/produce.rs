//! Produce, key 0, versions 3 to 13 (KIP-98, KIP-467, KIP-516, KIP-951). 0 to 2 are advertised
//! (KAFKA-18659) and refused, as Kafka does.
//!
//! One record batch for each partition. Each partition has its own outcome; those of one request
//! are appended in their order, and those of two requests of a connection too. Answered as `acks`
//! asks: 0 never, 1 when appended, -1 when as durable as the topic promises. What was appended and
//! is not durable within the request's timeout is answered REQUEST_TIMED_OUT, and may be stored.
//!
//! Left out: `record_errors` (a batch is refused whole, the message says why), transactions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use log_proto::kafka::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use log_proto::kafka::{ErrorCode, RequestHeader, Rope, encode_response};
use log_proto::record::BatchHeader;
use log_proto::types::TimestampMs;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{TopicRef, partition_number, topic_of};
use crate::broker::Submitted;
use crate::kafka::Context;
use crate::kafka::connection::{Closed, Handled};
use crate::kafka::error::Refusal;
use crate::partition::{Acknowledged, Acks};
use crate::topics::Topic;

/// The first version that names topics by id.
const BY_ID: i16 = 13;

/// Appends what the request carries, and says how its outcome will be known.
pub(in crate::kafka) async fn begin(
    context: Context,
    header: RequestHeader,
    request: ProduceRequest,
    size: usize,
    memory: Option<OwnedSemaphorePermit>,
) -> Result<Handled, Closed> {
    let Some(acks) = acks(request.acks) else {
        let response = refused(
            &request,
            &Refusal::new(
                ErrorCode::InvalidRequiredAcks,
                format!("acks is {}: -1, 0 and 1 are taken", request.acks),
            ),
        );
        return encode(&header, &response).map(Handled::Answer);
    };
    let memory = match memory {
        Some(memory) => memory,
        None => {
            context.broker.admit(size).await.map_err(|error| Closed::Request(error.to_string()))?
        }
    };
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let by_id = header.version >= BY_ID;
    let appended = submit(&context, by_id, request.topic_data, memory).await;
    if acks == Acks::None {
        return silently(appended).await;
    }
    Ok(Handled::Later(Box::pin(async move {
        let responses = join_all(appended.into_iter().map(|topic| topic.settle(acks, patience)));
        let response = ProduceResponse { responses: responses.await, ..Default::default() };
        encode(&header, &response).inspect_err(|error| tracing::error!(%error, "no answer")).ok()
    })))
}

fn acks(number: i16) -> Option<Acks> {
    match number {
        -1 => Some(Acks::All),
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        _ => None,
    }
}

fn encode(header: &RequestHeader, response: &ProduceResponse) -> Result<Rope, Closed> {
    let rope = encode_response::<ProduceRequest>(header, response);
    rope.map_err(|error| Closed::Request(error.to_string()))
}

/// One topic's batches on their way.
struct AppendedTopic {
    topic: TopicProduceResponse,
    partitions: Vec<(i32, Result<Submitted, Refusal>)>,
}

async fn submit(
    context: &Context,
    by_id: bool,
    topics: Vec<TopicProduceData>,
    mut memory: OwnedSemaphorePermit,
) -> Vec<AppendedTopic> {
    let mut appended = Vec::with_capacity(topics.len());
    for topic in topics {
        let found = find(context, TopicRef::new(by_id, topic.topic_id, &topic.name));
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let submitted = match &found {
                Ok(topic) => submit_one(context, topic, data, &mut memory).await,
                Err(refusal) => Err(refusal.clone()),
            };
            partitions.push((index, submitted.map_err(in_few_words)));
        }
        let topic = TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: Vec::new(),
        };
        appended.push(AppendedTopic { topic, partitions });
    }
    appended
}

fn find(context: &Context, named: TopicRef<'_>) -> Result<Arc<Topic>, Refusal> {
    let topic = topic_of(&context.broker, named).map_err(in_few_words)?;
    context.broker.check_to_produce(&topic)?;
    Ok(topic)
}

/// What is not there needs no words, as with Kafka: a million partitions of that kind are named in
/// five bytes each.
fn in_few_words(refusal: Refusal) -> Refusal {
    match refusal.code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => refusal.without_words(),
        _ => refusal,
    }
}

async fn submit_one(
    context: &Context,
    topic: &Arc<Topic>,
    data: PartitionProduceData,
    memory: &mut OwnedSemaphorePermit,
) -> Result<Submitted, Refusal> {
    let partition = partition_number(topic, data.index)?;
    let batch = one_batch(data.records)?;
    let share = batch.len().min(memory.num_permits());
    let memory = memory.split(share).expect("no more than it has");
    Ok(context.broker.submit(&context.principal, topic, partition, batch, memory).await?)
}

/// Kafka takes exactly one batch for each partition from version 3 on.
fn one_batch(records: Option<Bytes>) -> Result<Bytes, Refusal> {
    let records = records.filter(|records| !records.is_empty()).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidRecord, "no records: send one batch for each partition")
    })?;
    // What is wrong with a single one is said when it is checked.
    let goes_on = |header: BatchHeader| header.size_bytes() < records.len();
    if BatchHeader::parse(&records).is_ok_and(goes_on) {
        let message = "more than one record batch: send one for each partition";
        return Err(Refusal::new(ErrorCode::InvalidRecord, message));
    }
    Ok(records)
}

impl AppendedTopic {
    async fn settle(self, acks: Acks, patience: Duration) -> TopicProduceResponse {
        let settled = self.partitions.into_iter().map(|(index, submitted)| async move {
            let outcome = match submitted {
                Ok(submitted) => wait(submitted, acks, patience).await,
                Err(refusal) => Err(refusal),
            };
            partition_response(index, outcome)
        });
        TopicProduceResponse { partition_responses: join_all(settled).await, ..self.topic }
    }
}

async fn wait(
    submitted: Submitted,
    acks: Acks,
    patience: Duration,
) -> Result<Acknowledged, Refusal> {
    match timeout(patience, submitted.acknowledged(acks)).await {
        Ok(acknowledged) => Ok(acknowledged?),
        Err(_) => Err(Refusal::new(
            ErrorCode::RequestTimedOut,
            format!("not on the disk within {patience:?}: it may be stored"),
        )),
    }
}

fn partition_response(
    index: i32,
    outcome: Result<Acknowledged, Refusal>,
) -> PartitionProduceResponse {
    match outcome {
        Ok(stored) => PartitionProduceResponse {
            index,
            base_offset: stored.base_offset.get(),
            log_append_time_ms: stored.append_time.map_or(-1, TimestampMs::get),
            log_start_offset: stored.log_start.get(),
            ..Default::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.number(),
            error_message: refusal.text(),
            base_offset: -1,
            ..Default::default()
        },
    }
}

/// Without an answer the only way to tell a client is to hang up, upon which it asks anew where
/// its topics are. Kafka does the same.
async fn silently(appended: Vec<AppendedTopic>) -> Result<Handled, Closed> {
    let outcomes = appended.into_iter().flat_map(|topic| topic.partitions);
    for (index, submitted) in outcomes {
        let outcome = match submitted {
            Ok(submitted) => submitted.acknowledged(Acks::None).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            let Refusal { code, message } = refusal;
            let message = format!("acks=0, partition {index}: {code} {message}");
            return Err(Closed::Request(message));
        }
    }
    Ok(Handled::Silence)
}

fn refused(request: &ProduceRequest, refusal: &Refusal) -> ProduceResponse {
    let topic = |topic: &TopicProduceData| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| partition_response(data.index, Err(refusal.clone())))
            .collect(),
    };
    let responses = request.topic_data.iter().map(topic).collect();
    ProduceResponse { responses, ..Default::default() }
}
