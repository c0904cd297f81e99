//! How the members of a generation get their assignment.
//!
//! The rule: the leader's assignment is written first and told after. Until then everybody waits,
//! and if it cannot be written, nobody is told and the group begins anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::error::{MemberError, SyncGroupError};
use super::super::id::MemberId;
use super::super::request::{SyncGroup, Synced};
use super::super::turn::{Reply, Turn, Waiter, WriteId};
use super::members::Waits;
use super::{Assigning, ClassicGroup, State, Syncs};
use crate::error::CoordinatorError;

impl ClassicGroup {
    /// Answers with the assignment, now or once there is one. The group may take `room` bytes.
    pub(in super::super) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: SyncGroup,
        waiter: Waiter,
        room: usize,
    ) {
        let checked = self.check_sync(&request).and_then(|()| self.check_room_for(&request, room));
        let refused = match checked {
            Ok(()) => self.try_sync(turn, request, waiter),
            Err(error) => Err(error),
        };
        if let Err(error) = refused {
            turn.answer(waiter, Reply::Sync(Err(error)));
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), SyncGroupError> {
        let SyncGroup { member, instance, generation, protocol_type, protocol, .. } = request;
        self.check_generation(member, instance.as_ref(), *generation)?;
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(protocol_type, &self.protocol_type) || differs(protocol, &self.protocol) {
            return Err(SyncGroupError::InconsistentProtocol);
        }
        Ok(())
    }

    /// Whether what the leader assigns fits. No more than before always does.
    fn check_room_for(&self, request: &SyncGroup, room: usize) -> Result<(), SyncGroupError> {
        if !self.is_assigned_by(&request.member) {
            return Ok(());
        }
        let assigned = request.assignments.iter().map(|(_, assignment)| assignment.len());
        let assigned: usize = assigned.sum();
        let fits = self.members.said_bytes().saturating_add(assigned) <= room;
        if fits || assigned <= self.members.assigned_bytes() {
            return Ok(());
        }
        Err(SyncGroupError::MetadataFull)
    }

    /// Whether this member's word is what the group waits for.
    fn is_assigned_by(&self, member: &MemberId) -> bool {
        matches!(self.state, State::CompletingRebalance { assigning: None, .. })
            && self.leader.as_ref() == Some(member)
    }

    fn try_sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: SyncGroup,
        waiter: Waiter,
    ) -> Result<(), SyncGroupError> {
        let assigns = self.is_assigned_by(&request.member);
        match &mut self.state {
            State::Empty => return Err(MemberError::UnknownMember.into()),
            State::PreparingRebalance(_) => return Err(MemberError::RebalanceInProgress.into()),
            State::CompletingRebalance { syncs, .. } => {
                syncs.received(&request.member);
                self.wait_for_assignment(turn, &request.member, waiter);
                if assigns {
                    self.assign(turn, request.assignments);
                }
            }
            State::Stable { syncs } => {
                syncs.received(&request.member);
                self.seen(&request.member, turn.now);
                let synced = self.synced(&request.member);
                turn.answer(waiter, Reply::Sync(Ok(synced)));
            }
        }
        Ok(())
    }

    fn wait_for_assignment(&mut self, turn: &mut Turn<'_>, member: &MemberId, waiter: Waiter) {
        if let Some(member) = self.members.get_mut(member) {
            let before = std::mem::replace(&mut member.waits, Waits::ToSync(waiter));
            Self::refuse(turn, before, MemberError::RebalanceInProgress);
        }
    }

    /// Writes the leader's decision. Who is not mentioned in it has nothing to do; who is
    /// mentioned and no member is left out.
    fn assign(&mut self, turn: &mut Turn<'_>, assignments: Vec<(MemberId, Bytes)>) {
        let is_member = |id: &MemberId| self.members.get(id).is_some();
        let assignments: BTreeMap<_, _> =
            assignments.into_iter().filter(|(id, _)| is_member(id)).collect();
        let mut stored = self.stored();
        for member in &mut stored.members {
            member.assignment = assignments.get(&member.id).cloned().unwrap_or_default();
        }
        let write = self.store(turn, &stored);
        if let State::CompletingRebalance { assigning, .. } = &mut self.state {
            *assigning = Some(Assigning { write, assignments });
        }
    }

    /// A write has ended: if it is that of this generation's assignment, everybody is told.
    pub(super) fn assigned(
        &mut self,
        turn: &mut Turn<'_>,
        write: WriteId,
        outcome: &Result<(), CoordinatorError>,
    ) {
        let State::CompletingRebalance { syncs, assigning } = &mut self.state else { return };
        let Some(decided) = assigning.take_if(|assigning| assigning.write == write) else { return };
        let syncs = std::mem::take(syncs);
        match outcome {
            Ok(()) => {
                self.members.assign(decided.assignments);
                self.enter(turn, State::Stable { syncs });
                self.answer_syncs(turn, |group, member| Ok(group.synced(member)));
            }
            Err(error) => {
                tracing::warn!(group = %self.id, %error, "cannot store the assignment");
                self.answer_syncs(turn, |_, _| Err(error.clone().into()));
                self.prepare(turn);
            }
        }
    }

    /// Answers everybody who waits for an assignment. While they waited they could not send
    /// heartbeats, so their sessions begin anew.
    pub(super) fn answer_syncs(
        &mut self,
        turn: &mut Turn<'_>,
        answer: impl Fn(&Self, &MemberId) -> Result<Synced, SyncGroupError>,
    ) {
        let mut waiting = Vec::new();
        for member in self.members.iter_mut() {
            if let Waits::ToSync(waiter) = member.waits {
                member.waits = Waits::No;
                member.seen(turn.now.moment);
                waiting.push((member.stored.id.clone(), waiter));
            }
        }
        for (member, waiter) in waiting {
            let reply = answer(self, &member);
            turn.answer(waiter, Reply::Sync(reply));
        }
    }

    fn synced(&self, member: &MemberId) -> Synced {
        let assignment = self.members.get(member).map(|member| member.stored.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }
}

impl Syncs {
    fn received(&mut self, member: &MemberId) {
        self.missing.remove(member);
        if self.missing.is_empty() {
            self.end = None;
        }
    }
}
