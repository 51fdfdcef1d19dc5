//! One message in the owner's hands, one type per state.
//!
//! Each transition takes `self` and is one rename; when it returns an error the
//! message lies where it lay, and the next start recovers it. A value that is
//! dropped without a transition must never lose its message: the file stays.

use std::borrow::Borrow;

use lazaret_envelope::{Envelope, Line, Report, Timestamp};
use tracing::{debug, info};

use crate::error::SpoolError;
use crate::history::History;
use crate::journal::{Done, Journal};
use crate::layout::{Dir, WorkerId};
use crate::message::{Message, Unreadable};
use crate::name::{Name, whole_seconds};
use crate::owner::Owner;
#[cfg(test)]
use crate::sabotage::{self, Sabotage};

/// A message in `claimed/<worker>/`: under suspicion until there is a verdict.
#[derive(Debug)]
#[must_use = "a claim that is dropped stays in claimed/ until the next start"]
pub struct Claim {
    owner: Owner,
    worker: WorkerId,
    name: Name,
}

impl Owner {
    /// Claims messages for a worker, durably: should the machine go down on
    /// what is in them, the next start finds them claimed. A name that is gone
    /// was moved by somebody else and is left out.
    ///
    /// # Errors
    /// A rename or a sync failed. What was claimed by then lies in the worker's
    /// directory, to be recovered.
    pub fn claim(&self, worker: WorkerId, names: &[Name]) -> Result<Vec<Claim>, SpoolError> {
        let dir = Dir::Claimed(worker);
        let mut claims = Vec::with_capacity(names.len());
        names.iter().try_for_each(|&name| self.forget_old_report(name))?;
        let _unreleased = self.unreleased();
        for &name in names {
            if self.try_rename((Dir::Incoming, name), (dir, name.next()))? {
                claims.push(Claim { owner: self.clone(), worker, name: name.next() });
            }
        }
        #[cfg(test)]
        if sabotage::is(Sabotage::ClaimNotDurable) {
            return Ok(claims);
        }
        if !claims.is_empty() {
            self.sync_dir(dir)?;
            self.sync_dir(Dir::Incoming)?;
        }
        Ok(claims)
    }
}

impl Claim {
    /// Its name, with the counts.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }

    fn place(&self) -> (Dir, Name) {
        (Dir::Claimed(self.worker), self.name)
    }

    /// Opens the message.
    ///
    /// # Errors
    /// It can't be read, or is no message.
    pub fn open(&self) -> Result<Message, Unreadable> {
        self.owner.spool.read(Dir::Claimed(self.worker), self.name)
    }

    /// What happened to the message before.
    ///
    /// # Errors
    /// The journal is there and can't be read.
    pub fn journal(&self) -> Result<Journal, SpoolError> {
        self.owner.journal(self.name.id)
    }

    /// A verdict was reached: on to its delivery, and the strikes are forgotten.
    /// Need not be durable: lost, the message is routed again. But for one with a
    /// strike it is, which would else be deferred for having been cut short twice,
    /// and for one whose delivery was cut short before: lost, the next time would
    /// not count as one, and cuts could go on for twice as long.
    ///
    /// # Errors
    /// The rename failed.
    pub fn routed(self) -> Result<Option<Outbound>, SpoolError> {
        let cut_short = self.name.strikes > 0 || self.name.interruptions > 0;
        let name = Name { strikes: 0, ..self.name.next() };
        let (from, to) = (self.place(), (Dir::Outbound, name));
        let moved =
            if cut_short { self.owner.move_durably(from, to)? } else { self.owner.move_lazily(from, to)? };
        if !moved {
            return Ok(None);
        }
        debug!(id = %name.id, "routed");
        let may_repeat = cut_short || name.may_repeat();
        Ok(Some(Outbound { owner: self.owner, name, may_repeat }))
    }

    /// To quarantine, with a report.
    ///
    /// # Errors
    /// The report or the move failed.
    pub fn defer(self, report: &Report) -> Result<(), SpoolError> {
        self.owner.defer(self.place(), report).map(drop)
    }

    /// Back to `incoming/` as if nothing had been: a clean stop costs nothing. Its
    /// name there; `None` if somebody else moved it.
    ///
    /// # Errors
    /// The rename failed.
    pub fn put_back(self) -> Result<Option<Name>, SpoolError> {
        self.owner.put_back(self.place())
    }
}

