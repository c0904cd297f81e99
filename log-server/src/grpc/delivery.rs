//! What a consumer gets of the batches that were read: the batches themselves, or their records.
//!
//! The rule: nothing that a reader must not see leaves the broker as a plain record: control
//! records, records below where the reader began, and, for read-committed readers, records of
//! aborted transactions. Whole batches are for callers who skip these themselves.

use bytes::Bytes;
use log_core::{AbortedTxn, Fetched, Isolation, Offsets};
use log_proto::record::{
    BatchError, BatchHeader, Compression, NO_TIMESTAMP, Record, RecordBatch, batches,
};
use log_proto::types::{Offset, TimestampMs};
use log_proto::v1;
use log_proto::v1::consume_response::Event;

/// What a plain record takes from the credit besides its key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// What a header takes besides its key and value.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// Above this, plain records are decoded on a thread that may take its time.
const DECODE_ON_THE_SPOT_BYTES: usize = 32 << 10;

/// In which form records are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// Decoded, one by one.
    Records,
    /// As they are stored.
    Batches,
}

/// One response's worth.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) event: Event,
    pub(super) aborted: Vec<v1::AbortedTransaction>,
    /// What it takes from the credit.
    pub(super) bytes: usize,
    /// How many records it carries.
    pub(super) records: u64,
    /// One past the last offset that it covers.
    pub(super) next_offset: Offset,
}

/// What one read has given.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) payloads: Vec<Payload>,
    /// Where to go on. Past the last payload's, if what follows it is not to be seen.
    pub(super) next_offset: Offset,
    /// The offsets when it was read.
    pub(super) offsets: Offsets,
}

/// How to make payloads of what is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) delivery: Delivery,
    pub(super) isolation: Isolation,
    /// What one response aims at.
    pub(super) response_bytes_max: usize,
    /// What one batch may expand to.
    pub(super) expanded_bytes_max: usize,
}

/// Makes payloads of what was read at `from`.
pub(super) fn deliver(
    fetched: Fetched,
    from: Offset,
    terms: &Terms,
) -> Result<Delivered, BatchError> {
    let offsets = fetched.offsets;
    match terms.delivery {
        Delivery::Batches => deliver_batches(fetched, from, terms),
        Delivery::Records => {
            let mut records = Collector::new(from, terms.response_bytes_max);
            for batch in batches(fetched.batches) {
                records.take(&batch?, &fetched.aborted, terms)?;
            }
            let next_offset = records.next_offset;
            Ok(Delivered { payloads: records.finish(), next_offset, offsets })
        }
    }
}

/// Whether [`deliver`] takes about as long as a copy: compressed records may take far longer.
pub(super) fn costs_little(batches: &[u8], terms: &Terms) -> bool {
    if terms.delivery == Delivery::Batches {
        return true;
    }
    let mut rest = batches;
    while let Ok(header) = BatchHeader::parse(rest)
        && header.compression() == Compression::None
    {
        rest = rest.get(header.size_bytes()..).unwrap_or_default();
    }
    rest.is_empty() && batches.len() <= DECODE_ON_THE_SPOT_BYTES
}

fn deliver_batches(fetched: Fetched, from: Offset, terms: &Terms) -> Result<Delivered, BatchError> {
    let Fetched { batches, aborted, offsets } = fetched;
    let (next_offset, records) = walk_headers(&batches, from)?;
    let bytes = batches.len();
    if bytes == 0 {
        return Ok(Delivered { payloads: Vec::new(), next_offset, offsets });
    }
    let aborted = match terms.isolation {
        Isolation::LastStable => aborted.iter().map(to_message).collect(),
        Isolation::HighWatermark | Isolation::LogEnd => Vec::new(),
    };
    let event = Event::Batches(batches);
    let payload = Payload { event, aborted, bytes, records, next_offset };
    Ok(Delivered { payloads: vec![payload], next_offset, offsets })
}

fn to_message(aborted: &AbortedTxn) -> v1::AbortedTransaction {
    v1::AbortedTransaction {
        producer_id: aborted.producer_id.get(),
        first_offset: aborted.first_offset.get(),
    }
}

/// Where the batches end, and how many records they hold; only their headers are looked at.
fn walk_headers(batches: &Bytes, from: Offset) -> Result<(Offset, u64), BatchError> {
    let (mut rest, mut next_offset, mut records) = (&batches[..], from, 0);
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest)?;
        let (needed, available) = (header.size_bytes(), rest.len());
        rest = rest.get(needed..).ok_or(BatchError::Truncated { needed, available })?;
        next_offset = header.next_offset();
        records += u64::from(header.record_count());
    }
    Ok((next_offset, records))
}

/// Gathers plain records into payloads.
struct Collector {
    from: Offset,
    payload_bytes_max: usize,
    done: Vec<Payload>,
    records: Vec<v1::Record>,
    bytes: usize,
    next_offset: Offset,
}

impl Collector {
    fn new(from: Offset, payload_bytes_max: usize) -> Self {
        let (done, records) = (Vec::new(), Vec::new());
        Self { from, payload_bytes_max, done, records, bytes: 0, next_offset: from }
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        aborted: &[AbortedTxn],
        terms: &Terms,
    ) -> Result<(), BatchError> {
        let header = batch.header();
        if !header.is_control() && !is_aborted(header, aborted) {
            for record in batch.records(terms.expanded_bytes_max)? {
                self.push(header, record?);
            }
        }
        self.next_offset = header.next_offset();
        Ok(())
    }

