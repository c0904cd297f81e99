//! Looking into the files of a log that nobody has open: what lies where, and whether it is sound.
//!
//! Read-only throughout: an inspection never changes what it inspects, and works on a copied
//! folder or a single file as well. Positions are bytes from a file's start.
//!
//! Damage ends nothing: where something leads to a sound batch behind it, the look goes on there,
//! and what lies in between is named by bytes and offsets. To stop at the first damage was
//! rejected: whoever looks has lost something, and asks how much.

mod beside;
mod file;
mod pieces;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_proto::record::RecordBatch;
use log_proto::types::{Offset, TimestampMs};

use crate::error::{Damage, FileError};
use crate::folder::{Folder, failed};
use crate::io::{Disk, EntryKind, Storage};
use crate::segment::{Check, FileName, Located};
use file::LogFile;
use pieces::{Piece, Pieces};

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
    /// Bytes of sound batches; less than `log_bytes` in a log that was not closed, or is damaged.
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

impl SegmentStat {
    fn add(&mut self, batch: &Located) {
        self.batches += 1;
        self.records += u64::from(batch.header.record_count());
        self.sound_bytes += batch.header.size_bytes() as u64;
        self.max_timestamp = self.max_timestamp.max(Some(batch.header.max_timestamp()));
    }
}

/// What a check of files found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Log files that were read to their end.
    pub segments: usize,
    /// Batches whose checksum and place were right, also behind damage.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of those batches.
    pub bytes: u64,
    /// Everything that was wrong, in the order of the files.
    pub findings: Vec<Finding>,
    /// Files in the folder with what starts took off the log. They are no part of it.
    pub kept: Vec<PathBuf>,
}

impl VerifyReport {
    fn add(&mut self, batch: &Located) {
        self.batches += 1;
        self.records += u64::from(batch.header.record_count());
        self.bytes += batch.header.size_bytes() as u64;
    }

    fn damaged(&mut self, damage: Damage) {
        self.findings.push(Finding::Damaged(damage));
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No batch is concerned: a file beside the log, or what the files say of each other.
    Damaged(Damage),
    /// Bytes of the log cannot be read.
    Lost(Lost),
}

impl Finding {
    /// What is wrong, and where.
    pub const fn damage(&self) -> &Damage {
        match self {
            Self::Damaged(damage) => damage,
            Self::Lost(lost) => &lost.damage,
        }
    }

    /// What cannot be read for it.
    pub const fn lost(&self) -> Option<&Lost> {
        match self {
            Self::Damaged(_) => None,
            Self::Lost(lost) => Some(lost),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => damage.fmt(f),
            Self::Lost(lost) => write!(f, "{}: {lost}", lost.damage),
        }
    }
}

/// Bytes of a log file that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// What is wrong where they begin.
    pub damage: Damage,
    /// Behind these the next sound batch starts, or the file ends.
    pub bytes: Range<u64>,
    /// The offset that should start here; `None` where nothing tells, in what a start has kept.
    pub first_offset: Option<Offset>,
    /// The one that starts behind it; `None` where neither a seal nor a next segment tells.
    pub next_offset: Option<Offset>,
    /// Whether a sound batch follows. Where it does not, nothing led to one: what lies behind the
    /// damage cannot be told from bytes, because a record may hold what looks like a batch.
    pub goes_on: bool,
}

impl fmt::Display for Lost {
    /// Which bytes and offsets are lost. What is wrong with them is said elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.bytes;
        match (self.first_offset, self.next_offset) {
            (Some(first), Some(next)) if next > first => {
                write!(f, "offsets {first} to {next} (exclusive)")?;
            }
            (Some(first), None) => write!(f, "offsets from {first} on")?,
            (None, Some(next)) => write!(f, "offsets below {next}")?,
            (Some(_), Some(_)) | (None, None) => write!(f, "unknown offsets")?,
        }
        write!(f, " cannot be read, bytes {start} to {end}")?;
        match self.goes_on {
            true => Ok(()),
            false => write!(
                f,
                ", the file's end: no index leads behind the damage, and what lies there cannot be \
                 told from bytes"
            ),
        }
    }
}

/// Why files could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to inspect.
    #[error("{} is no segment's log file and holds none: name a .log file, a .cut file or a partition's folder", .0.display())]
    NoLog(PathBuf),
}

