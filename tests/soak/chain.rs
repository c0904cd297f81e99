//! Records that prove what came before them.
//!
//! The rule: what a producer writes to a partition is a chain. Each record carries its producer,
//! how many records of it precede it there, and a hash over all of them. Whoever reads a record
//! and has read those before it knows that none was lost, doubled, moved or changed. A reader
//! that retention has overtaken takes the first record of each producer at its word, and holds
//! every later one against it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// Who has written a record.
pub(crate) type ProducerNumber = u32;

/// Bytes before the payload: producer, count, hash.
pub(crate) const PREFIX_BYTES: usize = 4 + 8 + 8;

/// What a producer has written to a partition so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chain {
    /// Records.
    pub(crate) count: u64,
    hash: u64,
}

impl Chain {
    /// The next record of `producer` with this payload.
    pub(crate) fn link(&mut self, producer: ProducerNumber, payload: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(PREFIX_BYTES + payload.len());
        value.extend(producer.to_be_bytes());
        value.extend(self.count.to_be_bytes());
        value.extend(self.hash.to_be_bytes());
        value.extend(payload);
        *self = self.then(&value);
        value
    }

    /// This chain with one more record. The hash of std is the same in each run of a build.
    fn then(self, value: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(value);
        Self { count: self.count + 1, hash: hasher.finish() }
    }
}

/// What a reader knows of a producer's chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// All of it.
    Exactly(Chain),
    /// Retention has taken what came next; there were so many records before that.
    AtLeast(u64),
}

impl Known {
    fn admits(self, before: Chain) -> bool {
        match self {
            Self::Exactly(chain) => chain == before,
            Self::AtLeast(count) => before.count >= count,
        }
    }
}

/// What a reader knows of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The offset that it reads next.
    pub(crate) next: i64,
    chains: HashMap<ProducerNumber, Known>,
    /// Of producers that it has not met.
    others: Known,
}

impl Place {
    /// A reader that has read nothing, and begins here.
    pub(crate) fn at(offset: i64) -> Self {
        let others = if offset == 0 { Known::Exactly(Chain::default()) } else { Known::AtLeast(0) };
        Self { next: offset, chains: HashMap::new(), others }
    }

    /// Retention has taken everything below `offset`.
    pub(crate) fn jump(&mut self, offset: i64) {
        assert!(offset > self.next, "nothing was taken: {offset} is not above {}", self.next);
        self.next = offset;
        self.others = Known::AtLeast(0);
        for known in self.chains.values_mut() {
            if let Known::Exactly(chain) = *known {
                *known = Known::AtLeast(chain.count);
            }
        }
    }

    /// Reads a record. `Ok` has its producer and its number; `Err` says what it proves wrong.
    pub(crate) fn read(
        &mut self,
        offset: i64,
        value: &[u8],
    ) -> Result<(ProducerNumber, u64), String> {
        if offset != self.next {
            return Err(format!("offset {offset} where {} comes next", self.next));
        }
        let (producer, before) = parse(value).ok_or("a record too short to be one of ours")?;
        let known = self.chains.entry(producer).or_insert(self.others);
        if !known.admits(before) {
            return Err(format!("offset {offset}: {before:?} of producer {producer} on {known:?}"));
        }
        *known = Known::Exactly(before.then(value));
        self.next += 1;
        Ok((producer, before.count))
    }

    /// Whether what was read ends where the producer has ended.
    pub(crate) fn ends_with(&self, producer: ProducerNumber, end: Chain) -> bool {
        match self.chains.get(&producer) {
            Some(Known::Exactly(chain)) => *chain == end,
            Some(known @ Known::AtLeast(_)) => known.admits(end),
            None => self.others.admits(end),
        }
    }
}

fn parse(value: &[u8]) -> Option<(ProducerNumber, Chain)> {
    let (producer, rest) = value.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let hash = rest.first_chunk()?;
    let chain = Chain { count: u64::from_be_bytes(*count), hash: u64::from_be_bytes(*hash) };
    Some((u32::from_be_bytes(*producer), chain))
}

/// Goal: whatever goes wrong with a record is noticed, or the long run proves nothing.
#[test]
fn a_lost_doubled_moved_or_changed_record_breaks_the_chain() {
    let mut chain = Chain::default();
    let mut sent: Vec<_> = (0..5).map(|n| chain.link(7, &[n; 3])).collect();
    let read = |values: &[Vec<u8>]| -> Result<Place, String> {
        let mut place = Place::at(0);
        for (value, offset) in values.iter().zip(0..) {
            place.read(offset, value)?;
        }
        Ok(place)
    };
    let whole = read(&sent).expect("as it was sent");
    assert!(whole.ends_with(7, chain));
    let short = read(&sent[..4]).expect("as it was sent, so far");
    assert!(!short.ends_with(7, chain), "the last record is missing");

    for at in 0..4 {
        let (mut lost, mut doubled, mut moved) = (sent.clone(), sent.clone(), sent.clone());
        lost.remove(at);
        doubled.insert(at, sent[at].clone());
        moved.swap(at, at + 1);
        for (values, what) in [(lost, "lost"), (doubled, "doubled"), (moved, "moved")] {
            assert!(read(&values).is_err(), "record {at} was {what}");
        }
    }
    sent[2][PREFIX_BYTES] ^= 1;
    assert!(read(&sent).is_err(), "a payload was changed");
}
