//! Text as programs write it, in canonical form: LF becomes CRLF, a stray CR a
//! space, CRLF and everything else stays.
//!
//! What a line end becomes is the rule of [`Decoder`] and stands there only. It
//! also takes off stuffed dots and ends at a lone one; so each dot at the start
//! of a line is doubled on its way in. Nothing must ever be added at the end: a
//! message without a final line end is kept without one.

use lazaret_smtp::{BareLineEnds, Decoder};
use lazaret_spool::Canonical;

/// Turns one text, given in pieces, into canonical form.
pub(crate) struct Normalizer {
    decoder: Decoder,
    /// Whether the decoder would take a dot for a stuffed one.
    line_start: bool,
    /// Whether the last byte was a CR, about which nothing is decided yet.
    cr: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { decoder: Decoder::new(BareLineEnds::Normalize), line_start: true, cr: false }
    }
}

impl Canonical for Normalizer {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            if self.line_start && line.starts_with(b".") {
                self.decoder.decode(b".", output);
            }
            self.decoder.decode(line, output);
            self.line_start = line.ends_with(b"\r\n") || (self.cr && line == b"\n");
            self.cr = line.ends_with(b"\r");
        }
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        if self.cr {
            // Whatever follows, it is no LF: the CR was a stray one.
            self.decoder.decode(b"x", output);
            output.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut normalizer, mut output) = (Normalizer::default(), Vec::new());
        pieces.into_iter().for_each(|piece| normalizer.push(piece, &mut output));
        normalizer.finish(&mut output);
        output
    }

    /// The rule in its plainest form, with the whole text at hand.
    fn reference(text: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for (place, &byte) in text.iter().enumerate() {
            match byte {
                b'\r' if text.get(place + 1) == Some(&b'\n') => {}
                b'\r' => output.push(b' '),
                b'\n' => output.extend(b"\r\n"),
                byte => output.push(byte),
            }
        }
        output
    }

    #[test]
    fn every_short_text_whole_and_bytewise() {
        for length in 0..=7_u32 {
            for number in 0..4_usize.pow(length) {
                let text: Vec<u8> = (0..length).map(|place| b"\r\n.x"[number >> (2 * place) & 3]).collect();
                assert_eq!(normalize([text.as_slice()]), reference(&text), "{text:?}");
                assert_eq!(normalize(text.chunks(1)), reference(&text), "{text:?} in bytes");
            }
        }
    }

    #[test]
    fn nul_eight_bits_and_a_missing_final_line_end_stay() {
        let text = b"\0\xff\x80\n.\n..\nend";
        assert_eq!(normalize([&text[..]]), b"\0\xff\x80\r\n.\r\n..\r\nend");
    }

    #[test]
    fn what_is_canonical_stays_as_it_is() {
        let text = b"a\r\n.\r\n..b\r\n\r\n";
        assert_eq!(normalize([&text[..]]), text);
    }
}
