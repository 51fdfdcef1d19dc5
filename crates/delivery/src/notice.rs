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

pub(crate) use returned::Returned;

use std::time::Duration;

use lazaret_envelope::{
    Address, Body, Envelope, Line, MailParams, RcptParams, Recipient, ReversePath, Sender, Timestamp,
    Transaction,
};

/// Most recipients that a notice names; of the others it says how many they are.
pub(crate) const NOTICE_RECIPIENTS_MAX: usize = 1000;

/// What a notice says of a recipient (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
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
pub(crate) struct Entry {
    pub(crate) recipient: Address,
    pub(crate) params: RcptParams,
    pub(crate) action: Action,
    /// When that came out.
    pub(crate) time: Timestamp,
    /// What the next hop said, or what else was wrong.
    pub(crate) reply: Line,
}

/// What a sender is told.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    /// The message that it is about.
    pub(crate) envelope: &'a Envelope,
    /// Who tells.
    pub(crate) hostname: &'a str,
    /// At least one, at most [`NOTICE_RECIPIENTS_MAX`].
    pub(crate) entries: Vec<Entry>,
    /// Recipients of whom the same is to be told, and who are not named.
    pub(crate) more: u64,
    pub(crate) now: Timestamp,
    /// How long a message that is delayed is tried in all.
    pub(crate) lifetime: Duration,
}

/// A notice as it goes into the spool.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) transaction: Transaction,
    pub(crate) content: Vec<u8>,
}

impl Notice<'_> {
    /// Who is to get it; `None` where nobody is ever told anything. RFC 5321
    /// section 4.5.5: mail with a null reverse path must not be answered.
    pub(crate) fn addressee(&self) -> Option<&Address> {
        self.envelope.transaction.sender.path.0.as_ref()
    }

    /// The notice with what it returns of the message.
    pub(crate) fn compose(&self, returned: &Returned) -> Option<Composed> {
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
    pub(crate) fn is_international(&self) -> bool {
        let sender = &self.envelope.transaction.sender;
        sender.params.smtputf8
            || sender.path.0.as_ref().is_some_and(Address::is_international)
            || self.entries.iter().any(|entry| entry.recipient.is_international())
    }

    /// Whether it tells of a failure.
    pub(crate) fn tells_of_failure(&self) -> bool {
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
