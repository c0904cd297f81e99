//! The coordinators: state machines whose truth is an internal log.
//!
//! ```text
//!   request ──► decide(&state) ──► records ──► internal log ──► durable ──► reply
//!                    ▲                            │
//!                    └───────── replay ◄──────────┘        a restart is the same replay
//! ```
//!
//! The rule: a request is a pure function from the state to records and a reply, and a record is
//! the only thing that changes the state, so that what a restart rebuilds is what was there. No
//! socket, clock or randomness inside: whatever a decision needs of them is passed in. State kept
//! beside a log and written in place would need its own recovery.
//!
//! - [`runtime`]: the one thread per coordinator that does the above, for any [`StateMachine`].
//! - [`rebuild`]: what a start makes of snapshot and log, whatever has become of them.
//! - [`snapshot`]: the state as one file, so that the log stays small.
//! - [`metadata`]: topics, their configs, the leader epoch, producer ids.
//! - [`group`]: who is in which group, and the offsets that groups commit.

pub(crate) mod group;
pub(crate) mod metadata;
mod rebuild;
mod record;
mod runtime;
mod snapshot;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

pub use rebuild::LoadError;
pub use runtime::CoordinatorError;
pub(crate) use runtime::{Coordinator, OpenCoordinator, Place, WriteError};
pub(crate) use snapshot::snapshot_end;

/// State that a log of records rebuilds.
pub(crate) trait StateMachine: Default + Send + 'static {
    /// What the log holds. One request's records are one batch: all or none.
    type Record: prost::Message + Default + PartialEq + 'static;

    /// Whether it is of use where some of its records are lost.
    const AFTER_LOSS: AfterLoss;

    /// Applies one record, in the order of the log. Fails only if the record is not understood,
    /// which means that a newer broker wrote it.
    fn replay(&mut self, record: Self::Record) -> Result<(), NotUnderstood>;

    /// Records that rebuild this state from the default one.
    fn snapshot(&self) -> Vec<Self::Record>;
}

/// What becomes of a state some of whose records are lost for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterLoss {
    /// It is as if they had not been written, and that is said.
    GoOn,
    /// The broker does not start: to go on would do more harm.
    Refuse,
}

/// A record that this broker cannot apply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record not understood: {what}")]
pub struct NotUnderstood {
    /// What is wrong with it.
    pub what: &'static str,
}
