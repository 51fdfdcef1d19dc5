//! The tables `[transport.NAME]`, `[delivery]` and `[retry]` of the configuration,
//! as they are written.
//!
//! Each key is documented with its default and its unit. Whether the values
//! make sense together is checked once, in [`Config::check`]; these types must
//! never accept a key that means nothing.

mod error;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lazaret_envelope::ByteSize;
use lazaret_smtp::client::EightBit;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::maildir::Template;
use crate::pipe::{PIPE_RECIPIENTS_MAX, PipeConfig};
use crate::trace;

pub use error::ConfigError;

/// Longest name of a transport, in bytes.
pub const TRANSPORT_NAME_BYTES_MAX: usize = 64;

/// Most transports of one configuration.
pub const TRANSPORTS_MAX: usize = 1000;

/// Most threads of one transport: connections or workers.
pub const THREADS_MAX: usize = 1000;

/// Most connections of all transports.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Most messages in the queue of one transport.
pub const QUEUE_MAX: usize = 100_000;

/// Most recipients of one SMTP transaction: their outcomes are held in memory.
pub const SMTP_RECIPIENTS_MAX: usize = 1000;

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

/// `[transport.NAME]` with `type = "smtp"` or `"lmtp"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    /// The next hops as `host:port` or `unix:/path`, a relative one from the
    /// folder of the configuration file; one that can't be reached, does not say
    /// hello or is not to be asked now is passed over for the one after it. So is
    /// one that lacks an extension which a message needs. No default.
    pub next_hops: Vec<String>,
    /// Connections at a time. Default 20.
    #[serde(default = "SmtpConfig::default_connections")]
    pub connections: usize,
    /// Most messages that wait in memory for a delivery; further ones wait on
    /// disk. Default 1000.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Most recipients of one transaction, up to 1000; more go out in several, over
    /// at most half of the connections and one more. RFC 5321 section 4.5.3.1.8 asks
    /// servers to take 100, the usual ones take 1000. As many for each connection
    /// may get a message twice after a crash. Default 1000.
    #[serde(default = "SmtpConfig::default_recipients")]
    pub recipients_per_transaction: usize,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When a next hop is not asked for a while.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// Whether a next hop that offers XFORWARD is told whose mail it is: what the
    /// MTA before us told, or else its own client, and our id. Default false.
    #[serde(default)]
    pub xforward: bool,
    /// What becomes of a message with 8-bit bytes (BODY=8BITMIME) where 8BITMIME is
    /// not offered: `"send"` it as it is, or `"fail"` (5.6.3). RFC 6152 section 3
    /// allows only that or a conversion, which would change bytes and break
    /// signatures; Exim sends, and Postfix can. Default `"send"`.
    #[serde(default)]
    pub without_8bitmime: Without8BitMime,
    /// Least of a message that a next hop has to take within `timeouts.data`, or
    /// all that is left of it. Default `64KiB`.
    #[serde(default = "SmtpConfig::default_least_progress")]
    pub least_progress: ByteSize,
}

/// What is done where 8BITMIME is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Without8BitMime {
    /// The message is sent as it is.
    #[default]
    Send,
    /// It fails for good.
    Fail,
}

impl From<Without8BitMime> for EightBit {
    fn from(config: Without8BitMime) -> Self {
        match config {
            Without8BitMime::Send => Self::Send,
            Without8BitMime::Fail => Self::Fail,
        }
    }
}

impl SmtpConfig {
    fn default_connections() -> usize {
        20
    }

    fn default_recipients() -> usize {
        SMTP_RECIPIENTS_MAX
    }

    fn default_least_progress() -> ByteSize {
        ByteSize(64 << 10)
    }

    /// The same with paths of Unix sockets made absolute.
    #[must_use]
    pub fn based_on(self, base: &Path) -> Self {
        let next_hops = self.next_hops.iter().map(|next_hop| Endpoint::based_on(next_hop, base));
        Self { next_hops: next_hops.collect(), ..self }
    }
}

/// `[transport.NAME]` with `type = "discard"`: it has nothing to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscardConfig {}

pub(crate) fn default_queue() -> usize {
    1000
}

