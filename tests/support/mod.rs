//! The real binary, started and ended as a user's would be.
#![allow(dead_code, reason = "each suite uses its part of this")]
#![allow(clippy::print_stderr, reason = "a failed test shows what the broker said")]

pub(crate) mod batch;
pub(crate) mod kafka;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A broker process on ports of its own. Killed when dropped.
pub(crate) struct Broker {
    /// `None` once its end was waited for.
    process: Option<Process>,
    id: u32,
    /// Where its Kafka door listens: its first listener.
    pub(crate) kafka: String,
    /// Where each of its Kafka door's listeners listens, in the order of the setting.
    pub(crate) kafka_listeners: Vec<String>,
    /// Where its gRPC door listens.
    pub(crate) grpc: String,
    /// Where its HTTP door listens.
    pub(crate) http: String,
}

struct Process {
    child: Child,
    stderr: Stderr,
}

/// The binary under test: the one that was built with the suite, unless `TESTED_CAIRN` names
/// another, say an optimised one.
pub(crate) fn cairn() -> Command {
    let built = || env!("CARGO_BIN_EXE_cairn").into();
    Command::new(std::env::var_os("TESTED_CAIRN").unwrap_or_else(built))
}

/// A number from the environment, by which a suite is made longer, or repeated.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A small generator: what it decided in a run can be repeated from its seed.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// `cairn serve` in a folder, on these addresses.
pub(crate) fn serve(data: &Path, grpc: &str, http: &str) -> Command {
    let mut command = cairn();
    command.arg("serve").arg("--data").arg(data).args([
        "--kafka",
        "127.0.0.1:0",
        "--grpc",
        grpc,
        "--http",
        http,
    ]);
    command
}

/// Any free port.
pub(crate) const FREE: &str = "127.0.0.1:0";

/// How a broker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// `kill -9`: nothing of it runs any more.
    Kill,
    /// What an init system sends.
    Term,
    /// What Ctrl-C sends.
    Int,
}

/// How a broker has ended.
pub(crate) struct Ended {
    /// What it left its parent.
    pub(crate) status: ExitStatus,
    /// From the question to the answer.
    pub(crate) took: Duration,
    /// Everything that it had written to standard error.
    pub(crate) said: String,
}

/// A broker that does not end is a failure, not a wait for ever.
const END_TIMEOUT: Duration = Duration::from_secs(30);

impl Broker {
    /// Starts a broker on free ports and waits until it says that it listens.
    pub(crate) fn start(data: &Path) -> Self {
        Self::launch(serve(data, FREE, FREE))
    }

    /// Starts a broker with more flags.
    pub(crate) fn start_with(data: &Path, flags: &[&str]) -> Self {
        let mut command = serve(data, FREE, FREE);
        command.args(flags);
        Self::launch(command)
    }

    /// Starts a broker where an earlier one listened, so that its clients find it again.
    pub(crate) fn restart(data: &Path, grpc: &str, http: &str) -> Self {
        Self::launch(serve(data, grpc, http))
    }

    /// Starts a command that becomes a broker, and waits until it says that it listens.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let stderr = Stderr::collect(child.stderr.take().expect("piped"));
        let stdout = child.stdout.take().expect("piped");
        let (mut kafka_listeners, mut grpc, mut http) = (Vec::new(), None, None);
        let mut lines = BufReader::new(stdout).lines();
        while grpc.is_none() || http.is_none() {
            let Some(line) = lines.next() else { panic!("it does not start: {}", stderr.all()) };
            let line = line.expect("text");
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("kafka"), Some(address)) => kafka_listeners.push(address.to_owned()),
                (Some("grpc"), Some(address)) => grpc = Some(address.to_owned()),
                (Some("http"), Some(url)) => http = url.strip_prefix("http://").map(str::to_owned),
                _ => {}
            }
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let kafka = kafka_listeners.first().expect("said before the others").clone();
        let (grpc, http) = (grpc.expect("just read"), http.expect("just read"));
        let (id, process) = (child.id(), Some(Process { child, stderr }));
        Self { process, id, kafka, kafka_listeners, grpc, http }
    }

    /// Sends a signal and waits for the process to end. Returns whether it ended well.
    pub(crate) fn end(self, signal: Signal) -> bool {
        self.signal(signal);
        self.wait().status.success()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Term => "-TERM",
            Signal::Int => "-INT",
        };
        let status = Command::new("kill").args([name, &self.id.to_string()]).status();
        assert!(status.expect("kill(1) exists").success(), "the broker had ended by itself");
    }

    /// Waits for the process to end. Whatever has ended it, it must not have panicked.
    pub(crate) fn wait(mut self) -> Ended {
        let asked = Instant::now();
        let Process { mut child, stderr } = self.process.take().expect("waited for once");
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait()));
        let Ok(status) = end.recv_timeout(END_TIMEOUT) else {
            self.signal(Signal::Kill);
            panic!("the broker did not end within {END_TIMEOUT:?}");
        };
        let (status, took) = (status.expect("it was started here"), asked.elapsed());
        let said = stderr.all();
        assert!(!said.contains("panicked"), "{said}");
        Ended { status, took, said }
    }

    /// What it has written to standard error so far.
    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map(|process| process.stderr.so_far()).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(Process { mut child, stderr }) = self.process.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
        let said = stderr.all();
        match std::thread::panicking() {
            true => eprintln!("--- the broker said:\n{said}---"),
            false => assert!(!said.contains("panicked"), "{said}"),
        }
    }
}

/// What a process writes to standard error, read while it runs.
struct Stderr {
    text: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Stderr {
    fn collect(stderr: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.expect("the broker logs text");
                let mut text = shared.lock().expect("nobody panics with it");
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reading }
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("nobody panics with it").clone()
    }

    /// Waits for the process to close it.
    fn all(self) -> String {
        self.reading.join().expect("the broker logs text");
        Arc::into_inner(self.text).and_then(|text| text.into_inner().ok()).unwrap_or_default()
    }
}

/// A folder for one test's data, on the file system of the build rather than in memory.
pub(crate) fn data_folder() -> tempfile::TempDir {
    tempfile::TempDir::new_in(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))).expect("a target folder")
}
