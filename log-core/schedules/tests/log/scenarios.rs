//! What happens at the same time. Each of these runs once for each schedule.

use std::sync::Arc;

use shuttle::thread;

use crate::common::LAZY;
use crate::common::power::{Honesty, TroubleKind};
use crate::log_core::{AppendError, Committer, FlushPolicy, Isolation, Offset, ReadError};
use crate::stage::{Records, Stage, batch, random};

const EVERY_APPEND: FlushPolicy = FlushPolicy::EveryAppend;
const WRITERS: usize = 2;
const BATCHES_EACH: usize = 3;
/// Batches have one record and two in turn.
const RECORDS: usize = WRITERS * 4;

/// Starts a thread that works on a stage.
fn start<T: Send + 'static>(
    stage: &Arc<Stage>,
    work: impl FnOnce(&Stage) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let stage = Arc::clone(stage);
    thread::spawn(move || work(&stage))
}

fn in_use(flush: FlushPolicy, honesty: Honesty) {
    let committer = Committer::start(2);
    let stage = Stage::new(flush, &committer);
    stage.disk.be(honesty);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| start(&stage, move |stage| stage.write(writer, BATCHES_EACH)))
        .collect();
    let reader = start(&stage, |stage| stage.follow(RECORDS));
    let keeper = start(&stage, |stage| stage.log.tick());
    let loss = start(&stage, |stage| {
        let when = random() % RECORDS as u64;
        stage.moves.wait(|now| now.log_end.get().unsigned_abs() > when);
        stage.lose_power()
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    keeper.join().unwrap();
    let (seen, loss) = (reader.join().unwrap(), loss.join().unwrap());
    let written = stage.records();
    assert!(written.keys().copied().eq(0..RECORDS as i64), "offsets are dense: {written:?}");
    assert_eq!(seen, written, "a reader that followed saw something else");
    assert_eq!(stage.acknowledged(), written);
    assert!(stage.log.describe().segments > 1, "nothing was rolled");
    stage.log.close().unwrap();
    committer.stop();
    loss.assert_harmless(&written);
}

pub(crate) fn a_log_in_use() {
    in_use(EVERY_APPEND, Honesty::Honest);
}

pub(crate) fn a_lazy_log_in_use() {
    in_use(LAZY, Honesty::Honest);
}

pub(crate) fn a_lying_disk() {
    in_use(EVERY_APPEND, Honesty::LiesAboutFiles);
}

pub(crate) fn two_logs_and_one_committing_thread() {
    let committer = Committer::start(1);
    let stages = [EVERY_APPEND, LAZY].map(|flush| Stage::new(flush, &committer));
    let mut threads = Vec::new();
    for stage in &stages {
        for writer in 0..WRITERS {
            threads.push(start(stage, move |stage| stage.write(writer, 2)));
        }
        // Whoever syncs by himself is one more who moves the durable offset.
        threads.push(start(stage, |stage| {
            stage.log.flush().unwrap();
        }));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for stage in &stages {
        assert_eq!(stage.acknowledged(), stage.records());
        stage.log.close().unwrap();
    }
    committer.stop();
}

pub(crate) fn a_sync_fails() {
    let committer = Committer::start(2);
    let stage = Stage::new(EVERY_APPEND, &committer);
    // Something within what follows, or nothing if that is short.
    stage.disk.trouble_after(random() % 40, 3, TroubleKind::Broken);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            start(&stage, move |stage| {
                let mut appended = Records::new();
                for number in 0..2 {
                    let Ok((records, end)) = stage.append(&batch(writer, number)) else { break };
                    appended.extend(records.clone());
                    // Who is refused after an append knows that it may be there all the same.
                    if stage.acknowledge(records, end).is_none() {
                        break;
                    }
                }
                appended
            })
        })
        .collect();
    let written: Records = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    stage.disk.heal();
    let loss = stage.lose_power();
    let _ = stage.log.close();
    committer.stop();
    loss.assert_harmless(&written);
}

