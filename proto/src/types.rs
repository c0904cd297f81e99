//! The vocabulary: one type for each number that must not be mistaken for another.
//!
//! Every type here is a plain integer on the wire and on disk. Absent values are `Option`s; the
//! `-1` that stands for "none" in record batches exists only inside the codec. Conversions are by
//! name, at the edges: there is no `Deref`, no `From<i64>`, no arithmetic that can silently mix
//! an offset with a position.

use std::fmt;

/// The place of a record in its partition: dense, counted from 0, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);
    /// The largest offset that exists; one past it is refused.
    pub const MAX: Self = Self(i64::MAX);

    /// `None` for a negative value.
    pub const fn new(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number, for the wire, the disk and people.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset after this one. Saturates at [`Offset::MAX`].
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// This offset moved by `count` records; `None` past the end of the number space.
    pub const fn checked_add(self, count: i64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(value) => Self::new(value),
            None => None,
        }
    }

    /// How many records lie in `earlier..self`; 0 when `earlier` is not earlier.
    pub const fn distance_from(self, earlier: Self) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }
}

/// The term of the partition's one writer, raised at every unclean start (KIP-101, KIP-320).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// The epoch of a partition's first writer.
    pub const ZERO: Self = Self(0);

    /// `None` for a negative value.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The epoch after this one; `None` when the number space is used up.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
}

/// An idempotent or transactional producer, as the broker numbers them (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(i64);

impl ProducerId {
    /// `None` for a negative value.
    pub const fn new(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The term of one producer id; a higher one fences the lower ones (KIP-98, KIP-890).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(i16);

impl ProducerEpoch {
    /// `None` for a negative value.
    pub const fn new(value: i16) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    pub const fn get(self) -> i16 {
        self.0
    }
}

/// The term of a transaction coordinator, carried by the end markers that it writes (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoordinatorEpoch(i32);

impl CoordinatorEpoch {
    /// `None` for a negative value.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// A producer's count of its records in one partition: 31 bits, wrapping after `i32::MAX` to 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence of every producer epoch.
    pub const ZERO: Self = Self(0);

    /// `None` for a negative value.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence after this one; 0 follows `i32::MAX`.
    pub const fn next(self) -> Self {
        self.wrapping_add(1)
    }

    /// This sequence moved on by `count` records, wrapping with the period 2^31.
    pub const fn wrapping_add(self, count: u32) -> Self {
        Self((self.0 as u32).wrapping_add(count) as i32 & i32::MAX)
    }

    /// This sequence moved back by `count` records, wrapping with the period 2^31.
    pub const fn wrapping_sub(self, count: u32) -> Self {
        Self((self.0 as u32).wrapping_sub(count) as i32 & i32::MAX)
    }
}

/// Milliseconds since 1970-01-01 UTC, as clients stamp them. May be any number, also negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimestampMs(i64);

impl TimestampMs {
    /// Any value is a timestamp.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The plain number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; saturates, negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A producer id with its epoch: who wrote a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Producer {
    /// Which producer.
    pub id: ProducerId,
    /// Which of its terms.
    pub epoch: ProducerEpoch,
}

macro_rules! shown_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}
shown_as_number!(
    Offset,
    LeaderEpoch,
    ProducerId,
    ProducerEpoch,
    CoordinatorEpoch,
    Sequence,
    TimestampMs
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_with_period_two_to_the_31() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(last.next(), Sequence::ZERO);
        assert_eq!(Sequence::ZERO.wrapping_sub(1), last);
        assert_eq!(last.wrapping_add(5).get(), 4);
        assert_eq!(Sequence::new(4).unwrap().wrapping_sub(5), last);
    }

    #[test]
    fn negative_numbers_are_no_offsets() {
        assert_eq!(Offset::new(-1), None);
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::ZERO.checked_add(-1), None);
    }
}
