//! The names in a partition's folder, parsed and printed in this one place.
//!
//! A file that belongs to an offset is that offset in twenty digits and a suffix, as in Kafka, so
//! that a listing sorts by offset and Kafka's own tools find their files:
//!
//! ```text
//! 00000000000000012345.log                the segment that begins at offset 12345
//! 00000000000000012345.snapshot           producer state below offset 12345
//! 00000000000000012345.cut-4096           what recovery cut off that segment at byte 4096
//! log-start.tmp                           left by a crash before it was renamed
//! ```
//!
//! The rule: a name is ours only if printing what was parsed gives the very same name. Shorter
//! numbers, signs and numbers beyond the largest offset are strangers, which recovery leaves
//! alone. Splitting at the first dot and parsing leniently was rejected: two names for one
//! segment would be two truths.

use std::fmt;

use log_proto::types::Offset;

/// A name in a partition's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileName {
    /// `.log`: record batches back to back, from the offset in the name on.
    Log(Offset),
    /// `.index`: offsets to positions.
    Index(Offset),
    /// `.timeindex`: timestamps to offsets.
    TimeIndex(Offset),
    /// `.txnindex`: aborted transactions.
    TxnIndex(Offset),
    /// `.snapshot`: producer state of everything below the offset in the name.
    Snapshot(Offset),
    /// `.window`: the duplicate-check windows that belong to the snapshot of the same offset.
    Window(Offset),
    /// `.seal`: size and checksum of a sealed `.log`.
    Seal(Offset),
    /// `.cut-<position>`: bytes that recovery cut off a `.log`, kept for inspection.
    Cut {
        /// The segment's base offset.
        base_offset: Offset,
        /// The byte of the `.log` from which on they were cut.
        position: u64,
    },
    /// `partition.json`: which topic and partition this folder is.
    Partition,
    /// `checkpoint`: the recovery point and what else a start wants to know.
    Checkpoint,
    /// `log-start`: the offset below which records are deleted.
    LogStart,
    /// `<name>.tmp`: written aside and not yet renamed. Found at a start, it is a crash's leftover
    /// and goes away.
    Temporary(Box<Self>),
}

/// Digits of the offset in a file name: enough for any `i64`, and one to spare, as in Kafka.
const OFFSET_DIGITS: usize = 20;

/// What stands between the offset and a cut's position.
const CUT: &str = ".cut-";

/// What the name of a file written aside ends in.
const TEMPORARY: &str = ".tmp";

impl FileName {
    /// The files that go when the segment at `base_offset` goes. What was cut off a segment is not
    /// among them: a person decides about that.
    pub const fn of_segment(base_offset: Offset) -> [Self; 7] {
        [
            Self::Log(base_offset),
            Self::Index(base_offset),
            Self::TimeIndex(base_offset),
            Self::TxnIndex(base_offset),
            Self::Snapshot(base_offset),
            Self::Window(base_offset),
            Self::Seal(base_offset),
        ]
    }

