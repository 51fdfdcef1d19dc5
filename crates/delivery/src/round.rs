//! A round of delivery: from one transport of a message to the next, and then where
//! the message goes.
//!
//! A message must never move on before what was done about it is durable.

use std::sync::Arc;
use std::time::Duration;

use lazaret_envelope::{Cause, Envelope, Line, Report, Span, Timestamp};
use lazaret_spool::{Name, Severity, SpoolError, Unreadable, Waiting};

use crate::backoff;
use crate::parked::Place;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::task::{Fate, Task};
use crate::tell::age_of;
use crate::transport::Hands;

/// How soon a message that could not be tried comes back, at least, if it is not
/// called before.
const STAND_BY_MIN: Duration = Duration::from_secs(60);

/// Renames from one time that a message stands by to the next.
const STAND_BY_RENAMES: u32 = 4;

impl Shared {
    /// Does what a transport has to do for a message, and moves it on.
    pub(crate) fn work(self: &Arc<Self>, pool: &Pool, hands: &mut Hands, task: Task) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        if pool.transport.refuses() {
            return self.pass(task);
        }
        let message = match task.outbound.open() {
            Ok(message) => message,
            Err(unreadable) => return self.not_opened(task, &unreadable),
        };
        let message = Arc::new(message);
        match self.transactions(pool, hands, task, &message) {
            Ok((task, Fate::Pass)) => self.pass(task),
            Ok((task, fate)) => self.settle(task, fate, &message, Some(pool)),
            Err(error) => self.landed(Err(error)),
        }
    }

    /// Hands a message to its next transport. Never waits: a thread of this
    /// transport must not hang because of another.
    fn pass(self: &Arc<Self>, mut task: Task) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        match self.note(&mut task) {
            Ok(true) => {}
            Ok(false) => return self.conclude(task, Fate::Wait, None),
            Err(error) => return self.landed(Err(error)),
        }
        let Some((id, pool)) = self.choose(&mut task) else { return self.overflow(task, None) };
        if pool.transport.refuses() {
            return self.overflow(task, Some(pool));
        }
        match pool.try_queue(task) {
            Ok(()) => self.queued(id),
            Err(task) => self.overflow(*task, Some(pool)),
        }
    }

    /// A message that a transport has no room for, or that its next hops may not
    /// be asked about now, waits on disk. That is no attempt, unless there was
    /// one by another transport.
    pub(crate) fn overflow(&self, task: Task, pool: Option<&Pool>) {
        if self.is_stopping() {
            return self.conclude(task, Fate::PutBack, None);
        }
        let name = task.outbound.name();
        let refusing = pool.is_some_and(|pool| pool.transport.refuses());
        if task.has_failed() || (refusing && self.retry.may_matter(age_of(name.id))) {
            return self.end_round(task, pool);
        }
        let troubled = pool.map_or(Duration::ZERO, |pool| pool.transport.troubled_for());
        // It comes back by itself as well, later and later: only a crash, or a list
        // that is full, makes that the way on which it does.
        let full = pool.is_none_or(|pool| pool.parked.is_full());
        let first = if full { self.retry.max } else { troubled.max(STAND_BY_MIN).min(self.retry.max) };
        let round = name.generation / STAND_BY_RENAMES;
        let pause = backoff::pause(first, self.retry.max, backoff::unique(name.id), round);
        let waits = task.outbound.stand_by(Timestamp::now() + pause);
        self.listed(pool, waits);
    }

    /// The end of a round in which a transport could not even be asked, where that
    /// has to be told to somebody or counts as an attempt: not to be asked for days
    /// is as good as failing.
    fn end_round(&self, mut task: Task, pool: Option<&Pool>) {
        let message = match task.outbound.open() {
            Ok(message) => message,
            Err(unreadable) => return self.not_opened(task, &unreadable),
        };
        let refusing = pool.is_some_and(|pool| pool.transport.refuses());
        let fate = if refusing && self.is_last_try(&task, &message.envelope) {
            self.give_up_untried(&mut task, &message.envelope)
        } else {
            Ok(Fate::Wait)
        };
        match fate {
            Ok(fate) => self.settle(task, fate, &message, pool),
            Err(error) => self.landed(Err(error)),
        }
    }

    /// Whoever a message's remaining transports would have to serve has failed.
    fn give_up_untried(&self, task: &mut Task, envelope: &Envelope) -> Result<Fate, SpoolError> {
        let journal = task.outbound.journal()?;
        task.last_try = true;
        while let Some(pool) = task.next_transport().and_then(|id| self.pool(id)) {
            let places = match task.begin(&pool.name, envelope, &journal) {
                Ok(places) => places,
                Err(fate) => return Ok(fate),
            };
            let trouble = format!("not asked now: in trouble for {}", Span(pool.transport.troubled_for()));
            if !self.give_up(pool, task, envelope, &places, &Line::escaped(trouble))? {
                return Ok(Fate::Wait);
            }
        }
        Ok(task.fate())
    }

    /// Whether who can't get a message now never will.
    pub(crate) fn is_last_try(&self, task: &Task, envelope: &Envelope) -> bool {
        let name = task.outbound.name();
        let bounces = envelope.transaction.sender.path.0.is_none();
        self.retry.is_over(age_of(name.id), name.attempts, bounces)
    }

    /// A message that failed waits for its time; where that was the next hop's
    /// trouble, until it is well again.
    pub(crate) fn wait(&self, mut task: Task, envelope: &Envelope, pool: Option<&Pool>) {
        let troubled = pool.filter(|pool| !pool.transport.troubled_for().is_zero());
        let Some(pool) = troubled.filter(|_| !self.is_stopping() && !self.is_broken()) else {
            return self.conclude(task, Fate::Wait, Some(envelope));
        };
        task.end_round();
        if let Err(error) = self.note(&mut task) {
            return self.landed(Err(error));
        }
        let (due, why) = (self.due(task.outbound.name()), task.trouble());
        match task.outbound.wait_until(due, &why) {
            Ok(waiting) if !pool.transport.refuses() => {
                pool.parked.suspect(place(&waiting), waiting);
                self.landed(Ok(()));
            }
            waits => self.listed(Some(pool), waits.map(Some)),
        }
    }

    fn listed(&self, pool: Option<&Pool>, waits: Result<Option<Waiting>, SpoolError>) {
        let waiting = match waits {
            Ok(waiting) => waiting,
            Err(error) => return self.landed(Err(error)),
        };
        if let (Some(pool), Some(waiting)) = (pool, waiting) {
            pool.parked.add(place(&waiting), waiting);
        }
        self.landed(Ok(()));
    }

    /// When a message that has just failed is tried again.
    fn due(&self, name: Name) -> Timestamp {
        Timestamp::now() + self.retry.pause(name.id, name.attempts)
    }

    /// A message can't be opened.
    fn not_opened(&self, mut task: Task, unreadable: &Unreadable) {
        task.fails(&Line::escaped(unreadable.to_string()));
        self.conclude(task, unreadable_fate(unreadable), None);
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
        if self.is_stopping() {
            task.forget_failures();
        }
        match fate {
            Fate::Done | Fate::Gone => Ok(()),
            _ => {
                task.end_round();
                self.note(task).map(drop)
            }
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
                let why = task.trouble();
                task.outbound.wait_until(self.due(name), &why).map(drop)
            }
            (Fate::Gone, _) => Ok(()),
            _ => task.outbound.put_back(),
        }
    }
}

/// Where a message stands among those that wait for a transport.
pub(crate) fn place(waiting: &Waiting) -> Place {
    (waiting.name.attempts, waiting.name.id)
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
