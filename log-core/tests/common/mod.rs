//! What the tests of the log share: folders that outlive a log, batches with records that can be
//! told apart, and a reader that takes nothing on trust.
//!
//! The rule: helpers set up and read back; what must be true is said in the tests. The reader is
//! the exception. It checks on every read what holds for each of them: whole, sound batches, dense
//! offsets, nothing beyond the end that its isolation allows.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod model;
pub mod power;
pub mod storage;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use log_core::io::{Disk, Storage};
use log_core::record::{
    BatchBuilder, BatchOptions, CheckedBatch, Compression, EndTxnKind, EndTxnMarker, RecordBatch,
    Transactional, batches, end_txn_marker,
};
use log_core::{
    AppendError, AppendOrigin, Appended, Clock, Committer, CoordinatorEpoch, Fetched, FlushPolicy,
    Isolation, LeaderEpoch, Log, LogConfig, LogIdentity, Offset, OpenError, OpenLog, Producer,
    ProducerEpoch, ProducerId, RecoveryReport, Sequence, TimestampMs,
};
use tempfile::TempDir;

/// The time at which tests begin.
pub const NOW: i64 = 1_700_000_000_000;

pub const IDENTITY: LogIdentity =
    LogIdentity { topic_id: uuid::Uuid::from_u128(0xca12), partition: 3 };

/// Syncs only when it is told to.
pub const LAZY: FlushPolicy = FlushPolicy::Lazy { messages: u64::MAX, interval_ms: u64::MAX };

pub fn offset(value: i64) -> Offset {
    Offset::new(value).expect("tests name offsets that exist")
}

pub fn at(value: i64) -> TimestampMs {
    TimestampMs::new(value)
}

pub fn epoch(value: i32) -> LeaderEpoch {
    LeaderEpoch::new(value).expect("tests name epochs that exist")
}

pub fn producer(id: i64, epoch: i16) -> Producer {
    Producer {
        id: ProducerId::new(id).expect("tests name producers that exist"),
        epoch: ProducerEpoch::new(epoch).expect("tests name epochs that exist"),
    }
}

/// A clock that the test moves.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(NOW))
    }
}

impl TestClock {
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> TimestampMs {
        at(self.0.load(Ordering::SeqCst))
    }
}

/// A folder with what it takes to open its log, again and again.
pub struct Home {
    root: TempDir,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<TestClock>,
    pub config: LogConfig,
    pub epoch: LeaderEpoch,
}

impl Home {
    pub fn new() -> Self {
        Self::with(LogConfig::default())
    }

    pub fn with(config: LogConfig) -> Self {
        Self {
            root: root(),
            storage: Arc::new(Disk),
            clock: Arc::default(),
            config,
            epoch: LeaderEpoch::ZERO,
        }
    }

    /// Small segments, densely indexed, so that a few batches make several of them.
    pub fn small() -> Self {
        Self::with(small_segments())
    }

    pub fn folder(&self) -> PathBuf {
        self.root.path().join("log-3")
    }

    /// The same log in a folder of its own, as it lies on the disk now.
    pub fn copy(&self) -> Self {
        let copy = Self { epoch: self.epoch, ..Self::with(self.config.clone()) };
        copy.clock.advance(self.clock.now().since(at(NOW)));
        std::fs::create_dir(copy.folder()).expect("a folder for the copy");
        for name in self.names() {
            let (from, to) = (self.folder().join(&name), copy.folder().join(&name));
            std::fs::copy(from, to).expect("the log's files can be copied");
        }
        copy
    }

    /// Makes the folder hold these files and no others.
    pub fn restore(&self, contents: &Contents) {
        std::fs::create_dir_all(self.folder()).expect("a folder for the log");
        for name in self.names() {
            self.remove(&name);
        }
        for (name, bytes) in contents {
            self.put(name, bytes);
        }
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).expect("the log's folder is there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort_unstable();
        names
    }

