//! `cairn consume --group`: one of those who share a topic's partitions.
//!
//! The rule: it commits only what was written out and flushed, so that what is cut off by a kill
//! comes again. Without `--follow` it ends once the group has read what was there when it started:
//! a member that has nothing left waits for the others, because what one of them leaves behind,
//! killed say, comes to it. It does not wait for partitions that it could not read, nor commit anything
//! behind what it has read of them.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use log_client::{
    AssignedPartition, AutoCommit, Client, CommitError, ConsumerBatch, ErrorCode, GroupConsumer,
    GroupEvent, GroupOffset, TopicPartitions, WithoutCommit, types::Offset,
};

use super::{
    ConsumeArgs, RECONNECT_TIMEOUT,
    places::{Lookup, Places},
    unread::{Reader, Unread},
};
use crate::{
    error::{CliError, Result, hint_for_refusal},
    format::Format,
    output,
    position::Position,
    stop::Stop,
};

/// How often what was written is committed: what a kill may show again.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// How often a member that has nothing left sees whether the others are done, too.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn run(args: ConsumeArgs, client: Client, group: String) -> Result<()> {
    let mut lookup = Lookup::make(&args, &client, Reader::Member(group.clone())).await?;
    let goal = Goal::make(&args, &mut lookup, &group).await?;
    let unread = lookup.unread;
    if goal.is_reached(&client, &unread).await? {
        return unread.verdict();
    }
    let consumer = client
        .join_group(group)
        .topic(args.topic.as_str())
        .client_id("cairn-consume")
        .isolation(args.isolation.into())
        .without_commit(without_commit(args.from))
        .auto_commit(AutoCommit::Off)
        .reconnect_timeout(RECONNECT_TIMEOUT)
        .build()
        .map_err(|error| CliError::usage(error.to_string()))?;
    let share = Share {
        consumer,
        client,
        goal,
        unread,
        mine: BTreeMap::new(),
        format: if args.json { Format::Json } else { args.format },
        left: args.max.unwrap_or(u64::MAX),
        last_commit: Instant::now(),
        verbosity: if args.verbose { Verbosity::Verbose } else { Verbosity::Quiet },
        stop: Stop::listen()?,
    };
    share.run().await
}

fn without_commit(from: Position) -> WithoutCommit {
    match from {
        Position::Earliest => WithoutCommit::Earliest,
        Position::Latest => WithoutCommit::Latest,
        Position::Offset(offset) => WithoutCommit::Offset(offset),
        Position::Timestamp(time) => WithoutCommit::Timestamp(time),
        Position::Ago(ago) => WithoutCommit::Timestamp(crate::position::before_now(ago)),
    }
}

/// What the group is to have read.
struct Goal {
    topic: Arc<str>,
    group: String,
    /// `None` goes on for ever.
    ends: Places,
    /// Where reading starts without a commit; `None` is behind the last record.
    starts: Places,
    log_starts: Places,
}

impl Goal {
    async fn make(args: &ConsumeArgs, lookup: &mut Lookup<'_>, group: &str) -> Result<Self> {
        Ok(Self {
            topic: args.topic.as_str().into(),
            group: group.to_owned(),
            ends: lookup.ends().await?,
            starts: lookup.starts().await?,
            log_starts: lookup.log_starts.clone(),
        })
    }

    fn end_of(&self, partition: u32) -> Option<Offset> {
        self.ends.get(&partition).copied().flatten()
    }

