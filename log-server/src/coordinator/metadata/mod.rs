//! Metadata: which topics there are, what is set on them, the leader epoch, the producer ids.
//!
//! Everyone reads an image of the durable state, which is swapped as a whole; nobody waits for a
//! lock to learn which topics there are. Requests are in [`request`], as pure functions.

pub(crate) mod record;
pub(crate) mod request;
mod state;

pub(crate) use state::{DeletedTopic, MetadataState, TopicMetadata};
