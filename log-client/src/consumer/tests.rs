//! The consumer against a broker whose streams break: nothing lost, nothing twice, credit kept.

use log_proto::types::Offset;

use super::*;
use crate::{fake::FakeBroker, record::ProducerRecord};

const RECORDS: usize = 200;

/// A broker with `RECORDS` records in each of two partitions, seven in a batch.
async fn filled() -> FakeBroker {
    let broker = FakeBroker::start(2).await;
    let producer = broker.client().producer().batch_records(7).build().unwrap();
    for number in 0..RECORDS {
        for partition in 0..2 {
            let value = format!("{partition}:{number}");
            let record = ProducerRecord::new("t").partition(partition).value(value);
            drop(producer.send(record).await.unwrap());
        }
    }
    producer.close().await.unwrap();
    broker
}

fn numbered(record: &ConsumerRecord) -> String {
    assert_eq!(record.topic.as_ref(), "t");
    format!("{}:{}", record.partition, record.offset)
}

fn value(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

/// Streams break in the middle of everything, and with 100 bytes of credit every response waits
/// for the one before to be consumed.
#[tokio::test]
async fn broken_streams_lose_and_repeat_nothing() {
    let broker = filled().await;
    broker.state.lock().consume_breaks = [0, 1, 2, 5, 40, 3].into();
    let mut consumer =
        broker.client().consumer().topic("t", StartAt::Earliest).credit_bytes(100).build().unwrap();
    let mut next = [0, 0];
    for _ in 0..2 * RECORDS {
        let record = consumer.next().await.unwrap().unwrap();
        assert_eq!(numbered(&record), value(&record), "a record at another's offset");
        let expected = &mut next[record.partition as usize];
        assert_eq!(record.offset.get(), *expected);
        *expected += 1;
    }
    assert_eq!(next, [RECORDS as i64; 2]);
    assert!(broker.state.lock().consume_breaks.is_empty(), "not every break happened");
    assert!(broker.state.lock().credit_given > 0);
}

#[tokio::test]
async fn reading_starts_inside_a_batch() {
    let broker = filled().await;
    let start = StartAt::Offset(Offset::new(10).unwrap());
    let mut consumer = broker.client().consumer().partition("t", 1, start).build().unwrap();
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!(numbered(&record), "1:10");
    assert_eq!(consumer.positions(), [GroupOffset::new("t", 1, Offset::new(11).unwrap())]);
}

#[tokio::test]
async fn the_end_of_a_partition_is_told() {
    let broker = filled().await;
    let mut consumer =
        broker.client().consumer().partition("t", 0, StartAt::Earliest).build().unwrap();
    let mut seen = 0;
    loop {
        match consumer.next_event().await.unwrap().unwrap() {
            Event::Records(batch) => seen += batch.into_iter().map(Result::unwrap).count(),
            Event::CaughtUp { offset, .. } => {
                assert_eq!(offset.get(), RECORDS as i64);
                break;
            }
        }
    }
    assert_eq!(seen, RECORDS);
}

#[tokio::test]
async fn a_group_commits_where_the_application_is() {
    let broker = filled().await;
    let mut consumer =
        broker.client().consumer().partition("t", 0, StartAt::Earliest).build().unwrap();
    for _ in 0..3 {
        consumer.next().await.unwrap().unwrap();
    }
    consumer.commit("g").await.unwrap();
    let committed = broker.client().committed_offsets("g", &[]).await.unwrap();
    assert_eq!(committed, [GroupOffset::new("t", 0, Offset::new(3).unwrap())]);
}

#[tokio::test]
async fn a_broker_that_stays_away_ends_the_stream_in_time() {
    let broker = filled().await;
    let mut consumer = broker
        .client()
        .consumer()
        .partition("t", 0, StartAt::Earliest)
        .reconnect_timeout(std::time::Duration::from_millis(100))
        .build()
        .unwrap();
    broker.stop().await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert!(consumer.next().await.is_none());
}
