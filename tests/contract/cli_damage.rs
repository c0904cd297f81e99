//! Goal: what one partition has lost costs a reader nothing of the others.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::cli_records::signalled;
use crate::rig::{at, ended, fed, good, run, sealed, typed};
use crate::support::{Broker, Signal, cairn, data_folder};

/// Offsets of each partition.
const RECORDS: u64 = 300;

const SHOWN: &[&str] = &["--format", "%p %o\n"];

/// Stops a broker whose topic has two partitions, of three batches each.
fn stopped_folder(data: &Path) {
    let broker = Broker::start(data);
    good(run(&broker, &["topic", "create", "t", "--partitions", "2"], b""));
    let lines = "a value that takes some room\n".repeat(RECORDS as usize / 3);
    for partition in ["0", "1", "0", "1", "0", "1"] {
        good(run(&broker, &["produce", "t", "--partition", partition], lines.as_bytes()));
    }
    assert!(broker.end(Signal::Term));
}

/// Flips a bit in the middle of partition 0. Returns the first offset that is lost.
fn damage(data: &Path) -> u64 {
    let file = data.join("topics/t-0/00000000000000000000.log");
    let mut bytes = fs::read(&file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&file, bytes).expect("room on the disk");
    let mut verify = cairn();
    verify.args(["segment", "verify", "--json"]).arg(&file);
    let found: Value = serde_json::from_slice(&fed(verify, b"").stdout).expect("JSON");
    let lost = found[0]["damages"][0]["lost"]["first_offset"].as_u64().expect("an offset");
    assert!((1..RECORDS).contains(&lost), "there are records before the damage: {found}");
    lost
}

/// Makes the second batch of partition 0 one that no broker sees anything wrong with, and no reader
/// can take apart. Returns its first offset.
fn damage_under_the_checksum(data: &Path) -> u64 {
    let file = data.join("topics/t-0/00000000000000000000.log");
    let mut bytes = fs::read(&file).expect("a file");
    let length_of = |bytes: &[u8]| {
        let length = bytes[at::LENGTH..][..4].try_into().expect("4 bytes");
        at::LENGTH + 4 + u32::from_be_bytes(length) as usize
    };
    let begin = length_of(&bytes);
    let end = begin + length_of(&bytes[begin..]);
    let mut batch = bytes[begin..end].to_vec();
    // The length of the first record: -1.
    batch[at::RECORDS] = 1;
    bytes[begin..end].copy_from_slice(&sealed(batch));
    fs::write(&file, bytes).expect("room on the disk");
    RECORDS / 3
}

/// So many records of partition 0 and all of partition 1, sorted.
fn expected(of_first: u64) -> Vec<String> {
    let first = (0..of_first).map(|offset| format!("0 {offset}"));
    let mut all: Vec<_> = first.chain((0..RECORDS).map(|offset| format!("1 {offset}"))).collect();
    all.sort_unstable();
    all
}

fn consumed(broker: &Broker, flags: &[&str]) -> Output {
    run(broker, &[&["consume", "t"], flags, SHOWN].concat(), b"")
}

fn assert_partly(output: &Output, of_first: u64) -> String {
    assert_shown(output, &expected(of_first))
}

/// It has shown these, told of partition 0 once, and failed at its end. Returns what it told.
fn assert_shown(output: &Output, records: &[String]) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut shown: Vec<_> = shown.lines().collect();
    shown.sort_unstable();
    assert_eq!(shown, records, "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("warning: t-0: ").count(), 1, "{said}");
    assert!(
        said.ends_with("error: 1 of 2 partitions of t could not be read to the end\n"),
        "{said}"
    );
    said
}

