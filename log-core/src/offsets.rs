//! The offsets of a partition: the one place where they move, and how others learn that they did.
//!
//! ```text
//!   0        log_start     last_stable     high_watermark      log_end
//!   |--deleted--|----stable----|---unstable----|--not yet synced--|
//!                               (open txns)     (EveryAppend only)
//!
//!   log_start ≤ last_stable ≤ high_watermark ≤ log_end          asserted in `Watermarks::moved`
//!   durable  ≤ log_end: everything below it has been synced
//! ```
//!
//! Under [`FlushPolicy::EveryAppend`] the high watermark is the durable offset, so that nobody
//! reads what power loss could still take back; under [`FlushPolicy::Lazy`] it is the log end.
//! Either way it only rises, also when the policy changes.
//!
//! Who waits, waits for a move: a blocked thread on [`Watermarks::wait`], anything asynchronous
//! through its [`OffsetListener`]. The log end and the first unstable offset are published
//! together: published one after the other, a read-committed reader could slip in between them
//! and see the first records of a transaction that is still open.

use std::collections::BTreeMap;

use log_proto::types::Offset;

use crate::config::FlushPolicy;
use crate::error::Failure;
use crate::sync::{Condvar, Mutex};

/// Learns that offsets moved. Called after each move, in order, while the moving thread holds the
/// offsets' lock: it must be quick and must not call back into the log.
pub trait OffsetListener: Send + Sync + 'static {
    /// The offsets as they are now.
    fn moved(&self, offsets: &Offsets);

    /// The log has failed and takes no writes any more. Called once, with the reason that is kept,
    /// before the move that shows it and before anyone who waits hears of it. The failing thread
    /// holds the log's lock for appends or the one for commits, so the same is asked as above.
    fn failed(&self, _: &Failure) {}
}

/// A listener that does not listen.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoListener;

impl OffsetListener for NoListener {
    fn moved(&self, _: &Offsets) {}
}

/// The offsets of a partition at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offsets {
    /// The first offset that a consumer may read.
    pub log_start: Offset,
    /// Exclusive end of what a read-committed consumer may see.
    pub last_stable: Offset,
    /// Exclusive end of what any consumer may see.
    pub high_watermark: Offset,
    /// The next offset to assign.
    pub log_end: Offset,
    /// Everything below has been synced, and survives power loss.
    pub durable: Offset,
    /// The log has failed or is closed: no offset but `log_start` will move any more.
    pub stopped: bool,
}

/// An offset with its place: one past a batch, or the start of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tail {
    pub(crate) offset: Offset,
    pub(crate) segment: Offset,
    pub(crate) position: u64,
}

/// A transaction that has ended, but whose end marker is not yet below the high watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndedTxn {
    pub(crate) first_offset: Offset,
    pub(crate) marker_offset: Offset,
}

/// What an append changes.
pub(crate) struct Appended {
    pub(crate) log_end: Tail,
    /// Start of the earliest transaction that is open after this append.
    pub(crate) first_open_txn: Option<Offset>,
    pub(crate) ended_txn: Option<EndedTxn>,
}

pub(crate) struct Watermarks {
    state: Mutex<State>,
    moved: Condvar,
    listener: std::sync::Arc<dyn OffsetListener>,
}

struct State {
    log_start: Offset,
    log_end: Tail,
    durable: Tail,
    high_watermark: Tail,
    first_open_txn: Option<Offset>,
    /// First offset to marker offset.
    ended_txns: BTreeMap<Offset, Offset>,
    flush: FlushPolicy,
    stopped: bool,
}

/// The offsets with the places that bound a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadBounds {
    pub(crate) offsets: Offsets,
    pub(crate) log_end: Tail,
    pub(crate) high_watermark: Tail,
}

impl Watermarks {
    /// A log whose every byte below `log_end` is durable.
    pub(crate) fn recovered(
        log_start: Offset,
        log_end: Tail,
        first_open_txn: Option<Offset>,
        flush: FlushPolicy,
        listener: std::sync::Arc<dyn OffsetListener>,
    ) -> Self {
        let state = State {
            log_start,
            log_end,
            durable: log_end,
            high_watermark: log_end,
            first_open_txn,
            ended_txns: BTreeMap::new(),
            flush,
            stopped: false,
        };
        listener.moved(&state.view());
        Self { state: Mutex::new(state), moved: Condvar::new(), listener }
    }

    pub(crate) fn offsets(&self) -> Offsets {
        self.state.lock().view()
    }

    pub(crate) fn bounds(&self) -> ReadBounds {
        let state = self.state.lock();
        ReadBounds {
            offsets: state.view(),
            log_end: state.log_end,
            high_watermark: state.high_watermark,
        }
    }

    pub(crate) fn log_end(&self) -> Tail {
        self.state.lock().log_end
    }

    /// Up to where everything has been synced.
    pub(crate) fn synced_tail(&self) -> Tail {
        self.state.lock().durable
    }

    /// Records were appended; they are in the page cache.
    pub(crate) fn appended(&self, appended: Appended) -> Offsets {
        self.moved(|state| {
            assert!(appended.log_end.offset >= state.log_end.offset, "the log end went back");
            state.log_end = appended.log_end;
            state.first_open_txn = appended.first_open_txn;
            if let Some(txn) = appended.ended_txn {
                state.ended_txns.insert(txn.first_offset, txn.marker_offset);
            }
        })
    }

    /// The log goes on in a new segment, at the same offset.
    pub(crate) fn rolled(&self, segment: Offset) -> Offsets {
        self.moved(|state| {
            assert!(segment == state.log_end.offset, "a segment begins where the log ends");
            state.log_end = Tail { offset: segment, segment, position: 0 };
        })
    }

