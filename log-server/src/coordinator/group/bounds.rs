//! How many members there may be in all groups together, and how much they may have the broker keep.
//!
//! The rule: whoever adds nothing is let in, however full the broker is. A member that comes back,
//! takes another's place or says again what it has said is counted already; shutting it out would
//! free nothing, and stop a group that was there first.

use super::error::{ConsumerHeartbeatError, JoinGroupError};
use crate::error::CoordinatorError;
use crate::limits;

/// Somebody at the door.
pub(super) struct Comer {
    /// What it has said of itself takes so much. `None` if it would be one more.
    pub(super) before: Option<usize>,
    /// What it has said then.
    pub(super) now: usize,
}

/// What there is too much of.
pub(super) enum NoRoom {
    Members,
    Bytes,
}

impl Comer {
    /// Whether there is room where there are so many members, who take so much; it among them, if
    /// it is in.
    pub(super) fn check(&self, members: usize, bytes: usize) -> Result<(), NoRoom> {
        if self.before.is_none() && members >= limits::MEMBERS_MAX {
            return Err(NoRoom::Members);
        }
        let before = self.before.unwrap_or_default();
        if self.now > before && bytes.saturating_add(self.now - before) > limits::MEMBER_BYTES_MAX {
            return Err(NoRoom::Bytes);
        }
        Ok(())
    }
}

impl From<NoRoom> for JoinGroupError {
    fn from(full: NoRoom) -> Self {
        match full {
            NoRoom::Members => Self::GroupFull { max: limits::MEMBERS_MAX },
            NoRoom::Bytes => Self::MetadataFull,
        }
    }
}

impl From<NoRoom> for ConsumerHeartbeatError {
    fn from(full: NoRoom) -> Self {
        match full {
            NoRoom::Members => Self::GroupFull { max: limits::MEMBERS_MAX },
            NoRoom::Bytes => {
                let reason = JoinGroupError::MetadataFull.to_string();
                CoordinatorError::Refused { reason }.into()
            }
        }
    }
}
