//! The disk, with a test looking on: what has been synced is counted, and a test can step in
//! right before a sync.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log_core::Mapping;
use log_core::io::{Disk, Entry, File, OpenMode, Storage};

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Watch {
    /// How many bytes of each file had been written when it was last synced.
    synced: HashMap<PathBuf, u64>,
    before_sync: Option<Hook>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("synced", &self.synced).finish()
    }
}

/// A disk that is watched.
#[derive(Clone, Default, Debug)]
pub struct Watched(Arc<Mutex<Watch>>);

impl Watched {
    /// Runs `hook` once, when the next file is about to be synced.
    pub fn before_next_sync(&self, hook: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().before_sync = Some(Box::new(hook));
    }

    /// How many bytes of the file are on disk for sure.
    pub fn synced_bytes(&self, path: &Path) -> u64 {
        self.0.lock().unwrap().synced.get(path).copied().unwrap_or(0)
    }
}

impl Storage for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (inner, watch) = (Disk.open(path, mode)?, self.clone());
        Ok(Arc::new(WatchedFile { inner, path: path.to_path_buf(), watch }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        Disk.list(folder)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Disk.len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Disk.remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    watch: Watched,
}

impl File for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, position)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.inner.write_at(parts, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let hook = self.watch.0.lock().unwrap().before_sync.take();
        if let Some(hook) = hook {
            hook();
        }
        let len = self.inner.len()?;
        self.inner.sync_data()?;
        self.watch.0.lock().unwrap().synced.insert(self.path.clone(), len);
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        self.inner.map(len)
    }
}
