//! Goal: the format is Kafka's. Batches written by another implementation (kafka-python 3.0) are
//! read as what they say, and ours of the same records are the same bytes.

use super::*;

/// A header to write.
type HeaderRef = (&'static [u8], Option<&'static [u8]>);

/// A record to write: milliseconds after T0, key, value, headers.
type Golden = (i64, Option<&'static [u8]>, Option<&'static [u8]>, &'static [HeaderRef]);

/// What the golden batches hold. Only the compressed ones hold the last record.
const RECORDS: [Golden; 4] = [
    (0, Some(b"k1"), Some(b"v1"), &[]),
    (5, None, Some(b""), &[(b"h", Some(b"1")), (b"h", None)]),
    (3, Some(b""), None, &[]),
    (4, Some(b"k"), Some(&[0; 300]), &[]),
];

const PLAIN: &str = "\
    0000000000000000 00000051 00000000 02 ed256bde 0000 00000002 00000174876e8000 \
    00000174876e8005 ffffffffffffffff ffff ffffffff 00000003 \
    14 00 00 00 046b31 047631 00 \
    1a 00 0a 02 01 00 04 0268 0231 0268 01 \
    0c 00 06 04 00 01 00";

const COMPRESSED: [(Compression, &str); 4] = [
    (
        Compression::Gzip,
        "0000000000000000 00000072 00000000 02 6f9bcb71 0001 00000003 00000174876e8000 \
         00000174876e8005 ffffffffffffffff ffff ffffffff 00000004 \
         1f8b08009187016b02ff1361606060c936642933649062e06262646061ca603264ca60e461606361606478c1\
         c2c0c1c6947d83856114100f004d221bab56010000",
    ),
    (
        Compression::Snappy,
        "0000000000000000 00000082 00000000 02 a0052f0c 0002 00000003 00000174876e8000 \
         00000174876e8005 ffffffffffffffff ffff ffffffff 00000004 \
         82534e41505059000000000100000001 0000003d \
         d602a814000000046b31047631001a000a02010004026802310268010c000604000100e804000806026bd804\
         0000fe0200fe0200fe0200fe0200aa0200",
    ),
    (
        Compression::Lz4,
        "0000000000000000 0000007e 00000000 02 6c4c5751 0003 00000003 00000174876e8000 \
         00000174876e8005 ffffffffffffffff ffff ffffffff 00000004 \
         04224d18684056010000000000000a36000000ff1b14000000046b31047631001a000a020100040268023102\
         68010c000604000100e804000806026bd804000100ff1550000000000000000000",
    ),
    (
        Compression::Zstd,
        "0000000000000000 0000006d 00000000 02 45f37e2a 0004 00000003 00000174876e8000 \
         00000174876e8005 ffffffffffffffff ffff ffffffff 00000004 \
         28b52ffd605600950100a40214000000046b31047631001a000a02010004026802310268010c000604000100\
         e804000806026bd8040001004a514119",
    ),
];

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn expected(count: usize) -> Vec<Record> {
    let header = |&(key, value): &HeaderRef| Header {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    let records = RECORDS.iter().take(count).enumerate();
    records
        .map(|(index, &(after, key, value, headers))| Record {
            offset_delta: index as u32,
            timestamp_delta: after,
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: headers.iter().map(header).collect(),
        })
        .collect()
}

fn read_all(bytes: Bytes) -> Vec<Record> {
    let batch = RecordBatch::parse(bytes).unwrap();
    batch.records(1 << 20).unwrap().collect::<Result<_, _>>().unwrap()
}

fn ours(compression: Compression, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (after, key, value, headers) in RECORDS.into_iter().take(count) {
        builder.push(ms(T0 + after), key, value, headers).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn our_batch_is_the_same_bytes() {
    let (ours, theirs) = (ours(Compression::None, 3), unhex(PLAIN));
    // The leader epoch, outside the CRC, is not known to a producer: we write -1, others 0.
    assert_eq!(ours[..12], theirs[..12]);
    assert_eq!(ours[12..16], [0xff; 4]);
    assert_eq!(ours[16..], theirs[16..]);
}

#[test]
fn their_batches_are_read() {
    assert_eq!(read_all(unhex(PLAIN)), expected(3));
    for (codec, hex) in COMPRESSED {
        let batch = check(unhex(hex)).unwrap();
        assert_eq!(batch.header().compression(), codec);
        assert_eq!(batch.max_timestamp(), ms(T0 + 5));
        assert_eq!(batch.offset_delta_of_max_timestamp(), 1);
        assert_eq!(batch.min_timestamp(), ms(T0));
        assert_eq!(batch.keyless_records(), 1);
        assert_eq!(read_all(unhex(hex)), expected(4), "{codec}");
    }
}

#[test]
fn our_compressed_batches_have_the_framing_that_kafka_reads() {
    let body = |codec| ours(codec, 4).slice(HEADER_BYTES..);
    assert!(body(Compression::Gzip).starts_with(&[0x1f, 0x8b, 8]));
    // The xerial header, then one block after its length.
    let snappy = body(Compression::Snappy);
    assert_eq!(snappy[..16], unhex("82534e41505059000000000100000001"));
    assert_eq!(snappy[16..20], (snappy.len() as u32 - 20).to_be_bytes());
    // Version 1, independent blocks, no checksums, no content size; blocks of 64 KiB.
    assert!(body(Compression::Lz4).starts_with(&unhex("04224d18 60 40")));
    assert!(body(Compression::Zstd).starts_with(&unhex("28b52ffd")));
}

#[test]
fn every_header_field_is_where_kafka_has_it() {
    let bytes = unhex(
        "0000000000000100 00000037 00000003 02 00000000 0034 00000002 0000000000000010 \
         0000000000000020 0000000000000005 0006 7fffffff 00000001",
    );
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.size_bytes(), 12 + 0x37);
    assert_eq!(header.base_offset().get(), 0x100);
    assert_eq!(header.last_offset_delta(), 2);
    assert_eq!(header.last_offset().get(), 0x102);
    assert_eq!(header.next_offset().get(), 0x103);
    assert_eq!(header.leader_epoch(), LeaderEpoch::new(3));
    assert_eq!(header.compression(), Compression::Zstd);
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert!(header.is_transactional() && header.is_control());
    assert_eq!(header.delete_horizon(), None);
    assert_eq!(header.base_timestamp(), ms(0x10));
    assert_eq!(header.max_timestamp(), ms(0x20));
    assert_eq!(header.producer(), Some(producer(5, 6)));
    assert_eq!(header.base_sequence(), Some(sequence(i32::MAX)));
    assert_eq!(header.last_sequence(), Some(sequence(1)), "sequences wrap to 0");
    assert_eq!(header.record_count(), 1);
    assert_eq!(header.to_bytes()[..], bytes[..]);
}

#[test]
fn a_transactional_batch_is_the_same_bytes() {
    let theirs = unhex(
        "0000000000000000 0000003c 00000000 02 3d2250ce 0010 00000000 00000174876e8000 \
         00000174876e8000 000000000001e240 0007 0000002a 00000001 \
         14 00 00 00 046b31 047631 00",
    );
    let record = [(0, Some("k1"), Some("v1"))];
    let named = batch_of(
        BatchOptions {
            producer: Some((producer(123_456, 7), sequence(42))),
            transactional: Transactional::Yes,
            ..BatchOptions::default()
        },
        &record,
    );
    assert_eq!(named[16..], theirs[16..]);
    let unnamed = batch_of(BatchOptions::default(), &record);
    let stamped = stamp(unnamed, producer(123_456, 7), sequence(42), Transactional::Yes).unwrap();
    assert_eq!(stamped, named);
}

#[test]
fn end_markers_are_the_bytes_of_the_format() {
    let marker = EndTxnMarker {
        kind: EndTxnKind::Commit,
        coordinator_epoch: CoordinatorEpoch::new(9).unwrap(),
    };
    let bytes = end_txn_marker(producer(1, 2), marker, ms(T0));
    let attributes = &bytes[21..23];
    assert_eq!(attributes, [0, 0x30]);
    assert_eq!(bytes[43..61], unhex("0000000000000001 0002 ffffffff 00000001"));
    assert_eq!(bytes[61..], unhex("20 00 00 00 08 0000 0001 0c 0000 00000009 00"));

    let checked = check(bytes).unwrap();
    assert_eq!(checked.control(), Some(ControlRecord::EndTxnMarker(marker)));
    assert_eq!(checked.header().base_sequence(), None);
    let abort = EndTxnMarker { kind: EndTxnKind::Abort, ..marker };
    let checked = check(end_txn_marker(producer(1, 2), abort, ms(T0))).unwrap();
    assert_eq!(checked.control(), Some(ControlRecord::EndTxnMarker(abort)));
}
