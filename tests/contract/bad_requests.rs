//! Goal: whatever a caller gets wrong, the answer names the fault by its code and says what to
//! do, nothing is written, memory stays where it was, and the next request is served.
//!
//! One barrage of everything, fired twice at one broker: the second round shows what stays in
//! memory, without what a process takes once and keeps.

use log_proto::record::{
    BatchOptions, Compression, EndTxnKind, EndTxnMarker, Transactional, end_txn_marker,
};
use log_proto::types::{CoordinatorEpoch, Producer, ProducerEpoch};
use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;
use log_proto::v1::produce_response::Result as Answer;
use tonic::{Code, Status};

use crate::rig::{
    Doors, asked, at, batch, batch_of, bytes, compressed, defaulted, error_of, from_producer, now,
    plain, record, request, sealed, starting_at,
};
use crate::support::{Broker, data_folder};
use crate::traces::{anonymous_bytes, files, forget_peak, peak_bytes};

/// What no caller should send, and what it must be told.
struct Case {
    what: String,
    call: Call,
    code: Code,
    error: ErrorCode,
    /// Part of the sentence that says what is wrong or what to do about it.
    says: &'static str,
}

#[derive(Clone)]
enum Call {
    Produce(v1::ProduceRequest),
    Consume(Vec<v1::ConsumeRequest>),
    Create { name: String, partitions: u32, config: Option<(&'static str, &'static str)> },
    Alter(v1::AlterConfigsRequest),
    Delete(&'static str),
    ListOffsets(v1::ListOffsetsRequest),
    Commit(v1::CommitOffsetsRequest),
    Fetch(&'static str),
}

impl Doors {
    /// Makes a call that must be refused.
    async fn refused(&mut self, what: &str, call: Call) -> Status {
        let outcome = match call {
            Call::Produce(request) => self.producer.produce(request).await.map(drop),
            Call::Consume(requests) => {
                let stream = tokio_stream::iter(requests);
                self.consumer.consume(stream).await.map(drop)
            }
            Call::Create { name, partitions, config } => {
                self.try_create(&name, partitions, config.as_slice()).await
            }
            Call::Alter(request) => self.admin.alter_configs(request).await.map(drop),
            Call::Delete(name) => self.delete(name).await,
            Call::ListOffsets(request) => self.admin.list_offsets(request).await.map(drop),
            Call::Commit(request) => self.consumer.commit_offsets(request).await.map(drop),
            Call::Fetch(group) => {
                let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics: vec![] };
                self.consumer.fetch_offsets(request).await.map(drop)
            }
        };
        match outcome {
            Err(status) => status,
            Ok(()) => panic!("{what}: was taken"),
        }
    }
}

fn case(
    what: impl Into<String>,
    call: Call,
    (code, error): (Code, ErrorCode),
    says: &'static str,
) -> Case {
    Case { what: what.into(), call, code, error, says }
}

const INVALID_RECORD: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidRecord);
const CORRUPT: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::CorruptMessage);
const INVALID_REQUEST: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidRequest);
const TOO_LARGE: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::MessageTooLarge);
const TIMESTAMP: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidTimestamp);
const UNKNOWN: (Code, ErrorCode) = (Code::NotFound, ErrorCode::UnknownTopicOrPartition);
const OUT_OF_RANGE: (Code, ErrorCode) = (Code::OutOfRange, ErrorCode::OffsetOutOfRange);
const TOPIC: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidTopic);
const CONFIG: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidConfig);
const GROUP: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::InvalidGroupId);
const SEQUENCE: (Code, ErrorCode) = (Code::FailedPrecondition, ErrorCode::OutOfOrderSequenceNumber);
const FENCED: (Code, ErrorCode) = (Code::FailedPrecondition, ErrorCode::InvalidProducerEpoch);
const TXN: (Code, ErrorCode) = (Code::FailedPrecondition, ErrorCode::InvalidTxnState);
const MAGIC: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::UnsupportedForMessageFormat);
const CODEC: (Code, ErrorCode) = (Code::InvalidArgument, ErrorCode::UnsupportedCompressionType);

