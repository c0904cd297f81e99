//! The real binary, started and killed as a user's would be.
#![allow(dead_code, reason = "each suite uses its part of this")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A broker process on ports of its own. Killed when dropped.
pub struct Broker {
    child: Child,
    /// Where its gRPC door listens.
    pub grpc: String,
    /// Where its HTTP door listens.
    pub http: String,
}

/// A free address whose port is not one that the system gives to clients: one that retries while
/// the broker is down could be given the broker's own port, connect to itself, and keep it.
fn free_address() -> String {
    let start = u64::from(std::process::id()) * 131;
    (0..10_000u64)
        .map(|step| format!("127.0.0.1:{}", 15_000 + (start + step * 37) % 15_000))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("one of 10,000 ports is free")
}

/// The binary under test.
pub fn cairn() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cairn"))
}

/// How a broker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// `kill -9`: nothing of it runs any more.
    Kill,
    /// What an operator or init system sends.
    Term,
}

impl Broker {
    /// Starts a broker on free ports and waits until it says that it listens.
    pub fn start(data: &Path) -> Self {
        Self::start_on(data, &free_address(), "127.0.0.1:0", &[])
    }

    /// Starts a broker with more flags.
    pub fn start_with(data: &Path, flags: &[&str]) -> Self {
        Self::start_on(data, &free_address(), "127.0.0.1:0", flags)
    }

    /// Starts a broker where an earlier one listened, so that its clients find it again.
    pub fn restart(data: &Path, grpc: &str, http: &str) -> Self {
        Self::start_on(data, grpc, http, &[])
    }

    fn start_on(data: &Path, grpc: &str, http: &str, flags: &[&str]) -> Self {
        let mut child = cairn()
            .arg("serve")
            .args(["--data".as_ref(), data.as_os_str()])
            .args(["--grpc", grpc, "--http", http])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary under test starts");
        let stdout = child.stdout.take().expect("piped");
        let (mut grpc, mut http) = (None, None);
        let mut lines = BufReader::new(stdout).lines();
        while grpc.is_none() || http.is_none() {
            let line = lines.next().expect("it says where it listens").expect("text");
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("grpc"), Some(address)) => grpc = Some(address.to_owned()),
                (Some("http"), Some(url)) => http = url.strip_prefix("http://").map(str::to_owned),
                _ => {}
            }
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, grpc: grpc.expect("just read"), http: http.expect("just read") }
    }

    /// Sends a signal and waits for the process to end. Returns whether it ended well.
    pub fn end(mut self, signal: Signal) -> bool {
        match signal {
            Signal::Kill => self.child.kill().expect("it runs"),
            Signal::Term => {
                let id = self.child.id().to_string();
                let status = Command::new("kill").args(["-TERM", &id]).status();
                assert!(status.expect("kill(1) exists").success());
            }
        }
        self.child.wait().expect("it was started here").success()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for one test's data, on the file system of the build rather than in memory.
pub fn data_folder() -> tempfile::TempDir {
    tempfile::TempDir::new_in(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))).expect("a target folder")
}
