//! The partitions of a topic: more of them, and less in them.
//!
//! Partitions come like topics do: folders first, then the record, then the answer. What a crash
//! leaves in between is an empty folder that no topic explains, and the next start removes it.

use std::sync::Arc;

use log_proto::types::Offset;

use super::admin::{NotOpened, discard};
use super::{Broker, Mode, refuse_internal};
use crate::coordinator::WriteError;
use crate::coordinator::metadata::{TopicMetadata, request};
use crate::error::{CoordinatorError, CreatePartitionsError, DeleteRecordsError};
use crate::partition::Partition;
use crate::principal::Principal;
use crate::topics::{PartitionState, Topic, TopicName, serving};

/// Up to where records are deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteBefore {
    /// Those below this offset.
    Offset(Offset),
    /// All that anybody may read: those below the high watermark.
    HighWatermark,
}

impl Broker {
    /// Gives a topic more partitions, so that it has `count`; durable when this returns. The keys
    /// of old records do not move: most of them go to another partition from now on.
    pub async fn create_partitions(
        &self,
        principal: &Principal,
        name: &str,
        count: u32,
        mode: Mode,
    ) -> Result<(), CreatePartitionsError> {
        self.check_serving()?;
        let topic = self.inner.topics.get(name)?;
        refuse_internal(&topic)?;
        if mode == Mode::Validate {
            return self.check_partitions(&topic.name, count).map(drop);
        }
        tracing::info!(%principal, topic = %topic.name, count, "creating partitions");
        let broker = self.clone();
        let creating = tokio::spawn(async move { broker.add_partitions(&topic, count).await });
        creating.await.unwrap_or(Err(CoordinatorError::Stopped.into()))
    }

    fn check_partitions(
        &self,
        name: &TopicName,
        count: u32,
    ) -> Result<Arc<TopicMetadata>, CreatePartitionsError> {
        let image = self.inner.image.load();
        request::check_partitions(&image, name, count, self.config().partitions_max)
    }

    async fn add_partitions(&self, topic: &Topic, count: u32) -> Result<(), CreatePartitionsError> {
        let _admin = self.inner.admin.lock().await;
        let before = self.check_partitions(&topic.name, count)?;
        // By now the name may be another topic's, which is as good: the name was asked for.
        let topic = self.inner.topics.get(topic.name.as_str())?;
        let added = self.open_added(before, count).await?;
        let (name, partitions_max) = (topic.name.clone(), self.config().partitions_max);
        let written = self
            .inner
            .metadata
            .write(move |state| request::add_partitions(state, &name, count, partitions_max))
            .await;
        if let Err(error) = written {
            // After `Failed` the record may be there at the next start: the folders must stay.
            if !matches!(error, WriteError::Coordinator(CoordinatorError::Failed { .. })) {
                self.blocking(move |_| discard(serving(&added))).await;
            }
            return Err(match error {
                WriteError::Refused(refused) => refused,
                WriteError::Coordinator(error) => error.into(),
            });
        }
        topic.partitions.extend(added);
        self.inner.topics.changed();
        Ok(())
    }

    async fn open_added(
        &self,
        topic: Arc<TopicMetadata>,
        count: u32,
    ) -> Result<Vec<PartitionState>, CreatePartitionsError> {
        self.blocking(move |broker| {
            let opened = broker.open_new_partitions(&topic, topic.partitions..count);
            opened.map_err(|NotOpened { partition, reason }| {
                let topic = topic.name.clone();
                CreatePartitionsError::Open { topic, partition, reason }
            })
        })
        .await
    }

    /// Deletes the first records of a partition. Answers the first offset that may be read then.
    /// Whole segments leave the disk at once, the rest with their segment.
    pub async fn delete_records(
        &self,
        principal: &Principal,
        topic: &Topic,
        partition: &Arc<Partition>,
        before: DeleteBefore,
    ) -> Result<Offset, DeleteRecordsError> {
        self.check_serving()?;
        refuse_internal(topic)?;
        if !partition.log().config().cleanup.deletes() {
            return Err(DeleteRecordsError::Compacted { topic: topic.name.clone() });
        }
        let log_start_before = partition.offsets().log_start;
        let deleting = Arc::clone(partition);
        let deleted = self.blocking(move |_| {
            let before = match before {
                DeleteBefore::Offset(offset) => offset,
                DeleteBefore::HighWatermark => deleting.offsets().high_watermark,
            };
            deleting.log().delete_records_before(before)
        });
        let log_start = deleted.await.map_err(|source| DeleteRecordsError::Retention {
            topic: partition.topic.clone(),
            partition: partition.number,
            source,
        })?;
        // Kafka Streams asks again and again, whether or not there is something to delete.
        if log_start > log_start_before {
            tracing::info!(%principal, %partition, %log_start, "deleted records");
        }
        Ok(log_start)
    }
}
