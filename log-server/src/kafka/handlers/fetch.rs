//! Fetch, key 1, versions 4 to 18 (KIP-74, KIP-98, KIP-227, KIP-320, KIP-392, KIP-516).
//!
//! Waits until `min_bytes` are there, an error is to be told, or `max_wait_ms` have passed. Stored
//! batches are sent as they are. The first partition with records gives at least one batch, however
//! small the limits; the others keep to what is left of `max_bytes`, and no answer goes much beyond
//! 55 MiB. A read-committed client gets the list of aborted transactions beside the records.
//!
//! Left out: followers (any replica id is served as a consumer), fetching from followers, a check
//! of what old versions know of zstd.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use log_core::{Fetched, Isolation, Offsets};
use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::fetch::{
    AbortedTransaction, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use log_proto::record::BatchHeader;
use log_proto::types::Offset;
use tokio::time::{Instant, timeout_at};

use super::{TopicRef, check_leader_epoch, isolation, partition_of};
use crate::broker::Broker;
use crate::kafka::Context;
use crate::kafka::error::Refusal;
use crate::kafka::fetch_sessions::{Plan, Told, Turn, Wanted};
use crate::partition::{Partition, read_end};
use crate::topics::Topic;

/// The first version that names topics by id.
const BY_ID: i16 = 13;

/// What one answer may hold beyond a single batch, whatever was asked for: Kafka's default of
/// `fetch.max.bytes`. It is part of the page cache, and no memory of ours.
const RESPONSE_BYTES_MAX: usize = 55 << 20;

/// What is read on the spot, of records that were just written and so are in memory.
const READ_ON_THE_SPOT_BYTES: usize = 64 << 10;

/// Whoever asks to wait longer is answered without records by then, and asks again.
const WAIT_MAX: Duration = Duration::from_secs(300);

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &FetchRequest,
) -> FetchResponse {
    let terms = Terms::of(version, request);
    let plan = match context.fetch_sessions.plan(request.clone(), context.broker.now()) {
        Ok(plan) => plan,
        Err(code) => return FetchResponse { error_code: code.number(), ..Default::default() },
    };
    let asked = resolve(&context.broker, &terms, &plan);
    let outcomes = fetch(&context.broker, &terms, &asked).await;
    count(&asked, &outcomes);
    respond(context, terms.isolation, &plan, outcomes)
}

/// What the request says of all its partitions.
struct Terms {
    by_id: bool,
    isolation: Isolation,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Instant,
}

impl Terms {
    fn of(version: i16, request: &FetchRequest) -> Self {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Self {
            by_id: version >= BY_ID,
            isolation: isolation(request.isolation_level),
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
            bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(RESPONSE_BYTES_MAX),
            deadline: Instant::now() + wait.min(WAIT_MAX),
        }
    }
}

/// A partition that is there.
#[derive(Clone)]
struct Source {
    topic: Arc<Topic>,
    partition: Arc<Partition>,
    from: Offset,
    bytes_max: usize,
}

type Asked = Vec<Result<Source, Refusal>>;
/// What a partition gives; `None` where there is nothing to read.
type Outcome = Result<(Offsets, Option<Fetched>), Refusal>;
type Outcomes = Vec<Outcome>;

fn resolve(broker: &Broker, terms: &Terms, plan: &Plan) -> Asked {
    plan.partitions.iter().map(|(wanted, _)| source(broker, terms, wanted)).collect()
}

fn source(broker: &Broker, terms: &Terms, wanted: &Wanted) -> Result<Source, Refusal> {
    let named = TopicRef::new(terms.by_id, wanted.topic_id, &wanted.topic);
    let (topic, partition) = partition_of(broker, named, wanted.partition)?;
    check_leader_epoch(&partition, wanted.current_leader_epoch)?;
    let from = Offset::new(wanted.fetch_offset).ok_or_else(|| {
        let message = format!("offset {} is outside any log", wanted.fetch_offset);
        Refusal::new(ErrorCode::OffsetOutOfRange, message)
    })?;
    let bytes_max = usize::try_from(wanted.bytes_max).unwrap_or(0);
    Ok(Source { topic, partition, from, bytes_max })
}

/// Reads until there is enough, something went wrong, or the time is up.
async fn fetch(broker: &Broker, terms: &Terms, asked: &Asked) -> Outcomes {
    let mut views: Vec<_> = asked.iter().flatten().map(|source| source.partition.view()).collect();
    let mut place = Place::Anywhere;
    loop {
        // Seen before it is read, so that what moves from here on wakes.
        views.iter_mut().for_each(|view| drop(view.borrow_and_update()));
        let outcomes = read(broker, terms, asked, place).await;
        let bytes: usize = outcomes.iter().map(bytes_of).sum();
        let failed = outcomes.iter().any(Result::is_err);
        if failed || bytes >= terms.bytes_min || views.is_empty() {
            return outcomes;
        }
        let mut moved: FuturesUnordered<_> = views.iter_mut().map(|view| view.changed()).collect();
        let mut stage = broker.stage();
        let woken = tokio::select! {
            woken = timeout_at(terms.deadline, moved.next()) => woken.is_ok(),
            () = Broker::stopping(&mut stage) => false,
        };
        if !woken {
            return outcomes;
        }
        place = Place::JustWritten;
    }
}

/// Where the records to be read are likely to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// In memory.
    JustWritten,
}

