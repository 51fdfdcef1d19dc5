//! Whether content says the same again and again, judged by its beginning.
//!
//! What attacks a parser has to: its cost grows with the number of things that are alike.
//! Nobody may be blamed for that, and mail that attacks nobody does it, too. It only tells
//! which of many messages that took long are the least likely to be poison, and which are of
//! one kind.

use std::cell::OnceCell;
use std::io::{self, Read};

use lazaret_spool::Message;

/// How much of it is read.
const TOP_BYTES: usize = 8 << 10;

/// Bytes that are compared with others, at each place.
const WINDOW_BYTES: usize = 4;

/// In varied content at least one of so many places has bytes that no place before had. Of
/// a thousand benign messages 995 are varied.
const PLACES_PER_NEW: usize = 5;

/// Places that are told apart, one bit each. With eight times as many as are looked at few
/// are taken for others.
const BITS: usize = 8 * TOP_BYTES;

/// Smaller messages are not large: a first look at one is short. The largest repetitive one
/// of 1,259 benign messages has 138 KB.
const LARGE_BYTES_MIN: u64 = 192 << 10;

/// What tells which of the messages that took long goes first: what is not repetitive, and
/// then the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suspicion {
    /// It says the same again and again.
    pub(crate) repetitive: bool,
    /// In bytes.
    pub(crate) size: u64,
}

/// A message, and whether it is repetitive once that was asked.
pub(crate) struct Variety<'a> {
    message: &'a Message,
    repetitive: OnceCell<bool>,
}

impl<'a> Variety<'a> {
    /// Of this message; none of it is read yet.
    pub(crate) fn of(message: &'a Message) -> Self {
        Self { message, repetitive: OnceCell::new() }
    }

    /// How likely it is to be poison.
    pub(crate) fn suspicion(&self) -> Suspicion {
        Suspicion { repetitive: self.is_repetitive(), size: self.size() }
    }

    /// Whether it is large and repetitive.
    pub(crate) fn is_large_and_repetitive(&self) -> bool {
        self.size() >= LARGE_BYTES_MIN && self.is_repetitive()
    }

    fn size(&self) -> u64 {
        self.message.envelope.content.size
    }

    /// That a message can't be read is for others to find out.
    fn is_repetitive(&self) -> bool {
        *self.repetitive.get_or_init(|| is_repetitive(self.message.content()).unwrap_or(true))
    }
}

/// Whether content is repetitive.
///
/// # Errors
/// It can't be read.
fn is_repetitive(content: impl Read) -> io::Result<bool> {
    let mut top = Vec::with_capacity(TOP_BYTES);
    content.take(TOP_BYTES as u64).read_to_end(&mut top)?;
    let mut seen = [0_u64; BITS / 64];
    let mut new = 0;
    let windows = top.windows(WINDOW_BYTES);
    let places = windows.len();
    for window in windows {
        let bit = place(window);
        let (word, mask) = (&mut seen[bit / 64], 1 << (bit % 64));
        new += usize::from(*word & mask == 0);
        *word |= mask;
    }
    Ok(new * PLACES_PER_NEW < places)
}

/// Fibonacci hashing: the high bits of a product with 2^32 divided by the golden ratio.
fn place(window: &[u8]) -> usize {
    let word = window.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
    word.wrapping_mul(0x9E37_79B9) as usize >> (32 - BITS.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_is_told_from_what_does_not() {
        let repetitive = |text: &str| is_repetitive(text.as_bytes()).unwrap();
        let head = "From: anna@example.org\r\nSubject: the minutes of last Tuesday\r\n\r\n";
        let line =
            |number: u32| format!("{} bottles of {:x}\r\n", number * 7, number.wrapping_mul(0x9E37_79B9));
        let varied: String = (0..500).map(line).collect();
        assert!(!repetitive(head) && !repetitive("") && !repetitive("abc"));
        assert!(!repetitive(&(head.to_owned() + &varied)));
        for unit in ["--leaf\r\n\r\n\r\n", "=?ee?Q?o", "\0", "Content-Type: message/rfc822\r\n\r\n"] {
            assert!(repetitive(&(head.to_owned() + &unit.repeat(10_000 / unit.len()))), "{unit}");
            assert!(!repetitive(&(varied.clone() + &unit.repeat(10_000))), "only the beginning is read");
        }
    }
}
