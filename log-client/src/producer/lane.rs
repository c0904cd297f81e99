//! What is under way to one partition: at most five batches, in order, each written once.
//!
//! ```text
//!            send               answer: appended
//!  Ready ───────────▶ InFlight ─────────────────▶ Appended ──(all before it are)──▶ finished
//!    ▲                 │     │
//!    │ connection lost │     │ answer: refused
//!    ├─────────────────┘     ▼
//!    └───(all answered)─── Refused ──(final, and first in line)──▶ failed
//! ```
//!
//! The rules:
//!
//! - Batches finish in the order in which they were sent. A retry sends everything that is
//!   unanswered or was refused again, in that order, with the same bytes and sequences; the broker
//!   recognises what it has. Nothing is sent again before all of it is answered or the connection
//!   is gone, so that an old attempt cannot slip between new ones.
//! - A batch that went out on a connection that then broke is *in doubt* until a later answer
//!   settles it. A batch in doubt is never given another sequence or producer id: under a new
//!   name the broker would store it twice.
//! - After a final refusal the sequences behind it have a gap. Batches that are certainly not
//!   written are numbered again behind the last acknowledged one. When the broker has lost the
//!   place itself (sequence or epoch errors), they are numbered from 0 under a new producer id;
//!   one that is in doubt then fails as such, because nobody can tell any more whether it is there.
//! - The first batch under a producer id travels alone: a broker that does not know the id takes
//!   any sequence, so that a second batch could be stored though the first was refused.
//!
//! Pure state: no socket, no clock. The sender does what it says.

use std::collections::VecDeque;

use bytes::Bytes;
use log_proto::{
    record::{Transactional, stamp},
    types::{Producer, Sequence},
};
use tokio::time::Instant;

use super::{
    accumulator::{BatchId, Place},
    completion::{BatchMetadata, Promise},
    error::Fate,
};
use crate::{
    error::{BrokerError, ErrorCode},
    record::RecordSize,
};

/// The number of a request, chosen by the sender.
pub(super) type RequestId = u64;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) place: Place,
    numbering: Numbering,
    /// How many batches may be unanswered.
    in_flight_max: usize,
    /// Oldest first. Everything here was taken from the accumulator and is not finished.
    batches: VecDeque<Batch>,
    mode: Mode,
}

/// Who numbers the batches of this lane, and how far that has come.
#[derive(Debug)]
struct Numbering {
    identity: Identity,
    /// Of the next batch that has none.
    next: Sequence,
    /// Behind the last batch that was acknowledged.
    acknowledged: Sequence,
    standing: Standing,
    realign: Realign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Batches carry no producer.
    NotIdempotent,
    /// Waits for a producer id, another than the one that lost its place.
    Wanted {
        instead_of: Option<Producer>,
    },
    Known(Producer),
}

/// Whether the broker has acknowledged anything under the current producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unproven,
    Proven,
}

/// What must happen to the numbers once nothing is in flight; the later, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Realign {
    No,
    /// The sequences have a gap.
    SameProducer,
    /// Nobody knows the next sequence.
    NewProducer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Flowing,
    /// Something was refused: nothing is sent until everything in flight is answered.
    Settling,
    /// A retry is due, but not yet: the sender decides when.
    Resting,
}

/// A batch that was built.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) promise: Promise,
    pub(super) size: RecordSize,
    pub(super) records: u32,
    pub(super) deadline: Instant,
    pub(super) bytes: Bytes,
    pub(super) fate: Fate,
    sequence: Option<Sequence>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Ready,
    InFlight(RequestId),
    Appended(BatchMetadata),
    Refused(BrokerError),
}

impl Batch {
    pub(super) fn new(
        id: BatchId,
        promise: Promise,
        size: RecordSize,
        records: u32,
        deadline: Instant,
        bytes: Bytes,
    ) -> Self {
        Self {
            id,
            promise,
            size,
            records,
            deadline,
            bytes,
            fate: Fate::NotWritten,
            sequence: None,
            phase: Phase::Ready,
        }
    }
}

/// Why a batch is over.
#[derive(Debug)]
pub(super) enum Ending {
    Appended(BatchMetadata),
    Refused(BrokerError),
    TimedOut,
}

/// A producer id that cannot be used for a lane any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedUp;

/// A batch that is over, and why.
pub(super) type Finished = (Batch, Ending);

impl Lane {
    /// `in_flight_max`: 1 for a producer that is not idempotent.
    pub(super) fn idempotent(place: Place, in_flight_max: usize) -> Self {
        Self::new(place, Identity::Wanted { instead_of: None }, in_flight_max)
    }

