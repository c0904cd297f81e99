//! Members of a consumer group that speak the classic protocol: they are in it because the group
//! is on its way from one protocol to the other, one consumer after the other.
//!
//! ```text
//!     JoinGroup     what it reads and still owns; answered at once, with its epoch for a generation
//!     SyncGroup     its part of the assignment, in the bytes in which a leader would have put it
//!     Heartbeat     REBALANCE_IN_PROGRESS once there is something for it to give up, or to get
//! ```
//!
//! The rule: for the group such a member is one like any other, and moves by the same steps. Only
//! what it hears is told in the words that it knows: it believes that it is in a generation whose
//! leader is somebody else.

use super::super::bounds::Comer;
use super::super::classic::Joining;
use super::super::embedded::{self, Subscription};
use super::super::error::{HeartbeatError, JoinGroupError, MemberError, SyncGroupError};
use super::super::id::{GenerationId, GroupInstanceId, MemberEpoch, MemberId};
use super::super::request::{
    Heartbeat, JoinGroup, Joined, LeavingMember, NewMember, Protocol, SyncGroup, Synced,
};
use super::super::settings::GroupSettings;
use super::super::subscription::CONSUMER;
use super::super::turn::{Left, Now, Reply, Turn, Waiter};
use super::member::{ClassicSide, ConsumerMember, Phase, Presence, difference};
use super::{ConsumerGroup, Memory, TopicsView};
use crate::limits;

impl ConsumerGroup {
    /// Takes in a consumer that speaks the classic protocol, or lets it go on.
    pub(in super::super) fn join_classic(
        &mut self,
        turn: &mut Turn<'_>,
        join: Joining,
        topics: &TopicsView<'_>,
    ) {
        let waiter = join.waiter;
        let joined = self.try_join_classic(turn, join, topics);
        turn.answer(waiter, Reply::Join(joined));
    }

    fn try_join_classic(
        &mut self,
        turn: &mut Turn<'_>,
        join: Joining,
        topics: &TopicsView<'_>,
    ) -> Result<Joined, JoinGroupError> {
        let Joining { request, fresh, .. } = join;
        let id = request.member.clone().unwrap_or(fresh);
        let subscription = self.check_classic(turn.settings, &request, &id)?;
        let is_unknown = request.member.is_none() && request.instance.is_none();
        if is_unknown && request.new_member == NewMember::RequireKnownId {
            return Err(JoinGroupError::MemberIdRequired { member: id });
        }
        let before = self.returning_classic(turn, &request, &id)?;
        let mut member = before.clone().unwrap_or_else(|| ConsumerMember::new(id.clone()));
        let owned = embedded::by_id(&subscription.owned, topics.find);
        member.update_classic(request, subscription);
        self.take_note(turn, before.as_ref(), member, Some(&owned), topics);
        self.expect_of(&id, turn.now);
        Ok(self.joined(&id))
    }

    /// What a join would add to what members take. One that has no subscription is refused anyway.
    pub(in super::super) fn classic_comer(&self, request: &JoinGroup, fresh: &MemberId) -> Comer {
        let before = self.present_as(request.instance.as_ref(), request.member.as_ref());
        let mut after = before.cloned().unwrap_or_else(|| ConsumerMember::new(fresh.clone()));
        let metadata = request.protocols.first().map(|protocol| &protocol.metadata);
        if let Some(subscription) = metadata.and_then(embedded::subscription) {
            after.update_classic(request.clone(), subscription);
        }
        Comer { before: before.map(ConsumerMember::bytes), now: after.bytes() }
    }

    fn check_classic(
        &self,
        settings: &GroupSettings,
        request: &JoinGroup,
        id: &MemberId,
    ) -> Result<Subscription, JoinGroupError> {
        let named = request.instance.as_ref().and_then(|name| self.named(name));
        let is_new = named.is_none() && !self.stored.members.contains_key(id);
        if is_new && self.present() >= settings.size_max {
            return Err(JoinGroupError::GroupFull { max: settings.size_max });
        }
        if id.as_str().chars().nth(limits::GROUP_ID_CHARS_MAX).is_some() {
            return Err(MemberError::UnknownMember.into());
        }
        let all_can = |protocol: &Protocol| {
            let mut sides = self.stored.members.values().filter_map(|one| one.classic.as_ref());
            sides.all(|side| side.protocols.iter().any(|other| other.name == protocol.name))
        };
        let fits = request.protocol_type == CONSUMER && request.protocols.iter().any(all_can);
        let first = request.protocols.first().filter(|_| fits);
        let read = first.and_then(|protocol| embedded::subscription(&protocol.metadata));
        read.ok_or(JoinGroupError::InconsistentProtocol)
    }

