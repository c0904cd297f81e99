//! What every message is: a shape, a way to be read and a way to be written.
//!
//! The rule: a message is read and written only in a version that its shape allows, and this is
//! the one place that asks. The generated code goes on from there without doubt.

use std::fmt;

use super::{
    api_key::ApiKey,
    error::{DecodeError, EncodeError},
    reader::Reader,
    writer::Writer,
};

/// Versions from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The lowest version.
    pub first: i16,
    /// The highest version.
    pub last: i16,
}

impl Versions {
    /// Whether `version` is one of them.
    pub const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// What there is to know of a message without looking into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// As in `FetchRequest`.
    pub name: &'static str,
    /// The versions that can be read and written: all that Kafka 4.3 calls valid and stable.
    pub versions: Versions,
    /// The first version with compact lengths and tagged fields (KIP-482), if there is one.
    pub flexible_from: Option<i16>,
}

impl Shape {
    /// Whether this version has compact lengths and tagged fields, also of versions too high for
    /// this codec: once flexible, a message stays flexible.
    pub const fn is_flexible(&self, version: i16) -> bool {
        match self.flexible_from {
            Some(first) => version >= first,
            None => false,
        }
    }
}

/// How a struct is laid out. The messages have it too, but are read through [`Message`], which
/// looks at the version first.
pub trait Layout: Sized {
    /// Reads the fields in the version that the reader is in.
    fn read(r: &mut Reader) -> Result<Self, DecodeError>;

    /// Writes the fields in the version that the writer is in. A failure stays in the writer.
    fn write(&self, w: &mut Writer);
}

/// A request, a response, or data that has versions of its own.
pub trait Message: Layout + Default + PartialEq + fmt::Debug {
    /// Its name and versions.
    const SHAPE: &'static Shape;

    /// Reads the message. Fields that `version` lacks have their defaults; bytes that follow the
    /// last field stay unread.
    ///
    /// # Errors
    ///
    /// The version is not one of [`Shape::versions`], or the bytes are not this message.
    fn decode(version: i16, reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.enter(Self::SHAPE, version)?;
        Self::read(reader)
    }

    /// Appends the message.
    ///
    /// # Errors
    ///
    /// The version is not one of [`Shape::versions`]; a field is set that the version lacks and
    /// that may not be left out, or null where the version has no null; a string, array or bytes
    /// are longer than the protocol can say. What is in the writer is of no use then.
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.enter(Self::SHAPE, version);
        self.write(writer);
        writer.check()
    }
}

/// A message that a client sends, and to which a broker answers.
pub trait Request: Message {
    /// Which API it asks.
    const API_KEY: ApiKey;

    /// What answers it, in the same version.
    type Response: Message;
}

/// What is done in the same way with the requests of every API: see
/// [`visit_request`](super::messages::visit_request).
pub trait RequestVisitor {
    /// What comes of it.
    type Output;

    /// Does it, for the requests of one API.
    fn visit<R: Request>(self) -> Self::Output;
}
