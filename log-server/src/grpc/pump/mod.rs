//! The pump of one Consume call: reads what is there, and sends it as long as there is credit.
//!
//! ```text
//!             ┌───────── woken ──────────┐
//!             ▼                          │
//!   ready ──► read (one at a time) ──► at the end: parked on its partition's view
//!     ▲            │
//!     └── more ◄───┴──► responses ──► connection
//! ```
//!
//! One task for all partitions of the call, which take turns. The next read begins before the last
//! one is sent, so that disk and connection work at the same time. Whoever has read everything is
//! parked on the watch of its partition; nothing is polled.
//!
//! The rule: a response takes from the credit what it carries, and none is begun without credit;
//! one may overdraw it. A task per partition would be simpler, but its fairness would be the
//! scheduler's, and its credit a lock.
//!
//! In the call of a group's [`member`], partitions come and go: each has a lease, and a reader
//! whose lease has ended is dropped wherever it comes by.

mod member;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use log_core::{Isolation, Offsets};
use log_proto::types::Offset;
use log_proto::v1;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::consume_response::Event;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use self::member::Member;
use super::Requests;
use super::convert;
use super::delivery::{Delivered, Delivery, Payload, Terms, costs_little, deliver};
use super::error::{Refusal, damaged, explained, stopping};
use crate::broker::group_session::{GroupSession, SessionEvent};
use crate::broker::{Broker, Stage};
use crate::partition::{Partition, ReadWake, View, read_end, readable};
use crate::topics::Topic;

/// What is read on the spot, in bytes, of records that were just written and so are in memory.
/// Everything else is read on a thread that may wait for the disk.
const READ_ON_THE_SPOT_BYTES: usize = 64 << 10;

/// One partition of the call.
pub(super) struct Reader {
    topic: Arc<Topic>,
    partition: Arc<Partition>,
    view: watch::Receiver<View>,
    next: Offset,
    place: Place,
    /// `None`: for as long as the call.
    lease: Option<Lease>,
}

/// Ends when its other end is dropped.
type Lease = watch::Receiver<()>;

/// Where a reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There is more than it has read, for all it knows.
    Behind,
    /// It has read everything and the caller was told.
    AtEnd,
    /// It was at the end until a moment ago: what it reads next is in memory.
    JustBehind,
}

impl Reader {
    pub(super) fn new(topic: Arc<Topic>, partition: Arc<Partition>, next: Offset) -> Self {
        let view = partition.view();
        Self { topic, partition, view, next, place: Place::Behind, lease: None }
    }

    /// Whether the caller may still have what is read.
    fn is_leased(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.has_changed().is_ok())
    }

    fn response(&self, offsets: &Offsets, event: Event) -> v1::ConsumeResponse {
        v1::ConsumeResponse {
            topic: self.topic.name.to_string(),
            partition: convert::number(self.partition.number),
            high_watermark: offsets.high_watermark.get(),
            last_stable_offset: offsets.last_stable.get(),
            log_start_offset: offsets.log_start.get(),
            event: Some(event),
            next_offset: self.next.get(),
            aborted_transactions: Vec::new(),
            payload_bytes: 0,
        }
    }

    fn payload(&self, offsets: &Offsets, payload: Payload) -> v1::ConsumeResponse {
        self.topic.metrics.read(payload.records, payload.bytes);
        v1::ConsumeResponse {
            next_offset: payload.next_offset.get(),
            aborted_transactions: payload.aborted,
            payload_bytes: payload.bytes as u64,
            ..self.response(offsets, payload.event)
        }
    }
}

/// Completes when the lease ends.
async fn lease_ends(lease: &mut Option<Lease>) {
    match lease {
        // Nothing is ever sent: it is only ever dropped.
        Some(lease) => while lease.changed().await.is_ok() {},
        None => std::future::pending().await,
    }
}

/// A call that was accepted.
pub(super) struct Pump {
    pub(super) broker: Broker,
    pub(super) isolation: Isolation,
    pub(super) delivery: Delivery,
    pub(super) response_bytes_max: usize,
    pub(super) requests: Requests<v1::ConsumeRequest>,
    pub(super) responses: mpsc::Sender<Result<v1::ConsumeResponse, Status>>,
}

