//! What every transport is asked.
//!
//! A transport is handed one message and some of its recipients and says what
//! became of each. It must never touch the spool but to read the message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lazaret_smtp::Dialect;

use crate::config::{ConfigError, DiscardConfig, TransportConfig};
use crate::cutoff::CutOff;
use crate::discard::{self, Discard};
use crate::maildir::{Maildir, Template};
use crate::next_hop::NextHop;
use crate::outcome::Handled;
use crate::parcel::{Damaged, Parcel};
use crate::pipe::Pipe;
use crate::refuse::Refuse;
use crate::smtp::security::Security;
use crate::smtp::{Session, Smtp};
use crate::sockets::Sockets;

/// One configured transport.
#[derive(Debug)]
pub(crate) enum Transport {
    Maildir(Maildir),
    Smtp(Smtp),
    Pipe(Box<Pipe>),
    Discard(Discard),
    /// Built in: no configuration names it.
    Refuse(Refuse),
}

/// What a thread keeps from one message to the next.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    pub(crate) session: Option<Session>,
}

impl Transport {
    pub(crate) fn new(
        config: &TransportConfig,
        (number, name): (usize, &str),
        hostname: &str,
        sockets: &Arc<Sockets>,
        cut_off: &Arc<CutOff>,
    ) -> Result<Self, ConfigError> {
        let transport = || name.to_owned();
        Ok(match config {
            TransportConfig::Maildir(maildir) => {
                let template = Template::parse(&maildir.path);
                let template =
                    template.map_err(|source| ConfigError::Path { transport: transport(), source })?;
                Self::Maildir(Maildir::new(template, hostname))
            }
            TransportConfig::Pipe(pipe) => {
                let pipe = Pipe::new(pipe, name, hostname, cut_off);
                Self::Pipe(Box::new(
                    pipe.map_err(|source| ConfigError::Pipe { transport: transport(), source })?,
                ))
            }
            TransportConfig::Smtp(smtp) => {
                Self::Smtp(Smtp::new(smtp, Dialect::Smtp, (number, name), hostname, sockets)?)
            }
            TransportConfig::Lmtp(lmtp) => {
                Self::Smtp(Smtp::new(lmtp, Dialect::Lmtp, (number, name), hostname, sockets)?)
            }
            TransportConfig::Discard(DiscardConfig {}) => Self::Discard(Discard::new(name)),
        })
    }

    /// The next hops, if it has any of its own.
    pub(crate) fn next_hops(&self) -> &[Arc<NextHop>] {
        match self {
            Self::Smtp(smtp) => smtp.next_hops(),
            Self::Maildir(_) | Self::Pipe(_) | Self::Discard(_) | Self::Refuse(_) => &[],
        }
    }

    /// Connections that begin from now on are kept private so.
    pub(crate) fn secure_by(&self, security: Security) {
        if let Self::Smtp(smtp) = self {
            smtp.secure_by(security);
        }
    }

    /// Whether no next hop may be asked now.
    pub(crate) fn refuses(&self) -> bool {
        let next_hops = self.next_hops();
        !next_hops.is_empty() && next_hops.iter().all(|next_hop| next_hop.refuses())
    }

    /// For how long no next hop has done what it was asked.
    pub(crate) fn troubled_for(&self) -> Duration {
        self.next_hops().iter().map(|next_hop| next_hop.troubled_for()).min().unwrap_or_default()
    }

    /// Most recipients of one transaction.
    pub(crate) fn recipients_max(&self) -> usize {
        match self {
            Self::Maildir(_) => 1,
            Self::Smtp(smtp) => smtp.recipients_max(),
            Self::Pipe(pipe) => pipe.recipients_max(),
            Self::Discard(_) | Self::Refuse(_) => discard::RECIPIENTS_MAX,
        }
    }

    /// Delivers to the recipients at these places of the envelope, at most
    /// [`recipients_max`](Self::recipients_max).
    pub(crate) fn transaction(
        &self,
        hands: &mut Hands,
        parcel: &Parcel<'_>,
        places: &[usize],
    ) -> Result<Handled, Damaged> {
        match self {
            Self::Maildir(maildir) => {
                let outcomes = places.iter().map(|&place| maildir.deliver(parcel, place));
                Ok(Handled { outcomes: outcomes.collect::<Result<_, _>>()?, trouble: None })
            }
            Self::Smtp(smtp) => smtp.transaction(&mut hands.session, parcel, places),
            Self::Pipe(pipe) => pipe.transaction(parcel, places),
            Self::Discard(discard) => Ok(discard.take(parcel, places)),
            Self::Refuse(refuse) => Ok(refuse.take(parcel, places)),
        }
    }
}

impl Hands {
    /// Until when there is something to keep.
    pub(crate) fn idle_until(&self) -> Option<Instant> {
        self.session.as_ref().map(Session::idle_until)
    }

    /// Lets go of what was kept.
    pub(crate) fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit();
        }
    }
}
