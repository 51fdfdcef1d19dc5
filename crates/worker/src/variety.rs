//! Whether content says the same again and again, judged by its beginning.
//!
//! What attacks a parser has to: its cost grows with the number of things that are alike.
//! Nobody may be blamed for that, and mail that attacks nobody does it, too. It only tells
//! which of many messages that took long are the least likely to be poison.

use std::io::{self, Read};

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

/// Whether content is repetitive.
///
/// # Errors
/// It can't be read.
pub(crate) fn is_repetitive(content: impl Read) -> io::Result<bool> {
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
