//! Looking into the files of a log that nobody has open: what lies where, and whether it is sound.
//!
//! Read-only throughout: an inspection never changes what it inspects, and works on a copied
//! folder or a single file as well. Positions are bytes from a file's start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_proto::record::RecordBatch;
use log_proto::types::{Offset, TimestampMs};

use crate::checkpoint::CheckpointDamage;
use crate::error::{Damage, FileError};
use crate::folder::{Folder, failed};
use crate::index::{OffsetIndex, TimeIndex, TxnIndex};
use crate::io::{Disk, EntryKind, OpenMode};
use crate::segment::{BatchWalk, Check, FileName, IndexSums, Indexes, Located, Seal, WalkError};

/// What one segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentStat {
    /// The log file.
    pub log_file: PathBuf,
    /// The offset in its name.
    pub base_offset: Offset,
    /// One past its last offset.
    pub next_offset: Offset,
    /// Bytes of the log file.
    pub log_bytes: u64,
    /// Bytes of sound batches at its start; less than `log_bytes` in a log that was not closed.
    pub sound_bytes: u64,
    /// How many batches those are.
    pub batches: u64,
    /// How many records.
    pub records: u64,
    /// The largest timestamp.
    pub max_timestamp: Option<TimestampMs>,
    /// Bytes of the offset, time and transaction index; `None` for one that is missing.
    pub index_bytes: [Option<u64>; 3],
    /// Whether it has a seal.
    pub sealed: bool,
}

/// What a check of files found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Log files that were read to their end.
    pub segments: usize,
    /// Batches whose checksum and place were right.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// Everything that was wrong, in the order of the files.
    pub damages: Vec<Damage>,
}

/// Why files could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to inspect.
    #[error("{} is no segment's log file and holds none: name a .log file or a partition's folder", .0.display())]
    NoLog(PathBuf),
}

/// The log files that `path` names: itself, or those in the folder, by offset.
pub fn log_files(path: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let storage = Disk;
    let mut files: Vec<PathBuf> = if path.is_dir() {
        use crate::io::Storage;
        let entries = storage.list(path).map_err(failed("list", path.to_path_buf()))?;
        let logs = entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::File && base_offset(&entry.name).is_some());
        logs.map(|entry| path.join(entry.name)).collect()
    } else {
        vec![path.to_path_buf()]
    };
    files.sort_unstable();
    let named_log = |file: &PathBuf| {
        file.file_name().and_then(|name| name.to_str()).and_then(base_offset).is_some()
    };
    if files.is_empty() || !files.iter().all(named_log) {
        return Err(InspectError::NoLog(path.to_path_buf()));
    }
    Ok(files)
}

/// What each segment that `path` names holds.
pub fn segments(path: &Path) -> Result<Vec<SegmentStat>, InspectError> {
    log_files(path)?.iter().map(|file| Opened::open(file)?.stat()).collect()
}

/// Checks every byte of the log files that `path` names, and everything derived from them.
/// `progress` is told how many bytes have been read so far.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport, InspectError> {
    let mut report = VerifyReport::default();
    if path.is_dir() {
        let folder = Folder::new(path.to_path_buf(), Arc::new(Disk));
        report.damages.extend(crate::recovery::missing(&folder)?);
    }
    let files = match log_files(path) {
        // They are what is missing.
        Err(InspectError::NoLog(_)) if !report.damages.is_empty() => Vec::new(),
        files => files?,
    };
    let mut before: Option<(Opened, Offset)> = None;
    for file in files {
        let opened = Opened::open(&file)?;
        if let Some((before, end)) = before.filter(|(_, end)| *end != opened.base) {
            let next = opened.base;
            let detail = format!("it ends before offset {end}, and the next starts at {next}");
            report.damages.push(before.damage(before.len, detail));
        }
        let end = opened.verify(&mut report, progress)?;
        before = Some((opened, end));
        report.segments += 1;
    }
    Ok(report)
}

/// The batches of one log file in order, each with its position, up to the first that is damaged.
pub fn batches(log_file: &Path) -> Result<Batches, InspectError> {
    let opened = Opened::open(log_file)?;
    let walk = opened.walk(Check::Checksums);
    Ok(Batches { opened, walk, ended: false })
}

