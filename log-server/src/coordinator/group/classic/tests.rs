//! Goal: whatever a client may send, in whatever state its group is, it is answered as Kafka's
//! coordinator answers, at the time at which that answers; and nothing is told before it is
//! durable.

use std::time::Duration;

use bytes::Bytes;

use super::super::error::{JoinGroupError, MemberError, SyncGroupError};
use super::super::id::MemberId;
use super::super::membership::NotCommitter;
use super::super::request::*;
use super::super::settings::GroupSettings;
use super::super::testing::*;
use super::super::turn::Waiter;

const DELAY: u64 = 3000;

fn unknown() -> MemberId {
    MemberId::new("nobody").unwrap()
}

fn as_member(member: &MemberId) -> JoinGroup {
    JoinGroup { member: Some(member.clone()), ..joiner() }
}

fn as_instance(name: &str) -> JoinGroup {
    JoinGroup { instance: Some(instance(name)), ..joiner() }
}

impl Bench {
    fn refused(&mut self, request: JoinGroup) -> JoinGroupError {
        let waiter = self.join(request);
        self.joined(waiter).expect("it is refused at once").unwrap_err()
    }

    fn is_in(&mut self, waiter: Waiter) -> Joined {
        self.joined(waiter).expect("it is answered").unwrap()
    }

    /// A group of these in generation 1, in `CompletingRebalance`. The first one leads.
    fn joined_group(&mut self, requests: Vec<JoinGroup>) -> Vec<MemberId> {
        let waiters: Vec<_> = requests.into_iter().map(|request| self.join(request)).collect();
        self.advance(2 * DELAY);
        let joined: Vec<_> = waiters.into_iter().map(|waiter| self.is_in(waiter)).collect();
        for one in &joined {
            assert_eq!(one.generation, generation(1));
            assert_eq!(one.leader.as_ref(), Some(&joined[0].member));
        }
        joined.into_iter().map(|joined| joined.member).collect()
    }

    /// The same, `Stable`: each member is assigned its place in the list.
    fn stable_group(&mut self, requests: Vec<JoinGroup>) -> Vec<MemberId> {
        let members = self.joined_group(requests);
        let names: Vec<_> = (0..members.len()).map(|place| place.to_string()).collect();
        let assignment: Vec<_> =
            members.iter().zip(&names).map(|(member, name)| (member, name.as_str())).collect();
        for member in &members {
            self.sync(member, 1, &assignment);
        }
        self.replies.clear();
        assert_eq!(self.state(), Some(GroupState::Stable));
        members
    }

    fn two(&mut self) -> (MemberId, MemberId) {
        let members = self.stable_group(vec![joiner(), joiner()]);
        (members[0].clone(), members[1].clone())
    }
}

#[test]
fn the_first_of_a_group_waits_for_others_and_then_leads() {
    let mut bench = Bench::new();
    let waiter = bench.join(joiner());
    bench.advance(DELAY - 1);
    assert_eq!(bench.joined(waiter), None);
    bench.advance(1);
    let joined = bench.is_in(waiter);
    assert_eq!(joined.generation, generation(1));
    assert_eq!(joined.leader.as_ref(), Some(&joined.member));
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, "m");
}

#[test]
fn whoever_comes_makes_the_first_wait_longer_up_to_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let patience =
        |request| JoinGroup { rebalance_timeout: Duration::from_millis(8000), ..request };
    let first = bench.join(patience(joiner()));
    for _ in 0..2 {
        bench.advance(DELAY - 1);
        bench.join(patience(joiner()));
        bench.advance(1);
        assert_eq!(bench.joined(first), None);
    }
    bench.join(patience(joiner()));
    bench.advance(1999);
    assert_eq!(bench.joined(first), None);
    bench.advance(1);
    assert_eq!(bench.is_in(first).members.len(), 4, "at 8,000 ms it is enough");
}

