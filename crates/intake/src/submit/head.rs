//! `-t`: the recipients that the header of a message names.
//!
//! The message's header is read before anything is written, so it is bounded. Bcc
//! fields go, as with Postfix; nothing else of the message may ever be changed.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;

use lazaret_envelope::{AddressError, Line, mailboxes};

use super::{SubmitError, Text};

/// Longest header of which recipients are taken, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;

/// The beginning of a message.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What was read of the content, without Bcc fields.
    pub(super) content: Vec<u8>,
    /// The addresses that it names, each once.
    pub(super) recipients: Vec<String>,
}

/// A field: where it stands, its name in lower case.
struct Field {
    place: Range<usize>,
    name: String,
}

impl Head {
    /// Reads the header and, since it comes in pieces, some of what follows.
    pub(super) fn read(text: &mut Text<impl Read>) -> Result<Self, SubmitError> {
        let mut content = Vec::new();
        let fields = loop {
            text.next(&mut content)?;
            match fields(&content, text.ended) {
                Some(fields) => break fields,
                None if content.len() > HEADER_BYTES_MAX => return Err(SubmitError::LongHeader),
                None => {}
            }
        };
        let recipients = recipients(&content, &fields)?;
        for Field { place, name } in fields.into_iter().rev() {
            if matches!(name.as_str(), "bcc" | "resent-bcc") {
                content.drain(place);
            }
        }
        Ok(Self { content, recipients })
    }
}

/// The fields of the header at the start of `content`; `None` if it may go on
/// behind what is there. A line that is no field ends it, as an empty one does.
fn fields(content: &[u8], is_all: bool) -> Option<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    let mut start = 0;
    loop {
        let rest = &content[start..];
        let length = match rest.iter().position(|&byte| byte == b'\n') {
            Some(place) => place + 1,
            None if is_all => rest.len(),
            None => return None,
        };
        let place = start..start + length;
        match (&rest[..length], fields.last_mut()) {
            ([b' ' | b'\t', ..], Some(field)) => field.place.end = place.end,
            // What a mailbox file has in front of a message.
            (line, None) if start == 0 && line.starts_with(b"From ") => {}
            (line, _) => match name(line) {
                Some(name) => fields.push(Field { place: place.clone(), name }),
                None => return Some(fields),
            },
        }
        start = place.end;
    }
}

/// RFC 5322 section 2.2; section 4.5 lets white space stand before the colon.
fn name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// Postfix, sendmail(1): with Resent- fields their recipients only.
fn recipients(content: &[u8], fields: &[Field]) -> Result<Vec<String>, SubmitError> {
    const RESENT: [&str; 7] = [
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "resent-from",
        "resent-sender",
        "resent-date",
        "resent-message-id",
    ];
    let resent = fields.iter().any(|field| RESENT.contains(&field.name.as_str()));
    let wanted = if resent { &RESENT[..3] } else { &["to", "cc", "bcc"] };
    let (mut known, mut found) = (HashSet::new(), Vec::new());
    for Field { place, name } in fields.iter().filter(|field| wanted.contains(&field.name.as_str())) {
        let field = String::from_utf8_lossy(&content[place.clone()]);
        let body = field.split_once(':').map_or("", |(_, body)| body);
        let addresses =
            mailboxes(body).map_err(|error| SubmitError::Field(Line::escaped(name.as_str()), error))?;
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
