//! A message as its copies are known again: looked at as little as it takes, and
//! never twice.
//!
//! Nothing is read before it is asked for, and nothing here must ever decide what
//! counts as a copy: that is for [`fingerprint`](crate::fingerprint).

use std::cell::OnceCell;
use std::io;

use lazaret_spool::Message;

use super::known::{Glance, Key};
use crate::fingerprint::{digest_below, glance_below, trace_length};

/// A message, and what of it has been read.
pub(crate) struct Likeness<'a> {
    pub(super) message: &'a Message,
    trace: OnceCell<io::Result<u64>>,
    glance: OnceCell<io::Result<[u8; 32]>>,
    digest: OnceCell<io::Result<[u8; 32]>>,
}

impl<'a> Likeness<'a> {
    /// Of this message; none of it is read yet.
    pub(crate) fn of(message: &'a Message) -> Self {
        Self { message, trace: OnceCell::new(), glance: OnceCell::new(), digest: OnceCell::new() }
    }

    /// Bytes of the message, with its trace fields.
    pub(super) fn size(&self) -> u64 {
        self.message.envelope.content.size
    }

    /// Bytes below its trace fields: its top is read.
    pub(super) fn bytes(&self) -> Result<u64, &io::Error> {
        Ok(self.size().saturating_sub(self.trace()?))
    }

    /// What may be a copy is told by: its beginning is read.
    pub(super) fn glance(&self) -> Result<Glance, &io::Error> {
        let trace = self.trace()?;
        let read = || glance_below(self.message.content(), trace).map(|digest| digest.0);
        let top = *self.glance.get_or_init(read).as_ref()?;
        Ok(Glance { bytes: self.bytes()?, top })
    }

    /// What copies are known by: all of it is read.
    pub(super) fn key(&self) -> Result<Key, &io::Error> {
        let trace = self.trace()?;
        let read = || digest_below(self.message.content(), trace).map(|digest| digest.0);
        let digest = *self.digest.get_or_init(read).as_ref()?;
        Ok((self.bytes()?, digest))
    }

    fn trace(&self) -> Result<u64, &io::Error> {
        self.trace.get_or_init(|| trace_length(self.message.content())).as_ref().copied()
    }
}
