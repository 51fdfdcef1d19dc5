//! Delivery to a next hop by SMTP or LMTP: which one, over which connection.
//!
//! The protocol is `lazaret-smtp`'s; this is its socket and its clock. A
//! message must never be called delivered without the next hop's word for it.

pub(crate) mod config;
pub(crate) mod security;
mod session;
#[cfg(test)]
mod tests;
mod visit;
mod wire;

pub(crate) use session::Session;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, Span};
use lazaret_smtp::Dialect;
use lazaret_smtp::client::Setup;
use tracing::debug;

use crate::config::ConfigError;
use crate::endpoint::{Endpoint, Place};
use crate::next_hop::NextHop;
use crate::outcome::Handled;
use crate::parcel::{Damaged, Parcel};
use crate::sockets::{NoConnection, Sockets};
use config::{SmtpConfig, Timeouts};
use security::Security;
use session::NotReady;
use visit::{Visit, Wishes};
use wire::Wire;

/// A transport that delivers by SMTP or LMTP.
#[derive(Debug)]
pub(crate) struct Smtp {
    /// Its number among the transports, for its share of the connections.
    number: usize,
    dialect: Dialect,
    hostname: String,
    next_hops: Vec<Arc<NextHop>>,
    recipients_max: usize,
    timeouts: Timeouts,
    least_progress: u64,
    wishes: Wishes,
    /// For connections that begin from now on.
    security: Mutex<Arc<Security>>,
    sockets: Arc<Sockets>,
}

impl Smtp {
    /// # Errors
    /// A next hop that is none, or a file that is not as it has to be.
    pub(crate) fn new(
        config: &SmtpConfig,
        dialect: Dialect,
        (number, name): (usize, &str),
        hostname: &str,
        sockets: &Arc<Sockets>,
    ) -> Result<Self, ConfigError> {
        let next_hop = |text: &String| match Endpoint::parse(text) {
            Some(endpoint) => Ok(Arc::new(NextHop::new(name, text, endpoint, config.breaker))),
            None => Err(ConfigError::NextHop { transport: name.to_owned(), next_hop: text.clone() }),
        };
        let security = Security::read(config).map_err(ConfigError::file(name))?;
        Ok(Self {
            number,
            dialect,
            hostname: hostname.to_owned(),
            next_hops: config.next_hops.iter().map(next_hop).collect::<Result<_, _>>()?,
            recipients_max: config.recipients_per_transaction,
            timeouts: config.timeouts,
            least_progress: config.least_progress.0,
            wishes: Wishes { xforward: config.xforward, eight_bit: config.without_8bitmime.into() },
            security: Mutex::new(Arc::new(security)),
            sockets: Arc::clone(sockets),
        })
    }

    /// Connections that begin from now on are kept private so.
    pub(crate) fn secure_by(&self, security: Security) {
        *self.security.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(security);
    }

