//! The Producer service: requests become batches, batches go to the broker in their order.
//!
//! A stream is two tasks. One reads: it encodes or takes over the batch, waits for room, and
//! submits, one request behind the other, which is what keeps the order. The other waits for the
//! acknowledgements of all that were submitted and answers each when it comes. Between them
//! stands a bound on requests and bytes that wait for an answer; past it nothing is read.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use log_proto::v1;
use log_proto::v1::produce_request::Payload;
use log_proto::v1::produce_response::Result as Answer;
use log_proto::v1::producer_server::Producer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Requests;
use super::convert;
use super::error::{Refusal, explained, stopping};
use crate::broker::{Broker, Submitted};
use crate::limits;
use crate::partition::Acks;
use crate::principal::Principal;
use crate::topics::Topic;

/// Answers that wait for the connection to take them. They are small.
const ANSWERS_WAITING_MAX: usize = 64;

/// Larger requests of plain records are encoded on a thread that may take its time; those to be
/// compressed take longer.
const ENCODE_INLINE_BYTES_MAX: usize = 1 << 20;
const COMPRESS_INLINE_BYTES_MAX: usize = 16 << 10;

/// The Producer service upon a broker.
#[derive(Clone)]
pub(crate) struct ProducerService {
    broker: Broker,
    /// Spreads requests without a key.
    round_robin: Arc<AtomicU32>,
}

impl ProducerService {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker, round_robin: Arc::default() }
    }

    /// Begins to read requests and to answer them.
    pub(super) fn open(
        &self,
        request: Request<Requests<v1::ProduceRequest>>,
    ) -> ReceiverStream<Result<v1::ProduceResponse, Status>> {
        let principal = super::principal_of(&request);
        let (answers, stream) = mpsc::channel(ANSWERS_WAITING_MAX);
        let (waiting, submitted) = mpsc::channel(limits::STREAM_IN_FLIGHT_MAX);
        let reader = Reader {
            service: self.clone(),
            principal,
            requests: request.into_inner(),
            waiting,
            room: Room::new(self.broker.config().stream_in_flight_bytes_max),
        };
        let open = self.broker.metrics().produce_stream();
        tokio::spawn(reader.run());
        tokio::spawn(async move {
            answer_all(submitted, answers).await;
            drop(open);
        });
        ReceiverStream::new(stream)
    }

    /// From a request to a batch on its way into the log.
    async fn submit(
        &self,
        principal: &Principal,
        request: v1::ProduceRequest,
    ) -> Result<(u32, Submitted), Refusal> {
        let topic = self.broker.topic_to_produce(&request.topic)?;
        let memory = self.broker.admit(payload_bytes(&request)).await?;
        let partition = self.partition_for(&topic, &request)?;
        let batch = match request.payload {
            Some(Payload::Batch(batch)) => batch,
            Some(Payload::Plain(plain)) => self.encode(plain).await?,
            None => return Err(Refusal::invalid_request("no payload: send plain or batch")),
        };
        let submitted = self.broker.submit(principal, &topic, partition, batch, memory).await?;
        Ok((partition, submitted))
    }

    fn partition_for(&self, topic: &Topic, request: &v1::ProduceRequest) -> Result<u32, Refusal> {
        if let Some(number) = request.partition {
            return convert::partition(&request.topic, number);
        }
        let Some(Payload::Plain(plain)) = &request.payload else {
            return Err(Refusal::invalid_request("a request with a batch must name its partition"));
        };
        let count = u32::try_from(topic.partitions.len()).ok().and_then(NonZeroU32::new);
        let count = count.expect("a topic has 1 to 100,000 partitions");
        let keyed = convert::partition_of_keys(&plain.records, count)?;
        Ok(keyed.unwrap_or_else(|| self.round_robin.fetch_add(1, Ordering::Relaxed) % count))
    }

    async fn encode(&self, plain: v1::PlainBatch) -> Result<Bytes, Refusal> {
        let now = self.broker.now();
        let bytes_max = match plain.compression() {
            v1::Compression::Uncompressed => ENCODE_INLINE_BYTES_MAX,
            _ => COMPRESS_INLINE_BYTES_MAX,
        };
        if plain_bytes(&plain) <= bytes_max {
            return convert::encode_batch(&plain, now);
        }
        self.broker.blocking(move |_| convert::encode_batch(&plain, now)).await
    }
}

#[tonic::async_trait]
impl Producer for ProducerService {
    async fn init_producer(
        &self,
        request: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let principal = super::principal_of(&request);
        let producer = self.broker.init_producer(&principal).await.map_err(Refusal::from)?;
        Ok(Response::new(v1::InitProducerResponse {
            producer_id: producer.id.get(),
            producer_epoch: producer.epoch.get().into(),
        }))
    }

    async fn produce(
        &self,
        request: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        let principal = super::principal_of(&request);
        let request = request.into_inner();
        let request_id = request.request_id;
        let acks = convert::acks(request.acks)?;
        if acks == Acks::None {
            let message = "acks NONE has no answer to wait for: use ProduceStream";
            return Err(Refusal::invalid_request(message).into());
        }
        let (partition, submitted) = self.submit(&principal, request).await?;
        let acknowledged = submitted.acknowledged(acks).await.map_err(Refusal::from)?;
        let appended = Answer::Appended(convert::appended(partition, &acknowledged));
        Ok(Response::new(v1::ProduceResponse { request_id, result: Some(appended) }))
    }

