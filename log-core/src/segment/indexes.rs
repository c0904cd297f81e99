//! The index files of one segment, between memory and disk.
//!
//! Indexes are derived from the log, so they are written without a sync of their own. What is
//! synced is a note of what must be in them, within the segment's seal or the log's checkpoint: a
//! file that does not hold that is no index, and is built anew from the log. An index that is
//! merely shorter than it should be would look sound, and hide an aborted transaction.

use std::io::IoSlice;

use bytes::Bytes;
use log_proto::record::NO_TIMESTAMP;
use log_proto::types::{Offset, TimestampMs};

use super::FileName;
use crate::checkpoint::{PayloadDamage, Reader, Writer};
use crate::error::{Damage, FileError};
use crate::folder::{Folder, failed};
use crate::index::{AbortedTxn, OffsetIndex, TimeIndex, TxnIndex};
use crate::io::OpenMode;

/// The three indexes of a segment, in memory or mapped.
#[derive(Clone, Debug)]
pub(crate) struct Indexes {
    pub(crate) offset: OffsetIndex,
    pub(crate) time: TimeIndex,
    pub(crate) txn: TxnIndex,
    /// The largest timestamp so far, with the last offset of its batch. Ahead of the time index,
    /// which gets an entry only now and then.
    pub(crate) max_timestamp: Option<(TimestampMs, Offset)>,
    /// Where damage in the log kept them from being built to the segment's end.
    pub(crate) broken_off: Option<BrokenOff>,
    /// What of each index is in its file.
    persisted: [Persisted; 3],
}

/// How far indexes reach that were built from a damaged log.
#[derive(Clone, Debug)]
pub(crate) struct BrokenOff {
    pub(crate) damage: Damage,
    /// The first offset that they know nothing of.
    pub(crate) next_offset: Offset,
    /// From here on the end markers may be among what is not known: whether a record was taken
    /// back cannot be told.
    pub(crate) undecided_from: Offset,
}

/// The beginning of an index that is in its file, with its running CRC-32.
#[derive(Clone, Default, Debug)]
struct Persisted {
    /// Whether the file is of these indexes, and not of earlier ones.
    begun: bool,
    bytes: usize,
    crc: crc32fast::Hasher,
}

/// What the offset, time and transaction index files must begin with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct IndexSums([IndexSum; 3]);

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct IndexSum {
    bytes: u64,
    crc: u32,
}

impl IndexSums {
    /// Three times length u64 and CRC-32 u32.
    pub(crate) fn write_to(&self, out: &mut Writer) {
        for sum in &self.0 {
            out.put_u64(sum.bytes);
            out.put_u32(sum.crc);
        }
    }

    /// Whether no transaction was aborted in the segment.
    pub(crate) fn txn_is_empty(&self) -> bool {
        self.0[2].bytes == 0
    }

    pub(crate) fn read_from(reader: &mut Reader<'_>) -> Result<Self, PayloadDamage> {
        let mut sums = Self::default();
        for sum in &mut sums.0 {
            *sum = IndexSum { bytes: reader.take_u64()?, crc: reader.take_u32()? };
        }
        Ok(sums)
    }
}

impl IndexSum {
    /// The beginning of the file that the sum is about, if it is there.
    fn of(self, file: Option<Bytes>) -> Option<Bytes> {
        let bytes = usize::try_from(self.bytes).ok()?;
        let file = file.unwrap_or_default();
        let found = (bytes <= file.len()).then(|| file.slice(..bytes))?;
        (crc32fast::hash(&found) == self.crc).then_some(found)
    }
}

impl Indexes {
    pub(crate) fn empty(base: Offset) -> Self {
        Self {
            offset: OffsetIndex::new(base),
            time: TimeIndex::new(base),
            txn: TxnIndex::new(),
            max_timestamp: None,
            broken_off: None,
            persisted: Default::default(),
        }
    }

