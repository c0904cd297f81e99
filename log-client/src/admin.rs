//! Topics, their configs, and what lies in their partitions; groups are in [`crate::groups`].
//!
//! The rule: one request, one attempt. An administrator wants to know that the broker is away
//! rather than wait for it, and not every request here may be repeated blindly: a topic that was
//! created by an attempt whose answer was lost exists already at the next.

use std::{collections::BTreeMap, time::Duration};

use log_proto::{
    types::{LeaderEpoch, Offset, TimestampMs},
    v1,
};
use uuid::Uuid;

use crate::{connection::Connection, error::RequestError, producer::Durability};

/// How long a request may take: deleting a large topic is the slowest.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Manages a broker. Cheap to clone.
///
/// ```no_run
/// use log_client::{Client, NewTopic};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let admin = Client::new("127.0.0.1:9094")?.admin();
/// let topic = NewTopic::new("orders").partitions(8).config("retention.ms", "3600000");
/// admin.create_topic(topic).await?;
/// for partition in admin.describe_topic("orders").await?.partitions {
///     println!("{}: {} bytes", partition.partition, partition.size_bytes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) connection: Connection,
}

/// A topic to create.
///
/// ```
/// use log_client::NewTopic;
///
/// let topic = NewTopic::new("orders").partitions(8).config("flush.messages", "1");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a topic is made by Admin::create_topic"]
pub struct NewTopic {
    name: String,
    partitions: Option<u32>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's default number of partitions and default configs.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: None, configs: BTreeMap::new() }
    }

    /// Sets the number of partitions, at least 1.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets a config, under Kafka's name for it.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// Told apart from an earlier topic of the same name by this.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: u32,
    /// Who made it.
    pub owner: TopicOwner,
}

/// Who made a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOwner {
    /// A user.
    User,
    /// The broker, for itself.
    Broker,
}

/// A topic in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name, id and size.
    pub topic: TopicSummary,
    /// By number.
    pub partitions: Vec<PartitionDescription>,
    /// What was set on it, without defaults.
    pub configs: BTreeMap<String, String>,
}

/// What lies in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number, from 0.
    pub partition: u32,
    /// Raised with every unclean start of the broker.
    pub leader_epoch: LeaderEpoch,
    /// First offset that can be read.
    pub log_start_offset: Offset,
    /// End of what a read-committed consumer sees. Exclusive.
    pub last_stable_offset: Offset,
    /// End of what a consumer sees. Exclusive.
    pub high_watermark: Offset,
    /// Next offset to assign.
    pub log_end_offset: Offset,
    /// Everything below it survives what the topic's durability promises.
    pub durable_offset: Offset,
    /// Of the log files, without indexes.
    pub size_bytes: u64,
    /// How many files that is.
    pub segments: u32,
    /// Why it takes no writes, if it takes none.
    pub failure: Option<String>,
    /// What the last start, and reads since, found wrong, with file and position: damage, which is
    /// left in place, and ends that were cut off. The rest of it is served.
    pub findings: Vec<String>,
}

/// A setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// Where it comes from.
    pub source: ConfigSource,
    /// What it does.
    pub documentation: String,
    /// For a value that is taken but not acted upon yet: what is missing.
    pub note: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// It was set on the topic.
    Topic,
    /// Nobody set it.
    Default,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Of the first record that can be read.
    LogStart,
    /// One past the last record that a reader sees.
    HighWatermark,
    /// One past the last record that a read-committed reader sees.
    LastStable,
    /// One past the last record.
    LogEnd,
    /// Of the record with the largest timestamp.
    MaxTimestamp,
    /// Of the first record stamped at or after this time.
    Timestamp(TimestampMs),
}

/// The offset found in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition, from 0.
    pub partition: u32,
    /// `None`: no record is stamped at or after the time asked for.
    pub offset: Option<Offset>,
    /// Of the record, where one was found by time.
    pub timestamp: Option<TimestampMs>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Of the program.
    pub version: String,
    /// Where its data lies, on its machine.
    pub data_dir: String,
    /// What acks=all means on topics that do not say otherwise.
    pub default_durability: Durability,
    /// How many topics it has.
    pub topics: u64,
    /// How many partitions they have together.
    pub partitions: u64,
}

/// Whether a request is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Validation {
    /// It is carried out.
    #[default]
    Apply,
    /// It is only checked whether it would be.
    Only,
}

impl Admin {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Creates a topic.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicSummary, RequestError> {
        let request = v1::CreateTopicRequest {
            name: topic.name,
            partitions: topic.partitions.unwrap_or(0),
            configs: topic.configs.into_iter().collect(),
            validate_only: false,
        };
        let mut client = self.connection.admin();
        let answer = self.connection.answer(REQUEST_TIMEOUT, client.create_topic(request)).await?;
        self.summary(answer.topic)
    }

    /// All topics by name, without those that the broker made for itself.
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, RequestError> {
        self.list(false).await
    }

    /// All topics by name.
    pub async fn list_all_topics(&self) -> Result<Vec<TopicSummary>, RequestError> {
        self.list(true).await
    }

    async fn list(&self, include_internal: bool) -> Result<Vec<TopicSummary>, RequestError> {
        let request = v1::ListTopicsRequest { include_internal };
        let mut client = self.connection.admin();
        let answer = self.connection.answer(REQUEST_TIMEOUT, client.list_topics(request)).await?;
        answer.topics.into_iter().map(|topic| self.summary(Some(topic))).collect()
    }