    /// Who comes back, or is the heir of a static member. `None` is somebody new.
    fn returning_classic(
        &mut self,
        turn: &Turn<'_>,
        request: &JoinGroup,
        id: &MemberId,
    ) -> Result<Option<ConsumerMember>, MemberError> {
        match (&request.instance, &request.member) {
            (None, _) => Ok(self.stored.members.get(id).cloned()),
            (Some(_), Some(_)) => self.member(request.instance.as_ref(), id).cloned().map(Some),
            (Some(name), None) => {
                let old = self.named(name).map(|old| old.id.clone());
                Ok(old.and_then(|old| self.inherit(turn, &old, id)))
            }
        }
    }

    /// Takes a static member out for another that has its name, and is given what it had. Whoever
    /// was in the group under the heir's id is out, too: what that one had is free, and it must not
    /// go on at an epoch that the heir has been at.
    pub(super) fn inherit(
        &mut self,
        turn: &Turn<'_>,
        old: &MemberId,
        id: &MemberId,
    ) -> Option<ConsumerMember> {
        let old = self.stored.members.remove(old)?;
        self.deadlines.remove(&old.id);
        self.memory = Memory::Behind;
        let mut heir = ConsumerMember { id: id.clone(), presence: Presence::Here, ..old };
        if self.stored.members.remove(id).is_some() {
            tracing::info!(group = %self.id, member = %id, "its id is another's now: removed");
            self.deadlines.remove(id);
            self.looked_at = None;
            self.raise_epoch(turn);
            (heir.epoch, heir.previous_epoch) = Default::default();
        }
        Some(heir)
    }

    fn joined(&self, id: &MemberId) -> Joined {
        let member = &self.stored.members[id];
        Joined {
            member: id.clone(),
            generation: generation(member.epoch),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: member.protocol().map(|protocol| protocol.name.clone()),
            // Nobody that it could know.
            leader: None,
            members: Vec::new(),
            skip_assignment: false,
        }
    }

    /// The member has something to do: to join once more, or to ask for its assignment.
    fn expect_of(&mut self, id: &MemberId, now: Now) {
        let Some(member) = self.stored.members.get(id) else { return };
        let due = now.moment.after(member.rebalance_timeout);
        if let Some(deadlines) = self.deadlines.get_mut(id) {
            deadlines.due = Some(due);
        }
    }

    fn classic_member(
        &self,
        instance: Option<&GroupInstanceId>,
        id: &MemberId,
        said: GenerationId,
    ) -> Result<(&ConsumerMember, &ClassicSide), MemberError> {
        let member = self.member(instance, id)?;
        let side = member.classic.as_ref().ok_or(MemberError::UnknownMember)?;
        let current = generation(member.epoch);
        if said != current {
            return Err(MemberError::IllegalGeneration { current });
        }
        Ok((member, side))
    }

    /// Answers with the member's part of the assignment.
    pub(in super::super) fn sync_classic(
        &mut self,
        turn: &mut Turn<'_>,
        request: &SyncGroup,
        waiter: Waiter,
    ) {
        let synced = self.try_sync_classic(turn, request);
        turn.answer(waiter, Reply::Sync(synced));
    }

