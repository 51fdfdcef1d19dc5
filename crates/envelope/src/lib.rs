//! The words that every part of Lazaret uses: message ids, addresses, ESMTP
//! parameters, the envelope and its text form, causes of quarantine and the
//! report about it.
//!
//! Values only. A value that exists is valid: everything is parsed once, at
//! the door, and errors name the line and the reason. This crate must never
//! perform I/O, read a clock or draw a random number.

#![forbid(unsafe_code)]

mod address;
mod advice;
mod cause;
mod digest;
mod envelope;
mod id;
mod line;
mod mailboxes;
mod origin;
mod params;
mod report;
mod text;
mod units;

pub use address::{ADDRESS_BYTES_MAX, Address, AddressError, ReversePath, is_host_name, take_path};
pub use advice::{Advice, Step, advice, raise};
pub use cause::{Blame, Cause, Stage};
pub use digest::{Digest, DigestError};
pub use envelope::{
    Content, Dropped, ENVELOPE_BYTES_MAX, Envelope, RECIPIENTS_MAX, Recipient, Sender, TRAILER_BYTES,
    Transaction, text_length, trailer,
};
pub use id::{IdError, MessageId};
pub use line::{LINE_BYTES_MAX, Line, LineError};
pub use mailboxes::{MailboxesError, mailboxes};
pub use origin::{Forwarded, Origin, Protocol};
pub use params::{Body, MailParams, Notify, Orcpt, ParamError, RcptParams, Ret, Xtext};
pub use report::{ATTEMPTS_MAX, Attempt, Budget, Fingerprint, Report, Usage};
pub use text::{Reason, TextError};
pub use units::{ByteSize, Span, UnitError, span};

/// A moment in time. Text forms are RFC 3339, in UTC.
pub use jiff::Timestamp;
