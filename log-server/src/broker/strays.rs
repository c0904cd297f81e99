//! Folders among the logs that no topic explains.
//!
//! The rule: what a crash while creating a topic leaves holds nothing that anybody could miss, and
//! goes. All else is a riddle and is left to people, with everything beside it. To ask only whether
//! a folder holds records was not enough: what tells that there *were* records is worth as much.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_core::io::{Entry, EntryKind, Storage};
use log_core::{FileName, LogIdentity, Offset};

use crate::topics::TopicName;

/// Looks at every folder that no topic explains, given their paths. Where one holds records it is
/// the metadata that may be missing something, and nothing is removed: neither those records nor
/// their empty neighbours could be served when the metadata are back.
pub(super) fn look_after(storage: &Arc<dyn Storage>, strays: &[PathBuf]) -> Tidied {
    let (leftovers, riddles): (Vec<_>, Vec<_>) =
        strays.iter().partition(|folder| is_leftover(storage, folder));
    for folder in &riddles {
        tracing::warn!(folder = %folder.display(), "belongs to no topic; left alone");
    }
    if !riddles.is_empty() {
        return Tidied::No;
    }
    for folder in leftovers {
        match storage.remove_folder(folder) {
            Ok(()) => tracing::info!(folder = %folder.display(), "empty, of no topic: removed"),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot be removed");
            }
        }
    }
    Tidied::Yes
}

/// Whether everything is explained now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tidied {
    Yes,
    /// Some folder is a riddle.
    No,
}

/// Whether the folder, which belongs to no topic, is what creating one has left, or what was left
/// of that when it was removed. A log that was ever used has other files, too.
pub(super) fn is_leftover(storage: &Arc<dyn Storage>, folder: &Path) -> bool {
    let is_ours = |name: &str| TopicName::parse_folder(name).is_some();
    let Ok(entries) = storage.list(folder) else { return false };
    folder.file_name().is_some_and(|name| name.to_str().is_some_and(is_ours))
        && LogIdentity::read(storage, folder).is_ok()
        && entries.iter().all(|entry| is_of_a_new_log(&**storage, folder, entry))
}

fn is_of_a_new_log(storage: &dyn Storage, folder: &Path, entry: &Entry) -> bool {
    let is_identity = |name: &FileName| *name == FileName::Partition;
    entry.kind == EntryKind::File
        && match FileName::parse(&entry.name) {
            Some(FileName::Log(Offset::ZERO)) => {
                storage.len(&folder.join(&entry.name)).is_ok_and(|bytes| bytes == 0)
            }
            Some(FileName::Temporary(name)) => is_identity(&name),
            Some(name) => is_identity(&name),
            None => false,
        }
}
