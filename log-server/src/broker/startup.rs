//! From a folder to a broker, as a numbered walk.
//!
//! 1. Lock the folder; learn how it was left.
//! 2. Look whether the internal logs are all there, before anything is written to them.
//! 3. Open the metadata log and replay it.
//! 4. After an unclean stop, raise the leader epoch, durably, before anything else is opened.
//! 5. Open the offsets log and replay it. Now that both logs are there, note it.
//! 6. Finish the deletions that a stop has cut short.
//! 7. Look after folders that belong to no topic.
//! 8. Open every partition, a few at a time. One that fails is reported and takes no traffic; the
//!    others serve.
//! 9. Let time pass for groups.
//!
//! The rule: nothing is removed but what a durable record says is deleted, or what is empty and
//! unheard of. A folder that nobody can explain stays where it is, and is spoken of.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use log_core::io::{Entry, EntryKind};
use log_core::{Damage, LogConfig, LogIdentity, OpenError, RecoveryReport};
use log_proto::types::LeaderEpoch;
use tokio::sync::watch;
use uuid::Uuid;

use super::group_session::Seats;
use super::remains::{self, LostLog};
use super::request_memory::RequestMemory;
use super::strays::{self, Tidied};
use super::{Broker, Inner, Stage, admin};
use crate::config::ServerConfig;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::group::service::clocks;
use crate::coordinator::group::state::GroupsState;
use crate::coordinator::metadata::request::EpochsExhausted;
use crate::coordinator::metadata::{MetadataState, TopicMetadata, request};
use crate::coordinator::{Coordinator, LoadError, OpenCoordinator, WriteError};
use crate::data_dir::{DataDir, DataDirError, LeftAs};
use crate::limits;
use crate::metrics::Metrics;
use crate::parallel;
use crate::partition::{OpenPartition, Partition, PartitionParts};
use crate::topics::{PartitionState, Topic, TopicId, TopicKind, TopicName, Topics};

/// The topic whose one partition holds the metadata.
pub(super) const METADATA_LOG: &str = "__cluster_metadata";
/// The topic whose one partition holds the committed offsets.
pub(super) const OFFSETS_LOG: &str = "__consumer_offsets";

