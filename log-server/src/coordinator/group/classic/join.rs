//! How members come into a group.
//!
//! The rule: a join is refused before it has changed anything, or it waits in the group until the
//! rebalance that it takes part in has ended. Whoever is already in, and says nothing new, is told
//! at once where the group stands: it may only have missed its answer.

use super::super::error::{JoinGroupError, MemberError};
use super::super::id::{GroupInstanceId, MemberId};
use super::super::request::{JoinGroup, Joined, LeaderReturn, NewMember};
use super::super::settings::GroupSettings;
use super::super::turn::{Reply, Turn};
use super::members::{Member, Tenure, Waits};
use super::{ClassicGroup, Joining, Newcomers, Preparation, Replacement, State};

/// What a rejoining member's request means in the state of its group.
enum Rejoin {
    /// It is part of a new rebalance, or of the one under way.
    Rebalance,
    /// It changes nothing.
    Answer,
    Unknown,
}

impl ClassicGroup {
    /// Takes somebody in, or says why not.
    pub(in super::super) fn join(&mut self, turn: &mut Turn<'_>, join: Joining) {
        let waiter = join.waiter;
        if let Err(error) = self.try_join(turn, join) {
            turn.answer(waiter, Reply::Join(Err(error)));
        }
    }

    fn try_join(&mut self, turn: &mut Turn<'_>, join: Joining) -> Result<(), JoinGroupError> {
        self.check_room(turn, &join.request)?;
        self.check_protocols(&join.request)?;
        match join.request.member.clone() {
            Some(member) => self.rejoin(turn, join, member),
            None => self.join_anew(turn, join),
        }
    }

    /// While a group prepares, who has joined counts, so that its last members to rejoin are shut
    /// out of a group that is too large; after that, who is in it.
    fn check_room(
        &mut self,
        turn: &mut Turn<'_>,
        request: &JoinGroup,
    ) -> Result<(), JoinGroupError> {
        let max = turn.settings.size_max;
        let returning = || self.members.static_id(request.instance.as_ref()?);
        let member = request.member.as_ref().or_else(returning).cloned();
        let present = member.as_ref().and_then(|member| self.members.get(member));
        let has_room = match self.state {
            State::Empty => true,
            State::PreparingRebalance(_) => {
                present.is_some_and(Member::is_joining) || self.members.joining_count() < max
            }
            State::CompletingRebalance { .. } | State::Stable { .. } => {
                present.is_some() || self.members.len() < max
            }
        };
        if has_room {
            return Ok(());
        }
        if let Some(member) = member {
            self.members.remove_pending(&member);
            self.remove(turn, &member);
            self.complete_if_joined(turn);
        }
        Err(JoinGroupError::GroupFull { max })
    }

    fn check_protocols(&self, request: &JoinGroup) -> Result<(), JoinGroupError> {
        let fits = match self.state {
            State::Empty => !request.protocol_type.is_empty() && !request.protocols.is_empty(),
            _ => {
                self.protocol_type.as_deref() == Some(&request.protocol_type)
                    && self.members.can_any(&request.protocols)
            }
        };
        if fits { Ok(()) } else { Err(JoinGroupError::InconsistentProtocol) }
    }

    fn join_anew(&mut self, turn: &mut Turn<'_>, join: Joining) -> Result<(), JoinGroupError> {
        let id = join.fresh.clone();
        let Some(instance) = join.request.instance.clone() else {
            return match join.request.new_member {
                NewMember::Admit => {
                    self.admit(turn, join, id);
                    Ok(())
                }
                NewMember::RequireKnownId => {
                    let until = turn.now.moment.after(join.request.session_timeout);
                    self.members.await_join_of(id.clone(), until);
                    Err(JoinGroupError::MemberIdRequired { member: id })
                }
            };
        };
        match self.members.static_id(&instance).cloned() {
            Some(old_id) => self.replace(turn, join, &instance, old_id),
            None => self.admit(turn, join, id),
        }
        Ok(())
    }

    fn rejoin(
        &mut self,
        turn: &mut Turn<'_>,
        join: Joining,
        id: MemberId,
    ) -> Result<(), JoinGroupError> {
        if self.members.is_pending(&id) && join.request.instance.is_none() {
            self.admit(turn, join, id);
            return Ok(());
        }
        self.check_member(&id, join.request.instance.as_ref())?;
        match self.meaning_of(&id, &join.request) {
            Rejoin::Rebalance => {
                self.update(turn, &id, join);
                self.rebalance_or_complete(turn);
            }
            Rejoin::Answer => {
                let joined = self.joined(&id);
                self.seen(&id, turn.now);
                turn.answer(join.waiter, Reply::Join(Ok(joined)));
            }
            Rejoin::Unknown => return Err(MemberError::UnknownMember.into()),
        }
        Ok(())
    }

