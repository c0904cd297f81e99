//! The log start offset on disk: what lies below it is deleted, even where its bytes remain.
//!
//! Durable before anyone is told, and apart from the checkpoint, which may get lost.

use log_proto::types::Offset;

use crate::checkpoint::{CheckpointDamage, CheckpointKind, Reader, frame, unframe};
use crate::error::{Damage, FileError, OpenError};
use crate::folder::Folder;
use crate::segment::FileName;

const VERSION: u16 = 1;
const FILE_BYTES_MAX: u64 = 64;

/// Records below `offset` are deleted, once this returns.
pub(crate) fn write(folder: &Folder, offset: Offset) -> Result<(), FileError> {
    let bytes = frame(CheckpointKind::LogStart, VERSION, &offset.get().to_be_bytes());
    crate::durable::replace(folder, &FileName::LogStart, &bytes)
}

/// The log start that was written last; 0 if none was. One that cannot be read is an error, as
/// guessing would bring deleted records back.
pub(crate) fn read(folder: &Folder) -> Result<Offset, OpenError> {
    let Some(bytes) = folder.read(&FileName::LogStart, FILE_BYTES_MAX)? else {
        return Ok(Offset::ZERO);
    };
    decode(&bytes).map_err(|error| {
        let file = folder.path_of(&FileName::LogStart);
        Damage { file, position: 0, detail: error.to_string() }.into()
    })
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Offset, CheckpointDamage> {
    let (_, payload) = unframe(CheckpointKind::LogStart, VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    let offset = reader.take_offset()?;
    reader.finish()?;
    Ok(offset)
}
