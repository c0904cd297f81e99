//! Goal: a small batch that expands a thousandfold costs no memory, neither while it is refused
//! nor while it is checked.
//!
//! Each measurement runs in a process of its own, which this test starts from itself: memory that
//! a process has freed may stay with it and hide what is allocated next.

#![cfg(target_os = "linux")]

use std::{env, fs, path::Path, process::Command};

use bytes::Bytes;
use log_proto::{
    record::{
        BatchBuilder, BatchError, BatchOptions, CheckLimits, CheckedBatch, Compression, RecordBatch,
    },
    types::TimestampMs,
};

const BOMB_BYTES: usize = 8 << 20;

/// Room for what a decoder needs for itself, far below what comes out of it.
const MEMORY_BYTES_MAX: usize = BOMB_BYTES / 2;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Tells the child process what to do, and with which file.
const WORK: &str = "BOMB_WORK";
const FILE: &str = "BOMB_FILE";

#[test]
fn bombs_cost_no_memory() {
    for codec in CODECS {
        let file = format!("{}/bomb.{codec}", env!("CARGO_TARGET_TMPDIR"));
        fs::write(&file, bomb(codec)).unwrap();
        for work in ["refuse", "check"] {
            let cost = cost_of(work, &file);
            assert!(cost < MEMORY_BYTES_MAX, "{codec}, {work}: {cost} bytes");
        }
        // The measure itself: who expands the records is seen to pay for them.
        assert!(cost_of("expand", &file) >= BOMB_BYTES, "{codec}");
    }
}

/// Runs as a child of the test above only.
#[test]
#[ignore = "a part of bombs_cost_no_memory"]
fn child() {
    let Ok(file) = env::var(FILE) else { return };
    let bytes = Bytes::from(fs::read(file).unwrap());
    let before = peak_bytes();
    match env::var(WORK).unwrap().as_str() {
        "refuse" => refuse(&bytes),
        "check" => check(&bytes),
        _ => expand(&bytes),
    }
    println!("\ncost={}", peak_bytes() - before);
}

fn refuse(bytes: &Bytes) {
    let max = 1 << 20;
    let too_far = BatchError::ExpandsTooFar { max };
    let refused = CheckedBatch::check(bytes.clone(), &limits(max)).err();
    assert_eq!(refused.as_ref(), Some(&too_far));
    let batch = RecordBatch::parse(bytes.clone()).expect("its shape and CRC are right");
    assert_eq!(batch.records(max).err(), Some(too_far));
}

fn check(bytes: &Bytes) {
    CheckedBatch::check(bytes.clone(), &limits(2 * BOMB_BYTES)).expect("the bound is far off");
}

fn expand(bytes: &Bytes) {
    let batch = RecordBatch::parse(bytes.clone()).expect("its shape and CRC are right");
    batch.records(2 * BOMB_BYTES).expect("the bound is far off");
}

fn limits(expanded_bytes_max: usize) -> CheckLimits {
    CheckLimits { batch_bytes_max: usize::MAX, expanded_bytes_max }
}

fn bomb(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    builder
        .push(TimestampMs::new(0), None, Some(&vec![0; BOMB_BYTES]), &[])
        .expect("the record fits");
    builder.build().expect("a record was pushed")
}

/// By how many bytes the peak of resident memory rises in a process that does this work.
fn cost_of(work: &str, file: impl AsRef<Path>) -> usize {
    let this = env::current_exe().expect("the test runs from a file");
    let child = Command::new(this)
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(WORK, work)
        .env(FILE, file.as_ref())
        .output()
        .expect("the test can start itself");
    let output = String::from_utf8_lossy(&child.stdout);
    number_behind(&output, "cost=")
        .unwrap_or_else(|| panic!("{work} failed: {}", String::from_utf8_lossy(&child.stderr)))
}

fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has this file");
    number_behind(&status, "VmHWM:").expect("the file tells the peak in KiB") * 1024
}

fn number_behind(text: &str, prefix: &str) -> Option<usize> {
    let value = text.lines().find_map(|line| line.strip_prefix(prefix))?;
    value.split_whitespace().next()?.parse().ok()
}
