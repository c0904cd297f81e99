//! Goal: each way in which a batch can be wrong is refused as what it is, with the kind of error
//! that makes a client do the right thing.

use super::*;

/// A change to a sound header of two records.
type Tweak = fn(&mut BatchHeader);

/// Two bare records under a changed header, with the right CRC.
fn tweaked(tweak: Tweak) -> Bytes {
    let mut header = header_for(2);
    tweak(&mut header);
    sealed(header, &[bare_record(0), bare_record(1)].concat())
}

/// One record made of these bytes, after its length.
fn one_record(bytes: &[u8]) -> Bytes {
    let mut body = Vec::new();
    varint::put_i32(&mut body, bytes.len() as i32);
    body.extend_from_slice(bytes);
    sealed(header_for(1), &body)
}

fn refusal(bytes: Bytes) -> BatchError {
    check(bytes).expect_err("the batch is malformed")
}

fn record_refusal(bytes: Bytes) -> RecordError {
    match refusal(bytes) {
        BatchError::MalformedRecord { reason, .. } => reason,
        other => panic!("not the record's fault: {other}"),
    }
}

#[test]
fn the_untouched_batch_is_sound() {
    check(tweaked(|_| ())).unwrap();
    check(one_record(&[0, 0, 0, 1, 1, 0])).unwrap();
}

#[test]
fn shapes_that_are_refused() {
    let negative = |field, value| BatchError::NegativeField { field, value };
    let cases: [(Tweak, BatchError, BatchErrorKind); 7] = [
        (|h| h.base_offset = -1, negative("base_offset", -1), BatchErrorKind::Corrupt),
        (|h| h.last_offset_delta = -2, negative("last_offset_delta", -2), BatchErrorKind::Corrupt),
        (|h| h.record_count = -3, negative("record_count", -3), BatchErrorKind::Corrupt),
        (
            |h| h.base_offset = i64::MAX,
            BatchError::OffsetsOverflow { base_offset: i64::MAX, delta: 1 },
            BatchErrorKind::Corrupt,
        ),
        (
            |h| h.attributes = 5,
            BatchError::UnknownCompression { code: 5 },
            BatchErrorKind::UnsupportedCompression,
        ),
        (
            |h| h.last_offset_delta = 2,
            BatchError::CountMismatch { record_count: 2, last_offset_delta: 2 },
            BatchErrorKind::Invalid,
        ),
        (|h| h.record_count = 0, BatchError::NoRecords, BatchErrorKind::Invalid),
    ];
    for (tweak, error, kind) in cases {
        let found = refusal(tweaked(tweak));
        assert_eq!(found.kind(), kind, "{found}");
        assert_eq!(found, error);
    }
}

#[test]
fn old_formats_are_named_even_when_shorter_than_a_header() {
    for magic in [0, 1, 3] {
        let mut old = vec![0; 26];
        old[16] = magic as u8;
        let found = refusal(old.into());
        assert_eq!(found, BatchError::UnsupportedMagic { magic });
        assert_eq!(found.kind(), BatchErrorKind::UnsupportedMagic);
    }
}

#[test]
fn a_length_below_a_header_is_refused() {
    let mut bytes = tweaked(|_| ()).to_vec();
    for length in [i32::MIN, -1, 0, 48] {
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let found = BatchHeader::parse(&bytes).unwrap_err();
        assert_eq!(found, BatchError::BadLength { batch_length: length });
    }
}

#[test]
fn exactly_one_batch_is_taken() {
    let batch = tweaked(|_| ());
    let two = [&batch[..], &batch[..]].concat();
    assert_eq!(refusal(two.into()), BatchError::TooManyBatches);
    let stray = [&batch[..], &[0; 70]].concat();
    assert_eq!(refusal(stray.clone().into()), BatchError::TrailingBytes { extra: 70 });
    assert_eq!(
        RecordBatch::parse(stray.into()).unwrap_err(),
        BatchError::TrailingBytes { extra: 70 }
    );
}

#[test]
fn a_batch_over_the_limit_is_refused_unread() {
    let batch = tweaked(|_| ());
    let limits = |batch_bytes_max| CheckLimits { batch_bytes_max, ..LIMITS };
    CheckedBatch::check(batch.clone(), &limits(batch.len())).unwrap();
    let found = CheckedBatch::check(batch.clone(), &limits(batch.len() - 1)).unwrap_err();
    assert_eq!(found, BatchError::TooLarge { size: batch.len(), max: batch.len() - 1 });
    // Also when only its header says so.
    let found = CheckedBatch::check(batch.slice(..61), &limits(61)).unwrap_err();
    assert_eq!(found.kind(), BatchErrorKind::TooLarge);
}

