//! The data folder: whose it is, what lies where in it, and how the last broker left it.
//!
//! ```text
//! DATA/
//!   lock                            flock'd while a broker runs; holds its process id
//!   format                          the version of this layout; a newer one is refused by name
//!   cluster-id                      16 bytes that tell this data from any other; written once the
//!                                   internal logs are there
//!   clean-stop                      there only between a clean stop and the next start
//!   reserve                         room that a start on a full disk gives up
//!   topics/<topic>-<partition>/     one log each
//!   coordinators/<log>.snapshot     the state of an internal log up to some offset
//! ```
//!
//! The rule: one broker, and only in a folder that is empty or was made by one. Starting in the
//! wrong folder must be an error and not a second, empty broker.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_core::io::Storage;
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use crate::durable_file::{self, DurableFileError, Format};
use crate::reserve::Reserve;
use crate::topics::TopicName;

/// The layout. Its version is raised when an older broker would misread what a newer one wrote.
const LAYOUT: Format = Format { magic: *b"CFMT", version: 1 };

const CLEAN_STOP_FILE: &str = "clean-stop";

const CLEAN_STOP: Format = Format { magic: *b"CSTP", version: 1 };

const CLUSTER_ID: Format = Format { magic: *b"CLID", version: 1 };

/// What may lie in a folder that no broker has used yet.
const HARMLESS: [&str; 3] = ["lock", "format.tmp", "lost+found"];

/// What a used folder has, whatever else is lost: two of these are no accident.
const OURS: [&str; 3] = ["cluster-id", "topics", "coordinators"];

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another broker is at it.
    #[error("data folder {} is in use by {}: stop it, or use another --data", folder.display(), match pid {
        Some(pid) => format!("the broker with process id {pid}"),
        None => "another broker".to_owned(),
    })]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other's process id, where it has said so.
        pid: Option<u32>,
    },
    /// The folder holds something else.
    #[error("{} is not empty and no data folder of Cairn (it has {found:?}): use another --data", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// Something that lies in it.
        found: String,
    },
    /// It looks like one of a broker, and does not say of which version.
    #[error(
        "{} is missing, and the rest looks like a data folder of Cairn: put that file back, from a \
         backup or from another data folder of the same version (docs/recovery.md)",
        file.display()
    )]
    NoFormat {
        /// The file that is missing.
        file: PathBuf,
    },
    /// There is a file of that name.
    #[error("{} is not a folder: use another --data", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// One of its small files cannot be used.
    #[error(transparent)]
    File(#[from] DurableFileError),
}

/// How the last broker left the folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftAs {
    /// Nobody has used it before.
    New,
    /// It stopped cleanly.
    Clean,
    /// It crashed, or its machine did.
    Unclean,
}

/// Whether the folder's internal logs have been made. Once they were, one that is not there is lost
/// and not new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnLogs {
    /// Both, durably, before `cluster-id` was written.
    Made,
    /// Perhaps not yet: the first start is under way, or was cut short.
    Unknown,
}

/// A data folder, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    left_as: LeftAs,
    cluster_id: Uuid,
    own_logs: OwnLogs,
    reserve: Reserve,
    /// The lock is the operating system's, and gone with this descriptor.
    _lock: File,
}

impl DataDir {
    /// Locks the folder, making it if it is missing, and finds out how it was left.
    pub fn open(path: &Path, storage: Arc<dyn Storage>) -> Result<Self, DataDirError> {
        make(path, &*storage)?;
        let lock = lock(path)?;
        let reserve = Reserve::open(path);
        let is_new = claim_layout(path, &*storage)?;
        let (cluster_id, own_logs) = cluster_id(path, &*storage)?;
        // Where logs were, their folder is not made again: it may be a disk that is not mounted.
        let folders = match own_logs {
            OwnLogs::Made => &["coordinators"][..],
            OwnLogs::Unknown => &["topics", "coordinators"],
        };
        for folder in folders {
            let folder = path.join(folder);
            log_core::io::make_folder(&*storage, &folder).map_err(failed("make", &folder))?;
        }
        if own_logs == OwnLogs::Unknown && holds_topics(path, &*storage) {
            tracing::warn!(
                "cluster-id is missing and a new id is drawn: to clients that compare it this is \
                 another broker"
            );
        }
        let was_clean = was_stopped_cleanly(path, &*storage);
        let left_as = match (is_new, was_clean) {
            (IsNew::Yes, _) => LeftAs::New,
            (IsNew::No, true) => LeftAs::Clean,
            (IsNew::No, false) => LeftAs::Unclean,
        };
        let path = path.to_owned();
        Ok(Self { path, storage, left_as, cluster_id, own_logs, reserve, _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this broker's data from that of any other.
    pub fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    /// Whether the internal logs have been made.
    pub(crate) fn own_logs(&self) -> OwnLogs {
        self.own_logs
    }

    /// Notes, durably, that both internal logs have been made, durably. From now on one that is
    /// missing is lost.
    pub(crate) fn own_logs_are_made(&self) -> Result<(), DataDirError> {
        if self.own_logs == OwnLogs::Made {
            return Ok(());
        }
        // A start that was killed may have left their folders to this one, unsynced.
        let topics = self.topics();
        self.storage.sync_folder(&topics).map_err(failed("sync", &topics))?;
        let file = self.path.join("cluster-id");
        let id = self.cluster_id.as_bytes();
        Ok(durable_file::write(&*self.storage, &file, CLUSTER_ID, id)?)
    }

    /// The folder's logs are opened from here on, so it counts as left uncleanly, durably, until
    /// [`DataDir::mark_clean_stop`].
    pub(crate) fn begin_use(&self) -> Result<(), DataDirError> {
        let marker = self.path.join(CLEAN_STOP_FILE);
        match self.storage.remove_file(&marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &marker)(error));
            }
            _ => {}
        }
        self.storage.sync_folder(&self.path).map_err(failed("sync", &self.path))
    }