fn to(topic: &str, payload: Payload) -> Call {
    Call::Produce(request(topic, payload))
}

/// A batch whose bytes were changed on their way.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> Call {
    let mut bad = batch(BatchOptions::default());
    change(&mut bad);
    to("t", bytes(bad))
}

/// A batch that was made wrong: length and CRC are right.
fn made_wrong(options: BatchOptions, change: impl FnOnce(&mut Vec<u8>)) -> Call {
    let mut bad = batch(options);
    change(&mut bad);
    to("t", bytes(sealed(bad)))
}

fn set_counts(batch: &mut [u8], record_count: i32, last_offset_delta: i32) {
    batch[at::RECORD_COUNT..][..4].copy_from_slice(&record_count.to_be_bytes());
    batch[at::LAST_OFFSET_DELTA..][..4].copy_from_slice(&last_offset_delta.to_be_bytes());
}

/// A batch with this codec's number whose records are these bytes.
fn with_records(codec: u8, records: &[u8]) -> Call {
    made_wrong(BatchOptions::default(), |batch| {
        batch[at::ATTRIBUTES + 1] |= codec;
        batch.truncate(at::RECORDS);
        batch.extend_from_slice(records);
    })
}

fn bytes_that_were_damaged() -> Vec<Case> {
    let length =
        |length: i32| damaged(move |b| b[at::LENGTH..][..4].copy_from_slice(&length.to_be_bytes()));
    vec![
        case("a flipped bit", damaged(|b| b[at::RECORDS + 3] ^= 1), CORRUPT, "crc"),
        case("no bytes", damaged(Vec::clear), CORRUPT, "cut short"),
        case("half a batch", damaged(|b| b.truncate(66)), CORRUPT, "cut short"),
        case("a stray byte", damaged(|b| b.push(0)), CORRUPT, "send exactly one batch"),
        case("a length of 2 GiB", length(i32::MAX), TOO_LARGE, "send smaller batches"),
        case("a negative length", length(-1), CORRUPT, "shorter than a batch header"),
        case(
            "two batches",
            damaged(|b| b.extend_from_within(..)),
            INVALID_RECORD,
            "send one batch",
        ),
        case("the old format", damaged(|b| b[at::MAGIC] = 1), MAGIC, "only record batches of"),
        case("a format to come", damaged(|b| b[at::MAGIC] = 3), MAGIC, "only record batches of"),
    ]
}

fn batches_that_were_made_wrong() -> Vec<Case> {
    let plain_options = BatchOptions::default;
    let wrong = |what: &str, change: fn(&mut Vec<u8>), says| {
        case(what, made_wrong(plain_options(), change), INVALID_RECORD, says)
    };
    let mut cases = vec![
        wrong("a count that is too high", |b| set_counts(b, 3, 1), "one less than the count"),
        wrong("a delta that is too high", |b| set_counts(b, 2, 7), "one less than the count"),
        wrong("more records than there are", |b| set_counts(b, 3, 2), "record 2"),
        wrong("fewer records than there are", |b| set_counts(b, 1, 0), "left over"),
        wrong("no records", |b| set_counts(b, 0, 0), "at least one"),
        wrong("records of a billion", |b| set_counts(b, i32::MAX, i32::MAX - 1), "record 2"),
        wrong("records that are noise", |b| b[at::RECORDS..].fill(0xff), "record 0"),
        case(
            "the log's own timestamps",
            made_wrong(plain_options(), |b| b[at::ATTRIBUTES + 1] |= 8),
            TIMESTAMP,
            "producers send CreateTime",
        ),
        case(
            "a negative delta",
            made_wrong(plain_options(), |b| set_counts(b, 0, -1)),
            CORRUPT,
            "negative",
        ),
        case(
            "an unknown codec",
            made_wrong(plain_options(), |b| b[at::ATTRIBUTES + 1] |= 5),
            CODEC,
            "use none, gzip, snappy, lz4 or zstd",
        ),
        // Snappy's literal of five bytes: a sound block of unsound records.
        case(
            "noise that decompresses",
            with_records(2, b"\x05\x10\xff\xff\xff\xff\xff"),
            INVALID_RECORD,
            "record 0",
        ),
    ];
    for codec in Compression::ALL.into_iter().filter(|codec| *codec != Compression::None) {
        let more = made_wrong(compressed(codec), |b| set_counts(b, 3, 2));
        cases.push(case(format!("a record too few in {codec}"), more, INVALID_RECORD, "record 2"));
        let noise = with_records(codec.code(), &[0xc7; 300]);
        cases.push(case(format!("noise as {codec}"), noise, INVALID_RECORD, "do not decompress"));
    }
    cases
}

