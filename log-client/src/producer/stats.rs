//! What became of a producer's records, in numbers.
//!
//! The rule: a failure that nobody awaited is still told, once: by the next flush, or to whoever
//! waits for one. Counters are updated once per batch.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    completion::{AppendKind, BatchMetadata},
    error::{DeliveryError, FlushError},
};

/// What became of a producer's records so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProducerStats {
    /// Acknowledged records.
    pub acknowledged: u64,
    /// Bytes of their keys, values and headers.
    pub acknowledged_bytes: u64,
    /// Of the acknowledged records, those that a retry found stored.
    pub duplicates: u64,
    /// Records that failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    acknowledged: AtomicU64,
    acknowledged_bytes: AtomicU64,
    duplicates: AtomicU64,
    failed: AtomicU64,
    /// Not yet told by a flush.
    untold: Mutex<Option<FlushError>>,
    /// Something is untold.
    fails: Notify,
}

impl Stats {
    pub(super) fn acknowledged(&self, records: u32, bytes: usize, metadata: &BatchMetadata) {
        let records = u64::from(records);
        self.acknowledged.fetch_add(records, Relaxed);
        self.acknowledged_bytes.fetch_add(bytes as u64, Relaxed);
        if metadata.kind == AppendKind::Duplicate {
            self.duplicates.fetch_add(records, Relaxed);
        }
    }

    pub(super) fn failed(&self, records: u32, error: &DeliveryError) {
        self.failed.fetch_add(u64::from(records), Relaxed);
        let mut untold = self.untold.lock();
        let told = untold.get_or_insert_with(|| FlushError { failed: 0, first: error.clone() });
        told.failed += u64::from(records);
        drop(untold);
        self.fails.notify_one();
    }

    /// Waits for a failure that is untold, and takes what has failed since this was last asked.
    pub(super) async fn failure(&self) -> FlushError {
        loop {
            // Noted before anybody waits, a failure wakes the one who does.
            match self.take_failures() {
                Err(failure) => return failure,
                Ok(()) => self.fails.notified().await,
            }
        }
    }

    /// What failed since this was last asked.
    pub(super) fn take_failures(&self) -> Result<(), FlushError> {
        self.untold.lock().take().map_or(Ok(()), Err)
    }

    pub(super) fn snapshot(&self) -> ProducerStats {
        ProducerStats {
            acknowledged: self.acknowledged.load(Relaxed),
            acknowledged_bytes: self.acknowledged_bytes.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}
