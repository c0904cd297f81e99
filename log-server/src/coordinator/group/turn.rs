//! One turn of the state machine: what it is given, and what it gives back.
//!
//! ```text
//!   request, or time, or the outcome of a write
//!        │
//!        ▼                        ┌► records, to be written as write N
//!   a turn of one group ──────────┤
//!                                 └► answers, each to be held back until write M is durable, if
//!                                    the group has one under way; most have not, and go at once
//! ```
//!
//! The rule: a turn decides everything and does nothing. Whoever runs it appends the records in
//! the order of the turns, reports back how each write ended, and releases the answers. That a
//! request waits is not a blocked call: it is a [`Waiter`] kept in the state, answered by a later
//! turn. Locks and futures inside the groups could not be tested move by move.

use log_proto::types::TimestampMs;
use std::time::Duration;

use super::error::{
    ConsumerHeartbeatError, HeartbeatError, JoinGroupError, LeaveGroupError, SyncGroupError,
};
use super::record::GroupRecord;
use super::request::{HeartbeatAnswer, Joined, LeavingMember, Synced};
use super::settings::GroupSettings;
use crate::error::CoordinatorError;
use crate::topic_pattern::TopicPattern;

/// A moment on a clock that only goes forward, in milliseconds since it began: for deadlines. Not
/// the time of day, which may be set back, and would then keep dead members alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) const fn new(ms: u64) -> Self {
        Self(ms)
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// How long it is until then; nothing if it has passed.
    pub(crate) fn remaining(self, now: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(now.0))
    }
}

/// The time of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Now {
    /// For deadlines.
    pub(crate) moment: Moment,
    /// For what is remembered over a restart.
    pub(crate) time: TimestampMs,
}

/// Somebody who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Waiter(pub(crate) u64);

/// Records that are on their way into the log. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WriteId(pub(crate) u64);

/// What a waiter is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Join(Result<Joined, JoinGroupError>),
    Sync(Result<Synced, SyncGroupError>),
    Heartbeat(Result<(), HeartbeatError>),
    Leave(Result<Vec<Left>, LeaveGroupError>),
    ConsumerHeartbeat(Result<HeartbeatAnswer, ConsumerHeartbeatError>),
    /// To a join or a consumer's heartbeat: it changes nothing before it is known what these match.
    Unresolved(Vec<TopicPattern>),
}

/// One who was to leave, and whether it has.
pub(crate) type Left = (LeavingMember, Result<(), super::error::MemberError>);

impl Reply {
    /// What its waiter is told instead, when what it rests upon was not written.
    pub(crate) fn failed(self, error: CoordinatorError) -> Self {
        match self {
            Self::Join(_) => Self::Join(Err(error.into())),
            Self::Sync(_) => Self::Sync(Err(error.into())),
            Self::Heartbeat(_) => Self::Heartbeat(Err(error.into())),
            Self::Leave(_) => Self::Leave(Err(error.into())),
            Self::ConsumerHeartbeat(_) => Self::ConsumerHeartbeat(Err(error.into())),
            // It rests upon nothing.
            Self::Unresolved(_) => self,
        }
    }
}

/// A reply and whom it is for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) waiter: Waiter,
    /// Not before this is durable.
    pub(crate) after: Option<WriteId>,
    pub(crate) reply: Reply,
}

/// What a turn wants done.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// To be appended, all or none, before any later turn's.
    pub(crate) write: Option<(WriteId, Vec<GroupRecord>)>,
    pub(crate) answers: Vec<Answer>,
}

/// A turn under way.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a GroupSettings,
    write: WriteId,
    records: Vec<GroupRecord>,
    replies: Vec<(Waiter, Reply)>,
}

impl<'a> Turn<'a> {
    /// `write` is what its records will be known as, if it has any.
    pub(super) fn new(now: Now, settings: &'a GroupSettings, write: WriteId) -> Self {
        Self { now, settings, write, records: Vec::new(), replies: Vec::new() }
    }

    pub(super) fn write_id(&self) -> WriteId {
        self.write
    }

    pub(super) fn answer(&mut self, waiter: Waiter, reply: Reply) {
        self.replies.push((waiter, reply));
    }

    pub(super) fn write(&mut self, record: impl Into<GroupRecord>) -> WriteId {
        self.records.push(record.into());
        self.write
    }

    /// What it comes to. `after` is the group's write under way.
    pub(super) fn effects(self, after: Option<WriteId>) -> Effects {
        let replies = self.replies.into_iter();
        Effects {
            write: (!self.records.is_empty()).then_some((self.write, self.records)),
            answers: replies.map(|(waiter, reply)| Answer { waiter, after, reply }).collect(),
        }
    }
}
