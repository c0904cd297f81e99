//! Goal: whatever a producer writes is what a consumer reads, through every codec, and the check's
//! findings are true.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

#[derive(Clone, Debug)]
struct Sent {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        // Long enough for lengths of two and three bytes, and for more than one snappy block.
        (any::<u8>(), select(vec![63usize, 64, 8_191, 8_192, 50_000]))
            .prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    // Few keys, so that they repeat.
    let header_key = select(vec![b"".to_vec(), b"a".to_vec(), b"\xff\x00".to_vec()]);
    let headers = vec((header_key, option::of(vec(any::<u8>(), 0..10))), 0..4);
    let timestamp = prop_oneof![-1..100i64, 0..=i64::MAX];
    (timestamp, option::of(bytes()), option::of(bytes()), headers)
        .prop_map(|(timestamp, key, value, headers)| Sent { timestamp, key, value, headers })
}

fn options() -> impl Strategy<Value = BatchOptions> {
    let producer = (0..=i64::MAX, 0..=i16::MAX, 0..=i32::MAX)
        .prop_map(|(id, epoch, first)| (producer(id, epoch), sequence(first)));
    let transactional = select(vec![Transactional::No, Transactional::Yes]);
    (select(Compression::ALL.to_vec()), option::of((producer, transactional))).prop_map(
        |(compression, producer)| BatchOptions {
            compression,
            producer: producer.map(|(producer, _)| producer),
            transactional: producer.map_or(Transactional::No, |(_, transactional)| transactional),
            base_offset: Offset::ZERO,
        },
    )
}

fn build(options: BatchOptions, sent: &[Sent]) -> Option<Bytes> {
    let mut builder = BatchBuilder::new(options);
    for record in sent {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(ms(record.timestamp), key, value, &headers).ok()?;
    }
    let size = builder.size_bytes();
    let bytes = builder.build().unwrap();
    assert!(options.compression != Compression::None || bytes.len() == size);
    Some(bytes)
}

fn assert_same(sent: &Sent, read: &Record) {
    assert_eq!(sent.key.as_deref(), read.key.as_deref());
    assert_eq!(sent.value.as_deref(), read.value.as_deref());
    let headers: Vec<_> = read
        .headers
        .iter()
        .map(|header| (header.key.to_vec(), header.value.as_ref().map(|value| value.to_vec())))
        .collect();
    assert_eq!(sent.headers, headers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_built_is_what_is_read(options in options(), sent in vec(sent(), 1..8)) {
        // Two timestamps may be further apart than the format can say.
        let Some(bytes) = build(options, &sent) else { return Ok(()) };
        let checked = check(bytes).unwrap();
        let header = checked.header();
        prop_assert_eq!(header.producer(), options.producer.map(|(producer, _)| producer));
        prop_assert_eq!(header.base_sequence(), options.producer.map(|(_, first)| first));
        prop_assert_eq!(header.is_transactional(), options.transactional == Transactional::Yes);
        prop_assert_eq!(header.record_count() as usize, sent.len());

        let read: Vec<_> = checked.batch().records(1 << 20).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), sent.len());
        for (index, (sent, read)) in sent.iter().zip(&read).enumerate() {
            assert_same(sent, read);
            prop_assert_eq!(header.offset_of(read).get(), index as i64);
            prop_assert_eq!(header.timestamp_of(read).get(), sent.timestamp);
        }

        let max = sent.iter().map(|record| record.timestamp).max().unwrap();
        let first_of_max = sent.iter().position(|record| record.timestamp == max).unwrap();
        let min = sent.iter().map(|record| record.timestamp).filter(|&time| time >= 0).min();
        prop_assert_eq!(checked.max_timestamp().get(), max);
        prop_assert_eq!(checked.header().max_timestamp().get(), max);
        prop_assert_eq!(checked.offset_delta_of_max_timestamp() as usize, first_of_max);
        prop_assert_eq!(checked.min_timestamp().get(), min.unwrap_or(-1));
        let keyless = sent.iter().filter(|record| record.key.is_none()).count();
        prop_assert_eq!(checked.keyless_records() as usize, keyless);
    }

    #[test]
    fn batches_back_to_back_come_apart(
        options in vec(options(), 0..5),
        records in vec(sent(), 1..3),
        cut in 1usize..200,
    ) {
        let built: Vec<_> =
            options.iter().map_while(|options| build(*options, &records)).collect();
        let whole = Bytes::from(built.concat());
        let read: Vec<_> =
            batches(whole.clone()).map(|batch| batch.unwrap().into_bytes()).collect();
        prop_assert_eq!(&read, &built);

        // With an end that is cut off, all but the last batches, then an error.
        if let Some((last, sound)) = built.split_last() {
            let cut = cut.min(last.len() - 1);
            let mut read = batches(whole.slice(..whole.len() - cut));
            prop_assert_eq!(read.by_ref().take_while(Result::is_ok).count(), sound.len());
            prop_assert!(read.next().is_none());
        }
    }
}

#[test]
fn fields_are_slices_of_the_batch() {
    let bytes = batch_of(BatchOptions::default(), &[(0, Some("key"), Some("value"))]);
    let record = RecordBatch::parse(bytes.clone()).unwrap().records(0).unwrap().next();
    let value = record.unwrap().unwrap().value.unwrap();
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn a_batch_that_is_not_shared_is_stamped_in_place() {
    let bytes = batch_of(BatchOptions::default(), &[(0, Some("key"), Some("value"))]);
    let (before, shared) = (bytes.as_ptr(), bytes.clone());
    let stamped = |bytes| stamp(bytes, producer(1, 0), Sequence::ZERO, Transactional::No).unwrap();
    let copy = stamped(bytes);
    assert_ne!(copy.as_ptr(), before);
    assert_eq!(RecordBatch::parse(shared.clone()).unwrap().header().producer(), None);
    assert_eq!(stamped(shared).as_ptr(), before);
}

/// The stamp does not read the records, so it must not vouch for them.
#[test]
fn a_damaged_batch_that_is_stamped_stays_damaged() {
    let mut bytes = batch_of(BatchOptions::default(), &[(0, Some("key"), Some("value"))]).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let stamped = stamp(bytes.into(), producer(1, 0), Sequence::ZERO, Transactional::No).unwrap();
    assert!(matches!(RecordBatch::parse(stamped), Err(BatchError::CrcMismatch { .. })));
}
