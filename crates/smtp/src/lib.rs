//! SMTP (RFC 5321) and LMTP (RFC 2033), the server's side and the client's:
//! bytes in, events out.
//!
//! The caller owns the socket, the clock and the files. Both sides may be fed
//! bytes in pieces of any size, and everything that accumulates has a limit
//! with a name. This crate must never block, open anything or ask for the time.

#![forbid(unsafe_code)]

pub mod client;
pub mod command;
pub mod data;
pub mod reply;
pub mod server;
pub mod xforward;

pub use command::{Command, CommandError};
pub use data::{BareByte, BareLineEnds, Decoded, Decoder, Encoder};
pub use reply::{EnhancedStatus, Reply, ReplyError, ReplyParser};

/// Which of the two protocols is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// RFC 5321: one reply for the whole message.
    #[default]
    Smtp,
    /// RFC 2033: LHLO instead of EHLO, and one reply for each recipient.
    Lmtp,
}
