//! Group commit: the one place where appended becomes durable.
//!
//! A [`Committer`] has a few threads. A log with something to sync hands itself in once, however
//! many appends are waiting; the thread that takes it syncs everything appended by then with one
//! `fdatasync`, moves the durable offset, and whoever waited is woken. Appends that arrive
//! meanwhile form the next group: the slower the disk, the larger the groups.
//!
//! The alternatives, `syncfs` and a journal in front of the segments, were measured and set aside;
//! the decision record on commits has the figures.
//!
//! **A failed sync is final.** The kernel reports it once and may mark the pages clean all the
//! same, so that a second sync would succeed without having written anything. The log takes no
//! more writes, and what was not yet acknowledged never will be.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Instant, Mutex};

/// Something with unsynced bytes.
pub(crate) trait Commit: Send + Sync + 'static {
    /// Syncs what has been appended by now and says so to whoever waits. Failures stay with the
    /// log.
    fn commit(self: Arc<Self>);

    /// Where it stands with the committer.
    fn turn(&self) -> &Turn;
}

/// Whether a log waits for a committer's thread. At most one thread works on a log at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicU8);

impl Turn {
    const IDLE: u8 = 0;
    const QUEUED: u8 = 1;
    const RUNNING: u8 = 2;
    /// Appended to since the running commit began: goes round once more.
    const AGAIN: u8 = 3;

    /// Notes that there is work; says whether the log must be queued for it.
    fn ask(&self) -> Ask {
        let asked = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |turn| match turn {
            Self::IDLE => Some(Self::QUEUED),
            Self::RUNNING => Some(Self::AGAIN),
            _ => None,
        });
        if asked == Ok(Self::IDLE) { Ask::Queue } else { Ask::Noted }
    }

    fn begin(&self) {
        self.0.store(Self::RUNNING, Ordering::Release);
    }

    fn end(&self) -> Ask {
        let done =
            self.0.compare_exchange(Self::RUNNING, Self::IDLE, Ordering::AcqRel, Ordering::Acquire);
        if done.is_ok() {
            return Ask::Noted;
        }
        self.0.store(Self::QUEUED, Ordering::Release);
        Ask::Queue
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Queue,
    Noted,
}

/// The threads that sync. Shared by all logs of a disk.
pub struct Committer {
    queue: Mutex<Queue>,
    work: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<dyn Commit>>,
    later: BinaryHeap<Later>,
    stopping: bool,
    /// No thread is left that would commit anything.
    ended: bool,
}

/// A commit that need not happen before a time.
struct Later {
    due: Instant,
    log: Weak<dyn Commit>,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    /// The earliest is the greatest, because a heap pops that first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("waiting", &self.queue.lock().ready.len()).finish()
    }
}

impl Committer {
    /// Starts `threads` threads, at least one. How many are worth it depends on how many syncs
    /// the disk does at a time, not on the number of cores.
    pub fn start(threads: usize) -> Arc<Self> {
        let committer = Arc::new(Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            threads: Mutex::default(),
        });
        for number in 0..threads.max(1) {
            let worker = Arc::clone(&committer);
            let thread = thread::Builder::new()
                .name(format!("commit-{number}"))
                .spawn(move || worker.run())
                .expect("the operating system gives a process its first few threads");
            committer.threads.lock().push(thread);
        }
        committer
    }

    /// Commits what is queued, then ends the threads. Logs should be closed before.
    pub fn stop(&self) {
        self.queue.lock().stopping = true;
        self.work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A thread that panicked has said why on its own; there is nothing to add.
            let _ = thread.join();
        }
        let mut queue = self.queue.lock();
        queue.ended = true;
        // A log keeps its committer: kept here in turn, neither would ever be let go of.
        let left = std::mem::take(&mut queue.ready);
        drop(queue);
        drop(left);
    }

    /// Has the log committed as soon as a thread is free.
    pub(crate) fn submit(&self, log: &Arc<dyn Commit>) {
        if log.turn().ask() == Ask::Queue {
            self.enqueue(Arc::clone(log));
        }
    }

    /// Has the log committed after `delay`, unless that happened before.
    pub(crate) fn submit_after(&self, log: &Arc<dyn Commit>, delay: Duration) {
        let due = Instant::now() + delay;
        self.queue.lock().later.push(Later { due, log: Arc::downgrade(log) });
        self.work.notify_one();
    }

    fn enqueue(&self, log: Arc<dyn Commit>) {
        let mut queue = self.queue.lock();
        if queue.ended {
            return;
        }
        queue.ready.push_back(log);
        drop(queue);
        self.work.notify_one();
    }

    fn run(&self) {
        while let Some(log) = self.next() {
            log.turn().begin();
            Arc::clone(&log).commit();
            if log.turn().end() == Ask::Queue {
                self.enqueue(log);
            }
        }
    }

    /// The next log to commit; `None` when the committer has stopped and nothing is left.
    fn next(&self) -> Option<Arc<dyn Commit>> {
        let mut queue = self.queue.lock();
        loop {
            queue.collect_due(Instant::now());
            if let Some(log) = queue.ready.pop_front() {
                return Some(log);
            }
            if queue.stopping {
                return None;
            }
            match queue.later.peek().map(|later| later.due) {
                Some(due) => {
                    self.work.wait_until(&mut queue, due);
                }
                None => self.work.wait(&mut queue),
            }
        }
    }
}

