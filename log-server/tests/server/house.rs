//! A server in a folder of its own, and the few calls that every test makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use log_proto::record::{BatchBuilder, BatchOptions};
use log_proto::types::{Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use log_proto::v1;
use log_proto::v1::admin_client::AdminClient;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::consume_response::Event;
use log_proto::v1::consumer_client::ConsumerClient;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;
use log_proto::v1::produce_response::Result as Answer;
use log_proto::v1::producer_client::ProducerClient;
use log_server::kafka::Listener;
use log_server::{Server, ServerConfig};
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// A data folder, with or without a server in it.
pub(crate) struct House {
    folder: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig {
            data_dir: self.folder.path().join("data"),
            grpc_listen: "127.0.0.1:0".parse().unwrap(),
            kafka_listeners: Listener::parse_all("127.0.0.1:0").unwrap(),
            http_listen: "127.0.0.1:0".parse().unwrap(),
            ..ServerConfig::default()
        }
    }

    pub(crate) fn topics(&self) -> PathBuf {
        self.config().data_dir.join("topics")
    }

    pub(crate) async fn start(&self) -> Served {
        Served::start(self.config()).await
    }
}

/// A server on a runtime of its own, so that it can be ended like a process.
pub(crate) struct Served {
    server: Option<Server>,
    runtime: Option<Runtime>,
    pub(crate) producer: ProducerClient<Channel>,
    pub(crate) consumer: ConsumerClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
}

impl Served {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.spawn(Server::start(config)).await.unwrap().unwrap();
        let uri = format!("http://{}", server.grpc_address());
        let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
        Self {
            server: Some(server),
            runtime: Some(runtime),
            producer: ProducerClient::new(channel.clone())
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX),
            consumer: ConsumerClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            admin: AdminClient::new(channel),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) async fn stop(mut self) {
        let server = self.server.take().unwrap();
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(server.stop()).await.unwrap();
    }

    /// Ends the server as a crash would: nothing is flushed, closed or said.
    pub(crate) fn crash(self) {
        drop(self);
    }

    pub(crate) async fn create(&mut self, name: &str, partitions: u32) {
        self.create_with(name, partitions, &[]).await.unwrap();
    }

    pub(crate) async fn create_with(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<v1::Topic, Status> {
        let configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let request = v1::CreateTopicRequest {
            name: name.to_owned(),
            partitions,
            configs: configs.collect(),
            validate_only: false,
        };
        Ok(self.admin.create_topic(request).await?.into_inner().topic.unwrap())
    }

    pub(crate) async fn delete(&mut self, name: &str) -> Result<(), Status> {
        let request = v1::DeleteTopicRequest { name: name.to_owned() };
        self.admin.delete_topic(request).await.map(drop)
    }

    pub(crate) async fn describe(&mut self, name: &str) -> v1::DescribeTopicResponse {
        let request = v1::DescribeTopicRequest { name: name.to_owned() };
        self.admin.describe_topic(request).await.unwrap().into_inner()
    }

    pub(crate) async fn log_end(&mut self, topic: &str, partition: usize) -> i64 {
        self.describe(topic).await.partitions[partition].log_end_offset
    }

    pub(crate) async fn produce(
        &mut self,
        request: v1::ProduceRequest,
    ) -> Result<v1::Appended, Status> {
        match self.producer.produce(request).await?.into_inner().result.unwrap() {
            Answer::Appended(appended) => Ok(appended),
            Answer::Error(error) => panic!("a unary call fails with a status, not with {error:?}"),
        }
    }

    /// Appends values without keys and waits for acks=all.
    pub(crate) async fn append(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let request = to_partition(topic, partition, plain(values));
        self.produce(request).await.unwrap().base_offset
    }

    /// Everything in a partition from `offset` to its end.
    pub(crate) async fn read_all(&mut self, topic: &str, offset: i64) -> Vec<v1::Record> {
        let start = from(topic, 0, Position::Offset(offset));
        let mut reading = self.consume(vec![start], u64::MAX >> 1).await.unwrap();
        reading.records_to_end().await
    }

    pub(crate) async fn values(&mut self, topic: &str) -> Vec<String> {
        self.read_all(topic, 0).await.into_iter().map(|record| text(record.value)).collect()
    }

    pub(crate) async fn consume(
        &mut self,
        partitions: Vec<v1::PartitionStart>,
        credit_bytes: u64,
    ) -> Result<Reading, Status> {
        self.consume_with(v1::Start { partitions, credit_bytes, ..v1::Start::default() }).await
    }

    pub(crate) async fn consume_with(&mut self, start: v1::Start) -> Result<Reading, Status> {
        let (requests, stream) = mpsc::unbounded_channel();
        requests.send(v1::ConsumeRequest { request: Some(Asked::Start(start)) }).unwrap();
        let responses = self.consumer.consume(UnboundedReceiverStream::new(stream)).await?;
        Ok(Reading { requests, responses: responses.into_inner() })
    }

    pub(crate) async fn commit(
        &mut self,
        group: &str,
        topic: &str,
        offset: i64,
    ) -> Result<(), Status> {
        let topic = topic.to_owned();
        let offsets = vec![v1::GroupOffset { topic, offset, ..v1::GroupOffset::default() }];
        let request = v1::CommitOffsetsRequest { group: group.to_owned(), offsets };
        self.consumer.commit_offsets(request).await.map(drop)
    }

    pub(crate) async fn committed(&mut self, group: &str) -> Vec<v1::GroupOffset> {
        let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics: vec![] };
        self.consumer.fetch_offsets(request).await.unwrap().into_inner().offsets
    }

    pub(crate) async fn init_producer(&mut self) -> Producer {
        let response = self.producer.init_producer(v1::InitProducerRequest {}).await.unwrap();
        let response = response.into_inner();
        let epoch = i16::try_from(response.producer_epoch).unwrap();
        Producer {
            id: ProducerId::new(response.producer_id).unwrap(),
            epoch: ProducerEpoch::new(epoch).unwrap(),
        }
    }

    pub(crate) async fn stream(&mut self) -> Producing {
        let (requests, stream) = mpsc::unbounded_channel();
        let answers = self.producer.produce_stream(UnboundedReceiverStream::new(stream));
        Producing { requests, answers: answers.await.unwrap().into_inner() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Some(runtime) = self.runtime.take() {
            // Waits for what is on its threads, so that the folder is free when this returns.
            let end = || runtime.shutdown_timeout(Duration::from_secs(60));
            tokio::task::block_in_place(end);
        }
    }
}

