//! What the corpora were made of: every request once in each of its versions, of topic `t` with
//! two partitions, group `g` and consumer group `c`, in an order in which they find each other.

use bytes::Bytes;
use log_proto::kafka::messages::*;
use log_proto::kafka::{
    ApiKey, Request, RequestHeader, Str, encode_embedded, encode_request,
    messages::consumer_protocol_subscription::ConsumerProtocolSubscription,
};
use log_proto::record::{BatchBuilder, BatchOptions, Compression};
use log_proto::types::{Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use log_proto::v1;
use prost::Message;

use super::corpus::put;

/// Everything that is named has its default.
macro_rules! of {
    ($($path:ident)::+ { $($field:ident $(: $value:expr)?),* $(,)? }) => {
        $($path)::+ { $($field $(: $value)?,)* ..Default::default() }
    };
}

#[test]
#[ignore = "changes the sources: to be run after what is served has changed"]
fn write_the_corpora() {
    coordinators();
    decoding();
    kafka();
    grpc();
}

/// Every kind of record, as values and as what a snapshot holds.
fn coordinators() {
    put("durable_file", "empty", b"");
    put("durable_file", "payload", b"CFMT, sixteen b.");
    let kinds = [("metadata", metadata_records()), ("groups", group_records())];
    for (kind, values) in kinds {
        let (mut records, mut snapshot) = (Vec::new(), 7_u64.to_le_bytes().to_vec());
        for value in values {
            records.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            records.extend(&value);
            prost::encode_length_delimiter(value.len(), &mut snapshot).unwrap();
            snapshot.extend(&value);
        }
        put("coordinator_records", kind, &records);
        put("coordinator_snapshot", kind, &snapshot);
    }
}

fn metadata_records() -> Vec<Vec<u8>> {
    use crate::coordinator::metadata::record::*;
    let topic_id = || vec![7; 16];
    let configs = || [("retention.ms".to_owned(), "1000".to_owned())].into();
    let created = TopicCreated {
        name: "t".to_owned(),
        topic_id: topic_id(),
        partitions: 2,
        configs: configs(),
    };
    let changes = [
        Change::TopicCreated(created),
        Change::TopicConfigured(TopicConfigured { topic_id: topic_id(), configs: configs() }),
        Change::PartitionsAdded(PartitionsAdded { topic_id: topic_id(), partitions: 3 }),
        Change::LeaderEpochRaised(LeaderEpochRaised { leader_epoch: 1 }),
        Change::ProducerIdsAllotted(ProducerIdsAllotted { next_producer_id: 1000 }),
        Change::TopicDeleted(TopicRef { topic_id: topic_id() }),
        Change::TopicRemoved(TopicRef { topic_id: topic_id() }),
    ];
    changes.map(|change| MetadataRecord::from(change).encode_to_vec()).to_vec()
}

fn group_records() -> Vec<Vec<u8>> {
    use crate::coordinator::group::record::*;
    let topic_id = || vec![7; 16];
    let (group, member) = (|| "g".to_owned(), || "m".to_owned());
    let committed = OffsetCommitted {
        group: group(),
        topic_id: topic_id(),
        partition: 1,
        offset: 9,
        leader_epoch: Some(0),
        metadata: "x".to_owned(),
        commit_time_ms: 1000,
        expire_time_ms: None,
    };
    let protocol = ProtocolStored { name: "range".to_owned(), metadata: subscription() };
    let stored = MemberStored {
        member: member(),
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        rebalance_timeout_ms: 1000,
        session_timeout_ms: 1000,
        protocols: vec![protocol.clone()],
        ..Default::default()
    };
    let classic = ClassicGroupStored {
        group: group(),
        generation: 1,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: Some(member()),
        state_since_ms: 1000,
        members: vec![stored],
    };
    let partitions = || vec![PartitionsStored { topic_id: topic_id(), partitions: vec![0, 1] }];
    let classic_side = ClassicSideStored { session_timeout_ms: 1000, protocols: vec![protocol] };
    let consumer_member = ConsumerMemberStored {
        member: member(),
        subscribed: vec!["t".to_owned()],
        epoch: 1,
        assigned: partitions(),
        target: partitions(),
        pattern: Some("t.*".to_owned()),
        classic: Some(classic_side),
        ..Default::default()
    };
    let topic = TopicStored { name: "t".to_owned(), topic_id: topic_id(), partitions: 2 };
    let consumer = ConsumerGroupStored {
        group: "c".to_owned(),
        epoch: 1,
        target_epoch: 1,
        state_since_ms: 1000,
        topics: vec![topic],
        members: vec![consumer_member],
    };
    let partition = PartitionRef { topic_id: topic_id(), partition: 0 };
    let changes = [
        Change::OffsetCommitted(committed),
        Change::ClassicGroup(classic),
        Change::ConsumerGroup(consumer),
        Change::OffsetsDeleted(OffsetsDeleted { group: group(), partitions: vec![partition] }),
        Change::TopicDeleted(TopicDeleted { topic_id: vec![8; 16] }),
        Change::GroupDeleted(GroupDeleted { group: "d".to_owned() }),
    ];
    changes.map(|change| GroupRecord::from(change).encode_to_vec()).to_vec()
}

/// What the Java client wrote, in the first and the last layout of each request.
fn decoding() {
    let golden = include_str!("../../../proto/tests/kafka_golden/messages.txt");
    let lines: Vec<Vec<&str>> = golden.lines().map(|line| line.split(' ').collect()).collect();
    for key in ApiKey::ALL {
        let name = format!("{key}Request");
        let of_key: Vec<_> = lines.iter().filter(|line| line[0] == name).collect();
        let (Some(first), Some(last)) = (of_key.first(), of_key.last()) else { continue };
        for line in [first, last] {
            let (_, version) = line[1].split_once('-').unwrap();
            let version = version.parse().unwrap();
            let header = RequestHeader { api_key: key, version, ..header(key, 0) };
            // No bytes at all are written as a dash.
            let full = line[2].trim_matches('-');
            let body = (0..full.len()).step_by(2);
            let body = body.map(|at| u8::from_str_radix(&full[at..at + 2], 16).unwrap());
            let frame: Vec<u8> = start_of(&header).into_iter().chain(body).collect();
            put("kafka_decoding", &format!("{key}-{version}"), &frame);
        }
    }
}

fn header(api_key: ApiKey, version: i16) -> RequestHeader {
    RequestHeader { api_key, version, correlation_id: 7, client_id: Some("c".into()) }
}

/// A header by hand, since no writer is lent to strangers.
fn start_of(header: &RequestHeader) -> Vec<u8> {
    let mut bytes = header.api_key.number().to_be_bytes().to_vec();
    bytes.extend(header.version.to_be_bytes());
    bytes.extend(header.correlation_id.to_be_bytes());
    bytes.extend(b"\x00\x01c");
    bytes.extend(header.api_key.is_flexible(header.version).then_some(0));
    bytes
}

/// Frames of the request in each version that can say it.
fn frames<R: Request>(request: &R) -> Vec<u8> {
    let versions = R::API_KEY.versions();
    let versions = versions.first..=versions.last;
    let frame = |version| encode_request(&header(R::API_KEY, version), request).ok();
    versions.filter_map(frame).flat_map(|rope| rope.into_bytes()).collect()
}

/// Puts it behind those that came before.
fn put_frames<R: Request>(place: &mut usize, requests: &[R]) {
    let bytes: Vec<u8> = requests.iter().flat_map(frames).collect();
    put("kafka_requests", &format!("{place:02}-{}", R::API_KEY), &bytes);
    *place += 1;
}

fn t() -> Str {
    "t".into()
}

fn a_batch(compression: Compression) -> Bytes {
    let id = ProducerId::new(0).unwrap();
    let producer = Producer { id, epoch: ProducerEpoch::new(0).unwrap() };
    let producer = Some((producer, Sequence::ZERO));
    let mut batch = BatchBuilder::new(of!(BatchOptions { compression, producer }));
    batch.push(TimestampMs::new(1000), Some(b"key"), Some(b"value"), &[]).unwrap();
    batch.build().unwrap()
}

fn kafka() {
    let mut place = 0;
    let place = &mut place;
    put_frames(
        place,
        &[api_versions::ApiVersionsRequest {
            client_software_name: "c".into(),
            client_software_version: "1".into(),
        }],
    );
    topics(place);
    records(place);
    groups(place);
    consumer_groups(place);
    configs(place);
    ends(place);
}

fn topics(place: &mut usize) {
    use create_topics::*;
    let config = CreatableTopicConfig { name: "retention.ms".into(), value: Some("1000".into()) };
    let topic = of!(CreatableTopic {
        name: t(),
        num_partitions: 2,
        replication_factor: 1,
        configs: vec![config]
    });
    let assignment = CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1] };
    let assigned = of!(CreatableTopic {
        name: "u".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![assignment]
    });
    let topics = vec![topic, assigned];
    put_frames(place, &[of!(CreateTopicsRequest { topics })]);
    use metadata::*;
    let names = [Some(t()), None].map(|name| of!(MetadataRequestTopic { name }));
    put_frames(
        place,
        &[None, Some(names.to_vec()), Some(names[..1].to_vec())]
            .map(|topics| of!(MetadataRequest { topics, allow_auto_topic_creation: true })),
    );
    use describe_topic_partitions::*;
    let cursor = Some(Cursor { topic_name: t(), partition_index: 1 });
    let topics = vec![TopicRequest { name: t() }];
    put_frames(
        place,
        &[DescribeTopicPartitionsRequest { topics, response_partition_limit: 10, cursor }],
    );
    put_frames(place, &[of!(describe_cluster::DescribeClusterRequest { endpoint_type: 1 })]);
    let partitions = vec![0, 1, 9];
    let topics = vec![describe_log_dirs::DescribableLogDirTopic { topic: t(), partitions }];
    put_frames(
        place,
        &[None, Some(topics)].map(|topics| describe_log_dirs::DescribeLogDirsRequest { topics }),
    );
    put_frames(place, &[of!(describe_acls::DescribeAclsRequest { operation: 1 })]);
}

