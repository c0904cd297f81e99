//! Strangers at the Kafka port: what is no request, requests that lie about their size, clients
//! that stop in the middle. Whoever speaks the protocol is served meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;
use log_proto::kafka::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use log_proto::kafka::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use log_proto::kafka::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use log_proto::kafka::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use log_proto::kafka::{ApiKey, ErrorCode};
use log_proto::record::Compression;

use crate::rig::{batch_of, compressed};
use crate::support::kafka::{Client, PATIENCE, frame};
use crate::support::{Broker, data_folder};
use crate::traces::anonymous_bytes;

pub(crate) fn create(client: &mut Client, topic: &str) {
    let topics = vec![MetadataRequestTopic { name: Some(topic.into()), ..Default::default() }];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    let response = client.ask(12, &request);
    assert_eq!(response.topics[0].error_code, 0);
}

pub(crate) fn produce(topic: &str, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData { index: 0, records: Some(records) };
    ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// From the start of the only partition, with more patience than the test has.
pub(crate) fn fetch(topic: &str, min_bytes: i32) -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let partitions = vec![partition];
    let topic = FetchTopic { topic: topic.into(), partitions, ..Default::default() };
    let max_wait_ms = i32::try_from(2 * PATIENCE.as_millis()).expect("less than a minute");
    FetchRequest { max_wait_ms, min_bytes, topics: vec![topic], ..Default::default() }
}

pub(crate) fn batch(records: usize, codec: Compression) -> Bytes {
    batch_of(compressed(codec), &vec![b"some value".as_slice(); records]).into()
}

pub(crate) fn outcome(response: &ProduceResponse) -> (i16, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

pub(crate) fn still_serves(broker: &Broker) {
    let versions: ApiVersionsResponse = Client::of(broker).ask(0, &ApiVersionsRequest::default());
    assert_eq!(versions.error_code, 0);
}

#[test]
fn what_is_no_request_ends_the_connection_and_nothing_else() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let strangers: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
        ("2 GB", vec![0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 3]),
        ("a negative length", vec![0xff, 0xff, 0xff, 0xff]),
        ("no header", vec![0, 0, 0, 2, 0, 18]),
        ("an empty frame", vec![0, 0, 0, 0]),
        ("an unknown API", vec![0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ("an unknown version", vec![0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        ("an array of 2^31 - 1 in an array in an array", {
            // CreateTopics version 4: one topic, one assignment, and its brokers.
            let mut frame = vec![0, 0, 0, 39, 0, 19, 0, 4, 0, 0, 0, 1, 0xff, 0xff];
            frame.extend([0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
            frame
        }),
        ("an array of 2^31 - 1", {
            let mut frame = vec![0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
            frame.extend([0x7f, 0xff, 0xff, 0xff]);
            frame
        }),
    ]);
    for (name, bytes) in strangers {
        let mut client = Client::of(&broker);
        client.send(&bytes);
        assert!(client.is_closed(), "{name}");
    }
    still_serves(&broker);
}

#[test]
fn noise_of_any_kind_does_no_harm() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for key in ApiKey::ALL {
        for _ in 0..40 {
            let version = noise() % 20;
            let length = noise() % 200 + 8;
            let mut frame = u32::try_from(length).expect("small").to_be_bytes().to_vec();
            frame.extend(key.number().to_be_bytes());
            frame.extend(u16::try_from(version).expect("small").to_be_bytes());
            frame.resize_with(length as usize + 4, || noise().to_be_bytes()[0]);
            let mut client = Client::of(&broker);
            client.send(&frame);
        }
    }
    still_serves(&broker);
}

/// A client of a newer Kafka asks first in its own version, and goes on from what it is told.
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    let mut newer = frame(4, &ApiVersionsRequest::default()).to_vec();
    newer[6..8].copy_from_slice(&99_u16.to_be_bytes());
    client.send(&newer);
    let told = client.answer::<ApiVersionsRequest>(0);
    assert_eq!(told.error_code, ErrorCode::UnsupportedVersion.number());
    let own = told.api_keys.iter().find(|key| key.api_key == ApiKey::ApiVersions.number());
    assert_eq!(own.map(|key| key.max_version), Some(4));
    let versions = client.ask(
        4,
        &ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1".into(),
        },
    );
    assert_eq!(versions.error_code, 0);
}

/// Fifty clients declare 60 MB each, send one byte of them, and wait.
#[test]
fn a_declared_size_takes_no_memory() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    still_serves(&broker);
    let before = anonymous_bytes(broker.id());
    let mut waiting: Vec<Client> = (0..50).map(|_| Client::of(&broker)).collect();
    for client in &mut waiting {
        client.send(&[0x03, 0x90, 0, 0, 0]);
    }
    still_serves(&broker);
    let grown = anonymous_bytes(broker.id()).saturating_sub(before);
    assert!(grown < 16 << 20, "50 clients that have sent 5 bytes take {grown} bytes");
}

#[test]
fn more_clients_than_allowed_are_closed_at_once() {
    let data = data_folder();
    let broker = Broker::start_with(data.path(), &["--set", "max.connections=2"]);
    let mut first = Client::of(&broker);
    first.ask(0, &ApiVersionsRequest::default());
    let mut second = Client::of(&broker);
    second.ask(0, &ApiVersionsRequest::default());
    assert!(Client::of(&broker).is_closed());
    first.ask(0, &ApiVersionsRequest::default());
}

/// Five batches are sent before the first answer is read: they are stored in their order, and
/// answered in it.
#[test]
fn requests_in_flight_are_answered_in_their_order() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    create(&mut client, "t");
    for _ in 0..5 {
        client.send(&frame(9, &produce("t", batch(3, Compression::None))));
    }
    let stored: Vec<_> = (0..5).map(|_| outcome(&client.answer::<ProduceRequest>(9))).collect();
    assert_eq!(stored, [(0, 0), (0, 3), (0, 6), (0, 9), (0, 12)]);
}

