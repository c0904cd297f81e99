//! Goal: what comes to the ports and is no request, and requests from those who never listen,
//! cost the broker next to nothing and nobody else anything.

use std::future::poll_fn;
use std::process::Command;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use log_proto::v1;
use log_proto::v1::ErrorCode;
use log_proto::v1::consume_response::Event;
use log_proto::v1::partition_start::Position;
use log_proto::v1::produce_request::Payload;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::rig::{Doors, defaulted, error_of, plain, request, starting_at};
use crate::support::{Broker, FREE, data_folder, serve};
use crate::traces::{anonymous_bytes, forget_peak, metric, peak_bytes};

/// Longer than anything here takes, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

const METHODS: [&str; 5] = [
    "Producer/Produce",
    "Producer/ProduceStream",
    "Consumer/Consume",
    "Consumer/CommitOffsets",
    "Admin/CreateTopic",
];

/// A broker with a topic, and what it takes in memory while it rests.
async fn resting(broker: &Broker) -> (Doors, usize) {
    let mut doors = Doors::of(broker).await;
    doors.create("t", &[]).await;
    doors.produce(request("t", plain("x"))).await.expect("a good request");
    forget_peak(broker.id());
    (doors, peak_bytes(broker.id()))
}

async fn raw_connection(broker: &Broker) -> h2::client::SendRequest<Bytes> {
    let connection = TcpStream::connect(&broker.grpc).await.expect("the port is open");
    let mut handshake = h2::client::Builder::new();
    // Far more than what any test here leaves unread, so that it is never this side that gives up.
    handshake.initial_connection_window_size(256 << 20);
    let (client, connection) = handshake.handshake(connection).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    client
}

type Call = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

/// Begins a call by hand.
async fn begin(client: &h2::client::SendRequest<Bytes>, method: &str) -> Call {
    let request = http::Request::post(format!("http://broker/cairn.v1.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(()).expect("a sound request");
    let mut client = client.clone().ready().await.expect("the connection is open");
    client.send_request(request, false).expect("the connection is open")
}

/// The front of a message, by which it declares its length.
fn declaring(bytes: u32) -> BytesMut {
    let mut front = BytesMut::new();
    front.put_u8(0);
    front.put_u32(bytes);
    front
}

/// The code of the status that a call ends with.
async fn status_of(response: h2::client::ResponseFuture) -> Code {
    let response = timeout(PATIENCE, response).await.expect("an answer").expect("no reset");
    let status = match response.headers().get("grpc-status") {
        Some(status) => status.clone(),
        None => {
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                data.expect("no reset");
            }
            let trailers = body.trailers().await.expect("no reset").expect("a status");
            trailers["grpc-status"].clone()
        }
    };
    Code::from_bytes(status.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_refused_by_the_length_that_it_declares() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, before) = resting(&broker).await;
    let client = raw_connection(&broker).await;
    for method in METHODS {
        for length in [1 << 30, u32::MAX] {
            let (response, mut body) = begin(&client, method).await;
            let mut message = declaring(length);
            message.put_bytes(0, 1000);
            body.send_data(message.freeze(), false).expect("the call is open");
            assert_eq!(status_of(response).await, Code::InvalidArgument, "{method} of {length}");
        }
    }
    doors.produce(request("t", plain("x"))).await.expect("a good request");
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 8 << 20, "memory has been {peak} bytes higher");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused_with_the_setting_to_raise() {
    let data = data_folder();
    let limit = 2 << 20;
    let broker =
        Broker::start_with(data.path(), &["--set", &format!("grpc.request.bytes.max={limit}")]);
    let (mut doors, before) = resting(&broker).await;
    let large = request("t", plain(vec![7; limit]));
    let status = doors.produce(large.clone()).await.expect_err("too large");
    let mut stream = doors.stream().await;
    stream.send(1, large);
    let on_stream = stream.answers.message().await.expect_err("too large");
    for status in [status, on_stream] {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let error = error_of(&status).expect("a detail");
        assert_eq!(error.code(), ErrorCode::MessageTooLarge);
        assert!(error.message.contains("grpc.request.bytes.max"), "{error:?}");
    }
    assert_eq!(doors.describe("t").await.log_end_offset, 1);
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 16 << 20, "memory has been {peak} bytes higher");
}

