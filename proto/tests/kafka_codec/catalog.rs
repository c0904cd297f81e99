//! Every message, as functions over bytes, so that one test can walk them all.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable, Message as TheirMessage},
};
use log_proto::kafka::{DecodeError, EncodeError, Message, Reader, Shape, Writer, messages};

/// What the arrays of one message may take here. No message of these tests needs more.
const BUDGET: usize = 1 << 20;

/// One message.
pub(crate) struct Codec {
    pub(crate) shape: &'static Shape,
    /// Reads the message and says how many bytes it left unread.
    pub(crate) read: fn(i16, Bytes) -> Result<usize, DecodeError>,
    /// Reads the message and prints it.
    pub(crate) print: fn(i16, Bytes) -> Result<String, DecodeError>,
    /// Reads the message and writes it again.
    pub(crate) rewrite: fn(i16, Bytes) -> Result<Bytes, DecodeError>,
    /// The default, printed and written.
    pub(crate) default: fn(i16) -> (String, Result<Bytes, EncodeError>),
    /// Lets another implementation read the message and write it again; `None` for a version
    /// that it does not know.
    pub(crate) rewrite_by_other: fn(i16, Bytes) -> Option<Result<Bytes, String>>,
}

impl Codec {
    pub(crate) fn versions(&self) -> std::ops::RangeInclusive<i16> {
        self.shape.versions.first..=self.shape.versions.last
    }
}

fn codec<M, T>() -> Codec
where
    M: Message + Debug,
    T: TheirMessage + Decodable + Encodable,
{
    Codec {
        shape: M::SHAPE,
        read: |version, bytes| {
            let mut reader = Reader::with_budget(bytes, BUDGET);
            M::decode(version, &mut reader)?;
            Ok(reader.remaining())
        },
        print: |version, bytes| Ok(format!("{:?}", decode::<M>(version, bytes)?)),
        rewrite: |version, bytes| {
            Ok(encode(version, &decode::<M>(version, bytes)?).expect("read, so it can be written"))
        },
        default: |version| (format!("{:?}", M::default()), encode(version, &M::default())),
        rewrite_by_other: |version, bytes| {
            let known = T::VERSIONS.min..=T::VERSIONS.max;
            known.contains(&version).then(|| rewrite_theirs::<T>(version, bytes))
        },
    }
}

fn decode<M: Message>(version: i16, bytes: Bytes) -> Result<M, DecodeError> {
    M::decode(version, &mut Reader::with_budget(bytes, BUDGET))
}

fn encode<M: Message>(version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(version, &mut writer)?;
    Ok(writer.into_bytes())
}

fn rewrite_theirs<T: Decodable + Encodable>(
    version: i16,
    mut bytes: Bytes,
) -> Result<Bytes, String> {
    let message = T::decode(&mut bytes, version).map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    message.encode(&mut out, version).map_err(|error| error.to_string())?;
    Ok(out.freeze())
}

macro_rules! catalog {
    ($($module:ident: $($message:ident),+;)*) => {
        /// The codecs of all messages.
        pub(crate) fn catalog() -> Vec<Codec> {
            vec![$($(codec::<messages::$module::$message, theirs::$message>(),)+)*]
        }
    };
}

catalog! {
    produce: ProduceRequest, ProduceResponse;
    fetch: FetchRequest, FetchResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    metadata: MetadataRequest, MetadataResponse;
    offset_commit: OffsetCommitRequest, OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    join_group: JoinGroupRequest, JoinGroupResponse;
    heartbeat: HeartbeatRequest, HeartbeatResponse;
    leave_group: LeaveGroupRequest, LeaveGroupResponse;
    sync_group: SyncGroupRequest, SyncGroupResponse;
    describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
    list_groups: ListGroupsRequest, ListGroupsResponse;
    sasl_handshake: SaslHandshakeRequest, SaslHandshakeResponse;
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
    init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    add_partitions_to_txn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    add_offsets_to_txn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    end_txn: EndTxnRequest, EndTxnResponse;
    write_txn_markers: WriteTxnMarkersRequest, WriteTxnMarkersResponse;
    txn_offset_commit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
    describe_acls: DescribeAclsRequest, DescribeAclsResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    alter_configs: AlterConfigsRequest, AlterConfigsResponse;
    describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
    delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
    describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
    describe_producers: DescribeProducersRequest, DescribeProducersResponse;
    describe_transactions: DescribeTransactionsRequest, DescribeTransactionsResponse;
    list_transactions: ListTransactionsRequest, ListTransactionsResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    consumer_group_describe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    consumer_protocol_subscription: ConsumerProtocolSubscription;
    consumer_protocol_assignment: ConsumerProtocolAssignment;
}
