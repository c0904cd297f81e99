//! Which way a commit should go: how long it takes to make the appends of 1 to 1,000 partitions durable.
//!
//! The rule this bench keeps: variants take turns within one run, round by round, so that a neighbour's load or a
//! slow minute of the disk falls on all of them alike. Only rows of one run may be compared. Criterion was not used:
//! it measures one variant after the other, and a sync's tail (p99, max) matters here as much as its middle.
//!
//! Run with `cargo bench -p log-core --bench commit -- [--dir PATH] [--json] [--quick] [section ...]`; the sections are
//! `tiny`, `sustained`, `round`, `stall`, `beside` and `backlog`. PATH must lie on the disk to be measured; best run
//! one section at a time, a minute apart: deleted files and dirty pages of one weigh on the next.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, syncfs};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The journal is drained after this many bytes or `DRAIN_EVERY`, as the recovery point would be.
const DRAIN_BYTES: u64 = 64 * MIB;
const DRAIN_EVERY: Duration = Duration::from_secs(1);
const DRAIN_THREADS: usize = 4;
/// Twice what one drain covers, so that commits go on while the other half drains.
const JOURNAL_BYTES: u64 = 2 * DRAIN_BYTES;

fn main() -> io::Result<()> {
    let options = Options::from_args(std::env::args().skip(1))?;
    let root = tempfile::Builder::new().prefix("spike-commit-").tempdir_in(&options.dir)?;
    let mut report = Report::new(options.json);
    report.note(&format!("load before: {}", load_average()))?;
    let bench = Bench { root: root.path(), quick: options.quick };
    for (name, section) in SECTIONS {
        if options.wants(name) {
            section(&bench, &mut report)?;
        }
    }
    report.note(&format!("load after: {}", load_average()))
}

type Section = fn(&Bench<'_>, &mut Report) -> io::Result<()>;

const SECTIONS: [(&str, Section); 6] = [
    ("tiny", tiny),
    ("sustained", sustained),
    ("round", rounds),
    ("stall", stall),
    ("beside", beside),
    ("backlog", backlog),
];

struct Bench<'a> {
    root: &'a Path,
    quick: bool,
}

impl Bench<'_> {
    fn scaled(&self, count: usize) -> usize {
        if self.quick { count.div_ceil(10) } else { count }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What is measured: segments in several layouts, and ways to make them durable.

/// What lies beyond the written end of a segment's file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nothing: each append grows the file.
    Append,
    /// Blocks reserved by fallocate, the file's length included.
    Fallocate { step: u64 },
    /// Blocks reserved by fallocate, the file's length left alone.
    FallocateKeepSize { step: u64 },
    /// Zeros, written and synced before the append that needs the room goes on.
    Zeros { step: u64 },
    /// Zeros, written before the append that needs the room, and synced with it.
    ZerosUnsynced { step: u64 },
}

impl Layout {
    fn name(self) -> String {
        match self {
            Self::Append => "append".into(),
            Self::Fallocate { step } => format!("fallocate {}", bytes_name(step)),
            Self::FallocateKeepSize { step } => format!("fallocate-keep {}", bytes_name(step)),
            Self::Zeros { step } => format!("zeros {}", bytes_name(step)),
            Self::ZerosUnsynced { step } => format!("zeros-unsynced {}", bytes_name(step)),
        }
    }

    fn step(self) -> Option<u64> {
        match self {
            Self::Append => None,
            Self::Fallocate { step }
            | Self::FallocateKeepSize { step }
            | Self::Zeros { step }
            | Self::ZerosUnsynced { step } => Some(step),
        }
    }
}

struct Segment {
    file: Arc<File>,
    layout: Layout,
    end: u64,
    prepared: u64,
}

impl Segment {
    fn create(folder: &Path, layout: Layout) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("00000000000000000000.log");
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
        Ok(Self { file: Arc::new(file), layout, end: 0, prepared: 0 })
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        self.make_room(batch.len() as u64)?;
        self.file.write_all_at(batch, self.end)?;
        self.end += batch.len() as u64;
        Ok(())
    }

    fn make_room(&mut self, len: u64) -> io::Result<()> {
        match self.layout.step() {
            Some(step) if self.end + len > self.prepared => self.prepare(step),
            _ => Ok(()),
        }
    }

    fn prepare(&mut self, step: u64) -> io::Result<()> {
        match self.layout {
            Layout::Append => {}
            Layout::Fallocate { .. } => {
                fallocate(&self.file, FallocateFlags::empty(), self.prepared, step)?
            }
            Layout::FallocateKeepSize { .. } => {
                fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.prepared, step)?
            }
            Layout::ZerosUnsynced { .. } => write_zeros(&self.file, self.prepared, step)?,
            Layout::Zeros { .. } => {
                write_zeros(&self.file, self.prepared, step)?;
                self.file.sync_data()?;
            }
        }
        self.prepared += step;
        Ok(())
    }
}