/// Bytes that look like a transport's, and those that do not.
fn noise() -> Vec<(&'static str, Vec<u8>)> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut random = Vec::new();
    let mut state = 0x5eed_u64;
    while random.len() < 100_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.extend((state >> 32).to_le_bytes());
    }
    let frame = |length: u32, kind: u8, flags: u8, stream: u32| {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame
    };
    let after_preface =
        |frames: Vec<Vec<u8>>| [PREFACE.to_vec(), frame(0, 4, 0, 0), frames.concat()].concat();
    let continuations = vec![[frame(1000, 9, 0, 1), vec![b'a'; 1000]].concat(); 2000];
    let settings = vec![[frame(6, 4, 0, 0), b"\0\x04\0\0\0\x01".to_vec()].concat(); 10_000];
    vec![
        ("random bytes", random.clone()),
        ("nothing", Vec::new()),
        ("zeros", vec![0; 100_000]),
        ("HTTP/1.1", b"POST /cairn.v1.Producer/Produce HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("an endless header", [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; 4 << 20]].concat()),
        (
            "a TLS hello",
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), vec![0x42; 504]].concat(),
        ),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface and noise", after_preface(vec![random])),
        ("a frame of 16 MiB", after_preface(vec![frame(0xff_ffff, 0, 0, 1), vec![0; 100_000]])),
        ("headers without end", after_preface([vec![frame(0, 1, 0, 1)], continuations].concat())),
        ("settings without end", after_preface(settings)),
    ]
}

/// Sends everything that is taken, and waits until the other side closes.
async fn shout(address: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).await.expect("the port is open");
    let (mut reading, mut writing) = connection.split();
    // It may hang up in the middle.
    let write = async {
        let _ = writing.write_all(bytes).await;
        let _ = writing.shutdown().await;
    };
    let mut answer = Vec::new();
    tokio::join!(write, async {
        let _ = reading.read_to_end(&mut answer).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_disturbs_nobody() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, before) = resting(&broker).await;
    for (what, bytes) in noise() {
        for address in [&broker.grpc, &broker.http] {
            let over = timeout(PATIENCE, shout(address, &bytes)).await;
            over.unwrap_or_else(|_| panic!("{what} at {address}: the connection stays open"));
        }
        doors.produce(request("t", plain("x"))).await.expect("a good request");
    }
    assert_eq!(metric(&broker, "cairn_partition_log_end_offset", "t"), 12);
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 16 << 20, "memory has been {peak} bytes higher");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_only_connections() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, before) = resting(&broker).await;
    let mut idle = Vec::new();
    for address in [&broker.grpc, &broker.http] {
        for _ in 0..250 {
            idle.push(TcpStream::connect(address).await.expect("the port is open"));
        }
    }
    for connection in idle.iter_mut().step_by(2) {
        connection.write_all(b"PRI * HT").await.expect("it is open");
    }
    let fresh = Doors::of(&broker).await.produce(request("t", plain("x"))).await;
    fresh.expect("a new connection is served");
    doors.produce(request("t", plain("x"))).await.expect("an old one is");
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 32 << 20, "500 connections take {peak} bytes");
    let descriptors = || metric(&broker, "cairn_process_open_descriptors", "");
    assert!(descriptors() >= 500, "they are open");
    drop(idle);
    let freed = async {
        while descriptors() >= 100 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("closed connections are given up");
}

/// Each connection takes a descriptor, and so does a log that is written. Most systems start a
/// process with few and let it have many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_connections_leaves_descriptors_for_the_logs() {
    let data = data_folder();
    let serve = serve(data.path(), FREE, FREE);
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=64:4096").arg(serve.get_program()).args(serve.get_args());
    let broker = Broker::launch(limited);
    let (mut doors, _) = resting(&broker).await;
    doors.create("untouched", &[]).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(&broker.grpc).await.expect("the port is open"));
    }
    doors.produce(request("untouched", plain("x"))).await.expect("a good request");
    doors.create("new", &[]).await;
    drop(crowd);
}

