//! One base offset: a log file and its indexes.
//!
//! A [`Segment`] is the readable side, shared by everyone; [`ActiveSegment`] owns one more thing,
//! the right to append. Sealing gives that right up for ever, and the types say so: an active
//! segment is consumed and a plain one comes back.
//!
//! ```text
//!   0                                       published end        file end
//!   | batch | batch | batch | … | batch |   (only zeros, if any)   |
//!     ▲ index entry about every index.interval.bytes: (last offset of a batch, where it starts)
//! ```
//!
//! Nothing is opened before it is needed and everything may be let go of ([`Segment::release`]):
//! an idle partition holds no descriptor, no map and no index in memory.

mod active;
mod file_name;
mod indexes;
mod resume;
mod seal;
mod set;
mod walk;

pub(crate) use active::{ActiveSegment, NewBatch, Room, WriteFault};
pub use file_name::FileName;
pub(crate) use indexes::{BrokenOff, IndexEntryDue, IndexSums, Indexes};
pub(crate) use resume::{first_sound, sound_behind};
pub(crate) use seal::Seal;
pub(crate) use set::SegmentSet;
pub(crate) use walk::{BatchWalk, Check, WalkError};

use std::sync::Arc;

use bytes::Bytes;
use log_proto::record::BatchHeader;
use log_proto::types::{Offset, TimestampMs};

use crate::error::{Damage, FileError, ReadError};
use crate::folder::{Folder, failed};
use crate::index::{SearchEnd, TxnSearch};
use crate::io::{File, OpenMode};
use crate::mmap::Mapping;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The smallest mapping of a log file: below it, a growing file would be mapped anew too often;
/// address space is all it costs, pages are mapped only when they are read.
const MAPPING_BYTES_MIN: u64 = 16 << 20;

/// Where a batch lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

/// Where a read ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadEnd {
    pub(crate) position: u64,
    /// What the batch there says it starts with, if that was seen.
    pub(crate) next: Option<Offset>,
}

/// A segment as its readers see it. Shared; never appended to through this type.
#[derive(Debug)]
pub(crate) struct Segment {
    folder: Folder,
    base: Offset,
    /// Bytes below hold whole, written batches. Raised by the active segment alone.
    end: AtomicU64,
    /// One past the last offset that lies below `end`.
    next_offset: AtomicI64,
    handles: RwLock<Handles>,
    indexes: RwLock<IndexSlot>,
}

/// Where a segment's indexes are.
#[derive(Debug)]
pub(crate) enum IndexSlot {
    /// In memory, or mapped.
    Loaded(Box<Indexes>),
    /// In their files, which begin as the sums say; read when they are needed.
    OnDisk(IndexSums),
    /// Not to be found; built from the log when they are needed.
    Unknown,
}

#[derive(Debug, Default)]
struct Handles {
    file: Option<Arc<dyn File>>,
    mapping: Option<Mapping>,
}

