//! Where records wait until they are sent: an open batch per partition and, behind it, full ones.
//!
//! ```text
//! send ──▶ open batch ──full──▶ full batches ──▶ sender, when a slot is free
//!              └──────due: lingered long enough, or being flushed────▲
//! ```
//!
//! The rule: a record is encoded straight into its batch, under one short lock, and never copied
//! again until the batch is built outside of the lock. Bytes are bounded by permits that a record
//! takes before it comes here and its batch gives back once it is finished, so that memory is
//! bounded however long the broker is away. A lock per partition was rejected: one producer rarely
//! feeds a partition from two threads, and the sender would have to take all of them.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use log_proto::{
    record::{BatchBuilder, BatchOptions, BuildError},
    types::TimestampMs,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    completion::{BatchDelivery, Delivery, Promise},
    config::ProducerConfig,
    error::SendError,
    partitioner::{NoSuchPartition, Partitioner},
};
use crate::record::{ProducerRecord, RecordSize};

/// The number of a partition's queue, in the order in which they became known.
pub(super) type QueueIndex = usize;

/// A batch's number, rising in the order in which batches were opened.
pub(super) type BatchId = u64;

#[derive(Debug)]
pub(super) struct Accumulator {
    config: ProducerConfig,
    state: Mutex<State>,
    /// Bytes that may still be taken.
    room: Semaphore,
    /// There is something for the sender to do.
    wake: Notify,
    /// A batch was finished.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Arc<str>, Topic>,
    queues: Vec<Queue>,
    /// The queues that hold something.
    waiting: Vec<QueueIndex>,
    next_id: BatchId,
    /// Batches below this number do not linger.
    flush_below: BatchId,
    /// Opened, and neither acknowledged nor failed.
    unfinished: BTreeSet<BatchId>,
    intake: Intake,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Intake {
    #[default]
    Open,
    Closed,
}

#[derive(Debug)]
struct Topic {
    partitioner: Partitioner,
    /// By partition.
    queues: Vec<QueueIndex>,
}

#[derive(Debug)]
struct Queue {
    place: Place,
    open: Option<OpenBatch>,
    full: VecDeque<OpenBatch>,
    /// The size of the last batch that was filled here: about what the next will need.
    usual_bytes: usize,
}

/// A partition by name.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
}

/// A batch that is not built yet.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) id: BatchId,
    pub(super) builder: BatchBuilder,
    pub(super) promise: Promise,
    pub(super) opened_at: Instant,
    /// Of its records; the permits that they took are the encoded bytes.
    pub(super) size: RecordSize,
}

/// Why a record could not be put into a batch.
#[derive(Debug)]
pub(super) enum Rejected {
    /// Look it up and try again.
    UnknownTopic,
    For(SendError),
}

impl From<BuildError> for Rejected {
    fn from(error: BuildError) -> Self {
        Self::For(error.into())
    }
}

/// What is ready to go, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) batches: Vec<(QueueIndex, Place, OpenBatch)>,
    /// When the next batch has lingered long enough.
    pub(super) next_due: Option<Instant>,
}

impl Accumulator {
    pub(super) fn new(config: ProducerConfig) -> Self {
        Self {
            room: Semaphore::new(config.buffer_bytes.min(Semaphore::MAX_PERMITS)),
            config,
            state: Mutex::default(),
            wake: Notify::new(),
            progress: Notify::new(),
        }
    }

    /// The permits that records take before they are appended.
    pub(super) fn room(&self) -> &Semaphore {
        &self.room
    }

    /// Gives `topic` its queues. One that has them keeps them.
    pub(super) fn add_topic(&self, topic: &Arc<str>, partitions: NonZeroU32) {
        let mut state = self.state.lock();
        if state.topics.contains_key(topic) {
            return;
        }
        let first = state.queues.len();
        for partition in 0..partitions.get() {
            let place = Place { topic: Arc::clone(topic), partition };
            state.queues.push(Queue { place, open: None, full: VecDeque::new(), usual_bytes: 0 });
        }
        let queues = (first..state.queues.len()).collect();
        let partitioner = Partitioner::new(partitions);
        state.topics.insert(Arc::clone(topic), Topic { partitioner, queues });
    }

    /// The broker does not know `topic`: the next record looks it up again. Queues that exist go
    /// on with what they hold.
    pub(super) fn forget_topic(&self, topic: &str) {
        self.state.lock().topics.remove(topic);
    }

    /// Puts a record into the open batch of its partition. Permits for its encoded size must have
    /// been taken and belong to the batch from here on.
    pub(super) fn append(
        &self,
        record: &ProducerRecord,
        timestamp: TimestampMs,
        size: RecordSize,
    ) -> Result<Delivery, Rejected> {
        let mut state = self.state.lock();
        let queue = state.queue_for(record)?;
        let before = state.queues[queue].status();
        let delivery = state.append(queue, &self.config, record, timestamp, size)?;
        let after = state.queues[queue].status();
        drop(state);
        // A batch was opened, so the sender must watch its age, or one is full. Records between
        // these two wake nobody.
        if before != after {
            self.wake.notify_one();
        }
        Ok(delivery)
    }

