//! Where Cairn answers differently on purpose: which API, in which versions, which fields, and why.
//!
//! The rule: an exception pins what Cairn says, so that a change of it is noticed too, and one that
//! is not needed any more fails the check. What is told here in a line is told to users in
//! docs/kafka-compatibility.md.

/// Differences that are meant, for one reason.
pub(crate) struct Exception {
    pub(crate) reason: &'static str,
    /// The scenario, or `*` for each.
    pub(crate) scenario: &'static str,
    /// The API's name, where `*` stands for anything.
    pub(crate) api: &'static str,
    /// The rounds it holds in: the versions of the API that the scenario is about.
    pub(crate) rounds: (i16, i16),
    /// The step, where `*` stands for anything.
    pub(crate) step: &'static str,
    /// The fields, where `*` stands for anything, with what Cairn says there.
    pub(crate) fields: &'static [(&'static str, Says)],
}

/// What Cairn says in a field.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    /// This, where `*` stands for anything.
    This(&'static str),
    /// It has no such field, or list item.
    Nothing,
}

use Says::{Nothing, This};

/// All versions.
const ALL: (i16, i16) = (i16::MIN, i16::MAX);

impl Exception {
    /// Which of its fields is this one, if any.
    pub(crate) fn field(
        &self,
        (api, step, path): (&str, &str, &str),
        round: i16,
        cairn: Option<&str>,
    ) -> Option<usize> {
        let is_here = matches(self.api, api)
            && (self.rounds.0..=self.rounds.1).contains(&round)
            && matches(self.step, step);
        let mut fields = self.fields.iter();
        let covers = |(pattern, says): &(&str, Says)| matches(pattern, path) && says.is(cairn);
        fields.position(|field| is_here && covers(field))
    }
}

