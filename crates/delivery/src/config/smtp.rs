//! Whether what is said of a next hop makes sense together.
//!
//! Of what lies on disk nothing is asked here.

use lazaret_tls::PeerName;

use super::error::{ConfigError, bounded};
use super::limits::{QUEUE_MAX, SMTP_RECIPIENTS_MAX, THREADS_MAX};
use crate::endpoint::Endpoint;
use crate::smtp::config::{BreakerConfig, SmtpConfig, Timeouts, TlsLevel};

impl SmtpConfig {
    pub(super) fn check(&self, name: &str) -> Result<(), ConfigError> {
        bounded(name, "connections", self.connections, THREADS_MAX)?;
        bounded(name, "queue", self.queue, QUEUE_MAX)?;
        bounded(name, "recipients_per_transaction", self.recipients_per_transaction, SMTP_RECIPIENTS_MAX)?;
        if self.next_hops.is_empty() {
            return Err(ConfigError::NoNextHop(name.to_owned()));
        }
        if let Some(next_hop) = self.next_hops.iter().find(|next_hop| Endpoint::parse(next_hop).is_none()) {
            return Err(ConfigError::NextHop { transport: name.to_owned(), next_hop: next_hop.clone() });
        }
        self.check_security(name)?;
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

    /// Whether what is said of TLS and login goes together.
    fn check_security(&self, name: &str) -> Result<(), ConfigError> {
        let wrong = |key, what| Err(ConfigError::Security { transport: name.to_owned(), key, what });
        if self.tls_name.as_ref().is_some_and(|name| PeerName::parse(name).is_none()) {
            return wrong("tls_name", "is no host name, such as \"mx.example.org\", nor an IP address");
        }
        let unnamed = |next_hop: &String| Endpoint::parse(next_hop).is_some_and(|at| at.host().is_none());
        if self.tls == TlsLevel::Verified && self.tls_name.is_none() && self.next_hops.iter().any(unnamed) {
            return wrong("tls_name", "a Unix socket has no name that a certificate could bear: say which");
        }
        match (&self.user, &self.password_file) {
            (None, None) => Ok(()),
            (None, Some(_)) => wrong("password_file", "needs user = \"...\""),
            (Some(_), None) => wrong("user", "needs password_file = \"...\""),
            (Some(user), Some(_)) if user.is_empty() || user.contains('\0') => {
                wrong("user", "is no name that could be said")
            }
            (Some(_), Some(_)) if !self.tls.is_must() && !self.auth_unencrypted => wrong(
                "user",
                "a password is said only under TLS: tls = \"verified\" or \"required\"; \
                 or, to next hops of this host, auth_unencrypted = true",
            ),
            (Some(_), Some(_)) => Ok(()),
        }
    }
}
