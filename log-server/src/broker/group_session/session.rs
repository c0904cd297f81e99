//! The task behind a session: heartbeats, and what follows from their answers.
//!
//! The rule: one thing at a time. A commit goes out under the epoch of the last answer, which
//! nothing but the session's own heartbeats can have moved, so it is never stale by accident. Every
//! heartbeat says everything, so every answer does too, and one that was lost to a full disk needs
//! no catching up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use log_proto::types::Offset;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::owned::{Added, NotRevoked, Owned};
use super::seats::Seat;
use super::{
    AssignedPartition, Command, CommitAsMemberError, JoinAsMember, JoinAsMemberError,
    PartitionName, SessionEnd, SessionEvent, UnreadablePartition,
};
use crate::broker::group_members::{
    ConsumerHeartbeat, ConsumerHeartbeatError, ConsumerStep, GenerationId, HeartbeatAnswer,
    MemberEpoch, MemberError, MemberId, PatternChange,
};
use crate::broker::{Broker, Committer, GroupOffset};
use crate::coordinator::group::offsets::TopicPartition;
use crate::error::{FetchOffsetsError, StartError};
use crate::limits;
use crate::principal::Principal;
use crate::topics::{Topic, TopicId};

/// How long to let the group go on changing before asking what it means: members come and go
/// together, and each of their moves would have all the others ask.
const CHANGES_SETTLE: Duration = Duration::from_millis(10);

/// How soon to ask again after an answer that the disk has swallowed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Ends = (Seat, mpsc::Receiver<Command>, mpsc::UnboundedSender<SessionEvent>);

pub(super) struct Session {
    broker: Broker,
    principal: Principal,
    join: JoinAsMember,
    member: MemberId,
    epoch: MemberEpoch,
    /// The epoch that the member knows of.
    told: Option<MemberEpoch>,
    owned: Owned,
    /// Where the member says it is, in what it claims and was not given back yet.
    positions: HashMap<PartitionName, Offset>,
    seat: Seat,
    commands: mpsc::Receiver<Command>,
    events: mpsc::UnboundedSender<SessionEvent>,
    changes: watch::Receiver<()>,
    next_beat: Instant,
}

/// What comes next.
enum Step {
    Beat,
    /// The group has changed: a beat is soon due.
    Soon,
    Told(Option<Command>),
    /// The broker stops: the member stays one, and finds its place again after the start.
    Stop,
    Superseded,
}

impl Session {
    pub(super) fn new(
        broker: &Broker,
        principal: Principal,
        (join, member): (JoinAsMember, MemberId),
        (seat, commands, events): Ends,
    ) -> Self {
        let changes = broker.inner.groups.watch(&join.group);
        Self {
            broker: broker.clone(),
            principal,
            join,
            member,
            epoch: MemberEpoch::default(),
            told: None,
            owned: Owned::default(),
            positions: HashMap::new(),
            seat,
            commands,
            events,
            changes,
            next_beat: Instant::now(),
        }
    }

    /// Joins the group; what is left to do is the session's life.
    pub(super) async fn begin(
        mut self,
        pattern: PatternChange,
    ) -> Result<impl Future<Output = ()> + Send + use<>, JoinAsMemberError> {
        let step = self.claim();
        let group = self.join.group.clone();
        let answer = self.beat(step, Some(pattern)).await.map_err(|source| match source {
            ConsumerHeartbeatError::UnknownGroup { .. } if step == ConsumerStep::Join => {
                JoinAsMemberError::ClassicGroup { group }
            }
            ConsumerHeartbeatError::UnknownGroup { .. }
            | ConsumerHeartbeatError::FencedEpoch { .. }
            | ConsumerHeartbeatError::Member(_)
                if step != ConsumerStep::Join =>
            {
                JoinAsMemberError::NotResumed { group, source }
            }
            source => JoinAsMemberError::Refused(source),
        })?;
        Ok(self.run(answer))
    }

    /// Takes what the member says it has for its own, until the group has answered.
    fn claim(&mut self) -> ConsumerStep {
        let Some(resume) = self.join.resume.take() else { return ConsumerStep::Join };
        let topics = &self.broker.inner.topics;
        for name in resume.positions.keys() {
            self.owned.claim(name.clone(), topics.get(&name.0).ok().map(|topic| topic.id));
        }
        self.epoch = resume.epoch;
        self.positions = resume.positions;
        ConsumerStep::Continue { epoch: resume.epoch }
    }