#[test]
fn who_must_know_its_id_is_given_one_and_expires_if_it_does_not_come_back() {
    let mut bench = Bench::new();
    let request = JoinGroup { new_member: NewMember::RequireKnownId, ..joiner() };
    let JoinGroupError::MemberIdRequired { member } = bench.refused(request.clone()) else {
        panic!("it must be told its id")
    };
    let waiter = bench.join(as_member(&member));
    bench.advance(DELAY);
    assert_eq!(bench.is_in(waiter).member, member);

    let JoinGroupError::MemberIdRequired { member } = bench.refused(request) else {
        panic!("it must be told its id")
    };
    bench.advance(SESSION);
    let error = bench.refused(as_member(&member));
    assert_eq!(error, MemberError::UnknownMember.into());
}

#[test]
fn a_rebalance_waits_for_those_who_have_been_given_an_id() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner()]);
    let pending = JoinGroup { new_member: NewMember::RequireKnownId, ..joiner() };
    let JoinGroupError::MemberIdRequired { member } = bench.refused(pending) else {
        panic!("it must be told its id")
    };
    let leader = bench.join(as_member(&members[0]));
    assert_eq!(bench.joined(leader), None);
    let newcomer = bench.join(as_member(&member));
    assert_eq!(bench.is_in(leader).members.len(), 2);
    assert_eq!(bench.is_in(newcomer).generation, generation(2));
}

#[test]
fn joins_that_do_not_fit_are_refused() {
    let mut bench = Bench::new();
    let error = bench.refused(as_member(&unknown()));
    assert_eq!(error, MemberError::UnknownMember.into(), "there is no such group");
    for ms in [5999, 1_800_001] {
        let session_timeout = Duration::from_millis(ms);
        let error = bench.refused(JoinGroup { session_timeout, ..joiner() });
        assert!(matches!(error, JoinGroupError::InvalidSessionTimeout { .. }), "{ms}");
    }
    for request in [
        JoinGroup { protocols: Vec::new(), ..joiner() },
        JoinGroup { protocol_type: String::new(), ..joiner() },
    ] {
        assert_eq!(bench.refused(request), JoinGroupError::InconsistentProtocol);
    }
    assert_eq!(bench.state(), None, "a refused join leaves no group behind");
    bench.stable_group(vec![joiner()]);
    for request in [
        JoinGroup { protocol_type: "connect".to_owned(), ..joiner() },
        JoinGroup { protocols: vec![protocol("other", "")], ..joiner() },
    ] {
        assert_eq!(bench.refused(request), JoinGroupError::InconsistentProtocol);
    }
    assert_eq!(bench.refused(as_member(&unknown())), MemberError::UnknownMember.into());
    assert_eq!(bench.state(), Some(GroupState::Stable));
}

#[test]
fn the_protocol_that_all_can_and_most_want_is_chosen() {
    let mut bench = Bench::new();
    let prefers = |names: &[&str]| JoinGroup {
        protocols: names.iter().map(|name| protocol(name, name)).collect(),
        ..joiner()
    };
    let waiters = [["a", "b", "c"], ["b", "a", "d"], ["b", "a", "e"]]
        .map(|names| bench.join(prefers(&names)));
    bench.advance(REBALANCE);
    let joined = bench.is_in(waiters[0]);
    assert_eq!(joined.protocol.as_deref(), Some("b"));
    assert!(joined.members.iter().all(|member| member.metadata == "b"));
}

#[test]
fn a_full_group_takes_nobody_but_its_members() {
    let mut bench = Bench::with(GroupSettings { size_max: 2, ..GroupSettings::default() });
    let (leader, follower) = bench.two();
    assert_eq!(bench.refused(joiner()), JoinGroupError::GroupFull { max: 2 });
    let first = bench.join(as_member(&leader));
    let second = bench.join(as_member(&follower));
    assert_eq!(bench.is_in(first).generation, generation(2));
    assert_eq!(bench.is_in(second).generation, generation(2));
}

