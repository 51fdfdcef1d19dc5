//! Where a recipient's Maildir is: a path with `{local}`, `{domain}` and
//! `{address}` in it.
//!
//! A recipient is untrusted: what takes the place of a variable must never be
//! more than a part of one component, hidden, or a way up.

use std::path::PathBuf;

use lazaret_envelope::Address;

use crate::braces::{Part, Unpaired, parts};
use crate::recipient::Parts;

/// Most bytes that take the place of one variable.
pub const VALUE_BYTES_MAX: usize = 200;

/// Longest component of a path on the usual file systems, in bytes.
const COMPONENT_BYTES_MAX: usize = 255;

/// Digits of the hash that stands for what was cut off: 128 bits.
const HASH_DIGITS: usize = 32;

/// Divides the cut value from its hash. Elsewhere `%` stands only before two
/// hexadecimal digits, so that no short value looks like a cut one.
const CUT_MARK: &str = "%-";

/// What stands for an empty value.
const EMPTY: &str = "%";

/// A path with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Local,
    Domain,
    Address,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing, or not a path that starts at the root.
    #[error("{0:?} is not an absolute path")]
    Relative(String),
    /// A brace without its partner.
    #[error("a brace is not closed, or closes nothing")]
    Brace,
    /// No variable of this name is known.
    #[error("unknown variable {{{0}}}: the variables are {{local}}, {{domain}} and {{address}}")]
    Unknown(String),
    /// A component that could become longer than a file system takes.
    #[error("{0:?} can become longer than {COMPONENT_BYTES_MAX} bytes: put a slash between the variables")]
    TooLong(String),
}

impl Template {
    /// Reads a path with variables.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if !text.starts_with('/') || text.contains('\0') {
            return Err(TemplateError::Relative(text.to_owned()));
        }
        let mut pieces = Vec::new();
        for component in text.split_inclusive('/') {
            let start = pieces.len();
            parse_component(component, &mut pieces)?;
            let length: usize = pieces[start..].iter().map(Piece::longest).sum();
            if length > COMPONENT_BYTES_MAX {
                return Err(TemplateError::TooLong(component.trim_end_matches('/').to_owned()));
            }
        }
        Ok(Self { pieces })
    }

    /// The folder above everything that depends on the recipient.
    #[must_use]
    pub fn fixed(&self) -> PathBuf {
        let texts = self.pieces.iter().map_while(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let text: String = texts.collect();
        let whole = self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
        let end = if whole { text.len() } else { text.rfind('/').unwrap_or(0).max(1) };
        PathBuf::from(&text[..end])
    }

    /// The Maildir of a recipient; `hostname` is the domain of `postmaster`.
    #[must_use]
    pub fn path(&self, recipient: &Address, hostname: &str) -> PathBuf {
        let values = Values::new(recipient, hostname);
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Local => limited(&values.local),
            Piece::Domain => limited(&values.domain),
            Piece::Address => limited(&format!("{}@{}", values.local, values.domain)),
        });
        texts.collect::<String>().into()
    }
}

fn parse_component(component: &str, pieces: &mut Vec<Piece>) -> Result<(), TemplateError> {
    for part in parts(component).map_err(|Unpaired| TemplateError::Brace)? {
        pieces.push(match part {
            Part::Text(text) => Piece::Text(text.to_owned()),
            Part::Variable("local") => Piece::Local,
            Part::Variable("domain") => Piece::Domain,
            Part::Variable("address") => Piece::Address,
            Part::Variable(unknown) => return Err(TemplateError::Unknown(unknown.to_owned())),
        });
    }
    Ok(())
}

impl Piece {
    /// Most bytes of a component that it can become.
    fn longest(&self) -> usize {
        match self {
            Self::Text(text) => text.trim_end_matches('/').len(),
            Self::Local | Self::Domain | Self::Address => VALUE_BYTES_MAX,
        }
    }
}

/// What the variables stand for, safe to put into a path but for its length.
struct Values {
    local: String,
    domain: String,
}

impl Values {
    fn new(recipient: &Address, hostname: &str) -> Self {
        let Parts { local, domain } = Parts::of(recipient, hostname);
        Self { local: safe(&local), domain: safe(&domain) }
    }
}

/// Percent-encodes what could be more than part of a name, or make it hidden;
/// `%` too, so that different values stay different.
fn safe(value: &str) -> String {
    if value.is_empty() {
        return EMPTY.to_owned();
    }
    let mut text = String::with_capacity(value.len());
    for (place, c) in value.char_indices() {
        if c.is_alphanumeric() || "-_+=".contains(c) || (c == '.' && place > 0) {
            text.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
        }
    }
    text
}

