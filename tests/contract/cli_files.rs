//! Goal: what the tools say of topics and files can be read by machines, and is true.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::rig::{failed, fed, good, run};
use crate::support::{Broker, Signal, cairn, data_folder};
use crate::traces::metric;

#[test]
fn every_listing_is_json_on_demand() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let listings: &[&[&str]] = &[
        &["topic", "list"],
        &["topic", "create", "t", "--partitions", "2"],
        &["topic", "create", "t", "--if-not-exists"],
        &["topic", "describe", "t"],
        &["topic", "list", "--internal"],
        &["topic", "config", "get", "t"],
        &["topic", "config", "set", "t", "retention.ms=5"],
        &["topic", "config", "unset", "t", "retention.ms"],
        &["produce", "t"],
        &["group", "list"],
        &["group", "offsets", "set", "g", "t", "--to", "earliest"],
        &["group", "offsets", "get", "g", "t"],
        &["group", "offsets", "delete", "g", "t", "--partition", "0"],
        &["group", "describe", "g"],
        &["group", "delete", "g"],
        &["segment", "stat", "DATA"],
        &["segment", "verify", "DATA"],
        &["config", "print"],
        &["topic", "delete", "t"],
    ];
    let folder = data.path().display().to_string();
    for listing in listings {
        let words = listing.iter().map(|word| if *word == "DATA" { &folder } else { *word });
        let words: Vec<_> = words.chain(["--json"]).collect();
        let output = good(run(&broker, &words, b"one\ntwo\n"));
        let value: Value = serde_json::from_slice(&output)
            .unwrap_or_else(|error| panic!("{listing:?} is no JSON: {error}"));
        assert!(value.is_array() || value.is_object(), "{listing:?}: {value}");
    }
    let said = broker.said();
    assert!(said.contains(r#"change="set retention.ms=5""#), "{said}");
    for inside in ["Some(", "Partition(", "Edit", "{ "] {
        assert!(!said.contains(inside), "what is logged is for people, not {inside:?}: {said}");
    }
}

/// A field that is in two listings is the same in both.
#[test]
fn a_topic_has_the_same_fields_wherever_it_is_listed() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let listed = |words: &[&str]| parsed(&good(run(&broker, &[words, &["--json"]].concat(), b"")));
    let created = listed(&["topic", "create", "t", "--partitions", "2"]);
    assert_eq!(created["partition_count"], 2);
    assert_eq!(listed(&["topic", "list"])[0], created);
    let described = listed(&["topic", "describe", "t"]);
    for (name, value) in created.as_object().expect("an object") {
        assert_eq!(described[name], *value, "{name}");
    }
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(2));
}

fn segment(arguments: &[&str]) -> std::process::Output {
    let mut command = cairn();
    command.arg("segment").args(arguments);
    fed(command, b"")
}

fn parsed(output: &[u8]) -> Value {
    serde_json::from_slice(output).expect("JSON")
}

/// A stopped broker's folder with one partition of several segments.
fn stopped_folder(data: &Path) {
    let broker = Broker::start(data);
    let create = ["topic", "create", "t", "--config", "segment.bytes=1048576"];
    good(run(&broker, &create, b""));
    let lines: String = (0..30_000).map(|number| format!("{number:0100}\n")).collect();
    good(run(&broker, &["produce", "t", "--key", "k"], lines.as_bytes()));
    assert!(broker.end(Signal::Term));
}

#[test]
fn the_files_of_a_stopped_broker_tell_what_they_hold() {
    let data = data_folder();
    stopped_folder(data.path());
    let folder = data.path().display().to_string();
    let partition = data.path().join("topics/t-0").display().to_string();
    let stats = parsed(&good(segment(&["stat", &partition, "--json"])));
    let stats = stats.as_array().expect("a list");
    assert!(stats.len() > 2, "several segments: {stats:?}");
    let sum = |field: &str| stats.iter().filter_map(|stat| stat[field].as_u64()).sum::<u64>();
    assert_eq!(sum("records"), 30_000);
    assert_eq!(sum("log_bytes"), sum("sound_bytes"), "a clean stop leaves no room behind");
    let dump = good(segment(&["dump", &partition, "--records", "--json"]));
    let batches: Vec<Value> =
        dump.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parsed).collect();
    let records: Vec<_> =
        batches.iter().filter_map(|batch| batch["record_list"].as_array()).flatten().collect();
    assert_eq!(records.len(), 30_000);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["offset"], number);
        assert_eq!(
            (&record["key"], &record["value"]),
            (&"k".into(), &format!("{number:0100}").into())
        );
    }
    let text = String::from_utf8(good(segment(&["dump", &partition]))).expect("text");
    assert!(text.contains("offsets 0..="), "{text}");
    let verdict = String::from_utf8(good(segment(&["verify", &folder]))).expect("text");
    assert!(verdict.contains("30000 records") && !verdict.contains("DAMAGED"), "{verdict}");
}

#[test]
fn damage_that_a_start_finds_stays_in_sight() {
    let data = data_folder();
    stopped_folder(data.path());
    let file = data.path().join("topics/t-0/00000000000000000000.log");
    let log = fs::OpenOptions::new().write(true).open(&file).expect("a file");
    let length = log.metadata().expect("its length").len();
    log.set_len(length - 100).expect("it can be cut");
    let broker = Broker::start(data.path());
    let described = parsed(&good(run(&broker, &["topic", "describe", "t", "--json"], b"")));
    let findings = described["partitions"][0]["findings"].as_array().expect("a list").clone();
    let finding = findings[0].as_str().expect("a text");
    assert!(findings.len() == 1 && finding.contains(&file.display().to_string()), "{findings:?}");
    let told =
        String::from_utf8(good(run(&broker, &["topic", "describe", "t"], b""))).expect("text");
    assert!(told.contains("DAMAGED") && told.contains(finding), "{told}");
    assert_eq!(metric(&broker, "cairn_damaged_partitions", ""), 1);
    assert_eq!(metric(&broker, "cairn_failed_partitions", ""), 0, "it takes writes all the same");
}

