//! Topics come, change and go.
//!
//! The rule: folders first, then the record, then the answer, for a new topic; record first, then
//! the answer's condition that the folders are gone, for a deleted one. Whatever a crash
//! leaves in between is either an empty folder that nobody has heard of, or a topic that the
//! metadata remembers as deleted; the next start finishes both. What has begun runs to its end in
//! a task of its own, also when its caller goes away.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use log_core::{LogConfig, LogIdentity};
use uuid::Uuid;

use super::{Broker, refuse_internal, strays};
use crate::coordinator::WriteError;
use crate::coordinator::metadata::{DeletedTopic, TopicMetadata, request};
use crate::error::{AlterConfigsError, CoordinatorError, CreateTopicError, DeleteTopicError};
use crate::parallel;
use crate::partition::{OpenPartition, Partition};
use crate::principal::Principal;
use crate::reserve::Given;
use crate::topic_config::{ConfigChange, TopicConfigs};
use crate::topics::{PartitionState, Topic, TopicId, TopicKind, TopicName, serving};

/// Whether a change is made or only asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Make it.
    Apply,
    /// Say whether it would work.
    Validate,
}

/// A topic that was created, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id; `None` if it was only asked about.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Names of the broker's own topics, those to come included.
pub(super) const RESERVED: [&str; 3] =
    [super::startup::METADATA_LOG, super::startup::OFFSETS_LOG, "__transaction_state"];

impl Broker {
    /// Creates a topic; durable when this returns.
    pub async fn create_topic(
        &self,
        principal: &Principal,
        name: &str,
        partitions: Option<u32>,
        configs: TopicConfigs,
        mode: Mode,
    ) -> Result<CreatedTopic, CreateTopicError> {
        self.check_serving()?;
        let name = TopicName::new(name)?;
        if RESERVED.contains(&name.as_str()) {
            return Err(CreateTopicError::Reserved { name });
        }
        let partitions = partitions.unwrap_or(self.config().num_partitions);
        let created = CreatedTopic { name: name.clone(), id: None, partitions };
        if mode == Mode::Validate {
            self.check_create(&created)?;
            return Ok(created);
        }
        let id = TopicId(Uuid::new_v4());
        let topic = Arc::new(TopicMetadata { name, id, partitions, configs });
        tracing::info!(%principal, topic = %topic.name, %id, partitions, "creating topic");
        let broker = self.clone();
        let creating = tokio::spawn(async move { broker.create(topic).await });
        creating.await.unwrap_or(Err(CoordinatorError::Stopped.into()))?;
        Ok(CreatedTopic { id: Some(id), ..created })
    }

    fn check_create(&self, topic: &CreatedTopic) -> Result<(), CreateTopicError> {
        let image = self.inner.image.load();
        request::check_create(&image, &topic.name, topic.partitions, self.config().partitions_max)
    }

    async fn create(&self, topic: Arc<TopicMetadata>) -> Result<(), CreateTopicError> {
        let _admin = self.inner.admin.lock().await;
        let (name, partitions) = (topic.name.clone(), topic.partitions);
        self.check_create(&CreatedTopic { name, id: None, partitions })?;
        self.finish_removal_of(&topic.name).await?;
        let served = self.open_new(Arc::clone(&topic)).await?;
        let partitions_max = self.config().partitions_max;
        let record = Arc::clone(&topic);
        let written = self
            .inner
            .metadata
            .write(move |state| request::create_topic(state, &record, partitions_max))
            .await;
        if let Err(error) = written {
            // After `Failed` the record may be there at the next start: the folders must stay.
            if !matches!(error, WriteError::Coordinator(CoordinatorError::Failed { .. })) {
                self.blocking(move |_| discard(served.serving())).await;
            }
            return Err(match error {
                WriteError::Refused(refused) => refused,
                WriteError::Coordinator(error) => error.into(),
            });
        }
        self.inner.topics.insert(served);
        Ok(())
    }

    /// Removes what is left of a deleted topic of this name, which would be in the way.
    async fn finish_removal_of(&self, name: &TopicName) -> Result<(), CreateTopicError> {
        let image = self.inner.image.load_full();
        for topic in image.deleted.values().filter(|topic| topic.name == *name) {
            self.remove(Arc::clone(topic))
                .await
                .map_err(|reason| CreateTopicError::NotRemovedYet { name: name.clone(), reason })?;
        }
        Ok(())
    }

    async fn open_new(&self, topic: Arc<TopicMetadata>) -> Result<Arc<Topic>, CreateTopicError> {
        self.blocking(move |broker| {
            let opened = broker.open_new_partitions(&topic, 0..topic.partitions);
            let partitions = opened.map_err(|NotOpened { partition, reason }| {
                CreateTopicError::Open { topic: topic.name.clone(), partition, reason }
            })?;
            Ok(Arc::new(serve(&topic, partitions)))
        })
        .await
    }

