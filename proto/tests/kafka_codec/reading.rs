//! What a reader refuses, and how it says so.

use bytes::Bytes;
use log_proto::kafka::{
    DecodeError, DecodeReason, Message, Reader, Versions, decode_subscription, encode_embedded,
    messages::{
        api_versions::ApiVersionsRequest, consumer_group_heartbeat::ConsumerGroupHeartbeatResponse,
        consumer_protocol_subscription::ConsumerProtocolSubscription, fetch::FetchRequest,
        join_group::JoinGroupRequest, metadata::MetadataRequest, produce::ProduceRequest,
        sasl_handshake::SaslHandshakeRequest,
    },
};

fn refusal<M: Message>(version: i16, bytes: &[u8]) -> DecodeError {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    M::decode(version, &mut reader).expect_err("these bytes are no message")
}

#[test]
fn an_error_names_the_message_the_field_and_the_place() {
    let error = refusal::<ProduceRequest>(8, b"\xff\xff\x00\x01\x00");
    assert_eq!(
        (error.message(), error.version(), error.field(), error.position()),
        ("ProduceRequest", 8, "timeout_ms", 4)
    );
    assert_eq!(
        error.to_string(),
        "ProduceRequest version 8: timeout_ms, at byte 4, takes 4 bytes where 1 are left"
    );
}

#[test]
fn versions_that_are_not_known_are_refused() {
    for version in [i16::MIN, -1, 2, 14, i16::MAX] {
        let known = Versions { first: 3, last: 13 };
        let error = refusal::<ProduceRequest>(version, &[0; 100]);
        assert_eq!(*error.reason(), DecodeReason::UnsupportedVersion { known });
    }
}

#[test]
fn null_stands_only_where_it_may() {
    assert_eq!(*refusal::<SaslHandshakeRequest>(1, b"\xff\xff").reason(), DecodeReason::Null);
    assert_eq!(*refusal::<ApiVersionsRequest>(3, b"\x00\x01\x00").reason(), DecodeReason::Null);
    // Null topics are all topics from version 1; before, an empty array was.
    assert_eq!(*refusal::<MetadataRequest>(0, b"\xff\xff\xff\xff").reason(), DecodeReason::Null);
    let mut reader = Reader::new(Bytes::from_static(b"\xff\xff\xff\xff"));
    assert_eq!(MetadataRequest::decode(1, &mut reader).unwrap().topics, None);
}

#[test]
fn lengths_are_not_negative() {
    let error = refusal::<SaslHandshakeRequest>(1, b"\xff\xfe");
    assert_eq!(*error.reason(), DecodeReason::NegativeLength { length: -2 });
    let error = refusal::<MetadataRequest>(1, b"\x80\x00\x00\x00");
    assert_eq!(*error.reason(), DecodeReason::NegativeLength { length: i32::MIN });
}

#[test]
fn variable_lengths_have_32_bits() {
    for bytes in [&b"\xff\xff\xff\xff\x10"[..], b"\x80\x80\x80\x80\x80\x01"] {
        let error = refusal::<ApiVersionsRequest>(3, bytes);
        assert_eq!(*error.reason(), DecodeReason::VarintTooLong);
    }
    let error = refusal::<MetadataRequest>(9, b"\xff\xff\xff\xff\x0f");
    assert_eq!(*error.reason(), DecodeReason::TooManyElements { count: 0xffff_fffe, left: 0 });
}

#[test]
fn strings_are_utf_8_of_at_most_32767_bytes() {
    let error = refusal::<SaslHandshakeRequest>(1, b"\x00\x02\xc3\x28");
    assert_eq!(*error.reason(), DecodeReason::NotUtf8);
    let mut long = b"\x81\x80\x02".to_vec();
    long.extend([b'a'; 0x8000]);
    let error = refusal::<ApiVersionsRequest>(3, &long);
    assert_eq!(*error.reason(), DecodeReason::StringTooLong { length: 0x8000 });
}

#[test]
fn a_struct_is_there_or_not() {
    let mut bytes = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([2]);
    let error = refusal::<ConsumerGroupHeartbeatResponse>(0, &bytes);
    assert_eq!(*error.reason(), DecodeReason::NotAMarker { marker: 2 });
    assert_eq!(error.field(), "assignment");
}

#[test]
fn a_tagged_field_takes_the_bytes_that_it_says() {
    // An empty cluster id, of one byte, that claims two.
    let mut bytes = vec![0; 4 + 4 + 4 + 1 + 4 + 4];
    bytes.extend(b"\x01\x01\x01\x01\x00\x02\x01\x00");
    let error = refusal::<FetchRequest>(15, &bytes);
    assert_eq!(*error.reason(), DecodeReason::WrongTagSize { said: 2, taken: 1 });
}

/// Goal: an element of 3 bytes that takes 64 in memory must not make 2 GB of a frame of 100 MB.
#[test]
fn arrays_take_no_more_memory_than_the_budget() {
    let mut bytes = b"\x01\0\0\0\0\0\0\0\0\x01\x00\x01".to_vec();
    bytes.extend(b"\xc1\x84\x3d");
    bytes.extend(b"\x01\x01\x00".repeat(1_000_000));
    bytes.extend(b"\x00\x00");
    let bytes = Bytes::from(bytes);

    let mut reader = Reader::with_budget(bytes.clone(), 64_000_000);
    let request = JoinGroupRequest::decode(9, &mut reader).unwrap();
    assert_eq!(request.protocols.len(), 1_000_000);

    let mut reader = Reader::with_budget(bytes, 63_999_999);
    let error = JoinGroupRequest::decode(9, &mut reader).unwrap_err();
    let over = DecodeReason::OverBudget { bytes: 64_000_000, left: 63_999_999 };
    assert_eq!(*error.reason(), over);
}

#[test]
fn records_are_slices_of_the_frame() {
    let mut bytes = b"\xff\xff\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01t".to_vec();
    bytes.extend(b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07records");
    let frame = Bytes::from(bytes);
    let request = ProduceRequest::decode(8, &mut Reader::new(frame.clone())).unwrap();
    let records = request.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert_eq!(records, "records");
    assert_eq!(records.as_ptr(), frame[frame.len() - 7..].as_ptr());
    assert_eq!(request.topic_data[0].name.as_bytes().as_ptr(), frame[14..].as_ptr());
}

/// Goal: a member newer than the broker can join a group.
#[test]
fn a_subscription_of_a_version_too_high_is_read_as_far_as_it_is_known() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into()],
        rack_id: Some("eu".into()),
        ..Default::default()
    };
    let known = encode_embedded(3, &subscription).unwrap();
    let newer = Bytes::from([&b"\x00\x09"[..], &known[2..], b"what is new"].concat());
    assert_eq!(decode_subscription(newer).unwrap(), subscription);
    let error = decode_subscription(Bytes::from_static(b"\xff\xff")).unwrap_err();
    assert!(matches!(error.reason(), DecodeReason::UnsupportedVersion { .. }));
}
