//! Runs the group coordinator: the two state machines, the clock, and those who wait.
//!
//! ```text
//!   a request ─► place in the log's queue ─► lock ─► turn ─► records into the place
//!                (heartbeats need none)                │
//!                                                      └► answers: now, or held back
//!                                                                          ▲
//!   the log's thread: durable, or failed ─► lock ─► written ───────────────┘
//! ```
//!
//! The rule: records reach the log in the order of their turns, because they are put into its
//! queue under the lock that orders the turns; and room in the queue is waited for before, so that
//! nobody sleeps under the lock. A write is reported back whatever happens, so no answer that
//! rests on it is held back for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use log_core::Clock;
use log_proto::types::Offset;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use super::changes::Changes;
use super::classic::Deletion;
use super::consumer::{Refusal, TopicsView};
use super::driver::drive;
use super::error::{
    CommitError, ConsumerHeartbeatError, DeleteGroupError, DeleteOffsetsError, HeartbeatError,
    JoinGroupError, LeaveGroupError, MemberError, SyncGroupError,
};
use super::id::{GroupId, MemberEpoch, MemberId};
use super::membership::{Membership, NotCommitter, offsets_only};
use super::offsets::{self, Expired, GroupOffsets, GroupUnknown, OffsetsFull, TopicPartition};
use super::record::GroupRecord;
use super::request::{
    Committer, ConsumerGroupDescription, ConsumerHeartbeat, GroupDescription, GroupFilter,
    GroupListing, Heartbeat, HeartbeatAnswer, JoinGroup, Joined, LeaveGroup, SyncGroup, Synced,
};
use super::settings::GroupSettings;
use super::state::GroupsState;
use super::subscription::Usage;
use super::turn::{Effects, Left, Moment, Now, Reply, Waiter, WriteId};
use crate::coordinator::{Coordinator, LoadError, OpenCoordinator, Place, WriteError};
use crate::error::CoordinatorError;
use crate::topic_pattern::TopicPattern;
use crate::topics::TopicId;

/// Tells both times at once.
pub(crate) type Clocks = Arc<dyn Fn() -> Now + Send + Sync>;

/// The machine's monotonic clock beside `clock`.
pub(crate) fn clocks(clock: &Arc<dyn Clock>) -> Clocks {
    let (began, clock) = (Instant::now(), Arc::clone(clock));
    Arc::new(move || {
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { moment: Moment::new(ms), time: clock.now() }
    })
}

/// What came of what a member said.
pub(crate) enum Heard<T> {
    Answer(T),
    /// Nothing yet: it should be said again, knowing what these match.
    Unresolved(Vec<TopicPattern>),
}

/// The group coordinator. Stops when it is dropped.
pub(crate) struct GroupCoordinator {
    inner: Arc<Inner>,
    driver: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

pub(super) struct Inner {
    log: Coordinator<GroupsState>,
    pub(super) shared: Arc<Shared>,
}

/// What requests and the log's thread share. It must not own the log, whose thread would then
/// have to wait for its own end.
pub(super) struct Shared {
    pub(super) live: Mutex<Live>,
    pub(super) clocks: Clocks,
    /// The next deadline has come nearer.
    pub(super) sooner: Notify,
}

pub(super) struct Live {
    pub(super) membership: Membership,
    changes: Changes,
    /// Whoever waits for an answer. `None` once nobody may wait any more: the broker stops, and a
    /// request that was already past the doors would hold them open, for minutes if it waits for
    /// other members.
    waiting: Option<HashMap<Waiter, oneshot::Sender<Reply>>>,
    /// What may be told once a write is durable.
    held_back: BTreeMap<WriteId, Vec<(Waiter, Reply)>>,
    next_waiter: u64,
}

impl GroupCoordinator {
    /// Rebuilds both halves and starts to serve; time does not pass before [`Self::drive`]. Blocks
    /// on the disk.
    pub(crate) fn start(
        open: OpenCoordinator,
        settings: GroupSettings,
        clocks: Clocks,
    ) -> Result<Self, LoadError> {
        let loaded = Arc::new(Mutex::new(None));
        let mut first = Some(Arc::clone(&loaded));
        let log = Coordinator::<GroupsState>::start(open, move |state| {
            if let Some(first) = first.take() {
                *first.lock() = Some((state.classic().clone(), state.consumer().clone()));
            }
        })?;
        let (classic, consumer) =
            loaded.lock().take().expect("the state is shown before serving begins");
        let live = Live {
            membership: Membership::restore(settings, classic, consumer, clocks()),
            changes: Changes::default(),
            waiting: Some(HashMap::new()),
            held_back: BTreeMap::new(),
            next_waiter: 0,
        };
        let shared = Shared { live: Mutex::new(live), clocks, sooner: Notify::new() };
        let inner = Arc::new(Inner { log, shared: Arc::new(shared) });
        Ok(Self { inner, driver: Mutex::new(None) })
    }

