//! A whole server, in process, spoken to through plain gRPC stubs: what a client of any language
//! would see.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod bad_input;
mod consume;
mod groups;
mod house;
mod http;
mod lifecycle;
mod produce;
