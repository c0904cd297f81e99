//! [`Log`]: the façade. Open, append, read, flush, retire, close.
//!
//! One lock orders appends, one orders commits, and readers take neither: they work on the
//! immutable list of segments and on the offsets, which move only in [`crate::offsets`].

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use log_proto::record::CheckedBatch;
use log_proto::types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use crate::append::{Appended, Writer, WriterState, age_roll_is_due};
use crate::clock::{Clock, SystemClock};
use crate::config::{ConfigError, FlushPolicy, LogConfig};
use crate::error::{
    AppendError, Failure, FileError, FlushError, OpenError, ReadError, RetentionError,
};
use crate::flush::{Commit, Committer, Turn};
use crate::folder::Folder;
use crate::gather::{Gather, Wake};
use crate::identity::LogIdentity;
use crate::io::{Disk, Storage};
use crate::leader_epoch::LeaderEpochCache;
use crate::log_checkpoint::{LeftAs, LogCheckpoint};
use crate::offsets::{NoListener, OffsetListener, Offsets, Tail, Watermarks};
use crate::producer::{AppendOrigin, ProducerEntry, ProducerStates};
use crate::read::{Fetched, Isolation, TimestampedOffset, Way};
use crate::recovery::{self, FoundAs, RecoveryReport};
use crate::retention::Retired;
use crate::scan::Scan;
use crate::segment::{Check, IndexSums, Seal, Segment, SegmentSet};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{ArcSwap, Instant, Mutex, MutexGuard};

/// A recovery point is written at least so often while a log is written to: what a crash leaves
/// to look at is at most a second's worth, or the bytes below.
const CHECKPOINT_INTERVAL_MS: u64 = 1000;
/// Unsynced bytes at which a lazily synced log is synced whatever its policy.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// How often idle producers are looked for: it takes a look at every one.
const PRODUCER_SWEEP_INTERVAL_MS: i64 = 60_000;
/// Ticks without a read or an append after which descriptors and maps are let go of.
const IDLE_TICKS_MAX: u32 = 30;

/// How long a sync waits for descriptors before it is tried again.
const DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);

/// What [`Log::open`] needs: settings, and the components that are shared or replaced in tests.
#[derive(Clone)]
pub struct OpenLog {
    /// The log's folder; made if it is missing.
    pub folder: PathBuf,
    /// Which log it must hold.
    pub identity: LogIdentity,
    /// The term of the one who opens; not below any term that the log was written under.
    pub leader_epoch: LeaderEpoch,
    /// Its settings.
    pub config: LogConfig,
    /// The file system.
    pub storage: Arc<dyn Storage>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The threads that sync.
    pub committer: Arc<Committer>,
    /// Learns of each move of the offsets.
    pub listener: Arc<dyn OffsetListener>,
}

impl OpenLog {
    /// A log on the disk with default settings, under the first leader epoch.
    pub fn new(
        folder: impl Into<PathBuf>,
        identity: LogIdentity,
        committer: Arc<Committer>,
    ) -> Self {
        Self {
            folder: folder.into(),
            identity,
            leader_epoch: LeaderEpoch::ZERO,
            config: LogConfig::default(),
            storage: Arc::new(Disk),
            clock: Arc::new(SystemClock),
            committer,
            listener: Arc::new(NoListener),
        }
    }
}

/// What a log looks like from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogDescription {
    /// Bytes of all segments' batches.
    pub size_bytes: u64,
    /// How many segments there are, the active one included.
    pub segments: usize,
    /// Why it takes no writes, if it has failed.
    pub failure: Option<Failure>,
    /// The offsets.
    pub offsets: Offsets,
    /// The term it is open under.
    pub leader_epoch: LeaderEpoch,
}

/// One partition's log. Cheap to clone; every method takes `&self` and may block on the disk.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) folder: Folder,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: ArcSwap<LogConfig>,
    pub(crate) marks: Watermarks,
    pub(crate) segments: SegmentSet,
    pub(crate) writer: Mutex<Writer>,
    /// Apart from the writer, which may wait for the disk: whoever asks does not.
    pub(crate) epochs: Mutex<LeaderEpochCache>,
    pub(crate) flush: Flush,
    /// The log start that is durable.
    pub(crate) noted_start: Mutex<Offset>,
    committer: Arc<Committer>,
    failure: OnceLock<Failure>,
    /// Read or appended to since the last tick.
    used: AtomicBool,
    idle_ticks: AtomicU32,
}