/// What one batch may expand to in these tests.
const EXPANDED_BYTES_MAX: usize = 4 << 20;

fn bombs() -> Vec<Case> {
    let zeros = vec![0; 3 * EXPANDED_BYTES_MAX];
    let bomb = |codec: Compression| to("t", bytes(batch_of(compressed(codec), &[&zeros])));
    let codecs = Compression::ALL.into_iter().filter(|codec| *codec != Compression::None);
    let mut cases: Vec<_> = codecs
        .map(|codec| case(format!("a bomb in {codec}"), bomb(codec), TOO_LARGE, "expand to more"))
        .collect();
    // A frame with a window of 128 MiB, then 100,000 blocks of four bytes that each stand for
    // 128 KiB: 12 GiB.
    let mut repeated = b"\x28\xb5\x2f\xfd\x00\x88".to_vec();
    repeated.extend(b"\x02\x00\x10\x00".repeat(100_000));
    // Its first record says that it fills all of it.
    cases.push(case("12 GiB of zstd", with_records(4, &repeated), INVALID_RECORD, "record 0"));
    let promised = with_records(2, b"\xff\xff\xff\xff\x0f\x10zeros");
    cases.push(case("snappy that promises 4 GiB", promised, TOO_LARGE, "expand to more"));
    cases
}

fn plain_records_that_are_wrong() -> Vec<Case> {
    let stamped = |timestamp: i64| {
        let timestamp_ms = Some(timestamp);
        let records = vec![v1::Record { timestamp_ms, ..record(None, "x") }];
        Payload::Plain(v1::PlainBatch { records, ..defaulted() })
    };
    let with = |change: fn(&mut v1::PlainBatch)| {
        let mut batch = v1::PlainBatch { records: vec![record(None, "x")], ..defaulted() };
        change(&mut batch);
        to("t", Payload::Plain(batch))
    };
    let (hour, now) = (3_600_000, now().get());
    vec![
        case("no records at all", with(|b| b.records.clear()), INVALID_REQUEST, "at least one"),
        case("a codec of the future", with(|b| b.compression = 9), INVALID_REQUEST, "none of"),
        case("producer -5", with(|b| b.producer_id = Some(-5)), INVALID_REQUEST, "InitProducer"),
        case("tomorrow", to("t", stamped(now + 24 * hour)), TIMESTAMP, "after.max"),
        case("yesterday", to("stamped", stamped(now - 24 * hour)), TIMESTAMP, "before.max"),
        case("before 1970", to("t", stamped(-2)), TIMESTAMP, "timestamp"),
        case("the end of time", to("t", stamped(i64::MAX)), TIMESTAMP, "after.max"),
        case("keyless", to("compacted", plain("x")), INVALID_RECORD, "key"),
        case("1001 bytes", to("small", plain(vec![7; 1001])), TOO_LARGE, "1000"),
        case("2 MiB", to("t", plain(vec![7; 2 << 20])), TOO_LARGE, "send smaller batches"),
    ]
}