    /// Lets time pass: sessions end, rebalances run out, offsets expire. `topics` are the ids of
    /// topics by their names. Needs a tokio runtime.
    pub(crate) fn drive(
        &self,
        topics: impl Fn(&BTreeSet<String>) -> Vec<TopicId> + Send + Sync + 'static,
    ) {
        let driver = tokio::spawn(drive(Arc::downgrade(&self.inner), topics));
        if let Some(before) = self.driver.lock().replace(driver) {
            before.abort();
        }
    }

    /// Answers everybody who waits for others, so that connections can end. Whoever comes from now
    /// on as a member, or to be one, is refused before it has changed anything.
    pub(crate) fn release(&self) {
        self.inner.shared.live.lock().waiting = None;
    }

    /// Serves what is under way, then refuses the rest. Blocks.
    pub(crate) fn stop(&self) {
        if let Some(driver) = self.driver.lock().take() {
            driver.abort();
        }
        self.inner.log.stop();
        self.release();
    }

    pub(crate) async fn join(
        &self,
        request: JoinGroup,
        topics: &TopicsView<'_>,
    ) -> Result<Heard<Joined>, JoinGroupError> {
        let unique = Uuid::new_v4();
        let turn = move |membership: &mut Membership, now, waiter| {
            membership.join(now, waiter, request, unique, topics)
        };
        match self.inner.turn(turn).await? {
            Reply::Join(reply) => reply.map(Heard::Answer),
            Reply::Unresolved(patterns) => Ok(Heard::Unresolved(patterns)),
            other => unreachable!("a join was answered with {other:?}"),
        }
    }

    pub(crate) async fn sync(&self, request: SyncGroup) -> Result<Synced, SyncGroupError> {
        let turn = |membership: &mut Membership, now, waiter| membership.sync(now, waiter, request);
        match self.inner.turn(turn).await? {
            Reply::Sync(reply) => reply,
            other => unreachable!("a sync was answered with {other:?}"),
        }
    }

    /// Does not touch the log, nor wait for it unless the group has a write under way.
    pub(crate) async fn heartbeat(&self, request: &Heartbeat) -> Result<(), HeartbeatError> {
        let answer = {
            let mut live = self.inner.shared.live.lock();
            let (waiter, answer) = live.register()?;
            let before = live.membership.next_deadline();
            let now = (self.inner.shared.clocks)();
            let effects = live.membership.heartbeat(now, waiter, request);
            live.hand_out(effects);
            self.inner.shared.tell_driver(&live, before);
            answer
        };
        match answer.await.map_err(|_| CoordinatorError::Stopped)? {
            Reply::Heartbeat(reply) => reply,
            other => unreachable!("a heartbeat was answered with {other:?}"),
        }
    }

    pub(crate) async fn leave(&self, request: LeaveGroup) -> Result<Vec<Left>, LeaveGroupError> {
        let turn =
            |membership: &mut Membership, now, waiter| membership.leave(now, waiter, request);
        match self.inner.turn(turn).await? {
            Reply::Leave(reply) => reply,
            other => unreachable!("a leave was answered with {other:?}"),
        }
    }

    pub(crate) async fn consumer_heartbeat(
        &self,
        request: &ConsumerHeartbeat,
        topics: &TopicsView<'_>,
    ) -> Result<Heard<HeartbeatAnswer>, ConsumerHeartbeatError> {
        let turn = |membership: &mut Membership, now, waiter| {
            membership.consumer_heartbeat(now, waiter, request, topics)
        };
        match self.inner.turn(turn).await? {
            Reply::ConsumerHeartbeat(reply) => reply.map(Heard::Answer),
            Reply::Unresolved(patterns) => Ok(Heard::Unresolved(patterns)),
            other => unreachable!("a consumer's heartbeat was answered with {other:?}"),
        }
    }

    /// Completes whenever something about the group or its members changes.
    pub(crate) fn watch(&self, group: &GroupId) -> watch::Receiver<()> {
        self.inner.shared.live.lock().changes.watch(group)
    }

