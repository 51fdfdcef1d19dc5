//! Notices to senders: what became of recipients, or that it takes longer, as
//! mail that people and programs can read (RFC 3461, 3464, 3834, 6522, 6533).
//!
//! Values in, bytes out; a notice is bounded whatever the message was. Nothing
//! that a peer or a message said must ever become a field, a part or a line of
//! its own.

mod compose;
mod reply;
mod returned;
mod status;
#[cfg(test)]
mod tests;
mod words;

pub use returned::Returned;

use std::time::Duration;

use lazaret_envelope::{
    Address, Body, Envelope, Line, MailParams, RcptParams, Recipient, ReversePath, Sender, Timestamp,
    Transaction,
};

/// Most recipients that a notice names; of the others it says how many they are.
pub const NOTICE_RECIPIENTS_MAX: usize = 1000;

/// What a notice says of a recipient (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It will never get it.
    Failed,
    /// The same, for it was tried for long enough.
    Expired,
    /// It has not got it yet, and is still tried.
    Delayed,
    /// It has it.
    Delivered,
    /// It was given to a next hop that will say nothing of it.
    Relayed,
}

/// One recipient in a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its address as the sender gave it.
    pub recipient: Address,
    /// What the sender asked to be told about it.
    pub params: RcptParams,
    /// What became of it.
    pub action: Action,
    /// When that came out.
    pub time: Timestamp,
    /// What the next hop said, or what else was wrong.
    pub reply: Line,
}

/// What a sender is told.
#[derive(Debug)]
pub struct Notice<'a> {
    /// The message that it is about.
    pub envelope: &'a Envelope,
    /// Who tells.
    pub hostname: &'a str,
    /// At least one, at most [`NOTICE_RECIPIENTS_MAX`].
    pub entries: Vec<Entry>,
    /// Recipients of whom the same is to be told, and who are not named.
    pub more: u64,
    /// When it is told.
    pub now: Timestamp,
    /// How long a message that is delayed is tried in all.
    pub lifetime: Duration,
}

/// A notice as it goes into the spool.
#[derive(Debug)]
pub struct Composed {
    /// From nobody to the sender.
    pub transaction: Transaction,
    /// The message: lines end in CRLF, none is longer than SMTP allows.
    pub content: Vec<u8>,
}

impl Notice<'_> {
    /// Who is to get it; `None` where nobody is ever told anything. RFC 5321
    /// section 4.5.5: mail with a null reverse path must not be answered.
    #[must_use]
    pub fn addressee(&self) -> Option<&Address> {
        self.envelope.transaction.sender.path.0.as_ref()
    }

    /// The notice with what it returns of the message.
    #[must_use]
    pub fn compose(&self, returned: &Returned) -> Option<Composed> {
        let addressee = self.addressee()?;
        let content = compose::content(self, addressee, returned);
        let params = MailParams {
            body: (!content.is_ascii()).then_some(Body::EightBitMime),
            smtputf8: self.is_international(),
            ..MailParams::default()
        };
        // RFC 3461 section 6.1: a notice asks for no notice.
        let recipient = Recipient::from(addressee.clone());
        let sender = Sender { path: ReversePath(None), params };
        Some(Composed { transaction: Transaction { sender, recipients: vec![recipient] }, content })
    }

    /// Whether it needs SMTPUTF8 (RFC 6533): the message did, or an address does.
    #[must_use]
    pub fn is_international(&self) -> bool {
        let sender = &self.envelope.transaction.sender;
        sender.params.smtputf8
            || sender.path.0.as_ref().is_some_and(Address::is_international)
            || self.entries.iter().any(|entry| entry.recipient.is_international())
    }

    /// Whether it tells of a failure.
    #[must_use]
    pub fn tells_of_failure(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.action, Action::Failed | Action::Expired))
    }

    /// Until when a message that is delayed is tried.
    fn retried_until(&self) -> Option<Timestamp> {
        self.envelope.arrived.checked_add(self.lifetime).ok()
    }
}

/// A time as mail writes it (RFC 5322 section 3.3).
fn date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
