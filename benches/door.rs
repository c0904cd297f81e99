//! The gRPC door beside raw baselines, in one run.
//!
//! The rule: no figure stands alone. Each is taken beside a baseline that does the least work that
//! could give the same result (a plain socket, a plain file), the two take turns round by round,
//! and what counts is the ratio of their medians: a slow minute of the machine falls on both.
//! Criterion was not used: it measures one thing after the other, and the broker under test is a
//! process of its own.
//!
//! Broker and baselines' far ends run on core 0, client and near ends on core 1. The broker is the
//! release binary, its data lies under the target folder, on the disk of the build.
//!
//! `cargo bench --bench door -- [--quick] [--json] [--rounds N] [section ...]`; the sections are
//! `produce`, `consume`, `synced`, `single`, `flight`, `start`, `crash`.

#[path = "door/broker.rs"]
mod broker;
#[path = "door/raw.rs"]
mod raw;
#[path = "door/report.rs"]
mod report;

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use log_client::{Client, NewTopic, Producer, ProducerRecord, StartAt};

use crate::broker::Broker;
use crate::raw::FarEnd;
use crate::report::{Report, Series};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BROKER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const RECORD_BYTES: usize = KIB;
const BATCH_RECORDS: usize = 1000;

const SOCKET: &str = "one loopback socket, 1 MiB writes";

/// Set once this process has been restarted on its core.
const PINNED: &str = "DOOR_BENCH_PINNED";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = arguments.first().and_then(|first| first.strip_prefix("--role=")) {
        return raw::run_role(role, &arguments[1..]);
    }
    if std::env::var_os(PINNED).is_none() {
        let mut again = Command::new("taskset");
        again.args(["-c", CLIENT_CORE]).arg(std::env::current_exe()?).args(&arguments);
        return Err(again.env(PINNED, "1").exec().into());
    }
    let options = Options::parse(&arguments)?;
    // One thread: what is on this core should be the client, not a scheduler.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

struct Options {
    quick: bool,
    json: bool,
    rounds: usize,
    sections: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { quick: false, json: false, rounds: 5, sections: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--rounds" => {
                    options.rounds = rest.next().ok_or("--rounds needs a number")?.parse()?
                }
                // Cargo says that this is a bench.
                "--bench" => {}
                section => options.sections.push(section.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|wanted| wanted == section)
    }

    fn scaled(&self, full: usize) -> usize {
        if self.quick { full / 4 } else { full }
    }
}

async fn run(options: &Options) -> Result<()> {
    let mut report = Report::new(options.json);
    let bench = Bench { options, root: tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))? };
    if options.wants("produce") {
        bench.produce(&mut report).await?;
    }
    if options.wants("consume") {
        bench.consume(&mut report).await?;
    }
    if options.wants("synced") {
        bench.synced(&mut report).await?;
    }
    if options.wants("single") {
        bench.single(&mut report).await?;
    }
    if options.wants("flight") {
        for producers in [1, 4, 16] {
            bench.flight(&mut report, producers).await?;
        }
    }
    if options.wants("start") {
        bench.start(&mut report).await?;
    }
    if options.wants("crash") {
        bench.crash(&mut report).await?;
    }
    report.finish();
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    root: tempfile::TempDir,
}

/// What a topic's acknowledgement promises.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    PageCache,
    Synced,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Self::PageCache => "page cache",
            Self::Synced => "synced",
        }
    }

    fn topic(self, name: &str, partitions: u32) -> NewTopic {
        let topic = NewTopic::new(name).partitions(partitions);
        match self {
            Self::PageCache => topic.config("flush.messages", i64::MAX.to_string()),
            Self::Synced => topic,
        }
    }
}

