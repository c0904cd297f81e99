//! What can be set on a topic: Kafka's names, their parsers and their documentation, as one table.
//!
//! The rule: a value is text until it is resolved, in one place, over the broker's defaults. What
//! is stored is what was set and no more, so that a default that an operator changes reaches every
//! topic that left it alone. Names that are not in the table are refused, instead of being kept
//! and ignored.

mod change;

use std::collections::BTreeMap;

use log_core::{CleanupPolicy, FlushPolicy, LogConfig};
use log_proto::record::TimestampType;

pub use change::{ConfigChange, ConfigEdit};

/// One thing that can be set on a topic.
#[derive(Debug)]
pub struct TopicConfig {
    /// Kafka's name for it.
    pub name: &'static str,
    /// Its value when neither the topic nor the broker sets it.
    pub default: &'static str,
    /// What its values look like.
    pub kind: ConfigKind,
    /// The broker's setting that sets it for all topics, if there is one.
    pub broker_setting: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
    /// What is missing when a value is taken but not acted upon yet.
    pub note: fn(value: &str) -> Option<&'static str>,
    /// Parses a value into its place. The error says what was expected.
    set: fn(&mut LogConfig, &str) -> Result<(), String>,
}

/// What the values of a config look like. They are text all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Several, divided by commas.
    List,
}

