//! The one table from our errors to Kafka's codes.
//!
//! The rule: every match is exhaustive, so that a new error does not compile until somebody has
//! decided what clients are told. A code decides what a client library does; the message beside it
//! is for the person who reads its log, and is the error as it stands; only what a stranger has
//! named at length is cut, lest each refusal of a small request carry it.

use log_core::{AppendError, ProducerStateError, ReadError, RetentionError};
use log_proto::kafka::{ErrorCode, Str};
use log_proto::record::{BatchError, BatchErrorKind};

use crate::broker::group_members::{
    ConsumerHeartbeatError, DeleteGroupError, HeartbeatError, JoinGroupError, LeaveGroupError,
    MemberError, SyncGroupError,
};
use crate::broker::{
    CommitError, DeleteOffsetRefusal, DeleteOffsetsError, OffsetRefusal, TopicPatternError,
};
use crate::error::{
    AlterConfigsError, CoordinatorError, CreatePartitionsError, CreateTopicError,
    DeleteRecordsError, DeleteTopicError, FetchOffsetsError, GroupIdError, InitProducerError,
    ListOffsetsError, LookupError, NotCommitted, ProduceError, Stopping, shortened,
};

/// A message that is longer ends here.
const MESSAGE_BYTES_MAX: usize = 1000;

/// What a client is told instead of what it wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: shortened(message.into(), MESSAGE_BYTES_MAX) }
    }

    /// The code alone, where words would be many and say no more.
    pub(super) fn without_words(self) -> Self {
        Self { message: String::new(), ..self }
    }

    fn of(code: ErrorCode, error: &impl ToString) -> Self {
        Self::new(code, error.to_string())
    }

    /// Its number on the wire.
    pub(super) fn number(&self) -> i16 {
        self.code.number()
    }

    /// Its message on the wire.
    pub(super) fn text(&self) -> Option<Str> {
        (!self.message.is_empty()).then(|| self.message.as_str().into())
    }
}

/// The number of what came of something.
pub(super) fn number<T>(outcome: &Result<T, Refusal>) -> i16 {
    outcome.as_ref().err().map_or(ErrorCode::None.number(), Refusal::number)
}

/// The message of what came of something; none if it went well.
pub(super) fn text<T>(outcome: &Result<T, Refusal>) -> Option<Str> {
    outcome.as_ref().err().and_then(Refusal::text)
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

/// A coordinator that is not there is looked for again, and so found once it is.
impl From<CoordinatorError> for Refusal {
    fn from(error: CoordinatorError) -> Self {
        let code = match &error {
            CoordinatorError::DiskFull { .. }
            | CoordinatorError::Refused { .. }
            | CoordinatorError::Failed { .. } => ErrorCode::CoordinatorNotAvailable,
            CoordinatorError::Stopped => ErrorCode::NotCoordinator,
        };
        Self::of(code, &error)
    }
}

impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Self {
        let code = match &error {
            ProduceError::Lookup(lookup) => return lookup.clone().into(),
            ProduceError::Append { source, .. } => append_code(source),
            ProduceError::NotCommitted(NotCommitted::Deleted) => ErrorCode::UnknownTopicOrPartition,
            ProduceError::NotCommitted(NotCommitted::Failed { .. }) | ProduceError::Lost => {
                ErrorCode::KafkaStorageError
            }
            ProduceError::NotCommitted(NotCommitted::Closed) | ProduceError::Stopping(_) => {
                ErrorCode::NotLeaderOrFollower
            }
            ProduceError::Internal(_) => ErrorCode::InvalidTopicException,
            ProduceError::Transactional => ErrorCode::InvalidTxnState,
            ProduceError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        };
        Self::of(code, &error)
    }
}

/// A full disk and a want of descriptors are told as storage errors: clients try again, and they
/// pass.
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
        AppendError::FencedLeaderEpoch { .. } | AppendError::Closed => {
            ErrorCode::NotLeaderOrFollower
        }
        AppendError::DiskFull(_)
        | AppendError::OutOfDescriptors(_)
        | AppendError::Failed(_)
        | AppendError::OffsetsExhausted => ErrorCode::KafkaStorageError,
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

/// Damage is a storage error to Kafka's clients, which try again until a person looks: a code that
/// they skip would lose records without a word.
impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Damaged { .. } | ReadError::File(_) => ErrorCode::KafkaStorageError,
        };
        Self::of(code, &error)
    }
}

impl From<ListOffsetsError> for Refusal {
    fn from(error: ListOffsetsError) -> Self {
        match error {
            ListOffsetsError::Lookup(lookup) => lookup.into(),
            ListOffsetsError::Read { source, .. } => source.into(),
        }
    }
}