#[test]
fn everybody_waits_until_the_assignment_is_on_the_disk() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), joiner(), joiner()]);
    bench.writes = Writes::AreHeld;
    let follower = bench.sync(&members[1], 1, &[]);
    assert_eq!(bench.synced(follower), None);
    let to = [(&members[0], "zero"), (&members[1], "one"), (&unknown(), "x")];
    let leader = bench.sync(&members[0], 1, &to);
    let late = bench.sync(&members[2], 1, &[]);
    assert!(bench.replies.is_empty(), "nothing is durable yet");
    assert_eq!(bench.state(), Some(GroupState::CompletingRebalance));
    bench.end_writes(&Ok(()));
    assert_eq!(bench.synced(leader), Some(Ok("zero".to_owned())));
    assert_eq!(bench.synced(follower), Some(Ok("one".to_owned())));
    assert_eq!(bench.synced(late), Some(Ok(String::new())), "who is left out has nothing to do");
    assert_eq!(bench.state(), Some(GroupState::Stable));
    let again = bench.sync(&members[1], 1, &[]);
    assert_eq!(bench.synced(again), Some(Ok("one".to_owned())));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_told_to_nobody() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), joiner()]);
    bench.writes = Writes::AreHeld;
    let follower = bench.sync(&members[1], 1, &[]);
    let leader = bench.sync(&members[0], 1, &[(&members[0], "all")]);
    bench.end_writes(&Err(disk_full()));
    for waiter in [leader, follower] {
        assert_eq!(bench.synced(waiter), Some(Err(disk_full().into())));
    }
    assert_eq!(bench.state(), Some(GroupState::PreparingRebalance));
    let waiters = [&members[0], &members[1]].map(|member| bench.join(as_member(member)));
    for waiter in waiters {
        assert_eq!(bench.is_in(waiter).generation, generation(2));
    }
}

#[test]
fn an_assignment_of_a_generation_that_is_over_changes_nothing() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner()]);
    bench.writes = Writes::AreHeld;
    let leader = bench.sync(&members[0], 1, &[(&members[0], "old")]);
    let newcomer = bench.join(joiner());
    bench.end_writes(&Ok(()));
    assert_eq!(bench.synced(leader), Some(Err(MemberError::RebalanceInProgress.into())));
    assert_eq!(bench.state(), Some(GroupState::PreparingRebalance));
    let leader = bench.join(as_member(&members[0]));
    assert_eq!(bench.is_in(leader).generation, generation(2));
    assert_eq!(bench.is_in(newcomer).generation, generation(2));
}

#[test]
fn syncs_that_do_not_fit_are_refused() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), as_instance("i")]);
    let current = generation(1);
    let sync = |member: &MemberId| SyncGroup {
        group: group(),
        member: member.clone(),
        instance: None,
        generation: current,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments: Vec::new(),
    };
    let cases = [
        (sync(&unknown()), MemberError::UnknownMember.into()),
        (
            SyncGroup { generation: generation(0), ..sync(&members[0]) },
            MemberError::IllegalGeneration { current }.into(),
        ),
        (
            SyncGroup { instance: Some(instance("i")), ..sync(&members[0]) },
            MemberError::FencedInstance.into(),
        ),
        (
            SyncGroup { instance: Some(instance("j")), ..sync(&members[0]) },
            MemberError::UnknownMember.into(),
        ),
        (
            SyncGroup { protocol: Some("sticky".to_owned()), ..sync(&members[0]) },
            SyncGroupError::InconsistentProtocol,
        ),
        (
            SyncGroup { protocol_type: Some("connect".to_owned()), ..sync(&members[0]) },
            SyncGroupError::InconsistentProtocol,
        ),
    ];
    for (request, expected) in cases {
        let waiter = bench.sync_as(request.clone());
        assert_eq!(bench.synced(waiter), Some(Err(expected)), "{request:?}");
    }
    bench.join(joiner());
    let waiter = bench.sync_as(sync(&members[0]));
    let expected = MemberError::RebalanceInProgress;
    assert_eq!(bench.synced(waiter), Some(Err(expected.into())));
}