/// `[transport.NAME.timeouts]`. RFC 5321 section 4.5.3.2 recommends minutes for
/// hosts on the other side of the world; these defaults are for a next hop that
/// is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect to one address. Default `10s`.
    #[serde(with = "lazaret_envelope::span")]
    pub connect: Duration,
    /// From the connection to the end of the greeting. Default `30s`.
    #[serde(with = "lazaret_envelope::span")]
    pub greeting: Duration,
    /// From a command to the end of its reply. Default `60s`.
    #[serde(with = "lazaret_envelope::span")]
    pub command: Duration,
    /// From the first byte of a line of a reply to its end: a next hop that says
    /// a byte now and then is not waited for. Default `5s`.
    #[serde(with = "lazaret_envelope::span")]
    pub line: Duration,
    /// To take `least_progress` of the message. Default `60s`.
    #[serde(with = "lazaret_envelope::span")]
    pub data: Duration,
    /// From the final dot to its reply. RFC 5321 section 4.5.3.2.6: a timeout
    /// that is too short here brings duplicates. Default `10m`.
    #[serde(with = "lazaret_envelope::span")]
    pub end_of_data: Duration,
    /// For one message with all its steps. Default `30m`.
    #[serde(with = "lazaret_envelope::span")]
    pub transaction: Duration,
    /// How long a connection is kept for the next message. Default `2s`.
    #[serde(with = "lazaret_envelope::span")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
            command: Duration::from_secs(60),
            line: Duration::from_secs(5),
            data: Duration::from_secs(60),
            end_of_data: Duration::from_secs(600),
            transaction: Duration::from_secs(1800),
            idle: Duration::from_secs(2),
        }
    }
}

/// `[transport.NAME.breaker]`: a next hop that fails again and again is not asked
/// for a while, and then by one connection at a time. What is for it waits
/// meanwhile, without an attempt counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Failures in a row: connections refused, broken or silent. Replies to a
    /// message, even refusals, are none. Default 5.
    pub failures: u32,
    /// Pause before the first probe; it doubles with each probe that fails.
    /// Default `5s`.
    #[serde(with = "lazaret_envelope::span")]
    pub pause_first: Duration,
    /// Longest pause between two probes. Default `2m`.
    #[serde(with = "lazaret_envelope::span")]
    pub pause_max: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, pause_first: Duration::from_secs(5), pause_max: Duration::from_secs(120) }
    }
}

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
        if self.retry.first.is_zero() || self.retry.first > self.retry.max {
            return Err(ConfigError::Retry);
        }
        if self.retry.attempts == 0 {
            return Err(ConfigError::Attempts);
        }
        self.transports.iter().try_for_each(|(name, transport)| transport.check(name))
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

/// Whether a number is from 1 to `max`.
fn bounded(transport: &str, key: &'static str, found: usize, max: usize) -> Result<(), ConfigError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Number { transport: transport.to_owned(), key, found, max })
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

impl SmtpConfig {
    fn check(&self, name: &str) -> Result<(), ConfigError> {
        bounded(name, "connections", self.connections, THREADS_MAX)?;
        bounded(name, "queue", self.queue, QUEUE_MAX)?;
        bounded(name, "recipients_per_transaction", self.recipients_per_transaction, SMTP_RECIPIENTS_MAX)?;
        if self.next_hops.is_empty() {
            return Err(ConfigError::NoNextHop(name.to_owned()));
        }
        if let Some(next_hop) = self.next_hops.iter().find(|next_hop| Endpoint::parse(next_hop).is_none()) {
            return Err(ConfigError::NextHop { transport: name.to_owned(), next_hop: next_hop.clone() });
        }
        let BreakerConfig { failures, pause_first, pause_max } = self.breaker;
        if failures == 0 || pause_first.is_zero() || pause_first > pause_max {
            return Err(ConfigError::Breaker(name.to_owned()));
        }
        let Timeouts { connect, greeting, command, line, data, end_of_data, transaction, idle: _ } =
            self.timeouts;
        let steps = [
            ("connect", connect),
            ("greeting", greeting),
            ("command", command),
            ("line", line),
            ("data", data),
            ("end_of_data", end_of_data),
            ("transaction", transaction),
        ];
        match steps.into_iter().find(|(_, limit)| limit.is_zero()) {
            Some((key, _)) => Err(ConfigError::Timeout { transport: name.to_owned(), key }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