fn records(place: &mut usize) {
    put_frames(
        place,
        &[of!(init_producer_id::InitProducerIdRequest {
            transaction_timeout_ms: 1000,
            producer_id: -1,
            producer_epoch: -1
        })],
    );
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];
    put_frames(
        place,
        &codecs.map(|codec| {
            let partition =
                produce::PartitionProduceData { index: 0, records: Some(a_batch(codec)) };
            let topic =
                of!(produce::TopicProduceData { name: t(), partition_data: vec![partition] });
            of!(produce::ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic] })
        }),
    );
    let partition = of!(fetch::FetchPartition { partition: 0, partition_max_bytes: 1000 });
    let topic = of!(fetch::FetchTopic { topic: t(), partitions: vec![partition] });
    put_frames(
        place,
        &[0, -1, 1].map(|epoch| {
            let forgotten = of!(fetch::ForgottenTopic { topic: t(), partitions: vec![0] });
            of!(fetch::FetchRequest {
                max_bytes: 1000,
                session_id: i32::from(epoch > 0),
                session_epoch: epoch,
                topics: vec![topic.clone()],
                forgotten_topics_data: if epoch > 0 { vec![forgotten] } else { Vec::new() },
            })
        }),
    );
    let partitions = (-6..2).map(|timestamp| of!(list_offsets::ListOffsetsPartition { timestamp }));
    let topic = list_offsets::ListOffsetsTopic { name: t(), partitions: partitions.collect() };
    put_frames(place, &[of!(list_offsets::ListOffsetsRequest { topics: vec![topic] })]);
    let partition = of!(offset_for_leader_epoch::OffsetForLeaderPartition { leader_epoch: 0 });
    let topic =
        offset_for_leader_epoch::OffsetForLeaderTopic { topic: t(), partitions: vec![partition] };
    put_frames(
        place,
        &[of!(offset_for_leader_epoch::OffsetForLeaderEpochRequest { topics: vec![topic] })],
    );
    let topic = describe_producers::TopicRequest { name: t(), partition_indexes: vec![0, 1] };
    put_frames(place, &[describe_producers::DescribeProducersRequest { topics: vec![topic] }]);
}

