//! A message on its way through the transports that its recipients need, and
//! what became of it so far.
//!
//! Whom a transaction has settled is held until he stands in the journal, before
//! the next one begins; who failed for now until the end of the round, in few
//! lines. A task must never forget that somebody failed.

use std::collections::{HashSet, VecDeque};

use lazaret_envelope::{Cause, Envelope, Line, Report, Timestamp};
use lazaret_spool::{Done, Journal, Key, Outbound};

use crate::asks::Asks;
use crate::failures::Failures;
use crate::job::{Job, TransportId};
use crate::outcome::Outcome;

/// A message in the hands of the deliveries.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) outbound: Outbound,
    /// The transport of each recipient of the envelope, in order.
    transports: Vec<TransportId>,
    /// The transports that it was not handed to yet.
    remaining: VecDeque<TransportId>,
    /// What was done and does not stand in the journal yet.
    pub(crate) unnoted: Vec<Done>,
    pub(crate) failures: Failures,
    tally: Tally,
    /// It has been tried for long enough: who can't get it now never will.
    pub(crate) last_try: bool,
    /// Somebody will never get it.
    pub(crate) has_refusals: bool,
    /// The sender was told that it takes longer.
    pub(crate) delay_told: bool,
}

/// How it went.
#[derive(Debug, Default)]
struct Tally {
    transient: usize,
    /// The first failure; that of the next hop, if there were recipients who could
    /// not even be tried.
    trouble: Option<Line>,
}

/// What is to become of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Another transport is next.
    Pass,
    /// Nothing is left to be done for any recipient.
    Done,
    /// Somebody may get it later.
    Wait,
    /// Somebody will never get it, and nobody can be told.
    Undeliverable,
    /// Deliveries are being stopped.
    PutBack,
    /// It can't be delivered as it lies there.
    Quarantine(Cause, Line),
    /// It is not there any more: somebody moved it by hand.
    Gone,
}

impl Task {
    pub(crate) fn new(job: Job) -> Self {
        let mut seen = HashSet::new();
        let remaining = job.transports.iter().copied().filter(|transport| seen.insert(*transport)).collect();
        Self {
            outbound: job.outbound,
            transports: job.transports,
            remaining,
            unnoted: Vec::new(),
            failures: Failures::default(),
            tally: Tally::default(),
            last_try: false,
            has_refusals: false,
            delay_told: false,
        }
    }

    /// The transport that has it next.
    pub(crate) fn next_transport(&self) -> Option<TransportId> {
        self.remaining.front().copied()
    }

    /// Has the first of its transports that is `fit` be the next one, if any is.
    pub(crate) fn prefer(&mut self, fit: impl Fn(TransportId) -> bool) {
        if let Some(place) = self.remaining.iter().position(|&id| fit(id)) {
            self.remaining.rotate_left(place);
        }
    }

    /// Nobody could be tried by this transport now: it has to do all of it later.
    pub(crate) fn put_off(&mut self, transport: TransportId) {
        self.remaining.push_back(transport);
    }

    /// Whether somebody was tried and did not get it.
    pub(crate) fn has_failed(&self) -> bool {
        self.tally.trouble.is_some()
    }

    /// The places of the recipients that the next transport, of this name, still
    /// has to serve. A recipient that stands in the envelope twice is served once.
    ///
    /// # Errors
    /// The job was made for another envelope.
    pub(crate) fn begin(
        &mut self,
        name: &Line,
        envelope: &Envelope,
        journal: &Journal,
    ) -> Result<Vec<usize>, Fate> {
        let recipients = &envelope.transaction.recipients;
        let (routed, there) = (self.transports.len(), recipients.len());
        if routed != there {
            let what = format!("{routed} recipients were routed, but the envelope has {there}");
            return Err(Fate::Quarantine(Cause::Damaged, Line::escaped(what)));
        }
        let transport = self.remaining.pop_front();
        let mut seen = HashSet::new();
        let mine = (0..there).filter(|&place| Some(self.transports[place]) == transport);
        let first = mine.filter(|&place| seen.insert(&recipients[place].address));
        self.has_refusals |= journal.has_refusals();
        self.delay_told |= journal.delay_told;
        let has_lines = journal.delivered() > 0 || journal.has_refusals();
        let done = |place: usize| has_lines && journal.is_settled(&key(envelope, place, name));
        Ok(first.filter(|&place| !done(place)).collect())
    }

