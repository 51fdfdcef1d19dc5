//! What was done about a message, and what its sender was told of it: the way to
//! its journal, wherever the message lies.
//!
//! The one who holds the message holds this. It must never say that a sender was
//! told before the notice is safe.

use std::borrow::Borrow;
use std::io;

use lazaret_envelope::{Line, MessageId, Origin, Protocol, Transaction};

use crate::accept::{Accepted, Draft};
use crate::error::{Context, SpoolError};
use crate::journal::{Done, Journal};
use crate::layout::{Dir, journal_name};
use crate::owner::Owner;
#[cfg(test)]
use crate::sabotage::{self, Sabotage};
use crate::storage::StoredFile;

/// What a sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// What became of recipients, whichever the journal names so far.
    Outcomes,
    /// That it takes longer.
    Delay,
}

/// The journal of a message in hand.
#[derive(Debug)]
pub struct History<'a> {
    owner: &'a Owner,
    id: MessageId,
}

impl<'a> History<'a> {
    pub(crate) fn new(owner: &'a Owner, id: MessageId) -> Self {
        Self { owner, id }
    }

    /// What it says.
    ///
    /// # Errors
    /// The journal is there and can't be read.
    pub fn journal(&self) -> Result<Journal, SpoolError> {
        self.owner.journal(self.id)
    }

    /// Reads it line by line.
    ///
    /// # Errors
    /// The journal is there and can't be read.
    pub fn visit(&self, mut visit: impl FnMut(Done)) -> Result<(), SpoolError> {
        match self.owner.open_journal(self.id)? {
            Some(file) => Journal::visit(&*file, &mut visit)
                .context(|| format!("read journal/{}", journal_name(self.id))),
            None => Ok(()),
        }
    }

    /// Writes down, durably, what was done.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn note(&self, done: impl IntoIterator<Item: Borrow<Done>>) -> Result<(), SpoolError> {
        self.owner.append_journal(self.id, done)
    }

    /// Starts a message to the sender.
    ///
    /// # Errors
    /// No file can be made in `tmp/`.
    pub fn begin_notice(&self, transaction: Transaction) -> Result<Draft, SpoolError> {
        let upstream_id = Some(Line::escaped(self.id.to_string()));
        self.owner.spool.begin(Origin { upstream_id, ..Origin::from(Protocol::Notice) }, transaction)
    }

    /// Tells the sender: the notice is safe in `incoming/` before the journal says
    /// so. Cut short between the two, it is made again; it is never lost.
    ///
    /// # Errors
    /// The notice is not safe, or the journal does not say that it is.
    pub fn tell(&self, notice: Draft, of: Told) -> Result<Accepted, SpoolError> {
        let (time, id) = (self.owner.spool.now(), notice.id());
        let line = match of {
            Told::Outcomes => Done::Reported { time, notice: id },
            Told::Delay => Done::Delayed { time, notice: id },
        };
        #[cfg(test)]
        if sabotage::is(Sabotage::ToldBeforeNotice) {
            self.note([&line])?;
            return notice.commit();
        }
        let accepted = notice.commit()?;
        self.note([line])?;
        Ok(accepted)
    }
}

impl Owner {
    fn open_journal(&self, id: MessageId) -> Result<Option<Box<dyn StoredFile>>, SpoolError> {
        let name = journal_name(id);
        match self.spool.storage.open(Dir::Journal, &name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("open journal/{name}")),
        }
    }

    pub(crate) fn journal(&self, id: MessageId) -> Result<Journal, SpoolError> {
        match self.open_journal(id)? {
            Some(file) => Journal::read(&*file).context(|| format!("read journal/{}", journal_name(id))),
            None => Ok(Journal::default()),
        }
    }

    pub(crate) fn append_journal(
        &self,
        id: MessageId,
        done: impl IntoIterator<Item: Borrow<Done>>,
    ) -> Result<(), SpoolError> {
        let name = crate::layout::journal_name(id);
        let operation = || format!("write journal/{name}");
        let opened = self.spool.storage.open_append(Dir::Journal, &name).context(operation);
        let (mut file, created) = opened.map_err(|error| self.spool.or_displaced(&[Dir::Journal], error))?;
        let written = Journal::append(&mut *file, done);
        if created && written.is_err() {
            // Whoever finds it there takes its name for durable, and it may not be.
            self.remove_if_there(Dir::Journal, &name)?;
        }
        written.context(operation)?;
        if created { self.sync_dir(Dir::Journal) } else { Ok(()) }
    }
}
