//! Who is in which group at this moment: the volatile half of the group coordinator.
//!
//! ```text
//!                  a turn
//!   requests ───────────────► Membership ──► answers      sessions, rebalances, who waits:
//!   time ───────────────────►    │    ▲                   in memory, gone with the process
//!                        records │    │ written
//!                                ▼    │
//!                             GroupsState                 generations, assignments, offsets:
//!                             (the offsets log)           what survives
//! ```
//!
//! The rule: it is a state machine like the durable half, and as pure: time, fresh ids and the
//! outcomes of writes are passed in. It runs ahead of the log by the writes that are under way, and
//! an answer that rests on one waits for it, so nobody is told what a crash could undo. Most turns
//! write nothing: a heartbeat costs a lookup. Keeping sessions in the durable half would put every
//! heartbeat behind a sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::bounds::Comer;
use super::classic::{ClassicGroup, Deletion, Joining, check_session};
use super::consumer::{ConsumerGroup, Refusal, StoredConsumerGroup, TopicsView, check_join};
use super::error::{
    ConsumerHeartbeatError, DeleteGroupError, HeartbeatError, JoinGroupError, LeaveGroupError,
    MemberError, SyncGroupError,
};
use super::id::{GroupId, MemberEpoch, MemberId};
use super::live::LiveGroup;
use super::offsets::Expiry;
use super::request::{
    Committer, ConsumerGroupDescription, ConsumerHeartbeat, ConsumerStep, GroupDescription,
    GroupFilter, GroupKind, GroupListing, GroupState, Heartbeat, JoinGroup, LeaveGroup,
    PatternChange, SyncGroup,
};
use super::settings::GroupSettings;
use super::stored::StoredGroup;
use super::subscription::Usage;
use super::turn::{Answer, Effects, Moment, Now, Reply, Turn, Waiter, WriteId};
use crate::limits;
use crate::topic_pattern::TopicPattern;

/// Every group with members, and every one that has had some.
pub(crate) struct Membership {
    settings: GroupSettings,
    groups: HashMap<GroupId, LiveGroup>,
    /// When to look at each group again: never later than its next deadline. Signs of life only
    /// move deadlines away, so they leave this as it is.
    deadlines: BTreeSet<(Moment, GroupId)>,
    wakes: HashMap<GroupId, Moment>,
    /// Which group's a write under way is.
    writes: BTreeMap<WriteId, GroupId>,
    next_write: u64,
    /// Members of all groups, and those to come.
    present: usize,
    /// What they say of themselves and are assigned takes, roughly.
    bytes: usize,
}

impl Membership {
    /// The groups as they were last written, their members' sessions beginning now.
    pub(crate) fn restore(
        settings: GroupSettings,
        classic: impl IntoIterator<Item = (GroupId, StoredGroup)>,
        consumer: impl IntoIterator<Item = (GroupId, StoredConsumerGroup)>,
        now: Now,
    ) -> Self {
        let session_timeout = settings.consumer_session_timeout;
        let mut membership = Self {
            settings,
            groups: HashMap::new(),
            deadlines: BTreeSet::new(),
            wakes: HashMap::new(),
            writes: BTreeMap::new(),
            next_write: 0,
            present: 0,
            bytes: 0,
        };
        for (id, stored) in classic {
            let group = ClassicGroup::restore(id.clone(), stored, now);
            membership.keep(id, group.into());
        }
        for (id, stored) in consumer {
            let group = ConsumerGroup::restore(id.clone(), stored, now, session_timeout);
            membership.keep(id, group.into());
        }
        membership
    }

