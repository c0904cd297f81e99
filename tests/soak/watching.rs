//! What the broker takes while it runs: memory, descriptors, mappings, processor time, disk; and
//! whether that stays as it is.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the broker may take of anonymous memory.
pub(crate) const ANONYMOUS_KIB_MAX: u64 = 256 << 10;

/// One look at the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) at: Duration,
    /// Since this broker was started.
    pub(crate) age: Duration,
    /// Which process it is, counted from 1.
    pub(crate) life: u32,
    pub(crate) anonymous_kib: u64,
    /// What the kernel's limit is held against.
    pub(crate) data_kib: u64,
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) maps: u64,
    pub(crate) threads: u64,
    /// Of processor time, since it was started.
    pub(crate) cpu: Duration,
    /// Blocks of the data folder.
    pub(crate) disk_kib: u64,
    /// Files of the data folder.
    pub(crate) files: u64,
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
}

/// The head of a table of samples.
pub(crate) const TABLE_HEAD: &str = "\
| at, s | life | its age, s | RssAnon, KiB | VmData, KiB | Rss, KiB | descriptors | maps | threads | CPU of life, s | disk, KiB | files | acknowledged | read |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {} | {} | {} | {} | {} |",
            self.at.as_secs(),
            self.life,
            self.age.as_secs(),
            self.anonymous_kib,
            self.data_kib,
            self.resident_kib,
            self.descriptors,
            self.maps,
            self.threads,
            self.cpu.as_secs_f64(),
            self.disk_kib,
            self.files,
            self.acknowledged,
            self.read
        )
    }
}

/// A line of `/proc/PID/status`, in KiB or in pieces.
pub(crate) fn status(process: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {status}"))
}

pub(crate) fn descriptors(process: u32) -> u64 {
    fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count() as u64
}

pub(crate) fn maps(process: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("it runs");
    maps.lines().count() as u64
}

/// User and system time. The kernel counts it in hundredths of a second.
pub(crate) fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let times = fields.split(' ').skip(11).take(2);
    let ticks: u64 = times.map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The data folder, as often as it is looked at.
#[derive(Default)]
pub(crate) struct Folder {
    segments: HashSet<PathBuf>,
}

/// What lies in the data folder.
pub(crate) struct Contents {
    pub(crate) kib: u64,
    pub(crate) files: u64,
    segments: u64,
}

impl Folder {
    pub(crate) fn look(&mut self, data: &Path) -> Contents {
        let mut contents = Contents { kib: 0, files: 0, segments: 0 };
        self.add(data, &mut contents);
        contents
    }

    /// Files come and go while they are looked at.
    fn add(&mut self, folder: &Path, contents: &mut Contents) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                self.add(&entry.path(), contents);
                continue;
            }
            contents.files += 1;
            contents.kib += metadata.blocks() / 2;
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                contents.segments += 1;
                self.segments.insert(entry.path());
            }
        }
    }

    /// Segments that were ever seen, and how many of them are not there any more.
    pub(crate) fn seen_and_deleted(&self, now: &Contents) -> (u64, u64) {
        let seen = self.segments.len() as u64;
        (seen, seen - now.segments)
    }
}

/// By how much a median may rise and still count as flat: a tenth, or so much at least.
struct Bound {
    what: &'static str,
    of: fn(&Sample) -> u64,
    at_least: u64,
}

const BOUNDS: [Bound; 4] = [
    Bound { what: "RssAnon, KiB", of: |sample| sample.anonymous_kib, at_least: 8 << 10 },
    Bound { what: "descriptors", of: |sample| sample.descriptors, at_least: 16 },
    Bound { what: "maps", of: |sample| sample.maps, at_least: 32 },
    Bound { what: "disk, KiB", of: |sample| sample.disk_kib, at_least: 32 << 10 },
];

/// Holds the last quarter of these samples against the second; says what it found, and whether
/// all of it is flat.
pub(crate) fn flatness(samples: &[Sample]) -> (String, bool) {
    let quarter = samples.len() / 4;
    let (mut said, mut flat) = (String::new(), true);
    for Bound { what, of, at_least } in BOUNDS {
        let before = median(samples[quarter..2 * quarter].iter().map(of));
        let after = median(samples[3 * quarter..].iter().map(of));
        let most = before + (before / 10).max(at_least);
        flat &= after <= most;
        said.push_str(&format!("  {what}: {before}, then {after}; at most {most}\n"));
    }
    (said, flat)
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
