//! Goal: through the real log, what members are told survives a restart, and nobody is left
//! waiting by a full disk, a failed sync or a stop.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use log_core::io::Disk;
use log_core::io::faulty::{Faulty, Operation};
use log_core::{Committer as Syncer, LogConfig, SystemClock};
use log_proto::types::{LeaderEpoch, TimestampMs};
use tempfile::TempDir;

use super::super::consumer::tests::{beat, joining};
use super::super::error::MemberError;
use super::super::id::MemberId;
use super::super::offsets::CommittedOffset;
use super::super::request::{ConsumerStep, GroupState, JoinGroup, Joined, LeavingMember};
use super::super::testing::*;
use super::*;
use crate::partition::{OpenPartition, Partition, PartitionParts};
use crate::topics::TopicName;

struct House {
    folder: TempDir,
    storage: Faulty,
    ms: Arc<AtomicU64>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, storage: Faulty::over(Disk), ms: Arc::default() }
    }

    fn start(&self) -> Arc<GroupCoordinator> {
        let ms = Arc::clone(&self.ms);
        let clocks: Clocks = Arc::new(move || {
            let ms = ms.load(Ordering::SeqCst);
            Now { moment: Moment::new(ms), time: TimestampMs::new(ms as i64) }
        });
        self.start_with(GroupSettings::default(), clocks)
    }

    fn start_with(&self, settings: GroupSettings, clocks: Clocks) -> Arc<GroupCoordinator> {
        let parts = PartitionParts {
            storage: Arc::new(self.storage.clone()),
            clock: Arc::new(SystemClock),
            committer: Syncer::start(1),
            pressure: Arc::default(),
            room: Arc::default(),
        };
        let open = OpenPartition {
            topic: TopicName::new("offsets").unwrap(),
            topic_id: TopicId(Uuid::from_u128(2)),
            number: 0,
            folder: self.folder.path().join("offsets-0"),
            leader_epoch: LeaderEpoch::ZERO,
            config: LogConfig { retention_ms: None, ..LogConfig::default() },
        };
        let open = OpenCoordinator {
            partition: Arc::new(Partition::open(open, &parts).unwrap().0),
            snapshot_file: self.folder.path().join("offsets.snapshot"),
            storage: Arc::new(self.storage.clone()),
            clock: Arc::new(SystemClock),
            snapshot_records_min: crate::limits::SNAPSHOT_RECORDS_MIN,
        };
        Arc::new(GroupCoordinator::start(open, settings, clocks).unwrap())
    }

    async fn advance(&self, groups: &GroupCoordinator, ms: u64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
        groups.tick().await.unwrap();
    }

    /// One member, stable in generation 1.
    async fn with_member(&self, groups: &Arc<GroupCoordinator>) -> MemberId {
        let joined = self.join(groups, joiner()).await.unwrap();
        let synced = groups.sync(sync(&joined.member, "work")).await.unwrap();
        assert_eq!(synced.assignment, "work");
        joined.member
    }

    async fn join(
        &self,
        groups: &Arc<GroupCoordinator>,
        request: JoinGroup,
    ) -> Result<Joined, JoinGroupError> {
        let mut joining = std::pin::pin!(join(groups, request));
        // Into the group, so that time can pass for it.
        assert!(is_waiting(&mut joining).await);
        self.advance(groups, 3000).await;
        joining.await
    }
}

/// Begins what `waiting` does, and whether it waits then.
async fn is_waiting(waiting: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *waiting).poll(context).is_pending()))
        .await
}

fn sync(member: &MemberId, assignment: &'static str) -> SyncGroup {
    SyncGroup {
        group: group(),
        member: member.clone(),
        instance: None,
        generation: generation(1),
        protocol_type: None,
        protocol: None,
        assignments: vec![(member.clone(), Bytes::from_static(assignment.as_bytes()))],
    }
}

fn heartbeat(member: &MemberId) -> Heartbeat {
    Heartbeat { group: group(), member: member.clone(), instance: None, generation: generation(1) }
}

fn offsets_at(offset: i64) -> GroupOffsets {
    let key = TopicPartition { topic_id: TopicId(Uuid::from_u128(9)), partition: 0 };
    let committed = CommittedOffset {
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: String::new(),
        commit_time: TimestampMs::new(0),
        expire_time: None,
    };
    [(key, committed)].into()
}

fn as_member(member: &MemberId) -> Committer {
    Committer { member: Some(member.clone()), instance: None, generation: Some(generation(1)) }
}

async fn join(groups: &GroupCoordinator, request: JoinGroup) -> Result<Joined, JoinGroupError> {
    match groups.join(request, &no_topics()).await? {
        Heard::Answer(joined) => Ok(joined),
        Heard::Unresolved(patterns) => panic!("nobody has {patterns:?}"),
    }
}

