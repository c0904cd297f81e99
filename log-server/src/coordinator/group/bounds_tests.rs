//! Goal: what members take in memory has a bound, whatever they say, and nobody who is in a group is
//! shut out of it because the broker is full.

use std::time::Duration;

use super::super::error::{ConsumerHeartbeatError, JoinGroupError};
use super::super::request::*;
use super::super::testing::*;
use super::super::turn::Reply;
use super::*;

/// A bench whose other groups, which are not there, leave room for so much.
fn with_room(bytes: usize) -> Bench {
    let mut bench = Bench::new();
    bench.membership.bytes = limits::MEMBER_BYTES_MAX - bytes;
    bench
}

fn joining(name: &str, subscribed: Vec<String>) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: group(),
        member: MemberId::new(name).unwrap(),
        instance: None,
        step: ConsumerStep::Join,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        rack: None,
        rebalance_timeout: Some(Duration::from_millis(REBALANCE)),
        subscribed: Some(subscribed),
        pattern: None,
        assignor: None,
        owned: None,
    }
}

fn short_names() -> Vec<String> {
    (0..1000).map(|number| number.to_string()).collect()
}

fn say(
    bench: &mut Bench,
    request: &ConsumerHeartbeat,
) -> Result<HeartbeatAnswer, ConsumerHeartbeatError> {
    let waiter = bench.consumer_heartbeat(request, &no_topics());
    match bench.replies.remove(&waiter) {
        Some(Reply::ConsumerHeartbeat(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_short_names_count_for_more_than_their_letters() {
    let letters = short_names().iter().map(String::len).sum::<usize>();
    let full = CoordinatorError::Refused { reason: JoinGroupError::MetadataFull.to_string() };
    let refused = say(&mut with_room(2 * letters), &joining("a", short_names()));
    assert_eq!(refused, Err(full.clone().into()));

    let mut bench = with_room(10 * letters);
    assert!(say(&mut bench, &joining("a", short_names())).is_ok());
    let refused = say(&mut bench, &joining("b", short_names()));
    assert_eq!(refused, Err(full.into()), "what the first one takes is counted, too");

    let protocols: Vec<_> = short_names().iter().map(|name| protocol(name, "")).collect();
    let request = JoinGroup { protocols, ..joiner() };
    let mut bench = with_room(2 * letters);
    let waiter = bench.join(request.clone());
    assert_eq!(bench.joined(waiter), Some(Err(JoinGroupError::MetadataFull)));
    let mut bench = with_room(30 * letters);
    let waiters = [bench.join(request.clone()), bench.join(request)];
    assert_eq!(bench.joined(waiters[0]), None, "it is in, and waits for others");
    assert_eq!(bench.joined(waiters[1]), Some(Err(JoinGroupError::MetadataFull)));
}