/// Every topic config there is, by name. Some can only be set to what is so anyway: clients set
/// them by habit, and are told by name where they mean more than that. The order matters where two
/// share a field: `flush.ms` refines what `flush.messages` has decided.
pub const TOPIC_CONFIGS: &[TopicConfig] = &[
    TopicConfig {
        name: "cleanup.policy",
        default: "delete",
        kind: ConfigKind::List,
        broker_setting: None,
        doc: "What becomes of old records: delete by age and size, compact to the last of each \
              key, or compact,delete for both.",
        note: |value| value.contains("compact").then_some("compaction is not active yet"),
        set: |config, text| {
            let mut policies: Vec<_> = list(text).collect();
            policies.sort_unstable();
            config.cleanup = match policies[..] {
                ["delete"] => CleanupPolicy::Delete,
                ["compact"] => CleanupPolicy::Compact,
                ["compact", "delete"] => CleanupPolicy::CompactAndDelete,
                _ => return Err("delete, compact or compact,delete".to_owned()),
            };
            Ok(())
        },
    },
    TopicConfig {
        name: "compression.type",
        default: "producer",
        kind: ConfigKind::Text,
        broker_setting: None,
        doc: "Batches are kept in the compression in which they were sent, which is what producer \
              means.",
        note: no_note,
        set: |_, text| only(text, "producer", "batches are kept as they were sent"),
    },
    TopicConfig {
        name: "delete.retention.ms",
        default: "86400000",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "How long compaction keeps the record that deletes a key.",
        note: |value| unless("86400000", value, "compaction is not active yet"),
        set: |_, text| number(text, 0, i64::MAX as u64).map(drop),
    },
    TopicConfig {
        name: "file.delete.delay.ms",
        default: "60000",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "How long a deleted file stays on the disk. Files are removed at once here; what is being \
              read from them is read to its end.",
        note: |value| unless("60000", value, "files are removed at once"),
        set: |_, text| number(text, 0, i64::MAX as u64).map(drop),
    },
    TopicConfig {
        name: "flush.messages",
        default: "1",
        kind: ConfigKind::Long,
        broker_setting: Some("log.flush.interval.messages"),
        doc: "Records between syncs. 1 syncs whatever was appended, before acks=all is answered \
              and before it is read; more answers from the page cache.",
        note: no_note,
        set: |config, text| {
            config.flush = match number(text, 1, i64::MAX as u64)? {
                1 => FlushPolicy::EveryAppend,
                messages => FlushPolicy::Lazy { messages, interval_ms: i64::MAX as u64 },
            };
            Ok(())
        },
    },
    TopicConfig {
        name: "flush.ms",
        default: "9223372036854775807",
        kind: ConfigKind::Long,
        broker_setting: Some("log.flush.interval.ms"),
        doc: "Milliseconds after which appended records are synced, where flush.messages is more \
              than 1.",
        note: no_note,
        set: |config, text| {
            let millis = number(text, 0, i64::MAX as u64)?;
            if let FlushPolicy::Lazy { interval_ms, .. } = &mut config.flush {
                *interval_ms = millis;
            }
            Ok(())
        },
    },
    TopicConfig {
        name: "index.interval.bytes",
        default: "4096",
        kind: ConfigKind::Int,
        broker_setting: None,
        doc: "Log bytes between two entries of the offset index.",
        note: no_note,
        set: |config, text| {
            config.index_interval_bytes = number(text, 0, i32::MAX as u64)? as u32;
            Ok(())
        },
    },
    TopicConfig {
        name: "max.compaction.lag.ms",
        default: "9223372036854775807",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "After so long a record is compacted, however little there is to gain.",
        note: |value| unless("9223372036854775807", value, "compaction is not active yet"),
        set: |_, text| number(text, 1, i64::MAX as u64).map(drop),
    },
    TopicConfig {
        name: "max.message.bytes",
        default: "1048588",
        kind: ConfigKind::Int,
        broker_setting: Some("message.max.bytes"),
        doc: "The largest record batch that is taken, as it is stored.",
        note: no_note,
        set: |config, text| {
            config.max_message_bytes = number(text, 0, i32::MAX as u64)? as u32;
            Ok(())
        },
    },
    TopicConfig {
        name: "message.timestamp.after.max.ms",
        default: "3600000",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "How far in the future of the broker's clock a producer's timestamp may lie.",
        note: no_note,
        set: |config, text| {
            config.timestamp_after_max_ms = number(text, 0, i64::MAX as u64)?;
            Ok(())
        },
    },
    TopicConfig {
        name: "message.timestamp.before.max.ms",
        default: "9223372036854775807",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "How far in the past of the broker's clock a producer's timestamp may lie.",
        note: no_note,
        set: |config, text| {
            config.timestamp_before_max_ms = number(text, 0, i64::MAX as u64)?;
            Ok(())
        },
    },
    TopicConfig {
        name: "message.timestamp.type",
        default: "CreateTime",
        kind: ConfigKind::Text,
        broker_setting: None,
        doc: "CreateTime keeps the producer's timestamp, LogAppendTime stamps the time of the \
              append.",
        note: no_note,
        set: |config, text| {
            config.timestamp_type = match text {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => return Err("CreateTime or LogAppendTime".to_owned()),
            };
            Ok(())
        },
    },
    TopicConfig {
        name: "min.cleanable.dirty.ratio",
        default: "0.5",
        kind: ConfigKind::Double,
        broker_setting: None,
        doc: "The share of a log that must be new before it is compacted.",
        note: |value| unless("0.5", value, "compaction is not active yet"),
        set: |_, text| {
            let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.map(drop::<f64>).ok_or_else(|| "a number from 0 to 1".to_owned())
        },
    },
    TopicConfig {
        name: "min.compaction.lag.ms",
        default: "0",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "For so long a record is not compacted.",
        note: |value| unless("0", value, "compaction is not active yet"),
        set: |_, text| number(text, 0, i64::MAX as u64).map(drop),
    },
    TopicConfig {
        name: "min.insync.replicas",
        default: "1",
        kind: ConfigKind::Int,
        broker_setting: None,
        doc: "How many replicas must have a record before it is acknowledged to acks=all. There is \
              one.",
        note: no_note,
        set: |_, text| only(text, "1", "there is one replica"),
    },
    TopicConfig {
        name: "preallocate",
        default: "false",
        kind: ConfigKind::Boolean,
        broker_setting: None,
        doc: "Whether segments are given their full size when they are made. They grow in steps \
              here.",
        note: no_note,
        set: |_, text| only(text, "false", "segments grow in steps"),
    },
    TopicConfig {
        name: "retention.bytes",
        default: "-1",
        kind: ConfigKind::Long,
        broker_setting: Some("log.retention.bytes"),
        doc: "How many bytes each partition keeps at least before its oldest segments are \
              deleted; -1 is no bound.",
        note: no_note,
        set: |config, text| {
            config.retention_bytes = number_or_unbounded(text)?;
            Ok(())
        },
    },
    TopicConfig {
        name: "retention.ms",
        default: "604800000",
        kind: ConfigKind::Long,
        broker_setting: Some("log.retention.ms"),
        doc: "How long records are kept at least; -1 keeps them for ever.",
        note: no_note,
        set: |config, text| {
            config.retention_ms = number_or_unbounded(text)?;
            Ok(())
        },
    },
    TopicConfig {
        name: "segment.bytes",
        default: "1073741824",
        kind: ConfigKind::Int,
        broker_setting: Some("log.segment.bytes"),
        doc: "A segment is rolled before it would grow past this. Old records are deleted by \
              whole segments.",
        note: no_note,
        set: |config, text| {
            let min = u64::from(log_core::SEGMENT_BYTES_MIN);
            let max = u64::from(log_core::SEGMENT_BYTES_MAX);
            config.segment_bytes = number(text, min, max)? as u32;
            Ok(())
        },
    },
    TopicConfig {
        name: "segment.index.bytes",
        default: "10485760",
        kind: ConfigKind::Int,
        broker_setting: None,
        doc: "How large an index may become before its segment is rolled. Indexes grow with their \
              segments here, and roll nothing.",
        note: |value| unless("10485760", value, "indexes grow with their segments"),
        set: |_, text| number(text, 4, i32::MAX as u64).map(drop),
    },
    TopicConfig {
        name: "segment.jitter.ms",
        default: "0",
        kind: ConfigKind::Long,
        broker_setting: None,
        doc: "By how much at most segment.ms is shortened at random, so that not all topics roll at \
              once.",
        note: no_note,
        set: |_, text| only(text, "0", "segments roll when they are due"),
    },
    TopicConfig {
        name: "segment.ms",
        default: "604800000",
        kind: ConfigKind::Long,
        broker_setting: Some("log.roll.ms"),
        doc: "A segment that has had records for so long is rolled.",
        note: no_note,
        set: |config, text| {
            config.segment_ms = number(text, 1, i64::MAX as u64)?;
            Ok(())
        },
    },
    TopicConfig {
        name: "unclean.leader.election.enable",
        default: "false",
        kind: ConfigKind::Boolean,
        broker_setting: None,
        doc: "Whether a replica that lacks acknowledged records may lead. There is one replica.",
        note: no_note,
        set: |_, text| only(text, "false", "there is one replica"),
    },
];

