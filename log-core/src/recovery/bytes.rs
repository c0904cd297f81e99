//! Looking at, keeping and writing the bytes at a log's end, a piece at a time.

use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;

use crate::error::FileError;
use crate::folder::{Folder, failed};
use crate::io::{File, OpenMode};
use crate::segment::{FileName, Segment};

/// How much is copied or looked at in one piece.
const CHUNK_BYTES: usize = 1 << 20;
/// What a chunk is compared with: faster than a look at each byte.
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Keeps the bytes from `start` on in a file of their own, durably.
pub(super) fn save_tail(
    folder: &Folder,
    segment: &Segment,
    file: &dyn File,
    start: u64,
    end: u64,
) -> Result<PathBuf, FileError> {
    let name = FileName::Cut { base_offset: segment.base(), position: start };
    let path = folder.path_of(&name);
    // Behind what was cut off here before, and may be wanted as well.
    let (saved, behind) = match folder.open(&name, OpenMode::CreateNew) {
        Ok(saved) => (saved, 0),
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            (folder.open(&name, OpenMode::Write)?, folder.len(&name)?)
        }
        Err(error) => return Err(error),
    };
    for_chunks(segment, file, start, end, |chunk, position| {
        saved
            .write_at(&[IoSlice::new(chunk)], behind + position - start)
            .map_err(failed("write", path.clone()))
    })?;
    saved.sync_data().map_err(failed("sync", path.clone()))?;
    folder.sync()?;
    Ok(path)
}

pub(super) fn any_set(
    segment: &Segment,
    file: &dyn File,
    start: u64,
    end: u64,
) -> Result<bool, FileError> {
    let mut set = false;
    for_chunks(segment, file, start, end, |chunk, _| {
        set |= chunk != &ZEROS[..chunk.len()];
        Ok(())
    })?;
    Ok(set)
}

/// Writes the segment's bytes from `start` on over themselves, and syncs them.
pub(super) fn rewrite(segment: &Segment, start: u64) -> Result<(), FileError> {
    let file = segment.file()?;
    for_chunks(segment, &*file, start, segment.end(), |chunk, position| {
        file.write_at(&[IoSlice::new(chunk)], position).map_err(failed("write", segment.log_path()))
    })?;
    file.sync_data().map_err(failed("sync", segment.log_path()))
}

pub(super) fn for_chunks(
    segment: &Segment,
    file: &dyn File,
    mut position: u64,
    end: u64,
    mut each: impl FnMut(&[u8], u64) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut buffer = Vec::new();
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        buffer.resize(wanted, 0);
        let chunk = &mut buffer[..];
        file.read_exact_at(chunk, position).map_err(failed("read", segment.log_path()))?;
        each(chunk, position)?;
        position += wanted as u64;
    }
    Ok(())
}
