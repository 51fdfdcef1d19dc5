//! What each command that is not about data does to a session, and its reply.
//!
//! A command must never change anything before it is known that it is in order.

use lazaret_envelope::{Address, Line, Protocol, Recipient, Sender, Transaction};

use super::{Session, State};
use crate::server::lines::Lines;
use crate::server::{StartTlsPolicy, too_large};
use crate::xforward::{Attribute, Told};
use crate::{Dialect, Reply};

impl Session {
    pub(super) fn hello(&mut self, protocol: Protocol, name: Line) -> Reply {
        // RFC 2033 section 4.1: LHLO replaces HELO and EHLO, and a server
        // answers those with 500.
        if (protocol == Protocol::Lmtp) != (self.config.dialect == Dialect::Lmtp) {
            let (spoken, hello) = match self.config.dialect {
                Dialect::Smtp => ("SMTP", "EHLO"),
                Dialect::Lmtp => ("LMTP", "LHLO"),
            };
            return Reply::new(500, [5, 5, 1], format!("this is {spoken}: say {hello}"));
        }
        // RFC 5321 section 4.1.4: a hello in mid-session clears all buffers
        // "as if a RSET command had been issued".
        self.reset();
        self.hello = Some((protocol, name));
        let mut reply = Reply::plain(250, &self.config.hostname);
        if protocol != Protocol::Smtp {
            let size = format!("SIZE {}", self.config.size_max);
            let words = ["PIPELINING", &size, "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];
            reply.text.extend(words.map(Line::escaped));
            let tls = match (&self.tls, self.config.starttls) {
                // RFC 8689 section 4.1: offered only once TLS is in use.
                (Some(_), _) => Some("REQUIRETLS"),
                (None, StartTlsPolicy::Never) => None,
                (None, StartTlsPolicy::Offered | StartTlsPolicy::Required) => Some("STARTTLS"),
            };
            reply.text.extend(tls.map(Line::escaped));
            let offer = self.config.xforward.then(|| Line::escaped(Attribute::offer()));
            reply.text.extend(offer);
        }
        reply
    }

    /// RFC 3207 section 4. What comes
    /// before the handshake anybody on the way can have put there, to have it taken
    /// for a part of the encrypted session: it is not looked at, and the session ends.
    pub(super) fn starttls(&mut self, pipelined: bool, out: &mut Vec<u8>) {
        let reply = match self.config.starttls {
            StartTlsPolicy::Never => Reply::new(502, [5, 5, 1], "TLS is not offered here"),
            _ if self.tls.is_some() => Reply::new(503, [5, 5, 1], "the session is encrypted already"),
            _ if pipelined => {
                let text = "nothing may follow STARTTLS before its reply (RFC 3207 section 4), closing";
                return self.close(&Reply::new(521, [5, 5, 1], text), out);
            }
            StartTlsPolicy::Offered | StartTlsPolicy::Required => {
                self.state = State::Securing;
                Reply::new(220, [2, 0, 0], "ready for TLS")
            }
        };
        reply.write(out);
    }

    /// RFC 3207 section 4.2: "the server MUST discard any knowledge obtained from the
    /// client, such as the argument to the EHLO command, which was not obtained from
    /// the TLS negotiation itself".
    pub(in crate::server) fn secured(&mut self, tls: Line) {
        self.reset();
        self.hello = None;
        self.lines = Lines::default();
        self.tls = Some(tls);
        self.state = State::Command;
    }

    /// Why there is nothing to be had without TLS.
    fn unencrypted(&self) -> Option<Reply> {
        let required = self.config.starttls == StartTlsPolicy::Required && self.tls.is_none();
        required.then(|| Reply::new(530, [5, 7, 0], "say STARTTLS first"))
    }

    /// Forgets sender and recipients, and whose mail it was: XFORWARD speaks of one
    /// transaction.
    pub(super) fn reset(&mut self) -> Option<Transaction> {
        self.told = Told::default();
        self.transaction.take()
    }

    /// As Postfix answers it. XFORWARD_README: the command "may be sent at any time
    /// except in the middle of a mail delivery transaction".
    pub(super) fn xforward(&mut self, pairs: Vec<(Attribute, Option<Line>)>) -> Reply {
        if self.transaction.is_some() {
            return Reply::new(503, [5, 5, 1], "not in the middle of a transaction");
        }
        if let Some(reply) = self.unencrypted() {
            return reply;
        }
        if !self.config.xforward {
            return Reply::new(550, [5, 7, 0], "this client is not authorized to use XFORWARD");
        }
        self.told.add(pairs);
        Reply::new(250, [2, 0, 0], "ok")
    }

    /// Notes the sender, unless there can be none now; whether there is room for his
    /// message is not known yet.
    pub(super) fn mail(&mut self, sender: Sender, size: Option<u64>) -> Result<(), Reply> {
        if self.hello.is_none() {
            return Err(Reply::new(503, [5, 5, 1], "say hello first"));
        }
        if self.transaction.is_some() {
            return Err(Reply::new(503, [5, 5, 1], "there is a sender already"));
        }
        if let Some(reply) = self.unencrypted() {
            return Err(reply);
        }
        // RFC 8689: only offered, and so only allowed, under TLS.
        if sender.params.requiretls && self.tls.is_none() {
            return Err(Reply::new(555, [5, 5, 4], "REQUIRETLS is not offered here"));
        }
        if sender.path.0.as_ref().is_some_and(Address::is_international) && !sender.params.smtputf8 {
            return Err(not_asked_for("sender"));
        }
        if size.is_some_and(|size| size > self.config.size_max) {
            return Err(too_large(&self.config));
        }
        self.transaction = Some(Transaction { sender, recipients: Vec::new() });
        self.announced = size;
        Ok(())
    }

    pub(super) fn rcpt(&mut self, recipient: Recipient) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::new(503, [5, 5, 1], "send MAIL first");
        };
        if recipient.address.is_international() && !transaction.sender.params.smtputf8 {
            return not_asked_for("recipient");
        }
        if transaction.recipients.len() >= self.config.recipients_max {
            return Reply::new(452, [4, 5, 3], "too many recipients: send it to the others separately");
        }
        transaction.recipients.push(recipient);
        self.commands -= 1;
        Reply::new(250, [2, 1, 5], "recipient ok")
    }

    /// Why there can be no data now.
    pub(super) fn data_refusal(&self) -> Option<Reply> {
        match (&self.transaction, self.config.dialect) {
            (Some(transaction), _) if !transaction.recipients.is_empty() => None,
            // RFC 2033 section 4.2: "the DATA command MUST fail with a 503".
            (Some(_), Dialect::Lmtp) => Some(Reply::new(503, [5, 5, 1], "no valid recipients")),
            (Some(_), Dialect::Smtp) => Some(Reply::new(554, [5, 5, 1], "no valid recipients")),
            (None, _) => Some(Reply::new(503, [5, 5, 1], "send MAIL and RCPT first")),
        }
    }
}

/// RFC 6531 section 3.5: an address with other characters than ASCII, in a
/// transaction without SMTPUTF8, is answered with "550 or 553" and X.6.7.
fn not_asked_for(whose: &str) -> Reply {
    Reply::new(553, [5, 6, 7], format!("the {whose} address is not ASCII: MAIL must ask for SMTPUTF8"))
}
