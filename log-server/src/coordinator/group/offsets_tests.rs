//! Goal: no committed offset is lost before its time, and none is kept for ever.

use super::*;
use crate::coordinator::StateMachine;
use uuid::Uuid;

fn key(topic: u128, partition: u32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(topic)), partition }
}

fn committed(offset: i64, time: i64) -> CommittedOffset {
    CommittedOffset {
        offset: Offset::new(offset).unwrap(),
        leader_epoch: LeaderEpoch::new(2),
        metadata: "m".to_owned(),
        commit_time: TimestampMs::new(time),
        expire_time: None,
    }
}

fn group(id: &str) -> GroupId {
    GroupId::new(id).unwrap()
}

fn apply<T, E: std::fmt::Debug>(state: &mut GroupsState, decided: Decided<T, E>) -> T {
    let (records, reply) = decided.unwrap();
    for record in records {
        state.replay(record).unwrap();
    }
    reply
}

/// A group with these offsets in topic 1.
fn with(offsets: impl IntoIterator<Item = (u32, CommittedOffset)>) -> GroupsState {
    let mut state = GroupsState::default();
    let offsets = offsets.into_iter().map(|(partition, offset)| (key(1, partition), offset));
    let decided = commit(&state, &group("g"), &offsets.collect());
    apply(&mut state, decided);
    state
}

fn rebuilt(state: &GroupsState) -> GroupsState {
    let mut rebuilt = GroupsState::default();
    for record in state.snapshot() {
        rebuilt.replay(record).unwrap();
    }
    rebuilt
}

const WEEK: Duration = Duration::from_millis(1000);

fn expire_at(state: &mut GroupsState, by: &Expiry, now: i64) -> Expired {
    let decided = expire(state, &group("g"), by, TimestampMs::new(now), WEEK);
    apply(state, decided)
}

#[test]
fn the_last_commit_counts_and_a_snapshot_keeps_it() {
    let (one, other) = (group("one"), group("other"));
    let mut state = GroupsState::default();
    for (group, offset) in [(&one, 5), (&other, 6), (&one, 3)] {
        let decided = commit(&state, group, &[(key(1, 0), committed(offset, 7))].into());
        apply(&mut state, decided);
    }
    assert_eq!(state.offsets_of(&one).unwrap()[&key(1, 0)], committed(3, 7));
    assert_eq!(rebuilt(&state), state);
    assert_eq!(state.offset_count(), 2);
}

/// The bytes of a commit as the first version of this log has written it.
#[test]
fn an_old_commit_is_still_read() {
    let bytes =
        b"\x0a\x1b\x0a\x01g\x12\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x05\x28\x02\x38\x07";
    let record = <GroupRecord as prost::Message>::decode(&bytes[..]).unwrap();
    let mut state = GroupsState::default();
    state.replay(record).unwrap();
    let expected = CommittedOffset { metadata: String::new(), ..committed(5, 7) };
    assert_eq!(state.offsets_of(&group("g")).unwrap()[&key(1, 0)], expected);
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it() {
    let mut state = with([(0, committed(1, 0))]);
    let other = [(key(2, 0), committed(2, 0))].into();
    let decided = commit(&state, &group("g"), &other);
    apply(&mut state, decided);
    let decided = delete_topic(&state, key(1, 0).topic_id);
    apply(&mut state, decided);
    assert_eq!(state.offsets_of(&group("g")).unwrap().len(), 1);
    assert!(delete_topic(&state, key(1, 0).topic_id).unwrap().0.is_empty());
    assert_eq!(rebuilt(&state), state);
}

#[test]
fn deleted_offsets_and_groups_are_gone() {
    let mut state = with([(0, committed(1, 0)), (1, committed(2, 0))]);
    let records = delete_offsets(&state, &group("g"), &[key(1, 0), key(1, 9)]);
    apply::<_, ()>(&mut state, Ok((records, ())));
    assert_eq!(state.offsets_of(&group("g")).unwrap().len(), 1);
    let decided = delete_group(&state, &group("g"));
    apply(&mut state, decided);
    assert_eq!(state, GroupsState::default());
    assert_eq!(delete_group(&state, &group("g")), Err(GroupUnknown));
}

#[test]
fn offsets_of_an_empty_group_expire_together() {
    let mut state = with([(0, committed(1, 100)), (1, committed(2, 900))]);
    let by = Expiry::SinceEmpty(TimestampMs::new(500));
    assert_eq!(expire_at(&mut state, &by, 1499), Expired::Offsets(0));
    assert_eq!(expire_at(&mut state, &by, 1500), Expired::Group);
    assert_eq!(state, GroupsState::default());
}

#[test]
fn offsets_without_members_expire_each_in_its_time() {
    let mut state = with([(0, committed(1, 100)), (1, committed(2, 900))]);
    assert_eq!(expire_at(&mut state, &Expiry::SinceCommit, 1100), Expired::Offsets(1));
    assert_eq!(expire_at(&mut state, &Expiry::SinceCommit, 1899), Expired::Offsets(0));
    assert_eq!(expire_at(&mut state, &Expiry::SinceCommit, 1900), Expired::Group);
}

#[test]
fn what_members_use_does_not_expire() {
    let mut state = with([(0, committed(1, 0))]);
    for by in [Expiry::Never, Expiry::SinceCommitUnless(vec![key(1, 0).topic_id])] {
        assert_eq!(expire_at(&mut state, &by, i64::MAX), Expired::Offsets(0));
    }
    let unused = Expiry::SinceCommitUnless(vec![key(2, 0).topic_id]);
    assert_eq!(expire_at(&mut state, &unused, i64::MAX), Expired::Offsets(1));
}

#[test]
fn a_committer_may_say_itself_how_long() {
    let own = CommittedOffset { expire_time: Some(TimestampMs::new(50)), ..committed(1, 0) };
    let mut state = with([(0, own)]);
    assert_eq!(rebuilt(&state), state);
    let by = Expiry::SinceEmpty(TimestampMs::new(0));
    assert_eq!(expire_at(&mut state, &by, 49), Expired::Offsets(0));
    assert_eq!(expire_at(&mut state, &by, 50), Expired::Group);
}
