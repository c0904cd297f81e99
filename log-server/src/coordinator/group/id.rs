//! What groups and their members are called.
//!
//! The rule: an id is checked once, when it becomes one of these types. What a client leaves empty
//! is no id but `None`; the sentinels of the wire stay in the doors.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::GroupIdError;
use crate::limits;

/// The id of a group: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// Checks the id.
    pub fn new(id: &str) -> Result<Self, GroupIdError> {
        if id.is_empty() {
            return Err(GroupIdError::Empty);
        }
        if id.chars().nth(limits::GROUP_ID_CHARS_MAX).is_some() {
            return Err(GroupIdError::TooLong);
        }
        if id.contains(char::is_control) {
            return Err(GroupIdError::ControlCharacter { id: id.to_owned() });
        }
        Ok(Self(id.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of a client's own name goes into the member id that it is given.
const MEMBER_ID_PREFIX_CHARS_MAX: usize = 200;

/// Which member of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// What a client calls itself; `None` if it does not.
    pub fn new(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self(id.into()))
    }

    /// An id that nobody has had, beginning with a name that people recognise.
    pub(crate) fn fresh(name: &str, unique: Uuid) -> Self {
        let name: String = name.chars().take(MEMBER_ID_PREFIX_CHARS_MAX).collect();
        Self(format!("{name}-{unique}").into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that a static member keeps over its restarts (KIP-345).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupInstanceId(Arc<str>);

/// Something is not the id of a group instance.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "group instance id {id:?} is none: give it 1 to {} characters, none of them a control character",
    limits::GROUP_ID_CHARS_MAX
)]
pub struct GroupInstanceIdError {
    /// What was given, or its beginning.
    pub id: String,
}

impl GroupInstanceId {
    /// Checks the id.
    pub fn new(id: &str) -> Result<Self, GroupInstanceIdError> {
        let is_long = id.chars().nth(limits::GROUP_ID_CHARS_MAX).is_some();
        if id.is_empty() || is_long || id.contains(char::is_control) {
            let id = id.chars().take(limits::GROUP_ID_CHARS_MAX).collect();
            return Err(GroupInstanceIdError { id });
        }
        Ok(Self(id.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which composition of a group: raised by every completed rebalance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GenerationId(i32);

impl GenerationId {
    /// `None` for a negative number, which on the wire says that there is none.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// As a number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The one after it. After 2^31 rebalances they begin anew, as nobody is left to remember.
    pub(crate) const fn next(self) -> Self {
        Self(if self.0 == i32::MAX { 0 } else { self.0 + 1 })
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a consumer group, or one of its members, has come: raised by every change (KIP-848).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MemberEpoch(i32);

impl MemberEpoch {
    /// `None` for a negative number, which on the wire says that somebody leaves.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// As a number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The one after it. They begin anew after 2^31 changes, at 1: 0 is who has none.
    pub(crate) const fn next(self) -> Self {
        Self(if self.0 == i32::MAX { 1 } else { self.0 + 1 })
    }
}

impl fmt::Display for MemberEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded() {
        for bad in ["", "a\nb", &"ä".repeat(256)] {
            assert!(GroupId::new(bad).is_err() && GroupInstanceId::new(bad).is_err(), "{bad:?}");
        }
        let longest = "ä".repeat(255);
        assert!(GroupId::new(&longest).is_ok() && GroupInstanceId::new(&longest).is_ok());
        let fresh = MemberId::fresh(&"ä".repeat(10_000), Uuid::from_u128(1));
        assert!(fresh.as_str().len() < 500);
    }

    #[test]
    fn a_generation_is_never_negative() {
        assert_eq!(GenerationId::new(-1), None);
        assert_eq!(GenerationId(i32::MAX).next(), GenerationId(0));
    }
}
