//! Goal: every partition has one owner at any moment, whatever members do, whatever writes fail and
//! however often the process dies; and members come to their share as KIP-848 says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::error::{ConsumerHeartbeatError, JoinGroupError, MemberError};
use super::super::id::{MemberEpoch, MemberId};
use super::super::membership::NotCommitter;
use super::super::request::*;
use super::super::subscription::Usage;
use super::super::testing::*;
use super::super::turn::{Reply, Waiter};
use super::{Matching, TopicShape, TopicsView};
use crate::topic_pattern::TopicPattern;
use crate::topics::{TopicId, TopicName, TopicsVersion};

pub(super) const SESSION: u64 = 45_000;

pub(super) fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

pub(super) fn numbers(numbers: impl IntoIterator<Item = u32>) -> Assignment {
    let numbers: BTreeSet<_> = numbers.into_iter().collect();
    if numbers.is_empty() { Assignment::new() } else { [(topic(1), numbers)].into() }
}

pub(super) fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

pub(super) fn epoch(number: i32) -> MemberEpoch {
    MemberEpoch::new(number).unwrap()
}

/// A heartbeat that says nothing new.
pub(in super::super) fn beat(name: &str, number: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: group(),
        member: member(name),
        instance: None,
        step: ConsumerStep::Continue { epoch: epoch(number) },
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        rack: None,
        rebalance_timeout: None,
        subscribed: None,
        pattern: None,
        assignor: None,
        owned: None,
    }
}

pub(in super::super) fn joining(name: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        step: ConsumerStep::Join,
        rebalance_timeout: Some(Duration::from_millis(REBALANCE)),
        subscribed: Some(vec!["t".to_owned()]),
        ..beat(name, 0)
    }
}

pub(super) fn owning(name: &str, number: i32, owned: Assignment) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(owned), ..beat(name, number) }
}

type Answer = Result<HeartbeatAnswer, ConsumerHeartbeatError>;

/// A bench with a topic `t`.
pub(super) struct House {
    pub(super) bench: Bench,
    pub(super) topics: BTreeMap<String, TopicShape>,
    /// What patterns were matched against, and how often.
    seen: BTreeMap<String, TopicShape>,
    version: u64,
    searches: usize,
}

impl House {
    pub(super) fn new(partitions: u32) -> Self {
        let topics = [("t".to_owned(), (topic(1), partitions))].into();
        Self { bench: Bench::new(), topics, seen: BTreeMap::new(), version: 0, searches: 0 }
    }

    /// Asks as the broker does: what patterns match is found out if that is needed.
    pub(super) fn ask(&mut self, request: &ConsumerHeartbeat) -> Waiter {
        self.say(|bench, topics| bench.consumer_heartbeat(request, topics))
    }

