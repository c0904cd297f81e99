//! What members of both protocols do with the partitions that are theirs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use log_proto::kafka::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use log_proto::record::BatchHeader;

use crate::ledger::Ledger;
use crate::support::kafka::Client;
use crate::{GROUP, TOPIC};

/// Who a member is to the group.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) member: String,
    pub(crate) generation: i32,
}

/// The code of an answer that has one.
pub(crate) fn code(number: i16) -> ErrorCode {
    ErrorCode::from_number(number).expect("a code of Kafka's")
}

/// How far the group has come in these partitions; 0 where nothing is committed. A member says who
/// it is, where its protocol wants it to.
pub(crate) fn committed(
    client: &mut Client,
    partitions: &[i32],
    who: Option<&Identity>,
) -> Result<HashMap<i32, i64>, ErrorCode> {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.into(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        member_id: who.map(|who| who.member.as_str().into()),
        member_epoch: who.map_or(-1, |who| who.generation),
        topics: Some(vec![topic]),
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let group = client.ask(9, &request).groups.remove(0);
    match code(group.error_code) {
        ErrorCode::None => {}
        refused => return Err(refused),
    }
    let offsets = group.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(offsets.map(|one| (one.partition_index, one.committed_offset.max(0))).collect())
}

/// The partitions of a member, and how far it has come.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) positions: BTreeMap<i32, i64>,
}

impl Reading {
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.positions.keys().copied().collect()
    }

    /// Reads on from where it is, and takes what comes for processed.
    pub(crate) fn read(&mut self, client: &mut Client, ledger: &Mutex<Ledger>) {
        const WAIT_MS: i32 = 50;
        let partition = |(partition, fetch_offset): (&i32, &i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: 64 << 10,
            ..Default::default()
        };
        let partitions = self.positions.iter().map(partition).collect();
        let topic = FetchTopic { topic: TOPIC.into(), partitions, ..Default::default() };
        let topics = if self.positions.is_empty() { Vec::new() } else { vec![topic] };
        let request =
            FetchRequest { max_wait_ms: WAIT_MS, min_bytes: 1, topics, ..Default::default() };
        let response = client.ask(12, &request);
        let mut ledger = ledger.lock().expect("no assertion failed");
        for fetched in response.responses.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(code(fetched.error_code), ErrorCode::None);
            let index = fetched.partition_index;
            let position = self.positions.get_mut(&index).expect("it was asked for");
            let mut batches = fetched.records.as_deref().unwrap_or_default();
            while let Ok(header) = BatchHeader::parse(batches) {
                let end = header.next_offset().get();
                ledger.delivered(index, (*position).max(header.base_offset().get())..end);
                *position = end;
                batches = batches.get(header.size_bytes()..).unwrap_or_default();
            }
        }
    }

    /// Commits the positions. Whether all of them were taken.
    pub(crate) fn commit(
        &self,
        client: &mut Client,
        who: &Identity,
        ledger: &Mutex<Ledger>,
    ) -> ErrorCode {
        let partition = |(index, offset): (&i32, &i64)| OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: *offset,
            ..Default::default()
        };
        let partitions: Vec<_> = self.positions.iter().map(partition).collect();
        if partitions.is_empty() {
            return ErrorCode::None;
        }
        let request = OffsetCommitRequest {
            group_id: GROUP.into(),
            generation_id_or_member_epoch: who.generation,
            member_id: who.member.as_str().into(),
            topics: vec![OffsetCommitRequestTopic {
                name: TOPIC.into(),
                partitions,
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.ask(9, &request);
        let mut outcomes = response.topics.iter().flat_map(|topic| &topic.partitions);
        let first = code(outcomes.next().expect("an outcome for each").error_code);
        assert!(outcomes.all(|one| code(one.error_code) == first), "all of them or none");
        let mut ledger = ledger.lock().expect("no assertion failed");
        match first {
            ErrorCode::None => ledger.commits += 1,
            _ => ledger.commits_refused += 1,
        }
        first
    }
}
