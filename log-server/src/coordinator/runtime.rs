//! The runtime of a coordinator: one thread that owns the state and its log.
//!
//! It takes all requests that are waiting as one round: decides them one behind the other, each
//! upon the state that the ones before have left; appends and replays each one's records at once;
//! waits until the last of them is on the disk; and only then releases every reply of the round,
//! refusals too, because they may rest on a record that a crash could still take back. While it
//! waits the next round gathers, so the cost of a sync is shared by whoever comes. Queries are
//! answered at the beginning of a round, when everything in the state is durable.
//!
//! Whoever has decided something elsewhere, and must keep its order, first takes a [`Place`] in the
//! queue; the request that it then puts there neither waits nor is overtaken.
//!
//! The rule: nobody is told anything that a crash could undo. A state behind a lock would be
//! simpler, and would show readers what is not yet on the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use log_core::io::Storage;
use log_core::{AppendError, AppendOrigin, Clock};
use log_proto::types::Offset;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::rebuild::{LoadError, Rebuilt, rebuild};
use super::snapshot::{Amount, SnapshotFiles};
use super::{StateMachine, record};
use crate::partition::Partition;

/// Requests that may wait; past that, callers do.
const WAITING_MAX: usize = 1024;

/// Requests in one round, so that the first of them need not wait for ever.
const ROUND_MAX: usize = 1024;

/// Bytes between two snapshots, if that comes first: some records are large. Grows like the other.
const SNAPSHOT_BYTES_MIN: usize = 64 << 20;

/// Why a coordinator did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// The disk is full; nothing was changed.
    #[error("the disk is full, nothing was changed: free some room ({reason})")]
    DiskFull {
        /// What the log said.
        reason: String,
    },
    /// The log does not take the records; nothing was changed.
    #[error("nothing was changed: {reason}")]
    Refused {
        /// What the log said.
        reason: String,
    },
    /// The records are in the log, but not surely on the disk: a restart will tell.
    #[error("the outcome is not known until the broker has restarted: {reason}")]
    Failed {
        /// The first thing that failed.
        reason: String,
    },
    /// The coordinator has stopped.
    #[error("the broker is shutting down: try again once it is back")]
    Stopped,
}

/// Why a request changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WriteError<E> {
    /// The state does not allow it.
    Refused(E),
    /// The log did not take it.
    Coordinator(CoordinatorError),
}

/// What a coordinator is made of.
pub(crate) struct OpenCoordinator {
    /// Its log.
    pub(crate) partition: Arc<Partition>,
    /// Where its snapshot is.
    pub(crate) snapshot_file: PathBuf,
    /// The file system.
    pub(crate) storage: Arc<dyn Storage>,
    /// The time that its records are stamped with.
    pub(crate) clock: Arc<dyn Clock>,
    /// Records between two snapshots, at least. A larger state is written after as many records as
    /// it has itself, so that writing it costs each record the same, however large it grows.
    pub(crate) snapshot_records_min: usize,
}

/// A request on its way: what the thread sees of it.
trait Command<S: StateMachine>: Send {
    /// Decides upon the state. The reply stays inside.
    fn decide(&mut self, state: &S) -> Vec<S::Record>;

    /// Releases the reply, or says why there is none.
    fn release(self: Box<Self>, outcome: Result<(), CoordinatorError>);
}

/// Asks the state, or is told why there is none to ask.
type Query<S> = Box<dyn FnOnce(Result<&S, CoordinatorError>) + Send>;

enum Message<S: StateMachine> {
    Write(Box<dyn Command<S>>),
    Query(Query<S>),
}

