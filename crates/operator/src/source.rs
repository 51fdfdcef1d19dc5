//! The text of a configuration: where in it a key stands, and what is wrong there.
//!
//! Keys are those of the file, such as `route[2].any[0].sender`. A place must never
//! be told that is not of that very text.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration, and where.
#[derive(Debug)]
pub struct ConfigError {
    file: String,
    place: Option<(usize, usize)>,
    what: String,
}

impl ConfigError {
    /// What is wrong with a file as a whole: it can't be read.
    #[must_use]
    pub fn whole(file: &str, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), place: None, what: what.to_string() }
    }

    /// How the file is called in messages.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is wrong, without its place.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Line and column, both from 1, where they can be told.
    #[must_use]
    pub const fn place(&self) -> Option<(usize, usize)> {
        self.place
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A text and where it comes from, to tell where in it something is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// How the file is called in messages.
    pub file: &'a str,
    /// All of it.
    pub text: &'a str,
}

impl Source<'_> {
    pub(crate) fn error(&self, span: Option<Range<usize>>, what: impl fmt::Display) -> ConfigError {
        let place = span.map(|span| {
            let before = &self.text[..self.text.floor_char_boundary(span.start)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        ConfigError { file: self.file.to_owned(), place, what: what.to_string() }
    }

    /// Something that is wrong with the value of a key, or with the table around it.
    #[must_use]
    pub fn wrong(&self, key: Option<&str>, what: impl fmt::Display) -> ConfigError {
        self.error(key.and_then(|key| self.place(key)), what)
    }

    /// Where the value of a key such as `route[2].any[0].sender` stands, or the
    /// innermost table around it.
    pub(crate) fn place(&self, path: &str) -> Option<Range<usize>> {
        Some(self.find(path)?.0)
    }

    /// `FILE:LINE` of a key, if it is written.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<String> {
        let (span, _) = self.find(path).filter(|(_, whole)| *whole)?;
        let line = self.text.get(..span.start)?.matches('\n').count() + 1;
        Some(format!("{}:{line}", self.file))
    }

    /// Whether a key is written.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some_and(|(_, whole)| whole)
    }

    /// Whether no key at all is written.
    #[must_use]
    pub fn sets_nothing(&self) -> bool {
        DeTable::parse(self.text).is_ok_and(|document| document.get_ref().is_empty())
    }

    /// Where the value of a key stands, or the innermost table around it; whether it
    /// is the value itself.
    fn find(&self, path: &str) -> Option<(Range<usize>, bool)> {
        let document = DeTable::parse(self.text).ok()?;
        let mut keys = path.split(['.', '[', ']']).filter(|key| !key.is_empty());
        let first = document.get_ref().get(keys.next()?)?;
        let mut span = first.span();
        let mut value = first.get_ref();
        for key in keys {
            let next = match value {
                DeValue::Table(table) => table.get(key),
                DeValue::Array(array) => key.parse::<usize>().ok().and_then(|at| array.get(at)),
                _ => None,
            };
            let Some(next) = next else { return Some((span, false)) };
            span = next.span();
            value = next.get_ref();
        }
        Some((span, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "spool = \"x\"\n\n[[route]]\ndeliver = \"a\"\n[[route]]\nany = [{ sender = \"ü@b\" },\n  { \
        recipient = \"c\" }]\n";

    fn source(text: &str) -> Source<'_> {
        Source { file: "lazaret.toml", text }
    }

    #[test]
    fn a_key_that_is_written_has_a_line() {
        let line = |path: &str| source(TEXT).line(path);
        assert_eq!(line("spool").unwrap(), "lazaret.toml:1");
        assert_eq!(line("route[0].deliver").unwrap(), "lazaret.toml:4");
        assert_eq!(line("route[1].any[1].recipient").unwrap(), "lazaret.toml:7");
        for path in ["", "hostname", "spool.x", "route[2]", "route[x]", "route[0].any", "route[0].deliver[0]"]
        {
            assert_eq!(line(path), None, "{path}");
            assert!(!source(TEXT).has(path), "{path}");
        }
        assert!(source(TEXT).has("route[1].any") && !source("spool = ").has("spool"));
        assert!(source("# Nothing.\n").sets_nothing() && !source(TEXT).sets_nothing());
    }

    #[test]
    fn the_innermost_table_around_a_key_is_its_place() {
        let place = |path: &str| {
            source(TEXT).place(path).map(|span| source(TEXT).error(Some(span), "wrong").to_string())
        };
        assert_eq!(place("route[1].any[0].sender").unwrap(), "lazaret.toml:6:19: wrong");
        assert_eq!(place("route[1].any[0].all").unwrap(), "lazaret.toml:6:8: wrong");
        assert_eq!(place("spool.deeper").unwrap(), "lazaret.toml:1:9: wrong");
        assert_eq!(place("nowhere"), None);
        let whole = ConfigError::whole("lazaret.toml", "it can't be read");
        assert_eq!((whole.to_string().as_str(), whole.place()), ("lazaret.toml: it can't be read", None));
    }
}
