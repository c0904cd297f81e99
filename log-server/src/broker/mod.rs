//! The broker: the one cheap-to-clone handle that every door calls.
//!
//! ```text
//!   grpc, http ──► Broker ──► Topics ──► Partition ──► log-core
//!                     └─────► coordinators (metadata, groups) ──► their own partitions
//! ```
//!
//! The rule: it finds things and puts them together; it knows no wire type, and what is more than
//! a lookup lies with the partition or the coordinator that it concerns. Every call names the
//! principal on whose behalf it happens.
//!
//! - [`admin`]: topics come, change and go.
//! - [`groups`]: offsets are committed and fetched.
//! - [`group_members`]: members join groups and leave them.
//! - [`group_session`]: memberships that last as long as somebody holds them.
//! - [`group_progress`]: how far groups have come, beside what there is to read.
//! - [`partitions`]: a topic gets more of them, and loses its first records.
//! - [`past_retention`]: what is older than it is kept is said aloud.
//! - [`patterns`]: which topics a pattern matches.
//! - [`reading`]: where reading begins, and which offsets there are.
//! - [`remains`]: what is left of the broker's own logs, before a start touches them.
//! - [`startup`], [`stop`]: from a folder to a broker and back.

mod admin;
pub mod group_members;
mod group_progress;
pub mod group_session;
mod groups;
mod partitions;
mod past_retention;
mod patterns;
mod reading;
mod remains;
mod request_memory;
#[cfg(any(test, feature = "fuzz"))]
mod scratch;
mod startup;
mod stop;
mod strays;

#[cfg(test)]
mod lost_files_tests;
#[cfg(test)]
mod own_files_tests;

#[cfg(test)]
mod neighbours_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod telling_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use log_core::{AppendError, AppendKind, FlushPolicy, LogConfig};
use log_proto::record::{BatchHeader, CheckedBatch, Compression};
use log_proto::types::{LeaderEpoch, Producer, ProducerEpoch, ProducerId, TimestampMs};
use tokio::sync::{OwnedSemaphorePermit, watch};

pub use admin::{CreatedTopic, Mode};
pub use group_progress::{DescribeGroupError, DescribedGroup, GroupPartition, GroupProgress, Lag};
pub use groups::{
    CommitError, CommitOffsets, Committer, DeleteOffsetRefusal, DeleteOffsetsError, GroupId,
    GroupOffset, Keep, OffsetRefusal, Stability,
};
pub use partitions::DeleteBefore;
pub use patterns::{TopicPattern, TopicPatternError};
pub use reading::{Edge, FoundOffset, MemberStart, OffsetQuery, StartPosition, WithoutCommit};
pub use remains::LostLog;
pub(crate) use request_memory::RequestMemory;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use scratch::Scratch;
pub use startup::StartupError;

use patterns::Patterns;

use crate::config::ServerConfig;
use crate::coordinator::Coordinator;
use crate::coordinator::WriteError;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::metadata::{MetadataState, request};
use crate::data_dir::DataDir;
use crate::error::{InitProducerError, InternalTopic, LookupError, ProduceError, Stopping};
use crate::limits;
use crate::metrics::Metrics;
use crate::partition::{Acknowledged, Acks, AppendTicket, Partition, PartitionParts};
use crate::principal::Principal;
use crate::topic_config::TopicConfigs;
use crate::topics::{Topic, TopicKind, Topics};

/// Larger batches are checked on a thread that may take its time. Uncompressed ones are checked
/// about as fast as they are copied; compressed ones may expand to many times their size.
const CHECK_INLINE_BYTES_MAX: usize = 1 << 20;
const CHECK_INLINE_COMPRESSED_BYTES_MAX: usize = 16 << 10;

/// Where in its life the broker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It takes everything.
    Serving,
    /// It finishes what it has, and takes nothing new.
    Stopping,
}

/// The broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    config: ServerConfig,
    data_dir: DataDir,
    parts: PartitionParts,
    leader_epoch: LeaderEpoch,
    topics: Arc<Topics>,
    metadata: Coordinator<MetadataState>,
    image: Arc<ArcSwap<MetadataState>>,
    groups: GroupCoordinator,
    patterns: Patterns,
    seats: group_session::Seats,
    /// Set aside durably, not given out yet.
    producer_ids: tokio::sync::Mutex<Range<i64>>,
    /// Topics come and go one at a time, from the first check to the last folder.
    admin: tokio::sync::Mutex<()>,
    request_memory: RequestMemory,
    stage: watch::Sender<Stage>,
    metrics: Metrics,
}

