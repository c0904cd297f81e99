//! What groups have committed.
//!
//! The rule: committing is idempotent, so that it is repeated through restarts of the broker
//! until [`REQUEST_TIMEOUT`] is over; when it returns, the offsets are on disk.

use std::{sync::Arc, time::Duration};

use log_proto::{
    types::{LeaderEpoch, Offset},
    v1,
};

use crate::{connection::Connection, error::RequestError, retry};

/// How long an attempt, and all attempts together, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, counted from 0.
    pub partition: u32,
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the leader that the last record was read from, if it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Anything that the application wants to keep beside it.
    pub metadata: String,
}

impl GroupOffset {
    /// An offset with nothing beside it.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32, offset: Offset) -> Self {
        let (topic, metadata) = (topic.into(), String::new());
        Self { topic, partition, offset, leader_epoch: None, metadata }
    }

    pub(crate) fn to_wire(&self) -> v1::GroupOffset {
        v1::GroupOffset {
            topic: self.topic.as_ref().to_owned(),
            partition: self.partition as i32,
            offset: self.offset.get(),
            leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
            metadata: self.metadata.clone(),
        }
    }

    fn from_wire(wire: v1::GroupOffset) -> Option<Self> {
        Some(Self {
            topic: wire.topic.into(),
            partition: u32::try_from(wire.partition).ok()?,
            offset: Offset::new(wire.offset)?,
            leader_epoch: wire.leader_epoch.and_then(LeaderEpoch::new),
            metadata: wire.metadata,
        })
    }
}

pub(crate) async fn commit(
    connection: &Connection,
    group: &str,
    offsets: &[GroupOffset],
) -> Result<(), RequestError> {
    let request = v1::CommitOffsetsRequest {
        group: group.to_owned(),
        offsets: offsets.iter().map(GroupOffset::to_wire).collect(),
    };
    retry::until(REQUEST_TIMEOUT, || async {
        let mut client = connection.consumer();
        connection.answer(REQUEST_TIMEOUT, client.commit_offsets(request.clone())).await
    })
    .await
    .map(|_| ())
}

pub(crate) async fn committed(
    connection: &Connection,
    group: &str,
    topics: &[&str],
) -> Result<Vec<GroupOffset>, RequestError> {
    let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
    let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics };
    let answer = retry::until(REQUEST_TIMEOUT, || async {
        let mut client = connection.consumer();
        connection.answer(REQUEST_TIMEOUT, client.fetch_offsets(request.clone())).await
    })
    .await?;
    let offsets = answer.offsets.into_iter().map(GroupOffset::from_wire);
    offsets
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| connection.bad_answer("a negative partition or offset"))
}
