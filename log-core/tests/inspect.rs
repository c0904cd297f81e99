//! What a person finds out about the files of a log that nobody has open.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use common::{Home, NOW, data, producer};
use log_core::inspect::{self, InspectError, VerifyReport};
use log_core::record::EndTxnKind;

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
    assert_eq!(read, report.bytes);
    report
}

#[test]
fn a_sound_log_is_found_sound_whether_it_was_closed_or_not() {
    let home = segments();
    let report = verify(&home);
    assert_eq!((report.damages.len(), report.batches, report.records), (0, 10, 19));
    let stats = inspect::segments(&home.folder()).unwrap();
    assert_eq!(stats.len(), report.segments);
    assert_eq!(stats.iter().map(|stat| stat.records).sum::<u64>(), 19);
    assert!(stats.iter().all(|stat| stat.sound_bytes == stat.log_bytes));
    assert!(stats.iter().rev().skip(1).all(|stat| stat.sealed));

    let log = home.open();
    log.put_durable(&data("more", 1));
    log.crash();
    assert_eq!(verify(&home).damages, []);
    let last = home.folder().join(home.last_log());
    assert!(inspect::batches(&last).unwrap().all(|batch| batch.is_ok()));
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
            assert!(!verify(&home).damages.is_empty(), "{name}, byte {position}");
        }
        home.put(name, bytes);
    }
    assert_eq!(verify(&home).damages, []);
}

#[test]
fn what_is_missing_is_found() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let logs = home.names_with(".log");
    home.remove(&logs[1]);
    assert_eq!(verify(&home).damages.len(), 1, "a segment");
    home.restore(&whole);
    home.put(&logs[1], &whole[&logs[1]][..100]);
    assert!(!verify(&home).damages.is_empty(), "the end of a segment");
    home.restore(&whole);
    assert_eq!(verify(&home).damages, []);
}

#[test]
fn what_was_synced_and_is_in_no_log_file_is_found() {
    let home = segments();
    let whole = common::contents(&home.folder());
    let (first, last) = (&home.names_with(".log")[0], &home.last_log());
    home.put(last, b"");
    let damages = verify(&home).damages;
    assert!(matches!(&damages[..], [damage, ..] if damage.file.ends_with(last)), "{damages:?}");
    home.restore(&whole);
    home.names_with(".log").iter().for_each(|log| home.remove(log));
    let damages = verify(&home).damages;
    assert!(matches!(&damages[..], [damage] if damage.file.ends_with(first)), "{damages:?}");
    home.restore(&whole);
    home.put("log-start", &whole[first]);
    let damages = verify(&home).damages;
    assert!(matches!(&damages[..], [damage] if damage.file.ends_with("log-start")), "{damages:?}");
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
