//! One session for each member: who comes under the same member id takes the place.
//!
//! The rule: a client that has lost its connection comes back before the broker knows that the old
//! one is dead. The old session must then end without leaving the group, because the member that it
//! would take out is the new one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::broker::group_members::{GroupId, MemberId};

type Key = (GroupId, MemberId);

/// Who sits where.
#[derive(Clone, Default)]
pub(in crate::broker) struct Seats {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    taken: HashMap<Key, Sitting>,
    next_number: u64,
}

struct Sitting {
    number: u64,
    /// Dropped when somebody else comes.
    _stay: oneshot::Sender<()>,
}

/// A place, until it is dropped or somebody else takes it.
pub(super) struct Seat {
    seats: Seats,
    key: Key,
    number: u64,
    gone: oneshot::Receiver<()>,
}

impl Seats {
    /// Takes a member's place, whoever has it.
    pub(super) fn take(&self, group: &GroupId, member: &MemberId) -> Seat {
        let key = (group.clone(), member.clone());
        let (stay, gone) = oneshot::channel();
        let mut plan = self.plan.lock();
        let number = plan.next_number;
        plan.next_number += 1;
        plan.taken.insert(key.clone(), Sitting { number, _stay: stay });
        Seat { seats: self.clone(), key, number, gone }
    }
}

impl Seat {
    /// Completes when somebody else has taken the place.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent: it is only ever dropped.
        let _ = (&mut self.gone).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(sitting) = self.seats.plan.lock().taken.entry(self.key.clone())
            && sitting.get().number == self.number
        {
            sitting.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_the_last_ones_who_took_it() {
        let seats = Seats::default();
        let (group, member) = (GroupId::new("g").unwrap(), MemberId::new("m").unwrap());
        let mut first = seats.take(&group, &member);
        let other = seats.take(&group, &MemberId::new("n").unwrap());
        let second = seats.take(&group, &member);
        first.lost().await;
        drop((first, other));
        assert_eq!(seats.plan.lock().taken.len(), 1, "the first has no place to give up");
        drop(second);
        assert!(seats.plan.lock().taken.is_empty());
    }
}
