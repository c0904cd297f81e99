//! The Kafka door: the wire protocol of Kafka clients on TCP.
//!
//! ```text
//!   socket ─► connection ─► frame ─► router ─► handlers/<api> ─► Broker
//!   socket ◄─ writer ◄── answers, in the order of their requests ◄──┘
//! ```
//!
//! The rule: a door decodes, asks the broker and encodes. What an API means lies in the broker and
//! the coordinators; which versions of it are spoken is the codec's table; what differs from Kafka
//! is written in docs/kafka-compatibility.md. A handler takes a request and gives a response: it
//! sees no socket, so that each can be tried without one.
//!
//! - [`listener`]: accepts, bounds how many, and knows under which address clients find us.
//! - [`connection`]: one client, its requests in order, its memory.
//! - [`router`]: from a frame to its handler.
//! - [`fetch_sessions`]: what consumers need not say again.
//! - [`error`]: the one table from our errors to Kafka's codes.

mod connection;
mod error;
mod fetch_sessions;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod handlers;
mod listener;
mod router;

pub use listener::{Advertised, Listener, ListenerError, NoSuchListener};
pub(crate) use listener::{Door, Shared, serve};

use std::sync::Arc;

use log_proto::kafka::Str;

use crate::broker::Broker;
use crate::principal::Principal;
use fetch_sessions::FetchSessions;

/// The number of the one broker there is.
pub(crate) const NODE_ID: i32 = 1;

/// What every handler is given besides its request.
#[derive(Clone)]
pub(crate) struct Context {
    /// Whom to ask.
    pub(crate) broker: Broker,
    /// On whose behalf.
    pub(crate) principal: Principal,
    /// Where the client finds this broker again.
    pub(crate) advertised: Advertised,
    /// What consumers have told before.
    pub(crate) fetch_sessions: Arc<FetchSessions>,
    /// Where the client is.
    pub(crate) client_host: Arc<str>,
    /// What it calls itself in this request.
    pub(crate) client_id: Option<Str>,
}
