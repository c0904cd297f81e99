//! The producer against a broker that fails on purpose: order, exactly once, bounds.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use log_proto::v1::ErrorCode;

use super::*;
use crate::{
    fake::{FakeBroker, Fault, refusal},
    record::ProducerRecord,
};

/// Long enough that only a flush or a full batch can be what sends a record.
const NEVER: Duration = Duration::from_secs(3600);

fn record(partition: u32, value: impl ToString) -> ProducerRecord {
    ProducerRecord::new("t").partition(partition).value(value.to_string())
}

/// A repeatable source of faults.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Each record is stored once, in order, at the offset that its delivery says, whatever breaks.
#[tokio::test(flavor = "multi_thread")]
async fn faults_neither_lose_nor_repeat_nor_reorder() {
    const RECORDS: usize = 3_000;
    for compression in log_proto::record::Compression::ALL {
        let broker = FakeBroker::start(3).await;
        let mut dice = Dice(u64::from(compression.code()));
        broker.faults(move |_| match dice.roll(20) {
            0 => Fault::LoseRequest,
            1 => Fault::LoseAnswer,
            2 => Fault::Refuse(refusal(ErrorCode::DiskFull)),
            _ => Fault::Serve,
        });
        let producer = broker
            .client()
            .producer()
            .batch_records(20)
            .compression(compression)
            .linger(Duration::ZERO)
            .build()
            .unwrap();
        let mut deliveries = Vec::new();
        for number in 0..RECORDS {
            let partition = (number % 3) as u32;
            deliveries.push(producer.send(record(partition, number)).await.unwrap());
        }
        producer.close().await.unwrap();
        for partition in 0..3 {
            let expected = (0..RECORDS).skip(partition).step_by(3).map(|number| number.to_string());
            assert_eq!(broker.values(partition as i32), expected.collect::<Vec<_>>());
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let stored = delivery.await.unwrap();
            assert_eq!(stored.offset.unwrap().get(), (number / 3) as i64);
        }
        let stats = producer.stats();
        assert_eq!((stats.acknowledged, stats.failed), (RECORDS as u64, 0));
        assert!(broker.state.lock().streams > 1, "no connection was ever lost");
    }
}

#[tokio::test]
async fn a_broker_that_comes_later_gets_everything() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().build().unwrap();
    producer.send(record(0, "first")).await.unwrap().await.unwrap();
    let address = broker.stop().await;
    let delivery = producer.send(record(0, "second")).await.unwrap();
    let broker = FakeBroker::start_at(address, 1).await;
    delivery.await.unwrap();
    assert_eq!(broker.values(0), ["second"]);
}

#[tokio::test]
async fn records_wait_for_each_other_until_a_flush() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().linger(NEVER).build().unwrap();
    for value in ["a", "b", "c"] {
        drop(producer.send(record(0, value)).await.unwrap());
    }
    producer.flush().await.unwrap();
    assert_eq!(broker.batch_sizes(0), [3]);
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().linger(NEVER).batch_records(2).build().unwrap();
    let first = producer.send(record(0, "a")).await.unwrap();
    drop(producer.send(record(0, "b")).await.unwrap());
    first.await.unwrap();
    assert_eq!(broker.batch_sizes(0), [2]);
}

/// Memory stays bounded while the broker does not answer, and what waits goes on when it does.
#[tokio::test]
async fn a_full_buffer_holds_the_sender_up() {
    let broker = FakeBroker::start(1).await;
    let producer = broker
        .client()
        .producer()
        .batch_bytes(1_000)
        .buffer_bytes(10_000)
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    broker.hold_answers(true);
    let size = record(0, "x".repeat(1_000)).size().encoded;
    for _ in 0..10_000 / size {
        drop(producer.send(record(0, "x".repeat(1_000))).await.unwrap());
    }
    let mut waiting = pin!(producer.send(record(0, "x".repeat(1_000))));
    assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await.is_pending());
    broker.hold_answers(false);
    waiting.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_record_larger_than_the_buffer_is_refused() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().batch_bytes(10).buffer_bytes(100).build().unwrap();
    let error = producer.send(record(0, "x".repeat(100))).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { max: 100, .. }), "{error}");
}

