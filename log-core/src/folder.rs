//! One log's folder: its files by name, with errors that say which file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::FileError;
use crate::io::{Entry, File, OpenMode, Storage};
use crate::segment::FileName;

/// A folder and the storage that it lies on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: Arc<Path>,
    storage: Arc<dyn Storage>,
}

impl Folder {
    pub(crate) fn new(path: PathBuf, storage: Arc<dyn Storage>) -> Self {
        Self { path: path.into(), storage }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(crate) fn path_of(&self, name: &FileName) -> PathBuf {
        self.path.join(name.to_string())
    }

    pub(crate) fn open(&self, name: &FileName, mode: OpenMode) -> Result<Arc<dyn File>, FileError> {
        let path = self.path_of(name);
        self.storage.open(&path, mode).map_err(failed("open", path))
    }

    /// The whole file, `None` if there is none. Refused beyond `bytes_max`.
    pub(crate) fn read(
        &self,
        name: &FileName,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path_of(name);
        let file = match self.storage.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", path)(error)),
        };
        file.read_to_vec(bytes_max).map(Some).map_err(failed("read", path))
    }

    /// As [`Folder::read`], for a file that can be done without: one beyond `bytes_max` is as good
    /// as none.
    pub(crate) fn read_hint(
        &self,
        name: &FileName,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, FileError> {
        match self.len(name) {
            Ok(len) if len > bytes_max => Ok(None),
            Err(error) if error.source.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => self.read(name, bytes_max),
        }
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, name: &FileName) -> Result<(), FileError> {
        let path = self.path_of(name);
        match self.storage.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn rename(&self, from: &FileName, to: &FileName) -> Result<(), FileError> {
        let path = self.path_of(from);
        self.storage.rename(&path, &self.path_of(to)).map_err(failed("rename", path))
    }

    pub(crate) fn list(&self) -> Result<Vec<Entry>, FileError> {
        self.storage.list(&self.path).map_err(failed("list", self.path.to_path_buf()))
    }

    /// How many bytes the file has.
    pub(crate) fn len(&self, name: &FileName) -> Result<u64, FileError> {
        let path = self.path_of(name);
        self.storage.len(&path).map_err(failed("stat", path))
    }

    /// Removes the folder with all it holds, durably.
    pub(crate) fn remove_all(&self) -> Result<(), FileError> {
        let path = self.path.to_path_buf();
        self.storage.remove_folder(&path).map_err(failed("remove", path.clone()))?;
        match path.parent() {
            Some(above) => self.storage.sync_folder(above).map_err(failed("sync", path)),
            None => Ok(()),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.storage.sync_folder(&self.path).map_err(failed("sync", self.path.to_path_buf()))
    }
}

/// Says which operation on which file an I/O error belongs to.
pub(crate) fn failed(
    operation: &'static str,
    file: PathBuf,
) -> impl FnOnce(std::io::Error) -> FileError {
    move |source| FileError { operation, file, source }
}
