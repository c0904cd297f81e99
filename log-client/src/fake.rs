//! A broker for tests: one that keeps what it is sent, checks sequences as a real one does, and
//! fails where the test says.
//!
//! The rule: it behaves at the wire exactly as the contract says, so that a client that is right
//! against it is right. It keeps to memory, answers at once unless told to hold its answers, and
//! lives on a real socket, because connections are what most faults are about.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use log_proto::{
    record::{BatchHeader, RecordBatch},
    types::{Producer, Sequence},
    v1::{
        self,
        admin_server::{Admin, AdminServer},
        consumer_server::{self, ConsumerServer},
        producer_server::{self, ProducerServer},
    },
};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot, watch},
};
use tokio_stream::{
    Stream,
    wrappers::{TcpListenerStream, UnboundedReceiverStream},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What happens to a produce request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing bad.
    Serve,
    /// The stream breaks, and the batch is not appended.
    LoseRequest,
    /// The batch is appended, and the stream breaks before the answer.
    LoseAnswer,
    /// The batch is refused.
    Refuse(v1::Error),
    /// The stream ends with this, as when a limit of the transport is passed.
    EndStream(tonic::Code),
}

/// A batch that was appended.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
    pub(crate) base_offset: i64,
}

/// The last batches of a producer in a partition: base sequence, records, base offset.
type Window = VecDeque<(Sequence, u32, i64)>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) partitions: HashMap<i32, Vec<Stored>>,
    sequences: HashMap<(i32, Producer), Window>,
    pub(crate) next_producer: i64,
    /// Produce requests that arrived, whatever became of them.
    pub(crate) requests: usize,
    /// Streams that were opened.
    pub(crate) streams: usize,
    pub(crate) committed: HashMap<String, Vec<v1::GroupOffset>>,
    /// Responses after which a consumer's stream breaks, one number per stream.
    pub(crate) consume_breaks: VecDeque<usize>,
    /// Bytes of credit that consumers gave after their start.
    pub(crate) credit_given: u64,
}

type Faults = Box<dyn FnMut(&v1::ProduceRequest) -> Fault + Send>;

#[derive(Clone)]
struct Service {
    partitions: u32,
    state: Arc<Mutex<State>>,
    faults: Arc<Mutex<Faults>>,
    /// Answers wait while this is `true`.
    hold: watch::Receiver<bool>,
}

pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    service: Service,
    hold: watch::Sender<bool>,
    /// The broker's own, so that its connections end with it. Taken by who stops it.
    runtime: Option<Runtime>,
}

