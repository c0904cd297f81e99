//! Going over one file from batch to batch, and over damage to the next that is sound.

use log_proto::types::Offset;

use super::Lost;
use super::file::LogFile;
use crate::error::{Damage, FileError};
use crate::index::OffsetIndex;
use crate::segment::{BatchWalk, Check, Located, WalkError, first_sound, sound_behind};

/// What a file holds next.
pub(super) enum Piece {
    Batch(Located),
    Lost(Lost),
}

/// See the module.
pub(super) struct Pieces {
    file: LogFile,
    walk: BatchWalk,
    /// What the next batch starts with.
    expected: Offset,
    /// What leads over damage; read when there is some.
    index: Option<OffsetIndex>,
    reached: Reached,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Without a break so far.
    Whole,
    /// Behind damage.
    Broken,
    /// Nothing more can be told.
    End,
}

impl Pieces {
    pub(super) fn of(file: &LogFile, check: Check) -> Self {
        let walk = file.walk(check, 0).expecting(file.base()).with_read_crc();
        let (file, expected) = (file.clone(), file.base());
        Self { file, walk, expected, index: None, reached: Reached::Whole }
    }

    /// Where the next piece starts.
    pub(super) fn position(&self) -> u64 {
        self.walk.position()
    }

    /// One past the last offset; of a file that ends with damage, as far as its seal or its
    /// neighbour tells.
    pub(super) fn next_offset(&self) -> Offset {
        self.expected
    }

    /// The CRC-32 of the whole file, if nothing in it was passed over.
    pub(super) fn crc(self) -> Option<u32> {
        (self.reached == Reached::Whole).then(|| self.walk.read_crc())
    }

    pub(super) fn next(&mut self) -> Result<Option<Piece>, FileError> {
        if self.reached == Reached::End {
            return Ok(None);
        }
        match self.walk.next() {
            Ok(None) => Ok(None),
            Ok(Some(batch)) => {
                self.expected = batch.header.next_offset();
                Ok(Some(Piece::Batch(batch)))
            }
            Err(WalkError::Damaged(damage)) => self.pass_over(damage),
            Err(WalkError::File(error)) => {
                self.reached = Reached::End;
                Err(error)
            }
        }
    }

    fn pass_over(&mut self, damage: Damage) -> Result<Option<Piece>, FileError> {
        if self.file.is_room(damage.position)? {
            self.reached = Reached::End;
            return Ok(None);
        }
        let (from, first_offset) = (damage.position, self.expected);
        let sound = self.behind(from)?;
        let (to, next_offset) = match &sound {
            Some(batch) => (batch.position, Some(batch.header.base_offset())),
            None => (self.file.len(), self.file.end_offset().filter(|end| *end >= first_offset)),
        };
        self.reached = if sound.is_some() { Reached::Broken } else { Reached::End };
        self.expected = next_offset.unwrap_or(first_offset);
        self.walk = self.file.walk(self.walk.check(), to).expecting(self.expected);
        let goes_on = sound.is_some();
        Ok(Some(Piece::Lost(Lost { damage, bytes: from..to, first_offset, next_offset, goes_on })))
    }

    fn behind(&mut self, damaged: u64) -> Result<Option<Located>, FileError> {
        if self.index.is_none() {
            self.index = self.file.offset_index()?;
        }
        let walk = |check, start| Ok(self.file.walk(check, start));
        let entries = self.index.iter().flat_map(|index| index.entries_after(damaged));
        let indexed = first_sound(entries, walk);
        let missed = self.expected..self.file.end_offset().unwrap_or(Offset::MAX);
        sound_behind(damaged, missed, indexed, walk)
    }
}