    /// Makes partitions that are not there yet, all or none. Blocks.
    pub(super) fn open_new_partitions(
        &self,
        topic: &TopicMetadata,
        numbers: Range<u32>,
    ) -> Result<Vec<PartitionState>, NotOpened> {
        let numbers: Vec<u32> = numbers.collect();
        let opened = parallel::map(&numbers, |number| self.open_new_partition(topic, *number));
        let mut partitions = Vec::with_capacity(opened.len());
        let mut failed = None;
        for (partition, result) in numbers.into_iter().zip(opened) {
            match result {
                Ok(opened) => partitions.push(PartitionState::Serving(opened)),
                Err(reason) => failed = Some(NotOpened { partition, reason }),
            }
        }
        let Some(failed) = failed else { return Ok(partitions) };
        discard(serving(&partitions));
        Err(failed)
    }

    /// A folder that is there already is somebody else's, and an error, unless it is what an earlier
    /// attempt has left: a start that misses metadata tidies nothing away.
    fn open_new_partition(
        &self,
        topic: &TopicMetadata,
        number: u32,
    ) -> Result<Arc<Partition>, String> {
        let folder = self.data_dir().partition(&topic.name, number);
        let storage = &self.inner.parts.storage;
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        match storage.list(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(_) if strays::is_leftover(storage, &folder) => {
                storage.remove_folder(&folder).map_err(failed)?;
            }
            Ok(_) => {
                let folder = folder.display();
                return Err(format!("the folder {folder} is there already: move it away"));
            }
        }
        self.open_partition(topic, number).inspect_err(|_| {
            // Nothing was there before, so whatever is there now is half a partition of ours. The
            // next start would remove it too.
            let _ = storage.remove_folder(&folder);
        })
    }

    /// Opens one partition of a topic, the folder of which is its own or missing. Blocks.
    pub(super) fn open_partition(
        &self,
        topic: &TopicMetadata,
        number: u32,
    ) -> Result<Arc<Partition>, String> {
        let inner = &self.inner;
        super::startup::open_log(
            &inner.parts,
            OpenPartition {
                topic: topic.name.clone(),
                topic_id: topic.id,
                number,
                folder: inner.data_dir.partition(&topic.name, number),
                leader_epoch: inner.leader_epoch,
                config: self.log_config(&topic.configs),
            },
        )
        .inspect_err(|error| inner.parts.room.not_opened(error))
        .map_err(|error| error.to_string())
    }

    fn log_config(&self, configs: &TopicConfigs) -> LogConfig {
        let config = self.config();
        let base = LogConfig {
            expanded_bytes_max: config.expanded_bytes_max,
            producer_id_expiration_ms: config.producer_id_expiration_ms,
            ..LogConfig::default()
        };
        configs.resolve(&config.topic_defaults, &base)
    }

