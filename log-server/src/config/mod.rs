//! What an operator can set.
//!
//! [`ServerConfig`] is the typed result, plain data that the rest of the server reads.
//! [`Settings`] is how it comes about: one [table](SETTINGS) gives each setting its name, unit,
//! default, documentation and parser; [`Settings::load`] lays flags over `CAIRN_*` variables over
//! a TOML file over the defaults, and remembers where each value came from.
//!
//! The rule: a setting exists in the table or not at all, so that `config print`, the file, the
//! environment and the documentation cannot drift apart; what is not in the table is refused by
//! name. Deriving the parsers from the struct would spread the same table over attributes.

mod load;
mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use load::{ConfigError, Entry, Given, Settings, Source};
pub use table::{SETTINGS, Setting};

use crate::broker::group_members::GroupSettings;
use crate::kafka::Listener;
use crate::limits;
use crate::topic_config::TopicConfigs;

/// The settings of a broker, checked.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `data.dir`: where everything is kept.
    pub data_dir: PathBuf,
    /// `grpc.listen`: where the gRPC door listens. Port 0 takes any free port.
    pub grpc_listen: SocketAddr,
    /// `kafka.listeners` and `kafka.advertised.listeners`: where the Kafka door listens, and what
    /// its clients are told.
    pub kafka_listeners: Vec<Listener>,
    /// `max.connections`: Kafka clients at a time.
    pub max_connections: usize,
    /// `connections.max.idle.ms`: how long a Kafka client may be silent.
    pub connections_idle_max: Duration,
    /// `socket.request.max.bytes`: the largest single Kafka request that is taken.
    pub socket_request_bytes_max: usize,
    /// `auto.create.topics.enable`: whether asking for a topic by name creates it.
    pub auto_create_topics: bool,
    /// `group.*` and `offsets.retention.minutes`: what holds for groups of consumers.
    pub groups: GroupSettings,
    /// `http.listen`: where health and metrics are served. Port 0 takes any free port.
    pub http_listen: SocketAddr,
    /// `num.partitions`: of topics that are created without a number.
    pub num_partitions: u32,
    /// `partitions.max`: of all topics together.
    pub partitions_max: u32,
    /// `log.*` and `message.max.bytes`: what topics use where they set nothing themselves.
    pub topic_defaults: TopicConfigs,
    /// `log.retention.check.interval.ms`: how often old segments are looked for.
    pub retention_check_interval: Duration,
    /// `message.expanded.bytes.max`: what one compressed batch may expand to.
    pub expanded_bytes_max: u32,
    /// `producer.id.expiration.ms`: how long an idle producer's sequences are remembered.
    pub producer_id_expiration_ms: u64,
    /// `committer.threads`: how many threads sync logs to the disk.
    pub committer_threads: usize,
    /// `request.memory.bytes.max`: produce requests in memory, all connections together.
    pub request_memory_bytes_max: usize,
    /// `grpc.request.bytes.max`: the largest single gRPC message that is taken.
    pub request_bytes_max: usize,
    /// `grpc.stream.in.flight.bytes.max`: unanswered bytes of one produce stream.
    pub stream_in_flight_bytes_max: usize,
    /// `grpc.response.bytes.max`: what a consume response aims at.
    pub response_bytes_max: usize,
    /// `shutdown.timeout.ms`: how long a stop waits for requests in flight.
    pub shutdown_timeout: Duration,
    /// Records between two snapshots of a coordinator, at least. No setting: a test makes it small,
    /// to see many snapshots.
    pub snapshot_records_min: usize,
    /// What was set, by name and as it was written: for those who look at a running broker.
    pub given: BTreeMap<&'static str, String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let mut config = Self {
            data_dir: PathBuf::new(),
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            kafka_listeners: Vec::new(),
            max_connections: 0,
            connections_idle_max: Duration::ZERO,
            socket_request_bytes_max: 0,
            auto_create_topics: false,
            groups: GroupSettings::default(),
            num_partitions: 0,
            partitions_max: 0,
            topic_defaults: TopicConfigs::default(),
            retention_check_interval: Duration::ZERO,
            expanded_bytes_max: 0,
            producer_id_expiration_ms: 0,
            committer_threads: 0,
            request_memory_bytes_max: 0,
            request_bytes_max: 0,
            stream_in_flight_bytes_max: 0,
            response_bytes_max: 0,
            shutdown_timeout: Duration::ZERO,
            snapshot_records_min: limits::SNAPSHOT_RECORDS_MIN,
            given: BTreeMap::new(),
        };
        for setting in SETTINGS {
            (setting.set)(&mut config, setting.default).expect("a test parses every default");
        }
        config
    }
}
