//! One `[[listen]]` of the configuration.
//!
//! Every key may be left out. What is configured here must never let a client
//! make Lazaret hold more than a bounded amount of anything.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lazaret_envelope::ByteSize;
use lazaret_smtp::server::StartTlsPolicy;
use lazaret_smtp::{BareLineEnds, Dialect};
use serde::{Deserialize, Serialize};

use crate::network::Clients;
use crate::tls::TlsConfig;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// `"smtp"` or `"lmtp"`. Default `"smtp"`.
    pub protocol: ListenProtocol,
    /// An IP address and port, `"127.0.0.1:10025"` or `"[::1]:10025"`, or the
    /// path of a Unix socket, `"unix:/run/lazaret/lmtp.sock"`, of at most
    /// [`SOCKET_PATH_BYTES_MAX`] bytes; a relative one starts from the folder of
    /// the configuration file. Default `"127.0.0.1:10025"`.
    pub address: ListenAddress,
    /// Mode of a Unix socket, in octal: who may write to it may connect. Default
    /// `"0666"`, so that its folder says who may.
    pub socket_mode: SocketMode,
    /// Most sessions at a time; should not be fewer than the MTA before us
    /// opens. Over it a client is told 421. Default 100.
    pub sessions: NonZeroUsize,
    /// Most sessions of one client: of one IPv4 address, or one /64 network of IPv6.
    /// Over it the client is told 421. Clients of a Unix socket are not told apart.
    /// Default: half of `sessions` for a client of another host; an MTA on this host
    /// may have all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_client: Option<NonZeroUsize>,
    /// What to do with CR or LF outside of CRLF: `"reject"` the message, or
    /// `"normalize"` it (LF becomes CRLF, a stray CR a space). Default `"reject"`.
    pub bare_line_ends: LineEndPolicy,
    /// How long a client may be silent, or make no progress, before its session ends:
    /// a command or a message must come to its end in that time, or
    /// [`PROGRESS_BYTES`] of one. Who sends byte by byte may take twice as long. RFC
    /// 5321 section 4.5.3.2.7 asks for at least 5 minutes. Default `"5m"`.
    #[serde(with = "lazaret_envelope::span")]
    pub idle_timeout: Duration,
    /// The same while all sessions are taken and another client wants one. Default
    /// `"10s"`.
    #[serde(with = "lazaret_envelope::span")]
    pub crowded_timeout: Duration,
    /// Longest session, whatever it does. Default `"1h"`.
    #[serde(with = "lazaret_envelope::span")]
    pub session_time: Duration,
    /// Most bytes that a client may send in one session, all its messages together;
    /// should be at least twice the largest message. Mail goes over a connection that is kept open
    /// for long; this is what an endless message that was refused already can cost.
    /// Default `"16GiB"`.
    pub session_bytes: ByteSize,
    /// Most recipients of one message; further ones are told 452. Default 1,000.
    pub recipients: NonZeroUsize,
    /// Clients that may tell whose mail they bring, by XFORWARD, as Postfix does to a
    /// filter behind it: addresses, networks and `"unix"`, such as `["127.0.0.0/8"]`.
    /// What they tell stands in the envelope. Default: none.
    pub xforward: Vec<Clients>,
    /// Certificate and key, so that sessions can be encrypted by STARTTLS, as in
    /// `{ certificate = "mx.pem", key = "mx.key" }`. Read at the start and at each
    /// reload. Default: none, and STARTTLS is not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Whether mail is refused in sessions that are not encrypted. Default false.
    pub require_tls: bool,
    /// Commands in error after which a session ends. Default 20.
    pub errors: NonZeroUsize,
    /// Commands without a message after which a session ends, recipients left out.
    /// Default 10,000.
    pub commands: NonZeroUsize,
}

const SESSIONS: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
const RECIPIENTS: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");
const ERRORS: NonZeroUsize = NonZeroUsize::new(20).expect("not zero");
const COMMANDS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// So many bytes of a line or a message in [`ListenConfig::idle_timeout`] are
/// progress, though they bring nothing to its end: 55 a second at least, by default.
pub const PROGRESS_BYTES: u64 = 16 << 10;

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            protocol: ListenProtocol::Smtp,
            address: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 10025))),
            socket_mode: SocketMode::DEFAULT,
            sessions: SESSIONS,
            sessions_per_client: None,
            bare_line_ends: LineEndPolicy::Reject,
            idle_timeout: Duration::from_secs(5 * 60),
            crowded_timeout: Duration::from_secs(10),
            session_time: Duration::from_secs(60 * 60),
            session_bytes: ByteSize(16 << 30),
            recipients: RECIPIENTS,
            xforward: Vec::new(),
            tls: None,
            require_tls: false,
            errors: ERRORS,
            commands: COMMANDS,
        }
    }
}

/// RFC 2033 section 2: LMTP "MUST NOT be used on TCP port 25".
const SMTP_PORT: u16 = 25;

impl ListenConfig {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// What does not, for a person to read.
    pub fn check(&self) -> Result<(), String> {
        if [self.idle_timeout, self.crowded_timeout, self.session_time].iter().any(Duration::is_zero) {
            return Err("idle_timeout, crowded_timeout and session_time must be longer than nothing".into());
        }
        if self.require_tls && self.tls.is_none() {
            return Err("require_tls needs tls = { certificate = \"...\", key = \"...\" }".into());
        }
        match (&self.address, self.protocol) {
            (ListenAddress::Tcp(address), ListenProtocol::Lmtp) if address.port() == SMTP_PORT => {
                Err("LMTP is not allowed on port 25 (RFC 2033 section 2)".into())
            }
            (ListenAddress::Unix(path), _) if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX => Err(format!(
                "the path of the socket {} has {} bytes: the kernel takes at most {SOCKET_PATH_BYTES_MAX}",
                path.display(),
                path.as_os_str().len()
            )),
            _ => Ok(()),
        }
    }

