//! Line ends as programs of this system expect them: LF instead of CRLF.
//!
//! A CR or LF that is not part of a CRLF stays. It must never hold more than
//! the one CR of which the next byte decides.

/// Turns CRLF into LF, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// A CR was read that is not written yet.
    held: bool,
}

impl Lines {
    /// Appends the next bytes to `out`: at most one more than there are.
    pub(crate) fn convert(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&next) = bytes.first() {
            if self.held && next != b'\n' {
                out.push(b'\r');
            }
            self.held = false;
            let run = bytes.iter().position(|&byte| byte == b'\r').unwrap_or(bytes.len());
            out.extend_from_slice(&bytes[..run]);
            self.held = run < bytes.len();
            bytes = &bytes[run + usize::from(self.held)..];
        }
    }

    /// Appends what is left at the end.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        if self.held {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn convert<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        pieces.for_each(|piece| lines.convert(piece, &mut out));
        lines.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn only_crlf_changes(text in "[\r\na]{0,20}", size in 1_usize..5) {
            prop_assert_eq!(convert(text.as_bytes().chunks(size)), text.replace("\r\n", "\n"));
        }
    }
}
