//! Delivery to a next hop by SMTP: which one, over which connection.
//!
//! The protocol is `lazaret-smtp`'s; this is its socket and its clock. A
//! message must never be called delivered without the next hop's word for it.

mod session;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use session::Session;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use lazaret_envelope::{Line, Span, Transaction};
use lazaret_smtp::client::{Finished, Mail, Outcome as Reported, Step};
use tracing::warn;

use crate::config::{SmtpConfig, Timeouts};
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
    name: String,
    hostname: String,
    next_hops: Vec<String>,
    timeouts: Timeouts,
    sockets: Arc<Sockets>,
}

impl Smtp {
    pub(crate) fn new(config: &SmtpConfig, name: &str, hostname: &str, sockets: &Arc<Sockets>) -> Self {
        Self {
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            next_hops: config.next_hops.clone(),
            timeouts: config.timeouts,
            sockets: Arc::clone(sockets),
        }
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
            && session.ready(deadline).is_ok()
        {
            let (finished, ended) = session.transact(mail.clone(), parcel, deadline)?;
            if !is_stale(&finished, ended.as_ref()) {
                return Ok(self.handled(kept, session, finished, ended));
            }
        }
        let mut session = match self.open(deadline) {
            Ok(session) => session,
            Err(trouble) => return Ok(Handled { outcomes: Vec::new(), trouble: Some(trouble) }),
        };
        let (finished, ended) = session.transact(mail, parcel, deadline)?;
        Ok(self.handled(kept, session, finished, ended))
    }

    /// What became of the transaction; the connection is kept if it is sound.
    fn handled(
        &self,
        kept: &mut Option<Session>,
        session: Session,
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
            *kept = Some(session);
            return Handled { outcomes, trouble: None };
        };
        warn!(transport = %self.name, next_hop = %session.next_hop(), address = %session.address(),
            why = %ended.why, uncertain = finished.uncertain, "next hop was lost during a transaction");
        Handled { outcomes, trouble: Some(told(&ended.why)) }
    }

    /// A connection that is ready for a transaction, to the first next hop that
    /// gives one.
    fn open(&self, deadline: Instant) -> Result<Session, Line> {
        let mut troubles = Vec::with_capacity(self.next_hops.len());
        for next_hop in &self.next_hops {
            match self.open_one(next_hop, deadline) {
                Ok(session) => return Ok(session),
                Err(why) => troubles.push(format!("{next_hop}: {why}")),
            }
        }
        Err(Line::escaped(troubles.join("; ")))
    }

    /// Every address of a next hop is tried.
    fn open_one(&self, next_hop: &str, deadline: Instant) -> Result<Session, Line> {
        let addresses = next_hop.to_socket_addrs().map_err(|error| {
            warn!(transport = %self.name, %next_hop, %error, "next hop has no address");
            Line::escaped(format!("no address: {error}"))
        })?;
        let mut last = Line::escaped("no address");
        for address in addresses {
            match self.connect(next_hop, address, deadline) {
                Ok(session) => return Ok(session),
                Err(why) => {
                    warn!(transport = %self.name, %next_hop, %address, %why, "next hop can't be used");
                    last = why;
                }
            }
        }
        Err(last)
    }

    fn connect(&self, next_hop: &str, address: SocketAddr, deadline: Instant) -> Result<Session, Line> {
        let limit = self.timeouts.connect.min(deadline.saturating_duration_since(Instant::now()));
        let socket = self.sockets.connect(address, limit).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => {
                Line::escaped(format!("{address} does not accept a connection for {}", Span(limit)))
            }
            _ => Line::escaped(format!("failed to connect to {address}: {error}")),
        })?;
        let wire = Wire::new(socket, address, self.timeouts);
        let mut session = Session::new(wire, next_hop, &self.hostname);
        session.ready(deadline)?;
        Ok(session)
    }
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
