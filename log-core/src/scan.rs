//! Reading a log with every byte checked, for whoever rebuilds something from it.
//!
//! ```text
//!   │ batch │ batch │ batch │▒▒▒▒▒▒▒│ batch │ batch │
//!     found   found   found   lost    found   found
//! ```
//!
//! The rule: every offset from the first to the log's end is accounted for once, in a batch whose
//! checksum and place are right or in a range that damage took; and damage ends nothing, the scan
//! goes on with the next sound batch. A read looks at headers alone, which is what a consumer
//! needs, who checks the rest itself; but one that must not miss a record would not learn from it
//! where a bad batch lies, nor what is behind.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use log_proto::record::RecordBatch;
use log_proto::types::Offset;

use crate::error::{Damage, FileError, ReadError};
use crate::log::Inner;
use crate::offsets::Tail;
use crate::read::{read_batch, segment_end};
use crate::segment::{BatchWalk, Check, Located, Segment, WalkError, sound_behind};

/// What a scan comes upon next.
#[derive(Debug)]
pub enum Scanned {
    /// A sound batch where it should be.
    Found(FoundBatch),
    /// Offsets whose records cannot be read.
    Lost(LostRange),
}

/// A batch, and where it lies.
#[derive(Debug)]
pub struct FoundBatch {
    /// The batch.
    pub batch: RecordBatch,
    segment: Arc<Segment>,
    position: u64,
}

impl FoundBatch {
    /// Something that is wrong with what the batch holds, by its place.
    pub fn damage(&self, detail: impl Into<String>) -> Damage {
        self.segment.damage(self.position, detail)
    }
}

/// Offsets whose records cannot be read, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostRange {
    /// What is wrong first.
    pub damage: Damage,
    /// Behind these the log goes on. Empty where only what belongs to no offset is damaged.
    pub offsets: Range<Offset>,
}

/// Goes over a log from an offset to the end that it had when the scan began. See
/// [`Log::scan`](crate::Log::scan).
pub struct Scan {
    log: Arc<Inner>,
    /// Everything below is accounted for.
    next: Offset,
    end: Tail,
    here: Option<Here>,
    /// The base of the last segment that was done with.
    left: Option<Offset>,
}

/// Where a scan is.
struct Here {
    segment: Arc<Segment>,
    limit: u64,
    walk: BatchWalk,
    /// What the walk comes to next.
    expected: Offset,
}

impl Scan {
    pub(crate) fn new(log: Arc<Inner>, from: Offset) -> Self {
        let end = log.marks.log_end();
        Self { log, next: from, end, here: None, left: None }
    }