#[test]
fn a_batch_that_was_damaged_on_its_way_is_refused_and_not_stored() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    create(&mut client, "t");
    let mut damaged = batch(3, Compression::None).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let refused = outcome(&client.ask(9, &produce("t", damaged.into())));
    assert_eq!(refused, (ErrorCode::CorruptMessage.number(), -1));
    let two: Bytes = [batch(1, Compression::None), batch(1, Compression::None)].concat().into();
    let refused = outcome(&client.ask(9, &produce("t", two)));
    assert_eq!(refused, (ErrorCode::InvalidRecord.number(), -1));
    let refused = outcome(&client.ask(9, &produce("missing", batch(1, Compression::None))));
    assert_eq!(refused, (ErrorCode::UnknownTopicOrPartition.number(), -1));
    assert_eq!(outcome(&client.ask(9, &produce("t", batch(3, Compression::Zstd)))), (0, 0));
}

#[test]
fn a_topic_that_is_asked_for_often_is_described_once() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut client = Client::of(&broker);
    create(&mut client, "t");
    let named = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let topics = Some(vec![named; 100_000]);
    let response = client.ask(12, &MetadataRequest { topics, ..Default::default() });
    assert_eq!(response.topics.len(), 1);
}

#[test]
fn a_fetch_that_waits_for_much_is_answered_once_it_is_there() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut reader, mut writer) = (Client::of(&broker), Client::of(&broker));
    create(&mut writer, "t");
    let records: Bytes = batch_of(compressed(Compression::None), &[&[7_u8; 100_000][..]]).into();
    assert_eq!(outcome(&writer.ask(9, &produce("t", records.clone()))), (0, 0));
    let wanted = fetch("t", i32::try_from(3 * records.len()).expect("a batch is small"));
    reader.send(&frame(12, &wanted));
    for offset in 1..3 {
        assert_eq!(outcome(&writer.ask(9, &produce("t", records.clone()))), (0, offset));
    }
    let response = reader.answer::<FetchRequest>(12);
    let fetched = response.responses[0].partitions[0].records.as_ref().expect("records");
    assert_eq!(fetched.len(), 3 * records.len());
}