/// `producer` has written sequences 0 and 1 under epoch 1 to the topic `sequenced`.
fn producers_that_are_wrong(producer: Producer) -> Vec<Case> {
    let coordinator_epoch = CoordinatorEpoch::new(0).expect("not negative");
    let marker = EndTxnMarker { kind: EndTxnKind::Commit, coordinator_epoch };
    let control = end_txn_marker(producer, marker, now());
    let transactional =
        BatchOptions { transactional: Transactional::Yes, ..from_producer(producer, 2) };
    let old = Producer { epoch: ProducerEpoch::new(0).expect("not negative"), ..producer };
    let sequenced = |options| to("sequenced", bytes(batch(options)));
    vec![
        case("a gap", sequenced(from_producer(producer, 9)), SEQUENCE, "2"),
        case("an old epoch", sequenced(from_producer(old, 2)), FENCED, "epoch"),
        case("a transaction", sequenced(transactional), TXN, "transaction"),
        case(
            "a control batch",
            to("sequenced", Payload::Batch(control)),
            INVALID_RECORD,
            "control",
        ),
    ]
}

fn places_that_are_not_there() -> Vec<Case> {
    let good = request("t", plain("x"));
    let produce = |change: fn(&mut v1::ProduceRequest)| {
        let mut bad = good.clone();
        change(&mut bad);
        Call::Produce(bad)
    };
    let list = |topic: &str, partitions: Vec<i32>| {
        Call::ListOffsets(v1::ListOffsetsRequest {
            topic: topic.into(),
            partitions,
            position: None,
        })
    };
    vec![
        case("unknown topic", produce(|r| r.topic = "ghost".into()), UNKNOWN, "create it first"),
        case("a path", produce(|r| r.topic = "../t".into()), UNKNOWN, "create it first"),
        case("no topic", produce(|r| r.topic.clear()), UNKNOWN, "create it first"),
        case("partition 1 of 1", produce(|r| r.partition = Some(1)), UNKNOWN, "it has 0 to 0"),
        case("partition -1", produce(|r| r.partition = Some(-1)), UNKNOWN, "no partition -1"),
        case("no payload", produce(|r| r.payload = None), INVALID_REQUEST, "send plain or batch"),
        case("acks of 9", produce(|r| r.acks = 9), INVALID_REQUEST, "ALL, LEADER, NONE"),
        case(
            "an answer to none",
            produce(|r| r.acks = v1::Acks::None.into()),
            INVALID_REQUEST,
            "use ProduceStream",
        ),
        case(
            "a batch to anywhere",
            Call::Produce(v1::ProduceRequest {
                partition: None,
                ..request("t", bytes(batch(BatchOptions::default())))
            }),
            INVALID_REQUEST,
            "must name its partition",
        ),
        case(
            "the broker's own",
            produce(|r| r.topic = "__consumer_offsets".into()),
            TOPIC,
            "the broker's own",
        ),
        case("offsets of a ghost", list("ghost", vec![]), UNKNOWN, "create it first"),
        case("offsets of partition 5", list("t", vec![5]), UNKNOWN, "it has 0 to 0"),
        case("more than there are", list("t", vec![0; 100_000]), INVALID_REQUEST, "has 1"),
    ]
}