#[test]
fn a_heartbeat_says_what_is_to_be_done() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), as_instance("i")]);
    let (leader, fixed) = (members[0].clone(), members[1].clone());
    assert_eq!(bench.heartbeat(&leader, 1), Ok(()), "completing");
    bench.sync(&leader, 1, &[]);
    assert_eq!(bench.heartbeat(&leader, 1), Ok(()), "stable");
    let current = generation(1);
    assert_eq!(bench.heartbeat(&leader, 2), Err(MemberError::IllegalGeneration { current }));
    assert_eq!(bench.heartbeat(&unknown(), 1), Err(MemberError::UnknownMember));
    assert_eq!(bench.heartbeat_as(&fixed, Some(instance("i")), 1), Ok(()));
    let fenced = bench.heartbeat_as(&leader, Some(instance("i")), 1);
    assert_eq!(fenced, Err(MemberError::FencedInstance));
    bench.join(joiner());
    assert_eq!(bench.heartbeat(&leader, 1), Err(MemberError::RebalanceInProgress));
    bench.leave_one(&leader).unwrap();
    assert_eq!(bench.heartbeat(&leader, 1), Err(MemberError::UnknownMember));
}

#[test]
fn joining_again_with_nothing_new_changes_nothing() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), joiner()]);
    for (member, seen) in [(&members[0], 2), (&members[1], 0)] {
        let waiter = bench.join(as_member(member));
        let joined = bench.is_in(waiter);
        assert_eq!((joined.generation, joined.members.len()), (generation(1), seen));
    }
    bench.sync(&members[0], 1, &[]);
    let waiter = bench.join(as_member(&members[1]));
    assert_eq!(bench.is_in(waiter).generation, generation(1));
    assert_eq!(bench.state(), Some(GroupState::Stable));
}

#[test]
fn a_leader_that_joins_again_and_a_member_with_news_begin_a_rebalance() {
    for completing in [true, false] {
        let mut bench = Bench::new();
        let members = match completing {
            true => bench.joined_group(vec![joiner(), joiner()]),
            false => bench.stable_group(vec![joiner(), joiner()]),
        };
        let news = vec![protocol("range", "other")];
        let follower = bench.join(JoinGroup { protocols: news, ..as_member(&members[1]) });
        assert_eq!(bench.state(), Some(GroupState::PreparingRebalance));
        let leader = bench.join(as_member(&members[0]));
        let joined = bench.is_in(leader);
        assert_eq!(joined.members[1].metadata, "other");
        assert_eq!(bench.is_in(follower).generation, generation(2));
    }
    let mut bench = Bench::new();
    let (leader, _) = bench.two();
    bench.join(as_member(&leader));
    assert_eq!(bench.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.two();
    let news = vec![protocol("range", "news")];
    let waiter = bench.join(JoinGroup { protocols: news, ..as_member(&follower) });
    bench.advance(SESSION - 1);
    assert_eq!(bench.heartbeat(&leader, 1), Err(MemberError::RebalanceInProgress));
    for _ in 0..5 {
        bench.advance(SESSION - 1);
        let _ = bench.heartbeat(&leader, 1);
    }
    assert_eq!(bench.joined(waiter), None);
    bench.advance(SESSION);
    let joined = bench.is_in(waiter);
    assert_eq!((joined.leader, joined.members.len()), (Some(follower), 1));
    assert_eq!(bench.heartbeat(&leader, 2), Err(MemberError::UnknownMember));
}

#[test]
fn a_silent_member_is_out_and_the_others_are_told() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.two();
    bench.advance(SESSION / 2);
    assert_eq!(bench.heartbeat(&leader, 1), Ok(()));
    bench.advance(SESSION / 2);
    assert_eq!(bench.heartbeat(&leader, 1), Err(MemberError::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&follower, 1), Err(MemberError::UnknownMember));
    bench.advance(SESSION);
    assert_eq!(bench.state(), Some(GroupState::Empty));
}