    /// One batch in flight at a time keeps the order where sequences do not.
    pub(super) fn not_idempotent(place: Place) -> Self {
        Self::new(place, Identity::NotIdempotent, 1)
    }

    fn new(place: Place, identity: Identity, in_flight_max: usize) -> Self {
        let numbering = Numbering {
            identity,
            next: Sequence::ZERO,
            acknowledged: Sequence::ZERO,
            standing: Standing::Unproven,
            realign: Realign::No,
        };
        Self { place, numbering, in_flight_max, batches: VecDeque::new(), mode: Mode::Flowing }
    }

    /// How many batches it takes now.
    pub(super) fn free_slots(&self) -> usize {
        match self.mode {
            Mode::Flowing => self.window().saturating_sub(self.batches.len()),
            Mode::Settling | Mode::Resting => 0,
        }
    }

    fn window(&self) -> usize {
        match self.numbering.standing {
            Standing::Unproven => 1,
            Standing::Proven => self.in_flight_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.batches.push_back(batch);
    }

    /// Whether it waits for a producer id before it can send.
    pub(super) fn wants_producer(&self) -> bool {
        matches!(self.numbering.identity, Identity::Wanted { .. })
    }

    /// Gives it the producer id that it waits for. Refused when it is the one that the broker no
    /// longer follows.
    pub(super) fn set_producer(&mut self, producer: Producer) -> Result<(), UsedUp> {
        if self.numbering.identity == (Identity::Wanted { instead_of: Some(producer) }) {
            return Err(UsedUp);
        }
        self.numbering.identity = Identity::Known(producer);
        Ok(())
    }

    /// The next bytes to send, as request `request_id`.
    pub(super) fn next_to_send(&mut self, request_id: RequestId) -> Option<Bytes> {
        if self.mode != Mode::Flowing || self.wants_producer() {
            return None;
        }
        if self.in_flight() >= self.window() {
            return None;
        }
        let batch = self.batches.iter_mut().find(|batch| matches!(batch.phase, Phase::Ready))?;
        self.numbering.number(batch);
        batch.phase = Phase::InFlight(request_id);
        Some(batch.bytes.clone())
    }

    /// Takes the broker's answer to a request. One that nobody waits for any more is ignored.
    pub(super) fn answered(
        &mut self,
        request_id: RequestId,
        answer: Result<BatchMetadata, BrokerError>,
    ) -> Vec<Finished> {
        let in_flight =
            |batch: &&mut Batch| matches!(batch.phase, Phase::InFlight(id) if id == request_id);
        let Some(batch) = self.batches.iter_mut().find(in_flight) else {
            return Vec::new();
        };
        batch.phase = match answer {
            Ok(metadata) => Phase::Appended(metadata),
            Err(error) => {
                if !error.nothing_happened() {
                    batch.fate = Fate::MayBeWritten;
                }
                Phase::Refused(error)
            }
        };
        self.settle()
    }

    /// Whether a refusal is but what a batch that was refused before it brings about: the sequences
    /// behind that one do not join on.
    pub(super) fn is_consequence(&self, error: &BrokerError) -> bool {
        self.mode == Mode::Settling && error.code() == ErrorCode::OutOfOrderSequenceNumber
    }

    /// The connection is gone, and with it every answer that was still to come.
    pub(super) fn connection_lost(&mut self) -> Vec<Finished> {
        for batch in &mut self.batches {
            if matches!(batch.phase, Phase::InFlight(_)) {
                batch.phase = Phase::Ready;
                batch.fate = Fate::MayBeWritten;
            }
        }
        self.settle()
    }

    /// Gives up on the batches whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Finished> {
        let mut finished = Vec::new();
        let expired =
            |batch: &Batch| batch.deadline <= now && !matches!(batch.phase, Phase::Appended(_));
        while self.batches.front().is_some_and(expired) {
            let mut batch = self.pop_front();
            if matches!(batch.phase, Phase::InFlight(_)) {
                batch.fate = Fate::MayBeWritten;
            }
            self.gap_behind(&batch);
            finished.push((batch, Ending::TimedOut));
        }
        finished.extend(self.settle());
        finished
    }

