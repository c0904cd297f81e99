//! Small durable files: how their bytes are framed, and how the file is replaced.
//!
//! Everything the log keeps beside Kafka's own formats goes through this frame:
//!
//! ```text
//! 0        4         6          10           10 + n     14 + n
//! +--------+---------+-----------+-----------+----------+
//! | magic  | version | n         | payload   | CRC-32   |
//! | 4 bytes| u16     | u32       | n bytes   | u32      |
//! +--------+---------+-----------+-----------+----------+
//! ```
//!
//! The rule: a frame is taken whole or not at all. The checksum (IEEE) covers every byte before it,
//! the length must account for every byte of the file, the magic says which kind of file this is,
//! and a version this build does not know is refused by name. Numbers are big-endian, as in the
//! log beside them. Text formats such as Kafka's checkpoint files were rejected: a torn or flipped
//! digit there is still a number.

use std::fmt;

use log_proto::types::Offset;
use thiserror::Error;

/// Which small file a frame is. Each kind has a magic of its own, so that a file that took
/// another's name is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckpointKind {
    /// The recovery point of one log, and what else a start wants to know.
    Log,
    /// The offset below which records are deleted.
    LogStart,
    /// The five-batch windows that belong to a producer snapshot.
    ProducerWindows,
    /// Size and checksum of a sealed segment.
    Seal,
}

impl CheckpointKind {
    /// The first four bytes of the file.
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Log => *b"CRCP",
            Self::LogStart => *b"CRLS",
            Self::ProducerWindows => *b"CRPW",
            Self::Seal => *b"CRSL",
        }
    }
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log checkpoint",
            Self::LogStart => "log start file",
            Self::ProducerWindows => "producer window file",
            Self::Seal => "segment seal",
        })
    }
}

/// Why bytes are no frame of the kind that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum CheckpointDamage {
    /// The file does not have the length that its frame says, or not even a frame's.
    #[error("{kind} is {found} bytes long where {expected} were expected")]
    Length {
        /// What the file should be.
        kind: CheckpointKind,
        /// Bytes the frame needs.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The file is something else.
    #[error("{kind} begins with {found:02x?} where its magic {expected:02x?} was expected")]
    Magic {
        /// What the file should be.
        kind: CheckpointKind,
        /// The kind's magic.
        expected: [u8; 4],
        /// The file's first bytes.
        found: [u8; 4],
    },
    /// Some byte changed since the file was written.
    #[error("{kind} has checksum {found:#010x} where its bytes give {expected:#010x}")]
    Checksum {
        /// What the file should be.
        kind: CheckpointKind,
        /// Computed over the bytes.
        expected: u32,
        /// Stored behind the bytes.
        found: u32,
    },
    /// The file is sound, and from another build.
    #[error(
        "{kind} has version {found} and this build knows 1 to {newest}; start the build that wrote it"
    )]
    Version {
        /// What the file should be.
        kind: CheckpointKind,
        /// The newest version this build reads.
        newest: u16,
        /// The file's version.
        found: u16,
    },
    /// The frame is sound and what it holds makes no sense.
    #[error(transparent)]
    Payload(#[from] PayloadDamage),
}

/// Magic, version and length.
const HEADER_BYTES: usize = 4 + 2 + 4;
/// The checksum behind the payload.
const CHECKSUM_BYTES: usize = 4;

/// The bytes of a whole file of `kind` that holds `payload`, laid out as `version`.
pub(crate) fn frame(kind: CheckpointKind, version: u16, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a small file's payload is far below 4 GiB");
    let mut out = Writer::with_capacity(HEADER_BYTES + payload.len() + CHECKSUM_BYTES);
    out.put_slice(&kind.magic());
    out.put_u16(version);
    out.put_u32(len);
    out.put_slice(payload);
    let checksum = crc32fast::hash(out.as_slice());
    out.put_u32(checksum);
    out.into_vec()
}

