//! A group of either kind, as far as its kind does not matter.

use log_proto::types::TimestampMs;

use super::bounds::Comer;
use super::classic::{ClassicGroup, Deletion, Memory};
use super::consumer::{ConsumerGroup, Refusal};
use super::error::MemberError;
use super::id::{GroupId, MemberId};
use super::request::{Committer, ConsumerHeartbeat, GroupListing, JoinGroup};
use super::subscription::Usage;
use super::turn::{Moment, Now, Turn, WriteId};

/// A group, as it is now.
#[derive(Clone, Debug)]
pub(super) enum LiveGroup {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl From<ClassicGroup> for LiveGroup {
    fn from(group: ClassicGroup) -> Self {
        Self::Classic(Box::new(group))
    }
}

impl From<ConsumerGroup> for LiveGroup {
    fn from(group: ConsumerGroup) -> Self {
        Self::Consumer(Box::new(group))
    }
}

impl LiveGroup {
    /// The kind of group that its members make it: once the last of them that needs the consumer
    /// protocol has gone, it is a classic one.
    pub(super) fn settled(self, turn: &mut Turn<'_>) -> Self {
        match self {
            Self::Consumer(group) if group.is_all_classic() => group.downgraded(turn).into(),
            other => other,
        }
    }

    /// What `act` makes of it as `other`, the same group as one of the other kind. If nobody has come
    /// into it by that it is what it was: a join that is refused changes no group's kind.
    pub(super) fn comes_back_as<G: Into<Self>>(&mut self, mut other: G, act: impl FnOnce(&mut G)) {
        act(&mut other);
        let other = other.into();
        if other.present() > 0 {
            *self = other;
        }
    }

    /// The write that answers of this group must wait for.
    pub(super) fn last_write(&self) -> Option<WriteId> {
        match self {
            Self::Classic(group) => group.last_write(),
            Self::Consumer(group) => group.last_write(),
        }
    }

    /// Whether forgetting it would lose nothing.
    pub(super) fn is_disposable(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_disposable(),
            Self::Consumer(group) => group.is_disposable(),
        }
    }

    /// The log is told to forget it.
    pub(super) fn deleting(&mut self, write: WriteId) {
        match self {
            Self::Classic(group) => group.deleting(write),
            Self::Consumer(group) => group.deleting(write),
        }
    }

    /// The log has forgotten it, or has not.
    pub(super) fn deletion_ended(&mut self, write: WriteId, deletion: Deletion) {
        match self {
            Self::Classic(group) => group.deletion_ended(write, deletion),
            Self::Consumer(group) => group.deletion_ended(write, deletion),
        }
    }

    /// Members, and those who may become one.
    pub(super) fn present(&self) -> usize {
        match self {
            Self::Classic(group) => group.present(),
            Self::Consumer(group) => group.present(),
        }
    }

    /// What members say of themselves takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Classic(group) => group.bytes(),
            Self::Consumer(group) => group.bytes(),
        }
    }

    /// What a join would add to what members take. `fresh` is the id of somebody new.
    pub(super) fn joining(&self, request: &JoinGroup, fresh: &MemberId) -> Comer {
        let (member, instance) = (request.member.as_ref(), request.instance.as_ref());
        match self {
            // Who was given its id to come with is counted, and who is unknown is told so.
            Self::Classic(group) => Comer {
                before: group.said_by(member, instance).or(member.map(|_| 0)),
                now: request.bytes(),
            },
            Self::Consumer(group) if group.is_empty() => {
                Comer { before: None, now: request.bytes() }
            }
            Self::Consumer(group) => group.classic_comer(request, fresh),
        }
    }

    /// The same of a heartbeat.
    pub(super) fn saying(&self, request: &ConsumerHeartbeat) -> Comer {
        match self {
            Self::Classic(group) => Comer {
                before: group.said_by(Some(&request.member), request.instance.as_ref()),
                now: request.bytes(),
            },
            Self::Consumer(group) => group.comer(request),
        }
    }

    /// Whether somebody may commit.
    pub(super) fn check_commit(
        &mut self,
        now: Now,
        committer: &Committer,
    ) -> Result<(), MemberError> {
        match self {
            Self::Classic(group) => group.check_commit(now, committer),
            Self::Consumer(group) => group.check_commit(committer),
        }
    }

    /// What those who would delete its offsets must know.
    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Classic(group) => group.usage(),
            Self::Consumer(group) => group.usage(),
        }
    }

    pub(super) fn listing(&self) -> GroupListing {
        match self {
            Self::Classic(group) => group.listing(),
            Self::Consumer(group) => group.listing(),
        }
    }

    /// A write of this group has ended.
    pub(super) fn written(
        &mut self,
        turn: &mut Turn<'_>,
        write: WriteId,
        outcome: Result<(), Refusal>,
    ) {
        match self {
            Self::Classic(group) => {
                group.written(turn, write, &outcome.map_err(|refusal| refusal.error));
            }
            Self::Consumer(group) => {
                if let Some(classic) = group.written(turn, write, outcome) {
                    *self = classic.into();
                }
            }
        }
    }

    /// The next moment at which time alone changes something.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        match self {
            Self::Classic(group) => group.next_deadline(),
            Self::Consumer(group) => group.next_deadline(),
        }
    }

    /// Does what time alone does, up to now.
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::Classic(group) => group.tick(turn),
            Self::Consumer(group) => group.tick(turn),
        }
    }
}

/// What a group that everybody has left takes along when it comes back as one of the other kind. It
/// goes on counting, so that nobody who was in it before can take itself for a member, and has been
/// empty for as long; and what the log knows of it, or is being told, is known or told all the same.
pub(super) struct Legacy {
    pub(super) id: GroupId,
    /// Its generation, or its epoch.
    pub(super) number: i32,
    pub(super) state_since: TimestampMs,
    pub(super) memory: Memory,
    pub(super) last_write: Option<WriteId>,
}
