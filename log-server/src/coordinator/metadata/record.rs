//! Records of the metadata log, as protobuf messages written by hand: seven of them need no
//! generated file. Numbers are never used again; fields are only added.

use prost::{Message, Oneof};

/// One change.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetadataRecord {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) change: Option<Change>,
}

/// What changed.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Change {
    /// There is a new topic. Its folders have been made before.
    #[prost(message, tag = "1")]
    TopicCreated(TopicCreated),
    /// A topic's configs are these now.
    #[prost(message, tag = "2")]
    TopicConfigured(TopicConfigured),
    /// A topic is gone for its users. Its folders are removed after.
    #[prost(message, tag = "3")]
    TopicDeleted(TopicRef),
    /// Nothing of a deleted topic is left.
    #[prost(message, tag = "4")]
    TopicRemoved(TopicRef),
    /// This broker owns its partitions under a new epoch.
    #[prost(message, tag = "5")]
    LeaderEpochRaised(LeaderEpochRaised),
    /// Producer ids below this may be in use.
    #[prost(message, tag = "6")]
    ProducerIdsAllotted(ProducerIdsAllotted),
    /// A topic has more partitions. Their folders have been made before.
    #[prost(message, tag = "7")]
    PartitionsAdded(PartitionsAdded),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicCreated {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) topic_id: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(crate) partitions: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) configs: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicConfigured {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
    /// All that is set, not only what is new.
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) configs: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartitionsAdded {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
    /// How many there are now.
    #[prost(uint32, tag = "2")]
    pub(crate) partitions: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicRef {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) topic_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaderEpochRaised {
    #[prost(int32, tag = "1")]
    pub(crate) leader_epoch: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProducerIdsAllotted {
    /// The first id that is free.
    #[prost(int64, tag = "1")]
    pub(crate) next_producer_id: i64,
}

impl From<Change> for MetadataRecord {
    fn from(change: Change) -> Self {
        Self { change: Some(change) }
    }
}
