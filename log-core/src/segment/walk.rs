//! Walking over the batches of a log file.
//!
//! Reads through the file, not through a mapping: a walk looks at bytes that nobody has vouched
//! for, and a bad disk must answer with an error. One walk serves both uses: lookups, which need
//! the headers alone and skip the bodies, and scans, which check every byte.

use std::path::PathBuf;
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use log_proto::record::{BatchHeader, HEADER_BYTES};
use log_proto::types::Offset;

use super::Located;
use crate::error::{Damage, FileError, ReadError};
use crate::folder::failed;
use crate::io::File;

/// Where the checksummed part of a batch begins: behind its own CRC field (magic 2).
const CHECKSUMMED_FROM: usize = 21;

/// What a walk looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// Headers alone: shape and continuity. Reads a few KiB at a time, because a lookup stops
    /// after a step or two.
    Headers,
    /// Every byte: the checksum as well. Reads 1 MiB at a time.
    Checksums,
}

impl Check {
    const fn chunk_bytes(self) -> usize {
        match self {
            Self::Headers => 4 << 10,
            Self::Checksums => 1 << 20,
        }
    }
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum WalkError {
    File(FileError),
    Damaged(Damage),
}

impl From<FileError> for WalkError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<WalkError> for ReadError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::File(error) => Self::File(error),
            WalkError::Damaged(damage) => Self::Damaged { damage, resume_at: None },
        }
    }
}

/// Goes from batch to batch, from a batch's start to a limit.
pub(crate) struct BatchWalk {
    file: Arc<dyn File>,
    path: PathBuf,
    check: Check,
    position: u64,
    limit: u64,
    /// Offsets are dense: where the next batch must start, once one has been seen.
    expected: Option<Offset>,
    /// What an index says of the first batch. The batch checksum does not cover its offsets: with
    /// one that is wrong, a reader would get another record than the one it asked for.
    expected_last: Option<Offset>,
    /// No batch ends behind this offset.
    bound: Option<Offset>,
    chunk: Vec<u8>,
    chunk_start: u64,
    /// CRC-32 over everything that was read, for seals. Reads are contiguous under
    /// [`Check::Checksums`].
    read_crc: Option<crc32fast::Hasher>,
}

impl BatchWalk {
    pub(crate) fn new(
        file: Arc<dyn File>,
        path: PathBuf,
        check: Check,
        start: u64,
        limit: u64,
    ) -> Self {
        Self {
            file,
            path,
            check,
            position: start,
            limit,
            expected: None,
            expected_last: None,
            bound: None,
            chunk: Vec::new(),
            chunk_start: start,
            read_crc: None,
        }
    }

    /// The first batch must start at `offset`.
    pub(crate) fn expecting(mut self, offset: Offset) -> Self {
        self.expected = Some(offset);
        self
    }

    /// The first batch must end with `offset`.
    pub(crate) fn expecting_last(mut self, offset: Offset) -> Self {
        self.expected_last = Some(offset);
        self
    }

    /// All batches end before `offset`.
    pub(crate) fn bounded(mut self, offset: Offset) -> Self {
        self.bound = Some(offset);
        self
    }

    pub(crate) fn check(&self) -> Check {
        self.check
    }

