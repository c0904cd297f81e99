//! Which APIs there are, in which versions, behind which headers. Generated from `kafka/*.table`.

use std::fmt;

use super::message::{Shape, Versions};

include!(concat!(env!("OUT_DIR"), "/kafka_api_keys.rs"));

impl ApiKey {
    /// Its number on the wire.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Its name, as in `Fetch`.
    pub const fn name(self) -> &'static str {
        self.shape().name
    }

    /// The versions of its messages that the codec reads and writes.
    pub const fn versions(self) -> Versions {
        self.shape().versions
    }

    /// The versions to advertise: those of [`ApiKey::versions`], except that Produce starts at 0.
    ///
    /// An older librdkafka that finds no Produce version 0 silently stops compressing
    /// (KAFKA-18659). It goes on to use the highest version that it knows.
    pub const fn advertised_versions(self) -> Versions {
        let versions = self.versions();
        match self {
            Self::Produce => Versions { first: 0, ..versions },
            _ => versions,
        }
    }

    /// The first version whose messages have compact lengths and tagged fields, if there is one.
    pub const fn flexible_from(self) -> Option<i16> {
        self.shape().flexible_from
    }

    /// Whether requests of this version, and of all that follow it, have tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        self.shape().is_flexible(version)
    }

    /// Whether the header of a response in this version has tagged fields (header version 1).
    ///
    /// That of ApiVersions never has: a client reads it before it knows what the broker speaks
    /// (KIP-511).
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.is_flexible(version)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_keys() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(key.number()), Some(key));
            assert!(key.advertised_versions().last == key.versions().last);
        }
        assert_eq!(ApiKey::from_number(-1), None);
        assert_eq!(ApiKey::from_number(4), None);
    }

    #[test]
    fn api_versions_answers_behind_the_plain_header() {
        assert!(ApiKey::ApiVersions.is_flexible(3));
        assert!(!ApiKey::ApiVersions.has_flexible_response_header(3));
        assert!(ApiKey::Fetch.has_flexible_response_header(12));
        assert!(!ApiKey::Fetch.has_flexible_response_header(11));
    }
}