fn write_zeros(file: &File, mut position: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];
    let end = position + len;
    while position < end {
        let chunk = ZEROS.len().min((end - position) as usize);
        file.write_all_at(&ZEROS[..chunk], position)?;
        position += chunk as u64;
    }
    Ok(())
}

/// One segment per partition, each in a folder of its own. Dropping it deletes the files.
struct Partitions {
    folder: PathBuf,
    segments: Vec<Segment>,
    files: Vec<Arc<File>>,
}

impl Partitions {
    fn create(root: &Path, name: &str, count: usize, layout: Layout) -> io::Result<Self> {
        let folder = root.join(name.replace(' ', "-"));
        let segments = (0..count)
            .map(|partition| Segment::create(&folder.join(format!("topic-{partition}")), layout))
            .collect::<io::Result<Vec<_>>>()?;
        let files = segments.iter().map(|segment| Arc::clone(&segment.file)).collect();
        Ok(Self { folder, segments, files })
    }

    fn append_to_each(&mut self, batch: &[u8]) -> io::Result<()> {
        self.segments.iter_mut().try_for_each(|segment| segment.append(batch))
    }

    /// Spreads the ends over one step, so that partitions do not all need room in the same round.
    fn stagger(&mut self, batch: &[u8]) -> io::Result<()> {
        let count = self.segments.len() as u64;
        for (index, segment) in self.segments.iter_mut().enumerate() {
            let Some(step) = segment.layout.step() else {
                continue;
            };
            segment.prepare(step)?;
            segment.end = step * index as u64 / count / batch.len() as u64 * batch.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // The temporary folder above goes in any case; this only frees the room earlier.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Threads that sync files handed to them; the caller waits for all.
struct SyncPool {
    shared: Arc<PoolShared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    work: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct PoolState {
    queue: VecDeque<Arc<File>>,
    outstanding: usize,
    failed: Option<io::Error>,
    stopping: bool,
}

impl SyncPool {
    fn new(threads: usize) -> Self {
        let shared = Arc::new(PoolShared::default());
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run())
        };
        Self { threads: (0..threads).map(spawn).collect(), shared }
    }

    fn sync_all(&self, files: &[Arc<File>]) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.queue.extend(files.iter().cloned());
        state.outstanding = files.len();
        for _ in 0..files.len().min(self.threads.len()) {
            self.shared.work.notify_one();
        }
        while state.outstanding > 0 {
            state = self.shared.done.wait(state).expect("no sync thread panics");
        }
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl Drop for SyncPool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl PoolShared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no sync thread panics")
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stopping {
            let Some(file) = state.queue.pop_front() else {
                state = self.work.wait(state).expect("no sync thread panics");
                continue;
            };
            drop(state);
            let synced = file.sync_data();
            state = self.lock();
            state.failed = state.failed.take().or(synced.err());
            state.outstanding -= 1;
            if state.outstanding == 0 {
                self.done.notify_one();
            }
        }
    }
}

/// How a round's appends become durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    OneByOne,
    Parallel {
        threads: usize,
    },
    Syncfs,
    /// A journal, written over zeros that were synced before, then the segments in the page cache.
    JournalOverZeros,
    /// The same with a journal that grows.
    JournalAppend,
}

impl Method {
    fn name(self) -> String {
        match self {
            Self::OneByOne => "fdatasync one by one".into(),
            Self::Parallel { threads } => format!("fdatasync x{threads}"),
            Self::Syncfs => "syncfs".into(),
            Self::JournalOverZeros => "journal over zeros".into(),
            Self::JournalAppend => "journal append".into(),
        }
    }
}

/// The batches of one round, one after the other, in one file that is used as a ring.
struct Journal {
    file: File,
    position: u64,
    gathered: Vec<u8>,
    growth: Growth,
}

#[derive(Clone, Copy)]
enum Growth {
    Ring,
    Append,
}

impl Journal {
    fn create(folder: &Path, name: &str, growth: Growth) -> io::Result<Self> {
        let path = folder.join(name);
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
        if matches!(growth, Growth::Ring) {
            write_zeros(&file, 0, JOURNAL_BYTES)?;
        }
        file.sync_all()?;
        Ok(Self { file, position: 0, gathered: Vec::new(), growth })
    }

    fn commit(&mut self, batch: &[u8], count: usize) -> io::Result<()> {
        self.gathered.clear();
        for _ in 0..count {
            self.gathered.extend_from_slice(batch);
        }
        let len = self.gathered.len() as u64;
        if matches!(self.growth, Growth::Ring) && self.position + len > JOURNAL_BYTES {
            self.position = 0;
        }
        self.file.write_all_at(&self.gathered, self.position)?;
        self.position += len;
        self.file.sync_data()
    }

