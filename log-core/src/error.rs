//! What can go wrong, by operation.
//!
//! Each enum holds only what its operation can fail with. None of them knows a wire code; the
//! server maps them in one place. Damage always names the file and the position.

use std::io;
use std::path::PathBuf;

use log_proto::record::BatchError;
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};
use rustix::io::Errno;

use crate::config::ConfigError;
use crate::producer::ProducerStateError;

/// Stored bytes that are not what was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}, byte {position}: {detail}", file.display())]
pub struct Damage {
    /// Which file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub position: u64,
    /// What was expected and what was found.
    pub detail: String,
}

/// A file operation that failed, with the file it failed on.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", file.display())]
pub struct FileError {
    /// What was tried: "read", "write", "sync", …
    pub operation: &'static str,
    /// On which file or folder.
    pub file: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the process, or the system, may open no further file now. Nothing was done then,
    /// and a file's bytes are not concerned.
    pub fn is_out_of_descriptors(&self) -> bool {
        const CODES: [Errno; 2] = [Errno::MFILE, Errno::NFILE];
        let code = self.source.raw_os_error();
        CODES.iter().any(|known| code == Some(known.raw_os_error()))
    }
}

/// Why a log takes no writes any more. The first reason is kept; reads go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}; the log takes no writes until it is opened again")]
pub struct Failure {
    /// The first thing that failed.
    pub reason: String,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder belongs to another topic or partition.
    #[error("{} holds {found}, not {expected}: move it away or open what it holds", folder.display())]
    OtherLog {
        /// The folder that was opened.
        folder: PathBuf,
        /// The topic id and partition that were asked for.
        expected: String,
        /// Those that the folder names.
        found: String,
    },
    /// The folder's own description cannot be understood.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The log has been written under a newer leader epoch: another owner is at work.
    #[error(
        "leader epoch {asked} is older than {latest}, under which {} was written, if its headers are sound",
        folder.display()
    )]
    FencedLeaderEpoch {
        /// The log's folder.
        folder: PathBuf,
        /// The epoch of the one who opens.
        asked: LeaderEpoch,
        /// The newest in the log.
        latest: LeaderEpoch,
    },
}

/// Why a batch was not appended. In each case nothing of it can ever be read.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is no sound record batch, or too large.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The log keeps the last record of each key, and these have none.
    #[error("{keyless} of {records} records have no key, which a compacted topic needs")]
    KeylessRecords {
        /// How many have no key.
        keyless: u32,
        /// Of how many.
        records: u32,
    },
    /// A record is stamped further from the broker's clock than the topic allows.
    #[error(
        "record timestamp {found} is outside {earliest} to {latest}, which the topic's \
         message.timestamp.before.max.ms and message.timestamp.after.max.ms allow now"
    )]
    TimestampOutOfRange {
        /// The record's stamp.
        found: TimestampMs,
        /// The earliest that is taken now.
        earliest: TimestampMs,
        /// The latest that is taken now.
        latest: TimestampMs,
    },
    /// A client sent a batch that only a transaction coordinator may write.
    #[error("control batches are written by the broker alone")]
    ControlBatch,
    /// The producer's epoch, sequence or transaction does not fit.
    #[error(transparent)]
    Producer(#[from] ProducerStateError),
    /// The caller is not the owner that it believes to be.
    #[error("leader epoch {found} is not the log's, {current}")]
    FencedLeaderEpoch {
        /// The caller's.
        found: LeaderEpoch,
        /// The log's.
        current: LeaderEpoch,
    },
    /// There is no room on the disk. Try again later: writing resumes once there is.
    #[error("disk full: {0}")]
    DiskFull(FileError),
    /// The log is idle or rolls, and no further file may be open now. Try again later.
    #[error("too many files are open, try again: {0}")]
    OutOfDescriptors(FileError),
    /// The log has failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The log is closed or deleted.
    #[error("the log is closed")]
    Closed,
    /// 2^63 - 1 records have been appended.
    #[error("the partition has used up all offsets")]
    OffsetsExhausted,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such offset: deleted already, or not yet written.
    #[error("offset {requested} is outside the log, which holds {log_start} to {log_end}")]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The first offset that may be read.
        log_start: Offset,
        /// One past the last.
        log_end: Offset,
    },
    /// The stored bytes are not what was written.
    #[error("damaged log: {damage}{}", match resume_at {
        Some(offset) => format!("; records from offset {offset} on can be read"),
        None => String::new(),
    })]
    Damaged {
        /// Where, and what is wrong.
        damage: Damage,
        /// The next offset that looks sound, if any.
        resume_at: Option<Offset>,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged { damage, resume_at: None }
    }
}

/// Why appended records are not known to be durable.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The log has failed, perhaps just now.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// No further file may be open now. It is tried again soon, by itself too.
    #[error("too many files are open, nothing is synced: {0}")]
    OutOfDescriptors(FileError),
    /// The log was closed before.
    #[error("the log is closed")]
    Closed,
}

/// Why records could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The offset is negative or beyond the high watermark.
    #[error(
        "cannot delete before offset {requested}: the log holds {log_start} to {high_watermark}"
    )]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The first offset that may be read.
        log_start: Offset,
        /// One past the last that may be read.
        high_watermark: Offset,
    },
    /// A file operation failed; what was not deleted is still served.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log is closed or deleted.
    #[error("the log is closed")]
    Closed,
}
