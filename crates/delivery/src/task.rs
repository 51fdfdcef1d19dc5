//! A message on its way through the transports that its recipients need, and
//! what became of it so far.
//!
//! The replies of one transaction are held; those before stand in the journal.
//! A task must never forget that somebody failed.

use std::collections::{HashSet, VecDeque};

use lazaret_envelope::{Cause, Envelope, Line, Report, Timestamp};
use lazaret_spool::{Done, Journal, Key, Outbound};

use crate::transport::Outcome;
use crate::{Job, TransportId};

/// Most tries that a report lists; `lazaret-envelope` writes no more.
const ATTEMPTS_MAX: usize = 100;

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
    /// The first failure.
    first: Option<Line>,
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
        self.tally.first.is_some()
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
        let has_lines = !journal.delivered.is_empty() || journal.has_refusals();
        let done = |place: usize| has_lines && journal.is_settled(&key(envelope, place, name));
        Ok(first.filter(|&place| !done(place)).collect())
    }

    /// Takes in what became of one recipient.
    pub(crate) fn take(&mut self, key: Key, outcome: Outcome, time: Timestamp) {
        match outcome {
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
                self.unnoted.push(Done::Failed { time, key, reply });
            }
            Outcome::Permanent(reply) => {
                self.fails(&reply);
                self.has_refusals = true;
                self.unnoted.push(Done::Refused { time, key, reply });
            }
        }
    }

    /// Takes in that so many recipients, of whom this is the first, were not
    /// even tried. One line stands for all of them.
    pub(crate) fn skip(&mut self, key: Key, count: usize, trouble: &Line, time: Timestamp) {
        self.tally.transient += count;
        let others = if count > 1 { format!(" (and {} more recipients)", count - 1) } else { String::new() };
        let reply = Line::escaped(format!("{trouble}{others}"));
        self.fails(trouble);
        self.unnoted.push(Done::Failed { time, key, reply });
    }

    /// The first failure of this round.
    pub(crate) fn trouble(&self) -> Line {
        self.tally.first.clone().unwrap_or_default()
    }

    fn fails(&mut self, reply: &Line) {
        self.tally.first.get_or_insert_with(|| reply.clone());
    }

    /// Deliveries are being stopped: whoever failed just now may have failed because
    /// of that. Whether somebody did.
    pub(crate) fn forget_failures(&mut self) -> bool {
        let before = self.unnoted.len();
        self.unnoted.retain(|done| !matches!(done, Done::Failed { .. } | Done::Expired { .. }));
        self.unnoted.len() < before
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
        let last = || journal.attempts.last().map(|attempt| attempt.what.clone());
        let first = self.tally.first.take().or_else(last).unwrap_or_default();
        let mut report = Report::new(envelope.id, Cause::Undeliverable, first, now).about(envelope);
        report.attempts = journal.attempts;
        report.attempts.drain(..report.attempts.len().saturating_sub(ATTEMPTS_MAX));
        report
    }
}

/// What a recipient's delivery is known by in the journal.
pub(crate) fn key(envelope: &Envelope, place: usize, transport: &Line) -> Key {
    let address = &envelope.transaction.recipients[place].address;
    Key { original: address.clone(), transport: transport.clone(), final_address: address.clone() }
}