    pub fn names_with(&self, suffix: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(suffix)).collect()
    }

    pub fn bytes_of(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(name)).expect("the file is there")
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder().join(name), bytes).expect("the file can be written");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder().join(name)).expect("the file is there");
    }

    /// The last log file's name.
    pub fn last_log(&self) -> String {
        self.names_with(".log").pop().expect("a log has a file")
    }

    pub fn try_open(&self) -> Result<Opened, OpenError> {
        let committer = Committer::start(1);
        let open = OpenLog {
            leader_epoch: self.epoch,
            config: self.config.clone(),
            storage: Arc::clone(&self.storage),
            clock: Arc::clone(&self.clock) as _,
            ..OpenLog::new(self.folder(), IDENTITY, Arc::clone(&committer))
        };
        match Log::open(open) {
            Ok((log, report)) => Ok(Opened { log, report, committer }),
            Err(error) => {
                committer.stop();
                Err(error)
            }
        }
    }

    pub fn open(&self) -> Opened {
        self.try_open().expect("the log opens")
    }

    /// Open, but nothing is synced except by [`Log::flush`].
    pub fn open_unsynced(&self) -> Opened {
        let opened = self.open();
        opened.committer.stop();
        opened
    }
}

/// A folder in memory where there is one, because these tests sync a lot.
pub fn root() -> TempDir {
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    root.expect("a folder for the test")
}

pub fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1024, index_interval_bytes: 0, ..LogConfig::default() }
}

/// An open log.
pub struct Opened {
    log: Log,
    pub report: RecoveryReport,
    committer: Arc<Committer>,
}

impl Deref for Opened {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Opened {
    /// A clean stop.
    pub fn stop(self) {
        self.log.close().expect("the log closes");
        self.committer.stop();
    }

    /// The process dies: nothing more is written, and the page cache stays.
    pub fn crash(self) {
        drop(self.log);
        self.committer.stop();
    }

    pub fn put(&self, data: &Data) -> Appended {
        self.try_put(data).expect("the batch is taken")
    }

    pub fn try_put(&self, data: &Data) -> Result<Appended, AppendError> {
        let batch = self.log.check(data.bytes())?;
        self.log.append(&batch, AppendOrigin::Client, self.log.leader_epoch())
    }

    /// As [`Opened::put`], and then on disk.
    pub fn put_durable(&self, data: &Data) -> Appended {
        let appended = self.put(data);
        self.log.wait_durable(appended.last_offset.next()).expect("the batch is synced");
        appended
    }

    pub fn put_all(&self, batches: &[Data]) {
        for batch in batches {
            self.put_durable(batch);
        }
    }

    pub fn end_txn(&self, producer: Producer, kind: EndTxnKind) -> Appended {
        let coordinator_epoch = CoordinatorEpoch::new(0).unwrap();
        let marker = EndTxnMarker { kind, coordinator_epoch };
        let marker = end_txn_marker(producer, marker, at(NOW));
        let marker = self.log.check(marker).expect("the marker is sound");
        self.log
            .append(&marker, AppendOrigin::Coordinator, self.log.leader_epoch())
            .expect("the marker is taken")
    }

    /// Everything that a reader of this isolation can see, read `bytes_max` at a time.
    pub fn see(&self, bytes_max: usize, isolation: Isolation) -> Vec<Seen> {
        read_through(&self.log, self.log.offsets().log_start, bytes_max, isolation)
    }

    /// Everything from `from` up to the high watermark.
    pub fn see_from(&self, from: Offset) -> Vec<Seen> {
        read_through(&self.log, from, usize::MAX, Isolation::HighWatermark)
    }

    /// Values up to the high watermark, aborted or not.
    pub fn values(&self) -> Vec<String> {
        values(&self.see(usize::MAX, Isolation::HighWatermark))
    }

    /// Values that a read-committed consumer ends up with.
    pub fn committed(&self) -> Vec<String> {
        values(&self.see(usize::MAX, Isolation::LastStable))
    }
}

/// A record as a consumer gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub value: String,
}

pub fn values(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| seen.value.clone()).collect()
}

/// Reads from `from` to the end that `isolation` allows, as a consumer does: drops what lies
/// before `from`, control batches, and with [`Isolation::LastStable`] what was aborted.
pub fn read_through(log: &Log, from: Offset, bytes_max: usize, isolation: Isolation) -> Vec<Seen> {
    let mut next = from;
    let mut seen = Vec::new();
    loop {
        let fetched = log.read(next, bytes_max, isolation).expect("what is there can be read");
        if fetched.batches.is_empty() {
            return seen;
        }
        let (found, end) = take(&fetched, next, isolation);
        seen.extend(found);
        next = end;
    }
}

