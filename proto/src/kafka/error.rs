//! Why bytes are no message, and why a message has no bytes.
//!
//! The rule: an error names the message, its version and the field, and of bytes also the place.
//! Both are boxed: they are rare, and every read of an integer returns one.

use thiserror::Error;

use super::message::Versions;

/// Bytes that are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0)]
pub struct DecodeError(Box<DecodeFault>);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} version {version}: {field}, at byte {position}, {reason}")]
struct DecodeFault {
    message: &'static str,
    version: i16,
    field: &'static str,
    position: usize,
    reason: DecodeReason,
}

impl DecodeError {
    pub(super) fn new(
        message: &'static str,
        version: i16,
        field: &'static str,
        position: usize,
        reason: DecodeReason,
    ) -> Self {
        Self(Box::new(DecodeFault { message, version, field, position, reason }))
    }

    /// The message, as in `FetchRequest`.
    pub fn message(&self) -> &'static str {
        self.0.message
    }

    /// The version in which it was read.
    pub fn version(&self) -> i16 {
        self.0.version
    }

    /// The field, or the array of which it is an element.
    pub fn field(&self) -> &'static str {
        self.0.field
    }

    /// How many bytes of the frame, or of what the reader was given, lie before the fault.
    pub fn position(&self) -> usize {
        self.0.position
    }

    /// What is wrong.
    pub fn reason(&self) -> &DecodeReason {
        &self.0.reason
    }
}

/// What is wrong with a field that was read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The version is none that the codec reads.
    #[error("is in none of the versions {known} that are read")]
    UnsupportedVersion {
        /// The versions that are read.
        known: Versions,
    },
    /// The bytes end before the field does.
    #[error("takes {needed} bytes where {left} are left")]
    Truncated {
        /// The bytes that the field takes.
        needed: usize,
        /// The bytes that are there.
        left: usize,
    },
    /// Null, where the version has no null.
    #[error("is null, which this version does not allow")]
    Null,
    /// A length below -1, which stands for null.
    #[error("has the negative length {length}")]
    NegativeLength {
        /// The length.
        length: i32,
    },
    /// A string longer than 32767 bytes, which the protocol forbids in every version.
    #[error("is a string of {length} bytes; 32767 are allowed")]
    StringTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A string that is no UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A variable-length integer of more than 32 bits.
    #[error("starts with an integer of more than 32 bits")]
    VarintTooLong,
    /// More elements than bytes, of which each element takes one at least.
    #[error("has {count} elements where {left} bytes are left")]
    TooManyElements {
        /// The elements that the array claims.
        count: usize,
        /// The bytes that are there.
        left: usize,
    },
    /// Arrays that, together, take more memory than the reader may use.
    #[error("would take {bytes} bytes of memory where {left} are left of the reader's budget")]
    OverBudget {
        /// The memory that the array takes.
        bytes: usize,
        /// What is left of the budget.
        left: usize,
    },
    /// A struct that may be null starts with neither -1 nor 1.
    #[error("starts with {marker} where -1 says null and 1 says not null")]
    NotAMarker {
        /// The first byte.
        marker: i8,
    },
    /// A tagged field that takes more or fewer bytes than it says.
    #[error("is a tagged field that says it takes {said} bytes and takes {taken}")]
    WrongTagSize {
        /// The bytes that it says.
        said: usize,
        /// The bytes that it takes.
        taken: usize,
    },
}

/// A message that does not fit the version in which it should be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0)]
pub struct EncodeError(Box<EncodeFault>);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} version {version}: {field} {reason}")]
struct EncodeFault {
    message: &'static str,
    version: i16,
    field: &'static str,
    reason: EncodeReason,
}

impl EncodeError {
    pub(super) fn new(
        message: &'static str,
        version: i16,
        field: &'static str,
        reason: EncodeReason,
    ) -> Self {
        Self(Box::new(EncodeFault { message, version, field, reason }))
    }

    /// The message, as in `FetchResponse`.
    pub fn message(&self) -> &'static str {
        self.0.message
    }

    /// The version in which it was to be written.
    pub fn version(&self) -> i16 {
        self.0.version
    }

    /// The field.
    pub fn field(&self) -> &'static str {
        self.0.field
    }

    /// What does not fit.
    pub fn reason(&self) -> &EncodeReason {
        &self.0.reason
    }
}

/// What does not fit in a field that was to be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeReason {
    /// The version is none that the codec writes.
    #[error("is in none of the versions {known} that are written")]
    UnsupportedVersion {
        /// The versions that are written.
        known: Versions,
    },
    /// The field says something, and the version has no such field.
    #[error("is set, but this version has no such field: leave it at its default")]
    Absent,
    /// Null, where the version has no null.
    #[error("is null, which this version does not allow")]
    Null,
    /// More bytes or elements than the protocol can say.
    #[error("has the length {length}; {allowed} is the most allowed")]
    TooLong {
        /// Its length, in bytes or elements.
        length: usize,
        /// The largest length allowed.
        allowed: usize,
    },
}
