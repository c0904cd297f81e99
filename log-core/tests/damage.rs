//! A bit that flips, a block that turns to zeros, a file that is cut or swapped for another: in
//! each kind of file, sealed and active, after a clean stop and after a crash. What is damaged is
//! found and named; what is sound on both sides of it is served; nothing is served that was not
//! written.
//!
//! Each damage to each file first; then at random, where files and places are drawn.
//!
//! `DAMAGE_SEED=n` plays one seed, `DAMAGE_SEEDS=n` as many.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use common::power::Random;
use common::{Contents, Home, NOW, Opened, contents, data, offset, producer, records, values};
use log_core::record::{BatchHeader, EndTxnKind, HEADER_BYTES, RecordBatch, batches};
use log_core::{AppendKind, FoundAs, Isolation, OpenError, ReadError, inspect};

/// How a folder was left, with all that it holds.
struct Left {
    files: Contents,
    batches: Vec<Stored>,
    values: Vec<String>,
    committed: Vec<String>,
    found_as: FoundAs,
}

/// A batch where it lies.
#[derive(Clone, Debug)]
struct Stored {
    file: String,
    bytes: Range<usize>,
    offsets: Range<i64>,
}

/// A log of many segments with everything in it that is indexed or remembered.
fn rich(home: &Home) -> Opened {
    let log = home.open();
    for n in 0..8 {
        let stamp = NOW + [5, 3, 9, 1, 7, 2, 8, 4][n as usize] * 1000;
        let name = |part| format!("{part}{n}");
        log.put(&data(name("i"), 2).padded(100).by(producer(7, 0), n * 2).stamped(&[stamp; 2]));
        let txn = producer(10 + i64::from(n), 0);
        log.put(&data(name("t"), 1).padded(200).by(txn, 0).transactional());
        log.put(&data(name("p"), 2).padded(100).stamped(&[stamp + 500, stamp - 500]));
        let kind = if n % 2 == 0 { EndTxnKind::Abort } else { EndTxnKind::Commit };
        log.end_txn(txn, kind);
        log.flush().unwrap();
        if n == 5 {
            log.delete_records_before(offset(2)).unwrap();
            home.clock.advance(1500);
            log.tick();
        }
    }
    log
}

fn left(found_as: FoundAs) -> (Home, Left) {
    let home = Home::small();
    let log = rich(&home);
    let (values, committed) = (log.values(), log.committed());
    match found_as {
        FoundAs::Clean => log.stop(),
        _ => log.crash(),
    }
    let mut files = contents(&home.folder());
    let mut batches = Vec::new();
    for (name, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".log")) {
        let found = stored(name, bytes);
        // Without the room behind the last batch, which would take most of the damage.
        bytes.truncate(found.last().map_or(0, |last| last.bytes.end));
        batches.extend(found);
    }
    (home, Left { files, batches, values, committed, found_as })
}

fn stored(file: &str, log: &[u8]) -> Vec<Stored> {
    let mut batches = Vec::new();
    let mut start = 0;
    while let Some(Ok(header)) = log.get(start..start + HEADER_BYTES).map(BatchHeader::parse) {
        let bytes = start..start + header.size_bytes();
        let offsets = header.base_offset().get()..header.next_offset().get();
        batches.push(Stored { file: file.to_owned(), bytes: bytes.clone(), offsets });
        start = bytes.end;
    }
    batches
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { bit: usize },
    Zero { bytes: Range<usize> },
    Cut { len: usize },
    Swap { with: String },
}

/// How many there are.
const DAMAGES: u64 = 4;

/// One damage to one file.
#[derive(Clone, Debug)]
struct Case {
    file: String,
    damage: Damage,
}

impl Case {
    /// Kinds of files are chosen before files, because there are few of some.
    fn of(random: &mut Random, files: &Contents) -> Self {
        let mut kinds: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for name in files.keys() {
            let kind = name.split_once('.').map_or(name.as_str(), |(_, suffix)| suffix);
            kinds.entry(kind).or_default().push(name);
        }
        // The log itself as often as all that is derived from it.
        let kinds: Vec<_> = kinds.into_iter().collect();
        let log = kinds.iter().position(|(kind, _)| *kind == "log").unwrap();
        let kind =
            if random.below(3) == 0 { log } else { random.below(kinds.len() as u64) as usize };
        let names = &kinds[kind].1;
        let file = names[random.below(names.len() as u64) as usize].clone();
        let choice = random.below(DAMAGES);
        Self::in_file(random, files, file, choice)
    }

