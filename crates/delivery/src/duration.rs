//! Durations as the configuration writes them: a whole number and a unit,
//! `"200ms"`, `"90s"`, `"5m"`, `"1h"`, `"2d"`.
//!
//! For serde: `#[serde(with = "lazaret_delivery::duration")]`. One unit, one
//! number: what is written must never have to be added up in the head.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// The units, with their length in milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Longest duration that may be configured, in days.
pub const DAYS_MAX: u64 = 365;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, no unit, or an unknown one.
    #[error(
        "{0:?} is no duration: write a whole number and a unit, such as \"200ms\", \"90s\", \"5m\", \"1h\" or \"2d\""
    )]
    Form(String),
    /// Longer than [`DAYS_MAX`].
    #[error("{0:?} is too long a duration: at most \"{DAYS_MAX}d\"")]
    TooLong(String),
}

/// Reads a duration.
///
/// # Errors
/// The text is none, or it is longer than [`DAYS_MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let form = || DurationError::Form(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
    if number.is_empty() {
        return Err(form());
    }
    let number: u64 = number.parse().map_err(|_| too_long())?;
    let duration = number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(too_long)?;
    let longest = Duration::from_millis(DAYS_MAX * UNITS[0].1);
    if duration <= longest { Ok(duration) } else { Err(too_long()) }
}

/// Writes a duration in the longest unit that divides it; what is below a
/// millisecond is cut off.
#[must_use]
pub fn text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |unit: &&(&str, u64)| millis != 0 && millis % unit.1 == 0;
    let (name, length) = UNITS.iter().find(fits).unwrap_or(&("s", 1000));
    format!("{}{name}", millis / length)
}

/// For serde.
///
/// # Errors
/// As the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// For serde.
///
/// # Errors
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (written, millis, shown) in [
            ("0s", 0, "0s"),
            ("200ms", 200, "200ms"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("5m", 300_000, "5m"),
            ("24h", 86_400_000, "1d"),
            ("365d", 31_536_000_000, "365d"),
        ] {
            let duration = parse(written).unwrap();
            assert_eq!((duration, text(duration).as_str()), (Duration::from_millis(millis), shown));
        }
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for wrong in ["", "5", "s", "5 s", "-5s", "1.5h", "1h30m", "5S", "٣s", "5min"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error, DurationError::Form(wrong.into()));
            assert!(error.to_string().contains("\"90s\""), "{error}");
        }
        for long in ["366d", "99999999999999999999s", "9999999999999999d"] {
            assert_eq!(parse(long), Err(DurationError::TooLong(long.into())));
        }
    }

    proptest! {
        #[test]
        fn text_form_round_trips(millis in 0..=DAYS_MAX * UNITS[0].1) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&text(duration)), Ok(duration));
        }
    }
}
