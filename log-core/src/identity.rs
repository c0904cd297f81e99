//! Whose log a folder holds: `partition.json`.
//!
//! Folders have readable names, and names are used again. The id makes sure that a topic which is
//! deleted and made anew never meets its old files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Damage, FileError, OpenError};
use crate::folder::{Folder, failed};
use crate::io::{self, Storage};
use crate::segment::FileName;

const FILE_BYTES_MAX: u64 = 4096;

/// Which partition of which topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LogIdentity {
    /// The topic's id, new each time a topic is made.
    pub topic_id: Uuid,
    /// The partition's number within the topic.
    pub partition: u32,
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of topic id {}", self.partition, self.topic_id)
    }
}

impl LogIdentity {
    /// The identity that a folder names; `None` where it has no `partition.json`.
    pub fn read(storage: &Arc<dyn Storage>, folder: &Path) -> Result<Option<Self>, OpenError> {
        Self::of(&Folder::new(folder.to_path_buf(), Arc::clone(storage)))
    }

    /// Makes the folder this log's, durably, or finds that it is already.
    pub(crate) fn claim(self, folder: &Folder) -> Result<(), OpenError> {
        match Self::of(folder)? {
            Some(found) if found == self => Ok(()),
            Some(found) => Err(OpenError::OtherLog {
                folder: folder.path().to_path_buf(),
                expected: self.to_string(),
                found: found.to_string(),
            }),
            // A deletion that was cut short may leave another topic's records without their name.
            None if holds_log(folder)? => {
                let file = folder.path_of(&FileName::Partition);
                let detail = "missing beside log files: move the folder away".to_owned();
                Err(Damage { file, position: 0, detail }.into())
            }
            None => Ok(self.write(folder)?),
        }
    }

    /// See [`LogIdentity::read`].
    pub(crate) fn of(folder: &Folder) -> Result<Option<Self>, OpenError> {
        let Some(bytes) = folder.read(&FileName::Partition, FILE_BYTES_MAX)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let file = folder.path_of(&FileName::Partition);
            Damage { file, position: 0, detail: error.to_string() }.into()
        })
    }

    /// The folder's own name is durable before the file is there, so that whoever finds the file
    /// may rely on the folder.
    fn write(self, folder: &Folder) -> Result<(), FileError> {
        let path = folder.path();
        io::make_folder(folder.storage(), path).map_err(failed("make", path.to_path_buf()))?;
        let json = serde_json::to_vec(&self).expect("two plain fields always encode");
        crate::durable::replace(folder, &FileName::Partition, &json)
    }
}

fn holds_log(folder: &Folder) -> Result<bool, FileError> {
    match folder.list() {
        Ok(entries) => Ok(entries
            .iter()
            .any(|entry| matches!(FileName::parse(&entry.name), Some(FileName::Log(_))))),
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_json_that_a_person_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let identity = LogIdentity { topic_id: Uuid::from_u128(0xca12), partition: 3 };
        let log = folder.path().join("new").join("events-3");
        let storage: Arc<dyn Storage> = Arc::new(crate::io::Disk);
        identity.claim(&Folder::new(log.clone(), Arc::clone(&storage))).unwrap();
        assert_eq!(
            std::fs::read_to_string(log.join("partition.json")).unwrap(),
            r#"{"topic_id":"00000000-0000-0000-0000-00000000ca12","partition":3}"#
        );
        assert_eq!(LogIdentity::read(&storage, &log).unwrap(), Some(identity));
        assert_eq!(LogIdentity::read(&storage, folder.path()).unwrap(), None);
    }
}
