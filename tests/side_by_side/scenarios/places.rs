//! Where records are: offsets by time, by epoch, and the start of a log as it moves.

use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use log_proto::kafka::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use log_proto::kafka::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use log_proto::record::BatchOptions;

use super::{MADE_AT, Named, append, batch, batch_with};
use crate::run::{Run, defaulted};

pub(crate) fn play(run: &mut Run) {
    run.round(0);
    let topic = Named::create(run, "timed", 2, &[]);
    for later in [0, 1_000, 500] {
        append(run, &topic, batch_with(BatchOptions::default(), 3, later));
    }
    run.rounds(ApiKey::ListOffsets, |run, version| list_offsets(run, version, &topic.name));
    run.rounds(ApiKey::OffsetForLeaderEpoch, |run, version| {
        offset_for_leader_epoch(run, version, &topic.name);
    });
    run.rounds(ApiKey::DeleteRecords, delete_records);
}

fn list_offsets(run: &mut Run, version: i16, topic: &str) {
    let of = |partition, timestamp| listing(topic, partition, timestamp);
    for (step, timestamp) in [
        ("the end", -1),
        ("the start", -2),
        ("the largest timestamp", -3),
        ("the start of what is local", -4),
        ("the end of what is tiered", -5),
        ("the start of what is to be tiered", -6),
        ("a special time that nobody knows", -7),
        ("before all", 0),
        ("the time of the first record", MADE_AT),
        ("the time of the second record", MADE_AT + 1),
        ("between two batches", MADE_AT + 700),
        ("the time of a record in the last batch", MADE_AT + 501),
        ("the time of the latest record", MADE_AT + 1_002),
        ("after all", MADE_AT + 1_003),
    ] {
        run.ask(step, version, &of(0, timestamp));
        run.ask(&format!("{step}, where there is nothing"), version, &of(1, timestamp));
    }
    for partition in [7, -1] {
        run.ask(&format!("the end of partition {partition}"), version, &of(partition, -1));
    }
    run.ask("the end of a topic that is not there", version, &listing("missing", 0, -1));
    run.ask("the end of a name that no topic can have", version, &listing("a b", 0, -1));
    run.ask("nothing", version, &ListOffsetsRequest { replica_id: -1, ..defaulted() });
    let mut twice = of(0, -1);
    let partitions = &mut twice.topics[0].partitions;
    partitions.push(ListOffsetsPartition { timestamp: -2, ..partitions[0].clone() });
    run.ask("one partition twice", version, &twice);
    if version >= 2 {
        let committed = ListOffsetsRequest { isolation_level: 1, ..of(0, -1) };
        run.ask("the end of what is committed", version, &committed);
    }
    if version >= 4 {
        for epoch in [0, 5] {
            let mut request = of(0, -1);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            run.ask(&format!("the end, where epoch {epoch} is thought to lead"), version, &request);
        }
    }
}

fn listing(topic: &str, partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], timeout_ms: 5_000, ..defaulted() }
}

fn offset_for_leader_epoch(run: &mut Run, version: i16, topic: &str) {
    let of = |topic: &str, partition, leader_epoch, current_leader_epoch| {
        let partition = OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch };
        let topic = OffsetForLeaderTopic { topic: topic.into(), partitions: vec![partition] };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] }
    };
    for (step, partition, epoch, current) in [
        ("the end of the epoch", 0, 0, -1),
        ("the end of the epoch, which leads", 0, 0, 0),
        ("the end of an epoch to come", 0, 7, -1),
        ("the end of no epoch", 0, -1, -1),
        ("the end of an epoch below all", 0, -2, -1),
        ("the end of the epoch, where another is thought to lead", 0, 0, 7),
        ("the end of the epoch where there is nothing", 1, 0, -1),
        ("the end of the epoch of a partition that is not there", 7, 0, -1),
    ] {
        run.ask(step, version, &of(topic, partition, epoch, current));
    }
    run.ask("of a topic that is not there", version, &of("missing", 0, 0, -1));
    run.ask("of a name that no topic can have", version, &of("a b", 0, 0, -1));
}

fn delete_records(run: &mut Run, version: i16) {
    let topic = Named::create(run, "shrinking", 1, &[]);
    (0..3).for_each(|_| append(run, &topic, batch(3)));
    for (step, offset) in [
        ("up to the middle of a batch", 4),
        ("up to what is gone already", 2),
        ("up to behind the end", 10),
        ("up to -2", -2),
        ("all", -1),
        ("all again", -1),
    ] {
        run.ask(step, version, &deleting(&topic.name, 0, offset));
        run.ask(&format!("the start after it: {step}"), 7, &listing(&topic.name, 0, -2));
    }
    run.ask("of a partition that is not there", version, &deleting(&topic.name, 7, 0));
    run.ask("of a topic that is not there", version, &deleting("missing", 0, 0));
    run.ask("of a name that no topic can have", version, &deleting("a b", 0, 0));
    run.ask("of nothing", version, &DeleteRecordsRequest::default());
    let compacted = Named::create(run, "compacted", 1, &[("cleanup.policy", "compact")]);
    append(run, &compacted, batch(3));
    run.ask("of a compacted topic", version, &deleting(&compacted.name, 0, 1));
}

fn deleting(topic: &str, partition_index: i32, offset: i64) -> DeleteRecordsRequest {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    let topic = DeleteRecordsTopic { name: topic.into(), partitions };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 }
}
