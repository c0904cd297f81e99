//! Who wants to know when a group changes, so that nobody has to ask again and again.
//!
//! The rule: a change is told when it is decided, and what it means is asked for by a heartbeat,
//! whose answer waits until it is durable. Somebody who is told too often has asked once too much;
//! somebody who is not told asks when its heartbeat is due.

use std::collections::HashMap;

use tokio::sync::watch;

use super::id::GroupId;

/// The watches of all groups that somebody watches.
#[derive(Debug, Default)]
pub(super) struct Changes {
    watched: HashMap<GroupId, watch::Sender<()>>,
}

impl Changes {
    /// Sees every change from now on.
    pub(super) fn watch(&mut self, group: &GroupId) -> watch::Receiver<()> {
        let watched = self.watched.entry(group.clone());
        watched.or_insert_with(|| watch::Sender::new(())).subscribe()
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
}
