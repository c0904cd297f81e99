//! Records as they are read from a batch, and as they are written into one.
//!
//! The rule: reading shares the bytes of the batch and copies none; what is null stays apart from
//! what is empty, and headers keep their order and repetitions. A map of headers would lose both.

use bytes::Bytes;

use super::{
    error::BatchError,
    header::BatchHeader,
    input::{ReadError, SliceInput, not_negative, read_record},
    varint,
};

/// A record as its batch holds it: offset and time count from the batch's base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Offset, counted from the batch's base offset.
    pub offset_delta: u32,
    /// Milliseconds since the batch's base timestamp; may be negative.
    pub timestamp_delta: i64,
    /// What the record is about. Null is not the same as empty.
    pub key: Option<Bytes>,
    /// What it says. Null is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// In their order; keys may repeat.
    pub headers: Vec<Header>,
}

/// A header of a record (KIP-82).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// UTF-8 by convention. Kept as the bytes that came, because no broker checks it.
    pub key: Bytes,
    /// Null is not the same as empty.
    pub value: Option<Bytes>,
}

/// The records of a batch, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    /// What is not read yet, decompressed.
    rest: Bytes,
    /// How many records were read.
    index: u32,
}

impl Records {
    /// `records`: what lies behind the header, decompressed.
    pub(super) fn new(header: BatchHeader, records: Bytes) -> Self {
        Self { header, rest: records, index: 0 }
    }

    fn read(&mut self) -> Result<Record, ReadError> {
        let mut input = SliceInput::new(&self.rest);
        let slice = |field: &[u8]| self.rest.slice_ref(field);
        let mut headers = Vec::new();
        let fields = read_record(&mut input, |key, value| {
            headers.push(Header { key: slice(key), value: value.map(slice) });
        })?;
        let record = Record {
            offset_delta: not_negative("offset delta", fields.offset_delta)? as u32,
            timestamp_delta: fields.timestamp_delta,
            key: fields.key.map(slice),
            value: fields.value.map(slice),
            headers,
        };
        self.rest = slice(input.rest());
        Ok(record)
    }

    fn end(&mut self) {
        self.index = self.header.record_count();
        self.rest = Bytes::new();
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record_count = self.header.record_count();
        if self.index == record_count {
            let leftover = !self.rest.is_empty();
            self.end();
            return leftover.then_some(Err(BatchError::BytesBehindRecords { record_count }));
        }
        let record = self.read().map_err(|error| error.at(self.index, &self.header));
        match record {
            Ok(_) => self.index += 1,
            Err(_) => self.end(),
        }
        Some(record)
    }
}

impl std::iter::FusedIterator for Records {}

/// A header to write: key and value.
pub(super) type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record to write.
#[derive(Clone, Copy)]
pub(super) struct RecordRef<'a> {
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [HeaderRef<'a>],
}

impl RecordRef<'_> {
    /// The value of the length field: the size behind it. `None` when the format cannot say it.
    pub(super) fn length_field(&self) -> Option<i32> {
        let mut size = 1 + varint::size_i64(self.timestamp_delta);
        size += varint::size_i32(self.offset_delta);
        size += nullable_size(self.key)?;
        size += nullable_size(self.value)?;
        size += varint::size_i32(i32::try_from(self.headers.len()).ok()?);
        for (key, value) in self.headers {
            size += nullable_size(Some(key))? + nullable_size(*value)?;
        }
        i32::try_from(size).ok()
    }

    /// Appends the record. `length` is its [`RecordRef::length_field`].
    pub(super) fn write(&self, length: i32, out: &mut Vec<u8>) {
        varint::put_i32(out, length);
        out.push(0);
        varint::put_i64(out, self.timestamp_delta);
        varint::put_i32(out, self.offset_delta);
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        varint::put_i32(out, self.headers.len() as i32);
        for (key, value) in self.headers {
            put_nullable(out, Some(key));
            put_nullable(out, *value);
        }
    }
}

fn nullable_size(field: Option<&[u8]>) -> Option<usize> {
    match field {
        Some(bytes) => Some(varint::size_i32(i32::try_from(bytes.len()).ok()?) + bytes.len()),
        None => Some(varint::size_i32(-1)),
    }
}

/// Lengths fit: [`RecordRef::length_field`] has counted them.
fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            varint::put_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
        None => varint::put_i32(out, -1),
    }
}
