//! The addresses in a header field such as To: (RFC 5322 section 3.4).
//!
//! Comments, display names, groups and source routes are passed over; what is
//! left are the texts of addresses, as written. Whether each is one is for its
//! parser to say. It must never guess at an address that the field does not hold.

use std::str::CharIndices;

/// Deepest nesting of comments; what is deeper is no address field.
const COMMENT_DEPTH_MAX: usize = 32;

/// A field that is no list of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailboxesError {
    /// A quoted string, comment, literal or angle bracket is not closed.
    #[error("a quote, comment or bracket is not closed")]
    Open,
    /// Words that are no address and stand before none.
    #[error("words that are no address: names with spaces belong in front of <an@address>")]
    Words,
    /// Comments within comments within comments.
    #[error("more than {COMMENT_DEPTH_MAX} comments in each other")]
    Depth,
}

/// The texts of all addresses in the unfolded body of a field.
///
/// # Errors
/// The field is no list of addresses.
pub fn mailboxes(body: &str) -> Result<Vec<String>, MailboxesError> {
    let mut reader = Reader { body, chars: body.char_indices() };
    let mut found = Vec::new();
    let mut mailbox = Mailbox::default();
    while let Some((place, c)) = reader.chars.next() {
        match c {
            ',' | ';' => found.extend(std::mem::take(&mut mailbox).address()?),
            // What came before is the name of a group.
            ':' => mailbox = Mailbox::default(),
            '(' => {
                reader.comment()?;
                mailbox.gap = true;
            }
            '<' => mailbox.angle = Some(reader.angle()?),
            '"' => mailbox.word(reader.quoted(place, '"')?),
            '[' => mailbox.word(reader.quoted(place, ']')?),
            c if c.is_whitespace() => mailbox.gap = true,
            c => mailbox.word(c.encode_utf8(&mut [0; 4])),
        }
    }
    found.extend(mailbox.address()?);
    Ok(found)
}

/// What was read of one mailbox.
#[derive(Default)]
struct Mailbox {
    /// The words outside of angle brackets.
    words: String,
    /// What stood in angle brackets.
    angle: Option<String>,
    /// White space or a comment came last.
    gap: bool,
    /// Two words have only a gap between them: a display name.
    is_phrase: bool,
}

impl Mailbox {
    fn word(&mut self, text: &str) {
        // RFC 5322 section 4.4: white space around the dots and the `@` of an
        // address is obsolete, and no part of it.
        let joins = |c: char| c == '.' || c == '@';
        let apart = self.gap && !self.words.is_empty();
        self.is_phrase |= apart && !self.words.ends_with(joins) && !text.starts_with(joins);
        self.words.push_str(text);
        self.gap = false;
    }

    /// The address; `None` between two commas, and for `<>`.
    fn address(self) -> Result<Option<String>, MailboxesError> {
        match self.angle {
            Some(angle) => Ok(Some(angle).filter(|angle| !angle.is_empty())),
            None if self.is_phrase => Err(MailboxesError::Words),
            None => Ok(Some(self.words).filter(|words| !words.is_empty())),
        }
    }
}

struct Reader<'a> {
    body: &'a str,
    chars: CharIndices<'a>,
}

impl<'a> Reader<'a> {
    /// Passes over the rest of a comment.
    fn comment(&mut self) -> Result<(), MailboxesError> {
        let mut depth = 1;
        while depth > 0 {
            match self.chars.next().ok_or(MailboxesError::Open)?.1 {
                '\\' => drop(self.chars.next()),
                '(' if depth == COMMENT_DEPTH_MAX => return Err(MailboxesError::Depth),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// From the character at `start` to `end`, both included.
    fn quoted(&mut self, start: usize, end: char) -> Result<&'a str, MailboxesError> {
        loop {
            match self.chars.next().ok_or(MailboxesError::Open)? {
                (_, '\\') => drop(self.chars.next()),
                (place, c) if c == end => return Ok(&self.body[start..place + c.len_utf8()]),
                _ => {}
            }
        }
    }

    /// What stands before the closing bracket, without source route and space.
    fn angle(&mut self) -> Result<String, MailboxesError> {
        let mut address = String::new();
        loop {
            let (place, c) = self.chars.next().ok_or(MailboxesError::Open)?;
            match c {
                '>' => return Ok(address),
                '(' => self.comment()?,
                '"' => address.push_str(self.quoted(place, '"')?),
                '[' => address.push_str(self.quoted(place, ']')?),
                // RFC 5321 appendix C: a route is accepted and ignored.
                ':' if address.starts_with('@') => address.clear(),
                c if c.is_whitespace() => {}
                c => address.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_the_wild_are_found() {
        for (body, found) in [
            ("a@b", &["a@b"][..]),
            (" a@b , c@d,\te", &["a@b", "c@d", "e"]),
            ("John Doe <john@example.org>", &["john@example.org"]),
            ("\"Doe, John (JD) <x@y>\" <john@example.org>, b@c", &["john@example.org", "b@c"]),
            ("john@example.org (John, the \\) one (really))", &["john@example.org"]),
            ("(first) john . doe @ example . org", &["john.doe@example.org"]),
            ("\"odd, one\"@example.org", &["\"odd, one\"@example.org"]),
            ("<\"a>b\"@example.org>", &["\"a>b\"@example.org"]),
            ("The team: a@b, Bo <c@d>;, e@f", &["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", &[]),
            ("<@relay.example,@other.example:a@b>", &["a@b"]),
            ("a@[192.0.2.1], <b@[IPv6:2001:db8::1]>", &["a@[192.0.2.1]", "b@[IPv6:2001:db8::1]"]),
            ("Jürgen <jürgen@bücher.example>", &["jürgen@bücher.example"]),
            ("\u{fffd}quipe <a@b>", &["a@b"]),
            (", ,, <>, a@b,", &["a@b"]),
            ("", &[]),
        ] {
            assert_eq!(
                mailboxes(body).as_deref(),
                Ok(&found.iter().map(|&f| f.to_owned()).collect::<Vec<_>>()[..]),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (body, error) in [
            ("John Doe", MailboxesError::Words),
            ("a@b c@d", MailboxesError::Words),
            ("\"open <a@b>", MailboxesError::Open),
            ("(open a@b", MailboxesError::Open),
            ("<a@b, c@d", MailboxesError::Open),
            (&"(".repeat(100), MailboxesError::Depth),
        ] {
            assert_eq!(mailboxes(body), Err(error), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_is_made_up(body in "[a@,;:<>()\"\\\\\\[\\] .é]{0,24}") {
            for found in mailboxes(&body).unwrap_or_default() {
                let mut rest = body.chars();
                prop_assert!(found.chars().all(|c| rest.any(|other| other == c)), "{found}");
            }
        }
    }
}
