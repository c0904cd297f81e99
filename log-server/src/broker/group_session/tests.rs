//! Goal: who holds a session is a member and nobody else is, and no partition is two members' at
//! once, whatever becomes of them.

use std::path::Path;

use log_core::io::Disk;
use log_core::{Committer as Syncer, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::broker::group_members::ConsumerGroupDescription;
use crate::broker::{Edge, Mode, Stability, StartPosition};
use crate::config::ServerConfig;
use crate::partition::PartitionParts;
use crate::topic_config::TopicConfigs;

const PRINCIPAL: Principal = Principal::Anonymous;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(folder: &Path) -> Broker {
    let parts = PartitionParts {
        storage: Arc::new(Disk),
        clock: Arc::new(SystemClock),
        committer: Syncer::start(1),
        pressure: Arc::default(),
        room: Arc::default(),
    };
    let config = ServerConfig { data_dir: folder.to_owned(), ..ServerConfig::default() };
    Broker::start(config, parts).await.unwrap()
}

/// A broker with a topic `t` of two empty partitions.
async fn house() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let configs = TopicConfigs::default();
    broker.create_topic(&PRINCIPAL, "t", Some(2), configs, Mode::Apply).await.unwrap();
    (folder, broker)
}

fn joining(member: &str) -> JoinAsMember {
    JoinAsMember {
        group: GroupId::new("g").unwrap(),
        member: MemberId::new(member),
        instance: None,
        client_id: "test".into(),
        client_host: "here".into(),
        rebalance_timeout: Duration::from_secs(60),
        subscribed: vec!["t".into()],
        pattern: None,
        assignor: None,
        without_commit: WithoutCommit::Start(StartPosition::Edge(Edge::Earliest)),
        isolation: Isolation::HighWatermark,
        resume: None,
    }
}

async fn join(broker: &Broker, member: &str) -> GroupSession {
    broker.join_as_member(&PRINCIPAL, joining(member)).await.unwrap()
}

async fn event(session: &mut GroupSession) -> SessionEvent {
    let event = tokio::time::timeout(PATIENCE, session.event()).await.expect("something happens");
    event.expect("the session goes on")
}