/// A message in `outbound/`: a delivery is at work on it.
#[derive(Debug)]
#[must_use = "a message that is dropped stays in outbound/ until the next start"]
pub struct Outbound {
    owner: Owner,
    name: Name,
    may_repeat: bool,
}

impl Outbound {
    /// Its name, with the counts.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }

    /// Whether an earlier delivery may have been cut short, so that what it did
    /// must be looked for before it is done again.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Opens the message.
    ///
    /// # Errors
    /// It can't be read, or is no message.
    pub fn open(&self) -> Result<Message, Unreadable> {
        let message = self.owner.spool.read(Dir::Outbound, self.name);
        #[cfg(test)]
        if sabotage::is(Sabotage::UnlinkBeforeDelivery) {
            let _ = self.remove();
        }
        message
    }

    /// What deliveries have done so far.
    ///
    /// # Errors
    /// The journal is there and can't be read.
    pub fn journal(&self) -> Result<Journal, SpoolError> {
        self.owner.journal(self.name.id)
    }

    /// Writes down, durably, what a delivery has done.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn note(&self, done: impl IntoIterator<Item: Borrow<Done>>) -> Result<(), SpoolError> {
        self.owner.append_journal(self.name.id, done)
    }

    /// Its journal, and what its sender was told.
    #[must_use]
    pub fn history(&self) -> History<'_> {
        History::new(&self.owner, self.name.id)
    }

    /// Every recipient has it: the message goes. Becomes durable with the next
    /// [`Owner::flush`].
    ///
    /// # Errors
    /// It can't be removed.
    pub fn done(self, envelope: &Envelope) -> Result<(), SpoolError> {
        self.remove()?;
        info!(id = %self.name.id, recipients = envelope.transaction.recipients.len(), "delivered");
        Ok(())
    }

    fn remove(&self) -> Result<(), SpoolError> {
        let text = self.name.to_string();
        self.owner.remove_if_there(Dir::Outbound, &text)?;
        // It may have been moved by hand, and nothing synced that.
        self.owner.note_unsynced([Dir::Outbound, Dir::Waiting, Dir::Deferred], Some(self.name.id));
        Ok(())
    }

    /// It can't be delivered now, and the log says why: it comes back when due.
    ///
    /// # Errors
    /// The move failed.
    pub fn wait_until(self, due: Timestamp, why: &Line) -> Result<Waiting, SpoolError> {
        let name = self.name.next();
        let name = Name { attempts: name.attempts.saturating_add(1), due: Some(whole_seconds(due)), ..name };
        self.owner.move_durably((Dir::Outbound, self.name), (Dir::Waiting, name))?;
        info!(id = %name.id, attempts = name.attempts, %due, %why, "waiting");
        Ok(Waiting { owner: self.owner, name })
    }

    /// Nobody could even try: it comes back when due, or is woken before. No
    /// attempt is counted, and nothing must be durable: lost, it is found in
    /// `outbound/`. `None` if it is gone.
    ///
    /// # Errors
    /// The rename failed.
    pub fn stand_by(self, due: Timestamp) -> Result<Option<Waiting>, SpoolError> {
        let name = Name { due: Some(whole_seconds(due)), ..self.name.next() };
        let moved = self.owner.move_unmarked((Dir::Outbound, self.name), (Dir::Waiting, name))?;
        if moved.is_some() {
            debug!(id = %name.id, %due, "standing by");
        }
        Ok(moved.map(|name| Waiting { owner: self.owner, name }))
    }

    /// To quarantine, with a report.
    ///
    /// # Errors
    /// The report or the move failed.
    pub fn defer(self, report: &Report) -> Result<(), SpoolError> {
        self.owner.defer((Dir::Outbound, self.name), report).map(drop)
    }

    /// Back to `incoming/` as if nothing had been: a clean stop costs nothing.
    ///
    /// # Errors
    /// The rename failed.
    pub fn put_back(self) -> Result<(), SpoolError> {
        self.owner.put_back((Dir::Outbound, self.name)).map(drop)
    }
}

/// A message in `waiting/`.
#[derive(Debug)]
pub struct Waiting {
    owner: Owner,
    /// Its name, with the time at which it is due.
    pub name: Name,
}

impl Waiting {
    /// Brings it back to `incoming/`, due or not; whether it was still there.
    ///
    /// # Errors
    /// The rename failed.
    pub fn wake(&self) -> Result<bool, SpoolError> {
        self.owner.wake(self.name)
    }
}
