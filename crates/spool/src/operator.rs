//! The quarantine as an operator handles it: list, release, delete.
//!
//! Only an operator takes a message out of `deferred/`. A release clears every
//! count: it is the operator's word that the message may be tried again. What
//! is not a whole message must never be released.

use std::io;

use lazaret_envelope::{Cause, MessageId, Report};
use tracing::info;

use crate::error::{Context, SpoolError};
use crate::history::History;
use crate::layout::{Dir, report_name};
use crate::message::{Message, Unreadable};
use crate::name::Name;
use crate::owner::Owner;
use crate::spool::Spool;
use crate::storage::Kind;

/// Longest report that is read, in bytes.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// A message in quarantine.
#[derive(Debug, Clone)]
pub struct Deferred {
    /// Its name in `deferred/`.
    pub name: Name,
    /// The report beside it, if there is one that can be read.
    pub report: Option<Report>,
    /// What its file is.
    pub kind: Kind,
    /// Size of the file in bytes, envelope included.
    pub file_size: u64,
}

impl Deferred {
    /// Why it is here: as the name says, which a repair may have given it after
    /// the report was written, or the report, or nobody.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let reported = self.report.as_ref().map(|report| report.cause);
        self.name.cause.or(reported).unwrap_or(Cause::ByHand)
    }
}

/// Why an operator's command could not be carried out on a message.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such message.
    #[error("no message {0} in deferred/; `lazaret deferred list` shows what is there")]
    Missing(MessageId),
    /// Several files bear the id.
    #[error(
        "several files in deferred/ bear the id {0}: `lazaret deferred show {0}` names them; keep one, remove the others by hand"
    )]
    Ambiguous(MessageId),
    /// It is not a whole message.
    #[error("message {id} can't be released: {why}; `lazaret deferred show {id}` says how to mend it")]
    NotWhole {
        /// Which one.
        id: MessageId,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// It is no regular file.
    #[error("{id} is {}: remove it from deferred/ by hand; `lazaret deferred show {id}` says how", .kind.words())]
    NoFile {
        /// Which one.
        id: MessageId,
        /// What it is.
        kind: Kind,
    },
    /// The disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Spool {
    /// Every message in quarantine, oldest first.
    ///
    /// # Errors
    /// `deferred/` can't be read.
    pub fn deferred(&self) -> Result<Vec<Deferred>, SpoolError> {
        let mut names = Vec::new();
        self.scan(Dir::Deferred, |name, _| names.extend(name))?;
        names.sort_unstable();
        names.into_iter().map(|name| self.deferred_entry(name)).collect()
    }

    fn deferred_entry(&self, name: Name) -> Result<Deferred, SpoolError> {
        let text = name.to_string();
        let status = self.storage.status(Dir::Deferred, text.as_ref());
        let status = status.context(|| format!("look at deferred/{text}"))?;
        let (kind, file_size) = (status.kind, status.size);
        Ok(Deferred { name, report: self.report(name.id)?, kind, file_size })
    }

    /// One message in quarantine.
    ///
    /// # Errors
    /// There is none, or more than one, or `deferred/` can't be read.
    pub fn find_deferred(&self, id: MessageId) -> Result<Deferred, OperatorError> {
        let mut files = self.find_deferred_files(id)?;
        match (files.pop(), files.is_empty()) {
            (Some(deferred), true) => Ok(deferred),
            _ => Err(OperatorError::Ambiguous(id)),
        }
    }

    /// Every file in quarantine with this id, at least one: several of them are
    /// different files (cause `duplicate`) and share a report.
    ///
    /// # Errors
    /// There is none, or `deferred/` can't be read.
    pub fn find_deferred_files(&self, id: MessageId) -> Result<Vec<Deferred>, OperatorError> {
        let mut names = Vec::new();
        self.scan(Dir::Deferred, |name, _| names.extend(name.filter(|name| name.id == id)))?;
        if names.is_empty() {
            return Err(OperatorError::Missing(id));
        }
        names.sort_unstable();
        Ok(names.into_iter().map(|name| self.deferred_entry(name)).collect::<Result<_, SpoolError>>()?)
    }

    /// The report about a message; `None` if there is none that can be read.
    ///
    /// # Errors
    /// The disk failed.
    pub fn report(&self, id: MessageId) -> Result<Option<Report>, SpoolError> {
        let name = report_name(id);
        if self.is_no_file(Dir::Deferred, name.as_ref())? {
            return Ok(None);
        }
        let file = match self.storage.open(Dir::Deferred, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("open deferred/{name}"))?,
        };
        let size = file.status().context(|| format!("look at deferred/{name}"))?.size.min(REPORT_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let count = file.read_at(&mut bytes, 0).context(|| format!("read deferred/{name}"))?;
        Ok(Report::parse(&bytes[..count]).ok())
    }
}