#[tokio::test]
async fn members_do_not_notice_a_restart() {
    let house = House::new();
    let groups = house.start();
    let member = house.with_member(&groups).await;
    groups.commit(group(), &as_member(&member), offsets_at(5)).await.unwrap();
    drop(groups);
    let groups = house.start();
    groups.heartbeat(&heartbeat(&member)).await.unwrap();
    assert_eq!(groups.sync(sync(&member, "")).await.unwrap().assignment, "work");
    groups.commit(group(), &as_member(&member), offsets_at(6)).await.unwrap();
    assert_eq!(groups.offsets(group()).await.unwrap(), offsets_at(6));
    let described = groups.describe(group()).await.unwrap().unwrap();
    assert_eq!(described.listing.state, GroupState::Stable);
    assert_eq!(described.members[0].member, member);
}

#[tokio::test]
async fn time_passes_by_itself() {
    let house = House::new();
    let delay = Duration::from_millis(1);
    let settings = GroupSettings { initial_rebalance_delay: delay, ..GroupSettings::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let groups = house.start_with(settings, clocks(&clock));
    groups.drive(|_| Vec::new());
    let joined = join(&groups, joiner()).await.unwrap();
    assert_eq!(joined.generation, generation(1));
}

#[tokio::test]
async fn a_heartbeat_does_not_wait_for_the_log() {
    let house = House::new();
    let groups = house.start();
    let member = house.with_member(&groups).await;
    let (resume, paused) = std::sync::mpsc::channel();
    let slow = groups.inner.log.write(move |_| {
        paused.recv().unwrap();
        Ok::<_, ()>((Vec::new(), ()))
    });
    let mut slow = Box::pin(slow);
    assert!(is_waiting(&mut slow).await);
    let request = heartbeat(&member);
    let answered = tokio::time::timeout(Duration::from_secs(60), groups.heartbeat(&request));
    assert_eq!(answered.await, Ok(Ok(())));
    resume.send(()).unwrap();
    slow.await.unwrap();
}

#[tokio::test]
async fn the_session_of_a_silent_member_ends() {
    let house = House::new();
    let groups = house.start();
    let member = house.with_member(&groups).await;
    house.advance(&groups, SESSION).await;
    let error = groups.heartbeat(&heartbeat(&member)).await.unwrap_err();
    assert_eq!(error, MemberError::UnknownMember.into());
    let error = groups.commit(group(), &as_member(&member), offsets_at(5)).await.unwrap_err();
    assert_eq!(error, MemberError::UnknownMember.into());
}

#[tokio::test]
async fn a_full_disk_passes() {
    let house = House::new();
    let groups = house.start();
    let joined = house.join(&groups, joiner()).await.unwrap();
    house.storage.fail(Operation::Write, ErrorKind::StorageFull);
    let error = groups.sync(sync(&joined.member, "work")).await.unwrap_err();
    let is_full = |error: &CoordinatorError| matches!(error, CoordinatorError::DiskFull { .. });
    assert!(matches!(&error, SyncGroupError::Coordinator(error) if is_full(error)), "{error}");
    house.storage.heal();
    let again = JoinGroup { member: Some(joined.member.clone()), ..joiner() };
    let joined = join(&groups, again).await.unwrap();
    assert_eq!(joined.generation, generation(2));
    let request = SyncGroup { generation: generation(2), ..sync(&joined.member, "work") };
    assert_eq!(groups.sync(request).await.unwrap().assignment, "work");
}

#[tokio::test]
async fn a_consumer_that_the_full_disk_refuses_is_not_in_the_group() {
    let house = House::new();
    let groups = house.start();
    let epoch_of = |answer: HeartbeatAnswer| answer.epoch.map(MemberEpoch::get);
    house.storage.fail(Operation::Write, ErrorKind::StorageFull);
    for name in ["a", "b", "c"] {
        refuse_consumer(&groups, name).await;
        assert_eq!(groups.describe_consumer(&group()), None, "{name} is in nobody's memory");
    }
    house.storage.heal();
    assert_eq!(epoch_of(consumer(&groups, &joining("d")).await.unwrap()), Some(1));
    let before = groups.describe_consumer(&group());

    house.storage.fail(Operation::Write, ErrorKind::StorageFull);
    refuse_consumer(&groups, "e").await;
    assert_eq!(groups.describe_consumer(&group()), before, "who is in it keeps what it has");
    assert_eq!(epoch_of(consumer(&groups, &beat("d", 1)).await.unwrap()), Some(1));
    let leaving = ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("d", 1) };
    assert!(consumer(&groups, &leaving).await.is_err());
    assert_eq!(groups.describe_consumer(&group()), before, "who could not leave has not left");
    house.storage.heal();
    consumer(&groups, &leaving).await.unwrap();
    assert_eq!(groups.describe_consumer(&group()).unwrap().members, []);
}

async fn consumer(
    groups: &GroupCoordinator,
    request: &ConsumerHeartbeat,
) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
    match groups.consumer_heartbeat(request, &no_topics()).await? {
        Heard::Answer(answer) => Ok(answer),
        Heard::Unresolved(patterns) => panic!("nobody has {patterns:?}"),
    }
}