fn subscription() -> Bytes {
    encode_embedded(1, &of!(ConsumerProtocolSubscription { topics: vec![t()] })).unwrap()
}

fn groups(place: &mut usize) {
    put_frames(
        place,
        &[0, 1, 2].map(|key_type| find_coordinator::FindCoordinatorRequest {
            key: "g".into(),
            key_type,
            coordinator_keys: vec!["g".into()],
        }),
    );
    let protocol =
        join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: subscription() };
    put_frames(
        place,
        &[
            of!(join_group::JoinGroupRequest {
                group_id: "g".into(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 1000,
                group_instance_id: Some("i".into()),
                protocol_type: "consumer".into(),
                protocols: vec![protocol],
            }),
            of!(join_group::JoinGroupRequest {
                group_id: "h".into(),
                session_timeout_ms: 6000,
                protocol_type: "consumer".into(),
            }),
        ],
    );
    let assignment = of!(sync_group::SyncGroupRequestAssignment { member_id: "i".into() });
    put_frames(
        place,
        &[of!(sync_group::SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: "i".into(),
            assignments: vec![assignment],
        })],
    );
    put_frames(
        place,
        &[of!(heartbeat::HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: "i".into(),
        })],
    );
    let member = of!(leave_group::MemberIdentity { group_instance_id: Some("i".into()) });
    put_frames(
        place,
        &[
            of!(leave_group::LeaveGroupRequest { group_id: "g".into(), members: vec![member] }),
            of!(leave_group::LeaveGroupRequest { group_id: "g".into(), member_id: "i".into() }),
        ],
    );
    offsets(place);
    put_frames(
        place,
        &[describe_groups::DescribeGroupsRequest {
            groups: vec!["g".into(), "c".into()],
            include_authorized_operations: false,
        }],
    );
    put_frames(
        place,
        &[
            of!(list_groups::ListGroupsRequest {}),
            list_groups::ListGroupsRequest {
                states_filter: vec!["Empty".into()],
                types_filter: vec!["classic".into()],
            },
        ],
    );
}

