//! A member of a consumer group, and how it gets from what it has to what it is to have.
//!
//! ```text
//!                 the target moves                     owns nothing of it any more
//!     Stable ───────────────────────► Unrevoked ──────────────────────────────┐
//!       ▲  │                    something is to be given up first              │
//!       │  └─────────────────────────────────────────────┐                     │
//!       │                                                ▼                     ▼
//!       └──────────────────────── Unreleased ◄──── next assignment ◄───────────┘
//!            the others have let go            some of it is still another's
//! ```
//!
//! The rule: a partition is another member's until that one has said, in a heartbeat, that it owns
//! it no more, or is gone. A member's epoch is that of the group once it has given up all that it
//! must; until then it stays where it was.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::embedded::Subscription;
use super::super::id::{GroupInstanceId, MemberEpoch, MemberId};
use super::super::request::{Assignment, Assignor, ConsumerHeartbeat, JoinGroup, Protocol};
use super::super::subscription;
use super::super::turn::{Moment, Now};
use crate::topic_pattern::TopicPattern;

/// A member. All but the deadlines survives a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConsumerMember {
    pub(in super::super) id: MemberId,
    pub(in super::super) instance: Option<GroupInstanceId>,
    pub(in super::super) rack: Option<String>,
    pub(in super::super) client_id: String,
    pub(in super::super) client_host: String,
    pub(in super::super) rebalance_timeout: Duration,
    pub(in super::super) subscribed: BTreeSet<String>,
    /// What else it wants to read.
    pub(in super::super) pattern: Option<TopicPattern>,
    pub(in super::super) assignor: Option<Assignor>,
    pub(in super::super) epoch: MemberEpoch,
    pub(in super::super) previous_epoch: MemberEpoch,
    pub(in super::super) presence: Presence,
    pub(in super::super) phase: Phase,
    /// What it may read.
    pub(in super::super) assigned: Assignment,
    /// What it must give up, and nobody else may read yet.
    pub(in super::super) revoking: Assignment,
    /// What it is to have in the end.
    pub(in super::super) target: Assignment,
    /// What only a member has that speaks the classic protocol.
    pub(in super::super) classic: Option<ClassicSide>,
}

/// What a member says of itself in the classic protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClassicSide {
    /// Without a heartbeat for so long, it is taken for dead.
    pub(in super::super) session_timeout: Duration,
    /// What it can do, best first; at least one.
    pub(in super::super) protocols: Vec<Protocol>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    Here,
    /// A static member that said it will be back. What it has is kept for it.
    Away,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Stable,
    Unrevoked,
    Unreleased,
}

/// When patience with a member ends. Begins anew after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Deadlines {
    pub(super) session: Moment,
    /// By when it must have done what it was asked for: given partitions up; as a classic member,
    /// joined once more, or asked for its assignment.
    pub(super) due: Option<Moment>,
}

impl ConsumerMember {
    /// Somebody new, with nothing.
    pub(super) fn new(id: MemberId) -> Self {
        Self {
            id,
            instance: None,
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout: Duration::ZERO,
            subscribed: BTreeSet::new(),
            pattern: None,
            assignor: None,
            epoch: MemberEpoch::default(),
            previous_epoch: MemberEpoch::default(),
            presence: Presence::Here,
            phase: Phase::Stable,
            assigned: Assignment::new(),
            revoking: Assignment::new(),
            target: Assignment::new(),
            classic: None,
        }
    }

    /// It begins anew, and has given up all that it had.
    pub(super) fn reset(&mut self) {
        self.epoch = MemberEpoch::default();
        self.previous_epoch = MemberEpoch::default();
        self.presence = Presence::Here;
        self.phase = Phase::Stable;
        self.assigned.clear();
        self.revoking.clear();
    }

    /// What a heartbeat says of it; what it leaves out stays. It speaks the consumer protocol now.
    pub(super) fn update(&mut self, request: &ConsumerHeartbeat) {
        self.classic = None;
        self.instance = request.instance.clone().or(self.instance.take());
        self.rack = request.rack.clone().or(self.rack.take());
        self.client_id.clone_from(&request.client_id);
        self.client_host.clone_from(&request.client_host);
        self.rebalance_timeout = request.rebalance_timeout.unwrap_or(self.rebalance_timeout);
        self.assignor = request.assignor.or(self.assignor);
        if let Some(topics) = &request.subscribed {
            self.subscribed = topics.iter().cloned().collect();
        }
        if let Some(change) = &request.pattern {
            self.pattern = change.pattern().cloned();
        }
    }

