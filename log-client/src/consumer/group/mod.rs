//! Consuming as a member of a group: the broker says which partitions, others have the rest.
//!
//! The rule: each record is returned at least once to some member. A position counts as dealt with
//! when the application asks for more, and nothing is committed beyond it; a partition that another
//! member is to have is released only after that. Like [`Consumer`](crate::Consumer) it has no
//! task of its own: the broker keeps the membership as long as the connection is there, and an
//! application that does not ask for more holds a rebalance up until the rebalance timeout.

mod commits;
mod config;
mod member;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use log_proto::types::Offset;

pub use self::{
    commits::{CommitError, CommitTicket},
    config::{Assignor, AutoCommit, GroupConsumerBuilder, WithoutCommit},
};
use self::{
    config::GroupConfig,
    member::{Assigned, Member, News},
};
use super::{
    batch::ConsumerBatch,
    error::ConsumeError,
    hand::{Current, Hand},
    partitions::{Arrival, PartitionIndex},
};
use crate::{
    connection::Connection, error::RequestError, groups::TopicPartitions, offsets::GroupOffset,
    record::ConsumerRecord,
};

/// How often to see whether a partition is to be given up while there are records to hand out.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the last commit may take: the broker may be away for longer than anybody wants to wait
/// for a process to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads as a member of a group.
///
/// ```no_run
/// use log_client::{AutoCommit, Client};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new("127.0.0.1:9094")?;
/// // Commits by itself: whatever was returned is dealt with when the next record is asked for.
/// let mut consumer = client.join_group("billing").topic("orders").build()?;
/// while let Some(record) = consumer.next().await {
///     println!("{:?}", record?.value);
/// }
///
/// // Commits when the application says so, and tells what the group does with it.
/// let mut consumer = client
///     .join_group("audit")
///     .topic("orders")
///     .auto_commit(AutoCommit::Off)
///     .build()?;
/// while let Some(event) = consumer.next_event().await {
///     match event? {
///         log_client::GroupEvent::Records(batch) => {
///             for record in batch {
///                 println!("{:?}", record?.value);
///             }
///         }
///         // The last moment to commit what was read of these partitions.
///         log_client::GroupEvent::Revoking(_) => consumer.commit().await?,
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct GroupConsumer {
    member: Member,
    hand: Hand,
    /// What the application was told to give up, and will have when it asks for more.
    giving_up: Vec<PartitionIndex>,
    last_commit: Instant,
    last_look: Instant,
    /// What ended the membership while a commit was waited for.
    failed: Option<ConsumeError>,
}

/// What a member of a group has to tell.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once per response, of some 100 KiB")]
pub enum GroupEvent {
    /// Records arrived. There may be none to show in them.
    Records(ConsumerBatch),
    /// Everything that could be read of a partition has been handed out. Comes again each time.
    CaughtUp {
        /// The topic.
        topic: Arc<str>,
        /// The partition, counted from 0.
        partition: u32,
        /// The offset of the next record, which does not exist yet.
        offset: Offset,
    },
    /// These partitions are this member's from now on, beside what it has.
    Assigned(Vec<AssignedPartition>),
    /// These are to go to another member. They are this member's until it asks for more: now is
    /// the time to commit. What had arrived of them and was not returned is dropped.
    Revoking(Vec<TopicPartitions>),
    /// These are not this member's any more, and cannot be committed: it was away for too long, or
    /// took too long to give something up. It joins again by itself.
    Lost(Vec<TopicPartitions>),
}

/// A partition that a member was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, counted from 0.
    pub partition: u32,
    /// Where reading starts.
    pub offset: Offset,
    /// What the group had committed, if the log does not hold that any more: what lay between may
    /// never have been read.
    pub lost_offset: Option<Offset>,
}

impl GroupConsumer {
    fn new(connection: Connection, config: GroupConfig) -> Self {
        let now = Instant::now();
        Self {
            member: Member::new(connection, config),
            hand: Hand::default(),
            giving_up: Vec::new(),
            last_commit: now,
            last_look: now,
            failed: None,
        }
    }

