//! What can be wrong with a configuration of deliveries, in words.
//!
//! Each names the table and the key, and says what would be right. None must ever
//! show what may be secret.

use std::io;

use lazaret_envelope::Span;

use super::limits::{CONNECTIONS_MAX, TRANSPORT_NAME_BYTES_MAX, TRANSPORTS_MAX};
use crate::maildir::TemplateError;
use crate::pipe::PipeError;
use crate::smtp::security::SecurityError;

/// Why deliveries can't start with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The host's name can't stand in a header field.
    #[error("hostname: {0:?} is no host name, such as \"mail.example.org\"")]
    Hostname(String),
    /// More than [`TRANSPORTS_MAX`].
    #[error("[transport]: at most {TRANSPORTS_MAX} transports")]
    TooManyTransports,
    /// The name can't stand in a journal.
    #[error(
        "[transport.{0:?}]: a name has 1 to {TRANSPORT_NAME_BYTES_MAX} letters, digits, hyphens, dots and underscores"
    )]
    Name(String),
    /// The name means something else in a journal.
    #[error(
        "[transport.{0}]: {0:?} stands in journals and in `status` for something else: choose another name"
    )]
    Taken(String),
    /// A number is zero or too large.
    #[error("[transport.{transport}] {key}: {found} is out of bounds: from 1 to {max}")]
    Number {
        /// Of which transport.
        transport: String,
        /// Which key.
        key: &'static str,
        /// What is written.
        found: usize,
        /// The largest that makes sense.
        max: usize,
    },
    /// No next hop is given.
    #[error("[transport.{0}] next_hops: name at least one, such as [\"127.0.0.1:10026\"]")]
    NoNextHop(String),
    /// A next hop is neither `host:port` nor `unix:/path`.
    #[error(
        "[transport.{transport}] next_hops: {next_hop:?} is neither host:port, such as \"127.0.0.1:10026\", nor unix:/path"
    )]
    NextHop {
        /// Of which transport.
        transport: String,
        /// What is written.
        next_hop: String,
    },
    /// What is said of TLS and login contradicts itself.
    #[error("[transport.{transport}] {key}: {what}")]
    Security {
        /// Of which transport.
        transport: String,
        /// Which key.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        what: &'static str,
    },
    /// A file that a transport needs is not as it has to be.
    #[error("[transport.{transport}] {source}")]
    File {
        /// Of which transport.
        transport: String,
        /// What is wrong with it.
        source: SecurityError,
    },
    /// A path makes no sense.
    #[error("[transport.{transport}] path: {source}")]
    Path {
        /// Of which transport.
        transport: String,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A pipe makes no sense.
    #[error("[transport.{transport}] {source}")]
    Pipe {
        /// Of which transport.
        transport: String,
        /// What is wrong with it.
        source: PipeError,
    },
    /// A deadline of no time.
    #[error("[transport.{transport}] timeouts.{key}: must be longer than 0s")]
    Timeout {
        /// Of which transport.
        transport: String,
        /// Which key.
        key: &'static str,
    },
    /// Not one connection for each transport, or more than 100,000.
    #[error(
        "[delivery] connections: {found} is out of bounds: from {needed}, one for each transport, to {CONNECTIONS_MAX}"
    )]
    Connections {
        /// What is written.
        found: usize,
        /// How many transports there are.
        needed: usize,
    },
    /// The breaker would never open, or its pauses contradict each other.
    #[error(
        "[transport.{0}] breaker: failures must be at least 1, pause_first longer than 0s and not longer than pause_max"
    )]
    Breaker(String),
    /// Mail would be given up without a try.
    #[error("[retry] attempts: must be at least 1")]
    Attempts,
    /// What failed would be tried again at once, for ever.
    #[error("[retry] first: must be longer than 0s")]
    RetryFirst,
    /// The pauses contradict each other.
    #[error("[retry] max: {max} is shorter than the first pause, first = {first}: raise max, or lower first")]
    RetryMax {
        /// The pause after the first failure.
        first: Span,
        /// The longest one.
        max: Span,
    },
    /// No thread can be started.
    #[error("failed to start a thread for transport {transport}: {source}")]
    Thread {
        /// For which transport.
        transport: String,
        /// How it was refused.
        source: io::Error,
    },
    /// There is no descriptor to stop deliveries with.
    #[error("failed to open a descriptor for deliveries: {0}")]
    Descriptor(io::Error),
}

impl ConfigError {
    /// What is wrong with a file of this transport.
    pub(crate) fn file(transport: &str) -> impl FnOnce(SecurityError) -> Self {
        |source| Self::File { transport: transport.to_owned(), source }
    }

    /// The key that is wrong, such as `transport.a.next_hops`; `None` if it is no
    /// matter of what is written.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        let below = |transport: &str, key: &str| Some(format!("transport.{transport}.{key}"));
        match self {
            Self::Hostname(_) => Some("hostname".to_owned()),
            Self::TooManyTransports => Some("transport".to_owned()),
            Self::Name(transport) | Self::Taken(transport) => Some(format!("transport.{transport}")),
            Self::Number { transport, key, .. } => below(transport, key),
            Self::NoNextHop(transport) | Self::NextHop { transport, .. } => below(transport, "next_hops"),
            Self::Path { transport, .. } => below(transport, "path"),
            Self::Pipe { transport, source } => below(transport, source.key()),
            Self::Timeout { transport, key } => below(transport, &format!("timeouts.{key}")),
            Self::Security { transport, key, .. } => below(transport, key),
            Self::File { transport, source } => below(transport, source.key()),
            Self::Connections { .. } => Some("delivery.connections".to_owned()),
            Self::Breaker(transport) => below(transport, "breaker"),
            Self::Attempts => Some("retry.attempts".to_owned()),
            Self::RetryFirst => Some("retry.first".to_owned()),
            Self::RetryMax { .. } => Some("retry.max".to_owned()),
            Self::Thread { .. } | Self::Descriptor(_) => None,
        }
    }
}

/// Whether a number is from 1 to `max`.
pub(super) fn bounded(
    transport: &str,
    key: &'static str,
    found: usize,
    max: usize,
) -> Result<(), ConfigError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Number { transport: transport.to_owned(), key, found, max })
}
