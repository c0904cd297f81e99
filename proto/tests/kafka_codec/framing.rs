//! Headers: what they say, and what can still be answered when they say something unknown.

use bytes::Bytes;
use log_proto::kafka::{
    ApiKey, ErrorCode, HeaderError, Message, RequestFrame, RequestHeader, encode_request,
    encode_response,
    messages::{
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        heartbeat::HeartbeatRequest,
        metadata::MetadataRequest,
    },
    open_response,
};

fn header(api_key: ApiKey, version: i16) -> RequestHeader {
    RequestHeader { api_key, version, correlation_id: 77, client_id: Some("me".into()) }
}

#[test]
fn a_request_is_taken_apart_as_it_was_put_together() {
    let request = HeartbeatRequest { group_id: "readers".into(), ..Default::default() };
    for version in 0..=4 {
        let sent = header(ApiKey::Heartbeat, version);
        let frame = encode_request(&sent, &request).unwrap().into_bytes();
        let RequestFrame { header, mut body } = RequestFrame::open(frame.slice(4..)).unwrap();
        assert_eq!(header, sent);
        assert_eq!(HeartbeatRequest::decode(version, &mut body).unwrap(), request);
        assert_eq!(body.remaining(), 0);
    }
}

/// The bytes are those that the protocol's description gives, not ours.
#[test]
fn headers_lie_as_the_protocol_says() {
    let plain = b"\x00\x03\x00\x08\x00\x00\x00\x4d\x00\x02me";
    let frame = RequestFrame::open(Bytes::from_static(plain)).unwrap();
    assert_eq!(frame.header, header(ApiKey::Metadata, 8));

    // In a flexible header, the client id is as before; one unknown tagged field follows.
    let flexible = b"\x00\x03\x00\x09\x00\x00\x00\x4d\xff\xff\x01\x07\x02hi";
    let frame = RequestFrame::open(Bytes::from_static(flexible)).unwrap();
    let expected = RequestHeader { client_id: None, ..header(ApiKey::Metadata, 9) };
    assert_eq!(frame.header, expected);
    assert_eq!(frame.body.remaining(), 0);
}

#[test]
fn a_header_cut_short_is_refused() {
    let whole = b"\x00\x03\x00\x09\x00\x00\x00\x4d\x00\x02me\x01\x07\x02hi";
    for end in 0..whole.len() {
        let error = RequestFrame::open(Bytes::from_static(&whole[..end])).unwrap_err();
        assert!(matches!(error, HeaderError::Malformed(_)), "up to {end}: {error}");
    }
}

#[test]
fn an_unknown_api_is_told_by_its_key() {
    let error = RequestFrame::open(Bytes::from_static(b"\x00\x04\x00\x07\x00\x00\x00\x4d"));
    let expected = HeaderError::UnknownApiKey { api_key: 4, version: 7, correlation_id: 77 };
    assert_eq!(error.unwrap_err(), expected);
}

/// Goal: a client newer than the broker learns what the broker speaks (KIP-511).
#[test]
fn api_versions_in_an_unknown_version_can_be_answered() {
    let newer = b"\x00\x12\x00\x63\x00\x00\x00\x4d\x00\x02me\x00 whatever";
    let error = RequestFrame::open(Bytes::from_static(newer)).unwrap_err();
    let HeaderError::UnsupportedVersion { header: asked } = error else { panic!("{error}") };
    assert_eq!(asked, header(ApiKey::ApiVersions, 99));

    let answer = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.number(),
        ..Default::default()
    };
    let oldest = RequestHeader { version: 0, ..asked };
    let frame = encode_response::<ApiVersionsRequest>(&oldest, &answer).unwrap().into_bytes();
    assert_eq!(frame, &b"\x00\x00\x00\x0a\x00\x00\x00\x4d\x00\x23\x00\x00\x00\x00"[..]);
}

#[test]
fn the_header_of_an_api_versions_response_has_no_tagged_fields() {
    let request = header(ApiKey::ApiVersions, 4);
    let answer = ApiVersionsResponse::default();
    let frame = encode_response::<ApiVersionsRequest>(&request, &answer).unwrap().into_bytes();
    assert_eq!(frame[4..], *b"\x00\x00\x00\x4d\x00\x00\x01\x00\x00\x00\x00\x00");
    let (correlation_id, mut body) =
        open_response(ApiKey::ApiVersions, 4, frame.slice(4..)).unwrap();
    assert_eq!(correlation_id, 77);
    assert_eq!(ApiVersionsResponse::decode(4, &mut body).unwrap(), answer);
}

#[test]
fn a_version_that_is_not_served_is_told_with_its_header() {
    let frame = Bytes::from_static(b"\x00\x03\x00\x0e\x00\x00\x00\x4d\x00\x02me\x00");
    let error = RequestFrame::open(frame).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Metadata is served in versions 0 to 13, and the request is in version 14"
    );
    assert!(encode_request(&header(ApiKey::Metadata, 14), &MetadataRequest::default()).is_err());
}
