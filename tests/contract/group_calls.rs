//! Goal: whoever speaks the protocol of a group's members by hand is told the truth at each step,
//! and whoever does not keep to it is out.

use log_proto::kafka::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::consume_response::Event;
use log_proto::v1::partition_start::Position;
use tonic::Code;

use crate::rig::{Doors, Reading, defaulted, error_of, good, plain, request, run, starting_at};
use crate::support::kafka::Client;
use crate::support::{Broker, data_folder};

fn joining(member: &str) -> v1::Join {
    v1::Join {
        group: "g".into(),
        topics: vec!["t".into()],
        member_id: member.into(),
        client_id: "by-hand".into(),
        credit_bytes: 1 << 20,
        ..defaulted()
    }
}

/// A broker with a topic `t` of two partitions, one record in each.
async fn with_records(data: &std::path::Path) -> (Broker, Doors) {
    let broker = Broker::start(data);
    let mut doors = Doors::of(&broker).await;
    doors.try_create("t", 2, &[]).await.expect("a new topic");
    for number in 0..2 {
        let record = v1::ProduceRequest { partition: Some(number), ..request("t", plain("v")) };
        doors.produce(record).await.expect("room for a record");
    }
    (broker, doors)
}

async fn join(doors: &mut Doors, join: v1::Join) -> Reading {
    let mut member = doors.call(Asked::Join(join.clone())).await.expect("the group takes it");
    let Event::Joined(joined) = member.event().await else { panic!("first, who it is") };
    assert!(join.member_id.is_empty() || joined.member_id == join.member_id);
    member
}

