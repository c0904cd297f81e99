//! Between messages and what the broker understands: pure functions, nothing else.
//!
//! The rule: what a message leaves out or gets wrong is decided here, once, with a sentence for
//! its sender; behind this everything is sound by its type.

use std::num::NonZeroU32;

use log_proto::partitioner::partition_for_key;
use log_proto::record::{BatchBuilder, BatchOptions, Compression, Transactional};
use log_proto::types::{
    LeaderEpoch, Offset, Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use log_proto::v1;

use super::error::Refusal;
use crate::broker::GroupOffset;
use crate::partition::{Acknowledged, Acks};

/// A batch of plain records, encoded.
pub(super) fn encode_batch(
    plain: &v1::PlainBatch,
    now: TimestampMs,
) -> Result<bytes::Bytes, Refusal> {
    let producer = producer(plain)?;
    let options = BatchOptions {
        compression: compression(plain.compression)?,
        producer,
        transactional: Transactional::No,
        base_offset: Offset::ZERO,
    };
    let mut batch = BatchBuilder::new(options);
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
    for record in &plain.records {
        headers.clear();
        headers
            .extend(record.headers.iter().map(|header| (&header.key[..], header.value.as_deref())));
        let timestamp = record.timestamp_ms.map_or(now, TimestampMs::new);
        batch.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers)?;
    }
    Ok(batch.build()?)
}

fn producer(plain: &v1::PlainBatch) -> Result<Option<(Producer, Sequence)>, Refusal> {
    let Some(id) = plain.producer_id else { return Ok(None) };
    let epoch = i16::try_from(plain.producer_epoch).ok().and_then(ProducerEpoch::new);
    let sequence = Sequence::new(plain.base_sequence);
    match (ProducerId::new(id), epoch, sequence) {
        (Some(id), Some(epoch), Some(sequence)) => Ok(Some((Producer { id, epoch }, sequence))),
        _ => Err(Refusal::invalid_request(format!(
            "producer_id {id}, producer_epoch {} and base_sequence {} must not be negative, and \
             the epoch at most 32767: take them from InitProducer",
            plain.producer_epoch, plain.base_sequence
        ))),
    }
}

fn compression(code: i32) -> Result<Compression, Refusal> {
    match v1::Compression::try_from(code) {
        Ok(v1::Compression::Uncompressed) => Ok(Compression::None),
        Ok(v1::Compression::Gzip) => Ok(Compression::Gzip),
        Ok(v1::Compression::Snappy) => Ok(Compression::Snappy),
        Ok(v1::Compression::Lz4) => Ok(Compression::Lz4),
        Ok(v1::Compression::Zstd) => Ok(Compression::Zstd),
        Err(_) => Err(Refusal::invalid_request(format!(
            "compression {code} is none of UNCOMPRESSED, GZIP, SNAPPY, LZ4, ZSTD"
        ))),
    }
}

/// When to answer; all unless the request says otherwise.
pub(super) fn acks(code: i32) -> Result<Acks, Refusal> {
    match v1::Acks::try_from(code) {
        Ok(v1::Acks::Unspecified | v1::Acks::All) => Ok(Acks::All),
        Ok(v1::Acks::Leader) => Ok(Acks::Leader),
        Ok(v1::Acks::None) => Ok(Acks::None),
        Err(_) => {
            Err(Refusal::invalid_request(format!("acks {code} is none of ALL, LEADER, NONE")))
        }
    }
}

/// A partition's number; negative ones exist nowhere.
pub(super) fn partition(topic: &str, number: i32) -> Result<u32, Refusal> {
    u32::try_from(number).map_err(|_| {
        Refusal::unknown_partition(format!("topic {topic:?} has no partition {number}"))
    })
}

/// The partition that the keys of `records` lead to. `None` if none has a key.
pub(super) fn partition_of_keys(
    records: &[v1::Record],
    partitions: NonZeroU32,
) -> Result<Option<u32>, Refusal> {
    let mut keys = records.iter().filter_map(|record| record.key.as_deref());
    let Some(first) = keys.next() else { return Ok(None) };
    let partition = partition_for_key(first, partitions);
    if keys.any(|key| partition_for_key(key, partitions) != partition) {
        return Err(Refusal::invalid_request(
            "the keys of these records lead to more than one partition: send one request for \
             each, or name the partition",
        ));
    }
    Ok(Some(partition))
}

/// An acknowledgement.
pub(super) fn appended(partition: u32, acknowledged: &Acknowledged) -> v1::Appended {
    let durability = match acknowledged.synced {
        true => v1::Durability::Synced,
        false => v1::Durability::Appended,
    };
    v1::Appended {
        partition: number(partition),
        base_offset: acknowledged.base_offset.get(),
        last_offset: acknowledged.last_offset.get(),
        log_start_offset: acknowledged.log_start.get(),
        log_append_time_ms: acknowledged.append_time.map(TimestampMs::get),
        durability: durability.into(),
        duplicate: acknowledged.kind == log_core::AppendKind::Duplicate,
    }
}

/// A partition's number on the wire.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("a topic has at most 100,000 partitions")
}

/// An offset that is to be committed.
pub(super) fn group_offset(message: v1::GroupOffset) -> Result<GroupOffset, Refusal> {
    let partition = partition(&message.topic, message.partition)?;
    let negative = |field: &str, value: i64| {
        let topic = &message.topic;
        Refusal::invalid_request(format!("{field} {value} of {topic}-{partition} is negative"))
    };
    let offset = Offset::new(message.offset).ok_or_else(|| negative("offset", message.offset))?;
    let leader_epoch = match message.leader_epoch {
        Some(epoch) => {
            Some(LeaderEpoch::new(epoch).ok_or_else(|| negative("leader_epoch", epoch.into()))?)
        }
        None => None,
    };
    let (topic, metadata) = (message.topic, message.metadata);
    Ok(GroupOffset { topic, partition, offset, leader_epoch, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static str>) -> v1::Record {
        v1::Record { key: key.map(|key| key.into()), ..v1::Record::default() }
    }

    #[test]
    fn keys_must_lead_to_one_partition() {
        let eight = NonZeroU32::new(8).unwrap();
        assert_eq!(partition_of_keys(&[record(None)], eight), Ok(None));
        let same = [record(None), record(Some("foobar")), record(Some("foobar"))];
        assert!(partition_of_keys(&same, eight).unwrap().is_some());
        let apart: Vec<_> = ["a", "b", "c", "d", "e"].map(|key| record(Some(key))).into();
        assert!(partition_of_keys(&apart, eight).is_err());
        assert_eq!(partition_of_keys(&apart, NonZeroU32::MIN), Ok(Some(0)));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let plain = |id, epoch, sequence| v1::PlainBatch {
            producer_id: Some(id),
            producer_epoch: epoch,
            base_sequence: sequence,
            ..v1::PlainBatch::default()
        };
        assert!(producer(&plain(1, 32_767, 0)).unwrap().is_some());
        for bad in [plain(-1, 0, 0), plain(1, 32_768, 0), plain(1, 0, -1)] {
            assert!(producer(&bad).is_err());
        }
        assert!(acks(9).is_err() && compression(9).is_err() && partition("t", -1).is_err());
    }
}
