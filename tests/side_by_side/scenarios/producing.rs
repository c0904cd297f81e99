//! Records written: what is taken, what is refused, and who produced it.

use bytes::Bytes;
use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::describe_producers::{DescribeProducersRequest, TopicRequest};
use log_proto::kafka::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use log_proto::kafka::messages::produce::{PartitionProduceData, ProduceRequest};
use log_proto::record::{BatchOptions, Compression, Transactional};
use log_proto::types::{Producer, ProducerEpoch, ProducerId, Sequence};

use super::{Named, batch, batch_with, producing_to};
use crate::run::{Run, defaulted, patched};
use crate::support::batch::{at, sealed};

pub(crate) fn play(run: &mut Run) {
    // Kafka's first id has to come from its controller.
    new_producer(run);
    init_producer_id(run);
    run.rounds(ApiKey::Produce, acknowledgements);
    run.rounds(ApiKey::Produce, places);
    run.rounds(ApiKey::Produce, bad_batches);
    run.rounds(ApiKey::Produce, codecs_and_times);
    run.rounds(ApiKey::Produce, idempotence);
    run.rounds(ApiKey::Produce, policies);
    describe_producers(run);
}

fn init_producer_id(run: &mut Run) {
    run.rounds(ApiKey::InitProducerId, |run, version| {
        let plain = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        run.ask("a producer without transactions", version, &plain);
        let zero = InitProducerIdRequest { transaction_timeout_ms: 0, ..plain.clone() };
        run.ask("with a timeout of nothing", version, &zero);
        if version >= 3 {
            let known =
                InitProducerIdRequest { producer_id: 1, producer_epoch: 0, ..plain.clone() };
            run.ask("with an id that it says to have", version, &known);
        }
        let empty = InitProducerIdRequest { transactional_id: Some("".into()), ..plain };
        run.ask("with an empty transactional id", version, &empty);
    });
}

fn acknowledgements(run: &mut Run, version: i16) {
    let topic = Named::create(run, "acknowledged", 1, &[]);
    let with = |acks| ProduceRequest { acks, ..producing_to(&topic, batch(3)) };
    run.ask("with acks of all", version, &with(-1));
    run.ask("with acks of one", version, &with(1));
    // Not answered: what comes next is the answer to the next one, three records later.
    run.send(0, version, &with(0));
    run.ask("after one without acks", version, &with(-1));
    run.ask("with acks of two", version, &with(2));
    run.ask("with acks of -2", version, &with(-2));
    let nothing = ProduceRequest { topic_data: vec![], ..with(-1) };
    run.ask("of nothing", version, &nothing);
    let mut none = with(-1);
    none.topic_data[0].partition_data.clear();
    run.ask("of no partition", version, &none);
}

fn places(run: &mut Run, version: i16) {
    let topic = Named::create(run, "placed", 2, &[]);
    run.ask("of a topic that is not there", version, &producing_to(&Named::missing(), batch(1)));
    let unnamed = Named { name: String::new(), id: defaulted() };
    run.ask("of a topic without a name", version, &producing_to(&unnamed, batch(1)));
    for index in [7, -1] {
        let mut request = producing_to(&topic, batch(1));
        request.topic_data[0].partition_data[0].index = index;
        run.ask(&format!("of partition {index}"), version, &request);
    }
    let mut several = producing_to(&topic, batch(2));
    let bad = PartitionProduceData { index: 1, records: Some(damaged()) };
    let missing = PartitionProduceData { index: 5, records: Some(batch(1)) };
    several.topic_data[0].partition_data.extend([bad, missing]);
    let elsewhere = producing_to(&Named::missing(), batch(1)).topic_data;
    several.topic_data.extend(elsewhere);
    run.ask("of several partitions, one good", version, &several);
}

/// A bit of the last record is flipped.
fn damaged() -> Bytes {
    let mut batch = batch(2).to_vec();
    *batch.last_mut().expect("a batch has bytes") ^= 1;
    batch.into()
}

fn resealed(place: usize, with: &[u8]) -> Bytes {
    sealed(patched(&batch(2), place, with).to_vec()).into()
}

