//! The tables `[transport.NAME]`, `[delivery]` and `[retry]` of the configuration,
//! as they are written.
//!
//! Each key is documented with its default and its unit. Whether the values
//! make sense together is checked once, in [`Config::check`]; these types must
//! never accept a key that means nothing.

mod error;
pub(crate) mod limits;
mod smtp;

use std::collections::BTreeMap;
use std::time::Duration;

use lazaret_envelope::{MessageId, Span};
use serde::{Deserialize, Serialize};

use crate::backoff;
use crate::maildir::Template;
use crate::pipe::{PIPE_RECIPIENTS_MAX, PipeConfig};
use crate::smtp::config::SmtpConfig;
use crate::smtp::security::Security;
use crate::trace;

use error::bounded;
use limits::{
    CONNECTIONS_MAX, QUEUE_MAX, THREADS_MAX, TRANSPORT_NAME_BYTES_MAX, TRANSPORTS_MAX, default_queue,
};

pub use error::ConfigError;

/// Stands where else the name of a transport does for mail that goes round in a loop.
pub(crate) const LOOP: &str = "loop";

/// Stands in a journal where else the name of a transport does for a message that an
/// operator has given up.
pub(crate) const OPERATOR: &str = "operator";

/// What deliveries need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name that this host bears in `Received:` and in EHLO.
    pub hostname: String,
    /// The transports, by their names.
    pub transports: BTreeMap<String, TransportConfig>,
    /// How often what failed is tried again.
    pub retry: RetryConfig,
    /// Most connections of all transports together.
    pub connections: usize,
}

/// What transports have read from files: certificates of issuers, passwords.
#[derive(Debug)]
pub struct Files(pub(crate) BTreeMap<String, Security>);

/// `[delivery]`: what all transports share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Most connections to next hops at a time. Each transport has an equal share
    /// to itself, at least one; beyond it it may have what is nobody's. Default
    /// 500.
    pub connections: usize,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { connections: 500 }
    }
}

/// One `[transport.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum TransportConfig {
    /// `type = "maildir"`: a file for each recipient, in folders of this host.
    Maildir(MaildirConfig),
    /// `type = "smtp"`: to another mail server.
    Smtp(SmtpConfig),
    /// `type = "lmtp"`: to a server that answers for each recipient (RFC 2033).
    Lmtp(SmtpConfig),
    /// `type = "pipe"`: to a program of this host.
    Pipe(Box<PipeConfig>),
    /// `type = "discard"`: to nowhere. The message is taken, logged and gone.
    Discard(DiscardConfig),
}

/// `[transport.NAME]` with `type = "maildir"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaildirConfig {
    /// Where a recipient's Maildir is, such as `mail/{domain}/{local}`:
    /// `{local}` is the local part as written, `{domain}` the domain in lower
    /// case, `{address}` both with an `@` between. No default.
    pub path: String,
    /// Deliveries at a time. Default 4.
    #[serde(default = "MaildirConfig::default_workers")]
    pub workers: usize,
    /// Most messages that wait in memory for a delivery; further ones wait on
    /// disk. Default 1000.
    #[serde(default = "default_queue")]
    pub queue: usize,
}

impl MaildirConfig {
    fn default_workers() -> usize {
        4
    }
}

/// `[transport.NAME]` with `type = "discard"`: it has nothing to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscardConfig {}

/// `[retry]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Pause after the first failure; it doubles with each further one.
    /// Default `1m`.
    #[serde(with = "lazaret_envelope::span")]
    pub first: Duration,
    /// Longest pause. Default `1h`.
    #[serde(with = "lazaret_envelope::span")]
    pub max: Duration,
    /// How long mail is tried from its arrival on. Then who has not got it never
    /// will, and the sender is told. Default `5d`.
    #[serde(with = "lazaret_envelope::span")]
    pub lifetime: Duration,
    /// The same for mail from `<>`, of which nobody can be told: then it goes to
    /// `deferred/`. Default `5d`.
    #[serde(with = "lazaret_envelope::span")]
    pub bounce_lifetime: Duration,
    /// Rounds of delivery that mail is tried for at least, however old it is, so
    /// that a clock that jumps bounces no young mail. Default 10, which takes some
    /// four hours.
    pub attempts: u32,
    /// After how long those senders are told that their mail is delayed who ask for
    /// it by NOTIFY=DELAY; once for each message. `0s` means never. Default `4h`.
    #[serde(with = "lazaret_envelope::span")]
    pub delay_notice: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        let lifetime = Duration::from_secs(5 * 24 * HOUR);
        Self {
            first: Duration::from_secs(60),
            max: Duration::from_secs(HOUR),
            lifetime,
            bounce_lifetime: lifetime,
            attempts: 10,
            delay_notice: Duration::from_secs(4 * HOUR),
        }
    }
}

impl RetryConfig {
    /// How long a message waits that has so many rounds behind it and has just
    /// failed in another.
    #[must_use]
    pub fn pause(&self, id: MessageId, attempts: u32) -> Duration {
        backoff::pause(self.first, self.max, backoff::unique(id), attempts)
    }

    /// Whether a round is the last for mail of this age with so many behind it.
    pub(crate) fn is_over(&self, age: Duration, attempts: u32, is_bounce: bool) -> bool {
        let lifetime = if is_bounce { self.bounce_lifetime } else { self.lifetime };
        age >= lifetime && attempts.saturating_add(1) >= self.attempts
    }

