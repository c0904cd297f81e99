//! What strangers send to the doors, and what a disk makes of the broker's own files, as functions
//! that take any bytes.
//!
//! The rule: each returns, whatever it is given. It does not panic, takes no memory by a stranger's
//! number, and an answer is one that its client can read, and no larger than what was asked for.
//! They run as those of the log do: under cargo-fuzz, and from their corpora as ordinary tests.
//!
//! Each door has its own, since no one else may know what a request is. The ones that need a
//! broker share it among some hundreds of inputs: topics, groups and records that earlier inputs
//! have made are what later ones meet, and a start for each input would be most of the work. So a
//! finding may need the inputs before it; the corpora are run in a fixed order for that reason.

use std::cell::RefCell;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::broker::{Broker, Scratch};
use crate::config::ServerConfig;
use crate::{coordinator, durable_file, grpc, kafka};

/// A door, or a part of one; or who reads a file.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 6] = [
    ("durable_file", durable_file::fuzz),
    ("coordinator_snapshot", coordinator::fuzz::snapshots),
    ("coordinator_records", coordinator::fuzz::records),
    ("kafka_decoding", kafka::fuzz::decoding),
    ("kafka_requests", kafka::fuzz::requests),
    ("grpc_requests", grpc::fuzz::requests),
];

/// How many inputs a broker takes. What they have stored is little then, and soon gone.
const INPUTS_MAX: u32 = 256;

/// A request that waits longer, for records or for other members, is left by its client.
const PATIENCE: Duration = Duration::from_millis(10);

/// What an answer may take beside what its request asked for, as long as there are few topics.
const ANSWER_BYTES: usize = 64 << 10;

/// How much an answer may hold for each byte of its request: a number that is refused takes four
/// bytes, and its refusal a sentence.
const ANSWER_BYTES_PER_BYTE: usize = 64;

struct House {
    // First, so that nothing runs any more when its broker goes.
    runtime: Runtime,
    scratch: Scratch,
    inputs: u32,
}

impl House {
    fn build() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a thread can wait");
        let mut config = ServerConfig { partitions_max: 64, ..ServerConfig::default() };
        config.groups.initial_rebalance_delay = Duration::ZERO;
        let scratch = runtime.block_on(Scratch::start(config));
        Self { runtime, scratch, inputs: 0 }
    }
}

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// Does something at a broker. After a panic, the next to come find a new one.
pub(crate) fn at_a_broker(work: impl AsyncFnOnce(Broker)) {
    HOUSE.with_borrow_mut(|kept| {
        let house = kept.take().filter(|house| house.inputs < INPUTS_MAX);
        let mut house = house.unwrap_or_else(House::build);
        house.inputs += 1;
        house.runtime.block_on(work(house.scratch.broker.clone()));
        *kept = Some(house);
    });
}

/// What comes of it, if it comes soon.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> Option<T> {
    timeout(PATIENCE, coming).await.ok()
}

/// A small request has no large answer.
pub(crate) fn assert_in_proportion(what: &str, request_bytes: usize, answer_bytes: usize) {
    let bound = ANSWER_BYTES + ANSWER_BYTES_PER_BYTE * request_bytes;
    assert!(
        answer_bytes <= bound,
        "{what}: {answer_bytes} bytes answer a request of {request_bytes}"
    );
}

/// The next part of an input, behind its length; what is missing of it is cut.
pub(crate) fn next_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (part, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests;