#[test]
fn one_flipped_bit_is_found_and_named() {
    let data = data_folder();
    stopped_folder(data.path());
    let partition = data.path().join("topics/t-0");
    let mut logs: Vec<_> = fs::read_dir(&partition).expect("a folder").flatten().collect();
    logs.retain(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
    logs.sort_by_key(fs::DirEntry::file_name);
    let folder = data.path().display().to_string();
    let whole = parsed(&good(segment(&["verify", &folder, "--json"])));
    let records = whole.as_array().expect("a list").iter();
    let records: u64 = records.filter_map(|report| report["records"].as_u64()).sum();
    for (index, at) in [(0, 5000), (1, 300_000)] {
        let file = logs[index].path();
        let sound = fs::read(&file).expect("a file");
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        fs::write(&file, damaged).expect("room on the disk");
        let output = segment(&["verify", &folder, "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let reports = parsed(&output.stdout);
        let mut damages = reports
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|report| report["damages"].as_array().expect("a list"));
        let damage = damages.next().expect("the flipped bit was found");
        assert_eq!(damage["file"], file.display().to_string());
        let position = damage["position"].as_u64().expect("a position") as usize;
        assert!(position <= at && at - position < 300_000, "batch at {position}, bit at {at}");
        let text = segment(&["verify", &folder]);
        assert_eq!(text.status.code(), Some(1));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("DAMAGED") && text.contains(&position.to_string()), "{text}");
        let lost = &damage["lost"];
        assert!(lost["goes_on"].as_bool().expect("a yes or no"), "{damage}");
        let [first, next] =
            ["first_offset", "next_offset"].map(|at| lost[at].as_u64().expect("an offset"));
        let sum = |field: &str| {
            let reports = reports.as_array().expect("a list").iter();
            reports.filter_map(|report| report[field].as_u64()).sum::<u64>()
        };
        assert_eq!(sum("records"), records - (next - first), "all others are counted");
        let dump = segment(&["dump", &folder, "--json"]);
        assert_eq!(dump.status.code(), Some(1));
        let said = String::from_utf8_lossy(&dump.stderr).into_owned();
        assert!(said.contains(&file.display().to_string()), "{said}");
        let lines = dump.stdout.trim_ascii_end().split(|byte| *byte == b'\n').map(parsed);
        let (places, batches): (Vec<Value>, Vec<Value>) =
            lines.partition(|line| line["lost"].is_object());
        assert_eq!(places, std::slice::from_ref(damage), "in its place");
        assert_eq!(batches.len() as u64, sum("batches"));
        fs::write(&file, sound).expect("room on the disk");
    }
    good(segment(&["verify", &folder]));
    let empty = data.path().join("empty");
    fs::create_dir(&empty).expect("room on the disk");
    let said = failed(segment(&["stat", &empty.display().to_string()]), 1);
    assert!(said.contains("empty"), "{said}");
}

/// Damage below what was synced is not cut away: what is sound on both sides of it is served.
#[test]
fn a_damaged_batch_costs_its_own_records_only() {
    let data = data_folder();
    stopped_folder(data.path());
    let file = data.path().join("topics/t-0/00000000000000000000.log");
    let mut bytes = fs::read(&file).expect("a file");
    bytes[300_000] ^= 0x40;
    fs::write(&file, bytes).expect("room on the disk");
    let verified = segment(&["verify", &file.display().to_string(), "--json"]);
    let lost = &parsed(&verified.stdout)[0]["damages"][0]["lost"];
    let damaged = lost["first_offset"].as_u64().expect("an offset");
    let broker = Broker::start(data.path());
    let before = run(&broker, &["consume", "t", "--format", "%o\n"], b"");
    assert_eq!(before.status.code(), Some(1));
    let said = String::from_utf8_lossy(&before.stderr).into_owned();
    assert!(said.contains("t-0") && said.contains(&file.display().to_string()), "{said}");
    let rest = said.split("records from offset ").nth(1).expect("it says how to go on");
    let next: u64 = rest.split(' ').next().expect("a word").parse().expect("an offset");
    assert!(next > damaged && lost["next_offset"] == next, "{said}");
    let before = String::from_utf8_lossy(&before.stdout).lines().count() as u64;
    assert_eq!(before, damaged, "everything before it is there");
    let from = ["consume", "t", "--from", &next.to_string(), "--format", "%v"];
    let behind = good(run(&broker, &from, b""));
    let expected: String = (next..30_000).map(|number| format!("{number:0100}")).collect();
    assert!(behind == expected.as_bytes(), "everything behind it is there");
    assert!(said.contains("cairn consume t --partition 0 --from OFFSET"), "{said}");
    let described = good(run(&broker, &["topic", "describe", "t"], b""));
    assert!(String::from_utf8_lossy(&described).contains("DAMAGED"), "and the broker knows");
    let member = ["consume", "t", "--group", "g", "--format", "%v"];
    let stopped = run(&broker, &member, b"");
    assert_eq!(stopped.status.code(), Some(1));
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(said.contains(&format!("records from offset {next} on")), "{said}");
    let skip = "group offsets set g t --partition 0 --to OFFSET";
    assert!(said.contains(skip), "what is said can be typed: {said}");
    let skip = skip.replace("OFFSET", &next.to_string());
    good(run(&broker, &skip.split(' ').collect::<Vec<_>>(), b""));
    assert!(good(run(&broker, &member, b"")) == expected.as_bytes(), "the group goes on there");
}