/// Cuts a value that is too long and marks it with a hash of all of it.
fn limited(value: &str) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return value.to_owned();
    }
    let hash = blake3::hash(value.as_bytes()).to_hex();
    let room = VALUE_BYTES_MAX - CUT_MARK.len() - HASH_DIGITS;
    format!("{}{CUT_MARK}{}", &value[..value.floor_char_boundary(room)], &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    fn path(template: &str, address: &str) -> String {
        let template = Template::parse(template).unwrap();
        template.path(&address.parse().unwrap(), "hub.example").to_str().unwrap().to_owned()
    }

    #[test]
    fn variables_are_filled_in() {
        const BOTH: &str = "/mail/{domain}/{local}";
        for (template, address, expected) in [
            (BOTH, "Ann.Lee+x@Example.ORG.", "/mail/example.org/Ann.Lee+x"),
            (BOTH, "PostMaster", "/mail/hub.example/postmaster"),
            (BOTH, "\"a/b \\\" c\"@d", "/mail/d/a%2Fb%20%22%20c"),
            (BOTH, "..@d", "/mail/d/%2E."),
            (BOTH, "\"\"@d", "/mail/d/%"),
            (BOTH, "100%25@d", "/mail/d/100%2525"),
            (BOTH, "grün@BÜCHER.example", "/mail/bücher.example/grün"),
            (BOTH, "a@[192.0.2.1]", "/mail/%5B192.0.2.1%5D/a"),
            ("/mail/{address}/Maildir", "\"a@b\"@c", "/mail/a%40b@c/Maildir"),
            ("/mail/all", "a@b", "/mail/all"),
            ("/mail/u-{local}.box", ".a@b", "/mail/u-%2Ea.box"),
        ] {
            assert_eq!(path(template, address), expected);
        }
    }

    #[test]
    fn the_fixed_folder_is_above_every_variable() {
        for (template, fixed) in [
            ("/mail/{domain}/{local}", "/mail"),
            ("/mail/u-{local}", "/mail"),
            ("/{local}", "/"),
            ("/mail/all", "/mail/all"),
        ] {
            assert_eq!(Template::parse(template).unwrap().fixed(), Path::new(fixed));
        }
    }

    #[test]
    fn templates_that_make_no_sense_are_refused() {
        let unknown = |name: &str| TemplateError::Unknown(name.into());
        for (text, error) in [
            ("", TemplateError::Relative(String::new())),
            ("mail/{local}", TemplateError::Relative("mail/{local}".into())),
            ("/{local", TemplateError::Brace),
            ("/local}", TemplateError::Brace),
            ("/{}", unknown("")),
            ("/{LOCAL}", unknown("LOCAL")),
            ("/m/{local}{domain}/x", TemplateError::TooLong("{local}{domain}".into())),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn long_values_are_cut_and_stay_apart() {
        let [one, two] = ["1", "2"].map(|end| path("/{local}", &format!("{}{end}@b", "é".repeat(150))));
        assert!(one != two && one.starts_with("/éé") && one.contains(CUT_MARK));
        assert!(one.len() <= 1 + VALUE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_recipient_leaves_its_component(
            local in "\\PC{1,250}|[./\\\\\"%{}]{1,12}", domain in "[a-zA-Z0-9é.-]{1,220}", quoted: bool,
        ) {
            let local = if quoted { format!("\"{}\"", local.replace(['\\', '"'], "")) } else { local };
            let Ok(address) = format!("{local}@{domain}").parse::<Address>() else { return Ok(()) };
            for (template, depth) in [("/srv/{domain}/{local}", 4), ("/srv/{address}", 3), ("/srv/.{local}", 3)] {
                let path = Template::parse(template).unwrap().path(&address, "h");
                let text = path.to_str().unwrap();
                prop_assert!(text.starts_with("/srv/") && !text.contains(|c: char| c.is_control()));
                prop_assert_eq!(text.matches('/').count(), depth - 1);
                prop_assert_eq!(path.components().count(), depth);
                for component in path.components().skip(1) {
                    let Component::Normal(name) = component else { panic!("{text}") };
                    prop_assert!(name.len() <= COMPONENT_BYTES_MAX);
                    prop_assert!(template.contains("/.") || !name.to_str().unwrap().starts_with('.'));
                }
            }
        }

        #[test]
        fn different_recipients_have_different_maildirs(a in "[a-c%./ -]{0,6}", b in "[a-c%./ -]{0,6}") {
            let [one, two] = [&a, &b].map(|local| path("/{local}", &format!("\"{local}\"@d")));
            prop_assert_eq!(a == b, one == two);
        }
    }
}
