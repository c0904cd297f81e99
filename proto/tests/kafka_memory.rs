//! Goal: a small frame that claims to be large when decoded costs the memory of its budget, and
//! not what it claims.
//!
//! The measure is the highest memory that the process ever had, so this test has the process to
//! itself.

#![cfg(all(feature = "kafka", target_os = "linux"))]

use std::fs;

use bytes::Bytes;
use log_proto::kafka::{DecodeReason, Message, Reader, messages::join_group::JoinGroupRequest};

/// A reader's budget, where nothing else is said.
const BUDGET: usize = 64 << 20;

/// What a test process does beside.
const SLACK: usize = 4 << 20;

#[test]
fn decoding_takes_no_more_than_its_budget() {
    let (largest, greedy) = (frame(BUDGET / 64), frame(10_000_000));

    let before = peak_bytes();
    let error = JoinGroupRequest::decode(9, &mut Reader::new(greedy.clone())).unwrap_err();
    assert!(matches!(error.reason(), DecodeReason::OverBudget { .. }), "{error}");
    let cost = peak_bytes().saturating_sub(before);
    assert!(cost < SLACK, "refusing took {cost} bytes");

    let request = JoinGroupRequest::decode(9, &mut Reader::new(largest)).unwrap();
    let cost = peak_bytes().saturating_sub(before);
    assert!(cost < BUDGET + SLACK, "{cost} bytes");
    // The measure itself: what was decoded is seen to be there.
    assert!(cost > BUDGET - SLACK, "{cost} bytes");
    assert_eq!(request.protocols.len(), BUDGET / 64);
    // Only now: what is given back earlier hides what is taken next.
    drop(greedy);
}

/// A JoinGroup request in version 9 with so many empty protocols: 3 bytes each, 64 in memory.
fn frame(protocols: usize) -> Bytes {
    // Of the right size from the start: memory given back could be taken again unseen.
    let mut frame = Vec::with_capacity(3 * protocols + 32);
    frame.extend(b"\x01\0\0\0\0\0\0\0\0\x01\x00\x01");
    let mut count = protocols + 1;
    while count >= 0x80 {
        frame.push(count as u8 | 0x80);
        count >>= 7;
    }
    frame.push(count as u8);
    (0..protocols).for_each(|_| frame.extend(b"\x01\x01\x00"));
    frame.extend(b"\x00\x00");
    frame.into()
}

/// Linux counts pages by threads, and sums them up a little late: a later peak may seem lower.
fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of each process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak memory");
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<usize>().expect("a count of KiB") << 10
}
