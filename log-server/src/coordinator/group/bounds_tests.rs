//! Goal: what members take in memory has a bound, whatever they say, and nobody who is in a group is
//! shut out of it because the broker is full.

use std::time::Duration;

use super::super::error::{ConsumerHeartbeatError, JoinGroupError};
use super::super::request::*;
use super::super::testing::*;
use super::super::turn::Reply;
use super::*;
use crate::error::CoordinatorError;

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

/// Two members that are about to be assigned something, the leader first.
fn two_to_be_assigned(bench: &mut Bench) -> (MemberId, MemberId) {
    let waiters = [bench.join(joiner()), bench.join(joiner())];
    bench.advance(6000);
    let [a, b] = waiters.map(|waiter| bench.joined(waiter).unwrap().unwrap());
    if a.leader.as_ref() == Some(&a.member) { (a.member, b.member) } else { (b.member, a.member) }
}

#[test]
fn what_a_leader_assigns_is_counted_and_bounded() {
    let mut bench = with_room(10_000);
    let (leader, other) = two_to_be_assigned(&mut bench);
    let (small, large) = ("x".repeat(2000), "x".repeat(9000));
    let before = bench.membership.bytes;
    let waiting = bench.sync(&other, 1, &[]);
    let refused = bench.sync(&leader, 1, &[(&leader, &large), (&other, &large)]);
    assert_eq!(bench.synced(refused), Some(Err(SyncGroupError::MetadataFull)));
    assert_eq!(bench.membership.bytes, before);
    assert_eq!(bench.synced(waiting), None, "nothing is decided: the leader may say less");

    bench.writes = Writes::AreHeld;
    let nobody = MemberId::new("nobody").unwrap();
    bench.sync(&leader, 1, &[(&leader, &small), (&nobody, &small)]);
    assert_eq!(
        bench.membership.bytes,
        before + small.len(),
        "what is not written yet is kept, too"
    );
    bench.end_writes(&Ok(()));
    assert_eq!(bench.membership.bytes, before + small.len());
    bench.writes = Writes::EndAtOnce;
    for member in [&leader, &other] {
        bench.leave_one(member).unwrap();
    }
    assert_eq!(bench.membership.bytes, limits::MEMBER_BYTES_MAX - 10_000, "and all is free again");
}

#[test]
fn a_full_broker_goes_on_assigning_what_it_has_room_for() {
    let mut bench = with_room(10_000);
    let (leader, other) = two_to_be_assigned(&mut bench);
    let synced = bench.sync(&leader, 1, &[(&leader, "12345"), (&other, "67")]);
    assert_eq!(bench.synced(synced), Some(Ok("12345".to_owned())));
    bench.leave_one(&other).unwrap();
    bench.join(JoinGroup { member: Some(leader.clone()), ..joiner() });
    bench.membership.bytes = limits::MEMBER_BYTES_MAX + 100;
    let more = bench.sync(&leader, 2, &[(&leader, "123456")]);
    assert_eq!(bench.synced(more), Some(Err(SyncGroupError::MetadataFull)));
    let same = bench.sync(&leader, 2, &[(&leader, "54321")]);
    assert_eq!(bench.synced(same), Some(Ok("54321".to_owned())));
}

/// The same as a static member, who is about to leave for now, or comes back.
fn fixed(request: ConsumerHeartbeat) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance: Some(instance("i")), ..request }
}

fn at_epoch(name: &str, epoch: MemberEpoch) -> ConsumerHeartbeat {
    let step = ConsumerStep::Continue { epoch };
    ConsumerHeartbeat { step, subscribed: Some(short_names()), ..joining(name, Vec::new()) }
}

