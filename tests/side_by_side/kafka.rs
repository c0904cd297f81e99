//! Apache Kafka itself, started from its jars: one process that is broker and controller.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use log_proto::kafka::messages::metadata::MetadataRequest;
use log_proto::kafka::messages::metadata::MetadataResponse;

use crate::wire::Connection;

/// A Java machine on a busy computer takes its time.
const START: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(100);

/// A running Kafka. Killed when dropped, and its data with it.
pub(crate) struct Kafka {
    child: Child,
    pub(crate) address: String,
    _data: tempfile::TempDir,
}

/// The folder with Kafka's jars, where there is one to compare with.
pub(crate) fn jars() -> Option<PathBuf> {
    std::env::var_os("KAFKA_JARS").map(PathBuf::from)
}

/// As in `4.3.0`: the version in the name of the clients' jar.
pub(crate) fn version(jars: &Path) -> String {
    let names = fs::read_dir(jars).expect("KAFKA_JARS is a folder").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version =
        |name: String| name.strip_prefix("kafka-clients-")?.strip_suffix(".jar").map(str::to_owned);
    names.filter_map(version).next().expect("KAFKA_JARS holds kafka-clients")
}

impl Kafka {
    pub(crate) fn start(jars: &Path, data: tempfile::TempDir) -> Self {
        let [address, controller] = free_addresses();
        let properties = data.path().join("server.properties");
        fs::write(&properties, settings(&address, &controller, data.path())).expect("a folder");
        let format = ["kafka.tools.StorageTool", "format", "-t", "c2lkZS1ieS1zaWRlLWE", "-c"];
        let mut format = java(jars, &format, &properties, data.path());
        assert!(format.status().expect("java is on the PATH").success(), "storage is formatted");
        let child = java(jars, &["kafka.Kafka"], &properties, data.path()).spawn();
        let child = child.expect("it was there before");
        let kafka = Self { child, address, _data: data };
        kafka.wait();
        kafka
    }

    fn wait(&self) {
        let begun = Instant::now();
        while !self.is_ready() {
            assert!(begun.elapsed() < START, "Kafka does not start");
            std::thread::sleep(PAUSE);
        }
    }

    /// It listens before it knows itself.
    fn is_ready(&self) -> bool {
        let is_up = std::net::TcpStream::connect(&self.address).is_ok();
        let ask = || Connection::to(&self.address).ask(1, &MetadataRequest::default());
        is_up && ask().is_some_and(|metadata: MetadataResponse| !metadata.brokers.is_empty())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn java(jars: &Path, arguments: &[&str], properties: &Path, log: &Path) -> Command {
    let log = File::options().create(true).append(true).open(log.join("log")).expect("a folder");
    let mut command = Command::new("java");
    command.arg("-Xmx512m").arg("-cp").arg(jars.join("*")).args(arguments).arg(properties);
    command.stdin(Stdio::null()).stderr(log.try_clone().expect("a file")).stdout(log);
    command
}

/// Kafka's own defaults, but for what one node needs and for what both brokers are told alike.
fn settings(address: &str, controller: &str, data: &Path) -> String {
    let data = data.join("data");
    let settings = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", &format!("1@{controller}")),
        ("listeners", &format!("PLAINTEXT://{address},CONTROLLER://{controller}")),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("log.dirs", &data.display().to_string()),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("group.initial.rebalance.delay.ms", crate::REBALANCE_DELAY_MS),
    ];
    settings.map(|(name, value)| format!("{name}={value}\n")).concat()
}

fn free_addresses() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").to_string())
}