    /// One of the damages, in a place of the file that is drawn. Nothing happens to the bytes of a
    /// file that has none: it is swapped.
    fn in_file(random: &mut Random, files: &Contents, file: String, choice: u64) -> Self {
        let len = files[&file].len();
        let below = |random: &mut Random, len: usize| random.below(len as u64) as usize;
        let damage = match choice {
            0 if len > 0 => Damage::Flip { bit: below(random, len * 8) },
            1 if len > 0 => {
                let start = below(random, len) / 64 * 64;
                let end = (start + [64, 512][below(random, 2)]).min(len);
                Damage::Zero { bytes: start..end }
            }
            2 if len > 0 => Damage::Cut { len: below(random, len) },
            _ => {
                let names: Vec<&String> = files.keys().filter(|name| **name != file).collect();
                Damage::Swap { with: names[below(random, names.len())].clone() }
            }
        };
        Self { file, damage }
    }

    fn apply(&self, files: &Contents) -> Contents {
        let mut damaged = files.clone();
        let bytes = damaged.get_mut(&self.file).unwrap();
        match &self.damage {
            Damage::Flip { bit } => bytes[bit / 8] ^= 1 << (bit % 8),
            Damage::Zero { bytes: range } => bytes[range.clone()].fill(0),
            Damage::Cut { len } => bytes.truncate(*len),
            Damage::Swap { with } => {
                let first = std::mem::take(bytes);
                let second = damaged.insert(with.clone(), first).unwrap();
                damaged.insert(self.file.clone(), second);
            }
        }
        damaged
    }

    fn names(&self) -> Vec<&str> {
        let other = match &self.damage {
            Damage::Swap { with } => Some(with.as_str()),
            _ => None,
        };
        std::iter::once(self.file.as_str()).chain(other).collect()
    }
}

impl Left {
    /// Batches of which some byte is another one now.
    fn touched(&self, damaged: &Contents) -> Vec<Stored> {
        let is_touched = |batch: &&Stored| {
            let now = damaged.get(&batch.file).and_then(|bytes| bytes.get(batch.bytes.clone()));
            now != Some(&self.files[&batch.file][batch.bytes.clone()])
        };
        self.batches.iter().filter(is_touched).cloned().collect()
    }

    fn records_of(&self, batch: &Stored) -> Vec<common::Seen> {
        let bytes = self.files[&batch.file][batch.bytes.clone()].to_vec();
        records(&RecordBatch::parse(bytes.into()).unwrap())
    }
}

/// What a person is told of who looks at the folder with nobody using it.
fn check_verified(home: &Home, case: &Case, touched: &[Stored]) {
    let report = inspect::verify(&home.folder(), &mut |_| {}).unwrap();
    let is_named =
        |name: &str| report.findings.iter().any(|found| found.damage().file.ends_with(name));
    for batch in touched {
        let in_epoch = matches!(case.damage, Damage::Flip { bit }
            if (12..16).contains(&(bit / 8 - batch.bytes.start)));
        let is_sealed = home.names().contains(&batch.file.replace(".log", ".seal"));
        // Without a seal, nothing says how long a file was, nor that zeros at its end are no room.
        let is_end = match &case.damage {
            Damage::Cut { .. } => true,
            Damage::Zero { bytes } => bytes.end == home.bytes_of(&batch.file).len(),
            // Swapped with an empty file, the last one is cut to nothing.
            Damage::Swap { .. } => {
                home.bytes_of(&batch.file).is_empty() && batch.file == home.last_log()
            }
            Damage::Flip { .. } => false,
        };
        if is_sealed || !(in_epoch || is_end) {
            let seal = batch.file.replace(".log", ".seal");
            assert!(is_named(&batch.file) || is_named(&seal), "{case:?}: {report:?}");
        }
    }
}

/// Reads each offset by itself. Returns those that cannot be had.
fn check_reads(log: &Opened, left: &Left, case: &Case) -> Vec<i64> {
    let offsets = log.offsets();
    let mut missing = Vec::new();
    for batch in &left.batches {
        for wanted in batch.offsets.clone() {
            if wanted < offsets.log_start.get() {
                continue;
            }
            if wanted >= offsets.log_end.get() {
                missing.push(wanted);
                continue;
            }
            match log.read_copied(offset(wanted), 1, Isolation::HighWatermark) {
                Ok(fetched) => match batches(fetched.batches).next() {
                    Some(Ok(found)) => {
                        let header = *found.header();
                        let found_offsets = header.base_offset().get()..header.next_offset().get();
                        assert_eq!(found_offsets, batch.offsets, "{case:?}");
                        if !header.is_control() {
                            assert_eq!(records(&found), left.records_of(batch), "{case:?}");
                        }
                    }
                    // The reader sees by the checksum that this is not what was written.
                    _ => missing.push(wanted),
                },
                Err(ReadError::Damaged { damage, resume_at }) => {
                    let name = damage.file.file_name().and_then(|name| name.to_str());
                    // Where a file ends too early, the next one tells which offsets are missing.
                    let is_gap = damage.position == 0 && damage.detail.contains("are missing");
                    let culprit = if is_gap { Some(batch.file.as_str()) } else { name };
                    let is_named = culprit.is_some_and(|name| case.names().contains(&name));
                    assert!(is_named, "{case:?}: {wanted} is said to be lost in {damage}");
                    assert!(resume_at.is_none_or(|next| next.get() > wanted), "{case:?}");
                    missing.push(wanted);
                }
                Err(error) => panic!("{case:?}: {error}"),
            }
        }
    }
    missing
}

