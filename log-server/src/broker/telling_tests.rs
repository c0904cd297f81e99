//! Goal: what goes wrong with a log while it runs is told to whoever looks after the broker, in each
//! place where they look: `/readyz`, the metrics and the broker's log, where it stands once.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Once, OnceLock};

use log_core::Isolation;
use log_core::io::faulty::Operation;
use log_proto::types::Offset;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::neighbours_tests::*;
use super::*;
use crate::admission::Admission;
use crate::housekeeping::Heartbeat;
use crate::http::{self, HttpState};

/// What this process has logged of partitions; tests find what is theirs by their folders.
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLogged;

impl Write for ToLogged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From here on. Logs are synced by threads of their own, so the whole process is listened to.
fn listen_to_the_log() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter("log_server::partition=info")
            .with_ansi(false)
            .with_writer(|| ToLogged)
            .init();
    });
}

/// The lines that name something below this folder.
fn logged(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let logged = String::from_utf8(LOGGED.lock().clone()).unwrap();
    logged.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// What the HTTP door answers.
async fn get(broker: &Broker, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state =
        HttpState { broker: Arc::new(OnceLock::from(broker.clone())), heartbeat: Heartbeat::new() };
    let door = tokio::spawn(http::serve(state, listener, Admission::of(1)));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: cairn\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    door.abort();
    answer
}

/// A failed log is named, with the file and what the disk said, in all three places.
async fn assert_told(broker: &Broker, data: &Path, (operation, said): (&str, &str)) {
    let ready = get(broker, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let reason = broker.partition(SICK.0, SICK.1).unwrap().1.failure().unwrap();
    let folder = data.join("topics/sick-1");
    let first_words = format!("{operation} {}/00000", folder.display());
    let is_told = |text: &str| text.contains(&first_words) && text.contains(said);
    assert!(is_told(&reason) && reason.contains(".log: "), "{reason}");
    assert!(ready.contains(&format!("sick-1: {reason}")), "{ready}");

    let metrics = get(broker, "/metrics").await;
    let labelled = r#"cairn_partition_failed{topic="sick",partition="1"} 1"#;
    for sample in ["cairn_failed_partitions 1", labelled] {
        assert!(metrics.lines().any(|line| line == sample), "no {sample}: {metrics}");
    }
    assert_eq!(metrics.matches("cairn_partition_failed{").count(), 1, "only what has failed");

    let lines = logged(data);
    let [line] = &lines[..] else { panic!("one line, not {lines:#?}") };
    assert!(line.contains("ERROR") && line.contains("topic=sick partition=1"), "{line}");
    assert!(is_told(line), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_is_told_in_every_place_and_once() {
    listen_to_the_log();
    let troubles = [(Operation::Sync, "sync"), (Operation::Write, "write")];
    for (operation, verb) in troubles {
        let data = tempfile::tempdir().unwrap();
        let spot = BadSpot::below(data.path());
        let (broker, mut acknowledged) = filled(data.path(), &spot).await;
        assert_eq!(logged(data.path()), [""; 0]);
        assert!(get(&broker, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(!get(&broker, "/metrics").await.contains("cairn_partition_failed{"));
        spot.bad.fail(operation, ErrorKind::Other);
        for _ in 0..3 {
            append(&broker, SICK, "x").await.unwrap_err();
        }
        let said = io::Error::from(ErrorKind::Other).to_string();
        assert_told(&broker, data.path(), (verb, &said)).await;
        assert_well(&broker, &mut acknowledged).await;
        let stopping = broker.clone();
        tokio::task::spawn_blocking(move || stopping.finish_stop()).await.unwrap();
        assert_told(&broker, data.path(), (verb, &said)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_has_not_failed() {
    listen_to_the_log();
    let data = tempfile::tempdir().unwrap();
    let spot = BadSpot::below(data.path());
    let (broker, _) = filled(data.path(), &spot).await;
    let (_, deleted) = broker.partition(SICK.0, SICK.1).unwrap();
    broker.delete_topic(&Principal::Anonymous, "sick").await.unwrap();
    assert!(deleted.failure().is_some(), "it takes no writes");
    let logged = String::from_utf8(LOGGED.lock().clone()).unwrap();
    assert!(!logged.contains("the log was deleted"), "{logged}");
}

/// However many batches a full disk refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_once() {
    listen_to_the_log();
    let data = tempfile::tempdir().unwrap();
    let spot = BadSpot::below(data.path());
    let (broker, mut acknowledged) = filled(data.path(), &spot).await;
    let told = async |broker| get(broker, "/metrics").await.contains("\ncairn_disk_full 1\n");
    assert!(!told(&broker).await);
    spot.bad.fail(Operation::Write, ErrorKind::StorageFull);
    for _ in 0..5 {
        append(&broker, SICK, "x").await.unwrap_err();
        assert_well(&broker, &mut acknowledged).await;
        broker.look_at_room();
    }
    let lines = logged(data.path());
    let [line] = &lines[..] else { panic!("one line, not {lines:#?}") };
    assert!(line.contains("WARN") && line.contains("the disk is full"), "{line}");
    assert!(told(&broker).await);
    assert!(get(&broker, "/readyz").await.starts_with("HTTP/1.1 200"), "it is a mode");
    spot.bad.heal();
    append(&broker, SICK, "again").await.unwrap();
    for _ in 0..10 {
        broker.look_at_room();
    }
    assert!(!told(&broker).await);
}

/// Damage that nobody but a reader can notice is seen from then on, however often it is read.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_read_meets_stays_in_sight() {
    listen_to_the_log();
    let data = tempfile::tempdir().unwrap();
    let spot = BadSpot::below(data.path());
    let (broker, mut acknowledged) = filled(data.path(), &spot).await;
    let partition = broker.partition(SICK.0, SICK.1).unwrap().1;
    assert_eq!(values(&broker, SICK).unwrap(), acknowledged[&SICK]);
    assert_eq!(partition.findings(), [""; 0]);
    overwrite(&spot.folder.join(FIRST), 0, 61);
    let mut refused = String::new();
    for _ in 0..3 {
        refused = values(&broker, SICK).unwrap_err();
        partition.read_resident(Offset::ZERO, 1, Isolation::HighWatermark).unwrap_err();
    }
    let findings = partition.findings();
    let [finding] = &findings[..] else { panic!("one finding, not {findings:#?}") };
    assert!(refused.contains(finding), "{refused} is not {finding}");
    assert!(finding.contains(FIRST) && finding.contains("byte 0"), "{finding}");
    let metrics = get(&broker, "/metrics").await;
    assert!(metrics.contains("\ncairn_damaged_partitions 1\n"), "{metrics}");
    let lines = logged(data.path());
    let [line] = &lines[..] else { panic!("one line, not {lines:#?}") };
    assert!(line.contains("ERROR") && line.contains(finding), "{line}");
    assert!(line.contains("sick-1"), "{line}");
    append_noted(&broker, SICK, &mut acknowledged).await.unwrap();
    assert_well(&broker, &mut acknowledged).await;
}