impl Queue {
    fn collect_due(&mut self, now: Instant) {
        while self.later.peek().is_some_and(|later| later.due <= now) {
            let log = self.later.pop().and_then(|later| later.log.upgrade());
            if let Some(log) = log
                && log.turn().ask() == Ask::Queue
            {
                self.ready.push_back(log);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts its commits, each of which waits for a permit.
    struct Counted {
        turn: Turn,
        begun: AtomicUsize,
        permits: (Mutex<usize>, Condvar),
    }

    impl Counted {
        fn new() -> Arc<Self> {
            let permits = (Mutex::new(0), Condvar::new());
            Arc::new(Self { turn: Turn::default(), begun: AtomicUsize::new(0), permits })
        }

        fn permit(&self, count: usize) {
            *self.permits.0.lock() += count;
            self.permits.1.notify_all();
        }

        fn wait_begun(&self, count: usize) {
            while self.begun.load(Ordering::SeqCst) < count {
                std::thread::yield_now();
            }
        }
    }

    impl Commit for Counted {
        fn commit(self: Arc<Self>) {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let mut permits = self.permits.0.lock();
            while *permits == 0 {
                self.permits.1.wait(&mut permits);
            }
            *permits -= 1;
        }

        fn turn(&self) -> &Turn {
            &self.turn
        }
    }

    #[test]
    fn appends_that_arrive_during_a_commit_share_the_next_one() {
        let committer = Committer::start(2);
        let log = Counted::new();
        let dyn_log: Arc<dyn Commit> = log.clone();
        committer.submit(&dyn_log);
        log.wait_begun(1);
        for _ in 0..100 {
            committer.submit(&dyn_log);
        }
        log.permit(2);
        log.wait_begun(2);
        committer.stop();
        assert_eq!(log.begun.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_is_queued_is_committed_before_the_committer_stops() {
        let committer = Committer::start(1);
        let logs: Vec<_> = (0..10).map(|_| Counted::new()).collect();
        for log in &logs {
            log.permit(1);
            let dyn_log: Arc<dyn Commit> = log.clone();
            committer.submit(&dyn_log);
        }
        committer.stop();
        assert!(logs.iter().all(|log| log.begun.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn what_comes_after_the_end_is_not_kept() {
        let committer = Committer::start(1);
        committer.stop();
        let log = Counted::new();
        let dyn_log: Arc<dyn Commit> = log.clone();
        committer.submit(&dyn_log);
        drop(dyn_log);
        assert_eq!(Arc::strong_count(&log), 1);
    }

    #[test]
    fn a_later_commit_happens_without_another_submit() {
        let committer = Committer::start(1);
        let log = Counted::new();
        log.permit(1);
        let dyn_log: Arc<dyn Commit> = log.clone();
        committer.submit_after(&dyn_log, Duration::from_millis(1));
        log.wait_begun(1);
        committer.stop();
    }
}
