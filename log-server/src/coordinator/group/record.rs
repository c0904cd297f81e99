//! Records of the offsets log, as protobuf messages written by hand. Numbers are never used
//! again; fields are only added.

use prost::{Message, Oneof};

/// One change.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupRecord {
    #[prost(oneof = "Change", tags = "1, 2")]
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
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicDeleted {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
}

impl From<Change> for GroupRecord {
    fn from(change: Change) -> Self {
        Self { change: Some(change) }
    }
}
