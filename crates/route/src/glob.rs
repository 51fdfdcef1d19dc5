//! Globs over addresses, header text and media types: `*` any run of
//! characters, `?` one character, case ignored; everything else is itself.
//!
//! Not the globs of file names, which crates offer: there `[SPAM]*` matches
//! `plenty`, and `?` one byte. Text comes from strangers, and matching runs
//! inside a counted heap: it must never allocate, and never take longer than
//! text length times glob length.

/// Longest glob in bytes; enough for the longest address
/// (`lazaret_envelope::ADDRESS_BYTES_MAX`).
pub const GLOB_BYTES_MAX: usize = 1000;

/// A compiled glob.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// What stands before the first `*`.
    head: Piece,
    /// What stands between one `*` and the next, and at last behind the last
    /// one; empty if there is no `*`.
    rest: Vec<Piece>,
}

/// A run without `*`: folded characters, and `None` for each `?`.
type Piece = Vec<Option<char>>;

impl Glob {
    /// Compiles a glob; `None` if it is longer than [`GLOB_BYTES_MAX`].
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.len() > GLOB_BYTES_MAX {
            return None;
        }
        let piece = |text: &str| text.chars().map(|c| (c != '?').then(|| fold(c))).collect();
        let mut pieces = text.split('*').map(piece);
        Some(Self { head: pieces.next().unwrap_or_default(), rest: pieces.collect() })
    }

    /// Whether the glob matches all of `text`. Both ends are compared first:
    /// most globs name a domain, so that most addresses fail at the last letter.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((tail, middle)) = self.rest.split_last() else {
            return without_head(&self.head, text) == Some("");
        };
        without_tail(tail, text)
            .and_then(|text| without_head(&self.head, text))
            // The leftmost place for each piece leaves the most room to the next.
            .and_then(|text| middle.iter().try_fold(text, |text, piece| behind(piece, text)))
            .is_some()
    }
}

/// Whether any of the globs matches.
pub(crate) fn any_matches(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

/// `text` without `piece` at its start, if it stands there.
fn without_head<'t>(piece: &Piece, text: &'t str) -> Option<&'t str> {
    let mut chars = text.chars();
    piece.iter().all(|&want| chars.next().is_some_and(|c| fits(want, c))).then_some(chars.as_str())
}

/// `text` without `piece` at its end, if it stands there.
fn without_tail<'t>(piece: &Piece, text: &'t str) -> Option<&'t str> {
    let mut chars = text.chars();
    piece.iter().rev().all(|&want| chars.next_back().is_some_and(|c| fits(want, c))).then_some(chars.as_str())
}

/// What follows `piece` where it stands first in `text`.
fn behind<'t>(piece: &Piece, text: &'t str) -> Option<&'t str> {
    let mut chars = text.chars();
    loop {
        if let Some(rest) = without_head(piece, chars.as_str()) {
            return Some(rest);
        }
        chars.next()?;
    }
}

fn fits(want: Option<char>, c: char) -> bool {
    want.is_none_or(|want| want == c || want == fold(c))
}

/// The small letter of a character that has exactly one.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut small = c.to_lowercase();
    match (small.next(), small.next()) {
        (Some(small), None) => small,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(glob: &str, text: &str) -> bool {
        Glob::new(glob).unwrap().matches(text)
    }

    #[test]
    fn stars_take_anything() {
        for (glob, text) in [
            ("", ""),
            ("*", ""),
            ("**", "a"),
            ("*@example.org", "first.last@EXAMPLE.org"),
            ("bounce-*@*", "bounce-a=b.example@lists.example.org"),
            ("*/*", "text/plain"),
            ("a*b*c", "a/b@.b.c"),
            ("*aab*", "aaab"),
            ("[SPAM]*", "[spam] {a,b} \\"),
            ("GRÜ?E*", "grüße"),
            ("a?c", "aüc"),
        ] {
            assert!(matches(glob, text), "{glob:?} on {text:?}");
        }
    }

    #[test]
    fn everything_else_is_itself() {
        for (glob, text) in [
            ("", "a"),
            ("a", ""),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("*@example.org", "a@sub.example.org"),
            ("*@example.org", "a@example.org.evil"),
            ("[SPAM]*", "plenty"),
            ("{a,b}", "a"),
            ("?", "üü"),
            ("?", ""),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(glob, text), "{glob:?} on {text:?}");
        }
    }

    #[test]
    fn length_is_limited() {
        assert!(Glob::new(&"*".repeat(GLOB_BYTES_MAX)).unwrap().matches("a"));
        assert!(Glob::new(&"*".repeat(GLOB_BYTES_MAX + 1)).is_none());
    }

    /// The definition, as short as it gets.
    fn by_definition(glob: &[char], text: &[char]) -> bool {
        match (glob, text) {
            ([], _) => text.is_empty(),
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| by_definition(rest, &text[skip..])),
            ([want, rest @ ..], [c, text @ ..]) => (*want == '?' || want == c) && by_definition(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_definition_is_met(glob in "[abü*?]{0,8}", text in "[abü]{0,10}") {
            let (pattern, chars): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&glob, &text), by_definition(&pattern, &chars), "{} on {}", glob, text);
        }
    }
}