/// A batch that is refused for good leaves a gap in the sequences. What was behind it in flight
/// must be stored all the same, once and in order.
#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let broker = FakeBroker::start(1).await;
    broker.faults(|request| {
        let Some(log_proto::v1::produce_request::Payload::Batch(batch)) = &request.payload else {
            return Fault::Serve;
        };
        let refused = crate::fake::values(batch).contains(&"7".to_owned());
        if refused { Fault::Refuse(refusal(ErrorCode::MessageTooLarge)) } else { Fault::Serve }
    });
    let producer = broker.client().producer().batch_records(1).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..20 {
        deliveries.push(producer.send(record(0, number)).await.unwrap());
    }
    let told = producer.flush().await.unwrap_err();
    assert_eq!(told.failed, 1);
    producer.flush().await.unwrap();
    let expected: Vec<_> =
        (0..20).filter(|number| *number != 7).map(|number| number.to_string()).collect();
    assert_eq!(broker.values(0), expected);
    for (number, delivery) in deliveries.into_iter().enumerate() {
        match delivery.await {
            Ok(_) => assert_ne!(number, 7),
            Err(error) => {
                assert_eq!(number, 7, "{error}");
                assert!(error.nothing_happened() && !error.is_retriable());
            }
        }
    }
    assert_eq!(broker.state.lock().next_producer, 1, "a gap needs no new producer id");
}

/// A broker that lost its place refuses what was never sent before: under a new producer id it
/// is stored.
#[tokio::test]
async fn a_lost_place_is_taken_up_under_a_new_producer_id() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().build().unwrap();
    producer.send(record(0, "a")).await.unwrap().await.unwrap();
    broker.forget_producers_but_keep_expecting(500);
    for value in ["b", "c"] {
        producer.send(record(0, value)).await.unwrap().await.unwrap();
    }
    assert_eq!(broker.values(0), ["a", "b", "c"]);
    assert_eq!(broker.state.lock().next_producer, 2);
}

/// Behind a batch that is refused the sequences do not join on. What is told is why it was refused.
#[tokio::test]
async fn what_holds_everything_up_is_told_and_not_what_follows_from_it() {
    let broker = FakeBroker::start(1).await;
    let timeout = Duration::from_millis(300);
    let producer =
        broker.client().producer().batch_records(1).delivery_timeout(timeout).build().unwrap();
    producer.send(record(0, "a")).await.unwrap().await.unwrap();
    let refuse = |request: &log_proto::v1::ProduceRequest| match &request.payload {
        Some(log_proto::v1::produce_request::Payload::Batch(batch))
            if crate::fake::values(batch).contains(&"b".to_owned()) =>
        {
            Fault::Refuse(refusal(ErrorCode::DiskFull))
        }
        _ => Fault::Serve,
    };
    broker.faults(refuse);
    let first = producer.send(record(0, "b")).await.unwrap();
    for value in ["c", "d"] {
        drop(producer.send(record(0, value)).await.unwrap());
    }
    let error = first.await.unwrap_err().to_string();
    let cause = crate::BrokerError::from(refusal(ErrorCode::DiskFull)).to_string();
    assert!(error.contains(&cause), "{error}");
}

#[tokio::test]
async fn who_waits_for_failures_is_told_of_each_once() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().batch_records(1).build().unwrap();
    producer.send(record(0, "a")).await.unwrap().await.unwrap();
    broker.faults(|_| Fault::Refuse(refusal(ErrorCode::MessageTooLarge)));
    for value in ["b", "c"] {
        drop(producer.send(record(0, value)).await.unwrap());
        let told = producer.failure().await;
        assert_eq!(told.failed, 1);
        assert!(matches!(told.first, DeliveryError::Refused { .. }), "{told}");
    }
    let mut waiting = pin!(producer.failure());
    assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await.is_pending());
    producer.close().await.unwrap();
}

