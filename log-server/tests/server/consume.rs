//! Goal: readers get every record once, in order, as fast as their credit allows, and learn when
//! they have them all.

use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_response::Event;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;

use crate::house::{House, Reading, from, record, text, to_partition};

fn values(records: v1::Records) -> Vec<String> {
    records.records.into_iter().map(|record| text(record.value)).collect()
}

async fn next_values(reading: &mut Reading) -> Vec<String> {
    match reading.event().await {
        Event::Records(records) => values(records),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_takes_from_the_credit_and_none_is_sent_without() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    for value in ["a", "b", "c"] {
        served.append("t", 0, &[&value.repeat(2000)]).await;
    }
    let start = v1::Start {
        partitions: vec![from("t", 0, Position::Offset(0))],
        credit_bytes: 1,
        response_bytes_max: 1024,
        ..v1::Start::default()
    };
    let mut reading = served.consume_with(start).await.unwrap();
    assert!(matches!(reading.event().await, Event::Started(_)));
    let first = reading.next().await;
    assert!(first.payload_bytes >= 2000);
    assert_eq!(first.next_offset, 1);
    // Overdrawn: giving back all but one byte less than was taken keeps it at zero.
    reading.give(first.payload_bytes - 1);
    reading.give(1);
    assert_eq!(reading.next().await.next_offset, 2);
    // Whoever can give no more is done when what was given is used up.
    drop(reading.requests);
    assert!(reading.responses.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_told_once_each_time_it_has_caught_up() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let start = from("t", 0, Position::Edge(v1::Edge::Earliest.into()));
    let mut reading = served.consume(vec![start], 1 << 20).await.unwrap();
    assert!(matches!(reading.event().await, Event::Started(v1::Started { offset: 0 })));
    assert!(matches!(reading.event().await, Event::CaughtUp(_)));
    for round in 0..20 {
        served.append("t", 0, &[&round.to_string()]).await;
        assert_eq!(next_values(&mut reading).await, [round.to_string()]);
        let told = reading.next().await;
        assert!(matches!(told.event, Some(Event::CaughtUp(_))));
        assert_eq!((told.next_offset, told.high_watermark), (round + 1, round + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_where_it_is_asked_to() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    for (stamp, value) in [(100, "a"), (200, "b"), (300, "c")] {
        let records = vec![v1::Record { timestamp_ms: Some(stamp), ..record(None, value) }];
        let payload = Payload::Plain(v1::PlainBatch { records, ..v1::PlainBatch::default() });
        served.produce(to_partition("t", 0, payload)).await.unwrap();
    }
    served.commit("g", "t", 1).await.unwrap();
    let group = |name: &str| Position::Group(name.to_owned());
    for (position, expected) in [
        (Position::Offset(2), 2),
        (Position::Offset(3), 3),
        (Position::TimestampMs(150), 1),
        (Position::TimestampMs(301), 3),
        (Position::TimestampMs(i64::MIN), 0),
        (Position::Edge(v1::Edge::Earliest.into()), 0),
        (Position::Edge(v1::Edge::Latest.into()), 3),
        (group("g"), 1),
        (group("never committed"), 0),
    ] {
        let start = from("t", 0, position.clone());
        let mut reading = served.consume(vec![start], 1).await.unwrap();
        match reading.event().await {
            Event::Started(started) => assert_eq!(started.offset, expected, "{position:?}"),
            other => panic!("{other:?}"),
        }
    }
    let latest = v1::PartitionStart {
        edge_without_commit: v1::Edge::Latest.into(),
        ..from("t", 0, group("never committed"))
    };
    let mut reading = served.consume(vec![latest], 1).await.unwrap();
    assert!(matches!(reading.event().await, Event::Started(v1::Started { offset: 3 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_take_turns() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    let large = "x".repeat(3000);
    for partition in [0, 1] {
        for _ in 0..10 {
            served.append("t", partition, &[&large]).await;
        }
    }
    let start = v1::Start {
        partitions: (0..2).map(|number| from("t", number, Position::Offset(0))).collect(),
        credit_bytes: 1 << 20,
        response_bytes_max: 1024,
        ..v1::Start::default()
    };
    let mut reading = served.consume_with(start).await.unwrap();
    let mut order = Vec::new();
    while order.len() < 20 {
        let response = reading.next().await;
        if matches!(response.event, Some(Event::Records(_))) {
            order.push(response.partition);
        }
    }
    let first: i32 = order[..10].iter().sum();
    assert!((4..=6).contains(&first), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_ends_its_partitions_and_no_others() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("gone", 1).await;
    served.create("stays", 1).await;
    let starts = ["gone", "stays"].map(|topic| from(topic, 0, Position::Offset(0)));
    let mut reading = served.consume(starts.to_vec(), 1 << 20).await.unwrap();
    for _ in 0..4 {
        reading.next().await;
    }
    served.delete("gone").await.unwrap();
    let ended = reading.next().await;
    assert_eq!(ended.topic, "gone");
    match ended.event.unwrap() {
        Event::Error(error) => assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition),
        other => panic!("{other:?}"),
    }
    served.append("stays", 0, &["on"]).await;
    assert_eq!(next_values(&mut reading).await, ["on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn much_is_read_back_whole() {
    let house = House::new();
    let mut served = house.start().await;
    served.create_with("t", 1, &[("segment.bytes", "1048576")]).await.unwrap();
    let value = "y".repeat(1000);
    let values = vec![&value[..]; 500];
    for _ in 0..20 {
        served.append("t", 0, &values).await;
    }
    let records = served.read_all("t", 0).await;
    assert_eq!(records.len(), 10_000);
    assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
    assert!(served.describe("t").await.partitions[0].segments > 5);
}
