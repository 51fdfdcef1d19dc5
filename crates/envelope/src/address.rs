//! Mail addresses as SMTP carries them (RFC 5321 section 4.1.2, RFC 6531).
//!
//! Lenient where mail in the wild needs it (dots anywhere in a local part, long
//! local parts), strict where it protects a line or a path: an address must
//! never hold a control character, and its text form parses back to itself.

use std::fmt;
use std::str::FromStr;

use crate::line::is_unsafe;

/// Longest address in bytes. RFC 5321 section 4.5.3.1.3 asks for at least 254;
/// VERP and SRS senders are longer.
pub const ADDRESS_BYTES_MAX: usize = 1000;

/// An address `local@domain`; the domain is absent only in `postmaster`
/// (RFC 5321 section 4.1.1.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Box<str>,
    /// Where the domain starts: behind the last `@`, or at the end.
    domain: usize,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing where an address was expected.
    #[error("the address is empty")]
    Empty,
    /// Longer than [`ADDRESS_BYTES_MAX`].
    #[error("the address is longer than {ADDRESS_BYTES_MAX} bytes")]
    TooLong,
    /// The local part has a character that needs quotes, or quotes that don't close.
    #[error("the local part is not a dot-string and not a quoted string")]
    Local,
    /// No domain, and the local part is not `postmaster`.
    #[error("the address has no domain")]
    NoDomain,
    /// The domain is neither a host name nor an address literal.
    #[error("the domain is not a host name and not an address literal")]
    Domain,
    /// A path without its angle brackets.
    #[error("expected an address in angle brackets")]
    Brackets,
    /// A control character, which could end a line early or hide what is shown.
    #[error("a control character is not allowed in an address")]
    Control,
}

impl Address {
    /// The local part as written, with its quotes if it has any.
    #[must_use]
    pub fn local(&self) -> &str {
        match self.domain() {
            Some(_) => &self.text[..self.domain - 1],
            None => &self.text,
        }
    }

    /// The domain as written; `None` only for `postmaster`.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        Some(&self.text[self.domain..]).filter(|domain| !domain.is_empty())
    }

    /// The whole address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the address needs SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_international(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if text.chars().any(is_unsafe) {
            return Err(AddressError::Control);
        }
        let local = local_length(text)?;
        let domain = match text[local..].strip_prefix('@') {
            Some(domain) if is_domain(domain) => local + 1,
            Some(_) => return Err(AddressError::Domain),
            None if local < text.len() => return Err(AddressError::Local),
            None if text.eq_ignore_ascii_case("postmaster") => local,
            None => return Err(AddressError::NoDomain),
        };
        Ok(Self { text: text.into(), domain })
    }
}

/// RFC 5322 `atext`, RFC 6531 `UTF8-non-ascii`.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

/// Length of the local part at the start of `text`.
fn local_length(text: &str) -> Result<usize, AddressError> {
    let length = if text.starts_with('"') {
        quoted_length(text).ok_or(AddressError::Local)?
    } else {
        text.find(|c| c != '.' && !is_atext(c)).unwrap_or(text.len())
    };
    if length == 0 { Err(AddressError::Local) } else { Ok(length) }
}

/// Length of the quoted string at the start of `text`, with both quotes.
fn quoted_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((place, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()?),
            '"' => return Some(place + 1),
            _ => {}
        }
    }
    None
}

/// A host name of non-empty labels, or an address literal in brackets.
fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(|inside| {
            !inside.is_empty() && inside.chars().all(|c| c.is_ascii_graphic() && !"[]\\<>@".contains(c))
        });
    }
    let name = domain.strip_suffix('.').unwrap_or(domain);
    name.split('.').all(|label| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c) || !c.is_ascii())
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Longest name of a host, in bytes (RFC 5321 section 4.5.3.1.2).
const HOST_BYTES_MAX: usize = 255;

/// Whether a text is the name of a host: ASCII labels divided by dots.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(label)
}

/// What stands behind `MAIL FROM:`: an address, or nobody (`<>`), from whom
/// bounces come and to whom none is ever sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ReversePath(pub Option<Address>);

impl ReversePath {
    /// The address without brackets; empty for `<>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Address::as_str)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// Takes `<path>` off the start of `text`, and returns what follows as well.
/// A source route (`<@a,@b:user@c>`) is accepted and ignored, as RFC 5321
/// appendix C says. `<>` gives the null reverse path.
///
/// # Errors
/// No brackets, or what is between them is neither empty nor an address.
pub fn take_path(text: &str) -> Result<(ReversePath, &str), AddressError> {
    let inside = text.strip_prefix('<').ok_or(AddressError::Brackets)?;
    let route = match inside.strip_prefix('@') {
        Some(_) => inside.find(':').ok_or(AddressError::Local)? + 1,
        None => 0,
    };
    let inside = &inside[route..];
    let end = closing_bracket(inside).ok_or(AddressError::Brackets)?;
    let path = match &inside[..end] {
        "" if route == 0 => ReversePath(None),
        address => ReversePath(Some(address.parse()?)),
    };
    Ok((path, &inside[end + 1..]))
}

/// Where the `>` outside of quotes stands.
fn closing_bracket(text: &str) -> Option<usize> {
    let start = if text.starts_with('"') { quoted_length(text)? } else { 0 };
    text[start..].find('>').map(|place| start + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_the_wild_are_accepted() {
        for (text, local, domain) in [
            ("a@b", "a", Some("b")),
            ("first..last.@example.org", "first..last.", Some("example.org")),
            ("\"odd @ \\\" one\"@example.org", "\"odd @ \\\" one\"", Some("example.org")),
            ("bounce+a=b.example@lists.example.org.", "bounce+a=b.example", Some("lists.example.org.")),
            ("user@[192.0.2.1]", "user", Some("[192.0.2.1]")),
            ("user@[IPv6:2001:db8::1]", "user", Some("[IPv6:2001:db8::1]")),
            ("Postmaster", "Postmaster", None),
            ("grün@bücher.example", "grün", Some("bücher.example")),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        use AddressError::*;
        let long = format!("{}@b", "a".repeat(ADDRESS_BYTES_MAX));
        for (text, error) in [
            ("", Empty),
            ("a", NoDomain),
            ("@b", Local),
            ("a b@c", Local),
            ("\"open@c", Local),
            ("\"a\"b@c", Local),
            ("a@", Domain),
            ("a@b..c", Domain),
            ("a@b@c", Domain),
            ("a@[", Domain),
            ("a\r\nRCPT@b", Control),
            ("a\0@b", Control),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn paths_are_taken_off_the_front() {
        let rest = |text| take_path(text).map(|(path, rest)| (path.to_string(), rest));
        assert_eq!(rest("<a@b> SIZE=1"), Ok(("<a@b>".into(), " SIZE=1")));
        assert_eq!(rest("<>"), Ok(("<>".into(), "")));
        assert_eq!(rest("<@x,@y:a@b>"), Ok(("<a@b>".into(), "")));
        assert_eq!(rest("<\"a>\"@b>"), Ok(("<\"a>\"@b>".into(), "")));
        assert_eq!(rest("a@b"), Err(AddressError::Brackets));
        assert_eq!(rest("<a@b"), Err(AddressError::Brackets));
        assert_eq!(rest("<@x:>"), Err(AddressError::Empty));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_accepted_prints_as_it_was(text in "\\PC*|[a\"\\\\@.<> \\[\\]:]{0,12}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.as_str(), &text);
                let path = format!("<{address}>");
                prop_assert_eq!(take_path(&path), Ok((ReversePath(Some(address)), "")));
            }
            let _ = take_path(&text);
        }
    }
}
