//! What can go wrong with a group, one enum per operation.
//!
//! The names are Kafka's error codes in the coordinator's words, so that a door's table reads as
//! one; which of them a given protocol version knows is the door's business.

use std::time::Duration;

use super::id::{GenerationId, GroupId, MemberEpoch, MemberId};
use crate::error::{CoordinatorError, GroupIdError, Stopping};
use crate::limits;

/// Why somebody who speaks as a member is not listened to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemberError {
    /// There is no such member: it was removed, or never was. It should join anew.
    #[error("unknown member: join the group again, without a member id")]
    UnknownMember,
    /// Another process has taken this static member's place. It should stop.
    #[error("another process has joined as the same group instance: give each its own id")]
    FencedInstance,
    /// Its generation is not the current one. It should join anew.
    #[error("the group is in generation {current}: join it again")]
    IllegalGeneration {
        /// The current one.
        current: GenerationId,
    },
    /// Its epoch in a consumer group is not its current one. It should send a heartbeat.
    #[error("the member is at epoch {current}: send a heartbeat, and try again")]
    StaleEpoch {
        /// The current one.
        current: MemberEpoch,
    },
    /// The group is being rebalanced. It should join.
    #[error("the group is being rebalanced: join it again")]
    RebalanceInProgress,
}

/// Why somebody is not in the group.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinGroupError {
    /// It does not know who it is.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// It must ask again, with this id.
    #[error("join again as member {member}")]
    MemberIdRequired {
        /// Who it is from now on.
        member: MemberId,
    },
    /// The group shares its work in another way.
    #[error("the group has another protocol type, or no protocol that all of its members can")]
    InconsistentProtocol,
    /// The broker does not wait that long, or not that short.
    #[error("a session timeout of {asked:?} is refused: {min:?} to {max:?} are taken")]
    InvalidSessionTimeout {
        /// What was asked for.
        asked: Duration,
        /// `group.min.session.timeout.ms`.
        min: Duration,
        /// `group.max.session.timeout.ms`.
        max: Duration,
    },
    /// The group, or the broker, has as many members as it may.
    #[error("the group has {max} members, and no more are taken")]
    GroupFull {
        /// The bound that was met.
        max: usize,
    },
    /// What all members say of themselves and are assigned is more than the broker keeps.
    #[error(
        "the broker keeps {} bytes of member metadata and assignments and no more",
        limits::MEMBER_BYTES_MAX
    )]
    MetadataFull,
    /// The log did not take it, or the broker stops.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why somebody has no assignment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SyncGroupError {
    /// It is not listened to.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// It believes in another protocol than the group's.
    #[error("the group has another protocol type or protocol: join it again")]
    InconsistentProtocol,
    /// With what the leader assigns it would be more than the broker keeps.
    #[error(
        "the broker keeps {} bytes of member metadata and assignments and no more",
        limits::MEMBER_BYTES_MAX
    )]
    MetadataFull,
    /// The log did not take it, or the broker stops.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why a heartbeat does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// It is not listened to.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The broker stops.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why a heartbeat of a consumer group's member does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConsumerHeartbeatError {
    /// It is not listened to.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// There is no such consumer group: nobody has joined it, or its members are of another kind.
    #[error("there is no consumer group {group}")]
    UnknownGroup {
        /// Its id.
        group: GroupId,
    },
    /// Its epoch is not its current one. It should give up all that it has, and join.
    #[error("the member is at epoch {current}: give up all partitions, and join again")]
    FencedEpoch {
        /// The current one.
        current: MemberEpoch,
    },
    /// Another process is this static member, and has not left.
    #[error("the group instance is member {member}: stop that first")]
    UnreleasedInstance {
        /// Who it is.
        member: MemberId,
    },
    /// The request contradicts itself.
    #[error("bad heartbeat: {0}")]
    Invalid(&'static str),
    /// The group, or the broker, has as many members as it may.
    #[error("the group has {max} members, and no more are taken")]
    GroupFull {
        /// The bound that was met.
        max: usize,
    },
    /// The log did not take it, or the broker stops.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why nobody has left.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaveGroupError {
    /// There is no such group, so none of its members either.
    #[error("unknown group: nobody can leave it")]
    UnknownGroup,
    /// The log did not take it, or the broker stops.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

/// Why a group's offsets were not committed. None of the request's were.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// The group's id is none.
    #[error(transparent)]
    Group(#[from] GroupIdError),
    /// The committer is not listened to.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A member commits for a group that there is not.
    #[error("there is no group {group}: join it again")]
    UnknownGroup {
        /// Its id.
        group: GroupId,
    },
    /// More than one commit takes.
    #[error(
        "{count} offsets are too many for one commit: {} are the most",
        limits::COMMIT_OFFSETS_MAX
    )]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// The broker keeps no more.
    #[error(
        "the broker keeps {} committed offsets and no more: delete topics that are not used",
        limits::COMMITTED_OFFSETS_MAX
    )]
    Full,
    /// The log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a group's offsets were not deleted. None of the request's were.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeleteOffsetsError {
    /// There is no such group.
    #[error("there is no group {group}")]
    UnknownGroup {
        /// Its id.
        group: GroupId,
    },
    /// Its members are no consumers, so that nobody can say what they use.
    #[error("group {group} has members: stop them first")]
    NonEmptyGroup {
        /// Its id.
        group: GroupId,
    },
    /// More than one request may name.
    #[error(
        "{count} offsets are too many to delete at once: {} are the most",
        limits::COMMIT_OFFSETS_MAX
    )]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// The log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Why a group was not deleted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeleteGroupError {
    /// There is no such group.
    #[error("there is no group {group}")]
    UnknownGroup {
        /// Its id.
        group: GroupId,
    },
    /// It has members.
    #[error("group {group} has members: stop them first")]
    NonEmptyGroup {
        /// Its id.
        group: GroupId,
    },
    /// The log did not take it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The broker is on its way down.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
