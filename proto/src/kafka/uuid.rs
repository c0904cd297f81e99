//! The 16 bytes that name a topic, beyond its being deleted and made again (KIP-516).

use std::fmt;

/// A topic id, or any other UUID on the wire. Kafka prints them in base64, and so does this type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// Stands for no id.
    pub const ZERO: Self = Self([0; 16]);

    /// The id of these bytes, the most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, the most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it stands for no id.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        // 22 digits of 6 bits: four bits more than there are, which are zeros at the end.
        let digit = |place: u32| match 122_u32.checked_sub(6 * place) {
            Some(shift) => (number >> shift) as usize & 63,
            None => (number << 4) as usize & 63,
        };
        let text: String = (0..22).map(|place| char::from(BASE64_URL[digit(place)])).collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an id in a log of Cairn can be looked for in what Kafka's tools print.
    #[test]
    fn is_printed_as_kafka_prints_it() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::from_bytes([0xff; 16]).to_string(), "_____________________w");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(Uuid::from_bytes(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
