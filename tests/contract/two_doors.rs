//! One house, two doors: what is written through one is read through the other, record by record,
//! in every codec, with all that a record can hold.

use bytes::Bytes;
use log_proto::record::{BatchBuilder, Compression, Record, RecordBatch, batches};
use log_proto::types::TimestampMs;
use log_proto::v1;

use crate::kafka_port::{fetch, outcome, produce};
use crate::rig::{Doors, at, compressed, defaulted, request};
use crate::support::kafka::Client;
use crate::support::{Broker, data_folder};

/// More than the records of any test take.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

const CODECS: [(Compression, v1::Compression); 5] = [
    (Compression::None, v1::Compression::Uncompressed),
    (Compression::Gzip, v1::Compression::Gzip),
    (Compression::Snappy, v1::Compression::Snappy),
    (Compression::Lz4, v1::Compression::Lz4),
    (Compression::Zstd, v1::Compression::Zstd),
];

/// Records with and without key and value, with empty ones, with headers that repeat, that are
/// null or no text, and with timestamps that go back.
fn records() -> Vec<v1::Record> {
    let bytes = |text: &'static [u8]| Some(Bytes::from_static(text));
    let header = |key: &'static [u8], value| v1::Header { key: Bytes::from_static(key), value };
    let headers = vec![
        header(b"trace", bytes(b"1")),
        header(b"trace", None),
        header(b"", bytes(b"")),
        header(b"\xff\xfe", bytes(b"\0\xff")),
    ];
    let at = |timestamp_ms, key, value, headers| v1::Record {
        key,
        value,
        headers,
        timestamp_ms: Some(timestamp_ms),
        offset: 0,
    };
    vec![
        at(1_700_000_000_000, bytes(b"key"), bytes(b"value"), vec![]),
        at(1_700_000_000_500, None, bytes(b"no key"), headers),
        at(1_699_999_999_000, bytes(b"no value"), None, vec![]),
        at(0, bytes(b""), bytes(b""), vec![header(b"only", bytes(b"one"))]),
        at(1_700_000_000_001, None, None, vec![]),
        at(1_700_000_000_002, bytes(b"\0\xff"), Some(vec![7; 5_000].into()), vec![]),
    ]
}

/// The records of so many batches, one behind the other.
fn placed(batches: usize) -> Vec<v1::Record> {
    let records = std::iter::repeat_n(records(), batches).flatten();
    (0..).zip(records).map(|(offset, record)| v1::Record { offset, ..record }).collect()
}

fn batch(codec: Compression) -> Bytes {
    let mut batch = BatchBuilder::new(compressed(codec));
    for record in records() {
        let headers: Vec<(&[u8], Option<&[u8]>)> = record
            .headers
            .iter()
            .map(|header| (header.key.as_ref(), header.value.as_deref()))
            .collect();
        let timestamp = TimestampMs::new(record.timestamp_ms.expect("given"));
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        batch.push(timestamp, key, value, &headers).expect("a sound record");
    }
    batch.build().expect("a sound batch")
}

/// What a Kafka client reads in partition 0.
fn fetched(client: &mut Client, topic: &str) -> Bytes {
    let response = client.ask(12, &fetch(topic, 1));
    let fetched = &response.responses[0].partitions[0];
    assert_eq!(fetched.error_code, 0);
    fetched.records.clone().expect("records")
}

#[tokio::test]
async fn what_comes_in_by_kafka_goes_out_by_both() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[("retention.ms", "-1")]).await;
    let mut client = Client::of(&broker);
    let sent = CODECS.map(|(codec, _)| batch(codec));
    for batch in &sent {
        assert_eq!(outcome(&client.ask(9, &produce("t", batch.clone()))).0, 0);
    }
    assert_eq!(doors.read("t").await, placed(CODECS.len()));
    let mut rest = fetched(&mut client, "t");
    for batch in sent {
        let read = rest.split_to(batch.len());
        // What stands before is the broker's: base offset, and the leader epoch.
        assert_eq!(read[at::MAGIC..], batch[at::MAGIC..]);
    }
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_comes_in_by_grpc_goes_out_by_both() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[("retention.ms", "-1")]).await;
    for (_, codec) in CODECS {
        let compression = codec.into();
        let plain = v1::PlainBatch { records: records(), compression, ..defaulted() };
        let payload = v1::produce_request::Payload::Plain(plain);
        doors.produce(request("t", payload)).await.expect("sound records");
    }
    assert_eq!(doors.read("t").await, placed(CODECS.len()));
    let mut client = Client::of(&broker);
    let (mut codecs, mut read) = (Vec::new(), Vec::new());
    for batch in batches(fetched(&mut client, "t")) {
        let batch = batch.expect("a sound batch");
        codecs.push(batch.header().compression());
        for record in batch.records(EXPANDED_BYTES_MAX).expect("records") {
            read.push(told(&batch, record.expect("a sound record")));
        }
    }
    assert_eq!(codecs, CODECS.map(|(codec, _)| codec));
    assert_eq!(read, placed(CODECS.len()));
}

/// A record of a batch, as the other door tells it.
fn told(batch: &RecordBatch, record: Record) -> v1::Record {
    let header = batch.header();
    let headers = record.headers.iter();
    let headers = headers.map(|one| v1::Header { key: one.key.clone(), value: one.value.clone() });
    v1::Record {
        headers: headers.collect(),
        timestamp_ms: Some(header.timestamp_of(&record).get()),
        offset: header.offset_of(&record).get(),
        key: record.key,
        value: record.value,
    }
}
