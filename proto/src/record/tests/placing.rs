//! Goal: what the log stores is a sound batch at its place, and what the producer sent otherwise.

use super::*;

/// The stored batch: placed header, then the body.
fn stored(batch: &CheckedBatch, append_time: Option<TimestampMs>) -> RecordBatch {
    let placed =
        batch.place(Offset::new(1_000).unwrap(), LeaderEpoch::new(7).unwrap(), append_time);
    let bytes = [&placed.bytes()[..], batch.body()].concat();
    let stored = RecordBatch::parse(bytes.into()).expect("a placed batch has the right CRC");
    assert_eq!(stored.header(), placed.header());
    assert_eq!(stored.header().base_offset().get(), 1_000);
    assert_eq!(stored.header().leader_epoch(), LeaderEpoch::new(7));
    stored
}

fn three_records() -> CheckedBatch {
    let records = [(0, Some("a"), Some("1")), (9, None, Some("2")), (9, Some("c"), None)];
    check(batch_of(BatchOptions::default(), &records)).unwrap()
}

#[test]
fn only_base_offset_and_leader_epoch_change() {
    let sent = three_records();
    let stored = stored(&sent, None);
    assert_eq!(stored.bytes()[8..12], sent.bytes()[8..12]);
    assert_eq!(stored.bytes()[16..], sent.bytes()[16..]);
    assert_eq!(stored.header().next_offset().get(), 1_003);
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let stored = stored(&three_records(), Some(ms(T0 + 5_000)));
    assert_eq!(stored.header().timestamp_type(), TimestampType::LogAppendTime);
    for record in stored.records(0).unwrap() {
        assert_eq!(stored.header().timestamp_of(&record.unwrap()), ms(T0 + 5_000));
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let sent = three_records();
    for wrong in [-1, 0, i64::MAX] {
        let header = BatchHeader { max_timestamp: wrong, ..*sent.header() };
        let batch = check(sealed(header, sent.body())).unwrap();
        assert_eq!(batch.max_timestamp(), ms(T0 + 9));
        assert_eq!(batch.offset_delta_of_max_timestamp(), 1, "the first of those with it");
        assert_eq!(stored(&batch, None).header().max_timestamp(), ms(T0 + 9));
    }
}

#[test]
fn records_know_their_offset_and_time() {
    let stored = stored(&three_records(), None);
    let header = stored.header();
    let places: Vec<_> = stored
        .records(0)
        .unwrap()
        .map(Result::unwrap)
        .map(|record| (header.offset_of(&record).get(), header.timestamp_of(&record).get() - T0))
        .collect();
    assert_eq!(places, [(1_000, 0), (1_001, 9), (1_002, 9)]);
}

#[test]
fn at_the_end_of_all_offsets_they_saturate() {
    let placed = three_records().place(Offset::MAX, LeaderEpoch::ZERO, None);
    assert_eq!(placed.header().last_offset(), Offset::MAX);
    assert_eq!(placed.header().next_offset(), Offset::MAX);
}
