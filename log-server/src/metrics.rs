//! Measurements, one named function each, so that the lines of the logic stay clean.
//!
//! The rule: what is counted for a topic lives in the topic and dies with it; a deleted topic
//! leaves no family behind. What a scrape can look up (offsets, sizes) is looked up then, and
//! costs nothing while nobody scrapes. Labels are topics and partitions, never clients.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use log_proto::types::TimestampMs;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::broker::RequestMemory;
use crate::partition::{DiskRoom, Partition};
use crate::topics::{PartitionState, Topic, Topics};

/// What is counted of one topic.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    records_appended: Counter,
    bytes_appended: Counter,
    records_read: Counter,
    bytes_read: Counter,
    appends_refused: Counter,
    records_past_retention: Counter,
    /// When somebody was last warned of those, in milliseconds since 1970; 0 is never.
    warned_of_retention_ms: AtomicI64,
}

impl TopicMetrics {
    pub(crate) fn appended(&self, records: u32, bytes: usize) {
        self.records_appended.inc_by(u64::from(records));
        self.bytes_appended.inc_by(bytes as u64);
    }

    pub(crate) fn refused(&self) {
        self.appends_refused.inc();
    }

    /// Counts records that are stored, and older than they are kept. Whether it is time to warn of
    /// them: at the first, and once in each `interval` after that.
    pub(crate) fn past_retention(
        &self,
        records: u32,
        now: TimestampMs,
        interval: Duration,
    ) -> bool {
        self.records_past_retention.inc_by(u64::from(records));
        let before = self.warned_of_retention_ms.load(Ordering::Relaxed);
        let is_soon = u128::try_from(now.get().saturating_sub(before))
            .is_ok_and(|passed| passed < interval.as_millis());
        let warned = &self.warned_of_retention_ms;
        // Of two at the same moment one warns.
        !is_soon
            && warned
                .compare_exchange(before, now.get(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(crate) fn read(&self, records: u64, bytes: usize) {
        self.records_read.inc_by(records);
        self.bytes_read.inc_by(bytes as u64);
    }
}

/// What is measured of the whole broker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    acknowledge_seconds: Histogram,
    read_seconds: Histogram,
    produce_streams: Gauge,
    consume_streams: Gauge,
}

impl Metrics {
    pub(crate) fn new(
        topics: Arc<Topics>,
        request_memory: RequestMemory,
        room: Arc<DiskRoom>,
    ) -> Self {
        let mut registry = Registry::with_prefix("cairn");
        let acknowledge_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        let read_seconds = Histogram::new(exponential_buckets(0.000_01, 2.0, 18));
        let (produce_streams, consume_streams) = (Gauge::default(), Gauge::default());
        registry.register_with_unit(
            "produce_acknowledge",
            "From a batch's arrival to its acknowledgement",
            Unit::Seconds,
            acknowledge_seconds.clone(),
        );
        registry.register_with_unit(
            "consume_read",
            "Of one read for a consumer",
            Unit::Seconds,
            read_seconds.clone(),
        );
        registry.register("produce_streams", "Open produce streams", produce_streams.clone());
        registry.register("consume_streams", "Open consume streams", consume_streams.clone());
        registry.register_collector(Box::new(TopicsCollector { topics }));
        registry.register_collector(Box::new(ProcessCollector { request_memory, room }));
        Self { registry, acknowledge_seconds, read_seconds, produce_streams, consume_streams }
    }

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn acknowledged(&self, since: Instant) {
        self.acknowledge_seconds.observe(since.elapsed().as_secs_f64());
    }

    pub(crate) fn read_took(&self, duration: Duration) {
        self.read_seconds.observe(duration.as_secs_f64());
    }

    pub(crate) fn produce_stream(&self) -> Open {
        Open::new(&self.produce_streams)
    }

    pub(crate) fn consume_stream(&self) -> Open {
        Open::new(&self.consume_streams)
    }
}

/// Counts one more of something, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Looks at every topic when somebody scrapes.
#[derive(Debug)]
struct TopicsCollector {
    topics: Arc<Topics>,
}

type TopicCounter = (&'static str, &'static str, fn(&TopicMetrics) -> &Counter);

const TOPIC_COUNTERS: [TopicCounter; 6] = [
    ("topic_records_appended", "Records appended", |topic| &topic.records_appended),
    ("topic_bytes_appended", "Bytes of batches appended", |topic| &topic.bytes_appended),
    ("topic_records_read", "Records sent to consumers", |topic| &topic.records_read),
    ("topic_bytes_read", "Bytes sent to consumers", |topic| &topic.bytes_read),
    ("topic_appends_refused", "Batches that were not appended", |topic| &topic.appends_refused),
    (
        "topic_records_past_retention",
        "Records that were older than retention.ms when they were appended",
        |topic| &topic.records_past_retention,
    ),
];

type PartitionGauge = (&'static str, &'static str, fn(&Partition) -> i64);

const PARTITION_GAUGES: [PartitionGauge; 4] = [
    ("partition_log_start_offset", "First offset that may be read", |partition| {
        partition.offsets().log_start.get()
    }),
    ("partition_high_watermark", "End of what readers see", |partition| {
        partition.offsets().high_watermark.get()
    }),
    ("partition_log_end_offset", "Next offset to assign", |partition| {
        partition.offsets().log_end.get()
    }),
    ("partition_size_bytes", "Bytes of the log files", |partition| {
        i64::try_from(partition.log().describe().size_bytes).unwrap_or(i64::MAX)
    }),
];

impl Collector for TopicsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let topics = self.topics.all();
        for (name, help, counter) in TOPIC_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for topic in &topics {
                let labels = [("topic", topic.name.as_str())];
                let value = ConstCounter::new(counter(&topic.metrics).get());
                value.encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, gauge) in PARTITION_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for topic in &topics {
                encode_partitions(topic, gauge, &mut metric)?;
            }
        }
        let damaged = topics.iter().flat_map(|topic| topic.serving());
        let damaged = damaged.filter(|partition| partition.is_damaged()).count();
        let help = "Partitions in which the last start, or a read since, has found damage";
        encode_gauge(&mut encoder, "damaged_partitions", help, damaged)?;
        encode_failed(&topics, &mut encoder)
    }
}

