//! One partition's commit log on one disk.
//!
//! A log is a sequence of record batches, each with the offsets of its records, cut into segment
//! files. It is written at one end and read anywhere:
//!
//! ```text
//!             sealed segments                           active segment
//!   ┌──────────────────────────┐ ┌───────────────────┐ ┌──────────────────────────┐
//!   │ 0 … 4711                 │ │ 4712 … 9000       │ │ 9001 …                   │ ◄─ append
//!   └──────────────────────────┘ └───────────────────┘ └──────────────────────────┘
//!       ▲                                                    ▲                 ▲
//!       log_start                                            high_watermark    log_end
//!                    a reader sees ───────────────────────►│
//! ```
//!
//! What it promises:
//!
//! - **Appends are all or nothing**, get dense offsets in the order in which they came, and are
//!   stored once however often an idempotent producer repeats them.
//! - **Durable means synced.** [`Offsets::durable`] passes a record only once it is on disk; by
//!   default readers see nothing beyond it. A sync that fails ends all writing.
//! - **A crash takes nothing that was acknowledged.** Opening a log puts it in order and reports
//!   what it found; see [`RecoveryReport`].
//! - **Reads copy nothing.** A fetch is a slice of a mapped file, in Kafka's own batch format.
//!
//! The crate is synchronous, opens no socket and starts no thread but the [`Committer`]'s. It
//! knows no topic names, groups or transactions' coordinators; it keeps the books that those need:
//! producer sequences, open and aborted transactions, leader epochs.
//!
//! # Example
//!
//! ```
//! use log_core::record::{BatchBuilder, BatchOptions, batches};
//! use log_core::{AppendOrigin, Committer, Isolation, Log, LogIdentity, OpenLog, Offset, TimestampMs};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let committer = Committer::start(2);
//! let identity = LogIdentity { topic_id: uuid::Uuid::from_u128(1), partition: 0 };
//! let settings = OpenLog::new(folder.path().join("events-0"), identity, committer.clone());
//! let (log, _) = Log::open(settings.clone())?;
//!
//! let mut batch = BatchBuilder::new(BatchOptions::default());
//! batch.push(TimestampMs::new(1_700_000_000_000), Some(b"key"), Some(b"value"), &[])?;
//! let batch = log.check(batch.build()?)?;
//! let appended = log.append(&batch, AppendOrigin::Client, log.leader_epoch())?;
//! log.wait_durable(appended.last_offset.next())?;
//! log.close()?;
//!
//! let (log, report) = Log::open(settings)?;
//! assert_eq!(report.scanned_bytes, 0);
//! let fetched = log.read(Offset::ZERO, 1 << 20, Isolation::HighWatermark)?;
//! for batch in batches(fetched.batches) {
//!     for record in batch?.records(1 << 20)? {
//!         assert_eq!(record?.value.as_deref(), Some(&b"value"[..]));
//!     }
//! }
//! # log.close()?;
//! # committer.stop();
//! # Ok(())
//! # }
//! ```

pub mod inspect;
pub mod io;

mod append;
mod checkpoint;
mod clock;
mod config;
mod continuity;
mod durable;
mod error;
mod flush;
mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gather;
mod identity;
mod index;
mod leader_epoch;
mod log;
mod log_checkpoint;
mod log_start;
mod mmap;
mod offsets;
mod producer;
mod read;
mod recovery;
mod retention;
mod scan;
mod segment;
mod sync;

pub use append::{AppendKind, Appended};
pub use clock::{Clock, SystemClock};
pub use config::{
    CleanupPolicy, ConfigError, FlushPolicy, LogConfig, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
pub use error::{
    AppendError, Damage, Failure, FileError, FlushError, OpenError, ReadError, RetentionError,
};
pub use flush::Committer;
pub use identity::LogIdentity;
pub use index::AbortedTxn;
pub use log::{Log, LogDescription, OpenLog};
pub use log_proto::record;
pub use log_proto::types::{
    CoordinatorEpoch, LeaderEpoch, Offset, Producer, ProducerEpoch, ProducerId, Sequence,
    TimestampMs,
};
pub use mmap::Mapping;
pub use offsets::{NoListener, OffsetListener, Offsets};
pub use producer::{AppendOrigin, BatchMetadata, ProducerEntry, ProducerStateError};
pub use read::{Fetched, Isolation, TimestampedOffset};
pub use recovery::{Cut, FoundAs, Lacking, RecoveryReport, Remains};
pub use retention::Retired;
pub use scan::{FoundBatch, LostRange, Scan, Scanned};
pub use segment::FileName;