    fn step(&mut self) -> Result<Option<Scanned>, FileError> {
        while self.next < self.end.offset {
            let Some(mut here) = self.here.take() else {
                match self.enter()? {
                    Some(missing) => return Ok(Some(Scanned::Lost(missing))),
                    None => continue,
                }
            };
            match here.walk.next() {
                Ok(None) => self.left = Some(here.segment.base()),
                Err(WalkError::File(error)) => return Err(error),
                Err(WalkError::Damaged(damage)) => {
                    return self.lose(here, damage).map(|lost| Some(Scanned::Lost(lost)));
                }
                Ok(Some(located)) => {
                    here.expected = located.header.next_offset();
                    // What lies below the offset asked for was only passed on the way.
                    let found = (here.expected > self.next).then(|| here.read(&located));
                    self.next = self.next.max(here.expected);
                    self.here = Some(here);
                    if let Some(found) = found {
                        return Ok(Some(Scanned::Found(found?)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Goes to the next segment. Offsets that none has are missing.
    fn enter(&mut self) -> Result<Option<LostRange>, FileError> {
        let (left, end) = (self.left, self.end);
        let mut segments = self.log.segments.from(self.next);
        let next = segments.find(|segment| left.is_none_or(|left| segment.base() > left));
        let Some(segment) = next.filter(|segment| segment.base() <= end.segment) else {
            let last = self.log.segments.active();
            return Ok(Some(self.missing(&last, last.end(), end.offset)));
        };
        if segment.base() > self.next {
            return Ok(Some(self.missing(&segment, 0, segment.base())));
        }
        let limit = segment_end(&segment, end);
        let (start, expected) = match segment.locate(self.next, limit) {
            Ok(Some(located)) => (located.position, self.next),
            Ok(None) => (limit, self.next),
            Err(ReadError::File(error)) => return Err(error),
            // Something before it is damaged: from the start on it is found out what.
            Err(_) => (0, segment.base()),
        };
        self.here = Some(Here::at(segment, limit, start, expected)?);
        Ok(None)
    }

    fn missing(&mut self, segment: &Segment, position: u64, end: Offset) -> LostRange {
        let offsets = self.next..end;
        self.next = end;
        let detail = format!("offsets {} to {end} are missing", offsets.start);
        LostRange { damage: segment.damage(position, detail), offsets }
    }

    /// Passes over damage to the next batch that is sound.
    fn lose(&mut self, here: Here, damage: Damage) -> Result<LostRange, FileError> {
        let Here { segment, limit, expected, .. } = here;
        let missed = expected..segment.next_offset();
        let indexed = || segment.sound_after(damage.position, limit);
        let walk = |check, start| segment.walk(check, start, limit);
        let resume = sound_behind(damage.position, missed, indexed, walk)?;
        let end = match resume {
            Some(located) => located.header.base_offset(),
            None => segment.next_offset().min(self.end.offset).max(expected),
        };
        self.next = self.next.max(end);
        match resume {
            Some(located) => {
                self.here = Some(Here::at(segment, limit, located.position, end)?);
            }
            None => self.left = Some(segment.base()),
        }
        Ok(LostRange { damage, offsets: expected..end })
    }
}

impl Iterator for Scan {
    type Item = Result<Scanned, FileError>;

    /// After an error nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.next = self.end.offset;
        }
        step
    }
}

impl Here {
    fn at(
        segment: Arc<Segment>,
        limit: u64,
        start: u64,
        expected: Offset,
    ) -> Result<Self, FileError> {
        let walk = segment.walk(Check::Checksums, start, limit)?;
        let walk = walk.expecting(expected).bounded(segment.next_offset());
        Ok(Self { segment, limit, walk, expected })
    }

    fn read(&self, located: &Located) -> Result<FoundBatch, FileError> {
        let in_memory = self.walk.bytes_of(located);
        let parsed = in_memory.and_then(|b| RecordBatch::parse(Bytes::copy_from_slice(b)).ok());
        let batch = match parsed {
            Some(batch) => batch,
            None => read_batch(&self.segment, located).map_err(|error| self.changed(error))?,
        };
        let segment = Arc::clone(&self.segment);
        Ok(FoundBatch { batch, segment, position: located.position })
    }

    /// A moment ago its checksum was right: that is no damage, but a disk that cannot be read.
    fn changed(&self, error: ReadError) -> FileError {
        match error {
            ReadError::File(error) => error,
            other => {
                let source = std::io::Error::other(other.to_string());
                FileError { operation: "read", file: self.segment.log_path(), source }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use log_proto::record::{BatchBuilder, BatchOptions};
    use log_proto::types::TimestampMs;

    use super::*;
    use crate::{AppendOrigin, Committer, Log, LogConfig, LogIdentity, OpenLog};

    const BATCHES: i64 = 12;

    /// Batches of two records, a few of them in a segment, every second one in the index.
    fn log(folder: &std::path::Path) -> Log {
        let committer = Committer::start(1);
        committer.stop();
        let identity = LogIdentity { topic_id: uuid::Uuid::from_u128(1), partition: 0 };
        let config =
            LogConfig { segment_bytes: 1024, index_interval_bytes: 150, ..LogConfig::default() };
        let open = OpenLog { config, ..OpenLog::new(folder, identity, committer) };
        let (log, _) = Log::open(open).unwrap();
        for number in 0..BATCHES {
            let mut batch = BatchBuilder::new(BatchOptions::default());
            for value in [format!("first of {number}"), format!("second of {number}")] {
                batch.push(TimestampMs::new(5), None, Some(value.as_bytes()), &[]).unwrap();
            }
            let batch = log.check(batch.build().unwrap()).unwrap();
            log.append(&batch, AppendOrigin::Client, log.leader_epoch()).unwrap();
        }
        log
    }

    type Contents = Vec<(Offset, Bytes)>;

    /// What was found and what was lost. Holds that together it is everything, in order.
    fn scanned(log: &Log, from: Offset) -> (Contents, Vec<LostRange>) {
        let (mut contents, mut lost, mut next) = (Vec::new(), Vec::new(), from);
        for step in log.scan(from) {
            match step.unwrap() {
                Scanned::Found(found) => {
                    let header = *found.batch.header();
                    assert_eq!(header.base_offset(), next);
                    next = header.next_offset();
                    for record in found.batch.records(0).unwrap() {
                        let record = record.unwrap();
                        contents.push((header.offset_of(&record), record.value.unwrap()));
                    }
                }
                Scanned::Lost(range) => {
                    assert!(range.offsets.start == next || range.offsets.end <= from, "{range:?}");
                    next = next.max(range.offsets.end);
                    lost.push(range);
                }
            }
        }
        assert_eq!(next, log.offsets().log_end);
        (contents, lost)
    }

    fn log_files(folder: &std::path::Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|kind| kind == "log")).collect();
        files.sort_unstable();
        files
    }

    #[test]
    fn whatever_bit_flips_the_rest_is_found_and_the_loss_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let (whole, lost) = scanned(&log, Offset::ZERO);
        assert_eq!((whole.len() as i64, lost), (2 * BATCHES, Vec::new()));
        let files = log_files(folder.path());
        assert!(files.len() > 1, "the log has rolled");
        let mut flips = 0;
        for file in files {
            let sound = fs::read(&file).unwrap();
            let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
            for at in 0..used {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(&file, &damaged).unwrap();
                let (found, lost) = scanned(&log, Offset::ZERO);
                assert!(found.iter().all(|record| whole.contains(record)), "byte {at}");
                match lost.as_slice() {
                    // The epoch of whoever wrote it is not vouched for, and matters to nobody here.
                    [] => assert_eq!(found, whole, "byte {at}"),
                    [lost] => {
                        assert_eq!(lost.damage.file, file);
                        assert!(lost.damage.position <= at as u64, "byte {at}: {lost:?}");
                        assert!(found.len() + 8 >= whole.len(), "byte {at}: {lost:?}");
                        flips += 1;
                    }
                    more => panic!("byte {at}: one place is damaged, not {more:?}"),
                }
            }
            fs::write(&file, &sound).unwrap();
        }
        assert!(flips > 1000, "{flips}");
    }

    #[test]
    fn a_damaged_record_costs_its_batch_alone() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let file = &log_files(folder.path())[0];
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.windows(10).position(|found| found == b"first of 2").unwrap();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
        let (found, lost) = scanned(&log, Offset::ZERO);
        assert_eq!(found.len() as i64, 2 * (BATCHES - 1));
        let offset = |number| Offset::new(number).unwrap();
        assert_eq!(lost[0].offsets, offset(4)..offset(6));
        assert!(lost[0].damage.detail.contains("crc"), "{}", lost[0].damage);
        let (found, lost) = scanned(&log, offset(6));
        assert_eq!((found.len() as i64, lost.len()), (2 * (BATCHES - 3), 0), "it is behind");
    }

    #[test]
    fn a_segment_that_is_gone_is_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let file = &log_files(folder.path())[0];
        fs::write(file, vec![0; fs::metadata(file).unwrap().len() as usize]).unwrap();
        let (found, lost) = scanned(&log, Offset::ZERO);
        assert_eq!((lost.len(), lost[0].offsets.start), (1, Offset::ZERO));
        assert_eq!(found[0].0, lost[0].offsets.end);
    }
}