/// The records of one fetch, and the offset behind its last batch.
pub fn take(fetched: &Fetched, from: Offset, isolation: Isolation) -> (Vec<Seen>, Offset) {
    let end = match isolation {
        Isolation::LogEnd => fetched.offsets.log_end,
        Isolation::HighWatermark => fetched.offsets.high_watermark,
        Isolation::LastStable => fetched.offsets.last_stable,
    };
    let mut next = None;
    let mut seen = Vec::new();
    for batch in batches(fetched.batches.clone()) {
        let batch = batch.expect("a read gives whole, sound batches");
        let header = *batch.header();
        match next {
            None => assert!(header.base_offset() <= from && from <= header.last_offset()),
            Some(next) => assert_eq!(header.base_offset(), next, "offsets are dense"),
        }
        assert!(header.next_offset() <= end, "a reader saw offset {}", header.last_offset());
        next = Some(header.next_offset());
        if !header.is_control() && !is_aborted(&batch, fetched) {
            seen.extend(records(&batch).into_iter().filter(|seen| seen.offset >= from.get()));
        }
    }
    (seen, next.expect("a read that is not empty holds a batch"))
}

fn is_aborted(batch: &RecordBatch, fetched: &Fetched) -> bool {
    let header = batch.header();
    header.is_transactional()
        && fetched.aborted.iter().any(|txn| {
            header.producer().is_some_and(|producer| producer.id == txn.producer_id)
                && txn.first_offset <= header.base_offset()
                && header.last_offset() <= txn.last_offset
        })
}

pub fn records(batch: &RecordBatch) -> Vec<Seen> {
    let header = *batch.header();
    let records = batch.records(1 << 20).expect("the records expand");
    let seen = |record: Result<log_core::record::Record, _>| {
        let record = record.expect("the record is sound");
        let value = record.value.clone().expect("the tests write values");
        Seen {
            offset: header.offset_of(&record).get(),
            timestamp: header.timestamp_of(&record).get(),
            value: String::from_utf8(value.to_vec()).expect("the tests write text"),
        }
    };
    records.map(seen).collect()
}

/// A batch in words. Its records are named after the batch: `name.0`, `name.1`, …
#[derive(Clone, Debug)]
pub struct Data {
    name: String,
    stamps: Vec<i64>,
    producer: Option<(Producer, i32)>,
    transactional: Transactional,
    key: Option<&'static [u8]>,
    padding: usize,
    compression: Compression,
}

pub fn data(name: impl Into<String>, records: usize) -> Data {
    Data {
        name: name.into(),
        stamps: vec![NOW; records],
        producer: None,
        transactional: Transactional::No,
        key: Some(b"key"),
        padding: 0,
        compression: Compression::None,
    }
}

impl Data {
    pub fn stamped(mut self, stamps: &[i64]) -> Self {
        self.stamps = stamps.to_vec();
        self
    }

    pub fn by(mut self, producer: Producer, base_sequence: i32) -> Self {
        self.producer = Some((producer, base_sequence));
        self
    }

    pub fn transactional(mut self) -> Self {
        self.transactional = Transactional::Yes;
        self
    }

    pub fn keyless(mut self) -> Self {
        self.key = None;
        self
    }

    /// Makes each record about so many bytes larger, in a header.
    pub fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    pub fn stamps(&self) -> &[i64] {
        &self.stamps
    }

    /// What its records say.
    pub fn values(&self) -> Vec<String> {
        (0..self.stamps.len()).map(|number| format!("{}.{number}", self.name)).collect()
    }

    pub fn bytes(&self) -> Bytes {
        let sequence = |base| Sequence::new(base).expect("tests name sequences that exist");
        let options = BatchOptions {
            compression: self.compression,
            producer: self.producer.map(|(producer, base)| (producer, sequence(base))),
            transactional: self.transactional,
            ..BatchOptions::default()
        };
        let mut batch = BatchBuilder::new(options);
        let padding = vec![b'.'; self.padding];
        for (value, stamp) in self.values().iter().zip(&self.stamps) {
            batch
                .push(at(*stamp), self.key, Some(value.as_bytes()), &[(b"pad", Some(&padding))])
                .expect("a test's batch is small");
        }
        batch.build().expect("a test's batch has a record")
    }

    pub fn checked(&self, log: &Log) -> CheckedBatch {
        log.check(self.bytes()).expect("a test's batch is sound")
    }
}

/// Files by name.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// Every byte of every file in the folder.
pub fn contents(folder: &Path) -> Contents {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        contents.insert(name, std::fs::read(entry.path()).unwrap());
    }
    contents
}
