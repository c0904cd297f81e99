//! Reads the fields of messages from a frame that a stranger sent.
//!
//! Lengths come in two styles (KIP-482). Flexible versions say `length + 1` in an unsigned
//! variable-length integer, 0 being null; the others an `int16` for strings and an `int32` for
//! everything else, -1 being null. The reader knows which of them it is in, so that the generated
//! code need not.
//!
//! The rule, in three parts:
//!
//! - No length is used before it is compared with the bytes that are left.
//! - Strings and bytes are slices of the frame. What must be allocated, the arrays, is charged
//!   against a budget first, by its size in memory: an element of two bytes on the wire may take
//!   a hundred in memory, and a frame of 100 MB must not become 5 GB.
//! - No recursion but that of the tables, so no frame can exhaust the stack.

use bytes::Bytes;

use super::{
    error::{DecodeError, DecodeReason},
    message::{Layout, Shape},
    str::Str,
    uuid::Uuid,
};

/// The budget of a reader that was given none. A request for 100,000 partitions takes a tenth of
/// it; that of a produce request is not touched by its records.
const BUDGET: usize = 64 << 20;

/// A string is at most as long as its `int16` can say, in flexible versions too.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A place in a frame, moving on with each field that is read.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    budget: usize,
    message: &'static str,
    version: i16,
    flexible: bool,
}

/// The integer in which versions that are not flexible say a length.
#[derive(Clone, Copy)]
pub(super) enum Length {
    Int16,
    Int32,
}

