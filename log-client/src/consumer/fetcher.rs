//! The consumer's stream from the broker, and its place in each partition.
//!
//! ```text
//!   Start(partitions, credit) ──▶ ┌────────┐ ──▶ Started · batches · CaughtUp · Error
//!   Credit(bytes consumed)    ──▶ │ broker │
//!                                 └────────┘
//! ```
//!
//! The rule: a partition's place moves only with what arrived, and a broken stream is opened again
//! at these places, so that nothing is lost and nothing comes twice. The broker sends no more than
//! it was given credit for, and credit comes back as records are consumed: a slow application
//! slows the broker down instead of filling this process. Polling was rejected: it costs a round
//! trip per response and latency at the end of the log.

use std::{collections::HashMap, future::pending, pin::Pin, sync::Arc, time::Duration};

use log_proto::{
    types::{Offset, ProducerId},
    v1::{self, consume_response},
    wire::Incoming,
};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};

use super::{
    batch::{AbortedTxn, ConsumerBatch, Payload},
    config::{ConsumerConfig, Edge, Isolation, Selection, StartAt},
    error::ConsumeError,
};
use crate::{connection::Connection, error::RequestError, metadata, retry::Backoff};

/// How long a broker may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to go on looking up a topic when there is no limit to reconnecting.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(120);

/// Credit is given back in pieces of this fraction of all of it: often enough that the broker
/// never runs dry, seldom enough that it does not cost a message per response.
const CREDIT_FRACTION: u64 = 8;

pub(super) struct Fetcher {
    connection: Connection,
    config: ConsumerConfig,
    partitions: Partitions,
    stream: Stream,
    /// The number of the current stream. Credit of an earlier one is void.
    generation: u64,
    /// Consumed, and not yet given back.
    owed: u64,
    backoff: Backoff,
    /// Since when nothing has arrived for want of a connection.
    away_since: Option<Instant>,
}

enum Stream {
    /// Topics are not looked up yet.
    Unresolved,
    Down {
        retry_at: Instant,
    },
    Opening(Pin<Box<dyn Future<Output = Result<Box<Up>, RequestError>> + Send>>),
    Up(Box<Up>),
    /// Nothing will come any more.
    Ended,
}

struct Up {
    requests: UnboundedSender<v1::ConsumeRequest>,
    responses: Incoming<v1::ConsumeResponse>,
}

/// The number of a partition, in the order of the selection.
pub(super) type PartitionIndex = usize;

#[derive(Debug, Default)]
struct Partitions {
    all: Vec<Partition>,
    by_name: HashMap<Arc<str>, HashMap<u32, PartitionIndex>>,
}

#[derive(Debug)]
struct Partition {
    topic: Arc<str>,
    partition: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Where the caller wants to start; the broker has not said which offset that is.
    Wanted(StartAt),
    At(Offset),
    Ended,
}

/// What arrived.
pub(super) enum Arrival {
    Started { index: PartitionIndex, offset: Offset },
    Batch { index: PartitionIndex, batch: Box<ConsumerBatch>, lent: Lent },
    CaughtUp { index: PartitionIndex, offset: Offset },
    Ended(ConsumeError),
}

/// Credit that an arrival used, to be given back once it is consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    generation: u64,
    bytes: u64,
}

impl Fetcher {
    pub(super) fn new(connection: Connection, config: ConsumerConfig) -> Self {
        Self {
            connection,
            config,
            partitions: Partitions::default(),
            stream: Stream::Unresolved,
            generation: 0,
            owed: 0,
            backoff: Backoff::new(),
            away_since: None,
        }
    }

    /// The topic and number of a partition.
    pub(super) fn name(&self, index: PartitionIndex) -> (&Arc<str>, u32) {
        let Partition { topic, partition, .. } = &self.partitions.all[index];
        (topic, *partition)
    }

    pub(super) fn partition_count(&self) -> usize {
        self.partitions.all.len()
    }

    /// Reading of a partition has ended: what else arrives of it is ignored.
    pub(super) fn end(&mut self, topic: &str, partition: u32) {
        if let Some(index) = self.partitions.find(topic, partition) {
            self.partitions.all[index].place = Place::Ended;
        }
    }

    /// Gives credit back.
    pub(super) fn give_back(&mut self, lent: Lent) {
        let Stream::Up(up) = &self.stream else { return };
        if lent.generation != self.generation {
            return;
        }
        self.owed += lent.bytes;
        if self.owed * CREDIT_FRACTION >= self.config.credit_bytes {
            let credit = v1::Credit { bytes: std::mem::take(&mut self.owed) };
            let request = v1::consume_request::Request::Credit(credit);
            // On a stream that just broke it goes nowhere, and the next one starts with all of it.
            let _ = up.requests.send(v1::ConsumeRequest { request: Some(request) });
        }
    }