    /// Whether the group has read everything that can be read, as far as it has committed that.
    async fn is_reached(&self, client: &Client, unread: &Unread) -> Result<bool> {
        let readable = || self.ends.iter().filter(|(number, _)| !unread.contains(**number));
        if readable().any(|(_, end)| end.is_none()) {
            return Ok(false);
        }
        let committed = client.committed_offsets(&self.group, &[&self.topic]).await?;
        let is_reached = |(number, end): (&u32, &Option<Offset>)| {
            let Some(end) = end else { return false };
            let commit = committed.iter().find(|commit| commit.partition == *number);
            let commit = commit.map(|commit| commit.offset);
            // What was deleted is not read: there, the group starts anew.
            let log_start = self.log_starts.get(number).copied().flatten();
            let commit = commit.filter(|commit| log_start <= Some(*commit));
            let start = || self.starts.get(number).copied().flatten();
            commit.or_else(start).is_none_or(|place| place >= *end)
        };
        Ok(readable().all(is_reached))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    Quiet,
    Verbose,
}

/// How far this member is in a partition that is its own.
#[derive(Clone, Copy)]
struct Progress {
    start: Offset,
    /// Everything below it was written out; `None` while that is nothing.
    written: Option<Offset>,
    committed: Option<Offset>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
}

/// One member at work.
struct Share {
    consumer: GroupConsumer,
    client: Client,
    goal: Goal,
    unread: Unread,
    mine: BTreeMap<u32, Progress>,
    format: Format,
    left: u64,
    last_commit: Instant,
    verbosity: Verbosity,
    stop: Stop,
}

/// What to do next.
#[expect(clippy::large_enum_variant, reason = "moved once per response, of some 100 KiB")]
enum Next {
    Happened(GroupEvent),
    /// Nothing has happened for a while.
    Look,
    End,
}

impl Share {
    async fn run(mut self) -> Result<()> {
        let mut out = output::stream();
        let outcome = self.read(&mut out).await;
        let flushed = out.flush().map_err(CliError::from);
        // What could not be written out must come again.
        let committed = match (&outcome, &flushed) {
            (Err(CliError::OutputClosed), _) | (_, Err(_)) => Ok(()),
            _ => self.commit().await,
        };
        // Whoever is gone has left; whether it was told so in time changes nothing.
        let _ = self.consumer.close().await;
        outcome.and(flushed).and(committed).and(self.unread.verdict())
    }

    async fn read(&mut self, out: &mut impl Write) -> Result<()> {
        while self.left > 0 {
            match self.next().await? {
                Next::Happened(event) => self.take(out, event).await?,
                Next::Look => {}
                Next::End => return Ok(()),
            }
            if self.last_commit.elapsed() >= COMMIT_INTERVAL {
                out.flush()?;
                self.commit().await?;
            }
            if self.is_idle() && self.is_over(out).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Next> {
        let patience = if self.is_idle() { LOOK_INTERVAL } else { COMMIT_INTERVAL };
        tokio::select! {
            event = self.consumer.next_event() => match event {
                Some(Ok(event)) => Ok(Next::Happened(event)),
                Some(Err(error)) => self.unread.take(&error).map(|()| Next::Look),
                None => Ok(Next::End),
            },
            () = self.stop.told() => Ok(Next::End),
            () = tokio::time::sleep(patience) => Ok(Next::Look),
        }
    }

    /// Whether there is nothing left in what this member has, which may be nothing at all.
    fn is_idle(&self) -> bool {
        let is_done = |(number, progress): (&u32, &Progress)| {
            progress.state == State::Done || self.unread.contains(*number)
        };
        self.mine.iter().all(is_done)
    }

    async fn is_over(&mut self, out: &mut impl Write) -> Result<bool> {
        out.flush()?;
        self.commit().await?;
        self.goal.is_reached(&self.client, &self.unread).await
    }

    async fn take(&mut self, out: &mut impl Write, event: GroupEvent) -> Result<()> {
        match event {
            GroupEvent::Records(batch) => self.write(out, batch),
            GroupEvent::CaughtUp { partition, offset, .. } => {
                self.reached(partition, offset);
                // Nothing more for now: show what there is.
                Ok(out.flush()?)
            }
            GroupEvent::Assigned(partitions) => {
                self.assigned(&partitions);
                Ok(())
            }
            GroupEvent::Revoking(gone) => {
                self.tell("gives up", &gone);
                out.flush()?;
                self.commit().await?;
                self.forget(&gone);
                Ok(())
            }
            GroupEvent::Lost(gone) => {
                self.tell("has lost", &gone);
                self.forget(&gone);
                Ok(())
            }
        }
    }

    fn assigned(&mut self, partitions: &[AssignedPartition]) {
        for AssignedPartition { topic, partition, offset, lost_offset } in partitions {
            if let Some(lost) = lost_offset {
                output::note(&format!(
                    "warning: {topic}-{partition}: group {} missed offsets {lost} to {offset}, \
                     which are past their retention: it goes on as --from says",
                    self.goal.group
                ));
            }
            let state = State::Reading;
            let progress = Progress { start: *offset, written: None, committed: None, state };
            self.mine.insert(*partition, progress);
        }
        let topic = self.goal.topic.as_ref().to_owned();
        let partitions = partitions.iter().map(|one| one.partition).collect();
        self.tell("reads", &[TopicPartitions { topic, partitions }]);
    }

    fn forget(&mut self, gone: &[TopicPartitions]) {
        for number in gone.iter().flat_map(|topic| &topic.partitions) {
            self.mine.remove(number);
        }
    }

    fn tell(&self, what: &str, partitions: &[TopicPartitions]) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        for TopicPartitions { topic, partitions } in partitions {
            let numbers: Vec<_> = partitions.iter().map(u32::to_string).collect();
            let member = self.consumer.member_id().unwrap_or("it");
            output::note(&format!("{member} {what} {topic} {}", numbers.join(", ")));
        }
    }

    fn write(&mut self, out: &mut impl Write, mut batch: ConsumerBatch) -> Result<()> {
        let (partition, end) = (batch.partition(), self.goal.end_of(batch.partition()));
        // What is behind damage still arrives where the damage is found only here.
        while self.left > 0 && !self.unread.contains(partition) {
            let Some(record) = batch.next_record() else { break };
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.unread.take(&error),
            };
            if end.is_some_and(|end| record.offset >= end) {
                break;
            }
            self.format.write(out, &record)?;
            self.left -= 1;
            self.reached(partition, record.offset.next());
        }
        if self.left > 0 {
            self.reached(partition, batch.next_offset());
        }
        Ok(())
    }

