//! The checkpoint of one log: from where on a start must look, and what it need not look up.
//!
//! It is a hint. Everything below the recovery point had been synced when the checkpoint was
//! written, so an old one only costs time; one that is missing or torn costs a scan of every
//! segment without a seal. That is why the running log replaces it about once a second without
//! syncing it. Only the one that a clean stop writes is synced.
//!
//! ```text
//!   payload (after the checkpoint header, big endian)
//!   0  state            u8    0 running, 1 stopped cleanly
//!   1  segment          i64   base offset of the segment that the recovery point lies in
//!   9  position         u64   … in bytes
//!   17 offset           i64   … as an offset: the next one
//!   25 active since     i64   first append to the active segment, broker's clock; -1 none
//!   33 indexes of the segment offset, time, transaction: length u64 and CRC-32 u32 each
//!   69 leader epochs          count u32, then epoch i32 and start offset i64 each
//! ```

use log_proto::types::TimestampMs;

use crate::checkpoint::{CheckpointDamage, CheckpointKind, Reader, Writer, frame, unframe};
use crate::error::FileError;
use crate::folder::Folder;
use crate::leader_epoch::LeaderEpochCache;
use crate::offsets::Tail;
use crate::segment::{FileName, IndexSums};

const VERSION: u16 = 1;
/// Room for more than a million leader epochs; a larger file is not ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How the log was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LeftAs {
    /// In use, or stopped by a crash.
    Running,
    /// Closed: nothing lies behind the recovery point, and all derived files are complete.
    Clean,
}

/// What a start needs to know.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LogCheckpoint {
    pub(crate) left_as: LeftAs,
    pub(crate) recovery_point: Tail,
    pub(crate) active_since: Option<TimestampMs>,
    /// What the index files of the recovery point's segment begin with.
    pub(crate) indexes: IndexSums,
    pub(crate) epochs: LeaderEpochCache,
}

impl LogCheckpoint {
    /// The folder's checkpoint; `None` where there is none that can be trusted.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Self>, FileError> {
        let bytes = folder.read_hint(&FileName::Checkpoint, FILE_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes).ok()))
    }

    /// Replaces the folder's checkpoint, durably after a clean stop.
    pub(crate) fn write(&self, folder: &Folder) -> Result<(), FileError> {
        let bytes = self.encode();
        match self.left_as {
            LeftAs::Clean => crate::durable::replace(folder, &FileName::Checkpoint, &bytes),
            LeftAs::Running => crate::durable::replace_hint(folder, &FileName::Checkpoint, &bytes),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Writer::default();
        payload.put_u8(match self.left_as {
            LeftAs::Running => 0,
            LeftAs::Clean => 1,
        });
        payload.put_i64(self.recovery_point.segment.get());
        payload.put_u64(self.recovery_point.position);
        payload.put_i64(self.recovery_point.offset.get());
        payload.put_i64(self.active_since.map_or(-1, TimestampMs::get));
        self.indexes.write_to(&mut payload);
        self.epochs.write_to(&mut payload);
        frame(CheckpointKind::Log, VERSION, payload.as_slice())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CheckpointDamage> {
        let (_, payload) = unframe(CheckpointKind::Log, VERSION, bytes)?;
        let mut reader = Reader::new(payload);
        let left_as = match reader.take_u8()? {
            1 => LeftAs::Clean,
            _ => LeftAs::Running,
        };
        let segment = reader.take_offset()?;
        let position = reader.take_u64()?;
        let offset = reader.take_offset()?;
        let since = reader.take_i64()?;
        let indexes = IndexSums::read_from(&mut reader)?;
        let epochs = LeaderEpochCache::read_from(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            left_as,
            recovery_point: Tail { offset, segment, position },
            active_since: (since >= 0).then(|| TimestampMs::new(since)),
            indexes,
            epochs,
        })
    }
}

#[cfg(test)]
mod tests {
    use log_proto::types::{LeaderEpoch, Offset};

    use super::*;

    fn checkpoint(left_as: LeftAs) -> LogCheckpoint {
        let offset = |value| Offset::new(value).unwrap();
        let mut epochs = LeaderEpochCache::default();
        epochs.assign(LeaderEpoch::new(2).unwrap(), offset(7));
        LogCheckpoint {
            left_as,
            recovery_point: Tail { offset: offset(9), segment: offset(4), position: 300 },
            active_since: Some(TimestampMs::new(1000)),
            indexes: IndexSums::default(),
            epochs,
        }
    }

    #[test]
    fn golden_bytes() {
        let payload = b"\
            \x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x01\x2c\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\x03\xe8\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x07";
        let whole = frame(CheckpointKind::Log, 1, payload);
        assert_eq!(checkpoint(LeftAs::Clean).encode(), whole);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        for left_as in [LeftAs::Running, LeftAs::Clean] {
            let whole = checkpoint(left_as).encode();
            assert_eq!(LogCheckpoint::decode(&whole).unwrap(), checkpoint(left_as));
            let (_, payload) = unframe(CheckpointKind::Log, 1, &whole).unwrap();
            for len in 0..payload.len() {
                let cut = frame(CheckpointKind::Log, 1, &payload[..len]);
                assert!(LogCheckpoint::decode(&cut).is_err(), "{len} bytes");
            }
            let extended = [payload, b"x"].concat();
            assert!(LogCheckpoint::decode(&frame(CheckpointKind::Log, 1, &extended)).is_err());
        }
    }

    #[test]
    fn only_a_clean_stop_that_says_so_is_one() {
        let whole = checkpoint(LeftAs::Clean).encode();
        let (_, payload) = unframe(CheckpointKind::Log, 1, &whole).unwrap();
        for state in [0, 2, 255] {
            let other = [&[state], &payload[1..]].concat();
            let decoded = LogCheckpoint::decode(&frame(CheckpointKind::Log, 1, &other));
            assert!(decoded.is_ok_and(|decoded| decoded.left_as == LeftAs::Running), "{state}");
        }
    }
}
