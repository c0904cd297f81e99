//! When to sync, so that writers who wait for each other's sync share one.
//!
//! Writers that keep one batch in flight each fall into two halves by themselves: while the batches
//! of one half are synced the others arrive, and the two never meet. Each sync then carries half of
//! what it could. So the next sync waits for the writers that the last one has just released, as
//! long as they may be expected to come back:
//!
//! ```text
//!   syncs      ├── a ──┤├── b c d ──┤├── a ──┤…        as it comes
//!   syncs      ├── a ──┤ · ├─ a b c d ─┤ · ├─ a b c d ─┤   gathered
//! ```
//!
//! The rule: nobody waits for a writer that is alone, nor longer than half of what a sync takes.
//! Whoever is expected and does not come is expected less and less often. A fixed delay (a setting
//! in other systems) was rejected: it is too long for one writer and too short for the next disk.

use std::time::Duration;

use crate::sync::Instant;

/// Past this many bytes a sync is worth its while, whoever may still come.
const GATHER_BELOW_BYTES: u64 = 256 << 10;

/// On a slow disk nobody's way back takes as long as a sync.
const PATIENCE_MAX: Duration = Duration::from_millis(2);

/// After so many syncs it is tried again, however often it was in vain.
const SKIPPED_MAX: u32 = 64;

/// What has to happen after an append or a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    /// A sync is due.
    Now,
    /// A sync is due after this time, unless one happens before.
    Within(Duration),
    /// Nothing: a sync is running or ordered.
    No,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is ordered.
    Idle,
    /// Waits until then for whoever is expected.
    Gathering(Instant),
    /// A sync is ordered, and has not begun.
    Ordered,
    /// Of this many appends.
    Syncing(u32),
}

/// The appends of one log on their way to a sync.
#[derive(Debug)]
pub(crate) struct Gather {
    phase: Phase,
    /// Since the last sync began.
    appends: u32,
    bytes: u64,
    /// How many appends the next sync may have, if all come back.
    expected: u32,
    /// How many more syncs do not wait.
    skip: u32,
    /// The next `skip`, were it in vain again.
    skip_next: u32,
    patience: Duration,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            appends: 0,
            bytes: 0,
            expected: 1,
            skip: 0,
            skip_next: 1,
            patience: Duration::ZERO,
        }
    }
}

impl Gather {
    /// One more append, which somebody may wait for.
    pub(crate) fn appended(&mut self, bytes: u64, now: Instant) -> Wake {
        self.appends += 1;
        self.bytes += bytes;
        match self.phase {
            Phase::Idle | Phase::Gathering(_) => self.order(now),
            Phase::Ordered | Phase::Syncing(_) => Wake::No,
        }
    }

