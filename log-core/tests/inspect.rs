//! What a person finds out about the files of a log that nobody has open.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use std::sync::Arc;

use common::{Home, NOW, data, producer};
use log_core::inspect::{self, FilePiece, InspectError, Lost, VerifyReport};
use log_core::record::EndTxnKind;
use log_core::{Damage, Lacking, LogConfig, Remains};

fn segments() -> Home {
    let home = Home::small();
    let log = home.open();
    for n in 0..9 {
        let batch = data(format!("n{n}"), 2).padded(150).stamped(&[NOW + i64::from(n), NOW]);
        log.put_durable(&batch.by(producer(7, 0), n * 2).transactional());
    }
    log.end_txn(producer(7, 0), EndTxnKind::Abort);
    log.flush().unwrap();
    log.tick();
    log.stop();
    home
}

fn verify(home: &Home) -> VerifyReport {
    let mut read = 0;
    let report = inspect::verify(&home.folder(), &mut |bytes| read = bytes).unwrap();
    assert!(read >= report.bytes, "of {} bytes {read} were passed", report.bytes);
    report
}

fn found_in(home: &Home) -> Vec<Damage> {
    verify(home).findings.iter().map(|found| found.damage().clone()).collect()
}

#[test]
fn a_sound_log_is_found_sound_whether_it_was_closed_or_not() {
    let home = segments();
    let report = verify(&home);
    assert_eq!((report.findings.len(), report.batches, report.records), (0, 10, 19));
    let stats = inspect::segments(&home.folder()).unwrap();
    assert_eq!(stats.len(), report.segments);
    assert_eq!(stats.iter().map(|stat| stat.records).sum::<u64>(), 19);
    assert!(stats.iter().all(|stat| stat.sound_bytes == stat.log_bytes));
    assert!(stats.iter().rev().skip(1).all(|stat| stat.sealed));

    let log = home.open();
    log.put_durable(&data("more", 1));
    log.crash();
    assert_eq!(found_in(&home), []);
    let last = home.folder().join(home.last_log());
    assert!(pieces(&last).1.is_empty(), "and it is no damage");
    let stat = inspect::segments(&last).unwrap().remove(0);
    assert!(stat.sound_bytes < stat.log_bytes, "there is room behind the last batch");
}

#[test]
fn each_damaged_byte_of_a_closed_log_is_found() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let files = whole.iter().filter(|(name, _)| {
        [".log", ".index", ".timeindex", ".txnindex", ".seal"].iter().any(|end| name.ends_with(end))
    });
    for (name, bytes) in files {
        let is_sealed = whole.contains_key(&format!("{}.seal", &name[..20]));
        // Without a seal, an index is only as good as it looks, and the place of a batch is
        // outside its checksum.
        for position in (0..bytes.len()).step_by(7).filter(|_| is_sealed) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            home.put(name, &damaged);
            assert!(!found_in(&home).is_empty(), "{name}, byte {position}");
        }
        home.put(name, bytes);
    }
    assert_eq!(found_in(&home), []);
}

#[test]
fn what_is_missing_is_found() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let logs = home.names_with(".log");
    home.remove(&logs[1]);
    assert_eq!(found_in(&home).len(), 1, "a segment");
    home.restore(&whole);
    home.put(&logs[1], &whole[&logs[1]][..100]);
    assert!(!found_in(&home).is_empty(), "the end of a segment");
    home.restore(&whole);
    assert_eq!(found_in(&home), []);
}

#[test]
fn what_was_synced_and_is_in_no_log_file_is_found() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let last = &home.last_log();
    home.put(last, b"");
    let damages = found_in(&home);
    assert!(matches!(&damages[..], [damage, ..] if damage.file.ends_with(last)), "{damages:?}");
    home.restore(&whole);
    home.names_with(".log").iter().for_each(|log| home.remove(log));
    let damages = found_in(&home);
    assert!(matches!(&damages[..], [damage] if damage.file.ends_with(last)), "{damages:?}");
    home.restore(&whole);
    home.put("log-start", &whole[last]);
    let damages = found_in(&home);
    assert!(matches!(&damages[..], [damage] if damage.file.ends_with("log-start")), "{damages:?}");
}

