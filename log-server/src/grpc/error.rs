//! From our errors to what gRPC clients are told: the one place that knows both.
//!
//! Three facts about every failure: its [`ErrorCode`], which also decides the status code and
//! whether trying again may help; whether it is certain that nothing happened; and a sentence.
//! A failed call carries them as `cairn.v1.Error` in its status' details, beside a
//! `google.rpc.ErrorInfo` for clients that know only that; a stream carries the same `Error` as a
//! message.
//!
//! The rule: the matches are exhaustive. A new way to fail does not compile until somebody has
//! decided here what clients are told of it.

use log_core::{AppendError, ProducerStateError, ReadError};
use log_proto::record::{BatchError, BatchErrorKind, BuildError};
use log_proto::v1;
use log_proto::v1::ErrorCode;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::broker::group_members::{ConsumerHeartbeatError, DeleteGroupError, MemberError};
use crate::broker::group_session::{CommitAsMemberError, JoinAsMemberError, SessionEnd};
use crate::broker::{DeleteOffsetRefusal, DeleteOffsetsError, DescribeGroupError};
use crate::error::{
    AlterConfigsError, CommitOffsetsError, CoordinatorError, CreateTopicError, DeleteTopicError,
    FetchOffsetsError, GroupIdError, InitProducerError, ListOffsetsError, LookupError,
    NotCommitted, ProduceError, StartError, shortened,
};
use crate::partition::Partition;

const ERROR_TYPE_URL: &str = "type.googleapis.com/cairn.v1.Error";
const ERROR_INFO_TYPE_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const DOMAIN: &str = "cairn";

/// A message goes into HTTP/2 trailers, percent-encoded and once more in the details; what a
/// stranger named in it must not make them too large to be received.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether a failed request may have had an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// It certainly had none.
    None,
    /// It may have had one, which a restart may also take back.
    Unknown,
}

/// What a client is told of a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    code: ErrorCode,
    effect: Effect,
    message: String,
}

impl Refusal {
    /// A request that makes no sense by itself.
    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message.into())
    }

    /// A partition that a request names is gone while it is served.
    pub(crate) fn unknown_partition(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::UnknownTopicOrPartition, message.into())
    }

    /// What is stored cannot be right.
    pub(crate) fn corrupt_log(partition: &Partition, detail: &str) -> Self {
        let (topic, number) = (&partition.topic, partition.number);
        let message = format!("{topic}-{number}: {detail}: look at it with `cairn segment verify`");
        Self::new(ErrorCode::CorruptLog, message)
    }

    pub(super) fn new(code: ErrorCode, message: String) -> Self {
        Self { code, effect: Effect::None, message: shortened(message, MESSAGE_BYTES_MAX) }
    }

    fn of(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        Self::new(code, error.to_string())
    }

    fn with_unknown_effect(self) -> Self {
        Self { effect: Effect::Unknown, ..self }
    }

    /// A coordinator was only asked, so nothing has happened.
    pub(crate) fn unread(error: &CoordinatorError) -> Self {
        Self { effect: Effect::None, ..coordinator(error) }
    }

    /// As a message in a stream.
    pub(crate) fn into_error(self) -> v1::Error {
        v1::Error {
            code: self.code.into(),
            retriable: class_of(self.code).1 == Retry::MayHelp,
            nothing_happened: self.effect == Effect::None,
            message: self.message,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = (class_of(refusal.code).0, refusal.message.clone());
        let reason = refusal.code.as_str_name().to_owned();
        let error = refusal.into_error();
        let metadata = [
            ("retriable".to_owned(), error.retriable.to_string()),
            ("nothing_happened".to_owned(), error.nothing_happened.to_string()),
        ];
        let info = pb::ErrorInfo { reason, domain: DOMAIN.to_owned(), metadata: metadata.into() };
        let status = pb::Status {
            code: code.into(),
            message: message.clone(),
            details: vec![any(ERROR_TYPE_URL, &error), any(ERROR_INFO_TYPE_URL, &info)],
        };
        Status::with_details(code, message, status.encode_to_vec().into())
    }
}

fn any(type_url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    MayHelp,
    IsFutile,
}