    async fn run(mut self, first: HeartbeatAnswer) {
        let outcome = match self.take(first).await {
            Ok(()) => self.live().await,
            Err(end) => Err(end),
        };
        if let Err(end) = outcome {
            tracing::info!(group = %self.join.group, member = %self.member, %end, "session ends");
            if let SessionEnd::NotRevoked { .. } | SessionEnd::TooMany { .. } = end {
                // The group does not know of it, and would wait for this member.
                self.step_out().await;
            }
            self.tell(SessionEvent::Ended(end));
        }
    }

    async fn live(&mut self) -> Result<(), SessionEnd> {
        let mut stage = self.broker.stage();
        loop {
            let step = tokio::select! {
                // In this order: a stop and a successor take the handle away as well, which must
                // not pass for a wish to leave; and a caller that says much still heartbeats.
                biased;
                () = Broker::stopping(&mut stage) => Step::Stop,
                () = self.seat.lost() => Step::Superseded,
                () = sleep_until(self.next_beat) => Step::Beat,
                Ok(()) = self.changes.changed() => Step::Soon,
                command = self.commands.recv() => Step::Told(command),
            };
            match step {
                Step::Stop => return Ok(()),
                Step::Superseded => {
                    return Err(SessionEnd::Superseded { group: self.join.group.clone() });
                }
                Step::Beat => self.go_on().await?,
                Step::Soon => {
                    self.next_beat = self.next_beat.min(Instant::now() + CHANGES_SETTLE);
                }
                Step::Told(Some(Command::Commit { id, offsets })) => {
                    let outcome = self.commit(offsets).await;
                    self.tell(SessionEvent::Committed { id, outcome });
                }
                Step::Told(Some(Command::Release(partitions))) => self.release(partitions).await?,
                Step::Told(Some(Command::Leave) | None) => {
                    self.step_out().await;
                    self.tell(SessionEvent::Left);
                    return Ok(());
                }
            }
        }
    }

    async fn release(&mut self, partitions: Vec<PartitionName>) -> Result<(), SessionEnd> {
        if partitions.is_empty() {
            return Ok(());
        }
        for partition in partitions {
            self.owned.release(partition).map_err(|NotRevoked((topic, partition))| {
                SessionEnd::NotRevoked { topic, partition }
            })?;
        }
        self.go_on().await
    }

    /// A heartbeat, and what it leads to.
    async fn go_on(&mut self) -> Result<(), SessionEnd> {
        match self.beat(ConsumerStep::Continue { epoch: self.epoch }, None).await {
            Ok(answer) => self.take(answer).await,
            // The group goes on as it was last written; the member, too.
            Err(ConsumerHeartbeatError::Coordinator(error)) => {
                tracing::warn!(group = %self.join.group, %error, "heartbeat not written");
                self.next_beat = Instant::now() + RETRY;
                Ok(())
            }
            Err(
                ConsumerHeartbeatError::Member(MemberError::UnknownMember)
                | ConsumerHeartbeatError::UnknownGroup { .. },
            ) => Err(SessionEnd::Removed {
                group: self.join.group.clone(),
                rebalance_timeout: self.join.rebalance_timeout,
            }),
            Err(refused) => Err(SessionEnd::Refused(refused)),
        }
    }