/// A segment that no longer takes appends, with the producer state at its end.
#[derive(Clone)]
pub(crate) struct Rolled {
    pub(crate) segment: Arc<Segment>,
    /// `None` for a segment that a crash left without a seal: its snapshot was written then, or
    /// the next start replays from an older one.
    pub(crate) producers: Option<ProducerStates>,
}

/// What stands between appended and durable.
pub(crate) struct Flush {
    turn: Turn,
    gather: Mutex<Gather>,
    /// A commit is due within [`CHECKPOINT_INTERVAL_MS`] already.
    scheduled: AtomicBool,
    unsynced_bytes: AtomicU64,
    /// Rolled and not synced, in order.
    unsynced: Mutex<Vec<Rolled>>,
    /// Synced and without a seal, in order.
    unsealed: Mutex<Vec<Rolled>>,
    /// Held while syncing: one commit at a time.
    progress: Mutex<Progress>,
}

pub(crate) struct Progress {
    /// The log's end, if the folder's checkpoint says that it was stopped cleanly there.
    left_clean_at: Option<Tail>,
    checkpoint_at: TimestampMs,
    checkpointed: Tail,
    /// When a sync that could not begin is tried again, or was.
    retried_at: Option<Instant>,
}

impl Flush {
    pub(crate) fn rolled(&self, rolled: Rolled) {
        self.unsynced.lock().push(rolled);
    }

    /// Segments below `start` get no seal any more, as they are about to go. What the log knows of
    /// producers by then stays, durably, at least if the disk has room for it.
    pub(crate) fn unseal(&self, start: Offset, folder: &Folder) -> Result<(), FileError> {
        let mut unsealed = self.unsealed.lock();
        let going = unsealed.partition_point(|rolled| rolled.segment.base() < start);
        // One that ends before has a sealed one behind it, whose snapshot knows more.
        let last = unsealed[..going].last().filter(|last| last.segment.next_offset() == start);
        if let Some(producers) = last.and_then(|last| last.producers.as_ref()) {
            match recovery::write_snapshot(folder, start, producers) {
                Err(error) if error.is_disk_full() => {}
                written => written.and_then(|()| folder.sync())?,
            }
        }
        unsealed.drain(..going);
        Ok(())
    }

    /// Bytes appended since the last sync began.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes.load(Ordering::Relaxed)
    }

    /// Keeps commits out.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }
}

impl Log {
    /// Opens a log, or makes it. What a crash left is put in order first, and reported.
    pub fn open(open: OpenLog) -> Result<(Self, RecoveryReport), OpenError> {
        open.config.validate()?;
        let folder = Folder::new(open.folder, open.storage);
        open.identity.claim(&folder)?;
        let recovered = recovery::recover(&folder, open.leader_epoch, open.clock.now())?;
        let end = recovered.end;
        let marks = Watermarks::recovered(
            recovered.log_start,
            end,
            recovered.producers.first_open_offset(),
            open.config.flush,
            open.listener,
        );
        let flush = Flush {
            turn: Turn::default(),
            gather: Mutex::default(),
            scheduled: AtomicBool::new(false),
            unsynced_bytes: AtomicU64::new(0),
            unsynced: Mutex::default(),
            unsealed: Mutex::new(recovered.unsealed),
            progress: Mutex::new(Progress {
                left_clean_at: (recovered.report.found_as == FoundAs::Clean).then_some(end),
                checkpoint_at: open.clock.now(),
                checkpointed: end,
                retried_at: None,
            }),
        };
        let writer = Writer {
            active: recovered.active,
            next_offset: end.offset,
            producers: recovered.producers,
            producers_swept_at: open.clock.now(),
            state: WriterState::Open,
        };
        let inner = Inner {
            folder,
            leader_epoch: open.leader_epoch,
            clock: open.clock,
            config: ArcSwap::from_pointee(open.config),
            marks,
            segments: SegmentSet::new(recovered.segments),
            writer: Mutex::new(writer),
            epochs: Mutex::new(recovered.epochs),
            flush,
            noted_start: Mutex::new(recovered.log_start),
            committer: open.committer,
            failure: OnceLock::new(),
            used: AtomicBool::new(false),
            idle_ticks: AtomicU32::new(0),
        };
        Ok((Self { inner: Arc::new(inner) }, recovered.report))
    }