const METADATA_LOG_ID: TopicId = TopicId(Uuid::from_u128(1));
const OFFSETS_LOG_ID: TopicId = TopicId(Uuid::from_u128(2));

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// An internal log does not open.
    #[error(
        "cannot open {log}: {source}; it is one of the broker's own logs: do not move or remove it \
         before reading docs/recovery.md"
    )]
    Open {
        /// Which log.
        log: &'static str,
        /// Why.
        source: OpenError,
    },
    /// An internal log has lost what cannot be done without.
    #[error(transparent)]
    Lost(#[from] LostLog),
    /// The state of a coordinator cannot be rebuilt.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The leader epoch cannot be raised.
    #[error("cannot raise the leader epoch: {0}")]
    Epoch(String),
    /// The folder of the logs cannot be listed.
    #[error("cannot list {}: {source}", folder.display())]
    List {
        /// The folder.
        folder: std::path::PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What is there before there is a broker.
struct Foundation {
    data_dir: DataDir,
    metadata_log: Arc<Partition>,
    metadata: Coordinator<MetadataState>,
    image: Arc<ArcSwap<MetadataState>>,
    /// What the offsets log has lost without its opening being able to say so.
    lost_offsets: Option<Damage>,
}

impl Broker {
    /// Opens what `config` names. Serves when this returns.
    pub async fn start(config: ServerConfig, parts: PartitionParts) -> Result<Self, StartupError> {
        let (known, shared) = (config.clone(), parts.clone());
        let foundation = off_network(move || Foundation::lay(&known, &shared)).await?;
        let leader_epoch = foundation.leader_epoch().await?;
        let broker = off_network(move || foundation.build(config, parts, leader_epoch)).await?;
        broker.finish_deletions().await;
        let tidied = match broker.metadata_is_whole() {
            true => broker.blocking(Self::look_after_strays).await?,
            false => Tidied::No,
        };
        broker.blocking(Self::open_topics).await;
        if tidied == Tidied::Yes {
            broker.drop_orphaned_offsets().await;
        }
        broker.drive_groups();
        Ok(broker)
    }

    /// Whether nothing was found wrong with the log of the metadata. What its lost records knew of,
    /// and a person may bring back, is not tidied away.
    fn metadata_is_whole(&self) -> bool {
        let log = self.inner.topics.get(METADATA_LOG);
        log.is_ok_and(|log| log.serving().all(|partition| !partition.is_damaged()))
    }

    /// From here on sessions end and offsets expire: not before every topic is known, because what
    /// members use is kept by the names of topics.
    fn drive_groups(&self) {
        let topics = Arc::clone(&self.inner.topics);
        self.inner.groups.drive(move |names| {
            names.iter().filter_map(|name| topics.get(name).ok()).map(|topic| topic.id).collect()
        });
    }

    async fn finish_deletions(&self) {
        let image = self.inner.image.load_full();
        for topic in image.deleted.values() {
            tracing::info!(topic = %topic.name, id = %topic.id, "finishing the deletion");
            if let Err(reason) = self.remove(Arc::clone(topic)).await {
                tracing::warn!(topic = %topic.name, reason, "still not removed from the disk");
            }
        }
    }

    fn look_after_strays(&self) -> Result<Tidied, StartupError> {
        let image = self.inner.image.load();
        let storage = &self.inner.parts.storage;
        let folder = self.data_dir().topics();
        let entries = storage.list(&folder);
        let entries =
            entries.map_err(|source| StartupError::List { folder: folder.clone(), source })?;
        let is_stray =
            |entry: &Entry| entry.kind == EntryKind::Folder && !is_known(&image, &entry.name);
        let strays = entries.into_iter().filter(is_stray).map(|entry| folder.join(entry.name));
        Ok(strays::look_after(storage, &strays.collect::<Vec<_>>()))
    }

    fn open_topics(&self) {
        let image = self.inner.image.load_full();
        let wanted: Vec<(&TopicMetadata, u32)> = image
            .topics
            .values()
            .flat_map(|topic| (0..topic.partitions).map(move |number| (&**topic, number)))
            .collect();
        let opened = parallel::map(&wanted, |(topic, number)| self.reopen(topic, *number));
        let mut partitions: HashMap<TopicId, Vec<PartitionState>> = HashMap::new();
        for ((topic, _), state) in wanted.iter().zip(opened) {
            partitions.entry(topic.id).or_default().push(state);
        }
        for topic in image.topics.values() {
            let partitions = partitions.remove(&topic.id).unwrap_or_default();
            self.inner.topics.insert(Arc::new(admin::serve(topic, partitions)));
        }
    }

    /// A partition that there was must still be there: an empty log in its place would pass lost
    /// records off as never written.
    fn reopen(&self, topic: &TopicMetadata, number: u32) -> PartitionState {
        let folder = self.data_dir().partition(&topic.name, number);
        let opened = match LogIdentity::read(&self.inner.parts.storage, &folder) {
            Ok(Some(_)) => self.open_partition(topic, number),
            Ok(None) => Err(format!(
                "{} is missing or has no partition.json: put it back, or delete the topic",
                folder.display()
            )),
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(partition) => PartitionState::Serving(partition),
            Err(reason) => {
                tracing::error!(topic = %topic.name, partition = number, reason, "out of service");
                PartitionState::Failed(reason)
            }
        }
    }

    /// A commit that overtook the deletion of its topic left offsets that nobody can reach.
    async fn drop_orphaned_offsets(&self) {
        let Ok(kept) = self.inner.groups.topics().await else { return };
        let live: Vec<_> = self.inner.topics.all().iter().map(|topic| topic.id).collect();
        for orphan in kept.into_iter().filter(|id| !live.contains(id)) {
            tracing::warn!(topic_id = %orphan, "dropping what groups have committed of no topic");
            if let Err(error) = self.inner.groups.delete_topic(orphan).await {
                tracing::warn!(topic_id = %orphan, %error, "cannot drop the offsets of a lost topic");
            }
        }
    }
}

impl Foundation {
    fn lay(config: &ServerConfig, parts: &PartitionParts) -> Result<Self, StartupError> {
        let data_dir = DataDir::open(&config.data_dir, Arc::clone(&parts.storage))?;
        remains::look::<MetadataState>(&data_dir, parts, METADATA_LOG)?;
        let lost_offsets = remains::look::<GroupsState>(&data_dir, parts, OFFSETS_LOG)?;
        data_dir.begin_use()?;
        // The metadata says which leader epoch it is, so its own log knows only one.
        let metadata_log =
            open_internal(&data_dir, parts, METADATA_LOG, METADATA_LOG_ID, LeaderEpoch::ZERO)?;
        let image = Arc::new(ArcSwap::from_pointee(MetadataState::default()));
        let published = Arc::clone(&image);
        let publish = move |state: &MetadataState| published.store(Arc::new(state.clone()));
        let open = coordinator_of(&data_dir, config, parts, &metadata_log);
        let metadata = Coordinator::start(open, publish)?;
        Ok(Self { data_dir, metadata_log, metadata, image, lost_offsets })
    }

    /// Raised after an unclean stop: records may be gone that a reader has seen, and others come
    /// to stand at their offsets. The epoch tells them apart.
    async fn leader_epoch(&self) -> Result<LeaderEpoch, StartupError> {
        if self.data_dir.left_as() != LeftAs::Unclean {
            return Ok(self.image.load().leader_epoch);
        }
        let raised = self.metadata.write(request::raise_leader_epoch).await;
        let raised = raised.map_err(|error: WriteError<EpochsExhausted>| {
            StartupError::Epoch(match error {
                WriteError::Refused(refused) => refused.to_string(),
                WriteError::Coordinator(error) => error.to_string(),
            })
        })?;
        tracing::info!(leader_epoch = %raised, "the last stop was not clean");
        Ok(raised)
    }

    fn build(
        self,
        config: ServerConfig,
        parts: PartitionParts,
        leader_epoch: LeaderEpoch,
    ) -> Result<Broker, StartupError> {
        let offsets_log =
            open_internal(&self.data_dir, &parts, OFFSETS_LOG, OFFSETS_LOG_ID, leader_epoch)?;
        self.data_dir.own_logs_are_made()?;
        if let Some(lost) = self.lost_offsets {
            offsets_log.found(format!("{lost}: what no snapshot has of it is lost"));
        }
        let open = coordinator_of(&self.data_dir, &config, &parts, &offsets_log);
        let groups = GroupCoordinator::start(open, config.groups.clone(), clocks(&parts.clock))?;
        let topics = Arc::new(Topics::default());
        topics.insert(internal_topic(METADATA_LOG_ID, self.metadata_log));
        topics.insert(internal_topic(OFFSETS_LOG_ID, offsets_log));
        let request_memory = RequestMemory::of(config.request_memory_bytes_max);
        let room = Arc::clone(&parts.room);
        let metrics = Metrics::new(Arc::clone(&topics), request_memory.clone(), room);
        let inner = Inner {
            config,
            data_dir: self.data_dir,
            parts,
            leader_epoch,
            topics,
            metadata: self.metadata,
            image: self.image,
            groups,
            patterns: super::patterns::Patterns::default(),
            seats: Seats::default(),
            producer_ids: tokio::sync::Mutex::new(0..0),
            admin: tokio::sync::Mutex::new(()),
            request_memory,
            stage: watch::Sender::new(Stage::Serving),
            metrics,
        };
        Ok(Broker { inner: Arc::new(inner) })
    }
}

pub(super) fn internal_name(name: &'static str) -> TopicName {
    TopicName::new(name).expect("the broker's own names are sound")
}

fn open_internal(
    data_dir: &DataDir,
    parts: &PartitionParts,
    name: &'static str,
    topic_id: TopicId,
    leader_epoch: LeaderEpoch,
) -> Result<Arc<Partition>, StartupError> {
    let topic = internal_name(name);
    let folder = data_dir.partition(&topic, 0);
    let config = LogConfig {
        segment_bytes: limits::INTERNAL_SEGMENT_BYTES,
        max_message_bytes: limits::INTERNAL_BATCH_BYTES_MAX,
        retention_ms: None,
        ..LogConfig::default()
    };
    open_log(parts, OpenPartition { topic, topic_id, number: 0, folder, leader_epoch, config })
        .map_err(|source| StartupError::Open { log: name, source })
}

fn coordinator_of(
    data_dir: &DataDir,
    config: &ServerConfig,
    parts: &PartitionParts,
    log: &Arc<Partition>,
) -> OpenCoordinator {
    OpenCoordinator {
        snapshot_file: data_dir.snapshot(&log.topic),
        partition: Arc::clone(log),
        storage: Arc::clone(&parts.storage),
        clock: Arc::clone(&parts.clock),
        snapshot_records_min: config.snapshot_records_min,
    }
}

fn internal_topic(id: TopicId, log: Arc<Partition>) -> Arc<Topic> {
    Arc::new(Topic {
        name: log.topic.clone(),
        id,
        kind: TopicKind::Internal,
        configs: ArcSwap::default(),
        partitions: vec![PartitionState::Serving(log)].into(),
        metrics: Default::default(),
    })
}

/// Opens a log and says what recovering it has found.
pub(super) fn open_log(
    parts: &PartitionParts,
    open: OpenPartition,
) -> Result<Arc<Partition>, OpenError> {
    let (partition, report) = Partition::open(open, parts)?;
    tell(&partition, &report);
    Ok(Arc::new(partition))
}

fn tell(partition: &Partition, report: &RecoveryReport) {
    if report.scanned_bytes > 0 {
        tracing::info!(%partition, scanned_bytes = report.scanned_bytes, "log recovered");
    }
    for cut in &report.cuts {
        tracing::warn!(%partition, %cut, "the end of the log was cut off");
    }
    for damage in &report.damages {
        tracing::error!(%partition, %damage, "the log is damaged; the rest of it is served");
    }
}

/// Whether a live topic explains a folder. Whose it really is, opening it will find out.
fn is_known(image: &MetadataState, folder: &str) -> bool {
    let Some((topic, partition)) = TopicName::parse_folder(folder) else { return false };
    let is_internal = [METADATA_LOG, OFFSETS_LOG].contains(&topic.as_str());
    let live = image.topics.get(&topic);
    is_internal || live.is_some_and(|topic| partition < topic.partitions)
}

/// Runs what blocks off the network's threads.
async fn off_network<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartupError> + Send + 'static,
) -> Result<T, StartupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
}
