//! The bounds that are not settings, in one place, with their relations checked at compile time.
//!
//! The rule: whatever a stranger may name, send or keep in memory here has a bound. What an
//! operator may want to move is a setting in [`config`](crate::config) instead.

/// Longest topic name in bytes: with `-`, five digits and no more it still names a folder.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions of one topic: their numbers have at most five digits.
pub const TOPIC_PARTITIONS_MAX: u32 = 100_000;

/// What the arrays of one Kafka request may take in memory. A partition takes some fifty bytes, so
/// this is a few hundred thousand of them; what they are answered takes a few times as much.
pub const KAFKA_REQUEST_ARRAYS_BYTES_MAX: usize = 16 << 20;

/// Topics in one Kafka request to create them: what Kafka's controller takes at once.
pub const CREATE_TOPICS_MAX: usize = 10_000;

/// Longest group id in characters.
pub const GROUP_ID_CHARS_MAX: usize = 255;

/// Longest metadata of one committed offset in bytes.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// Offsets in one commit, which is one batch of the offsets log.
pub const COMMIT_OFFSETS_MAX: usize = 10_000;

/// Committed offsets that the broker keeps for all groups together. They live in memory.
pub const COMMITTED_OFFSETS_MAX: usize = 1_000_000;

/// Members of all groups together, with those that have been given an id to come in with.
pub const MEMBERS_MAX: usize = 100_000;

/// What the members of all groups may say of themselves and be assigned by their leaders, in bytes.
/// It lives in memory.
pub const MEMBER_BYTES_MAX: usize = 64 << 20;

/// Longest pattern for topics, in bytes.
pub const TOPIC_PATTERN_BYTES_MAX: usize = 16 << 10;

/// What a pattern for topics may be compiled to, in bytes, and how much memory matching with it may
/// take: some ten thousand characters, written out.
pub const TOPIC_PATTERN_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Partitions in one Consume call.
pub const CONSUME_PARTITIONS_MAX: usize = 10_000;

/// Largest gRPC message of a call that carries no records. Made of many empty parts, such a message
/// takes some forty times its size in memory once it is decoded.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 4 << 20;

/// A request of so many bytes, or fewer, is small: it has memory while larger ones wait for theirs,
/// and what comes of it takes none until it is whole.
pub const SMALL_REQUEST_BYTES_MAX: usize = 64 << 10;

/// Unanswered bytes of one Kafka connection, unless a single request is larger. More would not make
/// it faster, but clients that take their time would share the memory among few of them.
pub const CONNECTION_IN_FLIGHT_BYTES_MAX: usize = 16 << 20;

/// Requests of one ProduceStream that may be waiting for their answers.
pub const STREAM_IN_FLIGHT_MAX: usize = 1024;

/// Producer ids that one durable record hands out. Small enough to waste at a crash, large enough
/// that most producers start without a sync.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Largest batch of an internal log in bytes.
pub const INTERNAL_BATCH_BYTES_MAX: u32 = 64 << 20;

/// Records that a coordinator takes between two snapshots of its state, at least.
pub const SNAPSHOT_RECORDS_MIN: usize = 4096;

/// Segments of internal logs are small, because their head is deleted at every snapshot.
pub const INTERNAL_SEGMENT_BYTES: u32 = 8 << 20;

/// What one committed offset takes at most besides its metadata: ids, numbers and tags.
const COMMITTED_OFFSET_OVERHEAD_BYTES: usize = 4 * GROUP_ID_CHARS_MAX + 256;

const _: () = assert!(TOPIC_NAME_BYTES_MAX + "-99999".len() <= 255, "a folder name");
const _: () = assert!(TOPIC_PARTITIONS_MAX <= 100_000, "five digits");
const _: () = assert!(
    COMMIT_OFFSETS_MAX * (OFFSET_METADATA_BYTES_MAX + COMMITTED_OFFSET_OVERHEAD_BYTES)
        < INTERNAL_BATCH_BYTES_MAX as usize,
    "every commit that is accepted fits one batch"
);