impl Bench<'_> {
    fn data(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// One producer, record by record and batch by batch, beside a socket and a file.
    async fn produce(&self, report: &mut Report) -> Result<()> {
        let broker = Broker::start(&self.data("produce"))?;
        let client = Client::new(&broker.grpc)?;
        let far_end = FarEnd::start()?;
        let records = self.options.scaled(512 * KIB);
        let bytes = records * RECORD_BYTES;
        let [mut socket, mut file] = [(); 2].map(|()| Series::default());
        let mut runs =
            [(How::RecordByRecord, Measured::default()), (How::BatchByBatch, Measured::default())];
        for round in 0..self.options.rounds {
            socket.rate(bytes * 4, far_end.send(bytes * 4)?);
            let raw = self.data("raw");
            file.rate(bytes, raw::on_broker_core(&["write", path(&raw), &bytes.to_string()])?);
            for (how, measured) in &mut runs {
                let name = format!("{}-{round}", how.name());
                let topic = create(&client, &name, 1, Durability::PageCache).await?;
                let watch = Watch::start(&broker)?;
                let took = produce(&client, &topic, records, *how).await?;
                watch.stop(measured, bytes, took)?;
                client.admin().delete_topic(&topic).await?;
            }
        }
        for (how, measured) in &runs {
            let what = format!("1 producer, {}, page cache", how.name());
            report.rate(&what, &measured.rate, SOCKET, &socket, Some(0.45));
            measured.report_cpu(&what, report);
        }
        report.rate("write(2) to a file, 1 MiB", &file, SOCKET, &socket, None);
        report.limit("broker RssAnon after that load", broker.rss_anon_mb()?, "MB", 256.0);
        Ok(())
    }

    /// One consumer of records in the page cache, beside a socket in the same direction.
    async fn consume(&self, report: &mut Report) -> Result<()> {
        let broker = Broker::start(&self.data("consume"))?;
        let client = Client::new(&broker.grpc)?;
        let far_end = FarEnd::start()?;
        let records = self.options.scaled(512 * KIB);
        let bytes = records * RECORD_BYTES;
        let topic = create(&client, "consume", 1, Durability::PageCache).await?;
        produce(&client, &topic, records, How::BatchByBatch).await?;
        let (mut socket, mut measured) = (Series::default(), Measured::default());
        for _ in 0..self.options.rounds {
            socket.rate(bytes * 4, far_end.receive(bytes * 4)?);
            let watch = Watch::start(&broker)?;
            let took = consume(&client, &topic, records).await?;
            watch.stop(&mut measured, bytes, took)?;
        }
        let what = "1 consumer, every record decoded";
        report.rate(what, &measured.rate, SOCKET, &socket, Some(0.8));
        measured.report_cpu(what, report);
        report.limit("broker RssAnon after that load", broker.rss_anon_mb()?, "MB", 256.0);
        Ok(())
    }

    /// Four producers to one partition each: synced before the acknowledgement, and not.
    async fn synced(&self, report: &mut Report) -> Result<()> {
        const PRODUCERS: usize = 4;
        let broker = Broker::start(&self.data("synced"))?;
        let client = Client::new(&broker.grpc)?;
        let records = self.options.scaled(256 * KIB);
        let bytes = records * RECORD_BYTES;
        let [mut lazy, mut synced, mut shared, mut file] = [(); 4].map(|()| Series::default());
        for round in 0..self.options.rounds {
            let runs = [
                (Durability::PageCache, PRODUCERS, &mut lazy),
                (Durability::Synced, PRODUCERS, &mut synced),
                (Durability::Synced, 1, &mut shared),
            ];
            for (number, (durability, partitions, series)) in runs.into_iter().enumerate() {
                let name = format!("four-{round}-{number}");
                let topic = create(&client, &name, partitions as u32, durability).await?;
                let each = records / PRODUCERS;
                series
                    .rate(bytes, produce_from(&client, &topic, PRODUCERS, partitions, each).await?);
                client.admin().delete_topic(&topic).await?;
            }
            let sync_bytes = (4 * MIB).to_string();
            let syncs = (bytes / (4 * MIB)).to_string();
            let took =
                raw::on_broker_core(&["sync", path(&self.data("raw")), &sync_bytes, &syncs])?;
            file.rate(bytes, took);
        }
        let lazily = "the same from the page cache";
        report.rate("4 producers, 4 partitions, synced", &synced, lazily, &lazy, Some(0.7));
        report.rate("4 producers, 1 partition, synced", &shared, lazily, &lazy, Some(0.7));
        report.rate(
            "4 producers, 4 partitions, synced",
            &synced,
            "write(2) + fdatasync, 4 MiB",
            &file,
            None,
        );
        report.limit("broker RssAnon after that load", broker.rss_anon_mb()?, "MB", 256.0);
        Ok(())
    }

    /// One record at a time, each acknowledged before the next is sent.
    async fn single(&self, report: &mut Report) -> Result<()> {
        let broker = Broker::start(&self.data("single"))?;
        let client = Client::new(&broker.grpc)?;
        let topic = create(&client, "single", 1, Durability::Synced).await?;
        let producer = client.producer().linger(Duration::ZERO).build()?;
        let record = record(&topic);
        producer.send(record.clone()).await?.await?;
        let count = self.options.scaled(2000);
        let [mut ours, mut file] = [(); 2].map(|()| Series::default());
        // What a batch of one such record takes in the log.
        let batch_bytes = (RECORD_BYTES + 72).to_string();
        for _ in 0..self.options.rounds {
            let took = raw::on_broker_core(&[
                "sync",
                path(&self.data("raw")),
                &batch_bytes,
                &count.to_string(),
            ])?;
            file.rate(count, took);
            let begun = Instant::now();
            for _ in 0..count {
                producer.send(record.clone()).await?.await?;
            }
            ours.rate(count, begun.elapsed());
        }
        report.count(
            "1 record at a time, acks=all, synced",
            &ours,
            "write(2) + fdatasync",
            &file,
            Some(0.7),
        );
        Ok(())
    }

    /// Producers with one batch of 16 KiB in flight each, all to one partition.
    async fn flight(&self, report: &mut Report, producers: usize) -> Result<()> {
        const RECORDS: usize = 16;
        let broker = Broker::start(&self.data(&format!("flight-{producers}")))?;
        let client = Client::new(&broker.grpc)?;
        let topic = create(&client, "flight", 1, Durability::Synced).await?;
        let count = self.options.scaled(if producers == 1 { 2000 } else { 1000 });
        let [mut ours, mut file] = [(); 2].map(|()| Series::default());
        let batches: Vec<_> = (0..RECORDS).map(|_| record(&topic)).collect();
        let connected: Vec<Producer> =
            (0..producers).map(|_| Ok(client.producer().build()?)).collect::<Result<_>>()?;
        for producer in &connected {
            producer.send_batch(&*topic, 0, &batches).await?.await?;
        }
        let bytes = RECORDS * RECORD_BYTES;
        for _ in 0..self.options.rounds {
            let sync_bytes = (bytes * producers).to_string();
            let took = raw::on_broker_core(&[
                "sync",
                path(&self.data("raw")),
                &sync_bytes,
                &count.to_string(),
            ])?;
            file.rate(bytes * producers * count, took);
            let begun = Instant::now();
            let mut running = tokio::task::JoinSet::new();
            for producer in &connected {
                let producer = producer.clone();
                let (topic, batches) = (topic.clone(), batches.clone());
                running.spawn(async move {
                    for _ in 0..count {
                        let sent = producer.send_batch(&*topic, 0, &batches).await;
                        sent.expect("the broker is there").await.expect("the broker is there");
                    }
                });
            }
            while let Some(ended) = running.join_next().await {
                ended?;
            }
            ours.rate(bytes * producers * count, begun.elapsed());
        }
        report.rate(
            &format!("{producers} x 16 KiB in flight, acks=all, synced"),
            &ours,
            &format!("write(2) + fdatasync, {} KiB", 16 * producers),
            &file,
            Some(0.9),
        );
        Ok(())
    }

    async fn start(&self, report: &mut Report) -> Result<()> {
        let mut empty = Series::default();
        let mut idle = Series::default();
        for round in 0..self.options.rounds {
            let broker = Broker::start(&self.data(&format!("empty-{round}")))?;
            empty.push(broker.ready_after.as_secs_f64() * 1e3);
            idle.push(broker.rss_anon_mb()?);
        }
        report.limit("start to ready, empty folder", empty.median(), "ms", 50.0);
        report.limit("idle RssAnon, empty folder", idle.median(), "MB", 20.0);
        let data = self.data("many");
        let broker = Broker::start(&data)?;
        create(&Client::new(&broker.grpc)?, "many", 1000, Durability::Synced).await?;
        broker.stop()?;
        let [mut many, mut held] = [(); 2].map(|()| Series::default());
        for _ in 0..self.options.rounds {
            let broker = Broker::start(&data)?;
            many.push(broker.ready_after.as_secs_f64() * 1e3);
            held.push(broker.rss_anon_mb()?);
            broker.stop()?;
        }
        report.limit("start to ready, 1,000 partitions", many.median(), "ms", 500.0);
        report.limit("RssAnon, 1,000 partitions", held.median(), "MB", 60.0);
        Ok(())
    }

    /// A broker that was killed while it was written to.
    async fn crash(&self, report: &mut Report) -> Result<()> {
        let data = self.data("crash");
        let broker = Broker::start(&data)?;
        let client = Client::new(&broker.grpc)?;
        let topic = create(&client, "crash", 4, Durability::PageCache).await?;
        let gib = if self.options.quick { 1 } else { 10 };
        let records = gib * KIB * KIB;
        produce_from(&client, &topic, 4, 4, records / 4).await?;
        broker.kill()?;
        let again = Broker::start(&data)?;
        let took = again.ready_after.as_secs_f64() * 1e3;
        report.limit(&format!("start to ready after kill -9, {gib} GiB"), took, "ms", 1000.0);
        report.figure("RssAnon after that start", again.rss_anon_mb()?, "MB");
        Ok(())
    }
}