#[test]
fn who_waits_is_alive_but_a_new_member_only_for_so_long() {
    let mut bench = Bench::new();
    let long = |request| JoinGroup { rebalance_timeout: Duration::from_secs(3600), ..request };
    let members = bench.stable_group(vec![long(joiner()), long(joiner())]);
    let leader = bench.join(long(as_member(&members[0])));
    let newcomer = bench.join(long(joiner()));
    // The follower neither joins again nor dies.
    for _ in 0..40 {
        bench.advance(SESSION - 1);
        assert_eq!(bench.heartbeat(&members[1], 1), Err(MemberError::RebalanceInProgress));
    }
    let error = bench.joined(newcomer).expect("five minutes are over").unwrap_err();
    assert_eq!(error, MemberError::UnknownMember.into());
    assert_eq!(bench.joined(leader), None, "it was in the group before, and waits as it likes");
    bench.advance(SESSION);
    assert_eq!(bench.is_in(leader).members.len(), 1);
}

#[test]
fn who_does_not_ask_for_its_assignment_is_out() {
    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), joiner()]);
    bench.sync(&members[0], 1, &[]);
    for _ in 0..7 {
        bench.advance(SESSION - 1);
        for member in &members {
            let _ = bench.heartbeat(member, 1);
        }
    }
    assert_eq!(bench.heartbeat(&members[0], 1), Err(MemberError::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&members[1], 1), Err(MemberError::UnknownMember));
}

#[test]
fn members_leave_by_id_or_by_static_name() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner(), as_instance("i"), as_instance("j")]);
    let leaving = |member: Option<&MemberId>, name: Option<&str>| LeavingMember {
        member: member.cloned(),
        instance: name.map(instance),
        reason: None,
    };
    let outcomes = bench.leave(vec![
        leaving(Some(&unknown()), None),
        leaving(None, None),
        leaving(None, Some("other")),
        leaving(Some(&members[0]), Some("i")),
        leaving(None, Some("i")),
        leaving(Some(&members[2]), Some("j")),
    ]);
    use MemberError::{FencedInstance, UnknownMember};
    let expected =
        [Err(UnknownMember), Err(UnknownMember), Err(UnknownMember), Err(FencedInstance)];
    assert_eq!(outcomes[..4], expected);
    assert_eq!(outcomes[4..], [Ok(()), Ok(())]);
    assert_eq!(bench.state(), Some(GroupState::PreparingRebalance));
    let waiter = bench.join(as_member(&members[0]));
    assert_eq!(bench.is_in(waiter).members.len(), 1);
}

#[test]
fn the_last_to_leave_ends_the_generation_durably() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.two();
    bench.leave_one(&follower).unwrap();
    bench.leave_one(&leader).unwrap();
    assert_eq!(bench.state(), Some(GroupState::Empty));
    bench.restart();
    assert_eq!(bench.state(), Some(GroupState::Empty));
    let waiter = bench.join(joiner());
    bench.advance(DELAY);
    assert_eq!(bench.is_in(waiter).generation, generation(3));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner(), as_instance("i")]);
    bench.writes = Writes::AreHeld;
    let waiter = bench.join(as_instance("i"));
    assert_eq!(bench.joined(waiter), None, "its new id is not durable yet");
    bench.end_writes(&Ok(()));
    bench.writes = Writes::EndAtOnce;
    let joined = bench.is_in(waiter);
    assert_eq!((joined.generation, joined.skip_assignment), (generation(1), false));
    assert_ne!(joined.member, members[1]);
    let synced = bench.sync(&joined.member, 1, &[]);
    assert_eq!(bench.synced(synced), Some(Ok("1".to_owned())), "it has what it had");
    assert_eq!(bench.state(), Some(GroupState::Stable));
    let old = bench.heartbeat_as(&members[1], Some(instance("i")), 1);
    assert_eq!(old, Err(MemberError::FencedInstance));
    bench.restart();
    assert_eq!(bench.heartbeat(&joined.member, 1), Ok(()));
}