fn look(home: &Home) -> Remains {
    let before = common::contents(&home.folder());
    let remains = Remains::of(&home.folder(), Arc::clone(&home.storage)).unwrap();
    assert_eq!(common::contents(&home.folder()), before, "a look changes nothing");
    remains
}

#[test]
fn a_look_misses_each_synced_byte_at_the_end_and_none_behind() {
    let home = segments();
    let (whole, last) = (common::contents(&home.folder()), home.last_log());
    for stopped in [true, false] {
        for bytes in 0..whole[&last].len() {
            home.put(&last, &whole[&last][..bytes]);
            let Remains::Lacking(Lacking { damage, below }) = look(&home) else {
                panic!("{bytes} bytes are not all")
            };
            assert!(damage.file.ends_with(&last) && damage.position == bytes as u64, "{damage}");
            assert_eq!(below.get(), 19);
        }
        home.put(&last, &whole[&last]);
        assert_eq!(look(&home), Remains::Whole);
        home.put(&last, &[&whole[&last][..], &[0; 100]].concat());
        assert_eq!(look(&home), Remains::Whole, "stopped: {stopped}");
        home.put(&last, &whole[&last]);
        if stopped {
            home.open().crash();
        }
    }
}

#[test]
fn a_look_names_whichever_file_is_gone_or_cut() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let logs = home.names_with(".log");
    assert!(logs.len() > 3);
    for (place, log) in logs.iter().enumerate() {
        for bytes in [None, Some(0), Some(100), Some(whole[log].len() - 1)] {
            match bytes {
                None => home.remove(log),
                Some(bytes) => home.put(log, &whole[log][..bytes]),
            }
            let Remains::Lacking(Lacking { damage, below }) = look(&home) else {
                panic!("{log} has only {bytes:?} bytes")
            };
            assert!(damage.file.ends_with(log), "{log}: {damage}");
            assert_eq!(damage.position, bytes.unwrap_or(0) as u64, "{damage}");
            let next = logs.get(place + 1).map_or("19", |next| &next[..20]);
            assert_eq!(below.get(), next.parse::<i64>().unwrap(), "{damage}");
            home.put(log, &whole[log]);
        }
    }
    assert_eq!(look(&home), Remains::Whole);
}

#[test]
fn a_look_tells_a_log_that_was_never_made_from_one_that_is_gone() {
    let home = segments();
    let logs = home.names_with(".log");
    home.remove(&logs[0]);
    let Remains::Lacking(start) = look(&home) else { panic!("its start is gone") };
    assert!(start.damage.file.ends_with(&logs[0]) && logs[1].contains(&start.below.to_string()));
    logs[1..].iter().for_each(|log| home.remove(log));
    let Remains::Lacking(all) = look(&home) else { panic!("all of it is gone") };
    assert!(all.damage.file.ends_with(logs.last().unwrap()) && all.below.get() == 19);
    let rest = home.names().into_iter().filter(|name| name != "partition.json");
    rest.for_each(|name| home.remove(&name));
    assert_eq!(look(&home), Remains::NoLog { first: home.folder().join(&logs[0]) });
    std::fs::remove_dir_all(home.folder()).unwrap();
    let remains = Remains::of(&home.folder(), Arc::clone(&home.storage)).unwrap();
    assert_eq!(remains, Remains::NoFolder);
}

/// A sealed segment of nine batches of two records each, and the last one.
fn sealed_segment() -> (Home, String) {
    let home = Home::with(LogConfig { segment_bytes: 4000, ..common::small_segments() });
    let log = home.open();
    for n in 0..12 {
        log.put_durable(&data(format!("n{n}"), 2).padded(150));
    }
    log.flush().unwrap();
    log.tick();
    log.stop();
    let first = home.names_with(".log").remove(0);
    assert!(home.names().contains(&first.replace(".log", ".seal")));
    (home, first)
}

