//! Records of the offsets log, as protobuf messages written by hand. Numbers are never used
//! again; fields are only added.

use bytes::Bytes;
use prost::{Message, Oneof};

/// One change.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupRecord {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) change: Option<Change>,
}

/// What changed.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Change {
    /// A group has come so far in a partition.
    #[prost(message, tag = "1")]
    OffsetCommitted(OffsetCommitted),
    /// A topic is gone, and with it whatever was committed for it.
    #[prost(message, tag = "2")]
    TopicDeleted(TopicDeleted),
    /// A classic group is this now.
    #[prost(message, tag = "3")]
    ClassicGroup(ClassicGroupStored),
    /// A group is gone, and with it whatever it has committed.
    #[prost(message, tag = "4")]
    GroupDeleted(GroupDeleted),
    /// Some of what a group has committed is gone.
    #[prost(message, tag = "5")]
    OffsetsDeleted(OffsetsDeleted),
    /// A consumer group is this now.
    #[prost(message, tag = "6")]
    ConsumerGroup(ConsumerGroupStored),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OffsetCommitted {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) topic_id: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(crate) partition: u32,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int32, optional, tag = "5")]
    pub(crate) leader_epoch: Option<i32>,
    #[prost(string, tag = "6")]
    pub(crate) metadata: String,
    #[prost(int64, tag = "7")]
    pub(crate) commit_time_ms: i64,
    /// When it expires, where its committer said so; else the retention of groups decides.
    #[prost(int64, optional, tag = "8")]
    pub(crate) expire_time_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicDeleted {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClassicGroupStored {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    #[prost(int32, tag = "2")]
    pub(crate) generation: i32,
    #[prost(string, optional, tag = "3")]
    pub(crate) protocol_type: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) protocol: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(crate) leader: Option<String>,
    /// Since when it is in the state that it is in: empty without members, else stable.
    #[prost(int64, tag = "6")]
    pub(crate) state_since_ms: i64,
    #[prost(message, repeated, tag = "7")]
    pub(crate) members: Vec<MemberStored>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemberStored {
    #[prost(string, tag = "1")]
    pub(crate) member: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) instance: Option<String>,
    #[prost(string, tag = "3")]
    pub(crate) client_id: String,
    #[prost(string, tag = "4")]
    pub(crate) client_host: String,
    #[prost(uint64, tag = "5")]
    pub(crate) rebalance_timeout_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) session_timeout_ms: u64,
    /// All that it can do, best first, so that joining anew with the same is no news.
    #[prost(message, repeated, tag = "7")]
    pub(crate) protocols: Vec<ProtocolStored>,
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) assignment: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtocolStored {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) metadata: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupDeleted {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OffsetsDeleted {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) partitions: Vec<PartitionRef>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartitionRef {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) partition: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConsumerGroupStored {
    #[prost(string, tag = "1")]
    pub(crate) group: String,
    #[prost(int32, tag = "2")]
    pub(crate) epoch: i32,
    #[prost(int32, tag = "3")]
    pub(crate) target_epoch: i32,
    #[prost(int64, tag = "4")]
    pub(crate) state_since_ms: i64,
    /// What the target was computed for.
    #[prost(message, repeated, tag = "5")]
    pub(crate) topics: Vec<TopicStored>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) members: Vec<ConsumerMemberStored>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicStored {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) topic_id: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(crate) partitions: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConsumerMemberStored {
    #[prost(string, tag = "1")]
    pub(crate) member: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) instance: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) rack: Option<String>,
    #[prost(string, tag = "4")]
    pub(crate) client_id: String,
    #[prost(string, tag = "5")]
    pub(crate) client_host: String,
    #[prost(uint64, tag = "6")]
    pub(crate) rebalance_timeout_ms: u64,
    #[prost(string, repeated, tag = "7")]
    pub(crate) subscribed: Vec<String>,
    #[prost(string, optional, tag = "8")]
    pub(crate) assignor: Option<String>,
    #[prost(int32, tag = "9")]
    pub(crate) epoch: i32,
    #[prost(int32, tag = "10")]
    pub(crate) previous_epoch: i32,
    /// A static member that will be back.
    #[prost(bool, tag = "11")]
    pub(crate) is_away: bool,
    /// 0 stable, 1 unrevoked, 2 unreleased.
    #[prost(uint32, tag = "12")]
    pub(crate) phase: u32,
    #[prost(message, repeated, tag = "13")]
    pub(crate) assigned: Vec<PartitionsStored>,
    #[prost(message, repeated, tag = "14")]
    pub(crate) revoking: Vec<PartitionsStored>,
    #[prost(message, repeated, tag = "15")]
    pub(crate) target: Vec<PartitionsStored>,
    /// In RE2's syntax.
    #[prost(string, optional, tag = "16")]
    pub(crate) pattern: Option<String>,
    /// Of a member that speaks the classic protocol.
    #[prost(message, optional, tag = "17")]
    pub(crate) classic: Option<ClassicSideStored>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClassicSideStored {
    #[prost(uint64, tag = "1")]
    pub(crate) session_timeout_ms: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) protocols: Vec<ProtocolStored>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartitionsStored {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) partitions: Vec<u32>,
}

impl From<Change> for GroupRecord {
    fn from(change: Change) -> Self {
        Self { change: Some(change) }
    }
}