    pub(crate) fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Somebody wants in. `unique` has not been used before.
    pub(crate) fn join(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: JoinGroup,
        unique: Uuid,
        topics: &TopicsView<'_>,
    ) -> Effects {
        let name = request.instance.as_ref().map_or(&*request.client_id, |name| name.as_str());
        let fresh = MemberId::fresh(name, unique);
        if let Err(error) = self.check_join(&request, &fresh) {
            return refusal(waiter, Reply::Join(Err(error)));
        }
        let unresolved = self.unresolved(&request.group, None, topics);
        if !unresolved.is_empty() {
            return refusal(waiter, Reply::Unresolved(unresolved));
        }
        let id = request.group.clone();
        let joining = Joining { request, fresh, waiter };
        let group = match self.take(&id) {
            None => ClassicGroup::new(id.clone(), now),
            Some(LiveGroup::Classic(group)) => *group,
            Some(LiveGroup::Consumer(group)) if group.is_empty() => {
                let other = ClassicGroup::converted(group.legacy(), now);
                return self.turn(id, LiveGroup::Consumer(group), now, |group, turn| {
                    group.comes_back_as(other, |other| other.join(turn, joining));
                });
            }
            Some(LiveGroup::Consumer(group)) => {
                return self.turn(id, *group, now, |group, turn| {
                    group.join_classic(turn, joining, topics);
                });
            }
        };
        self.turn(id, group, now, |group, turn| group.join(turn, joining))
    }

    fn check_join(&self, request: &JoinGroup, fresh: &MemberId) -> Result<(), JoinGroupError> {
        check_session(request, &self.settings)?;
        let comer = match self.groups.get(&request.group) {
            Some(group) => group.joining(request, fresh),
            None if request.member.is_some() => return Err(MemberError::UnknownMember.into()),
            None => Comer { before: None, now: request.bytes() },
        };
        Ok(comer.check(self.present, self.bytes)?)
    }

    /// A member asks for its assignment.
    pub(crate) fn sync(&mut self, now: Now, waiter: Waiter, request: SyncGroup) -> Effects {
        let id = request.group.clone();
        match self.take(&id) {
            Some(LiveGroup::Classic(group)) => {
                let room = limits::MEMBER_BYTES_MAX.saturating_sub(self.bytes);
                self.turn(id, *group, now, |group, turn| group.sync(turn, request, waiter, room))
            }
            Some(LiveGroup::Consumer(group)) => {
                self.turn(id, *group, now, |group, turn| group.sync_classic(turn, &request, waiter))
            }
            None => {
                let unknown = SyncGroupError::from(MemberError::UnknownMember);
                refusal(waiter, Reply::Sync(Err(unknown)))
            }
        }
    }

    /// A member is alive. Never writes.
    pub(crate) fn heartbeat(&mut self, now: Now, waiter: Waiter, request: &Heartbeat) -> Effects {
        let (reply, after) = match self.groups.get_mut(&request.group) {
            Some(LiveGroup::Classic(group)) => (group.heartbeat(now, request), group.last_write()),
            Some(LiveGroup::Consumer(_)) => self.heartbeat_of_classic(now, request),
            None => (Err(MemberError::UnknownMember.into()), None),
        };
        let answer = Answer { waiter, after, reply: Reply::Heartbeat(reply) };
        Effects { write: None, answers: vec![answer] }
    }

    /// In a consumer group it may begin a deadline, which is to be looked at in time.
    fn heartbeat_of_classic(
        &mut self,
        now: Now,
        request: &Heartbeat,
    ) -> (Result<(), HeartbeatError>, Option<WriteId>) {
        let Some(mut group) = self.take(&request.group) else {
            return (Err(MemberError::UnknownMember.into()), None);
        };
        let reply = match &mut group {
            LiveGroup::Consumer(group) => group.heartbeat_classic(now, request),
            LiveGroup::Classic(group) => group.heartbeat(now, request),
        };
        let after = group.last_write();
        self.keep(request.group.clone(), group);
        (reply, after)
    }

    /// Members leave, or are taken out.
    pub(crate) fn leave(&mut self, now: Now, waiter: Waiter, request: LeaveGroup) -> Effects {
        let Some(group) = self.take(&request.group) else {
            return refusal(waiter, Reply::Leave(Err(LeaveGroupError::UnknownGroup)));
        };
        self.turn(request.group, group, now, |group, turn| {
            let left = match group {
                LiveGroup::Classic(group) => group.leave(turn, request.members),
                LiveGroup::Consumer(group) => group.leave_classic(turn, request.members),
            };
            turn.answer(waiter, Reply::Leave(Ok(left)));
        })
    }

