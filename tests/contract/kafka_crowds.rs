//! Goal: many clients at once, slow ones and deaf ones, cost the broker little and each other
//! nothing; and what they take from it, it gets along without until they give it back.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::api_versions::ApiVersionsRequest;
use log_proto::kafka::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use log_proto::record::Compression;

use crate::kafka_port::{batch, create, outcome, produce, still_serves};
use crate::support::kafka::{Client, frame};
use crate::support::{Broker, data_folder};
use crate::traces::anonymous_bytes;

/// Sets how many files a process may have open.
fn set_descriptors(process: u32, limit: &str) {
    let limit = format!("--nofile={limit}");
    let status = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
    assert!(status.expect("util-linux has it").success(), "{limit}");
}

#[test]
fn idle_clients_cost_little_and_keep_nobody_out() {
    const CLIENTS: usize = 2000;
    set_descriptors(std::process::id(), "8192:");
    let data = data_folder();
    let broker = Broker::start(data.path());
    still_serves(&broker);
    let before = anonymous_bytes(broker.id());
    let mut idle: Vec<Client> = (0..CLIENTS).map(|_| Client::of(&broker)).collect();
    for client in &mut idle {
        client.ask(0, &ApiVersionsRequest::default());
    }
    let grown = anonymous_bytes(broker.id()).saturating_sub(before);
    println!("{CLIENTS} idle clients take {grown} bytes");
    assert!(grown < CLIENTS * (64 << 10), "{CLIENTS} idle clients take {grown} bytes");
    still_serves(&broker);
    idle[CLIENTS / 2].ask(0, &ApiVersionsRequest::default());
}

/// A request that comes in pieces of one byte is a request, and nobody else waits for it.
#[test]
fn requests_that_come_byte_by_byte_hold_up_nobody() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut quick = Client::of(&broker);
    create(&mut quick, "t");
    let slow = frame(9, &produce("t", batch(1, Compression::None)));
    let mut crowd: Vec<Client> = (0..100).map(|_| Client::of(&broker)).collect();
    let before = anonymous_bytes(broker.id());
    for byte in slow.chunks(1) {
        crowd.iter_mut().for_each(|client| client.send(byte));
    }
    quick.ask(0, &ApiVersionsRequest::default());
    let grown = anonymous_bytes(broker.id()).saturating_sub(before);
    assert!(grown < 32 << 20, "100 slow clients take {grown} bytes");
    for client in &mut crowd {
        let stored = client.answer::<log_proto::kafka::messages::produce::ProduceRequest>(9);
        assert_eq!(outcome(&stored).0, 0);
    }
}

/// Asks until nothing more is taken. Returns how many bytes were.
fn ask_without_listening(client: &mut Client, request: &[u8]) -> usize {
    let stream: &mut TcpStream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let mut taken = 0;
    loop {
        match stream.write(request) {
            Ok(bytes) => taken += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Small questions with large answers, none of which are read.
#[test]
fn clients_that_never_read_hold_an_answer_each() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    still_serves(&broker);
    let resource = |name: &str| DescribeConfigsResource {
        resource_type: 4,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let asked = DescribeConfigsRequest {
        resources: vec![resource("1")],
        include_synonyms: true,
        include_documentation: true,
    };
    let request = frame(4, &asked).repeat(1000);
    let before = anonymous_bytes(broker.id());
    let mut deaf: Vec<Client> = (0..10).map(|_| Client::of(&broker)).collect();
    for client in &mut deaf {
        assert!(ask_without_listening(client, &request) > 1000);
    }
    let grown = anonymous_bytes(broker.id()).saturating_sub(before);
    println!("10 deaf clients take {grown} bytes");
    assert!(grown < 16 << 20, "10 deaf clients take {grown} bytes");
    still_serves(&broker);
}

/// Hundredths of a second that a process has had of the processors.
fn processor_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let field = |place: usize| fields[place].parse::<u64>().expect("a number");
    field(12) + field(13)
}

/// The last descriptor is gone, and clients stand at every door. Who is inside is served, as far
/// as no file has to be opened for it; the others wait; nothing is lost for good.
#[test]
fn a_broker_without_descriptors_waits_for_better_times() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut inside = Client::of(&broker);
    create(&mut inside, "busy");
    create(&mut inside, "idle");
    let records = || batch(1, Compression::None);
    assert_eq!(outcome(&inside.ask(9, &produce("busy", records()))), (0, 0));
    let open = fs::read_dir(format!("/proc/{}/fd", broker.id())).expect("it runs").count();
    set_descriptors(broker.id(), &format!("{open}:"));
    let doors = [&broker.kafka, &broker.grpc, &broker.http];
    let crowd = doors.map(|door| {
        (0..20).map(|_| TcpStream::connect(door).expect("the kernel takes it")).collect::<Vec<_>>()
    });
    assert_eq!(outcome(&inside.ask(9, &produce("busy", records()))), (0, 1));
    let refused = outcome(&inside.ask(9, &produce("idle", records())));
    assert_eq!(refused, (ErrorCode::KafkaStorageError.number(), -1));
    let before = processor_ticks(broker.id());
    std::thread::sleep(Duration::from_secs(1));
    let ticks = processor_ticks(broker.id()) - before;
    assert!(ticks < 50, "waiting took {ticks} hundredths of a second of the processors");

    set_descriptors(broker.id(), &format!("{}:", open + 200));
    drop(crowd);
    still_serves(&broker);
    assert_eq!(outcome(&inside.ask(9, &produce("idle", records()))), (0, 0));
    assert_eq!(outcome(&inside.ask(9, &produce("busy", records()))), (0, 2));
}

/// Clients get half of the descriptors, so that the logs can be written while a crowd is there.
#[test]
fn a_crowd_leaves_descriptors_for_the_logs() {
    let data = data_folder();
    let mut limited = Command::new("prlimit");
    let serve = crate::support::serve(data.path(), crate::support::FREE, crate::support::FREE);
    limited.arg("--nofile=64:64").arg(serve.get_program()).args(serve.get_args());
    let broker = Broker::launch(limited);
    let mut inside = Client::of(&broker);
    for topic in ["a", "b", "c"] {
        create(&mut inside, topic);
    }
    let crowd: Vec<Vec<TcpStream>> = [&broker.kafka, &broker.grpc]
        .map(|door| (0..50).map(|_| TcpStream::connect(door).expect("it listens")).collect())
        .into();
    let mut late = Client::of(&broker);
    assert!(late.is_closed(), "there is no place left");
    for topic in ["a", "b", "c"] {
        let stored = outcome(&inside.ask(9, &produce(topic, batch(1, Compression::None))));
        assert_eq!(stored, (0, 0), "{topic}");
    }
    let (status, _) = crate::traces::get(&broker.http, "/readyz");
    assert_eq!(status, 200);
    drop(crowd);
}
