//! How much of what was written is not on the disk yet, for the whole process.
//!
//! A write into the page cache takes microseconds, until the kernel finds too much dirty and makes
//! the writer wait for the disk. The rule: while little is dirty, a write runs where it stands;
//! beyond that it goes to a thread that may block. Measuring how long the last write took would
//! notice the stall only after the network has stood still for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log_proto::types::Offset;
use parking_lot::Mutex;

/// Unsynced bytes up to which a write is expected not to wait for the disk. The kernel begins to
/// throttle writers at a share of the free memory; on the smallest machines worth running on, this
/// is well below it, and large enough that single records never leave their task.
const LOW_BYTES: u64 = 16 << 20;

/// How many appends of one log are told apart. A log that syncs after each has fewer in flight;
/// one that syncs rarely loses nothing by being coarse.
const APPENDS_APART_MAX: usize = 64;

/// The process's unsynced bytes.
#[derive(Debug, Default)]
pub struct WritePressure {
    bytes: AtomicU64,
}

impl WritePressure {
    /// Whether a write is expected not to wait for the disk.
    pub fn is_low(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < LOW_BYTES
    }
}

/// One log's share of it.
#[derive(Debug)]
pub(super) struct Unsynced {
    pressure: Arc<WritePressure>,
    /// Last offset and bytes of appends that are not synced, oldest first.
    appends: Mutex<VecDeque<(Offset, u64)>>,
}

impl Unsynced {
    pub(super) fn new(pressure: Arc<WritePressure>) -> Self {
        Self { pressure, appends: Mutex::default() }
    }

    /// Records up to `last_offset` were appended; everything below `durable` was synced by then.
    pub(super) fn appended(&self, last_offset: Offset, bytes: u64, durable: Offset) {
        let mut appends = self.appends.lock();
        self.pressure.bytes.fetch_add(bytes, Ordering::Relaxed);
        if appends.len() < APPENDS_APART_MAX {
            appends.push_back((last_offset, bytes));
        } else if let Some(last) = appends.back_mut() {
            *last = (last_offset, last.1 + bytes);
        }
        // The sync may have been quicker than this call.
        self.release(&mut appends, durable);
    }

    /// Everything below `durable` is on the disk.
    pub(super) fn synced(&self, durable: Offset) {
        self.release(&mut self.appends.lock(), durable);
    }

    /// Called about once a second: what is older than that, the kernel has begun to write back by
    /// itself. Without this, a log that is never synced would count as dirty for ever.
    pub(super) fn trust_writeback(&self) {
        self.release(&mut self.appends.lock(), Offset::MAX);
    }

    fn release(&self, appends: &mut VecDeque<(Offset, u64)>, durable: Offset) {
        while let Some((last_offset, bytes)) = appends.front()
            && *last_offset < durable
        {
            self.pressure.bytes.fetch_sub(*bytes, Ordering::Relaxed);
            appends.pop_front();
        }
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.trust_writeback();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    #[test]
    fn the_process_counts_what_is_not_synced() {
        let pressure = Arc::new(WritePressure::default());
        let (one, other) =
            (Unsynced::new(Arc::clone(&pressure)), Unsynced::new(Arc::clone(&pressure)));
        one.appended(offset(0), LOW_BYTES, Offset::ZERO);
        assert!(!pressure.is_low());
        other.appended(offset(9), 5, Offset::ZERO);
        one.synced(offset(1));
        assert_eq!(pressure.bytes.load(Ordering::Relaxed), 5);
        // Synced before it was counted.
        other.appended(offset(12), 7, offset(13));
        assert_eq!(pressure.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_log_that_never_syncs_is_counted_coarsely_and_forgotten() {
        let pressure = Arc::new(WritePressure::default());
        let lazy = Unsynced::new(Arc::clone(&pressure));
        for number in 0..1000 {
            lazy.appended(offset(number), 1, Offset::ZERO);
        }
        assert_eq!(pressure.bytes.load(Ordering::Relaxed), 1000);
        assert!(lazy.appends.lock().len() <= APPENDS_APART_MAX);
        drop(lazy);
        assert_eq!(pressure.bytes.load(Ordering::Relaxed), 0);
    }
}