/// The log files that `path` names: itself, or those in the folder, by offset. What a start has
/// kept (`.cut-<position>`) counts where it is named itself.
pub fn log_files(path: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let files = match path.is_dir() {
        true => files_in(path, |name| matches!(name, FileName::Log(_)))?,
        false => vec![path.to_path_buf()],
    };
    let named =
        |file: &PathBuf| matches!(name_of(file), Some(FileName::Log(_) | FileName::Cut { .. }));
    if files.is_empty() || !files.iter().all(named) {
        return Err(InspectError::NoLog(path.to_path_buf()));
    }
    Ok(files)
}

/// The files in a folder whose names are meant, sorted.
fn files_in(
    folder: &Path,
    is_meant: impl Fn(&FileName) -> bool,
) -> Result<Vec<PathBuf>, FileError> {
    let entries = Disk.list(folder).map_err(failed("list", folder.to_path_buf()))?;
    let is_meant = |name: &str| FileName::parse(name).is_some_and(|name| is_meant(&name));
    let meant =
        entries.iter().filter(|entry| entry.kind == EntryKind::File && is_meant(&entry.name));
    let mut files: Vec<PathBuf> = meant.map(|entry| folder.join(&entry.name)).collect();
    files.sort_unstable();
    Ok(files)
}

/// What each segment that `path` names holds.
pub fn segments(path: &Path) -> Result<Vec<SegmentStat>, InspectError> {
    log_files(path)?.iter().map(|file| LogFile::open(file)?.stat()).collect()
}

/// Checks every byte of the log files that `path` names, and everything derived from them; of a
/// folder, also the small files beside them. Damage ends nothing: what is sound behind it is
/// checked and counted too. `progress` is told how many bytes of log have been passed so far.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport, InspectError> {
    let mut report = VerifyReport::default();
    if path.is_dir() {
        let folder = Folder::new(path.to_path_buf(), Arc::new(Disk));
        if let Some(missing) = crate::recovery::missing(&folder)? {
            report.damaged(missing);
        }
        beside::verify(&folder, &mut report)?;
        report.kept = files_in(path, |name| matches!(name, FileName::Cut { .. }))?;
    }
    let files = match log_files(path) {
        // They are what is missing.
        Err(InspectError::NoLog(_)) if !report.findings.is_empty() => Vec::new(),
        files => files?,
    };
    let mut before: Option<(LogFile, Offset)> = None;
    let mut passed = 0;
    for file in files {
        let file = LogFile::open(&file)?;
        if let Some((before, end)) = before.filter(|(_, end)| *end != file.base()) {
            let next = file.base();
            let detail = format!("it ends before offset {end}, and the next starts at {next}");
            report.damaged(before.damage(before.len(), detail));
        }
        let end = file.verify(&mut report, &mut |position| progress(passed + position))?;
        passed += file.len();
        before = Some((file, end));
        report.segments += 1;
    }
    Ok(report)
}

/// What one log file holds, in order. Ends with the file, or with its first read that fails.
pub fn pieces(log_file: &Path) -> Result<FilePieces, InspectError> {
    let file = LogFile::open(log_file)?;
    let pieces = Pieces::of(&file, Check::Checksums);
    Ok(FilePieces { file, pieces })
}

/// See [`pieces`].
pub struct FilePieces {
    file: LogFile,
    pieces: Pieces,
}

/// A part of a log file.
#[derive(Debug)]
pub enum FilePiece {
    /// A sound batch where it should be, with its position in bytes.
    Batch(u64, RecordBatch),
    /// Bytes that cannot be read.
    Lost(Lost),
}

impl Iterator for FilePieces {
    type Item = Result<FilePiece, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = match self.pieces.next().transpose()? {
            Ok(Piece::Lost(lost)) => Ok(FilePiece::Lost(lost)),
            Ok(Piece::Batch(located)) => self.file.read(&located).map(|read| match read {
                Ok(batch) => FilePiece::Batch(located.position, batch),
                Err(lost) => FilePiece::Lost(lost),
            }),
            Err(error) => Err(error),
        };
        Some(step)
    }
}

fn name_of(path: &Path) -> Option<FileName> {
    FileName::parse(path.file_name()?.to_str()?)
}
