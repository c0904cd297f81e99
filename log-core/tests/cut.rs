//! A log whose files are cut, zeroed, scribbled over or lost opens with exactly what is whole.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::collections::BTreeMap;

use common::{
    Contents, Data, Home, LAZY, NOW, Opened, Seen, at, contents, data, offset, producer,
    read_through, values,
};
use log_core::record::{BatchHeader, EndTxnKind, HEADER_BYTES};
use log_core::{AppendKind, FoundAs, Isolation, LogConfig, ReadError};

const LOG: &str = "00000000000000000000.log";

/// Five batches, of which the last three lie above the recovery point.
struct Tail {
    /// The folder after a crash, without the room behind the last batch.
    crashed: Contents,
    /// The same log after a clean stop.
    stopped: Contents,
    /// Where each batch ends, in bytes.
    ends: Vec<usize>,
}

fn idempotent() -> Data {
    data("c", 2).by(producer(7, 0), 2)
}

fn tail() -> Tail {
    let home = Home::new();
    let log = home.open();
    log.put(&data("a", 2).by(producer(7, 0), 0));
    log.put(&data("b", 1).by(producer(8, 0), 0).transactional());
    log.stop();
    let log = home.open();
    log.put(&idempotent());
    log.end_txn(producer(8, 0), EndTxnKind::Abort);
    log.put_durable(&data("d", 1));
    log.crash();
    let mut crashed = contents(&home.folder());
    home.open().stop();
    let stopped = contents(&home.folder());
    crashed.get_mut(LOG).unwrap().truncate(stopped[LOG].len());
    let ends = ends(&stopped[LOG]);
    assert_eq!(ends.len(), 5);
    Tail { crashed, stopped, ends }
}

fn ends(log: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut end = 0;
    while end < log.len() {
        end += BatchHeader::parse(&log[end..end + HEADER_BYTES]).unwrap().size_bytes();
        ends.push(end);
    }
    ends
}

/// Opens `files`, whose log differs from the whole one from some byte on, and looks at all that
/// must be true. Returns how many bytes were saved aside.
fn check_opening(home: &Home, tail: &Tail, files: &Contents, what: &str) -> usize {
    let whole = &tail.stopped[LOG];
    let log_bytes = &files[LOG];
    let is_whole = |end: &&usize| log_bytes.len() >= **end && log_bytes[..**end] == whole[..**end];
    let batches = tail.ends.iter().take_while(is_whole).count();
    let rest = &log_bytes[batches.checked_sub(1).map_or(0, |last| tail.ends[last])..];
    let expected = [&["a.0", "a.1"][..], &["b.0"], &["c.0", "c.1"], &[], &["d.0"]];
    let expected: Vec<&str> = expected[..batches].concat();

    home.restore(files);
    let log = home.open();
    assert_eq!(log.values(), expected, "{what}");
    let end = [0, 2, 3, 5, 6, 7][batches];
    let last_stable = if (2..4).contains(&batches) { 2 } else { end };
    assert_eq!(log.offsets().log_end, offset(end), "{what}");
    assert_eq!(log.offsets().last_stable, offset(last_stable), "{what}");
    let committed: Vec<&str> = match batches {
        0..=3 => expected.iter().copied().take(2).collect(),
        _ => expected.iter().copied().filter(|value| *value != "b.0").collect(),
    };
    assert_eq!(log.committed(), committed, "{what}");

    let saved: usize = log
        .report
        .cuts
        .iter()
        .map(|cut| {
            let saved = std::fs::read(&cut.saved_to).unwrap();
            assert_eq!(saved, rest, "{what}");
            saved.len()
        })
        .sum();
    let is_lost = rest.iter().any(|byte| *byte != 0);
    assert_eq!(saved, if is_lost { rest.len() } else { 0 }, "{what}");

    if batches > 0 {
        let again = log.put(&idempotent());
        let kind = if batches > 2 { AppendKind::Duplicate } else { AppendKind::Stored };
        assert_eq!(again.kind, kind, "{what}");
    }
    log.put(&data("next", 1));
    let now = log.values();
    log.crash();
    // Opening twice in a thousand ways takes its time; where the log was cut does not matter here.
    if rest.len().is_multiple_of(8) {
        let log = home.open();
        assert_eq!(log.values(), now, "{what}");
        assert_eq!(log.report.cuts, [], "{what}");
        log.crash();
    }
    saved
}