fn bad_batches(run: &mut Run, version: i16) {
    let topic = Named::create(run, "bad", 1, &[("max.message.bytes", "1000")]);
    let sound = batch(2);
    let longer = [&sound[..], &[0; 9]].concat();
    for (step, records) in [
        ("a checksum that is wrong", damaged()),
        ("magic 3", patched(&sound, at::MAGIC, &[3])),
        ("magic -1", patched(&sound, at::MAGIC, &[0xff])),
        ("magic 1", patched(&sound, at::MAGIC, &[1])),
        ("no bytes", Bytes::new()),
        ("half a header", sound.slice(..30)),
        ("a batch cut short", sound.slice(..sound.len() - 1)),
        ("bytes behind the batch", longer.into()),
        ("two batches", [&sound[..], &sound[..]].concat().into()),
        ("a batch that is too large", batch(80)),
        ("a length that is too small", patched(&sound, at::LENGTH, &10_i32.to_be_bytes())),
        ("a length that is negative", patched(&sound, at::LENGTH, &(-1_i32).to_be_bytes())),
        ("a record too many", resealed(at::RECORD_COUNT, &3_i32.to_be_bytes())),
        ("a record too few", resealed(at::RECORD_COUNT, &1_i32.to_be_bytes())),
        ("no records", resealed(at::RECORD_COUNT, &0_i32.to_be_bytes())),
        ("a last offset too high", resealed(at::LAST_OFFSET_DELTA, &2_i32.to_be_bytes())),
        ("a last offset too low", resealed(at::LAST_OFFSET_DELTA, &0_i32.to_be_bytes())),
        ("a control batch", resealed(at::ATTRIBUTES, &0x20_i16.to_be_bytes())),
        ("a codec that nobody knows", resealed(at::ATTRIBUTES, &7_i16.to_be_bytes())),
        ("gzip that is none", resealed(at::ATTRIBUTES, &1_i16.to_be_bytes())),
        ("records that do not parse", resealed(at::RECORDS, &[0x7f])),
        ("an offset of its own", patched(&sound, at::BASE_OFFSET, &9_i64.to_be_bytes())),
    ] {
        run.ask(step, version, &producing_to(&topic, records));
    }
    // Null for records is left out: Kafka does not answer at all.
    run.ask("and a sound one", version, &producing_to(&topic, batch(1)));
}

fn codecs_and_times(run: &mut Run, version: i16) {
    let topic = Named::create(run, "packed", 1, &[]);
    // Versions of before 7 know no zstd in Kafka, so that it must not move the others' offsets.
    let squeezed = Named::create(run, "squeezed", 1, &[]);
    for (topic, compression) in [
        (&topic, Compression::Gzip),
        (&topic, Compression::Snappy),
        (&topic, Compression::Lz4),
        (&squeezed, Compression::Zstd),
    ] {
        let options = BatchOptions { compression, ..defaulted() };
        let request = producing_to(topic, batch_with(options, 5, 0));
        run.ask(&format!("with {compression:?}"), version, &request);
    }
    times(run, version, &topic);
}

fn times(run: &mut Run, version: i16, topic: &Named) {
    const CENTURY: i64 = 100 * 365 * 86_400_000;
    let ahead = batch_with(BatchOptions::default(), 1, CENTURY);
    run.ask("made in a hundred years", version, &producing_to(topic, ahead));
    let unknown = batch_with(BatchOptions::default(), 1, -super::MADE_AT - 1);
    run.ask("made at no time", version, &producing_to(topic, unknown));
    let before = batch_with(BatchOptions::default(), 1, -super::MADE_AT - 5);
    run.ask("made before time began", version, &producing_to(topic, before));
    let stamped = Named::create(run, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    run.ask("stamped by the broker", version, &producing_to(&stamped, batch(1)));
    let early = Named::create(run, "fresh", 1, &[("message.timestamp.before.max.ms", "1000")]);
    run.ask("made too long ago", version, &producing_to(&early, batch(1)));
}

/// A new producer's id.
fn new_producer(run: &mut Run) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    run.until(4, &request, |response: &InitProducerIdResponse| response.error_code == 0).producer_id
}

fn from(id: i64, epoch: i16, sequence: i32, records: i64) -> Bytes {
    let producer = Producer {
        id: ProducerId::new(id).expect("a broker's"),
        epoch: ProducerEpoch::new(epoch).expect("not negative"),
    };
    let sequence = Sequence::new(sequence).expect("not negative");
    batch_with(BatchOptions { producer: Some((producer, sequence)), ..defaulted() }, records, 0)
}

