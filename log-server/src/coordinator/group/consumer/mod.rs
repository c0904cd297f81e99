//! The consumer protocol (KIP-848): the server shares out the work, and each member moves to its
//! share on its own, heartbeat by heartbeat; nobody stops for the others.
//!
//! ```text
//!   group epoch      rises when somebody comes, goes, subscribes anew, or a topic changes
//!   target           what everybody is to have, computed at that epoch
//!   member epoch     the target's that a member has given up everything for
//! ```
//!
//! The rule: all of this is written whenever it changes, the whole group as one record, and no
//! heartbeat is answered before it is durable. What the log refuses is taken back as a whole: the
//! group is again what the log says ([`refused`]), so nobody is left in it who was told that it is
//! not. Records of what has changed alone would be smaller; a group of a thousand members will want
//! them.
//!
//! - [`heartbeat`]: what members say, and are told. [`member`]: how one of them moves.
//! - [`classic`]: members that speak the classic protocol. [`migration`]: how they come to be here.
//! - [`refused`]: what becomes of a group when the log does not take it.
//! - [`topics`]: what members read, by name or by pattern.
//! - [`assignor`]: who is to have what. [`stored`]: what is on the disk.

mod assignor;
mod classic;
mod heartbeat;
mod member;
mod migration;
mod refused;
mod stored;
mod topics;

#[cfg(test)]
mod migration_tests;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use log_proto::types::TimestampMs;

use super::classic::{Deletion, Memory as InLog};
use super::error::MemberError;
use super::id::{GenerationId, GroupId, MemberEpoch, MemberId};
use super::live::Legacy;
use super::request::{
    Assignment, Assignor, Committer, ConsumerGroupDescription, ConsumerMemberDescription,
    GroupKind, GroupListing, GroupState,
};
use super::subscription::{CONSUMER, Usage};
use super::turn::{Moment, Now, Turn, WriteId};
use crate::topic_pattern::TopicPattern;
use crate::topics::{TopicId, TopicsVersion};
pub(super) use heartbeat::check_join;
use member::{ConsumerMember, Deadlines, Phase};
use refused::Past;
pub(crate) use refused::Refusal;
pub(crate) use stored::StoredConsumerGroup;
use topics::Resolved;
pub(crate) use topics::{FindTopic, Matching, TopicShape, TopicsView};

/// A consumer group, as it is now.
#[derive(Clone, Debug)]
pub(super) struct ConsumerGroup {
    id: GroupId,
    stored: StoredConsumerGroup,
    deadlines: BTreeMap<MemberId, Deadlines>,
    /// What the members' patterns match.
    resolved: BTreeMap<TopicPattern, Resolved>,
    /// The topics that the members' subscriptions were last compared with; none if either has
    /// changed since.
    looked_at: Option<TopicsVersion>,
    memory: Memory,
    /// What is on its way into the log.
    last_write: Option<WriteId>,
    /// What it was before it was a consumer group, until the log knows it as one.
    past: Option<Past>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// The log does not know all of it: the next turn writes it.
    Behind,
    /// The log knows it, or is about to.
    Stored,
    /// It is being taken out of the log.
    Deleting(WriteId),
    /// The log has forgotten it.
    Forgotten,
}

impl ConsumerGroup {
    /// A group that nobody has heard of.
    pub(super) fn new(id: GroupId, now: Now) -> Self {
        let stored = StoredConsumerGroup { state_since: now.time, ..Default::default() };
        Self::with(id, stored, Memory::Forgotten)
    }

    fn with(id: GroupId, stored: StoredConsumerGroup, memory: Memory) -> Self {
        Self {
            id,
            stored,
            deadlines: BTreeMap::new(),
            resolved: BTreeMap::new(),
            looked_at: None,
            memory,
            last_write: None,
            past: None,
        }
    }

    /// A group that was of the other kind.
    pub(super) fn converted(legacy: Legacy) -> Self {
        let Legacy { id, number, state_since, memory, last_write } = legacy;
        let epoch = MemberEpoch::new(number).unwrap_or_default();
        let stored = StoredConsumerGroup { epoch, state_since, ..Default::default() };
        let memory = match memory {
            InLog::Volatile => Memory::Forgotten,
            InLog::Stored => Memory::Stored,
            InLog::Deleting(write) => Memory::Deleting(write),
        };
        Self { last_write, ..Self::with(id, stored, memory) }
    }

