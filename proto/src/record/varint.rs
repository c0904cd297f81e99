//! Variable-length integers: zigzag, then seven bits a byte, the lowest first, as in protobuf.
//!
//! The rule: an integer takes at most 5 bytes (32 bits) or 10 (64 bits), and bits past its width
//! are refused instead of dropped. Longer forms of small numbers are read, as Kafka reads them.

/// Appends `value`.
pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_u64(out, u64::from(zigzag_32(value)));
}

/// Appends `value`.
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag_64(value));
}

/// How many bytes [`put_i32`] appends.
pub(super) fn size_i32(value: i32) -> usize {
    size_u64(u64::from(zigzag_32(value)))
}

/// How many bytes [`put_i64`] appends.
pub(super) fn size_i64(value: i64) -> usize {
    size_u64(zigzag_64(value))
}

/// The integer has more bits than its type.
pub(super) struct TooLong;

/// Reads an `i32` from a source of bytes.
#[inline]
pub(super) fn read_i32<E: From<TooLong>>(
    mut next: impl FnMut() -> Result<u8, E>,
) -> Result<i32, E> {
    let first = next()?;
    if first < 0x80 {
        return Ok(unzigzag_32(u32::from(first)));
    }
    read_rest(first, 32, next).map(|raw| unzigzag_32(raw as u32))
}

/// Reads an `i64` from a source of bytes.
#[inline]
pub(super) fn read_i64<E: From<TooLong>>(
    mut next: impl FnMut() -> Result<u8, E>,
) -> Result<i64, E> {
    let first = next()?;
    if first < 0x80 {
        return Ok(unzigzag_64(u64::from(first)));
    }
    read_rest(first, 64, next).map(unzigzag_64)
}

/// The integer of at most `bits` bits whose `first` byte says that more follow.
#[inline]
fn read_rest<E: From<TooLong>>(
    first: u8,
    bits: u32,
    mut next: impl FnMut() -> Result<u8, E>,
) -> Result<u64, E> {
    let mut value = u64::from(first & 0x7f);
    for shift in (7..bits).step_by(7) {
        let byte = next()?;
        // In the last byte, neither a bit past the width nor the mark of a further byte fits.
        if shift + 7 > bits && u32::from(byte) >> (bits - shift) != 0 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(TooLong.into())
}

fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn size_u64(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag_32(value: i32) -> u32 {
    (value << 1 ^ value >> 31) as u32
}

fn zigzag_64(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

fn unzigzag_64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all_i32(mut bytes: &[u8]) -> Option<i32> {
        let value = read_i32(|| pop(&mut bytes)).ok()?;
        bytes.is_empty().then_some(value)
    }

    fn read_all_i64(mut bytes: &[u8]) -> Option<i64> {
        let value = read_i64(|| pop(&mut bytes)).ok()?;
        bytes.is_empty().then_some(value)
    }

    struct Bad;

    impl From<TooLong> for Bad {
        fn from(_: TooLong) -> Self {
            Self
        }
    }

    fn pop(bytes: &mut &[u8]) -> Result<u8, Bad> {
        let (&first, rest) = bytes.split_first().ok_or(Bad)?;
        *bytes = rest;
        Ok(first)
    }

    #[test]
    fn known_encodings() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            put_i32(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(read_all_i32(bytes), Some(value));
        }
    }

    #[test]
    fn bits_past_the_width_are_refused() {
        assert_eq!(read_all_i32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read_all_i32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None);
        let mut too_wide = [0xff; 10];
        too_wide[9] = 0x02;
        assert_eq!(read_all_i64(&too_wide), None);
        assert_eq!(read_all_i64(&[0x80; 11]), None);
        assert_eq!(read_all_i64(&[0x80]), None);
    }

    #[test]
    fn longer_forms_are_read() {
        assert_eq!(read_all_i32(&[0x82, 0x80, 0x00]), Some(1));
        assert_eq!(read_all_i32(&[0x82, 0x80, 0x80, 0x80, 0x80, 0x00]), None);
    }

    proptest! {
        #[test]
        fn round_trip(narrow: i32, wide: i64) {
            let mut out = Vec::new();
            put_i32(&mut out, narrow);
            prop_assert_eq!(out.len(), size_i32(narrow));
            prop_assert_eq!(read_all_i32(&out), Some(narrow));
            out.clear();
            put_i64(&mut out, wide);
            prop_assert_eq!(out.len(), size_i64(wide));
            prop_assert_eq!(read_all_i64(&out), Some(wide));
        }
    }
}
