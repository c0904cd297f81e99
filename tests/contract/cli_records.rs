//! Goal: records go through the command line as the bytes that they are, the program ends with
//! the code that a script expects, and says what to do where it cannot go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use log_proto::v1;
use serde_json::Value;

use crate::rig::{Doors, ended, failed, fed, good, run, typed, wait_until};
use crate::support::{Broker, cairn, data_folder};
use crate::traces::metric;

/// Values longer than any buffer on their way, each different.
fn long_lines() -> Vec<Vec<u8>> {
    (0..3u8).map(|number| vec![b'a' + number; 900_000 + usize::from(number)]).collect()
}

/// What is typed behind `cairn produce t`, what is piped in, and which values that stands for.
type Input = (Vec<&'static str>, Vec<u8>, Vec<Vec<u8>>);

fn inputs() -> Vec<Input> {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let values = |values: &[&[u8]]| values.iter().map(|value| value.to_vec()).collect::<Vec<_>>();
    let framed = |values: &[&[u8]]| {
        let mut input = Vec::new();
        for value in values {
            input.extend((value.len() as u32).to_be_bytes());
            input.extend_from_slice(value);
        }
        input
    };
    let mut inputs = vec![
        (vec![], b"unix\n".to_vec(), values(&[b"unix"])),
        (vec![], b"dos\r\n\r\nmac\r".to_vec(), values(&[b"dos\r", b"\r", b"mac\r"])),
        (vec![], b"\n\n\nlast".to_vec(), values(&[b"", b"", b"", b"last"])),
        (
            vec![],
            b"\xff\xfe\0\x80\nZ\xcc\x88\n".to_vec(),
            values(&[b"\xff\xfe\0\x80", b"Z\xcc\x88"]),
        ),
        (vec![], Vec::new(), values(&[])),
        (vec![], long_lines().join(&b'\n'), long_lines()),
        (vec!["--null"], b"two\nlines\0\0tab\t".to_vec(), values(&[b"two\nlines", b"", b"tab\t"])),
        (
            vec!["--length-delimited"],
            framed(&[&all_bytes, b"", b"\n\0"]),
            values(&[&all_bytes, b"", b"\n\0"]),
        ),
    ];
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let lines: Vec<Vec<u8>> = (0..500).map(|n| format!("{n}\r").into_bytes()).collect();
        inputs.push((vec!["--compression", codec], lines.join(&b'\n'), lines));
    }
    inputs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_value_comes_back() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    let mut expected = Vec::new();
    for (flags, input, values) in inputs() {
        let produce = [vec!["produce", "t", "--json"], flags].concat();
        let report = good(run(&broker, &produce, &input));
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(report["records"], values.len(), "{produce:?}: {report}");
        expected.extend(values);
    }
    let stored: Vec<_> = doors.read("t").await.into_iter().map(|record| record.value).collect();
    let stored: Vec<_> =
        stored.into_iter().map(|value| value.expect("not null").to_vec()).collect();
    assert!(stored == expected, "what is stored is what was read");
    let shown = good(run(&broker, &["consume", "t", "--format", "%v"], b""));
    assert!(shown == expected.concat(), "what is shown is what is stored");
    let lines = good(run(&broker, &["consume", "t"], b""));
    assert!(lines == [expected.join(&b'\n'), b"\n".to_vec()].concat(), "a line each");
}

fn key_and_value(record: v1::Record) -> (Option<Vec<u8>>, Vec<u8>) {
    (record.key.map(Into::into), record.value.expect("not null").into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_keys_and_headers_are_kept() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[]).await;
    let (first, second) = (data.path().join("first.txt"), data.path().join("second.txt"));
    std::fs::write(&first, "a\nb").expect("room on the disk");
    std::fs::write(&second, "c\n").expect("room on the disk");
    let (first, second) = (first.display().to_string(), second.display().to_string());
    good(run(&broker, &["produce", "t", "--file", &first, "--file", &second, "--key", "k"], b""));
    let delimited = ["produce", "t", "--key-delimiter", "::"];
    good(run(&broker, &delimited, b"k1::v1::x\n::no key\nk\xff::\n"));
    let headers = ["produce", "t", "-H", "host=a=b", "-H", "host=", "-H", "x=1"];
    good(run(&broker, &headers, b"with headers"));
    let records = doors.read("t").await;
    let headers: Vec<_> = records[6].headers.iter().map(|h| (&h.key[..], &h.value)).collect();
    let value = |text: &'static str| Some(text.into());
    let (a_b, empty, one) = (value("a=b"), value(""), value("1"));
    assert_eq!(headers, [(&b"host"[..], &a_b), (b"host", &empty), (b"x", &one)]);
    let found: Vec<_> = records.into_iter().map(key_and_value).collect();
    let expected: [(Option<&[u8]>, &[u8]); 7] = [
        (Some(b"k"), b"a"),
        (Some(b"k"), b"b"),
        (Some(b"k"), b"c"),
        (Some(b"k1"), b"v1::x"),
        (Some(b""), b"no key"),
        (Some(b"k\xff"), b""),
        (None, b"with headers"),
    ];
    let expected = expected.map(|(key, value)| (key.map(<[u8]>::to_vec), value.to_vec()));
    assert_eq!(found, expected);
    let said = failed(run(&broker, &delimited, b"k::v\nno delimiter\n"), 1);
    assert!(said.contains("record 2") && said.contains("key delimiter"), "{said}");
}

