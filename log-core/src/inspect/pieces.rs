//! Going over one file from batch to batch, and over damage to the next that is sound.
//!
//! The rule: every byte is part of a piece, sound or lost, and nothing is passed over in silence.

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
    /// What the next batch starts with, where something tells.
    expected: Option<Offset>,
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
        let expected = file.first_offset();
        let walk = expecting(file.walk(check, 0).with_read_crc(), expected);
        Self { file: file.clone(), walk, expected, index: None, reached: Reached::Whole }
    }

    /// Where the next piece starts.
    pub(super) fn position(&self) -> u64 {
        self.walk.position()
    }

    /// One past the last offset; of a file that ends with damage, as far as its seal or its
    /// neighbour tells.
    pub(super) fn next_offset(&self) -> Option<Offset> {
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
                self.expected = Some(batch.header.next_offset());
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
        if let Some(batch) = self.file.kept_anew(damage.position) {
            self.go_on_at(batch.position, Some(batch.header.base_offset()));
            return self.next();
        }
        let (from, first_offset) = (damage.position, self.expected);
        let sound = self.behind(from)?;
        let (to, next_offset) = match &sound {
            Some(batch) => (batch.position, Some(batch.header.base_offset())),
            None => {
                (self.file.len(), self.file.end_offset().filter(|end| Some(*end) >= first_offset))
            }
        };
        let goes_on = sound.is_some();
        self.go_on_at(to, next_offset.or(first_offset));
        if !goes_on {
            self.reached = Reached::End;
        }
        Ok(Some(Piece::Lost(Lost { damage, bytes: from..to, first_offset, next_offset, goes_on })))
    }

    fn go_on_at(&mut self, position: u64, expected: Option<Offset>) {
        self.walk = expecting(self.file.walk(self.walk.check(), position), expected);
        self.expected = expected;
        self.reached = Reached::Broken;
    }

    fn behind(&mut self, damaged: u64) -> Result<Option<Located>, FileError> {
        if self.index.is_none() {
            self.index = self.file.offset_index()?;
        }
        let walk = |check, start| Ok(self.file.walk(check, start));
        let indexed = || {
            let entries = self.index.iter().flat_map(|index| index.entries_after(damaged));
            first_sound(entries, walk)
        };
        let missed =
            self.expected.unwrap_or(Offset::ZERO)..self.file.end_offset().unwrap_or(Offset::MAX);
        sound_behind(damaged, missed, indexed, walk)
    }
}

fn expecting(walk: BatchWalk, offset: Option<Offset>) -> BatchWalk {
    match offset {
        Some(offset) => walk.expecting(offset),
        None => walk,
    }
}