    /// Stores how far a group has come, all or nothing, if the committer may say so.
    pub(crate) async fn commit(
        &self,
        group: GroupId,
        committer: &Committer,
        offsets: GroupOffsets,
    ) -> Result<(), CommitError> {
        let place = self.inner.log.reserve().await?;
        let answer = {
            let mut live = self.inner.shared.live.lock();
            let now = (self.inner.shared.clocks)();
            live.membership.check_commit(now, &group, committer).map_err(|not| match not {
                NotCommitter::Member(error) => error.into(),
                NotCommitter::UnknownGroup => CommitError::UnknownGroup { group: group.clone() },
            })?;
            put(place, move |state| offsets::commit(state, &group, &offsets))
        };
        outcome_of(answer).await.map_err(|error| match error {
            WriteError::Refused(OffsetsFull) => CommitError::Full,
            WriteError::Coordinator(error) => error.into(),
        })
    }

    /// Where a group has come in one partition, if it has committed that.
    pub(crate) async fn offset(
        &self,
        group: GroupId,
        key: TopicPartition,
    ) -> Result<Option<Offset>, CoordinatorError> {
        let query = self.inner.log.query(move |state| {
            state.offsets_of(&group).and_then(|offsets| offsets.get(&key)).map(|found| found.offset)
        });
        query.await
    }

    /// What a group has committed; nothing for a group that never has.
    pub(crate) async fn offsets(&self, group: GroupId) -> Result<GroupOffsets, CoordinatorError> {
        let query = self.inner.log.query(move |state| state.offsets_of(&group).cloned());
        Ok(query.await?.unwrap_or_default())
    }

    /// Drops some of what a group has committed, but for the topics that its members use. Answers
    /// which of `keys`, whose topics have these names, were in use.
    pub(crate) async fn delete_offsets(
        &self,
        group: GroupId,
        keys: Vec<(String, TopicPartition)>,
    ) -> Result<BTreeSet<TopicPartition>, DeleteOffsetsError> {
        let place = self.inner.log.reserve().await?;
        let (answer, in_use) = {
            let live = self.inner.shared.live.lock();
            let usage = live.membership.usage(&group);
            if usage == Some(Usage::Others) {
                return Err(DeleteOffsetsError::NonEmptyGroup { group });
            }
            let (in_use, free): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|(topic, _)| is_used(usage.as_ref(), topic));
            let free: Vec<_> = free.into_iter().map(|(_, key)| key).collect();
            let asked = group.clone();
            let answer = put(place, move |state: &GroupsState| {
                if usage.is_none() && !state.knows(&asked) {
                    return Err(GroupUnknown);
                }
                Ok((offsets::delete_offsets(state, &asked, &free), ()))
            });
            (answer, in_use)
        };
        outcome_of(answer).await.map_err(|error| match error {
            WriteError::Refused(GroupUnknown) => DeleteOffsetsError::UnknownGroup { group },
            WriteError::Coordinator(error) => error.into(),
        })?;
        Ok(in_use.into_iter().map(|(_, key)| key).collect())
    }

    /// Forgets a group without members, and its offsets.
    pub(crate) async fn delete(&self, group: GroupId) -> Result<(), DeleteGroupError> {
        let place = self.inner.log.reserve().await?;
        let answer = {
            let mut live = self.inner.shared.live.lock();
            live.membership.check_delete(&group)?;
            let asked = group.clone();
            let decide = move |state: &GroupsState| offsets::delete_group(state, &asked);
            self.inner.shared.forget(&mut live, &group, place, decide, |outcome| outcome.is_ok())
        };
        outcome_of(answer).await.map_err(|error| match error {
            WriteError::Refused(GroupUnknown) => DeleteGroupError::UnknownGroup { group },
            WriteError::Coordinator(error) => error.into(),
        })
    }

    /// The groups that pass, by id.
    pub(crate) async fn list(
        &self,
        filter: &GroupFilter,
    ) -> Result<Vec<GroupListing>, CoordinatorError> {
        let durable = self.inner.log.query(GroupsState::groups).await?;
        Ok(self.inner.shared.live.lock().membership.list(durable, filter))
    }

    /// Whether somebody may see a group's offsets as a member of it.
    pub(crate) fn check_fetch(
        &self,
        group: &GroupId,
        member: &MemberId,
        epoch: MemberEpoch,
    ) -> Result<(), MemberError> {
        self.inner.shared.live.lock().membership.check_fetch(group, member, epoch)
    }

    /// One consumer group; `None` if there is none.
    pub(crate) fn describe_consumer(&self, group: &GroupId) -> Option<ConsumerGroupDescription> {
        self.inner.shared.live.lock().membership.describe_consumer(group)
    }

