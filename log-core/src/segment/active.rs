//! The segment that takes appends.

use std::io::IoSlice;
use std::sync::Arc;

use log_proto::record::BatchHeader;
use log_proto::types::{Offset, TimestampMs};

use super::indexes::{IndexEntryDue, Indexes};
use super::{FileName, IndexSlot, Segment};
use crate::error::{FileError, ReadError};
use crate::folder::{Folder, failed};
use crate::index::AbortedTxn;
use crate::io::OpenMode;
use crate::sync::atomic::Ordering;

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
    /// How long the file is; only zeros lie between the segment's end and here.
    file_bytes: u64,
}

/// How an append makes room for those that follow it.
///
/// A sync after a write into blocks that exist and are written costs half of one that must also
/// record new blocks and a new length: 0.2 ms where an append takes 0.4 ms, at 4 to 16 KiB a
/// sync on the machine of the decision record. From about 128 KiB a sync on, writing everything
/// twice costs more than that saves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// The file ends with its last batch.
    AsNeeded,
    /// Zeros are written ahead, with the batch that needs the room and in the same call.
    Ahead,
}

/// A step of room made ahead. Larger steps make a rare append slower, and save no more.
const ROOM_BYTES: u64 = 256 << 10;
static ZEROS: [u8; ROOM_BYTES as usize] = [0; ROOM_BYTES as usize];

impl ActiveSegment {
    /// Makes the file of a new segment. Its name is durable only once the folder is synced.
    pub(crate) fn create(folder: &Folder, base: Offset) -> Result<Self, FileError> {
        // A file of this name can only be what an earlier, failed roll left: no batch was ever
        // published in it.
        folder.open(&FileName::Log(base), OpenMode::CreateOrEmpty)?;
        let indexes = IndexSlot::Loaded(Box::new(Indexes::empty(base)));
        let segment = Segment::known(folder.clone(), base, 0, base, indexes);
        Ok(Self {
            segment: Arc::new(segment),
            since: None,
            bytes_since_index_entry: 0,
            file_bytes: 0,
        })
    }

    /// Takes up appending where recovery found the end.
    pub(crate) fn reopen(segment: Arc<Segment>, since: Option<TimestampMs>) -> Self {
        // The next batch gets an entry: how far back the last one lies would cost a look.
        let file_bytes = segment.end();
        Self { segment, since, bytes_since_index_entry: u64::MAX, file_bytes }
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
        room: Room,
        now: TimestampMs,
    ) -> Result<(), WriteFault> {
        let position = self.segment.end();
        let size = batch.header.size_bytes() as u64;
        let written = match self.write(batch, self.room_after(position + size, room)) {
            // Room is a convenience: a disk that has none for it may have enough for the batch.
            Err(WriteFault::Undone(error)) if room == Room::Ahead && error.is_disk_full() => {
                self.write(batch, &[])
            }
            written => written,
        };
        written.map_err(|fault| self.undo_durably(fault))?;
        self.index(batch.header, position, index_interval_bytes);
        self.bytes_since_index_entry = self.bytes_since_index_entry.saturating_add(size);
        self.since.get_or_insert(now);
        // Readers that see the new end see the bytes below it: they are written by now.
        self.segment.next_offset.store(batch.header.next_offset().get(), Ordering::Release);
        self.segment.end.store(position + size, Ordering::Release);
        Ok(())
    }

    /// Zeros from `end` up to the next step, if the file does not reach there yet.
    fn room_after(&self, end: u64, room: Room) -> &'static [u8] {
        if room == Room::AsNeeded || end <= self.file_bytes {
            return &[];
        }
        let missing = end.next_multiple_of(ROOM_BYTES) - end;
        &ZEROS[..usize::try_from(missing).unwrap_or(0)]
    }

    fn write(&mut self, batch: &NewBatch<'_>, room: &[u8]) -> Result<(), WriteFault> {
        let position = self.segment.end();
        let file = self.segment.file().map_err(WriteFault::Undone)?;
        let parts =
            [IoSlice::new(batch.header_bytes), IoSlice::new(batch.body), IoSlice::new(room)];
        if let Err(error) = file.write_at(&parts, position) {
            let error = failed("write", self.segment.log_path())(error);
            return Err(match file.set_len(position) {
                Ok(()) => {
                    self.file_bytes = position;
                    WriteFault::Undone(error)
                }
                Err(_) => WriteFault::Torn(error),
            });
        }
        let written = position + batch.header.size_bytes() as u64 + room.len() as u64;
        self.file_bytes = self.file_bytes.max(written);
        Ok(())
    }

    /// Power loss must not bring back what is refused: of a whole batch, only the cut tells that it
    /// was never taken.
    fn undo_durably(&self, fault: WriteFault) -> WriteFault {
        match fault {
            WriteFault::Undone(error) => match self.segment.sync() {
                Ok(()) => WriteFault::Undone(error),
                Err(_) => WriteFault::Torn(error),
            },
            torn @ WriteFault::Torn(_) => torn,
        }
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

    /// Opens the file and reads the indexes in, if they were let go of, so that appending need not.
    pub(crate) fn prepare(&self) -> Result<(), ReadError> {
        self.segment.with_indexes(|_| ())?;
        self.segment.file()?;
        Ok(())
    }

    fn with_growing_indexes(&self, change: impl FnOnce(&mut Indexes)) {
        match &mut *self.segment.indexes.write() {
            IndexSlot::Loaded(indexes) => change(indexes),
            // `prepare` has read them, and only who holds the writer's lock lets go of them.
            IndexSlot::OnDisk(_) | IndexSlot::Unknown => unreachable!("appended unprepared"),
        }
    }

    /// Takes back the room behind the last batch. Not synced.
    pub(crate) fn trim(&mut self) -> Result<(), FileError> {
        let end = self.segment.end();
        if self.file_bytes > end {
            let trimmed = self.segment.file()?.set_len(end);
            trimmed.map_err(failed("trim", self.segment.log_path()))?;
            self.file_bytes = end;
        }
        Ok(())
    }

    /// Gives up the right to append.
    pub(crate) fn seal(mut self) -> Arc<Segment> {
        // Zeros that stay are cut off with the seal, or at the next start.
        let _ = self.trim();
        self.segment
    }
}
