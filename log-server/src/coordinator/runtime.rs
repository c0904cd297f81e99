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
use log_core::{AppendError, AppendOrigin, Clock, Isolation, ReadError};
use log_proto::record::batches;
use log_proto::types::Offset;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{NotUnderstood, StateMachine, record, snapshot};
use crate::durable_file::DurableFileError;
use crate::partition::Partition;

/// Requests that may wait; past that, callers do.
const WAITING_MAX: usize = 1024;

/// Requests in one round, so that the first of them need not wait for ever.
const ROUND_MAX: usize = 1024;

/// Records between two snapshots, at least. A larger state is written after as many records as it
/// has itself, so that writing it costs each record the same, however large it grows.
const SNAPSHOT_RECORDS_MIN: usize = 4096;

/// Bytes between two snapshots, if that comes first: some records are large. Grows like the other.
const SNAPSHOT_BYTES_MIN: usize = 64 << 20;

/// How much of the log is read at a time while it is replayed.
const REPLAY_BYTES: usize = 1 << 20;

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

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] DurableFileError),
    /// Its log cannot be read.
    #[error("{log}: {source}")]
    Read {
        /// Which log.
        log: String,
        /// Why.
        source: ReadError,
    },
    /// Snapshot and log do not meet.
    #[error("{log} holds {log_start} to {log_end}, but the snapshot {} ends at {snapshot}: put the matching one back", file.display())]
    Gap {
        /// Which log.
        log: String,
        /// Its first offset.
        log_start: Offset,
        /// One past its last.
        log_end: Offset,
        /// The snapshot.
        file: PathBuf,
        /// The first offset that the snapshot does not know.
        snapshot: Offset,
    },
    /// A record of the log cannot be applied.
    #[error("{log}, batch at offset {offset}: {source}; a newer broker may have written it")]
    Record {
        /// Which log.
        log: String,
        /// Where.
        offset: Offset,
        /// Why.
        source: NotUnderstood,
    },
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
}

/// How much has been written.
#[derive(Clone, Copy, Default)]
struct Amount {
    records: usize,
    bytes: usize,
}

impl<S: StateMachine> Worker<S> {
    fn load(open: OpenCoordinator) -> Result<Self, LoadError> {
        let snapshot = snapshot::read::<S>(&*open.storage, &open.snapshot_file)?;
        let offsets = open.partition.offsets();
        if snapshot.next_offset < offsets.log_start || snapshot.next_offset > offsets.log_end {
            return Err(LoadError::Gap {
                log: open.partition.topic.to_string(),
                log_start: offsets.log_start,
                log_end: offsets.log_end,
                file: open.snapshot_file,
                snapshot: snapshot.next_offset,
            });
        }
        let mut worker = Self {
            open,
            state: snapshot.state,
            failed: None,
            since_snapshot: Amount::default(),
            snapshot: Amount { records: snapshot.records, bytes: snapshot.bytes },
        };
        worker.replay_from(snapshot.next_offset)?;
        Ok(worker)
    }

    fn replay_from(&mut self, mut next: Offset) -> Result<(), LoadError> {
        let log = self.open.partition.topic.to_string();
        while next < self.open.partition.offsets().log_end {
            let fetched = self.open.partition.read(next, REPLAY_BYTES, Isolation::LogEnd);
            let fetched = fetched.map_err(|source| LoadError::Read { log: log.clone(), source })?;
            let begun_at = next;
            for batch in batches(fetched.batches) {
                let at = |source| LoadError::Record { log: log.clone(), offset: next, source };
                let batch =
                    batch.map_err(|_| at(NotUnderstood { what: "its batch is not sound" }))?;
                for record in record::decode(&batch).map_err(at)? {
                    self.state.replay(record).map_err(at)?;
                    self.since_snapshot.records += 1;
                }
                self.since_snapshot.bytes += batch.bytes().len();
                next = batch.header().next_offset();
            }
            if next == begun_at {
                let source = NotUnderstood { what: "no batch is where one should be" };
                return Err(LoadError::Record { log, offset: next, source });
            }
        }
        Ok(())
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
            self.snapshot_if_due();
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
        partition.append(&batch, AppendOrigin::Coordinator).map_err(|error| match error {
            AppendError::DiskFull(reason) => {
                CoordinatorError::DiskFull { reason: reason.to_string() }
            }
            other => refused(other.to_string()),
        })?;
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
        self.open.partition.log().wait_durable(log_end).map(drop).map_err(|error| {
            let failed = CoordinatorError::Failed { reason: error.to_string() };
            self.failed.get_or_insert(failed).clone()
        })
    }

    /// A snapshot that cannot be written costs time at the next start, and room; never data.
    fn snapshot_if_due(&mut self) {
        let Amount { records, bytes } = self.since_snapshot;
        let is_due = records >= self.snapshot.records.max(SNAPSHOT_RECORDS_MIN)
            || bytes >= self.snapshot.bytes.max(SNAPSHOT_BYTES_MIN);
        if self.failed.is_some() || !is_due {
            return;
        }
        self.since_snapshot = Amount::default();
        let next_offset = self.open.partition.offsets().log_end;
        let (storage, file) = (&*self.open.storage, &self.open.snapshot_file);
        match snapshot::write(storage, file, &self.state, next_offset) {
            Ok((records, bytes)) => self.snapshot = Amount { records, bytes },
            Err(error) => return tracing::warn!(%error, "cannot write a snapshot"),
        }
        if let Err(error) = self.open.partition.log().delete_records_before(next_offset) {
            let log = &self.open.partition.topic;
            tracing::warn!(%log, %error, "cannot delete what the snapshot covers");
        }
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
