//! What the application is given, record by record or all that came together, and where that leaves
//! it.
//!
//! The rule: a position is behind what was returned, whatever else has arrived; and credit comes
//! back when the application asks for more, because only then is it done with what it had.

use std::sync::Arc;

use log_proto::types::Offset;

use super::{
    batch::ConsumerBatch,
    error::ConsumeError,
    link::{Lent, Link},
    partitions::{PartitionIndex, Partitions},
};
use crate::{offsets::GroupOffset, record::ConsumerRecord};

#[derive(Debug, Default)]
pub(super) struct Hand {
    /// What is handed out record by record.
    current: Option<Current>,
    /// Credit of what was handed out whole.
    lent: Option<Lent>,
    /// Where the application is, by partition; `None` until its start is known.
    positions: Vec<Option<Offset>>,
}

/// Records that arrived together.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) index: PartitionIndex,
    pub(super) batch: Box<ConsumerBatch>,
    pub(super) lent: Lent,
}

impl Hand {
    /// The next record of what was taken up.
    pub(super) fn next_record(
        &mut self,
        link: &mut Link,
        partitions: &mut Partitions,
    ) -> Option<Result<ConsumerRecord, ConsumeError>> {
        let Current { index, batch, lent } = self.current.as_mut()?;
        let (index, lent) = (*index, *lent);
        let record = batch.next_record();
        let position = match &record {
            Some(_) => batch.position(),
            // Records that are not shown may follow the last one.
            None => batch.next_offset(),
        };
        self.move_to(index, position);
        if let Some(Ok(_)) = record {
            return record;
        }
        if let Some(Err(_)) = record {
            partitions.end(index);
        }
        self.current = None;
        link.give_back(lent);
        record
    }

    /// Hands this out from now on.
    pub(super) fn take_up(&mut self, current: Current) {
        self.current = Some(current);
    }

    /// Stops to hand it out record by record.
    pub(super) fn put_down(&mut self) -> Option<Current> {
        self.current.take()
    }

    /// Hands it out whole.
    pub(super) fn give_out(&mut self, current: Current) -> ConsumerBatch {
        let Current { index, batch, lent } = current;
        self.move_to(index, batch.next_offset());
        self.lent = Some(lent);
        *batch
    }

    /// The application asks for more: it is done with what it was given whole.
    pub(super) fn give_back(&mut self, link: &mut Link) {
        if let Some(lent) = self.lent.take() {
            link.give_back(lent);
        }
    }

    /// What is left of these partitions is not handed out.
    pub(super) fn drop_rest_of(&mut self, gone: &[PartitionIndex], link: &mut Link) {
        if let Some(current) = self.current.take_if(|current| gone.contains(&current.index)) {
            link.give_back(current.lent);
        }
    }

    /// The application begins there, unless it has begun before.
    pub(super) fn start(&mut self, index: PartitionIndex, offset: Offset) {
        self.slot(index).get_or_insert(offset);
    }

    /// The application is there now.
    pub(super) fn move_to(&mut self, index: PartitionIndex, offset: Offset) {
        *self.slot(index) = Some(offset);
    }

    /// The application is nowhere in this partition.
    pub(super) fn forget(&mut self, index: PartitionIndex) {
        *self.slot(index) = None;
    }

    fn slot(&mut self, index: PartitionIndex) -> &mut Option<Offset> {
        if self.positions.len() <= index {
            self.positions.resize(index + 1, None);
        }
        &mut self.positions[index]
    }

    /// Where the application is in each partition that has started, and which that is.
    pub(super) fn places(&self) -> impl Iterator<Item = (PartitionIndex, Offset)> {
        self.positions.iter().enumerate().filter_map(|(index, offset)| Some((index, (*offset)?)))
    }

    /// The same by name.
    pub(super) fn positions(&self, partitions: &Partitions) -> Vec<GroupOffset> {
        let named = |(index, offset)| {
            let (topic, partition) = partitions.name(index);
            GroupOffset::new(Arc::clone(topic), partition, offset)
        };
        self.places().map(named).collect()
    }
}