    /// The next thing to arrive; `None` once nothing will. May be dropped at any time without
    /// losing anything.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        loop {
            if matches!(self.stream, Stream::Ended) || self.partitions.all_ended() {
                return None;
            }
            let done = match self.step().await {
                Ok(None) => continue,
                Ok(Some(arrival)) => arrival,
                Err(error) => match self.lost(error) {
                    Ok(()) => continue,
                    Err(error) => Arrival::Ended(error),
                },
            };
            return Some(done);
        }
    }

    /// One step towards the next arrival.
    async fn step(&mut self) -> Result<Option<Arrival>, ConsumeError> {
        match &mut self.stream {
            Stream::Unresolved => {
                self.partitions = resolve(&self.connection, &self.config).await?;
                self.stream = Stream::Down { retry_at: Instant::now() };
                Ok(None)
            }
            Stream::Down { retry_at } => {
                sleep_until(*retry_at).await;
                self.stream = Stream::Opening(Box::pin(self.opening()));
                Ok(None)
            }
            Stream::Opening(opening) => {
                self.stream = Stream::Up(opening.await?);
                Ok(None)
            }
            Stream::Up(up) => match up.responses.message().await {
                Ok(Some(response)) => self.take(response),
                Ok(None) => Err(self.connection.ended().into()),
                Err(status) => Err(self.connection.failure(status).into()),
            },
            Stream::Ended => pending().await,
        }
    }

    /// The stream is gone. Takes it up again, unless that is hopeless.
    fn lost(&mut self, error: ConsumeError) -> Result<(), ConsumeError> {
        let now = Instant::now();
        let away_since = *self.away_since.get_or_insert(now);
        let too_long = self.config.reconnect_timeout.is_some_and(|max| now - away_since >= max);
        if !error.is_retriable() || too_long || matches!(self.stream, Stream::Unresolved) {
            self.stream = Stream::Ended;
            return Err(error);
        }
        tracing::debug!(%error, "consumer lost its stream");
        self.stream = Stream::Down { retry_at: now + self.backoff.next_wait() };
        Ok(())
    }

    fn opening(&mut self) -> impl Future<Output = Result<Box<Up>, RequestError>> + Send + use<> {
        self.generation += 1;
        self.owed = 0;
        let start = v1::Start {
            partitions: self.partitions.starts(),
            isolation: match self.config.isolation {
                Isolation::ReadUncommitted => v1::Isolation::ReadUncommitted,
                Isolation::ReadCommitted => v1::Isolation::ReadCommitted,
            }
            .into(),
            delivery: v1::Delivery::Batches.into(),
            credit_bytes: self.config.credit_bytes,
            response_bytes_max: self.config.response_bytes_max,
        };
        let connection = self.connection.clone();
        async move {
            let (requests, sent) = unbounded_channel();
            let request = v1::consume_request::Request::Start(start);
            let _ = requests.send(v1::ConsumeRequest { request: Some(request) });
            let opening = connection.stream("/cairn.v1.Consumer/Consume", sent);
            let responses = connection.answer(OPEN_TIMEOUT, opening).await?;
            Ok(Box::new(Up { requests, responses }))
        }
    }

    fn take(&mut self, response: v1::ConsumeResponse) -> Result<Option<Arrival>, ConsumeError> {
        self.away_since = None;
        self.backoff.reset();
        let lent = Lent { generation: self.generation, bytes: response.payload_bytes };
        let Some(index) = self.find(&response)? else {
            self.give_back(lent);
            return Ok(None);
        };
        match self.read(index, response, lent) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(detail) => Err(self.connection.bad_answer(detail).into()),
        }
    }

    /// The partition that a response is about; `None` for one that is not read any more.
    fn find(&self, response: &v1::ConsumeResponse) -> Result<Option<PartitionIndex>, RequestError> {
        let (topic, partition) = (&response.topic, response.partition);
        let index = u32::try_from(partition)
            .ok()
            .and_then(|partition| self.partitions.find(topic, partition))
            .ok_or_else(|| {
                self.connection.bad_answer(format!("{topic}-{partition} was not asked for"))
            })?;
        let ended = matches!(self.partitions.all[index].place, Place::Ended);
        Ok((!ended).then_some(index))
    }

    fn read(
        &mut self,
        index: PartitionIndex,
        response: v1::ConsumeResponse,
        lent: Lent,
    ) -> Result<Arrival, &'static str> {
        let partition = &mut self.partitions.all[index];
        let next_offset = Offset::new(response.next_offset).ok_or("a negative offset");
        let high_watermark = Offset::new(response.high_watermark).ok_or("a negative offset");
        match response.event.ok_or("a response without an event")? {
            consume_response::Event::Started(started) => {
                let offset = Offset::new(started.offset).ok_or("a negative offset")?;
                partition.place = Place::At(offset);
                Ok(Arrival::Started { index, offset })
            }
            consume_response::Event::Batches(bytes) => {
                let (from, next_offset) = (partition.advance(next_offset?)?, next_offset?);
                let aborted = aborted_txns(&response.aborted_transactions)?;
                let high_watermark = high_watermark?;
                let payload = Payload { bytes, from, next_offset, high_watermark, aborted };
                let topic = Arc::clone(&partition.topic);
                let batch = ConsumerBatch::new(topic, partition.partition, payload).into();
                Ok(Arrival::Batch { index, batch, lent })
            }
            consume_response::Event::CaughtUp(_) => {
                let offset = next_offset?;
                partition.advance(offset)?;
                Ok(Arrival::CaughtUp { index, offset })
            }
            consume_response::Event::Error(error) => {
                partition.place = Place::Ended;
                Ok(Arrival::Ended(partition.failed(error)))
            }
            consume_response::Event::Records(_) => {
                Err("plain records where batches were asked for")
            }
            consume_response::Event::Joined(_)
            | consume_response::Event::Assigned(_)
            | consume_response::Event::Revoke(_)
            | consume_response::Event::Committed(_) => {
                Err("news of a group that this consumer has not joined")
            }
        }
    }
}