    /// Where the next batch starts.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; `None` at the limit. After an error the walk stays where it is.
    pub(crate) fn next(&mut self) -> Result<Option<Located>, WalkError> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let header = self.header()?;
        if self.check == Check::Checksums {
            self.verify(&header)?;
        }
        let located = Located { position: self.position, header };
        self.position += header.size_bytes() as u64;
        self.expected = Some(header.next_offset());
        self.expected_last = None;
        Ok(Some(located))
    }

    /// The bytes of the batch that [`BatchWalk::next`] has just given, where all of them are still
    /// in memory: under [`Check::Checksums`], unless it is larger than what is read at a time.
    pub(crate) fn bytes_of(&self, batch: &Located) -> Option<&[u8]> {
        let start = usize::try_from(batch.position.checked_sub(self.chunk_start)?).ok()?;
        self.chunk.get(start..start.checked_add(batch.header.size_bytes())?)
    }

    fn header(&mut self) -> Result<BatchHeader, WalkError> {
        let left = self.limit - self.position;
        if left < HEADER_BYTES as u64 {
            return Err(self.damaged(format!("{left} bytes are left, too few for a batch header")));
        }
        let parsed = BatchHeader::parse(self.bytes_here(HEADER_BYTES)?);
        let header = parsed.map_err(|error| self.damaged(error.to_string()))?;
        if header.size_bytes() as u64 > left {
            let declared = header.size_bytes();
            return Err(
                self.damaged(format!("the batch declares {declared} bytes, {left} are left"))
            );
        }
        match self.expected {
            Some(expected) if header.base_offset() != expected => Err(self.damaged(format!(
                "the batch starts at offset {}, expected {expected}",
                header.base_offset()
            ))),
            _ => self.check_last(header),
        }
    }

    fn check_last(&self, header: BatchHeader) -> Result<BatchHeader, WalkError> {
        match self.expected_last {
            Some(expected) if header.last_offset() != expected => Err(self.damaged(format!(
                "the batch ends with offset {}, its index entry says {expected}",
                header.last_offset()
            ))),
            _ => self.check_bound(header),
        }
    }

    fn check_bound(&self, header: BatchHeader) -> Result<BatchHeader, WalkError> {
        match self.bound {
            Some(bound) if header.next_offset() > bound => Err(self.damaged(format!(
                "the batch ends with offset {}, its segment before {bound}",
                header.last_offset()
            ))),
            _ => Ok(header),
        }
    }

    fn verify(&mut self, header: &BatchHeader) -> Result<(), WalkError> {
        let size = header.size_bytes();
        let verified = if size <= self.check.chunk_bytes() {
            let batch = &self.bytes_here(size)?[..size];
            header.verify_crc(batch).map_err(|error| error.to_string())
        } else {
            let found = self.crc_of_large_batch(size)?;
            if found == header.crc() {
                Ok(())
            } else {
                Err(format!("batch CRC is {found:#010x}, the header says {:#010x}", header.crc()))
            }
        };
        verified.map_err(|detail| self.damaged(detail))
    }

    /// A length read from a damaged header may be anything up to the file's: the checksum is
    /// taken chunk by chunk rather than from a buffer of that size.
    fn crc_of_large_batch(&mut self, size: usize) -> Result<u32, FileError> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let start = self.position;
        let mut done = CHECKSUMMED_FROM;
        while done < size {
            self.position = start + done as u64;
            let wanted = (size - done).min(self.check.chunk_bytes());
            let bytes = match self.bytes_here(wanted) {
                Ok(bytes) => &bytes[..wanted],
                Err(error) => {
                    self.position = start;
                    return Err(error);
                }
            };
            digest.update(bytes);
            done += wanted;
        }
        self.position = start;
        // The chunk may lie behind the header by now; what follows starts behind it too.
        Ok(u32::try_from(digest.finalize()).unwrap_or_default())
    }

    /// At least `wanted` bytes from the present position on; `wanted` fits a chunk.
    fn bytes_here(&mut self, wanted: usize) -> Result<&[u8], FileError> {
        let here = self
            .position
            .checked_sub(self.chunk_start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip + wanted <= self.chunk.len());
        let start = match here {
            Some(start) => start,
            None => {
                self.fill(wanted)?;
                0
            }
        };
        Ok(&self.chunk[start..])
    }

    fn fill(&mut self, wanted: usize) -> Result<(), FileError> {
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let mut chunk = std::mem::take(&mut self.chunk);
        let chunk_end = self.chunk_start + chunk.len() as u64;
        chunk.resize(self.check.chunk_bytes().min(left), 0);
        self.file
            .read_exact_at(&mut chunk, self.position)
            .map_err(failed("read", self.path.clone()))?;
        if let Some(crc) = &mut self.read_crc {
            let seen = usize::try_from(chunk_end.saturating_sub(self.position)).unwrap_or(0);
            crc.update(chunk.get(seen..).unwrap_or_default());
        }
        debug_assert!(chunk.len() >= wanted);
        self.chunk = chunk;
        self.chunk_start = self.position;
        Ok(())
    }

    fn damaged(&self, detail: String) -> WalkError {
        WalkError::Damaged(Damage { file: self.path.clone(), position: self.position, detail })
    }

    /// Also takes the CRC-32 of all bytes from the walk's start to its limit.
    pub(crate) fn with_read_crc(mut self) -> Self {
        self.read_crc = Some(crc32fast::Hasher::new());
        self
    }

    /// The CRC-32 of what was walked over; complete once [`BatchWalk::next`] has said `None`.
    pub(crate) fn read_crc(self) -> u32 {
        self.read_crc.map_or(0, crc32fast::Hasher::finalize)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use log_proto::record::{BatchBuilder, BatchOptions};
    use log_proto::types::TimestampMs;

    use super::*;
    use crate::io::{Disk, OpenMode, Storage};

    /// Batches back to back whose records are of these sizes.
    fn log_of(record_bytes: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (place, bytes) in record_bytes.iter().enumerate() {
            let base_offset = Offset::new(place as i64).unwrap();
            let options = BatchOptions { base_offset, ..BatchOptions::default() };
            let mut batch = BatchBuilder::new(options);
            let value = vec![place as u8 + 1; *bytes];
            batch.push(TimestampMs::new(0), None, Some(&value), &[]).unwrap();
            log.extend_from_slice(&batch.build().unwrap());
        }
        log
    }

    fn walk_over(log: &[u8], check: Check) -> (tempfile::TempDir, BatchWalk) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let file = Disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(log)], 0).unwrap();
        (folder, BatchWalk::new(file, path, check, 0, log.len() as u64))
    }

    const MIB: usize = 1 << 20;

    /// Smaller, as large as and larger than what is read at a time, in every neighbourhood.
    const SIZES: [usize; 11] =
        [10, 3 * MIB, 0, MIB - 70, MIB, 500_000, 700_000, MIB + 1, 2 * MIB, 1, 900_000];

    #[test]
    fn a_walk_finds_every_batch_and_its_crc_covers_every_byte() {
        let log = log_of(&SIZES);
        for check in [Check::Headers, Check::Checksums] {
            let (_folder, walk) = walk_over(&log, check);
            let mut walk = walk.expecting(Offset::ZERO).with_read_crc();
            let mut found = 0;
            while walk.next().unwrap().is_some() {
                found += 1;
            }
            assert_eq!((found, walk.position()), (SIZES.len(), log.len() as u64));
            if check == Check::Checksums {
                assert_eq!(walk.read_crc(), crc32fast::hash(&log));
            }
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_walk_at_its_batch_however_large_it_is() {
        let whole = log_of(&[10, 3 * MIB, 20]);
        let (first, second) = (log_of(&[10]).len(), log_of(&[10, 3 * MIB]).len());
        for (position, start) in
            [(70, 0), (first + 100, first), (second - 1, first), (second + 65, second)]
        {
            let mut log = whole.clone();
            log[position] ^= 4;
            let (_folder, mut walk) = walk_over(&log, Check::Checksums);
            let damage = loop {
                match walk.next() {
                    Ok(batch) => assert!(batch.is_some(), "the damage at {position} was not seen"),
                    Err(WalkError::Damaged(damage)) => break damage,
                    Err(WalkError::File(error)) => panic!("{error}"),
                }
            };
            assert_eq!(damage.position, start as u64);
            assert!(walk.next().is_err(), "a walk stays where the damage is");
        }
    }

    #[test]
    fn a_length_that_reaches_beyond_the_limit_allocates_nothing_and_is_damage() {
        let mut log = log_of(&[10, 10]);
        log[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        let (_folder, mut walk) = walk_over(&log, Check::Checksums);
        assert!(matches!(walk.next(), Err(WalkError::Damaged(_))));
    }

    #[test]
    fn batches_that_do_not_follow_each_other_are_damage() {
        let log = [log_of(&[10]), log_of(&[10])].concat();
        let (_folder, mut walk) = walk_over(&log, Check::Headers);
        assert!(walk.next().unwrap().is_some());
        assert!(matches!(walk.next(), Err(WalkError::Damaged(_))));
    }
}
