//! The partitions that a consumer was told to read, and the stream that they come over.
//!
//! ```text
//!   Start(partitions, credit) ──▶ ┌────────┐ ──▶ Started · batches · CaughtUp · Error
//!   Credit(bytes consumed)    ──▶ │ broker │
//!                                 └────────┘
//! ```
//!
//! The rule: a broken stream is opened again at the place where each partition is, so that nothing
//! is lost and nothing comes twice.

use std::{sync::Arc, time::Duration};

use log_proto::v1::{self, consume_request::Request as Asked};

use super::{
    config::{ConsumerConfig, Selection},
    error::ConsumeError,
    link::{Link, LinkConfig},
    partitions::{Arrival, Partitions, Place},
};
use crate::{connection::Connection, metadata};

/// How long to go on looking up a topic when there is no limit to reconnecting.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) struct Fetcher {
    pub(super) link: Link,
    pub(super) partitions: Partitions,
    config: ConsumerConfig,
    lookup: Lookup,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// Topics are not looked up yet.
    Due,
    Done,
}

impl Fetcher {
    pub(super) fn new(connection: Connection, config: ConsumerConfig) -> Self {
        let ConsumerConfig { credit_bytes, reconnect_timeout, .. } = config;
        let link = Link::new(connection, LinkConfig { credit_bytes, reconnect_timeout });
        Self { link, partitions: Partitions::default(), config, lookup: Lookup::Due }
    }

    /// The next thing to arrive; `None` once nothing will. May be dropped at any time without
    /// losing anything.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        loop {
            if self.link.has_ended() || self.partitions.all_ended() {
                return None;
            }
            match self.arrival().await {
                Ok(None) => {}
                Ok(Some(arrival)) => return Some(arrival),
                Err(error) => {
                    self.link.end();
                    return Some(Arrival::Ended(error));
                }
            }
        }
    }

    async fn arrival(&mut self) -> Result<Option<Arrival>, ConsumeError> {
        if self.lookup == Lookup::Due {
            self.partitions = resolve(self.link.connection(), &self.config).await?;
            self.lookup = Lookup::Done;
        }
        let (partitions, config) = (&self.partitions, &self.config);
        let response = self.link.response(|| start(partitions, config)).await?;
        self.partitions.take(response, &mut self.link)
    }
}

fn start(partitions: &Partitions, config: &ConsumerConfig) -> Asked {
    Asked::Start(v1::Start {
        partitions: partitions.starts(),
        isolation: config.isolation.to_wire().into(),
        delivery: v1::Delivery::Batches.into(),
        credit_bytes: config.credit_bytes,
        response_bytes_max: config.response_bytes_max,
    })
}

async fn resolve(
    connection: &Connection,
    config: &ConsumerConfig,
) -> Result<Partitions, ConsumeError> {
    let mut partitions = Partitions::default();
    let timeout = config.reconnect_timeout.unwrap_or(LOOKUP_TIMEOUT);
    for selection in &config.selections {
        match selection {
            Selection::Partition { topic, partition, start } => {
                partitions.add(topic, *partition, Place::Wanted(start.clone()));
            }
            Selection::Topic { topic, start } => {
                let count = metadata::partition_count(connection, topic, timeout)
                    .await
                    .map_err(|error| ConsumeError::Topic { topic: Arc::clone(topic), error })?;
                for partition in 0..count.get() {
                    partitions.add(topic, partition, Place::Wanted(start.clone()));
                }
            }
        }
    }
    Ok(partitions)
}