type ReadDone = (Reader, Result<Delivered, Refusal>);
type Reading = Pin<Box<dyn Future<Output = ReadDone> + Send>>;
type Parked = Pin<Box<dyn Future<Output = Option<(Reader, ReadWake)>> + Send>>;

/// Why a pump ends.
enum End {
    /// The caller has what it asked for, or is gone.
    Quiet,
    /// The caller is told.
    Told(Status),
}

impl End {
    fn refused(message: impl Into<String>) -> Self {
        Self::Told(Refusal::invalid_request(message).into())
    }
}

impl Pump {
    /// Reads these partitions.
    pub(super) async fn run(self, readers: Vec<Reader>, credit_bytes: u64) {
        self.begin(None, credit_bytes).run(readers).await;
    }

    /// Reads what the group gives.
    pub(super) async fn run_as_member(self, session: GroupSession, credit_bytes: u64) {
        self.begin(Some(Member::new(session)), credit_bytes).run(Vec::new()).await;
    }

    fn begin(self, member: Option<Member>, credit_bytes: u64) -> Running {
        Running {
            credit: i64::try_from(credit_bytes).unwrap_or(i64::MAX),
            pump: self,
            member,
            ready: VecDeque::new(),
            reading: None,
            parked: FuturesUnordered::new(),
            requests_open: true,
        }
    }
}

struct Running {
    pump: Pump,
    member: Option<Member>,
    /// Payload bytes that may still be sent; negative when overdrawn.
    credit: i64,
    ready: VecDeque<Reader>,
    reading: Option<Reading>,
    parked: FuturesUnordered<Parked>,
    requests_open: bool,
}

impl Running {
    async fn run(mut self, readers: Vec<Reader>) {
        let broker = self.pump.broker.clone();
        let _open = broker.metrics().consume_stream();
        let responses = self.pump.responses.clone();
        let pumped = self.pump(readers, &mut broker.stage()).await;
        // A caller that takes its time to go does not stay in its group.
        self.member = None;
        let requests = self.pump.requests;
        if let Err(End::Told(status)) = pumped {
            // Without anybody to tell, there is nothing to tell.
            let _ = responses.send(Err(status)).await;
            drop(responses);
            super::hear_out(requests).await;
        }
    }

    async fn pump(
        &mut self,
        readers: Vec<Reader>,
        stage: &mut watch::Receiver<Stage>,
    ) -> Result<(), End> {
        self.tell_member().await?;
        for reader in readers {
            let started = Event::Started(v1::Started { offset: reader.next.get() });
            self.send(reader.response(&reader.partition.offsets(), started)).await?;
            self.ready.push_back(reader);
        }
        loop {
            self.begin_read().await?;
            if self.is_over() {
                return Ok(());
            }
            tokio::select! {
                () = Broker::stopping(stage) => {
                    return Err(End::Told(stopping().into()));
                }
                () = self.pump.responses.closed() => return Err(End::Quiet),
                request = self.pump.requests.next(), if self.takes_requests() => {
                    self.take_request(request).await?;
                }
                event = next_event(&mut self.member), if self.member.is_some() => {
                    self.take_event(event).await?;
                }
                Some(woken) = self.parked.next(), if !self.parked.is_empty() => {
                    if let Some((reader, wake)) = woken {
                        self.wake(reader, wake).await?;
                    }
                }
                done = wait_for(&mut self.reading), if self.reading.is_some() => {
                    self.reading = None;
                    self.take_read(done).await?;
                }
            }
        }
    }

    /// Nothing can come any more: every partition has ended, or nobody can give more credit.
    fn is_over(&self) -> bool {
        if self.member.is_some() {
            // There may always be more to come, until the group says that there is not.
            return false;
        }
        let idle = self.reading.is_none() && self.parked.is_empty() && self.ready.is_empty();
        idle || (!self.requests_open && self.credit <= 0 && self.reading.is_none())
    }