#[test]
fn producer_fields_that_contradict_each_other_are_refused() {
    let cases: [Tweak; 5] = [
        |h| h.set_transactional(),
        |h| h.producer_id = -2,
        |h| (h.producer_id, h.base_sequence) = (5, 0),
        |h| (h.producer_id, h.producer_epoch) = (5, 0),
        |h| (h.producer_id, h.producer_epoch, h.base_sequence) = (5, -7, 0),
    ];
    for tweak in cases {
        let found = refusal(tweaked(tweak));
        assert!(matches!(found, BatchError::ProducerFields { .. }), "{found}");
        assert_eq!(found.kind(), BatchErrorKind::Invalid);
    }
}

#[test]
fn stray_producer_fields_of_plain_producers_are_ignored() {
    // kafkajs sends epoch and sequence 0 without a producer id.
    let batch = check(tweaked(|h| (h.producer_epoch, h.base_sequence) = (0, 0))).unwrap();
    assert_eq!(batch.header().producer(), None);
    assert_eq!(batch.header().base_sequence(), None);
}

#[test]
fn timestamps_that_do_not_exist_are_refused() {
    let invalid: [Tweak; 3] = [
        |h| h.base_timestamp = -2,
        |h| h.base_timestamp = i64::MIN,
        |h| h.set_log_append_time(TimestampMs::new(T0)),
    ];
    for tweak in invalid {
        let found = refusal(tweaked(tweak));
        assert_eq!(found.kind(), BatchErrorKind::Timestamp, "{found}");
    }
    let mut record = vec![0];
    varint::put_i64(&mut record, i64::MAX);
    record.extend([0, 1, 1, 0]);
    let found = refusal(one_record(&record));
    assert_eq!(found, BatchError::InvalidTimestamp { index: 0, base: T0, delta: i64::MAX });

    let none = check(tweaked(|h| h.base_timestamp = -1)).unwrap();
    assert_eq!((none.max_timestamp(), none.min_timestamp()), (NO_TIMESTAMP, NO_TIMESTAMP));
}

#[test]
fn records_that_do_not_parse_are_refused() {
    let negative = |field, value| RecordError::Negative { field, value };
    let cases: [(&[u8], RecordError); 14] = [
        (&[], RecordError::FieldPastEnd),
        (&[0, 0, 0, 1, 1], RecordError::FieldPastEnd),
        (&[0, 0, 0, 1, 1, 0, 7], RecordError::LeftOver { extra: 1 }),
        (&[0, 0, 0, 2, 1, 0], RecordError::FieldPastEnd),
        (&[0, 0, 0, 3, 1, 0], negative("key length", -2)),
        (&[0, 0, 0, 1, 3, 0], negative("value length", -2)),
        (&[0, 0, 0, 1, 1, 1], negative("header count", -1)),
        (&[0, 0, 0, 1, 1, 2, 1], negative("header key length", -1)),
        (&[0, 0, 0, 1, 1, 2, 0, 3], negative("header value length", -2)),
        (&[0, 0, 0, 1, 1, 2], RecordError::FieldPastEnd),
        // Counts and lengths of 2 GiB.
        (&[0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], RecordError::FieldPastEnd),
        (&[0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f], RecordError::FieldPastEnd),
        (&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0], RecordError::VarintTooLong),
        (&[0, 0, 2, 1, 1, 0], RecordError::OffsetDelta { expected: 0, found: 1 }),
    ];
    for (record, reason) in cases {
        assert_eq!(record_refusal(one_record(record)), reason, "{record:?}");
    }
}

#[test]
fn counts_and_records_must_agree() {
    let body = [bare_record(0), bare_record(1)].concat();
    assert_eq!(record_refusal(sealed(header_for(3), &body)), RecordError::CutShort);
    assert_eq!(
        refusal(sealed(header_for(1), &body)),
        BatchError::BytesBehindRecords { record_count: 1 }
    );
    let cut = &body[..body.len() - 1];
    assert_eq!(record_refusal(sealed(header_for(2), cut)), RecordError::CutShort);
    let repeated = [bare_record(0), bare_record(0)].concat();
    assert_eq!(
        record_refusal(sealed(header_for(2), &repeated)),
        RecordError::OffsetDelta { expected: 1, found: 0 }
    );
}

#[test]
fn a_record_of_negative_length_is_refused() {
    let reason = RecordError::Negative { field: "length", value: -1 };
    assert_eq!(record_refusal(sealed(header_for(1), &[1])), reason);
}

