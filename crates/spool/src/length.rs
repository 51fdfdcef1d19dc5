//! How long the queue is, and the mark at the top of the spool that it is too long.
//!
//! The mark is a file, so that it is seen by whoever adds a message, with or without
//! a daemon. It says what the owner has counted last, and need not be durable: the
//! next owner counts anew. Mail that was accepted must never be held up by it.

use std::ffi::OsStr;
use std::io;

use crate::error::{Context, SpoolError};
use crate::layout::{Dir, FULL_FILE};
use crate::owner::Owner;
use crate::spool::Spool;
use crate::storage::Kind;

impl Spool {
    /// How many messages are on their way, by a look at each name: those in quarantine
    /// and in `drop/` are not counted. A message that moves meanwhile may be counted
    /// twice, or not at all.
    ///
    /// # Errors
    /// A directory can't be listed.
    pub fn queue_length(&self) -> Result<u64, SpoolError> {
        let mut length = 0;
        for dir in self.passing_dirs()? {
            self.scan(dir, |name, _| length += u64::from(name.is_some()))?;
        }
        Ok(length)
    }

    /// Whether no more mail is to come in, since the queue is too long.
    ///
    /// # Errors
    /// The top of the spool can't be looked at.
    pub fn is_full(&self) -> Result<bool, SpoolError> {
        match self.storage.status(Dir::Top, OsStr::new(FULL_FILE)) {
            Ok(status) => Ok(status.kind == Kind::File),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("look at {FULL_FILE}")),
        }
    }
}

impl Owner {
    /// Has everybody see whether the queue is too long.
    ///
    /// # Errors
    /// The mark can't be made or removed.
    pub fn mark_full(&self, full: bool) -> Result<(), SpoolError> {
        let (is_full, storage) = (self.spool.is_full()?, &self.spool.storage);
        let done = match (is_full, full) {
            (false, true) => storage.create(Dir::Top, FULL_FILE).map(drop),
            (true, false) => storage.unlink(Dir::Top, FULL_FILE),
            _ => Ok(()),
        };
        match done {
            // Somebody was faster, or keeps something of his own there.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                Ok(())
            }
            other => other.context(|| format!("{} {FULL_FILE}", if full { "create" } else { "remove" })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::WorkerId;
    use crate::name::Name;
    use lazaret_envelope::MessageId;

    #[test]
    fn what_is_on_its_way_is_counted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(&folder.path().join("spool")).unwrap();
        let claimed = Dir::Claimed(WorkerId(3));
        spool.storage.make_dir(claimed).unwrap();
        let dirs = Dir::FIXED.into_iter().chain([claimed]);
        for (number, dir) in dirs.enumerate() {
            let name = Name::first(MessageId::from_parts(1, number as u128)).to_string();
            std::fs::write(spool.path(dir).join(name), "").unwrap();
        }
        std::fs::write(spool.path(Dir::Waiting).join("no message's name"), "").unwrap();
        assert_eq!(spool.queue_length().unwrap(), 4);
    }

    #[test]
    fn the_mark_is_seen_by_others_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(&folder.path().join("spool")).unwrap();
        let other = Spool::open(spool.root()).unwrap();
        let owner = Owner::take(spool).unwrap();
        for full in [false, true, true, false, false] {
            owner.mark_full(full).unwrap();
            assert_eq!(other.is_full().unwrap(), full);
        }
        std::fs::create_dir(other.root().join(FULL_FILE)).unwrap();
        owner.mark_full(true).unwrap();
        assert!(!other.is_full().unwrap(), "a directory says nothing");
        owner.mark_full(false).unwrap();
    }
}
