//! The classic protocol: the members of a group elect one of them, and it shares out the work.
//!
//! ```text
//!                    join                     the first of a group waits a little for others
//!          ┌──────────────────────┐
//!          │                      ▼
//!       Empty ◄──────── PreparingRebalance ◄─────────┬──────────────┐
//!          ▲  all gone            │                  │ join, leave, │ join of somebody else,
//!          │                      │ all have joined, │ death        │ leave, death, no sync
//!          │                      ▼ or time is up    │              │
//!          └────────── CompletingRebalance ──────────┘           Stable
//!                                 │                                 ▲
//!                                 └── the leader's assignment ──────┘
//!                                        is on the disk
//! ```
//!
//! The rule: a generation has one assignment, and nobody is given it before it is durable. There
//! is no state for a dead group: a group that is gone is not there. Everything is a [`Turn`].
//!
//! - [`members`]: who is in it.
//! - [`join`], [`sync`]: how they come in, and get their assignment.
//! - [`rebalance`]: how a generation ends and the next begins; leaving, dying, time passing.

mod join;
mod members;
mod rebalance;
mod sync;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use log_proto::types::TimestampMs;

use super::error::{HeartbeatError, MemberError};
use super::id::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::live::Legacy;
use super::request::{
    Committer, GroupDescription, GroupKind, GroupListing, GroupState, Heartbeat, MemberDescription,
};
use super::stored::{StoredGroup, StoredMember};
use super::subscription::{self, CONSUMER, Usage};
use super::turn::{Moment, Now, Reply, Turn, Waiter, WriteId};
use crate::error::CoordinatorError;
pub(super) use join::check_session;
use members::{Member, Members, Waits};

/// A classic group, as it is now.
#[derive(Clone, Debug)]
pub(super) struct ClassicGroup {
    id: GroupId,
    state: State,
    /// Since when, by the time of day.
    state_since: TimestampMs,
    generation: GenerationId,
    /// Kept when the last member goes: it had members once.
    protocol_type: Option<String>,
    /// Of this generation; none while there is no member.
    protocol: Option<String>,
    leader: Option<MemberId>,
    members: Members,
    /// What the members of this generation use, where that can be said.
    subscribed: Option<BTreeSet<String>>,
    /// Whether the log says anything of it.
    memory: Memory,
    /// What is on its way into the log.
    last_write: Option<WriteId>,
    /// Static members that came back while that was not durable yet.
    replacements: Vec<Replacement>,
}

/// How the deletion of a group has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deletion {
    Done,
    NotDone,
}

/// What the log says of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Memory {
    /// A restart forgets it.
    Volatile,
    /// A restart brings it back.
    Stored,
    /// It is being taken out of the log; a later record brings it back in.
    Deleting(WriteId),
}

#[derive(Clone, Debug)]
enum State {
    /// From `PreparingRebalance`.
    Empty,
    /// From any other state.
    PreparingRebalance(Preparing),
    /// From `PreparingRebalance`.
    CompletingRebalance { syncs: Syncs, assigning: Option<Assigning> },
    /// From `CompletingRebalance`.
    Stable { syncs: Syncs },
}

/// How long members may take to join.
#[derive(Clone, Copy, Debug)]
struct Preparing {
    end: Moment,
    kind: Preparation,
}

#[derive(Clone, Copy, Debug)]
enum Preparation {
    /// The group was empty: whoever comes within the delay makes it begin anew, until
    /// `remaining` is used up. It ends by time alone.
    Initial { delay: Duration, remaining: Duration, newcomers: Newcomers },
    /// It ends when everybody has joined, or by time.
    Ordinary,
}

/// Whether somebody else has come since the delay began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Newcomers {
    None,
    Some,
}

/// Who has not asked for its assignment yet, and until when it may.
#[derive(Clone, Debug, Default)]
struct Syncs {
    missing: BTreeSet<MemberId>,
    end: Option<Moment>,
}

/// The leader's decision, on its way to the disk.
#[derive(Clone, Debug)]
struct Assigning {
    write: WriteId,
    /// For members and nobody else.
    assignments: BTreeMap<MemberId, Bytes>,
}

