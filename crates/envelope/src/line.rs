//! Text that fits on one line of a document of ours: no control characters.
//!
//! Whatever comes from a client, a message or a next hop becomes a [`Line`]
//! before it is stored, logged or shown, so that it can never end a line early
//! or steer a terminal. A `Line` must never hold a control character.

use std::fmt;

/// Longest line of an envelope, a report or a journal, in bytes.
pub const LINE_BYTES_MAX: usize = 8192;

/// One line of text without control characters, at most
/// [`LINE_BYTES_MAX`]/2 bytes long, so that its key fits on the line as well.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Line(String);

/// Why a text is no [`Line`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The text has a control character.
    #[error("a control character (U+{0:04X}) is not allowed here")]
    Control(u32),
    /// The text is longer than [`Line::BYTES_MAX`].
    #[error("{0} bytes are too long: at most {max}", max = Line::BYTES_MAX)]
    TooLong(usize),
}

/// Control characters, and the invisible ones that reorder or hide text.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{061C}')
        || ('\u{202A}'..='\u{202E}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

impl Line {
    /// Most bytes that a value can have.
    pub const BYTES_MAX: usize = LINE_BYTES_MAX / 2;

    /// Accepts `text` as it is, or says why it can't stand on a line.
    ///
    /// # Errors
    /// A control character, or more than [`Line::BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        if text.len() > Self::BYTES_MAX {
            return Err(LineError::TooLong(text.len()));
        }
        match text.chars().find(|&c| is_unsafe(c)) {
            Some(c) => Err(LineError::Control(u32::from(c))),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Makes a line of anything: what is unsafe to show becomes `\xNN` or
    /// `\u{N}`, and what is too long is cut off with an ellipsis.
    #[must_use]
    pub fn escaped(bytes: impl AsRef<[u8]>) -> Self {
        const ROOM: usize = Line::BYTES_MAX - 16;
        let mut line = String::new();
        let pieces = bytes
            .as_ref()
            .utf8_chunks()
            .flat_map(|chunk| chunk.valid().chars().map(Ok).chain(chunk.invalid().iter().copied().map(Err)));
        for piece in pieces {
            if line.len() > ROOM {
                line.push('…');
                break;
            }
            match piece {
                Ok('\n') => line.push_str("\\n"),
                Ok('\r') => line.push_str("\\r"),
                Ok('\t') => line.push_str("\\t"),
                Ok(c) if is_unsafe(c) => line.extend(c.escape_unicode()),
                Ok(c) => line.push(c),
                Err(byte) => line.push_str(&format!("\\x{byte:02x}")),
            }
        }
        Self(line)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaping_always_gives_a_line(bytes: Vec<u8>) {
            let line = Line::escaped(&bytes);
            prop_assert_eq!(Line::parse(line.as_str()), Ok(line));
        }
    }

    #[test]
    fn terminal_sequences_lose_their_power() {
        assert_eq!(Line::escaped("a\x1b[2Jb\r\n\u{202e}").as_str(), "a\\u{1b}[2Jb\\r\\n\\u{202e}");
        assert_eq!(Line::escaped(b"\xff").as_str(), "\\xff");
    }

    #[test]
    fn long_text_is_cut() {
        assert!(Line::escaped("é".repeat(LINE_BYTES_MAX)).as_str().ends_with('…'));
        let long = "x".repeat(Line::BYTES_MAX + 1);
        assert_eq!(Line::parse(&long), Err(LineError::TooLong(long.len())));
    }

    /// Each byte of a greeting in an odd encoding takes four in its line.
    #[test]
    fn what_is_no_text_is_cut_like_text() {
        for bytes in
            [vec![0x86; LINE_BYTES_MAX], vec![0xe2; LINE_BYTES_MAX], "\u{202e}".repeat(LINE_BYTES_MAX).into()]
        {
            let line = Line::escaped(bytes);
            assert!(line.as_str().ends_with('…'));
            assert_eq!(Line::parse(line.as_str()), Ok(line));
        }
    }
}