/// What the member is given, with where it starts.
async fn assigned(member: &mut Reading) -> Vec<(i32, i64)> {
    loop {
        match member.event().await {
            Event::Assigned(one) if one.partitions.is_empty() => {}
            Event::Assigned(one) => {
                return one.partitions.iter().map(|one| (one.partition, one.offset)).collect();
            }
            Event::Records(_) | Event::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn revoked(member: &mut Reading) -> v1::TopicPartitions {
    loop {
        match member.event().await {
            Event::Revoke(mut revoke) => return revoke.partitions.remove(0),
            Event::Records(_) | Event::CaughtUp(_) | Event::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn commit(member: &mut Reading, partition: i32, offset: i64) -> Option<v1::Error> {
    let offset = v1::GroupOffset { topic: "t".into(), partition, offset, ..defaulted() };
    member.ask(Asked::Commit(v1::Commit { commit_id: 9, offsets: vec![offset] }));
    loop {
        match member.event().await {
            Event::Committed(v1::Committed { commit_id: 9, error }) => return error,
            Event::Records(_) | Event::CaughtUp(_) | Event::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The error that a call ends with.
async fn end(member: &mut Reading) -> v1::Error {
    loop {
        match member.responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends without a reason"),
            Err(status) => return error_of(&status).unwrap_or_else(|| panic!("{status:?}")),
        }
    }
}

#[tokio::test]
async fn a_revoked_partition_goes_on_where_it_was_committed_before_its_release() {
    let data = data_folder();
    let (_broker, mut doors) = with_records(data.path()).await;
    let mut one = join(&mut doors, joining("one")).await;
    assert_eq!(assigned(&mut one).await, [(0, 0), (1, 0)]);
    let mut other = join(&mut doors, joining("other")).await;
    let gone = revoked(&mut one).await;
    let number = gone.partitions[0];
    assert_eq!((gone.topic.as_str(), gone.partitions.len()), ("t", 1));
    assert_eq!(commit(&mut one, number, 1).await, None);
    one.ask(Asked::Release(v1::Release { partitions: vec![gone] }));
    assert_eq!(assigned(&mut other).await, [(number, 1)]);
    let late = commit(&mut one, number, 0).await.expect("it is another's by now");
    assert_eq!((late.code(), late.retriable), (ErrorCode::StaleMemberEpoch, false));
    assert!(late.nothing_happened && late.message.contains(&format!("t-{number}")), "{late:?}");
    assert_eq!(commit(&mut one, 1 - number, 1).await, None);
    // Whoever ends its requests has left when its responses end.
    let Reading { requests, mut responses } = one;
    drop(requests);
    while responses.message().await.expect("a good end").is_some() {}
    assert_eq!(assigned(&mut other).await, [(1 - number, 1)]);
}

#[tokio::test]
async fn who_keeps_what_was_revoked_is_removed() {
    let data = data_folder();
    let (_broker, mut doors) = with_records(data.path()).await;
    let mut deaf =
        join(&mut doors, v1::Join { rebalance_timeout_ms: 100, ..joining("deaf") }).await;
    assigned(&mut deaf).await;
    let mut other = join(&mut doors, joining("other")).await;
    let error = end(&mut deaf).await;
    assert_eq!(error.code(), ErrorCode::UnknownMemberId);
    assert!(error.message.contains("100ms") && error.message.contains("join again"), "{error:?}");
    let mut given = assigned(&mut other).await;
    while given.len() < 2 {
        given.extend(assigned(&mut other).await);
    }
    given.sort_unstable();
    assert_eq!(given, [(0, 0), (1, 0)], "nothing was committed");
}

#[tokio::test]
async fn a_dropped_connection_is_a_member_less() {
    let data = data_folder();
    let (broker, mut doors) = with_records(data.path()).await;
    let one = join(&mut doors, joining("one")).await;
    let mut elsewhere = Doors::of(&broker).await;
    let mut other = join(&mut elsewhere, joining("other")).await;
    // With the call, and not in good order.
    drop((one, doors));
    let mut given = assigned(&mut other).await;
    while given.len() < 2 {
        given.extend(assigned(&mut other).await);
    }
}

/// A Kafka client and a caller of gRPC in one group: both give way, neither has what the other has.
#[tokio::test]
async fn both_doors_lead_into_one_group() {
    let data = data_folder();
    let (broker, mut doors) = with_records(data.path()).await;
    let mut here = join(&mut doors, joining("here")).await;
    assigned(&mut here).await;
    let heartbeat = |epoch, owned: &[_]| ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "there".into(),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(owned.to_vec()),
        ..defaulted()
    };
    let mut there = Client::of(&broker);
    let joined = there.ask(1, &heartbeat(0, &[]));
    let assignment = joined.assignment.expect("who joins is told");
    assert_eq!((joined.error_code, assignment.topic_partitions), (0, vec![]), "nothing is free");
    let gone = revoked(&mut here).await;
    let number = gone.partitions[0];
    here.ask(Asked::Release(v1::Release { partitions: vec![gone] }));
    // An answered commit shows that what was asked before it has been done.
    assert_eq!(commit(&mut here, 1 - number, 1).await, None);
    let told = there.ask(1, &heartbeat(joined.member_epoch, &[]));
    let given = told.assignment.expect("it is free now").topic_partitions;
    assert_eq!(given[0].partitions, [number]);
    let shown = good(run(&broker, &["group", "describe", "g"], b""));
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.contains("by-hand") && shown.contains("there"), "{shown}");

    let left = there.ask(1, &heartbeat(-1, &[]));
    assert_eq!(left.error_code, 0);
    assert_eq!(assigned(&mut here).await, [(number, 0)]);
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_refused() {
    let data = data_folder();
    let (_broker, mut doors) = with_records(data.path()).await;
    for (bad, code, says) in [
        (v1::Join { group: String::new(), ..joining("m") }, ErrorCode::InvalidGroupId, "group"),
        (v1::Join { topics: vec![], ..joining("m") }, ErrorCode::InvalidRequest, "topic"),
        (v1::Join { topics: vec!["../x".into()], ..joining("m") }, ErrorCode::InvalidTopic, "/"),
        (v1::Join { assignor: 7, ..joining("m") }, ErrorCode::InvalidRequest, "UNIFORM"),
        (v1::Join { delivery: 7, ..joining("m") }, ErrorCode::InvalidRequest, "BATCHES"),
        (joining(&"m".repeat(256)), ErrorCode::InvalidRequest, "255"),
    ] {
        let status = doors.call(Asked::Join(bad)).await.err().expect("no group takes it");
        let error = error_of(&status).expect("a detail");
        assert_eq!((status.code(), error.code()), (Code::InvalidArgument, code), "{error:?}");
        assert!(error.message.contains(says) && error.nothing_happened, "{error:?}");
    }
    let first = Asked::Commit(v1::Commit::default());
    let status = doors.call(first).await.err().expect("nobody commits before it is somebody");
    assert!(status.message().contains("start or a join"), "{status:?}");

    let mut member = join(&mut doors, joining("m")).await;
    assert_eq!(assigned(&mut member).await, [(0, 0), (1, 0)]);
    let negative = commit(&mut member, 0, -1).await.expect("no such offset");
    assert_eq!(negative.code(), ErrorCode::InvalidRequest);
    let partitions = vec![v1::TopicPartitions { topic: "t".into(), partitions: vec![0] }];
    member.ask(Asked::Release(v1::Release { partitions }));
    let error = end(&mut member).await;
    assert!(error.message.contains("was not revoked"), "{error:?}");

    // Who only reads is no member of anything.
    let mut reader = doors.consume(starting_at("t", 0, Position::Offset(0))).await.expect("a call");
    reader.ask(Asked::Release(v1::Release::default()));
    assert_eq!(end(&mut reader).await.code(), ErrorCode::InvalidRequest);
    let mut member = join(&mut doors, joining("m")).await;
    member.ask(Asked::Join(joining("m")));
    assert_eq!(end(&mut member).await.code(), ErrorCode::InvalidRequest);
}

/// A group whose members share out by themselves takes nobody that cannot.
#[tokio::test]
async fn a_group_of_others_is_named_as_the_reason() {
    let data = data_folder();
    let (broker, mut doors) = with_records(data.path()).await;
    crate::cli_groups::join_as(&mut Client::of(&broker), "connect");
    let status = doors.call(Asked::Join(joining("m"))).await.err().expect("it has members");
    let error = error_of(&status).expect("a detail");
    assert_eq!(error.code(), ErrorCode::InconsistentGroupProtocol);
    assert!(error.message.contains("group.protocol=consumer"), "{error:?}");
}
