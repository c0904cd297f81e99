//! Goal: what was acknowledged is stored once, whole, in the order of its sender.

use bytes::Bytes;
use log_proto::record::{BatchBuilder, BatchOptions, Compression};
use log_proto::types::TimestampMs;
use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_response::Event;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;
use log_proto::v1::produce_response::Result as Answer;

use crate::house::{House, batch, error_of, from, plain, record, text, to_partition};

#[tokio::test(flavor = "multi_thread")]
async fn plain_records_come_back_as_they_went() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let header = |value: Option<&'static str>| v1::Header {
        key: "h".into(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    let sent = vec![
        v1::Record {
            timestamp_ms: Some(1_700_000_000_000),
            headers: vec![header(Some("1")), header(None), header(Some(""))],
            ..record(Some(""), "value")
        },
        v1::Record { value: None, timestamp_ms: Some(5), ..record(Some("tombstone"), "") },
        v1::Record { timestamp_ms: Some(6), ..record(None, "\r\n\0") },
    ];
    let records = sent.clone();
    let payload = Payload::Plain(v1::PlainBatch { records, ..v1::PlainBatch::default() });
    let appended = served.produce(to_partition("t", 0, payload)).await.unwrap();
    assert_eq!((appended.base_offset, appended.last_offset, appended.duplicate), (0, 2, false));
    assert_eq!(appended.durability(), v1::Durability::Synced);
    let expected = sent
        .into_iter()
        .zip(0..)
        .map(|(record, offset)| v1::Record { offset, ..record })
        .collect::<Vec<_>>();
    assert_eq!(served.read_all("t", 0).await, expected);
    assert_eq!(served.read_all("t", 2).await, expected[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_every_codec_are_stored_byte_for_byte() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let mut sent = Vec::new();
    for compression in Compression::ALL {
        let mut batch = BatchBuilder::new(BatchOptions { compression, ..Default::default() });
        for number in 0..1000 {
            let value = format!("{compression} {number}");
            batch.push(TimestampMs::new(number), Some(b"k"), Some(value.as_bytes()), &[]).unwrap();
        }
        let batch = batch.build().unwrap();
        let request = to_partition("t", 0, Payload::Batch(batch.clone()));
        served.produce(request).await.unwrap();
        sent.push(batch);
    }
    let start = v1::Start {
        partitions: vec![from("t", 0, Position::Offset(0))],
        delivery: v1::Delivery::Batches.into(),
        credit_bytes: 1 << 30,
        ..v1::Start::default()
    };
    let mut reading = served.consume_with(start).await.unwrap();
    let mut stored = Vec::new();
    while stored.len() < sent.iter().map(Bytes::len).sum() {
        if let Event::Batches(batches) = reading.event().await {
            stored.extend_from_slice(&batches);
        }
    }
    // The first 16 bytes are base offset, length and leader epoch: the log's to set.
    let mut rest = &stored[..];
    for batch in &sent {
        assert_eq!(rest[16..batch.len()], batch[16..]);
        rest = &rest[batch.len()..];
    }
    let records = served.read_all("t", 0).await;
    assert_eq!(records.len(), 5000);
    assert_eq!(text(records[4999].value.clone()), "zstd 999");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_stored_once() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let producer = served.init_producer().await;
    let request = to_partition("t", 0, Payload::Batch(batch(&["a", "b"], Some((producer, 0)))));
    let first = served.produce(request.clone()).await.unwrap();
    let again = served.produce(request).await.unwrap();
    assert_eq!((again.base_offset, again.last_offset), (first.base_offset, first.last_offset));
    assert!(again.duplicate && !first.duplicate);
    assert_eq!(served.values("t").await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_append_does_not_end_the_stream() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let producer = served.init_producer().await;
    let mut stream = served.stream().await;
    let send = |id, at, value: &str| {
        let payload = Payload::Batch(batch(&[value], Some((producer, at))));
        stream.send(id, to_partition("t", 0, payload));
    };
    send(1, 0, "first");
    send(2, 5, "after a gap");
    send(3, 1, "second");
    let mut appended = Vec::new();
    for _ in 0..3 {
        match stream.answer().await {
            (id, Answer::Appended(_)) => appended.push(id),
            (id, Answer::Error(error)) => {
                assert_eq!((id, error.code()), (2, ErrorCode::OutOfOrderSequenceNumber));
                assert!(error.nothing_happened && !error.retriable);
            }
        }
    }
    appended.sort_unstable();
    assert_eq!(appended, [1, 3]);
    assert_eq!(served.values("t").await, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_stream_keeps_its_order() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let producer = served.init_producer().await;
    let mut stream = served.stream().await;
    for number in 0..500 {
        let payload = Payload::Batch(batch(&[&number.to_string()], Some((producer, number))));
        stream.send(number as u64, to_partition("t", 0, payload));
    }
    for _ in 0..500 {
        let (id, appended) = stream.appended().await;
        assert_eq!(appended.base_offset, id as i64);
    }
    let expected: Vec<_> = (0..500).map(|number: i32| number.to_string()).collect();
    assert_eq!(served.values("t").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_none_is_stored_and_never_answered() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let mut stream = served.stream().await;
    let request = |acks: v1::Acks, value: &str| v1::ProduceRequest {
        acks: acks.into(),
        ..to_partition("t", 0, plain(&[value]))
    };
    stream.send(1, request(v1::Acks::None, "a"));
    stream.send(2, v1::ProduceRequest { topic: "ghost".into(), ..request(v1::Acks::None, "x") });
    stream.send(3, request(v1::Acks::All, "b"));
    let (id, appended) = stream.appended().await;
    assert_eq!((id, appended.base_offset), (3, 1));
    drop(stream.requests);
    assert!(stream.answers.message().await.unwrap().is_none());
    assert_eq!(served.read_all("t", 0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_choose_the_partition_and_keyless_requests_are_spread() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 8).await;
    let produce = |records: Vec<v1::Record>| v1::ProduceRequest {
        partition: None,
        ..to_partition("t", 0, Payload::Plain(v1::PlainBatch { records, ..Default::default() }))
    };
    for key in ["foobar", "abc", "21"] {
        let partitions = std::num::NonZeroU32::new(8).unwrap();
        let expected = log_proto::partitioner::partition_for_key(key.as_bytes(), partitions);
        let appended = served.produce(produce(vec![record(Some(key), "v")])).await.unwrap();
        assert_eq!(appended.partition, expected as i32);
    }
    let mixed = ["a", "b", "c", "d"].map(|key| record(Some(key), "v")).to_vec();
    let refused = served.produce(produce(mixed)).await.unwrap_err();
    assert_eq!(error_of(&refused).code(), ErrorCode::InvalidRequest);
    let mut used = std::collections::HashSet::new();
    for _ in 0..8 {
        used.insert(served.produce(produce(vec![record(None, "v")])).await.unwrap().partition);
    }
    assert_eq!(used.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_syncs_rarely_says_so() {
    let house = House::new();
    let mut served = house.start().await;
    served.create_with("lazy", 1, &[("flush.messages", "1000000")]).await.unwrap();
    let appended = served.produce(to_partition("lazy", 0, plain(&["a"]))).await.unwrap();
    assert_eq!(appended.durability(), v1::Durability::Appended);
    assert_eq!(served.values("lazy").await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_append_time_is_the_brokers() {
    let house = House::new();
    let mut served = house.start().await;
    let config = [("message.timestamp.type", "LogAppendTime")];
    served.create_with("t", 1, &config).await.unwrap();
    let records = vec![v1::Record { timestamp_ms: Some(5), ..record(None, "a") }];
    let payload = Payload::Plain(v1::PlainBatch { records, ..Default::default() });
    let appended = served.produce(to_partition("t", 0, payload)).await.unwrap();
    assert!(appended.log_append_time_ms.unwrap() > 1_600_000_000_000);
    assert_eq!(served.read_all("t", 0).await[0].timestamp_ms, appended.log_append_time_ms);
}
