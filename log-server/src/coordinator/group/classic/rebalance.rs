//! How a generation ends and the next begins; and what leaving, dying and time do to a group.
//!
//! The rule: whoever is removed has its waiters answered, and every removal asks whether the
//! rebalance under way was only waiting for that one.

use std::time::Duration;

use super::super::error::MemberError;
use super::super::id::MemberId;
use super::super::request::LeavingMember;
use super::super::turn::{Left, Moment, Reply, Turn, WriteId};
use super::members::{Tenure, Waits};
use super::{ClassicGroup, Newcomers, Preparation, Preparing, Replacement, State, Syncs};
use crate::error::CoordinatorError;

impl ClassicGroup {
    /// Takes these out, by id or by static name. The others are to share their work anew.
    pub(in super::super) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        members: Vec<LeavingMember>,
    ) -> Vec<Left> {
        let before = self.members.len();
        let left = members.into_iter().map(|leaving| {
            let outcome = self.leave_one(turn, &leaving);
            (leaving, outcome)
        });
        let left = left.collect();
        if self.members.len() < before {
            self.rebalance_or_complete(turn);
        } else {
            self.complete_if_joined(turn);
        }
        left
    }

    fn leave_one(
        &mut self,
        turn: &mut Turn<'_>,
        leaving: &LeavingMember,
    ) -> Result<(), MemberError> {
        let LeavingMember { member, instance, reason } = leaving;
        let by_instance = || instance.as_ref().and_then(|name| self.members.static_id(name));
        let id = member.as_ref().or_else(by_instance).ok_or(MemberError::UnknownMember)?.clone();
        tracing::info!(group = %self.id, member = %id, reason, "member leaves");
        if self.members.remove_pending(&id).is_some() {
            return Ok(());
        }
        self.check_member(&id, instance.as_ref())?;
        self.remove(turn, &id);
        Ok(())
    }

    /// Takes a member out. What that means for the others is for the caller to ask.
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let Some(member) = self.members.remove(id) else { return };
        // A client that still waits joins anew.
        Self::refuse(turn, member.waits, MemberError::UnknownMember);
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.ids().next().cloned();
        }
        if let State::CompletingRebalance { syncs, .. } | State::Stable { syncs } = &mut self.state
        {
            syncs.missing.remove(id);
        }
    }

    /// Begins a rebalance, or ends the one under way if that is all it was waiting for.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::PreparingRebalance(_)) {
            self.complete_if_joined(turn);
            return;
        }
        self.prepare(turn);
        self.complete_if_joined(turn);
    }

    /// From now on members must join anew.
    pub(super) fn prepare(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::CompletingRebalance { .. }) {
            self.members.clear_assignments();
            self.answer_syncs(turn, |_, _| Err(MemberError::RebalanceInProgress.into()));
        }
        let timeout = self.members.rebalance_timeout();
        let preparing = match self.state {
            State::Empty => {
                let delay = turn.settings.initial_rebalance_delay;
                let remaining = timeout.saturating_sub(delay);
                let newcomers = Newcomers::None;
                let kind = Preparation::Initial { delay, remaining, newcomers };
                Preparing { end: turn.now.moment.after(delay), kind }
            }
            _ => {
                let end = turn.now.moment.after(timeout);
                Preparing { end, kind: Preparation::Ordinary }
            }
        };
        self.enter(turn, State::PreparingRebalance(preparing));
    }

    /// Ends a rebalance that has nobody left to wait for.
    pub(super) fn complete_if_joined(&mut self, turn: &mut Turn<'_>) {
        let State::PreparingRebalance(preparing) = &self.state else { return };
        let is_initial = matches!(preparing.kind, Preparation::Initial { .. });
        if self.members.have_all_joined() && (!is_initial || self.members.is_empty()) {
            self.complete(turn);
        }
    }

    /// Begins the next generation with those who have joined, and with static members, who may
    /// come back as long as their sessions last.
    fn complete(&mut self, turn: &mut Turn<'_>) {
        let is_late = |id: &MemberId| {
            let member = self.members.get(id);
            member.is_some_and(|member| !member.is_joining() && member.stored.instance.is_none())
        };
        let late: Vec<_> = self.members.ids().filter(|id| is_late(id)).cloned().collect();
        for id in late {
            tracing::info!(group = %self.id, member = %id, "has not joined again: removed");
            self.remove(turn, &id);
        }
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect_leader() {
            // Only absent static members are left. They come back, or their sessions end.
            let end = turn.now.moment.after(self.members.rebalance_timeout());
            self.state = State::PreparingRebalance(Preparing { end, kind: Preparation::Ordinary });
            return;
        }
        self.begin_generation(turn);
    }

    /// The leader stays, if it has joined. Answers whether there is one who has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|it| it.is_joining());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let Some(elected) = self.members.ids().find(|id| has_joined(id)).cloned() else {
            return false;
        };
        self.leader = Some(elected);
        true
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.generation = self.generation.next();
        self.protocol = None;
        self.leader = None;
        self.subscribed = self.subscribed_topics();
        self.enter(turn, State::Empty);
        tracing::info!(group = %self.id, generation = %self.generation, "group is empty");
        self.store(turn, &self.stored());
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation = self.generation.next();
        self.protocol = self.members.elect_protocol();
        self.subscribed = self.subscribed_topics();
        let syncs = Syncs {
            missing: self.members.ids().cloned().collect(),
            end: Some(turn.now.moment.after(self.members.rebalance_timeout())),
        };
        self.enter(turn, State::CompletingRebalance { syncs, assigning: None });
        tracing::info!(
            group = %self.id, generation = %self.generation, members = self.members.len(),
            "generation begins"
        );
        self.answer_joins(turn);
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let mut joined = Vec::new();
        for member in self.members.iter_mut() {
            member.seen(turn.now.moment);
            member.tenure = Tenure::Old;
            if let Waits::ToJoin(waiter) = member.waits {
                member.waits = Waits::No;
                joined.push((member.stored.id.clone(), waiter));
            }
        }
        for (member, waiter) in joined {
            turn.answer(waiter, Reply::Join(Ok(self.joined(&member))));
        }
    }

    /// The next moment at which time alone changes something.
    pub(in super::super) fn next_deadline(&self) -> Option<Moment> {
        let phase = match &self.state {
            State::Empty => None,
            State::PreparingRebalance(preparing) => Some(preparing.end),
            State::CompletingRebalance { syncs, .. } | State::Stable { syncs } => syncs.end,
        };
        phase.into_iter().chain(self.members.next_end()).min()
    }

    /// Does what time alone does, up to now.
    pub(in super::super) fn tick(&mut self, turn: &mut Turn<'_>) {
        self.members.expire_pending(turn.now.moment);
        self.complete_if_joined(turn);
        for id in self.members.overdue(turn.now.moment) {
            self.session_over(turn, &id);
        }
        self.phase_over(turn);
    }

    fn session_over(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let now = turn.now.moment;
        let Some(member) = self.members.get_mut(id) else { return };
        // What this turn has done already may have given it a new session.
        if member.session_end.is_none_or(|end| end > now) {
            return;
        }
        if member.tenure == Tenure::Old && member.waits != Waits::No {
            member.session_end = None;
            return;
        }
        tracing::info!(group = %self.id, member = %id, "no heartbeat: member removed");
        self.remove(turn, id);
        self.rebalance_or_complete(turn);
    }

    fn phase_over(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.moment;
        match &self.state {
            State::PreparingRebalance(preparing) if preparing.end <= now => {
                self.preparation_over(turn, *preparing);
            }
            State::CompletingRebalance { syncs, .. } | State::Stable { syncs }
                if syncs.end.is_some_and(|end| end <= now) =>
            {
                self.syncs_over(turn);
            }
            _ => {}
        }
    }

    fn preparation_over(&mut self, turn: &mut Turn<'_>, preparing: Preparing) {
        match preparing.kind {
            Preparation::Initial { delay, remaining, newcomers: Newcomers::Some }
                if remaining > Duration::ZERO =>
            {
                let next = turn.settings.initial_rebalance_delay.min(remaining);
                let kind = Preparation::Initial {
                    delay: next,
                    remaining: remaining.saturating_sub(delay),
                    newcomers: Newcomers::None,
                };
                let end = turn.now.moment.after(next);
                self.state = State::PreparingRebalance(Preparing { end, kind });
            }
            _ => self.complete(turn),
        }
    }

    /// Whoever has not asked for its assignment in time is taken out, static or not.
    fn syncs_over(&mut self, turn: &mut Turn<'_>) {
        let (State::CompletingRebalance { syncs, .. } | State::Stable { syncs }) = &mut self.state
        else {
            return;
        };
        syncs.end = None;
        let missing = std::mem::take(&mut syncs.missing);
        for id in &missing {
            tracing::info!(group = %self.id, member = %id, "has not asked for its assignment");
            self.remove(turn, id);
        }
        if !missing.is_empty() {
            self.rebalance_or_complete(turn);
        }
    }

    /// A static member whose new id could not be written is again what it was.
    pub(super) fn settle_replacements(
        &mut self,
        turn: &mut Turn<'_>,
        write: WriteId,
        outcome: &Result<(), CoordinatorError>,
    ) {
        let of_write = self.replacements.extract_if(.., |replaced| replaced.write == write);
        let of_write: Vec<_> = of_write.collect();
        for replaced in of_write.into_iter().filter(|_| outcome.is_err()) {
            self.take_back(turn, replaced);
        }
    }

    fn take_back(&mut self, turn: &mut Turn<'_>, replaced: Replacement) {
        let Replacement { new_id, old, .. } = replaced;
        let old_id = old.id.clone();
        if self.rename(turn, &new_id, &old_id).is_some() {
            let (session, rebalance) = (old.session_timeout, old.rebalance_timeout);
            self.members.update(&old_id, old.protocols, session, rebalance);
            return;
        }
        // It has come back once more since. If that is not stored either, it is as before both.
        let next = self.replacements.iter_mut().find(|next| next.old.id == new_id);
        if let Some(next) = next {
            next.old = old;
        }
    }
}
