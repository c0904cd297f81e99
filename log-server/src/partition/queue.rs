//! The queue before a log: batches in the order of their arrival, drained by one at a time.
//!
//! The rule: whoever finds the queue idle drains it, right where it stands while a write is
//! expected to be quick, on a thread that may block otherwise. One record at a time is thus
//! appended without a change of thread, and a slow disk stalls no network thread. A mutex around
//! the append would keep the order as well, but would block the network's threads on each other.

use std::collections::VecDeque;
use std::sync::Arc;

use log_core::{AppendError, AppendKind, AppendOrigin, Appended};
use log_proto::record::CheckedBatch;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Partition;
use super::waiters::{Acknowledged, Acks, acknowledged};
use crate::error::ProduceError;

/// How many batches, and which size, are appended on the spot. One batch is usual; more have piled
/// up behind a slow one. Past that the caller has its own work to get back to.
const ON_THE_SPOT_BATCHES_MAX: usize = 8;
const ON_THE_SPOT_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct AppendQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Queued>,
    drainer: Drainer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Drainer {
    #[default]
    Idle,
    Busy,
    /// An append has panicked. Nothing more is taken: an invariant of the log is broken.
    Gone,
}

#[derive(Debug)]
struct Queued {
    batch: CheckedBatch,
    /// Given back once the batch is written.
    memory: Option<OwnedSemaphorePermit>,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// A batch that is on its way into the log.
#[derive(Debug)]
pub struct AppendTicket {
    partition: Arc<Partition>,
    appended: oneshot::Receiver<Result<Appended, AppendError>>,
}

impl AppendTicket {
    /// Waits for what `acks` asks for.
    pub async fn acknowledged(self, acks: Acks) -> Result<Acknowledged, ProduceError> {
        let appended = self.appended.await.map_err(|_| ProduceError::Lost)?;
        let appended = appended.map_err(|source| ProduceError::append(&self.partition, source))?;
        acknowledged(&self.partition, appended, acks).await
    }
}

pub(super) fn submit(
    partition: &Arc<Partition>,
    batch: CheckedBatch,
    memory: Option<OwnedSemaphorePermit>,
) -> AppendTicket {
    let (reply, appended) = oneshot::channel();
    let bytes = batch.bytes().len();
    let role = partition.queue.push(Queued { batch, memory, reply });
    if role == Role::Drainer {
        drain_somewhere(partition, bytes);
    }
    AppendTicket { partition: Arc::clone(partition), appended }
}

fn drain_somewhere(partition: &Arc<Partition>, bytes: usize) {
    let on_the_spot = bytes <= ON_THE_SPOT_BYTES_MAX && partition.pressure.is_low();
    if on_the_spot && drain(partition, ON_THE_SPOT_BATCHES_MAX) == Drained::Empty {
        return;
    }
    let partition = Arc::clone(partition);
    tokio::task::spawn_blocking(move || drain(&partition, usize::MAX));
}

/// What the caller of `push` has to do.
#[derive(PartialEq, Eq)]
enum Role {
    Drainer,
    Waiter,
}

#[derive(PartialEq, Eq)]
enum Drained {
    Empty,
    /// The caller is still the drainer.
    More,
}

impl AppendQueue {
    fn push(&self, queued: Queued) -> Role {
        let mut state = self.state.lock();
        match state.drainer {
            Drainer::Idle => {
                state.waiting.push_back(queued);
                state.drainer = Drainer::Busy;
                Role::Drainer
            }
            Drainer::Busy => {
                state.waiting.push_back(queued);
                Role::Waiter
            }
            // Dropping the reply tells the ticket.
            Drainer::Gone => Role::Waiter,
        }
    }

    /// The next batch; with none left, the caller stops being the drainer in the same step, so
    /// that no batch can slip in unseen.
    fn next(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.drainer = Drainer::Idle;
        }
        next
    }
}

fn drain(partition: &Partition, batches_max: usize) -> Drained {
    let _guard = Guard(&partition.queue);
    for _ in 0..batches_max {
        match partition.queue.next() {
            Some(queued) => append(partition, queued),
            None => return Drained::Empty,
        }
    }
    Drained::More
}

fn append(partition: &Partition, queued: Queued) {
    let Queued { batch, memory, reply } = queued;
    let result = partition.append(&batch, AppendOrigin::Client);
    if let Ok(appended) = &result
        && appended.kind == AppendKind::Stored
    {
        let bytes = batch.bytes().len() as u64;
        let durable = partition.log.offsets().durable;
        partition.progress.unsynced.appended(appended.last_offset, bytes, durable);
    }
    drop((batch, memory));
    // A caller that has gone away does not undo the append.
    let _ = reply.send(result);
}

/// Lets nobody wait for ever for a drainer that has panicked.
struct Guard<'a>(&'a AppendQueue);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state.lock();
            state.drainer = Drainer::Gone;
            state.waiting.clear();
        }
    }
}
