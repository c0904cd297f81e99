//! A log on a disk in memory, with a turn for the other threads before each file operation.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use shuttle::rand::RngCore;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex};

use crate::common::power::PoweredDisk;
use crate::common::{self, Data, IDENTITY, TestClock, read_through, take};
use crate::log_core::io::{Entry, File, OpenMode, Storage};
use crate::log_core::record::batches;
use crate::log_core::{
    AppendOrigin, Committer, FlushPolicy, Isolation, LeaderEpoch, Log, LogConfig, Mapping, Offset,
    OffsetListener, Offsets, OpenLog,
};

const FOLDER: &str = "/log";

/// A disk at whose operations threads take turns.
#[derive(Clone, Debug)]
struct Turns<T> {
    inner: T,
    /// Reading it is what gives the others a turn.
    turn: Arc<AtomicBool>,
}

impl<T> Turns<T> {
    fn then(&self) -> &T {
        self.turn.load(Ordering::SeqCst);
        &self.inner
    }
}

impl Storage for Turns<PoweredDisk> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.then().open(path, mode)?;
        Ok(Arc::new(Turns { inner, turn: Arc::clone(&self.turn) }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.then().create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.then().list(folder)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.then().len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.then().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.then().remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.then().remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.then().sync_folder(path)
    }
}

impl File for Turns<Arc<dyn File>> {
    fn len(&self) -> io::Result<u64> {
        self.then().len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.then().read_at(buffer, position)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.then().write_at(parts, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.then().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.then().sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        self.then().map(len)
    }
}

/// Whoever waits without blocking a thread of the log waits for one of these.
pub(crate) struct Moves {
    disk: PoweredDisk,
    pub(crate) now: Mutex<Offsets>,
    pub(crate) moved: Condvar,
}

impl Moves {
    fn of(disk: &PoweredDisk) -> Arc<Self> {
        Arc::new(Self { disk: disk.clone(), now: Mutex::default(), moved: Condvar::new() })
    }

    /// Waits until it is so, or the log has stopped.
    pub(crate) fn wait(&self, reached: impl Fn(&Offsets) -> bool) -> Offsets {
        let mut now = self.now.lock().unwrap();
        while !(now.stopped || reached(&now)) {
            now = self.moved.wait(now).unwrap();
        }
        *now
    }
}

impl OffsetListener for Moves {
    fn moved(&self, offsets: &Offsets) {
        let mut now = self.now.lock().unwrap();
        assert!(
            now.log_start <= offsets.log_start
                && now.last_stable <= offsets.last_stable
                && now.high_watermark <= offsets.high_watermark
                && now.log_end <= offsets.log_end
                && now.durable <= offsets.durable,
            "{now:?} became {offsets:?}"
        );
        if now.durable < offsets.durable {
            let synced = synced_up_to(&self.disk, offsets.log_start);
            assert!(offsets.durable <= synced, "synced up to {synced}, and not {offsets:?}");
        }
        *now = *offsets;
        self.moved.notify_all();
    }
}

/// Behind the last batch of those that follow each other without a gap on the disk, if nothing
/// survives that was not synced.
fn synced_up_to(disk: &PoweredDisk, log_start: Offset) -> Offset {
    let disk = disk.synced();
    let mut names = disk.list(Path::new(FOLDER)).expect("it works");
    names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut end = log_start;
    for name in names.iter().filter(|entry| entry.name.ends_with(".log")) {
        let path = Path::new(FOLDER).join(&name.name);
        let file = disk.open(&path, OpenMode::Read).expect("it was listed");
        let bytes = file.read_to_vec(u64::MAX).expect("it works");
        // Behind the last batch come zeros, which are none.
        for batch in batches(bytes.into()).map_while(Result::ok) {
            if batch.header().base_offset() > end {
                return end;
            }
            end = end.max(batch.header().next_offset());
        }
    }
    end
}

/// Values by offset.
pub(crate) type Records = BTreeMap<i64, String>;

/// What everybody has a hand on.
pub(crate) struct Stage {
    pub(crate) disk: PoweredDisk,
    pub(crate) moves: Arc<Moves>,
    pub(crate) log: Log,
    /// What a writer was told is durable.
    acknowledged: std::sync::Mutex<Records>,
}

/// Two or three batches make a segment.
pub(crate) fn config(flush: FlushPolicy) -> LogConfig {
    LogConfig { flush, ..common::small_segments() }
}

/// A batch of one or two records.
pub(crate) fn batch(writer: usize, number: usize) -> Data {
    common::data(format!("w{writer}n{number}"), 1 + number % 2).padded(200)
}

pub(crate) fn random() -> u64 {
    shuttle::rand::thread_rng().next_u64()
}

fn open(
    disk: &PoweredDisk,
    epoch: LeaderEpoch,
    config: LogConfig,
    committer: &Arc<Committer>,
    listener: Arc<dyn OffsetListener>,
) -> Log {
    let turns = Turns { inner: disk.clone(), turn: Arc::new(AtomicBool::new(false)) };
    let open = OpenLog {
        leader_epoch: epoch,
        config,
        storage: Arc::new(turns),
        clock: Arc::new(TestClock::default()),
        listener,
        ..OpenLog::new(FOLDER, IDENTITY, Arc::clone(committer))
    };
    Log::open(open).expect("the log opens").0
}

impl Stage {
    pub(crate) fn new(flush: FlushPolicy, committer: &Arc<Committer>) -> Arc<Self> {
        let disk = PoweredDisk::default();
        let moves = Moves::of(&disk);
        let listener = Arc::clone(&moves) as Arc<dyn OffsetListener>;
        let log = open(&disk, LeaderEpoch::ZERO, config(flush), committer, listener);
        Arc::new(Self { disk, moves, log, acknowledged: std::sync::Mutex::default() })
    }

