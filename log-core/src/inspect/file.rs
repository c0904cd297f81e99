//! One log file and what is derived from it, or a file that a start has kept; open to read.
//!
//! The rule: nothing is written, and what the files say of each other is asked here. To open the log
//! as a broker does would mend it while it is looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_proto::record::RecordBatch;
use log_proto::types::Offset;

use super::pieces::{Piece, Pieces};
use super::{Finding, InspectError, Lost, SegmentStat, VerifyReport, name_of};
use crate::error::{Damage, FileError};
use crate::folder::{Folder, failed};
use crate::index::{IndexDamage, OffsetIndex, TimeIndex, TxnIndex};
use crate::io::{Disk, File, OpenMode};
use crate::segment::{BatchWalk, Check, FileName, Indexes, Located, Seal};

/// How much is compared with zeros at a time.
const ROOM_CHUNK_BYTES: usize = 64 << 10;

/// A derived file is far smaller than the log that it belongs to.
const DERIVED_BYTES_MAX: u64 = 1 << 30;

/// One file of batches, open to read. Cheap to clone.
#[derive(Clone)]
pub(super) struct LogFile {
    folder: Folder,
    path: PathBuf,
    part: Part,
    file: Arc<dyn File>,
    len: u64,
}

/// What of a log a file is.
#[derive(Clone)]
enum Part {
    /// A segment, in its place.
    Segment {
        base: Offset,
        seal: Option<Seal>,
        /// Where the segment behind it starts, if that is there.
        next_base: Option<Offset>,
    },
    /// What a start took off the log: the end of a segment or all of it, and behind that perhaps
    /// what another start took off at the same place. Nothing beside it belongs to it any more: the
    /// log has gone on under the same names.
    Kept { base: Offset },
}

impl Part {
    fn of(folder: &Folder, name: &FileName) -> Result<Option<Self>, FileError> {
        let base = match name {
            FileName::Log(base) => *base,
            FileName::Cut { base_offset: base, .. } => return Ok(Some(Self::Kept { base: *base })),
            _ => return Ok(None),
        };
        let seal = Seal::read(folder, base)?;
        let bases =
            folder.list()?.into_iter().filter_map(|entry| match FileName::parse(&entry.name) {
                Some(FileName::Log(other)) => Some(other),
                _ => None,
            });
        let next_base = bases.filter(|other| *other > base).min();
        Ok(Some(Self::Segment { base, seal, next_base }))
    }
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, InspectError> {
        let no_log = || InspectError::NoLog(path.to_path_buf());
        let name = name_of(path).ok_or_else(no_log)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Folder::new(parent.unwrap_or(Path::new(".")).to_path_buf(), Arc::new(Disk));
        let part = Part::of(&folder, &name)?.ok_or_else(no_log)?;
        let file = folder.open(&name, OpenMode::Read)?;
        let len = file.len().map_err(failed("read", path.to_path_buf()))?;
        Ok(Self { folder, path: path.to_path_buf(), part, file, len })
    }

    /// The offset in its name.
    pub(super) fn base(&self) -> Offset {
        match self.part {
            Part::Segment { base, .. } | Part::Kept { base } => base,
        }
    }

    /// What the first batch must start with.
    pub(super) fn first_offset(&self) -> Option<Offset> {
        match self.part {
            Part::Segment { base, .. } => Some(base),
            Part::Kept { .. } => None,
        }
    }

    fn seal(&self) -> Option<Seal> {
        match self.part {
            Part::Segment { seal, .. } => seal,
            Part::Kept { .. } => None,
        }
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// One past the last offset that belongs here, as far as something beside the file tells.
    pub(super) fn end_offset(&self) -> Option<Offset> {
        match self.part {
            Part::Segment { seal, next_base, .. } => {
                seal.map(|seal| seal.next_offset).or(next_base)
            }
            Part::Kept { .. } => None,
        }
    }

    pub(super) fn walk(&self, check: Check, start: u64) -> BatchWalk {
        BatchWalk::new(Arc::clone(&self.file), self.path.clone(), check, start, self.len)
    }

    /// The offset index as its file holds it. Nothing need vouch for it: whoever follows an entry
    /// looks at the checksum of what it leads to.
    pub(super) fn offset_index(&self) -> Result<Option<OffsetIndex>, FileError> {
        let Part::Segment { base, .. } = self.part else { return Ok(None) };
        let bytes = self.folder.read_hint(&FileName::Index(base), DERIVED_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| OffsetIndex::parse(base, bytes.into(), u64::MAX).ok()))
    }

    /// The batch at byte `start`, if a start has kept it there behind others: what it took off one
    /// time need not follow on what it took off another.
    pub(super) fn kept_anew(&self, start: u64) -> Option<Located> {
        match self.part {
            Part::Segment { .. } => None,
            Part::Kept { .. } => self.walk(Check::Checksums, start).next().ok().flatten(),
        }
    }

    pub(super) fn read(&self, located: &Located) -> Result<Result<RecordBatch, Lost>, FileError> {
        let mut bytes = vec![0; located.header.size_bytes()];
        self.file
            .read_exact_at(&mut bytes, located.position)
            .map_err(failed("read", self.path.clone()))?;
        let (header, from) = (&located.header, located.position);
        Ok(RecordBatch::parse(bytes.into()).map_err(|error| Lost {
            damage: self.damage(from, error.to_string()),
            bytes: from..from + header.size_bytes() as u64,
            first_offset: Some(header.base_offset()),
            next_offset: Some(header.next_offset()),
            goes_on: true,
        }))
    }

