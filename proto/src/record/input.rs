//! Reads records from wherever they come: the layout in one place, its sources beside it.
//!
//! ```text
//! length varint │ attributes i8 │ timestamp_delta varlong │ offset_delta varint
//!   │ key length varint, key │ value length varint, value │ header count varint
//!   │ per header: key length varint, key, value length varint, value
//! ```
//!
//! A length of -1 is null, for keys, values and header values.
//!
//! The rule: there is one reader of this layout, [`read_record`], over anything that is an
//! [`Input`]. A slice gives fields that borrow from it and cost nothing; a decompressing stream
//! gives none and passes over them, so that checking a batch needs no memory for its records. No
//! field reaches past its record, and no length allocates anything.

use std::{io::Read, ops::Range};

use super::{
    compression::DecompressError,
    error::{BatchError, RecordError},
    header::BatchHeader,
    varint::{TooLong, read_i32, read_i64},
};

/// A source of records.
pub(super) trait Input {
    /// What is kept of a field.
    type Field;

    /// The next byte, outside of any record.
    fn outer_byte(&mut self) -> Result<u8, ReadError>;

    /// Confines what follows to the next `len` bytes.
    fn enter_record(&mut self, len: usize) -> Result<(), ReadError>;

    /// The next byte of the record.
    fn byte(&mut self) -> Result<u8, ReadError>;

    /// The next `len` bytes of the record.
    fn field(&mut self, len: usize) -> Result<Self::Field, ReadError>;

    /// How many bytes of the record are left.
    fn left_in_record(&self) -> usize;

    /// Whether no byte follows the record.
    fn is_at_end(&mut self) -> Result<bool, ReadError>;
}

/// Why an [`Input`] does not yield a record.
#[derive(Debug)]
pub(super) enum ReadError {
    Record(RecordError),
    Decompress(DecompressError),
}

impl From<RecordError> for ReadError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<TooLong> for ReadError {
    fn from(_: TooLong) -> Self {
        Self::Record(RecordError::VarintTooLong)
    }
}

impl ReadError {
    /// This error, in the record at `index` of the batch.
    pub(super) fn at(self, index: u32, header: &BatchHeader) -> BatchError {
        match self {
            Self::Record(reason) => BatchError::MalformedRecord { index, reason },
            Self::Decompress(error) => BatchError::from_decompress(header.compression(), error),
        }
    }
}

/// A record as read, without its headers.
pub(super) struct Fields<F> {
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<F>,
    pub(super) value: Option<F>,
}

/// Reads the next record; each header goes to `on_header`.
#[inline]
pub(super) fn read_record<I: Input>(
    input: &mut I,
    mut on_header: impl FnMut(I::Field, Option<I::Field>),
) -> Result<Fields<I::Field>, ReadError> {
    let length = read_i32(|| input.outer_byte())?;
    input.enter_record(not_negative("length", length)?)?;
    // The attributes: no bit of them has a meaning.
    input.byte()?;
    let timestamp_delta = read_i64(|| input.byte())?;
    let offset_delta = read_i32(|| input.byte())?;
    let key = read_nullable(input, "key length")?;
    let value = read_nullable(input, "value length")?;
    let header_count = read_i32(|| input.byte())?;
    // Each turn takes at least two bytes of the record: a wrong count ends with the record.
    for _ in 0..not_negative("header count", header_count)? {
        let key_length = read_i32(|| input.byte())?;
        let key = input.field(not_negative("header key length", key_length)?)?;
        on_header(key, read_nullable(input, "header value length")?);
    }
    match input.left_in_record() {
        0 => Ok(Fields { offset_delta, timestamp_delta, key, value }),
        extra => Err(RecordError::LeftOver { extra }.into()),
    }
}

#[inline]
fn read_nullable<I: Input>(
    input: &mut I,
    field: &'static str,
) -> Result<Option<I::Field>, ReadError> {
    match read_i32(|| input.byte())? {
        -1 => Ok(None),
        length => input.field(not_negative(field, length)?).map(Some),
    }
}

