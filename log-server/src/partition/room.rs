//! Whether the disk has room, as those know who write to it.
//!
//! The rule: a disk that runs full is spoken of once, and once more when that is over, however many
//! batches are refused in between. Who finds no room says so; that it is over nobody finds, because
//! a small record may fit where a large one does not, and producers give up. So it is over once
//! nobody has been refused for a while and there is room to be seen.

use log_core::{FileError, OpenError};
use parking_lot::Mutex;

/// Rounds of housekeeping without a refusal before a disk may count as no longer full. Clients
/// that are refused come back within a second.
const QUIET_ROUNDS: u32 = 3;

/// So much must be free as well: a batch of the usual largest size.
const FREE_BYTES_MIN: u64 = 1 << 20;

/// What is known of the disk's room.
#[derive(Debug, Default)]
pub struct DiskRoom {
    /// While it is full: rounds since somebody was refused.
    full: Mutex<Option<u32>>,
}

/// What a look at the room has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// The disk has run full.
    Full,
    /// It has room again.
    Over,
    /// Nothing that would be news.
    None,
}

impl DiskRoom {
    /// Whether somebody has found no room, and it is not known to be over.
    pub(crate) fn is_full(&self) -> bool {
        self.full.lock().is_some()
    }

    /// Something that was to be written was not.
    pub(crate) fn refused(&self, error: &FileError) {
        if error.is_disk_full() && self.run_full() == Change::Full {
            tracing::warn!(
                %error,
                "the disk is full: writes are refused until there is room, reads and deletions go on"
            );
        }
    }

    /// A log could not be opened, or made.
    pub(crate) fn not_opened(&self, error: &OpenError) {
        if let OpenError::File(error) = error {
            self.refused(error);
        }
    }

    /// A round of housekeeping has come by, and has seen so much room.
    pub(crate) fn look(&self, free_bytes: u64) {
        if self.pass_round(free_bytes) == Change::Over {
            tracing::info!(free_bytes, "the disk has room again: writes are taken");
        }
    }

    fn run_full(&self) -> Change {
        match self.full.lock().replace(0) {
            None => Change::Full,
            Some(_) => Change::None,
        }
    }

    fn pass_round(&self, free_bytes: u64) -> Change {
        let mut full = self.full.lock();
        let Some(rounds) = full.as_mut() else { return Change::None };
        *rounds = rounds.saturating_add(1);
        if *rounds <= QUIET_ROUNDS || free_bytes < FREE_BYTES_MIN {
            return Change::None;
        }
        *full = None;
        Change::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: however often writes are refused, and whatever fits in between, there is one beginning
    /// and one end.
    #[test]
    fn a_full_disk_begins_once_and_ends_once() {
        let room = DiskRoom::default();
        assert_eq!(room.pass_round(u64::MAX), Change::None);
        assert_eq!(room.run_full(), Change::Full);
        for _ in 0..3 {
            assert_eq!(room.run_full(), Change::None);
            for _ in 0..QUIET_ROUNDS {
                assert_eq!(room.pass_round(u64::MAX), Change::None, "a client may be back");
            }
        }
        assert_eq!(room.pass_round(FREE_BYTES_MIN - 1), Change::None, "nobody asks, nothing fits");
        assert!(room.is_full());
        assert_eq!(room.pass_round(FREE_BYTES_MIN), Change::Over);
        assert_eq!(room.pass_round(0), Change::None);
        assert!(!room.is_full());
    }
}