/// Why something cannot be set on a topic.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicConfigError {
    /// No config has this name.
    #[error("unknown topic config {name:?}: use one of {}", known_names())]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The value is not one that the config takes.
    #[error("{name} is {value:?}, but must be {expected}")]
    BadValue {
        /// Which config.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: String,
    },
    /// Something is to be added to a value, or taken from one, that is no list.
    #[error("{name} is no list: set it as a whole")]
    NotAList {
        /// Which config.
        name: &'static str,
    },
}

/// What is set on a topic, or what the broker sets for all: known names, values that parse.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicConfigs(BTreeMap<&'static str, String>);

impl TopicConfigs {
    /// Refuses the first name that is unknown, or value that does not parse.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TopicConfigError> {
        let mut configs = Self::default();
        for (name, value) in pairs {
            configs.set(name, value)?;
        }
        Ok(configs)
    }

    /// Sets one config.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), TopicConfigError> {
        let config = find(name)?;
        (config.set)(&mut LogConfig::default(), value).map_err(|expected| {
            TopicConfigError::BadValue { name: config.name, value: value.to_owned(), expected }
        })?;
        self.0.insert(config.name, value.to_owned());
        Ok(())
    }

    /// Sets one config by a name that exists. The error says what was expected.
    pub(crate) fn set_text(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        self.set(name, value).map_err(|error| match error {
            TopicConfigError::BadValue { expected, .. } => expected,
            other => other.to_string(),
        })
    }

    /// Takes one config back to the default.
    pub fn unset(&mut self, name: &str) -> Result<(), TopicConfigError> {
        self.0.remove(find(name)?.name);
        Ok(())
    }

    /// What is set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The value of one config: set here, else by the broker, else the default.
    pub fn effective<'a>(&'a self, config: &TopicConfig, defaults: &'a Self) -> &'a str {
        let set = self.0.get(config.name).or_else(|| defaults.0.get(config.name));
        set.map_or(config.default, String::as_str)
    }

    /// Whether the topic itself sets this config.
    pub fn sets(&self, config: &TopicConfig) -> bool {
        self.0.contains_key(config.name)
    }

    /// The settings of the topic's logs. `base` gives what is no topic config.
    pub fn resolve(&self, defaults: &Self, base: &LogConfig) -> LogConfig {
        let mut resolved = base.clone();
        for config in TOPIC_CONFIGS {
            (config.set)(&mut resolved, self.effective(config, defaults))
                .expect("values are parsed before they are kept");
        }
        resolved
    }
}

fn find(name: &str) -> Result<&'static TopicConfig, TopicConfigError> {
    let found = TOPIC_CONFIGS.iter().find(|config| config.name == name);
    found.ok_or_else(|| TopicConfigError::Unknown { name: name.to_owned() })
}

