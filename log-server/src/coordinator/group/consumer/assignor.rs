//! Who gets what: the assignors of groups whose work the server shares out.
//!
//! The rule: a pure function of who there is, what each subscribes to and what each was to have,
//! so that the same group always comes to the same assignment. Every partition of every topic that
//! somebody subscribes to is given to exactly one of its subscribers.

use std::collections::{BTreeMap, BTreeSet};

use super::super::id::{GroupInstanceId, MemberId};
use super::super::request::{Assignment, Assignor};
use crate::topics::TopicId;

/// A member, as an assignor sees it.
pub(super) struct Candidate<'a> {
    pub(super) id: &'a MemberId,
    pub(super) instance: Option<&'a GroupInstanceId>,
    /// The topics that it subscribes to and that are there.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it was to have before.
    pub(super) before: &'a Assignment,
}

/// What each candidate is to have, in their order. `partitions` counts those of each topic.
pub(super) fn assign(
    assignor: Assignor,
    candidates: &[Candidate<'_>],
    partitions: &BTreeMap<TopicId, u32>,
) -> Vec<Assignment> {
    match assignor {
        Assignor::Uniform => uniform(candidates, partitions),
        Assignor::Range => range(candidates, partitions),
    }
}

/// Each topic's partitions in runs, in the order of instance ids or else member ids: partitions of
/// the same number of two topics go to the same member, if both have the same subscribers.
fn range(candidates: &[Candidate<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Assignment> {
    let mut order: Vec<_> = (0..candidates.len()).collect();
    order.sort_by_key(|place| {
        let candidate = &candidates[*place];
        (candidate.instance.is_none(), candidate.instance, candidate.id)
    });
    let mut assigned = vec![Assignment::new(); candidates.len()];
    for (topic, count) in partitions {
        let subscribers: Vec<_> =
            order.iter().filter(|place| candidates[**place].topics.contains(topic)).collect();
        let Ok(shares) = u32::try_from(subscribers.len()) else { continue };
        let mut next = 0;
        for (turn, place) in (0..shares).zip(subscribers) {
            let share = count / shares + u32::from(turn < count % shares);
            if share > 0 {
                assigned[*place].insert(*topic, (next..next + share).collect());
            }
            next += share;
        }
    }
    assigned
}

/// As evenly as subscriptions allow, and with as few moves as that allows: whoever had a partition
/// keeps it, unless that makes it have two more than another subscriber.
fn uniform(candidates: &[Candidate<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Assignment> {
    let mut shares = Shares::keep(candidates, partitions);
    for (topic, count) in partitions {
        for partition in 0..*count {
            shares.give(*topic, partition);
        }
    }
    while shares.even_out() {}
    shares.assigned
}

struct Shares<'a> {
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    assigned: Vec<Assignment>,
    loads: Vec<usize>,
    taken: BTreeSet<(TopicId, u32)>,
    candidates: &'a [Candidate<'a>],
}

impl<'a> Shares<'a> {
    /// Everybody keeps what it had, where that still makes sense.
    fn keep(candidates: &'a [Candidate<'a>], partitions: &BTreeMap<TopicId, u32>) -> Self {
        let mut shares = Self {
            subscribers: BTreeMap::new(),
            assigned: vec![Assignment::new(); candidates.len()],
            loads: vec![0; candidates.len()],
            taken: BTreeSet::new(),
            candidates,
        };
        for (place, candidate) in candidates.iter().enumerate() {
            for topic in &candidate.topics {
                shares.subscribers.entry(*topic).or_default().push(place);
            }
        }
        for place in 0..candidates.len() {
            shares.keep_of(place, partitions);
        }
        shares
    }

    fn keep_of(&mut self, place: usize, partitions: &BTreeMap<TopicId, u32>) {
        let candidate = &self.candidates[place];
        for (topic, before) in candidate.before {
            let count = partitions.get(topic).copied().unwrap_or(0);
            if !candidate.topics.contains(topic) {
                continue;
            }
            for partition in before.range(..count) {
                if self.taken.insert((*topic, *partition)) {
                    self.put(place, *topic, *partition);
                }
            }
        }
    }

    fn put(&mut self, place: usize, topic: TopicId, partition: u32) {
        self.assigned[place].entry(topic).or_default().insert(partition);
        self.loads[place] += 1;
    }

    /// Gives a partition that nobody has to the subscriber with the least.
    fn give(&mut self, topic: TopicId, partition: u32) {
        if !self.taken.insert((topic, partition)) {
            return;
        }
        if let Some(place) = self.least_loaded(topic) {
            self.put(place, topic, partition);
        }
    }

    fn least_loaded(&self, topic: TopicId) -> Option<usize> {
        let subscribers = self.subscribers.get(&topic)?.iter().copied();
        subscribers.min_by_key(|place| (self.loads[*place], *place))
    }

    /// Moves one partition to where it is missed, from the one that has the most. Each move brings
    /// two loads closer together, so they come to an end.
    fn even_out(&mut self) -> bool {
        let mut order: Vec<_> = (0..self.loads.len()).collect();
        order.sort_by_key(|place| std::cmp::Reverse(self.loads[*place]));
        for from in order {
            let Some((to, topic)) = self.best_move(from) else { continue };
            if self.loads[to] + 1 < self.loads[from] {
                self.shift(from, to, topic);
                return true;
            }
        }
        false
    }

    /// Where a partition of `from` is missed most, and one of which topic. Ends with the first
    /// topic that somebody with the least of all may have: with equal subscriptions, at once.
    fn best_move(&self, from: usize) -> Option<(usize, TopicId)> {
        let least = self.loads.iter().min()?;
        let mut best: Option<(usize, TopicId)> = None;
        for topic in self.assigned[from].keys() {
            let Some(to) = self.least_loaded(*topic) else { continue };
            if best.is_none_or(|(found, _)| self.loads[to] < self.loads[found]) {
                best = Some((to, *topic));
            }
            if self.loads[to] == *least {
                break;
            }
        }
        best
    }

    fn shift(&mut self, from: usize, to: usize, topic: TopicId) {
        let Some(theirs) = self.assigned[from].get_mut(&topic) else { return };
        let Some(partition) = theirs.pop_last() else { return };
        if theirs.is_empty() {
            self.assigned[from].remove(&topic);
        }
        self.loads[from] -= 1;
        self.put(to, topic, partition);
    }
}

#[cfg(test)]
#[path = "assignor_tests.rs"]
mod tests;
