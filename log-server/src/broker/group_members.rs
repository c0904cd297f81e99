//! Groups as their members and administrators see them: joining, syncing, leaving, looking.
//!
//! The doors translate into these calls; what they mean is the coordinator's business. A call may
//! wait for other members for minutes. A caller that goes away stays in its group until its session
//! ends, as if its machine had died.

use super::Broker;
use crate::coordinator::group::consumer::{FindTopic, Matching, TopicShape, TopicsView};
pub use crate::coordinator::group::error::{
    ConsumerHeartbeatError, DeleteGroupError, HeartbeatError, JoinGroupError, LeaveGroupError,
    MemberError, SyncGroupError,
};
pub use crate::coordinator::group::id::{
    GenerationId, GroupId, GroupInstanceId, GroupInstanceIdError, MemberEpoch, MemberId,
};
pub use crate::coordinator::group::request::{
    Assignment, Assignor, ConsumerGroupDescription, ConsumerHeartbeat, ConsumerMemberDescription,
    ConsumerStep, GroupDescription, GroupFilter, GroupKind, GroupListing, GroupState, Heartbeat,
    HeartbeatAnswer, JoinGroup, Joined, JoinedMember, LeaderReturn, LeaveGroup, LeavingMember,
    MemberDescription, NewMember, PatternChange, Protocol, SyncGroup, Synced,
};
use crate::coordinator::group::service::Heard;
pub use crate::coordinator::group::settings::GroupSettings;
use crate::error::{CoordinatorError, Stopping};
use crate::principal::Principal;

impl Broker {
    /// Takes a member into a group. Waits for the rebalance that this begins or belongs to.
    pub async fn join_group(
        &self,
        principal: &Principal,
        request: JoinGroup,
    ) -> Result<Joined, JoinGroupError> {
        self.check_members_served()?;
        let member = request.member.as_ref().map(tracing::field::display);
        tracing::debug!(%principal, group = %request.group, member, "joining");
        let find = |name: &str| self.shape_of(name);
        let mut topics = self.topics_view(&find);
        loop {
            match self.inner.groups.join(request.clone(), &topics).await? {
                Heard::Answer(joined) => return Ok(joined),
                Heard::Unresolved(patterns) => {
                    topics.matching.extend(self.topics_matching(patterns).await);
                }
            }
        }
    }

    /// Gives a member its assignment. Waits for the leader's, and for the disk.
    pub async fn sync_group(
        &self,
        principal: &Principal,
        request: SyncGroup,
    ) -> Result<Synced, SyncGroupError> {
        self.check_members_served()?;
        tracing::debug!(%principal, group = %request.group, member = %request.member, "syncing");
        self.inner.groups.sync(request).await
    }

    /// Keeps a member's session.
    pub async fn heartbeat(
        &self,
        _principal: &Principal,
        request: &Heartbeat,
    ) -> Result<(), HeartbeatError> {
        self.check_members_served()?;
        self.inner.groups.heartbeat(request).await
    }

    /// Takes members out of a group, each or not, in their order.
    pub async fn leave_group(
        &self,
        principal: &Principal,
        request: LeaveGroup,
    ) -> Result<Vec<(LeavingMember, Result<(), MemberError>)>, LeaveGroupError> {
        self.check_members_served()?;
        tracing::debug!(%principal, group = %request.group, "leaving");
        self.inner.groups.leave(request).await
    }

    /// A member of a consumer group says where it stands, and is told where to go. Waits for the
    /// disk if that changes something.
    pub async fn consumer_heartbeat(
        &self,
        _principal: &Principal,
        request: &ConsumerHeartbeat,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        self.check_members_served()?;
        let find = |name: &str| self.shape_of(name);
        let mut topics = self.topics_view(&find);
        loop {
            match self.inner.groups.consumer_heartbeat(request, &topics).await? {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Unresolved(patterns) => {
                    topics.matching.extend(self.topics_matching(patterns).await);
                }
            }
        }
    }

    fn shape_of(&self, name: &str) -> Option<TopicShape> {
        let topic = self.inner.topics.get(name).ok()?;
        Some((topic.id, u32::try_from(topic.partitions.len()).ok()?))
    }

    fn topics_view<'a>(&self, find: FindTopic<'a>) -> TopicsView<'a> {
        TopicsView { version: self.inner.topics.version(), find, matching: Matching::new() }
    }

    /// Every group that passes, by id.
    pub async fn list_groups(
        &self,
        _principal: &Principal,
        filter: &GroupFilter,
    ) -> Result<Vec<GroupListing>, CoordinatorError> {
        self.inner.groups.list(filter).await
    }

    /// One consumer group; `None` if there is none.
    pub fn describe_consumer_group(
        &self,
        _principal: &Principal,
        group: &GroupId,
    ) -> Option<ConsumerGroupDescription> {
        self.inner.groups.describe_consumer(group)
    }

    /// One classic group, or one that has only offsets; `None` if there is none.
    pub async fn describe_group(
        &self,
        _principal: &Principal,
        group: GroupId,
    ) -> Result<Option<GroupDescription>, CoordinatorError> {
        self.inner.groups.describe(group).await
    }

    /// Forgets a group without members, and its offsets; on the disk when this returns.
    pub async fn delete_group(
        &self,
        principal: &Principal,
        group: GroupId,
    ) -> Result<(), DeleteGroupError> {
        self.check_serving()?;
        tracing::info!(%principal, %group, "deleting group");
        self.inner.groups.delete(group).await
    }

    pub(super) fn check_members_served(&self) -> Result<(), CoordinatorError> {
        self.check_serving().map_err(|Stopping| CoordinatorError::Stopped)
    }
}

#[cfg(test)]
#[path = "group_members_tests.rs"]
mod tests;
