//! What can be set on a topic: Kafka's names, their parsers and their documentation, as one table.
//!
//! The rule: a value is text until it is resolved, in one place, over the broker's defaults. What
//! is stored is what was set and no more, so that a default that an operator changes reaches every
//! topic that left it alone. Names that are not in the table are refused, instead of being kept
//! and ignored.

use std::collections::BTreeMap;

use log_core::{CleanupPolicy, FlushPolicy, LogConfig};
use log_proto::record::TimestampType;

/// One thing that can be set on a topic.
#[derive(Debug)]
pub struct TopicConfig {
    /// Kafka's name for it.
    pub name: &'static str,
    /// Its value when neither the topic nor the broker sets it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What is missing when a value is taken but not acted upon yet.
    pub note: fn(value: &str) -> Option<&'static str>,
    /// Parses a value into its place. The error says what was expected.
    set: fn(&mut LogConfig, &str) -> Result<(), String>,
}

/// Every topic config there is. The order matters where two share a field: `flush.ms` refines
/// what `flush.messages` has decided.
pub const TOPIC_CONFIGS: &[TopicConfig] = &[
    TopicConfig {
        name: "cleanup.policy",
        default: "delete",
        doc: "What becomes of old records: delete by age and size, compact to the last of each \
              key, or compact,delete for both.",
        note: |value| value.contains("compact").then_some("compaction is not active yet"),
        set: |config, text| {
            config.cleanup = match text {
                "delete" => CleanupPolicy::Delete,
                "compact" => CleanupPolicy::Compact,
                "compact,delete" | "delete,compact" => CleanupPolicy::CompactAndDelete,
                _ => return Err("delete, compact or compact,delete".to_owned()),
            };
            Ok(())
        },
    },
    TopicConfig {
        name: "flush.messages",
        default: "1",
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
        doc: "Log bytes between two entries of the offset index.",
        note: no_note,
        set: |config, text| {
            config.index_interval_bytes = number(text, 0, i32::MAX as u64)? as u32;
            Ok(())
        },
    },
    TopicConfig {
        name: "max.message.bytes",
        default: "1048588",
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
        name: "retention.bytes",
        default: "-1",
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
        name: "segment.ms",
        default: "604800000",
        doc: "A segment that has had records for so long is rolled.",
        note: no_note,
        set: |config, text| {
            config.segment_ms = number(text, 1, i64::MAX as u64)?;
            Ok(())
        },
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
            unknown @ TopicConfigError::Unknown { .. } => unknown.to_string(),
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
        ] {
            let error = TopicConfigs::parse([(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn compaction_is_taken_with_a_note() {
        let config = find("cleanup.policy").unwrap();
        assert_eq!((config.note)("compact"), Some("compaction is not active yet"));
        assert_eq!((config.note)("delete"), None);
    }
}
