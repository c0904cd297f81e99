//! Quantities as people write and read them.

use std::time::Duration;

/// A number and a unit: `500ms`, `30s`, `15m`, `2h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("{text:?} is no duration: write a number and ms, s, m, h or d, as in 2h");
    let unit_at = text.find(|char: char| !char.is_ascii_digit()).ok_or_else(expected)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(expected)
}

/// Bytes in the largest unit that leaves a number of at least 1.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut shown = "B";
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, shown) = (value / 1024.0, unit);
    }
    if shown == "B" { format!("{bytes} B") } else { format!("{value:.1} {shown}") }
}

/// How many of something: `1 record`, `2 records`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}{}", plural(noun)),
    }
}

fn plural(noun: &str) -> &'static str {
    if noun.ends_with("ch") { "es" } else { "s" }
}

/// A duration in its two largest units: `250ms`, `12s`, `3m 12s`, `2h 5m`, `4d 0h`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_not_many() {
        assert_eq!(counted(1, "partition"), "1 partition");
        assert_eq!(counted(0, "batch"), "0 batches");
        assert_eq!(counted(2, "record"), "2 records");
    }

    #[test]
    fn durations_need_a_unit_and_fit() {
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "2", "h", "-1s", "2 h", "1w", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
        for (seconds, shown) in
            [(59, "59s"), (60, "1m 0s"), (3_599, "59m 59s"), (7_500, "2h 5m"), (86_400, "1d 0h")]
        {
            assert_eq!(show_duration(Duration::from_secs(seconds)), shown);
        }
        assert_eq!(show_duration(Duration::from_millis(999)), "999ms");
    }

    #[test]
    fn bytes_are_shown_in_the_largest_whole_unit() {
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(u64::MAX), "16777216.0 TiB");
    }
}