/// Where sound batches start, with their first offsets; and what is lost.
fn pieces(file: &std::path::Path) -> (Vec<(u64, i64)>, Vec<Lost>) {
    let (mut sound, mut lost) = (Vec::new(), Vec::new());
    for piece in inspect::pieces(file).unwrap() {
        match piece.unwrap() {
            FilePiece::Batch(position, batch) => {
                sound.push((position, batch.header().base_offset().get()));
            }
            FilePiece::Lost(found) => lost.push(found),
        }
    }
    (sound, lost)
}

fn bounds(lost: &Lost) -> (u64, u64, Option<i64>, Option<i64>) {
    let [first, next] = [lost.first_offset, lost.next_offset].map(|offset| Some(offset?.get()));
    (lost.bytes.start, lost.bytes.end, first, next)
}

#[test]
fn every_damage_is_found_and_what_is_sound_behind_it_is_counted() {
    let (home, first) = sealed_segment();
    let file = home.folder().join(&first);
    let whole = home.bytes_of(&first);
    let (sound, none) = pieces(&file);
    assert!(sound.len() > 7 && none.is_empty(), "{sound:?}");
    let all = verify(&home);
    let mut damaged = whole;
    // A record, a length, and all of a batch.
    damaged[sound[1].0 as usize + 100] ^= 1;
    damaged[sound[3].0 as usize + 8] ^= 1;
    damaged[sound[5].0 as usize..sound[6].0 as usize].fill(0);
    home.put(&first, &damaged);
    let expected = [1, 3, 5].map(|number| {
        let (start, next) = (sound[number], sound[number + 1]);
        (start.0, next.0, Some(start.1), Some(next.1))
    });
    let (left, lost) = pieces(&file);
    assert_eq!(left.len(), sound.len() - 3);
    assert_eq!(lost.iter().map(bounds).collect::<Vec<_>>(), expected);
    let report = verify(&home);
    assert_eq!((report.batches, report.records), (all.batches - 3, all.records - 6));
    let found = report.findings.iter().filter_map(|found| found.lost());
    assert_eq!(found.map(bounds).collect::<Vec<_>>(), expected);
    let said = report.findings[0].to_string();
    assert!(said.contains(&first) && said.contains("offsets 2 to 4"), "{said}");
    let stat = inspect::segments(&file).unwrap().remove(0);
    assert_eq!(stat.batches as usize, sound.len() - 2, "a look at headers misses the record alone");
}

/// Indexes that grew with the log and were written as it did say it in other words than those that
/// are built anew.
#[test]
fn a_seal_vouches_for_the_indexes_that_were_built_anew() {
    let home = Home::with(LogConfig { segment_bytes: 4000, ..common::small_segments() });
    let log = home.open();
    for n in 0..12 {
        log.put_durable(&data(format!("n{n}"), 2).padded(150).stamped(&[NOW + n, NOW + n]));
        home.clock.advance(2000);
        log.tick();
    }
    log.stop();
    let first = home.names_with(".log").remove(0);
    for index in [".index", ".timeindex"] {
        home.remove(&first.replace(".log", index));
    }
    assert_ne!(found_in(&home), []);
    let log = home.open();
    assert_eq!(log.values().len(), 24);
    log.stop();
    assert_eq!(found_in(&home), []);
}

#[test]
fn without_an_index_what_lies_behind_a_broken_length_is_said_to_be_unknown() {
    let (home, first) = sealed_segment();
    let file = home.folder().join(&first);
    let (sound, _) = pieces(&file);
    let len = home.bytes_of(&first).len() as u64;
    let mut damaged = home.bytes_of(&first);
    damaged[sound[3].0 as usize + 8] ^= 1;
    home.put(&first, &damaged);
    home.remove(&first.replace(".log", ".index"));
    let (left, lost) = pieces(&file);
    assert_eq!((left.len(), lost.len()), (3, 1));
    let end = inspect::segments(&file).unwrap()[0].next_offset.get();
    assert_eq!(bounds(&lost[0]), (sound[3].0, len, Some(sound[3].1), Some(end)), "by its seal");
    let said = lost[0].to_string();
    assert!(said.contains("cannot be told from bytes"), "{said}");
    home.names().iter().filter(|name| **name != first).for_each(|name| home.remove(name));
    assert_eq!(bounds(&pieces(&file).1[0]).3, None, "of a file alone nobody knows it");
}