fn consume(broker: &Broker, flags: &[&str]) -> String {
    let output = run(broker, &[&["consume", "t"], flags].concat(), b"");
    String::from_utf8(good(output)).expect("this topic holds text")
}

#[test]
fn what_is_shown_is_what_was_asked_for() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t", "--partitions", "2"], b""));
    assert_eq!(consume(&broker, &[]), "", "an empty topic has an end, too");
    good(run(&broker, &["produce", "t", "--partition", "1", "--key", "k"], b"0\n1\n2\n3\n4\n"));
    good(run(&broker, &["produce", "t", "--partition", "0"], b"\xff\n"));
    let one = ["--partition", "1"];
    let of_one = |flags: &[&str]| consume(&broker, &[&one, flags].concat());
    assert_eq!(of_one(&["--from", "3"]), "3\n4\n");
    assert_eq!(of_one(&["--from", "1", "--until", "3"]), "1\n2\n");
    assert_eq!(of_one(&["--from", "1", "--max", "1"]), "1\n");
    assert_eq!(of_one(&["--from", "latest"]), "");
    assert_eq!(of_one(&["--from", "2h"]), "0\n1\n2\n3\n4\n");
    assert_eq!(of_one(&["--until", "2h"]), "");
    assert_eq!(of_one(&["--from", "2100-01-01"]), "");
    assert_eq!(
        of_one(&["--format", "%t/%p/%o %k=%v;"]),
        "t/1/0 k=0;t/1/1 k=1;t/1/2 k=2;t/1/3 k=3;t/1/4 k=4;"
    );
    let shown = consume(&broker, &["--json", "--max", "6"]);
    let shown: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON, an object a line"))
        .collect();
    assert_eq!(shown.len(), 6);
    let binary = shown.iter().find(|record| record["partition"] == 0).expect("of partition 0");
    assert_eq!((&binary["value_base64"], &binary["key"]), (&"/w==".into(), &Value::Null));
    let said = failed(run(&broker, &["consume", "t", "--from", "4"], b""), 1);
    assert!(said.contains("t-0") && said.contains("0 to 1"), "it says which and why: {said}");
    let said = failed(run(&broker, &["consume", "t", "--partition", "2"], b""), 1);
    assert!(said.contains("2 partitions"), "{said}");
}

#[test]
fn a_group_goes_on_where_it_has_written() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    good(run(&broker, &["produce", "t"], b"0\n1\n2\n3\n4\n"));
    let group = |flags: &[&str]| consume(&broker, &[&["--group", "g"], flags].concat());
    assert_eq!(group(&["--max", "1"]), "0\n");
    assert_eq!(group(&["--max", "2"]), "1\n2\n");
    assert_eq!(group(&["--until", "4"]), "3\n");
    assert_eq!(group(&[]), "4\n");
    assert_eq!(group(&[]), "");
    good(run(&broker, &["produce", "t"], b"5\n"));
    assert_eq!(group(&["--from", "latest"]), "5\n", "--from is for groups without a commit");
    assert_eq!(consume(&broker, &["--group", "other", "--from", "latest"]), "");
    // What could not be written comes again.
    let mut command = typed(&broker, &["consume", "t", "--group", "third"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it runs");
    let said = failed(output, 1);
    assert!(said.contains("cannot write the output"), "{said}");
    assert_eq!(consume(&broker, &["--group", "third", "--max", "1"]), "0\n");
}

/// A group that was away for longer than records are kept is told what it missed, and goes on.
#[test]
fn a_group_that_retention_has_overtaken_goes_on() {
    let data = data_folder();
    let broker = Broker::start_with(data.path(), &["--set", "log.retention.check.interval.ms=100"]);
    let create = ["topic", "create", "t", "--config", "segment.bytes=1048576"];
    good(run(&broker, &create, b""));
    good(run(&broker, &["produce", "t"], b"0\n1\n"));
    assert_eq!(consume(&broker, &["--group", "g", "--max", "1"]), "0\n");
    let lines: String = (0..30_000).map(|number| format!("{number:0100}\n")).collect();
    good(run(&broker, &["produce", "t"], lines.as_bytes()));
    good(run(&broker, &["topic", "config", "set", "t", "retention.bytes=1"], b""));
    let log_start = || metric(&broker, "cairn_partition_log_start_offset", "t");
    wait_until("old records are deleted", || log_start() > 0);
    let first =
        run(&broker, &["consume", "t", "--group", "g", "--max", "1", "--format", "%o"], b"");
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("missed offsets 1 to"), "{said}");
    let offset: u64 = String::from_utf8_lossy(&good(first)).parse().expect("an offset");
    assert!(offset > 1);
    let next = consume(&broker, &["--group", "g", "--max", "1", "--format", "%o"]);
    assert_eq!(next, (offset + 1).to_string());
}

