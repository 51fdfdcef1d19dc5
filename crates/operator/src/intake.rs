//! The `[intake]` table: when no mail is taken in.
//!
//! What it is for is said where it is obeyed. A share must never be zero: intake
//! would be closed for good.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use lazaret_envelope::ByteSize;
use lazaret_intake::Reserve;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Above which share of time intake closes. A machine with memory to spare shows
/// less than 1 %, one that thrashes more than 30.
const MEMORY_PRESSURE: Percent = Percent(10);

/// Room for reports and journals of tens of thousands of messages, and for what a
/// hundred sessions take before they see that there is too little.
const RESERVE: ByteSize = ByteSize(64 << 20);

/// Inodes for the same: a report or a journal is one.
const RESERVE_INODES: u64 = 1_000;

/// Twice the backlog that Lazaret is tried with, and less than half of what a flat
/// directory of ext4 has room for: beyond that a message could not even be moved.
const QUEUE_LENGTH: NonZeroU64 = NonZeroU64::new(4_000_000).expect("not zero");

/// The `[intake]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Share of ten seconds in which something on the machine, or in our control
    /// group, had to wait for memory, above which intake closes. Default `"10%"`;
    /// `"100%"` for never.
    pub memory_pressure: Percent,
    /// Free bytes on the spool's disk that new mail may not use, so that what is
    /// there can go on: below it, clients are told 452. Default `"64MiB"`.
    pub reserve: ByteSize,
    /// Free inodes, likewise. Default 1,000.
    pub reserve_inodes: u64,
    /// Messages on their way (in `incoming/`, `claimed/`, `outbound/` and `waiting/`)
    /// with which the queue is full: clients are told 452 until there are fewer by an
    /// eighth. They are not counted each time one comes, so that it closes up to a
    /// sixteenth earlier, or when some more have come. Default 4,000,000.
    pub queue_length: NonZeroU64,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            memory_pressure: MEMORY_PRESSURE,
            reserve: RESERVE,
            reserve_inodes: RESERVE_INODES,
            queue_length: QUEUE_LENGTH,
        }
    }
}

impl IntakeConfig {
    /// Room that new mail may not use.
    #[must_use]
    pub fn reserve(&self) -> Reserve {
        Reserve { bytes: self.reserve.0, inodes: self.reserve_inodes }
    }
}

/// A share, from 1 % to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u8);

impl Percent {
    /// The share in percent.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let number = number.filter(|number| (1..=100).contains(number));
        number
            .map(Self)
            .ok_or_else(|| format!("{text:?}: expected a share from \"1%\" to \"100%\", such as \"10%\""))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        let config: IntakeConfig = toml::from_str("memory_pressure = \"25%\"").unwrap();
        assert_eq!(config.memory_pressure.to_string(), "25%");
        assert_eq!(config.reserve(), Reserve { bytes: 64 << 20, inodes: 1_000 });
        for text in ["10", "0%", "101%", "-1%", "1.5%", "%"] {
            assert!(text.parse::<Percent>().unwrap_err().contains("such as \"10%\""), "{text}");
        }
    }
}
