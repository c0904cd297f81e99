//! How handing over a record, and delivering it, can fail.
//!
//! The rule: a failed delivery says whether the record may have been written. "Unknown" is never
//! passed off as "no": a request that was sent and not answered stays in doubt until an answer to
//! a later attempt settles it.

use std::{fmt, sync::Arc, time::Duration};

use log_proto::record::BuildError;
use thiserror::Error;

use crate::error::{BrokerError, RequestError};

/// Why a record was not taken by the producer. Nothing was written, and nothing will be.
#[derive(Clone, Debug, Error)]
pub enum SendError {
    /// The topic could not be looked up.
    #[error("topic {topic} cannot be produced to: {error}")]
    Topic {
        /// Its name.
        topic: Arc<str>,
        /// What the lookup ended with.
        error: RequestError,
    },
    /// The record names a partition that the topic does not have.
    #[error("topic {topic} has {partitions} partitions, numbered from 0: there is no {partition}")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The record is larger than a message to the broker can be.
    #[error("record of {size} bytes is over the {max} bytes that a producer can send at once")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes: the smaller of the producer's buffer and the largest message.
        max: usize,
    },
    /// The record cannot be said in the record format.
    #[error("record cannot be encoded: {0}")]
    Encode(#[from] BuildError),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// The same record may be taken later, unchanged.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Topic { error, .. } if error.is_retriable())
    }

    /// Always: the record was not taken.
    pub fn nothing_happened(&self) -> bool {
        true
    }
}

/// What is known about a record that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is certainly not in the log.
    NotWritten,
    /// It was sent, and no answer settled what became of it.
    MayBeWritten,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotWritten => "the record was not written",
            Self::MayBeWritten => "the record may have been written",
        })
    }
}

/// Why a record that the producer took was not acknowledged.
#[derive(Clone, Debug, Error)]
pub enum DeliveryError {
    /// The broker refused the batch that the record was in.
    #[error("{} ({fate})", placed(topic, *partition, error))]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// What the broker said.
        error: BrokerError,
        /// What is known of the record.
        fate: Fate,
    },
    /// The producer's delivery timeout passed.
    #[error("{topic}-{partition}: not acknowledged within {timeout:?} ({fate}){}", trouble(.last_error))]
    TimedOut {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// The producer's delivery timeout.
        timeout: Duration,
        /// What is known of the record.
        fate: Fate,
        /// The trouble that held it up, if there was any besides slowness.
        last_error: Option<Arc<str>>,
    },
    /// The batch could not be encoded.
    #[error("{topic}-{partition}: the batch cannot be encoded: {error}")]
    Encode {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// What the encoder said.
        error: BuildError,
    },
    /// The runtime that the producer ran on was shut down before the record was acknowledged.
    #[error("the runtime shut down before the record was acknowledged (it may have been written)")]
    Abandoned,
}

/// What the broker said, with the place before it unless the broker has said that as well.
fn placed(topic: &str, partition: u32, error: &BrokerError) -> String {
    let place = format!("{topic}-{partition}");
    if error.message().contains(&place) { error.to_string() } else { format!("{place}: {error}") }
}

fn trouble(last_error: &Option<Arc<str>>) -> String {
    last_error.as_ref().map_or_else(String::new, |error| format!("; the last trouble: {error}"))
}

impl DeliveryError {
    /// The same record may be taken later, unchanged. It is stored twice if it had been written
    /// after all: see [`DeliveryError::nothing_happened`].
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { error, .. } => error.is_retriable(),
            Self::TimedOut { .. } | Self::Abandoned => true,
            Self::Encode { .. } => false,
        }
    }

    /// It is certain that the record is not in the log.
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::Refused { fate, .. } | Self::TimedOut { fate, .. } => *fate == Fate::NotWritten,
            Self::Encode { .. } => true,
            Self::Abandoned => false,
        }
    }
}

/// Some records were not acknowledged since the producer was last flushed.
#[derive(Clone, Debug, Error)]
#[error("{failed} records were not acknowledged; the first: {first}")]
pub struct FlushError {
    /// How many.
    pub failed: u64,
    /// What happened to the first of them.
    pub first: DeliveryError,
}