/// Where logs are opened over and over again: lazily synced, which is faster.
fn workshop() -> Home {
    Home::with(LogConfig { flush: LAZY, ..LogConfig::default() })
}

fn without(files: &Contents, lost: impl Fn(&str) -> bool) -> Contents {
    files.iter().filter(|(name, _)| !lost(name)).map(|(n, b)| (n.clone(), b.clone())).collect()
}

fn is_index(name: &str) -> bool {
    ["index", "timeindex", "txnindex"].iter().any(|suffix| name.ends_with(suffix))
}

fn is_derived(name: &str) -> bool {
    !name.ends_with(".log") && name != "partition.json"
}

fn with_log(files: &Contents, log: Vec<u8>) -> Contents {
    let mut files = files.clone();
    files.insert(LOG.to_owned(), log);
    files
}

#[test]
fn a_log_cut_at_each_byte_of_its_last_batches_opens_with_the_whole_ones() {
    let tail = tail();
    let home = workshop();
    let crashed = &tail.crashed;
    for (what, files) in [
        ("as it was", crashed.clone()),
        ("without indexes", without(crashed, is_index)),
        ("without a checkpoint", without(crashed, |name| name == "checkpoint")),
        ("with nothing but the log", without(crashed, is_derived)),
        ("stopped cleanly", tail.stopped.clone()),
    ] {
        for len in tail.ends[1]..=tail.ends[4] {
            let cut = with_log(&files, files[LOG][..len].to_vec());
            check_opening(&home, &tail, &cut, &format!("{what}, cut to {len} bytes"));
        }
    }
}

#[test]
fn zeros_from_any_byte_on_end_the_log_there() {
    let tail = tail();
    let home = workshop();
    for files in [tail.crashed.clone(), without(&tail.crashed, is_derived)] {
        for start in tail.ends[1]..tail.ends[4] {
            for room in [0, 100] {
                let mut log = files[LOG].clone();
                log[start..].fill(0);
                log.resize(log.len() + room, 0);
                let what = format!("zeros from {start} on, {room} more");
                check_opening(&home, &tail, &with_log(&files, log), &what);
            }
        }
    }
}

#[test]
fn garbage_from_any_byte_on_is_kept_aside() {
    let tail = tail();
    let home = workshop();
    for files in [tail.crashed.clone(), without(&tail.crashed, is_derived)] {
        for start in tail.ends[1]..tail.ends[4] {
            let mut log = files[LOG].clone();
            for (n, byte) in log[start..].iter_mut().enumerate() {
                *byte = !*byte ^ (n % 7) as u8;
            }
            let what = format!("garbage from {start} on");
            let saved = check_opening(&home, &tail, &with_log(&files, log), &what);
            assert!(saved >= tail.ends[4] - start, "{what}");
        }
    }
}

#[test]
fn each_flipped_bit_above_the_recovery_point_is_noticed() {
    let tail = tail();
    let home = workshop();
    for position in tail.ends[1]..tail.ends[4] {
        let mut log = tail.crashed[LOG].clone();
        log[position] ^= 1 << (position % 8);
        // Where a batch lies and who placed it are outside its checksum; a wrong offset shows as
        // a gap, and a wrong leader epoch cannot be told.
        let batch = tail.ends.iter().rev().find(|end| **end <= position).unwrap();
        if (12..16).contains(&(position - batch)) {
            continue;
        }
        let what = format!("bit flipped at {position}");
        check_opening(&home, &tail, &with_log(&tail.crashed, log), &what);
    }
}

