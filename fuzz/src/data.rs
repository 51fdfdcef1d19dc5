//! The bytes behind DATA: the end is found where a reference that looks at whole
//! lines finds it, cuts make no difference, and what is sent is what arrives.
//!
//! The input is a wire text as it is, and a content as it is. The reference must
//! never share a line with what it judges.

use lazaret_smtp::{BareByte, BareLineEnds, Decoder, Encoder};

use crate::{cost, pieces};

const POLICIES: [BareLineEnds; 2] = [BareLineEnds::Reject, BareLineEnds::Normalize];

/// What became of a wire text.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    content: Vec<u8>,
    bare: Option<BareByte>,
    /// Bytes up to the end of the data; `None` if there is no end.
    end: Option<usize>,
}

/// Looks at one input.
pub fn check(data: &[u8]) {
    for policy in POLICIES {
        let whole = decode(&[data], policy);
        assert_eq!(whole, decode(&pieces::cut(data), policy), "cuts make no difference ({policy:?})");
        assert_eq!(whole, reference(data, policy), "{policy:?}");
    }
    sent(data);
    cost::assert_linear(data.len(), || drop(decode(&[data], BareLineEnds::Normalize)));
}

fn decode(pieces: &[&[u8]], policy: BareLineEnds) -> Fate {
    let (mut decoder, mut content) = (Decoder::new(policy), Vec::new());
    let mut before = 0;
    for piece in pieces {
        let room = content.len();
        let decoded = decoder.decode(piece, &mut content);
        assert!(content.len() - room <= 2 * piece.len() + 2, "as little comes out as is promised");
        assert!(decoded.finished || decoded.consumed == piece.len(), "only the end stops it");
        before += decoded.consumed;
        if decoded.finished {
            let bare = decoder.bare();
            // Behind the end nothing is read.
            assert_eq!(decoder.decode(b"x\r\n", &mut content).consumed, 0);
            return Fate { content, bare, end: Some(before) };
        }
    }
    Fate { content, bare: decoder.bare(), end: None }
}

/// The same from the words of RFC 5321: splits at CRLF, and looks at whole lines.
/// What is held back at a cut end is left out.
fn reference(wire: &[u8], policy: BareLineEnds) -> Fate {
    let (mut content, mut bare, mut at) = (Vec::new(), None, 0);
    loop {
        let rest = &wire[at..];
        let line = rest.windows(2).position(|pair| pair == b"\r\n");
        let text = &rest[..line.unwrap_or(rest.len())];
        if line.is_some() && text == b"." {
            return Fate { content, bare, end: Some(at + 3) };
        }
        // A dot, or a dot and a CR, may still become the end.
        let open = line.is_none() && (text == b"." || text == b".\r");
        let text = if text.first() == Some(&b'.') { &text[1..] } else { text };
        let text = if open { &[][..] } else { text };
        // So may a CR become a line end.
        let text = if line.is_none() { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        for &byte in text {
            let found = match byte {
                b'\r' => Some(BareByte::Cr),
                b'\n' => Some(BareByte::Lf),
                _ => None,
            };
            bare = bare.or(found);
            if bare.is_none() || policy == BareLineEnds::Normalize {
                match found {
                    None => content.push(byte),
                    Some(BareByte::Cr) => content.push(b' '),
                    Some(BareByte::Lf) => content.extend(b"\r\n"),
                }
            }
        }
        let Some(length) = line else { return Fate { content, bare, end: None } };
        if bare.is_none() || policy == BareLineEnds::Normalize {
            content.extend(b"\r\n");
        }
        at += length + 2;
    }
}

/// Whatever is sent ends once, at its end, even for a receiver that takes any CR or
/// LF for a line end; and what is canonical arrives as it was.
fn sent(content: &[u8]) {
    let encode = |pieces: &[&[u8]]| {
        let (mut encoder, mut wire) = (Encoder::new(), Vec::new());
        pieces.iter().for_each(|piece| encoder.encode(piece, &mut wire));
        encoder.finish(&mut wire);
        wire
    };
    let wire = encode(&[content]);
    assert_eq!(wire, encode(&pieces::cut(content)), "cuts make no difference");
    assert!(wire.len() <= 2 * content.len() + 5);
    let line_start = |at: usize| at == 0 || matches!(wire[at - 1], b'\r' | b'\n');
    let lone_dot = |at: &usize| line_start(*at) && wire[*at] == b'.' && matches!(wire[at + 1], b'\r' | b'\n');
    assert_eq!((0..wire.len() - 1).find(lone_dot), Some(wire.len() - 3), "the first end is the last");
    let back = decode(&[&wire], BareLineEnds::Reject);
    assert_eq!(back.end, Some(wire.len()));
    let canonical = {
        let bare = content.iter().enumerate().any(|(at, byte)| match byte {
            b'\r' => content.get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || content[at - 1] != b'\r',
            _ => false,
        });
        !bare
    };
    assert_eq!(back.bare.is_none(), canonical, "a bare line end is seen, and nothing else is taken for one");
    if canonical {
        let mut expected = content.to_vec();
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend(b"\r\n");
        }
        assert_eq!(back.content, expected);
    }
}
