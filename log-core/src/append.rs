//! The append, as a short visible sequence.
//!
//! ```text
//!   check (no lock) → lock → owner → offsets → producer → roll if due → write
//!         → producer state, transaction index → publish → wake the flusher
//! ```
//!
//! Nothing changes before the write, so that whatever is refused leaves no trace; everything
//! after the write cannot fail.

use std::sync::Arc;

use log_proto::record::{BatchHeader, CheckedBatch, PlacedHeader, TimestampType};
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use crate::config::{FlushPolicy, LogConfig};
use crate::error::{AppendError, FileError, ReadError};
use crate::index::AbortedTxn;
use crate::log::{Inner, Rolled};
use crate::offsets::{self, EndedTxn, Tail};
use crate::producer::{AppendInfo, AppendOrigin, ProducerStates, SequenceCheck, TxnOutcome};
use crate::segment::{ActiveSegment, NewBatch, Room, WriteFault};

/// With so many bytes a sync, making room ahead costs more than it saves; see [`Room`].
const ROOM_AHEAD_BELOW_BYTES: u64 = 128 << 10;

/// Where a batch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Of its first record.
    pub base_offset: Offset,
    /// Of its last record. It is durable, or visible, once the respective offset is past it.
    pub last_offset: Offset,
    /// The log's first offset at that moment.
    pub log_start: Offset,
    /// The stamp that the records got, with `message.timestamp.type=LogAppendTime`.
    pub append_time: Option<TimestampMs>,
    /// Whether anything was written.
    pub kind: AppendKind,
}

/// Whether an append wrote anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendKind {
    /// The batch was written.
    Stored,
    /// The batch had been stored before, at these offsets. It may not be durable yet: who waits
    /// for durability waits for the first append's.
    Duplicate,
}

/// Owns the log's end. One per log, under one lock.
pub(crate) struct Writer {
    pub(crate) active: ActiveSegment,
    pub(crate) next_offset: Offset,
    pub(crate) producers: ProducerStates,
    pub(crate) producers_swept_at: TimestampMs,
    pub(crate) state: WriterState,
}

/// Whether a log takes appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WriterState {
    Open,
    Closed,
}

impl Inner {
    pub(crate) fn append(
        self: &Arc<Self>,
        batch: &CheckedBatch,
        origin: AppendOrigin,
        leader_epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        let config = self.config.load();
        let now = self.clock.now();
        admit(batch, origin, &config, now)?;
        let append_time = (config.timestamp_type == TimestampType::LogAppendTime).then_some(now);

        let mut writer = self.writer.lock();
        self.check_writable(&writer, leader_epoch)?;
        let base_offset = writer.next_offset;
        if base_offset.checked_add(i64::from(batch.header().record_count())).is_none() {
            return Err(AppendError::OffsetsExhausted);
        }
        let info = match writer.producers.check(batch.header(), origin, batch.control().as_ref())? {
            SequenceCheck::Duplicate { base_offset, last_offset, timestamp } => {
                let append_time = append_time.map(|_| timestamp);
                return Ok(self.answer(
                    base_offset,
                    last_offset,
                    append_time,
                    AppendKind::Duplicate,
                ));
            }
            SequenceCheck::NotIdempotent => None,
            SequenceCheck::Fresh(info) => Some(info),
        };
        let placed = batch.place(base_offset, leader_epoch, append_time);
        if roll_is_due(&writer, placed.header(), &config, now) {
            self.roll(&mut writer)?;
        }
        self.write(&mut writer, &placed, batch.body(), &config, now)?;
        self.wrote(&mut writer, placed.header(), info);
        drop(writer);

        self.wake_flusher(&config, placed.header().size_bytes() as u64);
        let last_offset = placed.header().last_offset();
        Ok(self.answer(base_offset, last_offset, append_time, AppendKind::Stored))
    }

    fn answer(
        &self,
        base_offset: Offset,
        last_offset: Offset,
        append_time: Option<TimestampMs>,
        kind: AppendKind,
    ) -> Appended {
        let log_start = self.marks.offsets().log_start;
        Appended { base_offset, last_offset, log_start, append_time, kind }
    }

