//! Accepting a message: written to `tmp/`, made durable, renamed to `incoming/`,
//! made durable there, and only then acknowledged.
//!
//! Memory per message is one buffer, whatever its size. A [`Draft`] that is not
//! committed leaves nothing behind; one that is must never be acknowledged
//! before [`Draft::commit`] has returned.

use std::thread;
use std::time::Duration;

use lazaret_envelope::{Content, Digest, Envelope, MessageId, Origin, TRAILER_BYTES, Transaction, trailer};
use tracing::info;

use crate::error::{Context, SpoolError};
use crate::layout::Dir;
use crate::name::Name;
#[cfg(test)]
use crate::sabotage::{self, Sabotage};
use crate::spool::Spool;
use crate::storage::StoredFile;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// How often a new file may be cleaned away before it was locked.
const LOCK_TRIES: usize = 16;

/// How often a new file's lock is waited for while somebody looks at it.
const LOCK_WAITS: u32 = 2000;

/// Pause between two looks at it.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A message that is being written to `tmp/`.
pub struct Draft {
    envelope: Envelope,
    file: Locked,
    buffer: Vec<u8>,
    /// Where the size and the digest will stand.
    trailer_offset: usize,
    hasher: blake3::Hasher,
    flushed: bool,
}

/// A message that is safe in `incoming/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: MessageId,
    /// Its size in bytes.
    pub size: u64,
}

impl Spool {
    /// Starts to accept a message.
    ///
    /// # Errors
    /// No file can be made in `tmp/`.
    pub fn begin(&self, origin: Origin, transaction: Transaction) -> Result<Draft, SpoolError> {
        let id = self.new_id();
        self.begin_as(id, origin, transaction)
    }

    pub(crate) fn begin_as(
        &self,
        id: MessageId,
        origin: Origin,
        transaction: Transaction,
    ) -> Result<Draft, SpoolError> {
        let content = Content { size: 0, digest: Digest([0; 32]) };
        let envelope = Envelope { id, arrived: self.now(), origin, transaction, content };
        let buffer = envelope.to_string().into_bytes();
        Ok(Draft {
            file: Locked::create(self, Name::first(id))?,
            trailer_offset: buffer.len() - TRAILER_BYTES,
            envelope,
            buffer,
            hasher: blake3::Hasher::new(),
            flushed: false,
        })
    }
}

impl Draft {
    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.envelope.id
    }

    /// Bytes of the message so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.envelope.content.size
    }

    /// Appends bytes of the message, in canonical form.
    ///
    /// # Errors
    /// They can't be written; the draft is of no more use.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.hasher.update(bytes);
        self.envelope.content.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Makes the message durable in `incoming/`. Once this returns, it may be
    /// acknowledged.
    ///
    /// # Errors
    /// It is not durable, and may not be acknowledged.
    pub fn commit(mut self) -> Result<Accepted, SpoolError> {
        self.finish()?;
        let name = self.file.name;
        self.file.leave_to(Dir::Incoming, name.next())?;
        let Accepted { id, size } = self.accepted();
        info!(%id, size, origin = %self.envelope.origin.protocol,
            sender = %self.envelope.transaction.sender.path,
            recipients = self.envelope.transaction.recipients.len(), "accepted");
        Ok(Accepted { id, size })
    }

    /// Makes the message durable in `tmp/`, marked as the whole copy of a
    /// dropped file, which recovery accepts once the original is gone.
    pub(crate) fn keep_as_taken(mut self) -> Result<TakenCopy, SpoolError> {
        self.finish()?;
        let name = Name { taken: true, ..self.file.name.next() };
        self.file.rename_within_tmp(name)?;
        Ok(TakenCopy { accepted: self.accepted(), file: self.file })
    }

    fn accepted(&self) -> Accepted {
        Accepted { id: self.id(), size: self.size() }
    }

    /// Writes what is left, with size and digest, and makes it durable.
    fn finish(&mut self) -> Result<(), SpoolError> {
        self.envelope.content.digest = Digest(*self.hasher.finalize().as_bytes());
        let trailer = trailer(self.envelope.content);
        if self.flushed {
            self.flush()?;
            let written = self.file.inner.overwrite(trailer.as_bytes(), self.trailer_offset as u64);
            written.context(|| format!("fill in the envelope of {}", self.file))?;
        } else {
            let place = self.trailer_offset..self.trailer_offset + TRAILER_BYTES;
            self.buffer[place].copy_from_slice(trailer.as_bytes());
            self.flush()?;
        }
        #[cfg(test)]
        if sabotage::is(Sabotage::AnswerBeforeSync) {
            return Ok(());
        }
        self.file.inner.sync().context(|| format!("sync {}", self.file))
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        self.file.inner.append(&self.buffer).context(|| format!("write {}", self.file))?;
        self.buffer.clear();
        self.flushed = true;
        Ok(())
    }
}

