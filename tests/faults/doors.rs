//! What clients ask for on a full disk besides records of one producer: at both doors, until each
//! is refused for want of room, and until it is taken again.

use std::collections::BTreeMap;

use bytes::Bytes;
use log_client::{Client, GroupOffset, NewTopic, RequestError, Validation};
use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use log_proto::kafka::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::{Offset, TimestampMs};

use crate::support::{Broker, kafka};
use crate::{TOPIC, eventually};

/// The topic that is written to through the Kafka door. Its segment has no end, so that it is a
/// batch that finds no room, and never a new segment.
pub(crate) const KAFKA: &str = "kafka";
/// The topic whose configs are altered.
pub(crate) const ALTERED: &str = "altered";
const GROUP: &str = "group";
/// More than the room that a log may have made ahead has place for.
const TRIES: usize = 10_000;
const METADATA_BYTES: usize = 4000;

/// What was taken of all that was asked for.
pub(crate) struct Taken {
    committed: i64,
    retention_ms: i64,
    /// All that is set on the topic, so that each change takes a thousand bytes of the metadata.
    configs: BTreeMap<String, String>,
    produced: usize,
    created: Vec<String>,
}

impl Taken {
    /// While there is room for it.
    pub(crate) async fn with_room(client: &Client) -> Self {
        let configs = client.admin().describe_configs(ALTERED).await.expect("a topic");
        let configs = configs.into_iter().map(|entry| (entry.name, entry.value)).collect();
        let (produced, created) = (0, vec![]);
        let mut taken = Self { committed: 0, retention_ms: 1 << 40, configs, produced, created };
        taken.commit(client).await.expect("there is room");
        taken.alter(client).await.expect("there is room");
        taken
    }

    /// Asks until everything has been refused. Whatever the broker gives back to the disk meanwhile
    /// (room that was made ahead) is taken by `fill`.
    pub(crate) async fn until_full(&mut self, broker: &Broker, client: &Client, fill: impl Fn()) {
        let mut kafka = kafka::Client::of(broker);
        fill();
        let ask = async || {
            produce(&mut kafka, KAFKA, &[b'.'; 8 << 10])?;
            self.produced += 1;
            Ok(())
        };
        let (code, message) = until_refused(ask).await;
        assert_eq!(code, ErrorCode::KafkaStorageError as i16, "{message}");
        assert_no_room(&message, "/kafka-0/00000000000000000000.log");

        let error = until_refused(async || self.commit(client).await).await;
        assert_no_room(&later(&error), "/__consumer_offsets-0/");
        let code = until_refused(async || commit_at_kafka(&mut kafka)).await;
        assert_eq!(code, ErrorCode::CoordinatorNotAvailable as i16);

        fill();
        let error = until_refused(async || self.alter(client).await).await;
        assert_no_room(&later(&error), "/__cluster_metadata-0/");

        let ask = async || {
            fill();
            let name = format!("new{}", self.created.len());
            create(client, &name).await?;
            self.created.push(name);
            Ok(())
        };
        let error = until_refused(ask).await;
        // Its files come before the record that says that it is there.
        assert_no_room(&later(&error), "/new");
        let ask = async || {
            fill();
            let name = format!("new{}", self.created.len());
            create_at_kafka(&mut kafka, &name)?;
            self.created.push(name);
            Ok(())
        };
        let code: i16 = until_refused(ask).await;
        assert_eq!(code, ErrorCode::KafkaStorageError as i16);
    }

    async fn commit(&mut self, client: &Client) -> Result<(), RequestError> {
        let offset = Offset::new(self.committed + 1).expect("it is not negative");
        let mut next = GroupOffset::new(TOPIC, 0, offset);
        next.metadata = "m".repeat(METADATA_BYTES);
        client.commit_offsets(GROUP, &[next]).await?;
        self.committed += 1;
        Ok(())
    }

    async fn alter(&mut self, client: &Client) -> Result<(), RequestError> {
        let mut set = self.configs.clone();
        set.insert("retention.ms".into(), (self.retention_ms + 1).to_string());
        client.admin().alter_configs(ALTERED, set, vec![], Validation::Apply).await?;
        self.retention_ms += 1;
        Ok(())
    }

