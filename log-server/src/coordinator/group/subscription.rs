//! The topics in the metadata of a consumer: the only part of what members tell each other that
//! the coordinator looks into, to know which offsets are in use.
//!
//! Every version of ConsumerProtocolSubscription begins as version 0 does: a version (i16), then
//! the topics, as a count (i32) and strings behind their lengths (i16). The rest is not read.

use std::collections::BTreeSet;

use log_proto::types::TimestampMs;

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// What is known of the topics that a group uses, for those who would delete offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Usage {
    /// It has no members, since then; it may have had some.
    EmptySince(TimestampMs),
    /// It has only ever had offsets.
    OffsetsOnly,
    /// Its members use these topics, by name, and the assignment stands.
    Subscribed(BTreeSet<String>),
    /// Its members are consumers that are about to change what they use; what they have used, if
    /// that can be said.
    Unsettled(Option<BTreeSet<String>>),
    /// Its members are no consumers.
    Others,
}

/// What names of topics take in memory, roughly: short ones more than their letters.
pub(super) fn bytes<'a>(names: impl IntoIterator<Item = &'a String>) -> usize {
    names.into_iter().map(|name| size_of::<String>() + name.len()).sum()
}

/// The topics of one subscription; `None` if it is not one.
pub(super) fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, after) = after.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(topic).ok()?.to_owned());
        rest = after;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_java_consumer_sends_is_understood() {
        // Version 1: topics a and bc, null user data, no owned partitions.
        let metadata = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(topics(metadata), Some(["a".to_owned(), "bc".to_owned()].into()));
        assert_eq!(topics(b"\0\0\0\0\0\0"), Some(BTreeSet::new()));
    }

    #[test]
    fn foreign_bytes_are_no_subscription() {
        let huge = b"\0\0\x7f\xff\xff\xff\0\x01a";
        for bad in [&b""[..], b"\0", b"\0\0\0\0\0\x01", b"\0\0\xff\xff\xff\xff", huge] {
            assert_eq!(topics(bad), None, "{bad:?}");
        }
        assert_eq!(topics(b"\0\0\0\0\0\x01\0\x01\xff"), None, "not UTF-8");
    }
}