/// The version and payload of a whole file that should be of `kind`, in a version from 1 to
/// `newest`.
///
/// The frame itself is the same in every version, so that a newer file can be told from a damaged
/// one. To change what a kind holds: raise the newest version where the payload is decoded, keep
/// reading every version below it, and pin the new bytes in a test beside the old ones.
pub(crate) fn unframe(
    kind: CheckpointKind,
    newest: u16,
    bytes: &[u8],
) -> Result<(u16, &[u8]), CheckpointDamage> {
    let wrong_length =
        |expected: u64| CheckpointDamage::Length { kind, expected, found: bytes.len() as u64 };
    let overhead = (HEADER_BYTES + CHECKSUM_BYTES) as u64;
    let mut reader = Reader::new(bytes);
    let header = read_header(&mut reader).map_err(|_| wrong_length(overhead))?;
    if header.magic != kind.magic() {
        let (expected, found) = (kind.magic(), header.magic);
        return Err(CheckpointDamage::Magic { kind, expected, found });
    }
    let whole = overhead + u64::from(header.payload_len);
    if bytes.len() as u64 != whole {
        return Err(wrong_length(whole));
    }
    let (covered, stored) =
        bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| wrong_length(whole))?;
    let (expected, found) = (crc32fast::hash(covered), u32::from_be_bytes(*stored));
    if expected != found {
        return Err(CheckpointDamage::Checksum { kind, expected, found });
    }
    if header.version == 0 || header.version > newest {
        return Err(CheckpointDamage::Version { kind, newest, found: header.version });
    }
    Ok((header.version, &covered[HEADER_BYTES..]))
}

struct Header {
    magic: [u8; 4],
    version: u16,
    payload_len: u32,
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header, PayloadDamage> {
    Ok(Header {
        magic: reader.take_array()?,
        version: reader.take_u16()?,
        payload_len: reader.take_u32()?,
    })
}

/// Why a payload does not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum PayloadDamage {
    /// It ends before the value does.
    #[error("{wanted} bytes wanted at byte {position}, where {remaining} remain")]
    Truncated {
        /// Where the value begins, in bytes from the start of what is decoded.
        position: u64,
        /// Bytes the value needs.
        wanted: u64,
        /// Bytes there are.
        remaining: u64,
    },
    /// It goes on behind the last value.
    #[error("{remaining} stray bytes at byte {position}, where the end was expected")]
    Trailing {
        /// Where the end should be.
        position: u64,
        /// Bytes behind it.
        remaining: u64,
    },
    /// A value cannot be right.
    #[error("{what} at byte {position} is {found}, which it cannot be")]
    Value {
        /// Where the value begins.
        position: u64,
        /// The value's name.
        what: &'static str,
        /// The value.
        found: i64,
    },
}

/// Reads big-endian numbers from front to back, never past the end.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    remaining: &'a [u8],
    position: u64,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { remaining: bytes, position: 0 }
    }

    /// Bytes not yet taken.
    pub(crate) const fn remaining(&self) -> usize {
        self.remaining.len()
    }

    /// The next `N` bytes.
    pub(crate) fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PayloadDamage> {
        let Some((taken, rest)) = self.remaining.split_first_chunk::<N>() else {
            return Err(self.truncated(N as u64));
        };
        self.remaining = rest;
        self.position += N as u64;
        Ok(*taken)
    }

    /// `count` as a length, if that many entries of `entry_bytes` can still follow. This is what
    /// lets a decoder reserve memory for a count that a stranger wrote.
    pub(crate) fn room_for(&self, count: u32, entry_bytes: usize) -> Result<usize, PayloadDamage> {
        let wanted = u64::from(count).saturating_mul(entry_bytes as u64);
        match usize::try_from(count) {
            Ok(count) if wanted <= self.remaining() as u64 => Ok(count),
            _ => Err(self.truncated(wanted)),
        }
    }

    /// The next number as what `accept` makes of it; damage where it makes nothing of it.
    pub(crate) fn take_as<N: Into<i64> + Copy, T>(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut Self) -> Result<N, PayloadDamage>,
        accept: impl FnOnce(N) -> Option<T>,
    ) -> Result<T, PayloadDamage> {
        let position = self.position;
        let found = take(self)?;
        accept(found).ok_or(PayloadDamage::Value { position, what, found: found.into() })
    }

    /// The next offset.
    pub(crate) fn take_offset(&mut self) -> Result<Offset, PayloadDamage> {
        self.take_as("offset", Self::take_i64, Offset::new)
    }

    /// Damage unless every byte was taken.
    pub(crate) const fn finish(self) -> Result<(), PayloadDamage> {
        let (position, remaining) = (self.position, self.remaining.len() as u64);
        if remaining == 0 { Ok(()) } else { Err(PayloadDamage::Trailing { position, remaining }) }
    }

    const fn truncated(&self, wanted: u64) -> PayloadDamage {
        let (position, remaining) = (self.position, self.remaining.len() as u64);
        PayloadDamage::Truncated { position, wanted, remaining }
    }
}

