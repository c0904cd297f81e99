//! What a member has: from the event that assigns a partition until it is released.
//!
//! The rule: it is told apart by the topic's id and spoken of by its name, because the topic may be
//! gone, or be another one of the same name, by the time a partition is given up.

use std::collections::BTreeMap;

use super::PartitionName;
use crate::broker::group_members::Assignment;
use crate::topics::TopicId;

/// The partitions of one member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Owned {
    partitions: BTreeMap<PartitionName, Holding>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holding {
    /// `None` for a topic that is not there.
    topic_id: Option<TopicId>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The member says that it has it; whether that is so, and from where it is to be sent, is yet
    /// to be seen.
    Claimed,
    Held,
    /// The member was told to release it.
    Revoked,
}

/// Nobody has asked for it to be given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NotRevoked(pub(super) PartitionName);

impl Owned {
    /// Whether the member may commit this.
    pub(super) fn has(&self, partition: &PartitionName) -> bool {
        self.partitions.contains_key(partition)
    }

    /// The member says that it has this.
    pub(super) fn claim(&mut self, partition: PartitionName, topic_id: Option<TopicId>) {
        self.partitions.insert(partition, Holding { topic_id, state: State::Claimed });
    }

    /// The member has this now. A name under which it still has the partition of an older topic
    /// has to wait.
    pub(super) fn add(&mut self, partition: PartitionName, topic_id: TopicId) -> Added {
        let held = Holding { topic_id: Some(topic_id), state: State::Held };
        let holding = self.partitions.entry(partition).or_insert(held);
        if holding.topic_id != held.topic_id {
            return Added::NotYet;
        }
        *holding = held;
        Added::Now
    }

    /// All of it, as the coordinator knows it.
    pub(super) fn assignment(&self) -> Assignment {
        self.assignment_if(|_| true)
    }

    fn assignment_if(&self, counts: impl Fn(State) -> bool) -> Assignment {
        let mut assignment = Assignment::new();
        for ((_, number), holding) in &self.partitions {
            if let Some(topic_id) = holding.topic_id.filter(|_| counts(holding.state)) {
                assignment.entry(topic_id).or_default().insert(*number);
            }
        }
        assignment
    }

    /// What is in `assignment`, and is not sent to the member yet.
    pub(super) fn missing(&self, assignment: &Assignment) -> Vec<(TopicId, u32)> {
        let held = self.assignment_if(|state| state != State::Claimed);
        let is_held = |topic: &TopicId, number: &u32| {
            held.get(topic).is_some_and(|numbers| numbers.contains(number))
        };
        let all = assignment
            .iter()
            .flat_map(|(topic, numbers)| numbers.iter().map(move |number| (*topic, *number)));
        all.filter(|(topic, number)| !is_held(topic, number)).collect()
    }

    /// What is the member's, not in `assignment`, and was not revoked before; it is now.
    pub(super) fn revoke_all_but(&mut self, assignment: &Assignment) -> Vec<PartitionName> {
        let mut revoked = Vec::new();
        for (name, holding) in &mut self.partitions {
            let numbers = holding.topic_id.and_then(|topic| assignment.get(&topic));
            let stays = numbers.is_some_and(|numbers| numbers.contains(&name.1));
            if !stays && holding.state != State::Revoked {
                holding.state = State::Revoked;
                revoked.push(name.clone());
            }
        }
        revoked
    }

    /// The member has given this up. What it does not have, it has given up before.
    pub(super) fn release(&mut self, partition: PartitionName) -> Result<(), NotRevoked> {
        match self.partitions.get(&partition).map(|holding| holding.state) {
            Some(State::Held | State::Claimed) => Err(NotRevoked(partition)),
            Some(State::Revoked) => {
                self.partitions.remove(&partition);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Whether a partition has become the member's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Added {
    Now,
    NotYet,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const OLD: TopicId = TopicId(Uuid::from_u128(1));
    const NEW: TopicId = TopicId(Uuid::from_u128(2));

    fn name(partition: u32) -> PartitionName {
        ("t".to_owned(), partition)
    }

    fn given(topic: TopicId, partitions: &[u32]) -> Assignment {
        [(topic, partitions.iter().copied().collect())].into()
    }

    #[test]
    fn what_is_revoked_stays_the_members_until_it_is_released() {
        let mut owned = Owned::default();
        for (_, number) in owned.missing(&given(OLD, &[0, 1])) {
            assert_eq!(owned.add(name(number), OLD), Added::Now);
        }
        assert_eq!(owned.release(name(1)), Err(NotRevoked(name(1))));
        assert_eq!(owned.revoke_all_but(&given(OLD, &[0])), [name(1)]);
        assert_eq!(owned.revoke_all_but(&given(OLD, &[0])), [], "it was told once");
        assert_eq!((owned.has(&name(1)), owned.assignment()), (true, given(OLD, &[0, 1])));
        assert_eq!(owned.release(name(1)), Ok(()));
        assert_eq!((owned.has(&name(1)), owned.assignment()), (false, given(OLD, &[0])));
        assert_eq!(owned.release(name(1)), Ok(()), "told twice is told once");
    }

    #[test]
    fn a_topic_of_the_same_name_waits_for_the_old_one_to_be_released() {
        let mut owned = Owned::default();
        owned.add(name(0), OLD);
        assert_eq!(owned.revoke_all_but(&given(NEW, &[0])), [name(0)]);
        assert_eq!(owned.missing(&given(NEW, &[0])), [(NEW, 0)]);
        assert_eq!(owned.add(name(0), NEW), Added::NotYet);
        owned.release(name(0)).unwrap();
        assert_eq!(owned.add(name(0), NEW), Added::Now);
    }

    #[test]
    fn what_is_claimed_is_sent_again_or_revoked() {
        let mut owned = Owned::default();
        owned.claim(name(0), Some(OLD));
        owned.claim(name(1), Some(OLD));
        owned.claim(name(7), None);
        assert_eq!(owned.assignment(), given(OLD, &[0, 1]));
        assert_eq!(owned.revoke_all_but(&given(OLD, &[0])), [name(1), name(7)]);
        assert_eq!(owned.missing(&given(OLD, &[0])), [(OLD, 0)]);
        assert_eq!(owned.add(name(0), OLD), Added::Now);
        assert_eq!(owned.missing(&given(OLD, &[0])), []);
    }
}