    fn try_sync_classic(
        &mut self,
        turn: &Turn<'_>,
        request: &SyncGroup,
    ) -> Result<Synced, SyncGroupError> {
        let SyncGroup { member: id, instance, .. } = request;
        let (member, side) = self.classic_member(instance.as_ref(), id, request.generation)?;
        let protocol = member.protocol();
        let name = protocol.map(|protocol| protocol.name.clone());
        let kind = Some(CONSUMER.to_owned());
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&request.protocol_type, &kind) || differs(&request.protocol, &name) {
            return Err(SyncGroupError::InconsistentProtocol);
        }
        // Who is to give something up hears of that first, and of later changes when it has.
        if member.epoch != self.stored.epoch && member.phase != Phase::Unrevoked {
            self.ask_to_join(id, turn.now);
            return Err(MemberError::RebalanceInProgress.into());
        }
        let session = turn.now.moment.after(side.session_timeout);
        let assignment = self.encoded(member);
        if let Some(deadlines) = self.deadlines.get_mut(id) {
            (deadlines.session, deadlines.due) = (session, None);
        }
        Ok(Synced { protocol_type: kind, protocol: name, assignment })
    }

    /// What a member has, in its own words.
    pub(in super::super) fn encoded(&self, member: &ConsumerMember) -> bytes::Bytes {
        let topics = self.stored.topics.iter().filter_map(|(name, (id, _))| {
            let numbers = member.assigned.get(id)?.iter();
            Some((name.clone(), numbers.filter_map(|one| i32::try_from(*one).ok()).collect()))
        });
        let metadata = member.protocol().map(|protocol| &protocol.metadata);
        embedded::encode(topics, metadata.unwrap_or(&bytes::Bytes::new()))
    }

    /// Counts as a sign of life. Writes nothing.
    pub(in super::super) fn heartbeat_classic(
        &mut self,
        now: Now,
        request: &Heartbeat,
    ) -> Result<(), HeartbeatError> {
        let Heartbeat { member: id, instance, generation, .. } = request;
        let (member, side) = self.classic_member(instance.as_ref(), id, *generation)?;
        let session = now.moment.after(side.session_timeout);
        let must_join = self.has_news_for(member);
        if let Some(deadlines) = self.deadlines.get_mut(id) {
            deadlines.session = session;
        }
        if must_join {
            self.ask_to_join(id, now);
            return Err(MemberError::RebalanceInProgress.into());
        }
        Ok(())
    }

    /// Whether a member would move if it joined once more.
    fn has_news_for(&self, member: &ConsumerMember) -> bool {
        member.epoch != self.stored.epoch
            || match member.phase {
                Phase::Stable => false,
                Phase::Unrevoked => true,
                Phase::Unreleased => {
                    let missing = difference(&member.target, &member.assigned);
                    let mut missing = missing.iter().flat_map(|(topic, numbers)| {
                        numbers.iter().map(move |number| (*topic, *number))
                    });
                    let others = || self.stored.members.values().filter(|one| one.id != member.id);
                    missing.all(|(topic, number)| !others().any(|one| one.holds(topic, number)))
                }
            }
    }

    /// From the first time that a member was asked it has until its rebalance timeout.
    fn ask_to_join(&mut self, id: &MemberId, now: Now) {
        if self.deadlines.get(id).is_some_and(|deadlines| deadlines.due.is_none()) {
            self.expect_of(id, now);
        }
    }

    /// Takes these out, by id or by static name, if they speak the classic protocol.
    pub(in super::super) fn leave_classic(
        &mut self,
        turn: &mut Turn<'_>,
        members: Vec<LeavingMember>,
    ) -> Vec<Left> {
        let mut gone = Vec::new();
        let left = members.into_iter().map(|leaving| {
            let outcome = match self.leaving_classic(&leaving) {
                Ok(id) if gone.contains(&id) => Err(MemberError::UnknownMember),
                found => found.map(|id| gone.push(id)),
            };
            (leaving, outcome)
        });
        let left: Vec<_> = left.collect();
        if !gone.is_empty() {
            self.remove(turn, &gone);
        }
        self.store_if_behind(turn);
        left
    }

    fn leaving_classic(&self, leaving: &LeavingMember) -> Result<MemberId, MemberError> {
        let LeavingMember { member, instance, reason } = leaving;
        let named = || Some(&self.named(instance.as_ref()?)?.id);
        let id = member.as_ref().or_else(named).ok_or(MemberError::UnknownMember)?;
        let found = self.member(instance.as_ref(), id)?;
        found.classic.as_ref().ok_or(MemberError::UnknownMember)?;
        tracing::info!(group = %self.id, member = %id, reason, "member leaves");
        Ok(id.clone())
    }
}

/// What the classic protocol calls a member's epoch.
fn generation(epoch: MemberEpoch) -> GenerationId {
    GenerationId::new(epoch.get()).unwrap_or_default()
}