    fn meaning_of(&self, id: &MemberId, request: &JoinGroup) -> Rejoin {
        let is_news = |member: &Member| member.stored.protocols != request.protocols;
        let has_news = self.members.get(id).is_some_and(is_news);
        match self.state {
            State::Empty => Rejoin::Unknown,
            State::PreparingRebalance(_) => Rejoin::Rebalance,
            // The leader may know of changes that its own metadata does not show, such as a topic
            // with more partitions.
            State::Stable { .. } if self.leader.as_ref() == Some(id) => Rejoin::Rebalance,
            _ if has_news => Rejoin::Rebalance,
            _ => Rejoin::Answer,
        }
    }

    fn admit(&mut self, turn: &mut Turn<'_>, join: Joining, id: MemberId) {
        tracing::info!(group = %self.id, member = %id, reason = join.request.reason, "member joins");
        if let State::PreparingRebalance(preparing) = &mut self.state
            && let Preparation::Initial { newcomers, .. } = &mut preparing.kind
        {
            *newcomers = Newcomers::Some;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.request.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let end = turn.now.moment.after(turn.settings.new_member_join_timeout);
        self.members.insert(Member::joining(id, join.request, join.waiter, end));
        self.rebalance_or_complete(turn);
    }

    fn update(&mut self, turn: &mut Turn<'_>, id: &MemberId, join: Joining) {
        let JoinGroup { protocols, session_timeout, rebalance_timeout, .. } = join.request;
        self.members.update(id, protocols, session_timeout, rebalance_timeout);
        if let Some(member) = self.members.get_mut(id) {
            let before = std::mem::replace(&mut member.waits, Waits::ToJoin(join.waiter));
            Self::refuse(turn, before, MemberError::RebalanceInProgress);
        }
    }

    /// A static member is back, as another process with another id. As long as that changes
    /// nothing for the others, nobody but the log needs to hear of it.
    fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        join: Joining,
        instance: &GroupInstanceId,
        old_id: MemberId,
    ) {
        let new_id = join.fresh.clone();
        tracing::info!(group = %self.id, %instance, %old_id, %new_id, "static member returns");
        let old_leader = self.leader.clone();
        let Some(old) = self.rename(turn, &old_id, &new_id) else { return };
        let returned = join.request.leader_return;
        match self.state {
            State::Stable { .. } => {
                let waiter = join.waiter;
                self.update(turn, &new_id, join);
                if self.members.elect_protocol() != self.protocol {
                    return self.rebalance_or_complete(turn);
                }
                if let Some(member) = self.members.get_mut(&new_id) {
                    member.waits = Waits::No;
                }
                let write = self.store(turn, &self.stored());
                self.replacements.push(Replacement { write, new_id: new_id.clone(), old });
                let joined = self.returned(&new_id, old_leader, returned);
                turn.answer(waiter, Reply::Join(Ok(joined)));
            }
            // The leader may have been told the old id, and would assign to it.
            _ => {
                self.update(turn, &new_id, join);
                self.rebalance_or_complete(turn);
            }
        }
    }

    /// Gives a member another id. Whoever waits under the old one is fenced. Answers what it was.
    pub(super) fn rename(
        &mut self,
        turn: &mut Turn<'_>,
        old_id: &MemberId,
        new_id: &MemberId,
    ) -> Option<super::StoredMember> {
        let mut member = self.members.remove(old_id)?;
        let old = member.stored.clone();
        let waits = std::mem::replace(&mut member.waits, Waits::No);
        Self::refuse(turn, waits, MemberError::FencedInstance);
        member.stored.id = new_id.clone();
        member.tenure = Tenure::Old;
        member.seen(turn.now.moment);
        self.members.insert(member);
        if self.leader.as_ref() == Some(old_id) {
            self.leader = Some(new_id.clone());
        }
        Some(old)
    }

    /// What a static member is told that came back into a stable group.
    fn returned(
        &self,
        id: &MemberId,
        old_leader: Option<MemberId>,
        returned: LeaderReturn,
    ) -> Joined {
        let joined = self.joined(id);
        let leads = self.leader.as_ref() == Some(id);
        match returned {
            LeaderReturn::SkipsAssignment => Joined { skip_assignment: leads, ..joined },
            // Told that it leads, it would assign, in a generation that has its assignment.
            LeaderReturn::Follows => {
                Joined { leader: old_leader.or(joined.leader), members: Vec::new(), ..joined }
            }
        }
    }

    /// What a member is told of this generation.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let leader = self.leader.clone().unwrap_or_else(|| id.clone());
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = if leader == *id { self.members.joined(protocol) } else { Vec::new() };
        Joined {
            member: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: Some(leader),
            members,
            skip_assignment: false,
        }
    }
}

/// What is checked of a join before any group is looked at.
pub(in super::super) fn check_session(
    request: &JoinGroup,
    settings: &GroupSettings,
) -> Result<(), JoinGroupError> {
    let (asked, range) = (request.session_timeout, &settings.session_timeout);
    if range.contains(&asked) {
        return Ok(());
    }
    Err(JoinGroupError::InvalidSessionTimeout { asked, min: *range.start(), max: *range.end() })
}
