//! A coordinator's state as one file, and the offset that it stands for.
//!
//! The body is the offset (u64, little endian) and then records, each behind its length: replayed
//! into an empty state they give the one that was written. Using records keeps one format to
//! evolve instead of two.
//!
//! The rule: the one before is kept, and the log from where that one ends. So whichever of the
//! three is damaged, the other two say all that it said. One snapshot and the log behind it would
//! be two halves, neither of which can be missed.

use std::path::{Path, PathBuf};

use log_core::io::Storage;
use log_proto::types::Offset;
use prost::Message;

use super::{LoadError, NotUnderstood, StateMachine};
use crate::durable_file::{self, DurableFileError, Format};

const FORMAT: Format = Format { magic: *b"CSNP", version: 1 };

/// A state and the first offset of the log that it does not know.
#[derive(Default)]
pub(super) struct Snapshot<S> {
    pub(super) state: S,
    pub(super) next_offset: Offset,
    /// What it took to write: what the next one may cost.
    pub(super) amount: Amount,
}

/// How much has been written.
#[derive(Clone, Copy, Default)]
pub(super) struct Amount {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// The files, and up to where each is known to be sound.
pub(super) struct SnapshotFiles {
    file: PathBuf,
    newest: Option<Offset>,
    previous: Option<Offset>,
}

impl SnapshotFiles {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), newest: None, previous: None }
    }

    fn previous_file(&self) -> PathBuf {
        self.file.with_extension("previous-snapshot")
    }

    /// The newest that is sound; none where there is none. `damaged` hears of those that are not.
    pub(super) fn read<S: StateMachine>(
        &mut self,
        storage: &dyn Storage,
        mut damaged: impl FnMut(DurableFileError),
    ) -> Result<Option<Snapshot<S>>, LoadError> {
        let previous_file = self.previous_file();
        let places = [(&self.file, &mut self.newest), (&previous_file, &mut self.previous)];
        for (file, end) in places {
            match durable_file::read(storage, file, FORMAT) {
                Ok(None) => {}
                Ok(Some(body)) => {
                    let at = |source| LoadError::SnapshotRecord { file: file.clone(), source };
                    let snapshot = parse::<S>(&body).map_err(at)?;
                    *end = Some(snapshot.next_offset);
                    return Ok(Some(snapshot));
                }
                Err(error @ DurableFileError::Damaged { .. }) => damaged(error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Writes the state, durably, beside the one before.
    pub(super) fn write<S: StateMachine>(
        &mut self,
        storage: &dyn Storage,
        state: &S,
        next_offset: Offset,
    ) -> Result<Amount, DurableFileError> {
        let body = body(state, next_offset);
        if let Some(end) = self.newest.take() {
            let kept = storage.rename(&self.file, &self.previous_file());
            kept.map_err(|source| self.failed("keep", source))?;
            self.previous = Some(end);
        }
        durable_file::write(storage, &self.file, FORMAT, &body.1)?;
        self.newest = Some(next_offset);
        Ok(Amount { records: body.0, bytes: body.1.len() })
    }

    /// As [`SnapshotFiles::write`], where the log has lost its end: what the others know of
    /// offsets that will be given out again must not be taken for what comes to stand there.
    pub(super) fn replace<S: StateMachine>(
        &mut self,
        storage: &dyn Storage,
        state: &S,
        next_offset: Offset,
    ) -> Result<Amount, DurableFileError> {
        (self.newest, self.previous) = (None, None);
        let amount = self.write(storage, state, next_offset)?;
        match storage.remove_file(&self.previous_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.failed("remove the one before", error))
            }
            _ => Ok(amount),
        }
    }

    /// Nothing below is needed of the log, also if the newest snapshot is damaged.
    pub(super) fn covered(&self) -> Option<Offset> {
        self.previous
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> DurableFileError {
        DurableFileError::Io { operation, file: self.file.clone(), source }
    }
}

/// Up to where a log is not needed by a state of which this is the snapshot's file: where the newest
/// snapshot that is sound ends. `None` where there is none.
pub(crate) fn snapshot_end<S: StateMachine>(
    file: &Path,
    storage: &dyn Storage,
) -> Result<Option<Offset>, LoadError> {
    // Who rebuilds the state says what is damaged.
    let newest = SnapshotFiles::new(file).read::<S>(storage, |_| {})?;
    Ok(newest.map(|snapshot| snapshot.next_offset))
}

/// How many records the state takes, and what is written of it.
fn body<S: StateMachine>(state: &S, next_offset: Offset) -> (usize, Vec<u8>) {
    let records = state.snapshot();
    let mut body = next_offset.get().to_le_bytes().to_vec();
    for record in &records {
        record.encode_length_delimited(&mut body).expect("a vector grows as it must");
    }
    (records.len(), body)
}

fn parse<S: StateMachine>(body: &[u8]) -> Result<Snapshot<S>, NotUnderstood> {
    let (offset, mut rest) =
        body.split_first_chunk().ok_or(NotUnderstood { what: "it has no offset" })?;
    let next_offset = Offset::new(i64::from_le_bytes(*offset))
        .ok_or(NotUnderstood { what: "its offset is negative" })?;
    let mut state = S::default();
    let mut amount = Amount { records: 0, bytes: body.len() };
    while !rest.is_empty() {
        let record = S::Record::decode_length_delimited(&mut rest)
            .map_err(|_| NotUnderstood { what: "it does not parse" })?;
        state.replay(record)?;
        amount.records += 1;
    }
    Ok(Snapshot { state, next_offset, amount })
}

/// Any bytes as what a snapshot of this kind holds. What is read is written and read again alike.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz<S: StateMachine>(bytes: &[u8]) {
    let Ok(read) = parse::<S>(bytes) else { return };
    let (records, written) = body(&read.state, read.next_offset);
    let again = parse::<S>(&written).expect("what was written is read");
    assert_eq!((again.next_offset, again.amount.records), (read.next_offset, records));
    assert!(again.state.snapshot() == read.state.snapshot(), "a snapshot is all of a state");
}
