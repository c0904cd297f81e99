//! DescribeLogDirs, key 35, versions 1 to 5 (KIP-113, KIP-827, KIP-1066).
//!
//! One folder, with the bytes that each partition's log files take, and how large and how free its
//! disk is. A list of topics that is null means all; what is not there is left out, and what is
//! asked for twice is answered once.

use std::collections::HashSet;
use std::path::Path;

use log_proto::kafka::Str;
use log_proto::kafka::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::kafka::Context;
use crate::partition::Partition;
use crate::topics::Topic;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let topics = match &request.topics {
        None => context.broker.topics().all().iter().map(|topic| whole(topic)).collect(),
        Some(asked) => {
            let mut seen = HashSet::new();
            asked.iter().filter_map(|asked| part(context, asked, &mut seen)).collect()
        }
    };
    let folder = context.broker.data_dir().path();
    // Sizes that the system does not tell are unknown, as to a client of version 3.
    let disk = disk(folder).unwrap_or(Disk { total_bytes: -1, usable_bytes: -1 });
    let result = DescribeLogDirsResult {
        log_dir: folder.display().to_string().into(),
        topics,
        total_bytes: disk.total_bytes,
        usable_bytes: disk.usable_bytes,
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

fn whole(topic: &Topic) -> DescribeLogDirsTopic {
    DescribeLogDirsTopic {
        name: topic.name.as_str().into(),
        partitions: topic.serving().map(|partition| size(partition)).collect(),
    }
}

fn part<'a>(
    context: &Context,
    asked: &'a DescribableLogDirTopic,
    seen: &mut HashSet<(&'a Str, i32)>,
) -> Option<DescribeLogDirsTopic> {
    let topic = context.broker.topics().get(asked.topic.as_str()).ok()?;
    let numbers = asked.partitions.iter().filter(|index| seen.insert((&asked.topic, **index)));
    let numbers = numbers.filter_map(|index| u32::try_from(*index).ok());
    let serving = numbers.filter_map(|number| topic.partition(number).ok());
    let partitions: Vec<_> = serving.map(|partition| size(partition)).collect();
    let found = DescribeLogDirsTopic { name: asked.topic.clone(), partitions };
    (!found.partitions.is_empty()).then_some(found)
}

fn size(partition: &Partition) -> DescribeLogDirsPartition {
    let bytes = partition.log().describe().size_bytes;
    DescribeLogDirsPartition {
        partition_index: i32::try_from(partition.number).unwrap_or(i32::MAX),
        partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

struct Disk {
    total_bytes: i64,
    /// What is free to those who are not root.
    usable_bytes: i64,
}

fn disk(folder: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes =
        |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some(Disk { total_bytes: bytes(stat.f_blocks), usable_bytes: bytes(stat.f_bavail) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes};

    #[tokio::test]
    async fn the_folder_and_its_disk_are_told() {
        let rig = Rig::with_topic().await;
        let asked = |topic: &str, partitions: &[i32]| DescribableLogDirTopic {
            topic: topic.into(),
            partitions: partitions.to_vec(),
        };
        let some = vec![asked("t", &[1, 2, -1]), asked("u", &[0])];
        for version in 1..=5 {
            for (topics, expected) in [(None, 2), (Some(some.clone()), 1), (Some(vec![]), 0)] {
                let request = DescribeLogDirsRequest { topics };
                let response = handle(&rig.context, version, &request).await;
                assert_encodes(version, &response);
                let result = &response.results[0];
                let topic = result.topics.iter().find(|topic| topic.name == "t");
                assert_eq!(topic.map_or(0, |topic| topic.partitions.len()), expected);
                assert!(0 < result.usable_bytes && result.usable_bytes <= result.total_bytes);
            }
        }
    }
}
