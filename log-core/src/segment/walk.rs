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
        Ok(Some(located))
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
