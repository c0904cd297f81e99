//! What can go wrong with a session, one enum per operation.

use std::time::Duration;

use crate::broker::TopicPatternError;
use crate::broker::group_members::{ConsumerHeartbeatError, GroupId, MemberError};
use crate::error::CommitOffsetsError;
use crate::limits;
use crate::topics::TopicNameError;

/// Why somebody has not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinAsMemberError {
    /// It wants to read nothing.
    #[error("join names no topic: name at least one, or give a pattern for their names")]
    NoTopics,
    /// What it wants to read cannot be a topic.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// What it wants to find topics by is no pattern.
    #[error(transparent)]
    Pattern(#[from] TopicPatternError),
    /// The group's members share its work out by themselves.
    #[error(
        "group {group} has members of the classic protocol that it cannot be shared with: stop them first, or set group.protocol=consumer on them, or join another group"
    )]
    ClassicGroup {
        /// Its id.
        group: GroupId,
    },
    /// What it wants to go on with is not its own any more.
    #[error("group {group} does not know what was to be resumed any more: join without it")]
    NotResumed {
        /// Which group.
        group: GroupId,
        /// Why.
        source: ConsumerHeartbeatError,
    },
    /// The group does not take it.
    #[error(transparent)]
    Refused(ConsumerHeartbeatError),
}

/// Why a session is over, although its holder holds on.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The member was taken out of the group.
    #[error(
        "removed from group {group}: what is revoked must be released within {rebalance_timeout:?}: join again, and give a longer rebalance timeout if that is too short"
    )]
    Removed {
        /// Which group.
        group: GroupId,
        /// What the member has asked for.
        rebalance_timeout: Duration,
    },
    /// Another call is the same member.
    #[error(
        "another call has joined group {group} as the same member: give each its own member id and instance id"
    )]
    Superseded {
        /// Which group.
        group: GroupId,
    },
    /// The group does not listen to the member any more.
    #[error(transparent)]
    Refused(ConsumerHeartbeatError),
    /// It releases what it was not asked to.
    #[error("{topic}-{partition} was not revoked, so it cannot be released: leave to give it up")]
    NotRevoked {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// One call cannot read all that it was given.
    #[error(
        "{count} partitions are assigned to this member, and one call reads {} at most: add members to the group",
        limits::CONSUME_PARTITIONS_MAX
    )]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// Why a member's offsets were not committed. None of the request's were.
#[derive(Debug, thiserror::Error)]
pub enum CommitAsMemberError {
    /// Another member reads the partition, or will.
    #[error(
        "{topic}-{partition} is not this member's, or not any more: what it has read of it is read again by the one that has it"
    )]
    NotOwned {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// The member is not listened to.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The offsets are refused.
    #[error(transparent)]
    Offsets(#[from] CommitOffsetsError),
}