/// How records are handed to a producer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    RecordByRecord,
    BatchByBatch,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::RecordByRecord => "send",
            Self::BatchByBatch => "send_batch",
        }
    }
}

/// A rate, and what it cost both sides.
#[derive(Default)]
struct Measured {
    rate: Series,
    broker_cpu: Series,
    client_busy: Series,
}

impl Measured {
    fn report_cpu(&self, what: &str, report: &mut Report) {
        report.figure(&format!("{what}: broker CPU"), self.broker_cpu.median(), "s/GB");
        report.figure(&format!("{what}: client core busy"), self.client_busy.median(), "");
    }
}

/// Looks at processor times before and after.
struct Watch<'a> {
    broker: &'a Broker,
    broker_cpu: f64,
    client_cpu: f64,
}

impl<'a> Watch<'a> {
    fn start(broker: &'a Broker) -> Result<Self> {
        let client_cpu = broker::cpu_of(std::process::id())?;
        Ok(Self { broker, broker_cpu: broker.cpu()?, client_cpu })
    }

    fn stop(self, measured: &mut Measured, bytes: usize, took: Duration) -> Result<()> {
        measured.rate.rate(bytes, took);
        measured.broker_cpu.per_gb(self.broker.cpu()? - self.broker_cpu, bytes);
        let client = broker::cpu_of(std::process::id())? - self.client_cpu;
        measured.client_busy.push(client / took.as_secs_f64());
        Ok(())
    }
}