fn starts_that_are_wrong() -> Vec<Case> {
    let start = |start: v1::Start| Call::Consume(vec![asked(Asked::Start(start))]);
    let at_offset = |offset| start(starting_at("t", 0, Position::Offset(offset)));
    let good = starting_at("t", 0, Position::Offset(0));
    let twice = [&good.partitions[..], &good.partitions[..]].concat();
    let credit = asked(Asked::Credit(v1::Credit { bytes: 1 }));
    let position = v1::PartitionStart { position: None, ..good.partitions[0].clone() };
    let nowhere = v1::Start { partitions: vec![position], ..defaulted() };
    let many = v1::Start { partitions: vec![good.partitions[0].clone(); 10_001], ..good.clone() };
    let group = Position::Group(String::new());
    vec![
        case("offset -1", at_offset(-1), OUT_OF_RANGE, "holds 0 to 0: start at one"),
        case("offset 1 of 0", at_offset(1), OUT_OF_RANGE, "holds 0 to 0: start at one"),
        case("the last offset", at_offset(i64::MAX), OUT_OF_RANGE, "start at one of these"),
        case(
            "a ghost's records",
            start(starting_at("ghost", 0, Position::Offset(0))),
            UNKNOWN,
            "create it first",
        ),
        case(
            "records of partition -1",
            start(starting_at("t", -1, Position::Offset(0))),
            UNKNOWN,
            "no partition -1",
        ),
        case("no partitions", start(defaulted()), INVALID_REQUEST, "name 1 to 10000"),
        case("10,001 partitions", start(many), INVALID_REQUEST, "name 1 to 10000"),
        case(
            "one twice",
            start(v1::Start { partitions: twice, ..good.clone() }),
            INVALID_REQUEST,
            "twice",
        ),
        case("no position", start(nowhere), INVALID_REQUEST, "give an offset"),
        case("edge 7", start(starting_at("t", 0, Position::Edge(7))), INVALID_REQUEST, "EARLIEST"),
        case("nobody's group", start(starting_at("t", 0, group)), GROUP, "1 to 255 characters"),
        case(
            "isolation 9",
            start(v1::Start { isolation: 9, ..good.clone() }),
            INVALID_REQUEST,
            "READ_",
        ),
        case("delivery 9", start(v1::Start { delivery: 9, ..good }), INVALID_REQUEST, "BATCHES"),
        case("credit first", Call::Consume(vec![credit]), INVALID_REQUEST, "must be a start"),
        case("not a word", Call::Consume(vec![]), INVALID_REQUEST, "must be a start"),
    ]
}

fn topics_that_are_wrong() -> Vec<Case> {
    let create = |name: &str| Call::Create { name: name.to_owned(), partitions: 1, config: None };
    let long = "x".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        "a\\b",
        "a b",
        "a\0b",
        "a\nb",
        "ä",
        "日志",
        "a:b",
        "__consumer_offsets",
        "__cluster_metadata",
        "__transaction_state",
        &long,
    ];
    let mut cases: Vec<_> = names
        .iter()
        .map(|name| case(format!("topic {name:?}"), create(name), TOPIC, "topic name"))
        .collect();
    let partitions = |partitions| Call::Create { name: "new".into(), partitions, config: None };
    let invalid_partitions = (Code::InvalidArgument, ErrorCode::InvalidPartitions);
    let exists = (Code::AlreadyExists, ErrorCode::TopicAlreadyExists);
    cases.extend([
        case("4 billion partitions", partitions(u32::MAX), invalid_partitions, "are the most"),
        case("100,000 partitions", partitions(100_000), invalid_partitions, "partitions.max"),
        case("one that is there", create("t"), exists, "already exists"),
        case("deleting a ghost", Call::Delete("ghost"), UNKNOWN, "unknown topic"),
        case("deleting the broker's", Call::Delete("__cluster_metadata"), TOPIC, "broker's own"),
    ]);
    cases
}

