//! The settings of a consumer that is a member of a group.

use std::{sync::Arc, time::Duration};

use log_proto::{
    types::{Offset, TimestampMs},
    v1::{self, join},
};

use super::GroupConsumer;
use crate::{
    connection::Connection,
    consumer::{
        config::{CREDIT_BYTES, ConsumerConfigError, Isolation},
        link::LinkConfig,
    },
};

/// Where a member starts in a partition that its group has committed nothing for, or whose
/// committed offset has been deleted (`auto.offset.reset` in Kafka's clients).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WithoutCommit {
    /// At the first record that there is: a group that begins misses nothing.
    #[default]
    Earliest,
    /// Behind the last record: only what comes from now on.
    Latest,
    /// At an offset, which must lie within the log.
    Offset(Offset),
    /// At the first record stamped at or after this time; at the end if there is none.
    Timestamp(TimestampMs),
    /// Nowhere: the partition is not read, and [`ConsumeError::Partition`](crate::ConsumeError)
    /// says so.
    Refuse,
}

/// When a member's positions are committed without being asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCommit {
    /// Never: the application commits.
    Off,
    /// When it asks for more, so long after the last time; 0 is whenever it asks. Also when it
    /// gives partitions up, and when it closes.
    Every(Duration),
}

impl Default for AutoCommit {
    /// Every second.
    fn default() -> Self {
        Self::Every(Duration::from_secs(1))
    }
}

/// How the partitions are shared out among the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Evenly, and what need not move stays.
    Uniform,
    /// Each topic's partitions in runs: those of the same number in several topics go together.
    Range,
}

#[derive(Clone, Debug)]
pub(super) struct GroupConfig {
    pub(super) group: Arc<str>,
    pub(super) topics: Vec<String>,
    pub(super) topic_pattern: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) assignor: Option<Assignor>,
    pub(super) rebalance_timeout: Duration,
    pub(super) without_commit: WithoutCommit,
    pub(super) isolation: Isolation,
    pub(super) auto_commit: AutoCommit,
    pub(super) link: LinkConfig,
    pub(super) response_bytes_max: u32,
}

impl GroupConfig {
    /// What a member begins its call with, that it is still to say who it is, and was.
    pub(super) fn to_wire(&self) -> v1::Join {
        let timeout_ms = self.rebalance_timeout.as_millis().max(1);
        let assignor = match self.assignor {
            None => v1::Assignor::Any,
            Some(Assignor::Uniform) => v1::Assignor::Uniform,
            Some(Assignor::Range) => v1::Assignor::Range,
        };
        v1::Join {
            group: self.group.as_ref().to_owned(),
            topics: self.topics.clone(),
            topic_pattern: self.topic_pattern.clone(),
            member_id: String::new(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            assignor: assignor.into(),
            rebalance_timeout_ms: u32::try_from(timeout_ms).unwrap_or(u32::MAX),
            without_commit: Some(match self.without_commit {
                WithoutCommit::Earliest => join::WithoutCommit::Edge(v1::Edge::Earliest.into()),
                WithoutCommit::Latest => join::WithoutCommit::Edge(v1::Edge::Latest.into()),
                WithoutCommit::Offset(offset) => join::WithoutCommit::Offset(offset.get()),
                WithoutCommit::Timestamp(time) => join::WithoutCommit::TimestampMs(time.get()),
                WithoutCommit::Refuse => join::WithoutCommit::Refuse(v1::Refuse {}),
            }),
            isolation: self.isolation.to_wire().into(),
            delivery: v1::Delivery::Batches.into(),
            credit_bytes: self.link.credit_bytes,
            response_bytes_max: self.response_bytes_max,
            resume: None,
        }
    }
}

/// Makes a [`GroupConsumer`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use log_client::{AutoCommit, Client, WithoutCommit};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let consumer = Client::new("127.0.0.1:9094")?
///     .join_group("billing")
///     .topic("orders")
///     .topic("payments")
///     .without_commit(WithoutCommit::Latest)
///     .auto_commit(AutoCommit::Every(Duration::from_secs(5)))
///     .instance_id("billing-1")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct GroupConsumerBuilder {
    connection: Connection,
    config: GroupConfig,
}

