//! Zero-copy slices of mapped files. The only `unsafe` of the project.
//!
//! # Contract
//!
//! A slice handed out by [`Mapping::slice`] stays valid and unchanged for as long as it lives,
//! because all of these hold:
//!
//! 1. A slice never reaches past the *published* end, and the end is published (by
//!    [`Mapping::publish`]) only after the bytes below it have been written by a completed write
//!    call. So no slice covers bytes that are still being written, nor a page beyond the file's
//!    end, which would answer with SIGBUS.
//! 2. Published bytes are never written again and the file is never cut below them. A log is
//!    append-only; retention unlinks whole files, which leaves mappings alone; a log that must be
//!    cut after a crash is cut before its first mapping is made.
//! 3. Each slice holds a reference to the mapping, so `munmap` waits for the last one.
//! 4. Nobody else writes to the file: the data folder is locked by the process that owns it. A
//!    stranger who truncates a live segment by hand breaks this, and the process dies of SIGBUS.
//!
//! Mapped *writes* were rejected: on a full disk they turn into SIGBUS, where a write call returns
//! an error that can be answered.
#![allow(unsafe_code, reason = "the one module that may; see the contract above")]

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::sync::atomic::{AtomicUsize, Ordering};

/// A file's bytes, readable in place up to the published end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mapping(Arc<Region>);

#[derive(Debug)]
struct Region {
    bytes: Backing,
    /// Bytes below may be read. Only ever raised.
    published: AtomicUsize,
}

#[derive(Debug)]
enum Backing {
    File(MmapRaw),
    /// A snapshot held by a replaced storage; what it shows is fixed when it is made.
    Memory(Bytes),
}

impl Mapping {
    /// Maps the first `len` bytes of a file, with nothing published yet. `len` may lie beyond the
    /// file's end.
    pub(crate) fn of_file(file: &fs::File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let bytes = if len == 0 {
            Backing::Memory(Bytes::new())
        } else {
            Backing::File(MmapOptions::new().len(len).map_raw_read_only(file)?)
        };
        Ok(Self(Arc::new(Region { bytes, published: AtomicUsize::new(0) })))
    }

    /// A mapping that shows `bytes`, for a [`Storage`](crate::io::Storage) that is not a disk.
    pub fn of_bytes(bytes: Bytes) -> Self {
        let region = Region { bytes: Backing::Memory(bytes), published: AtomicUsize::new(0) };
        Self(Arc::new(region))
    }

    /// How many bytes are mapped, published or not.
    pub fn len(&self) -> usize {
        match &self.0.bytes {
            Backing::File(map) => map.len(),
            Backing::Memory(bytes) => bytes.len(),
        }
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets readers see everything below `end`. The caller vouches that those bytes have been
    /// written and will not change; see the module's contract. An end beyond the mapping counts as
    /// the mapping's.
    pub(crate) fn publish(&self, end: u64) {
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(self.len());
        self.0.published.fetch_max(end, Ordering::Release);
    }

    /// Brings the bytes in `range` into memory, waiting for the disk if need be. An error where
    /// touching them would end the process, and on kernels that cannot (before Linux 5.14).
    pub(crate) fn populate(&self, range: Range<u64>) -> io::Result<()> {
        let start = usize::try_from(range.start).map_err(io::Error::other)?;
        let end = usize::try_from(range.end).map_err(io::Error::other)?;
        match &self.0.bytes {
            Backing::File(map) if start < end && end <= map.len() => {
                map.advise_range(Advice::PopulateRead, start, end - start)
            }
            _ => Ok(()),
        }
    }

    /// The bytes in `range`, without copying; `None` where the range is not published.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        if start > end || end > self.0.published.load(Ordering::Acquire) {
            return None;
        }
        match &self.0.bytes {
            Backing::Memory(bytes) => Some(bytes.slice(start..end)),
            Backing::File(_) if start == end => Some(Bytes::new()),
            Backing::File(_) => {
                Some(Bytes::from_owner(Window { region: Arc::clone(&self.0), start, end }))
            }
        }
    }
}

/// The published range that one slice covers.
struct Window {
    region: Arc<Region>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        match &self.region.bytes {
            Backing::Memory(bytes) => &bytes[self.start..self.end],
            Backing::File(map) => {
                // SAFETY: `start..end` was within the published range when the window was made,
                // and that range only grows. It lies within the mapping (`publish` clamps), and
                // by the module's contract its bytes are written, within the file, and never
                // change again. The region outlives `&self`.
                unsafe {
                    std::slice::from_raw_parts(map.as_ptr().add(self.start), self.end - self.start)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_with(bytes: &[u8]) -> fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn nothing_is_readable_before_it_is_published() {
        let mapping = Mapping::of_file(&file_with(b"abcdef"), 4096).unwrap();
        assert!(mapping.slice(0..1).is_none());
        mapping.publish(4);
        assert_eq!(mapping.slice(1..4).unwrap(), "bcd");
        assert!(mapping.slice(1..5).is_none());
    }

    #[test]
    fn a_slice_outlives_the_mapping_and_the_file_and_sees_no_later_growth() {
        let mut file = file_with(b"abc");
        let mapping = Mapping::of_file(&file, 4096).unwrap();
        mapping.publish(3);
        let slice = mapping.slice(0..3).unwrap();
        file.write_all(b"def").unwrap();
        mapping.publish(6);
        assert_eq!(mapping.slice(0..6).unwrap(), "abcdef");
        drop((mapping, file));
        assert_eq!(slice, "abc");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_before_it_is_touched() {
        let mapping = Mapping::of_file(&file_with(&[7; 10_000]), 1 << 20).unwrap();
        mapping.populate(5_000..10_000).unwrap();
        assert!(mapping.populate(5_000..100_000).is_err(), "nothing lies there");
    }

    #[test]
    fn publishing_beyond_the_mapping_stops_at_its_end() {
        let mapping = Mapping::of_bytes(Bytes::from_static(b"abc"));
        mapping.publish(100);
        assert_eq!(mapping.slice(0..3).unwrap(), "abc");
        assert!(mapping.slice(0..4).is_none());
    }
}