impl Partition {
    /// Moves on to `next`. Returns where it was.
    fn advance(&mut self, next: Offset) -> Result<Offset, &'static str> {
        let Place::At(from) = self.place else {
            return Err("records before the offset that they start at");
        };
        if next < from {
            return Err("a next offset below the one before");
        }
        self.place = Place::At(next);
        Ok(from)
    }

    fn failed(&self, error: v1::Error) -> ConsumeError {
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        ConsumeError::Partition { topic, partition, error: error.into() }
    }

    fn start(&self) -> Option<v1::PartitionStart> {
        use v1::partition_start::Position;
        let mut edge_without_commit = v1::Edge::Earliest;
        let position = match &self.place {
            Place::Ended => return None,
            Place::At(offset) => Position::Offset(offset.get()),
            Place::Wanted(StartAt::Offset(offset)) => Position::Offset(offset.get()),
            Place::Wanted(StartAt::Timestamp(time)) => Position::TimestampMs(time.get()),
            Place::Wanted(StartAt::Earliest) => Position::Edge(v1::Edge::Earliest.into()),
            Place::Wanted(StartAt::Latest) => Position::Edge(v1::Edge::Latest.into()),
            Place::Wanted(StartAt::Committed { group, otherwise }) => {
                edge_without_commit = match otherwise {
                    Edge::Earliest => v1::Edge::Earliest,
                    Edge::Latest => v1::Edge::Latest,
                };
                Position::Group(group.as_ref().to_owned())
            }
        };
        Some(v1::PartitionStart {
            topic: self.topic.as_ref().to_owned(),
            partition: self.partition as i32,
            position: Some(position),
            edge_without_commit: edge_without_commit.into(),
        })
    }
}

impl Partitions {
    fn add(&mut self, topic: &Arc<str>, partition: u32, start: &StartAt) {
        let index = self.all.len();
        self.by_name.entry(Arc::clone(topic)).or_default().insert(partition, index);
        let (topic, place) = (Arc::clone(topic), Place::Wanted(start.clone()));
        self.all.push(Partition { topic, partition, place });
    }

    fn find(&self, topic: &str, partition: u32) -> Option<PartitionIndex> {
        self.by_name.get(topic)?.get(&partition).copied()
    }

    fn all_ended(&self) -> bool {
        !self.all.is_empty()
            && self.all.iter().all(|partition| matches!(partition.place, Place::Ended))
    }

    fn starts(&self) -> Vec<v1::PartitionStart> {
        self.all.iter().filter_map(Partition::start).collect()
    }
}

async fn resolve(
    connection: &Connection,
    config: &ConsumerConfig,
) -> Result<Partitions, ConsumeError> {
    let mut partitions = Partitions::default();
    let timeout = config.reconnect_timeout.unwrap_or(LOOKUP_TIMEOUT);
    for selection in &config.selections {
        match selection {
            Selection::Partition { topic, partition, start } => {
                partitions.add(topic, *partition, start);
            }
            Selection::Topic { topic, start } => {
                let count = metadata::partition_count(connection, topic, timeout)
                    .await
                    .map_err(|error| ConsumeError::Topic { topic: Arc::clone(topic), error })?;
                for partition in 0..count.get() {
                    partitions.add(topic, partition, start);
                }
            }
        }
    }
    Ok(partitions)
}

fn aborted_txns(aborted: &[v1::AbortedTransaction]) -> Result<Vec<AbortedTxn>, &'static str> {
    aborted
        .iter()
        .map(|txn| {
            let producer = ProducerId::new(txn.producer_id).ok_or("a negative producer id")?;
            let first_offset = Offset::new(txn.first_offset).ok_or("a negative offset")?;
            Ok(AbortedTxn { producer, first_offset })
        })
        .collect()
}
