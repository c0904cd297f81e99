//! Raw stubs on a broker's gRPC door, batches by hand, and the program as a user types it.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use log_proto::record::{BatchBuilder, BatchOptions, Compression};
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
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

pub(crate) use crate::support::batch::{at, sealed};
use crate::support::{Broker, cairn};

/// The services of one broker, over one connection, without a client's manners.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) producer: ProducerClient<Channel>,
    pub(crate) consumer: ConsumerClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
}

impl Doors {
    pub(crate) async fn of(broker: &Broker) -> Self {
        Self::at(&broker.grpc).await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
        let channel = channel.connect().await.expect("the door is open");
        Self {
            producer: ProducerClient::new(channel.clone()).max_encoding_message_size(usize::MAX),
            consumer: ConsumerClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            admin: AdminClient::new(channel),
        }
    }

    pub(crate) async fn create(&mut self, name: &str, configs: &[(&str, &str)]) {
        self.try_create(name, 1, configs).await.expect("a new topic");
    }

    pub(crate) async fn try_create(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<(), Status> {
        let configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let name = name.to_owned();
        let configs = configs.collect();
        let request = v1::CreateTopicRequest { name, partitions, configs, validate_only: false };
        self.admin.create_topic(request).await.map(drop)
    }

    pub(crate) async fn delete(&mut self, name: &str) -> Result<(), Status> {
        let request = v1::DeleteTopicRequest { name: name.to_owned() };
        self.admin.delete_topic(request).await.map(drop)
    }

    /// Partition 0 of a topic.
    pub(crate) async fn describe(&mut self, name: &str) -> v1::PartitionDescription {
        let request = v1::DescribeTopicRequest { name: name.to_owned() };
        let described = self.admin.describe_topic(request).await.expect("a topic that is there");
        described.into_inner().partitions.swap_remove(0)
    }

    pub(crate) async fn produce(
        &mut self,
        request: v1::ProduceRequest,
    ) -> Result<v1::Appended, Status> {
        match self.producer.produce(request).await?.into_inner().result {
            Some(Answer::Appended(appended)) => Ok(appended),
            other => panic!("a unary call that fails has a status, not {other:?}"),
        }
    }

    pub(crate) async fn new_producer(&mut self) -> Producer {
        let given = self.producer.init_producer(v1::InitProducerRequest {}).await;
        let given = given.expect("an id").into_inner();
        let epoch = i16::try_from(given.producer_epoch).ok().and_then(ProducerEpoch::new);
        let id = ProducerId::new(given.producer_id).expect("a sound id");
        Producer { id, epoch: epoch.expect("a sound epoch") }
    }

    pub(crate) async fn consume(&mut self, start: v1::Start) -> Result<Reading, Status> {
        self.call(Asked::Start(start)).await
    }

    /// A Consume call that begins with this.
    pub(crate) async fn call(&mut self, first: Asked) -> Result<Reading, Status> {
        let (requests, stream) = mpsc::unbounded_channel();
        requests.send(asked(first)).expect("the other end is right here");
        let responses = self.consumer.consume(UnboundedReceiverStream::new(stream)).await?;
        Ok(Reading { requests, responses: responses.into_inner() })
    }

    /// Everything in partition 0 of a topic.
    pub(crate) async fn read(&mut self, topic: &str) -> Vec<v1::Record> {
        let start = starting_at(topic, 0, Position::Offset(0));
        let mut reading = self.consume(start).await.expect("a topic to read");
        let mut records = Vec::new();
        loop {
            match reading.event().await {
                Event::Started(_) => {}
                Event::Records(more) => records.extend(more.records),
                Event::CaughtUp(_) => return records,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn stream(&mut self) -> Producing {
        let (requests, stream) = mpsc::unbounded_channel();
        let answers = self.producer.produce_stream(UnboundedReceiverStream::new(stream)).await;
        Producing { requests, answers: answers.map(Response::into_inner).expect("a stream") }
    }
}

/// An open Consume call.
pub(crate) struct Reading {
    pub(crate) requests: mpsc::UnboundedSender<v1::ConsumeRequest>,
    pub(crate) responses: Streaming<v1::ConsumeResponse>,
}

impl Reading {
    pub(crate) fn give(&self, bytes: u64) {
        self.ask(Asked::Credit(v1::Credit { bytes }));
    }

    pub(crate) fn ask(&self, request: Asked) {
        self.requests.send(asked(request)).expect("the call is open");
    }

    pub(crate) async fn event(&mut self) -> Event {
        let response = self.responses.message().await.expect("no error").expect("the call goes on");
        response.event.expect("every response has an event")
    }
}

/// An open ProduceStream call.
pub(crate) struct Producing {
    pub(crate) requests: mpsc::UnboundedSender<v1::ProduceRequest>,
    pub(crate) answers: Streaming<v1::ProduceResponse>,
}

impl Producing {
    pub(crate) fn send(&self, request_id: u64, request: v1::ProduceRequest) {
        let request = v1::ProduceRequest { request_id, ..request };
        self.requests.send(request).expect("the call is open");
    }

    pub(crate) async fn answer(&mut self) -> (u64, Answer) {
        let answer = self.answers.message().await.expect("no error").expect("the call goes on");
        (answer.request_id, answer.result.expect("every answer has a result"))
    }
}

pub(crate) fn asked(request: Asked) -> v1::ConsumeRequest {
    v1::ConsumeRequest { request: Some(request) }
}

/// A start with more credit than any test uses up.
pub(crate) fn starting_at(topic: &str, partition: i32, position: Position) -> v1::Start {
    let position = Some(position);
    let one = v1::PartitionStart { topic: topic.to_owned(), partition, position, ..defaulted() };
    v1::Start { partitions: vec![one], credit_bytes: 1 << 40, ..defaulted() }
}

pub(crate) fn defaulted<T: Default>() -> T {
    T::default()
}

/// A request for partition 0 of a topic.
pub(crate) fn request(topic: &str, payload: Payload) -> v1::ProduceRequest {
    let (topic, partition, payload) = (topic.to_owned(), Some(0), Some(payload));
    v1::ProduceRequest { topic, partition, payload, ..defaulted() }
}

pub(crate) fn record(key: Option<&str>, value: impl Into<Bytes>) -> v1::Record {
    let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    v1::Record { key, value: Some(value.into()), ..defaulted() }
}

/// A plain record without a key.
pub(crate) fn plain(value: impl Into<Bytes>) -> Payload {
    Payload::Plain(v1::PlainBatch { records: vec![record(None, value)], ..defaulted() })
}

/// A batch of two records without keys.
pub(crate) fn batch(options: BatchOptions) -> Vec<u8> {
    batch_of(options, &[b"one", b"two"])
}

pub(crate) fn batch_of(options: BatchOptions, values: &[&[u8]]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(options);
    for value in values {
        batch.push(now(), None, Some(value), &[]).expect("a sound record");
    }
    batch.build().expect("a sound batch").to_vec()
}

pub(crate) fn compressed(compression: Compression) -> BatchOptions {
    BatchOptions { compression, ..BatchOptions::default() }
}

pub(crate) fn from_producer(producer: Producer, sequence: i32) -> BatchOptions {
    let sequence = Sequence::new(sequence).expect("not negative");
    BatchOptions { producer: Some((producer, sequence)), ..BatchOptions::default() }
}

pub(crate) fn now() -> TimestampMs {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    TimestampMs::new(i64::try_from(since.as_millis()).expect("before the year 292,278,994"))
}

/// The machine-readable part of a failed call; `None` if it has none.
pub(crate) fn error_of(status: &Status) -> Option<v1::Error> {
    let status = tonic_types::pb::Status::decode(status.details()).ok()?;
    let mut details = status.details.iter();
    let detail = details.find(|detail| detail.type_url.ends_with("/cairn.v1.Error"))?;
    v1::Error::decode(&*detail.value).ok()
}

/// What `cairn` did with these arguments and this input, as on a terminal's line.
pub(crate) fn run(broker: &Broker, arguments: &[&str], input: &[u8]) -> Output {
    fed(typed(broker, arguments), input)
}

/// `cairn` with these arguments, for this broker.
pub(crate) fn typed(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = cairn();
    command.args(arguments).env("CAIRN_BROKER", &broker.grpc);
    command
}

/// Runs a command to its end, with this on its standard input.
pub(crate) fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // On a thread of its own: a program that writes before it has read everything must not wait
    // for a reader that is still writing. It may also end without having read it.
    std::thread::spawn(move || stdin.write_all(&input));
    ended(child)
}

/// A command that does not end is a failure, not a wait for ever.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for a command to end. Whatever it was for, it must not have panicked.
pub(crate) fn ended(child: Child) -> Output {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(COMMAND_TIMEOUT) else {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("a command did not end within {COMMAND_TIMEOUT:?}");
    };
    let output = output.expect("it was started here");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

/// Looks again and again until it is so. What never comes is a failure, not a wait for ever.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < COMMAND_TIMEOUT, "{what}: not within {COMMAND_TIMEOUT:?}");
        std::thread::yield_now();
    }
}

/// What a command wrote to standard output; it must have gone well.
pub(crate) fn good(output: Output) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    output.stdout
}

/// What a command wrote to standard error; it must have ended with this code, and must not have
/// written anything to standard output.
pub(crate) fn failed(output: Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr).expect("messages are text");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{stderr}{stdout}");
    assert!(stdout.is_empty(), "results among failures: {stdout}");
    stderr
}

pub(crate) fn bytes(batch: Vec<u8>) -> Payload {
    Payload::Batch(BytesMut::from(&batch[..]).freeze())
}