    type ProduceStreamStream = ReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        Ok(Response::new(self.open(request.map(|requests| Box::pin(requests) as Requests<_>))))
    }
}

/// What the reading task tells the answering one.
enum Read {
    /// A request, submitted or refused, that wants an answer.
    Request(Waiting),
    /// Nothing more will come, for this reason.
    End(Status),
}

/// A request that waits for its answer.
struct Waiting {
    request_id: u64,
    acks: Acks,
    outcome: Result<(u32, Submitted), Refusal>,
    /// Given back with the answer.
    _room: Taken,
}

impl Waiting {
    /// The answer; `None` if none is wanted.
    async fn answer(self) -> Option<v1::ProduceResponse> {
        let result = match self.outcome {
            Ok((partition, submitted)) => match submitted.acknowledged(self.acks).await {
                Ok(acknowledged) => Answer::Appended(convert::appended(partition, &acknowledged)),
                Err(error) => Answer::Error(Refusal::from(error).into_error()),
            },
            Err(refusal) => Answer::Error(refusal.into_error()),
        };
        let answered = v1::ProduceResponse { request_id: self.request_id, result: Some(result) };
        (self.acks != Acks::None).then_some(answered)
    }
}

/// Bounds what of one stream waits for an answer, by number and by bytes.
struct Room {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

/// A place among those that wait.
struct Taken {
    _request: Option<OwnedSemaphorePermit>,
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn new(bytes_max: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits::STREAM_IN_FLIGHT_MAX)),
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Waits for a place. A request larger than all of the room takes all of it.
    async fn take(&self, bytes: usize) -> Taken {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        // The semaphores are never closed.
        Taken {
            _request: Arc::clone(&self.requests).acquire_owned().await.ok(),
            _bytes: Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok(),
        }
    }
}

/// The reading task of a stream.
struct Reader {
    service: ProducerService,
    principal: Principal,
    requests: Requests<v1::ProduceRequest>,
    waiting: mpsc::Sender<Read>,
    room: Room,
}

impl Reader {
    async fn run(mut self) {
        let mut stage = self.service.broker.stage();
        loop {
            let request = tokio::select! {
                biased;
                () = Broker::stopping(&mut stage) => {
                    self.end(stopping().into()).await;
                    let Self { requests, waiting, .. } = self;
                    drop(waiting);
                    return super::hear_out(requests).await;
                }
                request = self.requests.next() => request,
            };
            match request {
                Some(Ok(request)) => {
                    let read = Read::Request(self.take(request).await);
                    // Without anybody to answer to, what was submitted stays submitted.
                    if self.waiting.send(read).await.is_err() {
                        return;
                    }
                }
                None => return,
                Some(Err(status)) => return self.end(explained(status)).await,
            }
        }
    }

    async fn take(&self, request: v1::ProduceRequest) -> Waiting {
        let room = self.room.take(payload_bytes(&request)).await;
        let request_id = request.request_id;
        let (acks, outcome) = match convert::acks(request.acks) {
            Ok(acks) => (acks, self.service.submit(&self.principal, request).await),
            Err(refusal) => (Acks::All, Err(refusal)),
        };
        Waiting { request_id, acks, outcome, _room: room }
    }

    async fn end(&self, status: Status) {
        // Without anybody to tell, there is nothing to tell.
        let _ = self.waiting.send(Read::End(status)).await;
    }
}

/// The answering task of a stream: ends when everything that was read is answered, or when nobody
/// takes the answers.
async fn answer_all(
    mut submitted: mpsc::Receiver<Read>,
    answers: mpsc::Sender<Result<v1::ProduceResponse, Status>>,
) {
    let mut in_flight = FuturesUnordered::new();
    let mut end = None;
    let mut reading = true;
    while reading || !in_flight.is_empty() {
        tokio::select! {
            Some(answer) = in_flight.next(), if !in_flight.is_empty() => {
                if let Some(answer) = answer
                    && answers.send(Ok(answer)).await.is_err()
                {
                    return;
                }
            }
            read = submitted.recv(), if reading => match read {
                Some(Read::Request(waiting)) => in_flight.push(waiting.answer()),
                Some(Read::End(status)) => end = Some(status),
                None => reading = false,
            },
        }
    }
    if let Some(status) = end {
        // Without anybody to tell, there is nothing to tell.
        let _ = answers.send(Err(status)).await;
    }
}

fn payload_bytes(request: &v1::ProduceRequest) -> usize {
    match &request.payload {
        Some(Payload::Batch(batch)) => batch.len(),
        Some(Payload::Plain(plain)) => plain_bytes(plain),
        None => 0,
    }
}

/// About what plain records take in memory.
fn plain_bytes(plain: &v1::PlainBatch) -> usize {
    let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
    let header = |header: &v1::Header| header.key.len() + length(&header.value);
    let record = |record: &v1::Record| {
        let headers: usize = record.headers.iter().map(header).sum();
        size_of::<v1::Record>() + length(&record.key) + length(&record.value) + headers
    };
    plain.records.iter().map(record).sum()
}
