//! The corpora as ordinary tests, and what they were made of.

#[path = "../../../log-core/src/fuzz/corpus.rs"]
mod corpus;
#[path = "seeds.rs"]
mod seeds;

use super::{TARGETS, Target};

#[test]
fn durable_file() {
    corpus::run(&TARGETS, "durable_file", 2000);
}

#[test]
fn coordinator_snapshot() {
    corpus::run(&TARGETS, "coordinator_snapshot", 2000);
}

#[test]
fn coordinator_records() {
    corpus::run(&TARGETS, "coordinator_records", 2000);
}

#[test]
fn kafka_decoding() {
    corpus::run(&TARGETS, "kafka_decoding", 5000);
}

#[test]
fn kafka_requests() {
    corpus::run(&TARGETS, "kafka_requests", 300);
}

#[test]
fn grpc_requests() {
    corpus::run(&TARGETS, "grpc_requests", 100);
}