/// What was sent and never answered is in doubt, and the error says so.
#[tokio::test]
async fn an_unanswered_record_may_be_written() {
    let broker = FakeBroker::start(1).await;
    let producer =
        broker.client().producer().delivery_timeout(Duration::from_millis(300)).build().unwrap();
    producer.send(record(0, "a")).await.unwrap().await.unwrap();
    broker.hold_answers(true);
    let error = producer.send(record(0, "b")).await.unwrap().await.unwrap_err();
    assert!(!error.nothing_happened() && error.is_retriable(), "{error}");
    broker.hold_answers(false);
    producer.send(record(0, "c")).await.unwrap().await.unwrap();
    assert_eq!(broker.values(0), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_record_that_was_never_sent_is_not_written() {
    let broker = FakeBroker::start(1).await;
    let producer =
        broker.client().producer().delivery_timeout(Duration::from_millis(300)).build().unwrap();
    producer.send(record(0, "a")).await.unwrap().await.unwrap();
    broker.stop().await;
    // The first may still meet the dying connection; the second finds none.
    let _ = producer.send(record(0, "b")).await.unwrap().await;
    let error = producer.send(record(0, "c")).await.unwrap().await.unwrap_err();
    assert!(error.nothing_happened(), "{error}");
    assert!(error.to_string().contains("no broker answers"), "{error}");
}

/// A batch that the transport itself refuses ends the whole stream. Only that batch fails.
#[tokio::test]
async fn a_batch_that_breaks_every_stream_fails_alone() {
    let broker = FakeBroker::start(2).await;
    broker.faults(|request| {
        let Some(log_proto::v1::produce_request::Payload::Batch(batch)) = &request.payload else {
            return Fault::Serve;
        };
        let huge = batch.len() > 5_000;
        if huge { Fault::EndStream(tonic::Code::OutOfRange) } else { Fault::Serve }
    });
    let producer = broker.client().producer().batch_bytes(100).build().unwrap();
    let huge = producer.send(record(0, "x".repeat(10_000))).await.unwrap();
    for number in 0..10 {
        drop(producer.send(record(number % 2, number)).await.unwrap());
    }
    assert_eq!(producer.flush().await.unwrap_err().failed, 1);
    assert!(matches!(huge.await, Err(DeliveryError::Refused { .. })));
    assert_eq!(broker.values(0), ["0", "2", "4", "6", "8"]);
    assert_eq!(broker.values(1), ["1", "3", "5", "7", "9"]);
}

#[tokio::test]
async fn a_batch_of_records_is_one_batch_behind_what_was_sent_before() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().linger(NEVER).batch_records(2).build().unwrap();
    drop(producer.send(record(0, "before")).await.unwrap());
    let records: Vec<_> = (0..5).map(|number| record(0, number)).collect();
    let stored = producer.send_batch("t", 0, &records).await.unwrap().await.unwrap();
    assert_eq!(stored.base_offset.unwrap().get(), 1);
    assert_eq!(broker.batch_sizes(0), [1, 5]);
}

#[tokio::test]
async fn without_acks_a_record_has_no_offset() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().acks(Acks::None).build().unwrap();
    let sent = producer.send(record(0, "a")).await.unwrap().await.unwrap();
    assert_eq!((sent.offset, sent.durability), (None, Durability::Sent));
    assert_eq!(broker.state.lock().next_producer, 0, "nothing to recognise duplicates by");
}

/// Nothing is answered, so nothing but the producer itself can set the next batch off.
#[tokio::test]
async fn without_acks_every_batch_goes_out() {
    let broker = FakeBroker::start(1).await;
    let producer =
        broker.client().producer().acks(Acks::None).linger(NEVER).batch_records(1).build().unwrap();
    for number in 0..50 {
        drop(producer.send(record(0, number)).await.unwrap());
    }
    producer.close().await.unwrap();
    assert_eq!(producer.stats().acknowledged, 50);
}

#[tokio::test]
async fn a_closed_producer_takes_nothing() {
    let broker = FakeBroker::start(1).await;
    let producer = broker.client().producer().build().unwrap();
    let delivery = producer.send(record(0, "a")).await.unwrap();
    producer.close().await.unwrap();
    assert!(delivery.await.is_ok());
    assert!(matches!(producer.send(record(0, "b")).await, Err(SendError::Closed)));
}

#[tokio::test]
async fn a_missing_partition_is_named() {
    let broker = FakeBroker::start(2).await;
    let producer = broker.client().producer().build().unwrap();
    let error = producer.send(record(2, "a")).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownPartition { partition: 2, partitions: 2, .. }));
}