/// What the session is given next, by number. Changes of its epoch alone are passed over.
async fn given(session: &mut GroupSession) -> Vec<u32> {
    loop {
        match event(session).await {
            SessionEvent::Assigned { partitions, .. } if partitions.is_empty() => {}
            SessionEvent::Assigned { partitions, .. } => {
                return partitions.iter().map(|one| one.partition.number).collect();
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn revoked(session: &mut GroupSession) -> Vec<PartitionName> {
    loop {
        match event(session).await {
            SessionEvent::Assigned { partitions, .. } if partitions.is_empty() => {}
            SessionEvent::Revoked(partitions) => return partitions,
            other => panic!("{other:?}"),
        }
    }
}

async fn committed(session: &mut GroupSession, partition: u32) -> Result<(), CommitAsMemberError> {
    let offset = GroupOffset {
        topic: "t".into(),
        partition,
        offset: Offset::ZERO,
        leader_epoch: None,
        metadata: String::new(),
    };
    session.commit(7, vec![offset]).await;
    loop {
        match event(session).await {
            SessionEvent::Committed { id: 7, outcome } => return outcome,
            SessionEvent::Assigned { partitions, .. } if partitions.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
}

fn described(broker: &Broker) -> ConsumerGroupDescription {
    let group = GroupId::new("g").unwrap();
    broker.describe_consumer_group(&PRINCIPAL, &group).expect("somebody has joined it")
}

fn members(broker: &Broker) -> Vec<String> {
    let members = described(broker).members.into_iter();
    members.map(|member| member.member.as_str().to_owned()).collect()
}

#[tokio::test]
async fn a_partition_changes_hands_when_it_is_released_and_not_before() {
    let (_folder, broker) = house().await;
    let mut one = join(&broker, "one").await;
    assert_eq!(given(&mut one).await, [0, 1]);
    let mut other = join(&broker, "other").await;
    let gone = revoked(&mut one).await;
    let [(_, number)] = gone[..] else { panic!("one of two is to go: {gone:?}") };
    committed(&mut one, number).await.unwrap();
    assert_eq!(described(&broker).members[1].assignment, [].into(), "it is not free yet");
    one.release(gone.clone()).await;
    assert_eq!(given(&mut other).await, [number]);
    let late = committed(&mut one, number).await.unwrap_err();
    assert!(matches!(late, CommitAsMemberError::NotOwned { .. }), "{late}");
    committed(&mut one, 1 - number).await.unwrap();
    committed(&mut other, number).await.unwrap();
    drop(one);
    assert_eq!(given(&mut other).await, [1 - number], "a handle that is dropped has left");
    assert_eq!(members(&broker), ["other"]);
}

#[tokio::test]
async fn who_does_not_release_is_removed_and_may_not_commit() {
    let (_folder, broker) = house().await;
    let impatient = Duration::from_millis(50);
    let stubborn = JoinAsMember { rebalance_timeout: impatient, ..joining("stubborn") };
    let mut stubborn = broker.join_as_member(&PRINCIPAL, stubborn).await.unwrap();
    given(&mut stubborn).await;
    let mut other = join(&broker, "other").await;
    revoked(&mut stubborn).await;
    let end = event(&mut stubborn).await;
    assert!(matches!(end, SessionEvent::Ended(SessionEnd::Removed { .. })), "{end:?}");
    let mut all = given(&mut other).await;
    if all.len() == 1 {
        all.extend(given(&mut other).await);
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
    assert_eq!(members(&broker), ["other"]);
}

/// A client that comes back before its old connection is known to be dead.
#[tokio::test]
async fn the_same_member_again_takes_the_place_and_keeps_it() {
    let (_folder, broker) = house().await;
    let mut old = join(&broker, "m").await;
    given(&mut old).await;
    let mut new = join(&broker, "m").await;
    assert_eq!(given(&mut new).await, [0, 1]);
    let end = event(&mut old).await;
    assert!(matches!(end, SessionEvent::Ended(SessionEnd::Superseded { .. })), "{end:?}");
    drop(old);
    committed(&mut new, 0).await.unwrap();
    assert_eq!(members(&broker), ["m"]);
}

#[tokio::test]
async fn a_broker_that_stops_takes_nobody_out() {
    let (folder, broker) = house().await;
    let mut session = join(&broker, "m").await;
    let SessionEvent::Assigned { epoch, .. } = event(&mut session).await else { panic!() };
    broker.begin_stop();
    assert!(session.event().await.is_none(), "it ends, and is told nothing of its group");
    drop(session);
    broker.finish_stop();
    drop(broker);

    let broker = start(folder.path()).await;
    assert_eq!(members(&broker), ["m"]);
    let name = |partition| ("t".to_owned(), partition);
    // Its topic may have gone meanwhile, or have been another's.
    let positions = [(name(0), Offset::ZERO), (("ghost".to_owned(), 0), Offset::ZERO)];
    let resume = Some(Resume { epoch, positions: positions.into() });
    let resumed = JoinAsMember { resume, ..joining("m") };
    let mut session = broker.join_as_member(&PRINCIPAL, resumed).await.unwrap();
    assert_eq!(given(&mut session).await, [0, 1]);
    assert_eq!(revoked(&mut session).await, [("ghost".to_owned(), 0)]);
    committed(&mut session, 0).await.unwrap();
    let epoch = described(&broker).members[0].epoch;
    session.leave().await;
    let left = event(&mut session).await;
    assert!(matches!(left, SessionEvent::Left), "{left:?}");
    let late = Resume { epoch, positions: [(name(0), Offset::ZERO)].into() };
    let late = JoinAsMember { resume: Some(late), ..joining("m") };
    let refused = broker.join_as_member(&PRINCIPAL, late).await.unwrap_err();
    assert!(matches!(refused, JoinAsMemberError::NotResumed { .. }), "{refused}");
}

/// Both reach the session at the same moment, many times over.
#[tokio::test]
async fn a_handle_that_goes_with_the_broker_has_not_left() {
    let (_folder, broker) = house().await;
    let mut sessions = Vec::new();
    for number in 0..16 {
        sessions.push(join(&broker, &format!("m{number:02}")).await);
    }
    let before = members(&broker);
    broker.begin_stop();
    let told: Vec<_> = sessions.into_iter().map(|session| session.events).collect();
    for mut events in told {
        while let Some(event) = events.recv().await {
            assert!(!matches!(event, SessionEvent::Left), "it has left");
        }
    }
    assert_eq!(members(&broker), before);
}

/// A member that comes back with a partition that is another's by then, and later its own again.
#[tokio::test]
async fn where_a_member_was_is_old_once_another_has_gone_on_from_there() {
    let (_folder, broker) = house().await;
    let mut one = join(&broker, "one").await;
    let SessionEvent::Assigned { epoch, .. } = event(&mut one).await else { panic!() };
    let mut other = join(&broker, "other").await;
    revoked(&mut one).await;
    let nowhere = Offset::new(7).unwrap();
    let positions = [0, 1].map(|number| (("t".to_owned(), number), nowhere));
    let resume = Some(Resume { epoch, positions: positions.into() });
    let resumed = JoinAsMember { resume, ..joining("one") };
    let mut one = broker.join_as_member(&PRINCIPAL, resumed).await.unwrap();
    let gone = loop {
        if let SessionEvent::Revoked(partitions) = event(&mut one).await {
            break partitions;
        }
    };
    one.release(gone.clone()).await;
    assert_eq!(given(&mut other).await, [gone[0].1]);
    committed(&mut other, gone[0].1).await.unwrap();
    drop(other);
    let back = loop {
        match event(&mut one).await {
            SessionEvent::Assigned { mut partitions, .. } if partitions.len() == 1 => {
                break partitions.remove(0);
            }
            SessionEvent::Assigned { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(back.partition.number, gone[0].1);
    assert_eq!(back.start, MemberStart { offset: Offset::ZERO, lost: None });
}

#[tokio::test]
async fn a_static_member_steps_aside_and_finds_its_partitions_again() {
    let (_folder, broker) = house().await;
    let instance = GroupInstanceId::new("i").ok();
    let as_static = |member| JoinAsMember { instance: instance.clone(), ..joining(member) };
    let mut first = broker.join_as_member(&PRINCIPAL, as_static("first")).await.unwrap();
    given(&mut first).await;
    let refused = broker.join_as_member(&PRINCIPAL, as_static("second")).await.unwrap_err();
    let JoinAsMemberError::Refused(refused) = refused else { panic!("{refused}") };
    assert!(refused.to_string().contains("first"), "{refused}");
    first.leave().await;
    while !matches!(event(&mut first).await, SessionEvent::Left) {}
    assert_eq!(members(&broker), ["first"], "its place is kept");
    let mut second = broker.join_as_member(&PRINCIPAL, as_static("second")).await.unwrap();
    assert_eq!(given(&mut second).await, [0, 1]);
    assert_eq!(members(&broker), ["second"]);
}

#[tokio::test]
async fn what_nobody_can_be_a_member_of_is_refused() {
    let (_folder, broker) = house().await;
    let none = JoinAsMember { subscribed: Vec::new(), ..joining("m") };
    let refused = broker.join_as_member(&PRINCIPAL, none).await.unwrap_err();
    assert!(matches!(refused, JoinAsMemberError::NoTopics), "{refused}");
    let bad = JoinAsMember { subscribed: vec!["../x".into()], ..joining("m") };
    let refused = broker.join_as_member(&PRINCIPAL, bad).await.unwrap_err();
    assert!(matches!(refused, JoinAsMemberError::Topic(_)), "{refused}");
    let none = JoinAsMember { pattern: Some("t(".into()), ..joining("m") };
    let refused = broker.join_as_member(&PRINCIPAL, none).await.unwrap_err();
    assert!(matches!(refused, JoinAsMemberError::Pattern(_)), "{refused}");
    let mut session = join(&broker, "m").await;
    given(&mut session).await;
    session.release(vec![("t".to_owned(), 0)]).await;
    let end = event(&mut session).await;
    assert!(matches!(end, SessionEvent::Ended(SessionEnd::NotRevoked { .. })), "{end:?}");
    assert_eq!(members(&broker), [""; 0], "nobody waits for a member without a session");
}

#[tokio::test]
async fn a_pattern_finds_topics() {
    let (_folder, broker) = house().await;
    let pattern = Some("[s-u]".to_owned());
    let by_pattern = JoinAsMember { subscribed: Vec::new(), pattern, ..joining("m") };
    let mut session = broker.join_as_member(&PRINCIPAL, by_pattern).await.unwrap();
    assert_eq!(given(&mut session).await, [0, 1]);
    drop(session);
    // The same member without it: what it had before is not as it was.
    let by_name = JoinAsMember { subscribed: vec!["later".into()], ..joining("m") };
    let mut session = broker.join_as_member(&PRINCIPAL, by_name).await.unwrap();
    let SessionEvent::Assigned { partitions, .. } = event(&mut session).await else { panic!() };
    assert!(partitions.is_empty(), "{partitions:?}");
}

/// A topic that does not exist yet, one that is deleted and made again, and a group that starts
/// nowhere.
#[tokio::test]
async fn topics_come_and_go_under_a_member() {
    let (_folder, broker) = house().await;
    let subscribed = vec!["t".to_owned(), "later".to_owned()];
    let picky = JoinAsMember { subscribed, without_commit: WithoutCommit::Refuse, ..joining("m") };
    let mut session = broker.join_as_member(&PRINCIPAL, picky).await.unwrap();
    let SessionEvent::Assigned { unreadable, partitions, .. } = event(&mut session).await else {
        panic!()
    };
    assert!(partitions.is_empty() && unreadable.len() == 2);
    assert!(matches!(unreadable[0].error, StartError::NoOffset { .. }));
    committed(&mut session, 0).await.unwrap();
    broker.delete_topic(&PRINCIPAL, "t").await.unwrap();
    let configs = TopicConfigs::default();
    broker.create_topic(&PRINCIPAL, "later", Some(1), configs, Mode::Apply).await.unwrap();
    // Any news has the session ask: here, that somebody else comes.
    let _other = join(&broker, "other").await;
    let gone = revoked(&mut session).await;
    assert_eq!(gone, [("t".to_owned(), 0), ("t".to_owned(), 1)]);
    let kept = broker.fetch_group_offsets(&PRINCIPAL, GroupId::new("g").unwrap(), Stability::Any);
    assert_eq!(kept.await.unwrap(), [], "offsets go with their topic");
}
