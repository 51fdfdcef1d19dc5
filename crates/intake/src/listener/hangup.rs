//! Why a session ends, and what its client is told of that.
//!
//! Where it is not known whether a message is durable nothing must ever be said.

use std::fmt;
use std::io;

use lazaret_smtp::Reply;
use lazaret_smtp::server::Config;

use super::sessions::Ending;

/// What is said when the program stops.
pub(super) const STOPPING: &str = "is stopping, try again later";

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Hangup {
    /// Everything is said.
    Closed,
    /// The client closed the connection.
    Gone,
    /// The connection failed.
    Lost(io::Error),
    /// The TLS handshake failed.
    Handshake(io::Error),
    /// The client said nothing for too long.
    Idle,
    /// The session has lasted too long.
    OutOfTime,
    /// The client has sent too much.
    TooManyBytes,
    /// Others want the session, and the client makes no progress.
    Crowded,
    /// The program stops.
    Stopping,
    /// It is not known whether the message is durable: nothing may be said.
    Broken,
}

impl Hangup {
    /// The last words. RFC 5321 section 3.8: "421".
    pub(super) fn reply(&self, config: &Config) -> Option<Reply> {
        let closing = |why| Some(Reply::new(421, [4, 4, 2], format!("{} {why}, closing", config.hostname)));
        match self {
            Self::Closed | Self::Gone | Self::Lost(_) | Self::Handshake(_) | Self::Broken => None,
            Self::Idle => closing("heard nothing for too long"),
            Self::Crowded => closing("has no session left for clients that make no progress"),
            Self::OutOfTime => closing("has no more time for this session"),
            Self::TooManyBytes => closing("was sent too many bytes in this session"),
            Self::Stopping => Some(config.closing_reply(STOPPING)),
        }
    }
}

impl From<Ending> for Hangup {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Stopping => Self::Stopping,
            Ending::Evicted => Self::Crowded,
        }
    }
}

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the protocol"),
            Self::Gone => f.write_str("the client is gone"),
            Self::Lost(error) => write!(f, "the connection failed: {error}"),
            Self::Handshake(error) => write!(f, "the TLS handshake failed: {error}"),
            Self::Idle => f.write_str("idle for too long"),
            Self::Crowded => f.write_str("no progress, and others want its place"),
            Self::OutOfTime => f.write_str("it lasted too long"),
            Self::TooManyBytes => f.write_str("too many bytes"),
            Self::Stopping => f.write_str("the program stops"),
            Self::Broken => f.write_str("the spool is broken"),
        }
    }
}
