//! Goal: no bytes of a stranger or of a bad disk pass for a sound batch, make us panic, or make us
//! allocate what they promise.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn sample(compression: Compression) -> Bytes {
    let options = BatchOptions {
        compression,
        producer: Some((producer(5, 1), sequence(10))),
        ..BatchOptions::default()
    };
    batch_of(options, &[(0, Some("key"), Some("value")), (1, None, Some("aaaaaaaaaaaaaaaaaaaa"))])
}

/// Base offset and leader epoch, which the log assigns, lie outside the CRC.
fn is_covered(position: usize) -> bool {
    !(0..8).contains(&position) && !(12..16).contains(&position)
}

#[test]
fn a_flipped_byte_is_noticed() {
    for codec in Compression::ALL {
        let sound = sample(codec);
        for position in (0..sound.len()).filter(|&position| is_covered(position)) {
            for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
                let mut bytes = sound.to_vec();
                bytes[position] ^= flip;
                RecordBatch::parse(bytes.clone().into()).expect_err("a byte is wrong");
                check(bytes).expect_err("a byte is wrong");
            }
        }
    }
}

#[test]
fn a_flipped_byte_is_reported_as_damage() {
    let mut bytes = sample(Compression::None).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(check(bytes).unwrap_err().kind(), BatchErrorKind::Corrupt);
}

#[test]
fn every_truncation_is_noticed() {
    for codec in Compression::ALL {
        let sound = sample(codec);
        for len in 0..sound.len() {
            let cut = sound.slice(..len);
            let found = RecordBatch::parse(cut.clone()).unwrap_err();
            assert!(matches!(found, BatchError::Truncated { available, .. } if available == len));
            assert_eq!(check(cut).unwrap_err(), found);
        }
    }
}

#[test]
fn truncated_compressed_records_are_noticed() {
    for codec in Compression::ALL {
        let sound = sample(codec);
        let header = *RecordBatch::parse(sound.clone()).unwrap().header();
        let body = sound.slice(HEADER_BYTES..);
        // An lz4 frame without its end mark still holds everything: older clients left it out.
        let optional_end = if codec == Compression::Lz4 { 4 } else { 0 };
        for len in 0..body.len() - optional_end {
            let cut = sealed(header, &body[..len]);
            let found = check(cut).expect_err("the records end early");
            assert_eq!(found.kind(), BatchErrorKind::Invalid, "{codec} {len}: {found}");
        }
        let longer = sealed(header, &[&body[..], b"stray"].concat());
        assert_eq!(check(longer).unwrap_err().kind(), BatchErrorKind::Invalid, "{codec}");
    }
}

#[test]
fn expansion_stops_at_the_bound() {
    let zeros = vec![0; 100_000];
    for codec in Compression::ALL {
        let compressed = compression::compress(codec, &zeros, Vec::new()).unwrap();
        assert_eq!(decompress(codec, &compressed, zeros.len()).unwrap(), zeros);
        let found = decompress(codec, &compressed, zeros.len() - 1).unwrap_err();
        assert_eq!(found, DecompressError::TooLarge { max: zeros.len() - 1 }, "{codec}");

        let value = "0".repeat(zeros.len());
        let options = BatchOptions { compression: codec, ..BatchOptions::default() };
        let bytes = batch_of(options, &[(0, None, Some(&value))]);
        let limits = CheckLimits { expanded_bytes_max: 50_000, ..LIMITS };
        let checked = CheckedBatch::check(bytes, &limits);
        if codec == Compression::None {
            checked.expect("nothing expands, the batch's own limit is enough");
        } else {
            assert_eq!(checked.unwrap_err(), BatchError::ExpandsTooFar { max: 50_000 }, "{codec}");
        }
    }
}

#[test]
fn snappy_is_read_without_framing_too() {
    let raw = snap::raw::Encoder::new().compress_vec(&bare_record(0)).unwrap();
    let attributes = i16::from(Compression::Snappy.code());
    check(sealed(BatchHeader { attributes, ..header_for(1) }, &raw)).unwrap();
}

#[test]
fn snappy_promises_are_not_believed() {
    // A raw block that claims 4 GiB, and one that claims more than its few bytes can hold.
    let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let found = decompress(Compression::Snappy, &four_gib, 1 << 20).unwrap_err();
    assert_eq!(found, DecompressError::TooLarge { max: 1 << 20 });
    let found = decompress(Compression::Snappy, &four_gib, usize::MAX).unwrap_err();
    assert!(matches!(found, DecompressError::Malformed { .. }));
    // A framed block of 4 GiB.
    let framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff\x00";
    let found = decompress(Compression::Snappy, framed, usize::MAX).unwrap_err();
    assert!(matches!(found, DecompressError::Malformed { .. }));
}

#[test]
fn the_densest_snappy_is_still_read() {
    // The bound on what a block can hold must not refuse honest data.
    let zeros = vec![0; 20_000_000];
    let raw = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, zeros.len()).unwrap().len(), zeros.len());
}

/// Reads everything that there is to read.
fn exercise(bytes: &Bytes) {
    let limits = CheckLimits { expanded_bytes_max: 1 << 16, ..LIMITS };
    let _ = CheckedBatch::check(bytes.clone(), &limits);
    for batch in batches(bytes.clone()).flatten() {
        let _ = batch.control_record();
        let header = *batch.header();
        for record in batch.records(1 << 16).into_iter().flatten().flatten() {
            let _ = (header.offset_of(&record), header.timestamp_of(&record));
        }
        let _ = (header.next_offset(), header.last_sequence(), header.producer());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..300)) {
        exercise(&bytes.clone().into());
        for codec in Compression::ALL {
            let _ = decompress(codec, &bytes, 1 << 16);
        }
    }

    /// The same behind a right CRC, where they are looked into.
    #[test]
    fn random_records_do_not_panic(
        fields: [u8; HEADER_BYTES],
        attributes in 0i16..0x80,
        count in 0i32..100,
        body in vec(any::<u8>(), 0..300),
    ) {
        let mut fields = fields;
        fields[..9].fill(0);
        fields[16] = 2;
        fields[21..23].copy_from_slice(&attributes.to_be_bytes());
        fields[23..27].copy_from_slice(&(count - 1).max(0).to_be_bytes());
        fields[57..].copy_from_slice(&count.to_be_bytes());
        if let Ok(header) = BatchHeader::parse(&fields) {
            exercise(&sealed(header, &body));
        }
    }

    /// Damaged streams of every codec, behind a right CRC.
    #[test]
    fn damaged_streams_do_not_panic(
        codec in select(Compression::ALL.to_vec()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sound = sample(codec);
        let header = *RecordBatch::parse(sound.clone()).unwrap().header();
        let mut body = sound[HEADER_BYTES..].to_vec();
        for (position, byte) in damage {
            let position = position.index(body.len());
            body[position] = byte;
        }
        exercise(&sealed(header, &body));
    }
}