impl Assigning {
    fn bytes(&self) -> usize {
        self.assignments.values().map(Bytes::len).sum()
    }
}

/// A static member that came back under a new id, and what it was before.
#[derive(Clone, Debug)]
struct Replacement {
    write: WriteId,
    new_id: MemberId,
    old: StoredMember,
}

impl ClassicGroup {
    /// A group that nobody has heard of.
    pub(super) fn new(id: GroupId, now: Now) -> Self {
        Self {
            id,
            state: State::Empty,
            state_since: now.time,
            generation: GenerationId::default(),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::default(),
            subscribed: None,
            memory: Memory::Volatile,
            last_write: None,
            replacements: Vec::new(),
        }
    }

    /// A group that was of the other kind.
    pub(super) fn converted(legacy: Legacy, now: Now) -> Self {
        let Legacy { id, number, state_since, memory, last_write } = legacy;
        Self {
            generation: GenerationId::new(number).unwrap_or_default(),
            state_since,
            // Until somebody comes it is one that consumers have left.
            protocol_type: Some(CONSUMER.to_owned()),
            memory,
            last_write,
            ..Self::new(id, now)
        }
    }

    /// What it takes along when it comes back as one of the other kind.
    pub(super) fn legacy(&self) -> Legacy {
        Legacy {
            id: self.id.clone(),
            number: self.generation.get(),
            state_since: self.state_since,
            memory: self.memory,
            last_write: self.last_write,
        }
    }

    /// A group as it was last written. Its members have their sessions from now. Where they have no
    /// protocol there is no assignment that stands, and they are to join anew: so it is written
    /// when a consumer group becomes a classic one.
    pub(super) fn restore(id: GroupId, stored: StoredGroup, now: Now) -> Self {
        let mut group = Self::new(id, now);
        group.state_since = stored.state_since;
        group.generation = stored.generation;
        group.protocol_type = stored.protocol_type;
        group.protocol = stored.protocol;
        group.memory = Memory::Stored;
        for member in stored.members {
            group.members.insert(Member::restored(member, now.moment));
        }
        group.leader = stored.leader.filter(|leader| group.members.get(leader).is_some());
        if !group.members.is_empty() {
            group.leader = group.leader.or_else(|| group.members.ids().next().cloned());
            group.state = match &group.protocol {
                Some(_) => State::Stable { syncs: Syncs::default() },
                None => {
                    let end = now.moment.after(group.members.rebalance_timeout());
                    State::PreparingRebalance(Preparing { end, kind: Preparation::Ordinary })
                }
            };
        }
        group.subscribed = group.subscribed_topics();
        group
    }

    /// What is to be remembered of it.
    pub(super) fn stored(&self) -> StoredGroup {
        StoredGroup {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: self.members.iter().map(|member| member.stored.clone()).collect(),
        }
    }

    /// A consumer group whose members all speak the classic protocol, and are to join anew.
    pub(super) fn downgraded(id: GroupId, stored: &StoredGroup, turn: &mut Turn<'_>) -> Self {
        tracing::info!(group = %id, generation = %stored.generation, "becomes a classic group");
        let mut group = Self::restore(id, stored.clone(), turn.now);
        group.store(turn, stored);
        group
    }

    /// Whether consumers of the other protocol may join: it is a group of consumers.
    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Everybody in it, as a restart would know them.
    pub(super) fn members(&self) -> impl Iterator<Item = &StoredMember> {
        self.members.iter().map(|member| &member.stored)
    }

    /// The protocol that was chosen, if there is one.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Whoever waits is to join anew: the group is about to become another.
    pub(super) fn refuse_all(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.iter_mut() {
            let waits = std::mem::replace(&mut member.waits, Waits::No);
            Self::refuse(turn, waits, MemberError::RebalanceInProgress);
        }
    }

    /// The write that answers of this group must wait for.
    pub(super) fn last_write(&self) -> Option<WriteId> {
        self.last_write
    }