impl Says {
    fn is(self, cairn: Option<&str>) -> bool {
        match (self, cairn) {
            (Self::Nothing, None) => true,
            (Self::This(pattern), Some(value)) => matches(pattern, value),
            _ => false,
        }
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let mut ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
            ends.any(|end| matches(rest, &text[end..]))
        }),
    }
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        reason: "what is not served is not advertised",
        scenario: "cluster",
        api: "ApiVersions",
        rounds: ALL,
        step: "of a client with a name",
        fields: &[("api_keys[*", Nothing)],
    },
    Exception {
        reason: "there are no features to negotiate",
        scenario: "cluster",
        api: "ApiVersions",
        rounds: (3, 4),
        step: "of a client with a name",
        fields: &[
            ("supported_features[*", Nothing),
            ("supported_features", This("[]")),
            ("finalized_features[*", Nothing),
            ("finalized_features", This("[]")),
            ("finalized_features_epoch", This("-1")),
        ],
    },
    Exception {
        reason: "Cairn's own logs are there from the start, and marked as internal",
        scenario: "cluster",
        api: "Metadata",
        rounds: ALL,
        step: "of all topics*",
        fields: &[("topics[__*", This("*")), ("topics", Nothing)],
    },
    Exception {
        reason: "the id goes before the name in every version; Kafka refuses ids before version 12",
        scenario: "cluster",
        api: "Metadata",
        rounds: (10, 11),
        step: "by id, too early",
        fields: &[("*", This("*")), ("*", Nothing)],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) where neither name nor id is given",
        scenario: "cluster",
        api: "Metadata",
        rounds: (12, 13),
        step: "by no name and no id",
        fields: &[
            ("brokers*", This("*")),
            ("brokers", Nothing),
            ("cluster_id", This("<cluster>")),
            ("controller_id", This("1")),
            ("error_code", This("NONE")),
            ("topics[].error_code", This("*")),
            ("topics[].name", This("null")),
        ],
    },
    Exception {
        reason: "a topic that is created by asking is there in the same answer",
        scenario: "cluster",
        api: "Metadata",
        rounds: ALL,
        step: "of a topic that is created by asking",
        fields: &[
            ("topics[made].error_code", This("NONE")),
            ("topics[made].partitions[0].*", This("*")),
            ("topics[made].partitions", Nothing),
            ("topics[made].topic_id", This("<id of made>")),
        ],
    },
    Exception {
        reason: "Kafka's parser refuses an unknown type; here SECURITY_DISABLED answers everything",
        scenario: "cluster",
        api: "DescribeAcls",
        rounds: ALL,
        step: "of a resource type that nobody knows",
        fields: &[("*", This("*")), ("outcome", Nothing)],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at an empty name",
        scenario: "cluster",
        api: "DescribeTopicPartitions",
        rounds: ALL,
        step: "an empty name",
        fields: &[("topics[].*", This("*"))],
    },
    Exception {
        reason: "what is not served is not advertised",
        scenario: "malformed",
        api: "ApiVersions",
        rounds: ALL,
        step: "*",
        fields: &[("api_keys[*", Nothing)],
    },
    Exception {
        reason: "a length below -1 is refused; Kafka takes it for null",
        scenario: "malformed",
        api: "ApiVersions",
        rounds: ALL,
        step: "a client's name of length -2",
        fields: &[("outcome", This("the connection is closed"))],
    },
    Exception {
        reason: "lengths below -1 and texts that are not UTF-8 are refused; Kafka reads something",
        scenario: "malformed",
        api: "Metadata",
        rounds: ALL,
        step: "a * below -1",
        fields: &[("outcome", This("the connection is closed")), ("*", Nothing)],
    },
    Exception {
        reason: "lengths below -1 and texts that are not UTF-8 are refused; Kafka reads something",
        scenario: "malformed",
        api: "Metadata",
        rounds: ALL,
        step: "a text that is not UTF-8",
        fields: &[("outcome", This("the connection is closed")), ("*", Nothing)],
    },
    Exception {
        reason: "a group has a name",
        scenario: "classic_groups",
        api: "DescribeGroups",
        rounds: ALL,
        step: "a group without a name",
        fields: &[
            ("groups[].error_code", This("INVALID_GROUP_ID")),
            ("groups[].group_state", This("\"\"")),
        ],
    },
    Exception {
        reason: "what is named twice is answered once, lest a small request have a large answer",
        scenario: "classic_groups",
        api: "DescribeGroups",
        rounds: ALL,
        step: "a group twice that is not there",
        fields: &[("groups[missing #2].*", Nothing)],
    },
    Exception {
        reason: "a member that was refused leaves no group behind; in Kafka an empty one stays",
        scenario: "classic_groups",
        api: "ListGroups",
        rounds: ALL,
        step: "*",
        fields: &[("groups[closed*", Nothing)],
    },
    Exception {
        reason: "no offset is negative",
        scenario: "offsets",
        api: "OffsetCommit",
        rounds: ALL,
        step: "a negative offset",
        fields: &[("topics[*].partitions[0].error_code", This("INVALID_REQUEST"))],
    },
    Exception {
        reason: "a group has a name",
        scenario: "offsets",
        api: "OffsetCommit",
        rounds: ALL,
        step: "to a group without a name",
        fields: &[("topics[*].partitions[0].error_code", This("INVALID_GROUP_ID"))],
    },
    Exception {
        reason: "a group that nobody has joined is not there for a member; either way it joins anew",
        scenario: "offsets",
        api: "OffsetCommit",
        rounds: (2, 8),
        step: "of an unknown member's generation",
        fields: &[("topics[*].partitions[0].error_code", This("ILLEGAL_GENERATION"))],
    },
    Exception {
        reason: "a group that nobody has joined is not there for a member; either way it joins anew",
        scenario: "offsets",
        api: "OffsetCommit",
        rounds: (9, 10),
        step: "of an unknown member's generation",
        fields: &[("topics[*].partitions[0].error_code", This("GROUP_ID_NOT_FOUND"))],
    },
    Exception {
        reason: "a group has a name",
        scenario: "offsets",
        api: "OffsetFetch",
        rounds: (1, 1),
        step: "of a group without a name",
        fields: &[
            ("topics[read].partitions[0].error_code", This("INVALID_GROUP_ID")),
            ("topics[read].partitions[0].committed_offset", This("-1")),
            ("topics[read].partitions[0].metadata", This("\"\"")),
        ],
    },
    Exception {
        reason: "a group has a name",
        scenario: "offsets",
        api: "OffsetFetch",
        rounds: (2, 7),
        step: "of a group without a name",
        fields: &[
            ("error_code", This("INVALID_GROUP_ID")),
            ("topics[*", Nothing),
            ("topics", This("[]")),
        ],
    },
    Exception {
        reason: "a group has a name",
        scenario: "offsets",
        api: "OffsetFetch",
        rounds: (8, 10),
        step: "of *",
        fields: &[
            ("groups[].error_code", This("INVALID_GROUP_ID")),
            ("groups[].topics[*", Nothing),
            ("groups[].topics", This("[]")),
        ],
    },
    Exception {
        reason: "who says that it is a member must be one; Kafka asks that of KIP-848 groups alone",
        scenario: "offsets",
        api: "OffsetFetch",
        rounds: (9, 10),
        step: "of an unknown member*",
        fields: &[
            ("groups[*].error_code", This("UNKNOWN_MEMBER_ID")),
            ("groups[*].topics[*", Nothing),
            ("groups[*].topics", This("[]")),
        ],
    },
    Exception {
        reason: "a group has a name",
        scenario: "offsets",
        api: "DeleteGroups",
        rounds: ALL,
        step: "a group without a name",
        fields: &[("results[].error_code", This("INVALID_GROUP_ID"))],
    },
    Exception {
        reason: "a group begins at epoch 0, in Kafka at 1",
        scenario: "consumer_groups",
        api: "ConsumerGroupHeartbeat",
        rounds: ALL,
        step: "*",
        fields: &[("member_epoch", This("1"))],
    },
    Exception {
        reason: "a group begins at epoch 0, in Kafka at 1",
        scenario: "consumer_groups",
        api: "ConsumerGroupDescribe",
        rounds: ALL,
        step: "a*group*",
        fields: &[
            ("groups[*].assignment_epoch", This("1")),
            ("groups[*].group_epoch", This("*")),
            ("groups[*].members[*].member_epoch", This("1")),
        ],
    },
    Exception {
        reason: "a member that names itself and its epoch rightly may commit in any version",
        scenario: "consumer_groups",
        api: "OffsetCommit",
        rounds: ALL,
        step: "of a member, asked in version 8",
        fields: &[("topics[shared].partitions[0].error_code", This("NONE"))],
    },
    Exception {
        reason: "every error comes with its reason; Kafka leaves some without",
        scenario: "*",
        api: "*",
        rounds: ALL,
        step: "*",
        fields: &[("*error_message", This("<text>"))],
    },
    Exception {
        reason: "what is named twice is answered once, lest a small request have a large answer",
        scenario: "configs",
        api: "*Configs",
        rounds: ALL,
        step: "of one topic twice",
        fields: &[("*[* #2].*", Nothing)],
    },
    Exception {
        reason: "a topic's synonyms name a broker's setting only where Cairn has it",
        scenario: "configs",
        api: "DescribeConfigs",
        rounds: ALL,
        step: "two of a topic, with synonyms",
        fields: &[
            ("results[told].configs[*].synonyms[log.cleanup.policy].*", Nothing),
            ("results[told].configs[*].synonyms[*", This("*")),
        ],
    },
    Exception {
        reason: "Cairn has no levels of compression, throttled replicas, or tiers",
        scenario: "configs",
        api: "DescribeConfigs",
        rounds: ALL,
        step: "*of a topic",
        fields: &[("results[told].configs[*", Nothing)],
    },
    Exception {
        reason: "what is acknowledged is on the disk, unless a topic asks for less",
        scenario: "configs",
        api: "DescribeConfigs",
        rounds: ALL,
        step: "*of a topic",
        fields: &[("results[told].configs[flush.messages].value", This("\"1\""))],
    },
    Exception {
        reason: "Kafka sets it for all brokers when it starts; here it is the one value there is",
        scenario: "configs",
        api: "DescribeConfigs",
        rounds: ALL,
        step: "*of a topic",
        fields: &[("results[told].configs[min.insync.replicas].config_source", This("5"))],
    },
    Exception {
        reason: "the broker's settings are 64 bits wide, and read when it starts",
        scenario: "configs",
        api: "DescribeConfigs",
        rounds: ALL,
        step: "one of the broker",
        fields: &[
            ("results[1].configs[message.max.bytes].config_type", This("5")),
            ("results[1].configs[message.max.bytes].read_only", This("true")),
        ],
    },
    Exception {
        reason: "a name that no config has is refused, whatever is to be done to it",
        scenario: "configs",
        api: "IncrementalAlterConfigs",
        rounds: ALL,
        step: "put an unknown one back",
        fields: &[("responses[changed].error_code", This("INVALID_CONFIG"))],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at an unknown operation",
        scenario: "configs",
        api: "IncrementalAlterConfigs",
        rounds: ALL,
        step: "an unknown operation",
        fields: &[("responses[changed].error_code", This("INVALID_REQUEST"))],
    },
    Exception {
        reason: "a policy is named; what is to be kept for ever says so with retention.ms=-1",
        scenario: "configs",
        api: "IncrementalAlterConfigs",
        rounds: ALL,
        step: "set an empty list",
        fields: &[("responses[listed].error_code", This("INVALID_CONFIG"))],
    },
    Exception {
        reason: "no topic id is made up for a topic that is not made",
        scenario: "topics",
        api: "CreateTopics",
        rounds: (7, 7),
        step: "to be validated only",
        fields: &[("topics[not].topic_id", This("AAAAAAAAAAAAAAAAAAAAAA"))],
    },
    Exception {
        reason: "metrics tell a.b from a_b, so both may be there",
        scenario: "topics",
        api: "CreateTopics",
        rounds: ALL,
        step: "a name that collides in metrics",
        fields: &[
            ("topics[a_b].error_code", This("NONE")),
            ("topics[a_b].error_message", This("null")),
            ("topics[a_b].num_partitions", This("1")),
            ("topics[a_b].replication_factor", This("1")),
            ("topics[a_b].topic_id", This("<id of a_b>")),
            ("topics[a_b].configs[*", This("*")),
            ("topics[a_b].configs", Nothing),
        ],
    },
    Exception {
        reason: "Cairn has no levels of compression, throttled replicas, or tiers",
        scenario: "topics",
        api: "CreateTopics",
        rounds: (5, 7),
        step: "*",
        fields: &[("topics[*].configs[*", Nothing)],
    },
    Exception {
        reason: "what is acknowledged is on the disk, unless a topic asks for less",
        scenario: "topics",
        api: "CreateTopics",
        rounds: (5, 7),
        step: "*",
        fields: &[("topics[*].configs[flush.messages].value", This("\"1\""))],
    },
    Exception {
        reason: "Kafka sets it for all brokers when it starts; here it is the one value there is",
        scenario: "topics",
        api: "CreateTopics",
        rounds: (5, 7),
        step: "*",
        fields: &[("topics[*].configs[min.insync.replicas].config_source", This("5"))],
    },
    Exception {
        reason: "a topic that is named twice is told as it was first named",
        scenario: "topics",
        api: "DeleteTopics",
        rounds: ALL,
        step: "by id and by name",
        fields: &[("responses[known-by-id].topic_id", This("AAAAAAAAAAAAAAAAAAAAAA"))],
    },
    Exception {
        reason: "Kafka takes epochs below -1 for epochs",
        scenario: "places",
        api: "OffsetForLeaderEpoch",
        rounds: ALL,
        step: "the end of an epoch below all",
        fields: &[
            ("topics[timed].partitions[0].end_offset", This("-1")),
            ("topics[timed].partitions[0].leader_epoch", This("-1")),
        ],
    },
    Exception {
        reason: "without records there is no list; Kafka says that with null, or with an empty one",
        scenario: "fetching",
        api: "Fetch",
        rounds: ALL,
        step: "*",
        fields: &[("responses[*].aborted_transactions", This("[]"))],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at an unknown isolation level",
        scenario: "fetching",
        api: "Fetch",
        rounds: ALL,
        step: "with isolation level 2",
        fields: &[
            ("error_code", This("NONE")),
            ("responses", Nothing),
            ("responses[read].*", This("*")),
        ],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at a negative limit",
        scenario: "fetching",
        api: "Fetch",
        rounds: ALL,
        step: "less than no byte of a partition",
        fields: &[("responses[limited].partitions[0].*", This("*"))],
    },
    Exception {
        reason: "an answer ends with a whole batch; Kafka cuts the last one short",
        scenario: "fetching",
        api: "Fetch",
        rounds: ALL,
        step: "a batch and a half",
        fields: &[("responses[limited].partitions[0].records", This("112 bytes [0..2 *]"))],
    },
    Exception {
        reason: "what only followers say (the epoch of their last batch) is not looked at",
        scenario: "fetching",
        api: "Fetch",
        rounds: (12, 18),
        step: "after a batch of epoch 3",
        fields: &[("responses[led].partitions[0].*", This("*"))],
    },
    Exception {
        reason: "a session's topic may come twice in an answer, with a partition each",
        scenario: "fetching",
        api: "Fetch",
        rounds: (7, 18),
        step: "the next of it, the right epoch",
        fields: &[
            ("responses[kept #2].*", This("*")),
            ("responses[kept].partitions[0].*", Nothing),
        ],
    },
    Exception {
        reason: "a topic of no partition is answered as such",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "of no partition",
        fields: &[("responses", Nothing), ("responses[acknowledged].*", This("*"))],
    },
    Exception {
        reason: "an error tells of no start of the log; Kafka's do, where the log was asked",
        scenario: "producing",
        api: "Produce",
        rounds: (5, 13),
        step: "*",
        fields: &[("responses[*].partition_responses[0].log_start_offset", This("-1"))],
    },
    Exception {
        reason: "a format that is not served is called that; Kafka calls it damage, or no record",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "magic *",
        fields: &[(
            "responses[bad].partition_responses[0].error_code",
            This("UNSUPPORTED_FOR_MESSAGE_FORMAT"),
        )],
    },
    Exception {
        reason: "bytes that are cut short are damaged, and may be sent again",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "half a header",
        fields: &[("responses[bad].partition_responses[0].error_code", This("CORRUPT_MESSAGE"))],
    },
    Exception {
        reason: "bytes that are cut short are damaged, and may be sent again",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "a batch cut short",
        fields: &[("responses[bad].partition_responses[0].error_code", This("CORRUPT_MESSAGE"))],
    },
    Exception {
        reason: "bytes behind a batch are refused; Kafka drops them without a word",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "bytes behind the batch",
        fields: &[
            ("responses[bad].partition_responses[0].error_code", This("INVALID_RECORD")),
            ("responses[bad].partition_responses[0].base_offset", This("-1")),
        ],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at a codec that is none",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "a codec that nobody knows",
        fields: &[(
            "responses[bad].partition_responses[0].error_code",
            This("UNSUPPORTED_COMPRESSION_TYPE"),
        )],
    },
    Exception {
        reason: "Kafka fails (UNKNOWN_SERVER_ERROR) at records that do not expand",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "gzip that is none",
        fields: &[("responses[bad].partition_responses[0].error_code", This("INVALID_RECORD"))],
    },
    Exception {
        reason: "the broker assigns offsets, whatever stands in their place",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "an offset of its own",
        fields: &[
            ("responses[bad].partition_responses[0].error_code", This("NONE")),
            ("responses[bad].partition_responses[0].base_offset", This("*")),
        ],
    },
    Exception {
        reason: "zstd is taken from old clients too",
        scenario: "producing",
        api: "Produce",
        rounds: (3, 6),
        step: "with Zstd",
        fields: &[
            ("responses[squeezed].partition_responses[0].error_code", This("NONE")),
            ("responses[squeezed].partition_responses[0].base_offset", This("0")),
            ("responses[squeezed].partition_responses[0].log_start_offset", This("0")),
        ],
    },
    Exception {
        reason: "a batch is refused whole, with the reason in its message",
        scenario: "producing",
        api: "Produce",
        rounds: (8, 13),
        step: "*",
        fields: &[
            ("responses[*].partition_responses[0].record_errors[*", Nothing),
            ("responses[*].partition_responses[0].record_errors", This("[]")),
        ],
    },
    Exception {
        reason: "there is no time before 1970",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "made before time began",
        fields: &[
            ("responses[packed].partition_responses[0].error_code", This("INVALID_TIMESTAMP")),
            ("responses[packed].partition_responses[0].base_offset", This("-1")),
        ],
    },
    Exception {
        reason: "what was sent again is not stamped; Kafka gives the producer's own time back",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "the * again",
        fields: &[("responses[once].partition_responses[0].log_append_time_ms", This("-1"))],
    },
    Exception {
        reason: "a producer without an epoch is none",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "without an epoch",
        fields: &[("responses[once].partition_responses[0].error_code", This("INVALID_RECORD"))],
    },
    Exception {
        reason: "there are no transactions yet",
        scenario: "producing",
        api: "Produce",
        rounds: ALL,
        step: "of a transaction, without its id",
        fields: &[("responses[once].partition_responses[0].error_code", This("INVALID_TXN_STATE"))],
    },
    Exception {
        reason: "a topic that cannot be is not there",
        scenario: "producing",
        api: "DescribeProducers",
        rounds: ALL,
        step: "of a name that no topic can have",
        fields: &[("topics[a b].partitions[0].error_code", This("UNKNOWN_TOPIC_OR_PARTITION"))],
    },
    Exception {
        reason: "what is named twice is answered once, lest a small request have a large answer",
        scenario: "offsets",
        api: "OffsetFetch",
        rounds: (8, 10),
        step: "of one group twice",
        fields: &[("groups[one #2].*", Nothing)],
    },
];