    /// Takes in what became of one recipient, of whom the sender asks this.
    pub(crate) fn take(&mut self, key: Key, outcome: Outcome, asks: Asks, time: Timestamp) {
        match outcome.told_if(asks.success) {
            Outcome::Delivered(reply) => self.unnoted.push(Done::Delivered { time, key, reply }),
            Outcome::Relayed(reply) => self.unnoted.push(Done::Relayed { time, key, reply }),
            Outcome::Transient(reply) if self.last_try => {
                self.fails(&reply);
                self.has_refusals = true;
                self.unnoted.push(Done::Expired { time, key, reply });
            }
            Outcome::Transient(reply) => {
                self.tally.transient += 1;
                self.fails(&reply);
                if asks.delay {
                    self.failures.remember(&key.original, &reply, time);
                }
                self.failures.add(key, 0, reply, time);
            }
            Outcome::Permanent(reply) => {
                self.fails(&reply);
                self.has_refusals = true;
                self.unnoted.push(Done::Refused { time, key, reply });
            }
        }
    }

    /// Takes in that so many recipients, of whom this is the first, were not
    /// even tried.
    pub(crate) fn skip(&mut self, key: Key, count: usize, trouble: Line, time: Timestamp) {
        self.tally.transient += count;
        self.tally.trouble = Some(trouble.clone());
        self.failures.add(key, count.saturating_sub(1), trouble, time);
    }

    /// What failed first in this round.
    pub(crate) fn trouble(&self) -> Line {
        self.tally.trouble.clone().unwrap_or_default()
    }

    /// Something is wrong, if nothing was before.
    pub(crate) fn fails(&mut self, reply: &Line) {
        self.tally.trouble.get_or_insert_with(|| reply.clone());
    }

    /// Nobody is tried any more before the message moves on: who failed is to be
    /// noted.
    pub(crate) fn end_round(&mut self) {
        self.unnoted.extend(self.failures.lines());
    }

    /// Deliveries are being stopped: whoever failed may have failed because of that.
    /// Whether somebody did.
    pub(crate) fn forget_failures(&mut self) -> bool {
        let before = self.unnoted.len();
        self.unnoted.retain(|done| !matches!(done, Done::Failed { .. } | Done::Expired { .. }));
        let failed = self.unnoted.len() < before || !self.failures.is_empty();
        self.failures = Failures::default();
        failed
    }

    /// What is to become of it once a transport has done its work.
    pub(crate) fn fate(&self) -> Fate {
        match (self.next_transport(), self.tally.transient) {
            (Some(_), _) => Fate::Pass,
            (None, 0) => Fate::Done,
            (None, 1..) => Fate::Wait,
        }
    }

    /// The report on a message that the next hop has refused for good and of which
    /// nobody can be told, with the latest of what its journal says.
    pub(crate) fn undeliverable(&mut self, envelope: &Envelope, journal: Journal, now: Timestamp) -> Report {
        let last = || journal.attempts.back().map(|attempt| attempt.what.clone());
        let trouble = self.tally.trouble.take().or_else(last).unwrap_or_default();
        let mut report = Report::new(envelope.id, Cause::Undeliverable, trouble, now).about(envelope);
        report.attempts = journal.attempts.into();
        report
    }
}

/// What a recipient's delivery is known by in the journal.
pub(crate) fn key(envelope: &Envelope, place: usize, transport: &Line) -> Key {
    let address = &envelope.transaction.recipients[place].address;
    Key { original: address.clone(), transport: transport.clone(), final_address: address.clone() }
}
