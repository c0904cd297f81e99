//! A group coordinator on a bench: both halves, a clock that stands still, a log in memory whose
//! writes end when the test says so, and a crash.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use log_proto::types::{Offset, TimestampMs};
use uuid::Uuid;

use super::consumer::{Matching, Refusal, TopicsView};
use super::error::{HeartbeatError, JoinGroupError, LeaveGroupError, MemberError, SyncGroupError};
use super::id::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::membership::{Membership, NotCommitter};
use super::offsets::{self, CommittedOffset, TopicPartition};
use super::record::GroupRecord;
use super::request::*;
use super::settings::GroupSettings;
use super::state::GroupsState;
use super::turn::{Effects, Left, Moment, Now, Reply, Waiter, WriteId};
use crate::coordinator::StateMachine;
use crate::error::CoordinatorError;
use crate::topics::{TopicId, TopicsVersion};

pub(super) const SESSION: u64 = 10_000;
pub(super) const REBALANCE: u64 = 60_000;

/// When writes end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// At once.
    EndAtOnce,
    /// When the test says so.
    AreHeld,
}

pub(super) struct Bench {
    pub(super) membership: Membership,
    /// What the disk would say.
    pub(super) durable: GroupsState,
    pub(super) writes: Writes,
    settings: GroupSettings,
    ms: u64,
    under_way: VecDeque<(WriteId, Vec<GroupRecord>)>,
    /// Every record that has become durable.
    pub(super) log: Vec<GroupRecord>,
    /// Who has asked since the last restart and was not answered.
    pub(super) asked: std::collections::BTreeSet<Waiter>,
    held_back: BTreeMap<WriteId, Vec<(Waiter, Reply)>>,
    pub(super) replies: HashMap<Waiter, Reply>,
    next: u64,
}

pub(super) fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

pub(super) fn generation(number: i32) -> GenerationId {
    GenerationId::new(number).unwrap()
}

pub(super) fn instance(name: &str) -> GroupInstanceId {
    GroupInstanceId::new(name).unwrap()
}

pub(super) fn protocol(name: &str, metadata: &str) -> Protocol {
    Protocol { name: name.to_owned(), metadata: Bytes::copy_from_slice(metadata.as_bytes()) }
}

/// A dynamic member without an id, that is admitted at once.
pub(super) fn joiner() -> JoinGroup {
    JoinGroup {
        group: group(),
        member: None,
        instance: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_timeout: Duration::from_millis(SESSION),
        rebalance_timeout: Duration::from_millis(REBALANCE),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", "m"), protocol("sticky", "n")],
        new_member: NewMember::Admit,
        leader_return: LeaderReturn::SkipsAssignment,
        reason: None,
    }
}

/// For groups in which it does not matter which topics there are.
pub(super) fn no_topics() -> TopicsView<'static> {
    let (version, matching) = (TopicsVersion::new(0), Matching::new());
    TopicsView { version, find: &|_| None, matching }
}

