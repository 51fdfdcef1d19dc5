//! Two names of one message, as a power cut can leave them: on some file
//! systems a rename is durable at one end and not at the other.
//!
//! The name of the higher generation is the newer one and stays; of one generation
//! are two names that an `mv` or `cp` by hand has left, and the one in the later state
//! stays. The other goes only if it is verified to be the same message; where that
//! is in doubt, both go to `deferred/`. The journal is that of the id, so it is the same
//! whichever stays. Nothing must be removed on the word of a name alone.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use lazaret_envelope::{Cause, Line, MessageId, Report};
use tracing::warn;

use crate::dropbox::taken_id;
use crate::error::{Context, SpoolError};
use crate::finding::Twins;
use crate::layout::{Dir, report_name};
use crate::name::Name;
use crate::owner::Owner;
use crate::recovery::Recovered;
use crate::spool::Spool;

impl Spool {
    /// Every message that has more than one name: all its names, the newest last.
    /// Costs 16 bytes of memory a message while it runs.
    pub(crate) fn twins(&self) -> Result<Vec<Vec<(Name, Dir)>>, SpoolError> {
        let dirs = self.message_dirs()?;
        let mut ids: Vec<MessageId> = Vec::new();
        for &dir in &dirs {
            self.scan(dir, |name, _| ids.extend(name.filter(|name| counts(dir, *name)).map(|name| name.id)))?;
        }
        ids.sort_unstable();
        let mut twins: Vec<MessageId> =
            ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        drop(ids);
        twins.dedup();
        if twins.is_empty() {
            return Ok(Vec::new());
        }
        let mut places: Vec<(Name, Dir)> = Vec::new();
        for &dir in &dirs {
            self.scan(dir, |name, _| {
                let twin = name.filter(|name| counts(dir, *name) && twins.binary_search(&name.id).is_ok());
                places.extend(twin.map(|name| (name, dir)));
            })?;
        }
        // What lies in `tmp/` may go there for another reason: it is no later name of
        // a message that was accepted, whatever generation it claims. The order of `Dir`
        // is that of a message's way, and in one directory more counts come later.
        places.sort_unstable_by_key(|(name, dir)| (name.id, *dir != Dir::Tmp, name.generation, *dir, *name));
        Ok(places.chunk_by(|a, b| a.0.id == b.0.id).map(<[_]>::to_vec).collect())
    }

    /// Every directory in which a name stands for an accepted message.
    pub(crate) fn message_dirs(&self) -> Result<Vec<Dir>, SpoolError> {
        let workers = self.storage.workers().context(|| "list claimed")?;
        let fixed = [Dir::Tmp, Dir::Incoming, Dir::Outbound, Dir::Waiting, Dir::Deferred];
        Ok(fixed.into_iter().chain(workers.into_iter().map(Dir::Claimed)).collect())
    }
}

impl Owner {
    /// Resolves every second name.
    pub(crate) fn resolve_twins(&self, recovered: &mut Recovered) -> Result<(), SpoolError> {
        self.spool.twins()?.iter().try_for_each(|names| self.resolve(names, recovered))
    }

    /// Resolves the second names of one message, and says what they were.
    pub(crate) fn resolve_twins_of(&self, id: MessageId) -> Result<Twins, SpoolError> {
        let mut recovered = Recovered::default();
        let twins = self.spool.twins()?;
        let names = twins.iter().filter(|names| names.iter().any(|(name, _)| name.id == id));
        names.into_iter().try_for_each(|names| self.resolve(names, &mut recovered))?;
        Ok(match recovered {
            Recovered { deferred: 1.., .. } => Twins::Different,
            Recovered { twins: 1.., .. } => Twins::Same,
            _ => Twins::Unjudged,
        })
    }

    /// Second names of dropped files: one that was being taken out of `drop/`, or
    /// set aside from `tmp/`, and has both names now. The later one stays.
    pub(crate) fn resolve_taken(&self, recovered: &mut Recovered) -> Result<(), SpoolError> {
        let taken = self.inodes(Dir::Tmp, |raw| taken_id(raw).is_some())?;
        if taken.is_empty() {
            return Ok(());
        }
        let in_drop = self.inodes(Dir::Drop, |_| true)?;
        let aside = self.inodes(Dir::Deferred, |_| true)?;
        // Of all names in `drop/`, such as the one that it was written under, none stays.
        let older = |dir, older: &[(u64, OsString)], newer: &[(u64, OsString)]| {
            let newer: BTreeSet<u64> = newer.iter().map(|(inode, _)| *inode).collect();
            let older = older.iter().filter(|(inode, _)| newer.contains(inode));
            older.map(|(_, raw)| (dir, raw.clone())).collect::<Vec<_>>()
        };
        for (dir, raw) in [older(Dir::Drop, &in_drop, &taken), older(Dir::Tmp, &taken, &aside)].concat() {
            // What has a name that is no text came from elsewhere and stays.
            let Some(text) = raw.to_str() else { continue };
            warn!("{dir}/{} is an older name of a dropped file", Line::escaped(text));
            self.remove_if_there(dir, text)?;
            self.sync_dir(dir)?;
            recovered.twins += 1;
        }
        Ok(())
    }