async fn refuse_consumer(groups: &GroupCoordinator, name: &str) {
    let error = consumer(groups, &joining(name)).await.unwrap_err();
    let is_full =
        matches!(&error, ConsumerHeartbeatError::Coordinator(CoordinatorError::DiskFull { .. }));
    assert!(is_full, "{error}");
}

#[tokio::test]
async fn after_a_failed_sync_everybody_is_answered() {
    let house = House::new();
    let groups = house.start();
    let joined = house.join(&groups, joiner()).await.unwrap();
    house.storage.fail(Operation::Sync, ErrorKind::Other);
    assert!(groups.sync(sync(&joined.member, "work")).await.is_err());
    assert!(groups.commit(group(), &as_member(&joined.member), offsets_at(1)).await.is_err());
    assert!(groups.list(&GroupFilter::default()).await.is_err());
}

#[tokio::test]
async fn a_stop_answers_those_who_wait() {
    let house = House::new();
    let groups = house.start();
    let mut joining = std::pin::pin!(join(&groups, joiner()));
    assert!(is_waiting(&mut joining).await);
    groups.release();
    assert_eq!(joining.await, Err(CoordinatorError::Stopped.into()));
    groups.stop();
    assert_eq!(join(&groups, joiner()).await, Err(CoordinatorError::Stopped.into()));
}

#[tokio::test]
async fn whoever_comes_while_the_broker_stops_does_not_hold_it_up() {
    let house = House::new();
    let groups = house.start();
    let member = house.with_member(&groups).await;
    groups.release();
    let mut late = std::pin::pin!(join(&groups, joiner()));
    let answer = std::future::poll_fn(|context| Poll::Ready(late.as_mut().poll(context))).await;
    assert_eq!(answer, Poll::Ready(Err(CoordinatorError::Stopped.into())));
    let described = groups.describe(group()).await.unwrap().unwrap();
    assert_eq!(described.listing.state, GroupState::Stable, "and nobody is rebalanced for it");
    groups.commit(group(), &as_member(&member), offsets_at(5)).await.unwrap();
}

#[tokio::test]
async fn a_group_goes_when_it_is_deleted_or_unused_for_long() {
    let house = House::new();
    let groups = house.start();
    let member = house.with_member(&groups).await;
    groups.commit(group(), &as_member(&member), offsets_at(5)).await.unwrap();
    let in_use = DeleteGroupError::NonEmptyGroup { group: group() };
    assert_eq!(groups.delete(group()).await, Err(in_use));
    let members = vec![LeavingMember { member: Some(member), instance: None, reason: None }];
    let left = groups.leave(LeaveGroup { group: group(), members }).await.unwrap();
    assert_eq!(left[0].1, Ok(()));
    let none = |_: &BTreeSet<String>| Vec::new();
    let week = 7 * 24 * 60 * 60 * 1000;
    house.advance(&groups, week - 1).await;
    groups.expire_offsets(&none).await.unwrap();
    assert_eq!(groups.offsets(group()).await.unwrap(), offsets_at(5));
    house.advance(&groups, 1).await;
    groups.expire_offsets(&none).await.unwrap();
    assert_eq!(groups.describe(group()).await, Ok(None));
    assert_eq!(
        groups.delete(group()).await,
        Err(DeleteGroupError::UnknownGroup { group: group() })
    );

    groups.commit(group(), &Committer::default(), offsets_at(7)).await.unwrap();
    assert_eq!(groups.list(&GroupFilter::default()).await.unwrap().len(), 1);
    groups.delete(group()).await.unwrap();
    assert!(groups.list(&GroupFilter::default()).await.unwrap().is_empty());
    drop(groups);
    assert!(house.start().list(&GroupFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_members_use_is_not_deleted() {
    let house = House::new();
    let groups = house.start();
    let error = DeleteOffsetsError::UnknownGroup { group: group() };
    assert_eq!(groups.delete_offsets(group(), Vec::new()).await, Err(error));
    let uses_a = vec![protocol("range", "\0\0\0\0\0\u{1}\0\u{1}a\0\0\0\0")];
    let joined = house.join(&groups, JoinGroup { protocols: uses_a, ..joiner() }).await.unwrap();
    groups.sync(sync(&joined.member, "")).await.unwrap();
    let key = |partition| TopicPartition { topic_id: TopicId(Uuid::from_u128(9)), partition };
    groups.commit(group(), &as_member(&joined.member), offsets_at(5)).await.unwrap();
    let keys = vec![("a".to_owned(), key(0)), ("b".to_owned(), key(1))];
    assert_eq!(groups.delete_offsets(group(), keys).await, Ok([key(0)].into()));
    assert_eq!(groups.offsets(group()).await.unwrap(), offsets_at(5));
    let keys = vec![("b".to_owned(), key(0))];
    assert_eq!(groups.delete_offsets(group(), keys).await, Ok(BTreeSet::new()));
    assert!(groups.offsets(group()).await.unwrap().is_empty());
}
