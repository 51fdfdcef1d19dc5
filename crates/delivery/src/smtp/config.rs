//! `[transport.NAME]` of types smtp and lmtp, with its tables.
//!
//! What it names on disk is read elsewhere. A password must never stand in here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lazaret_envelope::ByteSize;
use lazaret_smtp::client::EightBit;
use serde::{Deserialize, Serialize};

use crate::config::limits::{SMTP_RECIPIENTS_MAX, default_queue};
use crate::endpoint::Endpoint;

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
    /// half of the connections at most. RFC 5321 section 4.5.3.1.8 asks
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
    /// Whether connections are encrypted by STARTTLS: `"off"`; `"opportunistic"`, where
    /// that works; `"required"`, or no mail goes; `"verified"`, and the certificate
    /// must be right as well, without which mail with REQUIRETLS (RFC 8689) goes
    /// nowhere. Only the last keeps out who can put himself between. Default `"off"`.
    #[serde(default)]
    pub tls: TlsLevel,
    /// A PEM file with the issuers of certificates that `tls = "verified"` believes,
    /// read at the start and at each reload. Default
    /// `/etc/ssl/certs/ca-certificates.crt`, where Debian has those that all trust.
    #[serde(default = "SmtpConfig::default_ca")]
    pub tls_ca: PathBuf,
    /// The name that the certificate must bear. By default the host of the next hop;
    /// a Unix socket has none.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// The user to log in as (AUTH PLAIN or AUTH LOGIN, RFC 4954); needs `tls` at
    /// `"required"` or `"verified"`. A login that fails is the next hop's trouble, and
    /// no mail bounces for it. By default nobody logs in.
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the user's password on its one line, which others may not read;
    /// read at the start and at each reload. No default.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whether the password is said without TLS to next hops of this host: on a Unix
    /// socket or a loopback address. Default false.
    #[serde(default)]
    pub auth_unencrypted: bool,
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

/// How connections are kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsLevel {
    /// They are not.
    #[default]
    Off,
    /// Encrypted where that works, to whomever.
    Opportunistic,
    /// Encrypted, to whomever.
    Required,
    /// Encrypted, to who has shown that he is the next hop.
    Verified,
}

impl TlsLevel {
    /// Whether mail may not go without it.
    pub(crate) fn is_must(self) -> bool {
        match self {
            Self::Off | Self::Opportunistic => false,
            Self::Required | Self::Verified => true,
        }
    }
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

    fn default_ca() -> PathBuf {
        "/etc/ssl/certs/ca-certificates.crt".into()
    }

    /// The same with paths made absolute.
    #[must_use]
    pub fn based_on(self, base: &Path) -> Self {
        let next_hops = self.next_hops.iter().map(|next_hop| Endpoint::based_on(next_hop, base));
        Self {
            next_hops: next_hops.collect(),
            tls_ca: base.join(self.tls_ca),
            password_file: self.password_file.map(|file| base.join(file)),
            ..self
        }
    }
}

/// `[transport.NAME.timeouts]`. RFC 5321 section 4.5.3.2 recommends minutes for
/// hosts on the other side of the world; these defaults are for a next hop that
/// is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect to one address, and before that to look up the next hop's name.
    /// Default `10s`.
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
