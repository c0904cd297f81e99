//! One heartbeat of one member: who it is, what it says, what it is told.
//!
//! The rule: a heartbeat is refused before it has changed anything. One that is taken first updates
//! the member, then the group's epoch, then the target, then moves the member; what is told is
//! where that ends.

use super::super::bounds::Comer;
use super::super::error::{ConsumerHeartbeatError, MemberError};
use super::super::id::{GroupInstanceId, MemberEpoch, MemberId};
use super::super::request::{Assignment, ConsumerHeartbeat, ConsumerStep, HeartbeatAnswer};
use super::super::turn::{Reply, Turn, Waiter};
use super::member::{ConsumerMember, Phase, Presence, is_subset};
use super::{ConsumerGroup, Memory, TopicsView};

impl ConsumerGroup {
    /// A member says where it stands, and is told where it is to go.
    pub(in super::super) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
        topics: &TopicsView<'_>,
        waiter: Waiter,
    ) {
        let answer = match request.step {
            ConsumerStep::Join => self.join(turn, request, topics),
            ConsumerStep::Continue { epoch } => self.go_on(turn, request, epoch, topics),
            ConsumerStep::Leave => self.leave(turn, request),
            ConsumerStep::LeaveForNow => self.leave_for_now(turn, request),
        };
        turn.answer(waiter, Reply::ConsumerHeartbeat(answer));
    }

    /// What a heartbeat would add to what members take.
    pub(in super::super) fn comer(&self, request: &ConsumerHeartbeat) -> Comer {
        let before = self.present_as(request.instance.as_ref(), Some(&request.member));
        let new = || ConsumerMember::new(request.member.clone());
        let mut after = before.cloned().unwrap_or_else(new);
        after.update(request);
        Comer { before: before.map(ConsumerMember::bytes), now: after.bytes() }
    }

    /// Whoever somebody is, or takes the place of, in the group.
    pub(super) fn present_as(
        &self,
        instance: Option<&GroupInstanceId>,
        id: Option<&MemberId>,
    ) -> Option<&ConsumerMember> {
        let named = instance.and_then(|name| self.named(name));
        named.or_else(|| self.stored.members.get(id?))
    }

    fn join(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
        topics: &TopicsView<'_>,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        check_join(request)?;
        let before = self.returning_member(turn, request)?;
        let new = || ConsumerMember::new(request.member.clone());
        let mut member = before.clone().unwrap_or_else(new);
        member.update(request);
        Ok(self.proceed(turn, request, before.as_ref(), member, topics))
    }

    /// Who begins anew, or is the heir of a static member. `None` is somebody new.
    fn returning_member(
        &mut self,
        turn: &Turn<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<Option<ConsumerMember>, ConsumerHeartbeatError> {
        let named = request.instance.as_ref().and_then(|name| self.named(name));
        if let Some(old) = named.filter(|old| old.id != request.member) {
            let old_id = old.id.clone();
            // A classic client does not say that it will be back.
            if old.presence == Presence::Here && old.classic.is_none() {
                return Err(ConsumerHeartbeatError::UnreleasedInstance { member: old_id });
            }
            return Ok(self.inherit(turn, &old_id, &request.member));
        }
        if let Some(mut again) = self.stored.members.get(&request.member).cloned() {
            again.reset();
            self.memory = Memory::Behind;
            return Ok(Some(again));
        }
        let max = turn.settings.size_max;
        if self.present() >= max {
            return Err(ConsumerHeartbeatError::GroupFull { max });
        }
        Ok(None)
    }

    fn go_on(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
        epoch: MemberEpoch,
        topics: &TopicsView<'_>,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        let before = self.known_member(request)?.clone();
        let mut member = before.clone();
        let fenced = ConsumerHeartbeatError::FencedEpoch { current: member.epoch };
        if member.presence == Presence::Away {
            return Err(fenced);
        }
        // The answer with the new epoch may have been lost on its way.
        let lost_answer = epoch == member.previous_epoch
            && request.owned.as_ref().is_some_and(|owned| is_subset(owned, &member.assigned));
        if epoch != member.epoch && !lost_answer {
            return Err(fenced);
        }
        member.update(request);
        Ok(self.proceed(turn, request, Some(&before), member, topics))
    }

    fn known_member(&self, request: &ConsumerHeartbeat) -> Result<&ConsumerMember, MemberError> {
        self.member(request.instance.as_ref(), &request.member)
    }

    /// The member with this id, and this static name if it has one.
    pub(super) fn member(
        &self,
        instance: Option<&GroupInstanceId>,
        id: &MemberId,
    ) -> Result<&ConsumerMember, MemberError> {
        let Some(name) = instance else {
            return self.stored.members.get(id).ok_or(MemberError::UnknownMember);
        };
        let named = self.named(name).ok_or(MemberError::UnknownMember)?;
        if named.id == *id { Ok(named) } else { Err(MemberError::FencedInstance) }
    }

    /// Who goes by this static name.
    pub(super) fn named(&self, name: &GroupInstanceId) -> Option<&ConsumerMember> {
        self.stored.members.values().find(|member| member.instance.as_ref() == Some(name))
    }

    /// The member is now `updated`; the group takes note, and the member moves on.
    fn proceed(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
        before: Option<&ConsumerMember>,
        updated: ConsumerMember,
        topics: &TopicsView<'_>,
    ) -> HeartbeatAnswer {
        let id = updated.id.clone();
        let nothing = Assignment::new();
        let owned = match request.step {
            ConsumerStep::Join => Some(&nothing),
            _ => request.owned.as_ref(),
        };
        self.take_note(turn, before, updated, owned, topics);
        self.answer(turn, request, before, &id)
    }

    /// The same for either protocol. `owned` is what the member says to have, if it says so.
    pub(super) fn take_note(
        &mut self,
        turn: &mut Turn<'_>,
        before: Option<&ConsumerMember>,
        updated: ConsumerMember,
        owned: Option<&Assignment>,
        topics: &TopicsView<'_>,
    ) {
        let id = updated.id.clone();
        let is_news = before.is_none_or(|before| before.subscribes_otherwise(&updated));
        self.stored.members.insert(id.clone(), updated);
        if is_news {
            self.looked_at = None;
        }
        if self.look_at_topics(topics) || is_news {
            self.raise_epoch(turn);
        }
        self.compute_target();
        self.reconcile(&id, owned);
        self.note_deadlines(turn, &id);
        if before != self.stored.members.get(&id) {
            self.memory = Memory::Behind;
        }
        self.store_if_behind(turn);
    }

    fn answer(
        &self,
        turn: &Turn<'_>,
        request: &ConsumerHeartbeat,
        before: Option<&ConsumerMember>,
        id: &MemberId,
    ) -> HeartbeatAnswer {
        let member = &self.stored.members[id];
        let is_full = request.rebalance_timeout.is_some()
            && (request.subscribed.is_some() || request.pattern.is_some())
            && request.owned.is_some();
        let has_moved = before.is_none_or(|before| before.assigned != member.assigned);
        let tells = request.step == ConsumerStep::Join || is_full || has_moved;
        HeartbeatAnswer {
            member: id.clone(),
            epoch: Some(member.epoch),
            heartbeat_interval: turn.settings.consumer_heartbeat_interval,
            assignment: tells.then(|| member.assigned.clone()),
        }
    }

    fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        let id = self.known_member(request)?.id.clone();
        tracing::info!(group = %self.id, member = %id, "member leaves");
        self.remove(turn, std::slice::from_ref(&id));
        self.store_if_behind(turn);
        Ok(self.farewell(turn, id))
    }

    fn leave_for_now(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        if request.instance.is_none() {
            return Err(ConsumerHeartbeatError::Invalid("only a static member can come back"));
        }
        let id = self.known_member(request)?.id.clone();
        if let Some(member) = self.stored.members.get_mut(&id) {
            member.presence = Presence::Away;
            member.phase = Phase::Stable;
            member.revoking.clear();
        }
        if let Some(deadlines) = self.deadlines.get_mut(&id) {
            deadlines.due = None;
        }
        self.memory = Memory::Behind;
        self.store_if_behind(turn);
        Ok(self.farewell(turn, id))
    }

    fn farewell(&self, turn: &Turn<'_>, member: MemberId) -> HeartbeatAnswer {
        let heartbeat_interval = turn.settings.consumer_heartbeat_interval;
        HeartbeatAnswer { member, epoch: None, heartbeat_interval, assignment: None }
    }
}

/// Whoever joins must say all that there is to say.
pub(in super::super) fn check_join(
    request: &ConsumerHeartbeat,
) -> Result<(), ConsumerHeartbeatError> {
    let invalid = |what| Err(ConsumerHeartbeatError::Invalid(what));
    if request.rebalance_timeout.is_none_or(|timeout| timeout.is_zero()) {
        return invalid("whoever joins sets a rebalance timeout");
    }
    if request.subscribed.is_none() && request.pattern.is_none() {
        return invalid("whoever joins says what it subscribes to");
    }
    if request.owned.as_ref().is_some_and(|owned| !owned.is_empty()) {
        return invalid("whoever joins owns nothing yet");
    }
    Ok(())
}