    fn push(&mut self, header: &BatchHeader, record: Record) {
        let offset = header.offset_of(&record);
        if offset < self.from {
            return;
        }
        let timestamp = header.timestamp_of(&record);
        let record = plain(record, offset, timestamp);
        self.bytes += bytes_of(&record);
        self.records.push(record);
        self.next_offset = offset.next();
        if self.bytes >= self.payload_bytes_max {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let records = std::mem::take(&mut self.records);
        self.done.push(Payload {
            records: records.len() as u64,
            event: Event::Records(v1::Records { records }),
            aborted: Vec::new(),
            bytes: std::mem::take(&mut self.bytes),
            next_offset: self.next_offset,
        });
    }

    fn finish(mut self) -> Vec<Payload> {
        if !self.records.is_empty() {
            self.flush();
        }
        self.done
    }
}

fn is_aborted(header: &BatchHeader, aborted: &[AbortedTxn]) -> bool {
    let Some(producer) = header.producer().filter(|_| header.is_transactional()) else {
        return false;
    };
    aborted.iter().any(|txn| {
        txn.producer_id == producer.id
            && (txn.first_offset..=txn.last_offset).contains(&header.base_offset())
    })
}

fn plain(record: Record, offset: Offset, timestamp: TimestampMs) -> v1::Record {
    let header =
        |header: log_proto::record::Header| v1::Header { key: header.key, value: header.value };
    v1::Record {
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(header).collect(),
        timestamp_ms: (timestamp != NO_TIMESTAMP).then_some(timestamp.get()),
        offset: offset.get(),
    }
}

fn bytes_of(record: &v1::Record) -> usize {
    let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
    let header =
        |header: &v1::Header| HEADER_OVERHEAD_BYTES + header.key.len() + length(&header.value);
    let headers: usize = record.headers.iter().map(header).sum();
    RECORD_OVERHEAD_BYTES + length(&record.key) + length(&record.value) + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_proto::record::{BatchBuilder, BatchOptions, Transactional};
    use log_proto::types::{Producer, ProducerEpoch, ProducerId, Sequence};

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn batch(base: i64, values: &[&str], producer: Option<i64>) -> Bytes {
        let producer = producer.map(|id| {
            let id = ProducerId::new(id).unwrap();
            (Producer { id, epoch: ProducerEpoch::new(0).unwrap() }, Sequence::ZERO)
        });
        let transactional = if producer.is_some() { Transactional::Yes } else { Transactional::No };
        let base_offset = offset(base);
        let options = BatchOptions { producer, transactional, base_offset, ..Default::default() };
        let mut batch = BatchBuilder::new(options);
        for value in values {
            batch.push(TimestampMs::new(7), None, Some(value.as_bytes()), &[]).unwrap();
        }
        batch.build().unwrap()
    }

    fn fetched(parts: &[Bytes], aborted: Vec<AbortedTxn>) -> Fetched {
        Fetched { batches: parts.concat().into(), aborted, offsets: Offsets::default() }
    }

    fn terms(delivery: Delivery, response_bytes_max: usize) -> Terms {
        let isolation = Isolation::LastStable;
        Terms { delivery, isolation, response_bytes_max, expanded_bytes_max: 1 << 20 }
    }

    fn values(delivered: &Delivered) -> Vec<String> {
        let mut values = Vec::new();
        for payload in &delivered.payloads {
            let Event::Records(records) = &payload.event else { panic!("records") };
            let texts = records.records.iter().map(|record| record.value.clone().unwrap());
            values.extend(texts.map(|text| String::from_utf8(text.to_vec()).unwrap()));
        }
        values
    }

    #[test]
    fn records_below_the_start_and_of_aborted_transactions_are_left_out() {
        let aborted = AbortedTxn {
            producer_id: ProducerId::new(9).unwrap(),
            first_offset: offset(3),
            last_offset: offset(5),
            last_stable_offset: offset(3),
        };
        let parts = [
            batch(0, &["a", "b", "c"], None),
            batch(3, &["x"], Some(9)),
            batch(4, &["d"], Some(8)),
        ];
        let delivered =
            deliver(fetched(&parts, vec![aborted]), offset(1), &terms(Delivery::Records, 1 << 20));
        let delivered = delivered.unwrap();
        assert_eq!(values(&delivered), ["b", "c", "d"]);
        assert_eq!(delivered.next_offset, offset(5));
    }

    #[test]
    fn payloads_are_cut_at_their_size_and_say_where_to_go_on() {
        let parts = [batch(10, &["a", "b", "c"], None)];
        let delivered = deliver(fetched(&parts, vec![]), offset(10), &terms(Delivery::Records, 30));
        let delivered = delivered.unwrap();
        let nexts: Vec<_> = delivered.payloads.iter().map(|p| p.next_offset.get()).collect();
        assert_eq!(nexts, [12, 13]);
        assert_eq!(delivered.payloads[0].bytes, 2 * (RECORD_OVERHEAD_BYTES + 1));
    }

    #[test]
    fn batches_are_sent_as_they_are() {
        let parts = [batch(0, &["a", "b"], None), batch(2, &["c"], None)];
        let whole = fetched(&parts, vec![]);
        let bytes = whole.batches.clone();
        let delivered = deliver(whole, offset(1), &terms(Delivery::Batches, 1)).unwrap();
        assert!(matches!(&delivered.payloads[0].event, Event::Batches(sent) if *sent == bytes));
        assert_eq!((delivered.next_offset, delivered.payloads[0].records), (offset(3), 3));
    }
}
