//! Delivery to a next hop by SMTP: which one, over which connection.
//!
//! The protocol is `lazaret-smtp`'s; this is its socket and its clock. A
//! message must never be called delivered without the next hop's word for it.

mod session;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use session::Session;

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use lazaret_envelope::{Line, Span, Transaction};
use lazaret_smtp::client::{Finished, Mail, Outcome as Reported, Step};
use tracing::{debug, warn};

use crate::config::{SmtpConfig, Timeouts};
use crate::next_hop::{NextHop, Ticket};
use crate::parcel::{Damaged, Parcel};
use crate::sockets::Sockets;
use crate::transport::{Handled, Outcome};
use session::Ended;
use wire::Wire;

/// Most recipients of one transaction; more go out in several. RFC 5321 section
/// 4.5.3.1.8: "the minimum total number of recipients that MUST be buffered is
/// 100"; the usual servers take 1000.
pub(crate) const RECIPIENTS_PER_TRANSACTION_MAX: usize = 1000;

/// A transport that delivers by SMTP.
#[derive(Debug)]
pub(crate) struct Smtp {
    hostname: String,
    next_hops: Vec<Arc<NextHop>>,
    timeouts: Timeouts,
    sockets: Arc<Sockets>,
}

impl Smtp {
    pub(crate) fn new(config: &SmtpConfig, name: &str, hostname: &str, sockets: &Arc<Sockets>) -> Self {
        let next_hop = |next_hop: &String| Arc::new(NextHop::new(name, next_hop, config.breaker));
        Self {
            hostname: hostname.to_owned(),
            next_hops: config.next_hops.iter().map(next_hop).collect(),
            timeouts: config.timeouts,
            sockets: Arc::clone(sockets),
        }
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
        let mail = mail(parcel, places);
        if let Some(mut session) = kept.take()
            && let next_hop = Arc::clone(session.next_hop())
            && self.is_first_choice(&next_hop)
            && let Some(ticket) = next_hop.ask()
            && session.ready(deadline).is_ok()
        {
            let (finished, ended) = session.transact(mail.clone(), parcel, deadline)?;
            if !is_stale(&finished, ended.as_ref()) {
                return Ok(handled(kept, session, ticket, finished, ended));
            }
        }
        let mut troubles = Vec::new();
        for next_hop in &self.next_hops {
            let Some(ticket) = next_hop.ask() else { continue };
            match self.open(next_hop, deadline) {
                Ok(mut session) => {
                    let (finished, ended) = session.transact(mail, parcel, deadline)?;
                    return Ok(handled(kept, session, ticket, finished, ended));
                }
                Err(why) => {
                    ticket.failed(&why);
                    troubles.push(format!("{next_hop}: {why}"));
                }
            }
        }
        let trouble = (!troubles.is_empty()).then(|| Line::escaped(troubles.join("; ")));
        Ok(Handled { outcomes: Vec::new(), trouble })
    }

    /// Whether no next hop that stands before this one may be asked.
    fn is_first_choice(&self, next_hop: &Arc<NextHop>) -> bool {
        let before = self.next_hops.iter().take_while(|other| !Arc::ptr_eq(other, next_hop));
        before.into_iter().all(|other| other.refuses())
    }

    /// A connection that is ready for a transaction, to the first address of a
    /// next hop that gives one.
    fn open(&self, next_hop: &Arc<NextHop>, deadline: Instant) -> Result<Session, Line> {
        let addresses = next_hop.name().to_socket_addrs();
        let addresses = addresses.map_err(|error| Line::escaped(format!("no address: {error}")))?;
        let mut last = Line::escaped("no address");
        for address in addresses {
            match self.connect(next_hop, address, deadline) {
                Ok(session) => return Ok(session),
                Err(why) => {
                    debug!(%next_hop, %address, %why, "no connection");
                    last = why;
                }
            }
        }
        Err(last)
    }

    fn connect(
        &self,
        next_hop: &Arc<NextHop>,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Session, Line> {
        let limit = self.timeouts.connect.min(deadline.saturating_duration_since(Instant::now()));
        let socket = self.sockets.connect(address, limit).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                Line::escaped(format!("{address} does not accept a connection for {}", Span(limit)))
            }
            ErrorKind::ConnectionRefused => Line::escaped(format!("{address} refuses connections")),
            _ => Line::escaped(format!("failed to connect to {address}: {error}")),
        })?;
        let wire = Wire::new(socket, self.timeouts);
        let mut session = Session::new(wire, Arc::clone(next_hop), &self.hostname);
        session.ready(deadline)?;
        Ok(session)
    }
}

/// What became of a transaction; the connection is kept if it is sound.
fn handled(
    kept: &mut Option<Session>,
    session: Session,
    ticket: Ticket<'_>,
    finished: Finished,
    ended: Option<Ended>,
) -> Handled {
    let told = |reply: &dyn std::fmt::Display| Line::escaped(format!("{}: {reply}", session.next_hop()));
    let outcomes = finished.deliveries.iter().map(|delivery| match &delivery.outcome {
        Reported::Delivered(reply) => Outcome::Delivered(told(reply)),
        Reported::Transient(reply) => Outcome::Transient(told(reply)),
        Reported::Permanent(reply) => Outcome::Permanent(told(reply)),
    });
    let outcomes = outcomes.collect();
    let Some(ended) = ended else {
        ticket.succeeded();
        *kept = Some(session);
        return Handled { outcomes, trouble: None };
    };
    if finished.uncertain {
        // RFC 1047: nobody knows whether it was taken.
        warn!(next_hop = %session.next_hop(), why = %ended.why, "a message may be delivered twice");
    }
    ticket.failed(&ended.why);
    Handled { outcomes, trouble: Some(told(&ended.why)) }
}

/// The recipients at these places, and what the message will weigh.
fn mail(parcel: &Parcel<'_>, places: &[usize]) -> Mail {
    let envelope = &parcel.message.envelope;
    let all = &envelope.transaction;
    let recipients = places.iter().map(|&place| all.recipients[place].clone()).collect();
    let transaction = Arc::new(Transaction { sender: all.sender.clone(), recipients });
    Mail { transaction, size: envelope.content.size + parcel.trace.len() as u64 }
}

/// Whether a connection that was kept turned out to be gone, which says nothing
/// about the message: nobody was asked about anything yet.
fn is_stale(finished: &Finished, ended: Option<&Ended>) -> bool {
    ended.is_some_and(|ended| !ended.deadline)
        && finished
            .deliveries
            .iter()
            .all(|delivery| delivery.step == Step::Mail && matches!(delivery.outcome, Reported::Transient(_)))
}
