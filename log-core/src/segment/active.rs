//! The segment that takes appends.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use log_proto::record::BatchHeader;
use log_proto::types::{Offset, TimestampMs};

use super::indexes::{IndexEntryDue, Indexes};
use super::{FileName, Segment};
use crate::error::{FileError, ReadError};
use crate::folder::{Folder, failed};
use crate::index::AbortedTxn;
use crate::io::OpenMode;

/// A batch with its place, ready to be written: header and body are written as they are.
pub(crate) struct NewBatch<'a> {
    pub(crate) header: &'a BatchHeader,
    pub(crate) header_bytes: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// A write that did not happen.
#[derive(Debug)]
pub(crate) enum WriteFault {
    /// What was written of it has been cut off again; the segment is as before.
    Undone(FileError),
    /// Remains of it may lie behind the segment's end.
    Torn(FileError),
}

/// Owns the end of the log. One exists per log, within its writer.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    segment: Arc<Segment>,
    /// When its first batch was appended, by the broker's clock.
    since: Option<TimestampMs>,
    bytes_since_index_entry: u64,
}

impl ActiveSegment {
    /// Makes the file of a new segment. Its name is durable only once the folder is synced.
    pub(crate) fn create(folder: &Folder, base: Offset) -> Result<Self, FileError> {
        // A file of this name can only be what an earlier, failed roll left: no batch was ever
        // published in it.
        folder.open(&FileName::Log(base), OpenMode::CreateOrEmpty)?;
        let indexes = Some(Indexes::empty(base));
        let segment = Segment::known(folder.clone(), base, 0, base, indexes);
        Ok(Self {
            segment: Arc::new(segment),
            since: None,
            bytes_since_index_entry: 0,
        })
    }

    /// Takes up appending where recovery found the end.
    pub(crate) fn reopen(segment: Arc<Segment>, since: Option<TimestampMs>) -> Self {
        // The next batch gets an entry: how far back the last one lies would cost a look.
        Self {
            segment,
            since,
            bytes_since_index_entry: u64::MAX,
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn base(&self) -> Offset {
        self.segment.base()
    }

    pub(crate) fn size(&self) -> u64 {
        self.segment.end()
    }

    pub(crate) fn since(&self) -> Option<TimestampMs> {
        self.since
    }

    /// Writes a batch behind the last one and lets readers know of it.
    pub(crate) fn append(
        &mut self,
        batch: &NewBatch<'_>,
        index_interval_bytes: u32,
        now: TimestampMs,
    ) -> Result<(), WriteFault> {
        let position = self.segment.end();
        let size = batch.header.size_bytes() as u64;
        let file = self.segment.file().map_err(WriteFault::Undone)?;
        let parts = [IoSlice::new(batch.header_bytes), IoSlice::new(batch.body)];
        if let Err(error) = file.write_at(&parts, position) {
            let error = failed("write", self.segment.log_path())(error);
            return Err(match file.set_len(position) {
                Ok(()) => WriteFault::Undone(error),
                Err(_) => WriteFault::Torn(error),
            });
        }
        self.index(batch.header, position, index_interval_bytes);
        self.bytes_since_index_entry = self.bytes_since_index_entry.saturating_add(size);
        self.since.get_or_insert(now);
        // Readers that see the new end see the bytes below it: they are written by now.
        self.segment
            .next_offset
            .store(batch.header.next_offset().get(), Ordering::Release);
        self.segment.end.store(position + size, Ordering::Release);
        Ok(())
    }

    /// Kafka's rule: a batch gets an entry when more than the interval lies between it and the
    /// last one that has.
    fn index(&mut self, header: &BatchHeader, position: u64, interval: u32) {
        let due = if self.bytes_since_index_entry > u64::from(interval) {
            self.bytes_since_index_entry = 0;
            IndexEntryDue::Now
        } else {
            IndexEntryDue::Later
        };
        self.with_growing_indexes(|indexes| {
            indexes.appended(position, header.last_offset(), header.max_timestamp(), due);
        });
    }

    /// Notes an aborted transaction.
    pub(crate) fn aborted(&mut self, txn: &AbortedTxn) {
        self.with_growing_indexes(|indexes| indexes.add_aborted(txn));
    }

    /// Reads the indexes in, if they were let go of, so that appending need not.
    pub(crate) fn prepare(&self) -> Result<(), ReadError> {
        self.segment.with_indexes(|_| ())
    }

    fn with_growing_indexes(&self, change: impl FnOnce(&mut Indexes)) {
        let mut slot = self.segment.indexes.write();
        let indexes = slot
            .as_mut()
            .expect("prepare() read them and only the writer lets go");
        change(indexes);
    }

    /// Cuts off whatever lies behind the last batch.
    pub(crate) fn trim(&self) -> Result<(), FileError> {
        let file = self.segment.file()?;
        let failed_to = |operation| failed(operation, self.segment.log_path());
        if file.len().map_err(failed_to("read"))? > self.segment.end() {
            file.set_len(self.segment.end())
                .map_err(failed_to("trim"))?;
            file.sync_data().map_err(failed_to("sync"))?;
        }
        Ok(())
    }

    /// Gives up the right to append.
    pub(crate) fn seal(self) -> Arc<Segment> {
        if let Some(indexes) = &mut *self.segment.indexes.write() {
            indexes.settle_time();
        }
        self.segment
    }
}
