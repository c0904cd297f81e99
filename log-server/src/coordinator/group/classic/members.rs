//! The members of a classic group: what is stored of each, and what only lives in memory.
//!
//! The rule: members, static names and counts change in here alone, so that they cannot come
//! apart. Whoever is taken out is handed back whole: its waiters must be answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::id::{GroupInstanceId, MemberId};
use super::super::request::{JoinGroup, JoinedMember, Protocol};
use super::super::stored::StoredMember;
use super::super::turn::{Moment, Waiter};

/// A member of a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What a restart keeps, once it is written.
    pub(super) stored: StoredMember,
    /// When it is taken for dead. `None` while it waited for an answer as this passed: whoever
    /// waits is alive, and is given a new one with its answer.
    pub(super) session_end: Option<Moment>,
    pub(super) waits: Waits,
    pub(super) tenure: Tenure,
}

/// What a member waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waits {
    No,
    ToJoin(Waiter),
    ToSync(Waiter),
}

/// Whether a member has been in a generation yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tenure {
    /// It has not, so that even waiting it is only given so long.
    New,
    Old,
}

impl Member {
    /// Somebody who comes into the group.
    pub(super) fn joining(id: MemberId, request: JoinGroup, waiter: Waiter, end: Moment) -> Self {
        let stored = StoredMember {
            id,
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: request.protocols,
            assignment: Bytes::new(),
        };
        let waits = Waits::ToJoin(waiter);
        Self { stored, session_end: Some(end), waits, tenure: Tenure::New }
    }

    /// Somebody who was in the group before a restart.
    pub(super) fn restored(stored: StoredMember, now: Moment) -> Self {
        let session_end = Some(now.after(stored.session_timeout));
        Self { stored, session_end, waits: Waits::No, tenure: Tenure::Old }
    }

    pub(super) fn is_joining(&self) -> bool {
        matches!(self.waits, Waits::ToJoin(_))
    }

    /// Its session begins anew.
    pub(super) fn seen(&mut self, now: Moment) {
        self.session_end = Some(now.after(self.stored.session_timeout));
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.stored.protocols.iter().find(|offered| offered.name == protocol);
        found.map(|offered| offered.metadata.clone()).unwrap_or_default()
    }

    /// The first of these that it can.
    fn vote(&self, candidates: &BTreeSet<&str>) -> Option<&str> {
        let mut names = self.stored.protocols.iter().map(|protocol| protocol.name.as_str());
        names.find(|name| candidates.contains(name))
    }

    fn can(&self, protocol: &str) -> bool {
        self.stored.protocols.iter().any(|offered| offered.name == protocol)
    }

    /// What it says of itself takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let protocols: usize = self.stored.protocols.iter().map(Protocol::bytes).sum();
        protocols + self.stored.client_id.len() + self.stored.client_host.len()
    }
}