#[test]
fn a_static_member_whose_return_is_not_stored_is_still_the_old_one() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner(), as_instance("i")]);
    bench.writes = Writes::AreHeld;
    let waiter = bench.join(as_instance("i"));
    bench.end_writes(&Err(disk_full()));
    assert_eq!(bench.joined(waiter), Some(Err(disk_full().into())));
    assert_eq!(bench.heartbeat_as(&members[1], Some(instance("i")), 1), Ok(()));
}

#[test]
fn a_leader_that_comes_back_does_not_assign() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![as_instance("i"), joiner()]);
    let waiter = bench.join(as_instance("i"));
    let joined = bench.is_in(waiter);
    assert!(joined.skip_assignment);
    assert_eq!((joined.leader, joined.members.len()), (Some(joined.member.clone()), 2));
    let old_client = JoinGroup { leader_return: LeaderReturn::Follows, ..as_instance("i") };
    let waiter = bench.join(old_client);
    let follows = bench.is_in(waiter);
    assert!(!follows.skip_assignment && follows.members.is_empty());
    assert_eq!(follows.leader, Some(joined.member), "as whoever it does not know to be itself");
    assert_eq!(bench.heartbeat(&members[1], 1), Ok(()));
}

#[test]
fn a_static_member_with_news_or_before_the_assignment_begins_a_rebalance() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner(), as_instance("i")]);
    let only_sticky = vec![protocol("sticky", "")];
    bench.join(JoinGroup { protocols: only_sticky, ..as_instance("i") });
    assert_eq!(bench.heartbeat(&members[0], 1), Err(MemberError::RebalanceInProgress));

    let mut bench = Bench::new();
    let members = bench.joined_group(vec![joiner(), as_instance("i")]);
    let old = bench.sync(&members[1], 1, &[]);
    let new = bench.join(as_instance("i"));
    assert_eq!(bench.synced(old), Some(Err(MemberError::FencedInstance.into())));
    let leader = bench.join(as_member(&members[0]));
    assert_eq!(bench.is_in(leader).generation, generation(2));
    assert_eq!(bench.is_in(new).generation, generation(2));
}

#[test]
fn an_absent_static_member_keeps_its_place_as_long_as_its_session() {
    let mut bench = Bench::new();
    let patient = JoinGroup { session_timeout: Duration::from_secs(300), ..as_instance("i") };
    let members = bench.stable_group(vec![joiner(), patient]);
    let waiter = bench.join(as_member(&members[0]));
    bench.advance(REBALANCE);
    let joined = bench.is_in(waiter);
    assert_eq!((joined.generation, joined.members.len()), (generation(2), 2));
}