    fn security(&self) -> Arc<Security> {
        Arc::clone(&self.security.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn recipients_max(&self) -> usize {
        self.recipients_max
    }

    pub(crate) fn next_hops(&self) -> &[Arc<NextHop>] {
        &self.next_hops
    }

    /// One transaction, over the connection that was kept or a new one.
    pub(crate) fn transaction(
        &self,
        kept: &mut Option<Session>,
        parcel: &Parcel<'_>,
        places: &[usize],
    ) -> Result<Handled, Damaged> {
        let deadline = Instant::now() + self.timeouts.transaction;
        let mut visit = Visit::new(parcel, places, self.wishes, deadline);
        let mut asked = None;
        if let Some(mut session) = kept.take()
            && let Some(next_hop) = self.next_hops.iter().find(|other| Arc::ptr_eq(other, session.next_hop()))
            && self.is_first_choice(next_hop)
            && let Some(ticket) = next_hop.ask()
            && session.ready(deadline).is_ok()
        {
            *kept = visit.transact(session, ticket, true)?;
            asked = kept.is_some().then_some(next_hop);
        }
        let others = |next_hop: &&Arc<NextHop>| asked.is_none_or(|asked| !Arc::ptr_eq(asked, next_hop));
        for next_hop in self.next_hops.iter().filter(others) {
            if visit.is_over() {
                break;
            }
            let Some(ticket) = next_hop.ask() else { continue };
            match self.open(next_hop, deadline) {
                Ok(session) => keep(kept, visit.transact(session, ticket, false)?),
                Err(NoSession::NoneFree) => break,
                Err(NoSession::Trouble(why) | NoSession::NoTls(why)) => {
                    ticket.failed(&why);
                    visit.passes_over(next_hop, why);
                }
            }
        }
        Ok(visit.handled())
    }

    /// Whether no next hop that stands before this one may be asked.
    fn is_first_choice(&self, next_hop: &Arc<NextHop>) -> bool {
        let before = self.next_hops.iter().take_while(|other| !Arc::ptr_eq(other, next_hop));
        before.into_iter().all(|other| other.refuses())
    }

    /// A connection that is ready for a transaction, to the first address of a
    /// next hop that gives one.
    fn open(&self, next_hop: &Arc<NextHop>, deadline: Instant) -> Result<Session, NoSession> {
        let places = self.sockets.places(next_hop.endpoint(), self.connect_limit(deadline));
        let places = places.map_err(NoSession::Trouble)?;
        let mut last = Line::escaped("no address");
        let security = self.security();
        for place in places {
            let connect = |setup| self.connect(next_hop, &place, (&security, setup), deadline);
            let mut result = connect(security.setup(&place));
            if let Err(NoSession::NoTls(why)) = &result
                && let Some(setup) = security.setup_without_tls(&place)
            {
                debug!(%next_hop, %place, %why, "goes on without TLS");
                result = connect(setup);
            }
            match result {
                Err(NoSession::Trouble(why) | NoSession::NoTls(why)) => {
                    debug!(%next_hop, %place, %why, "no connection");
                    last = why;
                }
                session => return session,
            }
        }
        Err(NoSession::Trouble(last))
    }

    /// How long it may take to look up a name, or to connect.
    fn connect_limit(&self, deadline: Instant) -> Duration {
        self.timeouts.connect.min(deadline.saturating_duration_since(Instant::now()))
    }

    fn connect(
        &self,
        next_hop: &Arc<NextHop>,
        place: &Place,
        (security, setup): (&Arc<Security>, Setup),
        deadline: Instant,
    ) -> Result<Session, NoSession> {
        let limit = self.connect_limit(deadline);
        let connection = self.sockets.connect(self.number, place, limit).map_err(|error| match error {
            NoConnection::NoneFree => NoSession::NoneFree,
            NoConnection::Failed(error) => NoSession::Trouble(no_connection(next_hop, place, limit, &error)),
        })?;
        let wire = Wire::new(connection, self.timeouts, self.least_progress);
        let mut session = Session::new(wire, next_hop, security, (&self.hostname, self.dialect, setup));
        match session.ready(deadline) {
            Ok(()) => Ok(session),
            Err(NotReady { why, in_handshake: true }) => Err(NoSession::NoTls(why)),
            Err(NotReady { why, in_handshake: false }) => Err(NoSession::Trouble(why)),
        }
    }
}

/// What is wrong with a place of a next hop; its name stands before it already.
fn no_connection(next_hop: &NextHop, place: &Place, limit: Duration, error: &io::Error) -> Line {
    let place = place.to_string();
    let at = if place == next_hop.to_string() { String::new() } else { format!(" at {place}") };
    Line::escaped(match error.kind() {
        ErrorKind::TimedOut => format!("does not accept a connection{at} for {}", Span(limit)),
        ErrorKind::ConnectionRefused => format!("refuses connections{at}"),
        _ => format!("failed to connect{at}: {error}"),
    })
}

/// Why there is no connection that is ready.
enum NoSession {
    /// All connections that the transport may have are in use: nothing is known of
    /// the next hop.
    NoneFree,
    /// What is wrong with the next hop.
    Trouble(Line),
    /// It offers TLS, and there is none.
    NoTls(Line),
}

/// Keeps a connection in place of the one that was kept.
fn keep(kept: &mut Option<Session>, session: Option<Session>) {
    if let Some(session) = session
        && let Some(former) = kept.replace(session)
    {
        former.quit();
    }
}