    /// One classic group, or one that has only offsets; `None` if there is none.
    pub(crate) async fn describe(
        &self,
        group: GroupId,
    ) -> Result<Option<GroupDescription>, CoordinatorError> {
        let (described, kind) = {
            let live = self.inner.shared.live.lock();
            (live.membership.describe(&group), live.membership.kind(&group))
        };
        if described.is_some() || kind.is_some() {
            return Ok(described);
        }
        let asked = group.clone();
        let is_known = self.inner.log.query(move |state| state.knows(&asked)).await?;
        Ok(is_known.then(|| GroupDescription {
            listing: offsets_only(group),
            protocol: None,
            members: Vec::new(),
        }))
    }

    /// The topics that offsets are kept for.
    pub(crate) async fn topics(&self) -> Result<BTreeSet<TopicId>, CoordinatorError> {
        self.inner.log.query(GroupsState::topics).await
    }

    /// Drops whatever was committed for a topic.
    pub(crate) async fn delete_topic(&self, topic: TopicId) -> Result<(), CoordinatorError> {
        let written = self.inner.log.write(move |state| offsets::delete_topic(state, topic));
        written.await.map_err(|error| match error {
            WriteError::Coordinator(error) => error,
        })
    }

    /// Does what is due by now.
    #[cfg(test)]
    pub(crate) async fn tick(&self) -> Result<(), CoordinatorError> {
        self.inner.tick().await
    }

    /// Drops offsets that have outlived their retention.
    #[cfg(test)]
    pub(crate) async fn expire_offsets(
        &self,
        topics: &(dyn Fn(&BTreeSet<String>) -> Vec<TopicId> + Send + Sync),
    ) -> Result<(), CoordinatorError> {
        self.inner.expire_offsets(topics).await
    }
}

impl Drop for GroupCoordinator {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_used(usage: Option<&Usage>, topic: &str) -> bool {
    match usage {
        Some(Usage::Subscribed(topics) | Usage::Unsettled(Some(topics))) => topics.contains(topic),
        Some(Usage::Unsettled(None)) => true,
        None | Some(Usage::EmptySince(_) | Usage::OffsetsOnly | Usage::Others) => false,
    }
}

type Told<T, E> = oneshot::Receiver<Result<T, WriteError<E>>>;

/// Puts a request into its place. Its outcome comes later.
fn put<T: Send + 'static, E: Send + 'static>(
    place: Place<GroupsState>,
    decide: impl FnOnce(&GroupsState) -> Result<(Vec<GroupRecord>, T), E> + Send + 'static,
) -> Told<T, E> {
    let (tell, answer) = oneshot::channel();
    // A caller that has gone away needs no answer.
    place.write(decide, move |outcome| drop(tell.send(outcome)));
    answer
}

async fn outcome_of<T, E>(answer: Told<T, E>) -> Result<T, WriteError<E>> {
    answer.await.unwrap_or(Err(WriteError::Coordinator(CoordinatorError::Stopped)))
}

impl Inner {
    /// A turn that may write.
    async fn turn(
        &self,
        turn: impl FnOnce(&mut Membership, Now, Waiter) -> Effects,
    ) -> Result<Reply, CoordinatorError> {
        let place = self.log.reserve().await?;
        let answer = {
            let mut live = self.shared.live.lock();
            let before = live.membership.next_deadline();
            let (waiter, answer) = live.register()?;
            let effects = turn(&mut live.membership, (self.shared.clocks)(), waiter);
            self.shared.carry_out(&mut live, effects, place);
            self.shared.tell_driver(&live, before);
            answer
        };
        answer.await.map_err(|_| CoordinatorError::Stopped)
    }

    /// Does what is due by now.
    pub(super) async fn tick(&self) -> Result<(), CoordinatorError> {
        loop {
            let place = self.log.reserve().await?;
            let mut live = self.shared.live.lock();
            let now = (self.shared.clocks)();
            if live.membership.next_deadline().is_none_or(|next| next > now.moment) {
                return Ok(());
            }
            let effects = live.membership.tick(now);
            self.shared.carry_out(&mut live, effects, place);
        }
    }

