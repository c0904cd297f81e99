//! What the log knows of one producer.
//!
//! The rule: the window holds the producer's last five batches under its *current* epoch, oldest
//! first. Five is what clients may have in flight, so that any batch they can repeat is found
//! there. A new epoch begins with an empty window. Keeping only the last batch, as Kafka's
//! snapshot does, was rejected for what is in memory: a repetition of an earlier batch would then
//! look like a gap, and fail a producer that did nothing wrong.

use log_proto::record::BatchHeader;
use log_proto::types::{CoordinatorEpoch, Offset, ProducerEpoch, Sequence, TimestampMs};

/// How many batches a producer may have in flight to one partition, and so how many are
/// remembered to find repetitions. Fixed by the protocol (KIP-98); all clients know it.
pub(super) const WINDOW_BATCHES: usize = 5;

/// One batch of a producer, as far as repetitions must be recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchMetadata {
    pub(super) last_sequence: Option<Sequence>,
    pub(super) last_offset: Offset,
    /// `last_offset` minus the batch's base offset. Never more than `last_offset`.
    pub(super) offset_delta: u32,
    pub(super) timestamp: TimestampMs,
}

impl BatchMetadata {
    fn of(placed: &BatchHeader) -> Self {
        Self {
            last_sequence: placed.last_sequence(),
            last_offset: placed.last_offset(),
            offset_delta: placed.last_offset_delta(),
            timestamp: placed.max_timestamp(),
        }
    }

    /// Sequence of the first record; `None` for what a coordinator wrote without one.
    pub fn base_sequence(&self) -> Option<Sequence> {
        self.last_sequence.map(|last| last.wrapping_sub(self.offset_delta))
    }

    /// Sequence of the last record. Inclusive.
    pub const fn last_sequence(&self) -> Option<Sequence> {
        self.last_sequence
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        self.last_offset
            .checked_add(-i64::from(self.offset_delta))
            .expect("a batch begins at offset 0 or later")
    }

    /// Offset of the last record. Inclusive.
    pub const fn last_offset(&self) -> Offset {
        self.last_offset
    }

    /// The largest timestamp of its records.
    pub const fn timestamp(&self) -> TimestampMs {
        self.timestamp
    }

    /// Whether both stand for the same batch of one producer and epoch.
    pub(super) fn is_same_batch(&self, other: &Self) -> bool {
        let place = |batch: &Self| (batch.last_sequence, batch.last_offset, batch.offset_delta);
        place(self) == place(other)
    }
}

/// The last batches under one epoch, oldest first, without gaps between the places.
pub(super) type Window = [Option<BatchMetadata>; WINDOW_BATCHES];

/// The last batch of a window.
pub(super) fn newest(window: &Window) -> Option<&BatchMetadata> {
    window.iter().rev().flatten().next()
}

/// The state of one producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerEntry {
    pub(super) producer_epoch: ProducerEpoch,
    /// Epoch of the coordinator that ended the last transaction.
    pub(super) coordinator_epoch: Option<CoordinatorEpoch>,
    pub(super) last_timestamp: TimestampMs,
    pub(super) current_txn_first_offset: Option<Offset>,
    pub(super) window: Window,
    /// Since when the producer has been seen not to write; `None` while it has written since the
    /// last look. By the log's clock, and not on disk.
    pub(super) idle_since: Option<TimestampMs>,
}

impl ProducerEntry {
    /// A producer that has written nothing yet.
    pub(super) const fn new(producer_epoch: ProducerEpoch) -> Self {
        Self {
            producer_epoch,
            coordinator_epoch: None,
            last_timestamp: log_proto::record::NO_TIMESTAMP,
            current_txn_first_offset: None,
            window: [None; WINDOW_BATCHES],
            idle_since: None,
        }
    }

    /// Its current epoch; batches of an older one are refused.
    pub const fn producer_epoch(&self) -> ProducerEpoch {
        self.producer_epoch
    }

    /// Epoch of the coordinator that ended its last transaction here, if one did.
    pub const fn coordinator_epoch(&self) -> Option<CoordinatorEpoch> {
        self.coordinator_epoch
    }

    /// The timestamp of its last batch or end marker, as stamped.
    pub const fn last_timestamp(&self) -> TimestampMs {
        self.last_timestamp
    }

    /// Where its open transaction began here, if it has one.
    pub const fn current_txn_first_offset(&self) -> Option<Offset> {
        self.current_txn_first_offset
    }

    /// Sequence of the last record under its current epoch, if there is one.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.newest_batch()?.last_sequence
    }

    /// Its last batches under the current epoch, at most five, oldest first.
    pub fn batches(&self) -> impl Iterator<Item = &BatchMetadata> {
        self.window.iter().flatten()
    }

    pub(super) fn newest_batch(&self) -> Option<&BatchMetadata> {
        newest(&self.window)
    }

    /// The remembered batch with exactly these sequences under `epoch`.
    pub(super) fn find_batch(
        &self,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
        last_sequence: Sequence,
    ) -> Option<&BatchMetadata> {
        if epoch != self.producer_epoch {
            return None;
        }
        let wanted = (Some(base_sequence), Some(last_sequence));
        self.batches().find(|batch| (batch.base_sequence(), batch.last_sequence()) == wanted)
    }

    /// A batch of data was written. Returns the offset of the transaction that it began, if it
    /// began one.
    pub(super) fn data_written(
        &mut self,
        epoch: ProducerEpoch,
        placed: &BatchHeader,
    ) -> Option<Offset> {
        self.enter_epoch(epoch);
        self.remember(BatchMetadata::of(placed));
        self.last_timestamp = placed.max_timestamp();
        self.idle_since = None;
        if !placed.is_transactional() || self.current_txn_first_offset.is_some() {
            return None;
        }
        self.current_txn_first_offset = Some(placed.base_offset());
        self.current_txn_first_offset
    }

    /// An end marker was written. Returns where the transaction that it ended had begun, if it
    /// ended one. The window stays unless the epoch is a new one: the data may still be repeated.
    pub(super) fn marker_written(
        &mut self,
        epoch: ProducerEpoch,
        coordinator_epoch: CoordinatorEpoch,
        timestamp: TimestampMs,
    ) -> Option<Offset> {
        self.enter_epoch(epoch);
        self.coordinator_epoch = Some(coordinator_epoch);
        self.last_timestamp = timestamp;
        self.idle_since = None;
        self.current_txn_first_offset.take()
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.producer_epoch {
            self.producer_epoch = epoch;
            self.window = [None; WINDOW_BATCHES];
        }
    }

    fn remember(&mut self, batch: BatchMetadata) {
        if let Some(free) = self.window.iter_mut().find(|place| place.is_none()) {
            *free = Some(batch);
        } else {
            self.window.rotate_left(1);
            self.window[WINDOW_BATCHES - 1] = Some(batch);
        }
    }
}
