//! From the wire to canonical content: finds the end of the data, takes off
//! stuffed dots, and refuses or mends bare line ends.
//!
//! Six states and a flag are all that is remembered, so lines may have any
//! length and the input may come in any pieces. NUL and 8-bit bytes pass
//! unchanged. It must never take anything but CRLF, dot, CRLF for the end.

use super::{BareByte, BareLineEnds, CR, CRLF, LF, line_end};

/// What came before the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The start of the data, or a CRLF.
    LineStart,
    /// A dot at the start of a line: stuffed, or the end.
    Dot,
    /// A dot and a CR at the start of a line.
    DotCr,
    /// Anything else, a bare LF included: it starts no line.
    Text,
    /// A CR whose LF may follow.
    Cr,
    /// CRLF, dot, CRLF.
    End,
}

/// How far [`Decoder::decode`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input belong to the data, its end included.
    pub consumed: usize,
    /// Whether the end was met; what was not consumed is the next command.
    pub finished: bool,
}

/// Decodes one message.
#[derive(Debug, Clone)]
pub struct Decoder {
    policy: BareLineEnds,
    state: State,
    bare: Option<BareByte>,
}

impl Decoder {
    /// A decoder that stands directly behind the DATA command.
    #[must_use]
    pub const fn new(policy: BareLineEnds) -> Self {
        Self { policy, state: State::LineStart, bare: None }
    }

    /// The first bare CR or LF that was met. Under [`BareLineEnds::Reject`] no
    /// content comes out after it, and the message must be refused at its end.
    #[must_use]
    pub const fn bare(&self) -> Option<BareByte> {
        self.bare
    }