fn idempotence(run: &mut Run, version: i16) {
    let topic = Named::create(run, "once", 1, &[]);
    let id = new_producer(run);
    let steps = [
        ("the first of a producer", 0, 0, 2),
        ("the second", 0, 2, 2),
        ("the second again", 0, 2, 2),
        ("the first again", 0, 0, 2),
        ("a gap", 0, 9, 1),
        ("part of what was sent", 0, 2, 1),
        ("a new epoch from the start", 1, 0, 1),
        ("the old epoch", 0, 4, 1),
        ("a new epoch from the middle", 2, 7, 1),
    ];
    for (step, epoch, sequence, records) in steps {
        run.ask(step, version, &producing_to(&topic, from(id, epoch, sequence, records)));
    }
    for number in 1..=6 {
        let request = producing_to(&topic, from(id, 1, number, 1));
        run.ask(&format!("number {number} in the new epoch"), version, &request);
    }
    let long_ago = producing_to(&topic, from(id, 1, 0, 1));
    run.ask("one from before the last five", version, &long_ago);
    let stranger = new_producer(run);
    let request = producing_to(&topic, from(stranger, 0, 5, 1));
    run.ask("an unknown producer's, from the middle", version, &request);
    let without = sealed(patched(&from(id, 1, 7, 1), 53, &(-1_i32).to_be_bytes()).to_vec());
    run.ask("without a sequence", version, &producing_to(&topic, without.into()));
    let no_epoch = sealed(patched(&from(id, 1, 7, 1), 51, &(-1_i16).to_be_bytes()).to_vec());
    run.ask("without an epoch", version, &producing_to(&topic, no_epoch.into()));
    wrap_around(run, version);
    transactional(run, version, &topic, id);
}

/// After the largest sequence comes 0.
fn wrap_around(run: &mut Run, version: i16) {
    let topic = Named::create(run, "wrapped", 1, &[]);
    let id = new_producer(run);
    let steps = [("near the end of sequences", i32::MAX - 1, 2), ("and around", 0, 1)];
    for (step, sequence, records) in steps {
        run.ask(step, version, &producing_to(&topic, from(id, 0, sequence, records)));
    }
}

fn transactional(run: &mut Run, version: i16, topic: &Named, id: i64) {
    let producer = Producer {
        id: ProducerId::new(id).expect("a broker's"),
        epoch: ProducerEpoch::new(1).expect("not negative"),
    };
    let sequence = Sequence::new(7).expect("not negative");
    let options = BatchOptions {
        producer: Some((producer, sequence)),
        transactional: Transactional::Yes,
        ..defaulted()
    };
    let request = producing_to(topic, batch_with(options, 1, 0));
    run.ask("of a transaction, without its id", version, &request);
}

fn policies(run: &mut Run, version: i16) {
    let compacted = Named::create(run, "compacted", 1, &[("cleanup.policy", "compact")]);
    run.ask("with keys, to be compacted", version, &producing_to(&compacted, batch(1)));
    let mut keyless = log_proto::record::BatchBuilder::new(BatchOptions::default());
    let at = log_proto::types::TimestampMs::new(super::MADE_AT);
    keyless.push(at, Some(b"key"), Some(b"value"), &[]).expect("a small record");
    keyless.push(at, None, Some(b"value"), &[]).expect("a small record");
    let keyless = keyless.build().expect("a small batch");
    run.ask("without a key, to be compacted", version, &producing_to(&compacted, keyless));
}

fn describe_producers(run: &mut Run) {
    run.round(0);
    let topic = Named::create(run, "described", 2, &[]);
    let (one, two) = (new_producer(run), new_producer(run));
    for (id, sequence, records) in [(one, 0, 3), (two, 0, 1), (one, 3, 2)] {
        super::append(run, &topic, from(id, 0, sequence, records));
    }
    let of = |name: &str, partitions: &[i32]| DescribeProducersRequest {
        topics: vec![TopicRequest { name: name.into(), partition_indexes: partitions.to_vec() }],
    };
    run.ask("of two partitions", 0, &of(&topic.name, &[0, 1]));
    run.ask("of partitions that are not there", 0, &of(&topic.name, &[7, -1]));
    run.ask("of a topic that is not there", 0, &of("missing", &[0]));
    run.ask("of a name that no topic can have", 0, &of("a b", &[0]));
    run.ask("of no partition", 0, &of(&topic.name, &[]));
    run.ask("of nothing", 0, &DescribeProducersRequest::default());
}