/// A topic of 32 records of half a megabyte.
async fn fill(doors: &mut Doors) {
    doors.create("large", &[("flush.messages", "1000")]).await;
    for number in 0..32 {
        let value = vec![number; 512 << 10];
        doors.produce(request("large", plain(value))).await.expect("a good request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_take_nothing_hold_nothing() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, _) = resting(&broker).await;
    fill(&mut doors).await;
    assert_eq!(doors.read("large").await.len(), 32);
    let before = anonymous_bytes(broker.id());
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let start = starting_at("large", 0, Position::Offset(0));
        let start = v1::Start { credit_bytes: 0, ..start };
        let mut reading = doors.consume(start).await.expect("a topic to read");
        assert!(matches!(reading.event().await, Event::Started(_)));
        waiting.push(reading);
    }
    // Another connection, since the windows of this one are theirs as well.
    assert_eq!(Doors::of(&broker).await.read("large").await.len(), 32);
    let held = anonymous_bytes(broker.id()).saturating_sub(before);
    assert!(held < 16 << 20, "50 consumers without credit hold {held} bytes");
    // Each gets what it gives credit for, and no more.
    for reading in &mut waiting {
        reading.give(1);
        match reading.event().await {
            Event::Records(records) => assert_eq!(records.records[0].offset, 0),
            other => panic!("{other:?}"),
        }
        let more = timeout(Duration::from_millis(1), reading.responses.message()).await;
        assert!(more.is_err(), "nothing more without credit: {more:?}");
    }
}

/// What a caller finds that wants to send more.
enum Room {
    Left,
    /// The broker has ended the call.
    Ended,
}

/// Sends small requests on a stream for as long as they are let through, and takes no answer.
async fn send_without_listening(client: &h2::client::SendRequest<Bytes>) -> Call {
    const MANY: usize = 50_000;
    let message = request("t", plain(vec![1; 1000])).encode_to_vec();
    let mut framed = declaring(u32::try_from(message.len()).expect("small"));
    framed.extend_from_slice(&message);
    let framed = framed.freeze();
    let (response, mut body) = begin(client, "Producer/ProduceStream").await;
    for _ in 0..MANY {
        body.reserve_capacity(framed.len());
        let room = async {
            while body.capacity() < framed.len() {
                if !matches!(poll_fn(|context| body.poll_capacity(context)).await, Some(Ok(_))) {
                    return Room::Ended;
                }
            }
            Room::Left
        };
        // Whoever is let wait for long, or sent away, is held to a bound, which is what this is for.
        match timeout(Duration::from_millis(500), room).await {
            Ok(Room::Left) if body.send_data(framed.clone(), false).is_ok() => {}
            _ => break,
        }
    }
    (response, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_never_listen_are_held_to_their_bounds() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, _) = resting(&broker).await;
    fill(&mut doors).await;
    assert_eq!(doors.read("large").await.len(), 32);
    let before = anonymous_bytes(broker.id());
    let mut deaf = Vec::new();
    for _ in 0..10 {
        // All the credit that there is: what is left as a bound is the transport's window.
        let start = starting_at("large", 0, Position::Offset(0));
        deaf.push(Doors::of(&broker).await.consume(start).await.expect("a topic to read"));
    }
    let client = raw_connection(&broker).await;
    let _call = send_without_listening(&client).await;
    let held = anonymous_bytes(broker.id()).saturating_sub(before);
    println!("{held} bytes held");
    assert!(held < 64 << 20, "they hold {held} bytes");
    let other = timeout(PATIENCE, doors.produce(request("t", plain("x")))).await;
    other.expect("others are not held up").expect("a good request");
    drop(deaf);
}

/// An empty record takes two bytes of a request, and fifty times as much once it is decoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_empty_records_are_not_many_bytes() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (mut doors, before) = resting(&broker).await;
    let status = doors.produce(many_empty_records()).await.expect_err("more than a batch holds");
    let error = error_of(&status).expect("a detail");
    assert_eq!(error.code(), ErrorCode::MessageTooLarge, "{error:?}");
    assert!(error.message.contains("send fewer records"), "{error:?}");
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 32 << 20, "4 MB of request take {peak} bytes");
}

fn many_empty_records() -> v1::ProduceRequest {
    let records = vec![v1::Record::default(); 2_000_000];
    request("t", Payload::Plain(v1::PlainBatch { records, ..defaulted() }))
}

/// The same behind an empty group of an unknown field, which every decoder skips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_empty_records_behind_a_group_are_not_either() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let (_, before) = resting(&broker).await;
    let message = [&b"\x7b\x7c"[..], &many_empty_records().encode_to_vec()].concat();
    let mut framed = declaring(u32::try_from(message.len()).expect("4 MB"));
    framed.extend_from_slice(&message);
    let (response, mut body) = begin(&raw_connection(&broker).await, "Producer/Produce").await;
    body.send_data(framed.freeze(), true).expect("the call is open");
    assert_eq!(status_of(response).await, Code::InvalidArgument);
    let peak = peak_bytes(broker.id()) - before;
    assert!(peak < 32 << 20, "4 MB of request take {peak} bytes");
}