    /// Appends the content of `input` to `out`: at most two bytes for each
    /// that was read, and two that were held back from the input before.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Decoded {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            at += match self.state {
                State::Text => self.run(&input[at..], out),
                _ => usize::from(self.byte(input[at], out)),
            };
        }
        Decoded { consumed: at, finished: self.state == State::End }
    }

    /// Copies text through the next line end that something is to be decided about;
    /// returns how much was read. A CRLF and what is no dot behind it goes with the rest.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut length = 0;
        loop {
            length += line_end(&input[length..]).unwrap_or(input.len() - length);
            match input[length..] {
                [CR, LF, next, ..] if next != b'.' => length += CRLF.len(),
                _ => break,
            }
        }
        self.put(&input[..length], out);
        match input.get(length) {
            None => return length,
            Some(&CR) => self.state = State::Cr,
            Some(_) => self.put_bare(BareByte::Lf, out),
        }
        length + 1
    }

    /// Decides on the byte behind a line end, a dot or a CR; returns whether
    /// it was read. If not, it is ordinary text.
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        let (next, read) = match (self.state, byte) {
            (State::LineStart, b'.') => (State::Dot, true),
            (State::Dot, CR) => (State::DotCr, true),
            (State::DotCr, LF) => (State::End, true),
            (State::Cr, LF) => {
                self.put(CRLF, out);
                (State::LineStart, true)
            }
            (State::Cr | State::DotCr, _) => {
                self.put_bare(BareByte::Cr, out);
                (State::Text, false)
            }
            // RFC 5321 section 4.5.2: "If the first character is a period and
            // there are other characters on the line, the first character is
            // deleted."
            (State::LineStart | State::Dot | State::Text | State::End, _) => (State::Text, false),
        };
        self.state = next;
        read
    }

    /// Notes a bare line end, and puts out what stands for it.
    fn put_bare(&mut self, byte: BareByte, out: &mut Vec<u8>) {
        self.bare.get_or_insert(byte);
        self.put(if byte == BareByte::Lf { CRLF } else { b" " }, out);
    }

    fn put(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.bare.is_none() || self.policy == BareLineEnds::Normalize {
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICIES: [BareLineEnds; 2] = [BareLineEnds::Reject, BareLineEnds::Normalize];

    /// What became of a wire text: content, first bare byte, bytes consumed,
    /// whether it ended.
    type Fate = (Vec<u8>, Option<BareByte>, usize, bool);

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, policy: BareLineEnds) -> Fate {
        let (mut decoder, mut out) = (Decoder::new(policy), Vec::new());
        let (mut consumed, mut finished) = (0, false);
        for piece in pieces {
            let decoded = decoder.decode(piece, &mut out);
            (consumed, finished) = (consumed + decoded.consumed, decoded.finished);
        }
        (out, decoder.bare(), consumed, finished)
    }

    /// The rules, written down one by one, with the whole text at hand. What
    /// is still undecided at its end (a dot, a CR) is not part of the result.
    fn reference(wire: &[u8], policy: BareLineEnds) -> Fate {
        let (mut out, mut bare, mut at) = (Vec::new(), None, 0);
        let mut line_start = true;
        loop {
            let rest = &wire[at..];
            if line_start && rest.starts_with(b".\r\n") {
                return (out, bare, at + 3, true);
            }
            if rest.is_empty() || rest == b"\r" || (line_start && (rest == b"." || rest == b".\r")) {
                return (out, bare, wire.len(), false);
            }
            let start = std::mem::take(&mut line_start);
            let (length, put): (usize, &[u8]) = match rest[0] {
                b'.' if start => (1, b""),
                CR if rest[1] == LF => {
                    line_start = true;
                    (2, CRLF)
                }
                CR => {
                    bare = bare.or(Some(BareByte::Cr));
                    (1, b" ")
                }
                LF => {
                    bare = bare.or(Some(BareByte::Lf));
                    (1, CRLF)
                }
                _ => (1, &rest[..1]),
            };
            if bare.is_none() || policy == BareLineEnds::Normalize {
                out.extend(put);
            }
            at += length;
        }
    }

    /// Every text of up to `length` bytes of CR, LF, dot and x.
    fn texts(length: u32) -> impl Iterator<Item = Vec<u8>> {
        (0..=length).flat_map(|length| {
            (0..4_usize.pow(length))
                .map(move |number| (0..length).map(|place| b"\r\n.x"[number >> (2 * place) & 3]).collect())
        })
    }

    #[test]
    fn every_short_text_is_decoded_by_the_rules_whole_and_bytewise() {
        for policy in POLICIES {
            for text in texts(7) {
                let expected = reference(&text, policy);
                assert_eq!(decode([text.as_slice()], policy), expected, "{text:?} {policy:?}");
                assert_eq!(decode(text.chunks(1), policy), expected, "{text:?} {policy:?} in bytes");
            }
        }
    }

    #[test]
    fn every_short_text_between_others_is_decoded_wherever_it_is_cut() {
        for policy in POLICIES {
            for text in texts(6) {
                let text = [b"a", text.as_slice(), b"b\r\n.\r\n"].concat();
                let expected = reference(&text, policy);
                for cut in 0..=text.len() {
                    assert_eq!(
                        decode([&text[..cut], &text[cut..]], policy),
                        expected,
                        "{text:?} {policy:?} at {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_data() {
        let ends = |text: &[u8]| POLICIES.map(|policy| decode([text], policy).3);
        assert_eq!(ends(b".\r\n"), [true; 2]);
        assert_eq!(ends(b"a\r\n.\r\n"), [true; 2]);
        for text in
            ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\r\n\0.\r\n"]
        {
            assert_eq!(ends(format!("a{text}b").as_bytes()), [false; 2], "{text:?}");
        }
    }

    #[test]
    fn an_empty_message_is_empty() {
        assert_eq!(decode([&b".\r\nQUIT"[..]], BareLineEnds::Reject), (vec![], None, 3, true));
    }

    #[test]
    fn one_dot_is_taken_off_a_line_and_none_after_a_mended_line_end() {
        let wire = b"..a\r\n...\r\n.b\r\nc\n..d\r\n.\r\n";
        let (content, bare, ..) = decode([&wire[..]], BareLineEnds::Normalize);
        assert_eq!(content, b".a\r\n..\r\nb\r\nc\r\n..d\r\n");
        assert_eq!(bare, Some(BareByte::Lf));
    }

    #[test]
    fn nul_and_eight_bits_pass() {
        let wire = [&[0, 255, 128, b'x'][..], &[b'y'; 100_000], b"\r\n.\r\n"].concat();
        let (content, _, _, finished) = decode([wire.as_slice()], BareLineEnds::Reject);
        assert!(finished);
        assert_eq!(content, wire[..wire.len() - 3]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\r\n.x\0\xff".to_vec()), 0..9), 0..9),
            policy in prop::sample::select(POLICIES.to_vec()),
        ) {
            let whole = pieces.concat();
            let cut = decode(pieces.iter().map(Vec::as_slice), policy);
            prop_assert_eq!(&decode([whole.as_slice()], policy), &cut);
            prop_assert_eq!(reference(&whole, policy), cut);
        }
    }
}
