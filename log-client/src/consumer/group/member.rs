//! A member of a group, as the broker sees it: who it is, what it has, and what has arrived.
//!
//! ```text
//!   Join ──► Joined ──► Assigned … Revoke ──► (the application is done) ──► Release
//!    ▲                     │
//!    │ resume              └── the call breaks: the broker may be gone, and know the member when it
//!    └───────────────────────  is back; or it has seen it go, and everything is lost
//! ```
//!
//! The rule: what the broker says is taken note of when it arrives, and told to the application in
//! that order, but for records: those of a partition that is to be given up are dropped, because
//! others wait for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use log_proto::{
    types::Offset,
    v1::{self, ErrorCode, consume_request::Request as Asked, consume_response::Event},
};

use super::{
    commits::{CommitError, CommitTicket, Commits},
    config::GroupConfig,
};
use crate::{
    connection::Connection,
    consumer::{
        error::ConsumeError,
        link::Link,
        partitions::{Arrival, PartitionIndex, Partitions, Place},
    },
    error::{BrokerError, RequestError},
    groups::TopicPartitions,
    offsets::GroupOffset,
};

pub(super) struct Member {
    pub(super) link: Link,
    pub(super) partitions: Partitions,
    /// To be told to the application.
    pub(super) news: VecDeque<News>,
    /// Of partitions that are this member's.
    pub(super) arrivals: VecDeque<Arrival>,
    identity: Identity,
    revoking: BTreeSet<PartitionIndex>,
    commits: Commits,
    /// What the group has committed, as far as this member has done it.
    committed: HashMap<PartitionIndex, Offset>,
}

/// What the broker knows it by.
struct Identity {
    config: GroupConfig,
    /// The broker's, once it has given one.
    member_id: String,
    /// `None` while it is no member.
    epoch: Option<i32>,
    /// Everything that was assigned and not released, and the next offset of what has ended.
    owned: BTreeMap<PartitionIndex, Offset>,
}

