//! Small files that are replaced as a whole and survive power loss: framed, checked, bounded.
//!
//! ```text
//! magic [u8; 4] │ version u32 │ body length u64 │ CRC-32 u32 │ body     (little endian)
//! ```
//!
//! The checksum covers all but itself, so that a version is believed only if it was written. Files
//! of version 1 from before that have one of the body alone, and are still read.
//!
//! The rule: write aside, sync, rename, sync the folder; a reader finds the old file or the new
//! one and never a mixture, and a file of a newer version is refused by name instead of being
//! read as something else.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use log_core::io::{OpenMode, Storage};

/// What a kind of file is recognised by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) magic: [u8; 4],
    /// The newest version that this broker writes and reads.
    pub(crate) version: u32,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DurableFileError {
    /// A file operation failed.
    #[error("{operation} {}: {source}", file.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged: {detail} (what can be done: docs/recovery.md)", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What was expected and what was found.
        detail: String,
    },
    /// A newer broker wrote it.
    #[error("{} has version {found}, and this broker knows {known} at most: run a newer one", file.display())]
    NewerVersion {
        /// Which file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is understood.
        known: u32,
    },
    /// It would be taken for damage when it is read.
    #[error("{} would have {bytes} bytes, and {BODY_BYTES_MAX} are the most", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
        /// How large it would be.
        bytes: u64,
    },
}

const HEADER_BYTES: usize = 20;

const CHECKSUM_AT: usize = 16;

/// No file of ours is larger; a length beyond it is damage.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// Replaces the file. Durable once this returns. After an error it is as it was.
pub(crate) fn write(
    storage: &dyn Storage,
    file: &Path,
    format: Format,
    body: &[u8],
) -> Result<(), DurableFileError> {
    let failed =
        |operation| move |source| DurableFileError::Io { operation, file: file.to_owned(), source };
    let bytes = body.len() as u64;
    if bytes > BODY_BYTES_MAX {
        return Err(DurableFileError::TooLarge { file: file.to_owned(), bytes });
    }
    let folder = file.parent().expect("the broker's files lie in folders");
    let aside = file.with_extension("tmp");
    let written = storage.open(&aside, OpenMode::CreateOrEmpty).map_err(failed("make"))?;
    let header = header(format, body);
    let parts = [IoSlice::new(&header), IoSlice::new(body)];
    written.write_at(&parts, 0).map_err(failed("write"))?;
    written.sync_data().map_err(failed("sync"))?;
    storage.rename(&aside, file).map_err(failed("replace"))?;
    storage.sync_folder(folder).map_err(failed("sync the folder of"))
}

/// The file's body; `None` if there is no file.
pub(crate) fn read(
    storage: &dyn Storage,
    file: &Path,
    format: Format,
) -> Result<Option<Vec<u8>>, DurableFileError> {
    let failed = |source| DurableFileError::Io { operation: "read", file: file.to_owned(), source };
    let opened = match storage.open(file, OpenMode::Read) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = opened.read_to_vec(BODY_BYTES_MAX + HEADER_BYTES as u64).map_err(failed)?;
    body_of(&bytes, format, file).map(Some)
}

/// Up to the checksum.
fn front(format: Format, body: &[u8]) -> [u8; CHECKSUM_AT] {
    let mut front = [0; CHECKSUM_AT];
    front[..4].copy_from_slice(&format.magic);
    front[4..8].copy_from_slice(&format.version.to_le_bytes());
    front[8..].copy_from_slice(&(body.len() as u64).to_le_bytes());
    front
}

fn checksum(front: &[u8; CHECKSUM_AT], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(front);
    crc.update(body);
    crc.finalize()
}

fn header(format: Format, body: &[u8]) -> [u8; HEADER_BYTES] {
    let front = front(format, body);
    let mut header = [0; HEADER_BYTES];
    header[..CHECKSUM_AT].copy_from_slice(&front);
    header[CHECKSUM_AT..].copy_from_slice(&checksum(&front, body).to_le_bytes());
    header
}

