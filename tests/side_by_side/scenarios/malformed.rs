//! Bytes that are no request: cut short, in versions that nobody has, with lengths that lie.

use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::api_versions::ApiVersionsRequest;
use log_proto::kafka::messages::metadata::MetadataRequest;

use crate::run::Run;

/// What every frame's header holds before the client's name: length, key, version, correlation id.
const CORRELATION_ID: i32 = 4711;

pub(crate) fn play(run: &mut Run) {
    for key in SERVED {
        run.round(key.number());
        unknown_versions(run, *key);
        cut_short(run, *key);
    }
    run.round(0);
    old_produce(run);
    headers(run);
    lengths(run);
}

/// Every API but ApiVersions, which is answered in any version.
const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::DescribeTopicPartitions,
];

/// A frame with a header of the right kind, and this behind it.
fn frame(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if key.is_flexible(version) { &[0] } else { &[] };
    raw_frame(key.number(), version, &[&[0xff, 0xff], tags, body].concat())
}

fn raw_frame(key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
    let length = i32::try_from(8 + rest.len()).expect("small");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(CORRELATION_ID.to_be_bytes());
    frame.extend(rest);
    frame
}

fn unknown_versions(run: &mut Run, key: ApiKey) {
    let versions = key.versions();
    let mut ask = |step: &str, version| {
        run.raw_bytes(step, key, key.number(), &frame(key, version, &[0; 40]));
    };
    ask("a version above all", 99);
    ask("a version below all", -1);
    ask("the version after the last", versions.last + 1);
    if versions.first > 0 && key != ApiKey::Produce {
        ask("the version before the first", versions.first - 1);
    }
}

/// A body of which only its first byte has come, which promises more in each of these messages.
fn cut_short(run: &mut Run, key: ApiKey) {
    let versions = key.versions();
    for (step, version) in
        [("the first version", versions.first), ("the last version", versions.last)]
    {
        // In old versions these ask for nothing, so that nothing is missing.
        if matches!(key, ApiKey::ListGroups) && version < 3 {
            continue;
        }
        run.raw_bytes(
            &format!("{step}, cut short"),
            key,
            key.number(),
            &frame(key, version, &[0x7f]),
        );
    }
}

/// Versions that are advertised, so that old clients compress, and never served.
fn old_produce(run: &mut Run) {
    for version in 0..3 {
        let mut body = (-1_i16).to_be_bytes().to_vec();
        body.extend(1_000_i32.to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        let frame = frame(ApiKey::Produce, version, &body);
        run.raw_bytes(&format!("of nothing in version {version}"), ApiKey::Produce, 0, &frame);
    }
}

fn headers(run: &mut Run) {
    let mut outcome = |step: &str, bytes: &[u8]| {
        run.raw_bytes(step, ApiKey::ApiVersions, 0, bytes);
    };
    let none = [0xff, 0xff];
    outcome("an API that nobody has", &raw_frame(999, 0, &none));
    outcome("an API below all", &raw_frame(-1, 0, &none));
    outcome("an API that only controllers serve", &raw_frame(52, 0, &none));
    outcome("a header without the client's name", &raw_frame(18, 0, &[]));
    outcome("a client's name that is cut short", &raw_frame(18, 0, &[0, 9, b'x']));
    outcome("a client's name of length -2", &raw_frame(18, 0, &[0xff, 0xfe]));
    outcome("an empty frame", &[0, 0, 0, 0]);
    outcome("a frame of two bytes", &[0, 0, 0, 2, 0, 18]);
    outcome("a frame of negative length", &[0xff, 0xff, 0xff, 0xff]);
    outcome("a frame of 2 GiB", &[0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 0]);
    let old = raw_frame(3, 9, &[0xff, 0xff, 0x01, 0x00, 0x00, 0x00, 0x00]);
    run.raw_bytes("an old header before a new body", ApiKey::Metadata, 0, &old);
    let nameless = raw_frame(18, 0, &[0, 0]);
    run.raw::<ApiVersionsRequest>("an empty client's name", 0, &nameless);
    let more = raw_frame(18, 0, &[0xff, 0xff, 1, 2, 3]);
    run.raw::<ApiVersionsRequest>("bytes behind a request's end", 0, &more);
}

fn lengths(run: &mut Run) {
    let topics = |length: i32, rest: &[u8]| {
        frame(ApiKey::Metadata, 1, &[&length.to_be_bytes()[..], rest].concat())
    };
    for (step, bytes) in [
        ("more items than bytes", topics(1_000_000, &[])),
        ("the largest number of items", topics(i32::MAX, &[0, 1, b'a'])),
        ("a number of items below -1", topics(-2, &[])),
        ("a text longer than the rest", topics(1, &[0x7f, 0xff, b'a'])),
        ("a text that may not be null", topics(1, &[0xff, 0xff])),
        ("a text of length -2", topics(1, &[0xff, 0xfe])),
        ("a text that is not UTF-8", topics(1, &[0, 2, 0xc3, 0x28])),
    ] {
        run.raw::<MetadataRequest>(step, 1, &bytes);
    }
    let compact = |body: &[u8]| frame(ApiKey::Metadata, 12, body);
    for (step, bytes) in [
        ("a compact number of items that does not end", compact(&[0xff; 6])),
        ("more compact items than bytes", compact(&[0xff, 0xff, 0xff, 0x07])),
        ("an unknown tagged field", compact(&[0x01, 0, 0, 1, 100, 2, 7, 7])),
        ("a tagged field longer than the rest", compact(&[0x01, 0, 0, 1, 100, 90, 7])),
        ("more tagged fields than bytes", compact(&[0x01, 0, 0, 0xff, 0x7f])),
    ] {
        run.raw::<MetadataRequest>(step, 12, &bytes);
    }
}