    /// Everything below `durable` has been synced.
    pub(crate) fn synced(&self, durable: Tail) -> Offsets {
        self.moved(|state| state.durable = state.durable.max(durable))
    }

    /// Records below `log_start` are gone; it never goes back nor past the high watermark.
    pub(crate) fn start_moved(&self, log_start: Offset) -> Offsets {
        self.moved(|state| {
            state.log_start = state.log_start.max(log_start).min(state.high_watermark.offset);
        })
    }

    pub(crate) fn policy_changed(&self, flush: FlushPolicy) {
        self.moved(|state| state.flush = flush);
    }

    /// The log has failed: said to the listener alone. [`Watermarks::stopped`] follows.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.listener.failed(failure);
    }

    /// Nothing will be appended or synced any more; whoever waits is woken.
    pub(crate) fn stopped(&self) {
        self.moved(|state| state.stopped = true);
    }

    /// Blocks until `reached` holds, or the log has stopped. Returns the offsets at that moment.
    pub(crate) fn wait(&self, reached: impl Fn(&Offsets) -> bool) -> Offsets {
        let mut state = self.state.lock();
        loop {
            let view = state.view();
            if view.stopped || reached(&view) {
                return view;
            }
            self.moved.wait(&mut state);
        }
    }

    fn moved(&self, change: impl FnOnce(&mut State)) -> Offsets {
        let mut state = self.state.lock();
        change(&mut state);
        let committed = match state.flush {
            FlushPolicy::EveryAppend => state.durable,
            FlushPolicy::Lazy { .. } => state.log_end,
        };
        state.high_watermark = state.high_watermark.max(committed);
        let high_watermark = state.high_watermark.offset;
        state.ended_txns.retain(|_, marker_offset| *marker_offset >= high_watermark);
        let view = state.view();
        assert!(
            view.log_start <= view.last_stable
                && view.last_stable <= view.high_watermark
                && view.high_watermark <= view.log_end
                && view.durable <= view.log_end,
            "offsets out of order: {view:?}"
        );
        self.listener.moved(&view);
        drop(state);
        self.moved.notify_all();
        view
    }
}

impl State {
    fn view(&self) -> Offsets {
        let first_ended = self.ended_txns.keys().next().copied();
        let first_unstable = match (self.first_open_txn, first_ended) {
            (Some(open), Some(ended)) => Some(open.min(ended)),
            (open, ended) => open.or(ended),
        };
        let high_watermark = self.high_watermark.offset;
        // Retention may pass the start of an open transaction: clamped up to the log's start.
        let last_stable = first_unstable
            .map_or(high_watermark, |first| first.min(high_watermark))
            .max(self.log_start);
        Offsets {
            log_start: self.log_start,
            last_stable,
            high_watermark,
            log_end: self.log_end.offset,
            durable: self.durable.offset,
            stopped: self.stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn tail(value: i64) -> Tail {
        Tail { offset: offset(value), segment: Offset::ZERO, position: value as u64 * 100 }
    }

    fn watermarks(flush: FlushPolicy) -> Watermarks {
        Watermarks::recovered(Offset::ZERO, tail(0), None, flush, Arc::new(NoListener))
    }

    const LAZY: FlushPolicy = FlushPolicy::Lazy { messages: u64::MAX, interval_ms: u64::MAX };

    fn append(
        marks: &Watermarks,
        end: i64,
        open: Option<i64>,
        ended: Option<(i64, i64)>,
    ) -> Offsets {
        marks.appended(Appended {
            log_end: tail(end),
            first_open_txn: open.map(offset),
            ended_txn: ended.map(|(first, marker)| EndedTxn {
                first_offset: offset(first),
                marker_offset: offset(marker),
            }),
        })
    }

    #[test]
    fn readers_see_only_what_is_synced_by_default() {
        let marks = watermarks(FlushPolicy::EveryAppend);
        assert_eq!(append(&marks, 5, None, None).high_watermark, offset(0));
        assert_eq!(marks.synced(tail(3)).high_watermark, offset(3));
    }

    #[test]
    fn a_lazy_log_shows_what_is_appended_and_never_takes_it_back() {
        let marks = watermarks(LAZY);
        assert_eq!(append(&marks, 5, None, None).high_watermark, offset(5));
        marks.policy_changed(FlushPolicy::EveryAppend);
        assert_eq!(append(&marks, 6, None, None).high_watermark, offset(5));
        assert_eq!(marks.synced(tail(6)).high_watermark, offset(6));
    }

    #[test]
    fn a_transaction_is_unstable_until_its_marker_is_below_the_high_watermark() {
        let marks = watermarks(FlushPolicy::EveryAppend);
        append(&marks, 4, Some(2), None);
        assert_eq!(marks.synced(tail(4)).last_stable, offset(2));
        assert_eq!(append(&marks, 5, None, Some((2, 4))).last_stable, offset(2));
        assert_eq!(marks.synced(tail(5)).last_stable, offset(5));
    }

    #[test]
    fn the_last_stable_offset_follows_a_log_start_past_an_open_transaction() {
        let marks = watermarks(LAZY);
        append(&marks, 10, Some(2), None);
        assert_eq!(marks.start_moved(offset(6)).last_stable, offset(6));
    }

    #[test]
    fn a_waiting_thread_is_woken_when_the_log_stops() {
        let marks = Arc::new(watermarks(FlushPolicy::EveryAppend));
        let waiter = {
            let marks = Arc::clone(&marks);
            std::thread::spawn(move || marks.wait(|now| now.durable >= offset(1)))
        };
        marks.stopped();
        assert!(waiter.join().unwrap().stopped);
    }
}
