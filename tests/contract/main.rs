//! What the built binary promises its users, the careless and the hostile among them, seen from
//! outside its process: through its doors, its command line, its files and its exit codes.
//!
//! Each module is one kind of visitor. Every test has a broker of its own, in a folder of its own;
//! a broker that panics fails the test that it belongs to, whatever else the test looks at.

#[path = "../support/mod.rs"]
mod support;

mod bad_bytes;
mod bad_requests;
mod cli_damage;
mod cli_files;
mod cli_groups;
mod cli_records;
mod group_calls;
mod group_members;
mod health;
mod kafka_crowds;
mod kafka_port;
mod kafka_repeats;
mod killed;
mod races;
mod rig;
mod silent_peers;
mod starting;
mod stopping;
mod traces;
mod two_doors;