/// Reads all partitions in turn: on the spot where nothing has to be waited for, else together on
/// one thread that may wait for the disk.
async fn read(broker: &Broker, terms: &Terms, asked: &Asked, place: Place) -> Outcomes {
    let isolation = terms.isolation;
    let has_some = asked.iter().flatten().any(|source| source.has_some(isolation));
    if !has_some {
        return read_all(asked, isolation, 0);
    }
    // Cut short, it would never be as much as a client that waits for more asked for.
    if place == Place::JustWritten && terms.bytes_min <= READ_ON_THE_SPOT_BYTES {
        return read_all(asked, isolation, terms.bytes_max.min(READ_ON_THE_SPOT_BYTES));
    }
    let (asked, bytes_max) = (asked.clone(), terms.bytes_max);
    broker.blocking(move |_| read_all(&asked, isolation, bytes_max)).await
}

fn read_all(asked: &Asked, isolation: Isolation, bytes_max: usize) -> Outcomes {
    let mut left = Left { bytes: bytes_max, is_first: true };
    asked
        .iter()
        .map(|source| source.as_ref().map_err(Clone::clone)?.read(isolation, &mut left))
        .collect()
}

/// What an answer still has room for.
struct Left {
    bytes: usize,
    /// Nobody has given a batch yet, so that the next is taken whatever its size.
    is_first: bool,
}

impl Source {
    fn has_some(&self, isolation: Isolation) -> bool {
        let offsets = self.partition.offsets();
        self.from < read_end(&offsets, isolation) || self.from < offsets.log_start
    }

    fn read(&self, isolation: Isolation, left: &mut Left) -> Outcome {
        let offsets = self.partition.offsets();
        let in_range = (offsets.log_start..=offsets.log_end).contains(&self.from);
        let is_full = !left.is_first && left.bytes == 0;
        if in_range && (is_full || self.from >= read_end(&offsets, isolation)) {
            return Ok((offsets, None));
        }
        let wanted = self.bytes_max.min(left.bytes);
        let fetched = self.partition.read_resident(self.from, wanted, isolation)?;
        let size = fetched.batches.len();
        if size == 0 || (size > wanted && !left.is_first) {
            return Ok((fetched.offsets, None));
        }
        left.is_first = false;
        left.bytes = left.bytes.saturating_sub(size);
        Ok((fetched.offsets, Some(fetched)))
    }
}

/// What is sent, once: a fetch that waits for more reads the same again.
fn count(asked: &Asked, outcomes: &Outcomes) {
    for (source, outcome) in asked.iter().zip(outcomes) {
        if let (Ok(source), Ok((_, Some(fetched)))) = (source, outcome) {
            let records = record_count(&fetched.batches);
            source.topic.metrics.read(records, fetched.batches.len());
        }
    }
}

fn record_count(mut batches: &[u8]) -> u64 {
    let mut records = 0;
    while let Ok(header) = BatchHeader::parse(batches) {
        records += u64::from(header.record_count());
        batches = batches.get(header.size_bytes()..).unwrap_or_default();
    }
    records
}

fn bytes_of(outcome: &Outcome) -> usize {
    match outcome {
        Ok((_, Some(fetched))) => fetched.batches.len(),
        _ => 0,
    }
}

fn respond(
    context: &Context,
    isolation: Isolation,
    plan: &Plan,
    outcomes: Outcomes,
) -> FetchResponse {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut told = Vec::new();
    for ((wanted, known), outcome) in plan.partitions.iter().zip(outcomes) {
        let data = partition_data(wanted.partition, isolation, outcome);
        let news = Told { high_watermark: data.high_watermark, log_start: data.log_start_offset };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let turn = if has_records { Turn::Taken } else { Turn::Waits };
        told.push((wanted.clone(), news, turn));
        let is_news = has_records || data.error_code != 0 || *known != Some(news);
        if !plan.only_news || is_news {
            push(&mut responses, wanted, data);
        }
    }
    if plan.session_id != 0 {
        context.fetch_sessions.answered(plan.session_id, told);
    }
    FetchResponse { session_id: plan.session_id, responses, ..Default::default() }
}

/// Adds to the topic that was answered last, if it is the same.
fn push(responses: &mut Vec<FetchableTopicResponse>, wanted: &Wanted, data: PartitionData) {
    match responses.last_mut() {
        Some(last) if last.topic == wanted.topic && last.topic_id == wanted.topic_id => {
            last.partitions.push(data);
        }
        _ => responses.push(FetchableTopicResponse {
            topic: wanted.topic.clone(),
            topic_id: wanted.topic_id,
            partitions: vec![data],
        }),
    }
}

fn partition_data(index: i32, isolation: Isolation, outcome: Outcome) -> PartitionData {
    match outcome {
        Err(refusal) => PartitionData {
            partition_index: index,
            error_code: refusal.number(),
            high_watermark: -1,
            records: Some(Bytes::new()),
            ..Default::default()
        },
        Ok((offsets, fetched)) => {
            let (records, aborted) = match fetched {
                Some(fetched) => (fetched.batches, fetched.aborted),
                None => Default::default(),
            };
            let aborted = aborted.into_iter().map(|txn| AbortedTransaction {
                producer_id: txn.producer_id.get(),
                first_offset: txn.first_offset.get(),
            });
            // Null, not empty, is what says that nobody asked.
            let aborted = (isolation == Isolation::LastStable).then(|| aborted.collect());
            PartitionData {
                partition_index: index,
                high_watermark: offsets.high_watermark.get(),
                last_stable_offset: offsets.last_stable.get(),
                log_start_offset: offsets.log_start.get(),
                aborted_transactions: aborted,
                records: Some(records),
                ..Default::default()
            }
        }
    }
}
