//! What consumers tell each other through the bytes of JoinGroup and SyncGroup: an `int16`
//! version, then the message (KIP-429, KIP-792, KIP-881).
//!
//! The rule: a version too high is read as the highest known, as Kafka does. The versions only
//! ever add fields at the end, and a broker that looks into a subscription must not fail because
//! its members are newer than itself.

use bytes::Bytes;

use super::{
    error::{DecodeError, EncodeError},
    message::Message,
    messages::{
        consumer_protocol_assignment::ConsumerProtocolAssignment,
        consumer_protocol_subscription::ConsumerProtocolSubscription,
    },
    reader::Reader,
    writer::Writer,
};

/// Reads what a member subscribes to, from the metadata of its protocol in JoinGroup.
///
/// # Errors
///
/// The bytes are no subscription; its version is negative.
pub fn decode_subscription(bytes: Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    decode(bytes)
}

/// Reads what a member is assigned, from SyncGroup.
///
/// # Errors
///
/// The bytes are no assignment; its version is negative.
pub fn decode_assignment(bytes: Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    decode(bytes)
}

/// A subscription or an assignment behind its version.
///
/// # Errors
///
/// The message does not fit the version.
pub fn encode_embedded<M: Message>(version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.int16(version);
    message.encode(version, &mut writer)?;
    Ok(writer.into_bytes())
}

fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let known = M::SHAPE.versions;
    reader.enter(M::SHAPE, known.last)?;
    let version = reader.int16("version")?;
    M::decode(version.min(known.last), &mut reader)
}
