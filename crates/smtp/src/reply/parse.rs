//! Reads the replies of a server from bytes in pieces of any size.
//!
//! Lenient about text, line ends (a bare LF ends a line as well) and a missing
//! blank behind the code; strict about codes, because they decide what becomes
//! of mail. It must never hold more than [`REPLY_LINES_MAX`] lines of
//! [`REPLY_LINE_BYTES_MAX`] bytes.

use lazaret_envelope::Line;

use super::{EnhancedStatus, Reply};

/// Most lines of one reply; an EHLO reply has about twenty.
pub const REPLY_LINES_MAX: usize = 128;

/// Longest line of a reply in bytes, without its line end. RFC 5321 section
/// 4.5.3.1.5 allows 512; some servers write longer ones.
pub const REPLY_LINE_BYTES_MAX: usize = 1024;

/// Why the bytes of a server are no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not start with a code from 200 to 599, alone or before a
    /// blank or a hyphen.
    #[error("not a reply: {0:?}")]
    Malformed(Line),
    /// RFC 5321 section 4.2.1: "the reply code on each of the lines MUST be
    /// the same".
    #[error("the lines of a reply have different codes: {first}, then {then}")]
    Codes {
        /// The code of its first line.
        first: u16,
        /// Another one.
        then: u16,
    },
    /// A line is longer than [`REPLY_LINE_BYTES_MAX`].
    #[error("a reply line is longer than {REPLY_LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// The reply has more than [`REPLY_LINES_MAX`] lines.
    #[error("a reply has more than {REPLY_LINES_MAX} lines")]
    TooManyLines,
}

/// Puts replies together.
#[derive(Debug, Clone, Default)]
pub struct ReplyParser {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The reply that is not complete yet.
    reply: Option<Reply>,
}

impl ReplyParser {
    /// Reads from `input` until a reply is complete; `None` if more is needed.
    ///
    /// # Errors
    /// What the server says is no reply. The connection can't be used any more:
    /// nobody knows where the next reply starts.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while !input.is_empty() {
            let end = input.iter().position(|&byte| byte == b'\n');
            let piece = &input[..end.unwrap_or(input.len())];
            *input = &input[end.map_or(input.len(), |end| end + 1)..];
            // One byte more for the CR.
            if self.line.len() + piece.len() > REPLY_LINE_BYTES_MAX + 1 {
                return Err(ReplyError::LineTooLong);
            }
            self.line.extend_from_slice(piece);
            if end.is_some() && self.line_complete()? {
                return Ok(self.reply.take());
            }
        }
        Ok(None)
    }

    /// Takes the complete line into the reply; returns whether it is its last.
    fn line_complete(&mut self) -> Result<bool, ReplyError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let (code, last, text) = split(line).ok_or_else(|| ReplyError::Malformed(Line::escaped(line)))?;
        let reply = self.reply.get_or_insert(Reply { code, enhanced: None, text: Vec::new() });
        if reply.code != code {
            return Err(ReplyError::Codes { first: reply.code, then: code });
        }
        if reply.text.len() == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        let text = match EnhancedStatus::take(text, code / 100) {
            Some((status, rest)) if *reply.enhanced.get_or_insert(status) == status => rest,
            _ => text,
        };
        reply.text.push(Line::escaped(text));
        Ok(last)
    }
}

/// Splits a line into its code, whether it is the last one, and its text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    ((200..=599).contains(&code) && digits[0].is_ascii_digit()).then_some((code, last, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<Reply>, ReplyError> {
        ReplyParser::default().feed(&mut text.as_bytes())
    }

    #[test]
    fn replies_of_the_wild_are_read() {
        for (text, shown) in [
            ("250\r\n", "250"),
            ("250 \r\n", "250"),
            ("250 OK\n", "250 OK"),
            ("250 2.1.0 OK\r\n", "250 2.1.0 OK"),
            ("250 5.1.0 odd\r\n", "250 5.1.0 odd"),
            ("550-5.1.1 no such\r\n550 5.1.1 user\r\n", "550 5.1.1 no such user"),
            ("550-5.1.1 no\r\n550 5.7.1 way\r\n", "550 5.1.1 no 5.7.1 way"),
            ("250-a.example\r\n250-SIZE 1\r\n250 DSN\r\n", "250 a.example SIZE 1 DSN"),
            ("451 4.3.0.1 1.2 \x1b[2J\r\n", "451 4.3.0.1 1.2 \\u{1b}[2J"),
        ] {
            assert_eq!(parse(text).unwrap().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in
            ["\r\n", "25\r\n", "+50 x\r\n", "199 x\r\n", "600 x\r\n", "250x\r\n", "25é x\r\n", "SSH-2.0\r\n"]
        {
            assert!(matches!(parse(text), Err(ReplyError::Malformed(_))), "{text:?}");
        }
        assert_eq!(parse("250-a\r\n550 b\r\n"), Err(ReplyError::Codes { first: 250, then: 550 }));
    }

    #[test]
    fn length_and_lines_are_limited() {
        let longest = format!("250 {}\r\n", "x".repeat(REPLY_LINE_BYTES_MAX - 4));
        assert!(parse(&longest).unwrap().is_some());
        assert_eq!(parse(&"x".repeat(REPLY_LINE_BYTES_MAX + 2)), Err(ReplyError::LineTooLong));
        let most = "250-x\r\n".repeat(REPLY_LINES_MAX);
        assert_eq!(parse(&most), Ok(None));
        assert_eq!(parse(&(most + "250 x\r\n")), Err(ReplyError::TooManyLines));
    }

    fn all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<ReplyError>) {
        let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
        for mut piece in pieces {
            loop {
                match parser.feed(&mut piece) {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(error) => return (replies, Some(error)),
                }
            }
        }
        (replies, None)
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            words in prop::collection::vec("250[- ]|5|\r\n|\n|5\\.1\\.1|x{300}|[a-z ]{0,9}|250 ok\r\n", 0..20),
            size in 1_usize..9,
        ) {
            let text = words.concat();
            prop_assert_eq!(all(text.as_bytes().chunks(size)), all(std::iter::once(text.as_bytes())));
        }
    }
}
