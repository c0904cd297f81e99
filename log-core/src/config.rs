//! The settings of one log: every field with its unit, default and minimum, and one `validate`.
//!
//! The names behind the fields are the topic configs that Kafka knows. Settings are plain data;
//! clocks, storage and threads are components and come through [`OpenLog`](crate::OpenLog).

use log_proto::record::{CheckLimits, TimestampType};

/// How often a log syncs, and what its readers may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FlushPolicy {
    /// `flush.messages=1`: whatever was appended is synced, as a group, and readers see only what
    /// is on disk. The default.
    #[default]
    EveryAppend,
    /// Readers see what is appended; syncs follow after so many records or so much time. Power
    /// loss may take the tail.
    Lazy {
        /// Records between syncs. At least 2; `u64::MAX` leaves it to the other bounds.
        messages: u64,
        /// Milliseconds between syncs of a log that has unsynced records.
        interval_ms: u64,
    },
}

/// What becomes of old records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CleanupPolicy {
    /// Segments are deleted by age and size.
    #[default]
    Delete,
    /// The last record of each key is kept; records need a key.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// Whether each record must have a key.
    pub const fn needs_keys(self) -> bool {
        !matches!(self, Self::Delete)
    }

    /// Whether segments are deleted by age and size.
    pub const fn deletes(self) -> bool {
        !matches!(self, Self::Compact)
    }
}

/// The settings of one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it would grow past this. Default 1 GiB,
    /// minimum [`SEGMENT_BYTES_MIN`]. A single larger batch gets a segment of its own.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment that has had records for so long is rolled. Default 7 days, minimum 1.
    pub segment_ms: u64,
    /// `index.interval.bytes`: log bytes between two index entries. Default 4096, minimum 0.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch that is taken, as it is stored. Default 1,048,588.
    pub max_message_bytes: u32,
    /// What one compressed batch may expand to, in bytes. Default 256 MiB.
    pub expanded_bytes_max: u32,
    /// `flush.messages` and `flush.ms`.
    pub flush: FlushPolicy,
    /// `retention.ms`: how long records are kept; `None` (`-1`) for ever. Default 7 days.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`: how many bytes are kept; `None` (`-1`) for any number, the default.
    pub retention_bytes: Option<u64>,
    /// `message.timestamp.type`: the producer's stamp, the default, or the time of the append.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a producer's stamp may be. Default: any age.
    pub timestamp_before_max_ms: u64,
    /// `message.timestamp.after.max.ms`: how far in the future it may lie. Default 1 hour.
    pub timestamp_after_max_ms: u64,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `producer.id.expiration.ms`: how long an idle producer's sequences are remembered. Default
    /// 1 day, minimum 1.
    pub producer_id_expiration_ms: u64,
}

/// Kafka's own minimum is 14 bytes; below this, a segment is mostly file names.
pub const SEGMENT_BYTES_MIN: u32 = 1024;

/// Kafka's limit: positions within a segment are 31-bit on disk.
pub const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            expanded_bytes_max: 256 << 20,
            flush: FlushPolicy::EveryAppend,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: u64::MAX,
            timestamp_after_max_ms: HOUR_MS,
            cleanup: CleanupPolicy::Delete,
            producer_id_expiration_ms: DAY_MS,
        }
    }
}

/// A setting outside its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} is {found}, but must be {expected}")]
pub struct ConfigError {
    /// The topic config's name.
    pub name: &'static str,
    /// What was given.
    pub found: u64,
    /// What would do.
    pub expected: &'static str,
}

impl LogConfig {
    /// Refuses settings outside their range, by name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |name, found, expected| Err(ConfigError { name, found, expected });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return refuse("segment.bytes", self.segment_bytes.into(), "1024 to 2147483647");
        }
        if self.segment_ms == 0 {
            return refuse("segment.ms", 0, "at least 1");
        }
        if self.max_message_bytes > SEGMENT_BYTES_MAX {
            return refuse("max.message.bytes", self.max_message_bytes.into(), "0 to 2147483647");
        }
        if self.producer_id_expiration_ms == 0 {
            return refuse("producer.id.expiration.ms", 0, "at least 1");
        }
        match self.flush {
            FlushPolicy::Lazy { messages: messages @ 0..=1, .. } => {
                refuse("flush.messages", messages, "at least 2 for a lazily synced log")
            }
            FlushPolicy::Lazy { .. } | FlushPolicy::EveryAppend => Ok(()),
        }
    }

    /// The bounds that a batch is checked against before it reaches the log.
    pub fn check_limits(&self) -> CheckLimits {
        CheckLimits {
            batch_bytes_max: self.max_message_bytes as usize,
            expanded_bytes_max: self.expanded_bytes_max as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_sync_every_append() {
        assert_eq!(LogConfig::default().validate(), Ok(()));
        assert_eq!(LogConfig::default().flush, FlushPolicy::EveryAppend);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let small = LogConfig { segment_bytes: 1023, ..LogConfig::default() };
        assert_eq!(small.validate().unwrap_err().name, "segment.bytes");
        let eager = FlushPolicy::Lazy { messages: 1, interval_ms: 1 };
        let lazy = LogConfig { flush: eager, ..LogConfig::default() };
        assert_eq!(lazy.validate().unwrap_err().name, "flush.messages");
    }
}
