//! What classic consumers say to each other through the coordinator, where it must understand it:
//! a group of theirs is to become one whose work the server shares out, or they are members of one.
//!
//! The rule: these bytes are a client's. What is no subscription or assignment is `None`, what
//! names topics or partitions that are not there is left out, and nothing is decided by them that
//! could harm anybody but the group that they came from.

use bytes::Bytes;
use log_proto::kafka::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use log_proto::kafka::{Str, decode_assignment, decode_subscription, encode_embedded};

use super::consumer::FindTopic;
use super::request::Assignment;

/// The highest version of an assignment.
const VERSION_MAX: i16 = 3;

/// What a consumer wants to read, and what it has.
pub(super) struct Subscription {
    pub(super) topics: Vec<String>,
    /// What it has not given up. A consumer that gives up everything before it joins, or is older
    /// than this field, has nothing.
    pub(super) owned: Vec<(Str, Vec<i32>)>,
    pub(super) rack: Option<String>,
}

/// The metadata of a protocol in JoinGroup.
pub(super) fn subscription(metadata: &Bytes) -> Option<Subscription> {
    let read = decode_subscription(metadata.clone()).ok()?;
    let owned = read.owned_partitions.into_iter();
    Some(Subscription {
        topics: read.topics.iter().map(ToString::to_string).collect(),
        owned: owned.map(|one| (one.topic, one.partitions)).collect(),
        rack: read.rack_id.map(|rack| rack.to_string()),
    })
}

/// What a leader has assigned to a member; nothing if nothing was. `None` is no assignment, or one
/// that says more than which partitions: an assignor of the group's own means something by that.
pub(super) fn assignment(bytes: &Bytes) -> Option<Vec<(Str, Vec<i32>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let read = decode_assignment(bytes.clone()).ok()?;
    let says_more = read.user_data.is_some_and(|data| !data.is_empty());
    let assigned = read.assigned_partitions.into_iter();
    (!says_more).then(|| assigned.map(|one| (one.topic, one.partitions)).collect())
}

/// Partitions that are there, by their topics' ids.
pub(super) fn by_id(named: &[(Str, Vec<i32>)], find: FindTopic<'_>) -> Assignment {
    let mut assignment = Assignment::new();
    for (topic, numbers) in named {
        let Some((id, count)) = find(topic.as_str()) else { continue };
        let numbers = numbers.iter().filter_map(|number| u32::try_from(*number).ok());
        let present: Vec<u32> = numbers.filter(|number| *number < count).collect();
        if !present.is_empty() {
            assignment.entry(id).or_default().extend(present);
        }
    }
    assignment
}

/// An assignment in the words of the member whose metadata this is.
pub(super) fn encode(
    assignment: impl IntoIterator<Item = (String, Vec<i32>)>,
    metadata: &Bytes,
) -> Bytes {
    let version = metadata.first_chunk().map_or(0, |version| i16::from_be_bytes(*version));
    let named = assignment.into_iter();
    let message = ConsumerProtocolAssignment {
        assigned_partitions: named
            .map(|(topic, partitions)| TopicPartition { topic: topic.into(), partitions })
            .collect(),
        user_data: None,
    };
    encode_embedded(version.clamp(0, VERSION_MAX), &message)
        .expect("names of topics fit every version")
}
