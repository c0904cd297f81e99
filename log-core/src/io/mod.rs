//! Every file operation of the log, behind one small seam.
//!
//! The rule: nothing in this crate touches a file, a folder or a mapping except through
//! [`Storage`]. That is what lets a test drop unsynced writes, tear them, fill the disk or fail a
//! sync, and play all of it back from a seed through the very read path that serves users. The
//! alternative, failpoints sprinkled over the code, tests the sprinkling.

mod disk;
pub mod faulty;

pub use disk::Disk;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::mmap::Mapping;

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, to read and write.
    CreateNew,
    /// To read and write; made if missing, emptied if not.
    CreateOrEmpty,
}

/// What an entry of a folder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// One entry of a folder. One whose name is not UTF-8 is none of ours: it is [`EntryKind::Other`],
/// with a name that only resembles its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name, without the folder.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// A file system, as far as a log needs one.
///
/// Durability is explicit and as weak as a real disk's: written bytes survive the process, but
/// power loss only after [`File::sync_data`]; a created, renamed or removed name survives power
/// loss only after [`Storage::sync_folder`] on its folder.
pub trait Storage: Debug + Send + Sync + 'static {
    /// Opens or makes a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Makes a folder and those above it; one that is there already is fine.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// What the folder holds, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;

    /// How many bytes a file has, without opening it; some number for a folder.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Gives a file a new name, replacing what had it, at once for every observer.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open files and mappings of it stay usable.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all it holds.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// Makes a folder and those above it, durably: whoever finds one of them after power loss finds
/// those above it, and what has been made durable in them. Made one by one from the top, and each
/// made durable in the folder above before the next, so that of those found there only the lowest
/// may still be without: a process was killed right after it had made it.
pub fn make_folder(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| {
        storage.len(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let mut named = path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).peekable();
    let mut missing = Vec::new();
    while let Some(folder) = named.next_if(is_missing) {
        missing.push(folder);
    }
    match named.next().map_or(Ok(()), |lowest| sync_above(storage, lowest)) {
        // Whoever may not look into the folder above has not made this one.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    for folder in missing.into_iter().rev() {
        storage.create_folder(folder)?;
        sync_above(storage, folder)?;
    }
    // It fails where something else has that name.
    storage.create_folder(path)
}

fn sync_above(storage: &dyn Storage, folder: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => storage.sync_folder(Path::new(".")),
        Some(above) => storage.sync_folder(above),
        None => Ok(()),
    }
}

/// An open file. Usable from many threads at once; positions are explicit.
#[allow(clippy::len_without_is_empty, reason = "a length in bytes, which may fail; nobody asks")]
pub trait File: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `position`; returns how many bytes, fewer only at the file's end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Reads `len` bytes from `position` behind what `buffer` holds; returns how many, fewer only
    /// at the file's end.
    fn read_into(&self, buffer: &mut Vec<u8>, len: usize, position: u64) -> io::Result<usize> {
        let held = buffer.len();
        buffer.resize(held + len, 0);
        let read = self.read_at(&mut buffer[held..], position);
        buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Writes the parts one behind the other from `position` on. After an error any part of them
    /// may have been written.
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far, and the length, durable. An error is final: the pages
    /// may be marked clean without being on disk, so that a second call may lie.
    fn sync_data(&self) -> io::Result<()>;

    /// Maps the file's first `len` bytes for reading, also beyond its present end. What a reader
    /// may look at is up to [`Mapping::publish`].
    fn map(&self, len: u64) -> io::Result<Mapping>;
}

impl dyn File {
    /// Reads exactly `buffer.len()` bytes from `position`, or fails with `UnexpectedEof`.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        if self.read_at(buffer, position)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The whole file, if it is no longer than `bytes_max`.
    pub fn read_to_vec(&self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?;
        if len > bytes_max {
            return Err(io::Error::other(format!(
                "file of {len} bytes where at most {bytes_max} were expected"
            )));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = self.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