    pub(super) fn say(
        &mut self,
        mut say: impl FnMut(&mut Bench, &TopicsView<'_>) -> Waiter,
    ) -> Waiter {
        let topics = self.topics.clone();
        if self.seen != topics {
            self.version += 1;
            self.seen.clone_from(&topics);
        }
        let version = TopicsVersion::new(self.version);
        let find = |name: &str| topics.get(name).copied();
        let mut view = TopicsView { version, find: &find, matching: Matching::new() };
        loop {
            let waiter = say(&mut self.bench, &view);
            let Some(Reply::Unresolved(patterns)) = self.bench.replies.get(&waiter) else {
                return waiter;
            };
            for pattern in patterns {
                self.searches += 1;
                let matcher = pattern.matcher().unwrap();
                let names = topics.keys().filter(|name| matcher.matches(name));
                let names = names.map(|name| TopicName::new(name).unwrap()).collect();
                assert!(view.matching.insert(pattern.clone(), names).is_none(), "asked twice");
            }
        }
    }

    fn answer(&mut self, waiter: Waiter) -> Option<Answer> {
        self.bench.replies.remove(&waiter).map(|reply| match reply {
            Reply::ConsumerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn send(&mut self, request: &ConsumerHeartbeat) -> Answer {
        let waiter = self.ask(request);
        self.answer(waiter).expect("it is answered")
    }

    /// The epoch and the assignment, if that is told.
    pub(super) fn told(&mut self, request: &ConsumerHeartbeat) -> (i32, Option<Assignment>) {
        let answer = self.send(request).unwrap();
        (answer.epoch.unwrap().get(), answer.assignment)
    }

    pub(super) fn state(&self) -> GroupState {
        self.bench.membership.describe_consumer(&group()).unwrap().listing.state
    }
}

#[test]
fn one_member_has_everything() {
    let mut house = House::new(3);
    assert_eq!(house.told(&joining("a")), (1, Some(numbers(0..3))));
    assert_eq!(house.state(), GroupState::Stable);
    let log = house.bench.log.len();
    assert_eq!(house.told(&beat("a", 1)), (1, None), "nothing new is nothing to tell");
    assert_eq!(house.bench.log.len(), log, "and nothing to write");
}

#[test]
fn a_partition_is_given_up_before_it_is_given() {
    let mut house = House::new(4);
    house.told(&joining("a"));
    assert_eq!(house.told(&joining("b")), (2, Some(numbers([]))), "all of it is still a's");
    assert_eq!(house.state(), GroupState::Reconciling);
    let (at, kept) = house.told(&beat("a", 1));
    let kept = kept.unwrap();
    assert_eq!((at, kept[&topic(1)].len()), (1, 2), "a stays at its epoch until it has given up");
    assert_eq!(house.told(&owning("a", 1, numbers(0..4))), (1, None));
    assert_eq!(house.told(&beat("b", 2)), (2, None), "a has not said so yet");
    assert_eq!(house.told(&owning("a", 1, kept.clone())).0, 2);
    let (_, given) = house.told(&beat("b", 2));
    let given = given.unwrap();
    assert_eq!(given[&topic(1)].len(), 2);
    assert!(kept[&topic(1)].is_disjoint(&given[&topic(1)]));
    assert_eq!(house.state(), GroupState::Stable);
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let mut house = House::new(2);
    house.told(&joining("a"));
    house.told(&joining("b"));
    house.told(&beat("a", 1));
    house.bench.advance(REBALANCE / 2);
    assert_eq!(house.told(&owning("a", 1, numbers(0..2))), (1, None));
    house.told(&beat("b", 2));
    house.bench.advance(REBALANCE / 2);
    let gone = house.send(&beat("a", 1)).unwrap_err();
    assert_eq!(gone, MemberError::UnknownMember.into());
    let (at, all) = house.told(&beat("b", 2));
    assert_eq!((at, all), (3, Some(numbers(0..2))));
}

#[test]
fn the_silent_are_out_and_the_last_leaves_an_empty_group() {
    let mut house = House::new(1);
    house.told(&joining("a"));
    house.bench.advance(SESSION - 1);
    house.told(&beat("a", 1));
    house.bench.advance(SESSION);
    assert_eq!(house.state(), GroupState::Empty);
    let gone = house.send(&beat("a", 1)).unwrap_err();
    assert_eq!(gone, MemberError::UnknownMember.into());
    assert_eq!(house.told(&joining("a")), (3, Some(numbers(0..1))), "epochs do not go back");
    let leave = ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("a", 3) };
    assert_eq!(house.send(&leave).unwrap().epoch, None);
    house.bench.restart();
    assert_eq!(house.state(), GroupState::Empty);
}

#[test]
fn epochs_fence() {
    let mut house = House::new(2);
    house.told(&joining("a"));
    let current = epoch(1);
    let fenced = ConsumerHeartbeatError::FencedEpoch { current };
    assert_eq!(house.send(&beat("a", 2)), Err(fenced));
    house.told(&joining("b"));
    let (_, kept) = house.told(&beat("a", 1));
    let kept = kept.unwrap();
    house.told(&owning("a", 1, kept.clone()));
    let again = house.told(&owning("a", 1, kept));
    assert_eq!(again.0, 2, "its answer may have been lost");
    let current = epoch(2);
    let fenced = ConsumerHeartbeatError::FencedEpoch { current };
    assert_eq!(house.send(&owning("a", 1, numbers(0..2))), Err(fenced));
    let unknown = ConsumerHeartbeatError::from(MemberError::UnknownMember);
    assert_eq!(house.send(&beat("c", 2)), Err(unknown));
    let back = house.told(&joining("a"));
    assert_eq!(back.0, 2, "who begins anew is let in");
}

#[test]
fn bad_joins_are_refused() {
    let mut house = House::new(1);
    let unknown = ConsumerHeartbeatError::UnknownGroup { group: group() };
    assert_eq!(house.send(&beat("a", 1)), Err(unknown));
    for request in [
        ConsumerHeartbeat { rebalance_timeout: None, ..joining("a") },
        ConsumerHeartbeat { subscribed: None, ..joining("a") },
        ConsumerHeartbeat { owned: Some(numbers([0])), ..joining("a") },
    ] {
        let refused = house.send(&request);
        assert!(matches!(refused, Err(ConsumerHeartbeatError::Invalid(_))), "{request:?}");
    }
    assert!(house.bench.membership.describe_consumer(&group()).is_none());
}

#[test]
fn a_topic_that_changes_and_a_new_subscription_raise_the_epoch() {
    let mut house = House::new(1);
    house.told(&joining("a"));
    house.topics.insert("t".to_owned(), (topic(1), 2));
    assert_eq!(house.told(&beat("a", 1)), (2, Some(numbers(0..2))));
    let none = ConsumerHeartbeat { subscribed: Some(Vec::new()), ..beat("a", 2) };
    let (at, left) = house.told(&none);
    assert_eq!((at, left), (2, Some(numbers([]))), "it must give them up first");
    assert_eq!(house.told(&owning("a", 2, numbers([]))).0, 3);
    house.topics.clear();
    house.told(&beat("a", 3));
    assert_eq!(house.state(), GroupState::Stable);
}

pub(super) fn by_pattern(name: &str, pattern: &str) -> ConsumerHeartbeat {
    let pattern = PatternChange::Set(TopicPattern::new(pattern).unwrap());
    ConsumerHeartbeat { subscribed: None, pattern: Some(pattern), ..joining(name) }
}

fn whole(topics: impl IntoIterator<Item = u128>) -> Assignment {
    topics.into_iter().map(|number| (topic(number), [0].into())).collect()
}

#[test]
fn a_pattern_finds_topics_as_they_come_and_go() {
    let mut house = House::new(1);
    house.topics.insert("t2".to_owned(), (topic(2), 1));
    house.topics.insert("other".to_owned(), (topic(3), 1));
    assert_eq!(house.told(&by_pattern("a", "t.*")), (1, Some(whole([1, 2]))));
    house.topics.insert("t4".to_owned(), (topic(4), 1));
    assert_eq!(house.told(&beat("a", 1)), (2, Some(whole([1, 2, 4]))));
    house.topics.remove("t2");
    let (at, left) = house.told(&owning("a", 2, whole([1, 2, 4])));
    assert_eq!((at, left), (2, Some(whole([1, 4]))), "what is gone is given up");
    assert_eq!(house.told(&owning("a", 2, whole([1, 4]))), (3, None));
    house.topics.insert("u".to_owned(), (topic(5), 1));
    assert_eq!(house.told(&beat("a", 3)), (3, None), "what does not match is nobody's business");

    let both = ConsumerHeartbeat { subscribed: Some(vec!["u".to_owned()]), ..beat("a", 3) };
    assert_eq!(house.told(&both), (4, Some(whole([1, 4, 5]))), "names and a pattern add up");
    let clear = ConsumerHeartbeat { pattern: Some(PatternChange::Clear), ..beat("a", 4) };
    assert_eq!(house.told(&clear).1, Some(whole([5])));
}

#[test]
fn a_pattern_is_searched_for_once_in_a_version_of_the_topics() {
    let mut house = House::new(1);
    for name in ["a", "b", "c"] {
        house.told(&by_pattern(name, "t.*"));
    }
    assert_eq!(house.searches, 1, "three members have the same");
    house.told(&by_pattern("d", "t"));
    assert_eq!(house.searches, 2);
    house.topics.insert("t2".to_owned(), (topic(2), 1));
    for _ in 0..3 {
        for name in ["b", "c", "d"] {
            house.told(&joining_again(name));
        }
    }
    assert_eq!(house.searches, 4, "both once more, whoever asks how often");
}

/// Says nothing of what it subscribes to but that it is there.
fn joining_again(name: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { subscribed: Some(Vec::new()), ..joining(name) }
}

#[test]
fn a_pattern_survives_a_restart_and_is_no_news_after_it() {
    let mut house = House::new(1);
    house.told(&by_pattern("a", "t.*"));
    house.bench.restart();
    let usage = house.bench.membership.usage(&group());
    assert_eq!(usage, Some(Usage::Subscribed(["t".to_owned()].into())), "its offsets are in use");
    let log = house.bench.log.len();
    assert_eq!(house.told(&beat("a", 1)), (1, None));
    assert_eq!(house.bench.log.len(), log);
    house.topics.insert("t2".to_owned(), (topic(2), 1));
    assert_eq!(house.told(&beat("a", 1)), (2, Some(whole([1, 2]))));
    let described = house.bench.membership.describe_consumer(&group()).unwrap();
    let pattern = described.members[0].pattern.as_ref().map(TopicPattern::as_str);
    assert_eq!(pattern, Some("t.*"));
}

#[test]
fn a_static_member_that_is_away_is_waited_for() {
    let mut house = House::new(2);
    let fixed = |request| ConsumerHeartbeat { instance: Some(instance("i")), ..request };
    house.told(&fixed(joining("a")));
    let taken = house.send(&fixed(joining("b"))).unwrap_err();
    assert_eq!(taken, ConsumerHeartbeatError::UnreleasedInstance { member: member("a") });
    let away = ConsumerHeartbeat { step: ConsumerStep::LeaveForNow, ..beat("a", 1) };
    assert!(matches!(house.send(&away), Err(ConsumerHeartbeatError::Invalid(_))));
    assert_eq!(house.send(&fixed(away)).unwrap().epoch, None);
    house.bench.restart();
    assert_eq!(house.told(&fixed(joining("b"))), (1, Some(numbers(0..2))), "and has what it had");
    let fenced = house.send(&fixed(beat("a", 1))).unwrap_err();
    assert_eq!(fenced, MemberError::FencedInstance.into());
}

/// Everybody says what it has, and goes where it is told, until all have arrived.
fn settle(house: &mut House, members: &mut BTreeMap<&str, (i32, Assignment)>) {
    for _ in 0..4 {
        for (name, (at, has)) in &mut *members {
            let (next, given) = house.told(&owning(name, *at, has.clone()));
            *at = next;
            has.clone_from(&given.unwrap_or_else(|| has.clone()));
        }
    }
    assert_eq!(house.state(), GroupState::Stable);
}

fn sorted<'a>(shares: impl Iterator<Item = &'a Assignment>) -> Vec<u32> {
    let mut all: Vec<u32> = shares.flat_map(|share| share.values().flatten().copied()).collect();
    all.sort_unstable();
    all
}

#[test]
fn an_heir_that_comes_under_the_id_of_another_member_takes_that_ones_place_too() {
    let mut house = House::new(6);
    let fixed = |request| ConsumerHeartbeat { instance: Some(instance("i")), ..request };
    let mut members = BTreeMap::new();
    for request in [fixed(joining("a")), joining("b"), joining("c")] {
        let (at, given) = house.told(&request);
        let name = ["a", "b", "c"][members.len()];
        members.insert(name, (at, given.unwrap()));
    }
    settle(&mut house, &mut members);
    let before = members["b"].0;
    let (at, _) = members.remove("a").unwrap();
    house
        .send(&fixed(ConsumerHeartbeat { step: ConsumerStep::LeaveForNow, ..beat("a", at) }))
        .unwrap();

    let (at, given) = house.told(&fixed(joining("b")));
    let fenced = ConsumerHeartbeatError::FencedEpoch { current: epoch(at) };
    for late in [beat("b", before), owning("b", before, Assignment::new())] {
        assert_eq!(house.send(&late).unwrap_err(), fenced, "who was b before is so no more");
    }
    members.insert("b", (at, given.unwrap()));
    settle(&mut house, &mut members);
    let described = house.bench.membership.describe_consumer(&group()).unwrap();
    assert_eq!(sorted(described.members.iter().map(|member| &member.target)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(sorted(members.values().map(|(_, has)| has)), [0, 1, 2, 3, 4, 5]);
    house.bench.advance(SESSION);
    assert_eq!(house.state(), GroupState::Empty, "and nobody is waited for twice");
}

#[test]
fn nothing_is_told_before_it_is_durable_and_a_failed_write_is_made_good() {
    let mut house = House::new(2);
    house.bench.writes = Writes::AreHeld;
    let waiter = house.ask(&joining("a"));
    assert_eq!(house.answer(waiter), None);
    house.bench.end_writes(&Err(disk_full()));
    let failed = house.answer(waiter).unwrap();
    assert_eq!(failed, Err(disk_full().into()));
    let waiter = house.ask(&joining("a"));
    assert_eq!(house.answer(waiter), None);
    house.bench.end_writes(&Ok(()));
    assert_eq!(house.answer(waiter).unwrap().unwrap().assignment, Some(numbers(0..2)));
    house.bench.restart();
    house.bench.writes = Writes::EndAtOnce;
    assert_eq!(house.told(&owning("a", 1, numbers(0..2))).0, 1, "a restart is not noticed");
}

#[test]
fn a_group_that_all_have_left_may_change_its_kind() {
    let mut house = House::new(1);
    house.told(&joining("a"));
    let waiter = house.bench.join(joiner());
    let refused = house.bench.joined(waiter).unwrap();
    assert_eq!(refused, Err(JoinGroupError::InconsistentProtocol));
    house.send(&ConsumerHeartbeat { step: ConsumerStep::Leave, ..beat("a", 1) }).unwrap();
    let waiter = house.bench.join(joiner());
    house.bench.advance(3000);
    let joined = house.bench.joined(waiter).unwrap().unwrap();
    assert_eq!(joined.generation, generation(3), "it goes on counting");
    let unknown = ConsumerHeartbeatError::UnknownGroup { group: group() };
    assert_eq!(house.send(&joining("a")), Err(unknown));
    house.bench.leave_one(&joined.member).unwrap();
    assert_eq!(house.told(&joining("a")).0, 5);
    house.bench.restart();
    assert_eq!(house.state(), GroupState::Stable);
}

#[test]
fn members_commit_and_fetch_at_their_epoch() {
    let mut house = House::new(1);
    house.told(&joining("a"));
    let at = |number| Committer {
        member: Some(member("a")),
        instance: None,
        generation: Some(generation(number)),
    };
    assert_eq!(house.bench.commit(&at(1)), Ok(()));
    let stale = MemberError::StaleEpoch { current: epoch(1) };
    assert_eq!(house.bench.commit(&at(0)), Err(NotCommitter::Member(stale.clone())));
    let nobody = house.bench.commit(&Committer::default());
    assert_eq!(nobody, Err(NotCommitter::Member(MemberError::UnknownMember)));
    let fetch = |number| house.bench.membership.check_fetch(&group(), &member("a"), epoch(number));
    assert_eq!((fetch(1), fetch(2)), (Ok(()), Err(stale)));
}

const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Action {
    /// A heartbeat, in which the client has done what it was told.
    Beat(usize),
    /// One in which it has not yet.
    Dawdle(usize),
    Leave(usize),
    Die(usize),
    Grow,
    Advance(u64),
    HoldWrites,
    EndWrite,
    FailWrite,
    ReleaseWrites,
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let client = 0..CLIENTS;
    prop_oneof![
        20 => client.clone().prop_map(Beat),
        4 => client.clone().prop_map(Dawdle),
        1 => client.clone().prop_map(Leave),
        1 => client.prop_map(Die),
        1 => Just(Grow),
        2 => prop_oneof![4 => Just(5000), 1 => Just(50_000)].prop_map(Advance),
        1 => Just(HoldWrites),
        2 => Just(EndWrite),
        1 => Just(FailWrite),
        2 => Just(ReleaseWrites),
        1 => Just(Restart),
    ]
}

/// A client that does as it is told: it owns what it was assigned, once it has given up the rest.
#[derive(Default)]
struct Client {
    life: usize,
    epoch: Option<i32>,
    owned: Assignment,
    asked: Option<Waiter>,
    lost_an_answer: bool,
    /// When it sent what it is waiting for an answer to.
    asked_at: u64,
    /// When it sent the last heartbeat that was answered: a session later it owns nothing any more.
    alive_at: u64,
}

struct Model {
    house: House,
    clients: Vec<Client>,
    ms: u64,
}

impl Model {
    fn act(&mut self, action: &Action) {
        match *action {
            Action::Beat(client) => self.beat(client, true),
            Action::Dawdle(client) => self.beat(client, false),
            Action::Leave(client) => self.leave(client),
            Action::Die(client) => {
                let life = self.clients[client].life + 1;
                self.clients[client] = Client { life, ..Client::default() };
            }
            Action::Grow => {
                let (_, partitions) = self.house.topics.get_mut("t").unwrap();
                *partitions = (*partitions + 1).min(9);
            }
            Action::Advance(ms) => {
                self.ms += ms;
                self.house.bench.advance(ms);
            }
            Action::HoldWrites => self.house.bench.writes = Writes::AreHeld,
            Action::EndWrite => self.house.bench.end_write(&Ok(())),
            Action::FailWrite => self.house.bench.end_write(&Err(disk_full())),
            Action::ReleaseWrites => {
                self.house.bench.writes = Writes::EndAtOnce;
                self.house.bench.end_writes(&Ok(()));
            }
            Action::Restart => {
                self.house.bench.restart();
                for client in &mut self.clients {
                    client.lost_an_answer |= client.asked.take().is_some();
                }
            }
        }
        self.read();
        self.check();
    }

    fn name(&self, number: usize) -> String {
        format!("{number}-{}", self.clients[number].life)
    }

    fn beat(&mut self, number: usize, says_what_it_owns: bool) {
        if self.clients[number].asked.is_some() {
            return;
        }
        let name = self.name(number);
        let client = &self.clients[number];
        let mut request = match client.epoch {
            None => joining(&name),
            Some(epoch) if says_what_it_owns => owning(&name, epoch, client.owned.clone()),
            Some(epoch) => beat(&name, epoch),
        };
        // An answer may have been lost: it asks for everything, by saying everything. And it may
        // take its time; what happens then is another test's.
        if client.lost_an_answer || client.epoch.is_none() {
            request.rebalance_timeout = Some(Duration::from_secs(100_000));
            request.subscribed = Some(vec!["t".to_owned()]);
        }
        if client.lost_an_answer && client.epoch.is_some() {
            request.owned = Some(client.owned.clone());
        }
        let waiter = self.house.ask(&request);
        self.clients[number].asked = Some(waiter);
        self.clients[number].asked_at = self.ms;
    }

    fn leave(&mut self, number: usize) {
        let Some(epoch) = self.clients[number].epoch else { return };
        let step = ConsumerStep::Leave;
        self.house.ask(&ConsumerHeartbeat { step, ..beat(&self.name(number), epoch) });
        let life = self.clients[number].life + 1;
        self.clients[number] = Client { life, ..Client::default() };
    }

    fn read(&mut self) {
        for number in 0..CLIENTS {
            let Some(waiter) = self.clients[number].asked else { continue };
            let Some(answer) = self.house.answer(waiter) else { continue };
            let client = &mut self.clients[number];
            client.asked = None;
            match answer {
                Ok(answer) => {
                    client.alive_at = client.asked_at;
                    client.lost_an_answer = false;
                    client.epoch = answer.epoch.map(MemberEpoch::get);
                    client.owned = answer.assignment.unwrap_or(client.owned.clone());
                }
                Err(ConsumerHeartbeatError::Coordinator(_)) => client.lost_an_answer = true,
                Err(_) => (client.epoch, client.owned) = (None, Assignment::new()),
            }
        }
        for client in &mut self.clients {
            // As a client does whose session must have ended.
            if self.ms - client.alive_at >= SESSION {
                (client.epoch, client.owned) = (None, Assignment::new());
            }
        }
    }

    fn check(&self) {
        let mut owners = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            for partition in client.owned.values().flatten() {
                let other = owners.insert(*partition, number);
                assert_eq!(other, None, "{partition} has two owners");
            }
        }
    }

    /// Once nobody interferes, everybody comes to a fair share, and all of it is on the disk.
    fn end(mut self) {
        self.act(&Action::ReleaseWrites);
        for _ in 0..12 {
            (0..CLIENTS).for_each(|client| self.act(&Action::Beat(client)));
            self.act(&Action::Advance(5000));
        }
        // Whoever died is gone by now, and its share has been given to the others.
        for _ in 0..4 {
            (0..CLIENTS).for_each(|client| self.act(&Action::Beat(client)));
        }
        assert_eq!(self.house.state(), GroupState::Stable);
        let (_, partitions) = self.house.topics["t"];
        let owned = |client: &Client| client.owned.values().map(BTreeSet::len).sum::<usize>();
        let loads: Vec<_> = self.clients.iter().map(owned).collect();
        assert_eq!(loads.iter().sum::<usize>(), partitions as usize, "{loads:?}");
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        let live = self.house.bench.membership.describe_consumer(&group()).unwrap();
        self.house.bench.restart();
        let restored = self.house.bench.membership.describe_consumer(&group()).unwrap();
        assert_eq!(live, restored, "memory and disk differ");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_partition_has_one_owner(actions in prop::collection::vec(action(), 1..120)) {
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let mut model = Model { house: House::new(5), clients, ms: 0 };
        for action in &actions {
            model.act(action);
        }
        model.end();
    }
}
