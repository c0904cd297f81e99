//! `cairn consume`: a topic's records to standard output.
//!
//! The rule: without `--follow` it reads what was there when it started and ends; nobody has to
//! guess when it is done. [`group`] does the same together with others. What one partition fails
//! with does not keep the others from being read: see [`unread`].

mod group;
mod places;
mod unread;

use std::{io::Write, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use log_client::{Client, Consumer, ConsumerBatch, Event, Isolation, types::Offset};

use self::{
    places::Lookup,
    unread::{Reader, Unread},
};
use super::BrokerArgs;
use crate::{
    error::{CliError, Result},
    format::Format,
    output,
    position::Position,
    stop::Stop,
};

/// Write a topic's records to standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Without --follow it ends at the end that the topic had when it started. SIGINT (Ctrl-C) and SIGTERM
end it cleanly, and commit what was written; a second one ends it at once.
With --group, processes that name the same group share the partitions, also with Kafka's clients
that have group.protocol=consumer. Each commits what it has written out, so that others go on there;
what a killed one had not committed comes again. Without --follow they all end once the group has
read what was there when they started.
A partition that cannot be read, because of damage say, is told on standard error when that is
found; the others are read, and the exit code is 1 at the end.

Places (--from, --until):
  earliest, latest
  4711 or offset:4711            an offset, in each partition
  2026-11-21T12:30:00Z           the first record at or after a time
  1795264200000, ms:1795264200000
                                 the same, in milliseconds since 1970
  2h                             the same, counted back from now (ms, s, m, h, d)

Formats (--format):
  %k key  %v value  %o offset  %p partition  %T timestamp (ms)  %h headers  %t topic  %% percent
  \\n \\t \\r \\0 \\\\; the default is '%v\\n'
JSON (--json): an object a line; what is no UTF-8 is in key_base64 and value_base64.

Examples:
  cairn consume events
  cairn consume events --from 2h --format '%T %k %v\\n'
  cairn consume events --partition 3 --from 4711 --max 1 --json
  cairn consume events --group billing --follow --verbose")]
pub(super) struct ConsumeArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Where to start; with --group, where nothing is committed or what follows was deleted
    #[arg(long, value_name = "PLACE", default_value = "earliest", allow_negative_numbers = true)]
    from: Position,
    /// Where to end; the record there is not shown
    #[arg(long, value_name = "PLACE", allow_negative_numbers = true)]
    until: Option<Position>,
    /// Only this partition; may be repeated
    #[arg(long = "partition", short, value_name = "NUMBER")]
    partitions: Vec<u32>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// Go on with records that are still to come
    #[arg(long, short)]
    follow: bool,
    /// Read as a member of this group, from where it has committed, and commit as records are written
    #[arg(long, short, conflicts_with = "partitions")]
    group: Option<String>,
    /// Say on standard error which partitions the group gives and takes
    #[arg(long, short, requires = "group")]
    verbose: bool,
    /// Whether records of transactions that are open or were aborted are shown
    #[arg(long, value_enum, default_value_t = IsolationArg::ReadCommitted)]
    isolation: IsolationArg,
    /// How a record is written
    #[arg(long, value_name = "TEMPLATE", value_parser = Format::parse, default_value = "%v\\n")]
    format: Format,
    /// Write each record as a JSON object on a line
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IsolationArg {
    ReadUncommitted,
    ReadCommitted,
}

impl From<IsolationArg> for Isolation {
    fn from(arg: IsolationArg) -> Self {
        match arg {
            IsolationArg::ReadUncommitted => Self::ReadUncommitted,
            IsolationArg::ReadCommitted => Self::ReadCommitted,
        }
    }
}

/// How long to look for a broker that went away.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) async fn run(args: ConsumeArgs) -> Result<()> {
    let client = args.broker.client()?;
    if let Some(group) = args.group.clone() {
        return group::run(args, client, group).await;
    }
    let plan = Plan::make(&args, &client).await?;
    if plan.is_done() {
        return plan.unread.verdict();
    }
    let consumer = plan.consumer(&args, &client)?;
    let format = if args.json { Format::Json } else { args.format };
    let (left, stop) = (args.max.unwrap_or(u64::MAX), Stop::listen()?);
    Run { consumer, plan, format, left, stop }.run().await
}

