//! The seal of a segment: what it must look like for ever after.
//!
//! Batch checksums cover neither base offsets nor leader epochs, and nothing covers a batch that
//! is missing altogether. The seal does: the size and CRC-32 of the whole log file, and the offset
//! that it ends before. It is written once, durably, after the segment and its indexes have been
//! synced; a segment that has one needs no look at start.
//!
//! ```text
//!   payload (after the checkpoint header, big endian)
//!   0  log bytes   u64
//!   8  log CRC-32  u32
//!   12 next offset i64
//!   20 offset, time and transaction index: length u64 and CRC-32 u32 each
//! ```

use log_proto::types::Offset;

use super::{Check, FileName, IndexSums, Segment, WalkError};
use crate::checkpoint::{CheckpointDamage, CheckpointKind, Reader, Writer, frame, unframe};
use crate::error::FileError;
use crate::folder::Folder;

const VERSION: u16 = 1;
const FILE_BYTES_MAX: u64 = 256;

/// What a sealed segment must look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    pub(crate) log_bytes: u64,
    pub(crate) log_crc: u32,
    pub(crate) next_offset: Offset,
    pub(crate) indexes: IndexSums,
}

impl Seal {
    /// Reads the whole segment, checking every batch on the way: a seal never vouches for bytes
    /// that are damaged already.
    pub(crate) fn compute(segment: &Segment, indexes: IndexSums) -> Result<Self, WalkError> {
        let log_bytes = segment.end();
        let mut walk =
            segment.walk(Check::Checksums, 0, log_bytes)?.expecting(segment.base()).with_read_crc();
        while walk.next()?.is_some() {}
        Ok(Self {
            log_bytes,
            log_crc: walk.read_crc(),
            next_offset: segment.next_offset(),
            indexes,
        })
    }

    /// The seal of the segment at `base`; `None` where there is none, or none that can be trusted.
    pub(crate) fn read(folder: &Folder, base: Offset) -> Result<Option<Self>, FileError> {
        let bytes = folder.read_hint(&FileName::Seal(base), FILE_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes).ok()))
    }

    /// Makes the seal durable.
    pub(crate) fn write(&self, folder: &Folder, base: Offset) -> Result<(), FileError> {
        crate::durable::replace(folder, &FileName::Seal(base), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut payload = Writer::default();
        payload.put_u64(self.log_bytes);
        payload.put_u32(self.log_crc);
        payload.put_i64(self.next_offset.get());
        self.indexes.write_to(&mut payload);
        frame(CheckpointKind::Seal, VERSION, payload.as_slice())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CheckpointDamage> {
        let (_, payload) = unframe(CheckpointKind::Seal, VERSION, bytes)?;
        let mut reader = Reader::new(payload);
        let seal = Self {
            log_bytes: reader.take_u64()?,
            log_crc: reader.take_u32()?,
            next_offset: reader.take_offset()?,
            indexes: IndexSums::read_from(&mut reader)?,
        };
        reader.finish()?;
        Ok(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        let mut sums = Writer::default();
        for (bytes, crc) in [(8_u64, 0x0102_0304_u32), (12, 5), (0, 0)] {
            sums.put_u64(bytes);
            sums.put_u32(crc);
        }
        let indexes = IndexSums::read_from(&mut Reader::new(sums.as_slice())).unwrap();
        let next_offset = Offset::new(9).unwrap();
        Seal { log_bytes: 300, log_crc: 0xcafe_f00d, next_offset, indexes }
    }

    #[test]
    fn golden_bytes() {
        let payload = b"\
            \0\0\0\0\0\0\x01\x2c\xca\xfe\xf0\x0d\0\0\0\0\0\0\0\x09\
            \0\0\0\0\0\0\0\x08\x01\x02\x03\x04\
            \0\0\0\0\0\0\0\x0c\0\0\0\x05\
            \0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(seal().encode(), frame(CheckpointKind::Seal, 1, payload));
    }

    #[test]
    fn a_seal_that_was_cut_or_extended_is_none() {
        let (whole, seal) = (seal().encode(), seal());
        assert_eq!(Seal::decode(&whole).unwrap(), seal);
        let (_, payload) = unframe(CheckpointKind::Seal, 1, &whole).unwrap();
        for len in 0..payload.len() {
            assert!(Seal::decode(&frame(CheckpointKind::Seal, 1, &payload[..len])).is_err());
        }
        let extended = [payload, b"x"].concat();
        assert!(Seal::decode(&frame(CheckpointKind::Seal, 1, &extended)).is_err());
    }
}
