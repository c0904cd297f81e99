//! The index files of one segment, between memory and disk.
//!
//! Indexes are derived from the log: they are written without a sync of their own, and whatever
//! is missing or does not fit is built anew.

use std::io::IoSlice;

use bytes::Bytes;
use log_proto::types::{Offset, TimestampMs};

use super::FileName;
use crate::error::FileError;
use crate::folder::{Folder, failed};
use crate::index::{AbortedTxn, OffsetIndex, TimeIndex, TxnIndex};
use crate::io::OpenMode;

/// The three indexes of a segment, in memory or mapped.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) offset: OffsetIndex,
    pub(crate) time: TimeIndex,
    pub(crate) txn: TxnIndex,
    /// The largest timestamp so far, with the last offset of its batch. Ahead of the time index,
    /// which gets an entry only now and then.
    pub(crate) max_timestamp: Option<(TimestampMs, Offset)>,
    /// How many bytes of each index are in its file.
    persisted: [usize; 3],
}

impl Indexes {
    pub(crate) fn empty(base: Offset) -> Self {
        Self {
            offset: OffsetIndex::new(base),
            time: TimeIndex::new(base),
            txn: TxnIndex::new(),
            max_timestamp: None,
            persisted: [0; 3],
        }
    }

    /// The indexes from their files; `None` if one is missing or does not fit a log of
    /// `log_bytes`. A log without aborted transactions has no transaction index file.
    pub(crate) fn read(
        folder: &Folder,
        base: Offset,
        log_bytes: u64,
    ) -> Result<Option<Self>, FileError> {
        let Some(offset) = map(folder, &FileName::Index(base))? else {
            return Ok(None);
        };
        let Some(time) = map(folder, &FileName::TimeIndex(base))? else {
            return Ok(None);
        };
        let txn = map(folder, &FileName::TxnIndex(base))?.unwrap_or_default();
        let persisted = [offset.len(), time.len(), txn.len()];
        let parsed = (
            OffsetIndex::parse(base, offset, log_bytes),
            TimeIndex::parse(base, time),
            TxnIndex::parse(base, txn),
        );
        let (Ok(offset), Ok(time), Ok(txn)) = parsed else {
            return Ok(None);
        };
        let max_timestamp = time.last();
        Ok(Some(Self { offset, time, txn, max_timestamp, persisted }))
    }

    /// A batch was appended at `position`; `due` says whether it gets an entry.
    pub(crate) fn appended(
        &mut self,
        position: u64,
        last_offset: Offset,
        max_timestamp: TimestampMs,
        due: IndexEntryDue,
    ) {
        if self.max_timestamp.is_none_or(|(largest, _)| max_timestamp > largest) {
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
        let files = [
            (FileName::Index(base), self.offset.as_bytes()),
            (FileName::TimeIndex(base), self.time.as_bytes()),
            (FileName::TxnIndex(base), self.txn.as_bytes()),
        ];
        for ((name, bytes), persisted) in files.into_iter().zip(&mut self.persisted) {
            append_to(folder, &name, bytes, persisted)?;
        }
        Ok(())
    }

    /// Whether the files say all that memory does.
    pub(crate) fn is_persisted(&self) -> bool {
        let lens =
            [self.offset.as_bytes().len(), self.time.as_bytes().len(), self.txn.as_bytes().len()];
        lens == self.persisted && self.max_timestamp == self.time.last()
    }

    /// Forgets what is in the files, so that the next [`Indexes::persist`] writes them anew.
    pub(crate) fn rewrite(mut self, folder: &Folder, base: Offset) -> Result<Self, FileError> {
        for name in [FileName::Index(base), FileName::TimeIndex(base), FileName::TxnIndex(base)] {
            folder.remove(&name)?;
        }
        self.persisted = [0; 3];
        self.persist(folder, base)?;
        Ok(self)
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

/// Index files have their first bytes from creation on; the transaction index only once it has
/// an entry.
fn append_to(
    folder: &Folder,
    name: &FileName,
    bytes: &[u8],
    persisted: &mut usize,
) -> Result<(), FileError> {
    let optional = matches!(name, FileName::TxnIndex(_));
    if bytes.len() == *persisted && (optional || *persisted > 0) {
        return Ok(());
    }
    let mode = if *persisted == 0 { OpenMode::CreateOrEmpty } else { OpenMode::Write };
    let file = folder.open(name, mode)?;
    file.write_at(&[IoSlice::new(&bytes[*persisted..])], *persisted as u64)
        .map_err(failed("write", folder.path_of(name)))?;
    *persisted = bytes.len();
    Ok(())
}
