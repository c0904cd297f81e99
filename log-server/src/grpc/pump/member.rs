//! The pump of a call that is a member of a group: what the group gives is read, what it takes back
//! is not read any more.
//!
//! The rule: it passes on. When a partition comes and goes is the session's business; the only
//! thing decided here is that nothing of a partition is sent behind the word that revokes it.

use std::collections::HashMap;

use log_proto::v1;
use log_proto::v1::consume_response::Event;
use tokio::sync::watch;

use super::{End, Reader, Running};
use crate::broker::group_session::{
    AssignedPartition, GroupSession, PartitionName, SessionEvent, UnreadablePartition,
};
use crate::grpc::convert;
use crate::grpc::error::{Refusal, stopping};

/// Commits that may wait for the disk before the next request is read.
const COMMITS_WAITING_MAX: usize = 64;

/// The caller as a member.
pub(super) struct Member {
    session: GroupSession,
    /// What is being read. Dropped, its reader ends.
    leases: HashMap<PartitionName, watch::Sender<()>>,
    commits_waiting: usize,
}

impl Member {
    pub(super) fn new(session: GroupSession) -> Self {
        Self { session, leases: HashMap::new(), commits_waiting: 0 }
    }

    pub(super) async fn event(&mut self) -> Option<SessionEvent> {
        self.session.event().await
    }
}

impl Running {
    /// Whether the next request may be read: a caller that commits faster than the disk waits.
    pub(super) fn takes_requests(&self) -> bool {
        let has_room = |member: &Member| member.commits_waiting < COMMITS_WAITING_MAX;
        self.requests_open && self.member.as_ref().is_none_or(has_room)
    }

    pub(super) async fn tell_member(&mut self) -> Result<(), End> {
        let Some(member) = &self.member else { return Ok(()) };
        let joined = v1::Joined { member_id: member.session.member().as_str().to_owned() };
        self.send(about_group(Event::Joined(joined))).await
    }

    /// The caller has said all that it has to say: nothing more is read for it.
    pub(super) async fn leave_group(&mut self) {
        if let Some(member) = &mut self.member {
            member.leases.clear();
            member.session.leave().await;
        }
    }

    pub(super) async fn commit(&mut self, commit: v1::Commit) -> Result<(), End> {
        let offsets: Result<Vec<_>, _> =
            commit.offsets.into_iter().map(convert::group_offset).collect();
        match (offsets, &mut self.member) {
            (Ok(offsets), Some(member)) => {
                member.commits_waiting += 1;
                member.session.commit(commit.commit_id, offsets).await;
                Ok(())
            }
            (Err(refusal), _) => self.send(committed(commit.commit_id, Err(refusal))).await,
            (Ok(_), None) => Ok(()),
        }
    }

    pub(super) async fn release(&mut self, release: v1::Release) -> Result<(), End> {
        let mut released = Vec::new();
        for v1::TopicPartitions { topic, partitions } in release.partitions {
            for number in partitions {
                let number = convert::partition(&topic, number);
                let number = number.map_err(|refusal| End::Told(refusal.into()))?;
                released.push((topic.clone(), number));
            }
        }
        if let Some(member) = &self.member {
            member.session.release(released).await;
        }
        Ok(())
    }

    pub(super) async fn take_event(&mut self, event: Option<SessionEvent>) -> Result<(), End> {
        match event {
            Some(SessionEvent::Assigned { epoch, partitions, unreadable }) => {
                let told = partitions.iter().map(assigned).collect();
                let assigned = v1::Assigned { member_epoch: epoch.get(), partitions: told };
                self.send(about_group(Event::Assigned(assigned))).await?;
                partitions.into_iter().for_each(|partition| self.lease(partition));
                for partition in unreadable {
                    self.send(cannot_read(partition)).await?;
                }
                Ok(())
            }
            Some(SessionEvent::Revoked(partitions)) => {
                if let Some(member) = &mut self.member {
                    partitions.iter().for_each(|name| drop(member.leases.remove(name)));
                }
                let revoke = v1::Revoke { partitions: by_topic(partitions) };
                self.send(about_group(Event::Revoke(revoke))).await
            }
            Some(SessionEvent::Committed { id, outcome }) => {
                if let Some(member) = &mut self.member {
                    member.commits_waiting -= 1;
                }
                self.send(committed(id, outcome.map_err(Refusal::from))).await
            }
            Some(SessionEvent::Left) => Err(End::Quiet),
            Some(SessionEvent::Ended(end)) => Err(End::Told(Refusal::from(end).into())),
            None => Err(End::Told(stopping().into())),
        }
    }

    fn lease(&mut self, given: AssignedPartition) {
        let Some(member) = &mut self.member else { return };
        let AssignedPartition { topic, partition, start } = given;
        let name = (topic.name.to_string(), partition.number);
        let (holder, lease) = watch::channel(());
        member.leases.insert(name, holder);
        let reader = Reader::new(topic, partition, start.offset);
        self.ready.push_back(Reader { lease: Some(lease), ..reader });
    }
}

fn about_group(event: Event) -> v1::ConsumeResponse {
    v1::ConsumeResponse { event: Some(event), ..v1::ConsumeResponse::default() }
}

fn committed(commit_id: u64, outcome: Result<(), Refusal>) -> v1::ConsumeResponse {
    let error = outcome.err().map(Refusal::into_error);
    about_group(Event::Committed(v1::Committed { commit_id, error }))
}

fn assigned(given: &AssignedPartition) -> v1::AssignedPartition {
    let AssignedPartition { topic, partition, start } = given;
    v1::AssignedPartition {
        topic: topic.name.to_string(),
        partition: convert::number(partition.number),
        offset: start.offset.get(),
        lost_offset: start.lost.map(log_proto::types::Offset::get),
    }
}

fn cannot_read(given: UnreadablePartition) -> v1::ConsumeResponse {
    v1::ConsumeResponse {
        topic: given.topic.to_string(),
        partition: convert::number(given.partition),
        ..about_group(Event::Error(Refusal::from(given.error).into_error()))
    }
}

fn by_topic(mut partitions: Vec<PartitionName>) -> Vec<v1::TopicPartitions> {
    partitions.sort_unstable();
    let mut topics: Vec<v1::TopicPartitions> = Vec::new();
    for (topic, number) in partitions {
        match topics.last_mut().filter(|last| last.topic == topic) {
            Some(last) => last.partitions.push(convert::number(number)),
            None => {
                let partitions = vec![convert::number(number)];
                topics.push(v1::TopicPartitions { topic, partitions });
            }
        }
    }
    topics
}
