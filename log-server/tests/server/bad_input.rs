//! Goal: whatever a stranger sends, the answer names the fault and what to do, nothing is
//! written, and the next request is served.

use bytes::{BufMut, Bytes, BytesMut};
use log_proto::record::{
    BatchBuilder, BatchOptions, Compression, EndTxnKind, EndTxnMarker, Transactional,
    end_txn_marker,
};
use log_proto::types::{CoordinatorEpoch, Producer, ProducerEpoch, Sequence, TimestampMs};
use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;
use tonic::{Code, Status};

use crate::house::{House, Served, batch, error_of, from, plain, record, to_partition};

/// What every refusal must be.
fn check(what: &str, status: &Status, code: Code, error_code: ErrorCode) {
    assert_eq!(status.code(), code, "{what}: {status}");
    let error = error_of(status);
    assert_eq!(error.code(), error_code, "{what}: {error:?}");
    assert!(error.nothing_happened, "{what}: {error:?}");
    assert!(!error.message.is_empty() && error.message == status.message(), "{what}");
}

fn changed(change: impl FnOnce(&mut BytesMut)) -> Payload {
    let mut bytes = BytesMut::from(&batch(&["a", "b"], None)[..]);
    change(&mut bytes);
    Payload::Batch(bytes.freeze())
}

fn compressed_zeros(count: usize) -> Payload {
    let options = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
    let mut bomb = BatchBuilder::new(options);
    bomb.push(TimestampMs::new(1), None, Some(&vec![0; count]), &[]).unwrap();
    Payload::Batch(bomb.build().unwrap())
}

fn transactional(producer: Producer) -> Payload {
    let mut batch = BatchBuilder::new(BatchOptions {
        producer: Some((producer, Sequence::ZERO)),
        transactional: Transactional::Yes,
        ..BatchOptions::default()
    });
    batch.push(TimestampMs::new(1), None, Some(b"x"), &[]).unwrap();
    Payload::Batch(batch.build().unwrap())
}

fn marker(producer: Producer) -> Payload {
    let coordinator_epoch = CoordinatorEpoch::new(0).unwrap();
    let marker = EndTxnMarker { kind: EndTxnKind::Commit, coordinator_epoch };
    Payload::Batch(end_txn_marker(producer, marker, TimestampMs::new(1)))
}

fn plain_with(change: impl FnOnce(&mut v1::PlainBatch)) -> Payload {
    let mut batch = v1::PlainBatch { records: vec![record(None, "a")], ..Default::default() };
    change(&mut batch);
    Payload::Plain(batch)
}

