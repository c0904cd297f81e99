//! Which partition a key belongs to: Kafka's default partitioner.
//!
//! The rule: the same key goes to the same partition as from Kafka's Java client, so that both
//! can produce to one topic. The hash is MurmurHash2 with 32 bits over the key's bytes, seeded as
//! Kafka seeds it. Records without a key have no place of their own: who sends them spreads them.

use std::num::NonZeroU32;

/// The partition of `key` among `partitions`: 0 to `partitions - 1`.
pub fn partition_for_key(key: &[u8], partitions: NonZeroU32) -> u32 {
    // Kafka clears the sign instead of taking the absolute value.
    (murmur2(key) & i32::MAX as u32) % partitions
}

/// MurmurHash2, 32 bits, of `data`.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;

    let (words, tail) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Kafka's own tests pin (UtilsTest.testMurmur2).
    #[test]
    fn hashes_are_those_of_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn negative_hashes_lead_to_a_partition() {
        let partitions = NonZeroU32::new(7).unwrap();
        // toPositive(-973932308) is 1173551340.
        assert_eq!(partition_for_key(b"21", partitions), 1_173_551_340 % 7);
    }
}