    /// Deletes a topic. When this returns it is gone for everyone, durably, and from the disk
    /// unless that failed; what is left is removed at the next start.
    pub async fn delete_topic(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<(), DeleteTopicError> {
        self.check_serving()?;
        self.delete_this_topic(principal, self.inner.topics.get(name)?).await
    }

    /// Deletes this topic, and not one of its name that has come after it.
    pub async fn delete_this_topic(
        &self,
        principal: &Principal,
        topic: Arc<Topic>,
    ) -> Result<(), DeleteTopicError> {
        self.check_serving()?;
        refuse_internal(&topic)?;
        tracing::info!(%principal, topic = %topic.name, id = %topic.id, "deleting topic");
        let broker = self.clone();
        let deleting = tokio::spawn(async move { broker.delete(&topic).await });
        deleting.await.unwrap_or(Err(CoordinatorError::Stopped.into()))
    }

    async fn delete(&self, topic: &Topic) -> Result<(), DeleteTopicError> {
        let _admin = self.inner.admin.lock().await;
        let deleted = self.note_deletion(topic).await.map_err(|error| match error {
            WriteError::Refused(refused) => refused,
            WriteError::Coordinator(error) => error.into(),
        })?;
        if let Some(topic) = self.inner.topics.remove(&topic.name) {
            self.blocking(move |_| discard(topic.serving())).await;
        }
        if let Err(reason) = self.remove(deleted).await {
            tracing::warn!(topic = %topic.name, reason, "deleted, but not removed from the disk yet");
        }
        Ok(())
    }

    /// To delete is what helps a full disk, so where there is no room to note it, it gets what was
    /// kept in reserve.
    async fn note_deletion(
        &self,
        topic: &Topic,
    ) -> Result<Arc<DeletedTopic>, WriteError<DeleteTopicError>> {
        let note = || {
            let (name, id) = (topic.name.clone(), topic.id);
            self.inner.metadata.write(move |state| request::delete_topic(state, &name, id))
        };
        let noted = note().await;
        let Err(WriteError::Coordinator(CoordinatorError::DiskFull { .. })) = &noted else {
            return noted;
        };
        match self.blocking(|broker| broker.data_dir().reserve().give_up()).await {
            Given::Room => note().await,
            Given::Nothing => noted,
        }
    }

    /// Removes what is left of a deleted topic: its offsets and folders, then the memory of it.
    pub(super) async fn remove(&self, topic: Arc<DeletedTopic>) -> Result<(), String> {
        let id = topic.id;
        self.inner.groups.delete_topic(id).await.map_err(|error| error.to_string())?;
        let removed = Arc::clone(&topic);
        self.blocking(move |broker| broker.remove_folders(&removed)).await?;
        let metadata = &self.inner.metadata;
        unrefused(metadata.write(move |state| request::topic_removed(state, &topic)).await)
    }

    fn remove_folders(&self, topic: &DeletedTopic) -> Result<(), String> {
        let storage = &self.inner.parts.storage;
        for number in 0..topic.partitions {
            let folder = self.data_dir().partition(&topic.name, number);
            let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
            // A folder without an identity is what an earlier attempt has left: no topic of this
            // name can be made before that is gone.
            let foreign = LogIdentity::read(storage, &folder)
                .is_ok_and(|found| found.is_some_and(|found| found.topic_id != topic.id.0));
            if foreign {
                continue;
            }
            match storage.remove_folder(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(error));
                }
                _ => {}
            }
        }
        let topics = self.data_dir().topics();
        storage.sync_folder(&topics).map_err(|error| format!("{}: {error}", topics.display()))
    }

    /// Changes what is set on a topic, all or nothing; in force when this returns.
    pub async fn alter_configs(
        &self,
        principal: &Principal,
        name: &str,
        change: ConfigChange,
        mode: Mode,
    ) -> Result<(), AlterConfigsError> {
        self.check_serving()?;
        let topic = self.inner.topics.get(name)?;
        refuse_internal(&topic)?;
        if mode == Mode::Validate {
            let (image, defaults) = (self.inner.image.load(), &self.config().topic_defaults);
            return request::alter_configs(&image, &topic.name, &change, defaults).map(drop);
        }
        tracing::info!(%principal, topic = %topic.name, change = change.to_string(), "altering configs");
        let broker = self.clone();
        let altering = tokio::spawn(async move { broker.alter(&topic, change).await });
        altering.await.unwrap_or(Err(CoordinatorError::Stopped.into()))
    }

    async fn alter(&self, topic: &Topic, change: ConfigChange) -> Result<(), AlterConfigsError> {
        let _admin = self.inner.admin.lock().await;
        // By now the name may be another topic's, which is as good: the name was asked for.
        let topic = self.inner.topics.get(topic.name.as_str())?;
        let (name, defaults) = (topic.name.clone(), self.config().topic_defaults.clone());
        let decide = move |state: &_| request::alter_configs(state, &name, &change, &defaults);
        let written = self.inner.metadata.write(decide).await;
        let configs = written.map_err(|error| match error {
            WriteError::Refused(refused) => refused,
            WriteError::Coordinator(error) => error.into(),
        })?;
        let config = self.log_config(&configs);
        topic.configs.store(Arc::new(configs));
        self.blocking(move |_| reconfigure(&topic, &config)).await;
        Ok(())
    }

    /// Runs what blocks on the disk off the network's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let broker = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&broker)).await;
        done.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
    }
}

/// A topic with its partitions.
pub(super) fn serve(topic: &TopicMetadata, partitions: Vec<PartitionState>) -> Topic {
    Topic {
        name: topic.name.clone(),
        id: topic.id,
        kind: TopicKind::User,
        configs: ArcSwap::from_pointee(topic.configs.clone()),
        partitions: partitions.into(),
        metrics: Default::default(),
    }
}

/// A partition that could not be made, and why.
pub(super) struct NotOpened {
    pub(super) partition: u32,
    pub(super) reason: String,
}

/// Removes the folders of partitions that are gone, or never were. Blocks.
pub(super) fn discard<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) {
    for partition in partitions {
        partition.mark_deleted();
        if let Err(error) = partition.log().delete() {
            tracing::warn!(%partition, %error, "cannot remove a folder");
        }
    }
}

fn reconfigure(topic: &Topic, config: &LogConfig) {
    for partition in topic.serving() {
        partition
            .log()
            .reconfigure(config.clone())
            .expect("configs are parsed within the bounds that the log has");
    }
}

/// The outcome of a request that cannot be refused.
fn unrefused(written: Result<(), WriteError<std::convert::Infallible>>) -> Result<(), String> {
    match written {
        Ok(()) => Ok(()),
        Err(WriteError::Coordinator(error)) => Err(error.to_string()),
    }
}
