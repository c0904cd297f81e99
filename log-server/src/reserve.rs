//! A little room on the disk, kept for a start on a full one.
//!
//! Opening logs, and raising the leader epoch, write a few small files. On a disk without a free
//! byte that would keep a broker from starting, and so from serving reads and from deleting what
//! fills the disk. The rule: the reserve is given up before anything is opened, and taken again
//! once there is plenty. While the broker serves, producers would eat it, so it is kept from
//! everything but the record that a topic is deleted, which makes more room than that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Enough for the small files of a start with many partitions, and not missed on any disk.
const RESERVE_BYTES: u64 = 8 << 20;

/// The reserve is taken only where so many times its size is free: it must not be what fills the
/// disk.
const PLENTY: u64 = 4;

/// What was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    /// There is room now, for whoever is quick.
    Room,
    /// There was nothing left to give.
    Nothing,
}

/// The room, as a file.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: PathBuf,
    taken: AtomicBool,
}

impl Reserve {
    /// The reserve of a data folder, given up if the disk is (nearly) full.
    pub(crate) fn open(folder: &Path) -> Self {
        let file = folder.join("reserve");
        let mut taken = file.exists();
        if taken && free_bytes(folder).is_ok_and(|free| free < RESERVE_BYTES) {
            tracing::warn!("the disk is full: giving up the reserve to start all the same");
            // If even that fails, opening the logs will say what is wrong.
            let _ = fs::remove_file(&file);
            taken = false;
        }
        Self { file, taken: AtomicBool::new(taken) }
    }

    /// Gives the room up, for what will make more. Blocks on the disk.
    pub(crate) fn give_up(&self) -> Given {
        if self.taken.swap(false, Ordering::Relaxed) && fs::remove_file(&self.file).is_ok() {
            tracing::warn!("the disk is full: giving up the reserve to delete a topic");
            return Given::Room;
        }
        Given::Nothing
    }

    /// Takes the room again if there is plenty. Blocks on the disk.
    pub(crate) fn refill(&self) {
        if self.taken.load(Ordering::Relaxed) {
            return;
        }
        match self.take() {
            Ok(taken) => self.taken.store(taken, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "no reserve");
                // Half a reserve is none.
                let _ = fs::remove_file(&self.file);
            }
        }
    }

    /// What is free beside it, in bytes.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(self.file.parent().unwrap_or(Path::new(".")))
    }

    fn take(&self) -> io::Result<bool> {
        if self.free_bytes()? < PLENTY * RESERVE_BYTES {
            return Ok(false);
        }
        fallocate(File::create(&self.file)?, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        Ok(true)
    }
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let free = statvfs(folder)?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_taken_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(folder.path());
        reserve.refill();
        let kept = || fs::metadata(folder.path().join("reserve")).map(|file| file.len()).ok();
        let plenty = free_bytes(folder.path()).unwrap() > 2 * PLENTY * RESERVE_BYTES;
        assert_eq!(kept(), plenty.then_some(RESERVE_BYTES));
        drop(Reserve::open(folder.path()));
        assert_eq!(kept(), plenty.then_some(RESERVE_BYTES), "given up only on a full disk");
    }
}