impl FakeBroker {
    /// A broker whose topics have this many partitions.
    pub(crate) async fn start(partitions: u32) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), partitions).await
    }

    /// The same at a given address, which may still be in the hands of one that just stopped.
    pub(crate) async fn start_at(address: SocketAddr, partitions: u32) -> Self {
        let (hold, held) = watch::channel(false);
        let state = Arc::default();
        let faults: Faults = Box::new(|_| Fault::Serve);
        let service = Service {
            partitions,
            state: Arc::clone(&state),
            faults: Arc::new(Mutex::new(faults)),
            hold: held,
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let (bound, address_bound) = oneshot::channel();
        runtime.spawn(serve(address, service.clone(), bound));
        let address = address_bound.await.unwrap();
        Self { address, state, service, hold, runtime: Some(runtime) }
    }

    pub(crate) fn client(&self) -> crate::Client {
        crate::Client::new(&self.address.to_string()).unwrap()
    }

    /// Decides what happens to each produce request from now on.
    pub(crate) fn faults(&self, faults: impl FnMut(&v1::ProduceRequest) -> Fault + Send + 'static) {
        *self.service.faults.lock() = Box::new(faults);
    }

    /// Keeps answers back, or lets them go.
    pub(crate) fn hold_answers(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// The values of a partition's records, in order.
    pub(crate) fn values(&self, partition: i32) -> Vec<String> {
        let state = self.state.lock();
        let stored = state.partitions.get(&partition).into_iter().flatten();
        stored.flat_map(|stored| values(&stored.bytes)).collect()
    }

    /// How many records each batch of a partition has.
    pub(crate) fn batch_sizes(&self, partition: i32) -> Vec<u32> {
        let state = self.state.lock();
        let stored = state.partitions.get(&partition).into_iter().flatten();
        stored.map(|stored| stored.header.record_count()).collect()
    }

    /// Forgets every producer, as a broker that lost its state.
    pub(crate) fn forget_producers_but_keep_expecting(&self, sequence: i32) {
        let mut state = self.state.lock();
        for window in state.sequences.values_mut() {
            *window = VecDeque::from([(Sequence::new(sequence).unwrap(), 1, 0)]);
        }
    }

    /// Ends the broker and its connections. Returns where it was.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        let runtime = self.runtime.take().unwrap();
        let stopping = move || runtime.shutdown_timeout(Duration::from_secs(10));
        tokio::task::spawn_blocking(stopping).await.unwrap();
        self.address
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(address: SocketAddr, service: Service, bound: oneshot::Sender<SocketAddr>) {
    let listener = TcpListener::bind(address).await.unwrap();
    bound.send(listener.local_addr().unwrap()).unwrap();
    let max = crate::connection::MESSAGE_BYTES_MAX;
    let router = Server::builder()
        .add_service(ProducerServer::new(service.clone()).max_decoding_message_size(max))
        .add_service(ConsumerServer::new(service.clone()))
        .add_service(AdminServer::new(service));
    let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
}

pub(crate) fn values(batch: &Bytes) -> Vec<String> {
    let records = RecordBatch::parse(batch.clone()).unwrap().records(usize::MAX).unwrap();
    let value = |record: log_proto::record::Record| record.value.unwrap().to_vec();
    records.map(|record| String::from_utf8(value(record.unwrap())).unwrap()).collect()
}

pub(crate) fn refusal(code: v1::ErrorCode) -> v1::Error {
    let retriable = matches!(code, v1::ErrorCode::DiskFull | v1::ErrorCode::Throttled);
    let message = format!("refused: {code:?}");
    v1::Error { code: code.into(), message, retriable, nothing_happened: true }
}

impl State {
    /// Appends a batch, checking sequences as a broker does. Only then is it in the log.
    fn append(&mut self, request: &v1::ProduceRequest) -> Result<v1::Appended, v1::Error> {
        let Some(v1::produce_request::Payload::Batch(bytes)) = &request.payload else {
            return Err(refusal(v1::ErrorCode::InvalidRequest));
        };
        let batch = RecordBatch::parse(bytes.clone()).expect("the client sends sound batches");
        let header = *batch.header();
        let partition = request.partition.expect("the client names the partition");
        if let Some(base_offset) = self.check_sequence(partition, &header)? {
            return Ok(appended(partition, base_offset, &header, true));
        }
        let log = self.partitions.entry(partition).or_default();
        let base_offset =
            log.last().map_or(0, |last| last.base_offset + i64::from(last.header.record_count()));
        log.push(Stored { header, bytes: bytes.clone(), base_offset });
        self.remember(partition, &header, base_offset);
        Ok(appended(partition, base_offset, &header, false))
    }

    /// The offset of the first append when the batch is a duplicate.
    fn check_sequence(
        &self,
        partition: i32,
        header: &BatchHeader,
    ) -> Result<Option<i64>, v1::Error> {
        let (Some(producer), Some(sequence)) = (header.producer(), header.base_sequence()) else {
            return Ok(None);
        };
        let Some(window) = self.sequences.get(&(partition, producer)) else {
            return Ok(None);
        };
        let known = window
            .iter()
            .find(|(base, records, _)| *base == sequence && *records == header.record_count());
        if let Some((_, _, base_offset)) = known {
            return Ok(Some(*base_offset));
        }
        let expected = window.back().map(|(base, records, _)| base.wrapping_add(*records));
        if expected.is_some_and(|expected| expected != sequence) {
            return Err(refusal(v1::ErrorCode::OutOfOrderSequenceNumber));
        }
        Ok(None)
    }

    fn remember(&mut self, partition: i32, header: &BatchHeader, base_offset: i64) {
        if let (Some(producer), Some(sequence)) = (header.producer(), header.base_sequence()) {
            let window = self.sequences.entry((partition, producer)).or_default();
            window.push_back((sequence, header.record_count(), base_offset));
            if window.len() > 5 {
                window.pop_front();
            }
        }
    }
}

fn appended(
    partition: i32,
    base_offset: i64,
    header: &BatchHeader,
    duplicate: bool,
) -> v1::Appended {
    v1::Appended {
        partition,
        base_offset,
        last_offset: base_offset + i64::from(header.record_count()) - 1,
        log_start_offset: 0,
        log_append_time_ms: None,
        durability: v1::Durability::Synced.into(),
        duplicate,
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl producer_server::Producer for Service {
    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let mut state = self.state.lock();
        state.next_producer += 1;
        let producer_id = state.next_producer;
        Ok(Response::new(v1::InitProducerResponse { producer_id, producer_epoch: 0 }))
    }

    async fn produce(
        &self,
        _: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        Err(Status::unimplemented("the client does not use it"))
    }

    type ProduceStreamStream = Answers<v1::ProduceResponse>;

    async fn produce_stream(
        &self,
        requests: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        self.state.lock().streams += 1;
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().produce_all(requests.into_inner(), answers));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }
}

impl Service {
    async fn produce_all(
        mut self,
        mut requests: Streaming<v1::ProduceRequest>,
        answers: mpsc::UnboundedSender<Result<v1::ProduceResponse, Status>>,
    ) {
        while let Ok(Some(request)) = requests.message().await {
            let answer = self.produce_one(&request);
            // Either side may be gone: then nobody is left to answer.
            let _ = self.hold.wait_for(|hold| !hold).await;
            let broken = answer.is_err();
            if request.acks() != v1::Acks::None || broken {
                let _ = answers.send(answer);
            }
            if broken {
                return;
            }
        }
    }

    fn produce_one(&self, request: &v1::ProduceRequest) -> Result<v1::ProduceResponse, Status> {
        use v1::produce_response::Result as Outcome;
        let fault = (self.faults.lock())(request);
        let mut state = self.state.lock();
        state.requests += 1;
        let result = match fault {
            Fault::Serve => match state.append(request) {
                Ok(appended) => Outcome::Appended(appended),
                Err(error) => Outcome::Error(error),
            },
            Fault::LoseRequest => return Err(Status::unavailable("broken before")),
            Fault::LoseAnswer => {
                let _ = state.append(request);
                return Err(Status::unavailable("broken after"));
            }
            Fault::Refuse(error) => Outcome::Error(error),
            Fault::EndStream(code) => return Err(Status::new(code, "too much")),
        };
        Ok(v1::ProduceResponse { request_id: request.request_id, result: Some(result) })
    }
}

#[tonic::async_trait]
impl consumer_server::Consumer for Service {
    type ConsumeStream = Answers<v1::ConsumeResponse>;

    async fn consume(
        &self,
        requests: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = requests.into_inner();
        let first = requests.message().await?.and_then(|request| request.request);
        let Some(v1::consume_request::Request::Start(start)) = first else {
            return Err(Status::invalid_argument("no start"));
        };
        let (responses, stream) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().consume_all(start, requests, responses));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        let request = request.into_inner();
        self.state.lock().committed.insert(request.group, request.offsets);
        Ok(Response::new(v1::CommitOffsetsResponse {}))
    }

    async fn fetch_offsets(
        &self,
        request: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        let offsets = self.state.lock().committed.get(&request.into_inner().group).cloned();
        Ok(Response::new(v1::FetchOffsetsResponse { offsets: offsets.unwrap_or_default() }))
    }
}

/// What a consumer's stream breaks with.
fn broken() -> Status {
    Status::unavailable("broken stream")
}

impl Service {
    /// Sends each batch as a response of its own, as long as there is credit.
    async fn consume_all(
        self,
        start: v1::Start,
        mut requests: Streaming<v1::ConsumeRequest>,
        responses: mpsc::UnboundedSender<Result<v1::ConsumeResponse, Status>>,
    ) {
        let mut budget = self.state.lock().consume_breaks.pop_front().unwrap_or(usize::MAX);
        let mut credit = start.credit_bytes as i64;
        for partition in &start.partitions {
            for response in self.responses(partition) {
                if budget == 0 {
                    let _ = responses.send(Err(broken()));
                    return;
                }
                budget -= 1;
                while credit <= 0 {
                    let Ok(Some(request)) = requests.message().await else {
                        return;
                    };
                    if let Some(v1::consume_request::Request::Credit(given)) = request.request {
                        credit += given.bytes as i64;
                        self.state.lock().credit_given += given.bytes;
                    }
                }
                credit -= response.payload_bytes as i64;
                let _ = responses.send(Ok(response));
            }
        }
        // At the end of the log the stream stays open.
        while let Ok(Some(_)) = requests.message().await {}
    }

    fn responses(&self, start: &v1::PartitionStart) -> Vec<v1::ConsumeResponse> {
        use v1::{consume_response::Event, partition_start::Position};
        let state = self.state.lock();
        let log: &[Stored] = state.partitions.get(&start.partition).map_or(&[], |log| log);
        let end =
            log.last().map_or(0, |last| last.base_offset + i64::from(last.header.record_count()));
        let from = match start.position {
            Some(Position::Offset(offset)) => offset,
            Some(Position::Edge(edge)) if edge == v1::Edge::Latest as i32 => end,
            _ => 0,
        };
        let response = |event, next_offset, payload_bytes| v1::ConsumeResponse {
            topic: start.topic.clone(),
            partition: start.partition,
            high_watermark: end,
            last_stable_offset: end,
            log_start_offset: 0,
            next_offset,
            aborted_transactions: Vec::new(),
            payload_bytes,
            event: Some(event),
        };
        let mut all = vec![response(Event::Started(v1::Started { offset: from }), from, 0)];
        for stored in log {
            let next = stored.base_offset + i64::from(stored.header.record_count());
            if next > from {
                let mut bytes = stored.bytes.to_vec();
                bytes[..8].copy_from_slice(&stored.base_offset.to_be_bytes());
                let size = bytes.len() as u64;
                all.push(response(Event::Batches(bytes.into()), next, size));
            }
        }
        all.push(response(Event::CaughtUp(v1::CaughtUp {}), end, 0));
        all
    }
}

macro_rules! not_faked {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Admin for Service {
            async fn describe_topic(
                &self,
                request: Request<v1::DescribeTopicRequest>,
            ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
                let topic = v1::Topic {
                    name: request.into_inner().name,
                    id: vec![7; 16].into(),
                    partitions: self.partitions,
                    internal: false,
                };
                Ok(Response::new(v1::DescribeTopicResponse {
                    topic: Some(topic),
                    ..Default::default()
                }))
            }

            $(async fn $method(
                &self,
                _: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented("not faked"))
            })*
        }
    };
}

not_faked! {
    create_topic(CreateTopicRequest) -> CreateTopicResponse;
    list_topics(ListTopicsRequest) -> ListTopicsResponse;
    delete_topic(DeleteTopicRequest) -> DeleteTopicResponse;
    describe_configs(DescribeConfigsRequest) -> DescribeConfigsResponse;
    alter_configs(AlterConfigsRequest) -> AlterConfigsResponse;
    list_offsets(ListOffsetsRequest) -> ListOffsetsResponse;
    describe_broker(DescribeBrokerRequest) -> DescribeBrokerResponse;
    list_groups(ListGroupsRequest) -> ListGroupsResponse;
    describe_group(DescribeGroupRequest) -> DescribeGroupResponse;
    delete_group(DeleteGroupRequest) -> DeleteGroupResponse;
    delete_group_offsets(DeleteGroupOffsetsRequest) -> DeleteGroupOffsetsResponse;
}