    /// Gives up on the only batch under way, which the broker ended the whole stream over.
    pub(super) fn refuse_first(&mut self, error: BrokerError) -> Vec<Finished> {
        let mut finished = Vec::new();
        if !self.batches.is_empty() {
            let batch = self.pop_front();
            self.gap_behind(&batch);
            finished.push((batch, Ending::Refused(error)));
        }
        finished.extend(self.settle());
        finished
    }

    /// Whether a retry waits for [`Lane::wake`].
    pub(super) fn is_resting(&self) -> bool {
        self.mode == Mode::Resting
    }

    /// It has rested long enough.
    pub(super) fn wake(&mut self) {
        self.mode = Mode::Flowing;
    }

    fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| matches!(batch.phase, Phase::InFlight(_))).count()
    }

    fn pop_front(&mut self) -> Batch {
        self.batches.pop_front().expect("the caller has seen it")
    }

    /// Finishes what can be finished from the front, then, if nothing is in flight any more,
    /// prepares the retry.
    fn settle(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        self.finish_front(&mut finished);
        if self.mode == Mode::Settling && self.in_flight() == 0 {
            self.fail_overtaken(&mut finished);
            self.finish_front(&mut finished);
            self.prepare_retry();
        }
        finished
    }

    fn finish_front(&mut self, finished: &mut Vec<Finished>) {
        while let Some(front) = self.batches.front() {
            match &front.phase {
                Phase::Appended(metadata) => {
                    let ending = Ending::Appended(*metadata);
                    let batch = self.pop_front();
                    self.numbering.acknowledge(&batch);
                    finished.push((batch, ending));
                }
                Phase::Refused(error) => {
                    self.mode = Mode::Settling;
                    if self.numbering.retries(error, front.fate) {
                        return;
                    }
                    let ending = Ending::Refused(error.clone());
                    let batch = self.pop_front();
                    self.gap_behind(&batch);
                    finished.push((batch, ending));
                }
                Phase::Ready | Phase::InFlight(_) => return,
            }
        }
    }

    /// A refused batch that a later one has overtaken cannot be sent any more without changing
    /// the order. Sequences rule it out, but for a broker that had forgotten the producer.
    fn fail_overtaken(&mut self, finished: &mut Vec<Finished>) {
        let appended = |batch: &Batch| matches!(batch.phase, Phase::Appended(_));
        let Some(mut ahead) = self.batches.iter().rposition(appended) else {
            return;
        };
        let mut at = 0;
        while at < ahead {
            let Phase::Refused(error) = &self.batches[at].phase else {
                at += 1;
                continue;
            };
            let ending = Ending::Refused(error.clone());
            let batch = self.batches.remove(at).expect("found at this index");
            finished.push((batch, ending));
            ahead -= 1;
        }
    }

    /// A batch left without being acknowledged: the numbers behind it no longer join on.
    fn gap_behind(&mut self, batch: &Batch) {
        if batch.sequence.is_none() {
            return;
        }
        let realign = match batch.fate {
            Fate::NotWritten => Realign::SameProducer,
            Fate::MayBeWritten => Realign::NewProducer,
        };
        self.numbering.realign = self.numbering.realign.max(realign);
        self.mode = Mode::Settling;
    }

    fn prepare_retry(&mut self) {
        let any_in_doubt = self.batches.iter().any(|batch| batch.fate == Fate::MayBeWritten);
        if self.numbering.realign != Realign::No && !any_in_doubt {
            self.numbering.start_over();
            self.batches.iter_mut().for_each(|batch| batch.sequence = None);
        }
        for batch in &mut self.batches {
            if matches!(batch.phase, Phase::Refused(_)) {
                batch.phase = Phase::Ready;
            }
        }
        self.mode = if self.batches.is_empty() { Mode::Flowing } else { Mode::Resting };
    }
}

impl Numbering {
    /// Whether a batch that was refused like this, and is first in line, is to be sent again.
    fn retries(&mut self, error: &BrokerError, fate: Fate) -> bool {
        let lost_place = matches!(
            error.code(),
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::UnknownProducerId
        );
        if lost_place && fate == Fate::NotWritten && self.identity != Identity::NotIdempotent {
            // Behind a gap that is known, the refusal is no news.
            if self.realign == Realign::No {
                self.realign = Realign::NewProducer;
            }
            return true;
        }
        error.is_retriable() && !lost_place
    }

    fn acknowledge(&mut self, batch: &Batch) {
        self.standing = Standing::Proven;
        if let Some(sequence) = batch.sequence {
            self.acknowledged = sequence.wrapping_add(batch.records);
        }
    }