    /// Everything below `position` of a partition was written out, or is not to be. A commit moves
    /// neither back nor past what was asked for, nor past damage.
    fn reached(&mut self, partition: u32, position: Offset) {
        if self.unread.contains(partition) {
            return;
        }
        let end = self.goal.end_of(partition);
        let Some(progress) = self.mine.get_mut(&partition) else { return };
        let within = end.map_or(position, |end| position.min(end)).max(progress.start);
        progress.written = Some(within);
        if end.is_some_and(|end| position >= end) {
            progress.state = State::Done;
        }
    }

    /// Commits what was written and is not committed. What was lost meanwhile is somebody else's
    /// to read, once more.
    async fn commit(&mut self) -> Result<()> {
        self.last_commit = Instant::now();
        let topic = &self.goal.topic;
        let moved = self.mine.iter().filter(|(_, one)| one.written != one.committed);
        let offset = |(number, one): (&u32, &Progress)| {
            Some(GroupOffset::new(Arc::clone(topic), *number, one.written?))
        };
        let offsets: Vec<_> = moved.filter_map(offset).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        match self.consumer.commit_offsets(offsets).await {
            Ok(()) => {
                self.mine.values_mut().for_each(|progress| progress.committed = progress.written);
                Ok(())
            }
            Err(error) if is_lost(&error) => {
                output::note(&format!("warning: {error}"));
                Ok(())
            }
            Err(error) => Err(cannot_commit(&error)),
        }
    }
}

fn is_lost(error: &CommitError) -> bool {
    match error {
        CommitError::Lost { .. } => true,
        CommitError::Refused(refusal) => {
            matches!(refusal.code(), ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId)
        }
        CommitError::Stream(_) | CommitError::Dropped => false,
    }
}

fn cannot_commit(error: &CommitError) -> CliError {
    let failed = CliError::from_error(error.clone());
    let hint = match error {
        CommitError::Refused(refusal) => hint_for_refusal(refusal),
        _ => None,
    };
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
