//! Folders among the logs that no topic explains.
//!
//! What a crash while creating a topic leaves holds nothing that anybody could miss, and goes. All
//! else is a riddle and is left to people.

use std::path::Path;
use std::sync::Arc;

use log_core::io::{Entry, Storage};
use log_core::{FileName, LogIdentity};

use crate::topics::TopicName;

/// Removes a folder that is empty and ours; speaks of any other.
pub(super) fn look_after(storage: &Arc<dyn Storage>, folder: &Path) {
    let folder_name = folder.display();
    if !is_leftover(storage, folder) {
        return tracing::warn!(folder = %folder_name, "belongs to no topic; left alone");
    }
    match storage.remove_folder(folder) {
        Ok(()) => tracing::info!(folder = %folder_name, "empty, and of no topic: removed"),
        Err(error) => tracing::warn!(folder = %folder_name, %error, "cannot be removed"),
    }
}

/// Whether the folder, which belongs to no topic, is what creating one has left, or what was left
/// of that when it was removed: files of a log, and no records.
pub(super) fn is_leftover(storage: &Arc<dyn Storage>, folder: &Path) -> bool {
    let is_ours = |name: &str| TopicName::parse_folder(name).is_some();
    let Ok(entries) = storage.list(folder) else { return false };
    folder.file_name().is_some_and(|name| name.to_str().is_some_and(is_ours))
        && LogIdentity::read(storage, folder).is_ok()
        && entries.iter().all(|entry| is_empty_part(&**storage, folder, entry))
}

/// Whether this is a file of a log, and holds no records.
fn is_empty_part(storage: &dyn Storage, folder: &Path, entry: &Entry) -> bool {
    match FileName::parse(&entry.name) {
        Some(FileName::Log(_) | FileName::Cut { .. }) => {
            storage.len(&folder.join(&entry.name)).is_ok_and(|bytes| bytes == 0)
        }
        Some(_) => true,
        None => false,
    }
}
