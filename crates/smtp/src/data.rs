//! The bytes behind DATA, in both directions: wire form (dot-stuffed, ended by
//! a lone dot) and canonical form (CRLF line ends, nothing else added).
//!
//! RFC 5321 section 4.1.1.4: "The mail data are terminated by a line containing
//! only a period, that is, the character sequence `<CRLF>.<CRLF>`". No other
//! sequence ends the data, in neither direction: a second end that only one of
//! two programs believes in is how mail is smuggled. This module must never
//! hold a line in memory.

mod decode;
mod encode;
mod fit;

pub use decode::{Decoded, Decoder};
pub use encode::Encoder;
pub use fit::{DataFit, TEXT_LINE_BYTES_MAX};

use std::fmt;

/// What to do with a CR or LF that is not part of a CRLF. RFC 5321 section
/// 2.3.8: "conforming implementations MUST NOT recognize or generate any other
/// character or character sequence as a line terminator".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BareLineEnds {
    /// The message is refused.
    #[default]
    Reject,
    /// A bare LF becomes CRLF and a stray CR a space, as Postfix does.
    Normalize,
}

/// A byte that should have been half of a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BareByte {
    /// CR without LF behind it.
    Cr,
    /// LF without CR before it.
    Lf,
}

impl fmt::Display for BareByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cr => "<CR>",
            Self::Lf => "<LF>",
        })
    }
}

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const CRLF: &[u8] = b"\r\n";

/// Where the next CR or LF stands: everything before it is copied in one piece.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(CR, LF, bytes)
}
