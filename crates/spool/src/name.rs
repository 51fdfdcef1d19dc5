//! File names of messages: the id and the counts that recovery must know
//! without opening the file.
//!
//! `ID.gN[.sN][.iN][.aN][.dTIME][.t][.cCAUSE]`; a count of zero is not written.
//! There is one spelling of a name: what does not print as it was read is no
//! name of ours.

use std::fmt;
use std::str::FromStr;

use lazaret_envelope::{Cause, MessageId, Timestamp};

/// The name of a message's file. Sorts by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The message.
    pub id: MessageId,
    /// Raised by every rename: of two names of one id the higher is the newer.
    pub generation: u32,
    /// How often Lazaret went down while it was claimed (`s`).
    pub strikes: u8,
    /// How often Lazaret went down while it was being delivered (`i`).
    pub interruptions: u8,
    /// How many rounds of delivery it has behind it (`a`).
    pub attempts: u32,
    /// When it is due again (`d`), in whole seconds.
    pub due: Option<Timestamp>,
    /// In `tmp/`: the whole copy of a dropped file, safe to accept (`t`).
    pub taken: bool,
    /// In `deferred/`: why, where there was no room for a report (`c`).
    pub cause: Option<Cause>,
}

/// How a due time is written: UTC, sortable, no characters that a shell minds.
const DUE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

impl Name {
    /// The first name of a message: nothing happened to it yet.
    #[must_use]
    pub fn first(id: MessageId) -> Self {
        Self {
            id,
            generation: 0,
            strikes: 0,
            interruptions: 0,
            attempts: 0,
            due: None,
            taken: false,
            cause: None,
        }
    }

    /// The same counts in the next generation: every rename goes through here.
    #[must_use]
    pub fn next(self) -> Self {
        Self { generation: self.generation.saturating_add(1), taken: false, cause: None, due: None, ..self }
    }

    /// The next generation with all counts cleared, as after an operator's word.
    #[must_use]
    pub fn cleared(self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..Self::first(self.id) }
    }

    /// Whether an earlier delivery may have been cut short, so that a repeat of
    /// it is possible.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self.strikes > 0 || self.interruptions > 0 || self.attempts > 0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.g{}", self.id, self.generation)?;
        let counts = [("s", u32::from(self.strikes)), ("i", self.interruptions.into()), ("a", self.attempts)];
        for (letter, count) in counts {
            if count > 0 {
                write!(f, ".{letter}{count}")?;
            }
        }
        if let Some(due) = self.due {
            write!(f, ".d{}", due.strftime(DUE_FORMAT))?;
        }
        if self.taken {
            f.write_str(".t")?;
        }
        self.cause.map_or(Ok(()), |cause| write!(f, ".c{cause}"))
    }
}

/// A file name that is no message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of a message")]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut words = text.split('.');
        let id = words.next().and_then(|id| id.parse().ok()).ok_or(NameError)?;
        let mut name = Self::first(id);
        for word in words {
            let mut letters = word.chars();
            let letter = letters.next().ok_or(NameError)?;
            name.set(letter, letters.as_str()).ok_or(NameError)?;
        }
        // Zero counts, leading zeros, another order, a word twice: not ours.
        if name.to_string() == text { Ok(name) } else { Err(NameError) }
    }
}

impl Name {
    fn set(&mut self, letter: char, value: &str) -> Option<()> {
        match letter {
            'g' => self.generation = value.parse().ok()?,
            's' => self.strikes = value.parse().ok()?,
            'i' => self.interruptions = value.parse().ok()?,
            'a' => self.attempts = value.parse().ok()?,
            'd' => self.due = Some(parse_due(value)?),
            't' if value.is_empty() => self.taken = true,
            'c' => self.cause = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

fn parse_due(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime(DUE_FORMAT, text).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// A time cut to whole seconds, as names carry it.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Name> {
        let due =
            proptest::option::of((0_i64..4_000_000_000).prop_map(|s| Timestamp::from_second(s).unwrap()));
        let cause = proptest::option::of(prop::sample::select(Cause::ALL.to_vec()));
        (any::<(u128, u32, u8, u8, u32, bool)>(), due, cause).prop_map(
            |((id, generation, strikes, interruptions, attempts, taken), due, cause)| Name {
                id: MessageId::from_u128(id),
                generation,
                strikes,
                interruptions,
                attempts,
                due,
                taken,
                cause,
            },
        )
    }

    proptest! {
        #[test]
        fn text_form_round_trips(name in names()) {
            prop_assert_eq!(name.to_string().parse(), Ok(name));
            prop_assert!(name.to_string().len() < 128, "far below NAME_MAX");
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}|01KAN3X0000000000000000000(\\.[gsiadtc][0-9TZ]{0,16}){0,4}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_are_readable() {
        let mut name = Name::first(MessageId::from_parts(1_763_798_400_000, 1));
        name.generation = 4;
        name.strikes = 1;
        assert_eq!(name.to_string(), "01KAN97F000000000000000001.g4.s1");
        name.due = Some("2026-11-22T07:56:00Z".parse().unwrap());
        assert_eq!(name.to_string(), "01KAN97F000000000000000001.g4.s1.d20261122T075600Z");
        assert_eq!(name.next().to_string(), "01KAN97F000000000000000001.g5.s1");
        assert_eq!(name.cleared().to_string(), "01KAN97F000000000000000001.g5");
    }

    #[test]
    fn there_is_one_spelling() {
        let wrong = ["", ".g1.s0", ".g01", ".s1.g1", ".g1.s1.s1", ".g1.", ".g1.x", ".g1.d2026", ".g1.cnone"];
        for wrong in wrong {
            let text = format!("01KAN97F000000000000000001{wrong}");
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text}");
        }
    }
}