/// Writes big-endian numbers one behind the other.
#[derive(Default, Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Empty, with room for `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends bytes as they are.
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// What has been written.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// What has been written, to keep.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// One pair of methods for each width: explicit types only, so that no `usize` reaches a disk.
macro_rules! widths {
    ($($take:ident, $put:ident, $number:ty;)*) => {
        impl Reader<'_> {$(
            #[doc = concat!("The next big-endian `", stringify!($number), "`.")]
            pub(crate) fn $take(&mut self) -> Result<$number, PayloadDamage> {
                self.take_array().map(<$number>::from_be_bytes)
            }
        )*}
        impl Writer {$(
            #[doc = concat!("Appends a big-endian `", stringify!($number), "`.")]
            pub(crate) fn $put(&mut self, value: $number) {
                self.put_slice(&value.to_be_bytes());
            }
        )*}
    };
}
widths! {
    take_u8, put_u8, u8;
    take_u16, put_u16, u16;
    take_u32, put_u32, u32;
    take_u64, put_u64, u64;
    take_i16, put_i16, i16;
    take_i32, put_i32, i32;
    take_i64, put_i64, i64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [CheckpointKind; 4] = [
        CheckpointKind::Log,
        CheckpointKind::LogStart,
        CheckpointKind::ProducerWindows,
        CheckpointKind::Seal,
    ];

    #[test]
    fn golden_bytes_of_a_frame() {
        let bytes = frame(CheckpointKind::Seal, 1, b"abc");
        assert_eq!(bytes, b"CRSL\x00\x01\x00\x00\x00\x03abc\xae\xd3\x14\xdf");
        assert_eq!(unframe(CheckpointKind::Seal, 1, &bytes), Ok((1, &b"abc"[..])));
    }

    #[test]
    fn no_kind_takes_the_frame_of_another() {
        for written in KINDS {
            let bytes = frame(written, 1, b"payload");
            for read in KINDS {
                let taken = unframe(read, 1, &bytes).is_ok();
                assert_eq!(taken, read == written, "{written} as {read}");
            }
        }
    }

    #[test]
    fn versions_of_another_build_are_refused_by_name() {
        let kind = CheckpointKind::LogStart;
        for found in [0, 3, u16::MAX] {
            let refused = unframe(kind, 2, &frame(kind, found, b"")).unwrap_err();
            assert_eq!(refused, CheckpointDamage::Version { kind, newest: 2, found });
        }
        assert_eq!(unframe(kind, 2, &frame(kind, 1, b"old")), Ok((1, &b"old"[..])));
    }

    #[test]
    fn a_reader_stops_at_the_end_and_says_where() {
        let mut reader = Reader::new(&[0, 1, 2]);
        assert_eq!(reader.take_u16(), Ok(1));
        let truncated = PayloadDamage::Truncated { position: 2, wanted: 4, remaining: 1 };
        assert_eq!(reader.take_i32(), Err(truncated));
        assert_eq!(reader.take_u8(), Ok(2));
        assert_eq!(reader.finish(), Ok(()));
        let trailing = PayloadDamage::Trailing { position: 0, remaining: 3 };
        assert_eq!(Reader::new(&[0; 3]).finish(), Err(trailing));
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_place() {
        let mut reader = Reader::new(&[7, 255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(reader.take_u8(), Ok(7));
        assert_eq!(
            reader.take_offset().unwrap_err().to_string(),
            "offset at byte 1 is -2, which it cannot be"
        );
    }

    #[test]
    fn a_count_is_bounded_by_what_remains() {
        let reader = Reader::new(&[0; 24]);
        assert_eq!(reader.room_for(3, 8), Ok(3));
        let truncated = PayloadDamage::Truncated { position: 0, wanted: 32, remaining: 24 };
        assert_eq!(reader.room_for(4, 8), Err(truncated));
        assert!(reader.room_for(u32::MAX, usize::MAX).is_err());
    }

    proptest! {
        #[test]
        fn frames_round_trip(payload: Vec<u8>) {
            let bytes = frame(CheckpointKind::Log, 1, &payload);
            prop_assert_eq!(unframe(CheckpointKind::Log, 1, &bytes), Ok((1, &payload[..])));
        }

        #[test]
        fn every_other_length_is_refused(payload: Vec<u8>, stray in 1_usize..9) {
            let mut bytes = frame(CheckpointKind::Log, 1, &payload);
            for len in 0..bytes.len() {
                prop_assert!(unframe(CheckpointKind::Log, 1, &bytes[..len]).is_err());
            }
            bytes.resize(bytes.len() + stray, 0);
            prop_assert!(unframe(CheckpointKind::Log, 1, &bytes).is_err());
        }

        #[test]
        fn every_flipped_bit_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let bytes = frame(CheckpointKind::Log, 1, &payload);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(unframe(CheckpointKind::Log, 1, &flipped).is_err(), "bit {}", bit);
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            for kind in KINDS {
                prop_assert!(unframe(kind, u16::MAX, &bytes).is_err());
            }
        }
    }
}