/// The status code of an error code, and whether the same request may succeed later, unchanged.
fn class_of(code: ErrorCode) -> (Code, Retry) {
    use Retry::{IsFutile, MayHelp};
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidTopic
        | ErrorCode::InvalidPartitions
        | ErrorCode::InvalidConfig
        | ErrorCode::InvalidGroupId
        | ErrorCode::InvalidRegularExpression
        | ErrorCode::InvalidRecord
        | ErrorCode::MessageTooLarge
        | ErrorCode::InvalidTimestamp
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::UnsupportedCompressionType => (Code::InvalidArgument, IsFutile),
        // The bytes may have been damaged on their way: the sender still has the sound ones.
        ErrorCode::CorruptMessage => (Code::InvalidArgument, MayHelp),
        ErrorCode::UnknownTopicOrPartition | ErrorCode::GroupIdNotFound => {
            (Code::NotFound, IsFutile)
        }
        ErrorCode::TopicAlreadyExists => (Code::AlreadyExists, IsFutile),
        ErrorCode::OffsetOutOfRange => (Code::OutOfRange, IsFutile),
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidTxnState
        | ErrorCode::NonEmptyGroup
        | ErrorCode::GroupSubscribedToTopic
        | ErrorCode::UnknownMemberId
        | ErrorCode::FencedMemberEpoch
        | ErrorCode::StaleMemberEpoch
        | ErrorCode::FencedInstanceId
        | ErrorCode::InconsistentGroupProtocol
        | ErrorCode::NoOffset => (Code::FailedPrecondition, IsFutile),
        ErrorCode::FencedLeaderEpoch | ErrorCode::UnreleasedInstanceId => {
            (Code::FailedPrecondition, MayHelp)
        }
        ErrorCode::GroupMaxSizeReached => (Code::ResourceExhausted, IsFutile),
        ErrorCode::DiskFull | ErrorCode::Throttled => (Code::ResourceExhausted, MayHelp),
        ErrorCode::KafkaStorageError | ErrorCode::ShuttingDown => (Code::Unavailable, MayHelp),
        ErrorCode::CorruptLog => (Code::DataLoss, IsFutile),
        ErrorCode::UnsupportedVersion => (Code::Unimplemented, IsFutile),
        ErrorCode::Internal | ErrorCode::Unspecified => (Code::Internal, IsFutile),
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        let code = match &error {
            LookupError::UnknownTopic { .. } | LookupError::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            LookupError::PartitionFailed { .. } => ErrorCode::KafkaStorageError,
        };
        Self::of(code, &error)
    }
}

impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Self {
        let code = match &error {
            ProduceError::Lookup(lookup) => return lookup.clone().into(),
            ProduceError::Append { source, .. } => append_code(source),
            ProduceError::NotCommitted(not_committed) => {
                let code = match not_committed {
                    NotCommitted::Failed { .. } => ErrorCode::KafkaStorageError,
                    NotCommitted::Deleted => ErrorCode::UnknownTopicOrPartition,
                    NotCommitted::Closed => ErrorCode::ShuttingDown,
                };
                return Self::of(code, &error).with_unknown_effect();
            }
            ProduceError::Lost => {
                return Self::of(ErrorCode::Internal, &error).with_unknown_effect();
            }
            ProduceError::Internal(_) => ErrorCode::InvalidTopic,
            ProduceError::Transactional => ErrorCode::InvalidTxnState,
            ProduceError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            ProduceError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Batch(batch) => batch_code(batch),
        AppendError::KeylessRecords { .. } | AppendError::ControlBatch => ErrorCode::InvalidRecord,
        AppendError::TimestampOutOfRange { .. } => ErrorCode::InvalidTimestamp,
        AppendError::Producer(producer) => match producer {
            ProducerStateError::InvalidProducerEpoch { .. }
            | ProducerStateError::CoordinatorFenced { .. } => ErrorCode::InvalidProducerEpoch,
            ProducerStateError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            ProducerStateError::MissingSequence { .. } => ErrorCode::InvalidRecord,
            ProducerStateError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        },
        AppendError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        AppendError::DiskFull(_) => ErrorCode::DiskFull,
        AppendError::OutOfDescriptors(_) => ErrorCode::Throttled,
        AppendError::Failed(_) | AppendError::OffsetsExhausted => ErrorCode::KafkaStorageError,
        AppendError::Closed => ErrorCode::ShuttingDown,
    }
}