#[test]
fn what_is_cut_off_twice_at_one_place_is_kept_twice() {
    let tail = tail();
    let home = workshop();
    home.restore(&tail.crashed);
    for garbage in [&b"first"[..], b"second"] {
        let mut log = home.bytes_of(LOG);
        log.truncate(tail.ends[4]);
        log.extend_from_slice(garbage);
        home.put(LOG, &log);
        let opened = home.open();
        assert_eq!(opened.report.cuts.len(), 1);
        opened.crash();
    }
    let saved = home.bytes_of(&format!("00000000000000000000.cut-{}", tail.ends[4]));
    assert_eq!(String::from_utf8(saved).unwrap(), "firstsecond");
}

#[test]
fn what_the_checkpoint_says_was_synced_is_missed_when_it_is_gone() {
    let tail = tail();
    let home = workshop();
    // At a batch's end, so that nothing else tells.
    home.restore(&with_log(&tail.stopped, tail.stopped[LOG][..tail.ends[3]].to_vec()));
    let log = home.open();
    assert_eq!(log.report.found_as, FoundAs::Crashed);
    assert_eq!(log.report.damages.len(), 1, "{:?}", log.report);
    log.stop();
    let log = home.open();
    assert_eq!((log.report.found_as, &log.report.damages[..]), (FoundAs::Clean, &[][..]));
    log.stop();
}

/// A log of many segments with everything in it that is indexed or remembered.
fn rich(home: &Home) -> Opened {
    let log = home.open();
    for n in 0..8 {
        let name = |part| format!("{part}{n}");
        let stamp = NOW + [5, 3, 9, 1, 7, 2, 8, 4][n as usize] * 1000;
        log.put(&data(name("i"), 2).padded(100).by(producer(7, 0), n * 2).stamped(&[stamp; 2]));
        let txn = producer(10 + i64::from(n), 0);
        log.put(&data(name("t"), 1).padded(200).by(txn, 0).transactional());
        log.put(&data(name("p"), 2).padded(100).stamped(&[stamp + 500, stamp - 500]));
        if n % 3 != 2 {
            let kind = if n % 3 == 0 { EndTxnKind::Abort } else { EndTxnKind::Commit };
            log.end_txn(txn, kind);
        }
        log.flush().unwrap();
        if n == 5 {
            log.tick();
        }
    }
    // Ends the open ones, so that nothing stays unstable.
    log.end_txn(producer(12, 0), EndTxnKind::Abort);
    log.end_txn(producer(15, 0), EndTxnKind::Commit);
    log.put_durable(&data("last", 1));
    assert!(log.describe().segments > 6);
    log
}

/// All that users can ask of a log.
#[derive(PartialEq, Debug)]
struct View {
    all: Vec<Seen>,
    in_pieces: Vec<Seen>,
    committed: Vec<Seen>,
    by_time: Vec<Option<i64>>,
    newest: Option<i64>,
    repeated: AppendKind,
}

fn view(log: &Opened) -> View {
    let by_time = |stamp: i64| {
        log.offset_for_timestamp(at(NOW + stamp)).unwrap().map(|found| found.offset.get())
    };
    View {
        all: log.see(usize::MAX, Isolation::HighWatermark),
        in_pieces: log.see(300, Isolation::HighWatermark),
        committed: log.see(700, Isolation::LastStable),
        by_time: (0..20).map(|n| by_time(n * 500)).collect(),
        newest: log.max_timestamp().unwrap().map(|found| found.offset.get()),
        repeated: log.put(&data("i7", 2).padded(100).by(producer(7, 0), 14)).kind,
    }
}

#[test]
fn a_clean_stop_scans_nothing() {
    let home = Home::small();
    rich(&home).stop();
    let log = home.open();
    assert_eq!(log.report.found_as, FoundAs::Clean);
    assert_eq!((log.report.scanned_bytes, log.report.damages.len()), (0, 0));
    log.stop();
}

