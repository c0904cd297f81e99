//! Records that are older than their topic keeps records: they are taken, as Kafka takes them, and
//! go with the next segment that has nothing younger. Whoever copies old records into a topic finds
//! it empty later, and nothing would have said why.
//!
//! The rule: they are counted for the topic, and warned of once a minute for each topic while they
//! come. They are not refused: `message.timestamp.before.max.ms` is there for who wants that.

use std::time::Duration;

use log_core::LogConfig;
use log_proto::record::{CheckedBatch, NO_TIMESTAMP, TimestampType};
use log_proto::types::TimestampMs;

use crate::topics::Topic;

/// How often one topic is warned of.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The stamp of the youngest record of a batch, if that is older than its log keeps records.
pub(super) fn stamp_of(
    batch: &CheckedBatch,
    config: &LogConfig,
    now: TimestampMs,
) -> Option<TimestampMs> {
    let keeps_stamps = config.timestamp_type == TimestampType::CreateTime;
    let keep_ms = config.retention_ms.filter(|_| keeps_stamps && config.cleanup.deletes())?;
    let stamp = batch.max_timestamp();
    let age = u64::try_from(now.since(stamp)).ok()?;
    (stamp != NO_TIMESTAMP && age > keep_ms).then_some(stamp)
}

/// They have been stored.
pub(super) fn stored(topic: &Topic, records: u32, stamp: TimestampMs, now: TimestampMs) {
    if topic.metrics.past_retention(records, now, WARNING_INTERVAL) {
        tracing::warn!(
            topic = %topic.name,
            stamp_ms = stamp.get(),
            "records are older than the topic keeps records, and are deleted with their segment: \
             raise retention.ms, or set message.timestamp.type=LogAppendTime"
        );
    }
}
