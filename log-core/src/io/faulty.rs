//! A storage whose calls fail on demand: a full disk, a bad one, a sync that does not come back.
//!
//! It wraps another storage and passes everything through until told otherwise. Faults are
//! chosen by operation and hit every file alike, so a test reads as a story: fill the disk, write,
//! make room, write.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Entry, File, OpenMode, Storage};
use crate::mmap::Mapping;

/// What can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// [`File::write_at`].
    Write,
    /// [`File::sync_data`].
    Sync,
    /// [`Storage::open`] of a new file.
    Create,
    /// [`File::set_len`].
    SetLen,
    /// [`File::read_at`].
    Read,
}

#[derive(Debug, Default)]
struct Faults {
    failing: Vec<(Operation, io::ErrorKind)>,
    /// Bytes of a failing write that reach the file all the same.
    torn_bytes: usize,
    /// No file and no folder can be opened.
    out_of_descriptors: bool,
}

impl Faults {
    fn of_descriptors(&self) -> io::Result<()> {
        match self.out_of_descriptors {
            true => Err(Errno::MFILE.into()),
            false => Ok(()),
        }
    }

    fn of(&self, operation: Operation) -> io::Result<()> {
        match self.failing.iter().find(|(failing, _)| *failing == operation) {
            Some((_, kind)) => Err((*kind).into()),
            None => Ok(()),
        }
    }
}

/// A storage that fails on demand.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn Storage>,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    /// Passes everything on to `inner`.
    pub fn over(inner: impl Storage) -> Self {
        Self { inner: Arc::new(inner), faults: Arc::default() }
    }

    /// Makes each such call fail from now on.
    pub fn fail(&self, operation: Operation, kind: io::ErrorKind) {
        self.faults.lock().failing.push((operation, kind));
    }

    /// Lets the first `bytes` of a failing write through.
    pub fn tear_writes_after(&self, bytes: usize) {
        self.faults.lock().torn_bytes = bytes;
    }

    /// Lets nothing more be opened; what is open stays so.
    pub fn run_out_of_descriptors(&self) {
        self.faults.lock().out_of_descriptors = true;
    }

    /// Everything works again.
    pub fn heal(&self) {
        *self.faults.lock() = Faults::default();
    }
}

impl Storage for Faulty {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.faults.lock().of_descriptors()?;
        if matches!(mode, OpenMode::CreateNew | OpenMode::CreateOrEmpty) {
            self.faults.lock().of(Operation::Create)?;
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultyFile { inner, faults: Arc::clone(&self.faults) }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.faults.lock().of_descriptors()?;
        self.inner.list(folder)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.inner.len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.faults.lock().of_descriptors()?;
        self.faults.lock().of(Operation::Sync)?;
        self.inner.sync_folder(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn File>,
    faults: Arc<Mutex<Faults>>,
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.faults.lock().of(Operation::Read)?;
        self.inner.read_at(buffer, position)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let faults = self.faults.lock();
        if let Err(error) = faults.of(Operation::Write) {
            let bytes = parts.iter().flat_map(|part| part.iter().copied());
            let torn: Vec<u8> = bytes.take(faults.torn_bytes).collect();
            self.inner.write_at(&[IoSlice::new(&torn)], position)?;
            return Err(error);
        }
        drop(faults);
        self.inner.write_at(parts, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.lock().of(Operation::SetLen)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.lock().of(Operation::Sync)?;
        self.inner.sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        self.inner.map(len)
    }
}
