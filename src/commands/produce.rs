//! `cairn produce`: lines, or other records, into a topic.
//!
//! The rule: no record is awaited on its own. The producer counts what is acknowledged and what
//! fails; the input goes on meanwhile, as far as its buffer allows. Whoever feeds it for days is
//! told of a failure when it happens, and once more at the end.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use clap::{Args, ValueEnum};
use log_client::{
    Acks, Compression, DeliveryError, FlushError, Header, Producer, ProducerRecord, SendError,
};
use serde_json::json;

use super::{BrokerArgs, name_and_value};
use crate::{
    error::{CliError, Result, hint_for, hint_for_refusal},
    input::{self, Framing, Source},
    output::{self, Style, StyleArgs},
    stop::Stop,
    unit::{counted, parse_duration, show_bytes},
};

/// Send records to a topic, one per line of standard input or of files
#[derive(Debug, Args)]
#[command(after_help = "\
A line is sent as the bytes that it is, without its line feed; a carriage return stays.
The input goes on through restarts of the broker: a record fails only after --delivery-timeout,
and none is stored twice. What fails is told on standard error when it does, and in sum at the
end; the exit code is 1 then. SIGINT (Ctrl-C) and SIGTERM end
the input, and what was read is still sent; a second one ends it at once.

Examples:
  cairn produce events < events.log
  cairn produce events --file a.log --file b.log --key web-1 --compression zstd
  printf 'k1:v1\\nk2:v2\\n' | cairn produce events --key-delimiter :
  find . -print0 | cairn produce files --null --header host=$(hostname)")]