/// Everybody in a group, and those who have been given an id to come in with.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    members: BTreeMap<MemberId, Member>,
    by_instance: BTreeMap<GroupInstanceId, MemberId>,
    /// Who must ask again with its id, and until when.
    pending: BTreeMap<MemberId, Moment>,
    said_bytes: usize,
    assigned_bytes: usize,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Members and those to come.
    pub(super) fn present(&self) -> usize {
        self.members.len() + self.pending.len()
    }

    /// What all of them say of themselves takes so much in memory, roughly.
    pub(super) fn said_bytes(&self) -> usize {
        self.said_bytes
    }

    /// What is assigned to them takes so much.
    pub(super) fn assigned_bytes(&self) -> usize {
        self.assigned_bytes
    }

    pub(super) fn get(&self, id: &MemberId) -> Option<&Member> {
        self.members.get(id)
    }

    /// To change what it waits for, or its session; see [`Self::update`] and [`Self::assign`].
    pub(super) fn get_mut(&mut self, id: &MemberId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// See [`Self::get_mut`].
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &MemberId> {
        self.members.keys()
    }

    /// Who goes by this static name.
    pub(super) fn static_id(&self, instance: &GroupInstanceId) -> Option<&MemberId> {
        self.by_instance.get(instance)
    }

    /// Takes somebody in, in the place of whoever has its id. It is pending no longer.
    pub(super) fn insert(&mut self, member: Member) {
        let id = member.stored.id.clone();
        self.pending.remove(&id);
        self.remove(&id);
        if let Some(instance) = &member.stored.instance {
            self.by_instance.insert(instance.clone(), id.clone());
        }
        self.said_bytes += member.bytes();
        self.assigned_bytes += member.stored.assignment.len();
        self.members.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.stored.instance {
            self.by_instance.remove(instance);
        }
        self.said_bytes -= member.bytes();
        self.assigned_bytes -= member.stored.assignment.len();
        Some(member)
    }

    /// What a member says of itself when it joins anew.
    pub(super) fn update(
        &mut self,
        id: &MemberId,
        protocols: Vec<Protocol>,
        session_timeout: Duration,
        rebalance_timeout: Duration,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        self.said_bytes -= member.bytes();
        member.stored.protocols = protocols;
        member.stored.session_timeout = session_timeout;
        member.stored.rebalance_timeout = rebalance_timeout;
        self.said_bytes += member.bytes();
    }

    /// Gives everybody its part; who is not mentioned has none.
    pub(super) fn assign(&mut self, mut assignments: BTreeMap<MemberId, Bytes>) {
        for (id, member) in &mut self.members {
            member.stored.assignment = assignments.remove(id).unwrap_or_default();
        }
        let assigned = self.iter().map(|member| member.stored.assignment.len());
        self.assigned_bytes = assigned.sum();
    }

    pub(super) fn clear_assignments(&mut self) {
        self.assign(BTreeMap::new());
    }

    pub(super) fn await_join_of(&mut self, id: MemberId, until: Moment) {
        self.pending.insert(id, until);
    }

    pub(super) fn is_pending(&self, id: &MemberId) -> bool {
        self.pending.contains_key(id)
    }

    /// Gives up on somebody who was to come.
    pub(super) fn remove_pending(&mut self, id: &MemberId) -> Option<Moment> {
        self.pending.remove(id)
    }

    /// Gives up on those who should have come by now.
    pub(super) fn expire_pending(&mut self, now: Moment) {
        self.pending.retain(|_, until| *until > now);
    }

    /// Who should have sent a heartbeat by now.
    pub(super) fn overdue(&self, now: Moment) -> Vec<MemberId> {
        let overdue = self.iter().filter(|member| member.session_end.is_some_and(|end| end <= now));
        overdue.map(|member| member.stored.id.clone()).collect()
    }

    /// The next moment at which somebody may be given up.
    pub(super) fn next_end(&self) -> Option<Moment> {
        let sessions = self.iter().filter_map(|member| member.session_end);
        sessions.chain(self.pending.values().copied()).min()
    }

    pub(super) fn joining_count(&self) -> usize {
        self.iter().filter(|member| member.is_joining()).count()
    }

    /// Whether there is nobody left to wait for.
    pub(super) fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.iter().all(Member::is_joining)
    }

    /// How long a rebalance waits: as long as the most patient of them.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.iter().map(|member| member.stored.rebalance_timeout).max().unwrap_or_default()
    }

    /// Whether one of these is among what all members can.
    pub(super) fn can_any(&self, protocols: &[Protocol]) -> bool {
        protocols.iter().any(|offered| self.iter().all(|member| member.can(&offered.name)))
    }

    /// The protocol that most members like best, of those that all can. Ties go to the first by
    /// name, so that a replay chooses as the original did.
    pub(super) fn elect_protocol(&self) -> Option<String> {
        let first = self.iter().next()?;
        let names = first.stored.protocols.iter().map(|protocol| protocol.name.as_str());
        let candidates: BTreeSet<&str> =
            names.filter(|name| self.iter().all(|member| member.can(name))).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for vote in self.iter().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_default() += 1;
        }
        let most = votes.values().max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }

    /// Everybody, as the leader sees them.
    pub(super) fn joined(&self, protocol: &str) -> Vec<JoinedMember> {
        let joined = self.iter().map(|member| JoinedMember {
            member: member.stored.id.clone(),
            instance: member.stored.instance.clone(),
            metadata: member.metadata(protocol),
        });
        joined.collect()
    }
}
