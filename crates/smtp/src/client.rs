//! The client's side of a connection to a next hop: replies in, commands and
//! outcomes out.
//!
//! The caller owns the socket and the deadlines: it does what [`Client::next`]
//! says and hands what it receives to [`Client::received`], or calls
//! [`Client::broken`]. Every recipient of a transaction gets an outcome of its
//! own, whatever happens. A client must never report a recipient as delivered
//! without a positive reply of the next hop after the final dot.

mod connection;
mod exchange;
mod hello;
mod login;
mod offer;
mod setup;
#[cfg(test)]
mod tests;

pub use connection::{Client, Content, Ready, Secure};
pub use exchange::RCPT_WINDOW;
pub use login::{Bytes, Login, Secret};
pub use offer::Offer;
pub use setup::{Refusal, Setup, StartTls};

use std::fmt;
use std::sync::Arc;

use lazaret_envelope::Transaction;

use crate::reply::{Reply, ReplyError};
use crate::xforward::Told;

/// What the caller has to do next.
#[derive(Debug)]
pub enum Do<'c> {
    /// Send these bytes.
    Send(Bytes),
    /// Receive, with the deadline of this step.
    Receive(Step),
    /// The next hop waits for the handshake of TLS.
    Secure(Secure<'c>),
    /// Nothing is going on: start a transaction, quit, or keep for later.
    Ready(Ready<'c>),
    /// The next hop waits for the content: stream it.
    Content(Content<'c>),
    /// A transaction is over.
    Done(Finished),
    /// The next hop does not want this connection, or may not have it; there was no
    /// transaction.
    Refused(Refusal),
    /// The conversation is over: close.
    Close,
}

/// What the client waits for, or was refused at. RFC 5321 section 4.5.3.2
/// recommends a timeout for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS
    StartTls,
    /// AUTH
    Auth,
    /// Nothing was sent: what the next hop offers is not enough.
    Offer,
    /// MAIL
    Mail,
    /// RCPT
    Rcpt,
    /// DATA
    Data,
    /// The end of the data.
    DataEnd,
    /// RSET
    Rset,
    /// QUIT
    Quit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Offer => "offer",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::DataEnd => "end of data",
            Self::Rset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}

/// One message for one next hop.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Sender and recipients. The outcome of each recipient is held in memory:
    /// hand over thousands, not hundreds of thousands.
    pub transaction: Arc<Transaction>,
    /// The number of bytes of its content.
    pub size: u64,
    /// Whose mail it was, for a next hop that offers XFORWARD.
    pub told: Option<Told>,
    /// Its bytes are none that DATA is made for (see [`DataFit`](crate::data::DataFit)):
    /// they are counted instead, where CHUNKING is offered.
    pub counted: bool,
    /// What becomes of a body with 8-bit bytes where 8BITMIME is not offered.
    pub eight_bit: EightBit,
}

/// What becomes of a message that was declared to have 8-bit bytes (BODY=8BITMIME)
/// at a next hop that does not offer to take them. RFC 6152 section 3 knows only
/// conversion and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EightBit {
    /// It is sent as it is. Converting changes bytes and breaks signatures, and
    /// servers pass on what they get.
    #[default]
    Send,
    /// It fails for good: 5.6.3.
    Fail,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop has taken responsibility for it.
    Delivered(Reply),
    /// It may work later.
    Transient(Reply),
    /// It will never work.
    Permanent(Reply),
}

/// What became of one recipient, and when that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The step at which it was decided.
    pub step: Step,
    /// The outcome, with the reply of the next hop or one of our own.
    pub outcome: Outcome,
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// One for each recipient, in the order of the transaction.
    pub deliveries: Vec<Delivery>,
    /// The connection broke after the final dot and before its reply. Whoever
    /// is transient at [`Step::DataEnd`] may have got the message, and gets it
    /// twice if it is sent again (RFC 1047).
    pub uncertain: bool,
}

/// What the next hop said makes no sense here. The connection was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It is no reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// It is a reply to nothing that was asked.
    #[error("unsolicited reply: {0}")]
    Unsolicited(Reply),
    /// It came behind the reply to STARTTLS and was not encrypted. Who puts it there
    /// wants it to be taken for the next hop's own (RFC 3207 section 6).
    #[error("it says more behind its reply to STARTTLS, unencrypted")]
    Injected,
    /// It is a reply of a kind that has no meaning at this step.
    #[error("unexpected reply to {step}: {reply}")]
    Unexpected {
        /// The step.
        step: Step,
        /// The reply.
        reply: Reply,
    },
}
