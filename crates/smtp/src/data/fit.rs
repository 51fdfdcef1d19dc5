//! Whether content is what DATA is made for: lines of text.
//!
//! Servers differ in what they make of anything else behind DATA: they cut long lines,
//! drop NUL, or take a bare CR or LF for a line end. It must never call content fit
//! that one of them has leave to change.

use super::{CR, LF};

/// Longest line of text in bytes, without its CRLF (RFC 5321 section 4.5.3.1.6: "The
/// maximum total length of a text line including the `<CRLF>` is 1000 octets").
pub const TEXT_LINE_BYTES_MAX: usize = 998;

/// Looks at content, in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct DataFit {
    /// Bytes of the line so far.
    line: usize,
    /// The last byte was a CR.
    cr: bool,
    unfit: bool,
}

impl DataFit {
    /// Looks at the next bytes; whether it makes sense to go on.
    pub fn look(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            match (byte, self.cr) {
                (LF, true) => self.line = 0,
                // RFC 5321 section 2.3.8: CR and LF stand only in CRLF.
                (LF, false) | (_, true) | (0, _) => self.unfit = true,
                (CR, false) => {}
                _ => self.line += 1,
            }
            self.cr = byte == CR;
            if self.unfit || self.line > TEXT_LINE_BYTES_MAX {
                self.unfit = true;
                return false;
            }
        }
        true
    }

    /// Whether all of it is fit for DATA.
    #[must_use]
    pub fn fits(&self) -> bool {
        !self.unfit && !self.cr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_text_are_fit_and_nothing_else() {
        let (longest, longer) = ("x".repeat(998), "x".repeat(999));
        for (content, fits) in [
            (String::new(), true),
            ("a\r\n.\r\n\r\nb".into(), true),
            (format!("{longest}\r\n{longest}"), true),
            (format!("{longer}\r\n"), false),
            (longer, false),
            ("a\nb\r\n".into(), false),
            ("a\rb\r\n".into(), false),
            ("a\r\r\n".into(), false),
            ("a\r".into(), false),
            ("a\0b\r\n".into(), false),
            ("ÿé\r\n".into(), true),
        ] {
            for size in [1, 7, 5000] {
                let mut fit = DataFit::default();
                let _ = content.as_bytes().chunks(size).all(|piece| fit.look(piece));
                assert_eq!(fit.fits(), fits, "{content:?}");
            }
        }
    }
}
