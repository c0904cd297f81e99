//! Goal: `cairn produce` of a large file goes on through the death of its broker and ends by
//! itself, with no line lost and none stored twice. So does a consumer that reads along: it is
//! what says when to kill, and what is held against the file.

use std::process::Stdio;
use std::time::Duration;

use log_client::{Client, NewTopic, StartAt};
use serde_json::Value;
use tokio::time::timeout;

use crate::rig::{ended, typed};
use crate::support::{Broker, Signal, data_folder};

const LINES: usize = 200_000;
const KEYS: usize = 16;

/// About a hundred bytes, no two the same.
fn line(number: usize) -> String {
    format!("key-{:02}\tline {number:07} {}", number % KEYS, "x".repeat(80 + number % 13))
}

/// How long the next record may take, a restart of the broker included.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_gets_through_whatever_happens_to_the_broker() {
    let data = data_folder();
    let file = data.path().join("input.txt");
    let text: Vec<String> = (0..LINES).map(line).collect();
    std::fs::write(&file, text.join("\n")).expect("room on the disk");
    let folder = data.path().join("data");
    let mut broker = Broker::start(&folder);
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    let client = Client::new(&grpc).expect("an address");
    client.admin().create_topic(NewTopic::new("t").partitions(4)).await.expect("a new topic");

    let file = file.display().to_string();
    let arguments = ["produce", "t", "--file", &file, "--key-delimiter", "\t", "--json"];
    let mut produce = typed(&broker, &arguments);
    let produce = produce.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let produce = produce.spawn().expect("the binary under test starts");
    let consumer = client.consumer().topic("t", StartAt::Earliest);
    let mut consumer = consumer.reconnect_timeout(PATIENCE).build().expect("sound settings");

    // Of each key, the number of the line that must come next.
    let mut next: Vec<usize> = (0..KEYS).collect();
    for count in 1..=LINES {
        let record = timeout(PATIENCE, consumer.next()).await.expect("the lines go on");
        let record = record.expect("more records").expect("a readable record");
        let key = String::from_utf8(record.key.expect("every line has one").to_vec());
        let key = key.expect("it is text");
        let index: usize = key.trim_start_matches("key-").parse().expect("a number");
        let value = record.value.expect("not null");
        let found = [key.as_bytes(), b"\t", &value].concat();
        let expected = line(next[index]);
        assert_eq!(String::from_utf8_lossy(&found), expected, "after {count} records");
        next[index] += KEYS;
        if [LINES / 4, LINES / 2].contains(&count) {
            assert!(!broker.end(Signal::Kill), "a killed broker does not end well");
            broker = Broker::restart(&folder, &grpc, &http);
        }
    }
    let output = ended(produce);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["records"], &report["failed"]), (&LINES.into(), &0.into()));
    let topic = client.admin().describe_topic("t").await.expect("the topic is there");
    let stored: i64 = topic.partitions.iter().map(|one| one.log_end_offset.get()).sum();
    assert_eq!(stored, LINES as i64, "nothing is stored twice");
}
