//! The broker under test: the release binary, on its core, watched from outside.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{BROKER_CORE, Result};

/// What `/proc/PID/stat` counts in, on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Another binary than the one that was built with this bench, to compare two of them.
const BINARY: &str = "DOOR_BENCH_BINARY";

fn binary() -> OsString {
    std::env::var_os(BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_cairn").into())
}

pub(crate) struct Broker {
    child: Child,
    pub(crate) grpc: String,
    /// From the start of the process to the line that says where it listens.
    pub(crate) ready_after: Duration,
}

impl Broker {
    pub(crate) fn start(data: &Path) -> Result<Self> {
        let begun = Instant::now();
        let mut child = Command::new("taskset")
            .args(["-c", BROKER_CORE])
            .arg(binary())
            .args(["serve", "--data"])
            .arg(data)
            .args(["--kafka", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .env("CAIRN_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let grpc = loop {
            let line = lines.next().ok_or("the broker does not say where it listens")??;
            if let Some(address) = line.trim().strip_prefix("grpc ") {
                break address.trim().to_owned();
            }
        };
        let ready_after = begun.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, grpc, ready_after })
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        cpu_of(self.child.id())
    }

    /// Memory that is the broker's own, in megabytes.
    pub(crate) fn rss_anon_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no RssAnon")?;
        Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
    }

    /// A clean stop.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }

    /// As in a crash.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Seconds of processor time of a process so far, of user and kernel together.
pub(crate) fn cpu_of(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS_PER_SECOND)
}

impl Drop for Broker {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
