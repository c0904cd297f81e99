//! A whole batch whose CRC is right, and runs of such batches.
//!
//! The rule: a [`RecordBatch`] is made by [`RecordBatch::parse`] alone, so whoever holds one need
//! not verify it again. Its records may still be malformed, as nobody has looked at them: reading
//! them reports it. It shares the bytes that it was parsed from.

use bytes::Bytes;

use super::{
    compression::{Compression, decompress},
    control::ControlRecord,
    error::BatchError,
    header::{BatchHeader, HEADER_BYTES},
    record::Records,
};

/// One whole batch, of sound shape and with the right CRC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes bytes that are exactly one batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        header.verify_crc(&bytes)?;
        Ok(Self { header, bytes })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, header included.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records, as slices of the batch, or when they are compressed, of what they expand to:
    /// an error past `expanded_bytes_max` bytes.
    pub fn records(&self, expanded_bytes_max: usize) -> Result<Records, BatchError> {
        let body = self.bytes.slice(HEADER_BYTES..);
        let codec = self.header.compression();
        // An emptied batch has no stream to decode, whatever codec it names.
        let records = if codec == Compression::None || body.is_empty() {
            body
        } else {
            decompress(codec, &body, expanded_bytes_max)
                .map_err(|error| BatchError::from_decompress(codec, error))?
        };
        Ok(Records::new(self.header, records))
    }

    /// The control record of a control batch. [`BatchError::NoRecords`] when compaction has
    /// emptied it.
    pub fn control_record(&self) -> Result<ControlRecord, BatchError> {
        if !self.header.is_control() {
            return Err(BatchError::NotControl);
        }
        if self.header.compression() != Compression::None {
            return Err(BatchError::MalformedControl { reason: "it is compressed" });
        }
        let mut records = self.records(0)?;
        let record = records.next().ok_or(BatchError::NoRecords)??;
        ControlRecord::read(&record)
    }
}

/// The batches that lie back to back in `bytes`.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// Iterates over batches back to back. A batch that is cut short at the end is an error, as every
/// other unsound batch; the first error is the last item, because behind it no boundary is known.
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    fn take_next(&mut self) -> Result<RecordBatch, BatchError> {
        let header = BatchHeader::parse(&self.rest)?;
        let needed = header.size_bytes();
        if needed > self.rest.len() {
            return Err(BatchError::Truncated { needed, available: self.rest.len() });
        }
        let bytes = self.rest.split_to(needed);
        header.verify_crc(&bytes)?;
        Ok(RecordBatch { header, bytes })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = self.take_next();
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

impl std::iter::FusedIterator for Batches {}
