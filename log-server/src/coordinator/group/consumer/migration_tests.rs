//! Goal: a group goes from one protocol to the other and back, one consumer after the other, and at
//! no moment is a partition owned twice, lost for good, or its offset forgotten.

use std::collections::BTreeSet;

use bytes::Bytes;
use log_proto::kafka::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use log_proto::kafka::messages::consumer_protocol_subscription::{
    ConsumerProtocolSubscription, TopicPartition as Owned,
};
use log_proto::kafka::{decode_assignment, encode_embedded};

use super::super::classic::Deletion;
use super::super::error::{ConsumerHeartbeatError, JoinGroupError, MemberError, SyncGroupError};
use super::super::id::MemberId;
use super::super::membership::NotCommitter;
use super::super::request::*;
use super::super::subscription::Usage;
use super::super::testing::*;
use super::super::turn::{Reply, Waiter};
use super::tests::{House, beat, by_pattern, epoch, joining, member, numbers, owning};

/// What a classic consumer says of itself, and what it has not given up.
fn metadata(owned: &[i32]) -> Bytes {
    let owned = Owned { topic: "t".into(), partitions: owned.to_vec() };
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        owned_partitions: vec![owned],
        ..Default::default()
    };
    encode_embedded(3, &subscription).unwrap()
}

fn assignment(numbers: &[i32], user_data: Option<Bytes>) -> Bytes {
    let assigned_partitions = match numbers {
        [] => Vec::new(),
        _ => vec![TopicPartition { topic: "t".into(), partitions: numbers.to_vec() }],
    };
    encode_embedded(3, &ConsumerProtocolAssignment { assigned_partitions, user_data }).unwrap()
}

fn classic(owned: &[i32]) -> JoinGroup {
    let protocol = Protocol { name: "range".to_owned(), metadata: metadata(owned) };
    JoinGroup { protocols: vec![protocol], ..joiner() }
}

fn as_member(member: &MemberId, owned: &[i32]) -> JoinGroup {
    JoinGroup { member: Some(member.clone()), ..classic(owned) }
}

fn rebalancing<E: From<MemberError>>() -> E {
    MemberError::RebalanceInProgress.into()
}

impl House {
    fn join(&mut self, request: JoinGroup) -> Waiter {
        self.say(|bench, topics| bench.join_knowing(request.clone(), topics))
    }

    fn joined(&mut self, request: JoinGroup) -> Joined {
        let waiter = self.join(request);
        self.bench.joined(waiter).expect("it is answered at once").unwrap()
    }

    fn sync(&mut self, member: &MemberId, number: i32) -> Result<Vec<i32>, SyncGroupError> {
        let waiter = self.bench.sync(member, number, &[]);
        self.synced(waiter)
    }

    fn synced(&mut self, waiter: Waiter) -> Result<Vec<i32>, SyncGroupError> {
        match self.bench.replies.remove(&waiter) {
            Some(Reply::Sync(reply)) => reply.map(|synced| {
                let read = decode_assignment(synced.assignment).expect("a consumer can read it");
                read.assigned_partitions.into_iter().flat_map(|one| one.partitions).collect()
            }),
            other => panic!("{other:?}"),
        }
    }

    /// Two classic members, which have partitions 0 and 1, and 2 and 3, in generation 1.
    fn two_classic(&mut self) -> (MemberId, MemberId) {
        self.classic_group(None)
    }

    fn classic_group(&mut self, user_data: Option<Bytes>) -> (MemberId, MemberId) {
        let waiters = [self.join(classic(&[])), self.join(classic(&[]))];
        self.bench.advance(6000);
        let [a, b] = waiters.map(|waiter| self.bench.joined(waiter).unwrap().unwrap().member);
        let waiter = self.bench.sync_as(SyncGroup {
            group: group(),
            member: a.clone(),
            instance: None,
            generation: generation(1),
            protocol_type: None,
            protocol: None,
            assignments: vec![
                (a.clone(), assignment(&[0, 1], user_data)),
                (b.clone(), assignment(&[2, 3], None)),
            ],
        });
        assert_eq!(self.synced(waiter), Ok(vec![0, 1]));
        assert_eq!(self.sync(&b, 1), Ok(vec![2, 3]));
        (a, b)
    }