    /// Whether something may have to be told of mail of this age.
    pub(crate) fn may_matter(&self, age: Duration) -> bool {
        age >= self.lifetime.min(self.bounce_lifetime) || self.is_late(age)
    }

    /// Whether mail of this age is delayed.
    pub(crate) fn is_late(&self, age: Duration) -> bool {
        !self.delay_notice.is_zero() && age >= self.delay_notice
    }
}

impl Config {
    /// Whether deliveries can start with this.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !trace::is_host_name(&self.hostname) {
            return Err(ConfigError::Hostname(self.hostname.clone()));
        }
        if self.transports.len() > TRANSPORTS_MAX {
            return Err(ConfigError::TooManyTransports);
        }
        let needed = self.connecting().max(1);
        if !(needed..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(ConfigError::Connections { found: self.connections, needed });
        }
        let RetryConfig { first, max, .. } = self.retry;
        if first.is_zero() {
            return Err(ConfigError::RetryFirst);
        }
        if first > max {
            return Err(ConfigError::RetryMax { first: Span(first), max: Span(max) });
        }
        if self.retry.attempts == 0 {
            return Err(ConfigError::Attempts);
        }
        self.transports.iter().try_for_each(|(name, transport)| transport.check(name))
    }

    /// Reads the files that transports name.
    ///
    /// # Errors
    /// The first that is not as it has to be.
    pub fn read_files(&self) -> Result<Files, ConfigError> {
        self.read_each().collect::<Result<_, _>>().map(Files)
    }

    /// What transports name and this machine has not, or not as it has to be: files,
    /// and users as whom programs are to run.
    pub fn wrong_here(&self) -> impl Iterator<Item = ConfigError> {
        let nobody = self.transports.iter().filter_map(|(name, transport)| match transport {
            TransportConfig::Pipe(pipe) => {
                let source = pipe.runs_as_somebody().err()?;
                Some(ConfigError::Pipe { transport: name.clone(), source })
            }
            TransportConfig::Maildir(_)
            | TransportConfig::Smtp(_)
            | TransportConfig::Lmtp(_)
            | TransportConfig::Discard(_) => None,
        });
        self.read_each().filter_map(Result::err).chain(nobody)
    }

    fn read_each(&self) -> impl Iterator<Item = Result<(String, Security), ConfigError>> {
        self.transports.iter().filter_map(|(name, transport)| match transport {
            TransportConfig::Smtp(smtp) | TransportConfig::Lmtp(smtp) => {
                let security = Security::read(smtp).map_err(ConfigError::file(name));
                Some(security.map(|security| (name.clone(), security)))
            }
            TransportConfig::Maildir(_) | TransportConfig::Pipe(_) | TransportConfig::Discard(_) => None,
        })
    }

    /// How many transports have connections.
    pub(crate) fn connecting(&self) -> usize {
        self.transports.values().filter(|transport| transport.connects()).count()
    }
}

impl TransportConfig {
    pub(crate) fn connects(&self) -> bool {
        matches!(self, Self::Smtp(_) | Self::Lmtp(_))
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > TRANSPORT_NAME_BYTES_MAX || !name.bytes().all(fine) {
            return Err(ConfigError::Name(name.to_owned()));
        }
        if [LOOP, OPERATOR].contains(&name) {
            return Err(ConfigError::Taken(name.to_owned()));
        }
        match self {
            Self::Maildir(maildir) => maildir.check(name),
            Self::Smtp(smtp) | Self::Lmtp(smtp) => smtp.check(name),
            Self::Pipe(pipe) => pipe.check(name),
            Self::Discard(DiscardConfig {}) => Ok(()),
        }
    }

    /// Whether what it has delivered is in its recipient's hands.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Maildir(_) | Self::Pipe(_) => true,
            Self::Smtp(_) | Self::Lmtp(_) | Self::Discard(_) => false,
        }
    }

    /// Most threads that work on it at a time.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Maildir(maildir) => maildir.workers,
            Self::Smtp(smtp) | Self::Lmtp(smtp) => smtp.connections,
            Self::Pipe(pipe) => pipe.workers,
            Self::Discard(DiscardConfig {}) => 1,
        }
    }

    /// Most messages that wait for it in memory.
    pub(crate) fn queue(&self) -> usize {
        match self {
            Self::Maildir(MaildirConfig { queue, .. })
            | Self::Smtp(SmtpConfig { queue, .. })
            | Self::Lmtp(SmtpConfig { queue, .. }) => *queue,
            Self::Pipe(pipe) => pipe.queue,
            Self::Discard(DiscardConfig {}) => default_queue(),
        }
    }
}

impl MaildirConfig {
    fn check(&self, name: &str) -> Result<(), ConfigError> {
        bounded(name, "workers", self.workers, THREADS_MAX)?;
        bounded(name, "queue", self.queue, QUEUE_MAX)?;
        let parsed = Template::parse(&self.path);
        parsed.map(drop).map_err(|source| ConfigError::Path { transport: name.to_owned(), source })
    }
}

impl PipeConfig {
    fn check(&self, name: &str) -> Result<(), ConfigError> {
        bounded(name, "workers", self.workers, THREADS_MAX)?;
        bounded(name, "queue", self.queue, QUEUE_MAX)?;
        bounded(name, "recipients_per_transaction", self.recipients_per_transaction, PIPE_RECIPIENTS_MAX)?;
        self.fits().map_err(|source| ConfigError::Pipe { transport: name.to_owned(), source })
    }
}

#[cfg(test)]
mod tests;
