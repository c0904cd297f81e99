//! Writes the fields of messages, and leaves large bytes where they are.
//!
//! ```text
//! own bytes   ├─ header, topic, offsets ─┼─ next partition ─┼─ throttle time ─┤
//! shared                                 ▲ records          ▲ records
//! ```
//!
//! The writer has one buffer for all that it writes itself, and a list of slices that belong
//! between two of its bytes. So a fetch response costs its header's bytes, whatever it carries,
//! and the length in front of it can be filled in when it is known.
//!
//! The rule: a field that does not fit the version spoils the writer, which goes on as if nothing
//! had happened and tells the first failure at the end. So writing a field cannot fail, and the
//! generated code needs no way out behind each; what it wrote is thrown away.

use bytes::Bytes;

use super::{
    error::{EncodeError, EncodeReason},
    message::{Layout, Shape},
    reader::{Length, STRING_BYTES_MAX},
    rope::Rope,
    str::Str,
    uuid::Uuid,
};

/// Bytes of this length or more are shared, shorter ones copied. Through a socket, a copy of 1 KiB
/// costs as much as one more entry in a vectored write; of 4 KiB, twice as much.
const SHARED_BYTES_MIN: usize = 1024;

/// Lengths, counts and sizes are an `int32` on the wire.
const LENGTH_MAX: usize = i32::MAX as usize;

/// What messages are written to.
#[derive(Debug)]
pub struct Writer {
    own: Vec<u8>,
    /// The shared slices, each with the count of own bytes before it.
    shared: Vec<(usize, Bytes)>,
    message: &'static str,
    version: i16,
    flexible: bool,
    in_tagged_field: bool,
    failure: Option<EncodeError>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self {
            own: Vec::with_capacity(256),
            shared: Vec::new(),
            message: "frame",
            version: 0,
            flexible: false,
            in_tagged_field: false,
            failure: None,
        }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that was written; large bytes are the slices that were given.
    pub fn into_rope(self) -> Rope {
        let own = Bytes::from(self.own);
        let mut rope = Rope::default();
        let mut start = 0;
        for (end, shared) in self.shared {
            rope.push(own.slice(start..end));
            rope.push(shared);
            start = end;
        }
        rope.push(own.slice(start..));
        rope
    }

    /// All that was written, in one piece.
    pub fn into_bytes(self) -> Bytes {
        self.into_rope().into_bytes()
    }

    /// Starts a message.
    pub(super) fn enter(&mut self, shape: &Shape, version: i16) {
        self.message = shape.name;
        self.version = version;
        self.flexible = shape.is_flexible(version);
        if !shape.versions.contains(version) {
            self.fail("it", EncodeReason::UnsupportedVersion { known: shape.versions });
        }
    }

    /// The first failure of all that was written.
    pub(super) fn check(&self) -> Result<(), EncodeError> {
        match &self.failure {
            None => Ok(()),
            Some(failure) => Err(failure.clone()),
        }
    }

    pub(super) fn version(&self) -> i16 {
        self.version
    }

    pub(super) fn is_flexible(&self) -> bool {
        self.flexible
    }

    #[cold]
    pub(super) fn fail(&mut self, field: &'static str, reason: EncodeReason) {
        let (message, version) = (self.message, self.version);
        self.failure.get_or_insert_with(|| EncodeError::new(message, version, field, reason));
    }

    /// A field that the version lacks: it must be unset.
    pub(super) fn absent(&mut self, field: &'static str, unset: bool) {
        if !unset {
            self.fail(field, EncodeReason::Absent);
        }
    }

    /// A field that the version does not allow to be null.
    pub(super) fn not_null(&mut self, field: &'static str, is_some: bool) {
        if !is_some {
            self.fail(field, EncodeReason::Null);
        }
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.int8(i8::from(value));
    }

    pub(super) fn int8(&mut self, value: i8) {
        self.own.push(value as u8);
    }

