//! What a writer refuses, and what it leaves where it is.

use std::{io::IoSlice, slice};

use bytes::{Buf, Bytes};
use log_proto::kafka::{
    ApiKey, EncodeError, EncodeReason, Message, RequestHeader, Rope, Versions, Writer,
    encode_response,
    messages::{
        fetch::{
            FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
            ReplicaState,
        },
        list_offsets::ListOffsetsRequest,
        metadata::{MetadataRequest, MetadataResponse},
        sasl_handshake::SaslHandshakeRequest,
    },
    open_response,
};

fn refusal<M: Message>(version: i16, message: &M) -> EncodeError {
    message.encode(version, &mut Writer::new()).expect_err("this message does not fit")
}

#[test]
fn a_field_that_the_version_lacks_must_be_unset() {
    let isolated = ListOffsetsRequest { isolation_level: 1, ..Default::default() };
    let error = refusal(1, &isolated);
    assert_eq!((error.field(), error.reason()), ("isolation_level", &EncodeReason::Absent));
    assert_eq!(
        error.to_string(),
        "ListOffsetsRequest version 1: isolation_level is set, but this version has no such \
         field: leave it at its default"
    );
    isolated.encode(2, &mut Writer::new()).unwrap();

    // The same of a tagged field.
    let replica_state = ReplicaState { replica_id: 1, ..Default::default() };
    let replica = FetchRequest { replica_state, ..Default::default() };
    assert_eq!(refusal(14, &replica).field(), "replica_state");
    replica.encode(15, &mut Writer::new()).unwrap();

    // What may be left out is.
    let patient = ListOffsetsRequest { timeout_ms: 9, ..Default::default() };
    patient.encode(1, &mut Writer::new()).unwrap();
}

#[test]
fn null_stands_only_where_it_may() {
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(*refusal(0, &all_topics).reason(), EncodeReason::Null);
    all_topics.encode(1, &mut Writer::new()).unwrap();
}

#[test]
fn strings_end_at_32767_bytes() {
    let mechanism = |length| SaslHandshakeRequest { mechanism: "a".repeat(length).into() };
    mechanism(32767).encode(1, &mut Writer::new()).unwrap();
    let too_long = EncodeReason::TooLong { length: 32768, allowed: 32767 };
    assert_eq!(*refusal(1, &mechanism(32768)).reason(), too_long);
    let client =
        MetadataResponse { cluster_id: Some("a".repeat(32768).into()), ..Default::default() };
    assert_eq!(*refusal(9, &client).reason(), too_long);
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let known = Versions { first: 0, last: 1 };
    let error = refusal(2, &SaslHandshakeRequest::default());
    assert_eq!(*error.reason(), EncodeReason::UnsupportedVersion { known });
}

/// A response with a partition for each of these records.
fn carrying(records: &[Bytes]) -> FetchResponse {
    let partition = |(index, records): (i32, &Bytes)| PartitionData {
        partition_index: index,
        current_leader: LeaderIdAndEpoch { leader_id: index, leader_epoch: 1 },
        records: Some(records.clone()),
        ..Default::default()
    };
    let partitions = (0..).zip(records).map(partition).collect();
    let topic = FetchableTopicResponse { partitions, ..Default::default() };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn frame(response: &FetchResponse) -> Rope {
    let header =
        RequestHeader { api_key: ApiKey::Fetch, version: 17, correlation_id: 5, client_id: None };
    encode_response::<FetchRequest>(&header, response).expect("it fits version 17")
}

/// Goal: a fetch response costs its own few bytes, whatever it carries.
#[test]
fn a_fetch_response_carries_its_records_as_they_are() {
    let (large, few) = (Bytes::from(vec![1; 1 << 20]), Bytes::from_static(b"few"));
    let other = Bytes::from(vec![2; 5000]);
    let response = carrying(&[large.clone(), few, other.clone()]);
    let rope = frame(&response);

    let (own, shared): (Vec<_>, Vec<_>) = (0..).zip(rope.chunks()).partition(|(i, _)| i % 2 == 0);
    let places: Vec<*const u8> = shared.iter().map(|(_, chunk)| chunk.as_ptr()).collect();
    assert_eq!(places, [large.as_ptr(), other.as_ptr()]);
    let own: usize = own.iter().map(|(_, chunk)| chunk.len()).sum();
    assert_eq!(rope.len(), own + large.len() + other.len());

    let whole = rope.clone().into_bytes();
    assert_eq!(whole.len(), rope.len());
    assert_eq!(whole[..4], (rope.len() as i32 - 4).to_be_bytes());
    let (correlation_id, mut body) = open_response(ApiKey::Fetch, 17, whole.slice(4..)).unwrap();
    assert_eq!(correlation_id, 5);
    assert_eq!(FetchResponse::decode(17, &mut body).unwrap(), response);
}

/// Goal: a socket that takes as much as it likes each time gets every byte once.
#[test]
fn a_rope_is_sent_piece_by_piece() {
    let mut rope = frame(&carrying(&[Bytes::from(vec![1; 3000]), Bytes::from(vec![2; 2000])]));
    let whole = rope.clone().into_bytes();
    let mut sent = Vec::new();
    let mut taken = 0;
    while rope.has_remaining() {
        taken += 97;
        let mut slices = [IoSlice::new(&[]); 2];
        let filled = rope.chunks_vectored(&mut slices);
        let ready = slices[..filled].iter().flat_map(|slice| slice.iter().copied());
        let before = sent.len();
        sent.extend(ready.take(taken));
        rope.advance(sent.len() - before);
    }
    assert_eq!(sent, whole);
}

/// Goal: a segment that was deleted is not kept for a client that has its bytes already.
#[test]
fn a_rope_gives_back_what_was_sent() {
    let records = Bytes::from(vec![1; 3000]);
    let mut rope = frame(&carrying(slice::from_ref(&records)));
    let before = rope.chunks().next().map_or(0, Bytes::len);
    rope.advance(before + 2999);
    assert!(!records.is_unique());
    rope.advance(1);
    assert!(records.is_unique());
}
