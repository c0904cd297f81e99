//! What a broker leaves behind: files on the disk, memory in use. Whatever is refused must have
//! changed neither.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The log files below a folder with their bytes, and the names of everything else: indexes and
/// checkpoints have a life of their own, but nothing new may appear.
pub(crate) type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Everything below a folder, but for what belongs to the topic `except`.
pub(crate) fn files(folder: &Path, except: &str) -> Files {
    let mut found = Files::new();
    collect(folder, &format!("{except}-"), &mut found);
    found
}

fn collect(folder: &Path, except: &str, found: &mut Files) {
    for entry in fs::read_dir(folder).expect("a folder to look into") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        let name = entry.file_name().into_string().expect("names of ours are text");
        if name.starts_with(except) || name.ends_with(".tmp") {
            continue;
        }
        if path.is_dir() {
            collect(&path, except, found);
        }
        let is_log = name.ends_with(".log");
        let bytes = is_log.then(|| fs::read(&path).expect("a file to read"));
        found.insert(path, bytes);
    }
}

/// Bytes that a process has in memory besides files, now.
pub(crate) fn anonymous_bytes(process: u32) -> usize {
    status_bytes(process, "RssAnon:")
}

/// Forgets how much memory a process has had, so that [`peak_bytes`] is about what follows.
pub(crate) fn forget_peak(process: u32) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("a process of ours");
}

/// The most that a process has had in memory since [`forget_peak`], files included.
pub(crate) fn peak_bytes(process: u32) -> usize {
    status_bytes(process, "VmHWM:")
}

fn status_bytes(process: u32, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux has it");
    let kibibytes = line.trim().strip_suffix(" kB").and_then(|number| number.parse::<usize>().ok());
    kibibytes.expect("a number of kB") * 1024
}

/// A sample of `/metrics`, of a topic if it has one; -1 if there is none.
pub(crate) fn metric(broker: &crate::support::Broker, name: &str, topic: &str) -> i64 {
    let text = get(&broker.http, "/metrics").1;
    let topic = format!("topic=\"{topic}\"");
    let sample = text.lines().find(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(' ') || rest.contains(&topic))
    });
    let value = sample.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or(-1)
}

/// The status code and the body of a GET.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(address).expect("the door is open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
    // Small answers come in one chunk or with a length; the chunk's frame is of no interest.
    (code, body.to_owned())
}
