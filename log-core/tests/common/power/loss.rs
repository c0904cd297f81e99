//! What is left when the power fails.
//!
//! The rule is the weakest one that [`Storage`](log_core::io::Storage) allows, in several
//! characters, because a disk that always forgets a random half hides what one does that forgets
//! only the last thing. A seed chooses the character and the size of what is written whole.

use super::content::{Change, ChangeKind, Content};
use super::{Inode, NameChange, Names, Random, Tally};

/// How a disk forgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Character {
    /// Nothing survives that was not synced.
    Nothing,
    /// All of it does.
    Everything,
    /// Everything up to one operation, of which a part survives.
    InOrder { until: u64 },
    /// Each unit of each change survives or not, as luck has it: so many of 256.
    EachAsItComes { of_256: u64 },
    /// Each unit of each file is as it was after one of the changes. Names in order.
    Versions,
}

/// A power failure, as a seed decides it.
pub struct Loss<'a> {
    character: Character,
    /// What the disk writes whole or not at all.
    unit_bytes: usize,
    luck: Random,
    tally: &'a mut Tally,
}

impl<'a> Loss<'a> {
    /// Of a disk on which nothing survives that was not synced.
    pub fn of_everything(tally: &'a mut Tally) -> Self {
        tally.power_losses += 1;
        Self { character: Character::Nothing, unit_bytes: 512, luck: Random::new(0), tally }
    }

    /// Of a disk that has done `operations`; the oldest that is not synced had number `oldest`.
    pub fn new(seed: u64, oldest: u64, operations: u64, tally: &'a mut Tally) -> Self {
        let mut luck = Random::new(seed);
        let unit_bytes = [512, 4096][luck.below(2) as usize];
        let character = match luck.below(8) {
            0 => Character::Nothing,
            1 => Character::Everything,
            2 | 3 => Character::InOrder {
                until: oldest + luck.below(operations - oldest.min(operations) + 1),
            },
            4 | 5 => Character::EachAsItComes { of_256: [26, 128, 230][luck.below(3) as usize] },
            _ => Character::Versions,
        };
        tally.power_losses += 1;
        Self { character, unit_bytes, luck, tally }
    }

    /// The names that are found, given those that were synced.
    pub fn names(&mut self, mut names: Names, unsynced: &[NameChange]) -> Names {
        let kept = match self.character {
            Character::Versions => self.luck.below(unsynced.len() as u64 + 1) as usize,
            _ => unsynced.len(),
        };
        for (place, change) in unsynced.iter().enumerate() {
            let survives = match self.character {
                Character::Nothing => false,
                Character::Everything => true,
                Character::InOrder { until } => change.number <= until,
                Character::EachAsItComes { of_256 } => self.luck.below(256) < of_256,
                Character::Versions => place < kept,
            };
            if survives {
                change.apply(&mut names);
            } else {
                self.tally.names_lost += 1;
            }
        }
        names
    }

    /// The bytes that are found in a file.
    pub fn content(&mut self, inode: &Inode) -> Content {
        if let Character::Versions = self.character {
            return self.version(inode);
        }
        let mut content = inode.synced.clone();
        for change in &inode.unsynced {
            self.survive(change, &mut content);
        }
        content
    }

    fn survive(&mut self, change: &Change, content: &mut Content) {
        let of_256 = match self.character {
            Character::Nothing => 0,
            Character::InOrder { until } if change.number > until => 0,
            Character::InOrder { until } if change.number == until => 128,
            Character::EachAsItComes { of_256 } => of_256,
            _ => 256,
        };
        let lost = match &change.kind {
            ChangeKind::Write { at, bytes, zeros } => {
                let mut lost = self.survive_in_units(*at, bytes, of_256, content);
                if *zeros > 0 && self.luck.below(256) < of_256 {
                    content.put_zeros(at + bytes.len(), *zeros);
                } else if *zeros > 0 {
                    lost += 1;
                }
                self.tally.writes_torn +=
                    u64::from(lost > 0 && lost < units(*at, bytes, self.unit_bytes));
                self.tally.writes_lost += u64::from(lost > 0);
                lost
            }
            ChangeKind::SetLen(len) if self.luck.below(256) < of_256 => {
                content.set_len(*len);
                0
            }
            ChangeKind::SetLen(_) => {
                self.tally.lengths_lost += 1;
                1
            }
        };
        // The length may have got to the disk before the bytes that it is about.
        if lost > 0
            && self.luck.below(4) == 0
            && of_256 > 0
            && let ChangeKind::Write { at, bytes, .. } = &change.kind
        {
            let missing = (at + bytes.len()).saturating_sub(content.len());
            content.put_zeros(content.len(), missing);
        }
    }

    /// Returns how many units were lost.
    fn survive_in_units(
        &mut self,
        at: usize,
        bytes: &[u8],
        of_256: u64,
        content: &mut Content,
    ) -> usize {
        let (mut done, mut lost) = (0, 0);
        while done < bytes.len() {
            let unit_end = (at + done) / self.unit_bytes * self.unit_bytes + self.unit_bytes;
            let end = (unit_end - at).min(bytes.len());
            if self.luck.below(256) < of_256 {
                content.put(at + done, &bytes[done..end]);
            } else {
                lost += 1;
            }
            done = end;
        }
        lost
    }

    /// Each unit as it was at some time since the last sync, and so is the length.
    fn version(&mut self, inode: &Inode) -> Content {
        let versions = inode.unsynced.len() as u64 + 1;
        if versions == 1 {
            return inode.synced.clone();
        }
        let longest = inode.unsynced.iter().map(|change| change.kind.end()).max().unwrap_or(0);
        let units = longest.max(inode.synced.data_len()).div_ceil(self.unit_bytes);
        let chosen: Vec<u64> = (0..units).map(|_| self.luck.below(versions)).collect();
        let chosen_len = self.luck.below(versions);
        let mut found = Content::default();
        let mut len = 0;
        let mut version = inode.synced.clone();
        for number in 0..versions {
            if let Some(before) = number.checked_sub(1) {
                version.apply(&inode.unsynced[before as usize].kind);
            }
            for (unit, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen == number) {
                let start = unit * self.unit_bytes;
                let end = (start + self.unit_bytes).min(version.data_len());
                if start < end {
                    found.put(start, &version.data()[start..end]);
                }
            }
            if number == chosen_len {
                len = version.len();
            }
        }
        let late = chosen.iter().filter(|chosen| **chosen + 1 < versions).count();
        self.tally.writes_lost += late as u64;
        self.tally.writes_torn += u64::from(late > 0 && late < units);
        self.tally.lengths_lost += u64::from(chosen_len + 1 < versions);
        found.set_len(len);
        found
    }
}

impl ChangeKind {
    fn end(&self) -> usize {
        match self {
            Self::Write { at, bytes, .. } => at + bytes.len(),
            Self::SetLen(_) => 0,
        }
    }
}

fn units(at: usize, bytes: &[u8], unit_bytes: usize) -> usize {
    (at + bytes.len()).div_ceil(unit_bytes) - at / unit_bytes
}