    /// A member of a consumer group says where it stands. Writes only if that changes something.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: &ConsumerHeartbeat,
        topics: &TopicsView<'_>,
    ) -> Effects {
        let refuse = |error| refusal(waiter, Reply::ConsumerHeartbeat(Err(error)));
        let joins = request.step == ConsumerStep::Join;
        if let Err(error) = self.check_consumer(request) {
            return refuse(error);
        }
        let unresolved = match request.step {
            ConsumerStep::Leave | ConsumerStep::LeaveForNow => Vec::new(),
            _ => self.unresolved(&request.group, request.pattern.as_ref(), topics),
        };
        if !unresolved.is_empty() {
            return refusal(waiter, Reply::Unresolved(unresolved));
        }
        let id = request.group.clone();
        let unknown = ConsumerHeartbeatError::UnknownGroup { group: id.clone() };
        let group = match self.take(&id) {
            Some(LiveGroup::Consumer(group)) => *group,
            None if joins => ConsumerGroup::new(id.clone(), now),
            Some(LiveGroup::Classic(group)) if joins && group.is_deserted() => {
                let (other, past) = (ConsumerGroup::converted(group.legacy()), group.clone());
                return self.turn(id, LiveGroup::Classic(group), now, |group, turn| {
                    group.comes_back_as(other, |other| {
                        other.comes_from(turn, past);
                        other.heartbeat(turn, request, topics, waiter);
                    });
                });
            }
            Some(LiveGroup::Classic(group)) if joins => {
                return self.upgrade(now, waiter, request, *group, topics);
            }
            None => return refuse(unknown),
            Some(other) => {
                self.keep(id, other);
                return refuse(unknown);
            }
        };
        self.turn(id, group, now, |group, turn| group.heartbeat(turn, request, topics, waiter))
    }

    /// The first consumer of the other protocol joins a group of classic ones.
    fn upgrade(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: &ConsumerHeartbeat,
        mut classic: ClassicGroup,
        topics: &TopicsView<'_>,
    ) -> Effects {
        let id = request.group.clone();
        match self.upgraded(now, request, &classic, topics) {
            Ok(group) => self.turn(id, group, now, |group, turn| {
                classic.refuse_all(turn);
                group.comes_from(turn, Box::new(classic));
                group.heartbeat(turn, request, topics, waiter);
            }),
            Err(error) => {
                self.keep(id, classic.into());
                refusal(waiter, Reply::ConsumerHeartbeat(Err(error)))
            }
        }
    }

    /// What a classic group is to become, or why it stays what it is.
    fn upgraded(
        &self,
        now: Now,
        request: &ConsumerHeartbeat,
        classic: &ClassicGroup,
        topics: &TopicsView<'_>,
    ) -> Result<ConsumerGroup, ConsumerHeartbeatError> {
        check_join(request)?;
        let max = self.settings.size_max;
        let is_new = classic.said_by(Some(&request.member), request.instance.as_ref()).is_none();
        if is_new && classic.present() >= max {
            return Err(ConsumerHeartbeatError::GroupFull { max });
        }
        let upgraded = ConsumerGroup::upgraded(classic, now, topics.find)
            .ok_or_else(|| ConsumerHeartbeatError::UnknownGroup { group: request.group.clone() })?;
        // What members read is kept beside the metadata that says so from now on.
        let members = Comer { before: Some(classic.bytes()), now: upgraded.bytes() };
        members.check(self.present, self.bytes.saturating_add(classic.bytes()))?;
        Ok(upgraded)
    }

    /// What must be known of patterns before members of a group can move on.
    fn unresolved(
        &self,
        group: &GroupId,
        change: Option<&PatternChange>,
        topics: &TopicsView<'_>,
    ) -> Vec<TopicPattern> {
        match self.groups.get(group) {
            Some(LiveGroup::Consumer(group)) => group.unresolved(change, topics),
            _ => {
                let asked = change.and_then(PatternChange::pattern).into_iter();
                asked.filter(|asked| !topics.matching.contains_key(asked)).cloned().collect()
            }
        }
    }

    fn check_consumer(&self, request: &ConsumerHeartbeat) -> Result<(), ConsumerHeartbeatError> {
        if request.member.as_str().chars().nth(limits::GROUP_ID_CHARS_MAX).is_some() {
            return Err(ConsumerHeartbeatError::Invalid("a member id has at most 255 characters"));
        }
        let said = request.bytes();
        let has_room = self.present < limits::MEMBERS_MAX
            && self.bytes.saturating_add(said) <= limits::MEMBER_BYTES_MAX;
        if has_room {
            return Ok(());
        }
        let group = self.groups.get(&request.group);
        let comer = group.map_or(Comer { before: None, now: said }, |group| group.saying(request));
        match request.step {
            ConsumerStep::Leave | ConsumerStep::LeaveForNow => Ok(()),
            // Who is unknown is told so.
            ConsumerStep::Continue { .. } if comer.before.is_none() => Ok(()),
            ConsumerStep::Continue { .. } | ConsumerStep::Join => {
                Ok(comer.check(self.present, self.bytes)?)
            }
        }
    }

    /// Whether somebody may see a group's offsets as a member of it.
    pub(crate) fn check_fetch(
        &self,
        group: &GroupId,
        member: &MemberId,
        epoch: MemberEpoch,
    ) -> Result<(), MemberError> {
        match self.groups.get(group) {
            Some(LiveGroup::Consumer(group)) => group.check_epoch(member, Some(epoch.get())),
            // Members of other groups do not say who they are when they fetch.
            Some(LiveGroup::Classic(_)) => Ok(()),
            None => Err(MemberError::UnknownMember),
        }
    }

    /// Whether somebody may commit offsets now.
    pub(crate) fn check_commit(
        &mut self,
        now: Now,
        group: &GroupId,
        committer: &Committer,
    ) -> Result<(), NotCommitter> {
        match self.groups.get_mut(group) {
            Some(group) => group.check_commit(now, committer).map_err(NotCommitter::Member),
            None if committer.generation.is_some() => Err(NotCommitter::UnknownGroup),
            None => Ok(()),
        }
    }

    /// How a group uses its offsets; `None` if it is known by its offsets at most.
    pub(crate) fn usage(&self, group: &GroupId) -> Option<Usage> {
        self.groups.get(group).map(LiveGroup::usage)
    }

    /// What a group's offsets expire by. `used` are the ids of topics by their names.
    pub(crate) fn expiry(
        &self,
        group: &GroupId,
        used: impl Fn(&BTreeSet<String>) -> Vec<crate::topics::TopicId>,
    ) -> Expiry {
        match self.usage(group) {
            None | Some(Usage::OffsetsOnly) => Expiry::SinceCommit,
            Some(Usage::EmptySince(since)) => Expiry::SinceEmpty(since),
            Some(Usage::Subscribed(topics)) => Expiry::SinceCommitUnless(used(&topics)),
            Some(Usage::Unsettled(_) | Usage::Others) => Expiry::Never,
        }
    }

    /// Whether a group may be deleted, as far as its members are concerned.
    pub(crate) fn check_delete(&self, group: &GroupId) -> Result<(), DeleteGroupError> {
        let state = self.groups.get(group).map(|group| group.listing().state);
        match state {
            None | Some(GroupState::Empty) => Ok(()),
            Some(_) => Err(DeleteGroupError::NonEmptyGroup { group: group.clone() }),
        }
    }

    /// A group is on its way out of the log. How that ends is to be reported under this name.
    pub(crate) fn deleting(&mut self, id: &GroupId) -> WriteId {
        let write = WriteId(self.next_write);
        self.next_write += 1;
        if let Some(group) = self.groups.get_mut(id) {
            group.deleting(write);
        }
        write
    }

    /// How a deletion has ended.
    pub(crate) fn deletion_ended(&mut self, id: &GroupId, write: WriteId, deletion: Deletion) {
        if let Some(mut group) = self.take(id) {
            group.deletion_ended(write, deletion);
            self.keep(id.clone(), group);
        }
    }

    /// The groups that pass, and of `others`, which have only offsets.
    pub(crate) fn list(
        &self,
        others: impl IntoIterator<Item = GroupId>,
        filter: &GroupFilter,
    ) -> Vec<GroupListing> {
        let others = others.into_iter().filter(|id| !self.groups.contains_key(id));
        let own = self.groups.values().map(LiveGroup::listing);
        let mut listed: Vec<_> = own
            .chain(others.map(offsets_only))
            .filter(|group| filter.states.is_empty() || filter.states.contains(&group.state))
            .filter(|group| filter.kinds.is_empty() || filter.kinds.contains(&group.kind))
            .collect();
        listed.sort_by(|one, other| one.group.cmp(&other.group));
        listed
    }

    /// The kind of a group, unless it has only offsets at most.
    pub(crate) fn kind(&self, group: &GroupId) -> Option<GroupKind> {
        self.groups.get(group).map(|group| group.listing().kind)
    }

    /// One classic group.
    pub(crate) fn describe(&self, group: &GroupId) -> Option<GroupDescription> {
        match self.groups.get(group)? {
            LiveGroup::Classic(group) => Some(group.describe()),
            LiveGroup::Consumer(_) => None,
        }
    }

    /// One consumer group.
    pub(crate) fn describe_consumer(&self, group: &GroupId) -> Option<ConsumerGroupDescription> {
        match self.groups.get(group)? {
            LiveGroup::Consumer(group) => Some(group.describe()),
            LiveGroup::Classic(_) => None,
        }
    }

    /// What is to be remembered of a group that is in no rebalance.
    #[cfg(test)]
    fn settled(&self, group: &GroupId) -> Option<StoredGroup> {
        let LiveGroup::Classic(group) = self.groups.get(group)? else { return None };
        let settled = matches!(group.listing().state, GroupState::Empty | GroupState::Stable);
        settled.then(|| group.stored())
    }

    /// Which group's a write under way is.
    pub(crate) fn writing(&self, write: WriteId) -> Option<&GroupId> {
        self.writes.get(&write)
    }

    /// How a write has ended. Makes no records.
    pub(crate) fn written(
        &mut self,
        now: Now,
        write: WriteId,
        outcome: Result<(), Refusal>,
    ) -> Effects {
        let Some(id) = self.writes.remove(&write) else { return Effects::default() };
        let Some(group) = self.take(&id) else { return Effects::default() };
        self.turn(id, group, now, |group, turn| group.written(turn, write, outcome))
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(moment, _)| *moment)
    }

    /// Does what is due in one group. To be called until no deadline has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Effects {
        let due = self.deadlines.first().filter(|(moment, _)| *moment <= now.moment);
        let Some((_, id)) = due.cloned() else { return Effects::default() };
        let Some(group) = self.take(&id) else { return Effects::default() };
        self.turn(id, group, now, LiveGroup::tick)
    }

    /// One turn of a group that has been taken out.
    fn turn<G: Into<LiveGroup>>(
        &mut self,
        id: GroupId,
        mut group: G,
        now: Now,
        act: impl FnOnce(&mut G, &mut Turn<'_>),
    ) -> Effects {
        let mut turn = Turn::new(now, &self.settings, WriteId(self.next_write));
        act(&mut group, &mut turn);
        let group = group.into().settled(&mut turn);
        let effects = turn.effects(group.last_write());
        if let Some((write, _)) = &effects.write {
            self.writes.insert(*write, id.clone());
            self.next_write += 1;
        }
        self.keep(id, group);
        effects
    }

    /// Takes a group out, to be kept again when its turn is over.
    fn take(&mut self, id: &GroupId) -> Option<LiveGroup> {
        let group = self.groups.remove(id)?;
        self.present -= group.present();
        self.bytes -= group.bytes();
        if let Some(wake) = self.wakes.remove(id) {
            self.deadlines.remove(&(wake, id.clone()));
        }
        Some(group)
    }

    fn keep(&mut self, id: GroupId, group: LiveGroup) {
        if group.is_disposable() {
            return;
        }
        self.present += group.present();
        self.bytes += group.bytes();
        if let Some(wake) = group.next_deadline() {
            self.wakes.insert(id.clone(), wake);
            self.deadlines.insert((wake, id.clone()));
        }
        self.groups.insert(id, group);
    }
}

/// Why somebody may not commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NotCommitter {
    /// It is no member, or not as it says.
    Member(MemberError),
    /// There is no group that it could be a member of.
    UnknownGroup,
}

fn refusal(waiter: Waiter, reply: Reply) -> Effects {
    Effects { write: None, answers: vec![Answer { waiter, after: None, reply }] }
}

/// A group that has only ever had offsets.
pub(crate) fn offsets_only(group: GroupId) -> GroupListing {
    GroupListing { group, protocol_type: None, state: GroupState::Empty, kind: GroupKind::Classic }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod bounds_tests;
#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