    /// For a rebalance timeout a classic member and `n`, which was at epoch 2, are both alive.
    fn live_beside(&mut self, classic: &MemberId, number: i32) {
        let mut at = 2;
        for _ in 0..REBALANCE / 5000 {
            assert_ne!(self.bench.heartbeat(classic, number), Err(MemberError::UnknownMember));
            at = self.told(&beat("n", at)).0;
            self.bench.advance(5000);
        }
    }

    fn kind(&self) -> Option<GroupKind> {
        self.bench.membership.kind(&group())
    }
}

#[test]
fn a_classic_group_becomes_a_consumer_group_while_its_members_go_on() {
    let mut house = House::new(4);
    let (a, b) = house.two_classic();
    assert_eq!(house.told(&joining("n")), (2, Some(numbers([]))), "all of it is still the others'");
    assert_eq!(house.kind(), Some(GroupKind::Consumer));
    for old in [&a, &b] {
        assert_eq!(house.bench.heartbeat(old, 1), Err(MemberError::RebalanceInProgress));
        assert_eq!(house.sync(old, 1), Err(rebalancing()));
    }

    // One of them gives up everything before it joins.
    let joined = house.joined(as_member(&a, &[]));
    assert_eq!((joined.generation, joined.leader, joined.members.len()), (generation(2), None, 0));
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    let of_a = house.sync(&a, 2).unwrap();

    // The other gives up what it must, and nothing else.
    let joined = house.joined(as_member(&b, &[2, 3]));
    let kept = house.sync(&b, joined.generation.get()).unwrap();
    let mut of_b = kept.clone();
    if joined.generation == generation(1) {
        assert_eq!(house.bench.heartbeat(&b, 1), Err(MemberError::RebalanceInProgress));
        assert_eq!(house.joined(as_member(&b, &kept)).generation, generation(2));
        of_b = house.sync(&b, 2).unwrap();
    }
    let (_, of_new) = house.told(&beat("n", 2));
    let of_new: Vec<i32> = of_new.unwrap().values().flatten().map(|one| *one as i32).collect();
    let mut all = [of_a, of_b, of_new].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(house.state(), GroupState::Stable);
    assert_eq!(house.bench.heartbeat(&a, 2), Ok(()));

    let described = house.bench.membership.describe_consumer(&group()).unwrap();
    let spoken = described.members.iter().filter(|one| one.speaks == GroupKind::Classic);
    assert_eq!(spoken.count(), 2);
    let at = |number| Committer {
        member: Some(a.clone()),
        instance: None,
        generation: Some(generation(number)),
    };
    assert_eq!(house.bench.commit(&at(2)), Ok(()));
    let current = generation(2);
    let stale = MemberError::IllegalGeneration { current };
    assert_eq!(house.bench.commit(&at(1)), Err(NotCommitter::Member(stale)));
}

#[test]
fn the_group_is_classic_again_when_only_classic_members_are_left() {
    for crashes in [false, true] {
        let mut house = House::new(4);
        let (a, b) = house.two_classic();
        house.told(&joining("n"));
        for old in [&a, &b] {
            house.joined(as_member(old, &[]));
            house.sync(old, 2).unwrap();
        }
        house.told(&beat("n", 2));
        house.send(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("n", 2) }).unwrap();
        if crashes {
            house.bench.restart();
        }
        assert_eq!(house.kind(), Some(GroupKind::Classic), "crashes: {crashes}");
        for old in [&a, &b] {
            assert_eq!(house.bench.heartbeat(old, 2), Err(MemberError::RebalanceInProgress));
        }
        let waiters = [house.join(as_member(&a, &[])), house.join(as_member(&b, &[]))];
        let joined = waiters.map(|waiter| house.bench.joined(waiter).unwrap().unwrap());
        assert_eq!(joined[0].generation, generation(3), "it goes on counting");
        assert_eq!(joined[0].leader, joined[1].leader);
        assert!(joined[0].leader.is_some());
    }
}