    /// Says everything but the pattern, which stays as it was unless there is one to say.
    async fn beat(
        &self,
        step: ConsumerStep,
        pattern: Option<PatternChange>,
    ) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
        let request = ConsumerHeartbeat {
            group: self.join.group.clone(),
            member: self.member.clone(),
            instance: self.join.instance.clone(),
            step,
            client_id: self.join.client_id.clone(),
            client_host: self.join.client_host.clone(),
            rack: None,
            rebalance_timeout: Some(self.join.rebalance_timeout),
            subscribed: Some(self.join.subscribed.clone()),
            pattern,
            assignor: self.join.assignor,
            owned: Some(self.owned.assignment()),
        };
        self.broker.consumer_heartbeat(&self.principal, &request).await
    }

    /// Goes where the group wants the member to be.
    async fn take(&mut self, answer: HeartbeatAnswer) -> Result<(), SessionEnd> {
        self.next_beat = Instant::now() + answer.heartbeat_interval;
        let (Some(epoch), Some(assignment)) = (answer.epoch, answer.assignment) else {
            return Ok(());
        };
        let revoked = self.owned.revoke_all_but(&assignment);
        for name in &revoked {
            // Another member goes on from here: what was claimed is old by the time it comes back.
            self.positions.remove(name);
        }
        let missing = self.owned.missing(&assignment);
        let count = assignment.values().map(BTreeSet::len).sum();
        if count > limits::CONSUME_PARTITIONS_MAX {
            return Err(SessionEnd::TooMany { count });
        }
        let (partitions, unreadable) = self.open(missing).await;
        let is_news = self.told != Some(epoch) || !partitions.is_empty() || !unreadable.is_empty();
        (self.epoch, self.told) = (epoch, Some(epoch));
        if is_news {
            self.tell(SessionEvent::Assigned { epoch, partitions, unreadable });
        }
        if !revoked.is_empty() {
            self.tell(SessionEvent::Revoked(revoked));
        }
        Ok(())
    }

    /// Finds partitions and where to begin in them. What cannot be said now, because a topic is
    /// just coming or going or the offsets cannot be read, is asked again with the next heartbeat.
    async fn open(
        &mut self,
        wanted: Vec<(TopicId, u32)>,
    ) -> (Vec<AssignedPartition>, Vec<UnreadablePartition>) {
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        if wanted.is_empty() {
            return (readable, unreadable);
        }
        let Ok(committed) = self.broker.inner.groups.offsets(self.join.group.clone()).await else {
            return (readable, unreadable);
        };
        for (topic_id, number) in wanted {
            let Some(topic) = self.broker.inner.topics.get_by_id(topic_id) else { continue };
            let name = (topic.name.to_string(), number);
            let key = TopicPartition { topic_id, partition: number };
            let position = self.positions.get(&name).copied();
            let position = position.or_else(|| Some(committed.get(&key)?.offset));
            let opened = self.open_one(&topic, number, position).await;
            if matches!(opened, Err(StartError::Offsets(FetchOffsetsError::Coordinator(_))))
                || self.owned.add(name.clone(), topic_id) == Added::NotYet
            {
                continue;
            }
            self.positions.remove(&name);
            match opened {
                Ok(partition) => readable.push(partition),
                Err(error) => {
                    let topic = topic.name.clone();
                    unreadable.push(UnreadablePartition { topic, partition: number, error });
                }
            }
        }
        (readable, unreadable)
    }

    async fn open_one(
        &self,
        topic: &Arc<Topic>,
        number: u32,
        position: Option<Offset>,
    ) -> Result<AssignedPartition, StartError> {
        let partition = Arc::clone(topic.partition(number)?);
        let terms = (&self.join.without_commit, self.join.isolation);
        let start = self.broker.member_start(topic, &partition, position, terms).await?;
        Ok(AssignedPartition { topic: Arc::clone(topic), partition, start })
    }

    async fn commit(&self, offsets: Vec<GroupOffset>) -> Result<(), CommitAsMemberError> {
        for GroupOffset { topic, partition, .. } in &offsets {
            if !self.owned.has(&(topic.clone(), *partition)) {
                let (topic, partition) = (topic.clone(), *partition);
                return Err(CommitAsMemberError::NotOwned { topic, partition });
            }
        }
        let committer = Committer {
            member: Some(self.member.clone()),
            instance: self.join.instance.clone(),
            generation: GenerationId::new(self.epoch.get()),
        };
        let group = self.join.group.clone();
        self.broker.commit_all(&self.principal, group, &committer, offsets).await
    }

    /// A static member only steps aside. Whoever cannot leave now is taken out when its session
    /// ends.
    async fn step_out(&self) {
        let step = match self.join.instance {
            Some(_) => ConsumerStep::LeaveForNow,
            None => ConsumerStep::Leave,
        };
        if let Err(error) = self.beat(step, None).await {
            tracing::debug!(group = %self.join.group, member = %self.member, %error, "not left");
        }
    }

    fn tell(&self, event: SessionEvent) {
        // Somebody who has dropped its session wants to hear nothing.
        let _ = self.events.send(event);
    }
}