/// Where the reader is among the tagged fields of a struct.
pub(super) struct Tags {
    left: u32,
    /// Where the size of the tagged field ended, and what it was.
    start: usize,
    size: usize,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl Reader {
    /// A reader of `bytes` whose arrays may take 64 MiB of memory.
    pub fn new(bytes: Bytes) -> Self {
        Self::with_budget(bytes, BUDGET)
    }

    /// A reader of `bytes` whose arrays may take `budget` bytes of memory, over all messages
    /// that are read from it.
    pub fn with_budget(bytes: Bytes, budget: usize) -> Self {
        Self { bytes, position: 0, budget, message: "frame", version: 0, flexible: false }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes have not.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes that have not been read, a slice of the frame.
    pub fn into_rest(self) -> Bytes {
        self.bytes.slice(self.position..)
    }

    /// Starts a message.
    pub(super) fn enter(&mut self, shape: &Shape, version: i16) -> Result<()> {
        self.message = shape.name;
        self.version = version;
        self.flexible = shape.is_flexible(version);
        match shape.versions.contains(version) {
            true => Ok(()),
            false => {
                Err(self.error("it", DecodeReason::UnsupportedVersion { known: shape.versions }))
            }
        }
    }

    pub(super) fn version(&self) -> i16 {
        self.version
    }

    #[cold]
    fn error(&self, field: &'static str, reason: DecodeReason) -> DecodeError {
        DecodeError::new(self.message, self.version, field, self.position, reason)
    }

    #[cold]
    fn truncated(&self, field: &'static str, needed: usize) -> DecodeError {
        self.error(field, DecodeReason::Truncated { needed, left: self.remaining() })
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        match self.bytes[self.position..].first_chunk() {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => Err(self.truncated(field, N)),
        }
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool> {
        Ok(self.int8(field)? != 0)
    }

    pub(super) fn int8(&mut self, field: &'static str) -> Result<i8> {
        self.take(field).map(i8::from_be_bytes)
    }

    pub(super) fn int16(&mut self, field: &'static str) -> Result<i16> {
        self.take(field).map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self, field: &'static str) -> Result<i32> {
        self.take(field).map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self, field: &'static str) -> Result<i64> {
        self.take(field).map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self, field: &'static str) -> Result<Uuid> {
        self.take(field).map(Uuid::from_bytes)
    }

    #[inline(never)]
    fn unsigned_varint(&mut self, field: &'static str) -> Result<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take(field)?;
            // The fifth byte has room for four bits, and says that no further one follows.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(field, DecodeReason::VarintTooLong))
    }

    /// A length; `None` for null.
    #[inline(never)]
    fn length(&mut self, field: &'static str, plain: Length) -> Result<Option<usize>> {
        if self.flexible {
            let length = self.unsigned_varint(field)?;
            return Ok(length.checked_sub(1).map(|length| length as usize));
        }
        let length = match plain {
            Length::Int16 => i32::from(self.int16(field)?),
            Length::Int32 => self.int32(field)?,
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(field, DecodeReason::NegativeLength { length })),
        }
    }

    fn required<T>(&self, field: &'static str, value: Option<T>) -> Result<T> {
        match value {
            Some(value) => Ok(value),
            None => Err(self.error(field, DecodeReason::Null)),
        }
    }

    fn slice(&mut self, field: &'static str, length: usize) -> Result<Bytes> {
        if length > self.remaining() {
            return Err(self.truncated(field, length));
        }
        let start = self.position;
        self.position += length;
        // What is empty keeps no frame in memory: `slice` sees to that.
        Ok(self.bytes.slice(start..self.position))
    }

    #[inline(never)]
    pub(super) fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<Bytes>> {
        match self.length(field, Length::Int32)? {
            Some(length) => self.slice(field, length).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes> {
        let value = self.nullable_bytes(field)?;
        self.required(field, value)
    }

    #[inline(never)]
    pub(super) fn nullable_string(&mut self, field: &'static str) -> Result<Option<Str>> {
        let Some(length) = self.length(field, Length::Int16)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(self.error(field, DecodeReason::StringTooLong { length }));
        }
        match Str::from_utf8(self.slice(field, length)?) {
            Some(text) => Ok(Some(text)),
            None => Err(self.error(field, DecodeReason::NotUtf8)),
        }
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<Str> {
        let value = self.nullable_string(field)?;
        self.required(field, value)
    }

    pub(super) fn nullable_struct<T: Layout>(&mut self, field: &'static str) -> Result<Option<T>> {
        match self.int8(field)? {
            -1 => Ok(None),
            1 => T::read(self).map(Some),
            marker => Err(self.error(field, DecodeReason::NotAMarker { marker })),
        }
    }

    /// The count of an array whose elements take `element_bytes` of memory each, paid for.
    #[inline(never)]
    fn count(&mut self, field: &'static str, element_bytes: usize) -> Result<Option<usize>> {
        let Some(count) = self.length(field, Length::Int32)? else { return Ok(None) };
        let left = self.remaining();
        if count > left {
            return Err(self.error(field, DecodeReason::TooManyElements { count, left }));
        }
        let bytes = count.saturating_mul(element_bytes);
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => {
                return Err(
                    self.error(field, DecodeReason::OverBudget { bytes, left: self.budget })
                );
            }
        }
        Ok(Some(count))
    }

    /// An array of which `read` reads an element, given the name of the array.
    pub(super) fn nullable_values<T>(
        &mut self,
        field: &'static str,
        read: fn(&mut Self, &'static str) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.count(field, size_of::<T>())? else { return Ok(None) };
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(self, field)?);
        }
        Ok(Some(values))
    }

    pub(super) fn values<T>(
        &mut self,
        field: &'static str,
        read: fn(&mut Self, &'static str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let values = self.nullable_values(field, read)?;
        self.required(field, values)
    }

    pub(super) fn nullable_structs<T: Layout>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Vec<T>>> {
        self.nullable_values(field, |r, _| T::read(r))
    }

    pub(super) fn structs<T: Layout>(&mut self, field: &'static str) -> Result<Vec<T>> {
        self.values(field, |r, _| T::read(r))
    }

    /// Comes before the tagged fields of a struct; there are none where the version has none.
    pub(super) fn tags(&mut self) -> Result<Tags> {
        let left = if self.flexible { self.unsigned_varint("count of tagged fields")? } else { 0 };
        Ok(Tags { left, start: self.position, size: 0 })
    }

    /// The next tag, behind which its field follows; `None` behind the last field.
    ///
    /// A wrong count costs nothing: each turn takes bytes from the frame, until none are left.
    #[inline(never)]
    pub(super) fn next_tag(&mut self, tags: &mut Tags) -> Result<Option<u32>> {
        let taken = self.position - tags.start;
        if taken != tags.size {
            let said = tags.size;
            return Err(self.error("the field before", DecodeReason::WrongTagSize { said, taken }));
        }
        if tags.left == 0 {
            return Ok(None);
        }
        let tag = self.unsigned_varint("tag")?;
        let size = self.unsigned_varint("size of a tagged field")? as usize;
        *tags = Tags { left: tags.left - 1, start: self.position, size };
        Ok(Some(tag))
    }

    /// Passes over a tagged field that means nothing here.
    pub(super) fn skip_tag(&mut self, tags: &Tags) -> Result<()> {
        self.slice("a tagged field", tags.size).map(drop)
    }

    /// Passes over all tagged fields of a struct that knows none.
    #[inline(never)]
    pub(super) fn skip_tags(&mut self) -> Result<()> {
        let mut tags = self.tags()?;
        while self.next_tag(&mut tags)?.is_some() {
            self.skip_tag(&tags)?;
        }
        Ok(())
    }

    /// A string with an `int16` before it, also among flexible fields: the client id is one.
    pub(super) fn plain_string(&mut self, field: &'static str) -> Result<Option<Str>> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let value = self.nullable_string(field);
        self.flexible = flexible;
        value
    }
}