#[test]
fn whoever_waits_while_the_group_changes_its_kind_is_told_to_join_anew() {
    let mut house = House::new(4);
    let joins = [house.join(classic(&[])), house.join(classic(&[]))];
    house.told(&joining("n"));
    for waiter in joins {
        let refused = house.bench.joined(waiter).unwrap();
        assert_eq!(refused, Err(JoinGroupError::from(MemberError::RebalanceInProgress)));
    }
    let mut house = House::new(4);
    let joins = [house.join(classic(&[])), house.join(classic(&[]))];
    house.bench.advance(6000);
    let [a, b] = joins.map(|waiter| house.bench.joined(waiter).unwrap().unwrap().member);
    let waiter = house.bench.sync(&b, 1, &[]);
    house.told(&joining("n"));
    assert_eq!(house.synced(waiter), Err(rebalancing()));
    assert_eq!(house.joined(as_member(&a, &[])).generation, generation(2));
}

#[test]
fn a_group_that_means_more_than_partitions_stays_what_it_is() {
    let unknown = || ConsumerHeartbeatError::UnknownGroup { group: group() };
    let mut house = House::new(4);
    let (a, _) = house.classic_group(Some(Bytes::from_static(b"tasks")));
    assert_eq!(house.send(&joining("n")), Err(unknown()));
    assert_eq!(house.bench.heartbeat(&a, 1), Ok(()), "and nobody has noticed");

    let mut house = House::new(4);
    let waiter = house.join(JoinGroup { protocol_type: "connect".to_owned(), ..classic(&[]) });
    assert_eq!(house.send(&joining("n")), Err(unknown()));
    house.bench.advance(6000);
    assert!(house.bench.joined(waiter).unwrap().is_ok());
}

#[test]
fn a_join_that_is_refused_changes_no_groups_kind() {
    let mut house = House::new(4);
    let (a, _) = house.two_classic();
    let refused = house.send(&ConsumerHeartbeat { subscribed: None, ..joining("n") });
    assert!(matches!(refused, Err(ConsumerHeartbeatError::Invalid(_))), "{refused:?}");
    assert_eq!(house.kind(), Some(GroupKind::Classic));
    assert_eq!(house.bench.heartbeat(&a, 1), Ok(()));

    house.told(&joining("n"));
    for request in [
        JoinGroup { protocol_type: "connect".to_owned(), ..classic(&[]) },
        JoinGroup { protocols: vec![protocol("sticky", "no subscription")], ..classic(&[]) },
        JoinGroup { protocols: vec![protocol("range", "no subscription")], ..classic(&[]) },
    ] {
        let waiter = house.join(request);
        let refused = house.bench.joined(waiter).unwrap();
        assert_eq!(refused, Err(JoinGroupError::InconsistentProtocol));
    }
}

#[test]
fn a_join_that_is_refused_changes_no_empty_groups_kind() {
    let mut house = House::new(4);
    house.told(&joining("n"));
    house.send(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("n", 1) }).unwrap();
    let before = house.bench.membership.describe_consumer(&group());
    let waiter = house.join(JoinGroup { protocols: Vec::new(), ..classic(&[]) });
    let refused = house.bench.joined(waiter).unwrap();
    assert_eq!(refused, Err(JoinGroupError::InconsistentProtocol));
    assert!(before.is_some());
    assert_eq!(house.bench.membership.describe_consumer(&group()), before);

    let mut house = House::new(4);
    let (a, b) = house.two_classic();
    assert_eq!((house.bench.leave_one(&a), house.bench.leave_one(&b)), (Ok(()), Ok(())));
    let before = house.bench.membership.describe(&group());
    let refused = house.send(&ConsumerHeartbeat { subscribed: None, ..joining("n") });
    assert!(matches!(refused, Err(ConsumerHeartbeatError::Invalid(_))), "{refused:?}");
    assert!(before.is_some());
    assert_eq!(house.bench.membership.describe(&group()), before);
    assert_eq!(house.told(&joining("n")).0, 3, "and whoever is taken in still makes it another");
}