/// See [`batches`].
pub struct Batches {
    opened: Opened,
    walk: BatchWalk,
    ended: bool,
}

/// A step of [`Batches`]: a batch with its position, or why there are no more.
pub type BatchAt = Result<(u64, RecordBatch), BatchesError>;

/// Why [`Batches`] ends before the file does.
#[derive(Debug, thiserror::Error)]
pub enum BatchesError {
    /// The bytes here are no sound batch.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Iterator for Batches {
    type Item = BatchAt;

    fn next(&mut self) -> Option<BatchAt> {
        if self.ended {
            return None;
        }
        let step = match self.walk.next() {
            Ok(None) => return None,
            Ok(Some(located)) => self.opened.read(&located),
            Err(WalkError::Damaged(damage)) => match self.opened.ends_with_room(damage.position) {
                Ok(true) => return None,
                Ok(false) => Err(damage.into()),
                Err(error) => Err(error.into()),
            },
            Err(WalkError::File(error)) => Err(error.into()),
        };
        self.ended = step.is_err();
        Some(step)
    }
}

/// How much is compared with zeros at a time.
const ROOM_CHUNK_BYTES: usize = 64 << 10;

/// One log file, open to read.
struct Opened {
    folder: Folder,
    path: PathBuf,
    base: Offset,
    file: Arc<dyn crate::io::File>,
    len: u64,
}

