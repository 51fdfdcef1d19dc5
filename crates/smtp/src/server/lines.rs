//! Cuts the bytes of a client into command lines.
//!
//! A line ends at CRLF. A bare LF ends the session: a line behind it might be a
//! command that the client's side took for part of another one, and merely
//! waiting for a CRLF would leave a person at a terminal without an answer. It
//! must never hold more than [`COMMAND_BYTES_MAX`] bytes.

/// Longest command line in bytes, with its CRLF. RFC 5321 section 4.5.3.1.4
/// asks for 512, and extensions add to it: a long address
/// ([`lazaret_envelope::ADDRESS_BYTES_MAX`]) with a long ORCPT has room here.
pub const COMMAND_BYTES_MAX: usize = 2048;

/// A command line that is too long is read up to its end to be refused, but
/// not further than this many bytes.
pub const SWALLOW_BYTES_MAX: usize = 64 << 10;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All input was read, and the line goes on.
    Nothing,
    /// A line, without its CRLF.
    Line(Vec<u8>),
    /// A line longer than [`COMMAND_BYTES_MAX`].
    TooLong,
    /// A line longer than [`SWALLOW_BYTES_MAX`], ended or not.
    Endless,
    /// A line that ends in a bare LF.
    BareLf,
}

/// The line that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Its start.
    kept: Vec<u8>,
    /// Its length so far.
    length: usize,
    /// Whether its last byte is a CR.
    cr: bool,
}

impl Lines {
    /// Takes one line off the start of `input`.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Found {
        let end = input.iter().position(|&byte| byte == b'\n');
        let piece = &input[..end.unwrap_or(input.len())];
        *input = &input[end.map_or(input.len(), |end| end + 1)..];
        self.cr = piece.last().map_or(self.cr, |&byte| byte == b'\r');
        self.length += piece.len();
        let room = COMMAND_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.length > SWALLOW_BYTES_MAX {
            return Found::Endless;
        }
        if end.is_none() {
            return Found::Nothing;
        }
        let mut line = std::mem::take(self);
        if !line.cr {
            return Found::BareLf;
        }
        if line.length + 1 > COMMAND_BYTES_MAX {
            return Found::TooLong;
        }
        line.kept.pop();
        Found::Line(line.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8], size: usize) -> Vec<Found> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for mut piece in text.chunks(size) {
            while !piece.is_empty() && found.last() != Some(&Found::Endless) {
                found.push(lines.take(&mut piece));
                found.pop_if(|found| *found == Found::Nothing);
                assert!(lines.kept.len() <= COMMAND_BYTES_MAX);
            }
        }
        found
    }

    #[test]
    fn lines_end_at_crlf_wherever_the_input_is_cut() {
        let longest = vec![b'x'; COMMAND_BYTES_MAX - 2];
        let text =
            [b"a\r\n\r\nb\rc\r\r\nd\n", longest.as_slice(), b"\r\ny", &longest, b"\r\nNOOP\r\n"].concat();
        let line = |text: &[u8]| Found::Line(text.to_vec());
        let expected = [
            line(b"a"),
            line(b""),
            line(b"b\rc\r"),
            Found::BareLf,
            line(&longest),
            Found::TooLong,
            line(b"NOOP"),
        ];
        for size in [1, 2, 3, 1000, text.len()] {
            assert_eq!(found(&text, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let fits = [&vec![b'x'; SWALLOW_BYTES_MAX - 1][..], b"\r\n"].concat();
        let endless = [&vec![b'x'; SWALLOW_BYTES_MAX][..], b"\r\n"].concat();
        for size in [999, 2 * SWALLOW_BYTES_MAX] {
            assert_eq!(found(&fits, size), [Found::TooLong]);
            assert_eq!(found(&endless, size), [Found::Endless]);
        }
    }
}
