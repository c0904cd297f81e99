//! How the outcome of a batch reaches those who wait for its records.
//!
//! The rule: one shared cell per batch, whatever the number of its records. A record's future is
//! that cell and an index, so that a record costs one reference count and no allocation; a channel
//! per record would cost more than encoding it. Whoever sends the batch holds the [`Promise`],
//! which fulfils the cell exactly once, even when it is dropped.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use log_proto::{
    types::{Offset, TimestampMs},
    v1,
};
use parking_lot::Mutex;

use super::error::DeliveryError;

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the connection and no more (acks=0).
    Sent,
    /// In the operating system's page cache: survives the death of the broker's process.
    Appended,
    /// Synced to the disk: survives power loss.
    Synced,
}

impl From<v1::Durability> for Durability {
    /// What the broker does not say, it does not promise.
    fn from(wire: v1::Durability) -> Self {
        match wire {
            v1::Durability::Synced => Self::Synced,
            v1::Durability::Appended => Self::Appended,
            v1::Durability::Sent | v1::Durability::Unspecified => Self::Sent,
        }
    }
}

/// Whether an acknowledged batch had been stored by an earlier attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendKind {
    /// This attempt stored it.
    Stored,
    /// It was there already, at the same offsets; nothing was written twice.
    Duplicate,
}

/// Where an acknowledged record is, and what it survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: u32,
    /// Its place there; `None` with [`Acks::None`](super::Acks::None), which nobody answers.
    pub offset: Option<Offset>,
    /// The time that it is stored with: the producer's, or the broker's where the topic says so.
    pub timestamp: TimestampMs,
    /// What it survives at the moment of the answer.
    pub durability: Durability,
    /// Whether a retry found it stored.
    pub kind: AppendKind,
}

/// Where an acknowledged batch is, and what it survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Its partition.
    pub partition: u32,
    /// The offset of its first record, the others follow without a gap; `None` with
    /// [`Acks::None`](super::Acks::None).
    pub base_offset: Option<Offset>,
    /// The time that the broker gave all its records, on topics with
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
    /// What it survives at the moment of the answer.
    pub durability: Durability,
    /// Whether a retry found it stored.
    pub kind: AppendKind,
}

type Outcome = Result<BatchMetadata, DeliveryError>;

#[derive(Debug, Default)]
struct Completion {
    outcome: OnceLock<Outcome>,
    wakers: Mutex<Vec<Waker>>,
}

impl Completion {
    fn poll(&self, slot: &mut Option<usize>, cx: &mut Context<'_>) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut wakers = self.wakers.lock();
        // Set between the look above and the lock, it would wake nobody.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        match slot.and_then(|slot| wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    fn fulfil(&self, outcome: Outcome) {
        // The first outcome stands: only a dropped promise comes second.
        if self.outcome.set(outcome).is_ok() {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// The obligation to say what became of a batch.
#[derive(Debug, Default)]
pub(super) struct Promise {
    completion: Arc<Completion>,
}

impl Promise {
    pub(super) fn fulfil(self, outcome: Outcome) {
        self.completion.fulfil(outcome);
    }

    /// The future of the record at `index` of the batch.
    pub(super) fn delivery(&self, index: u32, timestamp: TimestampMs) -> Delivery {
        Delivery { completion: Arc::clone(&self.completion), index, timestamp, slot: None }
    }

    pub(super) fn batch_delivery(&self) -> BatchDelivery {
        BatchDelivery { completion: Arc::clone(&self.completion), slot: None }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.completion.fulfil(Err(DeliveryError::Abandoned));
    }
}

/// What becomes of one record: a future. The record is sent whether or not it is awaited; who
/// drops it learns of a failure from [`Producer::flush`](super::Producer::flush).
#[derive(Debug)]
#[must_use = "a delivery that nobody awaits hides a failure until the producer is flushed"]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    timestamp: TimestampMs,
    slot: Option<usize>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, DeliveryError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.completion.poll(&mut this.slot, cx).map(|outcome| {
            let batch = outcome.as_ref().map_err(Clone::clone)?;
            let index = i64::from(this.index);
            Ok(RecordMetadata {
                partition: batch.partition,
                offset: batch.base_offset.and_then(|base| base.checked_add(index)),
                timestamp: batch.log_append_time.unwrap_or(this.timestamp),
                durability: batch.durability,
                kind: batch.kind,
            })
        })
    }
}

/// What becomes of a batch of records: a future.
#[derive(Debug)]
#[must_use = "a delivery that nobody awaits hides a failure until the producer is flushed"]
pub struct BatchDelivery {
    completion: Arc<Completion>,
    slot: Option<usize>,
}

impl Future for BatchDelivery {
    type Output = Result<BatchMetadata, DeliveryError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.completion.poll(&mut this.slot, cx).map(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_promise_wakes_those_who_wait() {
        let promise = Promise::default();
        let delivery = tokio::spawn(promise.delivery(0, TimestampMs::new(1)));
        tokio::task::yield_now().await;
        drop(promise);
        assert!(matches!(delivery.await.unwrap(), Err(DeliveryError::Abandoned)));
    }

    #[tokio::test]
    async fn each_record_has_its_own_offset() {
        let promise = Promise::default();
        let deliveries = [0, 1, 2].map(|index| promise.delivery(index, TimestampMs::new(7)));
        promise.fulfil(Ok(BatchMetadata {
            partition: 3,
            base_offset: Offset::new(40),
            log_append_time: None,
            durability: Durability::Synced,
            kind: AppendKind::Stored,
        }));
        for (index, delivery) in deliveries.into_iter().enumerate() {
            let metadata = delivery.await.unwrap();
            assert_eq!(metadata.offset, Offset::new(40 + index as i64));
            assert_eq!(metadata.timestamp, TimestampMs::new(7));
        }
    }
}
