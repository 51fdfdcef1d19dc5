//! Delivery to a next hop by SMTP or LMTP: which one, over which connection.
//!
//! The protocol is `lazaret-smtp`'s; this is its socket and its clock. A
//! message must never be called delivered without the next hop's word for it.

mod session;
#[cfg(test)]
mod tests;
mod visit;
mod wire;

pub(crate) use session::Session;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use lazaret_envelope::{Line, Span};
use lazaret_smtp::Dialect;
use tracing::debug;

use crate::config::{ConfigError, SmtpConfig, Timeouts};
use crate::endpoint::{Endpoint, Place};
use crate::next_hop::NextHop;
use crate::parcel::{Damaged, Parcel};
use crate::sockets::{NoConnection, Sockets};
use crate::transport::Handled;
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
    sockets: Arc<Sockets>,
}

impl Smtp {
    /// # Errors
    /// A next hop that is none.
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
        Ok(Self {
            number,
            dialect,
            hostname: hostname.to_owned(),
            next_hops: config.next_hops.iter().map(next_hop).collect::<Result<_, _>>()?,
            recipients_max: config.recipients_per_transaction,
            timeouts: config.timeouts,
            least_progress: config.least_progress.0,
            wishes: Wishes { xforward: config.xforward, eight_bit: config.without_8bitmime.into() },
            sockets: Arc::clone(sockets),
        })
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
                Err(NoSession::Trouble(why)) => {
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
        let places = next_hop.endpoint().places();
        let places = places.map_err(|error| Line::escaped(format!("no address: {error}")))?;
        let mut last = Line::escaped("no address");
        for place in places {
            match self.connect(next_hop, &place, deadline) {
                Err(NoSession::Trouble(why)) => {
                    debug!(%next_hop, %place, %why, "no connection");
                    last = why;
                }
                session => return session,
            }
        }
        Err(last.into())
    }

    fn connect(
        &self,
        next_hop: &Arc<NextHop>,
        place: &Place,
        deadline: Instant,
    ) -> Result<Session, NoSession> {
        let limit = self.timeouts.connect.min(deadline.saturating_duration_since(Instant::now()));
        let connection = self.sockets.connect(self.number, place, limit).map_err(|error| match error {
            NoConnection::NoneFree => NoSession::NoneFree,
            NoConnection::Failed(error) => match error.kind() {
                ErrorKind::TimedOut => {
                    Line::escaped(format!("{place} does not accept a connection for {}", Span(limit))).into()
                }
                ErrorKind::ConnectionRefused => Line::escaped(format!("{place} refuses connections")).into(),
                _ => Line::escaped(format!("failed to connect to {place}: {error}")).into(),
            },
        })?;
        let wire = Wire::new(connection, self.timeouts, self.least_progress);
        let mut session = Session::new(wire, Arc::clone(next_hop), &self.hostname, self.dialect);
        session.ready(deadline)?;
        Ok(session)
    }
}

/// Why there is no connection that is ready.
enum NoSession {
    /// All connections that the transport may have are in use: nothing is known of
    /// the next hop.
    NoneFree,
    /// What is wrong with the next hop.
    Trouble(Line),
}

impl From<Line> for NoSession {
    fn from(why: Line) -> Self {
        Self::Trouble(why)
    }
}

/// Keeps a connection in place of the one that was kept.
fn keep(kept: &mut Option<Session>, session: Option<Session>) {
    if let Some(session) = session
        && let Some(former) = kept.replace(session)
    {
        former.quit();
    }
}