pub(super) fn disk_full() -> CoordinatorError {
    CoordinatorError::DiskFull { reason: "test".to_owned() }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(GroupSettings::default())
    }

    pub(super) fn with(settings: GroupSettings) -> Self {
        let now = Now { moment: Moment::new(0), time: TimestampMs::new(0) };
        Self {
            membership: Membership::restore(settings.clone(), [], [], now),
            durable: GroupsState::default(),
            writes: Writes::EndAtOnce,
            settings,
            ms: 0,
            under_way: VecDeque::new(),
            log: Vec::new(),
            asked: Default::default(),
            held_back: BTreeMap::new(),
            replies: HashMap::new(),
            next: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { moment: Moment::new(self.ms), time: TimestampMs::new(self.ms as i64) }
    }

    fn waiter(&mut self) -> Waiter {
        self.next += 1;
        self.asked.insert(Waiter(self.next));
        Waiter(self.next)
    }

    fn carry_out(&mut self, effects: Effects) {
        for answer in effects.answers {
            match answer.after {
                Some(write) => {
                    self.held_back.entry(write).or_default().push((answer.waiter, answer.reply));
                }
                None => self.tell(answer.waiter, answer.reply),
            }
        }
        self.under_way.extend(effects.write);
        if self.writes == Writes::EndAtOnce {
            self.end_writes(&Ok(()));
        }
    }

    fn tell(&mut self, waiter: Waiter, reply: Reply) {
        assert!(self.asked.remove(&waiter), "{waiter:?} was answered twice");
        self.replies.insert(waiter, reply);
    }

    /// Ends every write under way, like this.
    pub(super) fn end_writes(&mut self, outcome: &Result<(), CoordinatorError>) {
        while !self.under_way.is_empty() {
            self.end_write(outcome);
        }
    }

    /// Ends the oldest write under way, if there is one.
    pub(super) fn end_write(&mut self, outcome: &Result<(), CoordinatorError>) {
        let Some((write, records)) = self.under_way.pop_front() else { return };
        if outcome.is_ok() {
            for record in records {
                self.log.push(record.clone());
                self.durable.replay(record).unwrap();
            }
        }
        let logged = self.durable.consumer().get(&group()).cloned();
        let ended = outcome.clone().map_err(|error| Refusal { error, logged });
        let effects = self.membership.written(self.now(), write, ended);
        assert!(effects.write.is_none());
        for (waiter, reply) in self.held_back.remove(&write).unwrap_or_default() {
            let reply = match outcome {
                Ok(()) => reply,
                Err(error) => reply.failed(error.clone()),
            };
            self.tell(waiter, reply);
        }
        self.carry_out(effects);
    }

    /// The process dies with whatever was not durable, and starts again from the log.
    pub(super) fn restart(&mut self) {
        self.under_way.clear();
        self.held_back.clear();
        self.asked.clear();
        self.replies.clear();
        let (classic, consumer) = (self.durable.classic().clone(), self.durable.consumer().clone());
        self.membership = Membership::restore(self.settings.clone(), classic, consumer, self.now());
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = Moment::new(self.ms + ms);
        while let Some(next) = self.membership.next_deadline().filter(|next| *next <= end) {
            let before = self.now().moment;
            self.ms += u64::try_from(next.remaining(before).as_millis()).unwrap();
            let effects = self.membership.tick(self.now());
            self.carry_out(effects);
        }
        self.ms += u64::try_from(end.remaining(self.now().moment).as_millis()).unwrap();
    }

    /// Asks to join, and does not wait.
    pub(super) fn join(&mut self, request: JoinGroup) -> Waiter {
        self.join_knowing(request, &no_topics())
    }

    /// The same where it matters which topics there are.
    pub(super) fn join_knowing(&mut self, request: JoinGroup, topics: &TopicsView<'_>) -> Waiter {
        let waiter = self.waiter();
        let unique = Uuid::from_u128(u128::from(waiter.0));
        let effects = self.membership.join(self.now(), waiter, request, unique, topics);
        self.carry_out(effects);
        waiter
    }

    pub(super) fn sync(
        &mut self,
        member: &MemberId,
        number: i32,
        to: &[(&MemberId, &str)],
    ) -> Waiter {
        let assignments = to.iter().map(|(member, assignment)| {
            ((*member).clone(), Bytes::copy_from_slice(assignment.as_bytes()))
        });
        self.sync_as(SyncGroup {
            group: group(),
            member: member.clone(),
            instance: None,
            generation: generation(number),
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        })
    }

    pub(super) fn sync_as(&mut self, request: SyncGroup) -> Waiter {
        let waiter = self.waiter();
        let effects = self.membership.sync(self.now(), waiter, request);
        self.carry_out(effects);
        waiter
    }

    pub(super) fn heartbeat(&mut self, member: &MemberId, number: i32) -> Result<(), MemberError> {
        self.heartbeat_as(member, None, number)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member: &MemberId,
        instance: Option<GroupInstanceId>,
        number: i32,
    ) -> Result<(), MemberError> {
        let (waiter, member) = (self.waiter(), member.clone());
        let request =
            Heartbeat { group: group(), member, instance, generation: generation(number) };
        let effects = self.membership.heartbeat(self.now(), waiter, &request);
        self.carry_out(effects);
        match self.replies.remove(&waiter) {
            Some(Reply::Heartbeat(Ok(()))) => Ok(()),
            Some(Reply::Heartbeat(Err(HeartbeatError::Member(error)))) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: Vec<LeavingMember>) -> Vec<Result<(), MemberError>> {
        let waiter = self.waiter();
        let asked = members.len();
        let request = LeaveGroup { group: group(), members };
        let effects = self.membership.leave(self.now(), waiter, request);
        self.carry_out(effects);
        match self.replies.remove(&waiter) {
            Some(Reply::Leave(Ok(left))) => {
                left.into_iter().map(|(_, outcome): Left| outcome).collect()
            }
            Some(Reply::Leave(Err(LeaveGroupError::UnknownGroup))) => {
                vec![Err(MemberError::UnknownMember); asked]
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave_one(&mut self, member: &MemberId) -> Result<(), MemberError> {
        let member = Some(member.clone());
        self.leave(vec![LeavingMember { member, instance: None, reason: None }]).remove(0)
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
        topics: &TopicsView<'_>,
    ) -> Waiter {
        let waiter = self.waiter();
        let effects = self.membership.consumer_heartbeat(self.now(), waiter, request, topics);
        self.carry_out(effects);
        waiter
    }

    pub(super) fn commit(&mut self, committer: &Committer) -> Result<(), NotCommitter> {
        self.membership.check_commit(self.now(), &group(), committer)
    }

    /// Commits an offset in partition 0 of the only topic.
    pub(super) fn commit_offset(
        &mut self,
        committer: &Committer,
        offset: i64,
    ) -> Result<(), NotCommitter> {
        self.commit(committer)?;
        let key = TopicPartition { topic_id: TopicId(Uuid::nil()), partition: 0 };
        let committed = CommittedOffset {
            offset: Offset::new(offset).unwrap(),
            leader_epoch: None,
            metadata: String::new(),
            commit_time: self.now().time,
            expire_time: None,
        };
        let decided = offsets::commit(&self.durable, &group(), &[(key, committed)].into());
        // No write of the membership: nobody there waits for it.
        self.under_way.push_back((WriteId(u64::MAX), decided.unwrap().0));
        if self.writes == Writes::EndAtOnce {
            self.end_writes(&Ok(()));
        }
        Ok(())
    }

    /// What is durably committed in that partition.
    pub(super) fn committed_offset(&self) -> Option<i64> {
        let committed = self.durable.offsets_of(&group())?.values().next()?;
        Some(committed.offset.get())
    }

    /// How many writes are under way.
    pub(super) fn writes_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What a join was answered, if it was.
    pub(super) fn joined(&mut self, waiter: Waiter) -> Option<Result<Joined, JoinGroupError>> {
        self.replies.remove(&waiter).map(|reply| match reply {
            Reply::Join(reply) => reply,
            other => panic!("{other:?}"),
        })
    }

    /// What a sync was answered, if it was: the assignment.
    pub(super) fn synced(&mut self, waiter: Waiter) -> Option<Result<String, SyncGroupError>> {
        self.replies.remove(&waiter).map(|reply| match reply {
            Reply::Sync(reply) => {
                reply.map(|synced| String::from_utf8(synced.assignment.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn state(&self) -> Option<GroupState> {
        self.membership.describe(&group()).map(|described| described.listing.state)
    }
}