    /// There is room again, and nobody has told the broker: all that was refused is taken.
    pub(crate) async fn resume(&mut self, broker: &Broker, client: &Client) {
        let mut kafka = kafka::Client::of(broker);
        eventually("a batch", async || {
            produce(&mut kafka::Client::of(broker), KAFKA, &[b'.'; 8 << 10]).is_ok()
        })
        .await;
        self.produced += 1;
        while let Err(error) = self.commit(client).await {
            later(&error);
        }
        while let Err(error) = self.alter(client).await {
            later(&error);
        }
        let name = "again".to_owned();
        while let Err(error) = create(client, &name).await {
            later(&error);
        }
        self.created.push(name);
        assert_eq!(create_at_kafka(&mut kafka, "again-kafka"), Ok(()));
        self.created.push("again-kafka".to_owned());
        assert_eq!(commit_at_kafka(&mut kafka), Ok(()));
    }

    /// What was taken is there, and nothing of what was refused.
    pub(crate) async fn check(&self, client: &Client) {
        let committed = client.committed_offsets(GROUP, &[]).await.expect("a group");
        assert_eq!(committed[0].offset.get(), self.committed);
        let configs = client.admin().describe_configs(ALTERED).await.expect("a topic");
        let retention = configs.iter().find(|entry| entry.name == "retention.ms");
        assert_eq!(retention.expect("it was set").value, self.retention_ms.to_string());
        let described = client.admin().describe_topic(KAFKA).await.expect("a topic");
        assert_eq!(described.partitions[0].log_end_offset.get(), self.produced as i64);
        let topics = client.admin().list_topics().await.expect("a list");
        let mut new: Vec<_> = topics.into_iter().map(|topic| topic.name).collect();
        new.retain(|name| name.starts_with("new") || name.starts_with("again"));
        let mut created = self.created.clone();
        created.sort();
        new.sort();
        assert_eq!(new, created);
    }
}

/// Asks again and again. Returns why not.
async fn until_refused<E>(mut ask: impl AsyncFnMut() -> Result<(), E>) -> E {
    for _ in 0..TRIES {
        if let Err(refused) = ask().await {
            return refused;
        }
    }
    panic!("a full disk has taken all of it");
}

/// The refusal is for want of room, and in this place.
fn assert_no_room(message: &str, place: &str) {
    assert!(message.contains("full") || message.contains("No space"), "{message}");
    assert!(message.contains(place), "refused elsewhere: {message}");
}

/// What a refusal says, which must be to come back later, for nothing has happened.
fn later(error: &RequestError) -> String {
    assert!(error.is_retriable(), "a full disk is no reason to give up: {error}");
    assert!(error.nothing_happened(), "{error}");
    error.to_string()
}

async fn create(client: &Client, name: &str) -> Result<(), RequestError> {
    client.admin().create_topic(NewTopic::new(name).partitions(1)).await.map(drop)
}

/// One batch of one record, or why not.
pub(crate) fn produce(
    kafka: &mut kafka::Client,
    topic: &str,
    value: &[u8],
) -> Result<(), (i16, String)> {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let now = TimestampMs::new(i64::try_from(now).expect("before the year 292 million"));
    batch.push(now, None, Some(value), &[]).expect("a sound record");
    let records: Bytes = batch.build().expect("a sound batch");
    let partition = PartitionProduceData { index: 0, records: Some(records) };
    let (name, partition_data) = (topic.into(), vec![partition]);
    let topic = TopicProduceData { name, partition_data, ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let answer = kafka.ask(9, &request);
    let partition = &answer.responses[0].partition_responses[0];
    match partition.error_code {
        0 => Ok(()),
        code => Err((
            code,
            partition
                .error_message
                .as_ref()
                .map(|text| text.as_str().to_owned())
                .unwrap_or_default(),
        )),
    }
}

fn commit_at_kafka(kafka: &mut kafka::Client) -> Result<(), i16> {
    let partition = OffsetCommitRequestPartition {
        committed_leader_epoch: -1,
        committed_metadata: Some("m".repeat(METADATA_BYTES).as_str().into()),
        ..Default::default()
    };
    let (name, partitions) = (TOPIC.into(), vec![partition]);
    let topic = OffsetCommitRequestTopic { name, partitions, ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "another".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    outcome(kafka.ask(8, &request).topics[0].partitions[0].error_code)
}

fn create_at_kafka(kafka: &mut kafka::Client, name: &str) -> Result<(), i16> {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    outcome(kafka.ask(7, &request).topics[0].error_code)
}

fn outcome(code: i16) -> Result<(), i16> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// Deletes every record of a topic.
pub(crate) fn delete_records(kafka: &mut kafka::Client, topic: &str) {
    let partition = DeleteRecordsPartition { partition_index: 0, offset: -1 };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(kafka.ask(2, &request).topics[0].partitions[0].error_code, 0);
}