    /// Checks a batch as far as that goes without its place in the log: shape, checksum, every
    /// record, the topic's limits. Takes no lock; costs CPU in proportion to the batch.
    pub fn check(&self, bytes: Bytes) -> Result<CheckedBatch, AppendError> {
        Ok(CheckedBatch::check(bytes, &self.inner.config.load().check_limits())?)
    }

    /// Appends a batch behind all others. When this returns the batch is in the page cache, and
    /// survives the death of the process; for more, wait for [`Offsets::durable`] to pass it.
    pub fn append(
        &self,
        batch: &CheckedBatch,
        origin: AppendOrigin,
        leader_epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        self.inner.used.store(true, Ordering::Relaxed);
        self.inner.append(batch, origin, leader_epoch)
    }

    /// Reads about `bytes_max` of whole batches from the one that holds `from` on, as slices of
    /// the mapped segment: nothing is copied, and nothing is decoded.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        self.inner.used.store(true, Ordering::Relaxed);
        let way = Way { take: Segment::slice, check: Check::Headers };
        self.inner.read(from, bytes_max, isolation, way)
    }

    /// As [`Log::read`], but through a read call into memory, and with every checksum checked: for
    /// whoever looks into the bytes or copies them anyway. A bad disk answers with an error here.
    pub fn read_copied(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        self.inner.used.store(true, Ordering::Relaxed);
        let way = Way { take: Segment::copy, check: Check::Checksums };
        self.inner.read(from, bytes_max, isolation, way)
    }

    /// As [`Log::read`], with all of the slice brought into memory, and every checksum checked,
    /// before it is handed out: for whoever passes it on from a thread that must not wait for the
    /// disk, to readers who may check nothing. A bad disk answers with an error here.
    pub fn read_resident(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Fetched, ReadError> {
        self.inner.used.store(true, Ordering::Relaxed);
        let way = Way { take: Segment::resident, check: Check::Checksums };
        self.inner.read(from, bytes_max, isolation, way)
    }

    /// Goes over all that is in the log from the batch at `from` on, synced or not, and checks
    /// every byte of it. Damage is told and passed over.
    pub fn scan(&self, from: Offset) -> Scan {
        self.inner.used.store(true, Ordering::Relaxed);
        Scan::new(Arc::clone(&self.inner), from)
    }

    /// The offsets as they are now.
    pub fn offsets(&self) -> Offsets {
        self.inner.marks.offsets()
    }

    /// Blocks until everything below `offset` is synced, with whatever else was appended
    /// meanwhile.
    pub fn wait_durable(&self, offset: Offset) -> Result<Offsets, FlushError> {
        self.inner.submit();
        let offsets = self.inner.marks.wait(|now| now.durable >= offset);
        if offsets.durable >= offset {
            return Ok(offsets);
        }
        match self.inner.failure() {
            Some(failure) => Err(failure.clone().into()),
            None => Err(FlushError::Closed),
        }
    }

    /// The first record, below the high watermark, that is stamped at or after `timestamp`.
    pub fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.inner.offset_for_timestamp(timestamp)
    }

    /// The first record with the largest timestamp.
    pub fn max_timestamp(&self) -> Result<Option<TimestampedOffset>, ReadError> {
        self.inner.max_timestamp()
    }

    /// The term that the log is open under.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.inner.leader_epoch
    }

    /// The epoch that wrote at `offset`, or will; `None` below the oldest that is known.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.inner.epochs.lock().at(offset)
    }

    /// The largest epoch not above `epoch` that wrote here, and the offset that it ended before
    /// (KIP-101).
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let log_end = self.inner.marks.offsets().log_end;
        self.inner.epochs.lock().end_offset_for(epoch, log_end)
    }

    /// Deletes what age, size or [`Log::delete_records_before`] have made due.
    pub fn apply_retention(&self) -> Result<Retired, RetentionError> {
        self.inner.apply_retention()
    }

    /// Deletes every record below `offset`, which must not lie beyond the high watermark. Returns
    /// the log start, durable.
    pub fn delete_records_before(&self, offset: Offset) -> Result<Offset, RetentionError> {
        self.inner.delete_records_before(offset)
    }

    /// Housekeeping, to be called about once a second: rolls an old segment, seals rolled ones,
    /// writes the checkpoint, forgets idle producers, lets go of what an idle log holds.
    pub fn tick(&self) {
        self.inner.tick();
    }

    /// New settings, from the next append on. The folder and what lies in it stay as they are.
    pub fn reconfigure(&self, config: LogConfig) -> Result<(), ConfigError> {
        config.validate()?;
        self.inner.marks.policy_changed(config.flush);
        self.inner.config.store(Arc::new(config));
        self.inner.submit();
        Ok(())
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<LogConfig> {
        self.inner.config.load_full()
    }

    /// Syncs everything appended so far, on this thread.
    pub fn flush(&self) -> Result<Offset, FlushError> {
        let mut progress = self.inner.flush.hold();
        self.inner.sync(&mut progress)?;
        Ok(self.inner.marks.offsets().durable)
    }

    /// A clean stop: syncs, writes every derived file, trims, and notes that nothing needs a look
    /// at the next start. Later appends are refused, also if it fails. Closing twice is fine, and
    /// tells of a failure twice.
    pub fn close(&self) -> Result<(), FlushError> {
        self.inner.close()
    }

    /// Closes without care and removes the folder with all it holds. Slices that readers hold
    /// stay valid.
    pub fn delete(&self) -> Result<(), FileError> {
        self.inner.delete()
    }

    /// What the log looks like.
    pub fn describe(&self) -> LogDescription {
        LogDescription {
            size_bytes: self.inner.segments.bytes(),
            segments: self.inner.segments.all().len(),
            failure: self.inner.failure().cloned(),
            offsets: self.offsets(),
            leader_epoch: self.inner.leader_epoch,
        }
    }

    /// The producers whose sequences the log remembers.
    pub fn producers(&self) -> Vec<(ProducerId, ProducerEntry)> {
        let writer = self.inner.writer.lock();
        writer.producers.entries().map(|(id, entry)| (id, entry.clone())).collect()
    }
}