fn batch_code(error: &BatchError) -> ErrorCode {
    match error.kind() {
        BatchErrorKind::Corrupt => ErrorCode::CorruptMessage,
        BatchErrorKind::Invalid => ErrorCode::InvalidRecord,
        BatchErrorKind::TooLarge => ErrorCode::MessageTooLarge,
        BatchErrorKind::Timestamp => ErrorCode::InvalidTimestamp,
        BatchErrorKind::UnsupportedCompression => ErrorCode::UnsupportedCompressionType,
        BatchErrorKind::UnsupportedMagic => ErrorCode::UnsupportedForMessageFormat,
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        let code = match &error {
            BuildError::NoRecords | BuildError::NoProducer => ErrorCode::InvalidRequest,
            BuildError::TooLarge => ErrorCode::MessageTooLarge,
            BuildError::TimestampTooFar { .. } => ErrorCode::InvalidTimestamp,
            BuildError::Compress { .. } => ErrorCode::Internal,
        };
        Self::of(code, &error)
    }
}

/// The log took the records of a coordinator, or did not.
fn coordinator(error: &CoordinatorError) -> Refusal {
    match error {
        CoordinatorError::DiskFull { .. } => Refusal::of(ErrorCode::DiskFull, error),
        CoordinatorError::Refused { .. } => Refusal::of(ErrorCode::KafkaStorageError, error),
        CoordinatorError::Failed { .. } => {
            Refusal::of(ErrorCode::KafkaStorageError, error).with_unknown_effect()
        }
        CoordinatorError::Stopped => {
            Refusal::of(ErrorCode::ShuttingDown, error).with_unknown_effect()
        }
    }
}