    /// The next record, waiting for it if need be. `None` after an error that ended the
    /// membership. May be cancelled without losing a record.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        self.hand.give_back(&mut self.member.link);
        loop {
            self.look_after().await;
            if self.hear().await.is_some() {
                continue;
            }
            let Member { link, partitions, .. } = &mut self.member;
            if let Some(record) = self.hand.next_record(link, partitions) {
                return Some(record);
            }
            match self.arrival().await? {
                Ok(Some(Arrived::Records(current))) => self.hand.take_up(current),
                Ok(Some(Arrived::CaughtUp { .. }) | None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next records that arrive together, of one partition. They count as consumed, as far as
    /// [`GroupConsumer::positions`] goes, when they are returned.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumerBatch, ConsumeError>> {
        loop {
            match self.next_event().await? {
                Ok(GroupEvent::Records(batch)) => return Some(Ok(batch)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next thing that happens: as [`GroupConsumer::next_batch`], and also when a partition is
    /// read to its end, and what the group does with this member.
    pub async fn next_event(&mut self) -> Option<Result<GroupEvent, ConsumeError>> {
        self.hand.give_back(&mut self.member.link);
        loop {
            self.look_after().await;
            if let Some(event) = self.hear().await {
                return Some(Ok(event));
            }
            if let Some(current) = self.hand.put_down() {
                return Some(Ok(GroupEvent::Records(self.hand.give_out(current))));
            }
            match self.arrival().await? {
                Ok(Some(Arrived::Records(current))) => self.hand.take_up(current),
                Ok(Some(Arrived::CaughtUp { index, offset })) => {
                    let (topic, partition) = self.member.partitions.name(index);
                    let topic = Arc::clone(topic);
                    return Some(Ok(GroupEvent::CaughtUp { topic, partition, offset }));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Who this member is; `None` while it is none.
    pub fn member_id(&self) -> Option<&str> {
        self.member.member_id()
    }

    /// The partitions that are this member's.
    pub fn assignment(&self) -> Vec<TopicPartitions> {
        self.member.names(&self.member.owned().collect::<Vec<_>>())
    }

    /// Where this member is: for each of its partitions, the offset behind the last record that
    /// was returned.
    pub fn positions(&self) -> Vec<GroupOffset> {
        self.hand.positions(&self.member.partitions)
    }

    /// Commits [`GroupConsumer::positions`], and returns when that is on disk. Commit after the
    /// records are dealt with, and none is missed after a crash.
    pub async fn commit(&mut self) -> Result<(), CommitError> {
        self.commit_offsets(self.positions()).await
    }

    /// Commits offsets of this member's partitions: each that of the next record to read. All or
    /// nothing; on disk when this returns.
    pub async fn commit_offsets(&mut self, offsets: Vec<GroupOffset>) -> Result<(), CommitError> {
        let ticket = self.member.commit(offsets);
        self.answer(ticket).await
    }

    /// Commits [`GroupConsumer::positions`] without waiting for it. The ticket is answered while
    /// the consumer is asked for records; dropped, a failure is only logged.
    pub fn commit_async(&mut self) -> CommitTicket {
        let positions = self.positions();
        self.member.commit(positions)
    }

    /// Commits, unless that is the application's to do, and leaves the group. A consumer that is
    /// dropped leaves as well, without committing.
    pub async fn close(mut self) -> Result<(), CommitError> {
        if self.member.config().auto_commit != AutoCommit::Off {
            let all: Vec<_> = self.member.owned().collect();
            let ticket = self.commit_of(&all);
            let answered = tokio::time::timeout(CLOSE_TIMEOUT, self.answer(ticket)).await;
            answered.unwrap_or_else(|_| Err(self.not_in_time()))?;
        }
        self.member.link.close().await.map_err(CommitError::Stream)
    }

    fn not_in_time(&self) -> CommitError {
        let address = self.member.link.connection().address().to_owned();
        CommitError::Stream(RequestError::TimedOut { address, after: CLOSE_TIMEOUT })
    }

    /// What is due from time to time: to see what the broker wants, and to commit.
    async fn look_after(&mut self) {
        let now = Instant::now();
        if now - self.last_look >= LOOK_INTERVAL {
            self.last_look = now;
            if let Err(error) = self.member.catch_up().await {
                self.end(error);
            }
        }
        let AutoCommit::Every(interval) = self.member.config().auto_commit else { return };
        if now - self.last_commit >= interval && !self.member.commits_are_waiting() {
            self.last_commit = now;
            let all: Vec<_> = self.member.owned().collect();
            drop(self.commit_of(&all));
        }
    }

    /// Commits where the application is in these partitions, if it has moved.
    fn commit_of(&mut self, partitions: &[PartitionIndex]) -> CommitTicket {
        let moved = self.hand.places().filter(|(index, offset)| {
            partitions.contains(index)
                && self.member.owns(*index)
                && !self.member.has_committed(*index, *offset)
        });
        let offsets = moved.map(|(index, offset)| {
            let (topic, partition) = self.member.partitions.name(index);
            GroupOffset::new(Arc::clone(topic), partition, offset)
        });
        let offsets = offsets.collect();
        self.member.commit(offsets)
    }

    /// Waits for a commit. Whatever else arrives is kept.
    async fn answer(&mut self, mut ticket: CommitTicket) -> Result<(), CommitError> {
        loop {
            let listened = tokio::select! {
                biased;
                outcome = &mut ticket => return outcome,
                listened = self.member.listen() => listened,
            };
            if let Err(error) = listened {
                self.end(error);
            }
        }
    }

    fn end(&mut self, error: ConsumeError) {
        self.member.link.end();
        self.failed = Some(error);
    }

    /// The next thing that the group does with this member. What it was to give up before is given
    /// up first, because the application has asked for more.
    async fn hear(&mut self) -> Option<GroupEvent> {
        self.give_up().await;
        let news = self.member.news.pop_front()?;
        Some(match news {
            News::Assigned(fresh) => {
                for Assigned { index, offset, .. } in &fresh {
                    self.hand.move_to(*index, *offset);
                }
                GroupEvent::Assigned(fresh.into_iter().map(|one| self.named(one)).collect())
            }
            News::Revoking(partitions) => {
                self.hand.drop_rest_of(&partitions, &mut self.member.link);
                let names = self.member.names(&partitions);
                self.giving_up = partitions;
                GroupEvent::Revoking(names)
            }
            News::Lost(partitions) => {
                self.hand.drop_rest_of(&partitions, &mut self.member.link);
                partitions.iter().for_each(|index| self.hand.forget(*index));
                GroupEvent::Lost(self.member.names(&partitions))
            }
        })
    }

    fn named(&self, one: Assigned) -> AssignedPartition {
        let Assigned { index, offset, lost_offset } = one;
        let (topic, partition) = self.member.partitions.name(index);
        AssignedPartition { topic: Arc::clone(topic), partition, offset, lost_offset }
    }

    /// Commits what was read of them, unless that was the application's to do, and lets them go.
    /// Cancelled, it begins anew.
    async fn give_up(&mut self) {
        if self.giving_up.is_empty() {
            return;
        }
        let partitions = self.giving_up.clone();
        if self.member.config().auto_commit != AutoCommit::Off {
            let ticket = self.commit_of(&partitions);
            if let Err(error) = self.answer(ticket).await {
                tracing::warn!(%error, "what is given up is read again by who gets it");
            }
        }
        self.member.release(&partitions);
        partitions.iter().for_each(|index| self.hand.forget(*index));
        self.giving_up.clear();
    }

    /// Waits for something to arrive. `None` if it was news of the group.
    async fn arrival(&mut self) -> Option<Result<Option<Arrived>, ConsumeError>> {
        loop {
            match self.member.arrivals.pop_front() {
                Some(Arrival::Batch { index, batch, lent }) => {
                    let current = Current { index, batch, lent };
                    return Some(Ok(Some(Arrived::Records(current))));
                }
                Some(Arrival::CaughtUp { index, offset }) => {
                    self.hand.move_to(index, offset);
                    return Some(Ok(Some(Arrived::CaughtUp { index, offset })));
                }
                Some(Arrival::Ended(error)) => return Some(Err(error)),
                Some(Arrival::Started { .. }) => continue,
                None => {}
            }
            if !self.member.news.is_empty() {
                return Some(Ok(None));
            }
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if self.member.link.has_ended() {
                return None;
            }
            if let Err(error) = self.wait().await {
                self.end(error);
            }
        }
    }

    /// Waits for the broker, and goes on committing meanwhile.
    async fn wait(&mut self) -> Result<(), ConsumeError> {
        let AutoCommit::Every(interval) = self.member.config().auto_commit else {
            return self.member.listen().await;
        };
        let due = interval.saturating_sub(self.last_commit.elapsed());
        match tokio::time::timeout(due.max(LOOK_INTERVAL), self.member.listen()).await {
            Ok(listened) => listened,
            Err(_) => {
                self.look_after().await;
                Ok(())
            }
        }
    }
}

enum Arrived {
    Records(Current),
    CaughtUp { index: PartitionIndex, offset: Offset },
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("positions", &self.positions())
            .finish_non_exhaustive()
    }
}
