//! Message ids: 26 characters that sort by arrival time and are never reused.
//!
//! The form is that of a ULID: 48 bits of Unix time in milliseconds, then 80
//! bits that make the id unique, in Crockford's base 32. Making one needs a
//! clock and randomness, so that is the spool's work; this module must never
//! do either.

use std::fmt;
use std::str::FromStr;

/// Crockford's base 32: no I, L, O or U, so that ids survive being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Identifies one message for ever. Orders by arrival time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// Length of the text form, in bytes.
    pub const TEXT_BYTES: usize = 26;

    /// Builds an id from Unix time in milliseconds (the low 48 bits count) and
    /// a number of which the low 80 bits make the id unique.
    #[must_use]
    pub fn from_parts(millis: u64, unique: u128) -> Self {
        let time = u128::from(millis & ((1 << 48) - 1)) << 80;
        Self(time | (unique & ((1 << 80) - 1)))
    }

    /// A later id of about the same time; the low 32 bits of `step` keep others
    /// from guessing it.
    #[must_use]
    pub fn following(self, step: u128) -> Self {
        Self(self.0.saturating_add(1 + (step & u128::from(u32::MAX))))
    }

    /// The arrival time that the id carries, in Unix milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 >> 80).expect("48 bits fit into 64")
    }

    /// The id as a number, for frames and counters.
    #[must_use]
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The id that [`to_u128`](Self::to_u128) gave.
    #[must_use]
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_BYTES];
        for (place, byte) in text.iter_mut().enumerate() {
            let shift = 5 * (Self::TEXT_BYTES - 1 - place);
            *byte = ALPHABET[((self.0 >> shift) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no message id: expected 26 characters of 0-9 and A-Z without I, L, O, U")]
pub struct IdError {
    text: String,
}

impl FromStr for MessageId {
    type Err = IdError;

    /// Parses exactly the form that [`Display`](fmt::Display) prints: there is
    /// one spelling of an id, so that one file name means one message.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { text: text.chars().take(64).collect() };
        if text.len() != Self::TEXT_BYTES || text.as_bytes()[0] > b'7' {
            return Err(error());
        }
        text.bytes()
            .try_fold(0, |number: u128, byte| {
                let digit = ALPHABET.iter().position(|&letter| letter == byte).ok_or_else(error)?;
                Ok(number << 5 | digit as u128)
            })
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(number: u128) {
            let id = MessageId::from_u128(number);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn text_order_is_numeric_order(a: u128, b: u128) {
            let (a, b) = (MessageId::from_u128(a), MessageId::from_u128(b));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<MessageId>();
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let text = MessageId::from_parts(1_763_798_400_000, 7).to_string();
        assert!(text.to_lowercase().parse::<MessageId>().is_err());
        assert!("8ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<MessageId>().is_err());
        assert!(text[1..].parse::<MessageId>().is_err());
    }
}