    /// Whether forgetting it would lose nothing.
    pub(super) fn is_disposable(&self) -> bool {
        matches!(self.state, State::Empty)
            && self.members.present() == 0
            && self.memory == Memory::Volatile
            && self.last_write.is_none()
    }

    /// The log is told to forget it.
    pub(super) fn deleting(&mut self, write: WriteId) {
        if self.memory == Memory::Stored {
            self.memory = Memory::Deleting(write);
        }
    }

    /// The log has forgotten it, or has not. Of no interest if it was written again since.
    pub(super) fn deletion_ended(&mut self, write: WriteId, deletion: Deletion) {
        if self.memory == Memory::Deleting(write) {
            self.memory = match deletion {
                Deletion::Done => Memory::Volatile,
                Deletion::NotDone => Memory::Stored,
            };
        }
    }

    /// Whether nobody is in it, nor about to be.
    pub(super) fn is_deserted(&self) -> bool {
        matches!(self.state, State::Empty) && self.members.present() == 0
    }

    pub(super) fn id(&self) -> &GroupId {
        &self.id
    }

    pub(super) fn generation(&self) -> GenerationId {
        self.generation
    }

    /// Members, and those who may become one.
    pub(super) fn present(&self) -> usize {
        self.members.present()
    }

    /// What members say of themselves, and what is or is about to be assigned to them, takes so
    /// much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let assigning = match &self.state {
            State::CompletingRebalance { assigning: Some(assigning), .. } => assigning.bytes(),
            _ => 0,
        };
        self.members.said_bytes() + self.members.assigned_bytes() + assigning
    }

    /// What somebody has said of itself takes so much, if it is in, by its id or static name.
    pub(super) fn said_by(
        &self,
        member: Option<&MemberId>,
        instance: Option<&GroupInstanceId>,
    ) -> Option<usize> {
        let named = instance.and_then(|name| self.members.static_id(name));
        named.or(member).and_then(|id| self.members.get(id)).map(Member::bytes)
    }

    /// Counts as a sign of life. Writes nothing.
    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        request: &Heartbeat,
    ) -> Result<(), HeartbeatError> {
        let instance = request.instance.as_ref();
        self.check_generation(&request.member, instance, request.generation)?;
        self.seen(&request.member, now);
        match self.state {
            State::Empty => Err(MemberError::UnknownMember.into()),
            State::PreparingRebalance(_) => Err(MemberError::RebalanceInProgress.into()),
            State::CompletingRebalance { .. } | State::Stable { .. } => Ok(()),
        }
    }

    /// Whether somebody may commit. A member's commit is a sign of life, too.
    pub(super) fn check_commit(
        &mut self,
        now: Now,
        committer: &Committer,
    ) -> Result<(), MemberError> {
        let Committer { member, instance, generation } = committer;
        let is_empty = matches!(self.state, State::Empty);
        if generation.is_none() && is_empty {
            return Ok(());
        }
        // Without any of them it is a stranger, and the offsets are the members' to commit.
        let member = member.as_ref().ok_or(MemberError::UnknownMember)?;
        self.check_member(member, instance.as_ref())?;
        let current = self.generation;
        if *generation != Some(current) {
            return Err(MemberError::IllegalGeneration { current });
        }
        if matches!(self.state, State::CompletingRebalance { .. }) {
            return Err(MemberError::RebalanceInProgress);
        }
        self.seen(member, now);
        Ok(())
    }

    /// A sign of life. Whoever waits and has outlived its session is alive as long as it waits.
    fn seen(&mut self, member: &MemberId, now: Now) {
        let member = self.members.get_mut(member).filter(|member| member.session_end.is_some());
        if let Some(member) = member {
            member.seen(now.moment);
        }
    }

    /// Whether somebody is who it says.
    fn check_member(
        &self,
        member: &MemberId,
        instance: Option<&GroupInstanceId>,
    ) -> Result<(), MemberError> {
        if let Some(instance) = instance {
            let present = self.members.static_id(instance).ok_or(MemberError::UnknownMember)?;
            if present != member {
                return Err(MemberError::FencedInstance);
            }
        }
        self.members.get(member).map(drop).ok_or(MemberError::UnknownMember)
    }

    fn check_generation(
        &self,
        member: &MemberId,
        instance: Option<&GroupInstanceId>,
        generation: GenerationId,
    ) -> Result<(), MemberError> {
        self.check_member(member, instance)?;
        let current = self.generation;
        if generation != current {
            return Err(MemberError::IllegalGeneration { current });
        }
        Ok(())
    }

    /// What those who would delete its offsets must know.
    pub(super) fn usage(&self) -> Usage {
        let is_consumer = self.protocol_type.as_deref() == Some(CONSUMER);
        match (&self.state, &self.subscribed) {
            (State::Empty, _) if self.protocol_type.is_none() => Usage::OffsetsOnly,
            (State::Empty, _) => Usage::EmptySince(self.state_since),
            (State::Stable { .. }, Some(topics)) if is_consumer => {
                Usage::Subscribed(topics.clone())
            }
            (_, subscribed) if is_consumer => Usage::Unsettled(subscribed.clone()),
            _ => Usage::Others,
        }
    }

    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let each =
            self.members.iter().map(|member| subscription::topics(&member.metadata(protocol)));
        let each: Option<Vec<BTreeSet<String>>> = each.collect();
        Some(each?.into_iter().flatten().collect())
    }

    pub(super) fn listing(&self) -> GroupListing {
        let state = match self.state {
            State::Empty => GroupState::Empty,
            State::PreparingRebalance(_) => GroupState::PreparingRebalance,
            State::CompletingRebalance { .. } => GroupState::CompletingRebalance,
            State::Stable { .. } => GroupState::Stable,
        };
        GroupListing {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone(),
            state,
            kind: GroupKind::Classic,
        }
    }

    /// Metadata and assignments are shown only while they stand.
    pub(super) fn describe(&self) -> GroupDescription {
        let stable = matches!(self.state, State::Stable { .. });
        let protocol = self.protocol.clone().filter(|_| stable);
        let members = self.members.iter().map(|Member { stored, .. }| MemberDescription {
            member: stored.id.clone(),
            instance: stored.instance.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            metadata: Bytes::new(),
            assignment: if stable { stored.assignment.clone() } else { Bytes::new() },
        });
        let mut members: Vec<_> = members.collect();
        if let Some(protocol) = &protocol {
            for (described, member) in members.iter_mut().zip(self.members.iter()) {
                described.metadata = member.metadata(protocol);
            }
        }
        GroupDescription { listing: self.listing(), protocol, members }
    }

    /// Writes down what it is now, or is to become. Answers of this group wait for it from here on.
    fn store(&mut self, turn: &mut Turn<'_>, stored: &StoredGroup) -> WriteId {
        let write = turn.write(stored.to_record(&self.id));
        self.memory = Memory::Stored;
        self.last_write = Some(write);
        write
    }

    /// A write of this group has ended.
    pub(super) fn written(
        &mut self,
        turn: &mut Turn<'_>,
        write: WriteId,
        outcome: &Result<(), CoordinatorError>,
    ) {
        if self.last_write == Some(write) {
            self.last_write = None;
        }
        self.settle_replacements(turn, write, outcome);
        self.assigned(turn, write, outcome);
    }

    /// Answers whoever has waited for something that will not come.
    fn refuse(turn: &mut Turn<'_>, waits: Waits, error: MemberError) {
        match waits {
            Waits::No => {}
            Waits::ToJoin(waiter) => turn.answer(waiter, Reply::Join(Err(error.into()))),
            Waits::ToSync(waiter) => turn.answer(waiter, Reply::Sync(Err(error.into()))),
        }
    }

    fn enter(&mut self, turn: &Turn<'_>, state: State) {
        self.state = state;
        self.state_since = turn.now.time;
    }
}

/// A join on its way through the group.
pub(super) struct Joining {
    pub(super) request: super::request::JoinGroup,
    /// The id that the member is given if it has none.
    pub(super) fresh: MemberId,
    pub(super) waiter: Waiter,
}
