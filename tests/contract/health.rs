//! Goal: what a load balancer, an orchestrator and a dashboard are told is true.

use log_proto::v1;

use crate::rig::{Doors, plain, request};
use crate::support::{Broker, Signal, data_folder};
use crate::traces::{get, metric};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_serves_is_alive_ready_and_measured() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    assert_eq!(get(&broker.http, "/healthz"), (200, "{\"status\":\"alive\"}\n".to_owned()));
    assert_eq!(get(&broker.http, "/readyz"), (200, "{\"status\":\"ready\"}\n".to_owned()));
    assert_eq!(get(&broker.http, "/elsewhere").0, 404);
    doors.create("t", &[]).await;
    for value in ["one", "two"] {
        doors.produce(request("t", plain(value))).await.expect("a good request");
    }
    doors.read("t").await;
    doors
        .produce(v1::ProduceRequest { partition: Some(7), ..request("t", plain("x")) })
        .await
        .expect_err("there is no partition 7");
    let of_topic = |name| metric(&broker, name, "t");
    assert_eq!(of_topic("cairn_topic_records_appended_total"), 2);
    assert_eq!(of_topic("cairn_topic_records_read_total"), 2);
    assert_eq!(of_topic("cairn_topic_appends_refused_total"), 1);
    assert_eq!(of_topic("cairn_partition_high_watermark"), 2);
    assert_eq!(of_topic("cairn_partition_log_start_offset"), 0);
    assert!(of_topic("cairn_partition_size_bytes") > 100);
    assert_eq!(metric(&broker, "cairn_failed_partitions", ""), 0);
    assert_eq!(metric(&broker, "cairn_request_memory_bytes", ""), 0);
    assert!(metric(&broker, "cairn_process_anonymous_memory_bytes", "") > 1 << 20);
    assert_eq!(metric(&broker, "cairn_produce_acknowledge_seconds_count", ""), 2);
    assert!(get(&broker.http, "/metrics").1.trim_end().ends_with("# EOF"), "all of it");
}

/// Nothing of a deleted topic is left, not even a number; one of the same name is another topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    for round in 0..3 {
        doors.create("t", &[]).await;
        assert_eq!(doors.describe("t").await.log_end_offset, 0, "round {round}");
        assert_eq!(metric(&broker, "cairn_topic_records_appended_total", "t"), 0);
        let appended = doors.produce(request("t", plain(format!("{round}")))).await;
        assert_eq!(appended.expect("a good request").base_offset, 0);
        let offset = v1::GroupOffset { topic: "t".into(), offset: 1, ..Default::default() };
        let commit = v1::CommitOffsetsRequest { group: "g".into(), offsets: vec![offset] };
        doors.consumer.commit_offsets(commit).await.expect("a good commit");
        doors.delete("t").await.expect("it was there");
        let fetch = v1::FetchOffsetsRequest { group: "g".into(), topics: vec![] };
        let left = doors.consumer.fetch_offsets(fetch).await.expect("a good request").into_inner();
        assert!(left.offsets.is_empty(), "offsets of a topic that is gone: {left:?}");
        let metrics = get(&broker.http, "/metrics").1;
        assert!(!metrics.contains("topic=\"t\""), "metrics of a topic that is gone");
        assert!(!data.path().join("topics/t-0").exists(), "files of a topic that is gone");
    }
    // And so it stays.
    assert!(broker.end(Signal::Term));
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    assert!(doors.read("t").await.is_empty());
}
