//! The messages, a module for each API; generated from `kafka/*.table`, and documented there.
//!
//! Fields bear the names of Kafka's own message descriptions. One that may be null is an
//! `Option`; a number that stands for nothing, such as -1, is a number here too.

use bytes::Bytes;

use super::{
    api_key::ApiKey,
    error::DecodeError,
    message::{Layout, Message, Request, RequestVisitor, Shape, Versions},
    reader::Reader,
    str::Str,
    uuid::Uuid,
    writer::Writer,
};

include!(concat!(env!("OUT_DIR"), "/kafka_messages.rs"));
