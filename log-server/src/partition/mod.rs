//! One partition: the one owner of one log, and where asynchronous requests meet it.
//!
//! ```text
//!   submit ──► queue ──► Log::append ──► page cache ──► Committer ──► disk
//!                │                                          │
//!             ticket ◄── appended (acks=1) ◄── view ◄───────┘ offsets moved (acks=all, readers)
//! ```
//!
//! The rule: records lie in the log in the order in which they were submitted, and whoever waits,
//! waits on the [`View`], which the log itself moves. The queue lets the log's blocking calls run
//! off the network's threads; a task per partition would do the same at the price of 10,000 idle
//! tasks and a wake-up for every append.

mod findings;
mod pressure;
mod queue;
mod room;
mod waiters;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use log_core::{
    AppendError, AppendOrigin, Appended, Committer, Failure, Fetched, Isolation, Log, LogConfig,
    LogIdentity, Offsets, OpenError, OpenLog, ReadError, RecoveryReport, TimestampedOffset,
};
use log_proto::record::CheckedBatch;
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};
use tokio::sync::{OwnedSemaphorePermit, watch};

pub use pressure::WritePressure;
pub use queue::AppendTicket;
pub use room::DiskRoom;
pub use waiters::{Acknowledged, Acks, NotCommitted, ReadWake, View};
pub(crate) use waiters::{read_end, readable};

use crate::topics::{TopicId, TopicName};
use findings::{Findings, News};
use pressure::Unsynced;
use queue::AppendQueue;

/// What every partition of a process shares.
#[derive(Clone, Debug)]
pub struct PartitionParts {
    /// The file system.
    pub storage: Arc<dyn log_core::io::Storage>,
    /// The time.
    pub clock: Arc<dyn log_core::Clock>,
    /// The threads that sync logs.
    pub committer: Arc<Committer>,
    /// How much of what was written is not on the disk yet.
    pub pressure: Arc<WritePressure>,
    /// Whether the disk has room.
    pub room: Arc<DiskRoom>,
}

/// Which partition to open, and how.
#[derive(Debug)]
pub struct OpenPartition {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id: the folder must be its own.
    pub topic_id: TopicId,
    /// Which of its partitions.
    pub number: u32,
    /// Where its files lie.
    pub folder: PathBuf,
    /// The epoch of this broker's ownership.
    pub leader_epoch: LeaderEpoch,
    /// The settings of its log.
    pub config: LogConfig,
}

/// One partition, served.
pub struct Partition {
    /// The topic's name.
    pub topic: TopicName,
    /// Which of its partitions.
    pub number: u32,
    log: Log,
    leader_epoch: LeaderEpoch,
    queue: AppendQueue,
    progress: Arc<Progress>,
    pressure: Arc<WritePressure>,
    room: Arc<DiskRoom>,
    findings: Findings,
    /// Rounds of housekeeping since the last append or read.
    idle_rounds: AtomicU32,
}

/// How many rounds of housekeeping after its last use a log is still looked at in each one.
const BUSY_ROUNDS: u32 = 60;

impl Partition {
    /// Opens the log, recovering it if it must be. Blocks on the disk.
    pub fn open(
        open: OpenPartition,
        parts: &PartitionParts,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let progress = Arc::new(Progress::new(&open.topic, open.number, &parts.pressure));
        let listener: Arc<dyn log_core::OffsetListener> = Arc::clone(&progress) as _;
        let (log, report) = Log::open(OpenLog {
            folder: open.folder,
            identity: LogIdentity { topic_id: open.topic_id.0, partition: open.number },
            leader_epoch: open.leader_epoch,
            config: open.config,
            storage: Arc::clone(&parts.storage),
            clock: Arc::clone(&parts.clock),
            committer: Arc::clone(&parts.committer),
            listener,
        })?;
        let partition = Self {
            topic: open.topic,
            number: open.number,
            log,
            leader_epoch: open.leader_epoch,
            queue: AppendQueue::default(),
            progress,
            pressure: Arc::clone(&parts.pressure),
            room: Arc::clone(&parts.room),
            findings: Findings::of_start(&report),
            idle_rounds: AtomicU32::new(0),
        };
        Ok((partition, report))
    }

    /// The log itself, for what blocks: retention, flush, close.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What was found wrong with the log, with file and position: by opening it, damage, which is
    /// left in place, and ends that were cut off; by reads since, damage. The rest of it is served.
    pub fn findings(&self) -> Vec<String> {
        self.findings.texts()
    }

