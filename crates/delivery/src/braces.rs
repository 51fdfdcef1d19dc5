//! Divides a text with `{variables}` into its parts.
//!
//! What a variable means is for others to say. It must never take a brace for
//! text.

/// A part of such a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text as it stands there.
    Text(&'a str),
    /// The name between two braces.
    Variable(&'a str),
}

/// A brace without its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpaired;

/// The parts of a text, in order; no text part is empty.
pub(crate) fn parts(text: &str) -> Result<Vec<Part<'_>>, Unpaired> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find(['{', '}']) {
        let (before, from_brace) = rest.split_at(place);
        let inside = from_brace.strip_prefix('{').ok_or(Unpaired)?;
        let (name, after) = inside.split_once('}').ok_or(Unpaired)?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Variable(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{Text, Variable};

    #[test]
    fn texts_and_variables_take_turns() {
        assert_eq!(parts("a{b}{c}d"), Ok(vec![Text("a"), Variable("b"), Variable("c"), Text("d")]));
        assert_eq!((parts(""), parts("{}")), (Ok(vec![]), Ok(vec![Variable("")])));
        for odd in ["{a", "a}", "{a}}", "}{"] {
            assert_eq!(parts(odd), Err(Unpaired), "{odd}");
        }
    }
}
