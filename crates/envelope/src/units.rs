//! Sizes and spans of time as people write them in a configuration: `24MiB`,
//! `200ms`, `2h`.
//!
//! A number without a unit is refused: it must never be guessed what was meant.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no size or no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: expected a whole number and one of {units}, such as {example:?}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    units: &'static str,
    example: &'static str,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A span of time, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Largest first, so that printing finds the shortest text.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// In milliseconds, largest first.
const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = units.iter().find(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
    let (name, factor) = fits.or(units.last()).expect("there are units");
    f.pad(&format!("{}{name}", value / factor))
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &SIZES).map(Self).ok_or_else(|| UnitError {
            text: text.chars().take(64).collect(),
            what: "size",
            units: "B, KiB, MiB, GiB, TiB",
            example: "24MiB",
        })
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &SPANS).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(|| UnitError {
            text: text.chars().take(64).collect(),
            what: "span of time",
            units: "ms, s, m, h, d",
            example: "30s",
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self.0, &SIZES, f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS, f)
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(ByteSize);
as_text!(Span);

/// For `#[serde(with = "lazaret_envelope::span")]` on a [`Duration`].
pub mod span {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, Span};

    /// Writes it as a [`Span`].
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        Span(*duration).serialize(serializer)
    }

    /// Reads it as a [`Span`].
    ///
    /// # Errors
    /// No span of time, or the deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Span::deserialize(deserializer).map(|span| span.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        assert_eq!("24MiB".parse(), Ok(ByteSize(24 << 20)));
        assert_eq!("1 KiB".parse(), Ok(ByteSize(1024)));
        assert_eq!("200ms".parse(), Ok(Span(Duration::from_millis(200))));
        assert_eq!("2h".parse(), Ok(Span(Duration::from_secs(7200))));
    }

    #[test]
    fn what_might_be_meant_otherwise_is_refused() {
        for text in ["", "24", "24MB", "-1s", "1.5h", "s", "99999999999999d"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.to_string().contains("such as \"30s\""), "{error}");
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_prints_as_it_is_written() {
        for text in ["24MiB", "1KiB", "1025B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["1s", "90s", "250ms", "1d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