/// An open Consume call.
pub(crate) struct Reading {
    pub(crate) requests: mpsc::UnboundedSender<v1::ConsumeRequest>,
    pub(crate) responses: Streaming<v1::ConsumeResponse>,
}

impl Reading {
    pub(crate) fn give(&self, bytes: u64) {
        let credit = Asked::Credit(v1::Credit { bytes });
        self.requests.send(v1::ConsumeRequest { request: Some(credit) }).unwrap();
    }

    pub(crate) async fn next(&mut self) -> v1::ConsumeResponse {
        self.responses.message().await.unwrap().expect("the stream goes on")
    }

    /// The event of the next response.
    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.event.unwrap()
    }

    pub(crate) async fn records_to_end(&mut self) -> Vec<v1::Record> {
        let mut records = Vec::new();
        loop {
            match self.event().await {
                Event::Started(_) => {}
                Event::Records(more) => records.extend(more.records),
                Event::CaughtUp(_) => return records,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// An open ProduceStream call.
pub(crate) struct Producing {
    pub(crate) requests: mpsc::UnboundedSender<v1::ProduceRequest>,
    pub(crate) answers: Streaming<v1::ProduceResponse>,
}

impl Producing {
    pub(crate) fn send(&self, request_id: u64, request: v1::ProduceRequest) {
        self.requests.send(v1::ProduceRequest { request_id, ..request }).unwrap();
    }

    pub(crate) async fn answer(&mut self) -> (u64, Answer) {
        let answer = self.answers.message().await.unwrap().expect("the stream goes on");
        (answer.request_id, answer.result.unwrap())
    }

    pub(crate) async fn appended(&mut self) -> (u64, v1::Appended) {
        match self.answer().await {
            (id, Answer::Appended(appended)) => (id, appended),
            (id, Answer::Error(error)) => panic!("{id}: {error:?}"),
        }
    }
}

pub(crate) fn text(bytes: Option<Bytes>) -> String {
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

pub(crate) fn record(key: Option<&str>, value: &str) -> v1::Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    v1::Record { key: key.map(bytes), value: Some(bytes(value)), ..v1::Record::default() }
}

pub(crate) fn plain(values: &[&str]) -> Payload {
    let records = values.iter().map(|value| record(None, value)).collect();
    Payload::Plain(v1::PlainBatch { records, ..v1::PlainBatch::default() })
}

pub(crate) fn to_partition(topic: &str, partition: i32, payload: Payload) -> v1::ProduceRequest {
    v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(partition),
        payload: Some(payload),
        ..v1::ProduceRequest::default()
    }
}

/// A batch with a record for each value; sequences begin at `sequence`.
pub(crate) fn batch(values: &[&str], producer: Option<(Producer, i32)>) -> Bytes {
    let producer = producer.map(|(producer, at)| (producer, Sequence::new(at).unwrap()));
    let mut batch = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    for value in values {
        batch.push(TimestampMs::new(1), None, Some(value.as_bytes()), &[]).unwrap();
    }
    batch.build().unwrap()
}

pub(crate) fn from(topic: &str, partition: i32, position: Position) -> v1::PartitionStart {
    v1::PartitionStart {
        topic: topic.to_owned(),
        partition,
        position: Some(position),
        ..v1::PartitionStart::default()
    }
}

/// The machine-readable part of a failed call.
pub(crate) fn error_of(status: &Status) -> v1::Error {
    let details = tonic_types::pb::Status::decode(status.details()).unwrap();
    let found = details.details.iter().find(|any| any.type_url.ends_with("/cairn.v1.Error"));
    v1::Error::decode(&*found.expect("every refusal has a detail").value).unwrap()
}

/// Whether a folder, and everything in it, is gone.
pub(crate) fn is_gone(path: &Path) -> bool {
    !path.exists()
}