    /// Whether there are any findings.
    pub fn is_damaged(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Says that something of the log is damaged, now and as long as the broker runs.
    pub(crate) fn found(&self, finding: String) {
        tracing::error!(partition = %self, finding, "damaged; the rest of it is used");
        self.findings.found(finding);
    }

    /// The epoch that it is written under.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The offsets as they are now.
    pub fn offsets(&self) -> Offsets {
        self.log.offsets()
    }

    /// Checks a batch against this topic's limits. Takes no lock, but processor time.
    pub fn check(&self, bytes: Bytes) -> Result<CheckedBatch, AppendError> {
        self.log.check(bytes)
    }

    /// Puts a batch behind all that were submitted before. Never waits; the ticket does. `memory`
    /// is given back once the batch is written.
    pub fn submit(
        self: &Arc<Self>,
        batch: CheckedBatch,
        memory: Option<OwnedSemaphorePermit>,
    ) -> AppendTicket {
        self.used();
        queue::submit(self, batch, memory)
    }

    /// Appends a batch on this thread, in whatever order its callers keep. Blocks on the disk.
    pub(crate) fn append(
        &self,
        batch: &CheckedBatch,
        origin: AppendOrigin,
    ) -> Result<Appended, AppendError> {
        let appended = self.log.append(batch, origin, self.leader_epoch);
        if let Err(AppendError::DiskFull(error)) = &appended {
            self.room.refused(error);
        }
        appended
    }

    /// Reads whole batches from `from` on, by copy. Blocks on the disk where they are not cached.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        self.used();
        self.spoken_of(self.log.read_copied(from, bytes_max, isolation))
    }

    /// As [`Partition::read`], without a copy: slices of the log that are in memory by now, for
    /// whoever sends them on as they are.
    pub fn read_resident(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        self.used();
        self.spoken_of(self.log.read_resident(from, bytes_max, isolation))
    }

    /// The first record, below the high watermark, that is stamped at or after `timestamp`. Blocks
    /// on the disk.
    pub fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.spoken_of(self.log.offset_for_timestamp(timestamp))
    }

    /// The first record with the largest timestamp. Blocks on the disk.
    pub fn max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        self.spoken_of(self.log.max_timestamp())
    }

    /// Damage that a read has met, the first time that it does.
    fn spoken_of<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match read.as_ref().err().and_then(|error| self.findings.meet(error)) {
            None => {}
            Some(News::Finding(damage)) => {
                tracing::error!(partition = %self, damage, "a read has met damage; the rest is served");
            }
            Some(News::LastFinding(damage)) => tracing::error!(
                partition = %self, damage,
                "a read has met damage again; of this partition no more will be told"
            ),
        }
        read
    }

    /// What readers and producers wait on.
    pub fn view(&self) -> watch::Receiver<View> {
        self.progress.view.subscribe()
    }

    /// Why the log takes no writes; `None` while it does.
    pub fn failure(&self) -> Option<String> {
        if !self.progress.view.borrow().offsets.stopped {
            return None;
        }
        self.log.describe().failure.map(|failure| failure.to_string())
    }

    /// Tells everyone who waits that this partition is gone for good.
    pub(crate) fn mark_deleted(&self) {
        self.progress.view.send_modify(|view| view.deleted = true);
    }

    /// Whether it is gone for good.
    pub(crate) fn is_deleted(&self) -> bool {
        self.progress.view.borrow().deleted
    }

    /// One round of housekeeping, about once a second. Blocks on the disk. Logs that nobody has
    /// used for a while are looked at once a minute, so that 10,000 of them cost nothing.
    pub(crate) fn keep_house(&self) {
        let idle = self.idle_rounds.fetch_add(1, Ordering::Relaxed);
        if idle < BUSY_ROUNDS || idle.is_multiple_of(BUSY_ROUNDS) {
            self.log.tick();
            self.progress.unsynced.trust_writeback();
        }
    }

    fn used(&self) {
        self.idle_rounds.store(0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({self})")
    }
}

/// As its folder is named.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// Hears of every move of the offsets and passes it on; says why none will follow.
#[derive(Debug)]
struct Progress {
    topic: TopicName,
    number: u32,
    view: watch::Sender<View>,
    unsynced: Unsynced,
}

impl Progress {
    fn new(topic: &TopicName, number: u32, pressure: &Arc<WritePressure>) -> Self {
        let view = watch::Sender::new(View::default());
        Self { topic: topic.clone(), number, view, unsynced: Unsynced::new(Arc::clone(pressure)) }
    }
}

impl log_core::OffsetListener for Progress {
    /// Nobody waits for the log end alone, so its moves wake nobody: under load that halves the
    /// wake-ups of every producer that waits for the sync.
    fn moved(&self, offsets: &Offsets) {
        self.view.send_if_modified(|view| {
            let unseen = Offsets { log_end: view.offsets.log_end, ..*offsets };
            let wake = unseen != view.offsets;
            view.offsets = *offsets;
            wake
        });
        self.unsynced.synced(offsets.durable);
    }

    /// Here and not in a round of housekeeping, which the same disk may hold up. The log that the
    /// line holds up takes no writes any more.
    fn failed(&self, failure: &Failure) {
        let (topic, partition, reason) = (&self.topic, self.number, &failure.reason);
        tracing::error!(
            %topic, partition, reason,
            "the log has failed: it is read, and takes no writes until the next start"
        );
    }
}
