//! Documents of `key value` lines: a heading with a version, fields, and a line
//! `end`. Envelopes and reports are written this way.
//!
//! Reading stops at the first line that is not understood and says which and
//! why. It must never look behind the line `end`.

use crate::line::{LINE_BYTES_MAX, Line, LineError};

/// A line of a document could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TextError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The first line is not the heading of this kind and version of document.
    #[error("expected the heading {expected:?}, found {found:?}")]
    Heading {
        /// The heading that was expected.
        expected: &'static str,
        /// The line that stood there.
        found: Line,
    },
    /// The text ends before the line `end`.
    #[error("the text ends before the line `end`")]
    NoEnd,
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// A line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A line has a control character.
    #[error(transparent)]
    Line(#[from] LineError),
    /// No field of this name is known.
    #[error("unknown field {0:?}")]
    Unknown(Line),
    /// The field may stand there only once.
    #[error("field `{0}` is given twice")]
    Twice(&'static str),
    /// The document has no such field.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// There are more lines of this field than allowed.
    #[error("more than {max} lines of field `{key}`")]
    TooMany {
        /// The field.
        key: &'static str,
        /// The limit.
        max: usize,
    },
    /// The value does not fit the field.
    #[error("field `{key}`: {why}")]
    Value {
        /// The field.
        key: &'static str,
        /// What is wrong with the value.
        why: String,
    },
}

/// The fields of a document, in order.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    text: &'a [u8],
    offset: usize,
    line: usize,
}

impl<'a> Fields<'a> {
    /// Checks the heading.
    pub(crate) fn open(text: &'a [u8], expected: &'static str) -> Result<Self, TextError> {
        let mut fields = Self { text, offset: 0, line: 0 };
        let found = fields.line()?;
        if found != expected {
            let found = Line::escaped(found);
            return Err(fields.error(Reason::Heading { expected, found }));
        }
        Ok(fields)
    }

    /// The next field, or `None` once the line `end` was read.
    pub(crate) fn next(&mut self) -> Result<Option<(&'a str, &'a str)>, TextError> {
        let line = self.line()?;
        if line == "end" {
            return Ok(None);
        }
        Ok(Some(line.split_once(' ').unwrap_or((line, ""))))
    }

    /// Where the text behind the lines read so far starts.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// An error about the line that was read last.
    pub(crate) fn error(&self, reason: Reason) -> TextError {
        TextError { line: self.line, reason }
    }

    /// Parses a value of the line that was read last.
    pub(crate) fn value<T, E: ToString>(
        &self,
        key: &'static str,
        parsed: Result<T, E>,
    ) -> Result<T, TextError> {
        parsed.map_err(|error| self.error(Reason::Value { key, why: error.to_string() }))
    }

    /// Fills a slot that may be filled once.
    pub(crate) fn once<T, E: ToString>(
        &self,
        slot: &mut Option<T>,
        key: &'static str,
        parsed: Result<T, E>,
    ) -> Result<(), TextError> {
        if slot.is_some() {
            return Err(self.error(Reason::Twice(key)));
        }
        *slot = Some(self.value(key, parsed)?);
        Ok(())
    }

    /// The value of a slot that must have been filled by the time of `end`.
    pub(crate) fn required<T>(&self, slot: Option<T>, key: &'static str) -> Result<T, TextError> {
        slot.ok_or_else(|| self.error(Reason::Missing(key)))
    }

    /// An error about a field that is not known.
    pub(crate) fn unknown(&self, key: &str) -> TextError {
        self.error(Reason::Unknown(Line::escaped(&key.as_bytes()[..key.len().min(64)])))
    }

    fn line(&mut self) -> Result<&'a str, TextError> {
        self.line += 1;
        let rest = &self.text[self.offset..];
        let window = &rest[..rest.len().min(LINE_BYTES_MAX + 1)];
        let Some(length) = window.iter().position(|&byte| byte == b'\n') else {
            let reason = if window.len() > LINE_BYTES_MAX { Reason::TooLong } else { Reason::NoEnd };
            return Err(self.error(reason));
        };
        self.offset += length + 1;
        let line = std::str::from_utf8(&rest[..length]).map_err(|_| self.error(Reason::NotUtf8))?;
        match line.chars().find(|c| c.is_control()) {
            Some(c) => Err(self.error(Reason::Line(LineError::Control(c.into())))),
            None => Ok(line),
        }
    }
}
