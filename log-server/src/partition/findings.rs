//! What is known to be wrong with the files of a log: what its start has found, and what reads
//! have met since.
//!
//! The rule: a place is kept and spoken of once, however often it is read, and a log that is
//! damaged all over fills neither memory nor the broker's log. To count each meeting instead would
//! tell how many readers there are, not how much is wrong.

use std::collections::HashSet;
use std::path::PathBuf;

use log_core::{Damage, FileError, ReadError, RecoveryReport};
use parking_lot::Mutex;

/// So many places are kept that reads have met. Who has seen as many knows what the disk is worth.
const MET_MAX: usize = 100;

/// What the operating system says of a disk that cannot read.
const CANNOT_READ: i32 = rustix::io::Errno::IO.raw_os_error();

/// A file and the position in it; a read that has failed as a whole has none.
type Place = (PathBuf, Option<u64>);

/// What is wrong with one log.
#[derive(Debug)]
pub(super) struct Findings {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    texts: Vec<String>,
    places: HashSet<Place>,
    /// Places that reads have met.
    met: usize,
}

/// What a read has met, if it is news.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum News {
    /// This, which is kept from now on.
    Finding(String),
    /// This, the last that is kept.
    LastFinding(String),
}

impl Findings {
    /// Damage, which is left in place, and ends that were cut off.
    pub(super) fn of_start(report: &RecoveryReport) -> Self {
        let damages = report.damages.iter().map(ToString::to_string);
        let texts = damages.chain(report.cuts.iter().map(ToString::to_string)).collect();
        let places = report.damages.iter().map(place_of).collect();
        Self { known: Mutex::new(Known { texts, places, met: 0 }) }
    }

    /// Keeps what the log's owner has found in it.
    pub(super) fn found(&self, finding: String) {
        let mut known = self.known.lock();
        if known.texts.len() < MET_MAX && !known.texts.contains(&finding) {
            known.texts.push(finding);
        }
    }

    /// Each of them, in the order in which they were found.
    pub(super) fn texts(&self) -> Vec<String> {
        self.known.lock().texts.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.lock().texts.is_empty()
    }

    /// Keeps what a read has met. A read that was refused for another reason, or for want of
    /// descriptors, says nothing about the log.
    pub(super) fn meet(&self, error: &ReadError) -> Option<News> {
        match error {
            ReadError::Damaged { damage, .. } => self.keep(place_of(damage), damage.to_string()),
            ReadError::File(error) if is_bad_disk(error) => {
                self.keep((error.file.clone(), None), error.to_string())
            }
            ReadError::File(_) | ReadError::OutOfRange { .. } => None,
        }
    }

    fn keep(&self, place: Place, text: String) -> Option<News> {
        let mut known = self.known.lock();
        if known.met == MET_MAX || !known.places.insert(place) {
            return None;
        }
        known.texts.push(text.clone());
        known.met += 1;
        Some(if known.met < MET_MAX { News::Finding(text) } else { News::LastFinding(text) })
    }
}

fn place_of(damage: &Damage) -> Place {
    (damage.file.clone(), Some(damage.position))
}

fn is_bad_disk(error: &FileError) -> bool {
    error.source.raw_os_error() == Some(CANNOT_READ)
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_core::FoundAs;

    fn damage(position: u64) -> Damage {
        Damage { file: "0.log".into(), position, detail: "no batch".to_owned() }
    }

    fn cannot_read(code: i32) -> ReadError {
        let source = std::io::Error::from_raw_os_error(code);
        ReadError::File(FileError { operation: "read", file: "0.log".into(), source })
    }

    fn sound() -> RecoveryReport {
        let (cuts, damages) = (Vec::new(), Vec::new());
        RecoveryReport { found_as: FoundAs::Clean, scanned_bytes: 0, cuts, damages }
    }

    /// Goal: each place is news once, whoever finds it first, and a disk full of damage is bounded.
    #[test]
    fn a_place_is_news_once() {
        let report = RecoveryReport { damages: vec![damage(0)], ..sound() };
        let findings = Findings::of_start(&report);
        assert_eq!(findings.meet(&damage(0).into()), None, "the start has told it");
        for position in 1..MET_MAX as u64 {
            let news = findings.meet(&damage(position).into());
            assert_eq!(news, Some(News::Finding(damage(position).to_string())));
            assert_eq!(findings.meet(&damage(position).into()), None);
        }
        let last = findings.meet(&damage(1000).into());
        assert_eq!(last, Some(News::LastFinding(damage(1000).to_string())));
        assert_eq!(findings.meet(&damage(1001).into()), None);
        assert_eq!(findings.texts().len(), 1 + MET_MAX);
    }

    #[test]
    fn a_disk_that_cannot_read_is_a_finding_and_a_crowd_of_clients_is_not() {
        let findings = Findings::of_start(&sound());
        assert_eq!(findings.meet(&cannot_read(rustix::io::Errno::MFILE.raw_os_error())), None);
        assert!(findings.is_empty());
        assert!(findings.meet(&cannot_read(CANNOT_READ)).is_some());
        assert_eq!(findings.meet(&cannot_read(CANNOT_READ)), None);
        assert!(!findings.is_empty());
    }
}
