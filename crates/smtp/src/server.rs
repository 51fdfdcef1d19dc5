//! The server's side of a connection: bytes of a client in, [`Event`]s and
//! replies out.
//!
//! The caller reads from the socket, calls [`Session::step`] until it wants
//! input, and sends what gathered in `out` before it reads or does anything
//! else that takes time. Questions that only the caller can answer (is there
//! room? is it durable?) come as an [`Offer`], a [`Begin`] or an [`End`] that can be
//! answered once; until then no further command of the client is looked at. A session
//! must never answer 250 to a message by itself.

mod lines;
mod questions;
mod session;
#[cfg(test)]
mod tests;

pub use lines::{COMMAND_BYTES_MAX, SWALLOW_BYTES_MAX};
pub use questions::{Begin, End, Offer, StartTls};
pub use session::Session;

use crate::Dialect;
use crate::data::{BareByte, BareLineEnds};
use crate::reply::Reply;

/// Most bytes of data that one step takes in; content comes in pieces of at
/// most twice as many bytes.
pub const DATA_STEP_BYTES_MAX: usize = 32 << 10;

/// From this many bytes of replies on, the caller is asked to send them.
pub const REPLIES_BYTES_MAX: usize = 16 << 10;

/// Whether a session can be, or has to be, encrypted (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartTlsPolicy {
    /// STARTTLS is not offered.
    #[default]
    Never,
    /// STARTTLS is offered.
    Offered,
    /// STARTTLS is offered, and there is no mail without it.
    Required,
}

/// What a listener allows its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// SMTP or LMTP.
    pub dialect: Dialect,
    /// The name that the server gives itself.
    pub hostname: String,
    /// Largest message in bytes of canonical content; announced as SIZE.
    pub size_max: u64,
    /// Most recipients of one message. RFC 5321 section 4.5.3.1.8 asks for at
    /// least 100.
    pub recipients_max: usize,
    /// What to do with bare CR and LF.
    pub bare: BareLineEnds,
    /// Whether this client may tell whose mail it brings (XFORWARD).
    pub xforward: bool,
    /// Whether a session can be, or has to be, encrypted.
    pub starttls: StartTlsPolicy,
    /// After this many lines that are no commands the session ends; a message
    /// sets the count back. Commands out of order don't count: a client that
    /// pipelines many RCPTs behind a refused MAIL does nothing wrong.
    pub errors_max: usize,
    /// After this many commands without a message the session ends; recipients that
    /// were taken don't count.
    pub commands_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dialect: Dialect::Smtp,
            hostname: "localhost".to_owned(),
            size_max: 50 << 20,
            recipients_max: 1000,
            bare: BareLineEnds::Reject,
            xforward: false,
            starttls: StartTlsPolicy::Never,
            errors_max: 20,
            commands_max: 10_000,
        }
    }
}

impl Config {
    /// What to say to a client before its connection is closed from our side:
    /// at a shutdown, or when there are too many sessions. RFC 5321 section
    /// 3.8: a server that must close "SHOULD" send a 421 reply.
    #[must_use]
    pub fn closing_reply(&self, why: &str) -> Reply {
        Reply::new(421, [4, 3, 2], format!("{} {why}", self.hostname))
    }
}

/// What the caller has to do next.
#[derive(Debug)]
pub enum Event<'s> {
    /// The input is used up: send `out`, then read.
    NeedInput,
    /// `out` has grown to [`REPLIES_BYTES_MAX`]: send it, then step again.
    Flush,
    /// The client has a message, perhaps of a known size: say whether there is room.
    Offer(Offer<'s>),
    /// The client wants to send a message: open a file for it, then answer.
    Begin(Begin<'s>),
    /// The next bytes of the message, in canonical form.
    Content(&'s [u8]),
    /// The message will be refused, by the session itself and at its end:
    /// remove what was written of it. No more content comes.
    Abandon(Refusal),
    /// The message is complete: make it durable, then answer.
    End(End<'s>),
    /// The client wants to go on encrypted: send `out`, perform the handshake, then
    /// say that it is done.
    StartTls(StartTls<'s>),
    /// The conversation is over: send `out`, then close.
    Close,
}

/// Why a session refuses a message that it is receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than [`Config::size_max`].
    TooLarge,
    /// A bare CR or LF under [`BareLineEnds::Reject`].
    Bare(BareByte),
}

impl Refusal {
    /// What the client is told at the end of the data.
    fn reply(self, config: &Config) -> Reply {
        match self {
            Self::TooLarge => too_large(config),
            Self::Bare(byte) => {
                let mut reply = Reply::new(
                    550,
                    [5, 6, 11],
                    format!(
                        "bare {byte} in the message: lines must end in <CR><LF> (RFC 5321 section 2.3.8)"
                    ),
                );
                let hint = "a listener whose bare line ends are set to \"normalize\" accepts it";
                reply.text.extend(Reply::plain(550, hint).text);
                reply
            }
        }
    }
}

/// RFC 1870: 552 for a message that is larger than the fixed maximum.
fn too_large(config: &Config) -> Reply {
    Reply::new(552, [5, 3, 4], format!("message too large: at most {} bytes", config.size_max))
}
