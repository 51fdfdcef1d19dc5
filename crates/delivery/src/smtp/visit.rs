//! One transaction on its way through the next hops: who was asked for whom, and
//! what became of it.
//!
//! What one next hop lacks, another may have: whom a transaction left out for
//! want of an extension goes on to the next one. It must never ask again for a
//! recipient who has got an answer.

use std::sync::Arc;
use std::time::Instant;

use lazaret_envelope::{Envelope, Forwarded, Line, Origin, Protocol, Transaction};
use lazaret_smtp::client::{EightBit, Finished, Mail, Outcome as Reported, Step};
use lazaret_smtp::xforward::Told;
use tracing::warn;

use super::session::{Ended, Session};
use crate::next_hop::{NextHop, Ticket};
use crate::outcome::{Handled, Outcome};
use crate::parcel::{Damaged, Parcel};
use crate::trace;

/// How messages are handed over, as it is configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// Next hops that want to know are told whose mail it is.
    pub(super) xforward: bool,
    pub(super) eight_bit: EightBit,
}

/// Some recipients of a message.
pub(super) struct Visit<'a> {
    parcel: &'a Parcel<'a>,
    places: &'a [usize],
    wishes: Wishes,
    deadline: Instant,
    /// Its bytes are none that DATA is made for, once somebody wanted to know.
    counted: Option<bool>,
    /// Whom no next hop was asked about yet, or only one that lacks something; by
    /// position in `places`.
    open: Vec<usize>,
    outcomes: Vec<Option<Outcome>>,
    /// The next hop was lost in the middle.
    lost: Option<Line>,
    /// Next hops that could not be asked.
    troubles: Vec<String>,
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        parcel: &'a Parcel<'a>,
        places: &'a [usize],
        wishes: Wishes,
        deadline: Instant,
    ) -> Self {
        Self {
            parcel,
            places,
            wishes,
            deadline,
            counted: None,
            open: (0..places.len()).collect(),
            outcomes: vec![None; places.len()],
            lost: None,
            troubles: Vec::new(),
        }
    }

    /// Whether there is nobody to ask any more.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty() || self.lost.is_some()
    }

    /// A next hop can't be asked, and why.
    pub(super) fn passes_over(&mut self, next_hop: &NextHop, why: impl std::fmt::Display) {
        self.troubles.push(format!("{next_hop}: {why}"));
    }

    /// Who is left, and what the message will weigh at a next hop; which may take
    /// `chunks`.
    fn mail(&mut self, chunks: bool) -> Mail {
        let counted = chunks && *self.counted.get_or_insert_with(|| !self.parcel.fits_data());
        let envelope = &self.parcel.message.envelope;
        let all = &envelope.transaction;
        let recipients = self.open.iter().map(|&at| all.recipients[self.places[at]].clone()).collect();
        let transaction = Arc::new(Transaction { sender: all.sender.clone(), recipients });
        Mail {
            transaction,
            size: envelope.content.size + self.parcel.trace.len() as u64,
            told: self.wishes.xforward.then(|| told(envelope)),
            counted,
            eight_bit: self.wishes.eight_bit,
        }
    }

    /// One transaction, over a connection that is ready; the connection, if it is
    /// still sound. With a `kept` one it may turn out to be gone: nothing happened
    /// then, nor was anything learned of the next hop.
    pub(super) fn transact(
        &mut self,
        mut session: Session,
        ticket: Ticket<'_>,
        kept: bool,
    ) -> Result<Option<Session>, Damaged> {
        let (finished, ended) =
            session.transact(self.mail(session.takes_chunks()), self.parcel, self.deadline)?;
        if kept && is_stale(&finished, ended.as_ref()) {
            return Ok(None);
        }
        let told = |reply: &dyn std::fmt::Display| Line::escaped(format!("{}: {reply}", session.next_hop()));
        for (at, delivery) in std::mem::take(&mut self.open).into_iter().zip(finished.deliveries) {
            if delivery.step == Step::Offer {
                self.open.push(at);
            }
            self.outcomes[at] = Some(match &delivery.outcome {
                // RFC 3461 section 5.2.2: it was not asked to tell the sender.
                Reported::Delivered(reply) if !session.takes_over_dsn() => Outcome::Relayed(told(reply)),
                Reported::Delivered(reply) => Outcome::Delivered(told(reply)),
                Reported::Transient(reply) => Outcome::Transient(told(reply)),
                Reported::Permanent(reply) => Outcome::Permanent(told(reply)),
            });
        }
        let Some(ended) = ended else {
            ticket.succeeded();
            return Ok(Some(session));
        };
        if finished.uncertain {
            // RFC 1047: nobody knows whether it was taken.
            warn!(next_hop = %session.next_hop(), why = %ended.why, "a message may be delivered twice");
        }
        self.lost = Some(told(&ended.why));
        ticket.failed(&ended.why);
        Ok(None)
    }

    /// What became of it.
    pub(super) fn handled(self) -> Handled {
        let troubles = Line::escaped(self.troubles.join("; "));
        if self.outcomes.iter().any(Option::is_none) {
            let trouble = (!self.troubles.is_empty()).then_some(troubles);
            return Handled { outcomes: Vec::new(), trouble };
        }
        let mut outcomes: Vec<Outcome> = self.outcomes.into_iter().flatten().collect();
        // Whoever was not asked may have what the others lack.
        for at in self.open.into_iter().filter(|_| !self.troubles.is_empty()) {
            if let Outcome::Permanent(reply) = &outcomes[at] {
                outcomes[at] = Outcome::Transient(Line::escaped(format!("{reply}; {troubles}")));
            }
        }
        Handled { outcomes, trouble: self.lost }
    }
}

/// Whose mail it is: the client that the MTA before us has named, else that MTA. Only
/// the MTA can say that a source is local, upon which a next hop completes what it takes
/// for its own (XFORWARD_README): what comes by `submit` may be anybody's, and is
/// complete where it is a person's.
fn told(envelope: &Envelope) -> Told {
    let Origin { protocol, client, helo, forwarded, .. } = &envelope.origin;
    let session = matches!(protocol, Protocol::Smtp | Protocol::Esmtp | Protocol::Lmtp);
    let own = || Forwarded {
        address: client.as_ref().and_then(trace::address).map(|address| Line::escaped(address.to_string())),
        protocol: session.then(|| Line::escaped(protocol.to_string().to_ascii_uppercase())),
        helo: helo.clone(),
        source: Some(Line::escaped("REMOTE")),
        ..Forwarded::default()
    };
    let forwarded = if *forwarded == Forwarded::default() { own() } else { forwarded.clone() };
    Told { forwarded, ident: Some(Line::escaped(envelope.id.to_string())) }
}

/// Whether a connection that was kept turned out to be gone, which says nothing
/// about the message: nobody was asked about anything yet.
fn is_stale(finished: &Finished, ended: Option<&Ended>) -> bool {
    ended.is_some_and(|ended| !ended.deadline)
        && finished
            .deliveries
            .iter()
            .filter(|delivery| delivery.step != Step::Offer)
            .all(|delivery| delivery.step == Step::Mail && matches!(delivery.outcome, Reported::Transient(_)))
}
