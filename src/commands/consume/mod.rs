//! `cairn consume`: a topic's records to standard output.
//!
//! The rule: without `--follow` it reads what was there when it started and ends; nobody has to
//! guess when it is done. [`group`] does the same together with others.

mod group;

use std::{io::Write, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use log_client::{
    Client, ConsumeError, Consumer, ConsumerBatch, ErrorCode, Event, Isolation, OffsetSpec,
    types::Offset,
};

use super::BrokerArgs;
use crate::{
    error::{CliError, Result, hint_for},
    format::Format,
    output,
    position::Position,
    stop::Stop,
    unit::counted,
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
        return Ok(());
    }
    let consumer = plan.consumer(&args, &client)?;
    let format = if args.json { Format::Json } else { args.format };
    let (left, stop) = (args.max.unwrap_or(u64::MAX), Stop::listen()?);
    Run { consumer, plan, format, left, stop }.run().await
}

/// Where each partition starts and ends.
struct Plan {
    topic: Arc<str>,
    partitions: Vec<Partition>,
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
        let numbers = partitions(args, client).await?;
        let ends = ends(args, client, &numbers).await?;
        let partition = |(number, end): (u32, Option<Offset>)| {
            let nothing = end == Some(Offset::ZERO);
            let state = if nothing { State::Done } else { State::Reading };
            Partition { number, end, state }
        };
        let partitions = numbers.into_iter().zip(ends).map(partition).collect();
        Ok(Self { topic: args.topic.as_str().into(), partitions })
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
        self.partitions.iter().all(|partition| partition.state == State::Done)
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

/// The partitions that were asked for.
async fn partitions(args: &ConsumeArgs, client: &Client) -> Result<Vec<u32>> {
    let count = client.admin().describe_topic(&args.topic).await?.topic.partitions;
    if args.partitions.is_empty() {
        return Ok((0..count).collect());
    }
    if let Some(missing) = args.partitions.iter().find(|number| **number >= count) {
        return Err(CliError::new(format!(
            "topic {} has {}, numbered from 0: there is no {missing}",
            args.topic,
            counted(count.into(), "partition"),
        )));
    }
    let mut numbers = args.partitions.clone();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Where each of these partitions ends, as the arguments say.
async fn ends(args: &ConsumeArgs, client: &Client, numbers: &[u32]) -> Result<Vec<Option<Offset>>> {
    let limits = match args.until {
        Some(until) => place_of(until, args, client, numbers).await?,
        None => vec![None; numbers.len()],
    };
    if args.follow {
        return Ok(limits);
    }
    let log_ends = place_of(Position::Latest, args, client, numbers).await?;
    let nearer = |(limit, end): (Option<Offset>, Option<Offset>)| match (limit, end) {
        (Some(limit), Some(end)) => Some(limit.min(end)),
        (limit, end) => limit.or(end),
    };
    Ok(limits.into_iter().zip(log_ends).map(nearer).collect())
}

/// The offset of a place in each partition; `None` where no record is that late.
async fn place_of(
    position: Position,
    args: &ConsumeArgs,
    client: &Client,
    numbers: &[u32],
) -> Result<Vec<Option<Offset>>> {
    let spec = match (position, position.lookup(), args.isolation) {
        (Position::Offset(offset), _, _) => return Ok(vec![Some(offset); numbers.len()]),
        (Position::Latest, _, IsolationArg::ReadCommitted) => OffsetSpec::LastStable,
        (_, Some(spec), _) => spec,
        (_, None, _) => return Ok(vec![None; numbers.len()]),
    };
    let found = client.admin().list_offsets(&args.topic, numbers, spec).await?;
    let offset = |number: &u32| found.iter().find(|one| one.partition == *number)?.offset;
    Ok(numbers.iter().map(offset).collect())
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
        outcome.and(flushed)
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
                Some(Err(error)) => return Err(cannot_read(&error, Reader::Alone)),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn write(&mut self, out: &mut impl Write, mut batch: ConsumerBatch) -> Result<()> {
        let (partition, end) = (batch.partition(), self.plan.end_of(batch.partition()));
        while self.left > 0 {
            let Some(record) = batch.next_record() else { break };
            let record = record.map_err(|error| cannot_read(&error, Reader::Alone))?;
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

/// Who reads, which decides how to go on behind damage.
#[derive(Clone, Copy)]
enum Reader<'a> {
    Alone,
    /// A member of this group.
    Member(&'a str),
}

impl Reader<'_> {
    fn hint_at_damage(self, topic: &str, partition: u32) -> String {
        match self {
            Self::Alone => format!(
                "`cairn consume {topic} --partition {partition} --from OFFSET` reads on behind the damage"
            ),
            Self::Member(group) => format!(
                "`cairn group offsets set {group} {topic} --partition {partition} --to OFFSET` has the \
                 group go on behind the damage"
            ),
        }
    }
}

fn cannot_read(error: &ConsumeError, reader: Reader<'_>) -> CliError {
    let hint = match error {
        ConsumeError::Topic { error, .. } | ConsumeError::Stream(error) => hint_for(error),
        ConsumeError::Corrupt { topic, partition, .. } => Some(format!(
            "{}; `cairn segment dump` shows where the next batch begins",
            reader.hint_at_damage(topic, *partition)
        )),
        ConsumeError::Partition { topic, partition, error }
            if error.code() == ErrorCode::CorruptLog =>
        {
            Some(format!(
                "{}, at the offset that the error names, or at `latest` if it names none",
                reader.hint_at_damage(topic, *partition)
            ))
        }
        ConsumeError::Partition { .. } => None,
    };
    let failed = CliError::new(error.to_string());
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
