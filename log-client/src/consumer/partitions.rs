//! The partitions of a consumer, and its place in each.
//!
//! The rule: a partition's place moves only with what arrived, so that a broken stream can be taken
//! up there and nothing is lost and nothing comes twice.

use std::{collections::HashMap, sync::Arc};

use log_proto::{
    types::{Offset, ProducerId},
    v1::{self, consume_response},
};

use super::{
    batch::{AbortedTxn, ConsumerBatch, Payload},
    config::{Edge, StartAt},
    error::ConsumeError,
    link::{Lent, Link},
};

/// The number of a partition, in the order in which the consumer came to know it.
pub(super) type PartitionIndex = usize;

#[derive(Debug, Default)]
pub(super) struct Partitions {
    all: Vec<Partition>,
    by_name: HashMap<Arc<str>, HashMap<u32, PartitionIndex>>,
}

#[derive(Debug)]
struct Partition {
    topic: Arc<str>,
    partition: u32,
    place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where the caller wants to start; the broker has not said which offset that is.
    Wanted(StartAt),
    At(Offset),
    Ended,
}

/// What arrived of a partition.
pub(super) enum Arrival {
    Started { index: PartitionIndex, offset: Offset },
    Batch { index: PartitionIndex, batch: Box<ConsumerBatch>, lent: Lent },
    CaughtUp { index: PartitionIndex, offset: Offset },
    Ended(ConsumeError),
}

impl Partitions {
    /// Reads a partition from this place on, whether it is known already or not.
    pub(super) fn read_from(
        &mut self,
        topic: &Arc<str>,
        partition: u32,
        place: Place,
    ) -> PartitionIndex {
        match self.find(topic, partition) {
            Some(index) => {
                self.all[index].place = place;
                index
            }
            None => self.add(topic, partition, place),
        }
    }

    /// Reads one more partition. That it is none of the others is for the broker to see.
    pub(super) fn add(&mut self, topic: &Arc<str>, partition: u32, place: Place) -> PartitionIndex {
        let index = self.all.len();
        self.by_name.entry(Arc::clone(topic)).or_default().insert(partition, index);
        self.all.push(Partition { topic: Arc::clone(topic), partition, place });
        index
    }

    pub(super) fn find(&self, topic: &str, partition: u32) -> Option<PartitionIndex> {
        self.by_name.get(topic)?.get(&partition).copied()
    }

    /// The topic and number of a partition.
    pub(super) fn name(&self, index: PartitionIndex) -> (&Arc<str>, u32) {
        let Partition { topic, partition, .. } = &self.all[index];
        (topic, *partition)
    }

    /// Reading of a partition has ended: what else arrives of it is ignored.
    pub(super) fn end(&mut self, index: PartitionIndex) {
        self.all[index].place = Place::Ended;
    }

    /// Where a partition is, unless it has not started or has ended.
    pub(super) fn offset(&self, index: PartitionIndex) -> Option<Offset> {
        match self.all[index].place {
            Place::At(offset) => Some(offset),
            Place::Wanted(_) | Place::Ended => None,
        }
    }

    pub(super) fn all_ended(&self) -> bool {
        !self.all.is_empty()
            && self.all.iter().all(|partition| matches!(partition.place, Place::Ended))
    }

    pub(super) fn starts(&self) -> Vec<v1::PartitionStart> {
        self.all.iter().filter_map(Partition::start).collect()
    }

    /// What a response about a partition says. `None` if that is not read any more.
    pub(super) fn take(
        &mut self,
        response: v1::ConsumeResponse,
        link: &mut Link,
    ) -> Result<Option<Arrival>, ConsumeError> {
        let lent = link.lend(&response);
        let (topic, partition) = (&response.topic, response.partition);
        let index = u32::try_from(partition).ok().and_then(|number| self.find(topic, number));
        let Some(index) = index else {
            let detail = format!("{topic}-{partition} was not asked for");
            return Err(link.connection().bad_answer(detail).into());
        };
        let partition = &mut self.all[index];
        if matches!(partition.place, Place::Ended) {
            link.give_back(lent);
            return Ok(None);
        }
        match partition.take(index, response, lent) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(detail) => Err(link.connection().bad_answer(detail).into()),
        }
    }
}