impl Segment {
    /// A segment whose first `end` bytes hold whole batches up to `next_offset`. Opens nothing.
    pub(crate) fn known(
        folder: Folder,
        base: Offset,
        end: u64,
        next_offset: Offset,
        indexes: IndexSlot,
    ) -> Self {
        Self {
            folder,
            base,
            end: AtomicU64::new(end),
            next_offset: AtomicI64::new(next_offset.get()),
            handles: RwLock::default(),
            indexes: RwLock::new(indexes),
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// Bytes of whole batches.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn next_offset(&self) -> Offset {
        Offset::new(self.next_offset.load(Ordering::Acquire)).unwrap_or(self.base)
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn file(&self) -> Result<Arc<dyn File>, FileError> {
        if let Some(file) = &self.handles.read().file {
            return Ok(Arc::clone(file));
        }
        let mut handles = self.handles.write();
        if let Some(file) = &handles.file {
            return Ok(Arc::clone(file));
        }
        let file = self.folder.open(&FileName::Log(self.base), OpenMode::Write)?;
        handles.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Bytes `start..end` of the log file without copying them. `end` must not lie beyond
    /// [`Segment::end`].
    pub(crate) fn slice(&self, start: u64, end: u64) -> Result<Bytes, FileError> {
        let slice = self.mapping_to(end)?.slice(start..end);
        slice
            .ok_or_else(|| failed("map", self.log_path())(std::io::ErrorKind::UnexpectedEof.into()))
    }

    /// As [`Segment::slice`], with all of it in memory by now: whoever touches it soon waits for
    /// no disk. Where it cannot be brought there it is read instead, and the read says why.
    pub(crate) fn resident(&self, start: u64, end: u64) -> Result<Bytes, FileError> {
        match self.mapping_to(end)?.populate(start..end) {
            Ok(()) => self.slice(start, end),
            Err(_) => self.copy(start, end),
        }
    }

    /// A mapping that shows the bytes up to `end`.
    fn mapping_to(&self, end: u64) -> Result<Mapping, FileError> {
        debug_assert!(end <= self.end());
        if let Some(mapping) = &self.handles.read().mapping
            && mapping.len() as u64 >= end
        {
            mapping.publish(end);
            return Ok(mapping.clone());
        }
        let len = (end * 2).next_power_of_two().max(MAPPING_BYTES_MIN);
        let mapping = self.file()?.map(len).map_err(failed("map", self.log_path()))?;
        mapping.publish(end);
        self.handles.write().mapping = Some(mapping.clone());
        Ok(mapping)
    }

    /// Bytes `start..end` of the log file, read into memory: a bad disk answers with an error
    /// here, where touching a mapping would end the process.
    pub(crate) fn copy(&self, start: u64, end: u64) -> Result<Bytes, FileError> {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        let read = self.file()?.read_into(&mut bytes, len, start);
        if read.map_err(failed("read", self.log_path()))? < len {
            return Err(failed("read", self.log_path())(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes.into())
    }

    /// The batch that holds `offset`, or else the first one behind it, below byte `limit`. Damage
    /// before it is passed over, if the index knows of a sound batch in between.
    pub(crate) fn locate(&self, offset: Offset, limit: u64) -> Result<Option<Located>, ReadError> {
        let entry = self.with_indexes(|indexes| indexes.offset.floor(offset))?;
        // Loaded behind `limit`, and moved before it: what lies below was written by then.
        let end = self.next_offset();
        let headers_from =
            |start| Ok::<_, FileError>(self.walk(Check::Headers, start, limit)?.bounded(end));
        let mut walk = match entry {
            Some(entry) => {
                headers_from(u64::from(entry.position))?.expecting_last(entry.last_offset)
            }
            None => headers_from(0)?.expecting(self.base),
        };
        loop {
            match walk.next() {
                Ok(Some(batch)) if batch.header.last_offset() >= offset => return Ok(Some(batch)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(WalkError::File(error)) => return Err(error.into()),
                Err(WalkError::Damaged(damage)) => {
                    let sound = self.sound_after(damage.position, limit);
                    let resume_at = sound.map(|batch| batch.header.base_offset());
                    match sound.filter(|batch| batch.header.base_offset() <= offset) {
                        Some(batch) => walk = headers_from(batch.position)?,
                        None => return Err(ReadError::Damaged { damage, resume_at }),
                    }
                }
            }
        }
    }

    /// Where a read of about `bytes_max` from the batch at `start` ends: between two batches, at
    /// `limit` or before it, behind at least one batch.
    pub(crate) fn cut(
        &self,
        start: Located,
        bytes_max: u64,
        limit: u64,
    ) -> Result<ReadEnd, ReadError> {
        let wanted = start.position.saturating_add(bytes_max);
        if wanted >= limit {
            return Ok(ReadEnd { position: limit, next: None });
        }
        let first_end = start.position + start.header.size_bytes() as u64;
        let indexed = self.with_indexes(|indexes| indexes.offset.floor_position(wanted))?;
        let mut end = indexed.unwrap_or(0).max(first_end).min(limit);
        let mut walk = self.walk(Check::Headers, end, limit)?;
        // Damage ahead does not keep what is sound before it from being read.
        while let Ok(Some(batch)) = walk.next() {
            if walk.position() > wanted {
                return Ok(ReadEnd { position: end, next: Some(batch.header.base_offset()) });
            }
            end = walk.position();
        }
        Ok(ReadEnd { position: end, next: None })
    }

    /// Batches from the one at byte `start` up to byte `limit`.
    pub(crate) fn walk(
        &self,
        check: Check,
        start: u64,
        limit: u64,
    ) -> Result<BatchWalk, FileError> {
        Ok(BatchWalk::new(self.file()?, self.log_path(), check, start, limit))
    }

    /// The largest timestamp, with the last offset of the batch that holds it, as the time index
    /// knows it.
    pub(crate) fn max_timestamp(&self) -> Result<Option<(TimestampMs, Offset)>, ReadError> {
        self.with_whole_indexes(|indexes| indexes.max_timestamp)
    }

    /// Where a search for `timestamp` may start: no record before this offset is stamped so late.
    pub(crate) fn floor_timestamp(&self, timestamp: TimestampMs) -> Result<Offset, ReadError> {
        let floor = self.with_whole_indexes(|indexes| indexes.time.floor(timestamp))?;
        Ok(floor.map_or(self.base, |(_, offset)| offset))
    }

    /// Aborted transactions that touch `from..to`, and whether later segments cannot add more.
    pub(crate) fn aborted(&self, from: Offset, to: Offset) -> Result<TxnSearch, ReadError> {
        if let IndexSlot::OnDisk(sums) = &*self.indexes.read()
            && sums.txn_is_empty()
        {
            // Most segments: whoever reads committed need not load the index of all that follow.
            return Ok(TxnSearch { aborted: Vec::new(), end: SearchEnd::InLaterSegment });
        }
        self.with_indexes(|indexes| match &indexes.broken_off {
            Some(end) if to > end.undecided_from => Err(end.damage.clone().into()),
            _ => Ok(indexes.txn.overlapping(from, to)),
        })?
    }

    /// Lets go of the file, the mapping and, if they are all in their files, the indexes.
    pub(crate) fn release(&self) {
        *self.handles.write() = Handles::default();
        let mut slot = self.indexes.write();
        if let IndexSlot::Loaded(indexes) = &*slot
            && indexes.is_persisted()
        {
            *slot = IndexSlot::OnDisk(indexes.sums());
        }
    }

    /// Writes index entries that are not in their files yet, and returns what those begin with.
    /// Not synced: who keeps the sums durably finds out.
    pub(crate) fn persist_indexes(&self) -> Result<IndexSums, ReadError> {
        self.prepare_indexes()?;
        match &mut *self.indexes.write() {
            IndexSlot::Loaded(indexes) => {
                if let Some(end) = &indexes.broken_off {
                    return Err(end.damage.clone().into());
                }
                indexes.persist(&self.folder, self.base)?;
                Ok(indexes.sums())
            }
            IndexSlot::OnDisk(sums) => Ok(*sums),
            IndexSlot::Unknown => Ok(IndexSums::default()),
        }
    }

    /// Has indexes in memory, unless their files hold all there is to say.
    fn prepare_indexes(&self) -> Result<(), ReadError> {
        match &*self.indexes.read() {
            IndexSlot::Loaded(_) | IndexSlot::OnDisk(_) => return Ok(()),
            IndexSlot::Unknown => {}
        }
        self.with_indexes(|_| ())
    }

    /// Replaces the indexes by those that recovery built. In memory; they are persisted anew.
    pub(crate) fn set_indexes(&self, mut indexes: Indexes) {
        indexes.forget_files();
        *self.indexes.write() = IndexSlot::Loaded(Box::new(indexes));
    }

    /// Recovery found the end: whole batches below `end`, up to `next_offset`. Before any reader
    /// knows the segment.
    pub(crate) fn settle(&self, end: u64, next_offset: Offset) {
        self.end.store(end, Ordering::Release);
        self.next_offset.store(next_offset.get(), Ordering::Release);
    }

    /// What the index files say of everything below `offset`; `None` if they cannot be trusted.
    pub(crate) fn indexes_below(&self, offset: Offset) -> Result<Option<Indexes>, FileError> {
        let indexes = match &*self.indexes.read() {
            IndexSlot::Loaded(indexes) => Some(Indexes::clone(indexes)),
            IndexSlot::OnDisk(sums) => Indexes::read(&self.folder, self.base, sums)?,
            IndexSlot::Unknown => None,
        };
        Ok(indexes.map(|mut indexes| {
            indexes.truncate(offset);
            indexes
        }))
    }

    /// Takes back room behind the last batch that a roll or a start could not, durably: a seal
    /// vouches for the whole file. For a segment that takes no more appends.
    pub(crate) fn trim(&self) -> Result<(), FileError> {
        let (file, end) = (self.file()?, self.end());
        if file.len().map_err(failed("read", self.log_path()))? > end {
            file.set_len(end).map_err(failed("trim", self.log_path()))?;
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.file()?.sync_data().map_err(failed("sync", self.log_path()))
    }

    /// The first indexed batch behind byte `position` that is sound: where a reader can go on
    /// behind damage.
    pub(crate) fn sound_after(&self, position: u64, limit: u64) -> Option<Located> {
        let known = |indexes: &Indexes| indexes.offset.entries_after(position).collect::<Vec<_>>();
        let entries = self.with_indexes(known).ok()?;
        first_sound(entries, |check, start| self.walk(check, start, limit))
    }

    /// Every batch that begins below byte `position` ends below this offset.
    pub(crate) fn offset_bound(&self, position: u64) -> Result<Offset, ReadError> {
        let bound = self.with_indexes(|indexes| {
            let next = indexes.offset.ceiling(position).map(|entry| entry.last_offset);
            let end = indexes.broken_off.as_ref().filter(|end| position <= end.damage.position);
            next.or(end.map(|end| end.next_offset))
        })?;
        Ok(bound.unwrap_or(self.next_offset()))
    }

    /// Removes every file of this segment. Who still reads from it goes on reading.
    pub(crate) fn remove_files(&self) -> Result<(), FileError> {
        FileName::of_segment(self.base).iter().try_for_each(|name| self.folder.remove(name))
    }

    /// Removes indexes and seal.
    pub(crate) fn remove_derived(&self) -> Result<(), FileError> {
        for derived in [FileName::Index, FileName::TimeIndex, FileName::TxnIndex, FileName::Seal] {
            self.folder.remove(&derived(self.base))?;
        }
        Ok(())
    }

    pub(crate) fn log_path(&self) -> std::path::PathBuf {
        self.folder.path_of(&FileName::Log(self.base))
    }

    fn with_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> Result<T, ReadError> {
        if let IndexSlot::Loaded(indexes) = &*self.indexes.read() {
            return Ok(look(indexes));
        }
        let mut slot = self.indexes.write();
        let loaded = match &*slot {
            IndexSlot::Loaded(indexes) => return Ok(look(indexes)),
            IndexSlot::OnDisk(sums) => Indexes::read(&self.folder, self.base, sums)?,
            IndexSlot::Unknown => None,
        };
        // An index is never a reason to lose data: the log has everything that it says.
        let indexes = match loaded {
            Some(indexes) => indexes,
            None => {
                let mut built = crate::recovery::build_indexes(self)?;
                // Reads go on when the disk is full; writing is tried again later.
                let _ = built.persist(&self.folder, self.base).and_then(|()| self.reseal(&built));
                built
            }
        };
        let found = look(&indexes);
        *slot = IndexSlot::Loaded(Box::new(indexes));
        Ok(found)
    }

    /// Indexes that were built anew say the same in other words than those that grew with the log:
    /// a seal that vouches for the lost ones would have them built at each start.
    fn reseal(&self, built: &Indexes) -> Result<(), FileError> {
        match Seal::read(&self.folder, self.base)? {
            Some(seal) if built.is_persisted() => {
                Seal { indexes: built.sums(), ..seal }.write(&self.folder, self.base)
            }
            _ => Ok(()),
        }
    }

    /// As [`Segment::with_indexes`], for questions that a part of them would answer wrongly.
    fn with_whole_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> Result<T, ReadError> {
        self.with_indexes(|indexes| match &indexes.broken_off {
            Some(end) => Err(end.damage.clone().into()),
            None => Ok(look(indexes)),
        })?
    }

    pub(crate) fn damage(&self, position: u64, detail: impl Into<String>) -> Damage {
        Damage { file: self.log_path(), position, detail: detail.into() }
    }
}