fn base_offset(name: &str) -> Option<Offset> {
    match FileName::parse(name) {
        Some(FileName::Log(offset)) => Some(offset),
        _ => None,
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, InspectError> {
        let no_log = || InspectError::NoLog(path.to_path_buf());
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_log)?;
        let base = base_offset(name).ok_or_else(no_log)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Folder::new(parent.unwrap_or(Path::new(".")).to_path_buf(), Arc::new(Disk));
        let file = folder.open(&FileName::Log(base), OpenMode::Read)?;
        let len = file.len().map_err(failed("read", path.to_path_buf()))?;
        Ok(Self { folder, path: path.to_path_buf(), base, file, len })
    }

    fn walk(&self, check: Check) -> BatchWalk {
        BatchWalk::new(Arc::clone(&self.file), self.path.clone(), check, 0, self.len)
            .expecting(self.base)
    }

    fn read(&self, located: &Located) -> BatchAt {
        let mut bytes = vec![0; located.header.size_bytes()];
        self.file
            .read_exact_at(&mut bytes, located.position)
            .map_err(failed("read", self.path.clone()))?;
        match RecordBatch::parse(bytes.into()) {
            Ok(batch) => Ok((located.position, batch)),
            Err(error) => Err(self.damage(located.position, error.to_string()).into()),
        }
    }

    fn stat(&self) -> Result<SegmentStat, InspectError> {
        let mut walk = self.walk(Check::Headers);
        let mut stat = SegmentStat {
            log_file: self.path.clone(),
            base_offset: self.base,
            next_offset: self.base,
            log_bytes: self.len,
            sound_bytes: 0,
            batches: 0,
            records: 0,
            max_timestamp: None,
            index_bytes: [
                self.derived(&FileName::Index(self.base))?.map(|bytes| bytes.len() as u64),
                self.derived(&FileName::TimeIndex(self.base))?.map(|bytes| bytes.len() as u64),
                self.derived(&FileName::TxnIndex(self.base))?.map(|bytes| bytes.len() as u64),
            ],
            sealed: Seal::read(&self.folder, self.base)?.is_some(),
        };
        loop {
            match walk.next() {
                Ok(Some(batch)) => {
                    stat.batches += 1;
                    stat.records += u64::from(batch.header.record_count());
                    stat.next_offset = batch.header.next_offset();
                    stat.sound_bytes = walk.position();
                    stat.max_timestamp = stat.max_timestamp.max(Some(batch.header.max_timestamp()));
                }
                Ok(None) | Err(WalkError::Damaged(_)) => return Ok(stat),
                Err(WalkError::File(error)) => return Err(error.into()),
            }
        }
    }

    /// Checks this segment; returns the offset that the next one must start at.
    fn verify(
        &self,
        report: &mut VerifyReport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Offset, InspectError> {
        let mut walk = self.walk(Check::Checksums).with_read_crc();
        let seal = self.verify_seal(report)?;
        let sealed_bytes = seal.map_or(0, |seal| seal.log_bytes);
        let mut next_offset = self.base;
        let before = report.bytes;
        let whole = loop {
            match walk.next() {
                Ok(Some(batch)) => {
                    report.batches += 1;
                    report.records += u64::from(batch.header.record_count());
                    next_offset = batch.header.next_offset();
                    report.bytes = before + walk.position();
                    progress(report.bytes);
                }
                Ok(None) => break true,
                Err(WalkError::Damaged(damage)) => {
                    // What was sealed has no room.
                    let is_room =
                        damage.position >= sealed_bytes && self.ends_with_room(damage.position)?;
                    if !is_room {
                        report.damages.push(damage);
                    }
                    break false;
                }
                Err(WalkError::File(error)) => return Err(error.into()),
            }
        };
        if let Some(seal) = seal {
            if seal.log_bytes != self.len || whole && seal.log_crc != walk.read_crc() {
                report.damages.push(self.damage(0, "size or CRC-32 differ from the seal".into()));
            }
            next_offset = seal.next_offset;
        }
        self.verify_indexes(seal.map(|seal| seal.indexes), report)?;
        Ok(next_offset)
    }

    /// Whether only zeros follow byte `start`: room that a log which was not closed had made ahead.
    fn ends_with_room(&self, mut start: u64) -> Result<bool, FileError> {
        let mut chunk = vec![0; ROOM_CHUNK_BYTES];
        while start < self.len {
            let read =
                self.file.read_at(&mut chunk, start).map_err(failed("read", self.path.clone()))?;
            if read == 0 || chunk[..read].iter().any(|byte| *byte != 0) {
                return Ok(read == 0);
            }
            start += read as u64;
        }
        Ok(true)
    }

    fn verify_seal(&self, report: &mut VerifyReport) -> Result<Option<Seal>, InspectError> {
        let Some(bytes) = self.derived(&FileName::Seal(self.base))? else {
            return Ok(None);
        };
        Ok(Seal::decode(&bytes)
            .map_err(|error: CheckpointDamage| {
                report
                    .damages
                    .push(self.derived_damage(&FileName::Seal(self.base), error.to_string()));
            })
            .ok())
    }

    fn verify_indexes(
        &self,
        sums: Option<IndexSums>,
        report: &mut VerifyReport,
    ) -> Result<(), InspectError> {
        let mut found = |file: FileName, result: Result<(), String>| {
            if let Err(detail) = result {
                report.damages.push(self.derived_damage(&file, detail));
            }
        };
        if let Some(sums) = sums
            && Indexes::read(&self.folder, self.base, &sums)?.is_none()
        {
            let detail = "an index does not hold what the seal says".to_owned();
            found(FileName::Seal(self.base), Err(detail));
        }
        if let Some(bytes) = self.derived(&FileName::Index(self.base))? {
            let parsed = OffsetIndex::parse(self.base, bytes.into(), self.len);
            found(FileName::Index(self.base), parsed.map(drop).map_err(|error| error.to_string()));
        }
        if let Some(bytes) = self.derived(&FileName::TimeIndex(self.base))? {
            let parsed = TimeIndex::parse(self.base, bytes.into());
            found(
                FileName::TimeIndex(self.base),
                parsed.map(drop).map_err(|error| error.to_string()),
            );
        }
        if let Some(bytes) = self.derived(&FileName::TxnIndex(self.base))? {
            let parsed = TxnIndex::parse(self.base, bytes.into());
            found(
                FileName::TxnIndex(self.base),
                parsed.map(drop).map_err(|error| error.to_string()),
            );
        }
        Ok(())
    }

    /// The whole of a derived file; each is far smaller than the log that it belongs to.
    fn derived(&self, file: &FileName) -> Result<Option<Vec<u8>>, FileError> {
        self.folder.read(file, 1 << 30)
    }

    fn damage(&self, position: u64, detail: String) -> Damage {
        Damage { file: self.path.clone(), position, detail }
    }

    fn derived_damage(&self, file: &FileName, detail: String) -> Damage {
        Damage { file: self.folder.path_of(file), position: 0, detail }
    }
}