fn started(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary under test starts");
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    (child, lines)
}

#[test]
fn who_follows_sees_each_record_when_it_comes() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    let (follower, mut seen) =
        started(typed(&broker, &["consume", "t", "--follow", "--group", "g"]));
    let (mut producer, _) = started(typed(&broker, &["produce", "t"]));
    let mut typing = producer.stdin.take().expect("piped");
    for word in ["one\n", "two\n", "three\n"] {
        // Neither side may wait for more than a line.
        typing.write_all(word.as_bytes()).expect("it reads");
        let mut line = String::new();
        seen.read_line(&mut line).expect("it writes");
        assert_eq!(line, word);
    }
    drop(typing);
    assert!(ended(producer).status.success());
    signalled(&follower, "-INT");
    let output = ended(follower);
    assert!(output.status.success(), "Ctrl-C is how one stops to follow: {}", output.status);
    assert_eq!(consume(&broker, &["--group", "g"]), "", "what was seen was committed");
}

/// Who feeds it for days must not learn at the end that something was refused at the beginning.
#[test]
fn a_refusal_is_told_when_it_happens() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    let (mut producer, _) = started(typed(&broker, &["produce", "t"]));
    let mut typing = producer.stdin.take().expect("piped");
    let mut told = BufReader::new(producer.stderr.take().expect("piped"));
    typing.write_all(&[vec![b'x'; 1_100_000], b"\n".to_vec()].concat()).expect("it reads");
    let mut line = String::new();
    told.read_line(&mut line).expect("it writes");
    assert!(line.contains("1 record not acknowledged") && line.contains("1048588"), "{line}");
    typing.write_all(b"small\n").expect("it goes on");
    drop(typing);
    assert_eq!(ended(producer).status.code(), Some(1));
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("error: 1 of 2 records not acknowledged"), "{rest}");
    assert_eq!(consume(&broker, &[]), "small\n");
}

pub(crate) fn signalled(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill(1) exists").success());
}

#[test]
fn a_producer_that_is_stopped_sends_what_it_has_read() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    // With so long a linger nothing is sent before the signal.
    let patient = ["produce", "t", "--linger", "1h"];
    for (signal, line) in [("-INT", "typed\n"), ("-TERM", "piped\n")] {
        let (mut producer, _) = started(typed(&broker, &patient));
        let mut typing = producer.stdin.take().expect("piped");
        typing.write_all(line.as_bytes()).expect("it reads");
        // Long enough to be read; nothing outside shows when it was.
        std::thread::sleep(Duration::from_secs(1));
        signalled(&producer, signal);
        let said = failed(ended(producer), 1);
        assert!(said.contains("1 record, 5 B") && said.contains("by a signal"), "{said}");
        drop(typing);
    }
    assert_eq!(consume(&broker, &[]), "typed\npiped\n");
}

#[test]
fn a_consumer_that_is_stopped_commits_unless_it_is_stuck() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    good(run(&broker, &["produce", "t"], b"first\n"));
    let follow = ["consume", "t", "--follow", "--group", "g"];
    let (follower, mut seen) = started(typed(&broker, &follow));
    seen.read_line(&mut String::new()).expect("it writes");
    signalled(&follower, "-TERM");
    assert!(ended(follower).status.success(), "an init system's way to stop is a good one");
    assert_eq!(consume(&broker, &["--group", "g"]), "", "what was seen was committed");
    // More than a pipe takes, and nobody reads.
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    good(run(&broker, &["produce", "t"], lines.as_bytes()));
    let (mut stuck, mut seen) = started(typed(&broker, &["consume", "t", "--group", "g"]));
    seen.read_exact(&mut [0; 10]).expect("more than ten bytes");
    std::thread::sleep(Duration::from_millis(500));
    signalled(&stuck, "-INT");
    // Longer than two signals can be one.
    std::thread::sleep(Duration::from_secs(1));
    assert!(stuck.try_wait().expect("a child").is_none(), "it may still be read");
    signalled(&stuck, "-INT");
    assert!(failed(ended(stuck), 1).contains("second signal"));
    assert_eq!(consume(&broker, &["--group", "g", "--max", "1"]), "0\n", "nothing was committed");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    good(run(&broker, &["produce", "t"], lines.as_bytes()));
    for flags in [&["consume", "t"][..], &["consume", "t", "--json"], &["consume", "t", "--follow"]]
    {
        let (child, mut seen) = started(typed(&broker, flags));
        seen.read_exact(&mut [0; 10]).expect("more than ten bytes");
        drop(seen);
        let output = ended(child);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{flags:?}: {}: {said}", output.status);
    }
}

