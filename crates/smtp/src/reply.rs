//! Replies: what the server says and the client reads (RFC 5321 section 4.2,
//! enhanced status codes of RFC 2034).
//!
//! A reply that exists can be written: its text is made of [`Line`]s. On the
//! wire it must never have a line longer than [`REPLY_LINE_BYTES_SENT_MAX`] or
//! a byte that is not printable ASCII.

mod parse;

pub use parse::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, ReplyError, ReplyParser};

use std::fmt;

use lazaret_envelope::Line;

/// Longest reply line that we send, in bytes. RFC 5321 section 4.5.3.1.5: "The
/// maximum total length of a reply line including the reply code and the
/// `<CRLF>` is 512 octets."
pub const REPLY_LINE_BYTES_SENT_MAX: usize = 512;

/// Most bytes of text that [`Reply::shortened`] keeps.
pub const REPLY_TEXT_BYTES_KEPT_MAX: usize = 512;

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus(pub u16, pub u16, pub u16);

impl EnhancedStatus {
    /// Takes an enhanced status code off the start of a reply's text, if it is
    /// one; returns what follows it as well. RFC 2034: its class agrees with the
    /// first digit of the reply, or it is only text that looks like one.
    fn take(text: &[u8], class: u16) -> Option<(Self, &[u8])> {
        let length = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at(length);
        let mut numbers = word.split(|&byte| byte == b'.').map(|digits| {
            let fine = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
            fine.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        });
        let mut number = || numbers.next().flatten();
        let status = Self(number()?, number()?, number()?);
        let whole = numbers.next().is_none() && status.0 == class;
        whole.then(|| (status, rest.trim_ascii_start()))
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl From<[u16; 3]> for EnhancedStatus {
    fn from([class, subject, detail]: [u16; 3]) -> Self {
        Self(class, subject, detail)
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reply {
    /// The three digits: 200 to 599.
    pub code: u16,
    /// The enhanced status code.
    pub enhanced: Option<EnhancedStatus>,
    /// The text, line by line, without codes.
    pub text: Vec<Line>,
}

impl Reply {
    /// A reply of one line.
    #[must_use]
    pub fn new(code: u16, enhanced: impl Into<EnhancedStatus>, text: impl AsRef<[u8]>) -> Self {
        Self { code, enhanced: Some(enhanced.into()), text: vec![Line::escaped(text)] }
    }

    /// A reply without an enhanced status code: the greeting, the answer to a
    /// hello, and 354 have none.
    #[must_use]
    pub fn plain(code: u16, text: impl AsRef<[u8]>) -> Self {
        Self { code, enhanced: None, text: vec![Line::escaped(text)] }
    }

    /// 2xx: it was done.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: it may work later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: it will never work.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The reply with at most [`REPLY_TEXT_BYTES_KEPT_MAX`] bytes of text, so
    /// that one can be kept for each of many recipients.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let mut room = REPLY_TEXT_BYTES_KEPT_MAX;
        self.text.retain_mut(|line| {
            let text = line.as_str();
            let kept = &text[..text.floor_char_boundary(room)];
            let fits = room > 0;
            room = room.saturating_sub(text.len() + 1);
            *line = Line::escaped(kept);
            fits
        });
        self.text.shrink_to_fit();
        self
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let status = self.enhanced.map(|status| format!("{status} ")).unwrap_or_default();
        let room = REPLY_LINE_BYTES_SENT_MAX - "250-\r\n".len() - status.len();
        let text: Vec<String> = self.text.iter().map(ascii).collect();
        let mut lines: Vec<&[u8]> = text.iter().flat_map(|line| pieces(line.as_bytes(), room)).collect();
        if lines.is_empty() {
            lines.push(b"");
        }
        let last = lines.len() - 1;
        for (number, line) in lines.iter().enumerate() {
            let separator = if number == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{separator}{status}", self.code).as_bytes());
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// RFC 5321 section 4.2: the text of a reply is printable ASCII.
fn ascii(line: &Line) -> String {
    line.as_str().replace(|c: char| !c.is_ascii(), "?")
}

/// Cuts `text` into pieces of at most `room` bytes; at least one.
fn pieces(text: &[u8], room: usize) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = text.split_at(text.len().min(room));
    std::iter::once(first).chain(rest.chunks(room))
}

impl fmt::Display for Reply {
    /// For logs and journals: on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.enhanced {
            write!(f, " {status}")?;
        }
        self.text.iter().filter(|line| !line.as_str().is_empty()).try_for_each(|line| write!(f, " {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_are_written_with_their_codes_on_each_line() {
        assert_eq!(wire(&Reply::new(250, [2, 0, 0], "ok")), "250 2.0.0 ok\r\n");
        assert_eq!(wire(&Reply::plain(354, "go on")), "354 go on\r\n");
        assert_eq!(wire(&Reply { text: Vec::new(), ..Reply::new(250, [2, 0, 0], "") }), "250 2.0.0 \r\n");
        let mut reply = Reply::new(550, [5, 7, 1], "no\r\n250 yes");
        reply.text.push(Line::escaped("grün"));
        assert_eq!(wire(&reply), "550-5.7.1 no\\r\\n250 yes\r\n550 5.7.1 gr?n\r\n");
        assert_eq!(reply.to_string(), "550 5.7.1 no\\r\\n250 yes grün");
    }

    #[test]
    fn long_text_is_continued_on_further_lines() {
        let text = wire(&Reply::new(451, [4, 3, 0], "x".repeat(1200)));
        assert!(text.lines().count() == 3 && text.starts_with("451-4.3.0 xx"), "{text}");
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= REPLY_LINE_BYTES_SENT_MAX));
    }

    #[test]
    fn classes_follow_the_first_digit() {
        let classes = |code| {
            let reply = Reply::plain(code, "");
            (reply.is_positive(), reply.is_transient(), reply.is_permanent())
        };
        assert_eq!(classes(250), (true, false, false));
        assert_eq!(classes(354), (false, false, false));
        assert_eq!(classes(421), (false, true, false));
        assert_eq!(classes(550), (false, false, true));
    }

    #[test]
    fn a_shortened_reply_keeps_its_start() {
        let mut reply = Reply::new(550, [5, 7, 1], "é".repeat(200));
        reply.text = vec![reply.text[0].clone(); 9];
        let short = reply.shortened();
        assert_eq!(short.text.iter().map(|line| line.as_str().len()).collect::<Vec<_>>(), [400, 110]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            code in 200_u16..=599,
            detail in prop::option::of((0_u16..=999, 0_u16..=999)),
            text in prop::collection::vec("[a-zA-Z ]{0,30}[a-z]", 1..5),
        ) {
            let enhanced = detail.map(|(subject, detail)| EnhancedStatus(code / 100, subject, detail));
            let reply = Reply { code, enhanced, text: text.iter().map(|line| Line::escaped(line.trim())).collect() };
            let wire = wire(&reply);
            let mut input = wire.as_bytes();
            prop_assert_eq!(ReplyParser::default().feed(&mut input), Ok(Some(reply)));
            prop_assert!(input.is_empty());
        }
    }
}
