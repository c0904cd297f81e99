//! A Join, as the broker understands it: a pure function and its parts.
//!
//! The rule: what the message leaves out gets its default here, and what makes no sense is refused
//! before anybody has become a member of anything.

use std::collections::HashMap;
use std::time::Duration;

use log_core::Isolation;
use log_proto::types::{Offset, TimestampMs};
use log_proto::v1;

use super::consumer::edge;
use super::convert;
use super::error::Refusal;
use crate::broker::group_members::{Assignor, GroupId, GroupInstanceId, MemberEpoch, MemberId};
use crate::broker::group_session::{JoinAsMember, Resume};
use crate::broker::{Edge, StartPosition, WithoutCommit};

/// What Kafka's consumers have as `max.poll.interval.ms`: whoever needs longer for what it was
/// given hardly goes on at all.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Who wants to join, from `client_host`.
pub(super) fn member(
    join: v1::Join,
    isolation: Isolation,
    client_host: String,
) -> Result<JoinAsMember, Refusal> {
    let instance = join.instance_id.as_deref().map(GroupInstanceId::new).transpose();
    let rebalance_timeout = match join.rebalance_timeout_ms {
        0 => REBALANCE_TIMEOUT,
        asked => Duration::from_millis(asked.into()),
    };
    Ok(JoinAsMember {
        group: GroupId::new(&join.group)?,
        member: MemberId::new(&join.member_id),
        instance: instance.map_err(|error| Refusal::invalid_request(error.to_string()))?,
        assignor: assignor(join.assignor)?,
        without_commit: without_commit(join.without_commit)?,
        resume: join.resume.map(resume).transpose()?,
        client_id: join.client_id,
        client_host,
        rebalance_timeout,
        subscribed: join.topics,
        pattern: Some(join.topic_pattern).filter(|pattern| !pattern.is_empty()),
        isolation,
    })
}

fn assignor(code: i32) -> Result<Option<Assignor>, Refusal> {
    match v1::Assignor::try_from(code) {
        Ok(v1::Assignor::Any) => Ok(None),
        Ok(v1::Assignor::Uniform) => Ok(Some(Assignor::Uniform)),
        Ok(v1::Assignor::Range) => Ok(Some(Assignor::Range)),
        Err(_) => {
            let message = format!("assignor {code} is none of ANY, UNIFORM, RANGE");
            Err(Refusal::invalid_request(message))
        }
    }
}

fn without_commit(asked: Option<v1::join::WithoutCommit>) -> Result<WithoutCommit, Refusal> {
    let position = match asked {
        None => StartPosition::Edge(Edge::Earliest),
        Some(v1::join::WithoutCommit::Offset(offset)) => StartPosition::Offset(offset),
        Some(v1::join::WithoutCommit::TimestampMs(stamp)) => {
            StartPosition::Timestamp(TimestampMs::new(stamp))
        }
        Some(v1::join::WithoutCommit::Edge(code)) => StartPosition::Edge(edge(code)?),
        Some(v1::join::WithoutCommit::Refuse(v1::Refuse {})) => return Ok(WithoutCommit::Refuse),
    };
    Ok(WithoutCommit::Start(position))
}

fn resume(resume: v1::Resume) -> Result<Resume, Refusal> {
    let epoch = MemberEpoch::new(resume.member_epoch).ok_or_else(|| {
        Refusal::invalid_request(format!("member_epoch {} is negative", resume.member_epoch))
    })?;
    let mut positions = HashMap::with_capacity(resume.partitions.len());
    for v1::ResumedPartition { topic, partition, next_offset } in resume.partitions {
        let number = convert::partition(&topic, partition)?;
        let offset = Offset::new(next_offset).ok_or_else(|| {
            let message = format!("next_offset {next_offset} of {topic}-{number} is negative");
            Refusal::invalid_request(message)
        })?;
        positions.insert((topic, number), offset);
    }
    Ok(Resume { epoch, positions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(join: v1::Join) -> Result<JoinAsMember, Refusal> {
        let join = v1::Join { group: "g".into(), topics: vec!["t".into()], ..join };
        member(join, Isolation::HighWatermark, "here".into())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let join = joined(v1::Join::default()).unwrap();
        assert_eq!(
            (join.member, join.instance, join.assignor, join.resume),
            (None, None, None, None)
        );
        assert_eq!(join.rebalance_timeout, Duration::from_secs(300));
        let earliest = WithoutCommit::Start(StartPosition::Edge(Edge::Earliest));
        assert_eq!(join.without_commit, earliest);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let resumed = |partition, next_offset| {
            let one = v1::ResumedPartition { topic: "t".into(), partition, next_offset };
            v1::Join {
                resume: Some(v1::Resume { member_epoch: 1, partitions: vec![one] }),
                ..Default::default()
            }
        };
        assert!(joined(resumed(0, 0)).is_ok());
        let edge = v1::join::WithoutCommit::Edge(9);
        for bad in [
            resumed(-1, 0),
            resumed(0, -1),
            v1::Join { assignor: 9, ..Default::default() },
            v1::Join { instance_id: Some(String::new()), ..Default::default() },
            v1::Join { without_commit: Some(edge), ..Default::default() },
            v1::Join {
                resume: Some(v1::Resume { member_epoch: -1, partitions: Vec::new() }),
                ..Default::default()
            },
        ] {
            assert!(joined(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
