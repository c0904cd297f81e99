//! Goal: an administrator is told the truth of how far groups have come, and each refusal says
//! why.

use log_proto::v1;
use log_proto::v1::ErrorCode;
use tonic::Code;

use crate::house::{House, Served, error_of, record, to_partition};

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn describe(served: &mut Served) -> Vec<v1::GroupPartition> {
    let request = v1::DescribeGroupRequest { group: "g".to_owned() };
    served.admin.describe_group(request).await.unwrap().into_inner().partitions
}

async fn delete_offsets(
    served: &mut Served,
    partitions: &[i32],
) -> Result<Vec<v1::DeletedGroupOffset>, tonic::Status> {
    let topic = v1::TopicPartitions { topic: "t".to_owned(), partitions: partitions.to_vec() };
    let request = v1::DeleteGroupOffsetsRequest { group: "g".to_owned(), topics: vec![topic] };
    Ok(served.admin.delete_group_offsets(request).await?.into_inner().results)
}

/// The record that is next lies in the middle of a compressed batch, and is older than the one
/// before it.
#[tokio::test(flavor = "multi_thread")]
async fn lag_is_of_the_next_record_in_number_and_time() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let stamped = |hours: i64| {
        let timestamp_ms = Some(now_ms() - hours * HOUR_MS);
        v1::Record { timestamp_ms, ..record(None, "value") }
    };
    let batch = v1::PlainBatch {
        records: vec![stamped(1), stamped(5), stamped(0)],
        compression: v1::Compression::Zstd.into(),
        ..v1::PlainBatch::default()
    };
    let payload = v1::produce_request::Payload::Plain(batch);
    served.produce(to_partition("t", 0, payload)).await.unwrap();
    for (committed, lag, hours) in [(0, 3, Some(1)), (1, 2, Some(5)), (2, 1, Some(0)), (3, 0, None)]
    {
        served.commit("g", "t", committed).await.unwrap();
        let partition = describe(&mut served).await.remove(0);
        assert_eq!((partition.committed_offset, partition.lag), (Some(committed), Some(lag)));
        assert_eq!(partition.lag_ms.map(|ms| ms / HOUR_MS), hours, "{partition:?}");
        assert_eq!((partition.log_end_offset, &*partition.failure), (3, ""));
    }
    served.commit("g", "t", 99).await.unwrap();
    let ahead = describe(&mut served).await.remove(0);
    assert_eq!((ahead.lag, ahead.lag_ms), (Some(0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_deleted_each_for_itself() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.commit("g", "t", 0).await.unwrap();
    let results = delete_offsets(&mut served, &[7, 1]).await.unwrap();
    let codes: Vec<_> = results.iter().map(|one| one.error.as_ref().map(v1::Error::code)).collect();
    assert_eq!(codes, [Some(ErrorCode::UnknownTopicOrPartition), None]);
    assert_eq!(describe(&mut served).await.len(), 1, "partition 0 was not named");
    let many = delete_offsets(&mut served, &[0; 10_001]).await.unwrap_err();
    assert_eq!(error_of(&many).code(), ErrorCode::InvalidRequest);
    let results = delete_offsets(&mut served, &[]).await.unwrap();
    assert_eq!((results.len(), results[0].partition), (1, 0));
    let listed = served.admin.list_groups(v1::ListGroupsRequest {}).await.unwrap();
    assert_eq!(listed.into_inner().groups, [], "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_there_is_not_found() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let request = v1::DescribeGroupRequest { group: "g".to_owned() };
    let described = served.admin.describe_group(request).await.unwrap_err();
    let request = v1::DeleteGroupRequest { group: "g".to_owned() };
    let deleted = served.admin.delete_group(request).await.unwrap_err();
    let offsets = delete_offsets(&mut served, &[0]).await.unwrap_err();
    for refused in [described, deleted, offsets] {
        let error = error_of(&refused);
        assert_eq!((refused.code(), error.code()), (Code::NotFound, ErrorCode::GroupIdNotFound));
        assert!(error.nothing_happened && error.message.contains("no group g"), "{error:?}");
    }
    let request = v1::DescribeGroupRequest { group: String::new() };
    let nameless = served.admin.describe_group(request).await.unwrap_err();
    assert_eq!(error_of(&nameless).code(), ErrorCode::InvalidGroupId);
}