    /// A journal that grows starts again from nothing once everything in it is drained.
    fn restart(&mut self) -> io::Result<()> {
        if matches!(self.growth, Growth::Append) {
            self.file.set_len(0)?;
            self.position = 0;
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Section: one commit round, every method by every layout.

const POOL_SIZES: [usize; 5] = [2, 4, 8, 16, 32];

struct Ways {
    pools: Vec<(usize, SyncPool)>,
    folder: File,
    over_zeros: Journal,
    append: Journal,
}

impl Ways {
    fn new(root: &Path, label: &str) -> io::Result<Self> {
        Ok(Self {
            pools: POOL_SIZES.map(|threads| (threads, SyncPool::new(threads))).into(),
            folder: File::open(root)?,
            over_zeros: Journal::create(root, &format!("journal-zeros-{label}"), Growth::Ring)?,
            append: Journal::create(root, &format!("journal-append-{label}"), Growth::Append)?,
        })
    }

    fn pool(&self, threads: usize) -> &SyncPool {
        let found = self.pools.iter().find(|(size, _)| *size == threads);
        &found.expect("the methods use the sizes in POOL_SIZES").1
    }

    fn round(
        &mut self,
        method: Method,
        partitions: &mut Partitions,
        batch: &[u8],
    ) -> io::Result<Times> {
        let count = partitions.segments.len();
        let started = Instant::now();
        match method {
            Method::JournalOverZeros => self.over_zeros.commit(batch, count)?,
            Method::JournalAppend => self.append.commit(batch, count)?,
            _ => {}
        }
        let journaled = started.elapsed();
        partitions.append_to_each(batch)?;
        let written = started.elapsed();
        match method {
            Method::OneByOne => partitions.files.iter().try_for_each(|file| file.sync_data())?,
            Method::Parallel { threads } => self.pool(threads).sync_all(&partitions.files)?,
            Method::Syncfs => syncfs(&self.folder)?,
            Method::JournalOverZeros | Method::JournalAppend => {}
        }
        let whole = started.elapsed();
        self.settle(method, partitions)?;
        Ok(Times { whole, sync: journaled + (whole - written) })
    }

    /// Cleans, off the clock, what a journal left dirty, so that the next method does not pay for it.
    fn settle(&mut self, method: Method, partitions: &Partitions) -> io::Result<()> {
        match method {
            Method::JournalOverZeros => self.pool(16).sync_all(&partitions.files),
            Method::JournalAppend => {
                self.pool(16).sync_all(&partitions.files)?;
                if self.append.position > DRAIN_BYTES { self.append.restart() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

struct Times {
    whole: Duration,
    sync: Duration,
}

struct Cell {
    set: usize,
    method: Method,
    whole: Samples,
    sync: Samples,
}

fn rounds(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report.heading(
        "round",
        "one commit round: append one batch to each partition, make all durable",
    )?;
    for (partitions, repeats) in [(1, 300), (16, 100), (64, 50), (128, 40), (1000, 15)] {
        for batch in [4 * KIB, 16 * KIB] {
            round_cells(bench, report, partitions, batch, bench.scaled(repeats))?;
        }
    }
    Ok(())
}

fn round_methods(set: usize) -> Vec<Method> {
    let mut methods = vec![Method::OneByOne];
    methods.extend(POOL_SIZES.map(|threads| Method::Parallel { threads }));
    methods.push(Method::Syncfs);
    // What a journal costs does not depend on the segments' layout.
    if set == 0 {
        methods.extend([Method::JournalOverZeros, Method::JournalAppend]);
    }
    methods
}

fn round_cells(
    bench: &Bench<'_>,
    report: &mut Report,
    partitions: usize,
    batch: u64,
    repeats: usize,
) -> io::Result<()> {
    // Room for every round is prepared beforehand: this section shows the round alone, `sustained` the cost of room.
    let room = (repeats as u64 * 9 * batch).next_multiple_of(MIB);
    let layouts = [
        Layout::Append,
        Layout::Fallocate { step: room },
        Layout::FallocateKeepSize { step: room },
        Layout::Zeros { step: room },
    ];
    let label = format!("{partitions}-{batch}");
    let mut ways = Ways::new(bench.root, &label)?;
    let mut sets = Vec::new();
    let mut cells = Vec::new();
    for (set, layout) in layouts.into_iter().enumerate() {
        let mut made =
            Partitions::create(bench.root, &format!("round-{label}-{set}"), partitions, layout)?;
        for segment in &mut made.segments {
            segment.make_room(1)?;
        }
        sets.push(made);
        let cell =
            |method| Cell { set, method, whole: Samples::default(), sync: Samples::default() };
        cells.extend(round_methods(set).into_iter().map(cell));
    }
    syncfs(&ways.folder)?;
    let payload = vec![0x5a; batch as usize];
    for repeat in 0..=repeats {
        for cell in &mut cells {
            let times = ways.round(cell.method, &mut sets[cell.set], &payload)?;
            // The first round pays for cold structures and the folders' entries; it is not counted.
            if repeat > 0 {
                cell.whole.push(times.whole);
                cell.sync.push(times.sync);
            }
        }
    }
    for cell in &mut cells {
        let layout = match layouts[cell.set] {
            Layout::Append => "append",
            Layout::Fallocate { .. } => "fallocate",
            Layout::FallocateKeepSize { .. } => "fallocate-keep",
            Layout::Zeros { .. } | Layout::ZerosUnsynced { .. } => "zeros",
        };
        report.row(&[
            ("partitions", partitions.to_string()),
            ("batch", bytes_name(batch)),
            ("layout", layout.into()),
            ("method", cell.method.name()),
            ("rounds/s", format!("{:.0}", cell.whole.per_second())),
            ("batches/s", format!("{:.0}", cell.whole.per_second() * partitions as f64)),
            ("p50 ms", cell.whole.ms(0.5)),
            ("p99 ms", cell.whole.ms(0.99)),
            ("sync p50 ms", cell.sync.ms(0.5)),
            ("sync p99 ms", cell.sync.ms(0.99)),
        ])?;
    }
    fs::remove_file(bench.root.join(format!("journal-zeros-{label}")))?;
    fs::remove_file(bench.root.join(format!("journal-append-{label}")))
}

// ---------------------------------------------------------------------------------------------------------------
// Section: the sustained rate, with the cost of making room and of draining a journal counted in.

struct SustainedCell {
    layout: Layout,
    method: Method,
    samples: Samples,
    elapsed: Duration,
    disk_bytes: u64,
    cpu: Duration,
}

fn sustained(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report
        .heading("sustained", "commit rounds back to back, making room and draining counted in")?;
    for partitions in [1, 16, 128, 1000] {
        for batch in [4 * KIB, 16 * KIB] {
            sustained_cells(bench, report, partitions, batch)?;
        }
    }
    Ok(())
}

fn sustained_cells(
    bench: &Bench<'_>,
    report: &mut Report,
    partitions: usize,
    batch: u64,
) -> io::Result<()> {
    let pooled = Method::Parallel { threads: 16 };
    let mut plan = vec![
        (Layout::Append, pooled),
        (Layout::Fallocate { step: 8 * MIB }, pooled),
        (Layout::Zeros { step: 256 * KIB }, pooled),
        (Layout::ZerosUnsynced { step: 256 * KIB }, pooled),
        (Layout::Zeros { step: MIB }, pooled),
    ];
    // With 1,000 partitions, 8 MiB of zeros each is 8 GB: no disk is given that for an idle topic.
    if partitions < 1000 {
        plan.push((Layout::Zeros { step: 8 * MIB }, pooled));
    }
    plan.extend([
        (Layout::Append, Method::Syncfs),
        (Layout::ZerosUnsynced { step: 256 * KIB }, Method::Syncfs),
    ]);
    plan.extend([
        (Layout::Append, Method::JournalOverZeros),
        (Layout::Append, Method::JournalAppend),
    ]);
    let new_cell = |(layout, method)| SustainedCell {
        layout,
        method,
        samples: Samples::default(),
        elapsed: Duration::ZERO,
        disk_bytes: 0,
        cpu: Duration::ZERO,
    };
    let mut cells: Vec<_> = plan.into_iter().map(new_cell).collect();
    let pool = SyncPool::new(16);
    for turn in 0..bench.scaled(3) {
        for (index, cell) in cells.iter_mut().enumerate() {
            let name = format!("sustained-{partitions}-{batch}-{turn}-{index}");
            sustain(bench, cell, &pool, &name, (partitions, batch))?;
        }
    }
    for cell in &mut cells {
        let payload = (cell.samples.len() * partitions) as u64 * batch;
        let seconds = cell.elapsed.as_secs_f64();
        report.row(&[
            ("partitions", partitions.to_string()),
            ("batch", bytes_name(batch)),
            ("layout", cell.layout.name()),
            ("method", cell.method.name()),
            ("rounds/s", format!("{:.0}", cell.samples.len() as f64 / seconds)),
            ("batches/s", format!("{:.0}", (cell.samples.len() * partitions) as f64 / seconds)),
            ("MB/s", format!("{:.1}", payload as f64 / seconds / 1e6)),
            ("p50 ms", cell.samples.ms(0.5)),
            ("p99 ms", cell.samples.ms(0.99)),
            ("max ms", cell.samples.ms(1.0)),
            (
                "cpu us/batch",
                format!(
                    "{:.0}",
                    cell.cpu.as_secs_f64() * 1e6 / (cell.samples.len() * partitions) as f64
                ),
            ),
            ("disk/payload", format!("{:.2}", cell.disk_bytes as f64 / payload as f64)),
        ])?;
    }
    Ok(())
}

fn sustain(
    bench: &Bench<'_>,
    cell: &mut SustainedCell,
    pool: &SyncPool,
    name: &str,
    (count, batch): (usize, u64),
) -> io::Result<()> {
    let duration = if bench.quick { Duration::from_millis(500) } else { Duration::from_secs(2) };
    let payload = vec![0x5a; batch as usize];
    let mut partitions = Partitions::create(bench.root, name, count, cell.layout)?;
    partitions.stagger(&payload)?;
    let growth = match cell.method {
        Method::JournalOverZeros => Some(Growth::Ring),
        Method::JournalAppend => Some(Growth::Append),
        _ => None,
    };
    let journal_name = format!("{name}-journal");
    let journal =
        growth.map(|growth| Journal::create(bench.root, &journal_name, growth)).transpose()?;
    syncfs(File::open(bench.root)?)?;
    let (disk_before, cpu_before) = (disk_bytes_written(bench.root), cpu_used());
    let started = Instant::now();
    match journal {
        Some(mut journal) => {
            sustain_journal(cell, &mut journal, &mut partitions, &payload, duration)?;
            fs::remove_file(bench.root.join(&journal_name))?;
        }
        None => {
            let folder = File::open(bench.root)?;
            while started.elapsed() < duration {
                let round = Instant::now();
                partitions.append_to_each(&payload)?;
                match cell.method {
                    Method::Syncfs => syncfs(&folder)?,
                    _ => pool.sync_all(&partitions.files)?,
                }
                cell.samples.push(round.elapsed());
            }
        }
    }
    cell.elapsed += started.elapsed();
    cell.disk_bytes += disk_bytes_written(bench.root) - disk_before;
    cell.cpu += cpu_used() - cpu_before;
    Ok(())
}

/// Commits to the journal while `DRAIN_THREADS` others drain; ends with everything drained.
fn sustain_journal(
    cell: &mut SustainedCell,
    journal: &mut Journal,
    partitions: &mut Partitions,
    payload: &[u8],
    duration: Duration,
) -> io::Result<()> {
    let started = Instant::now();
    let mut drained_at = Instant::now();
    let mut since_drain = 0;
    let mut drain: Option<JoinHandle<io::Result<()>>> = None;
    while started.elapsed() < duration {
        let round = Instant::now();
        journal.commit(payload, partitions.segments.len())?;
        partitions.append_to_each(payload)?;
        since_drain += (payload.len() * partitions.segments.len()) as u64;
        if since_drain >= DRAIN_BYTES || drained_at.elapsed() >= DRAIN_EVERY {
            // The half that is needed next must have been drained: this wait is the journal's back-pressure.
            finish(drain.take())?;
            drain = Some(spawn_drain(&partitions.files));
            (since_drain, drained_at) = (0, Instant::now());
        }
        cell.samples.push(round.elapsed());
    }
    finish(drain)?;
    finish(Some(spawn_drain(&partitions.files)))
}

fn spawn_drain(files: &[Arc<File>]) -> JoinHandle<io::Result<()>> {
    let files = files.to_vec();
    thread::spawn(move || {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for share in files.chunks(files.len().div_ceil(DRAIN_THREADS)) {
                threads.push(scope.spawn(|| share.iter().try_for_each(|file| file.sync_data())));
            }
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a helper thread returns its errors"))
        })
    })
}

fn finish(thread: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    thread.map_or(Ok(()), |thread| thread.join().expect("a helper thread returns its errors"))
}

// ---------------------------------------------------------------------------------------------------------------
// Section: one partition, tiny appends, each synced: the latency of one record at a time with acks=all.

fn tiny(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report.heading("tiny", "one partition: append, fdatasync, again; making room counted in")?;
    for batch in [200, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB] {
        tiny_cells(bench, report, batch)?;
    }
    Ok(())
}

fn tiny_cells(bench: &Bench<'_>, report: &mut Report, batch: u64) -> io::Result<()> {
    let layouts = [
        Layout::Append,
        Layout::Fallocate { step: 8 * MIB },
        Layout::FallocateKeepSize { step: 8 * MIB },
        Layout::Zeros { step: 256 * KIB },
        Layout::ZerosUnsynced { step: 256 * KIB },
        Layout::Zeros { step: MIB },
        Layout::ZerosUnsynced { step: MIB },
        Layout::Zeros { step: 8 * MIB },
    ];
    let payload = vec![0x5a; batch as usize];
    let mut sets = layouts
        .iter()
        .map(|layout| {
            Partitions::create(bench.root, &format!("tiny-{batch}-{}", layout.name()), 1, *layout)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut samples: Vec<_> = layouts.iter().map(|_| Samples::default()).collect();
    for _ in 0..bench.scaled(30) {
        for (set, samples) in sets.iter_mut().zip(&mut samples) {
            for _ in 0..(8 * MIB / batch).min(200) {
                let started = Instant::now();
                set.append_to_each(&payload)?;
                set.files[0].sync_data()?;
                samples.push(started.elapsed());
            }
        }
    }
    for (layout, samples) in layouts.iter().zip(&mut samples) {
        report.row(&[
            ("append", bytes_name(batch)),
            ("layout", layout.name()),
            ("commits/s", format!("{:.0}", samples.per_second())),
            ("MB/s", format!("{:.1}", samples.per_second() * batch as f64 / 1e6)),
            ("p50 ms", samples.ms(0.5)),
            ("p99 ms", samples.ms(0.99)),
            ("p99.9 ms", samples.ms(0.999)),
            ("max ms", samples.ms(1.0)),
        ])?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------
// Section: how long a write waits while a sync is under way.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syncing {
    Nothing,
    SameFile,
    /// Another file, to which this many bytes are appended before each sync.
    OtherFile {
        bytes: u64,
    },
    Syncfs,
}

impl Syncing {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::SameFile => "fdatasync of the same file".into(),
            Self::OtherFile { bytes } => format!("{} and fdatasync of another", bytes_name(bytes)),
            Self::Syncfs => "syncfs".into(),
        }
    }
}

fn stall(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report.heading(
        "stall",
        "duration of one write, one each 100 us, while another thread syncs without a pause",
    )?;
    for layout in
        [Layout::Append, Layout::Fallocate { step: 8 * MIB }, Layout::Zeros { step: 64 * MIB }]
    {
        for batch in [200, 16 * KIB] {
            stall_cells(bench, report, layout, batch)?;
        }
    }
    Ok(())
}

fn stall_cells(
    bench: &Bench<'_>,
    report: &mut Report,
    layout: Layout,
    batch: u64,
) -> io::Result<()> {
    let kinds = [
        Syncing::Nothing,
        Syncing::SameFile,
        Syncing::OtherFile { bytes: 4 * KIB },
        Syncing::OtherFile { bytes: 4 * MIB },
        Syncing::Syncfs,
    ];
    let mut cells: Vec<_> =
        kinds.iter().map(|kind| (*kind, Samples::default(), Samples::default())).collect();
    for turn in 0..bench.scaled(5) {
        for (index, (kind, writes, syncs)) in cells.iter_mut().enumerate() {
            let name = format!("stall-{}-{batch}-{turn}-{index}", layout.name());
            stall_once(bench, &name, (layout, *kind, batch), writes, syncs)?;
        }
    }
    for (kind, writes, syncs) in &mut cells {
        report.row(&[
            ("write", bytes_name(batch)),
            ("layout", layout.name()),
            ("meanwhile", kind.name()),
            ("write p50 us", writes.us(0.5)),
            ("p99 us", writes.us(0.99)),
            ("p99.9 us", writes.us(0.999)),
            ("max us", writes.us(1.0)),
            ("sync p50 us", syncs.us(0.5)),
            ("syncs", syncs.len().to_string()),
        ])?;
    }
    Ok(())
}

fn stall_once(
    bench: &Bench<'_>,
    name: &str,
    (layout, kind, batch): (Layout, Syncing, u64),
    writes: &mut Samples,
    syncs: &mut Samples,
) -> io::Result<()> {
    let mut set = Partitions::create(bench.root, name, 1, layout)?;
    set.segments[0].make_room(1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let syncer = spawn_syncer(&set, kind, &stop);
    let payload = vec![0x5a; batch as usize];
    let mut next = Instant::now();
    for _ in 0..2000 {
        next += Duration::from_micros(100);
        while Instant::now() < next {
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let started = Instant::now();
        set.append_to_each(&payload)?;
        writes.push(started.elapsed());
        next = next.max(Instant::now() - Duration::from_millis(1));
    }
    stop.store(true, Ordering::Relaxed);
    syncs.merge(syncer.join().expect("a helper thread returns its errors")?);
    Ok(())
}

fn spawn_syncer(
    set: &Partitions,
    kind: Syncing,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<io::Result<Samples>> {
    let (file, folder, stop) = (Arc::clone(&set.files[0]), set.folder.clone(), Arc::clone(stop));
    thread::spawn(move || {
        let mut samples = Samples::default();
        let mut other = Segment::create(&folder.join("other"), Layout::Append)?;
        let payload = match kind {
            Syncing::OtherFile { bytes } => vec![0x5a; bytes as usize],
            _ => Vec::new(),
        };
        while !stop.load(Ordering::Relaxed) {
            other.append(&payload)?;
            let started = Instant::now();
            match kind {
                Syncing::Nothing => return Ok(samples),
                Syncing::SameFile => file.sync_data()?,
                Syncing::OtherFile { .. } => other.file.sync_data()?,
                Syncing::Syncfs => syncfs(&file)?,
            }
            samples.push(started.elapsed());
        }
        Ok(samples)
    })
}

// ---------------------------------------------------------------------------------------------------------------
// Sections: a commit while somebody else works on the same file system.

#[derive(Clone, Copy)]
enum Neighbour {
    Nobody,
    /// Writes to the page cache, this many bytes a second, and never syncs.
    Writes {
        bytes_per_second: u64,
    },
    /// Writes, syncs and unlinks files of 64 MiB, as retention does with segments.
    Unlinks {
        pause: Duration,
    },
}

impl Neighbour {
    fn name(self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::Writes { bytes_per_second } => {
                format!("writes {}/s", bytes_name(bytes_per_second))
            }
            Self::Unlinks { pause } => format!("unlinks 64 MiB each {} ms", pause.as_millis()),
        }
    }
}

fn beside(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report.heading(
        "beside",
        "commit rounds of 4 KiB each while a neighbour works on the same file system",
    )?;
    let neighbours = [
        Neighbour::Nobody,
        Neighbour::Writes { bytes_per_second: 50 * MIB },
        Neighbour::Writes { bytes_per_second: 300 * MIB },
        Neighbour::Unlinks { pause: Duration::from_millis(250) },
    ];
    for partitions in [1, 128] {
        let cells = neighbours.iter().flat_map(|neighbour| {
            [Method::Parallel { threads: 16 }, Method::Syncfs]
                .map(|method| (*neighbour, method, Samples::default()))
        });
        let mut cells: Vec<_> = cells.collect();
        let mut ways = Ways::new(bench.root, &format!("beside-{partitions}"))?;
        for turn in 0..bench.scaled(3) {
            for (neighbour, method, samples) in &mut cells {
                let name = format!(
                    "beside-{partitions}-{turn}-{}-{}",
                    neighbour.name().replace('/', "-"),
                    method.name()
                );
                let mut set = Partitions::create(bench.root, &name, partitions, Layout::Append)?;
                let running = Running::start(&set.folder, *neighbour);
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(2) {
                    samples.push(ways.round(*method, &mut set, &[0x5a; 4096])?.whole);
                }
                running.stop()?;
            }
        }
        for (neighbour, method, samples) in &mut cells {
            report.row(&[
                ("partitions", partitions.to_string()),
                ("neighbour", neighbour.name()),
                ("method", method.name()),
                ("rounds/s", format!("{:.0}", samples.per_second())),
                ("p50 ms", samples.ms(0.5)),
                ("p99 ms", samples.ms(0.99)),
                ("max ms", samples.ms(1.0)),
            ])?;
        }
    }
    Ok(())
}

/// One round after a neighbour left dirty pages behind: what a commit pays for bytes that are not its own.
fn backlog(bench: &Bench<'_>, report: &mut Report) -> io::Result<()> {
    report.heading(
        "backlog",
        "one commit round of 4 KiB each, after an unrelated file was left dirty",
    )?;
    for partitions in [1, 128] {
        let mut ways = Ways::new(bench.root, &format!("backlog-{partitions}"))?;
        let mut set = Partitions::create(
            bench.root,
            &format!("backlog-set-{partitions}"),
            partitions,
            Layout::Append,
        )?;
        for dirty in [0, 256 * MIB, 1024 * MIB] {
            for method in [Method::Parallel { threads: 16 }, Method::Syncfs] {
                let mut samples = Samples::default();
                for _ in 0..bench.scaled(5) {
                    let unrelated = File::create(set.folder.join("unrelated"))?;
                    fill(&unrelated, dirty)?;
                    samples.push(ways.round(method, &mut set, &[0x5a; 4096])?.whole);
                    unrelated.sync_all()?;
                }
                report.row(&[
                    ("partitions", partitions.to_string()),
                    ("left dirty", bytes_name(dirty)),
                    ("method", method.name()),
                    ("p50 ms", samples.ms(0.5)),
                    ("max ms", samples.ms(1.0)),
                ])?;
            }
        }
    }
    Ok(())
}

fn fill(file: &File, len: u64) -> io::Result<()> {
    let chunk = vec![0xa5; MIB as usize];
    (0..len / MIB).try_for_each(|index| file.write_all_at(&chunk, index * MIB))
}

/// A neighbour at work until it is stopped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    fn start(folder: &Path, neighbour: Neighbour) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (folder.join("unrelated"), Arc::clone(&stop));
        let thread = thread::spawn(move || match neighbour {
            Neighbour::Nobody => Ok(()),
            Neighbour::Writes { bytes_per_second } => {
                write_steadily(&path, bytes_per_second, &stopped)
            }
            Neighbour::Unlinks { pause } => unlink_steadily(&path, pause, &stopped),
        });
        Self { stop, thread }
    }

    fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        finish(Some(self.thread))
    }
}

/// The file is used as a ring of 1 GiB.
fn write_steadily(path: &Path, bytes_per_second: u64, stop: &AtomicBool) -> io::Result<()> {
    let file = File::create(path)?;
    let chunk = vec![0xa5; MIB as usize];
    let started = Instant::now();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        if written as f64 >= started.elapsed().as_secs_f64() * bytes_per_second as f64 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        file.write_all_at(&chunk, written % (1024 * MIB))?;
        written += MIB;
    }
    Ok(())
}

fn unlink_steadily(path: &Path, pause: Duration, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let file = File::create(path)?;
        fill(&file, 64 * MIB)?;
        file.sync_all()?;
        drop(file);
        fs::remove_file(path)?;
        thread::sleep(pause);
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------
// Samples, the report, the command line.

#[derive(Default)]
struct Samples {
    sorted: bool,
    nanos: Vec<u64>,
}

impl Samples {
    fn push(&mut self, sample: Duration) {
        self.sorted = false;
        self.nanos.push(sample.as_nanos() as u64);
    }

    fn merge(&mut self, other: Self) {
        self.sorted = false;
        self.nanos.extend(other.nanos);
    }

    fn len(&self) -> usize {
        self.nanos.len()
    }

    /// The mean rate: it carries the tail, as the medians do not.
    fn per_second(&self) -> f64 {
        self.nanos.len() as f64 * 1e9 / self.nanos.iter().sum::<u64>().max(1) as f64
    }

    fn nanos_at(&mut self, quantile: f64) -> f64 {
        if !self.sorted {
            self.nanos.sort_unstable();
            self.sorted = true;
        }
        let last = self.nanos.len().saturating_sub(1);
        let rank = (last as f64 * quantile).round() as usize;
        self.nanos.get(rank).map_or(f64::NAN, |nanos| *nanos as f64)
    }

    fn ms(&mut self, quantile: f64) -> String {
        format!("{:.3}", self.nanos_at(quantile) / 1e6)
    }

    fn us(&mut self, quantile: f64) -> String {
        format!("{:.1}", self.nanos_at(quantile) / 1e3)
    }
}

struct Report {
    json: bool,
    section: &'static str,
    columns: Vec<&'static str>,
}

impl Report {
    fn new(json: bool) -> Self {
        Self { json, section: "", columns: Vec::new() }
    }

    fn note(&self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(io::stdout().lock(), "{text}") }
    }

    fn heading(&mut self, section: &'static str, text: &str) -> io::Result<()> {
        self.section = section;
        self.columns.clear();
        self.note(&format!("\n## {section}: {text} (load {})\n", load_average()))
    }

    fn row(&mut self, cells: &[(&'static str, String)]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let fields: Vec<_> =
                cells.iter().map(|(name, value)| json_field(name, value)).collect();
            return writeln!(out, "{{\"section\":\"{}\",{}}}", self.section, fields.join(","));
        }
        let columns: Vec<_> = cells.iter().map(|(name, _)| *name).collect();
        if columns != self.columns {
            let rules = vec!["---"; columns.len()].join(" | ");
            writeln!(out, "| {} |\n| {rules} |", columns.join(" | "))?;
            self.columns = columns;
        }
        let values: Vec<_> = cells.iter().map(|(_, value)| value.as_str()).collect();
        writeln!(out, "| {} |", values.join(" | "))?;
        out.flush()
    }
}

fn json_field(name: &str, value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => format!("\"{name}\":{value}"),
        _ => format!("\"{name}\":\"{value}\""),
    }
}

struct Options {
    dir: PathBuf,
    json: bool,
    quick: bool,
    sections: Vec<String>,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> io::Result<Self> {
        let default_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let mut options =
            Self { dir: default_dir, json: false, quick: false, sections: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--dir" => {
                    options.dir = args.next().ok_or_else(|| invalid("--dir needs a path"))?.into()
                }
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                // Cargo passes this to every bench.
                "--bench" => {}
                section if SECTIONS.iter().any(|(name, _)| *name == section) => {
                    options.sections.push(arg)
                }
                other => {
                    return Err(invalid(&format!(
                        "unknown argument {other}: name a section or an option"
                    )));
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|wanted| wanted == section)
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn bytes_name(bytes: u64) -> String {
    match bytes {
        _ if bytes >= MIB => format!("{} MiB", bytes / MIB),
        _ if bytes >= KIB => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} B"),
    }
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// User and system time of this process, in the kernel's ticks of 10 ms; the kernel's own threads are not in it.
fn cpu_used() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// What the disk under `path` has taken since boot, others' writes included; 0 where the system does not say.
fn disk_bytes_written(path: &Path) -> u64 {
    let device = rustix::fs::stat(path).map_or(0, |stat| stat.st_dev);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text =
        fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap_or_default();
    let sectors = text.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok());
    sectors.unwrap_or(0) * 512
}