    async fn take_request(
        &mut self,
        request: Option<Result<v1::ConsumeRequest, Status>>,
    ) -> Result<(), End> {
        let asked = match request {
            Some(Ok(v1::ConsumeRequest { request })) => request,
            None => {
                self.requests_open = false;
                self.leave_group().await;
                return Ok(());
            }
            // The connection is gone, or what comes over it is no protocol.
            Some(Err(status)) => return Err(End::Told(explained(status))),
        };
        match (asked, self.member.is_some()) {
            (Some(Asked::Credit(credit)), _) => {
                let more = i64::try_from(credit.bytes).unwrap_or(i64::MAX);
                self.credit = self.credit.saturating_add(more);
                Ok(())
            }
            (Some(Asked::Commit(commit)), true) => self.commit(commit).await,
            (Some(Asked::Release(release)), true) => self.release(release).await,
            (_, true) => Err(End::refused("only credit, commit and release may follow the join")),
            (_, false) => Err(End::refused("only credit may follow the start: make another call")),
        }
    }

    /// Begins the next read, if none is under way and there is credit. Parks whoever has nothing
    /// to read, whether there is credit or not.
    async fn begin_read(&mut self) -> Result<(), End> {
        let mut without_credit = 0;
        while self.reading.is_none() && without_credit < self.ready.len() {
            let Some(reader) = self.ready.pop_front() else { break };
            if !reader.is_leased() {
                continue;
            }
            if is_at_end(&reader, &reader.partition.offsets(), self.pump.isolation) {
                self.park(reader).await?;
            } else if self.credit > 0 {
                self.reading = Some(self.read(reader));
            } else {
                self.ready.push_back(reader);
                without_credit += 1;
            }
        }
        Ok(())
    }

    fn read(&self, reader: Reader) -> Reading {
        let terms = Terms {
            delivery: self.pump.delivery,
            isolation: self.pump.isolation,
            response_bytes_max: self.pump.response_bytes_max,
            expanded_bytes_max: self.pump.broker.config().expanded_bytes_max as usize,
        };
        let broker = self.pump.broker.clone();
        Box::pin(async move {
            let begun = Instant::now();
            let done = read(&broker, &reader, terms).await;
            broker.metrics().read_took(begun.elapsed());
            (reader, done)
        })
    }

    /// Begins the next read, then sends what the last one gave.
    async fn take_read(&mut self, (mut reader, done): ReadDone) -> Result<(), End> {
        if !reader.is_leased() {
            return Ok(());
        }
        let delivered = match done {
            Ok(delivered) => delivered,
            // Files that vanish under a reader are no fault of the disk.
            Err(_) if reader.view.borrow().deleted => {
                return self.end_partition(&reader, deleted(&reader)).await;
            }
            Err(refusal) => return self.end_partition(&reader, refusal).await,
        };
        let offsets = delivered.offsets;
        if delivered.next_offset == reader.next
            && !is_at_end(&reader, &offsets, self.pump.isolation)
        {
            return self.end_partition(&reader, nothing_stored(&reader)).await;
        }
        reader.next = delivered.next_offset;
        reader.place = Place::Behind;
        let payloads = delivered.payloads.into_iter();
        let responses: Vec<_> = payloads.map(|payload| reader.payload(&offsets, payload)).collect();
        for response in &responses {
            let bytes = i64::try_from(response.payload_bytes).unwrap_or(i64::MAX);
            self.credit = self.credit.saturating_sub(bytes);
        }
        let resting = self.queue_unless_at_end(reader);
        self.begin_read().await?;
        for response in responses {
            self.send(response).await?;
        }
        match resting {
            Some(reader) => self.park(reader).await,
            None => Ok(()),
        }
    }

    /// Whoever has reached the end is given back, to be told so behind its records.
    fn queue_unless_at_end(&mut self, reader: Reader) -> Option<Reader> {
        if is_at_end(&reader, &reader.partition.offsets(), self.pump.isolation) {
            return Some(reader);
        }
        self.ready.push_back(reader);
        None
    }

