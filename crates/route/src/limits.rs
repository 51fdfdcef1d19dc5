//! What the structure of a message may be, each limit with its name and unit.
//!
//! They stand behind the memory and time budgets and are generous: mail that
//! can be judged within its budget must never fail because of a default.

use serde::{Deserialize, Serialize};

/// The limits on the structure of a message. The header limits are tested
/// before anything is parsed, `parts` and `nesting` on what was parsed; those
/// that no condition needs, `hops` apart, are not tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Recipients of one message. Default 500,000, the most that an envelope
    /// can hold.
    pub recipients: usize,
    /// Bytes of the message's header, up to the first empty line. Default
    /// 64 MiB: a message of the usual `max_size` (50 MiB) may be one header
    /// field, which costs little.
    pub header_bytes: usize,
    /// Fields of the message's header. Default 100,000; of real mail, hundreds.
    pub header_count: usize,
    /// Separators (`,` `;` `\`) in address fields of the message's header, each
    /// of which can cost the parser 48 bytes. Default 16 Mi (16,777,216), what
    /// 16 MiB of separators hold: by default the memory budget decides.
    pub address_tokens: usize,
    /// Parts of all kinds and at all depths, forwarded messages and multiparts
    /// included. Default 100,000; of real mail at most 2,001 were seen.
    pub parts: usize,
    /// Levels of parts inside parts, multiparts and forwarded messages alike; a
    /// message of one part has 1. Default 20,000: a parsed message is dropped by
    /// recursion, which at this depth needs less than 2 MiB of stack, 16 MiB in
    /// debug builds. Of real mail at most 26 were seen.
    pub nesting: usize,
    /// Hosts that a message has come through, told by the `Received:` fields of
    /// its header. One with more goes round in a loop: it is no fault, but all its
    /// recipients are refused (5.4.6). Always tested. Default 100: RFC 5321 section
    /// 6.3 asks for "a large rejection threshold, normally at least 100", and an MTA
    /// around us with a lower one (Postfix: 50, Exim: 30) ends its loops itself.
    pub hops: usize,
}

impl Limits {
    /// What any mail has, and the message on which each cell proves itself: with less
    /// of anything, mail would be deferred whatever it is.
    pub const LEAST: Self = Self {
        recipients: 1,
        header_bytes: 158,
        header_count: 5,
        address_tokens: 0,
        parts: 3,
        nesting: 2,
        hops: 1,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            recipients: lazaret_envelope::RECIPIENTS_MAX,
            header_bytes: 64 << 20,
            header_count: 100_000,
            address_tokens: 16 << 20,
            parts: 100_000,
            nesting: 20_000,
            hops: 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_round_trip_and_may_be_given_one_by_one() {
        let limits = Limits { parts: 7, ..Limits::default() };
        let json = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        assert_eq!(toml::from_str::<Limits>("parts = 7").unwrap(), limits);
        assert!(toml::from_str::<Limits>("part = 7").is_err());
    }
}
