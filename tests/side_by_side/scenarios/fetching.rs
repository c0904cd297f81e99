//! Records read: from where, how many, how long to wait, and the sessions of KIP-227.

use log_proto::kafka::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic,
};
use log_proto::kafka::{ApiKey, Uuid};

use super::{Named, append, batch};
use crate::run::{Run, defaulted};

pub(crate) fn play(run: &mut Run) {
    run.rounds(ApiKey::Fetch, positions);
    run.rounds(ApiKey::Fetch, places);
    run.rounds(ApiKey::Fetch, limits);
    run.rounds(ApiKey::Fetch, epochs);
    run.rounds(ApiKey::Fetch, sessions);
    run.rounds(ApiKey::Fetch, broken_sessions);
}

/// Three batches of three records in the first of two partitions.
fn filled(run: &mut Run, name: &str) -> Named {
    let topic = Named::create(run, name, 2, &[]);
    (0..3).for_each(|_| append(run, &topic, batch(3)));
    topic
}

fn from(offset: i64) -> FetchPartition {
    FetchPartition {
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        high_watermark: i64::MAX,
        ..defaulted()
    }
}

fn fetching(topic: &Named, partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![of(topic, partitions)],
        ..defaulted()
    }
}

fn of(topic: &Named, partitions: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic { topic: topic.name.as_str().into(), topic_id: topic.id, partitions }
}

fn positions(run: &mut Run, version: i16) {
    let topic = filled(run, "read");
    for (step, offset) in [
        ("from the start", 0),
        ("from a batch's start", 3),
        ("from the middle of a batch", 4),
        ("from the end", 9),
        ("from behind the end", 10),
        ("from far behind the end", i64::MAX),
        ("from -1", -1),
        ("from -2", -2),
    ] {
        run.ask(step, version, &fetching(&topic, vec![from(offset)]));
    }
    for isolation_level in [1, 2] {
        let request = FetchRequest { isolation_level, ..fetching(&topic, vec![from(0)]) };
        run.ask(&format!("with isolation level {isolation_level}"), version, &request);
    }
}

fn places(run: &mut Run, version: i16) {
    let topic = filled(run, "found");
    let at = |partition| FetchPartition { partition, ..from(0) };
    run.ask("of two partitions", version, &fetching(&topic, vec![at(0), at(1)]));
    run.ask("of partitions that are not there", version, &fetching(&topic, vec![at(7), at(-1)]));
    run.ask("of one partition twice", version, &fetching(&topic, vec![at(0), at(0)]));
    run.ask("of a topic that is not there", version, &fetching(&Named::missing(), vec![at(0)]));
    let unnamed = Named { name: String::new(), id: Uuid::ZERO };
    run.ask("of a topic without a name", version, &fetching(&unnamed, vec![at(0)]));
    run.ask("of no partition", version, &fetching(&topic, vec![]));
    let nothing = FetchRequest { topics: vec![], ..fetching(&topic, vec![]) };
    run.ask("of nothing", version, &nothing);
    let mut both = fetching(&topic, vec![at(0)]);
    both.topics.push(of(&Named::missing(), vec![at(0)]));
    run.ask("of a topic and one that is not there", version, &both);
}

fn limits(run: &mut Run, version: i16) {
    let topic = filled(run, "limited");
    let first = |partition_max_bytes| FetchPartition { partition_max_bytes, ..from(0) };
    for (step, partition_max, max) in [
        ("a byte of a partition", 1, 1 << 20),
        ("no byte of a partition", 0, 1 << 20),
        ("less than no byte of a partition", -1, 1 << 20),
        ("a byte in all", 1 << 20, 1),
        ("no byte in all", 1 << 20, 0),
        ("a batch and a half", 200, 1 << 20),
    ] {
        let request =
            FetchRequest { max_bytes: max, ..fetching(&topic, vec![first(partition_max)]) };
        run.ask(step, version, &request);
    }
    let patient = |min_bytes, offset| FetchRequest {
        max_wait_ms: 50,
        min_bytes,
        ..fetching(&topic, vec![from(offset)])
    };
    run.ask("more than there is, for 50 ms", version, &patient(1 << 19, 0));
    run.ask("anything, for 50 ms, where nothing comes", version, &patient(1, 9));
    run.ask("nothing, for 50 ms", version, &patient(0, 9));
    let late = FetchRequest { max_wait_ms: 20_000, ..patient(1, 9) };
    run.send(1, version, &late);
    append(run, &topic, batch(1));
    run.receive::<FetchRequest>(1, "what comes while it waits", version);
}

