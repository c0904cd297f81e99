//! What of the bytes that were read may be handed out: whole batches, each of which starts with the
//! offset that the one before it ends with.
//!
//! The rule: a reader gets no record under another's offset. A batch's checksum covers neither its
//! base offset nor its length, so a bit that flips there would pass the reader's own check, and have
//! it go on behind records that it never saw. Offsets are dense, so the neighbours tell. Headers are
//! looked at where the reader gets them, since what is read twice may differ. Checksums are, too,
//! for readers behind a door: many of their clients check none, and a wrong byte would pass for
//! what was written. Who reads the mapping itself pays for no more than it asks for: there they are
//! looked at only where two neighbours do not fit, to learn which of them is wrong.

use log_proto::record::BatchHeader;
use log_proto::types::Offset;

use crate::segment::Check;

/// Bytes that are no continuation of what lies before them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Break {
    /// Everything below this byte may be handed out.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) detail: String,
}

/// Looks at batches that must start with offset `start` and, if it is known, end before `end`.
pub(crate) fn check(
    bytes: &[u8],
    start: Offset,
    end: Option<Offset>,
    look_at: Check,
) -> Result<(), Break> {
    let (mut at, mut expected, mut last) = (0, start, None);
    while at < bytes.len() {
        let header = match next(&bytes[at..], expected) {
            Ok(header) => header,
            Err(detail) => return Err(blame(bytes, last, Break { at, detail })),
        };
        let size = header.size_bytes();
        if look_at == Check::Checksums
            && let Err(error) = header.verify_crc(&bytes[at..at + size])
        {
            return Err(Break { at, detail: error.to_string() });
        }
        last = Some((at, header));
        at += size;
        expected = header.next_offset();
    }
    let Some(end) = end.filter(|end| *end != expected) else { return Ok(()) };
    let detail = format!("the next batch starts at offset {end}, expected {expected}");
    match blame(bytes, last, Break { at, detail }) {
        found if found.at < at => Err(found),
        // What comes next is not among these bytes: whoever reads it is told of it.
        _ => Ok(()),
    }
}

/// The header of the batch in front.
fn next(bytes: &[u8], expected: Offset) -> Result<BatchHeader, String> {
    let header = BatchHeader::parse(bytes).map_err(|error| error.to_string())?;
    let (declared, left, found) = (header.size_bytes(), bytes.len(), header.base_offset());
    if declared > left {
        return Err(format!("the batch declares {declared} bytes, {left} are left"));
    }
    if found != expected {
        return Err(format!("the batch starts at offset {found}, expected {expected}"));
    }
    Ok(header)
}

/// Where two batches do not fit, the first may say wrongly where it ends: then its checksum fails.
fn blame(bytes: &[u8], last: Option<(usize, BatchHeader)>, found: Break) -> Break {
    let Some((at, header)) = last else { return found };
    match header.verify_crc(&bytes[at..found.at]) {
        Ok(()) => found,
        Err(error) => Break { at, detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use log_proto::record::{BatchBuilder, BatchOptions};
    use log_proto::types::TimestampMs;

    use super::*;

    /// Where fields begin in a batch.
    const LENGTH: usize = 8;
    const LAST_OFFSET_DELTA: usize = 23;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    /// Batches of two records each, from offset 10 on, and where each begins.
    fn three() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for base in [10, 12, 14] {
            let base_offset = offset(base);
            let mut batch = BatchBuilder::new(BatchOptions { base_offset, ..Default::default() });
            for value in [b"one", b"two"] {
                batch.push(TimestampMs::new(7), None, Some(value), &[]).unwrap();
            }
            starts.push(bytes.len());
            bytes.extend(batch.build().unwrap());
        }
        (bytes, starts)
    }

    #[test]
    fn what_follows_on_is_handed_out() {
        let (bytes, starts) = three();
        for end in [None, Some(offset(16)), Some(offset(17))] {
            assert_eq!(check(&bytes, offset(10), end, Check::Headers), Ok(()), "{end:?}");
        }
        assert_eq!(check(&[], offset(10), None, Check::Headers), Ok(()));
        assert_eq!(check(&bytes, offset(9), None, Check::Headers).unwrap_err().at, 0);
        assert_eq!(
            check(&bytes[..starts[2] + 70], offset(10), None, Check::Headers).unwrap_err().at,
            starts[2]
        );
    }

    #[test]
    fn a_bit_that_flips_where_no_checksum_looks_ends_it_before_its_batch() {
        let (bytes, starts) = three();
        for (number, start) in starts.iter().enumerate() {
            for bit in (0..(LENGTH + 4) * 8).map(|bit| start * 8 + bit) {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let found =
                    check(&damaged, offset(10), Some(offset(16)), Check::Headers).unwrap_err();
                assert_eq!(found.at, *start, "bit {bit} of batch {number}: {found:?}");
            }
        }
    }

    #[test]
    fn who_wants_every_byte_checked_gets_none_that_is_wrong() {
        let (bytes, starts) = three();
        for at in (0..bytes.len()).filter(|at| {
            let within = at - starts.iter().rev().find(|start| *start <= at).unwrap();
            // The leader epoch, which is nobody's concern here, and what is checked is not.
            !(12..16).contains(&within)
        }) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let found = check(&damaged, offset(10), Some(offset(16)), Check::Checksums);
            let start = *starts.iter().rev().find(|start| **start <= at).unwrap();
            assert_eq!(found.unwrap_err().at, start, "byte {at}");
        }
    }

    #[test]
    fn a_batch_that_says_wrongly_where_it_ends_is_the_one_that_is_left_out() {
        let (bytes, starts) = three();
        for start in &starts {
            let mut damaged = bytes.clone();
            damaged[start + LAST_OFFSET_DELTA + 3] ^= 1;
            let found = check(&damaged, offset(10), Some(offset(16)), Check::Headers).unwrap_err();
            assert_eq!(found.at, *start, "{found:?}");
        }
    }
}