fn offsets(place: &mut usize) {
    use offset_commit::*;
    let partition = of!(OffsetCommitRequestPartition {
        committed_offset: 1,
        committed_metadata: Some("m".into())
    });
    let topic = of!(OffsetCommitRequestTopic { name: t(), partitions: vec![partition] });
    put_frames(
        place,
        &["g", "o"].map(|group| {
            of!(OffsetCommitRequest {
                group_id: group.into(),
                generation_id_or_member_epoch: -1,
                topics: vec![topic.clone()],
            })
        }),
    );
    use offset_fetch::*;
    let topic = OffsetFetchRequestTopic { name: t(), partition_indexes: vec![0, 1] };
    let topics = of!(OffsetFetchRequestTopics { name: t(), partition_indexes: vec![0, 1] });
    let group = of!(OffsetFetchRequestGroup { group_id: "o".into(), topics: Some(vec![topics]) });
    let all = of!(OffsetFetchRequestGroup { group_id: "o".into() });
    put_frames(
        place,
        &[
            of!(OffsetFetchRequest { group_id: "o".into(), topics: Some(vec![topic]) }),
            of!(OffsetFetchRequest { groups: vec![group, all] }),
        ],
    );
    use offset_delete::*;
    let partition = OffsetDeleteRequestPartition { partition_index: 0 };
    let topic = OffsetDeleteRequestTopic { name: t(), partitions: vec![partition] };
    put_frames(place, &[OffsetDeleteRequest { group_id: "o".into(), topics: vec![topic] }]);
}

fn consumer_groups(place: &mut usize) {
    use consumer_group_heartbeat::*;
    put_frames(
        place,
        &[0, 1, 2, -1].map(|epoch| {
            of!(ConsumerGroupHeartbeatRequest {
                group_id: "c".into(),
                member_id: "member".into(),
                member_epoch: epoch,
                rebalance_timeout_ms: 1000,
                subscribed_topic_names: Some(vec![t()]),
                topic_partitions: (epoch == 0).then(Vec::new),
            })
        }),
    );
    put_frames(
        place,
        &[consumer_group_describe::ConsumerGroupDescribeRequest {
            group_ids: vec!["c".into(), "g".into()],
            include_authorized_operations: true,
        }],
    );
}