impl Owner {
    /// Takes a message out of quarantine and back to `incoming/`, all counts
    /// cleared.
    ///
    /// # Errors
    /// There is no such message, it is not whole, or the disk failed.
    pub fn release(&self, id: MessageId) -> Result<(), OperatorError> {
        let deferred = self.spool.find_deferred(id)?;
        let verified = self.spool.read(Dir::Deferred, deferred.name).and_then(|message| message.verify());
        match verified {
            Err(Unreadable::Io(error)) => return Err(error.into()),
            Err(Unreadable::Foreign(kind)) => return Err(OperatorError::NoFile { id, kind }),
            Err(why) => return Err(OperatorError::NotWhole { id, why }),
            Ok(()) => {}
        }
        let releasing = self.releasing();
        self.move_durably((Dir::Deferred, deferred.name), (Dir::Incoming, deferred.name.cleared()))?;
        self.forget_report(id)?;
        drop(releasing);
        info!(%id, cause = %deferred.cause(), "released");
        Ok(())
    }

    /// Takes a message in quarantine in hand.
    ///
    /// # Errors
    /// There is no such message, it is no file, or the disk failed.
    pub fn quarantined(&self, id: MessageId) -> Result<Quarantined, OperatorError> {
        let deferred = self.spool.find_deferred(id)?;
        let text = deferred.name.to_string();
        let status = self.spool.storage.status(Dir::Deferred, text.as_ref());
        let kind = status.context(|| format!("look at deferred/{text}"))?.kind;
        if kind == Kind::Directory {
            return Err(OperatorError::NoFile { id, kind });
        }
        Ok(Quarantined { owner: self.clone(), deferred })
    }

    /// Deletes a message in quarantine for good, with its report and journal.
    ///
    /// # Errors
    /// There is no such message, it is no file, or the disk failed.
    pub fn delete(&self, id: MessageId) -> Result<(), OperatorError> {
        Ok(self.quarantined(id)?.delete()?)
    }
}

/// A message in quarantine that an operator decides about.
#[derive(Debug)]
pub struct Quarantined {
    owner: Owner,
    deferred: Deferred,
}

impl Quarantined {
    /// What is known of it.
    #[must_use]
    pub fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    /// Opens the message, which need not be whole.
    ///
    /// # Errors
    /// It can't be read, or is no message.
    pub fn open(&self) -> Result<Message, Unreadable> {
        self.owner.spool.read(Dir::Deferred, self.deferred.name)
    }

    /// Its journal, and what its sender was told.
    #[must_use]
    pub fn history(&self) -> History<'_> {
        History::new(&self.owner, self.deferred.name.id)
    }

    /// Deletes it for good, with its report and journal.
    ///
    /// # Errors
    /// The disk failed.
    pub fn delete(self) -> Result<(), SpoolError> {
        let Self { owner, deferred } = self;
        let id = deferred.name.id;
        owner.remove_if_there(Dir::Deferred, &deferred.name.to_string())?;
        // Somebody may have moved it here by hand, and nothing synced that.
        owner.note_unsynced([Dir::Deferred, Dir::Incoming, Dir::Waiting], Some(id));
        owner.flush()?;
        owner.remove_if_there(Dir::Deferred, &report_name(id))?;
        info!(%id, cause = %deferred.cause(), "deleted");
        Ok(())
    }
}
