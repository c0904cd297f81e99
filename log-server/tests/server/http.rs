//! Goal: probes and dashboards are told the truth.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::House;

/// The whole answer to a GET, head and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_broker_is_alive_and_ready() {
    let house = House::new();
    let served = house.start().await;
    let address = served.server().http_address();
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));
    served.server().broker().begin_stop();
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("stopping"), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_a_topic_until_it_is_deleted() {
    let house = House::new();
    let mut served = house.start().await;
    let address = served.server().http_address();
    served.create("counted", 1).await;
    served.append("counted", 0, &["a", "b"]).await;
    assert_eq!(served.values("counted").await.len(), 2);
    let text = get(address, "/metrics").await;
    for line in [
        "cairn_topic_records_appended_total{topic=\"counted\"} 2",
        "cairn_topic_records_read_total{topic=\"counted\"} 2",
        "cairn_partition_log_end_offset{topic=\"counted\",partition=\"0\"} 2",
        "cairn_failed_partitions 0",
        "cairn_produce_acknowledge_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    served.delete("counted").await.unwrap();
    assert!(!get(address, "/metrics").await.contains("counted"));
}