fn body_of(bytes: &[u8], format: Format, file: &Path) -> Result<Vec<u8>, DurableFileError> {
    let damaged = |detail| DurableFileError::Damaged { file: file.to_owned(), detail };
    let Some((found, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged(format!("{} bytes are fewer than its header has", bytes.len())));
    };
    if found[..4] != format.magic {
        return Err(damaged(format!(
            "it begins with {:02x?}, not {:02x?}",
            &found[..4],
            format.magic
        )));
    }
    let version = u32::from_le_bytes([found[4], found[5], found[6], found[7]]);
    let declared = u32::from_le_bytes([found[16], found[17], found[18], found[19]]);
    let front = front(Format { version, ..format }, body);
    let is_sound =
        declared == checksum(&front, body) || version == 1 && declared == crc32fast::hash(body);
    if found[..CHECKSUM_AT] != front || !is_sound || version == 0 {
        return Err(damaged("its length or checksum is not that of what it holds".to_owned()));
    }
    if version > format.version {
        let (file, known) = (file.to_owned(), format.version);
        return Err(DurableFileError::NewerVersion { file, found: version, known });
    }
    Ok(body.to_vec())
}

/// Any bytes as a file, and as what a sound one holds.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    const FORMAT: Format = Format { magic: *b"CFMT", version: 1 };
    let read = |file: &[u8]| body_of(file, FORMAT, Path::new("format"));
    let written = |body: &[u8]| [&header(FORMAT, body)[..], body].concat();
    let body = read(bytes).ok();
    for body in [body.as_deref(), Some(bytes)].into_iter().flatten() {
        let again = read(&written(body)).expect("what was written is read");
        assert_eq!(again, body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_core::io::Disk;

    const FORMAT: Format = Format { magic: *b"TEST", version: 2 };

    #[test]
    fn files_come_back_and_every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        assert!(read(&Disk, &file, FORMAT).unwrap().is_none());
        write(&Disk, &file, FORMAT, b"first").unwrap();
        write(&Disk, &file, FORMAT, b"second").unwrap();
        assert_eq!(read(&Disk, &file, FORMAT).unwrap().unwrap(), b"second");
        let sound = std::fs::read(&file).unwrap();
        for at in 0..sound.len() {
            assert!(is_damaged(&sound[..at]), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                assert!(is_damaged(&damaged), "bit {bit} of byte {at}");
            }
        }
    }

    fn is_damaged(bytes: &[u8]) -> bool {
        let read = body_of(bytes, FORMAT, Path::new("state"));
        matches!(read, Err(DurableFileError::Damaged { .. }))
    }

    #[test]
    fn files_whose_checksum_covers_the_body_alone_are_read() {
        let first = Format { version: 1, ..FORMAT };
        let mut file = header(first, b"state").to_vec();
        file[CHECKSUM_AT..].copy_from_slice(&crc32fast::hash(b"state").to_le_bytes());
        file.extend_from_slice(b"state");
        assert_eq!(body_of(&file, FORMAT, Path::new("state")).unwrap(), b"state");
        file[5] = 4;
        assert!(is_damaged(&file), "a version that nothing vouches for is no version");
    }

    /// What nobody can read must not take the place of what can be read.
    #[test]
    fn what_is_too_large_to_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        write(&Disk, &file, FORMAT, b"small").unwrap();
        // Never touched, so that it takes no memory.
        let large = vec![0; BODY_BYTES_MAX as usize + 1];
        let error = write(&Disk, &file, FORMAT, &large).unwrap_err();
        assert!(matches!(error, DurableFileError::TooLarge { .. }), "{error}");
        assert_eq!(read(&Disk, &file, FORMAT).unwrap().unwrap(), b"small");
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        write(&Disk, &file, Format { version: 3, ..FORMAT }, b"later").unwrap();
        let error = read(&Disk, &file, FORMAT).unwrap_err();
        assert!(matches!(error, DurableFileError::NewerVersion { found: 3, known: 2, .. }));
    }
}