    pub(super) fn stat(&self) -> Result<SegmentStat, InspectError> {
        let mut stat = SegmentStat {
            log_file: self.path.clone(),
            base_offset: self.base(),
            next_offset: self.base(),
            log_bytes: self.len,
            sound_bytes: 0,
            batches: 0,
            records: 0,
            max_timestamp: None,
            index_bytes: [
                self.index_bytes(FileName::Index)?,
                self.index_bytes(FileName::TimeIndex)?,
                self.index_bytes(FileName::TxnIndex)?,
            ],
            sealed: self.seal().is_some(),
        };
        let mut pieces = Pieces::of(self, Check::Headers);
        while let Some(piece) = pieces.next()? {
            if let Piece::Batch(batch) = piece {
                stat.add(&batch);
            }
        }
        stat.next_offset = pieces.next_offset().unwrap_or(self.base());
        Ok(stat)
    }

    fn index_bytes(&self, name: impl Fn(Offset) -> FileName) -> Result<Option<u64>, FileError> {
        let Part::Segment { base, .. } = self.part else { return Ok(None) };
        Ok(self.derived(&name(base))?.map(|bytes| bytes.len() as u64))
    }

    /// Checks the file; returns the offset that the next one must start at.
    pub(super) fn verify(
        &self,
        report: &mut VerifyReport,
        passed: &mut dyn FnMut(u64),
    ) -> Result<Offset, InspectError> {
        let mut pieces = Pieces::of(self, Check::Checksums);
        while let Some(piece) = pieces.next()? {
            match piece {
                Piece::Batch(batch) => report.add(&batch),
                Piece::Lost(lost) => report.findings.push(Finding::Lost(lost)),
            }
            passed(pieces.position());
        }
        let found_end = pieces.next_offset().unwrap_or(self.base());
        let Part::Segment { base, seal, .. } = self.part else { return Ok(found_end) };
        self.verify_seal(base, report)?;
        if let Some(seal) = &seal {
            self.hold_against(seal, pieces.crc(), report)?;
        }
        self.verify_indexes(base, report)?;
        Ok(seal.map_or(found_end, |seal| seal.next_offset))
    }

    fn hold_against(
        &self,
        seal: &Seal,
        crc: Option<u32>,
        report: &mut VerifyReport,
    ) -> Result<(), FileError> {
        let Seal { log_bytes, log_crc, .. } = *seal;
        if log_bytes != self.len {
            let detail = format!("the file has {} bytes, its seal says {log_bytes}", self.len);
            report.damaged(self.damage(self.len.min(log_bytes), detail));
        } else if let Some(crc) = crc.filter(|crc| *crc != log_crc) {
            let detail = format!(
                "the file's CRC-32 is {crc:#010x}, its seal says {log_crc:#010x}: some byte differs \
                 that no batch's checksum covers"
            );
            report.damaged(self.damage(0, detail));
        }
        if Indexes::read(&self.folder, self.base(), &seal.indexes)?.is_none() {
            let detail = "an index does not hold what the seal says".to_owned();
            report.damaged(self.derived_damage(&FileName::Seal(self.base()), detail));
        }
        Ok(())
    }

    /// Whether byte `start` and all behind it is room that a log which was not closed had made
    /// ahead: zeros, and nothing that was sealed.
    pub(super) fn is_room(&self, mut start: u64) -> Result<bool, FileError> {
        if self.seal().is_some_and(|seal| start < seal.log_bytes) {
            return Ok(false);
        }
        let mut chunk = vec![0; ROOM_CHUNK_BYTES];
        while start < self.len {
            let read =
                self.file.read_at(&mut chunk, start).map_err(failed("read", self.path.clone()))?;
            if read == 0 || chunk[..read].iter().any(|byte| *byte != 0) {
                return Ok(read == 0);
            }
            start += read as u64;
        }
        Ok(true)
    }

    fn verify_seal(&self, base: Offset, report: &mut VerifyReport) -> Result<(), FileError> {
        let name = FileName::Seal(base);
        if let Some(bytes) = self.derived(&name)?
            && let Err(error) = Seal::decode(&bytes)
        {
            report.damaged(self.derived_damage(&name, error.to_string()));
        }
        Ok(())
    }

    fn verify_indexes(&self, base: Offset, report: &mut VerifyReport) -> Result<(), FileError> {
        type Parse<'a> = &'a dyn Fn(Vec<u8>) -> Result<(), IndexDamage>;
        let len = self.len;
        let indexes: [(FileName, Parse<'_>); 3] = [
            (FileName::Index(base), &|b| OffsetIndex::parse(base, b.into(), len).map(drop)),
            (FileName::TimeIndex(base), &|b| TimeIndex::parse(base, b.into()).map(drop)),
            (FileName::TxnIndex(base), &|b| TxnIndex::parse(base, b.into()).map(drop)),
        ];
        for (name, parse) in indexes {
            let Some(bytes) = self.derived(&name)? else { continue };
            if let Err(error) = parse(bytes) {
                report.damaged(self.derived_damage(&name, error.to_string()));
            }
        }
        Ok(())
    }

    fn derived(&self, file: &FileName) -> Result<Option<Vec<u8>>, FileError> {
        self.folder.read(file, DERIVED_BYTES_MAX)
    }

    pub(super) fn damage(&self, position: u64, detail: String) -> Damage {
        Damage { file: self.path.clone(), position, detail }
    }

    fn derived_damage(&self, file: &FileName, detail: String) -> Damage {
        Damage { file: self.folder.path_of(file), position: 0, detail }
    }
}
