//! The producer's one task: takes batches from the accumulator, sends them, handles the answers.
//!
//! The rule: one task owns everything that is under way, so that no lock is held across it and
//! each partition's order is that of one loop. What a partition does with an answer is decided in
//! [`Lane`]; this file moves bytes and watches the time. A task per partition was rejected: they
//! would share the stream and the producer id all the same, and meet in a lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use log_proto::{
    types::{Offset, TimestampMs},
    v1,
};
use tokio::time::{Instant, sleep_until};

use super::{
    accumulator::{Accumulator, OpenBatch, Place, QueueIndex, earliest},
    completion::{AppendKind, BatchMetadata, Durability},
    config::{Acks, ProducerConfig},
    error::{DeliveryError, Fate},
    lane::{Batch, Ending, Finished, Lane, RequestId},
    link::{Event, Link, ProducerIds, final_refusal},
    stats::Stats,
};
use crate::{
    connection::Connection,
    error::{BrokerError, ErrorCode, RequestError},
    retry::Backoff,
};

/// How often delivery timeouts are looked for: they need not be exact.
const EXPIRY_TICK: Duration = Duration::from_millis(500);

pub(super) struct Sender {
    config: ProducerConfig,
    accumulator: Arc<Accumulator>,
    stats: Arc<Stats>,
    link: Link,
    ids: ProducerIds,
    /// By queue; a lane is made with the first batch of its queue.
    lanes: Vec<Option<Traffic>>,
    /// The lanes that hold batches.
    busy: Vec<QueueIndex>,
    /// Which lane a request of the current link belongs to.
    requests: HashMap<RequestId, QueueIndex>,
    next_request: RequestId,
    next_expiry: Instant,
    /// Why nothing moves, for those whose time runs out.
    last_error: Option<Arc<str>>,
    pace: Pace,
}

/// A lane, and when it retries.
struct Traffic {
    lane: Lane,
    backoff: Backoff,
    rests_until: Option<Instant>,
}

/// How much is sent at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Full,
    /// The broker ended a stream over something in it, and only one batch at a time shows which.
    OneByOne,
}

