//! Goal: through the broker, a group's members, its offsets and its topics are one thing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log_core::io::Disk;
use log_core::{Committer as Syncer, SystemClock};
use log_proto::types::Offset;

use super::*;
use crate::broker::{
    CommitError, CommitOffsets, Committer, DeleteOffsetRefusal, GroupOffset, Keep, Mode, Stability,
};
use crate::config::ServerConfig;
use crate::error::CommitOffsetsError;
use crate::partition::PartitionParts;
use crate::topic_config::TopicConfigs;

const PRINCIPAL: Principal = Principal::Anonymous;

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

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

fn member() -> MemberId {
    MemberId::new("m").unwrap()
}

fn heartbeat(step: ConsumerStep) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: group(),
        member: member(),
        instance: None,
        step,
        client_id: String::new(),
        client_host: String::new(),
        rack: None,
        rebalance_timeout: Some(Duration::from_secs(60)),
        subscribed: Some(vec!["t".to_owned(), "missing".to_owned()]),
        pattern: None,
        assignor: None,
        owned: None,
    }
}

fn offset(topic: &str) -> GroupOffset {
    GroupOffset {
        topic: topic.to_owned(),
        partition: 1,
        offset: Offset::ZERO,
        leader_epoch: None,
        metadata: String::new(),
    }
}

fn commit(generation: i32) -> CommitOffsets {
    let generation = GenerationId::new(generation);
    CommitOffsets {
        group: group(),
        committer: Committer { member: Some(member()), instance: None, generation },
        offsets: vec![offset("t"), offset("missing")],
        keep: Keep::AsGroup,
    }
}

#[tokio::test]
async fn a_consumer_group_lives_from_its_first_member_to_its_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let configs = TopicConfigs::default();
    broker.create_topic(&PRINCIPAL, "t", Some(2), configs, Mode::Apply).await.unwrap();
    let told = broker.consumer_heartbeat(&PRINCIPAL, &heartbeat(ConsumerStep::Join)).await.unwrap();
    let topic = broker.topics().get("t").unwrap().id;
    assert_eq!(told.assignment, Some([(topic, [0, 1].into())].into()));

    let outcomes = broker.commit_group_offsets(&PRINCIPAL, commit(1)).await.unwrap();
    assert!(outcomes[0].is_ok() && outcomes[1].is_err(), "{outcomes:?}");
    let stale = broker.commit_group_offsets(&PRINCIPAL, commit(0)).await.unwrap_err();
    assert!(matches!(stale, CommitError::Member(MemberError::StaleEpoch { .. })), "{stale}");
    let stranger = broker.commit_offsets(&PRINCIPAL, "g", vec![offset("t")]).await.unwrap_err();
    assert!(matches!(stranger, CommitOffsetsError::HasMembers), "{stranger}");
    let wanted = vec![("t".to_owned(), 1), ("t".to_owned(), 7)];
    let deleted = broker.delete_group_offsets(&PRINCIPAL, group(), wanted).await.unwrap();
    assert_eq!(deleted[0], Err(DeleteOffsetRefusal::SubscribedToTopic));
    assert!(matches!(deleted[1], Err(DeleteOffsetRefusal::Lookup(_))));
    drop(broker);

    let broker = start(folder.path()).await;
    let epoch = MemberEpoch::new(1).unwrap();
    broker.check_fetcher(&group(), &member(), epoch).unwrap();
    let kept = broker.fetch_group_offsets(&PRINCIPAL, group(), Stability::Require).await.unwrap();
    assert_eq!(kept, [offset("t")]);
    let in_use = broker.delete_group(&PRINCIPAL, group()).await.unwrap_err();
    assert_eq!(in_use, DeleteGroupError::NonEmptyGroup { group: group() });
    broker.consumer_heartbeat(&PRINCIPAL, &heartbeat(ConsumerStep::Leave)).await.unwrap();
    broker.delete_group(&PRINCIPAL, group()).await.unwrap();
    let left = broker.list_groups(&PRINCIPAL, &GroupFilter::default()).await.unwrap();
    assert_eq!(left, []);
    let kept = broker.fetch_group_offsets(&PRINCIPAL, group(), Stability::Any).await.unwrap();
    assert_eq!(kept, []);
}