    /// Queues records as one batch, behind everything that is queued for the partition.
    pub(super) fn append_batch(
        &self,
        topic: &str,
        partition: u32,
        builder: BatchBuilder,
        size: RecordSize,
    ) -> Result<BatchDelivery, Rejected> {
        let mut state = self.state.lock();
        let queue = state.queue_at(topic, partition)?;
        state.close_batch(queue);
        let batch = state.new_batch(builder, size);
        let delivery = batch.promise.batch_delivery();
        state.note_waiting(queue);
        state.queues[queue].full.push_back(batch);
        drop(state);
        self.wake.notify_one();
        Ok(delivery)
    }

    /// Takes the batches that are ready, at most `slots` of each queue.
    pub(super) fn collect(
        &self,
        now: Instant,
        mut slots: impl FnMut(QueueIndex) -> usize,
    ) -> Collected {
        let mut collected = Collected::default();
        let mut state = self.state.lock();
        let mut waiting = std::mem::take(&mut state.waiting);
        waiting.retain(|&queue| {
            for _ in 0..slots(queue) {
                let Some(batch) = state.take_ready(queue, now, &self.config) else {
                    break;
                };
                let place = state.queues[queue].place.clone();
                collected.batches.push((queue, place, batch));
            }
            let due = state.queues[queue].due_at(&self.config).filter(|due| *due > now);
            collected.next_due = earliest(collected.next_due, due);
            !state.queues[queue].is_empty()
        });
        state.waiting = waiting;
        collected
    }

    /// Takes the batches that were opened at or before `opened_by` and never sent.
    pub(super) fn expire(&self, opened_by: Instant) -> Vec<(Place, OpenBatch)> {
        let mut expired = Vec::new();
        let mut state = self.state.lock();
        let State { waiting, queues, .. } = &mut *state;
        waiting.retain(|&index| {
            let queue = &mut queues[index];
            while queue.oldest().is_some_and(|batch| batch.opened_at <= opened_by) {
                expired.extend(queue.take().map(|batch| (queue.place.clone(), batch)));
            }
            !queue.is_empty()
        });
        expired
    }

    /// A batch was acknowledged or has failed: its bytes are free.
    pub(super) fn finish(&self, id: BatchId, size: RecordSize) {
        self.state.lock().unfinished.remove(&id);
        self.room.add_permits(size.encoded);
        self.progress.notify_waiters();
    }

    /// Makes the sender look again, for what no event will tell it of.
    pub(super) fn wake_sender(&self) {
        self.wake.notify_one();
    }

    /// Waits until the sender has something to do.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Sends what is queued without lingering, and waits until all of it is finished.
    pub(super) async fn flush(&self) {
        let up_to = {
            let mut state = self.state.lock();
            state.flush_below = state.next_id;
            state.next_id
        };
        self.wake.notify_one();
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.state.lock().unfinished.first().is_none_or(|&id| id >= up_to) {
                return;
            }
            progress.await;
        }
    }

    /// Takes no more records.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.intake = Intake::Closed;
        state.flush_below = state.next_id;
        drop(state);
        self.wake.notify_one();
    }

    /// Whether any batch is neither acknowledged nor failed.
    pub(super) fn has_unfinished(&self) -> bool {
        !self.state.lock().unfinished.is_empty()
    }

    /// Whether nothing is left to do, for good.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.intake == Intake::Closed && state.unfinished.is_empty()
    }
}

impl State {
    fn queue_for(&self, record: &ProducerRecord) -> Result<QueueIndex, Rejected> {
        let topic = self.topic(&record.topic)?;
        let partition = topic
            .partitioner
            .partition_of(record)
            .map_err(|missing| unknown_partition(&record.topic, missing))?;
        Ok(topic.queues[partition as usize])
    }

    fn queue_at(&self, topic: &str, partition: u32) -> Result<QueueIndex, Rejected> {
        let queues = &self.topic(topic)?.queues;
        let partitions = queues.len() as u32;
        queues
            .get(partition as usize)
            .copied()
            .ok_or_else(|| unknown_partition(topic, NoSuchPartition { partition, partitions }))
    }

    fn topic(&self, topic: &str) -> Result<&Topic, Rejected> {
        match self.intake {
            Intake::Open => self.topics.get(topic).ok_or(Rejected::UnknownTopic),
            Intake::Closed => Err(Rejected::For(SendError::Closed)),
        }
    }

