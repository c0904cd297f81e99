//! Goal: whatever members do, in whatever order writes end or fail, and however often the process
//! dies: a generation has one assignment, generations and offsets do not go back, whoever waits is
//! answered, and what is in memory once all is quiet is what is on the disk.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::error::{JoinGroupError, MemberError, SyncGroupError};
use super::super::id::MemberId;
use super::super::request::*;
use super::super::state::GroupsState;
use super::super::stored::StoredGroup;
use super::super::testing::*;
use super::super::turn::{Reply, Waiter};
use crate::coordinator::StateMachine;

const CLIENTS: usize = 5;

#[derive(Clone, Debug)]
enum Action {
    Join(usize),
    /// As a static member, by a process that knows nothing of its predecessor.
    JoinStatic(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Commit(usize),
    Advance(u64),
    /// Everybody joins and asks for an assignment, as clients do that nothing has befallen.
    Gather,
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
        6 => client.clone().prop_map(Join),
        2 => client.clone().prop_map(JoinStatic),
        8 => client.clone().prop_map(Sync),
        3 => client.clone().prop_map(Heartbeat),
        1 => client.clone().prop_map(Leave),
        3 => client.prop_map(Commit),
        4 => prop_oneof![2 => Just(1), 8 => Just(3000), 2 => Just(9000), 1 => Just(61_000)]
            .prop_map(Advance),
        2 => Just(Gather),
        1 => Just(HoldWrites),
        3 => Just(EndWrite),
        1 => Just(FailWrite),
        2 => Just(ReleaseWrites),
        1 => Just(Restart),
    ]
}

#[derive(Default)]
struct Client {
    member: Option<MemberId>,
    joined: Option<Joined>,
    joining: Option<Waiter>,
    /// The last one that it was in, of this life of the process.
    generation: i32,
    /// What it waits for, and in which generation.
    syncing: Option<(Waiter, i32)>,
}