fn known_names() -> String {
    let names: Vec<_> = TOPIC_CONFIGS.iter().map(|config| config.name).collect();
    names.join(", ")
}

fn no_note(_: &str) -> Option<&'static str> {
    None
}

/// A note for every value but the default, which nobody has asked for.
fn unless(default: &str, value: &str, note: &'static str) -> Option<&'static str> {
    (value != default).then_some(note)
}

/// The parts of a list, without the space around them.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn only(text: &str, value: &str, why: &str) -> Result<(), String> {
    if text == value { Ok(()) } else { Err(format!("{value}: {why}")) }
}

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let parsed = text.parse().ok().filter(|value| (min..=max).contains(value));
    parsed.ok_or_else(|| format!("a number from {min} to {max}"))
}

fn number_or_unbounded(text: &str) -> Result<Option<u64>, String> {
    if text == "-1" {
        return Ok(None);
    }
    let bounded = number(text, 0, i64::MAX as u64).map(Some);
    bounded.map_err(|expected| format!("-1 (no bound) or {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pairs: &[(&str, &str)], defaults: &[(&str, &str)]) -> LogConfig {
        let defaults = TopicConfigs::parse(defaults.iter().copied()).unwrap();
        TopicConfigs::parse(pairs.iter().copied())
            .unwrap()
            .resolve(&defaults, &LogConfig::default())
    }

    /// The table's defaults are documentation too: they must be what the log does.
    #[test]
    fn the_defaults_of_the_table_are_those_of_the_log() {
        let resolved = resolve(&[], &[]);
        let timestamp_before_max_ms = i64::MAX as u64;
        assert_eq!(resolved, LogConfig { timestamp_before_max_ms, ..LogConfig::default() });
        assert_eq!(resolved.validate(), Ok(()));
    }

    #[test]
    fn the_topic_wins_over_the_broker() {
        let config = resolve(&[("retention.ms", "5")], &[("retention.ms", "-1")]);
        assert_eq!(config.retention_ms, Some(5));
        assert_eq!(resolve(&[], &[("retention.ms", "-1")]).retention_ms, None);
    }

    #[test]
    fn flush_ms_refines_only_a_lazy_policy() {
        let lazy = resolve(&[("flush.messages", "10")], &[("flush.ms", "500")]);
        assert_eq!(lazy.flush, FlushPolicy::Lazy { messages: 10, interval_ms: 500 });
        assert_eq!(resolve(&[("flush.ms", "500")], &[]).flush, FlushPolicy::EveryAppend);
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused_by_name() {
        let unknown = TopicConfigs::parse([("retention", "1")]).unwrap_err();
        assert!(unknown.to_string().contains("retention.ms"));
        for (name, value) in [
            ("flush.messages", "0"),
            ("segment.bytes", "10"),
            ("retention.ms", "-2"),
            ("cleanup.policy", "none"),
            ("message.timestamp.type", "now"),
            ("max.message.bytes", "2147483648"),
            ("compression.type", "gzip"),
            ("min.insync.replicas", "2"),
            ("min.cleanable.dirty.ratio", "NaN"),
        ] {
            let error = TopicConfigs::parse([(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    /// What Kafka Streams, Connect and the tools of other languages set on topics that they make.
    #[test]
    fn what_clients_set_by_habit_is_taken() {
        let pairs = [
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "producer"),
            ("delete.retention.ms", "86400000"),
            ("message.timestamp.type", "CreateTime"),
            ("min.cleanable.dirty.ratio", "0.5"),
            ("min.insync.replicas", "1"),
            ("preallocate", "false"),
            ("retention.ms", "-1"),
            ("segment.bytes", "52428800"),
            ("segment.index.bytes", "52428800"),
            ("unclean.leader.election.enable", "false"),
        ];
        assert_eq!(resolve(&pairs, &[]).cleanup, CleanupPolicy::CompactAndDelete);
    }

    #[test]
    fn the_table_is_in_order_and_names_settings_that_set_it() {
        assert!(TOPIC_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for config in TOPIC_CONFIGS {
            let Some(name) = config.broker_setting else { continue };
            let setting = crate::config::SETTINGS.iter().find(|setting| setting.name == name);
            assert_eq!(setting.expect(name).default, config.default, "{name}");
        }
    }

    #[test]
    fn compaction_is_taken_with_a_note() {
        let config = find("cleanup.policy").unwrap();
        assert_eq!((config.note)("compact"), Some("compaction is not active yet"));
        assert_eq!((config.note)("delete"), None);
    }
}
