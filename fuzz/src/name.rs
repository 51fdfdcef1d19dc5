//! Names of messages' files: one spelling each.
//!
//! A name that is read prints as it was read; a name that is built prints to what
//! reads as the same; the next generation of a name sorts behind it. No two names
//! must ever print alike.

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{Cause, Timestamp};
use lazaret_spool::Name;

use crate::words;

/// Longest name that the file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Looks at one input: as text if it is some, and as what a name is built of.
pub fn check(data: &[u8]) {
    if let Ok(name) =
        std::str::from_utf8(data).map_err(drop).and_then(|text| text.parse::<Name>().map_err(drop))
    {
        assert_eq!(name.to_string().as_bytes(), data, "there is one spelling");
        built(name);
    }
    if let Ok(name) = build(&mut Unstructured::new(data)) {
        built(name);
    }
}

fn built(name: Name) {
    let text = name.to_string();
    assert!(text.len() <= NAME_BYTES_MAX);
    assert_eq!(text.parse(), Ok(name));
    for next in [name.next(), name.cleared()] {
        assert_eq!(next.to_string().parse(), Ok(next));
        assert!(
            next.id == name.id && next.generation >= name.generation && next.due.is_none() && !next.taken
        );
    }
}

/// A name of any counts; due at any second that a calendar of four digits has.
pub(crate) fn build(u: &mut Unstructured<'_>) -> Result<Name> {
    let mut name = Name::first(words::id(u)?);
    name.generation = u32::arbitrary(u)?;
    name.strikes = u8::arbitrary(u)?;
    name.interruptions = u8::arbitrary(u)?;
    name.attempts = u32::arbitrary(u)?;
    name.due = words::maybe(u, |u| {
        let second = u.int_in_range(-62_135_596_800..=253_402_207_200_i64)?;
        Ok(Timestamp::from_second(second).expect("a time of four digits"))
    })?;
    name.taken = bool::arbitrary(u)?;
    name.cause = words::maybe(u, |u| u.choose(&Cause::ALL).copied())?;
    Ok(name)
}