    /// Gives a batch that goes out for the first time its producer and sequence.
    fn number(&mut self, batch: &mut Batch) {
        let Identity::Known(producer) = self.identity else {
            return;
        };
        if batch.sequence.is_some() {
            return;
        }
        batch.bytes =
            stamp(std::mem::take(&mut batch.bytes), producer, self.next, Transactional::No)
                .expect("built by the batch builder, so it is a sound batch");
        batch.sequence = Some(self.next);
        self.next = self.next.wrapping_add(batch.records);
    }

    fn producer(&self) -> Option<Producer> {
        match self.identity {
            Identity::Known(producer) => Some(producer),
            Identity::Wanted { .. } | Identity::NotIdempotent => None,
        }
    }

    /// Closes the gap in the sequences, under a new producer id if need be.
    fn start_over(&mut self) {
        match self.realign {
            Realign::No => {}
            Realign::SameProducer => self.next = self.acknowledged,
            Realign::NewProducer => {
                self.identity = Identity::Wanted { instead_of: self.producer() };
                self.standing = Standing::Unproven;
                (self.next, self.acknowledged) = (Sequence::ZERO, Sequence::ZERO);
            }
        }
        self.realign = Realign::No;
    }
}

#[cfg(test)]
mod tests {
    use log_proto::{
        record::{BatchBuilder, BatchHeader, BatchOptions},
        types::{Offset, ProducerEpoch, ProducerId, TimestampMs},
        v1,
    };

    use super::*;
    use crate::{
        fake::refusal,
        producer::completion::{AppendKind, Durability},
    };

    fn producer(id: i64) -> Producer {
        Producer { id: ProducerId::new(id).unwrap(), epoch: ProducerEpoch::new(0).unwrap() }
    }