    /// Drops offsets that have outlived their retention.
    pub(super) async fn expire_offsets(
        &self,
        topics: &(dyn Fn(&BTreeSet<String>) -> Vec<TopicId> + Send + Sync),
    ) -> Result<(), CoordinatorError> {
        for group in self.log.query(GroupsState::groups).await? {
            let place = self.log.reserve().await?;
            let answer = {
                let mut live = self.shared.live.lock();
                let by = live.membership.expiry(&group, topics);
                let retention = live.membership.settings().offsets_retention;
                let now = (self.shared.clocks)().time;
                let asked = group.clone();
                let decide =
                    move |state: &GroupsState| offsets::expire(state, &asked, &by, now, retention);
                let is_gone = |outcome: &Result<Expired, _>| *outcome == Ok(Expired::Group);
                self.shared.forget(&mut live, &group, place, decide, is_gone)
            };
            match outcome_of(answer).await {
                Ok(Expired::Group) => tracing::info!(%group, "unused group forgotten"),
                Ok(Expired::Offsets(0)) => {}
                Ok(Expired::Offsets(count)) => tracing::info!(%group, count, "offsets expired"),
                Err(WriteError::Coordinator(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Puts a turn's records into their place, and hands out its answers.
    fn carry_out(
        self: &Arc<Self>,
        live: &mut Live,
        mut effects: Effects,
        place: Place<GroupsState>,
    ) {
        if let Some((write, records)) = effects.write.take() {
            if let Some(group) = live.membership.writing(write) {
                live.changes.tell(group);
            }
            let group = live.membership.writing(write).cloned();
            let shared = Arc::clone(self);
            // What the log says of the group, should it refuse to take the records.
            let logged = Arc::new(Mutex::new(None));
            let seen = Arc::clone(&logged);
            place.write(
                move |state| {
                    *seen.lock() = group.and_then(|group| state.consumer().get(&group).cloned());
                    Ok::<_, std::convert::Infallible>((records, ()))
                },
                move |outcome| {
                    let outcome = outcome.map_err(|WriteError::Coordinator(error)| Refusal {
                        error,
                        logged: logged.lock().take(),
                    });
                    shared.written(write, outcome);
                },
            );
        }
        live.hand_out(effects);
    }

    /// Puts a request into its place that may take a group out of the log. `is_gone` says from its
    /// outcome whether it has.
    fn forget<T: Send + 'static, E: Send + 'static>(
        self: &Arc<Self>,
        live: &mut Live,
        group: &GroupId,
        place: Place<GroupsState>,
        decide: impl FnOnce(&GroupsState) -> Result<(Vec<GroupRecord>, T), E> + Send + 'static,
        is_gone: impl FnOnce(&Result<T, WriteError<E>>) -> bool + Send + 'static,
    ) -> Told<T, E> {
        let write = live.membership.deleting(group);
        let (shared, group) = (Arc::clone(self), group.clone());
        let (tell, answer) = oneshot::channel();
        place.write(decide, move |outcome| {
            let ended = if is_gone(&outcome) { Deletion::Done } else { Deletion::NotDone };
            shared.live.lock().membership.deletion_ended(&group, write, ended);
            // A caller that has gone away needs no answer.
            drop(tell.send(outcome));
        });
        answer
    }

    /// A write has ended: whoever was held back for it is told, or told that it has failed.
    fn written(&self, write: WriteId, outcome: Result<(), Refusal>) {
        let error = outcome.as_ref().err().map(|refusal| refusal.error.clone());
        let mut live = self.live.lock();
        let before = live.membership.next_deadline();
        let effects = live.membership.written((self.clocks)(), write, outcome);
        debug_assert!(effects.write.is_none(), "the end of a write begins no other");
        for (waiter, reply) in live.held_back.remove(&write).unwrap_or_default() {
            let reply = match &error {
                None => reply,
                Some(error) => reply.failed(error.clone()),
            };
            live.tell(waiter, reply);
        }
        live.hand_out(effects);
        self.tell_driver(&live, before);
    }

    fn tell_driver(&self, live: &Live, before: Option<Moment>) {
        let next = live.membership.next_deadline();
        if next.is_some_and(|next| before.is_none_or(|before| next < before)) {
            self.sooner.notify_one();
        }
    }
}

impl Live {
    fn register(&mut self) -> Result<(Waiter, oneshot::Receiver<Reply>), CoordinatorError> {
        let waiting = self.waiting.as_mut().ok_or(CoordinatorError::Stopped)?;
        let waiter = Waiter(self.next_waiter);
        self.next_waiter += 1;
        let (tell, answer) = oneshot::channel();
        waiting.insert(waiter, tell);
        Ok((waiter, answer))
    }

    fn hand_out(&mut self, effects: Effects) {
        for answer in effects.answers {
            match answer.after {
                Some(write) => {
                    let held_back = self.held_back.entry(write).or_default();
                    held_back.push((answer.waiter, answer.reply));
                }
                None => self.tell(answer.waiter, answer.reply),
            }
        }
    }

    fn tell(&mut self, waiter: Waiter, reply: Reply) {
        let waiting = self.waiting.as_mut();
        if let Some(tell) = waiting.and_then(|waiting| waiting.remove(&waiter)) {
            // A caller that has gone away needs no answer.
            drop(tell.send(reply));
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