    /// Whether a sync that was ordered for an earlier time still has something to wait for.
    pub(crate) fn waits(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Gathering(until) if now < until)
    }

    /// A sync begins, of everything appended by now.
    pub(crate) fn begun(&mut self, now: Instant) {
        if self.appends == 0 {
            return;
        }
        if matches!(self.phase, Phase::Gathering(until) if now >= until) {
            self.in_vain();
        }
        self.phase = Phase::Syncing(self.appends);
        self.appends = 0;
        self.bytes = 0;
    }

    /// It ended, well, after `took`.
    pub(crate) fn ended(&mut self, now: Instant, took: Duration) -> Wake {
        let Phase::Syncing(released) = self.phase else { return Wake::No };
        self.expected = released.saturating_add(self.appends);
        self.patience = (took / 2).min(PATIENCE_MAX);
        self.skip = self.skip.saturating_sub(1);
        self.phase = Phase::Idle;
        if self.appends == 0 { Wake::No } else { self.order(now) }
    }

    /// With at least one append waiting.
    fn order(&mut self, now: Instant) -> Wake {
        let gathered = self.appends >= self.expected;
        let waiting = matches!(self.phase, Phase::Gathering(_));
        if gathered && waiting {
            self.skip_next = 1;
        }
        if gathered || self.skip > 0 || self.bytes >= GATHER_BELOW_BYTES {
            self.phase = Phase::Ordered;
            return Wake::Now;
        }
        if waiting {
            return Wake::No;
        }
        self.phase = Phase::Gathering(now + self.patience);
        Wake::Within(self.patience)
    }

    fn in_vain(&mut self) {
        // One more, because the sync that begins now takes one off when it ends.
        self.skip = self.skip_next + 1;
        self.skip_next = (self.skip_next * 2).min(SKIPPED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(300);
    const BATCH: u64 = 16 << 10;

    /// A log, and a time that moves only when told.
    struct Rig {
        gather: Gather,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self { gather: Gather::default(), now: Instant::now() }
        }

        fn append(&mut self) -> Wake {
            self.gather.appended(BATCH, self.now)
        }

        /// A sync from beginning to end, with appends that arrive meanwhile.
        fn sync(&mut self, arriving: u32) -> Wake {
            self.gather.begun(self.now);
            for _ in 0..arriving {
                assert_eq!(self.append(), Wake::No);
            }
            self.now += SYNC;
            self.gather.ended(self.now, SYNC)
        }

        fn wait(&mut self, wake: Wake) {
            if let Wake::Within(delay) = wake {
                assert!(self.gather.waits(self.now));
                self.now += delay;
                assert!(!self.gather.waits(self.now));
            }
        }
    }

    #[test]
    fn a_single_writer_never_waits() {
        let mut rig = Rig::new();
        for _ in 0..100 {
            assert_eq!(rig.append(), Wake::Now);
            assert_eq!(rig.sync(0), Wake::No);
        }
    }

    #[test]
    fn two_halves_become_one() {
        let mut rig = Rig::new();
        assert_eq!(rig.append(), Wake::Now);
        assert_eq!(rig.sync(3), Wake::Within(SYNC / 2));
        assert_eq!(rig.append(), Wake::Now, "the one that was released is back");
        for _ in 0..100 {
            assert_eq!(rig.sync(0), Wake::No);
            let wakes = [rig.append(), rig.append(), rig.append(), rig.append()];
            assert_eq!(wakes, [Wake::Within(SYNC / 2), Wake::No, Wake::No, Wake::Now]);
        }
    }

    #[test]
    fn a_writer_that_left_is_missed_once() {
        let mut rig = Rig::new();
        rig.append();
        let wake = rig.sync(3);
        rig.wait(wake);
        assert_eq!(rig.sync(0), Wake::No);
        rig.append();
        rig.sync(0);
        for _ in 0..100 {
            let wakes = [rig.append(), rig.append(), rig.append()];
            assert!(wakes.contains(&Wake::Now), "{wakes:?}");
            rig.sync(0);
        }
    }

    #[test]
    fn writers_that_wait_for_nobody_are_hardly_ever_waited_for() {
        let mut rig = Rig::new();
        rig.append();
        let mut waits = 0;
        for _ in 0..1000 {
            let wake = rig.sync(2);
            waits += u32::from(wake != Wake::Now);
            rig.wait(wake);
        }
        assert!((3..30).contains(&waits), "waited after {waits} of 1000 syncs");
    }

    #[test]
    fn a_large_sync_waits_for_nobody() {
        let mut rig = Rig::new();
        rig.append();
        rig.gather.begun(rig.now);
        rig.gather.appended(GATHER_BELOW_BYTES, rig.now);
        assert_eq!(rig.gather.ended(rig.now, SYNC), Wake::Now);
    }

    #[test]
    fn a_slow_disk_is_not_made_slower() {
        let mut rig = Rig::new();
        rig.append();
        rig.gather.begun(rig.now);
        rig.append();
        let wake = rig.gather.ended(rig.now, Duration::from_secs(3));
        assert_eq!(wake, Wake::Within(PATIENCE_MAX));
    }

    /// As after a flush that somebody asked for, between an append and its count.
    #[test]
    fn a_sync_of_nothing_changes_nothing() {
        let mut rig = Rig::new();
        rig.append();
        rig.sync(3);
        let before = rig.gather.expected;
        rig.gather.begun(rig.now);
        rig.gather.ended(rig.now, SYNC);
        rig.gather.begun(rig.now);
        assert_eq!(rig.gather.ended(rig.now, SYNC), Wake::No);
        assert_eq!((before, rig.gather.expected), (4, 3));
    }
}
