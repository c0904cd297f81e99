//! Record batches in Kafka's format v2 (magic 2): the unit that is sent, checked and stored.
//!
//! ```text
//!  0 base_offset      i64 ┐ assigned by the log; outside the CRC,
//!  8 batch_length     i32 │ so that placing a batch needs no new one
//! 12 leader_epoch     i32 ┘ (batch_length counts from here)
//! 16 magic            i8    2
//! 17 crc              u32   CRC-32C over everything from 21 to the end
//! 21 attributes       i16   0-2 codec · 3 LogAppendTime · 4 transactional · 5 control · 6 horizon
//! 23 last_offset_delta i32
//! 27 base_timestamp   i64
//! 35 max_timestamp    i64
//! 43 producer_id      i64   -1: none
//! 51 producer_epoch   i16
//! 53 base_sequence    i32
//! 57 record_count     i32
//! 61 records                compressed as a whole when the codec is not 0
//! ```
//!
//! All numbers are big endian. The source is the record batch chapter of Kafka's documentation
//! (KIP-98 and, for headers, KIP-82).
//!
//! The rule: bytes become a [`BatchHeader`] (shape), a [`RecordBatch`] (shape and CRC) or a
//! [`CheckedBatch`] (fit to append), and the type remembers which. A batch stays the bytes that
//! arrived; it is never decoded into objects and encoded again, which would cost a copy and lose
//! what this version does not know.
//!
//! ```
//! use bytes::Bytes;
//! use log_proto::{record::*, types::TimestampMs};
//!
//! let mut builder = BatchBuilder::new(BatchOptions::default());
//! builder.push(TimestampMs::new(0), Some(b"key"), Some(b"value"), &[])?;
//! let sent: Bytes = builder.build()?;
//!
//! let limits = CheckLimits { batch_bytes_max: 1 << 20, expanded_bytes_max: 1 << 24 };
//! let checked = CheckedBatch::check(sent, &limits)?;
//! for record in checked.batch().records(limits.expanded_bytes_max)? {
//!     assert_eq!(record?.value.as_deref(), Some(&b"value"[..]));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod builder;
mod check;
mod compression;
mod control;
mod error;
mod header;
mod input;
#[expect(clippy::module_inception, reason = "a record is the item of the records module")]
mod record;
mod varint;

#[cfg(test)]
mod tests;

pub use batch::{Batches, RecordBatch, batches};
pub use builder::{BatchBuilder, BatchOptions, BuildError, Transactional, stamp};
pub use check::{CheckLimits, CheckedBatch, PlacedHeader};
pub use compression::{Compression, DecompressError, decompress};
pub use control::{ControlRecord, EndTxnKind, EndTxnMarker, end_txn_marker};
pub use error::{BatchError, BatchErrorKind, RecordError};
pub use header::{BatchHeader, HEADER_BYTES, TimestampType};
pub use record::{Header, Record, Records};

use crate::types::TimestampMs;

/// What a record carries when its producer gave it no time.
pub const NO_TIMESTAMP: TimestampMs = TimestampMs::new(-1);