impl Inner {
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Writes stop here; the first reason stays. Whoever waits is woken.
    pub(crate) fn fail(&self, reason: String) -> Failure {
        let failure = Failure { reason };
        if self.failure.set(failure.clone()).is_ok() {
            self.marks.failed(&failure);
        }
        self.marks.stopped();
        self.failure().cloned().unwrap_or(failure)
    }

    pub(crate) fn wake_flusher(self: &Arc<Self>, config: &LogConfig, appended_bytes: u64) {
        let unsynced = self.flush.unsynced_bytes.fetch_add(appended_bytes, Ordering::Relaxed);
        let FlushPolicy::Lazy { messages, interval_ms } = config.flush else {
            let wake = self.flush.gather.lock().appended(appended_bytes, Instant::now());
            return self.wake(wake);
        };
        let offsets = self.marks.offsets();
        if offsets.log_end.distance_from(offsets.durable) >= messages
            || unsynced >= UNSYNCED_BYTES_MAX
        {
            self.submit();
        } else if !self.flush.scheduled.swap(true, Ordering::AcqRel) {
            self.submit_after(Duration::from_millis(interval_ms.min(CHECKPOINT_INTERVAL_MS)));
        }
    }

    fn wake(self: &Arc<Self>, wake: Wake) {
        match wake {
            Wake::Now => self.submit(),
            Wake::Within(delay) => self.submit_after(delay),
            Wake::No => {}
        }
    }

    fn submit_after(self: &Arc<Self>, delay: Duration) {
        let log: Arc<dyn Commit> = Arc::clone(self) as _;
        self.committer.submit_after(&log, delay);
    }

    fn submit(self: &Arc<Self>) {
        let log: Arc<dyn Commit> = Arc::clone(self) as _;
        self.committer.submit(&log);
    }