/// Takes in the answers of a call as they come. Returns the trailers that end it.
async fn listen(response: h2::client::ResponseFuture) -> http::HeaderMap {
    let mut answers = response.await.expect("headers").into_body();
    while let Some(data) = answers.data().await {
        let data = data.expect("the call goes on");
        answers.flow_control().release_capacity(data.len()).expect("it was just taken");
    }
    answers.trailers().await.expect("no reset").expect("a status")
}

/// A producer that is faster than the broker is slowed down, however small its requests are: the
/// transport below has a bound of its own on small frames, and cuts off whoever passes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_small_requests_is_slowed_and_not_cut_off() {
    const REQUESTS: i64 = 60_000;
    let data = data_folder();
    let broker = Broker::start(data.path());
    let mut doors = Doors::of(&broker).await;
    doors.create("t", &[("flush.messages", "1000000")]).await;
    let client = raw_connection(&broker).await;
    let (response, mut body) = begin(&client, "Producer/ProduceStream").await;
    let answers = tokio::spawn(listen(response));
    let message = request("t", plain("small")).encode_to_vec();
    let mut framed = declaring(u32::try_from(message.len()).expect("small"));
    framed.extend_from_slice(&message);
    let framed = framed.freeze();
    for number in 0..REQUESTS {
        body.reserve_capacity(framed.len());
        while body.capacity() < framed.len() {
            let more = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            assert!(matches!(more, Some(Ok(_))), "cut off at request {number}: {more:?}");
        }
        body.send_data(framed.clone(), false).expect("the call is open");
    }
    body.send_data(Bytes::new(), true).expect("the call is open");
    assert_eq!(answers.await.expect("no assertion failed")["grpc-status"], "0");
    assert_eq!(doors.describe("t").await.log_end_offset, REQUESTS);
}

/// Halves of requests whose other halves never come are bounded, all of them together, and keep
/// nobody out who sends a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_of_requests_are_bounded_together() {
    const MEMORY: usize = 32 << 20;
    let data = data_folder();
    let memory = format!("request.memory.bytes.max={MEMORY}");
    let largest = format!("socket.request.max.bytes={MEMORY}");
    let broker = Broker::start_with(data.path(), &["--set", &memory, "--set", &largest]);
    let (mut doors, _) = resting(&broker).await;
    let before = anonymous_bytes(broker.id());
    let client = raw_connection(&broker).await;
    let mut calls = Vec::new();
    for method in ["Producer/ProduceStream", "Producer/Produce"] {
        for _ in 0..8 {
            let (response, mut body) = begin(&client, method).await;
            let whole = declaring(32 << 20).freeze();
            body.send_data(whole, false).expect("the call is open");
            let taken = send_while_taken(&mut body, 24 << 20).await;
            calls.push((response, body, taken));
        }
    }
    let sent: usize = calls.iter().map(|(.., taken)| taken).sum();
    assert!(sent > MEMORY, "more than there is memory for was sent: {sent} bytes");
    let held = anonymous_bytes(broker.id()).saturating_sub(before);
    // What the transport's windows let in comes on top of it: 4 MiB for each call.
    assert!(held < 2 * MEMORY + (64 << 20), "{held} bytes are held");
    doors.produce(request("t", plain(vec![1; 100_000]))).await.expect("a good request");
}

/// Sends so many bytes, or as many as are taken before nothing is for a while. Returns how many.
async fn send_while_taken(body: &mut h2::SendStream<Bytes>, bytes: usize) -> usize {
    const PIECE: usize = 256 << 10;
    for sent in (0..bytes).step_by(PIECE) {
        body.reserve_capacity(PIECE);
        let room = async {
            while body.capacity() < PIECE {
                let more = poll_fn(|context| body.poll_capacity(context)).await;
                more.expect("the call is open").expect("the call is open");
            }
        };
        if timeout(Duration::from_millis(300), room).await.is_err() {
            return sent;
        }
        body.send_data(vec![7; PIECE].into(), false).expect("the call is open");
    }
    bytes
}
