//! Goal: topics and their configs are what was asked for, and listings tell the truth.

use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::list_offsets_request::Position;

use crate::house::{House, Served, error_of};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_listed_and_described() {
    let house = House::new();
    let mut served = house.start().await;
    let created = served.create_with("b", 3, &[("retention.ms", "-1")]).await.unwrap();
    assert_eq!((created.partitions, created.id.len(), created.internal), (3, 16, false));
    served.create("a", 0).await;
    let again = served.create_with("a", 1, &[]).await.unwrap_err();
    assert_eq!(error_of(&again).code(), ErrorCode::TopicAlreadyExists);
    let mut list = async |include_internal| {
        let request = v1::ListTopicsRequest { include_internal };
        let topics = served.admin.list_topics(request).await.unwrap().into_inner().topics;
        topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>()
    };
    assert_eq!(list(false).await, ["a", "b"]);
    assert_eq!(list(true).await, ["__cluster_metadata", "__consumer_offsets", "a", "b"]);
    let described = served.describe("b").await;
    assert_eq!(described.topic.unwrap().id, created.id);
    assert_eq!(described.configs["retention.ms"], "-1");
    assert_eq!(described.partitions.len(), 3);
    let broker = served.admin.describe_broker(v1::DescribeBrokerRequest {}).await.unwrap();
    let broker = broker.into_inner();
    assert_eq!((broker.topics, broker.partitions), (2, 4));
    assert_eq!(broker.default_durability(), v1::Durability::Synced);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_asking_creates_nothing() {
    let house = House::new();
    let mut served = house.start().await;
    let request = v1::CreateTopicRequest {
        name: "t".to_owned(),
        validate_only: true,
        ..v1::CreateTopicRequest::default()
    };
    served.admin.create_topic(request).await.unwrap();
    assert!(!house.topics().join("t-0").exists());
    served.create("t", 1).await;
}

async fn entry(served: &mut Served, name: &str) -> v1::ConfigEntry {
    let request = v1::DescribeConfigsRequest { topic: "t".to_owned() };
    let entries = served.admin.describe_configs(request).await.unwrap().into_inner().entries;
    entries.into_iter().find(|entry| entry.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_change_at_once_and_all_or_nothing() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let alter = |set: &[(&str, &str)], unset: &[&str]| v1::AlterConfigsRequest {
        topic: "t".to_owned(),
        set: set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
        validate_only: false,
    };
    let bad = alter(&[("max.message.bytes", "100"), ("retention.ms", "soon")], &[]);
    let refused = served.admin.alter_configs(bad).await.unwrap_err();
    assert_eq!(error_of(&refused).code(), ErrorCode::InvalidConfig);
    assert!(entry(&mut served, "max.message.bytes").await.is_default);
    let good = alter(&[("max.message.bytes", "100"), ("cleanup.policy", "compact")], &[]);
    served.admin.alter_configs(good).await.unwrap();
    let set = entry(&mut served, "max.message.bytes").await;
    assert_eq!((&*set.value, set.is_default), ("100", false));
    assert_eq!(entry(&mut served, "cleanup.policy").await.note, "compaction is not active yet");
    let large = "x".repeat(200);
    let request = crate::house::to_partition("t", 0, crate::house::plain(&[&large]));
    let refused = served.produce(request).await.unwrap_err();
    assert_eq!(error_of(&refused).code(), ErrorCode::MessageTooLarge);
    let back = alter(&[], &["max.message.bytes", "cleanup.policy"]);
    served.admin.alter_configs(back).await.unwrap();
    served.append("t", 0, &[&large]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_kind_and_by_time() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.append("t", 1, &["a", "b"]).await;
    let mut list = async |position| {
        let (topic, partitions) = ("t".to_owned(), vec![1]);
        let request = v1::ListOffsetsRequest { topic, partitions, position };
        served.admin.list_offsets(request).await.unwrap().into_inner().offsets[0]
    };
    let kind = |kind: v1::OffsetKind| Some(Position::Kind(kind.into()));
    assert_eq!(list(None).await.offset, Some(0));
    assert_eq!(list(kind(v1::OffsetKind::LogEnd)).await.offset, Some(2));
    assert_eq!(list(kind(v1::OffsetKind::HighWatermark)).await.offset, Some(2));
    assert_eq!(list(kind(v1::OffsetKind::LastStable)).await.offset, Some(2));
    let newest = list(kind(v1::OffsetKind::MaxTimestamp)).await;
    assert!(newest.offset.is_some() && newest.timestamp_ms.unwrap() > 1_600_000_000_000);
    assert_eq!(list(Some(Position::TimestampMs(5))).await.offset, Some(0));
    assert_eq!(list(Some(Position::TimestampMs(i64::MAX))).await.offset, None);
}