fn configs(place: &mut usize) {
    const KINDS: [(i8, &str); 2] = [(2, "t"), (4, "1")];
    let resources = KINDS.map(|(kind, name)| describe_configs::DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: None,
    });
    put_frames(
        place,
        &[of!(describe_configs::DescribeConfigsRequest {
            resources: resources.to_vec(),
            include_synonyms: true,
        })],
    );
    let resources = KINDS.map(|(kind, name)| alter_configs::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: vec![alter_configs::AlterableConfig {
            name: "retention.ms".into(),
            value: Some("2000".into()),
        }],
    });
    let resources = resources.to_vec();
    put_frames(place, &[alter_configs::AlterConfigsRequest { resources, validate_only: false }]);
    use incremental_alter_configs::*;
    let configs = (0..4).map(|config_operation| AlterableConfig {
        name: ["retention.ms", "flush.ms", "cleanup.policy", "flush.messages"]
            [config_operation as usize]
            .into(),
        config_operation,
        value: Some("1000".into()),
    });
    let resource =
        AlterConfigsResource { resource_type: 2, resource_name: t(), configs: configs.collect() };
    let resources = vec![resource];
    put_frames(place, &[IncrementalAlterConfigsRequest { resources, validate_only: false }]);
}

fn ends(place: &mut usize) {
    let topic = of!(create_partitions::CreatePartitionsTopic { name: t(), count: 3 });
    put_frames(place, &[of!(create_partitions::CreatePartitionsRequest { topics: vec![topic] })]);
    let partition = delete_records::DeleteRecordsPartition { partition_index: 0, offset: 1 };
    let topic = delete_records::DeleteRecordsTopic { name: t(), partitions: vec![partition] };
    put_frames(place, &[of!(delete_records::DeleteRecordsRequest { topics: vec![topic] })]);
    let groups_names = vec!["o".into()];
    put_frames(place, &[delete_groups::DeleteGroupsRequest { groups_names }]);
    let topic = of!(delete_topics::DeleteTopicState { name: Some("u".into()) });
    put_frames(
        place,
        &[
            of!(delete_topics::DeleteTopicsRequest { topics: vec![topic] }),
            of!(delete_topics::DeleteTopicsRequest { topic_names: vec!["u".into()] }),
        ],
    );
}