    /// Syncs everything below the present log end, oldest segment first: the durable offset never
    /// passes a byte that is not on disk.
    pub(crate) fn sync(self: &Arc<Self>, progress: &mut Progress) -> Result<(), FlushError> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone().into());
        }
        self.flush.scheduled.store(false, Ordering::Release);
        self.flush.unsynced_bytes.store(0, Ordering::Relaxed);
        // Before the end is read: an append that is counted has been published.
        let begun = Instant::now();
        self.flush.gather.lock().begun(begun);
        let target = self.marks.log_end();
        if target != self.marks.synced_tail() {
            self.sync_files(target).map_err(|error| self.unsynced(progress, error))?;
            self.marks.synced(target);
        }
        let ended = Instant::now();
        let wake = self.flush.gather.lock().ended(ended, ended - begun);
        self.wake(wake);
        if self.checkpoint_is_due(progress, target) {
            // A checkpoint that cannot be written costs time at the next start, never data.
            let _ = self.checkpoint(progress, LeftAs::Running);
        }
        Ok(())
    }

    /// A sync that failed is final. One that could not begin, because a file or the folder could not
    /// be opened, has marked nothing clean, and is tried again for those who wait for it.
    fn unsynced(self: &Arc<Self>, progress: &mut Progress, error: FileError) -> FlushError {
        if error.is_out_of_descriptors() {
            let now = Instant::now();
            // One more try for all who ask meanwhile, not one for each.
            if progress.retried_at.is_none_or(|retried_at| retried_at <= now) {
                progress.retried_at = Some(now + DESCRIPTORS_PAUSE);
                self.submit_after(DESCRIPTORS_PAUSE);
            }
            return FlushError::OutOfDescriptors(error);
        }
        self.fail(error.to_string()).into()
    }

    fn sync_files(&self, target: Tail) -> Result<(), FileError> {
        // Before the list of rolled ones: a segment that is rolled in between is in one of the two.
        let active = self.segments.active();
        let rolled: Vec<Rolled> = {
            let unsynced = self.flush.unsynced.lock();
            let due = unsynced.iter().take_while(|rolled| rolled.segment.base() <= target.segment);
            due.cloned().collect()
        };
        for rolled in &rolled {
            rolled.segment.sync()?;
        }
        if !rolled.is_empty() {
            // The names of the segments that followed, before anything in them counts.
            self.folder.sync()?;
            self.flush.unsynced.lock().drain(..rolled.len());
            self.flush.unsealed.lock().extend(rolled);
        }
        if active.base() <= target.segment { active.sync() } else { Ok(()) }
    }

    fn checkpoint_is_due(&self, progress: &Progress, target: Tail) -> bool {
        // What has not moved was noted, perhaps as left cleanly.
        if target == progress.checkpointed {
            return false;
        }
        let age = self.clock.now().since(progress.checkpoint_at);
        let old = u64::try_from(age).is_ok_and(|age| age >= CHECKPOINT_INTERVAL_MS);
        let far = target.segment != progress.checkpointed.segment
            || target.position - progress.checkpointed.position >= UNSYNCED_BYTES_MAX;
        old || far
    }

    /// Notes how far everything is synced. The active segment's indexes go first, so that they
    /// reach at least as far as the checkpoint says.
    fn checkpoint(&self, progress: &mut Progress, left_as: LeftAs) -> Result<(), ReadError> {
        let recovery_point = self.marks.synced_tail();
        let mut indexes = IndexSums::default();
        for segment in self.segments.all().iter().rev() {
            if segment.base() < recovery_point.segment {
                break;
            }
            let sums = segment.persist_indexes()?;
            if segment.base() == recovery_point.segment {
                indexes = sums;
            }
        }
        let active_since = self.writer.lock().active.since();
        let epochs = self.epochs.lock().clone();
        LogCheckpoint { left_as, recovery_point, active_since, indexes, epochs }
            .write(&self.folder)?;
        progress.left_clean_at = (left_as == LeftAs::Clean).then_some(recovery_point);
        progress.checkpoint_at = self.clock.now();
        progress.checkpointed = recovery_point;
        Ok(())
    }

    fn tick(self: &Arc<Self>) {
        if self.failure().is_some() {
            return;
        }
        let now = self.clock.now();
        let config = self.config.load();
        {
            let mut writer = self.writer.lock();
            if writer.state == WriterState::Closed {
                return;
            }
            if now.since(writer.producers_swept_at) >= PRODUCER_SWEEP_INTERVAL_MS {
                writer.producers_swept_at = now;
                writer.producers.remove_expired(now, config.producer_id_expiration_ms);
            }
            if writer.active.size() > 0 && age_roll_is_due(&writer.active, &config, now) {
                // A full disk ends up here too; the next tick tries again.
                if self.roll(&mut writer).is_ok() {
                    self.submit();
                }
            }
        }
        self.seal_rolled();
        // Where there is no room yet, the next tick tries again.
        let _ = self.note_start();
        let mut progress = self.flush.hold();
        let settled = self.marks.synced_tail();
        if self.checkpoint_is_due(&progress, settled) {
            let _ = self.checkpoint(&mut progress, LeftAs::Running);
        }
        drop(progress);
        self.release_if_idle();
    }

    /// Writes what belongs to rolled segments: producer snapshots, indexes, seals. Off the way of
    /// any ack, because a seal reads the whole segment. What fails is tried again.
    fn seal_rolled(&self) {
        let unsealed = self.flush.unsealed.lock().clone();
        for rolled in unsealed {
            if self.seal(&rolled).is_err() {
                return;
            }
            let base = rolled.segment.base();
            self.flush.unsealed.lock().retain(|other| other.segment.base() != base);
        }
    }

    fn seal(&self, rolled: &Rolled) -> Result<(), ReadError> {
        let segment = &rolled.segment;
        let retired = segment.base() < self.segments.all()[0].base();
        if retired {
            return Ok(());
        }
        if let Some(producers) = &rolled.producers {
            recovery::write_snapshot(&self.folder, segment.next_offset(), producers)?;
        }
        // A damaged segment gets no seal; verify finds it, and reads report it.
        let indexes = match segment.persist_indexes() {
            Err(ReadError::Damaged { .. }) => return Ok(()),
            persisted => persisted?,
        };
        segment.trim()?;
        match Seal::compute(segment, indexes) {
            Ok(seal) => Ok(seal.write(&self.folder, segment.base())?),
            Err(crate::segment::WalkError::File(error)) => Err(error.into()),
            Err(crate::segment::WalkError::Damaged(_)) => Ok(()),
        }
    }

    fn release_if_idle(&self) {
        if self.used.swap(false, Ordering::Relaxed) {
            self.idle_ticks.store(0, Ordering::Relaxed);
            return;
        }
        if self.idle_ticks.fetch_add(1, Ordering::Relaxed) + 1 >= IDLE_TICKS_MAX {
            // Under the writer's lock, because an append relies on the active segment's indexes.
            let _writer = self.writer.lock();
            for segment in self.segments.all().iter() {
                segment.release();
            }
        }
    }

    fn close(self: &Arc<Self>) -> Result<(), FlushError> {
        {
            let mut writer = self.writer.lock();
            if writer.state == WriterState::Closed {
                return self.failure().map_or(Ok(()), |failure| Err(failure.clone().into()));
            }
            writer.state = WriterState::Closed;
        }
        let mut progress = self.flush.hold();
        // A start that cannot be noted is told of by the next opening, and no reason not to close.
        let _ = self.note_start();
        // Nobody waits any more for what may be possible later.
        self.sync(&mut progress).inspect_err(|error| drop(self.fail(error.to_string())))?;
        // A log that was stopped cleanly and not written to since is as it should be left.
        let untouched = progress.left_clean_at == Some(self.marks.log_end());
        let closed = match if untouched { Ok(()) } else { self.leave_clean(&mut progress) } {
            // All is synced. What cannot be derived from a damaged segment is looked for again at
            // the next start, as after a crash.
            Err(ReadError::Damaged { .. }) => Ok(()),
            closed => closed,
        };
        self.marks.stopped();
        closed.map_err(|error| self.fail(error.to_string()))?;
        Ok(())
    }

    fn leave_clean(&self, progress: &mut Progress) -> Result<(), ReadError> {
        self.seal_rolled();
        {
            let mut writer = self.writer.lock();
            writer.active.trim()?;
            writer.active.segment().sync()?;
            recovery::write_snapshot(&self.folder, writer.next_offset, &writer.producers)?;
        }
        self.checkpoint(progress, LeftAs::Clean)?;
        for segment in self.segments.all().iter() {
            segment.release();
        }
        Ok(())
    }

    fn delete(&self) -> Result<(), FileError> {
        self.writer.lock().state = WriterState::Closed;
        let _commit = self.flush.hold();
        // No failure, and nobody is told of one; it ends the log all the same.
        let _ = self.failure.set(Failure { reason: "the log was deleted".to_owned() });
        self.marks.stopped();
        self.folder.remove_all()
    }
}

impl Commit for Inner {
    fn commit(self: Arc<Self>) {
        if self.flush.gather.lock().waits(Instant::now()) {
            return;
        }
        let mut progress = self.flush.hold();
        // A failure is kept by the log, and told to everyone who waits or asks.
        let _ = self.sync(&mut progress);
    }

    fn turn(&self) -> &Turn {
        &self.flush.turn
    }
}
