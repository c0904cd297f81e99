//! Who wants to know when a group changes, so that nobody has to ask again and again.
//!
//! The rule: a change is told when it is decided, and what it means is asked for by a heartbeat,
//! whose answer waits until it is durable. Somebody who is told too often has asked once too much;
//! somebody who is not told asks when its heartbeat is due.
//!
//! A group that never changes is never told of, so its watch cannot be forgotten there: somebody
//! who watches and is then refused would leave one behind for every id that it makes up. Those that
//! nobody watches any more are looked for whenever there are twice as many as the last time, which
//! costs each watch the same, however many there are.

use std::collections::HashMap;

use tokio::sync::watch;

use super::id::GroupId;

/// Watches between two searches for those that are to be forgotten, at least.
const SWEEP_MIN: usize = 64;

/// The watches of all groups that somebody watches, and of few others.
#[derive(Debug, Default)]
pub(super) struct Changes {
    watched: HashMap<GroupId, watch::Sender<()>>,
    /// With so many, those that nobody watches any more are forgotten.
    sweep_at: usize,
}

impl Changes {
    /// Sees every change from now on.
    pub(super) fn watch(&mut self, group: &GroupId) -> watch::Receiver<()> {
        if self.watched.len() >= self.sweep_at {
            self.sweep();
        }
        let watched = self.watched.entry(group.clone());
        watched.or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    fn sweep(&mut self) {
        self.watched.retain(|_, watched| watched.receiver_count() > 0);
        self.sweep_at = 2 * self.watched.len() + SWEEP_MIN;
    }

    /// A group has changed.
    pub(super) fn tell(&mut self, group: &GroupId) {
        let Some(watched) = self.watched.get(group) else { return };
        if watched.send(()).is_err() {
            // Nobody watches it any more.
            self.watched.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_watches_the_group_is_told_and_is_forgotten_with_it() {
        let (one, other) = (GroupId::new("one").unwrap(), GroupId::new("other").unwrap());
        let mut changes = Changes::default();
        let (mut of_one, mut of_other) = (changes.watch(&one), changes.watch(&other));
        changes.tell(&one);
        assert!(of_one.has_changed().unwrap() && !of_other.has_changed().unwrap());
        of_one.mark_unchanged();
        of_other.mark_unchanged();
        drop(of_one);
        changes.tell(&one);
        assert_eq!(changes.watched.len(), 1);
    }

    #[test]
    fn groups_that_nobody_watches_any_more_do_not_add_up() {
        let mut changes = Changes::default();
        let kept: Vec<_> = (0..100)
            .map(|number| changes.watch(&GroupId::new(&format!("kept-{number}")).unwrap()))
            .collect();
        for number in 0..10_000 {
            drop(changes.watch(&GroupId::new(&format!("refused-{number}")).unwrap()));
        }
        assert!(changes.watched.len() <= 2 * kept.len() + SWEEP_MIN, "{}", changes.watched.len());
        changes.tell(&GroupId::new("kept-7").unwrap());
        assert!(kept[7].has_changed().unwrap(), "who still watches is still told");
    }
}