impl From<RetentionError> for Refusal {
    fn from(error: RetentionError) -> Self {
        let code = match &error {
            RetentionError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            RetentionError::File(_) => ErrorCode::KafkaStorageError,
            RetentionError::Closed => ErrorCode::NotLeaderOrFollower,
        };
        Self::of(code, &error)
    }
}

impl From<InitProducerError> for Refusal {
    fn from(error: InitProducerError) -> Self {
        let code = match &error {
            InitProducerError::Coordinator(_) => ErrorCode::CoordinatorNotAvailable,
            InitProducerError::Exhausted => ErrorCode::UnknownServerError,
            InitProducerError::Stopping(_) => ErrorCode::NotCoordinator,
        };
        Self::of(code, &error)
    }
}

impl From<CreateTopicError> for Refusal {
    fn from(error: CreateTopicError) -> Self {
        let code = match &error {
            CreateTopicError::Name(_) | CreateTopicError::Reserved { .. } => {
                ErrorCode::InvalidTopicException
            }
            CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
            CreateTopicError::NotRemovedYet { .. } | CreateTopicError::Open { .. } => {
                ErrorCode::KafkaStorageError
            }
            CreateTopicError::Partitions { .. } | CreateTopicError::BrokerPartitions { .. } => {
                ErrorCode::InvalidPartitions
            }
            CreateTopicError::Config(_) => ErrorCode::InvalidConfig,
            CreateTopicError::Coordinator(failed) => return metadata_log(failed),
            CreateTopicError::Stopping(_) => ErrorCode::NotController,
        };
        Self::of(code, &error)
    }
}

impl From<CreatePartitionsError> for Refusal {
    fn from(error: CreatePartitionsError) -> Self {
        let code = match &error {
            CreatePartitionsError::Lookup(lookup) => return lookup.clone().into(),
            CreatePartitionsError::Internal(_) => ErrorCode::InvalidTopicException,
            CreatePartitionsError::NotMore { .. }
            | CreatePartitionsError::Partitions { .. }
            | CreatePartitionsError::BrokerPartitions { .. } => ErrorCode::InvalidPartitions,
            CreatePartitionsError::Open { .. } => ErrorCode::KafkaStorageError,
            CreatePartitionsError::Coordinator(failed) => return metadata_log(failed),
            CreatePartitionsError::Stopping(_) => ErrorCode::NotController,
        };
        Self::of(code, &error)
    }
}

impl From<DeleteRecordsError> for Refusal {
    fn from(error: DeleteRecordsError) -> Self {
        let code = match error {
            DeleteRecordsError::Lookup(lookup) => return lookup.into(),
            DeleteRecordsError::Retention { source, .. } => return source.into(),
            DeleteRecordsError::Internal(_) => ErrorCode::InvalidTopicException,
            DeleteRecordsError::Compacted { .. } => ErrorCode::PolicyViolation,
            DeleteRecordsError::Stopping(_) => ErrorCode::NotLeaderOrFollower,
        };
        Self::of(code, &error)
    }
}

impl From<DeleteTopicError> for Refusal {
    fn from(error: DeleteTopicError) -> Self {
        let code = match &error {
            DeleteTopicError::Lookup(lookup) => return lookup.clone().into(),
            DeleteTopicError::Internal(_) => ErrorCode::InvalidTopicException,
            DeleteTopicError::Coordinator(failed) => return metadata_log(failed),
            DeleteTopicError::Stopping(_) => ErrorCode::NotController,
        };
        Self::of(code, &error)
    }
}

impl From<AlterConfigsError> for Refusal {
    fn from(error: AlterConfigsError) -> Self {
        let code = match &error {
            AlterConfigsError::Lookup(lookup) => return lookup.clone().into(),
            AlterConfigsError::Internal(_) => ErrorCode::InvalidTopicException,
            AlterConfigsError::Config(_) => ErrorCode::InvalidConfig,
            AlterConfigsError::Coordinator(failed) => return metadata_log(failed),
            AlterConfigsError::Stopping(_) => ErrorCode::NotController,
        };
        Self::of(code, &error)
    }
}

/// The metadata log did not take a change.
fn metadata_log(error: &CoordinatorError) -> Refusal {
    let code = match error {
        CoordinatorError::DiskFull { .. }
        | CoordinatorError::Refused { .. }
        | CoordinatorError::Failed { .. } => ErrorCode::KafkaStorageError,
        CoordinatorError::Stopped => ErrorCode::NotController,
    };
    Refusal::of(code, error)
}

impl From<GroupIdError> for Refusal {
    fn from(error: GroupIdError) -> Self {
        Self::of(ErrorCode::InvalidGroupId, &error)
    }
}

impl From<FetchOffsetsError> for Refusal {
    fn from(error: FetchOffsetsError) -> Self {
        match error {
            FetchOffsetsError::Group(error) => error.into(),
            FetchOffsetsError::Coordinator(error) => error.into(),
        }
    }
}