    pub(super) fn int16(&mut self, value: i16) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int64(&mut self, value: i64) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: Uuid) {
        self.own.extend_from_slice(value.as_bytes());
    }

    #[inline(never)]
    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.own.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.own.push(value as u8);
    }

    fn null(&mut self, plain: Length) {
        match (self.flexible, plain) {
            (true, _) => self.own.push(0),
            (false, Length::Int16) => self.int16(-1),
            (false, Length::Int32) => self.int32(-1),
        }
    }

    #[inline(never)]
    fn length(&mut self, field: &'static str, length: usize, plain: Length) {
        // A length too long is written shortened; it spoils the writer.
        let allowed = match plain {
            Length::Int16 => STRING_BYTES_MAX,
            Length::Int32 => LENGTH_MAX,
        };
        if length > allowed {
            self.fail(field, EncodeReason::TooLong { length, allowed });
        }
        match (self.flexible, plain) {
            (true, _) => self.unsigned_varint(length.min(allowed) as u32 + 1),
            (false, Length::Int16) => self.int16(length.min(allowed) as i16),
            (false, Length::Int32) => self.int32(length.min(allowed) as i32),
        }
    }

    #[inline(never)]
    pub(super) fn nullable_string(&mut self, field: &'static str, value: Option<&Str>) {
        match value {
            Some(value) => self.string(field, value),
            None => self.null(Length::Int16),
        }
    }

    #[inline(never)]
    pub(super) fn string(&mut self, field: &'static str, value: &Str) {
        self.length(field, value.len(), Length::Int16);
        self.own.extend_from_slice(value.as_bytes());
    }

    #[inline(never)]
    pub(super) fn nullable_bytes(&mut self, field: &'static str, value: Option<&Bytes>) {
        match value {
            Some(value) => self.bytes(field, value),
            None => self.null(Length::Int32),
        }
    }

    #[inline(never)]
    pub(super) fn bytes(&mut self, field: &'static str, value: &Bytes) {
        self.length(field, value.len(), Length::Int32);
        if value.len() < SHARED_BYTES_MIN || self.in_tagged_field {
            self.own.extend_from_slice(value);
        } else {
            self.shared.push((self.own.len(), value.clone()));
        }
    }

    pub(super) fn nullable_struct<T: Layout>(&mut self, value: Option<&T>) {
        match value {
            Some(value) => {
                self.int8(1);
                value.write(self);
            }
            None => self.int8(-1),
        }
    }

    /// An array of which `write` writes an element, given the name of the array.
    pub(super) fn values<T>(
        &mut self,
        field: &'static str,
        values: &[T],
        write: fn(&mut Self, &'static str, &T),
    ) {
        self.length(field, values.len(), Length::Int32);
        for value in values {
            write(self, field, value);
        }
    }

    pub(super) fn nullable_values<T>(
        &mut self,
        field: &'static str,
        values: Option<&[T]>,
        write: fn(&mut Self, &'static str, &T),
    ) {
        match values {
            Some(values) => self.values(field, values, write),
            None => self.null(Length::Int32),
        }
    }

    pub(super) fn structs<T: Layout>(&mut self, field: &'static str, values: &[T]) {
        self.values(field, values, |w, _, value| value.write(w));
    }

    pub(super) fn nullable_structs<T: Layout>(
        &mut self,
        field: &'static str,
        values: Option<&[T]>,
    ) {
        self.nullable_values(field, values, |w, _, value| value.write(w));
    }

    /// Closes a struct that has no tagged fields.
    pub(super) fn no_tags(&mut self) {
        if self.flexible {
            self.unsigned_varint(0);
        }
    }

    /// Comes before the tagged fields, of which those that are `present` follow.
    pub(super) fn tag_count(&mut self, present: &[bool]) {
        let count = present.iter().filter(|present| **present).count();
        self.unsigned_varint(count as u32);
    }

    /// A tagged field: its tag, its size and what `write` writes.
    pub(super) fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        self.unsigned_varint(tag);
        let start = self.own.len();
        let outer = std::mem::replace(&mut self.in_tagged_field, true);
        write(self);
        self.in_tagged_field = outer;
        self.insert_size(start);
    }

    /// Puts the size of what was written since `start` before it.
    ///
    /// Tagged fields are small, so they are moved by a byte or two rather than measured before.
    fn insert_size(&mut self, start: usize) {
        let end = self.own.len();
        self.unsigned_varint((end - start) as u32);
        let size_bytes = self.own.len() - end;
        self.own[start..].rotate_right(size_bytes);
    }

    /// A string with an `int16` before it, also among flexible fields: the client id is one.
    pub(super) fn plain_string(&mut self, field: &'static str, value: Option<&Str>) {
        let flexible = std::mem::replace(&mut self.flexible, false);
        self.nullable_string(field, value);
        self.flexible = flexible;
    }

    /// Fills in the `int32` at the start of the frame: how many bytes follow it.
    pub(super) fn fill_frame_length(&mut self) -> Result<(), EncodeError> {
        let length = self.len() - size_of::<i32>();
        match i32::try_from(length) {
            Ok(length) => self.own[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes()),
            Err(_) => {
                self.fail("frame", EncodeReason::TooLong { length, allowed: LENGTH_MAX });
            }
        }
        self.check()
    }
}