#[test]
fn what_cannot_be_done_is_said_with_a_way_out() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    good(run(&broker, &["topic", "create", "t"], b""));
    let nobody = "127.0.0.1:1";
    let cases: &[(&[&str], &[u8], i32, &str)] = &[
        (&["consume", "ghost"], b"", 1, "cairn topic list"),
        (&["produce", "ghost"], b"x\n", 1, "cairn topic create"),
        (&["topic", "describe", "ghost"], b"", 1, "cairn topic list"),
        (&["topic", "delete", "ghost"], b"", 1, "ghost"),
        (&["topic", "create", "t"], b"", 1, "already exists"),
        (&["topic", "create", "../x"], b"", 1, "a-z A-Z 0-9"),
        (&["topic", "create", "u", "--partitions", "0"], b"", 2, "not in 1.."),
        (&["topic", "delete", "ghost", "spirit"], b"", 1, "error: unknown topic \"ghost\""),
        (&["topic", "delete", "ghost", "spirit"], b"", 1, "error: unknown topic \"spirit\""),
        (&["topic", "create", "u", "--config", "retention=1"], b"", 1, "retention.ms"),
        (&["topic", "config", "set", "t", "retention.ms=-2"], b"", 1, "-1 (no bound)"),
        (&["topic", "config", "get", "t", "retention"], b"", 1, "cairn topic config get"),
        (&["topic", "list", "--broker", nobody], b"", 1, "cairn serve"),
        (&["produce", "t", "--broker", nobody], b"x\n", 1, "--broker"),
        (&["consume", "t", "--broker", nobody], b"", 1, "--broker"),
        (&["topic", "list", "--broker", "nowhere"], b"", 2, "host:port"),
        (&["topic", "list", "--broker", &broker.http], b"", 1, "is this the gRPC port"),
        (&["topic", "list", "--broker", &broker.kafka], b"", 1, "wants the gRPC port"),
        (&["produce", "t", "--partition", "1"], b"x\n", 1, "there is no 1"),
        (&["produce", "t", "--file", "/nowhere/x"], b"", 1, "/nowhere/x"),
        (&["produce", "t", "--length-delimited"], b"\0\0\0\x05ab", 1, "ends inside a record"),
        (&["produce", "t", "--key-delimiter", ""], b"x\n", 2, "key delimiter is empty"),
        (&["produce", "t", "--null", "--length-delimited"], b"", 2, "cannot be used with"),
        (&["consume", "t", "--from", "yesterday"], b"", 2, "2h"),
        (&["consume", "t", "--from", "-1"], b"", 2, "2h"),
        (&["consume", "t", "--format", "%x"], b"", 2, "%k %v"),
        (&["consume", "t", "--json", "--format", "%v"], b"", 2, "cannot be used with"),
        (&["segment", "verify", "/nowhere"], b"", 1, "/nowhere: No such file"),
        (&["frobnicate"], b"", 2, "Usage"),
    ];
    for (arguments, input, code, says) in cases {
        println!("{arguments:?}");
        let said = failed(run(&broker, arguments, input), *code);
        assert!(said.contains("error: "), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?} does not say {says:?}: {said}");
    }
    // Part of the input was too much; the rest went through, and the count says so.
    let large = [b"small\n".to_vec(), vec![b'x'; 1_100_000], b"\nsmall\n".to_vec()].concat();
    let said = failed(run(&broker, &["produce", "t"], &large), 1);
    assert!(said.contains("1 of 3") && said.contains("1048588"), "{said}");
    assert!(said.contains("2 records, 10 B") && said.contains("max.message.bytes="), "{said}");
    assert_eq!(consume(&broker, &[]), "small\nsmall\n");
    let mut help = cairn();
    help.args(["produce", "--help"]);
    assert!(String::from_utf8_lossy(&good(fed(help, b""))).contains("Examples:"));
}
