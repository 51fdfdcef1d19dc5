//! The work of one thread on one message: transaction after transaction, and
//! then where the message goes.
//!
//! Journal first: "From the first transaction on for a message that needs more
//! than one, else from the first failure". No transaction must ever begin before
//! what the one before it did is durable.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lazaret_envelope::{Cause, Envelope, Line, Report, Timestamp};
use lazaret_spool::{Done, Message, Severity, SpoolError, Unreadable};
use tracing::{debug, error, warn};

use crate::delivery::Shared;
use crate::parcel::Parcel;
use crate::pool::Pool;
use crate::task::{Fate, Task, key};
use crate::trace;
use crate::transport::{Handled, Hands, Outcome};

/// How soon a message comes back that found no room in a queue.
const OVERFLOW_DUE: Duration = Duration::from_secs(30);

/// How often a journal without room on its disk is tried again.
const NOTE_TRIES: u32 = 30;

/// Pause between two tries.
const NOTE_PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Does what a transport has to do for a message, and moves it on.
    pub(crate) fn work(self: &Arc<Self>, pool: &Pool, hands: &mut Hands, mut task: Task) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        let message = match task.outbound.open() {
            Ok(message) => message,
            Err(unreadable) => return self.conclude(task, unreadable_fate(&unreadable), None),
        };
        match self.transactions(pool, hands, &mut task, &message) {
            Ok(Fate::Pass(next)) => self.pass(task, next),
            Ok(fate) => self.conclude(task, fate, Some(&message.envelope)),
            Err(error) => self.landed(Err(error)),
        }
    }

    /// All that one transport has to do for a message.
    fn transactions(
        &self,
        pool: &Pool,
        hands: &mut Hands,
        task: &mut Task,
        message: &Message,
    ) -> Result<Fate, SpoolError> {
        let journal = match task.outbound.journal() {
            Err(error) if error.severity() == Severity::NoRoom => return Ok(Fate::Wait),
            journal => journal?,
        };
        let places = match task.begin(&pool.name, &message.envelope, &journal) {
            Ok(places) => places,
            Err(fate) => return Ok(fate),
        };
        drop(journal);
        let trace = trace::received(&message.envelope, &self.hostname);
        let parcel = Parcel { message, trace: &trace, may_repeat: task.outbound.may_repeat() };
        let mut left = places.as_slice();
        while !left.is_empty() {
            if self.is_stopping() {
                return Ok(Fate::PutBack);
            }
            if !self.note(task)? {
                return Ok(Fate::Wait);
            }
            let (now, later) = left.split_at(left.len().min(pool.transport.recipients_max()));
            left = match pool.transport.transaction(hands, &parcel, now) {
                Ok(handled) => account(pool, task, &message.envelope, (now, later), handled),
                Err(damaged) => return Ok(Fate::Quarantine(Cause::Damaged, damaged.0)),
            };
        }
        Ok(task.fate())
    }

    /// Makes durable what was done so far; `false` if there is no room for it.
    fn note(&self, task: &mut Task) -> Result<bool, SpoolError> {
        if task.unnoted.is_empty() {
            return Ok(true);
        }
        for attempt in 1..=NOTE_TRIES {
            match task.outbound.note(&task.unnoted) {
                Err(error) if error.severity() == Severity::NoRoom => {
                    if let Some(unsaid) = self.no_room.say() {
                        error!(id = %task.outbound.name().id, %error, attempt, unsaid,
                            "no room to write down what was delivered; waiting for some");
                    }
                }
                noted => {
                    task.unnoted.clear();
                    return noted.map(|()| true);
                }
            }
            if self.is_stopping() {
                break;
            }
            thread::sleep(NOTE_PAUSE);
        }
        error!(id = %task.outbound.name().id, lines = task.unnoted.len(),
            "what was delivered could not be written down and may be delivered again");
        task.unnoted.clear();
        Ok(false)
    }

    /// Hands a message to its next transport. Never waits: a thread of this
    /// transport must not hang because of another.
    fn pass(self: &Arc<Self>, mut task: Task, next: crate::TransportId) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        match self.note(&mut task) {
            Ok(true) => {}
            Ok(false) => return self.conclude(task, Fate::Wait, None),
            Err(error) => return self.landed(Err(error)),
        }
        let Some(pool) = self.pool(next) else { return self.overflow(task) };
        match pool.try_queue(task) {
            Ok(()) => self.queued(next),
            Err(task) => self.overflow(*task),
        }
    }

    /// A message for which there is no room waits on disk.
    pub(crate) fn overflow(&self, task: Task) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        warn!(id = %task.outbound.name().id, "no room in the transport's queue");
        let waits = task.outbound.wait_until(Timestamp::now() + OVERFLOW_DUE);
        self.landed(waits.map(drop));
    }

    /// Moves a message to where it belongs now.
    pub(crate) fn conclude(&self, mut task: Task, fate: Fate, envelope: Option<&Envelope>) {
        if self.is_broken() {
            return self.landed(Ok(()));
        }
        let result = self.prepare(&mut task, &fate).and_then(|()| self.land(task, fate, envelope));
        self.landed(result);
    }

    /// What must be durable before a message is moved.
    fn prepare(&self, task: &mut Task, fate: &Fate) -> Result<(), SpoolError> {
        if self.is_stopping() && *fate != Fate::Undeliverable {
            // Who failed now may have failed because of the stop.
            task.unnoted.retain(|done| matches!(done, Done::Delivered { .. }));
        }
        match fate {
            Fate::Done | Fate::Gone => Ok(()),
            _ => self.note(task).map(drop),
        }
    }

    fn land(&self, mut task: Task, fate: Fate, envelope: Option<&Envelope>) -> Result<(), SpoolError> {
        let name = task.outbound.name();
        let now = Timestamp::now();
        match (fate, envelope) {
            (Fate::Done, Some(envelope)) => task.outbound.done(envelope),
            (Fate::Undeliverable, Some(envelope)) => {
                let report = task.undeliverable(envelope, task.outbound.journal()?, now);
                task.outbound.defer(&report)
            }
            (Fate::Quarantine(cause, detail), _) => {
                let report = Report::new(name.id, cause, detail, now);
                let report = envelope.into_iter().fold(report, Report::about);
                task.outbound.defer(&report)
            }
            (Fate::Wait, _) if !self.is_stopping() => {
                let due = now + self.retry.pause(name.id, name.attempts);
                task.outbound.wait_until(due).map(drop)
            }
            (Fate::Gone, _) => Ok(()),
            _ => task.outbound.put_back(),
        }
    }
}