    /// Tells the caller that it has everything, and waits for more. Unless there is more by now:
    /// what a caller is told holds at the moment that it names.
    async fn park(&mut self, mut reader: Reader) -> Result<(), End> {
        let offsets = reader.partition.offsets();
        if !is_at_end(&reader, &offsets, self.pump.isolation) {
            self.ready.push_back(reader);
            return Ok(());
        }
        if reader.place != Place::AtEnd {
            reader.place = Place::AtEnd;
            self.send(reader.response(&offsets, Event::CaughtUp(v1::CaughtUp {}))).await?;
        }
        let isolation = self.pump.isolation;
        self.parked.push(Box::pin(async move {
            let wake = tokio::select! {
                wake = readable(&mut reader.view, reader.next, isolation) => wake,
                () = lease_ends(&mut reader.lease) => return None,
            };
            Some((reader, wake))
        }));
        Ok(())
    }

    async fn wake(&mut self, mut reader: Reader, wake: ReadWake) -> Result<(), End> {
        match wake {
            _ if !reader.is_leased() => Ok(()),
            ReadWake::Ready => {
                reader.place = Place::JustBehind;
                self.ready.push_back(reader);
                Ok(())
            }
            ReadWake::Deleted => self.end_partition(&reader, deleted(&reader)).await,
        }
    }

    async fn end_partition(&mut self, reader: &Reader, refusal: Refusal) -> Result<(), End> {
        let event = Event::Error(refusal.into_error());
        self.send(reader.response(&reader.partition.offsets(), event)).await
    }

    async fn send(&mut self, response: v1::ConsumeResponse) -> Result<(), End> {
        self.pump.responses.send(Ok(response)).await.map_err(|_| End::Quiet)
    }
}

/// Whether there is nothing to read now. A reader that the log's start has passed is not at the
/// end: it has yet to learn that its records are gone.
fn is_at_end(reader: &Reader, offsets: &Offsets, isolation: Isolation) -> bool {
    reader.next >= read_end(offsets, isolation) && reader.next >= offsets.log_start
}

async fn next_event(member: &mut Option<Member>) -> Option<SessionEvent> {
    match member {
        Some(member) => member.event().await,
        None => std::future::pending().await,
    }
}

async fn wait_for(reading: &mut Option<Reading>) -> ReadDone {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

async fn read(broker: &Broker, reader: &Reader, terms: Terms) -> Result<Delivered, Refusal> {
    let (partition, from) = (Arc::clone(&reader.partition), reader.next);
    if reader.place != Place::JustBehind {
        return broker.blocking(move |_| read_blocking(&partition, from, &terms)).await;
    }
    let bytes_max = terms.response_bytes_max.min(READ_ON_THE_SPOT_BYTES);
    let fetched = partition.read(from, bytes_max, terms.isolation)?;
    let sort_out =
        move |fetched| deliver(fetched, from, &terms).map_err(|error| damaged(&partition, &error));
    if costs_little(&fetched.batches, &terms) {
        return sort_out(fetched);
    }
    broker.blocking(move |_| sort_out(fetched)).await
}

/// Whole batches go out as they lie in the log, not copied. That they are in memory when they are
/// sent is likely and no more: a connection that meets a bad disk then breaks, and its consumer
/// gets the error here when it comes back.
fn read_blocking(partition: &Partition, from: Offset, terms: &Terms) -> Result<Delivered, Refusal> {
    let (bytes_max, isolation) = (terms.response_bytes_max, terms.isolation);
    let fetched = match terms.delivery {
        Delivery::Batches => partition.read_resident(from, bytes_max, isolation)?,
        Delivery::Records => partition.read(from, bytes_max, isolation)?,
    };
    deliver(fetched, from, terms).map_err(|error| damaged(partition, &error))
}

fn deleted(reader: &Reader) -> Refusal {
    let topic = &reader.topic.name;
    Refusal::unknown_partition(format!("topic {topic} was deleted while it was read"))
}

/// Nothing where something must be: never to be met again and again in silence.
fn nothing_stored(reader: &Reader) -> Refusal {
    let partition = &reader.partition;
    let end = partition.offsets().high_watermark;
    Refusal::corrupt_log(
        partition,
        &format!("no batch holds offset {}, but {end} is next", reader.next),
    )
}
