//! The partitions of one topic: a list that grows at its end, and is read without a lock.
//!
//! The rule: a place in the list is filled once. Whoever holds a topic sees the partitions that it
//! gets later, and what was looked up stays good for as long as the topic is held. A list that is
//! swapped as a whole would do as well, at the price of a reference count that every batch of a
//! busy topic has to share.
//!
//! ```text
//!   first part          second             third
//!   [0 1 2] ──────────► [3 4 5] ─────────► [6 7 · · · ·]      len = 8
//! ```
//!
//! Each part has room for at least as many as there were before it, so that the way to the last
//! of 100,000 partitions is short, however they have come.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::PartitionState;

/// The partitions of a topic, by number.
#[derive(Debug)]
pub struct Partitions {
    first: Part,
    /// How many there are. Raised when their places are filled, never lowered.
    len: AtomicUsize,
    /// Held while the list grows.
    growing: Mutex<()>,
}

#[derive(Debug)]
struct Part {
    places: Box<[OnceLock<PartitionState>]>,
    next: OnceLock<Box<Self>>,
}

impl Part {
    fn with_room(room: usize) -> Self {
        let places = std::iter::repeat_with(OnceLock::new).take(room).collect();
        Self { places, next: OnceLock::new() }
    }
}

impl Partitions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are none, which is so for no topic.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The partition with this number.
    pub fn get(&self, mut number: usize) -> Option<&PartitionState> {
        if number >= self.len() {
            return None;
        }
        let mut part = &self.first;
        while let Some(beyond) = number.checked_sub(part.places.len()) {
            number = beyond;
            part = part.next.get()?;
        }
        part.places[number].get()
    }

    /// Every partition, by number.
    pub fn iter(&self) -> impl Iterator<Item = &PartitionState> {
        let parts =
            std::iter::successors(Some(&self.first), |part| part.next.get().map(|next| &**next));
        parts.flat_map(|part| part.places.iter()).take(self.len()).filter_map(OnceLock::get)
    }

    /// Adds partitions, whose numbers go on from the last.
    pub(crate) fn extend(&self, added: Vec<PartitionState>) {
        let _growing = self.growing.lock();
        let present = self.len();
        let total = present + added.len();
        let room = added.len().max(present);
        for (number, state) in (present..).zip(added) {
            let free = self.place(number, room);
            free.set(state).expect("a place beyond the end is free, and one at a time grows it");
        }
        self.len.store(total, Ordering::Release);
    }

    /// The place for this number. If there is none yet, it begins a part with so much room.
    fn place(&self, mut number: usize, room: usize) -> &OnceLock<PartitionState> {
        let mut part = &self.first;
        while let Some(beyond) = number.checked_sub(part.places.len()) {
            number = beyond;
            part = part.next.get_or_init(|| Box::new(Part::with_room(room)));
        }
        &part.places[number]
    }
}

impl From<Vec<PartitionState>> for Partitions {
    fn from(states: Vec<PartitionState>) -> Self {
        let len = AtomicUsize::new(states.len());
        let places = states.into_iter().map(OnceLock::from).collect();
        let first = Part { places, next: OnceLock::new() };
        Self { first, len, growing: Mutex::new(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(numbers: std::ops::Range<usize>) -> Vec<PartitionState> {
        numbers.map(|number| PartitionState::Failed(number.to_string())).collect()
    }

    fn reason(state: &PartitionState) -> &str {
        match state {
            PartitionState::Failed(reason) => reason,
            PartitionState::Serving(_) => unreachable!("none of them serves"),
        }
    }

    /// Goal: however a topic has grown, each number leads to its partition, and what was looked up
    /// before stays.
    #[test]
    fn every_number_leads_to_its_partition() {
        let partitions = Partitions::from(failed(0..1));
        let first = partitions.get(0).expect("the topic was made with it");
        for (from, to) in [(1, 2), (2, 3), (3, 3), (3, 50), (50, 51), (51, 1000)] {
            partitions.extend(failed(from..to));
            assert_eq!(partitions.len(), to);
            assert!(partitions.get(to).is_none());
            let numbers: Vec<_> = partitions.iter().map(reason).collect();
            let expected: Vec<_> = (0..to).map(|number| number.to_string()).collect();
            assert_eq!(numbers, expected);
            let last = partitions.get(to - 1).expect("just added");
            assert_eq!(reason(last), (to - 1).to_string());
        }
        assert_eq!(reason(first), "0");
    }

    #[test]
    fn one_at_a_time_makes_few_parts() {
        let partitions = Partitions::from(failed(0..1));
        for number in 1..4096 {
            partitions.extend(failed(number..number + 1));
        }
        let parts = std::iter::successors(Some(&partitions.first), |part| {
            part.next.get().map(|next| &**next)
        });
        assert!(parts.count() <= 13);
    }
}