/// Follows until a record that is written meanwhile has come, and is then told to stop.
fn assert_goes_on(broker: &Broker, flags: &[&str], of_first: u64) {
    let mut command = typed(broker, &[&["consume", "t", "--follow"], flags, SHOWN].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = command.spawn().expect("the binary under test starts");
    let mut seen = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut told = BufReader::new(follower.stderr.take().expect("piped")).lines();
    let warning = told.next().expect("it tells").expect("text");
    assert!(warning.starts_with("warning: t-0: "), "told when it happens: {warning}");
    let there = expected(of_first).len();
    let shown = seen.by_ref().take(there).map(|line| line.expect("text"));
    assert_eq!(shown.count(), there);
    good(run(broker, &["produce", "t", "--partition", "1"], b"late\n"));
    assert_eq!(seen.next().expect("it goes on").expect("text"), format!("1 {RECORDS}"));
    signalled(&follower, "-INT");
    assert_eq!(ended(follower).status.code(), Some(1));
    let last = told.last().expect("it tells").expect("text");
    assert!(last.contains("1 of 2 partitions of t"), "{last}");
}

#[test]
fn a_damaged_partition_does_not_keep_the_others_from_being_read() {
    let data = data_folder();
    stopped_folder(data.path());
    let lost = damage(data.path());
    let broker = Broker::start(data.path());
    let said = assert_partly(&consumed(&broker, &[]), lost);
    assert!(said.contains("hint: `cairn consume t --partition 0 --from OFFSET`"), "{said}");
    assert_goes_on(&broker, &[], lost);
}

#[test]
fn a_time_that_lies_in_the_damage_is_found_in_the_other_partitions() {
    let data = data_folder();
    stopped_folder(data.path());
    let lost = damage(data.path());
    let broker = Broker::start(data.path());
    let last = (lost - 1).to_string();
    let last = ["consume", "t", "-p", "0", "--from", &last, "--max", "1", "--format", "%T"];
    let last = String::from_utf8(good(run(&broker, &last, b""))).expect("text");
    let time = (last.parse::<u64>().expect("a time") + 1).to_string();
    let others = good(consumed(&broker, &["-p", "1", "--from", &time]));
    let others = String::from_utf8(others).expect("text");
    let mut others: Vec<_> = others.lines().map(str::to_owned).collect();
    others.sort_unstable();
    assert!(!others.is_empty());
    let said = assert_shown(&consumed(&broker, &["--from", &time]), &others);
    assert!(!said.contains("t-0: t-0"), "named once: {said}");
}

#[test]
fn what_only_the_reader_finds_damaged_ends_that_partition_only() {
    let data = data_folder();
    stopped_folder(data.path());
    let lost = damage_under_the_checksum(data.path());
    let broker = Broker::start(data.path());
    for flags in [&[][..], &["--group", "g"]] {
        let said = assert_partly(&consumed(&broker, flags), lost);
        assert!(said.contains(&format!("at offset {lost} is damaged")), "{said}");
    }
    assert_shown(&consumed(&broker, &["--group", "g"]), &[]);
}

#[test]
fn a_group_goes_on_in_the_partitions_that_are_sound() {
    let data = data_folder();
    stopped_folder(data.path());
    let lost = damage(data.path());
    let broker = Broker::start(data.path());
    let said = assert_partly(&consumed(&broker, &["--group", "g"]), lost);
    assert!(said.contains("hint: `cairn group offsets set g t --partition 0"), "{said}");
    let committed = good(run(&broker, &["group", "offsets", "get", "g", "t", "--json"], b""));
    let committed: Value = serde_json::from_slice(&committed).expect("JSON");
    let offsets: Vec<_> = committed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["committed_offset"].as_u64())
        .collect();
    assert_eq!(offsets, [Some(lost), Some(RECORDS)], "nothing behind the damage: {committed}");
    assert_shown(&consumed(&broker, &["--group", "g"]), &[]);
    assert_goes_on(&broker, &["--group", "other"], lost);
}

#[test]
fn a_partition_out_of_service_does_not_keep_the_others_from_being_read() {
    let data = data_folder();
    stopped_folder(data.path());
    fs::remove_dir_all(data.path().join("topics/t-0")).expect("it is there");
    let broker = Broker::start(data.path());
    for flags in [&[][..], &["--from", "2h"], &["--group", "g"], &["--group", "h", "--from", "2h"]]
    {
        println!("{flags:?}");
        let said = assert_partly(&consumed(&broker, flags), 0);
        assert!(said.contains("out of service"), "{said}");
    }
    assert_goes_on(&broker, &["--group", "other"], 0);
    assert_eq!(consumed(&broker, &["--partition", "1"]).status.code(), Some(0));
}

#[test]
fn who_follows_alone_is_not_held_up_by_a_partition_out_of_service() {
    let data = data_folder();
    stopped_folder(data.path());
    fs::remove_dir_all(data.path().join("topics/t-0")).expect("it is there");
    let broker = Broker::start(data.path());
    assert_goes_on(&broker, &[], 0);
}
