//! Goal: a broker that cannot start says why, by name, before it has touched anything, and ends
//! with a code that a script can tell apart.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use log_proto::kafka::messages::metadata::MetadataRequest;
use serde_json::Value;

use crate::rig::{failed, fed, good, run};
use crate::support::kafka::{Client, PATIENCE};
use crate::support::{Broker, FREE, Signal, cairn, data_folder, serve};

/// What a start that is refused says.
fn refused(command: Command, code: i32) -> String {
    failed(fed(command, b""), code)
}

#[test]
fn a_second_broker_in_a_folder_is_refused() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let said = refused(serve(data.path(), FREE, FREE), 1);
    assert!(said.contains(&data.path().display().to_string()), "{said}");
    assert!(said.contains(&broker.id().to_string()) && said.contains("--data"), "{said}");
    good(run(&broker, &["topic", "create", "t"], b""));
    // A lock that outlived its holder would be worse than none.
    broker.end(Signal::Kill);
    drop(Broker::start(data.path()));
}

#[test]
fn a_taken_port_is_named_with_its_setting() {
    let taken = TcpListener::bind(FREE).expect("a free port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let data = data_folder();
    let folder = data.path().join("data");
    for (grpc, http, setting) in
        [(taken.as_str(), FREE, "grpc.listen"), (FREE, taken.as_str(), "http.listen")]
    {
        let said = refused(serve(&folder, grpc, http), 1);
        assert!(said.contains(&taken) && said.contains(setting), "{said}");
    }
    assert!(!folder.exists(), "a broker that cannot listen makes no folder");
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let data = data_folder();
    let file = data.path().join("file");
    fs::write(&file, "not a folder").expect("room on the disk");
    let foreign = data.path().join("foreign");
    fs::create_dir(&foreign).expect("room on the disk");
    fs::write(foreign.join("thesis.tex"), "years of work").expect("room on the disk");
    let cases = [
        (file.as_path(), "not a folder"),
        (&file.join("below"), "file/below"),
        (Path::new("/proc/cairn"), "/proc/cairn"),
        (&foreign, "thesis.tex"),
    ];
    for (folder, says) in cases {
        let said = refused(serve(folder, FREE, FREE), 1);
        assert!(said.contains(&folder.display().to_string()) && said.contains(says), "{said}");
    }
    let left: Vec<_> = fs::read_dir(&foreign).expect("a folder").flatten().collect();
    let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert!(names.iter().all(|name| name == "thesis.tex" || name == "lock"), "{names:?}");
}

/// A service named cairn gives every pod beside it variables that look like settings.
#[test]
fn what_kubernetes_says_of_a_service_is_no_setting() {
    let print = |variables: &[(&str, &str)]| {
        let mut command = cairn();
        command.args(["config", "print"]).envs(variables.iter().copied());
        fed(command, b"")
    };
    let (host, port) = (("CAIRN_SERVICE_HOST", "10.0.0.1"), ("CAIRN_PORT", "tcp://10.0.0.1:9094"));
    good(print(&[host, port, ("CAIRN_SERVICE_PORT", "9094"), ("CAIRN_PORT_9094_TCP", "x")]));
    assert!(failed(print(&[port]), 2).contains("CAIRN_PORT"), "elsewhere it is a mistake");
}

/// magic, version, length of the empty body, and the CRC-32 of all that; see docs/log-format.md.
fn format_of_version(version: u32, crc: u32) -> Vec<u8> {
    [&b"CFMT"[..], &version.to_le_bytes(), &[0; 8], &crc.to_le_bytes()].concat()
}

#[test]
fn a_folder_of_a_newer_or_damaged_format_is_left_alone() {
    let data = data_folder();
    Broker::start(data.path()).end(Signal::Term);
    let format = data.path().join("format");
    let known = fs::read(&format).expect("the format is there");
    assert_eq!(known, format_of_version(1, 0xa7d9_30f0));
    fs::write(&format, format_of_version(2, 0xd047_e200)).expect("room on the disk");
    let said = refused(serve(data.path(), FREE, FREE), 1);
    let name = format.display().to_string();
    assert!(said.contains(&name) && said.contains("version 2") && said.contains('1'), "{said}");
    fs::write(&format, &known[..10]).expect("room on the disk");
    let said = refused(serve(data.path(), FREE, FREE), 1);
    assert!(said.contains(&name) && said.contains("damaged"), "{said}");
    fs::write(&format, known).expect("room on the disk");
    drop(Broker::start(data.path()));
}

fn print(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = cairn();
    command.args(["config", "print"]).args(arguments).envs(variables.iter().copied());
    command
}

#[test]
fn every_setting_says_where_it_comes_from() {
    let data = data_folder();
    let file = data.path().join("cairn.toml");
    let text = "num.partitions = 2\n[log]\nretention.ms = -1\nsegment.bytes = 2097152\n";
    fs::write(&file, text).expect("room on the disk");
    let file = file.display().to_string();
    let arguments = ["--config", &file, "--data", "/flag", "--set", "num.partitions=4", "--json"];
    let variables = [("CAIRN_NUM_PARTITIONS", "3"), ("CAIRN_LOG_RETENTION_MS", "5")];
    let output = good(fed(print(&arguments, &variables), b""));
    let settings: Value = serde_json::from_slice(&output).expect("JSON");
    let settings = settings.as_array().expect("a list");
    assert!(settings.len() < 30, "fewer than 30 settings, not {}", settings.len());
    for (name, value, source) in [
        ("num.partitions", "4", "flag".to_owned()),
        ("data.dir", "/flag", "flag".to_owned()),
        ("log.retention.ms", "5", "env CAIRN_LOG_RETENTION_MS".to_owned()),
        ("log.segment.bytes", "2097152", format!("file {file}")),
        ("grpc.listen", "127.0.0.1:9094", "default".to_owned()),
    ] {
        let setting = settings.iter().find(|setting| setting["name"] == name).expect(name);
        assert_eq!((&setting["value"], &setting["source"]), (&value.into(), &source.into()));
        assert!(setting["documentation"].as_str().is_some_and(|text| text.len() > 10), "{name}");
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_refused_by_name() {
    let data = data_folder();
    let file = data.path().join("cairn.toml");
    let file_name = file.display().to_string();
    for (text, says) in [
        ("log.segment.byte = 5", "did you mean log.segment.bytes"),
        ("num.partitions = \"many\"", "num.partitions"),
        ("num.partitions = ", "cairn.toml"),
    ] {
        fs::write(&file, text).expect("room on the disk");
        let said = refused(print(&["--config", &file_name], &[]), 2);
        assert!(said.contains(says) && said.contains(&file_name), "{text}: {said}");
    }
    for (flag, says) in [
        ("num.partition=5", "did you mean num.partitions"),
        ("num.partitions=0", "must be a number from 1"),
        ("grpc.listen=nine", "such as 127.0.0.1:9094"),
        ("no equals sign", "name=value"),
        ("request.memory.bytes.max=2048", "grpc.request.bytes.max"),
        ("socket.request.max.bytes=500000000", "request.memory.bytes.max"),
    ] {
        let said = refused(print(&["--set", flag], &[]), 2);
        assert!(said.contains(says), "{flag}: {said}");
    }
    let said = refused(print(&[], &[("CAIRN_DATADIR", "x")]), 2);
    assert!(said.contains("did you mean CAIRN_DATA_DIR"), "{said}");
    let mut command = print(&[], &[]);
    command.env("CAIRN_DATA_DIR", OsStr::from_bytes(b"/data/\xff"));
    assert!(refused(command, 2).contains("CAIRN_DATA_DIR"), "the data would lie elsewhere");
    let said = refused(print(&["--config", "/nowhere/cairn.toml"], &[]), 2);
    assert!(said.contains("/nowhere/cairn.toml"), "{said}");
    fs::write(&file, "kafka.advertised.listeners = \"OUT://out.example:9093\"").expect("room");
    let said = refused(print(&["--config", &file_name, "--kafka", "IN://127.0.0.1:0"], &[]), 2);
    assert!(said.contains("no listener is named OUT") && said.contains(&file_name), "{said}");
    // The same settings, the same refusal, when it is to serve.
    let mut command = serve(data.path(), FREE, FREE);
    command.args(["--set", "num.partition=5"]);
    assert!(refused(command, 2).contains("did you mean num.partitions"));
}

/// By which host and port a client that asks here is told to find the broker.
fn told_at(address: &str) -> String {
    let mut client = Client::at(address, PATIENCE);
    let brokers = client.ask(12, &MetadataRequest::default()).brokers;
    assert_eq!(brokers.len(), 1, "{brokers:?}");
    format!("{}:{}", brokers[0].host, brokers[0].port)
}

#[test]
fn each_listener_of_a_file_tells_its_clients_how_they_find_the_broker() {
    let data = data_folder();
    let file = data.path().join("cairn.toml");
    let text = format!(
        r#"
        data.dir = {:?}
        grpc.listen = "{FREE}"
        http.listen = "{FREE}"
        [kafka]
        advertised.listeners = "OUT://out.example:19093,IN://in.example:19092"
        listeners = "IN://{FREE},OUT://{FREE},NEAR://{FREE}"
        "#,
        data.path().join("data")
    );
    fs::write(&file, text).expect("room on the disk");
    let mut command = cairn();
    command.arg("serve").arg("--config").arg(&file);
    let broker = Broker::launch(command);
    let told: Vec<_> = broker.kafka_listeners.iter().map(|address| told_at(address)).collect();
    let near = broker.kafka_listeners[2].as_str();
    assert_eq!(told, ["in.example:19092", "out.example:19093", near]);
}