/// What the group does with the member.
#[derive(Debug)]
pub(super) enum News {
    Assigned(Vec<Assigned>),
    Revoking(Vec<PartitionIndex>),
    Lost(Vec<PartitionIndex>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Assigned {
    pub(super) index: PartitionIndex,
    pub(super) offset: Offset,
    pub(super) lost_offset: Option<Offset>,
}

impl Identity {
    /// What a call begins with.
    fn join(&self, partitions: &Partitions) -> Asked {
        let resume = self.epoch.map(|member_epoch| {
            let owned = self.owned.iter().map(|(index, ended_at)| {
                let (topic, number) = partitions.name(*index);
                v1::ResumedPartition {
                    topic: topic.as_ref().to_owned(),
                    partition: number as i32,
                    next_offset: partitions.offset(*index).unwrap_or(*ended_at).get(),
                }
            });
            v1::Resume { member_epoch, partitions: owned.collect() }
        });
        let member_id = self.member_id.clone();
        Asked::Join(v1::Join { member_id, resume, ..self.config.to_wire() })
    }
}

impl Member {
    pub(super) fn new(connection: Connection, config: GroupConfig) -> Self {
        let link = Link::new(connection, config.link);
        let (member_id, owned) = (String::new(), BTreeMap::new());
        Self {
            link,
            partitions: Partitions::default(),
            news: VecDeque::new(),
            arrivals: VecDeque::new(),
            identity: Identity { config, member_id, epoch: None, owned },
            revoking: BTreeSet::new(),
            commits: Commits::default(),
            committed: HashMap::new(),
        }
    }

    pub(super) fn config(&self) -> &GroupConfig {
        &self.identity.config
    }

    pub(super) fn member_id(&self) -> Option<&str> {
        self.identity.epoch.map(|_| self.identity.member_id.as_str())
    }

    /// What is this member's.
    pub(super) fn owned(&self) -> impl Iterator<Item = PartitionIndex> {
        self.identity.owned.keys().copied()
    }

    pub(super) fn owns(&self, index: PartitionIndex) -> bool {
        self.identity.owned.contains_key(&index)
    }

    /// Waits for the broker to say one more thing. An error is the end. May be dropped at any time
    /// without losing anything.
    pub(super) async fn listen(&mut self) -> Result<(), ConsumeError> {
        let (identity, partitions) = (&self.identity, &self.partitions);
        match self.link.response(|| identity.join(partitions)).await {
            Ok(response) => self.take(response),
            Err(error) => self.fell_out(error),
        }
    }

    /// Takes note of what has arrived without waiting for more.
    pub(super) async fn catch_up(&mut self) -> Result<(), ConsumeError> {
        while let Some(response) = self.link.response_at_hand().await {
            self.take(response)?;
        }
        Ok(())
    }

    /// Sends a commit.
    pub(super) fn commit(&mut self, offsets: Vec<GroupOffset>) -> CommitTicket {
        let ticket = self.commits.send(&self.link, offsets);
        if self.link.has_ended() {
            let group = Arc::clone(&self.config().group);
            self.commits.fail(&CommitError::Lost { group });
        }
        ticket
    }

    pub(super) fn commits_are_waiting(&self) -> bool {
        self.commits.are_waiting()
    }

    /// Whether this is what was last committed.
    pub(super) fn has_committed(&self, index: PartitionIndex, offset: Offset) -> bool {
        self.committed.get(&index) == Some(&offset)
    }

    /// Gives up what was revoked.
    pub(super) fn release(&mut self, partitions: &[PartitionIndex]) {
        let mut released = Vec::new();
        for index in partitions {
            // Otherwise it was lost meanwhile.
            if self.revoking.remove(index) {
                self.identity.owned.remove(index);
                let (topic, number) = self.partitions.name(*index);
                let (topic, partitions) = (topic.as_ref().to_owned(), vec![number as i32]);
                released.push(v1::TopicPartitions { topic, partitions });
            }
        }
        if !released.is_empty() {
            self.link.send(Asked::Release(v1::Release { partitions: released }));
        }
    }

    /// By name.
    pub(super) fn names(&self, partitions: &[PartitionIndex]) -> Vec<TopicPartitions> {
        let mut by_topic: BTreeMap<&Arc<str>, BTreeSet<u32>> = BTreeMap::new();
        for index in partitions {
            let (topic, number) = self.partitions.name(*index);
            by_topic.entry(topic).or_default().insert(number);
        }
        let named = by_topic.into_iter().map(|(topic, numbers)| TopicPartitions {
            topic: topic.as_ref().to_owned(),
            partitions: numbers.into_iter().collect(),
        });
        named.collect()
    }

    fn take(&mut self, response: v1::ConsumeResponse) -> Result<(), ConsumeError> {
        match response.event {
            Some(Event::Joined(joined)) => {
                self.identity.member_id = joined.member_id;
                self.commits.send_again(&self.link);
                Ok(())
            }
            Some(Event::Assigned(assigned)) => self.assigned(assigned),
            Some(Event::Revoke(revoke)) => {
                self.revoked(revoke);
                Ok(())
            }
            Some(Event::Committed(committed)) => {
                for GroupOffset { topic, partition, offset, .. } in self.commits.answered(committed)
                {
                    if let Some(index) = self.partitions.find(&topic, partition) {
                        self.committed.insert(index, offset);
                    }
                }
                Ok(())
            }
            Some(Event::Error(error)) => {
                self.ended((&response.topic, response.partition), error);
                Ok(())
            }
            _ => {
                let arrival = self.partitions.take(response, &mut self.link)?;
                self.arrivals.extend(arrival);
                Ok(())
            }
        }
    }

    /// A partition that cannot be read, from its start or any more, stays this member's until it
    /// is revoked.
    fn ended(&mut self, (topic, number): (&str, i32), error: v1::Error) {
        let (topic, partition): (Arc<str>, _) = (topic.into(), number as u32);
        match self.partitions.find(&topic, partition) {
            Some(index) => self.stop(index),
            None => drop(self.partitions.read_from(&topic, partition, Place::Ended)),
        }
        let error = BrokerError::from(error);
        self.arrivals.push_back(Arrival::Ended(ConsumeError::Partition {
            topic,
            partition,
            error,
        }));
    }

    /// Nothing more is read of it.
    fn stop(&mut self, index: PartitionIndex) {
        if let (Some(at), Some(ended_at)) =
            (self.partitions.offset(index), self.identity.owned.get_mut(&index))
        {
            *ended_at = at;
        }
        self.partitions.end(index);
    }

    fn assigned(&mut self, assigned: v1::Assigned) -> Result<(), ConsumeError> {
        self.identity.epoch = Some(assigned.member_epoch);
        let mut fresh = Vec::new();
        for one in assigned.partitions {
            let (offset, number) = (Offset::new(one.offset), u32::try_from(one.partition));
            let (Some(offset), Ok(number)) = (offset, number) else {
                let detail = "a negative offset or partition in an assignment";
                return Err(self.link.connection().bad_answer(detail).into());
            };
            let topic = one.topic.into();
            let index = self.partitions.read_from(&topic, number, Place::At(offset));
            let lost_offset = one.lost_offset.and_then(Offset::new);
            if let Some(lost) = lost_offset {
                tracing::warn!(%topic, number, %lost, %offset, "the committed offset is gone");
            }
            self.revoking.remove(&index);
            if self.identity.owned.insert(index, offset).is_none() {
                self.committed.remove(&index);
                fresh.push(Assigned { index, offset, lost_offset });
            }
        }
        if !fresh.is_empty() {
            self.news.push_back(News::Assigned(fresh));
        }
        Ok(())
    }

    fn revoked(&mut self, revoke: v1::Revoke) {
        let (mut revoking, mut never_read) = (Vec::new(), Vec::new());
        for v1::TopicPartitions { topic, partitions } in revoke.partitions {
            for number in partitions {
                let index = self.partitions.find(&topic, number as u32);
                match index.filter(|index| self.identity.owned.contains_key(index)) {
                    // Told before, on a stream that broke.
                    Some(index) if self.revoking.contains(&index) => {}
                    Some(index) => revoking.push(index),
                    None => never_read.push(v1::TopicPartitions {
                        topic: topic.clone(),
                        partitions: vec![number],
                    }),
                }
            }
        }
        for index in &revoking {
            self.stop(*index);
            self.revoking.insert(*index);
        }
        self.drop_arrivals_of(&revoking);
        if !revoking.is_empty() {
            self.news.push_back(News::Revoking(revoking));
        }
        if !never_read.is_empty() {
            self.link.send(Asked::Release(v1::Release { partitions: never_read }));
        }
    }

    fn drop_arrivals_of(&mut self, gone: &[PartitionIndex]) {
        let link = &mut self.link;
        self.arrivals.retain(|arrival| match arrival {
            Arrival::Batch { index, lent, .. } if gone.contains(index) => {
                link.give_back(*lent);
                false
            }
            Arrival::Started { index, .. } | Arrival::CaughtUp { index, .. } => {
                !gone.contains(index)
            }
            Arrival::Batch { .. } | Arrival::Ended(_) => true,
        });
    }

    /// The broker has ended the call. Where it has only ended the membership, there will be
    /// another one.
    fn fell_out(&mut self, error: RequestError) -> Result<(), ConsumeError> {
        match error.refusal().map(BrokerError::code) {
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => {
                tracing::warn!(group = %self.config().group, %error, "membership lost: joining anew");
                self.lose();
                self.link.again();
                Ok(())
            }
            _ => {
                self.commits.fail(&CommitError::Stream(error.clone()));
                Err(error.into())
            }
        }
    }

    fn lose(&mut self) {
        self.identity.epoch = None;
        let lost: Vec<_> = std::mem::take(&mut self.identity.owned).into_keys().collect();
        for index in &lost {
            self.partitions.end(*index);
        }
        self.drop_arrivals_of(&lost);
        self.revoking.clear();
        let group = Arc::clone(&self.config().group);
        self.commits.fail(&CommitError::Lost { group });
        if !lost.is_empty() {
            self.news.push_back(News::Lost(lost));
        }
    }
}