    /// Appends a batch. Returns its records, and the offset behind them.
    pub(crate) fn append(
        &self,
        data: &Data,
    ) -> Result<(Records, Offset), crate::log_core::AppendError> {
        let batch = data.checked(&self.log);
        let appended = self.log.append(&batch, AppendOrigin::Client, LeaderEpoch::ZERO)?;
        let records = (appended.base_offset.get()..).zip(data.values()).collect();
        Ok((records, appended.last_offset.next()))
    }

    /// Waits for what was appended to be durable, and notes that somebody was told so. `None` if
    /// the log has stopped before.
    ///
    /// A blocked thread asks for a sync; whoever waits otherwise relies on the append's having
    /// done so.
    pub(crate) fn acknowledge(&self, records: Records, end: Offset) -> Option<()> {
        let offsets = match random() % 2 {
            0 => self.log.wait_durable(end).ok()?,
            _ => self.moves.wait(|now| now.durable >= end),
        };
        if offsets.durable < end {
            assert!(offsets.stopped, "{offsets:?} is not durable up to {end}");
            return None;
        }
        self.acknowledged.lock().unwrap().extend(records);
        Some(())
    }

    pub(crate) fn write(&self, writer: usize, batches: usize) {
        for number in 0..batches {
            let (records, end) = self.append(&batch(writer, number)).expect("it is taken");
            self.acknowledge(records, end).expect("it is synced");
        }
    }

    /// Reads what is to be seen, as soon as it is, until so many records have been.
    pub(crate) fn follow(&self, records: usize) -> Records {
        let (mut seen, mut next) = (Records::new(), Offset::ZERO);
        while seen.len() < records {
            self.moves.wait(|now| now.high_watermark > next);
            let fetched = self.log.read(next, 500, Isolation::HighWatermark).expect("it is there");
            assert!(!fetched.batches.is_empty(), "nothing at {next} below {:?}", fetched.offsets);
            let (found, end) = take(&fetched, next, Isolation::HighWatermark);
            seen.extend(found.into_iter().map(|seen| (seen.offset, seen.value)));
            next = end;
        }
        seen
    }

    /// What the power leaves if it fails now.
    pub(crate) fn lose_power(&self) -> Loss {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let Offsets { log_start, durable, .. } = self.log.offsets();
        Loss { acknowledged, log_start, durable, disk: self.disk.after_power_loss(random()) }
    }

    /// Everything up to the high watermark.
    pub(crate) fn records(&self) -> Records {
        records(&self.log)
    }

    pub(crate) fn acknowledged(&self) -> Records {
        self.acknowledged.lock().unwrap().clone()
    }
}

fn records(log: &Log) -> Records {
    let start = log.offsets().log_start;
    let seen = read_through(log, start, usize::MAX, Isolation::HighWatermark);
    seen.into_iter().map(|seen| (seen.offset, seen.value)).collect()
}

/// A power loss, and what was promised before it.
pub(crate) struct Loss {
    acknowledged: Records,
    log_start: Offset,
    durable: Offset,
    disk: PoweredDisk,
}

impl Loss {
    /// Opens what is left. What was durable must be in it, as it was.
    pub(crate) fn assert_harmless(&self, written: &Records) {
        let committer = Committer::start(1);
        let (epoch, flush) = (common::epoch(1), FlushPolicy::EveryAppend);
        let listener = Arc::new(crate::log_core::NoListener);
        let log = open(&self.disk, epoch, config(flush), &committer, listener);
        let found = records(&log);
        assert_eq!(log.offsets().log_start, self.log_start, "what was deleted stays deleted");
        let promised = written.range(..self.durable.get()).chain(&self.acknowledged);
        for (offset, value) in promised.filter(|(offset, _)| **offset >= self.log_start.get()) {
            let there = found.get(offset);
            assert_eq!(there, Some(value), "{offset} was durable: below {}", self.durable);
        }
        for (offset, value) in &found {
            assert_eq!(written.get(offset), Some(value), "nobody has written that at {offset}");
        }
        log.close().expect("it closes");
        committer.stop();
    }
}