/// Where each partition ends.
struct Plan {
    topic: Arc<str>,
    partitions: Vec<Partition>,
    unread: Unread,
}

struct Partition {
    number: u32,
    /// `None`: goes on for ever.
    end: Option<Offset>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
}

impl Plan {
    async fn make(args: &ConsumeArgs, client: &Client) -> Result<Self> {
        let mut lookup = Lookup::make(args, client, Reader::Alone).await?;
        lookup.leave_out_without_start().await?;
        let ends = lookup.ends().await?;
        let partition = |(number, end): (u32, Option<Offset>)| {
            let nothing = end == Some(Offset::ZERO);
            let state = if nothing { State::Done } else { State::Reading };
            Partition { number, end, state }
        };
        let partitions = ends.into_iter().map(partition).collect();
        Ok(Self { topic: args.topic.as_str().into(), partitions, unread: lookup.unread })
    }

    fn consumer(&self, args: &ConsumeArgs, client: &Client) -> Result<Consumer> {
        let mut builder =
            client.consumer().isolation(args.isolation.into()).reconnect_timeout(RECONNECT_TIMEOUT);
        for partition in self.partitions.iter().filter(|one| one.state == State::Reading) {
            let topic = Arc::clone(&self.topic);
            builder = builder.partition(topic, partition.number, args.from.start());
        }
        builder.build().map_err(|error| CliError::usage(error.to_string()))
    }

    fn is_done(&self) -> bool {
        let is_done =
            |one: &Partition| one.state == State::Done || self.unread.contains(one.number);
        self.partitions.iter().all(is_done)
    }

    fn end_of(&self, number: u32) -> Option<Offset> {
        self.partitions.iter().find(|partition| partition.number == number)?.end
    }

    /// Everything below `position` of a partition was written out, or is not to be.
    fn reached(&mut self, number: u32, position: Offset) {
        for partition in self.partitions.iter_mut().filter(|one| one.number == number) {
            if partition.end.is_some_and(|end| position >= end) {
                partition.state = State::Done;
            }
        }
    }
}

/// Reading, from the first record to the last.
struct Run {
    consumer: Consumer,
    plan: Plan,
    format: Format,
    left: u64,
    stop: Stop,
}

impl Run {
    async fn run(mut self) -> Result<()> {
        let mut out = output::stream();
        let outcome = self.read(&mut out).await;
        let flushed = out.flush().map_err(CliError::from);
        outcome.and(flushed).and(self.plan.unread.verdict())
    }

    async fn read(&mut self, out: &mut impl Write) -> Result<()> {
        while !self.plan.is_done() && self.left > 0 {
            let event = tokio::select! {
                event = self.consumer.next_event() => event,
                () = self.stop.told() => return Ok(()),
            };
            match event {
                Some(Ok(Event::Records(batch))) => self.write(out, batch)?,
                Some(Ok(Event::CaughtUp { partition, offset, .. })) => {
                    self.plan.reached(partition, offset);
                    // Nothing more for now: show what there is.
                    out.flush()?;
                }
                Some(Err(error)) => self.plan.unread.take(&error)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn write(&mut self, out: &mut impl Write, mut batch: ConsumerBatch) -> Result<()> {
        let (partition, end) = (batch.partition(), self.plan.end_of(batch.partition()));
        // What is behind damage still arrives where the damage is found only here.
        while self.left > 0 && !self.plan.unread.contains(partition) {
            let Some(record) = batch.next_record() else { break };
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.plan.unread.take(&error),
            };
            if end.is_some_and(|end| record.offset >= end) {
                break;
            }
            self.format.write(out, &record)?;
            self.left -= 1;
            self.plan.reached(partition, record.offset.next());
        }
        if self.left > 0 {
            self.plan.reached(partition, batch.next_offset());
        }
        Ok(())
    }
}