/// The group coordinator is on its way down, and comes back where it was.
impl From<Stopping> for Refusal {
    fn from(error: Stopping) -> Self {
        Self::of(ErrorCode::NotCoordinator, &error)
    }
}

impl From<MemberError> for Refusal {
    fn from(error: MemberError) -> Self {
        let code = match &error {
            MemberError::UnknownMember => ErrorCode::UnknownMemberId,
            MemberError::FencedInstance => ErrorCode::FencedInstanceId,
            MemberError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            MemberError::StaleEpoch { .. } => ErrorCode::StaleMemberEpoch,
            MemberError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        };
        Self::of(code, &error)
    }
}

impl From<JoinGroupError> for Refusal {
    fn from(error: JoinGroupError) -> Self {
        let code = match error {
            JoinGroupError::Member(error) => return error.into(),
            JoinGroupError::Coordinator(error) => return error.into(),
            JoinGroupError::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            JoinGroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            JoinGroupError::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            JoinGroupError::GroupFull { .. } | JoinGroupError::MetadataFull => {
                ErrorCode::GroupMaxSizeReached
            }
        };
        Self::of(code, &error)
    }
}

impl From<SyncGroupError> for Refusal {
    fn from(error: SyncGroupError) -> Self {
        match error {
            SyncGroupError::Member(error) => error.into(),
            SyncGroupError::Coordinator(error) => error.into(),
            SyncGroupError::InconsistentProtocol => {
                Self::of(ErrorCode::InconsistentGroupProtocol, &error)
            }
            SyncGroupError::MetadataFull => Self::of(ErrorCode::GroupMaxSizeReached, &error),
        }
    }
}

impl From<HeartbeatError> for Refusal {
    fn from(error: HeartbeatError) -> Self {
        match error {
            HeartbeatError::Member(error) => error.into(),
            HeartbeatError::Coordinator(error) => error.into(),
        }
    }
}

impl From<TopicPatternError> for Refusal {
    fn from(error: TopicPatternError) -> Self {
        Self::of(ErrorCode::InvalidRegularExpression, &error)
    }
}

impl From<ConsumerHeartbeatError> for Refusal {
    fn from(error: ConsumerHeartbeatError) -> Self {
        let code = match error {
            ConsumerHeartbeatError::Member(error) => return error.into(),
            ConsumerHeartbeatError::Coordinator(error) => return error.into(),
            ConsumerHeartbeatError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            ConsumerHeartbeatError::FencedEpoch { .. } => ErrorCode::FencedMemberEpoch,
            ConsumerHeartbeatError::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            ConsumerHeartbeatError::Invalid(_) => ErrorCode::InvalidRequest,
            ConsumerHeartbeatError::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
        };
        Self::of(code, &error)
    }
}

impl From<LeaveGroupError> for Refusal {
    fn from(error: LeaveGroupError) -> Self {
        match error {
            LeaveGroupError::UnknownGroup => Self::of(ErrorCode::UnknownMemberId, &error),
            LeaveGroupError::Coordinator(error) => error.into(),
        }
    }
}

/// A commit that is too large stays so: clients must not repeat it.
impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        let code = match error {
            CommitError::Group(error) => return error.into(),
            CommitError::Member(error) => return error.into(),
            CommitError::Coordinator(error) => return error.into(),
            CommitError::Stopping(error) => return error.into(),
            CommitError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            CommitError::TooMany { .. } | CommitError::Full => ErrorCode::InvalidCommitOffsetSize,
        };
        Self::of(code, &error)
    }
}

impl From<OffsetRefusal> for Refusal {
    fn from(error: OffsetRefusal) -> Self {
        match error {
            OffsetRefusal::Lookup(lookup) => lookup.into(),
            OffsetRefusal::MetadataTooLong { .. } => {
                Self::of(ErrorCode::OffsetMetadataTooLarge, &error)
            }
        }
    }
}

impl From<DeleteOffsetsError> for Refusal {
    fn from(error: DeleteOffsetsError) -> Self {
        let code = match error {
            DeleteOffsetsError::Coordinator(error) => return error.into(),
            DeleteOffsetsError::Stopping(error) => return error.into(),
            DeleteOffsetsError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            DeleteOffsetsError::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
            DeleteOffsetsError::TooMany { .. } => ErrorCode::InvalidRequest,
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

impl From<DeleteGroupError> for Refusal {
    fn from(error: DeleteGroupError) -> Self {
        let code = match error {
            DeleteGroupError::Coordinator(error) => return error.into(),
            DeleteGroupError::Stopping(error) => return error.into(),
            DeleteGroupError::UnknownGroup { .. } => ErrorCode::GroupIdNotFound,
            DeleteGroupError::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
        };
        Self::of(code, &error)
    }
}