#[inline]
pub(super) fn not_negative(field: &'static str, value: i32) -> Result<usize, RecordError> {
    usize::try_from(value).map_err(|_| RecordError::Negative { field, value })
}

/// Records in memory, not compressed.
pub(super) struct SliceInput<'a> {
    record: &'a [u8],
    rest: &'a [u8],
}

impl<'a> SliceInput<'a> {
    pub(super) fn new(records: &'a [u8]) -> Self {
        Self { record: &[], rest: records }
    }

    /// What follows the record.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Input for SliceInput<'a> {
    type Field = &'a [u8];

    #[inline]
    fn outer_byte(&mut self) -> Result<u8, ReadError> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordError::CutShort)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn enter_record(&mut self, len: usize) -> Result<(), ReadError> {
        let (record, rest) = self.rest.split_at_checked(len).ok_or(RecordError::CutShort)?;
        (self.record, self.rest) = (record, rest);
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, ReadError> {
        let (&byte, rest) = self.record.split_first().ok_or(RecordError::FieldPastEnd)?;
        self.record = rest;
        Ok(byte)
    }

    #[inline]
    fn field(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (field, rest) = self.record.split_at_checked(len).ok_or(RecordError::FieldPastEnd)?;
        self.record = rest;
        Ok(field)
    }

    fn left_in_record(&self) -> usize {
        self.record.len()
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.rest.is_empty())
    }
}

/// Large enough that a call into a decoder is rare, small enough for the processor's cache.
const STREAM_BUFFER_BYTES: usize = 32 * 1024;

/// Records that are decompressed while they are walked, and forgotten behind.
pub(super) struct StreamInput<R> {
    stream: R,
    buffer: Box<[u8]>,
    /// What of the buffer is filled and not yet read.
    filled: Range<usize>,
    left_in_record: usize,
    /// How many bytes have come out of the stream.
    expanded: usize,
    expanded_bytes_max: usize,
}

impl<R: Read> StreamInput<R> {
    pub(super) fn new(stream: R, expanded_bytes_max: usize) -> Self {
        Self {
            stream,
            buffer: vec![0; STREAM_BUFFER_BYTES].into(),
            filled: 0..0,
            left_in_record: 0,
            expanded: 0,
            expanded_bytes_max,
        }
    }

    /// Makes sure that a byte is buffered; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if !self.filled.is_empty() {
            return Ok(true);
        }
        let read = self
            .stream
            .read(&mut self.buffer)
            .map_err(|error| ReadError::Decompress(error.into()))?;
        self.expanded += read;
        if self.expanded > self.expanded_bytes_max {
            let max = self.expanded_bytes_max;
            return Err(ReadError::Decompress(DecompressError::TooLarge { max }));
        }
        self.filled = 0..read;
        Ok(read > 0)
    }

    /// As [`StreamInput::fill`], where the stream must go on.
    fn fill_more(&mut self) -> Result<(), ReadError> {
        if self.fill()? { Ok(()) } else { Err(RecordError::CutShort.into()) }
    }
}

impl<R: Read> Input for StreamInput<R> {
    /// Fields are passed over.
    type Field = ();

    #[inline]
    fn outer_byte(&mut self) -> Result<u8, ReadError> {
        self.fill_more()?;
        let byte = self.buffer[self.filled.start];
        self.filled.start += 1;
        Ok(byte)
    }

    fn enter_record(&mut self, len: usize) -> Result<(), ReadError> {
        self.left_in_record = len;
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, ReadError> {
        let left = self.left_in_record.checked_sub(1).ok_or(RecordError::FieldPastEnd)?;
        self.left_in_record = left;
        self.outer_byte()
    }

    fn field(&mut self, len: usize) -> Result<(), ReadError> {
        let left = self.left_in_record.checked_sub(len).ok_or(RecordError::FieldPastEnd)?;
        self.left_in_record = left;
        let mut unread = len;
        while unread > 0 {
            self.fill_more()?;
            let passed = unread.min(self.filled.len());
            self.filled.start += passed;
            unread -= passed;
        }
        Ok(())
    }

    fn left_in_record(&self) -> usize {
        self.left_in_record
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        Ok(!self.fill()?)
    }
}