    fn batch(id: BatchId, now: Instant) -> Batch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..10 {
            let time = TimestampMs::new(1);
            builder.push(time, None, Some(b"v"), &[]).unwrap();
        }
        let bytes = builder.build().unwrap();
        Batch::new(id, Promise::default(), RecordSize::default(), 10, now, bytes)
    }

    fn appended() -> Result<BatchMetadata, BrokerError> {
        Ok(BatchMetadata {
            partition: 0,
            base_offset: Some(Offset::ZERO),
            log_append_time: None,
            durability: Durability::Synced,
            kind: AppendKind::Stored,
        })
    }

    fn refused(code: v1::ErrorCode) -> Result<BatchMetadata, BrokerError> {
        Err(refusal(code).into())
    }

    /// A lane whose producer the broker knows, with four batches in flight as requests 1 to 4.
    fn lane_with_four_in_flight() -> Lane {
        let place = Place { topic: "t".into(), partition: 0 };
        let mut lane = Lane::idempotent(place, 5);
        lane.set_producer(producer(1)).unwrap();
        let now = Instant::now();
        lane.push(batch(0, now));
        assert!(lane.next_to_send(0).is_some());
        assert_eq!(lane.answered(0, appended()).len(), 1);
        for id in 1..5 {
            lane.push(batch(id, now));
        }
        for request in 1..5 {
            lane.next_to_send(request).unwrap();
        }
        lane
    }

    /// What would be sent now: batch by producer and sequence.
    fn send_all(lane: &mut Lane, first_request: RequestId) -> Vec<(i64, i32)> {
        let mut sent = Vec::new();
        while let Some(bytes) = lane.next_to_send(first_request + sent.len() as u64) {
            let header = BatchHeader::parse(&bytes).unwrap();
            let sequence = header.base_sequence().unwrap().get();
            sent.push((header.producer().unwrap().id.get(), sequence));
        }
        sent
    }

    fn ids(finished: &[Finished]) -> Vec<BatchId> {
        finished.iter().map(|(batch, _)| batch.id).collect()
    }

    #[tokio::test]
    async fn the_first_batch_of_a_producer_travels_alone() {
        let place = Place { topic: "t".into(), partition: 0 };
        let mut lane = Lane::idempotent(place, 5);
        assert!(lane.next_to_send(0).is_none(), "no producer id yet");
        lane.set_producer(producer(1)).unwrap();
        for id in 0..3 {
            lane.push(batch(id, Instant::now()));
        }
        assert_eq!(send_all(&mut lane, 0), [(1, 0)]);
        lane.answered(0, appended());
        assert_eq!(send_all(&mut lane, 1), [(1, 10), (1, 20)]);
    }

    #[tokio::test]
    async fn a_lost_connection_sends_everything_again_as_it_was() {
        let mut lane = lane_with_four_in_flight();
        assert!(lane.connection_lost().is_empty());
        assert_eq!(send_all(&mut lane, 10), [(1, 10), (1, 20), (1, 30), (1, 40)]);
    }

    #[tokio::test]
    async fn batches_finish_in_order_whatever_order_answers_come_in() {
        let mut lane = lane_with_four_in_flight();
        assert!(lane.answered(3, appended()).is_empty());
        assert!(lane.answered(2, appended()).is_empty());
        assert_eq!(ids(&lane.answered(1, appended())), [1, 2, 3]);
    }

    /// A retry before the last answer could let the old attempt slip in between.
    #[tokio::test]
    async fn nothing_is_sent_again_while_answers_are_to_come() {
        let mut lane = lane_with_four_in_flight();
        lane.answered(1, refused(v1::ErrorCode::DiskFull));
        for request in 2..4 {
            lane.answered(request, refused(v1::ErrorCode::OutOfOrderSequenceNumber));
            assert!(lane.next_to_send(10).is_none());
            assert_eq!(lane.free_slots(), 0);
        }
        lane.answered(4, refused(v1::ErrorCode::OutOfOrderSequenceNumber));
        assert!(lane.is_resting() && lane.next_to_send(10).is_none());
        lane.wake();
        assert_eq!(send_all(&mut lane, 10), [(1, 10), (1, 20), (1, 30), (1, 40)]);
    }

    #[tokio::test]
    async fn behind_a_refused_batch_the_sequences_close_up() {
        let mut lane = lane_with_four_in_flight();
        lane.answered(1, appended());
        assert_eq!(ids(&lane.answered(2, refused(v1::ErrorCode::InvalidRecord))), [2]);
        lane.answered(3, refused(v1::ErrorCode::OutOfOrderSequenceNumber));
        lane.answered(4, refused(v1::ErrorCode::OutOfOrderSequenceNumber));
        lane.wake();
        assert_eq!(send_all(&mut lane, 10), [(1, 20), (1, 30)]);
    }

    /// Under a new name the broker would store it twice if it was stored before.
    #[tokio::test]
    async fn a_batch_in_doubt_is_never_numbered_again() {
        let mut lane = lane_with_four_in_flight();
        lane.connection_lost();
        lane.next_to_send(10).unwrap();
        let failed = lane.answered(10, refused(v1::ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(ids(&failed), [1]);
        assert_eq!(failed[0].0.fate, Fate::MayBeWritten);
        // The others are in doubt as well, and go out once more as they were.
        lane.wake();
        assert_eq!(send_all(&mut lane, 20), [(1, 20), (1, 30), (1, 40)]);
    }

    #[tokio::test]
    async fn a_lost_place_needs_another_producer_id() {
        let mut lane = lane_with_four_in_flight();
        for request in 1..5 {
            lane.answered(request, refused(v1::ErrorCode::UnknownProducerId));
        }
        lane.wake();
        assert!(lane.wants_producer());
        assert_eq!(lane.set_producer(producer(1)), Err(UsedUp));
        lane.set_producer(producer(2)).unwrap();
        assert_eq!(send_all(&mut lane, 10), [(2, 0)]);
        lane.answered(10, appended());
        assert_eq!(send_all(&mut lane, 11), [(2, 10), (2, 20), (2, 30)]);
    }

    /// Only a broker that forgot a producer takes a later batch before an earlier one. To send
    /// the earlier one then would change the order.
    #[tokio::test]
    async fn a_batch_that_was_overtaken_fails() {
        let mut lane = lane_with_four_in_flight();
        lane.answered(1, refused(v1::ErrorCode::DiskFull));
        lane.answered(2, appended());
        lane.answered(3, appended());
        let finished = lane.answered(4, appended());
        assert_eq!(ids(&finished), [1, 2, 3, 4]);
        assert!(matches!(finished[0].1, Ending::Refused(_)));
        assert_eq!(finished[0].0.fate, Fate::NotWritten);
        assert!(lane.is_empty() && lane.free_slots() > 0);
    }

    #[tokio::test]
    async fn time_runs_out_for_what_is_in_flight_with_its_fate_open() {
        let mut lane = lane_with_four_in_flight();
        lane.answered(2, appended());
        let finished = lane.expire(Instant::now());
        assert_eq!(ids(&finished), [1, 2]);
        assert_eq!(finished[0].0.fate, Fate::MayBeWritten);
        assert!(matches!(finished[1].1, Ending::Appended(_)), "answered in time");
    }
}
