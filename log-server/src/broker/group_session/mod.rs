//! Membership of a group for as long as somebody holds on to it.
//!
//! ```text
//!   a door ──► GroupSession ── commands ──► Session (a task) ──► heartbeats ──► coordinator
//!                    ◄──────── events ─────────┘    ▲                              │
//!                                                   └───── the group has changed ──┘
//! ```
//!
//! Kafka's clients heartbeat for themselves; whoever holds a [`GroupSession`] is a member because
//! it holds it. The session heartbeats on its behalf, and at once when the group changes, so that a
//! rebalance takes as long as its members need and not as long as their heartbeats are apart.
//!
//! The rule: everything that a member may and must do is decided here and in the coordinator; a
//! door passes on. A partition is the member's from the event that assigns it to the moment in
//! which it is released, and only while it is, its offset can be committed. A handle that is
//! dropped leaves the group; a broker that stops takes nobody out.
//!
//! - [`session`]: the task. [`owned`]: what the member has. [`seats`]: one session for a member.

mod error;
mod owned;
mod seats;
mod session;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log_core::Isolation;
use log_proto::types::Offset;
use tokio::sync::mpsc;
use uuid::Uuid;

pub use self::error::{CommitAsMemberError, JoinAsMemberError, SessionEnd};
pub(super) use self::seats::Seats;
use self::session::Session;
use super::group_members::{
    Assignor, GroupId, GroupInstanceId, MemberEpoch, MemberId, PatternChange,
};
use super::{Broker, GroupOffset, MemberStart, WithoutCommit};
use crate::error::StartError;
use crate::partition::Partition;
use crate::principal::Principal;
use crate::topics::{Topic, TopicName};

/// What a session has been told and has not come to.
const COMMANDS_WAITING_MAX: usize = 64;

/// A partition by its topic's name and its number.
pub type PartitionName = (String, u32);

/// Who wants to be a member, and of what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinAsMember {
    /// Which group.
    pub group: GroupId,
    /// Who, if it has been a member before or has made an id for itself.
    pub member: Option<MemberId>,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// How long it may take to release what is revoked.
    pub rebalance_timeout: Duration,
    /// The topics that it wants to read, by name. They need not exist.
    pub subscribed: Vec<String>,
    /// And those whose names match this, in RE2's syntax, as they come and go.
    pub pattern: Option<String>,
    /// How it would like the work to be shared out.
    pub assignor: Option<Assignor>,
    /// Where it begins where nothing is committed.
    pub without_commit: WithoutCommit,
    /// What it wants to see, which decides where the end is.
    pub isolation: Isolation,
    /// What it was before it lost its session.
    pub resume: Option<Resume>,
}

/// What a member was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The epoch that it was last told.
    pub epoch: MemberEpoch,
    /// Everything that it has not released, and where it is there.
    pub positions: HashMap<PartitionName, Offset>,
}

/// A partition that a member is given.
#[derive(Debug)]
pub struct AssignedPartition {
    /// Its topic.
    pub topic: Arc<Topic>,
    /// Itself.
    pub partition: Arc<Partition>,
    /// Where to begin.
    pub start: MemberStart,
}

/// A partition that a member is given, and cannot read.
#[derive(Debug)]
pub struct UnreadablePartition {
    /// Its topic.
    pub topic: TopicName,
    /// Its number.
    pub partition: u32,
    /// Why.
    pub error: StartError,
}

/// What happens to a member.
#[derive(Debug)]
pub enum SessionEvent {
    /// It has come further, and may have been given something.
    Assigned {
        /// How far.
        epoch: MemberEpoch,
        /// What is its own from now on, beside what it has.
        partitions: Vec<AssignedPartition>,
        /// And what it cannot read, though it is its own.
        unreadable: Vec<UnreadablePartition>,
    },
    /// It is to give these up, and release them.
    Revoked(Vec<PartitionName>),
    /// A commit has been answered.
    Committed {
        /// Which.
        id: u64,
        /// On the disk, or not.
        outcome: Result<(), CommitAsMemberError>,
    },
    /// It has left, as it wanted to.
    Left,
    /// It is over.
    Ended(SessionEnd),
}

enum Command {
    Commit { id: u64, offsets: Vec<GroupOffset> },
    Release(Vec<PartitionName>),
    Leave,
}

/// A membership. Dropped, it ends as [`GroupSession::leave`] does.
#[derive(Debug)]
pub struct GroupSession {
    member: MemberId,
    commands: mpsc::Sender<Command>,
    events: mpsc::UnboundedReceiver<SessionEvent>,
}

impl GroupSession {
    /// Who this member is.
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Stores how far the member has come, all or nothing. Answered by an event.
    pub async fn commit(&self, id: u64, offsets: Vec<GroupOffset>) {
        self.send(Command::Commit { id, offsets }).await;
    }

    /// Gives up what was revoked.
    pub async fn release(&self, partitions: Vec<PartitionName>) {
        self.send(Command::Release(partitions)).await;
    }

    /// Leaves the group, or, as a static member, steps aside. Answered by the last event.
    pub async fn leave(&self) {
        self.send(Command::Leave).await;
    }

    /// Waits while the session has much to do: what a caller says lies in memory until then.
    async fn send(&self, command: Command) {
        // A session that is over has said so, and whoever still has something to say will hear it.
        let _ = self.commands.send(command).await;
    }

    /// What happens next; `None` when the broker stops, and after the end. May be dropped without
    /// losing anything.
    pub async fn event(&mut self) -> Option<SessionEvent> {
        self.events.recv().await
    }
}

impl Broker {
    /// Makes somebody a member of a group for as long as the session is held. Refused, nothing has
    /// changed; but whoever was the same member before has lost its place.
    pub async fn join_as_member(
        &self,
        principal: &Principal,
        join: JoinAsMember,
    ) -> Result<GroupSession, JoinAsMemberError> {
        if join.subscribed.is_empty() && join.pattern.is_none() {
            return Err(JoinAsMemberError::NoTopics);
        }
        for topic in &join.subscribed {
            TopicName::new(topic)?;
        }
        let pattern = match &join.pattern {
            Some(pattern) => PatternChange::Set(self.topic_pattern(pattern).await?),
            None => PatternChange::Clear,
        };
        let fresh = || MemberId::fresh(&join.client_id, Uuid::new_v4());
        let member = join.member.clone().unwrap_or_else(fresh);
        tracing::debug!(%principal, group = %join.group, %member, "joining for as long as it holds");
        let seat = self.inner.seats.take(&join.group, &member);
        let (commands, told) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (tell, events) = mpsc::unbounded_channel();
        let session = Session::new(self, *principal, (join, member.clone()), (seat, told, tell));
        tokio::spawn(session.begin(pattern).await?);
        Ok(GroupSession { member, commands, events })
    }
}
