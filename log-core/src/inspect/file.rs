//! One log file and what is derived from it, open to read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_proto::record::RecordBatch;
use log_proto::types::Offset;

use super::pieces::{Piece, Pieces};
use super::{Finding, InspectError, Lost, SegmentStat, VerifyReport, base_offset};
use crate::error::{Damage, FileError};
use crate::folder::{Folder, failed};
use crate::index::{IndexDamage, OffsetIndex, TimeIndex, TxnIndex};
use crate::io::{Disk, File, OpenMode};
use crate::segment::{BatchWalk, Check, FileName, IndexSums, Indexes, Located, Seal};

/// How much is compared with zeros at a time.
const ROOM_CHUNK_BYTES: usize = 64 << 10;

/// A derived file is far smaller than the log that it belongs to.
const DERIVED_BYTES_MAX: u64 = 1 << 30;

/// One log file, open to read. Cheap to clone.
#[derive(Clone)]
pub(super) struct LogFile {
    folder: Folder,
    path: PathBuf,
    base: Offset,
    file: Arc<dyn File>,
    len: u64,
    seal: Option<Seal>,
    /// Where the segment behind it starts, if that is there.
    next_base: Option<Offset>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, InspectError> {
        let no_log = || InspectError::NoLog(path.to_path_buf());
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_log)?;
        let base = base_offset(name).ok_or_else(no_log)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Folder::new(parent.unwrap_or(Path::new(".")).to_path_buf(), Arc::new(Disk));
        let file = folder.open(&FileName::Log(base), OpenMode::Read)?;
        let len = file.len().map_err(failed("read", path.to_path_buf()))?;
        let seal = Seal::read(&folder, base)?;
        let bases = folder.list()?.into_iter().filter_map(|entry| base_offset(&entry.name));
        let next_base = bases.filter(|other| *other > base).min();
        Ok(Self { folder, path: path.to_path_buf(), base, file, len, seal, next_base })
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// One past the last offset that belongs here, as far as something beside the file tells.
    pub(super) fn end_offset(&self) -> Option<Offset> {
        self.seal.map(|seal| seal.next_offset).or(self.next_base)
    }

    pub(super) fn walk(&self, check: Check, start: u64) -> BatchWalk {
        BatchWalk::new(Arc::clone(&self.file), self.path.clone(), check, start, self.len)
    }

    /// The offset index as its file holds it. Nothing need vouch for it: whoever follows an entry
    /// looks at the checksum of what it leads to.
    pub(super) fn offset_index(&self) -> Result<Option<OffsetIndex>, FileError> {
        let bytes = self.folder.read_hint(&FileName::Index(self.base), DERIVED_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| OffsetIndex::parse(self.base, bytes.into(), u64::MAX).ok()))
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
            first_offset: header.base_offset(),
            next_offset: Some(header.next_offset()),
            goes_on: true,
        }))
    }

    pub(super) fn stat(&self) -> Result<SegmentStat, InspectError> {
        let mut stat = SegmentStat {
            log_file: self.path.clone(),
            base_offset: self.base,
            next_offset: self.base,
            log_bytes: self.len,
            sound_bytes: 0,
            batches: 0,
            records: 0,
            max_timestamp: None,
            index_bytes: [
                self.derived(&FileName::Index(self.base))?.map(|bytes| bytes.len() as u64),
                self.derived(&FileName::TimeIndex(self.base))?.map(|bytes| bytes.len() as u64),
                self.derived(&FileName::TxnIndex(self.base))?.map(|bytes| bytes.len() as u64),
            ],
            sealed: self.seal.is_some(),
        };
        let mut pieces = Pieces::of(self, Check::Headers);
        while let Some(piece) = pieces.next()? {
            if let Piece::Batch(batch) = piece {
                stat.add(&batch);
            }
        }
        stat.next_offset = pieces.next_offset();
        Ok(stat)
    }

    /// Checks this segment; returns the offset that the next one must start at.
    pub(super) fn verify(
        &self,
        report: &mut VerifyReport,
        passed: &mut dyn FnMut(u64),
    ) -> Result<Offset, InspectError> {
        self.verify_seal(report)?;
        let mut pieces = Pieces::of(self, Check::Checksums);
        while let Some(piece) = pieces.next()? {
            match piece {
                Piece::Batch(batch) => report.add(&batch),
                Piece::Lost(lost) => report.findings.push(Finding::Lost(lost)),
            }
            passed(pieces.position());
        }
        let next_offset = self.seal.map_or(pieces.next_offset(), |seal| seal.next_offset);
        self.hold_against_seal(pieces.crc(), report);
        self.verify_indexes(report)?;
        Ok(next_offset)
    }

    fn hold_against_seal(&self, crc: Option<u32>, report: &mut VerifyReport) {
        let Some(Seal { log_bytes, log_crc, .. }) = self.seal else { return };
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
    }

    /// Whether byte `start` and all behind it is room that a log which was not closed had made
    /// ahead: zeros, and nothing that was sealed.
    pub(super) fn is_room(&self, mut start: u64) -> Result<bool, FileError> {
        if self.seal.is_some_and(|seal| start < seal.log_bytes) {
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

    fn verify_seal(&self, report: &mut VerifyReport) -> Result<(), FileError> {
        let name = FileName::Seal(self.base);
        if let Some(bytes) = self.derived(&name)?
            && let Err(error) = Seal::decode(&bytes)
        {
            report.damaged(self.derived_damage(&name, error.to_string()));
        }
        Ok(())
    }

    fn verify_indexes(&self, report: &mut VerifyReport) -> Result<(), FileError> {
        if let Some(sums) = self.seal.map(|seal: Seal| seal.indexes) {
            self.verify_sums(&sums, report)?;
        }
        type Parse<'a> = &'a dyn Fn(Vec<u8>) -> Result<(), IndexDamage>;
        let (base, len) = (self.base, self.len);
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

    fn verify_sums(&self, sums: &IndexSums, report: &mut VerifyReport) -> Result<(), FileError> {
        if Indexes::read(&self.folder, self.base, sums)?.is_none() {
            let detail = "an index does not hold what the seal says".to_owned();
            report.damaged(self.derived_damage(&FileName::Seal(self.base), detail));
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
