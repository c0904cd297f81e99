//! How reading can fail.

use std::sync::Arc;

use log_proto::{record::BatchError, types::Offset};
use thiserror::Error;

use crate::error::{BrokerError, RequestError};

/// Why records stopped coming. Reading changes nothing, so none of these leaves anything in doubt.
#[derive(Clone, Debug, Error)]
pub enum ConsumeError {
    /// A topic whose partitions are all to be read could not be looked up.
    #[error("topic {topic} cannot be read: {error}")]
    Topic {
        /// Its name.
        topic: Arc<str>,
        /// What the lookup ended with.
        error: RequestError,
    },
    /// The stream was refused, or could not be taken up again in time.
    #[error("cannot read on: {0}")]
    Stream(#[from] RequestError),
    /// Reading of one partition has ended; the others go on.
    #[error("{topic}-{partition}: {error}")]
    Partition {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// What the broker said.
        error: BrokerError,
    },
    /// What arrived is not a sound record batch. Reading of this partition has ended; the others
    /// go on.
    #[error("{topic}-{partition}: what was read at offset {offset} is damaged: {error}")]
    Corrupt {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
        /// Everything below it was sound.
        offset: Offset,
        /// What is wrong.
        error: BatchError,
    },
}

impl ConsumeError {
    /// Reading from the same place may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Topic { error, .. } | Self::Stream(error) => error.is_retriable(),
            Self::Partition { error, .. } => error.is_retriable(),
            Self::Corrupt { .. } => false,
        }
    }

    /// Always: reading has no effect.
    pub fn nothing_happened(&self) -> bool {
        true
    }

    /// What the broker said, if it was the broker that refused.
    pub fn refusal(&self) -> Option<&BrokerError> {
        match self {
            Self::Topic { error, .. } | Self::Stream(error) => error.refusal(),
            Self::Partition { error, .. } => Some(error),
            Self::Corrupt { .. } => None,
        }
    }
}