#[test]
fn a_broker_full_of_members_takes_back_those_that_it_has() {
    let mut bench = Bench::new();
    say(&mut bench, &joining("a", short_names())).unwrap();
    say(&mut bench, &fixed(joining("b", short_names()))).unwrap();
    let away = ConsumerHeartbeat { step: ConsumerStep::LeaveForNow, ..joining("b", Vec::new()) };
    say(&mut bench, &fixed(away)).unwrap();
    bench.membership.present = limits::MEMBERS_MAX;
    let full = ConsumerHeartbeatError::GroupFull { max: limits::MEMBERS_MAX };
    assert_eq!(say(&mut bench, &joining("new", Vec::new())), Err(full));
    assert!(say(&mut bench, &joining("a", short_names())).is_ok());
    assert!(say(&mut bench, &fixed(joining("heir", short_names()))).is_ok());
    let unknown = say(&mut bench, &at_epoch("nobody", MemberEpoch::default())).unwrap_err();
    assert_eq!(unknown, MemberError::UnknownMember.into());

    let mut bench = Bench::new();
    let named = JoinGroup { instance: Some(instance("i")), ..joiner() };
    let before = bench.join(named.clone());
    bench.advance(3000);
    assert!(bench.joined(before).unwrap().is_ok());
    bench.membership.present = limits::MEMBERS_MAX;
    let full = JoinGroupError::GroupFull { max: limits::MEMBERS_MAX };
    let refused = bench.join(joiner());
    assert_eq!(bench.joined(refused), Some(Err(full)));
    let back = bench.join(named);
    assert!(bench.joined(back).unwrap().is_ok());
    assert_eq!(bench.membership.present, limits::MEMBERS_MAX);
}

#[test]
fn a_broker_full_of_metadata_hears_those_that_say_no_more_than_before() {
    let mut bench = Bench::new();
    let answer = say(&mut bench, &joining("a", short_names())).unwrap();
    let epoch = answer.epoch.unwrap();
    bench.membership.bytes = limits::MEMBER_BYTES_MAX;
    assert!(say(&mut bench, &at_epoch("a", epoch)).is_ok(), "it says all of it once more");
    let more = ConsumerHeartbeat { rack: Some("r".to_owned()), ..at_epoch("a", epoch) };
    let full = CoordinatorError::Refused { reason: JoinGroupError::MetadataFull.to_string() };
    assert_eq!(say(&mut bench, &more), Err(full.into()));
    let leave = ConsumerHeartbeat { step: ConsumerStep::Leave, ..more };
    assert!(say(&mut bench, &leave).is_ok(), "and whoever leaves makes room");

    let mut bench = Bench::new();
    let (leader, _) = two_to_be_assigned(&mut bench);
    bench.membership.bytes = limits::MEMBER_BYTES_MAX;
    let again = JoinGroup { member: Some(leader), ..joiner() };
    let mut more = again.clone();
    more.protocols.push(protocol("more", ""));
    let refused = bench.join(more);
    assert_eq!(bench.joined(refused), Some(Err(JoinGroupError::MetadataFull)));
    let same = bench.join(again);
    assert!(bench.joined(same).unwrap().is_ok());
}

#[test]
fn a_full_group_of_classic_members_is_upgraded_by_one_of_them() {
    let settings = GroupSettings { size_max: 1, ..GroupSettings::default() };
    let mut bench = Bench::with(settings);
    let reads_t = vec![protocol("range", "\0\0\0\0\0\u{1}\0\u{1}t\0\0\0\0")];
    let named = JoinGroup { instance: Some(instance("i")), protocols: reads_t, ..joiner() };
    let waiter = bench.join(named);
    bench.advance(3000);
    let old = bench.joined(waiter).unwrap().unwrap().member;
    let full = ConsumerHeartbeatError::GroupFull { max: 1 };
    assert_eq!(say(&mut bench, &joining("new", Vec::new())), Err(full));
    // What its members read is counted once more when the group is another.
    let bytes = std::mem::replace(&mut bench.membership.bytes, limits::MEMBER_BYTES_MAX);
    let full = CoordinatorError::Refused { reason: JoinGroupError::MetadataFull.to_string() };
    assert_eq!(say(&mut bench, &fixed(joining("heir", Vec::new()))), Err(full.into()));
    assert_eq!(bench.heartbeat_as(&old, Some(instance("i")), 1), Ok(()));
    bench.membership.bytes = bytes;
    assert!(say(&mut bench, &fixed(joining("heir", Vec::new()))).is_ok());
    let fenced = bench.heartbeat_as(&old, Some(instance("i")), 1);
    assert_eq!(fenced, Err(MemberError::FencedInstance));
}