pub(super) struct ProduceArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Read this file instead of standard input; may be repeated
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Records end with a zero byte instead of a line feed
    #[arg(long, short = '0', conflicts_with = "length_delimited")]
    null: bool,
    /// Each record follows its length: four bytes, big endian
    #[arg(long)]
    length_delimited: bool,
    /// The key of every record
    #[arg(long, short, conflicts_with = "key_delimiter")]
    key: Option<String>,
    /// What comes before the first occurrence of this is the record's key, the rest its value
    #[arg(long, value_name = "TEXT")]
    key_delimiter: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = name_and_value)]
    headers: Vec<(String, String)>,
    /// The partition of every record; chosen by the key, or spread without one, if not given
    #[arg(long, short)]
    partition: Option<u32>,
    /// How batches are compressed
    #[arg(long, short, value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// When a record counts as acknowledged
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// How long a record may take to be acknowledged, retries included
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2m")]
    delivery_timeout: Duration,
    /// How large a batch grows, in bytes before compression
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10)]
    batch_bytes: usize,
    /// How long a batch that is not full waits for more records
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5ms")]
    linger: Duration,
    #[command(flatten)]
    style: StyleArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<CompressionArg> for Compression {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::None => Self::None,
            CompressionArg::Gzip => Self::Gzip,
            CompressionArg::Snappy => Self::Snappy,
            CompressionArg::Lz4 => Self::Lz4,
            CompressionArg::Zstd => Self::Zstd,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksArg {
    /// When it is as durable as the topic promises
    #[value(alias = "-1")]
    All,
    /// When it is appended
    #[value(alias = "1")]
    Leader,
    /// When it is sent
    #[value(alias = "0")]
    None,
}

impl From<AcksArg> for Acks {
    fn from(arg: AcksArg) -> Self {
        match arg {
            AcksArg::All => Self::All,
            AcksArg::Leader => Self::Leader,
            AcksArg::None => Self::None,
        }
    }
}

pub(super) async fn run(args: ProduceArgs) -> Result<()> {
    let client = args.broker.client()?;
    let template = Template::new(&args)?;
    let sources = sources(&args)?;
    // Fails at once, with a reason, where the first record would wait for the delivery timeout.
    client.admin().describe_topic(&args.topic).await?;
    let producer = client
        .producer()
        .compression(args.compression.into())
        .acks(args.acks.into())
        .delivery_timeout(args.delivery_timeout)
        .batch_bytes(args.batch_bytes)
        .buffer_bytes(BUFFER_BYTES.max(args.batch_bytes))
        .linger(args.linger)
        .build()
        .map_err(|error| CliError::usage(error.to_string()))?;
    let mut stop = Stop::listen()?;
    let started = Instant::now();
    // Records that the producer took.
    let mut sent = 0;
    let mut failures = Failures::default();
    let outcome = tokio::select! {
        never = failures.tell(&producer) => match never {},
        outcome = send_all(&args, sources, &producer, &template, &mut sent) => outcome,
        () = stop.told() => Err(CliError::new("stopped by a signal before the end of the input")
            .hint("everything up to there was sent")),
    };
    // What was taken is finished whatever ended the input.
    let last = tokio::select! {
        never = failures.tell(&producer) => match never {},
        last = producer.close() => last,
    };
    last.unwrap_or_else(|last| failures.add(last));
    report(&args, &producer, started.elapsed())?;
    // What ended the input is less than that some of it is not stored.
    failures.all.map_or(Ok(()), |all| Err(failed(&all, sent))).and(outcome)
}

/// How often failures are told of, at most: each may be of another batch for the same reason.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Records that were not acknowledged.
#[derive(Default)]
struct Failures {
    all: Option<FlushError>,
}

impl Failures {
    /// Says so on standard error as records fail.
    async fn tell(&mut self, producer: &Producer) -> Infallible {
        loop {
            let failure = producer.failure().await;
            let records = counted(failure.failed, "record");
            output::note(&format!("warning: {records} not acknowledged: {}", failure.first));
            self.add(failure);
            tokio::time::sleep(TELL_INTERVAL).await;
        }
    }

    fn add(&mut self, more: FlushError) {
        match &mut self.all {
            Some(all) => all.failed += more.failed,
            None => self.all = Some(more),
        }
    }
}

/// As much as a broker's restart may take at a few hundred megabytes a second would be too much:
/// past this the input waits.
const BUFFER_BYTES: usize = 64 << 20;

/// What every record has.
struct Template {
    record: ProducerRecord,
    key_delimiter: Option<Bytes>,
}

impl Template {
    fn new(args: &ProduceArgs) -> Result<Self> {
        let mut record = ProducerRecord::new(Arc::<str>::from(args.topic.as_str()));
        record.partition = args.partition;
        record.key = args.key.clone().map(Bytes::from);
        let header = |(name, value): &(String, String)| Header {
            key: Bytes::from(name.clone()),
            value: Some(Bytes::from(value.clone())),
        };
        record.headers = args.headers.iter().map(header).collect();
        let key_delimiter = args.key_delimiter.clone().map(Bytes::from);
        if key_delimiter.as_ref().is_some_and(Bytes::is_empty) {
            return Err(CliError::usage("the key delimiter is empty"));
        }
        Ok(Self { record, key_delimiter })
    }

    /// The record of a piece of input; `None` if it lacks the key delimiter.
    fn record(&self, mut input: Bytes) -> Option<ProducerRecord> {
        let mut record = self.record.clone();
        if let Some(delimiter) = &self.key_delimiter {
            let at = memchr::memmem::find(&input, delimiter)?;
            record.key = Some(input.split_to(at));
            input.advance(delimiter.len());
        }
        record.value = Some(input);
        Some(record)
    }
}

/// What the records are read from. Files are looked at before anything is sent, so that a name with
/// a mistake costs nothing.
fn sources(args: &ProduceArgs) -> Result<Vec<Source>> {
    if args.file.is_empty() {
        return Ok(vec![Source::Stdin]);
    }
    let sources: Vec<_> = args.file.iter().cloned().map(Source::File).collect();
    sources.iter().try_for_each(Source::check)?;
    Ok(sources)
}

async fn send_all(
    args: &ProduceArgs,
    sources: Vec<Source>,
    producer: &Producer,
    template: &Template,
    sent: &mut u64,
) -> Result<()> {
    let bar = output::progress(input::total_bytes(&sources));
    let mut blocks = input::read(sources, framing(args));
    while let Some(block) = blocks.recv().await {
        let records = block?;
        let input_bytes = records.input_bytes() as u64;
        for input in records {
            let Some(record) = template.record(input) else {
                let number = *sent + 1;
                return Err(CliError::new(format!("record {number} has no key delimiter"))
                    .hint("everything before it was sent"));
            };
            // What becomes of it is told when the producer is closed.
            drop(producer.send(record).await.map_err(|error| not_taken(error, *sent))?);
            *sent += 1;
        }
        bar.inc(input_bytes);
    }
    bar.finish_and_clear();
    Ok(())
}

fn framing(args: &ProduceArgs) -> Framing {
    match (args.null, args.length_delimited) {
        (_, true) => Framing::LengthDelimited,
        (true, false) => Framing::EndedBy(0),
        (false, false) => Framing::EndedBy(b'\n'),
    }
}

fn not_taken(error: SendError, sent: u64) -> CliError {
    let hint = match &error {
        SendError::Topic { error, .. } => hint_for(error),
        _ => None,
    };
    let failed = CliError::new(format!("record {}: {error}", sent + 1));
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn failed(error: &FlushError, sent: u64) -> CliError {
    let failed = CliError::new(format!(
        "{} of {} not acknowledged; the first: {}",
        error.failed,
        counted(sent, "record"),
        error.first
    ));
    match &error.first {
        DeliveryError::Refused { error, .. } => match hint_for_refusal(error) {
            Some(hint) => failed.hint(hint),
            None => failed,
        },
        _ => failed,
    }
}

/// Counts what was acknowledged, and nothing else.
fn report(args: &ProduceArgs, producer: &Producer, elapsed: Duration) -> Result<()> {
    let stats = producer.stats();
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let bytes_per_second = (stats.acknowledged_bytes as f64 / seconds) as u64;
    match args.style.style() {
        Style::Json => output::line(
            &json!({
                "topic": args.topic,
                "records": stats.acknowledged,
                "failed": stats.failed,
                "duplicates": stats.duplicates,
                "bytes": stats.acknowledged_bytes,
                "seconds": seconds,
                "bytes_per_second": bytes_per_second,
            })
            .to_string(),
        ),
        Style::Text => {
            output::note(&format!(
                "{}, {} in {seconds:.2} s: {}/s, {:.0} records/s",
                counted(stats.acknowledged, "record"),
                show_bytes(stats.acknowledged_bytes),
                show_bytes(bytes_per_second),
                stats.acknowledged as f64 / seconds,
            ));
            Ok(())
        }
    }
}