fn configs_that_are_wrong() -> Vec<Case> {
    let bad = [
        ("retention", "1", "use one of cleanup.policy"),
        ("", "", "use one of cleanup.policy"),
        ("retention.ms", "-2", "must be -1 (no bound)"),
        ("retention.ms", "a week", "must be -1 (no bound)"),
        ("retention.ms", "9223372036854775808", "must be -1 (no bound)"),
        ("segment.bytes", "10", "must be a number from"),
        ("flush.messages", "0", "must be a number from 1"),
        ("max.message.bytes", "1e6", "must be a number from"),
        ("cleanup.policy", "shred", "delete, compact or"),
        ("message.timestamp.type", "now", "CreateTime or LogAppendTime"),
    ];
    let mut cases = Vec::new();
    for (name, value, says) in bad {
        let config = Some((name, value));
        let create = Call::Create { name: "new".into(), partitions: 1, config };
        cases.push(case(format!("creating with {name}={value}"), create, CONFIG, says));
        let set = [(name.to_owned(), value.to_owned())].into();
        let alter = v1::AlterConfigsRequest { topic: "t".into(), set, ..defaulted() };
        cases.push(case(format!("setting {name}={value}"), Call::Alter(alter), CONFIG, says));
    }
    let unset = vec!["retention".to_owned()];
    let alter = v1::AlterConfigsRequest { topic: "t".into(), unset, ..defaulted() };
    cases.push(case("unsetting retention", Call::Alter(alter), CONFIG, "use one of"));
    let alter = v1::AlterConfigsRequest { topic: "ghost".into(), ..defaulted() };
    cases.push(case("configs of a ghost", Call::Alter(alter), UNKNOWN, "unknown topic"));
    cases
}

fn groups_that_are_wrong() -> Vec<Case> {
    let offset = v1::GroupOffset { topic: "t".into(), offset: 1, ..defaulted() };
    let commit = |group: &str, offsets: Vec<v1::GroupOffset>| {
        Call::Commit(v1::CommitOffsetsRequest { group: group.to_owned(), offsets })
    };
    // Behind a good one, which must not be stored either.
    let behind = |change: fn(&mut v1::GroupOffset)| {
        let mut bad = offset.clone();
        change(&mut bad);
        commit("g", vec![offset.clone(), bad])
    };
    let one = || vec![offset.clone()];
    vec![
        case("no group", commit("", one()), GROUP, "1 to 255 characters"),
        case("a long group", commit(&"g".repeat(256), one()), GROUP, "255 characters"),
        case("a group of two lines", commit("a\nb", one()), GROUP, "control character"),
        case("fetching for nobody", Call::Fetch(""), GROUP, "1 to 255 characters"),
        case("a negative offset", behind(|o| o.offset = -1), INVALID_REQUEST, "negative"),
        case(
            "a negative epoch",
            behind(|o| o.leader_epoch = Some(-1)),
            INVALID_REQUEST,
            "negative",
        ),
        case("a ghost's offset", behind(|o| o.topic = "ghost".into()), UNKNOWN, "unknown topic"),
        case("partition 5", behind(|o| o.partition = 5), UNKNOWN, "it has 0 to 0"),
        case("a novel", behind(|o| o.metadata = "m".repeat(4097)), INVALID_REQUEST, "4096"),
        case("10,001 offsets", commit("g", vec![offset.clone(); 10_001]), INVALID_REQUEST, "10000"),
    ]
}