impl GroupConsumerBuilder {
    pub(crate) fn new(connection: Connection, group: Arc<str>) -> Self {
        let link = LinkConfig { credit_bytes: CREDIT_BYTES, reconnect_timeout: None };
        let config = GroupConfig {
            group,
            topics: Vec::new(),
            topic_pattern: String::new(),
            instance_id: None,
            client_id: "cairn-rust".to_owned(),
            assignor: None,
            rebalance_timeout: Duration::from_secs(5 * 60),
            without_commit: WithoutCommit::default(),
            isolation: Isolation::default(),
            auto_commit: AutoCommit::default(),
            link,
            response_bytes_max: 0,
        };
        Self { connection, config }
    }

    /// Reads this topic, and whatever else is named. One that does not exist is read when it does.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.config.topics.push(topic.into());
        self
    }

    /// Reads every topic whose whole name matches this pattern, in RE2's syntax, as they come and
    /// go, beside those that are named.
    pub fn topic_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.config.topic_pattern = pattern.into();
        self
    }

    /// Makes it a static member: one that may go for a while, to be restarted say, and finds its
    /// partitions again if it is back within the broker's session timeout of 45 seconds. Each
    /// process has its own.
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.config.instance_id = Some(instance_id.into());
        self
    }

    /// What people see who look at the group. Default `cairn-rust`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.config.client_id = client_id.into();
        self
    }

    /// How the partitions are to be shared out. The group goes by what most of its members ask for.
    /// Default: the broker's choice, which is [`Assignor::Uniform`].
    pub fn assignor(mut self, assignor: Assignor) -> Self {
        self.config.assignor = Some(assignor);
        self
    }

    /// How long the application may take from one record, batch or event to asking for the next
    /// while a partition is wanted by another member; then it is removed from the group. Default
    /// five minutes, as `max.poll.interval.ms` in Kafka's clients.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.config.rebalance_timeout = timeout;
        self
    }

    /// Where to start where nothing is committed. Default [`WithoutCommit::Earliest`].
    pub fn without_commit(mut self, start: WithoutCommit) -> Self {
        self.config.without_commit = start;
        self
    }

    /// Which records are seen. Default [`Isolation::ReadUncommitted`], as in Kafka's clients.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.config.isolation = isolation;
        self
    }

    /// When positions are committed. Default every second: what was returned counts as dealt with
    /// when the application asks for more, so that nothing is missed after a crash, and a second's
    /// worth comes again at most. Whoever hands records to another task commits by itself.
    pub fn auto_commit(mut self, auto_commit: AutoCommit) -> Self {
        self.config.auto_commit = auto_commit;
        self
    }

    /// How many bytes of records may be on their way, or here and not yet consumed. Default 8 MiB.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.config.link.credit_bytes = bytes;
        self
    }

    /// How large the broker is to make its responses, in bytes. Default: the broker's choice. A
    /// single larger batch is sent whole.
    pub fn response_bytes_max(mut self, bytes: u32) -> Self {
        self.config.response_bytes_max = bytes;
        self
    }

    /// How long to go on trying to reach a broker that is away. Default: for ever.
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.config.link.reconnect_timeout = Some(timeout);
        self
    }

    /// The consumer. It joins the group when the first record is asked for.
    pub fn build(self) -> Result<GroupConsumer, ConsumerConfigError> {
        if self.config.topics.is_empty() && self.config.topic_pattern.is_empty() {
            return Err(ConsumerConfigError::NoTopics);
        }
        if self.config.link.credit_bytes == 0 {
            return Err(ConsumerConfigError::NoCredit);
        }
        Ok(GroupConsumer::new(self.connection.again(), self.config))
    }
}