/// Calls as the target takes them apart.
fn call(method: &str, messages: &[Vec<u8>]) -> Vec<u8> {
    let methods = &crate::grpc::fuzz::METHODS;
    let number = methods.iter().position(|known| known.ends_with(method)).expect("a method");
    let mut body = vec![u8::try_from(number).unwrap()];
    for message in messages {
        body.push(0);
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
    }
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn grpc() {
    let name = || "t".to_owned();
    let create = v1::CreateTopicRequest {
        name: name(),
        partitions: 2,
        configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        validate_only: false,
    };
    let first = call("/CreateTopic", &[create.encode_to_vec()]);
    let put = |place: usize, method: &str, messages: &[Vec<u8>]| {
        put(
            "grpc_requests",
            &format!("{place:02}{}", method.replace('/', "-")),
            &call(method, messages),
        );
    };
    super::corpus::put("grpc_requests", "00-CreateTopic", &first);
    put(1, "/InitProducer", &[Vec::new()]);
    let requests = produce_requests();
    put(2, "/Produce", &requests[..1]);
    put(3, "/ProduceStream", &requests);
    put(4, "/Consume", &consume_requests());
    let offset = v1::GroupOffset { topic: name(), offset: 1, ..Default::default() };
    let group = || "g".to_owned();
    let commit = v1::CommitOffsetsRequest { group: group(), offsets: vec![offset] };
    put(5, "/CommitOffsets", &[commit.encode_to_vec()]);
    let fetch = v1::FetchOffsetsRequest { group: group(), topics: vec![name()] };
    put(6, "/FetchOffsets", &[fetch.encode_to_vec()]);
    put(7, "/ListTopics", &[v1::ListTopicsRequest { include_internal: true }.encode_to_vec()]);
    put(8, "/DescribeTopic", &[v1::DescribeTopicRequest { name: name() }.encode_to_vec()]);
    put(9, "/DescribeConfigs", &[v1::DescribeConfigsRequest { topic: name() }.encode_to_vec()]);
    let alter = v1::AlterConfigsRequest {
        topic: name(),
        set: [("flush.ms".to_owned(), "10".to_owned())].into(),
        unset: vec!["retention.ms".to_owned()],
        validate_only: false,
    };
    put(10, "/AlterConfigs", &[alter.encode_to_vec()]);
    let position = Some(v1::list_offsets_request::Position::TimestampMs(5));
    let list = v1::ListOffsetsRequest { topic: name(), partitions: vec![0, 1], position };
    put(11, "/ListOffsets", &[list.encode_to_vec()]);
    put(12, "/DescribeBroker", &[Vec::new()]);
    put(13, "/ListGroups", &[Vec::new()]);
    put(14, "/DescribeGroup", &[v1::DescribeGroupRequest { group: group() }.encode_to_vec()]);
    let topics = vec![v1::TopicPartitions { topic: name(), partitions: vec![0] }];
    let delete = v1::DeleteGroupOffsetsRequest { group: group(), topics };
    put(15, "/DeleteGroupOffsets", &[delete.encode_to_vec()]);
    put(16, "/DeleteGroup", &[v1::DeleteGroupRequest { group: group() }.encode_to_vec()]);
    put(18, "/Consume", &member_requests());
    put(17, "/DeleteTopic", &[v1::DeleteTopicRequest { name: "u".to_owned() }.encode_to_vec()]);
}

fn produce_requests() -> Vec<Vec<u8>> {
    use v1::produce_request::Payload;
    let record = v1::Record {
        key: Some("key".into()),
        value: Some("value".into()),
        headers: vec![v1::Header { key: "h".into(), value: Some("x".into()) }],
        timestamp_ms: Some(1000),
        ..Default::default()
    };
    let plain = |compression: v1::Compression| v1::PlainBatch {
        records: vec![record.clone(), v1::Record::default()],
        compression: compression.into(),
        ..Default::default()
    };
    let payloads = [
        Payload::Plain(plain(v1::Compression::Uncompressed)),
        Payload::Plain(plain(v1::Compression::Zstd)),
        Payload::Batch(a_batch(Compression::Lz4)),
    ];
    let request = |payload| v1::ProduceRequest {
        request_id: 1,
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(payload),
        ..Default::default()
    };
    payloads.map(|payload| request(payload).encode_to_vec()).to_vec()
}

fn consume_requests() -> Vec<Vec<u8>> {
    use v1::consume_request::Request as Asked;
    use v1::partition_start::Position;
    let partition = v1::PartitionStart {
        topic: "t".to_owned(),
        position: Some(Position::Offset(0)),
        ..Default::default()
    };
    let start = v1::Start { partitions: vec![partition], credit_bytes: 1000, ..Default::default() };
    let asked = [Asked::Start(start), Asked::Credit(v1::Credit { bytes: 1000 })];
    asked.map(|asked| v1::ConsumeRequest { request: Some(asked) }.encode_to_vec()).to_vec()
}

/// What a member of a group says, first to last.
fn member_requests() -> Vec<Vec<u8>> {
    use v1::consume_request::Request as Asked;
    let t = || "t".to_owned();
    let owned = v1::ResumedPartition { topic: t(), partition: 7, next_offset: 0 };
    let join = v1::Join {
        group: "m".to_owned(),
        topics: vec![t()],
        topic_pattern: "[s-u]".to_owned(),
        member_id: "m".to_owned(),
        credit_bytes: 1000,
        ..Default::default()
    };
    let resume = v1::Resume { member_epoch: 1, partitions: vec![owned] };
    let resumed = v1::Join { resume: Some(resume), ..join.clone() };
    let offset = v1::GroupOffset { topic: t(), offset: 1, ..Default::default() };
    let released = v1::TopicPartitions { topic: t(), partitions: vec![7] };
    let asked = [
        Asked::Join(join),
        Asked::Commit(v1::Commit { commit_id: 1, offsets: vec![offset] }),
        Asked::Release(v1::Release { partitions: vec![released] }),
        Asked::Credit(v1::Credit { bytes: 1000 }),
        Asked::Join(resumed),
    ];
    asked.map(|asked| v1::ConsumeRequest { request: Some(asked) }.encode_to_vec()).to_vec()
}