#[test]
fn no_derived_file_can_be_lost_or_damaged_so_that_anyone_notices() {
    let home = Home::small();
    let log = rich(&home);
    let expected = view(&log);
    log.crash();
    let crashed = contents(&home.folder());
    home.open().stop();
    let stopped = contents(&home.folder());
    let mut tried = 0;
    for files in [stopped, crashed] {
        for (name, bytes) in some_of_each_kind(&files) {
            for (what, damaged) in damages(bytes) {
                let mut files = without(&files, |other| other == name);
                files.extend(damaged.map(|bytes| (name.clone(), bytes)));
                home.restore(&files);
                let log = home.open();
                assert_eq!(view(&log), expected, "{name} {what}");
                log.crash();
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

/// The first and the last derived file of each suffix.
fn some_of_each_kind(files: &Contents) -> Vec<(&String, &Vec<u8>)> {
    let suffix = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in files.iter().filter(|(name, _)| is_derived(name)) {
        kinds.entry(suffix(file.0)).or_default().push(file);
    }
    let ends = |kind: Vec<_>| [kind.first().copied(), kind.last().copied()];
    kinds.into_values().flat_map(ends).flatten().collect()
}

/// Ways to damage a file; `None` for a file that is gone.
fn damages(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut damages = vec![
        ("removed".to_owned(), None),
        ("emptied".to_owned(), Some(Vec::new())),
        ("replaced".to_owned(), Some(vec![0xa5; 2000])),
        ("extended".to_owned(), Some([bytes, b"more"].concat())),
        ("zeroed".to_owned(), Some(vec![0; bytes.len()])),
    ];
    for len in [1, 8, 12, 34].into_iter().filter(|len| *len < bytes.len()) {
        damages
            .push((format!("without its last {len}"), Some(bytes[..bytes.len() - len].to_vec())));
    }
    for position in (0..bytes.len()).step_by(1 + bytes.len() / 8) {
        let mut flipped = bytes.to_vec();
        flipped[position] ^= 1 << (position % 8);
        damages.push((format!("flipped at {position}"), Some(flipped)));
    }
    damages
}

#[test]
fn all_derived_files_can_be_lost_at_once() {
    let home = Home::small();
    let log = rich(&home);
    let expected = view(&log);
    log.stop();
    home.restore(&without(&contents(&home.folder()), is_derived));
    let log = home.open();
    assert_eq!(view(&log), expected);
    log.stop();
}

#[test]
fn what_a_lost_tail_left_in_a_snapshot_is_forgotten() {
    let home = Home::new();
    let log = home.open();
    for n in 0..6 {
        log.put(&data(format!("lost{n}"), 1).by(producer(7, 0), n));
    }
    log.stop();
    let bytes = home.bytes_of(LOG);
    let ends = ends(&bytes);
    home.put(LOG, &bytes[..ends[2]]);
    let log = home.open();
    for n in 0..8 {
        log.put_durable(&data(format!("other{n}"), 1));
    }
    home.clock.advance(2000);
    log.tick();
    log.put_durable(&data("more", 1));
    log.crash();
    let log = home.open();
    let again = log.put(&data("again", 1).by(producer(7, 0), 3));
    assert_eq!((again.kind, again.base_offset), (AppendKind::Stored, offset(12)));
    log.stop();
}

/// A log of several segments, of which none has been looked at since a crash.
fn segments_after_a_crash() -> Home {
    let home = Home::small();
    let log = home.open();
    for n in 0..9 {
        log.put_durable(&data(format!("n{n}"), 2).padded(150));
    }
    assert!(log.describe().segments >= 4);
    log.crash();
    home
}

#[test]
fn a_segment_behind_a_cut_is_kept_aside_whole() {
    let home = segments_after_a_crash();
    home.remove("checkpoint");
    let logs = home.names_with(".log");
    let mut second = home.bytes_of(&logs[1]);
    second[40] ^= 1;
    home.put(&logs[1], &second);
    let third = home.bytes_of(&logs[2]);
    let fourth = home.bytes_of(&logs[3]);
    home.put(&logs[3].replace(".log", ".cut-0"), b"of another day");
    let log = home.open();
    let values = log.values();
    assert!(!values.is_empty() && values.len() < 18);
    assert_eq!(log.report.cuts.len(), 1 + logs.len() - 2, "{:?}", log.report.cuts);
    assert_eq!(home.bytes_of(&logs[2].replace(".log", ".cut-0")), third);
    let saved = home.bytes_of(&logs[3].replace(".log", ".cut-0"));
    assert_eq!(saved, [b"of another day", &fourth[..]].concat());
    assert_eq!(home.names_with(".log"), logs[..2]);
    log.put_durable(&data("next", 1));
    log.crash();
    assert_eq!(home.open().values(), [&values[..], &["next.0".to_owned()]].concat());
}

#[test]
fn an_empty_segment_behind_a_cut_is_no_loss() {
    let home = segments_after_a_crash();
    home.remove("checkpoint");
    let last = home.last_log();
    let bytes = home.bytes_of(&last);
    home.put(&last, &bytes[..bytes.len().min(400)]);
    let next: i64 = last[..20].parse::<i64>().unwrap() + 2;
    home.put(&format!("{next:020}.log"), b"");
    let log = home.open();
    assert!(log.report.cuts.iter().all(|cut| cut.file.ends_with(&last)), "{:?}", log.report.cuts);
    log.stop();
}

#[test]
fn damage_in_a_sealed_segment_costs_no_other_segment_even_without_a_checkpoint() {
    let home = segments_after_a_crash();
    let log = home.open();
    log.tick();
    let values = log.values();
    log.crash();
    let logs = home.names_with(".log");
    let mut second = home.bytes_of(&logs[1]);
    second.truncate(second.len() - 1);
    second[40] ^= 1;
    home.put(&logs[1], &second);
    for lost in ["checkpoint", "00000000000000000000.seal"] {
        home.remove(lost);
        let log = home.open();
        assert_eq!(home.names_with(".log"), logs);
        assert!(!log.report.damages.is_empty());
        let third: i64 = logs[2][..20].parse().unwrap();
        let behind = read_through(&log, offset(third), usize::MAX, Isolation::HighWatermark);
        assert_eq!(common::values(&behind), values[usize::try_from(third).unwrap()..]);
        log.crash();
    }
}

/// A log with one damaged header in the middle, below its recovery point.
fn damaged_in_the_middle(home: &Home) -> i64 {
    let log = home.open();
    for n in 0..20 {
        log.put(&data(format!("n{n}"), 3));
    }
    log.stop();
    let mut bytes = home.bytes_of(LOG);
    let ninth = ends(&bytes)[8];
    // Its length.
    bytes[ninth + 9] ^= 0x40;
    home.put(LOG, &bytes);
    9 * 3
}

fn check_both_sides(log: &Opened, damaged: i64) {
    let before = log.read(offset(damaged - 4), 1, Isolation::HighWatermark).unwrap();
    assert!(!before.batches.is_empty());
    let ReadError::Damaged { damage, resume_at } =
        log.read(offset(damaged), 1, Isolation::HighWatermark).unwrap_err()
    else {
        panic!("the damage is reported");
    };
    assert!(damage.file.ends_with(LOG));
    let resume_at = resume_at.expect("there is more behind it");
    assert_eq!(resume_at, offset(damaged + 3));
    let behind = read_through(log, resume_at, 500, Isolation::HighWatermark);
    assert_eq!(behind.first().map(|seen| seen.value.as_str()), Some("n10.0"));
    assert_eq!(behind.len(), 30);
}

#[test]
fn the_sound_parts_on_both_sides_of_damage_are_served() {
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let home = Home::with(config);
    let damaged = damaged_in_the_middle(&home);
    let log = home.open();
    check_both_sides(&log, damaged);
    log.put_durable(&data("more", 1));
    log.crash();
    // After a crash, and without the snapshot, so that what is below has to be looked at.
    for name in home.names_with(".snapshot") {
        home.remove(&name);
    }
    let log = home.open();
    assert!(!log.report.damages.is_empty());
    assert_eq!(log.report.cuts, []);
    let seen = log.see_from(offset(damaged + 3));
    assert_eq!(values(&seen).last().map(String::as_str), Some("more.0"));
    log.stop();
}

#[test]
fn deleted_records_that_power_loss_took_are_still_deleted() {
    let home = Home::with(LogConfig { flush: LAZY, ..LogConfig::default() });
    let log = home.open();
    for n in 0..5 {
        log.put(&data(format!("n{n}"), 1).by(producer(7, 0), n));
    }
    log.delete_records_before(offset(5)).unwrap();
    log.crash();
    home.put(LOG, b"");
    for ending in 0..2 {
        let log = home.open();
        let offsets = log.offsets();
        assert_eq!((offsets.log_start, offsets.log_end), (offset(5), offset(5)), "{ending}");
        log.crash();
    }
    let log = home.open();
    assert_eq!(log.put_durable(&data("next", 1)).base_offset, offset(5));
    assert_eq!(log.values(), ["next.0"]);
    log.stop();
    let log = home.open();
    assert_eq!(log.values(), ["next.0"]);
    log.stop();
}

#[test]
fn an_interrupted_deletion_is_finished() {
    let home = segments_after_a_crash();
    let log = home.open();
    log.tick();
    let before = contents(&home.folder());
    log.delete_records_before(offset(10)).unwrap();
    let left = log.values();
    log.stop();
    // Power loss brings some of the removed files back.
    for (name, bytes) in before.iter().filter(|(name, _)| name.starts_with("000000000000000000")) {
        if !home.names().contains(name) && !name.starts_with("00000000000000000002") {
            home.put(name, bytes);
        }
    }
    let log = home.open();
    assert_eq!(log.offsets().log_start, offset(10));
    assert_eq!(log.values(), left);
    assert!(!home.names().contains(&LOG.to_owned()));
    log.stop();
}

#[test]
fn files_written_aside_and_never_renamed_are_swept() {
    let home = Home::new();
    home.open().stop();
    for name in ["checkpoint.tmp", "log-start.tmp", "00000000000000000000.seal.tmp"] {
        home.put(name, b"half");
    }
    home.open().stop();
    assert_eq!(home.names_with(".tmp"), [""; 0]);
}

/// A person who has removed a log file by mistake is told, once, and what is left is served.
#[test]
fn a_log_that_has_lost_its_first_segment_says_so_once() {
    let home = segments_after_a_crash();
    home.open().stop();
    home.remove(LOG);
    let log = home.open();
    let first = log.offsets().log_start;
    assert!(first > offset(0));
    let [damage] = &log.report.damages[..] else { panic!("{:?}", log.report) };
    assert!(damage.file.ends_with(LOG) && damage.detail.contains("no file holds offsets 0"));
    log.stop();
    let log = home.open();
    assert_eq!((log.offsets().log_start, log.report.damages.len()), (first, 0));
    log.stop();
}

/// Offsets that readers have committed are not given out again for other records.
#[test]
fn a_log_that_has_lost_every_segment_goes_on_behind_them() {
    let home = segments_after_a_crash();
    let log = home.open();
    let end = log.offsets().log_end;
    log.stop();
    for name in home.names_with(".log") {
        home.remove(&name);
    }
    let log = home.open();
    assert_eq!((log.offsets().log_start, log.offsets().log_end), (end, end));
    assert_eq!(log.report.damages.len(), 1, "{:?}", log.report);
    log.put(&data("after", 1));
    log.crash();
    let log = home.open();
    assert_eq!(log.values(), ["after.0"]);
    log.stop();
}
