//! The envelope: who sends what to whom, where it came from, and what the bytes
//! behind it must be. In the spool it stands as text before the message.
//!
//! `size`, `digest` and `end` come last and have a fixed width, so that a
//! message can be written as it arrives and the two filled in before the fsync.
//! Written lines must never depend on anything but the value.

use std::fmt::{self, Write};

use jiff::Timestamp;

use crate::address::{Address, ReversePath, take_path};
use crate::digest::Digest;
use crate::id::MessageId;
use crate::line::Line;
use crate::origin::{Origin, Protocol};
use crate::params::{MailParams, RcptParams};
use crate::text::{Fields, Reason, TextError};

/// First line of every envelope: the kind of document and its version.
const HEADING: &str = "lazaret-envelope 1";

/// Most recipients of one message.
pub const RECIPIENTS_MAX: usize = 500_000;

/// Longest envelope in bytes: enough for [`RECIPIENTS_MAX`] usual recipients.
pub const ENVELOPE_BYTES_MAX: usize = 64 << 20;

/// What stands behind MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sender {
    /// The reverse path: to whom a bounce goes.
    pub path: ReversePath,
    /// Its ESMTP parameters.
    pub params: MailParams,
}

/// What stands behind one RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The recipient.
    pub address: Address,
    /// Its ESMTP parameters.
    pub params: RcptParams,
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self { address, params: RcptParams::default() }
    }
}

/// A mail transaction (RFC 5321 section 3.3) without its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The sender.
    pub sender: Sender,
    /// The recipients, in the order in which they were named; at least one in
    /// a transaction that gets to its data.
    pub recipients: Vec<Recipient>,
}

/// What the bytes behind the envelope must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Their number.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// The envelope of an accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The id under which it was accepted.
    pub id: MessageId,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Sender and recipients; at least one recipient.
    pub transaction: Transaction,
    /// What the message's bytes must be.
    pub content: Content,
}

/// What another program wrote above a message in `drop/`: sender, recipients
/// and whatever else it knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Where it came from; the protocol is always [`Protocol::Drop`].
    pub origin: Origin,
    /// Sender and recipients; at least one recipient.
    pub transaction: Transaction,
    /// The number of bytes, if it was said.
    pub size: Option<u64>,
    /// The digest of the bytes, if it was said.
    pub digest: Option<Digest>,
}

/// Length of [`trailer`], in bytes.
pub const TRAILER_BYTES: usize = "size \ndigest blake3:\nend\n".len() + 20 + 64;

/// The last lines of an envelope: size, digest and `end`, always
/// [`TRAILER_BYTES`] long, so that they can be overwritten in place.
#[must_use]
pub fn trailer(content: Content) -> String {
    format!("size {:020}\ndigest {}\nend\n", content.size, content.digest)
}

/// Length of the envelope at the start of `bytes`, or `None` while its line
/// `end` is not among them.
#[must_use]
pub fn text_length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\nend\n";
    let mut from = 0;
    loop {
        let newline = from + bytes[from..].iter().position(|&byte| byte == b'\n')?;
        if bytes[newline..].starts_with(END) {
            return Some(newline + END.len());
        }
        from = newline + 1;
    }
}

impl Envelope {
    /// Parses the envelope at the start of `bytes`; returns also where the
    /// message begins.
    ///
    /// # Errors
    /// The first line that can't be understood, or that is missing.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), TextError> {
        let mut fields = Fields::open(bytes, HEADING)?;
        let draft = Draft::parse(&mut fields)?;
        let id = fields.required(draft.id, "id")?;
        let arrived = fields.required(draft.arrived, "arrived")?;
        let size = fields.required(draft.size, "size")?;
        let digest = fields.required(draft.digest, "digest")?;
        let protocol = fields.required(draft.protocol, "protocol")?;
        let envelope = Self {
            id,
            arrived,
            content: Content { size, digest },
            origin: Origin { protocol, ..draft.origin.clone() },
            transaction: draft.transaction(&fields)?,
        };
        Ok((envelope, fields.offset()))
    }
}

