//! Goal: a request that names one thing ten thousand times gets the answer that it would get for
//! naming it once, or for each a refusal of a few bytes.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use log_proto::kafka::messages::describe_producers::{DescribeProducersRequest, TopicRequest};
use log_proto::kafka::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use log_proto::kafka::messages::find_coordinator::FindCoordinatorRequest;
use log_proto::kafka::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use log_proto::kafka::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use log_proto::record::Compression;

use crate::kafka_port::{batch, create, outcome, produce};
use crate::support::kafka::Client;
use crate::support::{Broker, data_folder};

const OFTEN: usize = 10_000;

#[test]
fn partitions_are_read_once_however_often_they_are_named() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    create(&mut client, "t");
    assert_eq!(outcome(&client.ask(9, &produce("t", batch(3, Compression::None)))), (0, 0));

    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let partitions = vec![partition; OFTEN];
    let topic = FetchTopic { topic: "t".into(), partitions, ..Default::default() };
    let fetched = client.ask(12, &FetchRequest { topics: vec![topic], ..Default::default() });
    assert_eq!(fetched.responses[0].partitions.len(), 1);

    let partition = ListOffsetsPartition { timestamp: 0, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition; OFTEN] };
    let listed = client.ask(7, &ListOffsetsRequest { topics: vec![topic], ..Default::default() });
    let refused = ErrorCode::InvalidRequest.number();
    assert!(listed.topics[0].partitions.iter().all(|one| one.error_code == refused));

    let topic = TopicRequest { name: "t".into(), partition_indexes: vec![0; OFTEN] };
    let described = client.ask(0, &DescribeProducersRequest { topics: vec![topic; 2] });
    assert_eq!(described.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 1);

    let topic = DescribableLogDirTopic { topic: "t".into(), partitions: vec![0; OFTEN] };
    let described = client.ask(4, &DescribeLogDirsRequest { topics: Some(vec![topic; 2]) });
    let topics = &described.results[0].topics;
    assert_eq!(topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 1);
}

#[test]
fn groups_are_answered_once_however_often_they_are_named() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    create(&mut client, "t");
    let partition = OffsetCommitRequestPartition {
        committed_offset: 1,
        committed_metadata: Some("m".repeat(4096).into()),
        ..Default::default()
    };
    let topics = vec![OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: vec![partition],
        ..Default::default()
    }];
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics,
        ..Default::default()
    };
    assert_eq!(client.ask(9, &commit).topics[0].partitions[0].error_code, 0);

    let topic = OffsetFetchRequestTopics {
        name: "t".into(),
        partition_indexes: vec![0; OFTEN],
        ..Default::default()
    };
    let group =
        |topics| OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() };
    for groups in [vec![group(Some(vec![topic; 2]))], vec![group(None); OFTEN]] {
        let fetched = client.ask(9, &OffsetFetchRequest { groups, ..Default::default() });
        let topics = fetched.groups.iter().flat_map(|group| &group.topics);
        assert_eq!(topics.map(|topic| topic.partitions.len()).sum::<usize>(), 1);
    }

    let coordinator_keys = vec!["g".into(); OFTEN];
    let found = client.ask(4, &FindCoordinatorRequest { coordinator_keys, ..Default::default() });
    assert_eq!(found.coordinators.len(), 1);
}

/// A name of 32 KiB that no topic has, and ten thousand partitions of it.
#[test]
fn a_long_name_is_not_told_back_for_each_of_its_partitions() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    let partition = |index| PartitionProduceData { index, records: None };
    let topic = TopicProduceData {
        name: "\u{1}".repeat(32_767).into(),
        partition_data: (0..10_000).map(partition).collect(),
        ..Default::default()
    };
    let topic_data = vec![topic];
    let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data, ..Default::default() };
    let answered = client.ask(9, &request);
    let unknown = ErrorCode::UnknownTopicOrPartition.number();
    let partitions = &answered.responses[0].partition_responses;
    assert!(partitions.len() == 10_000 && partitions.iter().all(|one| one.error_code == unknown));
    let told = partitions.iter().filter_map(|one| one.error_message.as_ref());
    assert!(told.map(|message| message.len()).sum::<usize>() < 1 << 20);
}
