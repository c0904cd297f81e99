//! Commits that are on their way, and those who wait for them.
//!
//! The rule: a commit is repeated on the next stream as long as the membership goes on, since to
//! commit twice is to commit once; when the membership is lost its partitions are others' to
//! commit, and whoever waits is told.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use log_proto::v1::{self, consume_request::Request as Asked};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    consumer::link::Link,
    error::{BrokerError, RequestError},
    offsets::GroupOffset,
};

/// Why offsets were not committed. None of the commit's were.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The membership ended first, and with it the right to commit.
    #[error(
        "not committed: the membership in group {group} was lost; what was not committed is read again by whoever has the partitions now"
    )]
    Lost {
        /// The group.
        group: Arc<str>,
    },
    /// The broker will not, as for a partition that is not this member's any more.
    #[error("not committed: {0}")]
    Refused(BrokerError),
    /// The stream ended for good before the commit was answered: it may have been done or not.
    #[error("not known to be committed: {0}")]
    Stream(RequestError),
    /// The consumer was dropped before the commit was answered: it may have been done or not.
    #[error("not known to be committed: the consumer was dropped first")]
    Dropped,
}

impl CommitError {
    /// The same commit may succeed later, unchanged.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retriable(),
            Self::Lost { .. } | Self::Stream(_) | Self::Dropped => false,
        }
    }

    /// It is certain that nothing was committed.
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.nothing_happened(),
            Self::Lost { .. } | Self::Stream(_) | Self::Dropped => false,
        }
    }
}

/// The outcome of a commit that nobody waits for yet. It comes while the consumer is asked for
/// records.
#[derive(Debug)]
#[must_use = "a failed commit is only known to who asks"]
pub struct CommitTicket(oneshot::Receiver<Result<(), CommitError>>);

impl Future for CommitTicket {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(CommitError::Dropped)))
    }
}

#[derive(Debug, Default)]
pub(super) struct Commits {
    next_id: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    offsets: Vec<GroupOffset>,
    tell: oneshot::Sender<Result<(), CommitError>>,
}

impl Waiting {
    fn told(self, outcome: Result<(), CommitError>) {
        if let Err(Err(error)) = self.tell.send(outcome) {
            tracing::warn!(%error, "offsets not committed");
        }
    }

    fn request(&self, commit_id: u64) -> Asked {
        let offsets = self.offsets.iter().map(GroupOffset::to_wire).collect();
        Asked::Commit(v1::Commit { commit_id, offsets })
    }
}

impl Commits {
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a commit, or keeps it until there is a stream to send it on.
    pub(super) fn send(&mut self, link: &Link, offsets: Vec<GroupOffset>) -> CommitTicket {
        let (tell, ticket) = oneshot::channel();
        let waiting = Waiting { offsets, tell };
        if waiting.offsets.is_empty() {
            waiting.told(Ok(()));
            return CommitTicket(ticket);
        }
        let id = self.next_id;
        self.next_id += 1;
        link.send(waiting.request(id));
        self.waiting.insert(id, waiting);
        CommitTicket(ticket)
    }

    /// There is a new stream.
    pub(super) fn send_again(&self, link: &Link) {
        for (id, waiting) in &self.waiting {
            link.send(waiting.request(*id));
        }
    }

    /// A commit was answered. Returns what is committed by it.
    pub(super) fn answered(&mut self, committed: v1::Committed) -> Vec<GroupOffset> {
        // One that was sent on two streams may be answered twice.
        let Some(mut waiting) = self.waiting.remove(&committed.commit_id) else {
            return Vec::new();
        };
        match committed.error {
            Some(error) => {
                waiting.told(Err(CommitError::Refused(error.into())));
                Vec::new()
            }
            None => {
                let offsets = std::mem::take(&mut waiting.offsets);
                waiting.told(Ok(()));
                offsets
            }
        }
    }

    /// None of them will be answered.
    pub(super) fn fail(&mut self, error: &CommitError) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.told(Err(error.clone()));
        }
    }
}
