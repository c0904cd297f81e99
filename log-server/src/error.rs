//! What can go wrong in the broker, one enum per operation.
//!
//! The rule: an error says what is wrong, where, and what to do; it never names a wire code. Each
//! door maps them in one exhaustive match, so that a new variant does not compile until somebody
//! has decided what clients are told.

use log_core::{AppendError, ReadError, RetentionError};
use log_proto::types::Offset;

use crate::limits;
use crate::topic_config::TopicConfigError;
use crate::topics::{TopicName, TopicNameError};

pub use crate::coordinator::{CoordinatorError, LoadError, NotUnderstood};
pub use crate::durable_file::DurableFileError;
pub use crate::partition::NotCommitted;

/// What is left of a text of a stranger's, or of one that names what a stranger has named.
pub(crate) fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let is_boundary = |at: &usize| text.is_char_boundary(*at);
        let end = (0..=bytes_max).rev().find(is_boundary).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why a topic or partition cannot be found or used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    /// No topic has this name.
    #[error("unknown topic {name:?}: create it first")]
    UnknownTopic {
        /// The name that was given, or as much of it as a name may have.
        name: String,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic} has no partition {partition}: it has 0 to {}", count - 1)]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// The number that was given.
        partition: i64,
        /// How many it has; at least one.
        count: usize,
    },
    /// The partition's log did not open when the broker started.
    #[error("partition {topic}-{partition} is out of service: {reason}")]
    PartitionFailed {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        reason: String,
    },
}

/// The broker is on its way down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the broker is shutting down: try again once it is back")]
pub struct Stopping;

/// A topic that only the broker writes to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("topic {topic} is the broker's own and only read by others")]
pub struct InternalTopic {
    /// The topic.
    pub topic: TopicName,
}

/// Why records were not produced, or not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Where they should go is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// They may not go there.
    #[error(transparent)]
    Internal(#[from] InternalTopic),
    /// The log did not take them.
    #[error("{topic}-{partition}: {source}")]
    Append {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        source: AppendError,
    },
    /// A batch of a transaction that no coordinator has verified.
    #[error("transactional batches are not taken: this broker coordinates no transactions yet")]
    Transactional,
    /// The log took them, but cannot say that they are on the disk.
    #[error(transparent)]
    NotCommitted(#[from] NotCommitted),
    /// The request is larger than all that may be in memory.
    #[error("request of {bytes} bytes does not fit the {max} of request.memory.bytes.max")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The broker is on its way down; nothing was appended.
    #[error(transparent)]
    Stopping(#[from] Stopping),
    /// Whoever was to append them has panicked.
    #[error("the append was lost to a fault in the broker: its log says more; restart it")]
    Lost,
}

/// Why a producer got no id.
#[derive(Debug, thiserror::Error)]
pub enum InitProducerError {
    /// No new ids could be set aside.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// All ids are used up.
    #[error("all producer ids are used up")]
    Exhausted,
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTopicError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// The name belongs to the broker.
    #[error("topic name {name} is the broker's own: choose another")]
    Reserved {
        /// The name.
        name: TopicName,
    },
    /// There is one of that name.
    #[error("topic {name} already exists")]
    Exists {
        /// The name.
        name: TopicName,
    },
    /// One of that name was deleted, and its folders are still there.
    #[error("the deleted topic {name} is not removed from the disk yet ({reason}): try again")]
    NotRemovedYet {
        /// The name.
        name: TopicName,
        /// What stood in the way.
        reason: String,
    },
    /// Too many partitions for one topic.
    #[error(
        "{count} partitions are too many for one topic: {} are the most",
        limits::TOPIC_PARTITIONS_MAX
    )]
    Partitions {
        /// How many were asked for.
        count: u32,
    },
    /// Too many partitions for the broker.
    #[error(
        "{count} more partitions pass partitions.max, which is {max}, and {present} are there: raise it"
    )]
    BrokerPartitions {
        /// How many were asked for.
        count: u32,
        /// How many there are.
        present: usize,
        /// The setting.
        max: u32,
    },
    /// A config is unknown or has a bad value.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// A folder of the new topic could not be made.
    #[error("cannot make partition {topic}-{partition}: {reason}")]
    Open {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        reason: String,
    },
    /// The metadata log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a topic got no more partitions.