    /// How the last broker left it.
    pub fn left_as(&self) -> LeftAs {
        self.left_as
    }

    /// Where the logs are.
    pub fn topics(&self) -> PathBuf {
        self.path.join("topics")
    }

    /// Where the log of one partition is.
    pub fn partition(&self, topic: &TopicName, partition: u32) -> PathBuf {
        self.topics().join(topic.folder_of(partition))
    }

    /// Where the snapshot of an internal log is.
    pub fn snapshot(&self, topic: &TopicName) -> PathBuf {
        self.path.join("coordinators").join(format!("{topic}.snapshot"))
    }

    /// Room that the next start may need.
    pub(crate) fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// Notes that every log was closed cleanly.
    pub fn mark_clean_stop(&self) -> Result<(), DataDirError> {
        let marker = self.path.join(CLEAN_STOP_FILE);
        Ok(durable_file::write(&*self.storage, &marker, CLEAN_STOP, &[])?)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { operation, path: path.to_owned(), source }
}

fn make(folder: &Path, storage: &dyn Storage) -> Result<(), DataDirError> {
    log_core::io::make_folder(storage, folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => DataDirError::NotAFolder { path: folder.to_owned() },
        _ => failed("make", folder)(error),
    })
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let mut options = fs::OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = read_pid(&mut file);
            return Err(DataDirError::InUse { folder: folder.to_owned(), pid });
        }
        Err(error) => return Err(failed("lock", &path)(error.into())),
    }
    // The id only helps people to find the other broker: a full disk is no reason not to start.
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IsNew {
    Yes,
    No,
}

fn claim_layout(folder: &Path, storage: &dyn Storage) -> Result<IsNew, DataDirError> {
    let file = folder.join("format");
    if durable_file::read(storage, &file, LAYOUT)?.is_some() {
        return Ok(IsNew::No);
    }
    let entries = storage.list(folder).map_err(failed("list", folder))?;
    if entries.iter().filter(|entry| OURS.contains(&entry.name.as_str())).count() > 1 {
        return Err(DataDirError::NoFormat { file });
    }
    if let Some(foreign) = entries.iter().find(|entry| !HARMLESS.contains(&entry.name.as_str())) {
        let found = foreign.name.clone();
        return Err(DataDirError::Foreign { folder: folder.to_owned(), found });
    }
    durable_file::write(storage, &file, LAYOUT, &[])?;
    Ok(IsNew::Yes)
}

/// The id that the folder was given when it was made, or a new one. A client that finds another one
/// behind the same address knows that it talks to another broker's data. A new one is written only
/// behind the internal logs, so that it tells of them: a file of its own for that would be one more
/// to lose.
fn cluster_id(folder: &Path, storage: &dyn Storage) -> Result<(Uuid, OwnLogs), DataDirError> {
    let file = folder.join("cluster-id");
    let Some(bytes) = durable_file::read(storage, &file, CLUSTER_ID)? else {
        return Ok((Uuid::new_v4(), OwnLogs::Unknown));
    };
    let detail = format!("{} bytes are no id", bytes.len());
    let damaged = |_| DurableFileError::Damaged { file, detail };
    Ok((Uuid::from_slice(&bytes).map_err(damaged)?, OwnLogs::Made))
}

/// Whether somebody's topics are there already, and not only what a first start makes.
fn holds_topics(folder: &Path, storage: &dyn Storage) -> bool {
    let entries = storage.list(&folder.join("topics"));
    entries.is_ok_and(|entries| entries.iter().any(|entry| !entry.name.starts_with("__")))
}

/// A damaged marker marks nothing.
fn was_stopped_cleanly(folder: &Path, storage: &dyn Storage) -> bool {
    let marker = durable_file::read(storage, &folder.join(CLEAN_STOP_FILE), CLEAN_STOP);
    matches!(marker, Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_core::io::Disk;

    fn open(folder: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(folder, Arc::new(Disk))
    }

    #[test]
    fn a_folder_knows_how_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(open(folder.path()).unwrap().left_as(), LeftAs::New);
        let crashed = open(folder.path()).unwrap();
        assert_eq!(crashed.left_as(), LeftAs::Unclean);
        crashed.mark_clean_stop().unwrap();
        drop(crashed);
        assert_eq!(open(folder.path()).unwrap().left_as(), LeftAs::Clean);
        let used = open(folder.path()).unwrap();
        assert_eq!(used.left_as(), LeftAs::Clean, "a look alone leaves it as it was");
        used.begin_use().unwrap();
        drop(used);
        assert_eq!(open(folder.path()).unwrap().left_as(), LeftAs::Unclean);
    }

    #[test]
    fn a_second_broker_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let _first = open(folder.path()).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(open(folder.path()), Err(DataDirError::Foreign { .. })));
    }

    #[test]
    fn a_folder_that_has_lost_its_format_is_known_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let format = folder.path().join("format");
        open(folder.path()).unwrap().own_logs_are_made().unwrap();
        let backup = fs::read(&format).unwrap();
        for lost in ["format", "cluster-id"] {
            fs::remove_file(folder.path().join(lost)).unwrap();
            let error = open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&*format.to_string_lossy()) && error.contains("put"), "{error}");
        }
        fs::write(format, backup).unwrap();
        assert_eq!(open(folder.path()).unwrap().left_as(), LeftAs::Unclean);
    }

    #[test]
    fn a_newer_layout_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let newer = Format { version: LAYOUT.version + 1, ..LAYOUT };
        durable_file::write(&Disk, &folder.path().join("format"), newer, &[]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, DataDirError::File(DurableFileError::NewerVersion { .. })));
    }
}
