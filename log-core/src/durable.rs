//! Replacing small files: write aside, sync, rename, sync the folder.
//!
//! A reader finds the old bytes or the new ones, never a mixture, whenever the power fails. The
//! cheaper variant leaves out the syncs, for hints whose loss costs time and never data.

use std::io::IoSlice;

use crate::error::FileError;
use crate::folder::{Folder, failed};
use crate::io::OpenMode;
use crate::segment::FileName;

/// Gives `name` new contents that survive power loss once this returns.
pub(crate) fn replace(folder: &Folder, name: &FileName, bytes: &[u8]) -> Result<(), FileError> {
    write_aside(folder, name, bytes, Synced::Yes)?;
    folder.sync()
}

/// Gives `name` new contents that survive power loss once the folder is synced, which is the
/// caller's business.
pub(crate) fn replace_unsynced(
    folder: &Folder,
    name: &FileName,
    bytes: &[u8],
) -> Result<(), FileError> {
    write_aside(folder, name, bytes, Synced::Yes)
}

/// Gives `name` new contents that survive the process, and power loss with some luck. The bytes
/// must be recognisable: after power loss the file may be old, empty or torn.
pub(crate) fn replace_hint(
    folder: &Folder,
    name: &FileName,
    bytes: &[u8],
) -> Result<(), FileError> {
    write_aside(folder, name, bytes, Synced::No)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Yes,
    No,
}

fn write_aside(
    folder: &Folder,
    name: &FileName,
    bytes: &[u8],
    synced: Synced,
) -> Result<(), FileError> {
    let aside = FileName::Temporary(Box::new(name.clone()));
    let path = folder.path_of(&aside);
    let file = folder.open(&aside, OpenMode::CreateOrEmpty)?;
    file.write_at(&[IoSlice::new(bytes)], 0).map_err(failed("write", path.clone()))?;
    if synced == Synced::Yes {
        file.sync_data().map_err(failed("sync", path))?;
    }
    folder.rename(&aside, name)
}