#[derive(Debug, thiserror::Error)]
pub enum CreatePartitionsError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not the caller's to change.
    #[error(transparent)]
    Internal(#[from] InternalTopic),
    /// It has as many already. Partitions are never taken away: their records would go with them.
    #[error("topic {topic} has {present} partitions: ask for more than that, not for {count}")]
    NotMore {
        /// The topic.
        topic: TopicName,
        /// How many it has.
        present: u32,
        /// How many were asked for.
        count: u32,
    },
    /// Too many partitions for one topic.
    #[error(
        "{count} partitions are too many for one topic: {} are the most",
        limits::TOPIC_PARTITIONS_MAX
    )]
    Partitions {
        /// How many were asked for.
        count: u32,
    },
    /// Too many partitions for the broker.
    #[error(
        "{count} more partitions pass partitions.max, which is {max}, and {present} are there: raise it"
    )]
    BrokerPartitions {
        /// How many would be new.
        count: u32,
        /// How many there are.
        present: usize,
        /// The setting.
        max: u32,
    },
    /// A folder of a new partition could not be made.
    #[error("cannot make partition {topic}-{partition}: {reason}")]
    Open {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        reason: String,
    },
    /// The metadata log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why the first records of a partition were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRecordsError {
    /// There is no such topic or partition.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// They are not the caller's to delete.
    #[error(transparent)]
    Internal(#[from] InternalTopic),
    /// The topic keeps the last record of each key, whatever its age.
    #[error("topic {topic} is compacted: add delete to its cleanup.policy first")]
    Compacted {
        /// The topic.
        topic: TopicName,
    },
    /// The log did not do it.
    #[error("{topic}-{partition}: {source}")]
    Retention {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        source: RetentionError,
    },
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a topic was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTopicError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not the caller's to delete.
    #[error(transparent)]
    Internal(#[from] InternalTopic),
    /// A log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a topic's configs were not changed.
#[derive(Debug, thiserror::Error)]
pub enum AlterConfigsError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is not the caller's to change.
    #[error(transparent)]
    Internal(#[from] InternalTopic),
    /// A config is unknown or has a bad value.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// The metadata log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why offsets could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum ListOffsetsError {
    /// There is no such topic or partition.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The log could not be read.
    #[error("{topic}-{partition}: {source}")]
    Read {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        source: ReadError,
    },
}

/// What is wrong with the id of a group.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GroupIdError {
    /// Nothing was given.
    #[error("a group id is empty: give it 1 to {} characters", limits::GROUP_ID_CHARS_MAX)]
    Empty,
    /// Too long.
    #[error("a group id has more than {} characters", limits::GROUP_ID_CHARS_MAX)]
    TooLong,
    /// It would garble listings and logs.
    #[error("group id {id:?} has a control character")]
    ControlCharacter {
        /// The id.
        id: String,
    },
}

/// Why offsets were not committed. None of the request's were.
#[derive(Debug, thiserror::Error)]
pub enum CommitOffsetsError {
    /// The group's id is none.
    #[error(transparent)]
    Group(#[from] GroupIdError),
    /// An offset is for a partition that is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// More than one commit takes.
    #[error(
        "{count} offsets are too many for one commit: {} are the most",
        limits::COMMIT_OFFSETS_MAX
    )]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// The metadata of an offset is too long.
    #[error(
        "the metadata of {topic}-{partition} has {bytes} bytes: {} are the most",
        limits::OFFSET_METADATA_BYTES_MAX
    )]
    MetadataTooLong {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// How long it is.
        bytes: usize,
    },
    /// The group has members, and its offsets are theirs to commit.
    #[error("the group has members: commit as one of them, or stop them first")]
    HasMembers,
    /// The broker keeps no more.
    #[error(
        "the broker keeps {} committed offsets and no more: delete topics that are not used",
        limits::COMMITTED_OFFSETS_MAX
    )]
    Full,
    /// The offsets log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why committed offsets could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchOffsetsError {
    /// The group's id is none.
    #[error(transparent)]
    Group(#[from] GroupIdError),
    /// The offsets log is out of service.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why reading a partition cannot begin where it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such topic or partition.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The offset is not within the log.
    #[error(
        "{topic}-{partition}: offset {requested} is outside the log, which holds {log_start} to {log_end}: start at one of these"
    )]
    OutOfRange {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// What was asked for.
        requested: i64,
        /// The first offset that may be read.
        log_start: Offset,
        /// One past the last record.
        log_end: Offset,
    },
    /// The log could not be searched.
    #[error("{topic}-{partition}: {source}")]
    Read {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Why.
        source: ReadError,
    },
    /// The group has committed nothing, and its member will not start anywhere else.
    #[error(
        "{topic}-{partition}: the group has committed no offset: commit one, or say where to start without"
    )]
    NoOffset {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
    },
    /// The group's offsets could not be fetched.
    #[error(transparent)]
    Offsets(#[from] FetchOffsetsError),
}

impl ProduceError {
    /// The log of `partition` did not take the records. Of a topic that was deleted meanwhile that
    /// is all there is to say: what its log says of it is of no use to anybody.
    pub(crate) fn append(partition: &crate::partition::Partition, source: AppendError) -> Self {
        if partition.is_deleted() {
            return LookupError::UnknownTopic { name: partition.topic.to_string() }.into();
        }
        let (topic, partition) = (partition.topic.clone(), partition.number);
        Self::Append { topic, partition, source }
    }
}
