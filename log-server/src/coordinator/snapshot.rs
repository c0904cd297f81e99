//! A coordinator's state as one file, and the offset that it stands for.
//!
//! The body is the offset (u64, little endian) and then records, each behind its length: replayed
//! into an empty state they give the one that was written. Using records keeps one format to
//! evolve instead of two.

use std::path::Path;

use log_core::io::Storage;
use log_proto::types::Offset;
use prost::Message;

use super::{NotUnderstood, StateMachine};
use crate::durable_file::{self, DurableFileError, Format};

const FORMAT: Format = Format { magic: *b"CSNP", version: 1 };

/// A state and the first offset of the log that it does not know.
pub(super) struct Snapshot<S> {
    pub(super) state: S,
    pub(super) next_offset: Offset,
    /// How many records it took, and bytes: what the next one may cost.
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Writes the state, durably. Returns how many records it took, and bytes.
pub(super) fn write<S: StateMachine>(
    storage: &dyn Storage,
    file: &Path,
    state: &S,
    next_offset: Offset,
) -> Result<(usize, usize), DurableFileError> {
    let records = state.snapshot();
    let mut body = next_offset.get().to_le_bytes().to_vec();
    for record in &records {
        record.encode_length_delimited(&mut body).expect("a vector grows as it must");
    }
    durable_file::write(storage, file, FORMAT, &body)?;
    Ok((records.len(), body.len()))
}

/// The state in the file; the empty one at offset 0 if there is no file.
pub(super) fn read<S: StateMachine>(
    storage: &dyn Storage,
    file: &Path,
) -> Result<Snapshot<S>, DurableFileError> {
    let Some(body) = durable_file::read(storage, file, FORMAT)? else {
        return Ok(Snapshot {
            state: S::default(),
            next_offset: Offset::ZERO,
            records: 0,
            bytes: 0,
        });
    };
    parse(&body).map_err(|error| DurableFileError::Damaged {
        file: file.to_owned(),
        detail: error.to_string(),
    })
}

fn parse<S: StateMachine>(body: &[u8]) -> Result<Snapshot<S>, NotUnderstood> {
    let (offset, mut rest) =
        body.split_first_chunk().ok_or(NotUnderstood { what: "it has no offset" })?;
    let next_offset = Offset::new(i64::from_le_bytes(*offset))
        .ok_or(NotUnderstood { what: "its offset is negative" })?;
    let mut snapshot = Snapshot { state: S::default(), next_offset, records: 0, bytes: body.len() };
    while !rest.is_empty() {
        let record = S::Record::decode_length_delimited(&mut rest)
            .map_err(|_| NotUnderstood { what: "it does not parse" })?;
        snapshot.state.replay(record)?;
        snapshot.records += 1;
    }
    Ok(snapshot)
}