fn every_case(producer: Producer) -> Vec<Case> {
    [
        bytes_that_were_damaged(),
        batches_that_were_made_wrong(),
        bombs(),
        plain_records_that_are_wrong(),
        producers_that_are_wrong(producer),
        places_that_are_not_there(),
        starts_that_are_wrong(),
        topics_that_are_wrong(),
        configs_that_are_wrong(),
        groups_that_are_wrong(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const TOPICS: [&str; 5] = ["t", "compacted", "stamped", "small", "sequenced"];

async fn set_up(doors: &mut Doors) -> Producer {
    doors.create("t", &[]).await;
    doors.create("compacted", &[("cleanup.policy", "compact")]).await;
    doors.create("stamped", &[("message.timestamp.before.max.ms", "1000")]).await;
    doors.create("small", &[("max.message.bytes", "1000")]).await;
    doors.create("sequenced", &[]).await;
    doors.create("good", &[]).await;
    let producer = doors.new_producer().await;
    let producer = Producer { epoch: ProducerEpoch::new(1).expect("not negative"), ..producer };
    let first = bytes(batch(from_producer(producer, 0)));
    doors.produce(request("sequenced", first)).await.expect("a good batch");
    producer
}

impl Case {
    /// What is wrong with the answer; then the next good request, which must be served.
    async fn complaint(&self, doors: &mut Doors) -> Option<String> {
        let status = doors.refused(&self.what, self.call.clone()).await;
        let good = doors.produce(request("good", plain("good"))).await;
        good.unwrap_or_else(|status| panic!("a good request behind {}: {status}", self.what));
        let Some(detail) = error_of(&status) else {
            return Some(format!("{}: no detail: {status}", self.what));
        };
        let sound = (status.code(), detail.code()) == (self.code, self.error)
            && detail.message == status.message()
            && detail.message.contains(self.says)
            && detail.nothing_happened
            // Only bytes that were damaged may be sound when they come again.
            && detail.retriable == (self.error == ErrorCode::CorruptMessage);
        (!sound).then(|| {
            format!("{} (wants {:?}): {:?} {detail:?}", self.what, self.says, status.code())
        })
    }
}

async fn fire(cases: &[Case], doors: &mut Doors) {
    let mut complaints = Vec::new();
    for case in cases {
        complaints.extend(case.complaint(doors).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_is_refused_and_leaves_no_trace() {
    let data = data_folder();
    let folder = data.path().join("data");
    let bound = format!("message.expanded.bytes.max={EXPANDED_BYTES_MAX}");
    let broker = Broker::start_with(&folder, &["--set", &bound]);
    let mut doors = Doors::of(&broker).await;
    let cases = every_case(set_up(&mut doors).await);
    let before = files(data.path(), "good");
    fire(&cases, &mut doors).await;
    let resting = anonymous_bytes(broker.id());
    forget_peak(broker.id());
    let lowest = peak_bytes(broker.id());
    fire(&cases, &mut doors).await;
    let grown = anonymous_bytes(broker.id()).saturating_sub(resting);
    let peak = peak_bytes(broker.id()).saturating_sub(lowest);
    println!("{} cases: {grown} bytes kept, {peak} at most", cases.len());
    assert!(grown < 8 << 20, "memory has grown by {grown} bytes");
    assert!(peak < 32 << 20, "memory has been {peak} bytes higher");
    for topic in TOPICS {
        let end = if topic == "sequenced" { 2 } else { 0 };
        assert_eq!(doors.describe(topic).await.log_end_offset, end, "{topic}");
    }
    assert_eq!(files(data.path(), "good"), before, "nothing was written");
    assert_eq!(doors.read("good").await.len(), 2 * cases.len());
}

/// On a stream, what is refused is answered with the same detail, under its own id, and what
/// comes behind it is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_what_it_is_refused() {
    let data = data_folder();
    let bound = format!("message.expanded.bytes.max={EXPANDED_BYTES_MAX}");
    let broker = Broker::start_with(data.path(), &["--set", &bound]);
    let mut doors = Doors::of(&broker).await;
    let cases = every_case(set_up(&mut doors).await);
    // That one is no fault on a stream.
    let is_fault = |case: &&Case| !case.says.contains("ProduceStream");
    let mut stream = doors.stream().await;
    let (mut id, mut good) = (0, 0);
    for Case { what, call, error, .. } in cases.iter().filter(is_fault) {
        let Call::Produce(bad) = call else { continue };
        id += 1;
        stream.send(id, bad.clone());
        match stream.answer().await {
            (answered, Answer::Error(refused)) if answered == id => {
                assert_eq!(refused.code(), *error, "{what}: {refused:?}");
                assert!(refused.nothing_happened, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        id += 1;
        stream.send(id, request("good", plain("good")));
        match stream.answer().await {
            (answered, Answer::Appended(appended)) if answered == id => {
                assert_eq!(appended.base_offset, good, "behind {what}");
                good += 1;
            }
            other => panic!("behind {what}: {other:?}"),
        }
    }
    assert!(good > 40, "this many faults can be sent on a stream");
}