impl Sender {
    pub(super) fn new(
        connection: Connection,
        config: ProducerConfig,
        accumulator: Arc<Accumulator>,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            config,
            accumulator,
            stats,
            link: Link::new(connection.clone()),
            ids: ProducerIds::new(connection),
            lanes: Vec::new(),
            busy: Vec::new(),
            requests: HashMap::new(),
            next_request: 0,
            next_expiry: Instant::now() + EXPIRY_TICK,
            last_error: None,
            pace: Pace::Full,
        }
    }

    /// Runs until the producer is closed and everything it took is finished.
    pub(super) async fn run(mut self) {
        loop {
            let look_again = self.advance();
            if self.accumulator.is_drained() {
                return;
            }
            tokio::select! {
                event = self.link.event() => self.on_link(event),
                () = self.accumulator.woken() => {}
                fetched = self.ids.fetched() => self.note_trouble(fetched.err()),
                () = sleep_until(look_again) => {}
            }
        }
    }

    /// Does everything that can be done now. Returns when to look again, whatever happens.
    fn advance(&mut self) -> Instant {
        let now = Instant::now();
        if now >= self.next_expiry {
            self.expire(now);
        }
        let wakes = [self.wake_rested(now), self.collect(now), self.prepare(now)];
        if self.link.is_up() {
            self.send();
        }
        let idle = !self.accumulator.has_unfinished();
        let expiry = if idle { now + Duration::from_secs(3600) } else { self.next_expiry };
        wakes.into_iter().flatten().fold(expiry, Instant::min)
    }

    /// Lets lanes go on whose rest is over. Returns when the next one's is.
    fn wake_rested(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for &queue in &self.busy {
            let traffic = traffic(&mut self.lanes, queue);
            match traffic.rests_until {
                Some(until) if until > now => next = earliest(next, Some(until)),
                Some(_) => {
                    traffic.rests_until = None;
                    traffic.lane.wake();
                }
                None => {}
            }
        }
        next
    }

    /// Moves batches that are ready into their lanes. Returns when the next one will be.
    fn collect(&mut self, now: Instant) -> Option<Instant> {
        let lanes = &self.lanes;
        let lane = |queue: QueueIndex| lanes.get(queue).and_then(Option::as_ref);
        let free_slots = |queue| lane(queue).map_or(1, |traffic| traffic.lane.free_slots());
        let collected = self.accumulator.collect(now, free_slots);
        for (queue, place, batch) in collected.batches {
            self.take(queue, place, batch);
        }
        collected.next_due
    }

    fn take(&mut self, queue: QueueIndex, place: Place, open: OpenBatch) {
        let deadline = open.opened_at + self.config.delivery_timeout;
        let records = open.builder.record_count();
        let OpenBatch { id, promise, size, .. } = open;
        match open.builder.build() {
            Ok(bytes) => {
                let batch = Batch::new(id, promise, size, records, deadline, bytes);
                if self.lanes.len() <= queue {
                    self.lanes.resize_with(queue + 1, || None);
                }
                let traffic =
                    self.lanes[queue].get_or_insert_with(|| Traffic::new(place, &self.config));
                if traffic.lane.is_empty() {
                    self.busy.push(queue);
                }
                traffic.lane.push(batch);
            }
            Err(error) => {
                let Place { topic, partition } = place;
                let error = DeliveryError::Encode { topic, partition, error };
                self.stats.failed(records, &error);
                promise.fulfil(Err(error));
                self.accumulator.finish(id, size);
                self.accumulator.wake_sender();
            }
        }
    }

    /// Brings up what sending needs: the link, and a producer id for lanes that want one.
    fn prepare(&mut self, now: Instant) -> Option<Instant> {
        if self.busy.is_empty() {
            return None;
        }
        let link_retry = self.link.open(now);
        if !self.link.is_up() {
            return link_retry;
        }
        let Self { busy, lanes, ids, .. } = self;
        let mut id_retry = None;
        for &queue in busy.iter() {
            let lane = &mut traffic(lanes, queue).lane;
            if !lane.wants_producer() {
                continue;
            }
            match ids.current() {
                Some(producer) if lane.set_producer(producer).is_ok() => continue,
                Some(producer) => ids.retire(producer),
                None => {}
            }
            id_retry = ids.fetch(now);
        }
        id_retry
    }

    fn send(&mut self) {
        for at in 0..self.busy.len() {
            while self.pace == Pace::Full || self.requests.is_empty() {
                let queue = self.busy[at];
                let id = self.next_request;
                let lane = &mut traffic(&mut self.lanes, queue).lane;
                let Some(bytes) = lane.next_to_send(id) else {
                    break;
                };
                let request = self.request(id, queue, bytes);
                self.next_request += 1;
                self.link.send(request);
                if self.config.acks == Acks::None {
                    self.on_sent(queue, id);
                } else {
                    self.requests.insert(id, queue);
                }
            }
        }
        self.forget_idle();
    }

    fn request(&self, id: RequestId, queue: QueueIndex, bytes: Bytes) -> v1::ProduceRequest {
        let place = self.place(queue);
        v1::ProduceRequest {
            request_id: id,
            topic: place.topic.as_ref().to_owned(),
            partition: Some(place.partition as i32),
            acks: wire_acks(self.config.acks).into(),
            payload: Some(v1::produce_request::Payload::Batch(bytes)),
        }
    }

    fn on_link(&mut self, event: Event) {
        match event {
            Event::Opened => {}
            Event::Answer(answer) => self.on_answer(answer),
            Event::Lost(error) => self.on_lost(error),
        }
    }

    fn on_answer(&mut self, answer: v1::ProduceResponse) {
        let Some(queue) = self.requests.remove(&answer.request_id) else {
            return;
        };
        self.pace = Pace::Full;
        self.apply(queue, answer.request_id, read_result(answer.result));
        self.forget_idle();
    }

    /// With acks=0 being handed over is all there is.
    fn on_sent(&mut self, queue: QueueIndex, id: RequestId) {
        // No answer will come to free the slot for the next batch.
        self.accumulator.wake_sender();
        let sent = BatchMetadata {
            partition: self.place(queue).partition,
            base_offset: None,
            log_append_time: None,
            durability: Durability::Sent,
            kind: AppendKind::Stored,
        };
        self.apply(queue, id, Ok(sent));
    }

    fn apply(
        &mut self,
        queue: QueueIndex,
        id: RequestId,
        result: Result<BatchMetadata, BrokerError>,
    ) {
        let traffic = traffic(&mut self.lanes, queue);
        match &result {
            Ok(_) => traffic.backoff.reset(),
            // It would hide what has held everything up.
            Err(error) if traffic.lane.is_consequence(error) => {}
            Err(error) => self.last_error = Some(error.to_string().into()),
        }
        let finished = traffic.lane.answered(id, result);
        self.finish(queue, finished);
    }

    fn on_lost(&mut self, error: RequestError) {
        tracing::debug!(%error, "producer lost its stream");
        let unanswered: Vec<_> = self.requests.drain().map(|(_, queue)| queue).collect();
        for queue in self.busy.clone() {
            let finished = traffic(&mut self.lanes, queue).lane.connection_lost();
            self.finish(queue, finished);
        }
        match (final_refusal(&error).cloned(), &unanswered[..]) {
            (Some(refusal), &[culprit]) => self.refuse_culprit(culprit, refusal),
            (Some(_), _) => self.pace = Pace::OneByOne,
            (None, _) => {}
        }
        self.note_trouble(Some(error));
        self.forget_idle();
    }

    /// Its batch was the only one under way when the broker ended the stream.
    fn refuse_culprit(&mut self, queue: QueueIndex, refusal: BrokerError) {
        let finished = traffic(&mut self.lanes, queue).lane.refuse_first(refusal);
        self.finish(queue, finished);
    }

    fn expire(&mut self, now: Instant) {
        self.next_expiry = now + EXPIRY_TICK;
        if let Some(opened_by) = now.checked_sub(self.config.delivery_timeout) {
            for (place, batch) in self.accumulator.expire(opened_by) {
                let error = self.timed_out(&place, Fate::NotWritten);
                self.stats.failed(batch.builder.record_count(), &error);
                batch.promise.fulfil(Err(error));
                self.accumulator.finish(batch.id, batch.size);
            }
        }
        for queue in self.busy.clone() {
            let finished = traffic(&mut self.lanes, queue).lane.expire(now);
            self.finish(queue, finished);
        }
        self.forget_idle();
    }

    /// Tells those who wait what became of their batches, and lets a lane that is to retry rest.
    fn finish(&mut self, queue: QueueIndex, finished: Vec<Finished>) {
        let traffic = traffic(&mut self.lanes, queue);
        if traffic.lane.is_resting() && traffic.rests_until.is_none() {
            traffic.rests_until = Some(Instant::now() + traffic.backoff.next_wait());
        }
        for (batch, ending) in finished {
            let outcome = self.outcome(queue, &batch, ending);
            match &outcome {
                Ok(metadata) => {
                    self.stats.acknowledged(batch.records, batch.size.payload, metadata)
                }
                Err(error) => self.stats.failed(batch.records, error),
            }
            // The future first, so that who is woken by the other finds it ready.
            batch.promise.fulfil(outcome);
            self.accumulator.finish(batch.id, batch.size);
        }
    }

    fn outcome(
        &self,
        queue: QueueIndex,
        batch: &Batch,
        ending: Ending,
    ) -> Result<BatchMetadata, DeliveryError> {
        let place = self.place(queue);
        match ending {
            Ending::Appended(metadata) => Ok(metadata),
            Ending::TimedOut => Err(self.timed_out(place, batch.fate)),
            Ending::Refused(error) => {
                if error.code() == ErrorCode::UnknownTopicOrPartition {
                    self.accumulator.forget_topic(&place.topic);
                }
                let Place { topic, partition } = place.clone();
                Err(DeliveryError::Refused { topic, partition, error, fate: batch.fate })
            }
        }
    }

    fn timed_out(&self, place: &Place, fate: Fate) -> DeliveryError {
        let Place { topic, partition } = place.clone();
        let (timeout, last_error) = (self.config.delivery_timeout, self.last_error.clone());
        DeliveryError::TimedOut { topic, partition, timeout, fate, last_error }
    }

    fn note_trouble(&mut self, error: Option<RequestError>) {
        if let Some(error) = error {
            self.last_error = Some(error.to_string().into());
        }
    }

    fn place(&self, queue: QueueIndex) -> &Place {
        &self.lanes[queue].as_ref().expect(LANES_STAY).lane.place
    }

    fn forget_idle(&mut self) {
        let Self { busy, lanes, .. } = self;
        busy.retain(|&queue| !traffic(lanes, queue).lane.is_empty());
    }
}

