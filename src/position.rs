//! `--from` and `--until`: places in a topic as people write them.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use log_client::{
    OffsetSpec, StartAt,
    types::{Offset, TimestampMs},
};

use crate::{rfc3339, unit::parse_duration};

/// Numbers from here on are milliseconds since 1970 (it is the year 2001), smaller ones offsets.
/// Who has so large an offset, or so old a time, says which it is with a prefix.
const SMALLEST_EPOCH_MS: i64 = 1_000_000_000_000;

/// A place in each partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Earliest,
    Latest,
    Offset(Offset),
    /// The first record at or after it.
    Timestamp(TimestampMs),
    /// As a timestamp, counted back from now.
    Ago(Duration),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(number) = text.strip_prefix("offset:") {
            return offset(number).map(Self::Offset).ok_or_else(|| expected(text));
        }
        if let Some(number) = text.strip_prefix("ms:") {
            let ms = number.parse().map_err(|_| expected(text))?;
            return Ok(Self::Timestamp(TimestampMs::new(ms)));
        }
        if let Some(offset) = offset(text) {
            let ms = offset.get();
            return Ok(match ms < SMALLEST_EPOCH_MS {
                true => Self::Offset(offset),
                false => Self::Timestamp(TimestampMs::new(ms)),
            });
        }
        if let Some(timestamp) = rfc3339::parse(text) {
            return Ok(Self::Timestamp(timestamp));
        }
        parse_duration(text).map(Self::Ago).map_err(|_| expected(text))
    }
}

fn offset(text: &str) -> Option<Offset> {
    text.parse().ok().and_then(Offset::new)
}

fn expected(text: &str) -> String {
    format!(
        "{text:?} is no place in a topic: write earliest, latest, an offset, a time \
         (2026-11-21T12:30:00Z, or milliseconds since 1970) or how long ago (2h)"
    )
}

impl Position {
    pub(crate) fn start(self) -> StartAt {
        match self {
            Self::Earliest => StartAt::Earliest,
            Self::Latest => StartAt::Latest,
            Self::Offset(offset) => StartAt::Offset(offset),
            Self::Timestamp(timestamp) => StartAt::Timestamp(timestamp),
            Self::Ago(ago) => StartAt::Timestamp(before_now(ago)),
        }
    }

    /// What to ask the broker for to find it; `None` if it says itself which offset it is.
    pub(crate) fn lookup(self) -> Option<OffsetSpec> {
        match self {
            Self::Earliest => Some(OffsetSpec::LogStart),
            Self::Latest => Some(OffsetSpec::HighWatermark),
            Self::Offset(_) => None,
            Self::Timestamp(timestamp) => Some(OffsetSpec::Timestamp(timestamp)),
            Self::Ago(ago) => Some(OffsetSpec::Timestamp(before_now(ago))),
        }
    }
}

pub(crate) fn before_now(ago: Duration) -> TimestampMs {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs::new(now.as_millis() as i64 - ago.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_offsets_until_they_are_times() {
        let offset = |value| Position::Offset(Offset::new(value).unwrap());
        let time = |ms| Position::Timestamp(TimestampMs::new(ms));
        for (text, position) in [
            ("earliest", Position::Earliest),
            ("latest", Position::Latest),
            ("0", offset(0)),
            ("999999999999", offset(999_999_999_999)),
            ("1000000000000", time(1_000_000_000_000)),
            ("offset:1000000000000", offset(1_000_000_000_000)),
            ("ms:5", time(5)),
            ("1970-01-02", time(86_400_000)),
            ("2h", Position::Ago(Duration::from_secs(7200))),
        ] {
            assert_eq!(text.parse(), Ok(position), "{text}");
        }
        for bad in ["", "-1", "yesterday", "offset:-1", "ms:x", "2026-11-31"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