async fn create(
    client: &Client,
    name: &str,
    partitions: u32,
    durability: Durability,
) -> Result<String> {
    let topic = durability.topic(name, partitions);
    client
        .admin()
        .create_topic(topic)
        .await
        .map_err(|error| format!("cannot create {name} ({}): {error}", durability.name()))?;
    Ok(name.to_owned())
}

fn record(topic: &str) -> ProducerRecord {
    ProducerRecord::new(topic).partition(0).value(vec![b'x'; RECORD_BYTES])
}

fn thousand_per_batch(client: &Client) -> Result<Producer> {
    let builder = client.producer().batch_records(BATCH_RECORDS as u32).batch_bytes(2 * MIB);
    Ok(builder.build()?)
}

async fn produce(client: &Client, topic: &str, records: usize, how: How) -> Result<Duration> {
    let producer = thousand_per_batch(client)?;
    let record = record(topic);
    producer.send(record.clone()).await?.await?;
    let begun = Instant::now();
    match how {
        How::RecordByRecord => {
            for _ in 0..records {
                drop(producer.send(record.clone()).await?);
            }
        }
        How::BatchByBatch => {
            let batch = vec![record; BATCH_RECORDS];
            let topic: std::sync::Arc<str> = topic.into();
            let mut left = records;
            while left > 0 {
                let now = left.min(BATCH_RECORDS);
                drop(producer.send_batch(std::sync::Arc::clone(&topic), 0, &batch[..now]).await?);
                left -= now;
            }
        }
    }
    producer.flush().await?;
    Ok(begun.elapsed())
}

/// `each` records from each of several producers, spread over the partitions.
async fn produce_from(
    client: &Client,
    topic: &str,
    producers: usize,
    partitions: usize,
    each: usize,
) -> Result<Duration> {
    let record = record(topic);
    let mut connected = Vec::new();
    for number in 0..producers {
        let producer = thousand_per_batch(client)?;
        let record = record.clone().partition((number % partitions) as u32);
        producer.send(record.clone()).await?.await?;
        connected.push((producer, record));
    }
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (producer, record) in connected {
        running.spawn(async move {
            for _ in 0..each {
                drop(producer.send(record.clone()).await.expect("the broker is there"));
            }
            producer.flush().await.expect("every record is acknowledged");
        });
    }
    while let Some(ended) = running.join_next().await {
        ended?;
    }
    Ok(begun.elapsed())
}

/// Reads `records` records from the beginning, every one decoded and counted.
async fn consume(client: &Client, topic: &str, records: usize) -> Result<Duration> {
    let begun = Instant::now();
    let mut consumer = client.consumer().partition(topic, 0, StartAt::Earliest).build()?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < records {
        let batch = consumer.next_batch().await.ok_or("the stream ended early")??;
        for record in batch {
            bytes += record?.value.map_or(0, |value| value.len());
            seen += 1;
        }
    }
    if bytes != seen * RECORD_BYTES {
        return Err(format!("{seen} records hold {bytes} bytes").into());
    }
    Ok(begun.elapsed())
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("the target folder has a name of text")
}