    /// The names in a directory that `wanted` wants, and their inodes.
    fn inodes(&self, dir: Dir, wanted: impl Fn(&OsStr) -> bool) -> Result<Vec<(u64, OsString)>, SpoolError> {
        let mut names = Vec::new();
        self.spool.scan(dir, |_, raw| names.extend(wanted(raw).then(|| raw.to_owned())))?;
        let inode = |raw: &OsString| self.spool.storage.status(dir, raw).map(|status| status.inode);
        // What is gone since was taken away by whoever may do that.
        Ok(names.into_iter().filter_map(|raw| inode(&raw).ok().map(|inode| (inode, raw))).collect())
    }

    /// `names`: all names of one id, the newest last.
    fn resolve(&self, names: &[(Name, Dir)], recovered: &mut Recovered) -> Result<(), SpoolError> {
        let [older @ .., newest] = names else { return Ok(()) };
        let mut doubtful = Vec::new();
        for place in older {
            if self.same_file(*place, *newest)? || self.same_message(*place, *newest) {
                warn!(id = %place.0.id, "{}/{} is a second name of {}/{}", place.1, place.0, newest.1, newest.0);
                self.remove_if_there(place.1, &place.0.to_string())?;
                self.sync_dir(place.1)?;
                recovered.twins += 1;
            } else {
                doubtful.push(*place);
            }
        }
        if !doubtful.is_empty() {
            doubtful.push(*newest);
            recovered.deferred += self.defer_all(&doubtful)?;
        }
        Ok(())
    }

    fn same_file(&self, a: (Name, Dir), b: (Name, Dir)) -> Result<bool, SpoolError> {
        let inode = |(name, dir): (Name, Dir)| {
            let text = name.to_string();
            let status = self.spool.storage.status(dir, text.as_ref());
            status.map(|status| status.inode).context(|| format!("look at {dir}/{text}"))
        };
        Ok(inode(a)? == inode(b)?)
    }

    fn same_message(&self, a: (Name, Dir), b: (Name, Dir)) -> bool {
        let verified = |(name, dir): (Name, Dir)| {
            let message = self.spool.read(dir, name).ok()?;
            message.verify().ok().map(|()| message.envelope)
        };
        verified(a).is_some_and(|envelope| Some(envelope) == verified(b))
    }

    /// Defers every file of one id under names that differ, with one report; returns
    /// how many there were. What was told apart before stays as it is: the report
    /// says where the files were found.
    fn defer_all(&self, places: &[(Name, Dir)]) -> Result<u64, SpoolError> {
        if places.iter().all(is_told) && self.exists(Dir::Deferred, &report_name(places[0].0.id))? {
            return Ok(0);
        }
        let all: Vec<String> = places.iter().map(|(name, dir)| format!("{dir}/{name}")).collect();
        let detail = Line::escaped(format!("different files have the same id: {}", all.join(", ")));
        let newest = places.iter().map(|(name, _)| name.generation).max().unwrap_or(0);
        let report = Report::new(places[0].0.id, Cause::Duplicate, detail, self.spool.now());
        // By hand even the last generation can come about.
        let told = |generation: &u32| places.iter().any(|at| is_told(at) && at.0.generation == *generation);
        let free =
            (newest.saturating_add(1)..=u32::MAX).chain(0..newest).filter(|generation| !told(generation));
        for ((name, dir), generation) in places.iter().zip(free) {
            if !is_told(&(*name, *dir)) {
                let to = Name { generation, cause: Some(Cause::Duplicate), ..Name::first(name.id) };
                self.move_durably((*dir, *name), (Dir::Deferred, to))?;
            }
        }
        self.write_report_beside(&report)?;
        Ok(places.len() as u64)
    }
}

/// Whether this is how different files of one id were told apart.
pub(crate) fn is_told((name, dir): &(Name, Dir)) -> bool {
    *dir == Dir::Deferred && name.cause == Some(Cause::Duplicate)
}

/// In `tmp/` only the whole copy of a dropped file stands for a message.
fn counts(dir: Dir, name: Name) -> bool {
    dir != Dir::Tmp || name.taken
}