/// Somebody is given its id in a group that has just been left: it may come or not.
fn given_an_id(house: &mut House) -> Waiter {
    house.join(JoinGroup { new_member: NewMember::RequireKnownId, ..classic(&[]) })
}

#[test]
fn who_does_not_come_after_all_leaves_the_group_as_long_empty_as_it_was() {
    let mut house = House::new(4);
    house.bench.advance(1000);
    house.told(&joining("n"));
    house.send(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("n", 1) }).unwrap();
    let empty = house.bench.membership.usage(&group());
    assert_eq!(empty, Some(Usage::EmptySince(house.bench.now().time)));
    house.bench.advance(5000);
    given_an_id(&mut house);
    assert_eq!(house.bench.membership.usage(&group()), empty, "its offsets are kept as long");
    house.bench.advance(SESSION);
    assert_eq!(house.bench.membership.usage(&group()), empty);
}

#[test]
fn what_the_log_is_being_told_of_a_group_holds_whatever_kind_it_is_then() {
    // That its last member has left: nobody hears of the empty group before.
    let mut house = House::new(4);
    house.told(&joining("n"));
    house.bench.writes = Writes::AreHeld;
    house.ask(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("n", 1) });
    let waiter = given_an_id(&mut house);
    assert_eq!(house.bench.joined(waiter), None);
    house.bench.end_writes(&Ok(()));
    let answer = house.bench.joined(waiter).unwrap();
    assert!(matches!(answer, Err(JoinGroupError::MemberIdRequired { .. })), "{answer:?}");

    // That it is deleted: then it is gone, once nobody comes.
    let mut house = House::new(4);
    house.told(&joining("n"));
    house.send(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("n", 1) }).unwrap();
    let write = house.bench.membership.deleting(&group());
    given_an_id(&mut house);
    house.bench.membership.deletion_ended(&group(), write, Deletion::Done);
    house.bench.advance(SESSION);
    assert_eq!(house.kind(), None);
}

#[test]
fn a_classic_member_that_does_not_do_as_it_is_told_is_out() {
    // Who was told to join once more, and does not.
    let mut house = House::new(4);
    let (a, b) = house.two_classic();
    house.told(&joining("n"));
    house.live_beside(&a, 1);
    assert_eq!(house.bench.heartbeat(&a, 1), Err(MemberError::UnknownMember));
    assert_eq!(house.bench.heartbeat(&b, 1), Err(MemberError::UnknownMember), "it was silent");

    // Who has joined, and does not ask for its assignment.
    let mut house = House::new(4);
    let a = house.two_classic().0;
    house.told(&joining("n"));
    house.joined(as_member(&a, &[]));
    assert_eq!(house.bench.heartbeat(&a, 2), Ok(()));
    house.live_beside(&a, 2);
    assert_eq!(house.bench.heartbeat(&a, 2), Err(MemberError::UnknownMember));
}

#[test]
fn what_a_classic_member_says_survives_a_restart() {
    let mut house = House::new(4);
    let (a, b) = house.two_classic();
    house.told(&by_pattern("n", "t"));
    let before = house.bench.membership.describe_consumer(&group());
    house.bench.restart();
    assert_eq!(house.bench.membership.describe_consumer(&group()), before);
    assert_eq!(house.bench.heartbeat(&a, 1), Err(MemberError::RebalanceInProgress));
    assert_eq!(house.joined(as_member(&a, &[])).generation, generation(2));
    assert!(house.sync(&a, 2).is_ok());
    assert_eq!(house.bench.leave_one(&b), Ok(()));
    assert_eq!(house.bench.leave_one(&b), Err(MemberError::UnknownMember));
    assert_eq!(house.bench.leave_one(&member("n")), Err(MemberError::UnknownMember));
    house.bench.advance(SESSION);
    assert_eq!(house.bench.heartbeat(&a, 2), Err(MemberError::UnknownMember), "its own session");
}

