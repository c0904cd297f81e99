//! What the client must know of a topic before it can send or read: how many partitions it has.
//!
//! The rule: it is asked for when it is needed and kept by who asked, for as long as the broker
//! does not answer "unknown topic". There is one broker, so there are no leaders to look up and
//! nothing that goes stale on its own; a cache that refreshes itself would answer no question.

use std::{num::NonZeroU32, time::Duration};

use log_proto::v1;

use crate::{connection::Connection, error::RequestError, retry};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of partitions of `topic`, asked for until `timeout` has passed.
pub(crate) async fn partition_count(
    connection: &Connection,
    topic: &str,
    timeout: Duration,
) -> Result<NonZeroU32, RequestError> {
    retry::until(timeout, || describe(connection, topic)).await
}

async fn describe(connection: &Connection, topic: &str) -> Result<NonZeroU32, RequestError> {
    let request = v1::DescribeTopicRequest { name: topic.to_owned() };
    let mut admin = connection.admin();
    let answer = connection.answer(ATTEMPT_TIMEOUT, admin.describe_topic(request)).await?;
    answer
        .topic
        .and_then(|topic| NonZeroU32::new(topic.partitions))
        .ok_or_else(|| connection.bad_answer(format!("topic {topic} without partitions")))
}