#[test]
fn a_member_commits_in_its_generation_and_a_stranger_only_to_an_empty_group() {
    let nobody = Committer::default();
    let member = |member: &MemberId, number| Committer {
        member: Some(member.clone()),
        instance: None,
        generation: Some(generation(number)),
    };
    let mut bench = Bench::new();
    assert_eq!(bench.commit(&nobody), Ok(()));
    assert_eq!(bench.commit(&member(&unknown(), 1)), Err(NotCommitter::UnknownGroup));
    let members = bench.joined_group(vec![joiner()]);
    let one = &members[0];
    let current = generation(1);
    use MemberError::*;
    let table = [
        (nobody.clone(), UnknownMember),
        (member(&unknown(), 1), UnknownMember),
        (member(one, 0), IllegalGeneration { current }),
        (Committer { generation: None, ..member(one, 0) }, IllegalGeneration { current }),
        (Committer { instance: Some(instance("i")), ..member(one, 1) }, UnknownMember),
        (member(one, 1), RebalanceInProgress),
    ];
    for (committer, expected) in table {
        assert_eq!(bench.commit(&committer), Err(NotCommitter::Member(expected)), "{committer:?}");
    }
    bench.sync(one, 1, &[]);
    bench.advance(SESSION - 1);
    assert_eq!(bench.commit(&member(one, 1)), Ok(()), "stable");
    bench.advance(SESSION - 1);
    assert_eq!(bench.heartbeat(one, 1), Ok(()), "a commit is a sign of life");
    bench.join(joiner());
    assert_eq!(bench.commit(&member(one, 1)), Ok(()), "what was read before the rebalance");
    bench.leave_one(one).unwrap();
    bench.advance(REBALANCE * 10);
    assert_eq!(bench.state(), Some(GroupState::Empty));
    assert_eq!(bench.commit(&nobody), Ok(()));
    let left = bench.commit(&member(one, 1));
    assert_eq!(left, Err(NotCommitter::Member(UnknownMember)));
}

#[test]
fn after_a_restart_members_go_on_where_they_were() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner(), as_instance("i")]);
    bench.advance(SESSION - 1);
    for member in &members {
        bench.heartbeat(member, 1).unwrap();
    }
    bench.restart();
    bench.advance(SESSION - 1);
    for member in &members {
        assert_eq!(bench.heartbeat(member, 1), Ok(()), "sessions begin at the start");
    }
    let synced = bench.sync(&members[1], 1, &[]);
    assert_eq!(bench.synced(synced), Some(Ok("1".to_owned())));
    let waiter = bench.join(as_member(&members[1]));
    assert_eq!(bench.is_in(waiter).generation, generation(1), "joining again is no news");
    let waiter = bench.join(as_member(&members[0]));
    bench.join(JoinGroup { instance: Some(instance("i")), ..as_member(&members[1]) });
    assert_eq!(bench.is_in(waiter).generation, generation(2));
}

#[test]
fn a_rebalance_that_a_crash_cuts_short_begins_anew() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.two();
    bench.join(as_member(&leader));
    bench.join(as_member(&follower));
    bench.writes = Writes::AreHeld;
    bench.sync(&leader, 2, &[(&leader, "lost")]);
    bench.restart();
    bench.writes = Writes::EndAtOnce;
    let current = generation(1);
    assert_eq!(bench.heartbeat(&leader, 2), Err(MemberError::IllegalGeneration { current }));
    let waiters = [&leader, &follower].map(|member| bench.join(as_member(member)));
    for waiter in waiters {
        assert_eq!(bench.is_in(waiter).generation, generation(2));
    }
}

#[test]
fn a_description_shows_assignments_only_while_they_stand() {
    let mut bench = Bench::new();
    let members = bench.stable_group(vec![joiner()]);
    let described = bench.membership.describe(&group()).unwrap();
    assert_eq!(described.protocol.as_deref(), Some("range"));
    assert_eq!(described.members[0].member, members[0]);
    assert_eq!(described.members[0].metadata, "m");
    assert_eq!(described.members[0].assignment, "0");
    bench.join(joiner());
    let described = bench.membership.describe(&group()).unwrap();
    assert_eq!(described.listing.state.name(), "PreparingRebalance");
    assert!(described.members.iter().all(|member| member.assignment == Bytes::new()));
    let stable = GroupFilter { states: vec![GroupState::Stable], kinds: Vec::new() };
    assert!(bench.membership.list([], &stable).is_empty());
    let all = bench.membership.list([group()], &GroupFilter::default());
    assert_eq!(all.len(), 1, "a group with members and offsets is one");
}