    /// What it takes along when it comes back as one of the other kind.
    pub(super) fn legacy(&self) -> Legacy {
        Legacy {
            id: self.id.clone(),
            number: self.stored.epoch.get(),
            state_since: self.stored.state_since,
            memory: match self.memory {
                Memory::Behind | Memory::Stored => InLog::Stored,
                Memory::Deleting(write) => InLog::Deleting(write),
                Memory::Forgotten => InLog::Volatile,
            },
            last_write: self.last_write,
        }
    }

    /// A group as it was last written. Its members have their sessions from now.
    pub(super) fn restore(
        id: GroupId,
        stored: StoredConsumerGroup,
        now: Now,
        session_timeout: std::time::Duration,
    ) -> Self {
        let members = stored.members.iter();
        let deadlines = members
            .map(|(id, member)| (id.clone(), member.deadlines(now, session_timeout)))
            .collect();
        Self { deadlines, ..Self::with(id, stored, Memory::Stored) }
    }

    pub(super) fn last_write(&self) -> Option<WriteId> {
        self.last_write
    }

    pub(super) fn is_disposable(&self) -> bool {
        self.is_empty() && self.memory == Memory::Forgotten && self.last_write.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.members.is_empty()
    }

    pub(super) fn present(&self) -> usize {
        self.stored.members.len()
    }

