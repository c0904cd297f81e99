//! Timestamps as RFC 3339 writes them, in UTC.
//!
//! By hand, because a calendar crate is a large thing to bring in for two functions.

use log_client::types::TimestampMs;

const DAY_MS: i64 = 86_400_000;

/// `2026-11-21`, `2026-11-21T12:30:00Z`, `2026-11-21T12:30:00.250+02:00`; a space may stand for
/// the `T`. `None` if it is none of these.
pub(crate) fn parse(text: &str) -> Option<TimestampMs> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = parse_date(date)?;
    let ms = match rest.strip_prefix(['T', 't', ' ']) {
        Some(time) => parse_time(time)?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    Some(TimestampMs::new(days * DAY_MS + ms))
}

/// As in `2026-11-21T12:30:00.250Z`. Years beyond four digits are shown as plain milliseconds.
pub(crate) fn show(timestamp: TimestampMs) -> String {
    let ms = timestamp.get();
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    if !(0..=9999).contains(&year) {
        return ms.to_string();
    }
    let in_day = ms.rem_euclid(DAY_MS);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2)?;
    let days = days_from_civil(year, month, day);
    // A day that the month does not have comes back as one of the next.
    (parts.next().is_none() && civil_from_days(days) == (year, month, day)).then_some(days)
}

/// A time of day and its zone, as milliseconds since midnight UTC.
fn parse_time(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = text.split_at(zone_at);
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(c, f)| (c, Some(f)));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    // A leap second counts as the one before it.
    let second = number(parts.next()?, 2).filter(|second| *second <= 60)?.min(59);
    if parts.next().is_some() {
        return None;
    }
    let milli = fraction.map_or(Some(0), parse_fraction)?;
    Some(((hour * 60 + minute) * 60 + second) * 1_000 + milli - parse_zone(zone)?)
}

fn parse_fraction(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let milli: String = text.chars().chain("00".chars()).take(3).collect();
    milli.parse().ok()
}

/// Milliseconds that the zone is ahead of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, time) = text.split_at_checked(1)?;
    let (hours, minutes) = time.split_once(':')?;
    let minutes = number(hours, 2).filter(|hours| *hours < 24)? * 60
        + number(minutes, 2).filter(|minutes| *minutes < 60)?;
    Some(minutes * 60_000 * if sign == "-" { -1 } else { 1 })
}

/// A number of exactly this many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year; 400 years are an era of 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_that_everybody_knows() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2001-09-09T01:46:40Z", 1_000_000_000_000),
            ("2000-02-29", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2026-11-21T14:30:00.25+02:00", 1_795_264_200_250),
            ("2026-11-21 12:30:00.250Z", 1_795_264_200_250),
        ] {
            assert_eq!(parse(text), Some(TimestampMs::new(ms)), "{text}");
        }
        assert_eq!(show(TimestampMs::new(1_795_264_200_250)), "2026-11-21T12:30:00.250Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:30:00",
            "2026-11-21T12:30Z",
            "2026-11-21T12:30:00.Z",
            "2026-11-21T12:30:00+2:00",
            "26-11-21",
            "2026-11-2é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_a_long_time_comes_back() {
        for day in -800_000..800_000 {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), day);
        }
        assert_eq!(show(TimestampMs::new(i64::MAX)), i64::MAX.to_string());
    }
}
