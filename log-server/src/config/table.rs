//! The table of settings: the one place that knows their names.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ServerConfig;
use crate::kafka::Listener;
use crate::limits;

/// One thing that an operator can set.
#[derive(Debug)]
pub struct Setting {
    /// Its name in flags, files and listings; in the environment `CAIRN_` and the name in capitals
    /// with `_` for `.`.
    pub name: &'static str,
    /// What its number counts; empty for what is no number.
    pub unit: &'static str,
    /// Its value when nobody sets it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Parses a value into its place. The error says what was expected.
    pub(super) set: fn(&mut ServerConfig, &str) -> Result<(), String>,
}

impl Setting {
    /// The name of the environment variable that sets it.
    pub fn env_name(&self) -> String {
        format!("CAIRN_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The setting with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "data.dir",
        unit: "",
        default: "./data",
        doc: "The folder that everything is kept in; made if missing.",
        set: |config, text| {
            if text.is_empty() {
                return Err("a folder".to_owned());
            }
            config.data_dir = text.into();
            Ok(())
        },
    },
    Setting {
        name: "grpc.listen",
        unit: "",
        default: "127.0.0.1:9094",
        doc: "Where the gRPC door listens. Nothing is authenticated yet: keep it on loopback.",
        set: |config, text| address(text).map(|address| config.grpc_listen = address),
    },
    Setting {
        name: "kafka.listeners",
        unit: "",
        default: "127.0.0.1:9092",
        doc: "Where the Kafka door listens: addresses divided by commas; several need names, as in \
              IN://127.0.0.1:9092,OUT://10.0.0.5:9093. Nothing is authenticated yet: keep it on \
              loopback.",
        set: |config, text| {
            config.kafka_listeners =
                Listener::parse_all(text).map_err(|error| error.to_string())?;
            Ok(())
        },
    },
    Setting {
        name: "kafka.advertised.listeners",
        unit: "",
        default: "",
        doc: "By which host and port Kafka clients find this broker, as in logs.example:9092 or \
              OUT://logs.example:9093, each for the listener of that name in kafka.listeners; \
              without it, by the address that they came in by.",
        // Which listeners there are is known once all sources are read: `Settings` lays this on.
        set: |_, text| {
            Listener::parse_advertised(text).map(drop).map_err(|error| error.to_string())
        },
    },
    Setting {
        name: "max.connections",
        unit: "connections",
        default: "4096",
        doc: "Kafka clients that may be connected at a time; more are closed at once.",
        set: |config, text| {
            config.max_connections = number(text, 1..=1_000_000)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "connections.max.idle.ms",
        unit: "ms",
        default: "600000",
        doc: "A Kafka client that asks nothing for so long is closed.",
        set: |config, text| {
            config.connections_idle_max = millis(text, 1000..=u64::from(u32::MAX))?;
            Ok(())
        },
    },
    Setting {
        name: "socket.request.max.bytes",
        unit: "bytes",
        default: "67108864",
        doc: "The largest Kafka request that is taken. At most request.memory.bytes.max.",
        set: |config, text| {
            config.socket_request_bytes_max = number(text, BYTES)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "auto.create.topics.enable",
        unit: "",
        default: "true",
        doc: "Whether a Kafka client that asks for a topic that is not there creates it, where it \
              allows that.",
        set: |config, text| {
            config.auto_create_topics = text.parse().map_err(|_| "true or false".to_owned())?;
            Ok(())
        },
    },
    Setting {
        name: "group.initial.rebalance.delay.ms",
        unit: "ms",
        default: "300",
        doc: "How long the first member of an empty group of the classic protocol waits for \
              others, and again while they come, so that a group that starts is not rebalanced \
              once for each of them.",
        set: |config, text| {
            config.groups.initial_rebalance_delay = millis(text, 0..=600_000)?;
            Ok(())
        },
    },
    Setting {
        name: "offsets.retention.minutes",
        unit: "minutes",
        default: "10080",
        doc: "How long committed offsets outlive their group's last member.",
        set: |config, text| {
            let minutes = number(text, 1..=u64::from(u32::MAX))?;
            config.groups.offsets_retention = Duration::from_secs(minutes * 60);
            Ok(())
        },
    },
    Setting {
        name: "http.listen",
        unit: "",
        default: "127.0.0.1:9644",
        doc: "Where /healthz, /readyz and /metrics are served.",
        set: |config, text| address(text).map(|address| config.http_listen = address),
    },
    Setting {
        name: "num.partitions",
        unit: "partitions",
        default: "1",
        doc: "Partitions of a topic that is created without a number. One keeps every record of \
              the topic in one order.",
        set: |config, text| {
            let range = 1..=u64::from(limits::TOPIC_PARTITIONS_MAX);
            config.num_partitions = number(text, range)? as u32;
            Ok(())
        },
    },
    Setting {
        name: "partitions.max",
        unit: "partitions",
        default: "100000",
        doc: "How many partitions all topics may have together.",
        set: |config, text| {
            config.partitions_max = number(text, 1..=10_000_000)? as u32;
            Ok(())
        },
    },
    Setting {
        name: "log.segment.bytes",
        unit: "bytes",
        default: "1073741824",
        doc: "Default of segment.bytes for topics that do not set it.",
        set: |config, text| config.topic_defaults.set_text("segment.bytes", text),
    },
    Setting {
        name: "log.roll.ms",
        unit: "ms",
        default: "604800000",
        doc: "Default of segment.ms for topics that do not set it.",
        set: |config, text| config.topic_defaults.set_text("segment.ms", text),
    },
    Setting {
        name: "log.retention.ms",
        unit: "ms",
        default: "604800000",
        doc: "Default of retention.ms for topics that do not set it; -1 keeps records for ever.",
        set: |config, text| config.topic_defaults.set_text("retention.ms", text),
    },
    Setting {
        name: "log.retention.bytes",
        unit: "bytes",
        default: "-1",
        doc: "Default of retention.bytes (for each partition) for topics that do not set it; -1 \
              is no bound.",
        set: |config, text| config.topic_defaults.set_text("retention.bytes", text),
    },
    Setting {
        name: "log.retention.check.interval.ms",
        unit: "ms",
        default: "300000",
        doc: "How often segments past their retention are looked for.",
        set: |config, text| {
            config.retention_check_interval = millis(text, 100..=u64::from(u32::MAX))?;
            Ok(())
        },
    },
    Setting {
        name: "log.flush.interval.messages",
        unit: "records",
        default: "1",
        doc: "Default of flush.messages for topics that do not set it. 1 syncs before acks=all \
              is answered; more answers from the page cache, and power loss may take the tail.",
        set: |config, text| config.topic_defaults.set_text("flush.messages", text),
    },
    Setting {
        name: "log.flush.interval.ms",
        unit: "ms",
        default: "9223372036854775807",
        doc: "Default of flush.ms for topics that do not set it; used where flush.messages is \
              more than 1.",
        set: |config, text| config.topic_defaults.set_text("flush.ms", text),
    },
    Setting {
        name: "message.max.bytes",
        unit: "bytes",
        default: "1048588",
        doc: "Default of max.message.bytes for topics that do not set it: the largest batch, as \
              it is stored.",
        set: |config, text| config.topic_defaults.set_text("max.message.bytes", text),
    },
    Setting {
        name: "message.expanded.bytes.max",
        unit: "bytes",
        default: "67108864",
        doc: "What one compressed batch may expand to. A consumer of plain records holds so much \
              in the broker's memory while its batch is decoded.",
        set: |config, text| {
            config.expanded_bytes_max = number(text, 1024..=i32::MAX as u64)? as u32;
            Ok(())
        },
    },
    Setting {
        name: "producer.id.expiration.ms",
        unit: "ms",
        default: "86400000",
        doc: "How long the sequences of an idle producer are remembered, to recognise duplicates.",
        set: |config, text| {
            config.producer_id_expiration_ms = number(text, 1..=i64::MAX as u64)?;
            Ok(())
        },
    },
    Setting {
        name: "committer.threads",
        unit: "threads",
        default: "16",
        doc: "How many logs are synced to the disk at the same time.",
        set: |config, text| {
            config.committer_threads = number(text, 1..=256)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "request.memory.bytes.max",
        unit: "bytes",
        default: "100663296",
        doc: "Requests to produce, and Kafka requests of more than 64 KiB, in memory, of all \
              connections together; past it the broker stops reading. Requests of up to 64 KiB \
              have a sixteenth of it more, and 64 KiB at least, to themselves; what has come of \
              gRPC requests that are not whole yet has as much again. At least \
              grpc.request.bytes.max and socket.request.max.bytes.",
        set: |config, text| {
            config.request_memory_bytes_max = number(text, BYTES)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "grpc.request.bytes.max",
        unit: "bytes",
        default: "33554432",
        doc: "The largest gRPC message that is taken.",
        set: |config, text| {
            config.request_bytes_max = number(text, BYTES)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "grpc.stream.in.flight.bytes.max",
        unit: "bytes",
        default: "16777216",
        doc: "Unanswered bytes of one produce stream; past it the broker stops reading from it.",
        set: |config, text| {
            config.stream_in_flight_bytes_max = number(text, BYTES)? as usize;
            Ok(())
        },
    },
    Setting {
        name: "grpc.response.bytes.max",
        unit: "bytes",
        default: "1048576",
        doc: "What one response of a Consume call aims at, and at most what its caller may ask \
              for. A larger single batch is sent whole.",
        set: |config, text| {
            config.response_bytes_max = number(text, 1024..=(64 << 20))? as usize;
            Ok(())
        },
    },
    Setting {
        name: "shutdown.timeout.ms",
        unit: "ms",
        default: "1000",
        doc: "How long a stop waits for requests in flight before it closes the logs.",
        set: |config, text| {
            config.shutdown_timeout = millis(text, 0..=3_600_000)?;
            Ok(())
        },
    },
];

/// Bounds of the settings that count bytes in memory: one semaphore counts them in 32 bits.
const BYTES: RangeInclusive<u64> = 1024..=i32::MAX as u64;

fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let expected = || format!("a number from {} to {}", range.start(), range.end());
    let value = text.parse().map_err(|_| expected())?;
    if range.contains(&value) { Ok(value) } else { Err(expected()) }
}

fn millis(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    number(text, range).map(Duration::from_millis)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an IP address and a port, such as 127.0.0.1:9094".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_parses_and_there_are_fewer_than_thirty() {
        let mut config = ServerConfig::default();
        for setting in SETTINGS {
            assert_eq!((setting.set)(&mut config, setting.default), Ok(()), "{}", setting.name);
        }
        assert!(SETTINGS.len() < 30);
    }

    /// `a.b` and `a.b.c` could not both stand in one TOML file.
    #[test]
    fn no_name_is_the_beginning_of_another() {
        for one in SETTINGS {
            let prefix = format!("{}.", one.name);
            assert!(!SETTINGS.iter().any(|other| other.name.starts_with(&prefix)), "{prefix}");
        }
    }
}