impl fmt::Display for Envelope {
    /// The text form, through the line `end`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}\nid {}\narrived {}", self.id, self.arrived)?;
        writeln!(f, "protocol {}", self.origin.protocol)?;
        self.origin.facts().try_for_each(|(key, value)| writeln!(f, "{key} {value}"))?;
        self.transaction.fmt(f)?;
        f.write_str(&trailer(self.content))
    }
}

impl fmt::Display for Transaction {
    /// The lines `sender` and `recipient`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sender {}{}", self.sender.path, self.sender.params)?;
        self.recipients.iter().try_for_each(|to| writeln!(f, "recipient <{}>{}", to.address, to.params))
    }
}

impl Dropped {
    /// Parses the envelope at the start of a dropped file; returns also where
    /// the message begins. Fields that only the spool can fill (`id`,
    /// `arrived`, `protocol`) may stand there and mean nothing.
    ///
    /// # Errors
    /// The first line that can't be understood, or that is missing.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), TextError> {
        let mut fields = Fields::open(bytes, HEADING)?;
        let draft = Draft::parse(&mut fields)?;
        let dropped = Self {
            size: draft.size,
            digest: draft.digest,
            origin: draft.origin.clone(),
            transaction: draft.transaction(&fields)?,
        };
        Ok((dropped, fields.offset()))
    }

    /// The text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADING}\n{}", self.transaction);
        if let Some(client) = &self.origin.client {
            let _ = writeln!(text, "client {client}");
        }
        text + "end\n"
    }
}

/// The fields as they come, before it is known which of them are needed.
#[derive(Debug)]
struct Draft {
    id: Option<MessageId>,
    arrived: Option<Timestamp>,
    protocol: Option<Protocol>,
    /// Without its protocol, which stands above.
    origin: Origin,
    sender: Option<Sender>,
    recipients: Vec<Recipient>,
    size: Option<u64>,
    digest: Option<Digest>,
}

impl Draft {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, TextError> {
        let mut draft = Self {
            id: None,
            arrived: None,
            protocol: None,
            origin: Protocol::Drop.into(),
            sender: None,
            recipients: Vec::new(),
            size: None,
            digest: None,
        };
        while let Some((key, value)) = fields.next()? {
            match key {
                "id" => fields.once(&mut draft.id, "id", value.parse::<MessageId>())?,
                "arrived" => fields.once(&mut draft.arrived, "arrived", value.parse::<Timestamp>())?,
                "protocol" => fields.once(&mut draft.protocol, "protocol", value.parse::<Protocol>())?,
                "sender" => fields.once(&mut draft.sender, "sender", parse_sender(value))?,
                "recipient" => {
                    if draft.recipients.len() == RECIPIENTS_MAX {
                        return Err(fields.error(Reason::TooMany { key: "recipient", max: RECIPIENTS_MAX }));
                    }
                    draft.recipients.push(fields.value("recipient", parse_recipient(value))?);
                }
                "size" => fields.once(&mut draft.size, "size", value.parse::<u64>())?,
                "digest" => fields.once(&mut draft.digest, "digest", value.parse::<Digest>())?,
                key => {
                    let (key, place) = draft.origin.place(key).ok_or_else(|| fields.unknown(key))?;
                    fields.once(place, key, Line::parse(value))?;
                }
            }
        }
        Ok(draft)
    }

    fn transaction(self, fields: &Fields<'_>) -> Result<Transaction, TextError> {
        let sender = fields.required(self.sender, "sender")?;
        if self.recipients.is_empty() {
            return Err(fields.error(Reason::Missing("recipient")));
        }
        Ok(Transaction { sender, recipients: self.recipients })
    }
}

fn parse_sender(value: &str) -> Result<Sender, String> {
    let (path, params) = take_path(value).map_err(|error| error.to_string())?;
    let params = MailParams::parse(params).map_err(|error| error.to_string())?;
    Ok(Sender { path, params })
}

fn parse_recipient(value: &str) -> Result<Recipient, String> {
    let (path, params) = take_path(value).map_err(|error| error.to_string())?;
    let address = path.0.ok_or("a recipient can't be empty")?;
    let params = RcptParams::parse(params).map_err(|error| error.to_string())?;
    Ok(Recipient { address, params })
}

#[cfg(test)]
mod tests;