    /// What members say of themselves takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let members = self.stored.members.values().map(ConsumerMember::bytes);
        members.sum::<usize>() + self.resolved_bytes()
    }

    pub(super) fn deleting(&mut self, write: WriteId) {
        if self.is_empty() && matches!(self.memory, Memory::Stored | Memory::Behind) {
            self.memory = Memory::Deleting(write);
        }
    }

    pub(super) fn deletion_ended(&mut self, write: WriteId, deletion: Deletion) {
        if let Some(past) = &mut self.past {
            past.group.deletion_ended(write, deletion);
        }
        if self.memory == Memory::Deleting(write) {
            self.memory = match deletion {
                Deletion::Done => Memory::Forgotten,
                // Perhaps it was so before: writing an empty group once more costs little.
                Deletion::NotDone => Memory::Behind,
            };
        }
    }

    fn raise_epoch(&mut self, turn: &Turn<'_>) {
        self.stored.epoch = self.stored.epoch.next();
        self.stored.state_since = turn.now.time;
        self.memory = Memory::Behind;
        tracing::info!(group = %self.id, epoch = %self.stored.epoch, "group changes");
    }

    fn compute_target(&mut self) {
        if self.stored.target_epoch == self.stored.epoch {
            return;
        }
        let partitions: BTreeMap<TopicId, u32> = self.stored.topics.values().copied().collect();
        let members: Vec<_> = self.stored.members.values().collect();
        let candidates: Vec<_> = members
            .iter()
            .map(|member| assignor::Candidate {
                id: &member.id,
                instance: member.instance.as_ref(),
                topics: self.topics_of(member),
                before: &member.target,
            })
            .collect();
        let targets = assignor::assign(self.assignor(), &candidates, &partitions);
        for (member, target) in self.stored.members.values_mut().zip(targets) {
            member.target = target;
        }
        self.stored.target_epoch = self.stored.epoch;
        self.memory = Memory::Behind;
    }

    /// The one that most members ask for.
    fn assignor(&self) -> Assignor {
        let votes = |assignor| {
            let members = self.stored.members.values();
            members.filter(|member| member.assignor == Some(assignor)).count()
        };
        if votes(Assignor::Range) > votes(Assignor::Uniform) {
            Assignor::Range
        } else {
            Assignor::Uniform
        }
    }

    fn reconcile(&mut self, id: &MemberId, owned: Option<&Assignment>) {
        let Some(mut member) = self.stored.members.remove(id) else { return };
        let others = &self.stored.members;
        let is_taken = |topic, partition| {
            others.values().any(|other: &ConsumerMember| other.holds(topic, partition))
        };
        member.reconcile(self.stored.target_epoch, owned, is_taken);
        self.stored.members.insert(id.clone(), member);
    }

    /// A new session; for what is to be given up, no more time than there was.
    fn note_deadlines(&mut self, turn: &Turn<'_>, id: &MemberId) {
        let Some(member) = self.stored.members.get(id) else { return };
        let mut deadlines = member.deadlines(turn.now, turn.settings.consumer_session_timeout);
        let before = self.deadlines.get(id).and_then(|before| before.due);
        if deadlines.due.is_some() && before.is_some() {
            deadlines.due = before;
        }
        self.deadlines.insert(id.clone(), deadlines);
    }

    /// Takes members out. What they had is free; who gets it is decided at the next heartbeat, or by
    /// the leader of the classic group that this is then: its members are in step with the epoch.
    fn remove(&mut self, turn: &Turn<'_>, ids: &[MemberId]) {
        for id in ids {
            self.stored.members.remove(id);
            self.deadlines.remove(id);
        }
        self.looked_at = None;
        if !self.is_all_classic() {
            self.raise_epoch(turn);
        }
    }

    fn store_if_behind(&mut self, turn: &mut Turn<'_>) {
        if self.memory == Memory::Behind && !self.is_all_classic() {
            let write = turn.write(self.stored.to_record(&self.id));
            self.memory = Memory::Stored;
            self.last_write = Some(write);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let ends = self.deadlines.values();
        ends.flat_map(|ends| ends.due.into_iter().chain([ends.session])).min()
    }

    /// Takes out who is silent, and who does not give up what it must.
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.moment;
        let is_over =
            |ends: &Deadlines| ends.session <= now || ends.due.is_some_and(|due| due <= now);
        let over = self.deadlines.iter().filter(|(_, ends)| is_over(ends));
        let over: Vec<_> = over.map(|(id, _)| id.clone()).collect();
        for id in &over {
            tracing::info!(group = %self.id, member = %id, "out of patience: member removed");
        }
        if !over.is_empty() {
            self.remove(turn, &over);
        }
        self.store_if_behind(turn);
    }

    /// Whether somebody may commit.
    pub(super) fn check_commit(&self, committer: &Committer) -> Result<(), MemberError> {
        if committer.generation.is_none() && self.is_empty() {
            return Ok(());
        }
        let member = committer.member.as_ref().ok_or(MemberError::UnknownMember)?;
        let epoch = committer.generation.map(|generation| generation.get());
        self.check_epoch(member, epoch)
    }

    /// Whether somebody is a member at this epoch.
    pub(super) fn check_epoch(
        &self,
        member: &MemberId,
        epoch: Option<i32>,
    ) -> Result<(), MemberError> {
        let member = self.stored.members.get(member).ok_or(MemberError::UnknownMember)?;
        if epoch == Some(member.epoch.get()) {
            return Ok(());
        }
        if member.classic.is_some() {
            let current = GenerationId::new(member.epoch.get()).unwrap_or_default();
            return Err(MemberError::IllegalGeneration { current });
        }
        Err(MemberError::StaleEpoch { current: member.epoch })
    }

    pub(super) fn usage(&self) -> Usage {
        if self.is_empty() {
            return Usage::EmptySince(self.state_since());
        }
        Usage::Subscribed(self.subscribed_names())
    }

    fn state_since(&self) -> TimestampMs {
        self.stored.state_since
    }

    fn state(&self) -> GroupState {
        let epoch = self.stored.epoch;
        let has_arrived =
            |member: &ConsumerMember| member.phase == Phase::Stable && member.epoch == epoch;
        if self.is_empty() {
            GroupState::Empty
        } else if self.stored.target_epoch != epoch {
            GroupState::Assigning
        } else if self.stored.members.values().all(has_arrived) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    pub(super) fn listing(&self) -> GroupListing {
        GroupListing {
            group: self.id.clone(),
            protocol_type: Some(CONSUMER.to_owned()),
            state: self.state(),
            kind: GroupKind::Consumer,
        }
    }

    pub(super) fn describe(&self) -> ConsumerGroupDescription {
        let members = self.stored.members.values().map(|member| ConsumerMemberDescription {
            member: member.id.clone(),
            instance: member.instance.clone(),
            rack: member.rack.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            speaks: if member.classic.is_some() { GroupKind::Classic } else { GroupKind::Consumer },
            epoch: member.epoch,
            subscribed: member.subscribed.iter().cloned().collect(),
            pattern: member.pattern.clone(),
            assignment: member.assigned.clone(),
            target: member.target.clone(),
        });
        ConsumerGroupDescription {
            listing: self.listing(),
            epoch: self.stored.epoch,
            target_epoch: self.stored.target_epoch,
            assignor: self.assignor(),
            topics: self.stored.topics.iter().map(|(name, (id, _))| (*id, name.clone())).collect(),
            members: members.collect(),
        }
    }
}