#[test]
fn the_same_faults_are_found_in_compressed_batches() {
    for codec in Compression::ALL {
        let sealed = |count, body: Vec<u8>| {
            let attributes = i16::from(codec.code());
            let body = compression::compress(codec, &body, Vec::new()).unwrap();
            sealed(BatchHeader { attributes, ..header_for(count) }, &body)
        };
        let two = [bare_record(0), bare_record(1)].concat();
        check(sealed(2, two.clone())).unwrap();
        assert_eq!(record_refusal(sealed(3, two.clone())), RecordError::CutShort, "{codec}");
        let behind = BatchError::BytesBehindRecords { record_count: 1 };
        assert_eq!(refusal(sealed(1, two)), behind, "{codec}");
        let past_end = vec![12, 0, 0, 0, 2, 1, 0];
        assert_eq!(record_refusal(sealed(1, past_end)), RecordError::FieldPastEnd, "{codec}");
        let left_over = vec![14, 0, 0, 0, 1, 1, 0, 7];
        let reason = RecordError::LeftOver { extra: 1 };
        assert_eq!(record_refusal(sealed(1, left_over)), reason, "{codec}");
    }
}

#[test]
fn control_batches_hold_one_readable_record() {
    let end = |key: &'static [u8], value: &'static [u8]| {
        let record = record::RecordRef {
            offset_delta: 0,
            timestamp_delta: 0,
            key: Some(key),
            value: Some(value),
            headers: &[],
        };
        let mut body = Vec::new();
        record.write(record.length_field().unwrap(), &mut body);
        let mut header = header_for(1);
        (header.producer_id, header.producer_epoch) = (5, 0);
        header.set_control();
        check(sealed(header, &body))
    };
    let sound: &[u8] = &[0, 0, 0, 0, 0, 9];
    for bad in [
        end(&[0, 0, 0], sound),
        end(&[0xff, 0xff, 0, 1], sound),
        end(&[0, 0, 0, 1], &sound[..5]),
        end(&[0, 0, 0, 1], &[0, 0, 0xff, 0, 0, 0]),
        end(&[0, 0, 0, 1], &[0xff, 0xff, 0, 0, 0, 9]),
        check(tweaked(|h| {
            h.set_control();
            (h.producer_id, h.producer_epoch) = (5, 0);
        })),
    ] {
        assert!(matches!(bad, Err(BatchError::MalformedControl { .. })), "{bad:?}");
    }
    let unknown = end(&[0, 0, 0, 7], b"later").unwrap().control();
    let expected = ControlRecord::Unknown {
        type_code: 7,
        key: Bytes::from_static(&[0, 0, 0, 7]),
        value: Some(Bytes::from_static(b"later")),
    };
    assert_eq!(unknown, Some(expected));
    let longer = end(&[0, 0, 0, 1], &[0, 1, 0, 0, 0, 9, 1, 2]).unwrap();
    assert!(matches!(longer.control(), Some(ControlRecord::EndTxnMarker(_))));
}

#[test]
fn data_has_no_control_record() {
    let batch = RecordBatch::parse(tweaked(|_| ())).unwrap();
    assert_eq!(batch.control_record(), Err(BatchError::NotControl));
}

#[test]
fn an_emptied_batch_can_be_read_but_not_appended() {
    // What compaction leaves of a batch to keep its producer's sequence.
    let mut header = BatchHeader { last_offset_delta: 4, ..header_for(0) };
    (header.producer_id, header.producer_epoch, header.base_sequence) = (5, 0, 10);
    for code in 0..5 {
        let bytes = sealed(BatchHeader { attributes: code, ..header }, &[]);
        let batch = RecordBatch::parse(bytes.clone()).unwrap();
        assert_eq!(batch.records(0).unwrap().count(), 0);
        assert_eq!(batch.header().last_sequence(), Some(sequence(14)));
        assert_eq!(refusal(bytes), BatchError::NoRecords);
    }
}

#[test]
fn building_refuses_what_the_format_cannot_say() {
    let empty = BatchBuilder::new(BatchOptions::default());
    assert_eq!(empty.build(), Err(BuildError::NoRecords));

    let options = BatchOptions { transactional: Transactional::Yes, ..BatchOptions::default() };
    let mut orphan = BatchBuilder::new(options);
    orphan.push(ms(T0), None, None, &[]).unwrap();
    assert_eq!(orphan.build(), Err(BuildError::NoProducer));

    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(ms(-1), None, Some(b"v"), &[]).unwrap();
    let size = builder.size_bytes();
    let too_far = builder.push(ms(i64::MAX), None, Some(b"v"), &[]);
    assert!(matches!(too_far, Err(BuildError::TimestampTooFar { .. })));
    assert_eq!((builder.size_bytes(), builder.record_count()), (size, 1));
    assert_eq!(builder.build().unwrap().len(), size);
}