fn epochs(run: &mut Run, version: i16) {
    let topic = filled(run, "led");
    if version >= 9 {
        for epoch in [0, 5] {
            let partition = FetchPartition { current_leader_epoch: epoch, ..from(3) };
            let request = fetching(&topic, vec![partition]);
            run.ask(&format!("where epoch {epoch} is thought to lead"), version, &request);
        }
    }
    if version >= 12 {
        for epoch in [0, 3] {
            let partition =
                FetchPartition { current_leader_epoch: 0, last_fetched_epoch: epoch, ..from(3) };
            let request = fetching(&topic, vec![partition]);
            run.ask(&format!("after a batch of epoch {epoch}"), version, &request);
        }
    }
}

/// Sessions came with version 7.
fn sessions(run: &mut Run, version: i16) {
    if version < 7 {
        return;
    }
    let topic = filled(run, "kept");
    let at = |partition, offset| FetchPartition { partition, ..from(offset) };
    let both = FetchRequest { session_epoch: 0, ..fetching(&topic, vec![at(0, 0), at(1, 0)]) };
    let FetchResponse { session_id, .. } = run.ask("a new session", version, &both);
    let next = |session_epoch, topics: Vec<FetchTopic>| FetchRequest {
        session_id,
        session_epoch,
        topics,
        ..fetching(&topic, vec![])
    };
    run.ask("the next of it, nothing read", version, &next(1, vec![]));
    let read = next(2, vec![of(&topic, vec![at(0, 9)])]);
    run.ask("the next of it, all read", version, &read);
    run.ask("the next of it, nothing new", version, &next(3, vec![]));
    append(run, &topic, batch(2));
    run.ask("the next of it, two records new", version, &next(4, vec![]));
    let forgetful = FetchRequest {
        forgotten_topics_data: vec![ForgottenTopic {
            topic: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: vec![0],
        }],
        ..next(5, vec![])
    };
    run.ask("the next of it, without the first partition", version, &forgetful);
    let moved = next(6, vec![of(&topic, vec![at(0, 10), at(1, 5)])]);
    run.ask("the next of it, from elsewhere", version, &moved);
    run.ask("the next of it, once more", version, &next(7, vec![]));
    let missing = next(8, vec![of(&Named::missing(), vec![at(0, 0)])]);
    run.ask("the next of it, with a topic that is not there", version, &missing);
    run.ask("the next of it, a wrong epoch", version, &next(3, vec![]));
    run.ask("the next of it, the right epoch", version, &next(9, vec![]));
    run.ask("the end of it", version, &next(-1, vec![of(&topic, vec![at(0, 9)])]));
    run.ask("the next after its end", version, &next(10, vec![]));
}

fn broken_sessions(run: &mut Run, version: i16) {
    if version < 7 {
        return;
    }
    let topic = filled(run, "broken");
    let with = |session_id, session_epoch| FetchRequest {
        session_id,
        session_epoch,
        ..fetching(&topic, vec![from(0)])
    };
    run.ask("an unknown session", version, &with(12_345, 1));
    run.ask("a session without an id", version, &with(0, 1));
    run.ask("an end of no session", version, &with(0, -1));
    run.ask("an end of an unknown session", version, &with(12_345, -1));
    run.ask("a new session in place of an unknown one", version, &with(12_345, 0));
    run.ask("an epoch below all", version, &with(0, -2));
}