    /// What is said of STARTTLS.
    pub(crate) fn starttls(&self) -> StartTlsPolicy {
        match (&self.tls, self.require_tls) {
            (None, _) => StartTlsPolicy::Never,
            (Some(_), false) => StartTlsPolicy::Offered,
            (Some(_), true) => StartTlsPolicy::Required,
        }
    }

    /// The same with its paths made absolute.
    #[must_use]
    pub fn based_on(mut self, base: &Path) -> Self {
        self.tls = self.tls.map(|tls| tls.based_on(base));
        match &self.address {
            ListenAddress::Unix(path) => Self { address: ListenAddress::Unix(base.join(path)), ..self },
            ListenAddress::Tcp(_) => self,
        }
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenProtocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

impl fmt::Display for ListenProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
        })
    }
}

impl From<ListenProtocol> for Dialect {
    fn from(protocol: ListenProtocol) -> Self {
        match protocol {
            ListenProtocol::Smtp => Self::Smtp,
            ListenProtocol::Lmtp => Self::Lmtp,
        }
    }
}

/// What happens to bare line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEndPolicy {
    /// The message is refused.
    Reject,
    /// LF becomes CRLF, a stray CR a space.
    Normalize,
}

impl From<LineEndPolicy> for BareLineEnds {
    fn from(policy: LineEndPolicy) -> Self {
        match policy {
            LineEndPolicy::Reject => Self::Reject,
            LineEndPolicy::Normalize => Self::Normalize,
        }
    }
}

/// Permission bits of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// Everybody who gets to the socket may connect.
    pub const DEFAULT: Self = Self(0o666);

    /// As chmod(2) takes them.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(&text, 8).ok().filter(|&bits| octal && bits <= 0o777);
        bits.map(Self).ok_or_else(|| format!("{text:?}: expected an octal mode such as \"0660\""))
    }
}

impl From<SocketMode> for String {
    fn from(SocketMode(bits): SocketMode) -> Self {
        format!("{bits:04o}")
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// An address and port; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

/// How the path of a socket begins.
const UNIX: &str = "unix:";

/// Longest path of a Unix socket in bytes: unix(7), 108 with the NUL behind it.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path {
                "" => Err(format!("{text:?}: the path of the socket is missing")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "{text:?}: expected an IP address with a port (\"127.0.0.1:10025\") or \"unix:/path/of/socket\""
            )
        })
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_may_be_left_out_and_is_written_back() {
        let config: ListenConfig = toml::from_str("").unwrap();
        assert_eq!(config, ListenConfig::default());
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("idle_timeout = \"5m\"") && text.contains("session_time = \"1h\""), "{text}");
        assert_eq!(toml::from_str::<ListenConfig>(&text).unwrap(), config);
    }

    #[test]
    fn values_are_read() {
        let text = "protocol = 'lmtp'\naddress = 'unix:/run/x.sock'\nsessions = 7\n\
            bare_line_ends = 'normalize'\nidle_timeout = '90s'\nrecipients = 5\nerrors = 1";
        let config: ListenConfig = toml::from_str(text).unwrap();
        assert_eq!(config.address, ListenAddress::Unix("/run/x.sock".into()));
        assert_eq!((config.sessions.get(), config.idle_timeout), (7, Duration::from_secs(90)));
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_relative_socket_starts_from_the_base() {
        let relative: ListenConfig =
            toml::from_str("address = 'unix:run/x.sock'\nsocket_mode = '660'").unwrap();
        let based = relative.based_on(Path::new("/etc/lazaret"));
        assert_eq!(based.address, ListenAddress::Unix("/etc/lazaret/run/x.sock".into()));
        assert!(toml::to_string(&based).unwrap().contains("socket_mode = \"0660\""));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("adress = 'x'", "adress"),
            ("address = 'localhost'", "IP address with a port"),
            ("xforward = ['localhost']", "expected an address"),
            ("address = 'unix:'", "missing"),
            ("socket_mode = '0999'", "octal"),
            ("socket_mode = '4755'", "octal"),
            ("socket_mode = '66'", "octal"),
            ("sessions = 0", "nonzero"),
            ("protocol = 'imap'", "imap"),
            ("idle_timeout = 'soon'", "soon"),
            ("idle_timeout = '-5m'", "no span of time"),
        ] {
            let error = toml::from_str::<ListenConfig>(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
        let lmtp = toml::from_str::<ListenConfig>("protocol = 'lmtp'\naddress = '127.0.0.1:25'").unwrap();
        assert!(lmtp.check().unwrap_err().contains("port 25"));
        let long = format!("address = 'unix:/{}'", "x".repeat(SOCKET_PATH_BYTES_MAX));
        let long = toml::from_str::<ListenConfig>(&long).unwrap().check().unwrap_err();
        assert!(long.contains("has 108 bytes: the kernel takes at most 107"), "{long}");
        let no_tls = toml::from_str::<ListenConfig>("require_tls = true").unwrap();
        assert!(no_tls.check().unwrap_err().contains("certificate"));
        let no_time = toml::from_str::<ListenConfig>("idle_timeout = '0s'").unwrap();
        assert!(no_time.check().unwrap_err().contains("idle_timeout"));
    }
}
