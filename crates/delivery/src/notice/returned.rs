//! What a notice returns of the message that it is about: the header, or all of
//! it if RET asks for that and it is small.
//!
//! Bytes are copied up to the first empty line; they must never be parsed.

use std::io::Read;

use lazaret_envelope::{Content, Ret};
use lazaret_spool::Message;

/// Most bytes of a header that are returned.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Largest message that is returned whole, in bytes.
const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Longest line that may stand in a message, in bytes, without its CRLF (RFC 5321
/// section 4.5.3.1.6).
const LINE_BYTES_MAX: usize = 998;

/// A piece of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// Its header, perhaps not to its end.
    Header(Vec<u8>),
    /// All of it: its lines may stand in another message as they are.
    Whole(Vec<u8>),
}

impl Returned {
    /// Reads as much of a message as is returned. RFC 3461 section 4.3: all of it
    /// only with a failure.
    #[must_use]
    pub(crate) fn read(message: &Message, tells_of_failure: bool) -> Self {
        let Content { size, .. } = message.envelope.content;
        let asked = message.envelope.transaction.sender.params.ret == Some(Ret::Full);
        Self::of(message.content(), asked && tells_of_failure && size <= WHOLE_BYTES_MAX)
    }

    /// Takes the whole message if that is wanted and its lines allow it, else its
    /// header. What can't be read is not returned: the sender is told all the same.
    #[must_use]
    pub fn of(content: impl Read, whole: bool) -> Self {
        let most = if whole { WHOLE_BYTES_MAX } else { HEADER_BYTES_MAX as u64 };
        let mut bytes = Vec::new();
        let read = content.take(most).read_to_end(&mut bytes);
        if whole && read.is_ok() && has_fine_lines(&bytes) {
            return Self::Whole(bytes);
        }
        // What was read before an error is good enough.
        bytes.truncate(HEADER_BYTES_MAX);
        Self::Header(header(bytes))
    }

    /// The piece as it is in the message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(bytes) | Self::Whole(bytes) => bytes,
        }
    }
}

/// The bytes up to the first empty line, or else to the last line end.
fn header(mut start: Vec<u8>) -> Vec<u8> {
    let ends = |pattern: &[u8]| start.windows(pattern.len()).position(|window| window == pattern);
    let end = if start.starts_with(b"\r\n") {
        0
    } else if let Some(end) = ends(b"\r\n\r\n") {
        end + 2
    } else {
        start.windows(2).rposition(|window| window == b"\r\n").map_or(start.len(), |end| end + 2)
    };
    start.truncate(end);
    start
}

/// Whether the lines may go out as they are: ended by CRLF, none too long, no NUL.
pub(super) fn has_fine_lines(bytes: &[u8]) -> bool {
    bytes.split_inclusive(|&byte| byte == b'\n').all(|line| {
        let inside = line.strip_suffix(b"\r\n").unwrap_or(line);
        inside.len() <= LINE_BYTES_MAX && !inside.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_the_first_empty_line() {
        for (message, expected) in [
            ("a: b\r\n\r\nbody\r\n", "a: b\r\n"),
            ("a: b\r\nc: d\r\n", "a: b\r\nc: d\r\n"),
            ("\r\nbody\r\n\r\nx", ""),
            ("a: b\r\nc: cut off", "a: b\r\n"),
            ("no line end", "no line end"),
            ("", ""),
        ] {
            assert_eq!(header(message.as_bytes().to_vec()), expected.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn lines_that_another_message_can_not_hold_are_found() {
        let long = format!("{}\r\n", "x".repeat(LINE_BYTES_MAX));
        assert!(
            has_fine_lines(b"")
                && has_fine_lines("\u{e9}\r\nx".as_bytes())
                && has_fine_lines(long.as_bytes())
        );
        let longer = format!("x{long}");
        for bytes in [b"a\nb", &b"a\rb\r\n"[..], b"a\0\r\n", longer.as_bytes(), b"a\r", b"a\r\r\n"] {
            assert!(!has_fine_lines(bytes), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
