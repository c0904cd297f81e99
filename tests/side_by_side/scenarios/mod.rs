//! What both brokers are asked: a module for each area, each played to a broker of its own.

pub(crate) mod classic_groups;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod consumer_groups;
pub(crate) mod fetching;
pub(crate) mod malformed;
pub(crate) mod offsets;
pub(crate) mod places;
pub(crate) mod producing;
pub(crate) mod topics;

use bytes::Bytes;
use log_proto::kafka::Uuid;
use log_proto::kafka::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::TimestampMs;

use crate::run::{Run, defaulted};

/// When the first record of every batch was made, so that each run sends the same bytes.
const MADE_AT: i64 = 1_700_000_000_000;

/// A topic as requests name it: by its name in old versions, by its id in new ones.
#[derive(Clone)]
struct Named {
    name: String,
    id: Uuid,
}

impl Named {
    /// Creates a topic that keeps records for ever, whenever they were made.
    fn create(run: &mut Run, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Self {
        let name = run.named(name);
        let configs = [&[("retention.ms", "-1")], configs].concat();
        let id = run.create(&name, partitions, &configs);
        Self { name, id }
    }

    /// One that is not there.
    fn missing() -> Self {
        Self { name: "missing".to_owned(), id: Uuid::from_bytes([7; 16]) }
    }
}

/// A batch of so many records, a millisecond between them.
fn batch(records: i64) -> Bytes {
    batch_with(BatchOptions::default(), records, 0)
}

/// A batch whose first record was made so many milliseconds after [`MADE_AT`].
fn batch_with(options: BatchOptions, records: i64, later: i64) -> Bytes {
    let mut batch = BatchBuilder::new(options);
    for number in 0..records {
        let at = TimestampMs::new(MADE_AT + later + number);
        let value = format!("value {number}");
        batch.push(at, Some(b"key"), Some(value.as_bytes()), &[]).expect("a small record");
    }
    batch.build().expect("a small batch")
}

/// Records for partition 0, as a producer sends them that waits for all.
fn producing_to(topic: &Named, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData { index: 0, records: Some(records) };
    let topic = TopicProduceData {
        name: topic.name.as_str().into(),
        topic_id: topic.id,
        partition_data: vec![partition],
    };
    ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..defaulted() }
}

/// Appends quietly.
fn append(run: &mut Run, topic: &Named, records: Bytes) {
    let response = run.quietly(9, &producing_to(topic, records));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{response:?}");
}
