//! The questions that a session puts to its caller.
//!
//! A question borrows the session, so nothing else can happen before it is
//! answered, and answering takes it, so it can't be answered twice. Dropped
//! unanswered, it is asked again by the next step. It must never be answered
//! with 250 before the message is durable.

use lazaret_envelope::{Line, Origin, Transaction};

use super::Session;
use crate::reply::Reply;

/// A client has named a sender, whose message it wants to send.
#[derive(Debug)]
pub struct Offer<'s> {
    session: &'s mut Session,
}

impl<'s> Offer<'s> {
    pub(super) const fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// The size in bytes that the client has announced (RFC 1870), if it did.
    #[must_use]
    pub const fn announced(&self) -> Option<u64> {
        self.session.announced()
    }

    /// Answers 250: recipients come next.
    pub fn accept(self, out: &mut Vec<u8>) {
        self.session.accept_offer(out);
    }

    /// Answers `reply`, a 4xx or 5xx: there is no transaction, and with 421 no
    /// session any more.
    pub fn refuse(self, reply: &Reply, out: &mut Vec<u8>) {
        debug_assert!(reply.is_transient() || reply.is_permanent(), "{reply}");
        self.session.refuse(reply, out);
    }
}

/// A client has asked to send a message.
#[derive(Debug)]
pub struct Begin<'s> {
    session: &'s mut Session,
}

impl<'s> Begin<'s> {
    pub(super) const fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// What is known about the client.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.session.origin()
    }

    /// Sender and recipients.
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        self.session.transaction()
    }

    /// The size in bytes that the client has announced (RFC 1870), if it did.
    #[must_use]
    pub const fn announced(&self) -> Option<u64> {
        self.session.announced()
    }

    /// Answers 354: the content comes next. Returns sender and recipients.
    pub fn accept(self, out: &mut Vec<u8>) -> Transaction {
        self.session.accept(out)
    }

    /// Answers `reply`, a 4xx or 5xx; the transaction is over, and with 421 the
    /// session as well.
    pub fn refuse(self, reply: &Reply, out: &mut Vec<u8>) {
        debug_assert!(reply.is_transient() || reply.is_permanent(), "{reply}");
        self.session.refuse(reply, out);
    }
}

/// A message is complete.
#[derive(Debug)]
pub struct End<'s> {
    session: &'s mut Session,
}

impl<'s> End<'s> {
    pub(super) const fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// Answers `reply`: for SMTP once, for LMTP once for each recipient, since
    /// a message is accepted for all of its recipients or for none. With 421
    /// the session is over.
    pub fn finish(self, reply: &Reply, out: &mut Vec<u8>) {
        debug_assert!(reply.code / 100 != 3, "{reply}");
        self.session.finish(reply, out);
    }
}

/// A client has asked for TLS, and was told to begin.
#[derive(Debug)]
pub struct StartTls<'s> {
    session: &'s mut Session,
}

impl<'s> StartTls<'s> {
    pub(super) const fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// The handshake is done; `tls` names version and cipher suite. What the client
    /// has said before is forgotten.
    pub fn established(self, tls: Line) {
        self.session.secured(tls);
    }
}