#[test]
fn a_new_classic_member_is_given_its_id_first() {
    let mut house = House::new(4);
    house.told(&joining("n"));
    let asking = JoinGroup { new_member: NewMember::RequireKnownId, ..classic(&[]) };
    let waiter = house.join(asking);
    let required = house.bench.joined(waiter).unwrap().unwrap_err();
    let JoinGroupError::MemberIdRequired { member } = required else { panic!("{required}") };
    let joined = house.joined(as_member(&member, &[]));
    assert_eq!((joined.generation, &joined.member), (generation(2), &member));
    let stays = house.sync(&member, 2).unwrap();
    assert_eq!(stays, [] as [i32; 0], "all of it is still another's");
    assert_eq!(house.bench.heartbeat(&member, 2), Ok(()), "and there is nothing to be had yet");
    let (_, kept) = house.told(&beat("n", 1));
    house.told(&owning("n", 1, kept.unwrap()));
    assert_eq!(house.bench.heartbeat(&member, 2), Err(MemberError::RebalanceInProgress));
    house.joined(as_member(&member, &[]));
    assert_eq!(house.sync(&member, 2).unwrap().len(), 2);
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_what_it_had() {
    let mut house = House::new(2);
    let named = |request| JoinGroup { instance: Some(instance("i")), ..request };
    let waiter = house.join(named(classic(&[])));
    house.bench.advance(6000);
    let old = house.bench.joined(waiter).unwrap().unwrap().member;
    let waiter = house.bench.sync_as(SyncGroup {
        group: group(),
        member: old.clone(),
        instance: Some(instance("i")),
        generation: generation(1),
        protocol_type: None,
        protocol: None,
        assignments: vec![(old.clone(), assignment(&[0, 1], None))],
    });
    house.synced(waiter).unwrap();

    let new = ConsumerHeartbeat { instance: Some(instance("i")), ..joining("n") };
    let told = house.send(&new).unwrap();
    assert_eq!(told.assignment, Some(numbers([0, 1])), "a process took the place of another");
    assert_eq!(house.bench.membership.describe_consumer(&group()).unwrap().members.len(), 1);
    let fenced = house.bench.heartbeat_as(&old, Some(instance("i")), 1);
    assert_eq!(fenced, Err(MemberError::FencedInstance));

    let away = ConsumerHeartbeat {
        step: ConsumerStep::LeaveForNow,
        instance: Some(instance("i")),
        ..beat("n", told.epoch.unwrap().get())
    };
    house.send(&away).unwrap();
    let back = house.joined(named(classic(&[])));
    assert_eq!(house.kind(), Some(GroupKind::Classic), "nobody needs the other protocol any more");
    let at = back.generation.get();
    let heartbeat = house.bench.heartbeat_as(&back.member, Some(instance("i")), at);
    assert_eq!(heartbeat, Err(MemberError::RebalanceInProgress));
    let waiter = house.join(named(as_member(&back.member, &[])));
    assert!(house.bench.joined(waiter).unwrap().is_ok(), "alone, it waits for nobody");
    assert!(epoch(at) >= epoch(1));
}

#[test]
fn a_write_that_fails_leaves_no_group_of_two_kinds() {
    let mut house = House::new(4);
    let (a, _) = house.two_classic();
    house.bench.writes = Writes::AreHeld;
    let waiter = house.ask(&joining("n"));
    assert!(!house.bench.replies.contains_key(&waiter), "it is not durable yet");
    house.bench.end_writes(&Err(disk_full()));
    let Some(Reply::ConsumerHeartbeat(failed)) = house.bench.replies.remove(&waiter) else {
        panic!("it is told");
    };
    assert_eq!(failed, Err(disk_full().into()));
    house.bench.writes = Writes::EndAtOnce;
    assert_eq!(house.kind(), Some(GroupKind::Classic), "and what it was");
    assert_eq!(house.bench.heartbeat(&a, 1), Ok(()));
    house.told(&joining("n"));
    let live = house.bench.membership.describe_consumer(&group());
    house.bench.restart();
    assert_eq!(house.bench.membership.describe_consumer(&group()), live);
    let listed = house.bench.membership.list([group()], &GroupFilter::default());
    assert_eq!(listed.len(), 1);
    let members: BTreeSet<_> = live.unwrap().members.into_iter().map(|one| one.member).collect();
    assert!(members.contains(&a));
}