#[test]
fn damage_to_a_file_beside_the_segments_is_found_in_it() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let is_beside = |name: &str| {
        ["partition.json", "checkpoint", "log-start"].contains(&name)
            || name.ends_with(".snapshot")
            || name.ends_with(".window")
    };
    home.put("log-start", &[0; 18]);
    assert!(found_in(&home)[0].file.ends_with("log-start"));
    home.remove("log-start");
    let mut kinds = 0;
    for (name, bytes) in whole.iter().filter(|(name, _)| is_beside(name)) {
        kinds += 1;
        // Any other digit of an id is one, too.
        for position in (0..bytes.len()).step_by(5).filter(|_| name != "partition.json") {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            home.put(name, &damaged);
            let found = found_in(&home);
            assert!(found.iter().any(|found| found.file.ends_with(name)), "{name}: {found:?}");
        }
        for damaged in [&bytes[..bytes.len() - 1], b""] {
            home.put(name, damaged);
            assert!(found_in(&home)[0].file.ends_with(name), "{name}, cut");
        }
        home.put(name, bytes);
    }
    assert!(kinds > 4, "{kinds} of them");
    home.remove("partition.json");
    assert!(found_in(&home)[0].file.ends_with("partition.json"));
    home.put("partition.json", &whole["partition.json"]);
    assert_eq!(found_in(&home), []);
}

/// A log whose start has cut off three batches, of which the first is damaged; and where they are.
fn cut_off() -> (Home, std::path::PathBuf) {
    let home = Home::new();
    home.open().stop();
    let log = home.open();
    for n in 0..3 {
        log.put_durable(&data(format!("n{n}"), 2));
    }
    log.crash();
    let mut bytes = home.bytes_of(&home.last_log());
    bytes[70] ^= 1;
    home.put(&home.last_log(), &bytes);
    let kept = home.open().report.cuts[0].saved_to.clone();
    (home, kept)
}

#[test]
fn what_a_start_has_cut_off_can_be_looked_into() {
    let (home, kept) = cut_off();
    let bytes = std::fs::read(&kept).unwrap();
    let (sound, lost) = pieces(&kept);
    let offsets: Vec<i64> = sound.iter().map(|(_, offset)| *offset).collect();
    assert_eq!((offsets, lost.len()), (vec![2, 4], 1));
    assert_eq!(bounds(&lost[0]), (0, sound[0].0, None, Some(2)));
    let stat = inspect::segments(&kept).unwrap().remove(0);
    assert_eq!((stat.log_bytes, stat.sealed), (bytes.len() as u64, false));
    let report = verify(&home);
    assert_eq!((report.findings, report.kept), (Vec::new(), vec![kept]), "it is no damage");
}

#[test]
fn a_segment_that_was_set_aside_can_be_looked_into() {
    let (home, first) = sealed_segment();
    let (sound, _) = pieces(&home.folder().join(&first));
    let twice = home.bytes_of(&first).repeat(2);
    let kept = first.replace(".log", ".cut-0");
    home.put(&kept, &twice);
    let (found, lost) = pieces(&home.folder().join(&kept));
    assert_eq!((found.len(), lost.len()), (sound.len() * 2, 0), "kept twice, and both are there");
}

#[test]
fn what_is_no_log_is_refused_by_name() {
    let home = Home::new();
    std::fs::create_dir(home.folder()).unwrap();
    home.put("notes.txt", b"mine");
    for path in [home.folder(), home.folder().join("notes.txt")] {
        let refused = inspect::segments(&path).unwrap_err();
        assert!(matches!(&refused, InspectError::NoLog(named) if *named == path), "{refused}");
    }
}