/// Reads as much as there is at a time, as consumers do, who may check nothing: whatever they get
/// lies where it was written, and is what was written.
fn check_long_reads(log: &Opened, left: &Left, case: &Case) {
    let mut next = log.offsets().log_start;
    while next < log.offsets().high_watermark {
        let fetched = match log.read_copied(next, usize::MAX, Isolation::HighWatermark) {
            Ok(fetched) => fetched,
            Err(ReadError::Damaged { resume_at: Some(resume_at), .. }) => {
                next = resume_at;
                continue;
            }
            Err(ReadError::Damaged { resume_at: None, .. }) => return,
            Err(error) => panic!("{case:?}: {error}"),
        };
        for batch in batches(fetched.batches) {
            let found = batch.unwrap_or_else(|error| panic!("{case:?}: {error}"));
            let header = *found.header();
            let offsets = header.base_offset().get()..header.next_offset().get();
            let is_here = |stored: &&Stored| stored.offsets.contains(&next.get());
            let stored = left.batches.iter().find(is_here).expect("it was written");
            assert_eq!(offsets, stored.offsets, "{case:?}");
            let is_data = !header.is_control();
            assert!(!is_data || records(&found) == left.records_of(stored), "{case:?}");
            next = header.next_offset();
        }
    }
}

/// In each batch, bits that its checksum does not cover and that say where it belongs.
fn flips_outside_checksums(left: &Left) -> impl Iterator<Item = Case> {
    let bits = left.batches.iter().flat_map(|stored| {
        let start = stored.bytes.start * 8;
        (start..start + 12 * 8).step_by(19).map(|bit| (stored.file.clone(), bit))
    });
    bits.map(|(file, bit)| Case { file, damage: Damage::Flip { bit } })
}

#[test]
fn no_record_is_served_under_another_ones_offset() {
    for found_as in [FoundAs::Clean, FoundAs::Crashed] {
        let (home, left) = left(found_as);
        for case in flips_outside_checksums(&left) {
            home.restore(&case.apply(&left.files));
            let log = home.open();
            check_long_reads(&log, &left, &case);
            log.crash();
        }
    }
}

fn check(home: &Home, left: &Left, case: &Case) {
    let damaged = case.apply(&left.files);
    home.restore(&damaged);
    let touched = left.touched(&damaged);
    check_verified(home, case, &touched);
    let log = match home.try_open() {
        Ok(log) => log,
        Err(error) => return check_refusal(home, case, &error, &damaged),
    };
    check_long_reads(&log, left, case);
    let missing = check_reads(&log, left, case);
    let is_touched = |wanted: &i64| touched.iter().any(|batch| batch.offsets.contains(wanted));
    let report = &log.report;
    for wanted in &missing {
        // Behind damage above the recovery point nothing can be served; that is reported.
        let is_told = !report.cuts.is_empty() || !report.damages.is_empty();
        let before = touched.iter().filter(|batch| batch.offsets.start <= *wanted);
        let is_gone = *wanted >= log.offsets().log_end.get() && before.clone().count() > 0;
        // Without a seal nothing may know where the next batch starts.
        let file = left.batches.iter().find(|batch| batch.offsets.contains(wanted)).unwrap();
        let is_sealed = left.files.contains_key(&file.file.replace(".log", ".seal"));
        let is_unknown = !is_sealed && before.clone().any(|batch| batch.file == file.file);
        assert!(
            is_touched(wanted) || is_told && (is_gone || is_unknown),
            "{case:?}: {wanted} is missing: {report:?}"
        );
    }
    for cut in &report.cuts {
        assert!(cut.saved_to.exists(), "{case:?}");
        assert!(!touched.is_empty(), "{case:?}: {report:?}");
    }
    if touched.is_empty() && missing.is_empty() && !is_start(case) {
        assert_eq!(log.values(), left.values, "{case:?}");
        assert_eq!(log.committed(), left.committed, "{case:?}");
        let again =
            log.put(&data("i7", 2).padded(100).by(producer(7, 0), 14).stamped(&[NOW + 4000; 2]));
        assert_eq!(again.kind, AppendKind::Duplicate, "{case:?}");
    }
    check_goes_on(home, log, case);
}

