//! A folder in memory, and how one is packed into a single input.
//!
//! ```text
//!   for each file: kind u8, offset u8, length u16 (big endian), bytes; what is missing is cut
//! ```

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use log_proto::types::Offset;
use parking_lot::Mutex;

use crate::io::{Entry, EntryKind, File, OpenMode, Storage};
use crate::mmap::Mapping;
use crate::segment::FileName;

/// Where the packed files lie.
pub(super) const FOLDER: &str = "/log";

/// The kinds of files with an offset in their names, and then the others.
const KINDS: usize = 10;

fn name(kind: usize, offset: u8) -> FileName {
    let offset = Offset::new(i64::from(offset)).expect("not negative");
    match kind % KINDS {
        7 => FileName::Partition,
        8 => FileName::Checkpoint,
        9 => FileName::LogStart,
        numbered => FileName::of_segment(offset)[numbered].clone(),
    }
}

/// The folder that `bytes` stand for. Without a description of its own, it gets the right one.
pub(super) fn unpack(mut bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let identity = serde_json::to_vec(&super::LOG_3).expect("two plain fields");
    disk.put(&FileName::Partition, identity);
    while let Some(([kind, offset, high, low], rest)) = bytes.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        disk.put(&name(usize::from(*kind), *offset), content.to_vec());
        bytes = rest;
    }
    disk
}

/// Files in one input.
#[cfg(test)]
pub(super) fn pack<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut packed = Vec::new();
    for (file, content) in files {
        let places = (0..=u8::MAX).flat_map(|offset| (0..KINDS).map(move |kind| (kind, offset)));
        let found =
            places.into_iter().find(|(kind, offset)| name(*kind, *offset).to_string() == file);
        let Some((kind, offset)) = found else { continue };
        let len = u16::try_from(content.len()).expect("inputs are small");
        packed.extend_from_slice(&[kind as u8, offset]);
        packed.extend_from_slice(&len.to_be_bytes());
        packed.extend_from_slice(&content);
    }
    packed
}

type Content = Arc<Mutex<Vec<u8>>>;

/// Files by path. Everything is durable at once.
#[derive(Clone, Default, Debug)]
pub(super) struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, Content>>>);

impl MemoryDisk {
    fn put(&self, name: &FileName, bytes: Vec<u8>) {
        let path = Path::new(FOLDER).join(name.to_string());
        self.0.lock().insert(path, Arc::new(Mutex::new(bytes)));
    }

    fn found(&self, path: &Path) -> io::Result<Content> {
        self.0.lock().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let content = match (mode, self.found(path)) {
            (OpenMode::Read | OpenMode::Write, found) => found?,
            (OpenMode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateOrEmpty, Ok(content)) => {
                content.lock().clear();
                content
            }
            (OpenMode::CreateNew | OpenMode::CreateOrEmpty, Err(_)) => {
                let content = Content::default();
                self.0.lock().insert(path.to_path_buf(), Arc::clone(&content));
                content
            }
        };
        Ok(Arc::new(MemoryFile(content)))
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let files = self.0.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(folder));
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(inside.filter_map(name).map(|name| Entry { name, kind: EntryKind::File }).collect())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.found(path)?.lock().len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        let content = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.0.lock().retain(|file, _| file.parent() != Some(path));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile(Content);

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.0.lock();
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let rest = content.get(start..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut content = self.0.lock();
        let mut at = usize::try_from(position).map_err(io::Error::other)?;
        for part in parts {
            let end = at + part.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[at..end].copy_from_slice(part);
            at = end;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        let content = self.0.lock();
        let len = content.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(Mapping::of_bytes(Bytes::copy_from_slice(&content[..len])))
    }
}
