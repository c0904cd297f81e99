//! Groups: who is in them, who does what, and how far they have come.
//!
//! Two state machines make the group coordinator. [`state`] is what the offsets log says, rebuilt
//! by replay like any coordinator's. [`membership`] is who is there at this moment: sessions,
//! rebalances under way, joins that wait. It is asked first; what it wants remembered goes into the
//! log, and whoever must not hear of it before it is durable waits. [`service`] runs the two, and
//! [`driver`] lets time pass.
//!
//! - [`classic`]: the protocol in which members elect a leader that assigns.
//! - [`consumer`]: the protocol in which the server assigns.
//! - [`embedded`]: what the first kind of members say to each other, where the second must know it.
//! - [`offsets`]: commits, deletions, expiry.
//! - [`bounds`]: whom there is room for.
//! - [`changes`]: who is told when a group has changed.
//! - [`turn`]: what a move of the volatile half takes and gives.
//! - [`request`], [`error`], [`id`], [`settings`]: the words of it all.
//! - [`record`], [`stored`]: what is on the disk.

mod bounds;
mod changes;
mod classic;
pub(crate) mod consumer;
mod driver;
mod embedded;
pub(crate) mod error;
pub(crate) mod id;
mod live;
pub(crate) mod membership;
pub(crate) mod offsets;
pub(crate) mod record;
pub(crate) mod request;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod state;
mod stored;
pub(crate) mod subscription;
#[cfg(test)]
mod testing;
mod turn;

pub(crate) use service::GroupCoordinator;
