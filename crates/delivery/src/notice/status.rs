//! The part of a notice for programs: `message/delivery-status` (RFC 3464), or
//! `message/global-delivery-status` (RFC 6533) where the message needs UTF-8.
//!
//! Every value stands on folded lines of its own field. It must never hold a
//! byte that is not ASCII unless the notice is an international one.

use std::fmt::Write;

use lazaret_envelope::{Line, Orcpt, Protocol};

use super::reply::Reply;
use super::{Action, Entry, Notice, date};
use crate::trace::is_host_name;

/// Length at which a line is folded if it has a blank, in bytes (RFC 5322 section
/// 2.1.1).
const LINE_BYTES_WANTED: usize = 78;

/// Length at which it is folded in any case. RFC 5322 section 2.1.1: "Each line of
/// characters MUST be no more than 998 characters".
const LINE_BYTES_MAX: usize = 990;

/// Longest text of a reply that is told, in bytes.
const REPLY_BYTES_MAX: usize = 1000;

/// The fields about the message, and a group for each recipient.
pub(super) fn text(notice: &Notice<'_>) -> String {
    let mut fields = Fields { text: String::new(), international: notice.is_international() };
    let envelope = notice.envelope;
    fields.add("Reporting-MTA", &format!("dns; {}", notice.hostname));
    if let Some(envid) = &envelope.transaction.sender.params.envid {
        fields.add("Original-Envelope-Id", envid.decoded().as_str());
    }
    let from_mta = matches!(envelope.origin.protocol, Protocol::Smtp | Protocol::Esmtp | Protocol::Lmtp);
    if let Some(helo) = envelope.origin.helo.as_ref().filter(|helo| from_mta && is_host_name(helo.as_str())) {
        fields.add("Received-From-MTA", &format!("dns; {helo}"));
    }
    fields.add("Arrival-Date", &date(envelope.arrived));
    for entry in &notice.entries {
        fields.text.push_str("\r\n");
        fields.recipient(notice, entry);
    }
    fields.text
}

struct Fields {
    text: String,
    international: bool,
}

impl Fields {
    fn recipient(&mut self, notice: &Notice<'_>, entry: &Entry) {
        if let Some(Orcpt { kind, address }) = &entry.params.orcpt {
            self.add("Original-Recipient", &format!("{kind};{}", address.decoded()));
        }
        let kind = if entry.recipient.is_international() { "utf-8" } else { "rfc822" };
        self.add("Final-Recipient", &format!("{kind};{}", entry.recipient));
        let action = match entry.action {
            Action::Failed | Action::Expired => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
        };
        self.add("Action", action);
        let reply = Reply::parse(&entry.reply);
        self.add("Status", &reply.status(entry.action));
        if let Some(host) = reply.dns() {
            self.add("Remote-MTA", &format!("dns; {host}"));
        }
        if entry.action != Action::Delivered {
            let kind = if reply.is_smtp { "smtp" } else { "x-lazaret" };
            let told = &reply.text[..reply.text.floor_char_boundary(REPLY_BYTES_MAX)];
            self.add("Diagnostic-Code", &format!("{kind}; {told}"));
        }
        self.add("Last-Attempt-Date", &date(entry.time));
        if let (Action::Delayed, Some(until)) = (entry.action, notice.retried_until()) {
            self.add("Will-Retry-Until", &date(until));
        }
    }

    /// One field, folded. A word that is too long for a line is broken: RFC 5322
    /// leaves no other way.
    fn add(&mut self, name: &str, value: &str) {
        let value = if self.international { value.to_owned() } else { ascii(value) };
        let _ = write!(self.text, "{name}:");
        let mut line = name.len() + 1;
        let mut first = true;
        for word in value.split_ascii_whitespace() {
            if line + 1 + word.len() > LINE_BYTES_WANTED && !first {
                self.text.push_str("\r\n");
                line = 0;
            }
            first = false;
            self.text.push(' ');
            line += 1;
            for c in word.chars() {
                if line + c.len_utf8() > LINE_BYTES_MAX {
                    self.text.push_str("\r\n ");
                    line = 1;
                }
                self.text.push(c);
                line += c.len_utf8();
            }
        }
        self.text.push_str("\r\n");
    }
}

/// The text with everything else escaped.
fn ascii(text: &str) -> String {
    let escaped = Line::escaped(text);
    let mut ascii = String::with_capacity(escaped.as_str().len());
    for c in escaped.as_str().chars() {
        if c.is_ascii() { ascii.push(c) } else { ascii.extend(c.escape_unicode()) }
    }
    ascii
}