    /// A topic, its partitions, and the configs that were set on it.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, RequestError> {
        let request = v1::DescribeTopicRequest { name: name.to_owned() };
        let mut client = self.connection.admin();
        let answer =
            self.connection.answer(REQUEST_TIMEOUT, client.describe_topic(request)).await?;
        let partitions: Option<Vec<_>> = answer.partitions.into_iter().map(partition).collect();
        Ok(TopicDescription {
            topic: self.summary(answer.topic)?,
            partitions: partitions
                .ok_or_else(|| self.connection.bad_answer("a negative partition or offset"))?,
            configs: answer.configs.into_iter().collect(),
        })
    }

    /// Deletes a topic and everything in it.
    pub async fn delete_topic(&self, name: &str) -> Result<(), RequestError> {
        let request = v1::DeleteTopicRequest { name: name.to_owned() };
        let mut client = self.connection.admin();
        self.connection.answer(REQUEST_TIMEOUT, client.delete_topic(request)).await.map(|_| ())
    }

    /// Every setting of a topic.
    pub async fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>, RequestError> {
        let request = v1::DescribeConfigsRequest { topic: topic.to_owned() };
        let mut client = self.connection.admin();
        let answer =
            self.connection.answer(REQUEST_TIMEOUT, client.describe_configs(request)).await?;
        Ok(answer.entries.into_iter().map(config_entry).collect())
    }

    /// Sets some of a topic's configs and takes others back to their defaults. All or nothing.
    pub async fn alter_configs(
        &self,
        topic: &str,
        set: BTreeMap<String, String>,
        unset: Vec<String>,
        validation: Validation,
    ) -> Result<(), RequestError> {
        let request = v1::AlterConfigsRequest {
            topic: topic.to_owned(),
            set: set.into_iter().collect(),
            unset,
            validate_only: validation == Validation::Only,
        };
        let mut client = self.connection.admin();
        self.connection.answer(REQUEST_TIMEOUT, client.alter_configs(request)).await.map(|_| ())
    }

    /// An offset of each of these partitions; of all if none is named.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[u32],
        spec: OffsetSpec,
    ) -> Result<Vec<PartitionOffset>, RequestError> {
        let request = v1::ListOffsetsRequest {
            topic: topic.to_owned(),
            partitions: partitions.iter().map(|&partition| partition as i32).collect(),
            position: Some(spec.to_wire()),
        };
        let mut client = self.connection.admin();
        let answer = self.connection.answer(REQUEST_TIMEOUT, client.list_offsets(request)).await?;
        let offsets: Option<Vec<_>> = answer.offsets.into_iter().map(partition_offset).collect();
        offsets.ok_or_else(|| self.connection.bad_answer("a negative partition or offset"))
    }

    /// The broker itself.
    pub async fn describe_broker(&self) -> Result<BrokerDescription, RequestError> {
        let mut client = self.connection.admin();
        let request = v1::DescribeBrokerRequest {};
        let answer =
            self.connection.answer(REQUEST_TIMEOUT, client.describe_broker(request)).await?;
        Ok(BrokerDescription {
            default_durability: answer.default_durability().into(),
            version: answer.version,
            data_dir: answer.data_dir,
            topics: answer.topics,
            partitions: answer.partitions,
        })
    }

    fn summary(&self, topic: Option<v1::Topic>) -> Result<TopicSummary, RequestError> {
        let topic = topic.ok_or_else(|| self.connection.bad_answer("no topic in it"))?;
        let id = Uuid::from_slice(&topic.id)
            .map_err(|_| self.connection.bad_answer("a topic id that is not 16 bytes"))?;
        let owner = if topic.internal { TopicOwner::Broker } else { TopicOwner::User };
        Ok(TopicSummary { name: topic.name, id, partitions: topic.partitions, owner })
    }
}

impl OffsetSpec {
    fn to_wire(self) -> v1::list_offsets_request::Position {
        use v1::list_offsets_request::Position;
        let kind = match self {
            Self::LogStart => v1::OffsetKind::LogStart,
            Self::HighWatermark => v1::OffsetKind::HighWatermark,
            Self::LastStable => v1::OffsetKind::LastStable,
            Self::LogEnd => v1::OffsetKind::LogEnd,
            Self::MaxTimestamp => v1::OffsetKind::MaxTimestamp,
            Self::Timestamp(time) => return Position::TimestampMs(time.get()),
        };
        Position::Kind(kind.into())
    }
}

fn partition(wire: v1::PartitionDescription) -> Option<PartitionDescription> {
    Some(PartitionDescription {
        partition: u32::try_from(wire.partition).ok()?,
        leader_epoch: LeaderEpoch::new(wire.leader_epoch)?,
        log_start_offset: Offset::new(wire.log_start_offset)?,
        last_stable_offset: Offset::new(wire.last_stable_offset)?,
        high_watermark: Offset::new(wire.high_watermark)?,
        log_end_offset: Offset::new(wire.log_end_offset)?,
        durable_offset: Offset::new(wire.durable_offset)?,
        size_bytes: wire.size_bytes,
        segments: wire.segments,
        failure: not_empty(wire.failure),
        findings: wire.findings,
    })
}

fn partition_offset(wire: v1::PartitionOffset) -> Option<PartitionOffset> {
    Some(PartitionOffset {
        partition: u32::try_from(wire.partition).ok()?,
        offset: match wire.offset {
            Some(offset) => Some(Offset::new(offset)?),
            None => None,
        },
        timestamp: wire.timestamp_ms.map(TimestampMs::new),
    })
}

fn config_entry(wire: v1::ConfigEntry) -> ConfigEntry {
    ConfigEntry {
        name: wire.name,
        value: wire.value,
        source: if wire.is_default { ConfigSource::Default } else { ConfigSource::Topic },
        documentation: wire.documentation,
        note: not_empty(wire.note),
    }
}

pub(crate) fn not_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