impl Drop for Inner {
    /// Lets no thread outlive the broker. The coordinators go first: a committer that has stopped
    /// would keep them waiting.
    fn drop(&mut self) {
        self.metadata.stop();
        self.groups.stop();
        self.parts.committer.stop();
    }
}

impl Broker {
    /// The settings.
    pub fn config(&self) -> &ServerConfig {
        &self.inner.config
    }

    /// How topics are synced that do not say otherwise.
    pub fn default_flush(&self) -> FlushPolicy {
        let nothing_set = TopicConfigs::default();
        nothing_set.resolve(&self.inner.config.topic_defaults, &LogConfig::default()).flush
    }

    /// The data folder.
    pub fn data_dir(&self) -> &DataDir {
        &self.inner.data_dir
    }

    /// What tells this broker's data from that of any other, as Kafka prints ids.
    pub fn cluster_id(&self) -> String {
        log_proto::kafka::Uuid::from_bytes(self.inner.data_dir.cluster_id().into_bytes())
            .to_string()
    }

    /// The epoch under which this broker owns its partitions.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.inner.leader_epoch
    }

    /// What is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Every topic that is served.
    pub fn topics(&self) -> &Topics {
        &self.inner.topics
    }

    /// Where in its life the broker is, and when that changes.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.inner.stage.subscribe()
    }

    /// Completes when the broker has begun to stop.
    pub(crate) async fn stopping(stage: &mut watch::Receiver<Stage>) {
        // A broker that is gone has stopped, too.
        let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
    }

    /// Whether a disk that was full has room again. Costs nothing where it was not.
    pub(crate) fn look_at_room(&self) {
        let room = &self.inner.parts.room;
        if room.is_full()
            && let Ok(free_bytes) = self.inner.data_dir.reserve().free_bytes()
        {
            room.look(free_bytes);
        }
    }

    /// The time of day.
    pub fn now(&self) -> TimestampMs {
        self.inner.parts.clock.now()
    }

    /// Refuses what would begin something new.
    pub(crate) fn check_serving(&self) -> Result<(), Stopping> {
        match *self.inner.stage.borrow() {
            Stage::Serving => Ok(()),
            Stage::Stopping => Err(Stopping),
        }
    }

    /// The topic and its partition, to read from.
    pub fn partition(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(Arc<Topic>, Arc<Partition>), LookupError> {
        let topic = self.inner.topics.get(topic)?;
        let found = Arc::clone(topic.partition(partition)?);
        Ok((topic, found))
    }

    /// The topic that records are to be produced to.
    pub fn topic_to_produce(&self, name: &str) -> Result<Arc<Topic>, ProduceError> {
        let topic = self.inner.topics.get(name)?;
        self.check_to_produce(&topic)?;
        Ok(topic)
    }

    /// Whether records may be produced to the topic.
    pub fn check_to_produce(&self, topic: &Topic) -> Result<(), ProduceError> {
        Ok(refuse_internal(topic)?)
    }

    /// Waits until a request of `bytes` bytes may be in memory. Whoever waits here stops reading
    /// from its connection, which is the back-pressure.
    pub async fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ProduceError> {
        let memory = self.inner.request_memory.take(self.permits(bytes)?).await;
        memory.map_err(|_| ProduceError::Stopping(Stopping))
    }

    /// As [`Broker::admit`], for `bytes` more of a large request that comes in parts.
    pub(crate) async fn admit_part(
        &self,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, ProduceError> {
        let memory = self.inner.request_memory.take_part(self.permits(bytes)?).await;
        memory.map_err(|_| ProduceError::Stopping(Stopping))
    }

    fn permits(&self, bytes: usize) -> Result<u32, ProduceError> {
        let max = self.inner.config.request_memory_bytes_max;
        let permits = u32::try_from(bytes).ok().filter(|_| bytes <= max);
        permits.ok_or(ProduceError::TooLarge { bytes, max })
    }

    /// Checks a batch and puts it behind all that were submitted to its partition before. The
    /// order of two calls is kept if the second begins after the first has returned.
    pub async fn submit(
        &self,
        principal: &Principal,
        topic: &Arc<Topic>,
        partition: u32,
        batch: Bytes,
        memory: OwnedSemaphorePermit,
    ) -> Result<Submitted, ProduceError> {
        let submitted = self.submit_checked(topic, partition, batch, memory).await;
        if let Err(error) = &submitted {
            topic.metrics.refused();
            tracing::debug!(%principal, topic = %topic.name, partition, %error, "batch refused");
        }
        submitted
    }

    async fn submit_checked(
        &self,
        topic: &Arc<Topic>,
        partition: u32,
        batch: Bytes,
        memory: OwnedSemaphorePermit,
    ) -> Result<Submitted, ProduceError> {
        self.check_serving()?;
        let arrived = Instant::now();
        let partition = topic.partition(partition)?;
        let batch = check(partition, batch).await?;
        if batch.header().is_transactional() && !batch.header().is_control() {
            return Err(ProduceError::Transactional);
        }
        let (records, bytes) = (batch.header().record_count(), batch.bytes().len());
        let outlived = past_retention::stamp_of(&batch, &partition.log().config(), self.now());
        let ticket = partition.submit(batch, Some(memory));
        Ok(Submitted {
            broker: self.clone(),
            topic: Arc::clone(topic),
            ticket,
            arrived,
            records,
            bytes,
            outlived,
        })
    }

    /// A producer id that nobody has had before.
    pub async fn init_producer(
        &self,
        principal: &Principal,
    ) -> Result<Producer, InitProducerError> {
        self.check_serving()?;
        let mut block = self.inner.producer_ids.lock().await;
        if block.is_empty() {
            let allotted = self.inner.metadata.write(request::allot_producer_ids).await;
            let first = allotted.map_err(|error| match error {
                WriteError::Refused(request::IdsExhausted) => InitProducerError::Exhausted,
                WriteError::Coordinator(error) => error.into(),
            })?;
            *block = first.get()..first.get() + limits::PRODUCER_ID_BLOCK;
        }
        let id = block.next().and_then(ProducerId::new).ok_or(InitProducerError::Exhausted)?;
        let epoch = ProducerEpoch::new(0).expect("zero is not negative");
        tracing::debug!(%principal, %id, "producer id given out");
        Ok(Producer { id, epoch })
    }
}

/// A batch that is on its way into its partition.
pub struct Submitted {
    broker: Broker,
    topic: Arc<Topic>,
    ticket: AppendTicket,
    arrived: Instant,
    records: u32,
    bytes: usize,
    /// The stamp of its youngest record, if it is older than records are kept.
    outlived: Option<TimestampMs>,
}

impl Submitted {
    /// Waits for what `acks` asks for.
    pub async fn acknowledged(self, acks: Acks) -> Result<Acknowledged, ProduceError> {
        let acknowledged = self.ticket.acknowledged(acks).await;
        match &acknowledged {
            Ok(stored) if stored.kind == AppendKind::Stored => {
                self.topic.metrics.appended(self.records, self.bytes);
                if let Some(stamp) = self.outlived {
                    past_retention::stored(&self.topic, self.records, stamp, self.broker.now());
                }
            }
            Ok(_) => {}
            Err(_) => self.topic.metrics.refused(),
        }
        self.broker.inner.metrics.acknowledged(self.arrived);
        acknowledged
    }
}

fn refuse_internal(topic: &Topic) -> Result<(), InternalTopic> {
    match topic.kind {
        TopicKind::User => Ok(()),
        TopicKind::Internal => Err(InternalTopic { topic: topic.name.clone() }),
    }
}

async fn check(partition: &Arc<Partition>, batch: Bytes) -> Result<CheckedBatch, ProduceError> {
    let refused = |source: AppendError| ProduceError::append(partition, source);
    if !takes_long(&batch) {
        return partition.check(batch).map_err(refused);
    }
    let checking = Arc::clone(partition);
    let checked = tokio::task::spawn_blocking(move || checking.check(batch)).await;
    checked.map_err(|_| ProduceError::Lost)?.map_err(refused)
}

fn takes_long(batch: &[u8]) -> bool {
    let is_compressed = |header: BatchHeader| header.compression() != Compression::None;
    batch.len() > CHECK_INLINE_BYTES_MAX
        || batch.len() > CHECK_INLINE_COMPRESSED_BYTES_MAX
            && BatchHeader::parse(batch).is_ok_and(is_compressed)
}