    /// What a join in the classic protocol says of it.
    pub(super) fn update_classic(&mut self, request: JoinGroup, subscription: Subscription) {
        self.instance = request.instance.or(self.instance.take());
        self.rack = subscription.rack.or(self.rack.take());
        self.client_id = request.client_id;
        self.client_host = request.client_host;
        self.rebalance_timeout = request.rebalance_timeout;
        self.subscribed = subscription.topics.into_iter().collect();
        self.pattern = None;
        let (session_timeout, protocols) = (request.session_timeout, request.protocols);
        self.classic = Some(ClassicSide { session_timeout, protocols });
    }

    /// The protocol that a classic member is told the group has: the one that it likes best.
    pub(super) fn protocol(&self) -> Option<&Protocol> {
        self.classic.as_ref()?.protocols.first()
    }

    /// Whether it wants to read something else than it will.
    pub(super) fn subscribes_otherwise(&self, later: &Self) -> bool {
        (&self.subscribed, &self.pattern) != (&later.subscribed, &later.pattern)
    }

    /// What it says of itself takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let topics = subscription::bytes(&self.subscribed);
        let rack = self.rack.as_ref().map_or(0, String::len);
        let pattern = self.pattern.as_ref().map_or(0, |pattern| pattern.as_str().len());
        let side = self.classic.iter().flat_map(|side| &side.protocols);
        let side: usize = side.map(Protocol::bytes).sum();
        topics + pattern + rack + side + self.client_id.len() + self.client_host.len()
    }

    /// What nobody else may read.
    pub(super) fn holds(&self, topic: crate::topics::TopicId, partition: u32) -> bool {
        [&self.assigned, &self.revoking]
            .iter()
            .any(|held| held.get(&topic).is_some_and(|numbers| numbers.contains(&partition)))
    }

    /// Moves towards its target at `target_epoch`, as far as that goes now. `owned` is what it has
    /// said to own; `is_taken` whether a partition is held by somebody else.
    pub(super) fn reconcile(
        &mut self,
        target_epoch: MemberEpoch,
        owned: Option<&Assignment>,
        is_taken: impl Fn(crate::topics::TopicId, u32) -> bool,
    ) {
        let must_move = match self.phase {
            Phase::Stable => self.epoch != target_epoch,
            Phase::Unrevoked => !still_owns(owned, &self.revoking),
            Phase::Unreleased => true,
        };
        if !must_move {
            return;
        }
        let kept = intersection(&self.assigned, &self.target);
        let given_up = difference(&self.assigned, &kept);
        if !given_up.is_empty() && still_owns(owned, &given_up) {
            self.assigned = kept;
            self.revoking = given_up;
            self.phase = Phase::Unrevoked;
            return;
        }
        let wanted = difference(&self.target, &kept);
        let free = filter(&wanted, |topic, partition| !is_taken(topic, partition));
        self.phase = if free == wanted { Phase::Stable } else { Phase::Unreleased };
        self.assigned = union(kept, free);
        self.revoking.clear();
        self.advance(target_epoch);
    }

    fn advance(&mut self, epoch: MemberEpoch) {
        if self.epoch != epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }

    /// When patience with it ends, from now on.
    pub(super) fn deadlines(&self, now: Now, session_timeout: Duration) -> Deadlines {
        let revocation = now.moment.after(self.rebalance_timeout);
        let revokes = self.phase == Phase::Unrevoked && self.classic.is_none();
        let session_timeout =
            self.classic.as_ref().map_or(session_timeout, |side| side.session_timeout);
        Deadlines { session: now.moment.after(session_timeout), due: revokes.then_some(revocation) }
    }
}

/// Whether somebody still owns some of `given_up`. Who does not say may.
fn still_owns(owned: Option<&Assignment>, given_up: &Assignment) -> bool {
    owned.is_none_or(|owned| !intersection(owned, given_up).is_empty())
}

/// Whether all of `part` is in `whole`.
pub(super) fn is_subset(part: &Assignment, whole: &Assignment) -> bool {
    difference(part, whole).is_empty()
}

fn filter(from: &Assignment, keep: impl Fn(crate::topics::TopicId, u32) -> bool) -> Assignment {
    let topics = from.iter().map(|(topic, numbers)| {
        let kept: BTreeSet<u32> =
            numbers.iter().copied().filter(|number| keep(*topic, *number)).collect();
        (*topic, kept)
    });
    topics.filter(|(_, kept)| !kept.is_empty()).collect()
}

fn contains(whole: &Assignment, topic: crate::topics::TopicId, partition: u32) -> bool {
    whole.get(&topic).is_some_and(|numbers| numbers.contains(&partition))
}

fn intersection(one: &Assignment, other: &Assignment) -> Assignment {
    filter(one, |topic, partition| contains(other, topic, partition))
}

pub(super) fn difference(from: &Assignment, what: &Assignment) -> Assignment {
    filter(from, |topic, partition| !contains(what, topic, partition))
}

fn union(mut one: Assignment, other: Assignment) -> Assignment {
    for (topic, numbers) in other {
        one.entry(topic).or_default().extend(numbers);
    }
    one
}
