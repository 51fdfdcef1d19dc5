//! From canonical content to the wire: doubles dots at the start of lines and
//! ends the data once.
//!
//! Intake stores no bare CR or LF. Should one be there all the same, it is sent
//! as it is, but the byte behind it counts as the start of a line: a dot there
//! is doubled, so that not even a receiver that takes a bare CR or LF for a line
//! end can see the end of the data early. (A strict receiver then keeps that
//! dot: better one dot too many than a message that nobody sent.) It must never
//! write a lone dot that is not the end.

use super::{CR, CRLF, LF, line_end};

/// What was encoded last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, or a CRLF.
    LineStart,
    /// A CR.
    Cr,
    /// An LF without a CR before it.
    BareLf,
    /// Anything else.
    Text,
}

/// Encodes one message.
#[derive(Debug, Clone)]
pub struct Encoder {
    state: State,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder that stands directly behind the 354 reply.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::LineStart }
    }

    /// Appends the wire form of `content` to `out`: at most two bytes for each.
    pub fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut rest = content;
        while !rest.is_empty() {
            // RFC 5321 section 4.5.2: "If it is a period, one additional period
            // is inserted at the beginning of the line."
            if rest[0] == b'.' && self.state != State::Text {
                out.push(b'.');
            }
            let (run, after) = rest.split_at(line_end(rest).map_or(rest.len(), |place| place + 1));
            out.extend_from_slice(run);
            self.state = match run {
                [LF] if self.state == State::Cr => State::LineStart,
                [.., LF] => State::BareLf,
                [.., CR] => State::Cr,
                _ => State::Text,
            };
            rest = after;
        }
    }

    /// Appends the end of the data, after a CRLF if the content lacks its last.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.state != State::LineStart {
            out.extend_from_slice(CRLF);
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BareLineEnds, Decoder};
    use super::*;
    use proptest::prelude::*;

    fn encode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        pieces.into_iter().for_each(|piece| encoder.encode(piece, &mut out));
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn dots_are_doubled_and_the_end_comes_once() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\r\n..b.\r\n\r\n", "a\r\n...b.\r\n\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n", "a\n\r\n.\r\n"),
            ("a\n.\nb\r.\rc", "a\n..\nb\r..\rc\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(encode([content.as_bytes()])).unwrap(), wire, "{content:?}");
        }
    }

    /// Where a receiver that takes CR, LF and CRLF alike for line ends sees the end.
    fn sloppy_end(wire: &[u8]) -> Option<usize> {
        (0..wire.len()).find(|&at| {
            let line_start = at == 0 || matches!(wire[at - 1], CR | LF);
            line_start && wire[at] == b'.' && wire.get(at + 1).is_some_and(|&byte| matches!(byte, CR | LF))
        })
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec!["\r\n", ".", "x", "\0", "ÿ", "\r\n."]), 0..30)
            .prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(content in content(), size in 1_usize..9) {
            let wire = encode(content.chunks(size));
            prop_assert_eq!(&encode([content.as_slice()]), &wire);
            let (mut decoder, mut decoded) = (Decoder::new(BareLineEnds::Reject), Vec::new());
            let fate = decoder.decode(&wire, &mut decoded);
            prop_assert!(fate.finished && fate.consumed == wire.len() && decoder.bare().is_none());
            let mut expected = content;
            if !expected.is_empty() && !expected.ends_with(CRLF) {
                expected.extend(CRLF);
            }
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn no_bytes_make_even_a_sloppy_receiver_see_an_end_early(
            content in prop::collection::vec(prop::sample::select(b"\r\n.x".to_vec()), 0..20),
        ) {
            let wire = encode([content.as_slice()]);
            prop_assert_eq!(sloppy_end(&wire), Some(wire.len() - 3));
        }
    }
}