/// A running coordinator. Stops its thread when it is dropped.
pub(crate) struct Coordinator<S: StateMachine> {
    messages: Mutex<Option<mpsc::Sender<Message<S>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: StateMachine> Coordinator<S> {
    /// Rebuilds the state and starts to serve. `publish` sees the state as it is now, and after
    /// each round, when it is durable. Blocks on the disk.
    pub(crate) fn start(
        open: OpenCoordinator,
        mut publish: impl FnMut(&S) + Send + 'static,
    ) -> Result<Self, LoadError> {
        let worker = Worker::<S>::load(open)?;
        publish(&worker.state);
        let (messages, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name(worker.open.partition.topic.to_string())
            .spawn(move || worker.run(waiting, publish))
            .expect("the operating system gives a process its first few threads");
        Ok(Self { messages: Mutex::new(Some(messages)), thread: Mutex::new(Some(thread)) })
    }

    /// Decides upon the state; the reply comes when its records are durable.
    pub(crate) async fn write<T, E>(
        &self,
        decide: impl FnOnce(&S) -> Result<(Vec<S::Record>, T), E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let place = self.reserve().await.map_err(WriteError::Coordinator)?;
        let (reply, answer) = oneshot::channel();
        // A caller that has gone away needs no answer.
        place.write(decide, move |outcome| drop(reply.send(outcome)));
        answer.await.unwrap_or(Err(WriteError::Coordinator(CoordinatorError::Stopped)))
    }

    /// Waits for room in the queue.
    pub(crate) async fn reserve(&self) -> Result<Place<S>, CoordinatorError> {
        let messages = self.messages.lock().clone().ok_or(CoordinatorError::Stopped)?;
        let permit = messages.reserve_owned().await.map_err(|_| CoordinatorError::Stopped)?;
        Ok(Place { permit })
    }

    /// Asks the durable state.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Result<T, CoordinatorError> {
        let (reply, answer) = oneshot::channel();
        let query = move |state: Result<&S, CoordinatorError>| {
            // A caller that has gone away needs no answer.
            let _ = reply.send(state.map(ask));
        };
        self.reserve().await?.permit.send(Message::Query(Box::new(query)));
        answer.await.unwrap_or(Err(CoordinatorError::Stopped))
    }

    /// Serves what is waiting, then ends the thread. Later requests are refused. Blocks.
    pub(crate) fn stop(&self) {
        drop(self.messages.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // A thread that panicked has said why on its own; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl<S: StateMachine> Drop for Coordinator<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A place in the queue of a coordinator.
pub(crate) struct Place<S: StateMachine> {
    permit: mpsc::OwnedPermit<Message<S>>,
}

impl<S: StateMachine> Place<S> {
    /// Puts a request there: behind all that were put before, and before all that will be. `told`
    /// hears how it ended, whatever happens, on a thread that must not be kept waiting.
    pub(crate) fn write<T, E>(
        self,
        decide: impl FnOnce(&S) -> Result<(Vec<S::Record>, T), E> + Send + 'static,
        told: impl FnOnce(Result<T, WriteError<E>>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        let told = Told(Some(Box::new(told)));
        let request = Request { decide: Some(decide), decided: None, told };
        self.permit.send(Message::Write(Box::new(request)));
    }
}

type Tell<T, E> = Box<dyn FnOnce(Result<T, WriteError<E>>) + Send>;

/// Somebody who is told exactly once: that the coordinator has stopped, if nothing else.
struct Told<T, E>(Option<Tell<T, E>>);

impl<T, E> Told<T, E> {
    fn tell(mut self, outcome: Result<T, WriteError<E>>) {
        if let Some(tell) = self.0.take() {
            tell(outcome);
        }
    }
}

impl<T, E> Drop for Told<T, E> {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(WriteError::Coordinator(CoordinatorError::Stopped)));
        }
    }
}

struct Request<F, T, E> {
    decide: Option<F>,
    decided: Option<Result<T, E>>,
    told: Told<T, E>,
}

impl<S, F, T, E> Command<S> for Request<F, T, E>
where
    S: StateMachine,
    F: FnOnce(&S) -> Result<(Vec<S::Record>, T), E> + Send,
    T: Send,
    E: Send,
{
    fn decide(&mut self, state: &S) -> Vec<S::Record> {
        let decide = self.decide.take().expect("a request is decided once");
        let (records, decided) = match decide(state) {
            Ok((records, reply)) => (records, Ok(reply)),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        self.decided = Some(decided);
        records
    }

    fn release(self: Box<Self>, outcome: Result<(), CoordinatorError>) {
        let answer = match (outcome, self.decided) {
            (Ok(()), Some(decided)) => decided.map_err(WriteError::Refused),
            (Ok(()), None) => Err(WriteError::Coordinator(CoordinatorError::Stopped)),
            (Err(error), _) => Err(WriteError::Coordinator(error)),
        };
        self.told.tell(answer);
    }
}

/// What the thread owns.
struct Worker<S> {
    open: OpenCoordinator,
    state: S,
    /// Why nothing is decided any more: the state is ahead of what is surely on the disk.
    failed: Option<CoordinatorError>,
    since_snapshot: Amount,
    snapshot: Amount,
    snapshots: SnapshotFiles,
}

impl<S: StateMachine> Worker<S> {
    fn load(open: OpenCoordinator) -> Result<Self, LoadError> {
        let Rebuilt { state, files, snapshot, replayed } = rebuild(&open)?;
        let (failed, since_snapshot) = (None, replayed);
        Ok(Self { open, state, failed, since_snapshot, snapshot, snapshots: files })
    }

    fn run(mut self, mut waiting: mpsc::Receiver<Message<S>>, mut publish: impl FnMut(&S)) {
        while let Some(first) = waiting.blocking_recv() {
            let mut round = vec![first];
            while round.len() < ROUND_MAX
                && let Ok(next) = waiting.try_recv()
            {
                round.push(next);
            }
            self.round(round, &mut publish);
            if self.snapshot_is_due() {
                self.write_snapshot();
            }
        }
        // So that after a clean stop the log alone is not all there is.
        if self.since_snapshot.records > 0 {
            self.write_snapshot();
        }
    }

    fn round(&mut self, round: Vec<Message<S>>, publish: &mut impl FnMut(&S)) {
        let mut commands = Vec::with_capacity(round.len());
        for message in round {
            match message {
                Message::Write(command) => commands.push(command),
                Message::Query(query) => query(self.failed.clone().map_or(Ok(&self.state), Err)),
            }
        }
        let before = self.open.partition.offsets().log_end;
        let decided: Vec<_> =
            commands.into_iter().filter_map(|command| self.decide(command)).collect();
        let outcome = self.wait_durable(before);
        if outcome.is_ok() && !decided.is_empty() {
            publish(&self.state);
        }
        for command in decided {
            command.release(outcome.clone());
        }
    }

    /// Decides one request and appends its records. Gives it back if its reply must wait for the
    /// round to be durable; otherwise it has been answered.
    fn decide(&mut self, mut command: Box<dyn Command<S>>) -> Option<Box<dyn Command<S>>> {
        if let Some(failed) = &self.failed {
            command.release(Err(failed.clone()));
            return None;
        }
        let records = command.decide(&self.state);
        match self.append(records) {
            Ok(()) => Some(command),
            Err(error) => {
                command.release(Err(error));
                None
            }
        }
    }

    /// Appends the records as one batch and applies them. After an error the state is as before.
    fn append(&mut self, records: Vec<S::Record>) -> Result<(), CoordinatorError> {
        if records.is_empty() {
            return Ok(());
        }
        let refused = |reason: String| CoordinatorError::Refused { reason };
        let bytes = record::encode(&records, self.open.clock.now())
            .map_err(|error| refused(error.to_string()))?;
        let partition = &self.open.partition;
        let batch = partition.check(bytes).map_err(|error| refused(error.to_string()))?;
        if let Err(error) = partition.append(&batch, AppendOrigin::Coordinator) {
            return Err(match error {
                AppendError::DiskFull(full) => {
                    CoordinatorError::DiskFull { reason: full.to_string() }
                }
                // Of a write that failed, all may be there at the next start.
                AppendError::Failed(failure) => self.fail(failure.to_string()),
                other => refused(other.to_string()),
            });
        }
        self.since_snapshot.records += records.len();
        self.since_snapshot.bytes += batch.bytes().len();
        for record in records {
            self.state.replay(record).expect("a decision makes records that it understands");
        }
        Ok(())
    }

    fn wait_durable(&mut self, before: Offset) -> Result<(), CoordinatorError> {
        let log_end = self.open.partition.offsets().log_end;
        if log_end == before {
            return Ok(());
        }
        let waited = self.open.partition.log().wait_durable(log_end);
        waited.map(drop).map_err(|error| self.fail(error.to_string()))
    }

    /// Nothing is decided from here on. The first reason stays.
    fn fail(&mut self, reason: String) -> CoordinatorError {
        self.failed.get_or_insert(CoordinatorError::Failed { reason }).clone()
    }

    fn snapshot_is_due(&self) -> bool {
        let Amount { records, bytes } = self.since_snapshot;
        records >= self.snapshot.records.max(self.open.snapshot_records_min)
            || bytes >= self.snapshot.bytes.max(SNAPSHOT_BYTES_MIN)
    }

    /// A snapshot that cannot be written costs time at the next start, and room; never data.
    fn write_snapshot(&mut self) {
        if self.failed.is_some() {
            return;
        }
        self.since_snapshot = Amount::default();
        let next_offset = self.open.partition.offsets().log_end;
        match self.snapshots.write(&*self.open.storage, &self.state, next_offset) {
            Ok(amount) => self.snapshot = amount,
            Err(error) => return tracing::warn!(%error, "cannot write a snapshot"),
        }
        self.delete_covered();
    }

    /// Deletes what no snapshot needs any more, once it is much.
    fn delete_covered(&self) {
        let log = self.open.partition.log();
        let Some(covered) = self.snapshots.covered() else { return };
        let records = covered.get().saturating_sub(log.offsets().log_start.get());
        let much = self.open.snapshot_records_min;
        let is_much = usize::try_from(records).is_ok_and(|records| records >= much)
            || records > 0 && log.describe().size_bytes >= SNAPSHOT_BYTES_MIN as u64;
        if is_much && let Err(error) = log.delete_records_before(covered) {
            let log = &self.open.partition.topic;
            tracing::warn!(%log, %error, "cannot delete what the snapshots cover");
        }
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