    /// Parses a name; `None` for one that is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        match name.strip_suffix(TEMPORARY) {
            Some(name) => Some(Self::Temporary(Box::new(Self::parse_final(name)?))),
            None => Self::parse_final(name),
        }
    }

    fn parse_final(name: &str) -> Option<Self> {
        match name {
            "partition.json" => Some(Self::Partition),
            "checkpoint" => Some(Self::Checkpoint),
            "log-start" => Some(Self::LogStart),
            _ => Self::parse_numbered(name),
        }
    }

    fn parse_numbered(name: &str) -> Option<Self> {
        let (digits, suffix) = name.split_at_checked(OFFSET_DIGITS)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let offset = Offset::new(digits.parse().ok()?)?;
        if let Some(position) = suffix.strip_prefix(CUT) {
            let position = parse_canonical(position)?;
            return Some(Self::Cut { base_offset: offset, position });
        }
        let mut names = Self::of_segment(offset).into_iter();
        names.find(|name| name.numbered() == Some((offset, suffix)))
    }

    /// The offset and the suffix of a name that has them.
    const fn numbered(&self) -> Option<(Offset, &'static str)> {
        match self {
            Self::Log(offset) => Some((*offset, ".log")),
            Self::Index(offset) => Some((*offset, ".index")),
            Self::TimeIndex(offset) => Some((*offset, ".timeindex")),
            Self::TxnIndex(offset) => Some((*offset, ".txnindex")),
            Self::Snapshot(offset) => Some((*offset, ".snapshot")),
            Self::Window(offset) => Some((*offset, ".window")),
            Self::Seal(offset) => Some((*offset, ".seal")),
            Self::Cut { base_offset, .. } => Some((*base_offset, CUT)),
            Self::Partition | Self::Checkpoint | Self::LogStart | Self::Temporary(_) => None,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((offset, suffix)) = self.numbered() {
            write!(f, "{:0digits$}{suffix}", offset.get(), digits = OFFSET_DIGITS)?;
        }
        match self {
            Self::Cut { position, .. } => position.fmt(f),
            Self::Partition => f.write_str("partition.json"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::LogStart => f.write_str("log-start"),
            Self::Temporary(name) => write!(f, "{name}{TEMPORARY}"),
            _ => Ok(()),
        }
    }
}

/// A number without sign and leading zeros.
fn parse_canonical(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    #[test]
    fn names_are_kafkas_where_the_file_is_kafkas() {
        let names = FileName::of_segment(offset(12345)).map(|name| name.to_string());
        assert_eq!(
            names,
            [
                "00000000000000012345.log",
                "00000000000000012345.index",
                "00000000000000012345.timeindex",
                "00000000000000012345.txnindex",
                "00000000000000012345.snapshot",
                "00000000000000012345.window",
                "00000000000000012345.seal",
            ]
        );
        let cut = FileName::Cut { base_offset: Offset::MAX, position: 4096 };
        assert_eq!(cut.to_string(), "09223372036854775807.cut-4096");
        assert_eq!(
            FileName::Temporary(Box::new(cut)).to_string(),
            "09223372036854775807.cut-4096.tmp"
        );
    }

    #[test]
    fn strangers_are_nobodys_files() {
        for name in [
            "",
            ".log",
            ".tmp",
            "checkpoint.tmp.tmp",
            "Partition.json",
            "0000000000000000000.log",
            "000000000000000000000.log",
            "+0000000000000000001.log",
            "-0000000000000000001.log",
            "09223372036854775808.log",
            "99999999999999999999.log",
            "00000000000000000000",
            "00000000000000000000log",
            "00000000000000000000.LOG",
            "00000000000000000000.log.deleted",
            "00000000000000000000.cut-",
            "00000000000000000000.cut-+1",
            "00000000000000000000.cut-01",
            "00000000000000000000.cut-18446744073709551616",
            "0000000000000000000é.log",
            "000000000000000000000é",
        ] {
            assert_eq!(FileName::parse(name), None, "{name:?}");
        }
    }

    fn any_final_name() -> impl Strategy<Value = FileName> {
        let any_offset = || (0..=i64::MAX).prop_map(offset);
        prop_oneof![
            Just(FileName::Partition),
            Just(FileName::Checkpoint),
            Just(FileName::LogStart),
            (any_offset(), 0_usize..7).prop_map(|(at, n)| FileName::of_segment(at)[n].clone()),
            (any_offset(), any::<u64>())
                .prop_map(|(base_offset, position)| FileName::Cut { base_offset, position }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(name in any_final_name()) {
            prop_assert_eq!(FileName::parse(&name.to_string()), Some(name.clone()));
            let aside = FileName::Temporary(Box::new(name));
            prop_assert_eq!(FileName::parse(&aside.to_string()), Some(aside));
        }

        #[test]
        fn what_is_parsed_is_printed(name in "[0-9]{18,21}\\.(log|seal|cut-[0-9]{0,3})(\\.tmp)?") {
            if let Some(parsed) = FileName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