    fn append(
        &mut self,
        queue: QueueIndex,
        config: &ProducerConfig,
        record: &ProducerRecord,
        timestamp: TimestampMs,
        size: RecordSize,
    ) -> Result<Delivery, Rejected> {
        if self.queues[queue]
            .open
            .as_ref()
            .is_some_and(|batch| !batch.has_room(size.encoded, config))
        {
            self.close_batch(queue);
        }
        let delivery = match self.push(queue, config, record, timestamp, size) {
            // A time too far from the others' is no reason to refuse the record.
            Err(BuildError::TimestampTooFar { .. }) => {
                self.close_batch(queue);
                self.push(queue, config, record, timestamp, size)
            }
            pushed => pushed,
        }?;
        // One that is full need not linger for a record that does not fit.
        if self.queues[queue].open.as_ref().is_some_and(|batch| !batch.has_room(0, config)) {
            self.close_batch(queue);
        }
        Ok(delivery)
    }

    fn push(
        &mut self,
        queue: QueueIndex,
        config: &ProducerConfig,
        record: &ProducerRecord,
        timestamp: TimestampMs,
        size: RecordSize,
    ) -> Result<Delivery, BuildError> {
        if let Some(batch) = &mut self.queues[queue].open {
            return batch.push(record, timestamp, size);
        }
        let options = BatchOptions { compression: config.compression, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.reserve(self.queues[queue].usual_bytes);
        let mut batch = self.new_batch(builder, RecordSize::default());
        let pushed = batch.push(record, timestamp, size);
        if pushed.is_ok() {
            self.note_waiting(queue);
            self.queues[queue].open = Some(batch);
        } else {
            self.unfinished.remove(&batch.id);
        }
        pushed
    }

    fn new_batch(&mut self, builder: BatchBuilder, size: RecordSize) -> OpenBatch {
        let id = self.next_id;
        self.next_id += 1;
        self.unfinished.insert(id);
        let promise = Promise::default();
        OpenBatch { id, builder, promise, opened_at: Instant::now(), size }
    }

    /// Moves the open batch, if there is one, to the full ones.
    fn close_batch(&mut self, queue: QueueIndex) {
        let Queue { place, open, full, usual_bytes } = &mut self.queues[queue];
        if let Some(batch) = open.take() {
            *usual_bytes = batch.builder.size_bytes();
            full.push_back(batch);
            if let Some(topic) = self.topics.get_mut(&place.topic) {
                topic.partitioner.batch_full(place.partition);
            }
        }
    }

    fn note_waiting(&mut self, queue: QueueIndex) {
        if self.queues[queue].is_empty() {
            self.waiting.push(queue);
        }
    }

    fn take_ready(
        &mut self,
        queue: QueueIndex,
        now: Instant,
        config: &ProducerConfig,
    ) -> Option<OpenBatch> {
        let flush_below = self.flush_below;
        let waiting = &mut self.queues[queue];
        if let Some(batch) = waiting.full.pop_front() {
            return Some(batch);
        }
        let open = waiting.open.as_ref()?;
        if open.id >= flush_below && open.opened_at + config.linger > now {
            return None;
        }
        self.close_batch(queue);
        self.queues[queue].full.pop_front()
    }
}

fn unknown_partition(topic: &str, missing: NoSuchPartition) -> Rejected {
    Rejected::For(SendError::UnknownPartition {
        topic: topic.into(),
        partition: missing.partition,
        partitions: missing.partitions,
    })
}

pub(super) fn earliest(left: Option<Instant>, right: Option<Instant>) -> Option<Instant> {
    left.into_iter().chain(right).min()
}

impl Queue {
    /// Changes when the sender must be told.
    fn status(&self) -> (usize, Option<BatchId>) {
        (self.full.len(), self.open.as_ref().map(|batch| batch.id))
    }

    fn is_empty(&self) -> bool {
        self.open.is_none() && self.full.is_empty()
    }

    fn due_at(&self, config: &ProducerConfig) -> Option<Instant> {
        self.open.as_ref().map(|batch| batch.opened_at + config.linger)
    }

    fn oldest(&self) -> Option<&OpenBatch> {
        self.full.front().or(self.open.as_ref())
    }

    fn take(&mut self) -> Option<OpenBatch> {
        self.full.pop_front().or_else(|| self.open.take())
    }
}

impl OpenBatch {
    fn has_room(&self, size: usize, config: &ProducerConfig) -> bool {
        self.builder.record_count() < config.batch_records
            && self.builder.size_bytes() + size.max(1) <= config.batch_bytes
    }

    fn push(
        &mut self,
        record: &ProducerRecord,
        timestamp: TimestampMs,
        size: RecordSize,
    ) -> Result<Delivery, BuildError> {
        let index = self.builder.record_count();
        push_record(&mut self.builder, record, timestamp)?;
        self.size += size;
        Ok(self.promise.delivery(index, timestamp))
    }
}

/// Encodes a record behind the others of a batch.
pub(super) fn push_record(
    builder: &mut BatchBuilder,
    record: &ProducerRecord,
    timestamp: TimestampMs,
) -> Result<(), BuildError> {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    if record.headers.is_empty() {
        return builder.push(timestamp, key, value, &[]);
    }
    let headers: Vec<_> =
        record.headers.iter().map(|header| (&header.key[..], header.value.as_deref())).collect();
    builder.push(timestamp, key, value, &headers)
}
