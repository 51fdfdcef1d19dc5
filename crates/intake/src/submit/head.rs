//! The beginning of a message from standard input: whom its header names (`-t`),
//! and what it lacks to be a message at all.
//!
//! What a person types need not have a header, or a whole one, and is completed as
//! by Postfix's sendmail(1) and cleanup(8); RFC 6409 section 8 lets a submission
//! agent do that. The header is read before anything is written, so it is bounded.
//! A message that has From and Date, or has been at an MTA, must never be changed
//! but by what is dropped: Bcc fields with `-t`, and the line `From ` in front of it.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;

use lazaret_envelope::{AddressError, Line, mailboxes};

use super::author::Author;
use super::{SubmitError, Text};

/// Longest header of which recipients are taken, and to which fields are added, in
/// bytes.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;

/// Longest name of a field, in bytes: it has to fit into a line, which has at most
/// 998 of them (RFC 5322 section 2.1.1).
const NAME_BYTES_MAX: usize = 998;

/// Fields that say that and to whom a message was sent again.
const RESENT: [&str; 7] = [
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "resent-from",
    "resent-sender",
    "resent-date",
    "resent-message-id",
];

/// The other fields that are looked at.
const FIELDS: [&str; 7] = ["to", "cc", "bcc", "from", "date", "message-id", "received"];

/// The beginning of a message: its header and, since it comes in pieces, some of
/// what follows.
#[derive(Debug, Default)]
pub(super) struct Head {
    content: Vec<u8>,
    /// Length of the line `From ` that a mailbox file has in front of a message.
    mailbox_line: usize,
    fields: Vec<Field>,
    /// Start of the first line that was not looked at.
    next: usize,
}

/// How a header ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With an empty line or the message.
    Proper,
    /// With a line that is no field, which starts at [`Head::next`].
    NoField,
    /// Not within [`HEADER_BYTES_MAX`].
    TooLong,
}

/// A field: where it stands; its name in lower case, empty if nobody asks for it.
#[derive(Debug)]
struct Field {
    place: Range<usize>,
    name: &'static str,
}

/// What is to be done to a message on its way in.
pub(super) struct Edit<'a> {
    /// Take the recipients from the header, and Bcc fields out of it.
    pub(super) recipients: bool,
    /// Complete it, if it lacks anything, on behalf of this author.
    pub(super) author: Option<Author<'a>>,
}

impl Head {
    /// Reads it; returns what is the content then, and the recipients, each once.
    pub(super) fn read(
        text: &mut Text<impl Read>,
        edit: &Edit<'_>,
    ) -> Result<(Vec<u8>, Vec<String>), SubmitError> {
        let mut head = Self::default();
        let end = loop {
            text.next(&mut head.content)?;
            match head.scan(text.ended) {
                Some(end) => break end,
                None if head.content.len() > HEADER_BYTES_MAX => break End::TooLong,
                None => {}
            }
        };
        let recipients = match (edit.recipients, end) {
            (true, End::TooLong) => return Err(SubmitError::LongHeader),
            (true, _) => recipients(&head.content, &head.fields)?,
            (false, _) => Vec::new(),
        };
        Ok((head.edited(end, edit), recipients))
    }

    /// Looks at the lines that are there; `None` if the header may go on behind
    /// them. A line that is no field ends it, as an empty one does.
    fn scan(&mut self, is_all: bool) -> Option<End> {
        loop {
            let rest = &self.content[self.next..];
            let length = match rest.iter().position(|&byte| byte == b'\n') {
                Some(place) => place + 1,
                None if is_all || self.is_hopeless(rest) => rest.len(),
                None => return None,
            };
            let place = self.next..self.next + length;
            match (&rest[..length], self.fields.last_mut()) {
                ([b' ' | b'\t', ..], Some(field)) => field.place.end = place.end,
                (line, None) if self.next == 0 && line.starts_with(b"From ") => self.mailbox_line = length,
                (line, _) => match name(line) {
                    Some(name) => self.fields.push(Field { place: place.clone(), name }),
                    None if line.is_empty() || line == b"\r\n" => return Some(End::Proper),
                    None => return Some(End::NoField),
                },
            }
            self.next = place.end;
        }
    }

    /// Whether a line that is not all there is no field, however it goes on.
    fn is_hopeless(&self, line: &[u8]) -> bool {
        let may_go_on = match line {
            [b' ' | b'\t', ..] => !self.fields.is_empty(),
            line => (self.next == 0 && line.starts_with(b"From ")) || name(line).is_some(),
        };
        line.len() > NAME_BYTES_MAX && !may_go_on
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// The content as it goes on; from behind, so that places stay what they are.
    fn edited(mut self, end: End, edit: &Edit<'_>) -> Vec<u8> {
        // Every MTA adds Received (RFC 5321 section 4.4): what has one is a message,
        // and not ours to complete.
        let author = edit.author.as_ref().filter(|_| end != End::TooLong && !self.has("received"));
        let added = author.map_or(String::new(), |author| author.missing(|name| self.has(name)));
        if author.is_some() && end == End::NoField {
            self.content.splice(self.next..self.next, *b"\r\n");
        }
        let unseen = |field: &&Field| edit.recipients && matches!(field.name, "bcc" | "resent-bcc");
        for field in self.fields.iter().rev().filter(unseen) {
            self.content.drain(field.place.clone());
        }
        self.content.splice(..self.mailbox_line, added.into_bytes());
        self.content
    }
}

/// RFC 5322 section 2.2; section 4.5 lets white space stand before the colon.
fn name(line: &[u8]) -> Option<&'static str> {
    let colon = line.iter().take(NAME_BYTES_MAX + 1).position(|&byte| byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let mut known = RESENT.into_iter().chain(FIELDS);
    is_name.then(|| known.find(|known| name.eq_ignore_ascii_case(known.as_bytes())).unwrap_or_default())
}

/// Postfix, sendmail(1): with Resent- fields their recipients only.
fn recipients(content: &[u8], fields: &[Field]) -> Result<Vec<String>, SubmitError> {
    let resent = fields.iter().any(|field| RESENT.contains(&field.name));
    let wanted = if resent { &RESENT[..3] } else { &FIELDS[..3] };
    let (mut known, mut found) = (HashSet::new(), Vec::new());
    for Field { place, name } in fields.iter().filter(|field| wanted.contains(&field.name)) {
        let field = String::from_utf8_lossy(&content[place.clone()]);
        let body = field.split_once(':').map_or("", |(_, body)| body);
        let addresses = mailboxes(body).map_err(|error| SubmitError::Field(Line::escaped(name), error))?;
        for address in addresses {
            // Names may be in any character set; an address that is not UTF-8 has
            // lost what it said.
            if address.contains(char::REPLACEMENT_CHARACTER) {
                return Err(SubmitError::Recipient(Line::escaped(&address), AddressError::Local));
            }
            if known.insert(address.clone()) {
                found.push(address);
            }
        }
    }
    if found.is_empty() { Err(SubmitError::NoneInHeader) } else { Ok(found) }
}
