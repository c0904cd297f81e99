//! The handlers, one file for each API: decode, ask the broker, encode.
//!
//! Each gets a request of any version that the codec reads, and answers for the version that is
//! named. A condition that is more than a translation belongs in the broker.

pub(super) mod alter_configs;
pub(super) mod api_versions;
pub(super) mod consumer_group_describe;
pub(super) mod consumer_group_heartbeat;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_groups;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_acls;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_groups;
pub(super) mod describe_log_dirs;
pub(super) mod describe_producers;
pub(super) mod describe_topic_partitions;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod heartbeat;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod join_group;
pub(super) mod leave_group;
pub(super) mod list_groups;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod offset_fetch;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;
pub(super) mod sync_group;

mod config_entries;
mod group_fields;
mod repeats;
#[cfg(test)]
pub(super) mod testing;

use std::sync::Arc;

use log_core::Isolation;
use log_proto::kafka::{ErrorCode, Str, Uuid};

use super::error::Refusal;
use crate::broker::{Broker, Mode};
use crate::error::LookupError;
use crate::partition::Partition;
use crate::topics::{Topic, TopicId};

/// How a request names a topic.
#[derive(Clone, Copy, Debug)]
enum TopicRef<'a> {
    Name(&'a Str),
    Id(Uuid),
}

impl<'a> TopicRef<'a> {
    /// Newer versions of an API name topics by id, and leave the name empty.
    fn new(by_id: bool, id: Uuid, name: &'a Str) -> Self {
        if by_id { Self::Id(id) } else { Self::Name(name) }
    }
}

fn topic_of(broker: &Broker, named: TopicRef<'_>) -> Result<Arc<Topic>, Refusal> {
    match named {
        TopicRef::Name(name) => Ok(broker.topics().get(name.as_str())?),
        TopicRef::Id(id) => {
            let found = TopicId::from_slice(id.as_bytes());
            found.and_then(|found| broker.topics().get_by_id(found)).ok_or_else(|| {
                let message = format!("no topic has the id {id}: ask for the metadata again");
                Refusal::new(ErrorCode::UnknownTopicId, message)
            })
        }
    }
}

/// The number of a partition, which a stranger may have given any value.
fn partition_number(topic: &Topic, index: i32) -> Result<u32, Refusal> {
    u32::try_from(index).map_err(|_| {
        let (topic, count) = (topic.name.clone(), topic.partitions.len());
        LookupError::UnknownPartition { topic, partition: i64::from(index), count }.into()
    })
}

fn partition_of(
    broker: &Broker,
    named: TopicRef<'_>,
    index: i32,
) -> Result<(Arc<Topic>, Arc<Partition>), Refusal> {
    let topic = topic_of(broker, named)?;
    let partition = Arc::clone(topic.partition(partition_number(&topic, index)?)?);
    Ok((topic, partition))
}

/// Refuses a client that knows another leader epoch than ours (KIP-320); -1 does not say.
fn check_leader_epoch(partition: &Partition, known: i32) -> Result<(), Refusal> {
    let current = partition.leader_epoch().get();
    if known < 0 || known == current {
        return Ok(());
    }
    let code =
        if known < current { ErrorCode::FencedLeaderEpoch } else { ErrorCode::UnknownLeaderEpoch };
    Err(Refusal::new(code, format!("the leader epoch is {current}, not {known}")))
}

/// How far a client may see. Any other number than 1 means all, as with Kafka.
fn isolation(level: i8) -> Isolation {
    if level == 1 { Isolation::LastStable } else { Isolation::HighWatermark }
}

fn wire_id(topic: &Topic) -> Uuid {
    Uuid::from_bytes(*topic.id.0.as_bytes())
}

fn mode(validate_only: bool) -> Mode {
    match validate_only {
        true => Mode::Validate,
        false => Mode::Apply,
    }
}