impl Partition {
    fn take(
        &mut self,
        index: PartitionIndex,
        response: v1::ConsumeResponse,
        lent: Lent,
    ) -> Result<Arrival, &'static str> {
        let next_offset = Offset::new(response.next_offset).ok_or("a negative offset");
        let high_watermark = Offset::new(response.high_watermark).ok_or("a negative offset");
        match response.event.ok_or("a response without an event")? {
            consume_response::Event::Started(started) => {
                let offset = Offset::new(started.offset).ok_or("a negative offset")?;
                self.place = Place::At(offset);
                Ok(Arrival::Started { index, offset })
            }
            consume_response::Event::Batches(bytes) => {
                let (from, next_offset) = (self.advance(next_offset?)?, next_offset?);
                let aborted = aborted_txns(&response.aborted_transactions)?;
                let high_watermark = high_watermark?;
                let payload = Payload { bytes, from, next_offset, high_watermark, aborted };
                let topic = Arc::clone(&self.topic);
                let batch = ConsumerBatch::new(topic, self.partition, payload).into();
                Ok(Arrival::Batch { index, batch, lent })
            }
            consume_response::Event::CaughtUp(_) => {
                let offset = next_offset?;
                self.advance(offset)?;
                Ok(Arrival::CaughtUp { index, offset })
            }
            consume_response::Event::Error(error) => {
                self.place = Place::Ended;
                Ok(Arrival::Ended(self.failed(error)))
            }
            consume_response::Event::Records(_) => {
                Err("plain records where batches were asked for")
            }
            consume_response::Event::Joined(_)
            | consume_response::Event::Assigned(_)
            | consume_response::Event::Revoke(_)
            | consume_response::Event::Committed(_) => {
                Err("news of a group that this consumer has not joined")
            }
        }
    }

    /// Moves on to `next`. Returns where it was.
    fn advance(&mut self, next: Offset) -> Result<Offset, &'static str> {
        let Place::At(from) = self.place else {
            return Err("records before the offset that they start at");
        };
        if next < from {
            return Err("a next offset below the one before");
        }
        self.place = Place::At(next);
        Ok(from)
    }

    fn failed(&self, error: v1::Error) -> ConsumeError {
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        ConsumeError::Partition { topic, partition, error: error.into() }
    }

    fn start(&self) -> Option<v1::PartitionStart> {
        use v1::partition_start::Position;
        let mut edge_without_commit = v1::Edge::Earliest;
        let position = match &self.place {
            Place::Ended => return None,
            Place::At(offset) => Position::Offset(offset.get()),
            Place::Wanted(StartAt::Offset(offset)) => Position::Offset(offset.get()),
            Place::Wanted(StartAt::Timestamp(time)) => Position::TimestampMs(time.get()),
            Place::Wanted(StartAt::Earliest) => Position::Edge(v1::Edge::Earliest.into()),
            Place::Wanted(StartAt::Latest) => Position::Edge(v1::Edge::Latest.into()),
            Place::Wanted(StartAt::Committed { group, otherwise }) => {
                edge_without_commit = match otherwise {
                    Edge::Earliest => v1::Edge::Earliest,
                    Edge::Latest => v1::Edge::Latest,
                };
                Position::Group(group.as_ref().to_owned())
            }
        };
        Some(v1::PartitionStart {
            topic: self.topic.as_ref().to_owned(),
            partition: self.partition as i32,
            position: Some(position),
            edge_without_commit: edge_without_commit.into(),
        })
    }
}

fn aborted_txns(aborted: &[v1::AbortedTransaction]) -> Result<Vec<AbortedTxn>, &'static str> {
    aborted
        .iter()
        .map(|txn| {
            let producer = ProducerId::new(txn.producer_id).ok_or("a negative producer id")?;
            let first_offset = Offset::new(txn.first_offset).ok_or("a negative offset")?;
            Ok(AbortedTxn { producer, first_offset })
        })
        .collect()
}