pub(crate) fn a_close_among_appends() {
    let committer = Committer::start(1);
    let stage = Stage::new(EVERY_APPEND, &committer);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            start(&stage, move |stage| {
                for number in 0..BATCHES_EACH {
                    match stage.append(&batch(writer, number)) {
                        // What was taken before the close is synced by it.
                        Ok((records, end)) => stage.acknowledge(records, end).unwrap(),
                        Err(AppendError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let reader = start(&stage, |stage| stage.moves.wait(|now| now.stopped));
    start(&stage, |stage| stage.log.close().unwrap()).join().unwrap();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    reader.join().unwrap();
    let acknowledged = stage.acknowledged();
    let loss = stage.lose_power();
    committer.stop();
    loss.assert_harmless(&acknowledged);
}

pub(crate) fn a_deletion_among_reads() {
    let committer = Committer::start(1);
    let stage = Stage::new(EVERY_APPEND, &committer);
    stage.write(0, 4);
    let end = stage.log.offsets().high_watermark;
    let before = stage.records();
    let writer = start(&stage, |stage| stage.write(1, 2));
    let deleter = start(&stage, move |stage| stage.log.delete_records_before(end).unwrap());
    let reader = start(&stage, move |stage| {
        let mut next = Offset::ZERO;
        while next < end {
            match stage.log.read(next, 1, Isolation::HighWatermark) {
                Ok(fetched) => {
                    let (found, behind) =
                        crate::common::take(&fetched, next, Isolation::HighWatermark);
                    for seen in found {
                        assert_eq!(before.get(&seen.offset), Some(&seen.value));
                    }
                    next = behind;
                }
                Err(ReadError::OutOfRange { log_start, .. }) => {
                    assert!(next < log_start, "{next} is not below {log_start}");
                    next = log_start;
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    writer.join().unwrap();
    assert_eq!(deleter.join().unwrap(), end);
    reader.join().unwrap();
    stage.log.tick();
    let left = stage.records();
    assert_eq!(left.keys().next().copied(), Some(end.get()));
    stage.log.close().unwrap();
    let loss = stage.lose_power();
    committer.stop();
    loss.assert_harmless(&stage.acknowledged());
}

/// A roll and the deletion of all before it: readers meet them at every step.
pub(crate) fn a_deletion_among_single_reads() {
    let committer = Committer::start(1);
    let stage = Stage::new(EVERY_APPEND, &committer);
    stage.write(0, 2);
    let readers: Vec<_> = (0..3)
        .map(|offset| {
            let from = Offset::new(offset).unwrap();
            start(&stage, move |stage| match stage.log.read(from, 1, Isolation::HighWatermark) {
                Ok(fetched) => assert!(!fetched.batches.is_empty(), "nothing at {from}"),
                Err(ReadError::OutOfRange { log_start, .. }) => assert!(from < log_start),
                Err(error) => panic!("{error}"),
            })
        })
        .collect();
    stage.write(1, 1);
    assert_eq!(stage.log.describe().segments, 2, "nothing was rolled");
    let end = stage.log.offsets().high_watermark;
    assert_eq!(stage.log.delete_records_before(end).unwrap(), end);
    assert_eq!(stage.log.describe().segments, 1, "nothing was deleted");
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    stage.log.close().unwrap();
    committer.stop();
}

pub(crate) fn a_reader_that_looks_before_it_waits() {
    let committer = Committer::start(1);
    let stage = Stage::new(EVERY_APPEND, &committer);
    let reader = start(&stage, |stage| {
        stage.moves.wait(|now| now.log_end > Offset::ZERO);
        if stage.moves.now.lock().unwrap().high_watermark == Offset::ZERO {
            let now = stage.moves.now.lock().unwrap();
            drop(stage.moves.moved.wait(now).unwrap());
        }
    });
    stage.write(0, 1);
    reader.join().unwrap();
    committer.stop();
}