impl Traffic {
    fn new(place: Place, config: &ProducerConfig) -> Self {
        let lane = if config.is_idempotent() {
            Lane::idempotent(place, config.in_flight_max())
        } else {
            Lane::not_idempotent(place)
        };
        Self { lane, backoff: Backoff::new(), rests_until: None }
    }
}

const LANES_STAY: &str = "a queue that had a batch has a lane, and lanes are never removed";

fn traffic(lanes: &mut [Option<Traffic>], queue: QueueIndex) -> &mut Traffic {
    lanes[queue].as_mut().expect(LANES_STAY)
}

fn wire_acks(acks: Acks) -> v1::Acks {
    match acks {
        Acks::All => v1::Acks::All,
        Acks::Leader => v1::Acks::Leader,
        Acks::None => v1::Acks::None,
    }
}

fn read_result(result: Option<v1::produce_response::Result>) -> Result<BatchMetadata, BrokerError> {
    match result {
        Some(v1::produce_response::Result::Appended(appended)) => Ok(BatchMetadata {
            partition: appended.partition.max(0) as u32,
            base_offset: Offset::new(appended.base_offset),
            log_append_time: appended.log_append_time_ms.map(TimestampMs::new),
            durability: appended.durability().into(),
            kind: if appended.duplicate { AppendKind::Duplicate } else { AppendKind::Stored },
        }),
        Some(v1::produce_response::Result::Error(error)) => Err(error.into()),
        None => Err(v1::Error {
            code: v1::ErrorCode::Internal.into(),
            message: "the broker answered a batch with neither success nor error".into(),
            retriable: false,
            nothing_happened: false,
        }
        .into()),
    }
}