struct Model {
    bench: Bench,
    clients: Vec<Client>,
    /// The assignment of each generation, as its members were told.
    assignments: BTreeMap<i32, String>,
    decisions: usize,
    stored_generation: i32,
    next_offset: i64,
    committed: Option<i64>,
    /// Whether a write has failed.
    has_failed: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            assignments: BTreeMap::new(),
            decisions: 0,
            stored_generation: 0,
            next_offset: 0,
            committed: None,
            has_failed: false,
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Join(client) => self.join(client, false),
            Action::JoinStatic(client) => self.join(client, true),
            Action::Sync(client) => self.sync(client),
            Action::Heartbeat(client) => self.heartbeat(client),
            Action::Leave(client) => self.leave(client),
            Action::Commit(client) => self.commit(client),
            Action::Advance(ms) => self.bench.advance(ms),
            Action::Gather => self.gather(),
            Action::HoldWrites => self.bench.writes = Writes::AreHeld,
            Action::EndWrite => self.bench.end_write(&Ok(())),
            Action::FailWrite => {
                self.has_failed = true;
                self.bench.end_write(&Err(disk_full()));
            }
            Action::ReleaseWrites => {
                self.bench.writes = Writes::EndAtOnce;
                self.bench.end_writes(&Ok(()));
            }
            Action::Restart => self.restart(),
        }
        self.read_replies();
        self.check();
    }

    fn gather(&mut self) {
        // Twice, because some are only told their ids at first.
        for _ in 0..2 {
            (0..CLIENTS).for_each(|client| self.join(client, false));
            self.read_replies();
        }
        self.bench.advance(6000);
        self.read_replies();
        (0..CLIENTS).for_each(|client| self.sync(client));
    }

    /// Odd clients are told their id first. The last two may be static.
    fn join(&mut self, number: usize, is_static: bool) {
        let client = &mut self.clients[number];
        if client.joining.is_some() || client.syncing.is_some() {
            return;
        }
        let is_static = is_static && number + 2 >= CLIENTS;
        let new_member = if number % 2 == 1 { NewMember::RequireKnownId } else { NewMember::Admit };
        let request = JoinGroup {
            member: client.member.clone().filter(|_| !is_static),
            instance: is_static.then(|| instance(&number.to_string())),
            new_member,
            ..joiner()
        };
        client.joining = Some(self.bench.join(request));
    }

    fn sync(&mut self, number: usize) {
        let client = &self.clients[number];
        let Some(joined) = client.joined.clone().filter(|_| client.syncing.is_none()) else {
            return;
        };
        self.decisions += 1;
        let decision = self.decisions.to_string();
        let to: Vec<_> =
            joined.members.iter().map(|member| (&member.member, decision.as_str())).collect();
        let to = if joined.skip_assignment { &[][..] } else { &to };
        let generation = joined.generation.get();
        let waiter = self.bench.sync(&joined.member, generation, to);
        self.clients[number].syncing = Some((waiter, generation));
    }

    fn heartbeat(&mut self, number: usize) {
        let Some(joined) = self.clients[number].joined.clone() else { return };
        // While a write is under way, the answer waits for it.
        if self.bench.writes_under_way() > 0 {
            return;
        }
        if let Err(error) = self.bench.heartbeat(&joined.member, joined.generation.get()) {
            self.told(number, &error);
        }
    }

    fn leave(&mut self, number: usize) {
        if self.bench.writes == Writes::AreHeld {
            return;
        }
        if let Some(member) = self.clients[number].member.take() {
            let _ = self.bench.leave_one(&member);
            self.clients[number].joined = None;
        }
    }

    fn commit(&mut self, number: usize) {
        let Some(joined) = self.clients[number].joined.clone() else { return };
        self.next_offset += 1;
        let committer = Committer {
            member: Some(joined.member),
            instance: None,
            generation: Some(joined.generation),
        };
        let _ = self.bench.commit_offset(&committer, self.next_offset);
    }

    fn restart(&mut self) {
        self.bench.restart();
        for client in &mut self.clients {
            (client.joining, client.syncing) = (None, None);
            client.generation = 0;
        }
    }

    fn read_replies(&mut self) {
        for number in 0..CLIENTS {
            self.read_join(number);
            self.read_sync(number);
        }
    }

    fn read_join(&mut self, number: usize) {
        let Some(waiter) = self.clients[number].joining else { return };
        let Some(reply) = self.bench.joined(waiter) else { return };
        self.clients[number].joining = None;
        match reply {
            Ok(joined) => {
                let generation = joined.generation.get();
                assert!(generation >= self.clients[number].generation, "a generation went back");
                self.clients[number].generation = generation;
                self.clients[number].member = Some(joined.member.clone());
                self.clients[number].joined = Some(joined);
            }
            Err(JoinGroupError::MemberIdRequired { member }) => {
                self.clients[number].member = Some(member);
            }
            Err(JoinGroupError::Member(error)) => self.told(number, &error),
            Err(JoinGroupError::Coordinator(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn read_sync(&mut self, number: usize) {
        let Some((waiter, generation)) = self.clients[number].syncing else { return };
        let Some(reply) = self.bench.synced(waiter) else { return };
        self.clients[number].syncing = None;
        match reply {
            Ok(assignment) if assignment.is_empty() => {}
            Ok(assignment) => {
                let stored = self.stored().expect("it is told after it is stored");
                assert!(stored.generation.get() >= generation, "told before it was stored");
                let first = self.assignments.entry(generation).or_insert(assignment.clone());
                assert_eq!(*first, assignment, "generation {generation} has two assignments");
            }
            Err(SyncGroupError::Member(error)) => self.told(number, &error),
            Err(SyncGroupError::Coordinator(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn told(&mut self, number: usize, error: &MemberError) {
        let client = &mut self.clients[number];
        client.joined = None;
        if matches!(error, MemberError::UnknownMember | MemberError::FencedInstance) {
            client.member = None;
        }
    }

    fn stored(&self) -> Option<&StoredGroup> {
        self.bench.durable.classic().get(&group())
    }

    fn check(&mut self) {
        let stored = self.stored().map_or(0, |stored| stored.generation.get());
        assert!(stored >= self.stored_generation, "a stored generation went back");
        self.stored_generation = stored;
        let committed = self.bench.committed_offset();
        assert!(committed >= self.committed, "a committed offset went back");
        self.committed = committed;
        if self.bench.writes_under_way() == 0
            && let Some(settled) = self.bench.membership.settled(&group())
            && let Some(stored) = self.stored()
        {
            // That its last members have gone may fail to be written: after a restart they would
            // be there again, until their sessions end.
            let settled = StoredGroup { state_since: stored.state_since, ..settled };
            let may_differ = self.has_failed && settled.members.is_empty();
            assert!(may_differ || settled == *stored, "{settled:?} is not {stored:?}");
        }
    }

    /// Everybody goes away and all writes end: whoever still waited is answered.
    fn end(mut self) {
        self.act(&Action::ReleaseWrites);
        self.bench.advance(24 * 60 * 60 * 1000);
        assert_eq!(self.bench.asked, Default::default(), "somebody waits for ever");
        assert!(matches!(self.bench.state(), None | Some(GroupState::Empty)));
        let mut replayed = GroupsState::default();
        for record in self.bench.log.clone() {
            replayed.replay(record).unwrap();
        }
        assert_eq!(replayed, self.bench.durable);
        let mut rebuilt = GroupsState::default();
        for record in replayed.snapshot() {
            rebuilt.replay(record).unwrap();
        }
        assert_eq!(rebuilt, self.bench.durable);
        let late = self.bench.replies.into_values();
        assert!(late.into_iter().all(|reply| !matches!(reply, Reply::Heartbeat(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn groups_keep_their_promises(actions in prop::collection::vec(action(), 1..150)) {
        let mut model = Model::new();
        for action in &actions {
            model.act(action);
        }
        model.end();
    }
}