    fn check_writable(&self, writer: &Writer, found: LeaderEpoch) -> Result<(), AppendError> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone().into());
        }
        if writer.state == WriterState::Closed {
            return Err(AppendError::Closed);
        }
        let current = self.leader_epoch;
        if found != current {
            return Err(AppendError::FencedLeaderEpoch { found, current });
        }
        Ok(())
    }

    fn write(
        &self,
        writer: &mut Writer,
        placed: &PlacedHeader,
        body: &[u8],
        config: &LogConfig,
        now: TimestampMs,
    ) -> Result<(), AppendError> {
        let batch = NewBatch { header: placed.header(), header_bytes: placed.bytes(), body };
        writer.active.prepare().map_err(|error| self.unprepared(error))?;
        let room = self.room_for(&batch, config);
        match writer.active.append(&batch, config.index_interval_bytes, room, now) {
            Ok(()) => Ok(()),
            Err(WriteFault::Undone(error)) if error.is_disk_full() => {
                Err(AppendError::DiskFull(error))
            }
            // What a torn write left lies behind the log's end, where the next batch would go.
            Err(WriteFault::Undone(error) | WriteFault::Torn(error)) => {
                Err(self.fail(error.to_string()).into())
            }
        }
    }

    /// Room ahead pays where a sync follows each few bytes.
    fn room_for(&self, batch: &NewBatch<'_>, config: &LogConfig) -> Room {
        let size = batch.header.size_bytes() as u64;
        if config.flush == FlushPolicy::EveryAppend
            && self.flush.unsynced_bytes() + size < ROOM_AHEAD_BELOW_BYTES
        {
            Room::Ahead
        } else {
            Room::AsNeeded
        }
    }

    /// The batch is in the page cache; now the log's state follows. Log end and first unstable
    /// offset are published as one, see [`crate::offsets`].
    fn wrote(&self, writer: &mut Writer, header: &BatchHeader, info: Option<AppendInfo>) {
        let completed = info.and_then(|info| writer.producers.apply(info, header));
        if let Some(txn) = &completed
            && txn.outcome == TxnOutcome::Abort
        {
            let last_stable_offset = writer.producers.last_stable_offset_after(txn);
            writer.active.aborted(&AbortedTxn {
                producer_id: txn.producer_id,
                first_offset: txn.first_offset,
                last_offset: txn.last_offset,
                last_stable_offset,
            });
        }
        writer.next_offset = header.next_offset();
        self.marks.appended(offsets::Appended {
            log_end: Tail {
                offset: writer.next_offset,
                segment: writer.active.base(),
                position: writer.active.size(),
            },
            first_open_txn: writer.producers.first_open_offset(),
            ended_txn: completed.map(|txn| EndedTxn {
                first_offset: txn.first_offset,
                marker_offset: txn.last_offset,
            }),
        });
    }

    /// Ends the active segment and begins the next. Either both happen or neither.
    pub(crate) fn roll(&self, writer: &mut Writer) -> Result<(), AppendError> {
        let next = ActiveSegment::create(&self.folder, writer.next_offset)
            .map_err(|error| self.roll_failed(error))?;
        let sealed = std::mem::replace(&mut writer.active, next).seal();
        // Noted as unsynced before the new segment is known to anyone: no durable offset in the
        // new one can pass the old one's bytes.
        self.flush.rolled(Rolled { segment: sealed, producers: Some(writer.producers.clone()) });
        self.segments.push(Arc::clone(writer.active.segment()));
        self.marks.rolled(writer.active.base());
        Ok(())
    }

    fn roll_failed(&self, error: FileError) -> AppendError {
        if error.is_disk_full() {
            AppendError::DiskFull(error)
        } else {
            self.unprepared(error.into())
        }
    }

    /// Nothing was begun. A crowd of clients may have taken the descriptors, and gives them back.
    fn unprepared(&self, error: ReadError) -> AppendError {
        match error {
            ReadError::File(error) if error.is_out_of_descriptors() => {
                AppendError::OutOfDescriptors(error)
            }
            other => self.fail(other.to_string()).into(),
        }
    }
}

/// What the topic's settings say of a sound batch.
fn admit(
    batch: &CheckedBatch,
    origin: AppendOrigin,
    config: &LogConfig,
    now: TimestampMs,
) -> Result<(), AppendError> {
    let is_control = batch.header().is_control();
    if is_control && origin == AppendOrigin::Client {
        return Err(AppendError::ControlBatch);
    }
    let keyless = batch.keyless_records();
    if config.cleanup.needs_keys() && keyless > 0 && !is_control {
        return Err(AppendError::KeylessRecords {
            keyless,
            records: batch.header().record_count(),
        });
    }
    if config.timestamp_type == TimestampType::CreateTime && origin == AppendOrigin::Client {
        admit_timestamps(batch, config, now)?;
    }
    Ok(())
}

fn admit_timestamps(
    batch: &CheckedBatch,
    config: &LogConfig,
    now: TimestampMs,
) -> Result<(), AppendError> {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let earliest = now.get().saturating_sub(signed(config.timestamp_before_max_ms));
    let latest = now.get().saturating_add(signed(config.timestamp_after_max_ms));
    let outside =
        |stamp: TimestampMs| stamp.get() >= 0 && !(earliest..=latest).contains(&stamp.get());
    match [batch.min_timestamp(), batch.max_timestamp()].into_iter().find(|stamp| outside(*stamp)) {
        None => Ok(()),
        Some(found) => Err(AppendError::TimestampOutOfRange {
            found,
            earliest: TimestampMs::new(earliest),
            latest: TimestampMs::new(latest),
        }),
    }
}

/// A segment ends before it would outgrow its size, when it has had records for long enough, or
/// when an offset would not fit the 31 bits that the indexes have for it.
fn roll_is_due(
    writer: &Writer,
    header: &BatchHeader,
    config: &LogConfig,
    now: TimestampMs,
) -> bool {
    let size = writer.active.size();
    if size == 0 {
        return false;
    }
    size + header.size_bytes() as u64 > u64::from(config.segment_bytes)
        || header.last_offset().distance_from(writer.active.base()) > i32::MAX as u64
        || age_roll_is_due(&writer.active, config, now)
}

pub(crate) fn age_roll_is_due(
    active: &ActiveSegment,
    config: &LogConfig,
    now: TimestampMs,
) -> bool {
    active.since().is_some_and(|since| {
        u64::try_from(now.since(since)).is_ok_and(|age| age >= config.segment_ms)
    })
}