impl From<InitProducerError> for Refusal {
    fn from(error: InitProducerError) -> Self {
        let code = match &error {
            InitProducerError::Coordinator(failed) => return coordinator(failed),
            InitProducerError::Exhausted => ErrorCode::Internal,
            InitProducerError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<CreateTopicError> for Refusal {
    fn from(error: CreateTopicError) -> Self {
        let code = match &error {
            CreateTopicError::Name(_) | CreateTopicError::Reserved { .. } => {
                ErrorCode::InvalidTopic
            }
            CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
            CreateTopicError::NotRemovedYet { .. } | CreateTopicError::Open { .. } => {
                ErrorCode::KafkaStorageError
            }
            CreateTopicError::Partitions { .. } | CreateTopicError::BrokerPartitions { .. } => {
                ErrorCode::InvalidPartitions
            }
            CreateTopicError::Config(_) => ErrorCode::InvalidConfig,
            CreateTopicError::Coordinator(failed) => return coordinator(failed),
            CreateTopicError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<DeleteTopicError> for Refusal {
    fn from(error: DeleteTopicError) -> Self {
        let code = match &error {
            DeleteTopicError::Lookup(lookup) => return lookup.clone().into(),
            DeleteTopicError::Internal(_) => ErrorCode::InvalidTopic,
            DeleteTopicError::Coordinator(failed) => return coordinator(failed),
            DeleteTopicError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<AlterConfigsError> for Refusal {
    fn from(error: AlterConfigsError) -> Self {
        let code = match &error {
            AlterConfigsError::Lookup(lookup) => return lookup.clone().into(),
            AlterConfigsError::Internal(_) => ErrorCode::InvalidTopic,
            AlterConfigsError::Config(_) => ErrorCode::InvalidConfig,
            AlterConfigsError::Coordinator(failed) => return coordinator(failed),
            AlterConfigsError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<CommitOffsetsError> for Refusal {
    fn from(error: CommitOffsetsError) -> Self {
        let code = match &error {
            CommitOffsetsError::Group(_) => ErrorCode::InvalidGroupId,
            CommitOffsetsError::Lookup(lookup) => return lookup.clone().into(),
            CommitOffsetsError::TooMany { .. } | CommitOffsetsError::MetadataTooLong { .. } => {
                ErrorCode::InvalidRequest
            }
            CommitOffsetsError::HasMembers => ErrorCode::NonEmptyGroup,
            CommitOffsetsError::Full => ErrorCode::Throttled,
            CommitOffsetsError::Coordinator(failed) => return coordinator(failed),
            CommitOffsetsError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<CommitAsMemberError> for Refusal {
    fn from(error: CommitAsMemberError) -> Self {
        let code = match error {
            CommitAsMemberError::NotOwned { .. } => ErrorCode::StaleMemberEpoch,
            CommitAsMemberError::Member(ref member) => member_code(member),
            CommitAsMemberError::Offsets(offsets) => return offsets.into(),
        };
        Self::of(code, &error)
    }
}

impl From<JoinAsMemberError> for Refusal {
    fn from(error: JoinAsMemberError) -> Self {
        let code = match error {
            JoinAsMemberError::NoTopics => ErrorCode::InvalidRequest,
            JoinAsMemberError::Topic(_) => ErrorCode::InvalidTopic,
            JoinAsMemberError::Pattern(_) => ErrorCode::InvalidRegularExpression,
            JoinAsMemberError::ClassicGroup { .. } => ErrorCode::InconsistentGroupProtocol,
            JoinAsMemberError::NotResumed { .. } => ErrorCode::FencedMemberEpoch,
            JoinAsMemberError::Refused(refused) => return refused.into(),
        };
        Self::of(code, &error)
    }
}

impl From<SessionEnd> for Refusal {
    fn from(error: SessionEnd) -> Self {
        let code = match error {
            SessionEnd::Removed { .. } => ErrorCode::UnknownMemberId,
            SessionEnd::Superseded { .. } => ErrorCode::FencedInstanceId,
            SessionEnd::NotRevoked { .. } | SessionEnd::TooMany { .. } => ErrorCode::InvalidRequest,
            SessionEnd::Refused(refused) => return refused.into(),
        };
        Self::of(code, &error)
    }
}

impl From<ConsumerHeartbeatError> for Refusal {
    fn from(error: ConsumerHeartbeatError) -> Self {
        let code = match error {
            ConsumerHeartbeatError::Member(ref member) => member_code(member),
            ConsumerHeartbeatError::UnknownGroup { .. } => ErrorCode::UnknownMemberId,
            ConsumerHeartbeatError::FencedEpoch { .. } => ErrorCode::FencedMemberEpoch,
            ConsumerHeartbeatError::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            ConsumerHeartbeatError::Invalid(_) => ErrorCode::InvalidRequest,
            ConsumerHeartbeatError::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            ConsumerHeartbeatError::Coordinator(ref failed) => return coordinator(failed),
        };
        Self::of(code, &error)
    }
}

fn member_code(error: &MemberError) -> ErrorCode {
    match error {
        MemberError::UnknownMember => ErrorCode::UnknownMemberId,
        MemberError::FencedInstance => ErrorCode::FencedInstanceId,
        MemberError::StaleEpoch { .. }
        | MemberError::IllegalGeneration { .. }
        | MemberError::RebalanceInProgress => ErrorCode::StaleMemberEpoch,
    }
}

impl From<FetchOffsetsError> for Refusal {
    fn from(error: FetchOffsetsError) -> Self {
        match &error {
            FetchOffsetsError::Group(_) => Self::of(ErrorCode::InvalidGroupId, &error),
            FetchOffsetsError::Coordinator(failed) => Self::unread(failed),
        }
    }
}

impl From<GroupIdError> for Refusal {
    fn from(error: GroupIdError) -> Self {
        Self::of(ErrorCode::InvalidGroupId, &error)
    }
}

impl From<DescribeGroupError> for Refusal {
    fn from(error: DescribeGroupError) -> Self {
        match error {
            DescribeGroupError::UnknownGroup { .. } => Self::of(ErrorCode::GroupIdNotFound, &error),
            DescribeGroupError::Offsets(offsets) => offsets.into(),
        }
    }
}

impl From<DeleteGroupError> for Refusal {
    fn from(error: DeleteGroupError) -> Self {
        let code = match &error {
            DeleteGroupError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            DeleteGroupError::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
            DeleteGroupError::Coordinator(failed) => return coordinator(failed),
            DeleteGroupError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<DeleteOffsetsError> for Refusal {
    fn from(error: DeleteOffsetsError) -> Self {
        let code = match &error {
            DeleteOffsetsError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            DeleteOffsetsError::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
            DeleteOffsetsError::TooMany { .. } => ErrorCode::InvalidRequest,
            DeleteOffsetsError::Coordinator(failed) => return coordinator(failed),
            DeleteOffsetsError::Stopping(_) => ErrorCode::ShuttingDown,
        };
        Self::of(code, &error)
    }
}

impl From<DeleteOffsetRefusal> for Refusal {
    fn from(error: DeleteOffsetRefusal) -> Self {
        match error {
            DeleteOffsetRefusal::Lookup(lookup) => lookup.into(),
            DeleteOffsetRefusal::SubscribedToTopic => {
                Self::of(ErrorCode::GroupSubscribedToTopic, &error)
            }
        }
    }
}

impl From<ListOffsetsError> for Refusal {
    fn from(error: ListOffsetsError) -> Self {
        let code = match &error {
            ListOffsetsError::Lookup(lookup) => return lookup.clone().into(),
            ListOffsetsError::Read { source, .. } => read_code(source),
        };
        Self::of(code, &error)
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Lookup(lookup) => return lookup.into(),
            StartError::Offsets(offsets) => return offsets.into(),
            StartError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            StartError::NoOffset { .. } => ErrorCode::NoOffset,
            StartError::Read { ref source, .. } => read_code(source),
        };
        Self::of(code, &error)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::of(read_code(&error), &error)
    }
}

fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Damaged { .. } => ErrorCode::CorruptLog,
        ReadError::File(_) => ErrorCode::KafkaStorageError,
    }
}

/// A batch that was stored, and is not sound when it is read.
pub(crate) fn damaged(partition: &Partition, error: &BatchError) -> Refusal {
    Refusal::corrupt_log(partition, &error.to_string())
}

/// Says more of what the transport refused before any of us saw it. What has a detail is left as it
/// is: it is one of ours.
pub(crate) fn explained(status: Status) -> Status {
    let message = status.message();
    match status.code() {
        _ if !status.details().is_empty() => status,
        Code::OutOfRange => {
            let todo = "send smaller requests; grpc.request.bytes.max bounds those of producers";
            Refusal::new(ErrorCode::MessageTooLarge, format!("{message}: {todo}")).into()
        }
        Code::ResourceExhausted => Refusal::new(ErrorCode::MessageTooLarge, message.into()).into(),
        Code::Internal => {
            Refusal::invalid_request(format!("no message of this call: {message}")).into()
        }
        _ => status,
    }
}

/// The broker is on its way down.
pub(crate) fn stopping() -> Refusal {
    Refusal::of(ErrorCode::ShuttingDown, &crate::error::Stopping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_error_for_machines() {
        let refusal = Refusal::from(LookupError::UnknownTopic { name: "ghost".to_owned() });
        let status = Status::from(refusal);
        assert_eq!(status.code(), Code::NotFound);
        let details = pb::Status::decode(status.details()).unwrap();
        assert_eq!(details.details[0].type_url, ERROR_TYPE_URL);
        let error = v1::Error::decode(&*details.details[0].value).unwrap();
        assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition);
        assert!(error.nothing_happened && !error.retriable);
        assert!(error.message.contains("ghost"));
        let info = pb::ErrorInfo::decode(&*details.details[1].value).unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("UNKNOWN_TOPIC_OR_PARTITION", "cairn"));
    }

    #[test]
    fn a_name_of_megabytes_does_not_come_back() {
        let name = "ä".repeat(1 << 20);
        let error = Refusal::from(LookupError::UnknownTopic { name }).into_error();
        assert!(error.message.len() < 2 * MESSAGE_BYTES_MAX);
    }

    #[test]
    fn an_append_that_is_not_known_to_be_durable_may_have_happened() {
        let lost = ProduceError::NotCommitted(NotCommitted::Closed);
        let error = Refusal::from(lost).into_error();
        assert!(error.retriable && !error.nothing_happened);
    }
}