/// The durable copy of a dropped file whose original is still there.
pub(crate) struct TakenCopy {
    accepted: Accepted,
    file: Locked,
}

impl TakenCopy {
    /// To be called when the original is durably gone. The copy's name in `tmp/`
    /// counts, so it must not come back when the message has gone its way.
    pub(crate) fn accept(mut self) -> Result<Accepted, SpoolError> {
        let name = self.file.name;
        self.file.leave_to(Dir::Incoming, name.next())?;
        self.file.spool.sync_dir(Dir::Tmp)?;
        info!(id = %self.accepted.id, size = self.accepted.size, origin = "drop", "accepted");
        Ok(self.accepted)
    }
}

/// Creates a file and locks it, so that nobody cleans it away. A cleaner may
/// remove it between its making and its locking, but never afterwards: so lock,
/// then look whether it is still there.
pub(crate) fn create_locked(spool: &Spool, dir: Dir, text: &str) -> Result<Box<dyn StoredFile>, SpoolError> {
    let mut waits = LOCK_WAITS;
    for _ in 0..LOCK_TRIES {
        let created = spool.storage.create(dir, text).context(|| format!("create {dir}/{text}"));
        let file = created.map_err(|error| spool.or_displaced(&[dir], error))?;
        // Somebody may just be looking whether anybody holds it, and remove it then:
        // by its name, which must not be another file's before he has let go of it.
        while !file.try_lock().context(|| format!("lock {dir}/{text}"))? {
            if waits == 0 {
                let error = std::io::Error::other("somebody else keeps it locked");
                return Err(SpoolError::new(format!("lock {dir}/{text}"), error));
            }
            waits -= 1;
            thread::sleep(LOCK_PAUSE);
        }
        if file.is_linked().context(|| format!("look at {dir}/{text}"))? {
            return Ok(file);
        }
    }
    let error = std::io::Error::other("it is removed again and again");
    Err(SpoolError::new(format!("keep {dir}/{text}"), error))
}

/// A file in `tmp/` that this process holds locked, so that nobody cleans it
/// away; removed when it is dropped without having left.
struct Locked {
    spool: Spool,
    name: Name,
    inner: Box<dyn StoredFile>,
    left: bool,
}

impl std::fmt::Display for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Dir::Tmp, self.name)
    }
}

impl Locked {
    fn create(spool: &Spool, name: Name) -> Result<Self, SpoolError> {
        let inner = create_locked(spool, Dir::Tmp, &name.to_string())?;
        Ok(Self { spool: spool.clone(), name, inner, left: false })
    }

    fn rename_within_tmp(&mut self, name: Name) -> Result<(), SpoolError> {
        self.rename(Dir::Tmp, name)?;
        self.name = name;
        self.spool.sync_dir(Dir::Tmp)
    }

    /// Durably moves the file on.
    fn leave_to(&mut self, dir: Dir, name: Name) -> Result<(), SpoolError> {
        self.rename(dir, name)?;
        self.left = true;
        #[cfg(test)]
        if sabotage::is(Sabotage::NoDirectorySync) {
            return Ok(());
        }
        self.spool.sync_dir(dir)
    }

    fn rename(&self, dir: Dir, name: Name) -> Result<(), SpoolError> {
        let (from, to) = (self.name.to_string(), name.to_string());
        let renamed = self.spool.storage.rename((Dir::Tmp, &from), (dir, &to));
        let renamed = renamed.context(|| format!("rename {self} to {dir}/{to}"));
        renamed.map_err(|error| self.spool.or_displaced(&[Dir::Tmp, dir], error))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if !self.left && !self.name.taken {
            // Was never acknowledged. Should this fail, the next start cleans up.
            let _ = self.spool.storage.unlink(Dir::Tmp, &self.name.to_string());
        }
    }
}
