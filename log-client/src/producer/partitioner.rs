//! Which partition a record goes to.
//!
//! The rule: a record that names its partition goes there; a key decides as it does in Kafka's
//! clients, so that both can feed one topic; records without either stay on one partition until
//! its batch is full and then move on (KIP-480). Spreading them record by record would send many
//! small batches where one is enough.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
};

use log_proto::partitioner::partition_for_key;

use crate::record::ProducerRecord;

/// Where records without a key go next.
#[derive(Debug)]
pub(super) struct Partitioner {
    partitions: NonZeroU32,
    sticky: u32,
}

/// A partition that the topic does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoSuchPartition {
    pub(super) partition: u32,
    pub(super) partitions: u32,
}

impl Partitioner {
    /// Starts anywhere, so that many short-lived producers do not all fill partition 0.
    pub(super) fn new(partitions: NonZeroU32) -> Self {
        let sticky = RandomState::new().hash_one(0) as u32 % partitions;
        Self { partitions, sticky }
    }

    pub(super) fn partition_of(&self, record: &ProducerRecord) -> Result<u32, NoSuchPartition> {
        let partitions = self.partitions.get();
        match (record.partition, &record.key) {
            (Some(partition), _) if partition < partitions => Ok(partition),
            (Some(partition), _) => Err(NoSuchPartition { partition, partitions }),
            (None, Some(key)) => Ok(partition_for_key(key, self.partitions)),
            (None, None) => Ok(self.sticky),
        }
    }

    /// The batch of `partition` is full.
    pub(super) fn batch_full(&mut self, partition: u32) {
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.partitions;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitioner() -> Partitioner {
        Partitioner::new(NonZeroU32::new(4).unwrap())
    }

    #[test]
    fn records_without_key_change_partition_with_the_batch() {
        let mut partitioner = partitioner();
        let record = ProducerRecord::new("t").value("v");
        let mut seen = Vec::new();
        for _ in 0..4 {
            let partition = partitioner.partition_of(&record).unwrap();
            assert_eq!(partitioner.partition_of(&record), Ok(partition), "sticks");
            partitioner.batch_full(partition);
            seen.push(partition);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn a_named_partition_goes_before_the_key() {
        let record = ProducerRecord::new("t").key("k").partition(2);
        assert_eq!(partitioner().partition_of(&record), Ok(2));
        let record = record.partition(4);
        let missing = NoSuchPartition { partition: 4, partitions: 4 };
        assert_eq!(partitioner().partition_of(&record), Err(missing));
    }
}