/// How many there are, and which: only those that have failed get labels.
fn encode_failed(topics: &[Arc<Topic>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let failed = topics.iter().flat_map(|topic| {
        failed_partitions(topic).map(|number| (topic.name.as_str(), number.to_string()))
    });
    let failed: Vec<_> = failed.collect();
    encode_gauge(encoder, "failed_partitions", "Partitions that take no writes", failed.len())?;
    let help = "1 for each partition that takes no writes";
    let mut metric =
        encoder.encode_descriptor("partition_failed", help, None, MetricType::Gauge)?;
    for (topic, number) in &failed {
        let labels = [("topic", *topic), ("partition", number.as_str())];
        ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_partitions(
    topic: &Topic,
    gauge: fn(&Partition) -> i64,
    metric: &mut MetricEncoder<'_>,
) -> fmt::Result {
    for partition in topic.serving() {
        let number = partition.number.to_string();
        let labels = [("topic", topic.name.as_str()), ("partition", &number)];
        ConstGauge::new(gauge(partition)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The numbers of the partitions that take no writes.
fn failed_partitions(topic: &Topic) -> impl Iterator<Item = usize> {
    let failed = |state: &PartitionState| match state {
        PartitionState::Failed(_) => true,
        PartitionState::Serving(partition) => partition.failure().is_some(),
    };
    let numbered = topic.partitions.iter().enumerate();
    numbered.filter(move |(_, state)| failed(state)).map(|(number, _)| number)
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: usize,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
}

/// Looks at the process when somebody scrapes.
#[derive(Debug)]
struct ProcessCollector {
    request_memory: RequestMemory,
    room: Arc<DiskRoom>,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Bytes of produce requests in memory";
        encode_gauge(&mut encoder, "request_memory_bytes", help, self.request_memory.used())?;
        let help = "Whether writes have found no room on the disk, and still may not";
        encode_gauge(&mut encoder, "disk_full", help, usize::from(self.room.is_full()))?;
        if let Some(bytes) = anonymous_memory_bytes() {
            let help = "Resident anonymous memory of the process";
            encode_gauge(&mut encoder, "process_anonymous_memory_bytes", help, bytes)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let help = "Open file descriptors of the process";
            encode_gauge(&mut encoder, "process_open_descriptors", help, entries.count())?;
        }
        Ok(())
    }
}

/// `RssAnon` of this process: what it has in memory besides files. `None` where the system has no
/// `/proc`.
fn anonymous_memory_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}
