//! Waiting for offsets: producers for durability, readers for records.
//!
//! The rule: one watch per partition, moved by the log; whoever waits states a condition on the
//! [`View`] and is woken when it may hold. Nobody polls, nobody sleeps.

use log_core::{AppendKind, Appended, Isolation, Offsets};
use log_proto::types::{Offset, TimestampMs};
use tokio::sync::watch;

use super::Partition;
use crate::error::ProduceError;

/// What can be waited on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// The offsets of the log. The log end may be newer than the last wake-up.
    pub offsets: Offsets,
    /// The topic was deleted: nothing will ever move again.
    pub deleted: bool,
}

/// When an append is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// As durably as the topic promises.
    All,
    /// When it is appended.
    Leader,
    /// Never; the caller does not wait.
    None,
}

/// An append that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// On topics with LogAppendTime.
    pub append_time: Option<TimestampMs>,
    /// Whether it was stored now or before.
    pub kind: AppendKind,
    /// Whether it has been synced to the disk.
    pub synced: bool,
}

/// Why appended records will not be known to be durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCommitted {
    /// The log failed; the first reason.
    #[error(
        "appended but not synced, because the log failed: {reason}; send it again once the broker has restarted"
    )]
    Failed {
        /// The first thing that failed.
        reason: String,
    },
    /// The topic was deleted first.
    #[error("appended, but the topic was deleted before it was synced")]
    Deleted,
    /// The log was closed first.
    #[error("appended, but the log was closed before it was synced: send it again")]
    Closed,
}

/// Waits until `appended` is as durable as `acks` asks. A duplicate waits like the first append:
/// that one may not be durable yet either.
pub(super) async fn acknowledged(
    partition: &Partition,
    appended: Appended,
    acks: Acks,
) -> Result<Acknowledged, ProduceError> {
    let last_offset = appended.last_offset;
    let offsets = match acks {
        Acks::Leader | Acks::None => partition.offsets(),
        Acks::All => committed(partition, last_offset).await?,
    };
    Ok(Acknowledged {
        base_offset: appended.base_offset,
        last_offset,
        log_start: appended.log_start,
        append_time: appended.append_time,
        kind: appended.kind,
        synced: offsets.durable > last_offset,
    })
}

async fn committed(partition: &Partition, last_offset: Offset) -> Result<Offsets, NotCommitted> {
    let mut view = partition.view();
    let is_committed = |view: &View| view.offsets.high_watermark > last_offset;
    let ended = |view: &View| view.offsets.stopped || view.deleted;
    // Copied out at once: the watch stays locked as long as what it returns.
    let reached = view.wait_for(|view| is_committed(view) || ended(view)).await.map(|view| *view);
    match reached {
        Ok(view) if is_committed(&view) => Ok(view.offsets),
        Ok(View { deleted: true, .. }) => Err(NotCommitted::Deleted),
        _ => Err(match partition.failure() {
            Some(reason) => NotCommitted::Failed { reason },
            None => NotCommitted::Closed,
        }),
    }
}

/// What ended a reader's wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadWake {
    /// There are records to read, or the log's start has passed the reader.
    Ready,
    /// The topic was deleted.
    Deleted,
}

/// The exclusive end of what a reader may see.
pub(crate) fn read_end(offsets: &Offsets, isolation: Isolation) -> Offset {
    match isolation {
        Isolation::LogEnd => offsets.log_end,
        Isolation::HighWatermark => offsets.high_watermark,
        Isolation::LastStable => offsets.last_stable,
    }
}

/// Waits until something can be read at `next`.
pub(crate) async fn readable(
    view: &mut watch::Receiver<View>,
    next: Offset,
    isolation: Isolation,
) -> ReadWake {
    let ready =
        |view: &View| read_end(&view.offsets, isolation) > next || view.offsets.log_start > next;
    match view.wait_for(|view| view.deleted || ready(view)).await.map(|view| view.deleted) {
        Ok(false) => ReadWake::Ready,
        Ok(true) | Err(_) => ReadWake::Deleted,
    }
}
