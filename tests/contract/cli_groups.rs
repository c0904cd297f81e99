//! Goal: whoever looks after groups sees who reads, what is left to read and since when, and cannot
//! take a group away from under its members.

use log_proto::kafka::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use log_proto::kafka::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use log_proto::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use log_proto::kafka::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use log_proto::kafka::messages::leave_group::LeaveGroupRequest;
use log_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use log_proto::kafka::{Str, encode_embedded};
use serde_json::{Value, json};

use crate::rig::{failed, good, run};
use crate::support::kafka::Client;
use crate::support::{Broker, data_folder};

/// A broker with a topic `t` of two partitions, the first of which holds three records.
fn with_records(data: &std::path::Path) -> Broker {
    let broker = Broker::start(data);
    good(run(&broker, &["topic", "create", "t", "--partitions", "2"], b""));
    good(run(&broker, &["produce", "t", "--partition", "0"], b"one\ntwo\nthree\n"));
    broker
}

fn told(broker: &Broker, arguments: &[&str]) -> Value {
    let words: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_slice(&good(run(broker, &words, b""))).expect("JSON")
}

/// Joins the classic group `g` as its only member, which reads all of `t`.
pub(crate) fn join(client: &mut Client) -> Str {
    join_as(client, "consumer")
}

/// As [`join`], in a group that is of this protocol type.
pub(crate) fn join_as(client: &mut Client, protocol_type: &str) -> Str {
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
    let metadata = encode_embedded(0, &subscription).expect("a subscription");
    let joined = client.ask(
        3,
        &JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: protocol_type.into(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata }],
            ..Default::default()
        },
    );
    assert_eq!(joined.error_code, 0);
    let partitions = TopicPartition { topic: "t".into(), partitions: vec![0, 1] };
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: vec![partitions], ..Default::default() };
    let assignment = encode_embedded(0, &assignment).expect("an assignment");
    let member_id = joined.member_id.clone();
    let synced = client.ask(
        3,
        &SyncGroupRequest {
            group_id: "g".into(),
            generation_id: joined.generation_id,
            member_id: member_id.clone(),
            assignments: vec![SyncGroupRequestAssignment { member_id, assignment }],
            ..Default::default()
        },
    );
    assert_eq!(synced.error_code, 0);
    joined.member_id
}

#[test]
fn a_classic_group_is_seen_with_its_lag_and_kept_from_harm() {
    let data = data_folder();
    let broker = with_records(data.path());
    let set = ["group", "offsets", "set", "g", "t", "--partition", "0", "--to", "1"];
    assert_eq!(told(&broker, &set)[0]["before"], Value::Null);
    let mut client = Client::of(&broker);
    let member = join(&mut client);

    let group = told(&broker, &["group", "describe", "g"]);
    assert_eq!((&group["kind"], &group["state"]), (&json!("classic"), &json!("Stable")));
    assert_eq!((&group["assignor"], &group["lag"]), (&json!("range"), &json!(2)));
    assert!(group["lag_ms"].is_u64(), "{group}");
    assert_eq!(group["members"][0]["subscribed_topics"], json!(["t"]));
    let [behind, untouched] = &group["partitions"].as_array().expect("a list")[..] else {
        panic!("two partitions: {group}");
    };
    assert_eq!((&behind["committed_offset"], &behind["lag"]), (&json!(1), &json!(2)));
    assert_eq!(behind["member_id"], json!(member.as_str()));
    assert_eq!((&untouched["committed_offset"], &untouched["lag"]), (&Value::Null, &Value::Null));
    assert_eq!(untouched["member_id"], json!(member.as_str()));
    let text = good(run(&broker, &["group", "describe", "g"], b""));
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("lag       2, behind"), "{text}");
    assert!(text.contains("1 partitions without a commit"), "{text}");

    for harm in [
        &["group", "delete", "g"][..],
        &set,
        &["group", "offsets", "delete", "g", "t", "--partition", "0"],
    ] {
        let said = failed(run(&broker, harm, b""), 1);
        assert!(said.contains("cairn group describe"), "{harm:?}: {said}");
    }
    let request =
        LeaveGroupRequest { group_id: "g".into(), member_id: member, ..Default::default() };
    assert_eq!(client.ask(1, &request).error_code, 0);
    assert_eq!(told(&broker, &["group", "list"])[0]["state"], "Empty");
    told(&broker, &["group", "delete", "g"]);
    assert_eq!(told(&broker, &["group", "list"]), json!([]));
}

#[test]
fn a_consumer_group_is_seen_as_one() {
    let data = data_folder();
    let broker = with_records(data.path());
    told(&broker, &["group", "offsets", "set", "g", "t", "--to", "latest"]);
    let joined = Client::of(&broker).ask(
        1,
        &ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        },
    );
    assert_eq!(joined.error_code, 0);
    let group = told(&broker, &["group", "describe", "g"]);
    assert_eq!((&group["kind"], &group["assignor"]), (&json!("consumer"), &json!("uniform")));
    assert_eq!((&group["lag"], &group["lag_ms"]), (&json!(0), &Value::Null));
    let member = &group["members"][0];
    assert_eq!(member["member_id"], "m");
    assert_eq!(member["assignment"], json!([{ "topic": "t", "partitions": [0, 1] }]));
    let said = failed(run(&broker, &["group", "delete", "g"], b""), 1);
    assert!(said.contains("stop them first") && said.contains("cairn group describe"), "{said}");
}

#[test]
fn a_group_is_moved_only_to_where_it_can_go_on() {
    let data = data_folder();
    let broker = with_records(data.path());
    let set = |to| ["group", "offsets", "set", "g", "t", "--to", to];
    let said = failed(run(&broker, &set("2"), b""), 1);
    assert!(said.contains("t-1") && said.contains("--partition"), "{said}");
    let said = failed(run(&broker, &["group", "describe", "g"], b""), 1);
    assert!(said.contains("no group g") && said.contains("cairn group list"), "{said}");
    failed(run(&broker, &set("yesterday"), b""), 2);
    let committed = |moved: Value| moved[0]["committed_offset"].clone();
    assert_eq!(committed(told(&broker, &set("1h"))), 0);
    assert_eq!(committed(told(&broker, &set("2100-01-01"))), 3);
    assert_eq!(told(&broker, &set("earliest"))[0]["before"], 3);
}