fn is_start(case: &Case) -> bool {
    case.names().contains(&"log-start")
}

/// Only what says whose the log is and where it starts may keep it from opening, and says so.
fn check_refusal(home: &Home, case: &Case, error: &OpenError, damaged: &Contents) {
    let essential = ["log-start", "partition.json"];
    let name = case.names().into_iter().find(|name| essential.contains(name));
    let name = name.unwrap_or_else(|| panic!("{case:?}: {error}"));
    let says = error.to_string();
    assert!(says.contains(name) || matches!(error, OpenError::OtherLog { .. }), "{case:?}: {says}");
    assert_eq!(&contents(&home.folder()), damaged, "{case:?}: a refusal changes nothing");
}

/// Whatever was damaged, the log takes records and finds them again.
fn check_goes_on(home: &Home, log: Opened, case: &Case) {
    let appended = log.put_durable(&data("more", 1));
    let more = values(&log.see_from(appended.base_offset));
    assert_eq!(more, ["more.0"], "{case:?}");
    log.crash();
    let log = home.open();
    assert_eq!(values(&log.see_from(appended.base_offset)), more, "{case:?}");
    log.stop();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn damage_in(found_as: FoundAs) {
    let (home, left) = left(found_as);
    assert_eq!(left.found_as, found_as);
    let seeds = match setting("DAMAGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("DAMAGE_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let case = Case::of(&mut Random::new(seed), &left.files);
        let checked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&home, &left, &case)));
        assert!(checked.is_ok(), "DAMAGE_SEED={seed} plays this again: {found_as:?}, {case:?}");
    }
}

/// Goal: chance leaves nothing out. Each damage happens to each file, sealed and active.
fn every_damage_in(found_as: FoundAs) {
    let (home, left) = left(found_as);
    let active = left.files.keys().rfind(|name| name.ends_with(".log")).unwrap();
    let stem = active.trim_end_matches(".log");
    let mut cells = BTreeSet::new();
    for (number, file) in left.files.keys().enumerate() {
        let kind = file.split_once('.').map_or(file.as_str(), |(_, suffix)| suffix);
        for choice in 0..DAMAGES {
            let random = &mut Random::new(number as u64 * DAMAGES + choice);
            let case = Case::in_file(random, &left.files, file.clone(), choice);
            let (what, is_active) = (std::mem::discriminant(&case.damage), file.starts_with(stem));
            cells.insert(format!("{kind} {what:?} {is_active}"));
            check(&home, &left, &case);
        }
    }
    let of_logs = cells.iter().filter(|cell| cell.starts_with("log ")).count() as u64;
    assert_eq!(of_logs, 2 * DAMAGES, "sealed and active: {cells:?}");
}

#[test]
fn every_damage_to_every_file_after_a_clean_stop() {
    every_damage_in(FoundAs::Clean);
}

#[test]
fn every_damage_to_every_file_after_a_crash() {
    every_damage_in(FoundAs::Crashed);
}

#[test]
fn damage_after_a_clean_stop_is_found_and_costs_nothing_else() {
    damage_in(FoundAs::Clean);
}

#[test]
fn damage_after_a_crash_is_found_and_costs_nothing_else() {
    damage_in(FoundAs::Crashed);
}

/// The same names in two folders: a file that took another partition's place.
#[test]
fn files_swapped_between_partitions_are_found_or_do_no_harm() {
    let (home, left) = left(FoundAs::Clean);
    let other = Home::small();
    let log = other.open();
    for n in 0..9 {
        log.put_durable(&data(format!("other{n}"), 3).padded(300).by(producer(7, 0), n * 3));
    }
    other.clock.advance(1500);
    log.tick();
    log.put_durable(&data("other-last", 1));
    log.crash();
    let others = contents(&other.folder());
    for (name, bytes) in others.iter().filter(|(name, _)| left.files.contains_key(*name)) {
        if name == "log-start" {
            continue;
        }
        let mut swapped = left.files.clone();
        swapped.insert(name.clone(), bytes.clone());
        home.restore(&swapped);
        let log = home.open();
        let is_log = name.ends_with(".log");
        let case = Case { file: name.clone(), damage: Damage::Swap { with: name.clone() } };
        if is_log {
            assert!(!log.report.damages.is_empty(), "{name}: {:?}", log.report);
        } else {
            assert_eq!(check_reads(&log, &left, &case), [0; 0], "{name}: {:?}", log.report);
            assert_eq!(log.values(), left.values, "{name}");
            assert_eq!(log.committed(), left.committed, "{name}");
        }
        log.crash();
    }
}