/// Requests for partition 0 of "t", which takes one of its two, and what they are refused with.
fn bad_payloads(producer: Producer) -> Vec<(&'static str, Payload, Code, ErrorCode)> {
    use Code::{FailedPrecondition, InvalidArgument};
    vec![
        ("no bytes", Payload::Batch(Bytes::new()), InvalidArgument, ErrorCode::CorruptMessage),
        ("cut short", changed(|b| b.truncate(70)), InvalidArgument, ErrorCode::CorruptMessage),
        ("a flipped bit", changed(|b| b[65] ^= 1), InvalidArgument, ErrorCode::CorruptMessage),
        ("stray bytes", changed(|b| b.put_u8(0)), InvalidArgument, ErrorCode::CorruptMessage),
        (
            "the old format",
            changed(|b| b[16] = 1),
            InvalidArgument,
            ErrorCode::UnsupportedForMessageFormat,
        ),
        ("two batches", changed(repeat), InvalidArgument, ErrorCode::InvalidRecord),
        (
            "a length of 2 GB",
            changed(|b| b[8..12].copy_from_slice(&i32::MAX.to_be_bytes())),
            InvalidArgument,
            ErrorCode::MessageTooLarge,
        ),
        ("a bomb", compressed_zeros(100 << 20), InvalidArgument, ErrorCode::MessageTooLarge),
        ("no records", plain(&[]), InvalidArgument, ErrorCode::InvalidRequest),
        (
            "an unknown codec",
            plain_with(|b| b.compression = 9),
            InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
        (
            "a negative producer",
            plain_with(|b| b.producer_id = Some(-5)),
            InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
        (
            "a time in the far future",
            plain_with(|b| b.records[0].timestamp_ms = Some(i64::MAX)),
            InvalidArgument,
            ErrorCode::InvalidTimestamp,
        ),
        (
            "a negative time",
            plain_with(|b| b.records[0].timestamp_ms = Some(-2)),
            InvalidArgument,
            ErrorCode::InvalidTimestamp,
        ),
        (
            "too large a record",
            plain_with(|b| b.records[0].value = Some(vec![7; 2 << 20].into())),
            InvalidArgument,
            ErrorCode::MessageTooLarge,
        ),
        (
            "an unverified transaction",
            transactional(producer),
            FailedPrecondition,
            ErrorCode::InvalidTxnState,
        ),
        ("a control batch", marker(producer), InvalidArgument, ErrorCode::InvalidRecord),
        (
            "a missing sequence",
            Payload::Batch(batch(&["late"], Some((producer, 7)))),
            FailedPrecondition,
            ErrorCode::OutOfOrderSequenceNumber,
        ),
    ]
}

fn repeat(bytes: &mut BytesMut) {
    let copy = bytes.clone();
    bytes.extend_from_slice(&copy);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_payloads_are_refused_and_leave_no_trace() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let producer = served.init_producer().await;
    let first = Payload::Batch(batch(&["first"], Some((producer, 0))));
    served.produce(to_partition("t", 0, first)).await.unwrap();
    let mut stream = served.stream().await;
    for (what, payload, code, error_code) in bad_payloads(producer) {
        let request = to_partition("t", 0, payload);
        let status = served.produce(request.clone()).await.expect_err(what);
        check(what, &status, code, error_code);
        stream.send(1, request);
        match stream.answer().await.1 {
            v1::produce_response::Result::Error(error) => {
                assert_eq!((error.code(), error.nothing_happened), (error_code, true), "{what}");
            }
            v1::produce_response::Result::Appended(_) => panic!("{what}"),
        }
        assert_eq!(served.log_end("t", 0).await, 1, "{what}");
    }
    let old = Producer { epoch: ProducerEpoch::new(1).unwrap(), ..producer };
    let newer = Payload::Batch(batch(&["newer"], Some((old, 0))));
    served.produce(to_partition("t", 0, newer)).await.unwrap();
    let fenced = Payload::Batch(batch(&["fenced"], Some((producer, 1))));
    let status = served.produce(to_partition("t", 0, fenced)).await.unwrap_err();
    check("an old epoch", &status, Code::FailedPrecondition, ErrorCode::InvalidProducerEpoch);
    assert_eq!(served.values("t").await, ["first", "newer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_lead_nowhere_are_refused() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.create_with("compacted", 1, &[("cleanup.policy", "compact")]).await.unwrap();
    let good = to_partition("t", 0, plain(&["a"]));
    let cases = [
        (v1::ProduceRequest { topic: "ghost".into(), ..good.clone() }, Code::NotFound),
        (v1::ProduceRequest { topic: "../x".into(), ..good.clone() }, Code::NotFound),
        (v1::ProduceRequest { topic: String::new(), ..good.clone() }, Code::NotFound),
        (v1::ProduceRequest { partition: Some(2), ..good.clone() }, Code::NotFound),
        (v1::ProduceRequest { partition: Some(-1), ..good.clone() }, Code::NotFound),
        (
            v1::ProduceRequest { topic: "__consumer_offsets".into(), ..good.clone() },
            Code::InvalidArgument,
        ),
        (v1::ProduceRequest { payload: None, ..good.clone() }, Code::InvalidArgument),
        (v1::ProduceRequest { acks: 9, ..good.clone() }, Code::InvalidArgument),
        (v1::ProduceRequest { acks: v1::Acks::None.into(), ..good.clone() }, Code::InvalidArgument),
        (
            v1::ProduceRequest {
                partition: None,
                payload: Some(Payload::Batch(batch(&["a"], None))),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (to_partition("compacted", 0, plain(&["keyless"])), Code::InvalidArgument),
    ];
    for (request, code) in cases {
        let status = served.produce(request.clone()).await.unwrap_err();
        check(&format!("{request:?}"), &status, code, error_of(&status).code());
    }
    for (topic, partition) in [("t", 0), ("t", 1), ("compacted", 0)] {
        assert_eq!(served.log_end(topic, partition).await, 0);
    }
    served.produce(good).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_topics_are_refused() {
    let house = House::new();
    let mut served = house.start().await;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "../x", "a/b", "a b", "ä", &long, "__consumer_offsets"] {
        let status = served.create_with(name, 1, &[]).await.unwrap_err();
        check(name, &status, Code::InvalidArgument, ErrorCode::InvalidTopic);
    }
    let status = served.create_with("t", u32::MAX, &[]).await.unwrap_err();
    check("partitions", &status, Code::InvalidArgument, ErrorCode::InvalidPartitions);
    for config in [("nonsense", "1"), ("retention.ms", "-2"), ("segment.bytes", "one")] {
        let status = served.create_with("t", 1, &[config]).await.unwrap_err();
        check(config.0, &status, Code::InvalidArgument, ErrorCode::InvalidConfig);
    }
    let status = served.delete("__cluster_metadata").await.unwrap_err();
    check("internal", &status, Code::InvalidArgument, ErrorCode::InvalidTopic);
    served.create("t", 1).await;
}

async fn consume_error(served: &mut Served, start: v1::Start) -> Status {
    served.consume_with(start).await.err().expect("refused before anything is sent")
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_starts_are_refused_as_a_whole() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    served.append("t", 0, &["a", "b"]).await;
    let one = |start| v1::Start { partitions: vec![start], ..v1::Start::default() };
    let good = from("t", 0, Position::Offset(0));
    let cases = [
        (v1::Start::default(), Code::InvalidArgument, ErrorCode::InvalidRequest),
        (one(from("t", 0, Position::Offset(-1))), Code::OutOfRange, ErrorCode::OffsetOutOfRange),
        (one(from("t", 0, Position::Offset(3))), Code::OutOfRange, ErrorCode::OffsetOutOfRange),
        (
            one(from("t", 0, Position::Offset(i64::MAX))),
            Code::OutOfRange,
            ErrorCode::OffsetOutOfRange,
        ),
        (
            one(from("ghost", 0, Position::Offset(0))),
            Code::NotFound,
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            one(from("t", -1, Position::Offset(0))),
            Code::NotFound,
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            one(v1::PartitionStart { position: None, ..good.clone() }),
            Code::InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
        (
            one(from("t", 0, Position::Group(String::new()))),
            Code::InvalidArgument,
            ErrorCode::InvalidGroupId,
        ),
        (one(from("t", 0, Position::Edge(7))), Code::InvalidArgument, ErrorCode::InvalidRequest),
        (
            v1::Start { partitions: vec![good.clone(), good.clone()], ..v1::Start::default() },
            Code::InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
        (
            v1::Start { isolation: 9, ..one(good.clone()) },
            Code::InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
        (
            v1::Start { delivery: 9, ..one(good.clone()) },
            Code::InvalidArgument,
            ErrorCode::InvalidRequest,
        ),
    ];
    for (start, code, error_code) in cases {
        let status = consume_error(&mut served, start.clone()).await;
        check(&format!("{start:?}"), &status, code, error_code);
    }
    let status = consume_error(&mut served, one(from("t", 0, Position::Offset(9)))).await;
    assert!(status.message().contains("0 to 2"), "it says where the log is: {status}");

    let credit = v1::ConsumeRequest { request: Some(Asked::Credit(v1::Credit { bytes: 1 })) };
    let status = served.consumer.consume(tokio_stream::iter([credit])).await.unwrap_err();
    check("credit first", &status, Code::InvalidArgument, ErrorCode::InvalidRequest);
    let status = served.consumer.consume(tokio_stream::empty()).await.unwrap_err();
    check("nothing", &status, Code::InvalidArgument, ErrorCode::InvalidRequest);
    assert_eq!(served.values("t").await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_commits_change_nothing() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let offset = v1::GroupOffset { topic: "t".into(), offset: 1, ..v1::GroupOffset::default() };
    let cases = [
        ("", vec![offset.clone()], ErrorCode::InvalidGroupId),
        ("a\nb", vec![offset.clone()], ErrorCode::InvalidGroupId),
        (
            "g",
            vec![offset.clone(), v1::GroupOffset { offset: -1, ..offset.clone() }],
            ErrorCode::InvalidRequest,
        ),
        (
            "g",
            vec![offset.clone(), v1::GroupOffset { topic: "ghost".into(), ..offset.clone() }],
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            "g",
            vec![v1::GroupOffset { metadata: "m".repeat(4097), ..offset.clone() }],
            ErrorCode::InvalidRequest,
        ),
        ("g", vec![offset.clone(); 10_001], ErrorCode::InvalidRequest),
    ];
    for (group, offsets, error_code) in cases {
        let request = v1::CommitOffsetsRequest { group: group.to_owned(), offsets };
        let status = served.consumer.commit_offsets(request).await.unwrap_err();
        check(group, &status, status.code(), error_code);
    }
    assert!(served.committed("g").await.is_empty());
    served.commit("g", "t", 1).await.unwrap();
    assert_eq!(served.committed("g").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_declares_a_gigabyte_is_refused_by_its_length() {
    let house = House::new();
    let served = house.start().await;
    let address = served.server().grpc_address();
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(connection).await.unwrap();
    tokio::spawn(connection);
    for path in ["Producer/Produce", "Producer/ProduceStream", "Consumer/Consume"] {
        let request = http::Request::post(format!("http://{address}/cairn.v1.{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        let mut message = BytesMut::new();
        message.put_u8(0);
        message.put_u32(1 << 30);
        message.put_bytes(0, 1000);
        body.send_data(message.freeze(), false).unwrap();
        let response = response.await.unwrap();
        let status = match response.headers().get("grpc-status") {
            Some(status) => status.clone(),
            None => {
                let mut body = response.into_body();
                while let Some(data) = body.data().await {
                    data.unwrap();
                }
                body.trailers().await.unwrap().unwrap()["grpc-status"].clone()
            }
        };
        let code = Code::from_bytes(status.as_bytes());
        // A call of one message is told so with our own code, a stream with the transport's.
        let refused = [Code::InvalidArgument, Code::OutOfRange, Code::ResourceExhausted];
        assert!(refused.contains(&code), "{path}: {code:?}");
    }
}