    /// The indexes from their files; `None` if those do not begin as `sums` says.
    pub(crate) fn read(
        folder: &Folder,
        base: Offset,
        sums: &IndexSums,
    ) -> Result<Option<Self>, FileError> {
        let [offset, time, txn] = &sums.0;
        let Some(offset) = offset.of(map(folder, &FileName::Index(base))?) else { return Ok(None) };
        let Some(time) = time.of(map(folder, &FileName::TimeIndex(base))?) else { return Ok(None) };
        let Some(txn) = txn.of(map(folder, &FileName::TxnIndex(base))?) else { return Ok(None) };
        let persisted = [&offset, &time, &txn].map(|bytes| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(bytes);
            Persisted { begun: true, bytes: bytes.len(), crc }
        });
        let parsed = (
            // Of a log that was cut, they know more than there is: that costs nothing.
            OffsetIndex::parse(base, offset, u64::MAX),
            TimeIndex::parse(base, time),
            TxnIndex::parse(base, txn),
        );
        let (Ok(offset), Ok(time), Ok(txn)) = parsed else { return Ok(None) };
        let max_timestamp = time.last();
        let broken_off = None;
        Ok(Some(Self { offset, time, txn, max_timestamp, broken_off, persisted }))
    }

    /// What the files hold of these indexes.
    pub(crate) fn sums(&self) -> IndexSums {
        IndexSums(self.persisted.each_ref().map(|persisted| IndexSum {
            bytes: persisted.bytes as u64,
            crc: persisted.crc.clone().finalize(),
        }))
    }

    /// A batch was appended at `position`; `due` says whether it gets an entry.
    pub(crate) fn appended(
        &mut self,
        position: u64,
        last_offset: Offset,
        max_timestamp: TimestampMs,
        due: IndexEntryDue,
    ) {
        let largest = self.max_timestamp.map_or(NO_TIMESTAMP, |(largest, _)| largest);
        if max_timestamp > largest {
            self.max_timestamp = Some((max_timestamp, last_offset));
        }
        if due == IndexEntryDue::Now {
            // An entry that is left out costs a longer walk, never a record.
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            let _ = self.offset.push(last_offset, position);
            self.settle_time();
        }
    }

    /// A transaction was aborted. Unlike the others, this index may not miss an entry: readers
    /// would see what was taken back.
    pub(crate) fn add_aborted(&mut self, txn: &AbortedTxn) {
        self.txn.push(*txn).expect("markers are added in the order of the log");
    }

    /// Keeps what lies below `offset`.
    pub(crate) fn truncate(&mut self, offset: Offset) {
        self.offset.truncate_to(offset);
        self.time.truncate_to(offset);
        self.txn.truncate_to(offset);
        self.max_timestamp = self.time.last();
    }

    /// Brings the time index up to the largest timestamp.
    pub(crate) fn settle_time(&mut self) {
        if let Some((timestamp, offset)) = self.max_timestamp {
            let _ = self.time.push_if_larger(timestamp, offset);
        }
    }

    /// Writes what is not in the files yet.
    pub(crate) fn persist(&mut self, folder: &Folder, base: Offset) -> Result<(), FileError> {
        self.settle_time();
        if self.broken_off.is_some() {
            // In a file they would look whole.
            return Ok(());
        }
        let files = [
            (FileName::Index(base), self.offset.as_bytes()),
            (FileName::TimeIndex(base), self.time.as_bytes()),
            (FileName::TxnIndex(base), self.txn.as_bytes()),
        ];
        for ((name, bytes), persisted) in files.into_iter().zip(&mut self.persisted) {
            persisted.extend_to(folder, &name, bytes)?;
        }
        Ok(())
    }

    /// Whether the files say all that memory does.
    pub(crate) fn is_persisted(&self) -> bool {
        let lens =
            [self.offset.as_bytes().len(), self.time.as_bytes().len(), self.txn.as_bytes().len()];
        self.broken_off.is_none()
            && lens == self.persisted.each_ref().map(|persisted| persisted.bytes)
            && self.max_timestamp == self.time.last()
    }

    /// Forgets what is in the files, so that the next [`Indexes::persist`] writes them anew.
    pub(crate) fn forget_files(&mut self) {
        self.persisted = Default::default();
    }
}

/// Whether a batch gets an index entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexEntryDue {
    Now,
    Later,
}

/// A file's bytes in place; an empty file's as well, `None` for a missing one.
fn map(folder: &Folder, name: &FileName) -> Result<Option<Bytes>, FileError> {
    let path = folder.path_of(name);
    let file = match folder.storage().open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mapped = file.len().and_then(|len| {
        let mapping = file.map(len)?;
        mapping.publish(len);
        Ok(mapping.slice(0..len))
    });
    mapped.map_err(failed("map", path))
}

impl Persisted {
    /// Appends what the file does not hold yet. Kafka's tools expect an offset and a time index
    /// with every log, however empty; a transaction index exists where there is something in it.
    fn extend_to(
        &mut self,
        folder: &Folder,
        name: &FileName,
        bytes: &[u8],
    ) -> Result<(), FileError> {
        let optional = matches!(name, FileName::TxnIndex(_));
        if bytes.len() == self.bytes && self.begun {
            return Ok(());
        }
        if !self.begun {
            // Removed, not emptied: an earlier file may be mapped.
            folder.remove(name)?;
        }
        if bytes.is_empty() && optional {
            self.begun = true;
            return Ok(());
        }
        let mode = if self.bytes == 0 { OpenMode::CreateOrEmpty } else { OpenMode::Write };
        let added = &bytes[self.bytes..];
        folder
            .open(name, mode)?
            .write_at(&[IoSlice::new(added)], self.bytes as u64)
            .map_err(failed("write", folder.path_of(name)))?;
        self.begun = true;
        self.crc.update(added);
        self.bytes = bytes.len();
        Ok(())
    }
}