/// Takes in what became of a transaction with the first of two lots of
/// recipients; returns those who are left to be tried.
fn account<'a>(
    pool: &Pool,
    task: &mut Task,
    envelope: &Envelope,
    (now, later): (&'a [usize], &'a [usize]),
    handled: Handled,
) -> &'a [usize] {
    let time = Timestamp::now();
    let tried = handled.outcomes.len();
    for (&place, outcome) in now.iter().zip(handled.outcomes) {
        pool.count(&outcome, time);
        let key = key(envelope, place, &pool.name);
        if let Outcome::Delivered(reply) = &outcome {
            debug!(id = %envelope.id, to = %key.original, transport = %pool.name, %reply, "recipient delivered");
        }
        task.take(key, outcome, time);
    }
    let Some(trouble) = handled.trouble else {
        pool.moves();
        return later;
    };
    let count = now.len() - tried + later.len();
    if let Some(&first) = now[tried..].iter().chain(later).next() {
        task.skip(key(envelope, first, &pool.name), count, &trouble, time);
    }
    pool.count_failed(count, trouble, time);
    &[]
}

/// What becomes of a message that can't be opened.
fn unreadable_fate(unreadable: &Unreadable) -> Fate {
    match unreadable {
        Unreadable::Io(error) => match error.severity() {
            Severity::Gone => Fate::Gone,
            Severity::NoRoom | Severity::Forbidden => Fate::Wait,
            Severity::Broken => Fate::Quarantine(Cause::Damaged, Line::escaped(error.to_string())),
        },
        other => {
            let cause = other.cause().unwrap_or(Cause::Damaged);
            Fate::Quarantine(cause, Line::escaped(other.to_string()))
        }
    }
}
