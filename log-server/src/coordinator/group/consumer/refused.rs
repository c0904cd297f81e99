//! What becomes of a consumer group when the log does not take what it was to be.
//!
//! ```text
//!     a write ends      well                    the log knows the group as it was then
//!                       refused, others follow  they have everything in them
//!                       refused, the last       the group is again what the log says, or what it
//!                                               was before it was a consumer group
//!                       with an unknown end     the next turn writes it once more
//! ```
//!
//! The rule: whoever is told that nothing was changed is told the truth. Nobody has heard of what is
//! taken back, because every answer that rests on it was held back with it. Keeping it, to be written
//! by whatever comes next, would leave a member behind for each new consumer that tries in vain.

use std::collections::BTreeSet;

use super::super::classic::ClassicGroup;
use super::super::turn::{Turn, WriteId};
use super::member::{ConsumerMember, Deadlines};
use super::{ConsumerGroup, Memory, StoredConsumerGroup};
use crate::error::CoordinatorError;
use crate::topic_pattern::TopicPattern;

/// What a consumer group was before.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) group: Box<ClassicGroup>,
    /// Its first write as a consumer group, or a later one.
    since: WriteId,
}

/// What the log said of a group as it refused to take what the group was to be.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: CoordinatorError,
    /// The consumer group that it knows.
    pub(crate) logged: Option<StoredConsumerGroup>,
}

impl Refusal {
    /// Whether it is sure that the log has not taken it.
    fn is_certain(&self) -> bool {
        use CoordinatorError::{DiskFull, Refused};
        matches!(self.error, DiskFull { .. } | Refused { .. })
    }
}

impl ConsumerGroup {
    /// It comes from a classic group, and is that again if the log does not take it.
    pub(in super::super) fn comes_from(&mut self, turn: &Turn<'_>, group: Box<ClassicGroup>) {
        self.past = Some(Past { group, since: turn.write_id() });
    }

    /// A write of this group has ended. Answers the classic group that it is from here on, if it is.
    pub(in super::super) fn written(
        &mut self,
        turn: &mut Turn<'_>,
        write: WriteId,
        outcome: Result<(), Refusal>,
    ) -> Option<ClassicGroup> {
        if let Some(past) = &mut self.past {
            let told =
                outcome.as_ref().map_or_else(|refusal| Err(refusal.error.clone()), |()| Ok(()));
            past.group.written(turn, write, &told);
        }
        if outcome.is_ok() {
            self.past.take_if(|past| past.since <= write);
        }
        self.last_write.take_if(|last| *last == write)?;
        let refusal = outcome.err()?;
        if refusal.is_certain() {
            return self.take_back(turn, refusal.logged);
        }
        self.memory = Memory::Behind;
        None
    }

    fn take_back(
        &mut self,
        turn: &Turn<'_>,
        logged: Option<StoredConsumerGroup>,
    ) -> Option<ClassicGroup> {
        // Nobody is in it, and how the deletion ends is yet to be told.
        if matches!(self.memory, Memory::Deleting(_)) {
            return None;
        }
        tracing::warn!(group = %self.id, "the log has refused a change of the group: taken back");
        let past = self.past.take();
        // What the log says may be older than the classic group, which writes only assignments.
        let is_later = |logged: &StoredConsumerGroup| {
            past.as_ref().is_none_or(|past| logged.epoch.get() > past.group.generation().get())
        };
        match (logged.filter(is_later), past) {
            (Some(logged), _) => self.be_again(turn, logged),
            (None, Some(past)) => return Some(*past.group),
            (None, None) => *self = Self::new(self.id.clone(), turn.now),
        }
        None
    }

    fn be_again(&mut self, turn: &Turn<'_>, logged: StoredConsumerGroup) {
        let ends = logged.members.values().map(|member| {
            let ends = self.deadlines_again(turn, member);
            (member.id.clone(), ends)
        });
        self.deadlines = ends.collect();
        self.stored = logged;
        self.memory = Memory::Stored;
        self.looked_at = None;
        let patterns = self.stored.members.values().filter_map(|member| member.pattern.clone());
        let used: BTreeSet<TopicPattern> = patterns.collect();
        self.resolved.retain(|pattern, _| used.contains(pattern));
    }

    /// Who was taken out has a new session. Nobody is to give up what it was to before.
    fn deadlines_again(&self, turn: &Turn<'_>, member: &ConsumerMember) -> Deadlines {
        let fresh = member.deadlines(turn.now, turn.settings.consumer_session_timeout);
        let Some(before) = self.deadlines.get(&member.id) else { return fresh };
        let is_awaited = fresh.due.is_some() || member.classic.is_some();
        let due = before.due.or(fresh.due).filter(|_| is_awaited);
        Deadlines { session: before.session, due }
    }
}
