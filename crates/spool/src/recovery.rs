//! What happens at start to what the last owner left behind: [`decide`] is the
//! table, [`Owner::recover`] carries it out.
//!
//! Doing it twice, or being cut short in it, changes nothing: each row ends where
//! it would not apply again. Nothing must be concluded from what is not durable.

use std::ffi::OsString;
use std::io;

use lazaret_envelope::{Attempt, Cause, Line, Report};
use tracing::{info, warn};

use crate::dropbox::{is_submit_writing, taken_id};
use crate::error::{Context, SpoolError};
use crate::journal::Done;
use crate::layout::{Dir, TAKEN, WorkerId};
use crate::name::Name;
use crate::owner::Owner;
#[cfg(test)]
use crate::sabotage::{self, Sabotage};
use crate::storage::Kind;
use crate::table::{Action, Found, decide};

/// What recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Unfinished files removed from `tmp/` and `drop/`, and journals and reports
    /// without their messages.
    pub removed: u64,
    /// Copies of dropped files accepted.
    pub accepted: u64,
    /// Messages given a strike.
    pub struck: u64,
    /// Messages whose delivery was cut short.
    pub interrupted: u64,
    /// Messages deferred.
    pub deferred: u64,
    /// Second names of one message removed.
    pub twins: u64,
    /// Things set aside that are no messages.
    pub set_aside: u64,
}

impl Owner {
    /// Brings the spool in order after whatever ended the last owner.
    ///
    /// # Errors
    /// An operation failed; the next start goes on.
    pub fn recover(&self) -> Result<Recovered, SpoolError> {
        let mut recovered = Recovered::default();
        self.spool.expect_all_in_place()?;
        if !self.was_clean() {
            // Where only the process went down, what it did last is visible and
            // not durable: nothing may be concluded from it before it is.
            self.sync_all_dirs()?;
            self.resolve_taken(&mut recovered)?;
            self.resolve_twins(&mut recovered)?;
        }
        let workers = self.spool.storage.workers().context(|| "list claimed")?;
        let mut dirs = vec![Dir::Tmp, Dir::Drop, Dir::Outbound];
        dirs.extend(workers.into_iter().map(Dir::Claimed));
        let mut changed = false;
        for &dir in &dirs {
            changed |= self.recover_dir(dir, &mut recovered)?;
        }
        if changed {
            for dir in [Dir::Incoming, Dir::Deferred].iter().chain(&dirs) {
                self.sync_dir(*dir)?;
            }
        }
        if !self.was_clean() {
            self.remove_left_journals(&mut recovered)?;
        }
        self.remove_left_reports(&mut recovered)?;
        self.is_in_order();
        let Recovered { removed, accepted, struck, interrupted, deferred, twins, set_aside } = recovered;
        info!(last_stop = %self.last_stop(), removed, accepted, struck, interrupted, deferred, twins, set_aside,
            "the spool is in order");
        Ok(recovered)
    }

    fn recover_dir(&self, dir: Dir, recovered: &mut Recovered) -> Result<bool, SpoolError> {
        let mut entries: Vec<(Option<Name>, OsString)> = Vec::new();
        self.spool.scan(dir, |name, raw| entries.push((name, raw.to_owned())))?;
        for (name, raw) in &entries {
            let found = self.look(dir, *name, raw)?;
            self.act(dir, *name, raw, decide(found), recovered)?;
        }
        Ok(!entries.is_empty())
    }

    fn look(&self, dir: Dir, name: Option<Name>, raw: &OsString) -> Result<Found, SpoolError> {
        if dir == Dir::Drop {
            return Ok(self.look_at_dropped(raw));
        }
        let Some(name) = name else {
            let taken = dir == Dir::Tmp && taken_id(raw).is_some();
            return Ok(if taken { Found::TakenOriginal } else { Found::NoMessage });
        };
        Ok(match dir {
            // By hand only; it can't be opened, and must not fail a start.
            Dir::Tmp if self.spool.is_no_file(dir, raw)? => Found::NoMessage,
            Dir::Tmp if self.is_locked(dir, &name.to_string())? => Found::BeingWritten,
            Dir::Tmp if name.taken => {
                Found::TakenCopy { original: self.exists(Dir::Tmp, &format!("{TAKEN}{}", name.id))? }
            }
            Dir::Tmp => Found::LeftUnfinished,
            Dir::Claimed(_) => Found::Claimed { strikes: name.strikes, report: self.has_report(name.id)? },
            Dir::Outbound => {
                Found::Outbound { interruptions: name.interruptions, report: self.has_report(name.id)? }
            }
            _ => unreachable!("recovery does not look at {raw:?} in {dir}"),
        })
    }

    fn act(
        &self,
        dir: Dir,
        name: Option<Name>,
        raw: &OsString,
        action: Action,
        recovered: &mut Recovered,
    ) -> Result<(), SpoolError> {
        let Some(name) = name else { return self.act_on_nameless(dir, raw, action, recovered) };
        match action {
            Action::Leave => {}
            Action::SetAside => {
                self.set_aside(dir, raw)?;
                recovered.set_aside += 1;
            }
            Action::Remove => {
                recovered.removed += u64::from(self.remove_unlocked(dir, &name.to_string())?);
            }
            Action::Accept => {
                self.try_rename((dir, name), (Dir::Incoming, name.next()))?;
                info!(id = %name.id, origin = "drop", "accepted");
                recovered.accepted += 1;
            }
            Action::Strike => {
                self.note_interruption(dir, name);
                let struck = Name { strikes: name.strikes + 1, ..name.next() };
                #[cfg(test)]
                let struck = if sabotage::is(Sabotage::StrikeNotMarked) { name.next() } else { struck };
                self.try_rename((dir, name), (Dir::Incoming, struck))?;
                warn!(id = %name.id, strikes = struck.strikes, "struck: it was claimed when Lazaret went down");
                recovered.struck += 1;
            }
            Action::Interrupt => {
                self.note_interruption(dir, name);
                let next = Name { interruptions: name.interruptions + 1, ..name.next() };
                self.try_rename((dir, name), (Dir::Incoming, next))?;
                warn!(id = %name.id, interruptions = next.interruptions,
                    "interrupted: it was being delivered when Lazaret went down");
                recovered.interrupted += 1;
            }
            Action::Defer(cause) => {
                self.defer((dir, name), &self.interruption_report(dir, name, cause))?;
                recovered.deferred += 1;
            }
            Action::FinishDefer => {
                self.move_durably((dir, name), (Dir::Deferred, name.next()))?;
                info!(id = %name.id, "deferred: a report was there already");
                recovered.deferred += 1;
            }
        }
        Ok(())
    }

    /// The same for what has no message's name.
    fn act_on_nameless(
        &self,
        dir: Dir,
        raw: &OsString,
        action: Action,
        recovered: &mut Recovered,
    ) -> Result<(), SpoolError> {
        match (action, raw.to_str()) {
            (Action::SetAside, _) => {
                recovered.set_aside += 1;
                self.set_aside(dir, raw)
            }
            (Action::Remove, Some(text)) => {
                recovered.removed += u64::from(self.remove_unlocked(dir, text)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Others may put anything into `drop/`: nothing there may fail a start.
    fn look_at_dropped(&self, raw: &OsString) -> Found {
        let regular = || {
            let status = self.spool.storage.status(Dir::Drop, raw);
            status.is_ok_and(|status| status.kind == Kind::File)
        };
        match raw.to_str() {
            Some(text) if is_submit_writing(raw) && regular() => match self.is_locked(Dir::Drop, text) {
                Ok(false) => Found::LeftUnfinished,
                Ok(true) | Err(_) => Found::BeingWritten,
            },
            _ => Found::Dropped,
        }
    }

    /// Writes down when and where a message was cut short, for a later report.
    /// The strike in the name is what counts, so failing here fails nothing.
    fn note_interruption(&self, dir: Dir, name: Name) {
        let attempt = self.interruption(dir);
        if let Err(error) = self.append_journal(name.id, [Done::Interrupted(attempt)]) {
            warn!(id = %name.id, %error, "could not note when it was cut short");
        }
    }

    fn interruption(&self, dir: Dir) -> Attempt {
        let what = match dir {
            Dir::Claimed(worker) => format!("worker {worker}: Lazaret or the machine went down"),
            _ => "delivery: Lazaret or the machine went down".to_owned(),
        };
        Attempt { time: self.spool.now(), what: Line::escaped(what) }
    }

    fn interruption_report(&self, dir: Dir, name: Name, cause: Cause) -> Report {
        let detail = match dir {
            Dir::Claimed(_) => {
                format!(
                    "Lazaret or the machine went down {} times while it was claimed",
                    u32::from(name.strikes) + 1
                )
            }
            _ => format!(
                "Lazaret or the machine went down {} times while it was being delivered",
                u32::from(name.interruptions) + 1
            ),
        };
        let mut report = Report::new(name.id, cause, Line::escaped(detail), self.spool.now());
        if let Dir::Claimed(WorkerId(worker)) = dir {
            report.worker = Some(worker);
        }
        report.attempts = self.journal(name.id).unwrap_or_default().attempts.into();
        report.attempts.push(self.interruption(dir));
        match self.spool.read(dir, name) {
            Ok(message) => report.about(&message.envelope),
            Err(_) => report,
        }
    }

    fn is_locked(&self, dir: Dir, text: &str) -> Result<bool, SpoolError> {
        match self.spool.storage.open(dir, text) {
            Ok(file) => Ok(!file.try_lock().context(|| format!("lock {dir}/{text}"))?),
            // Gone means that its intake has just finished with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).context(|| format!("open {dir}/{text}")),
        }
    }

    /// Removes a file that nobody has locked; whether it did. It holds the lock
    /// meanwhile: a writer that has just made the file and is about to lock it finds
    /// it either his own or gone, and never loses it afterwards.
    fn remove_unlocked(&self, dir: Dir, text: &str) -> Result<bool, SpoolError> {
        let file = match self.spool.storage.open(dir, text) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).context(|| format!("open {dir}/{text}")),
        };
        if !file.try_lock().context(|| format!("lock {dir}/{text}"))? {
            return Ok(false);
        }
        self.remove_if_there(dir, text)
    }

    pub(crate) fn exists(&self, dir: Dir, name: &str) -> Result<bool, SpoolError> {
        match self.spool.storage.status(dir, name.as_ref()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("look at {dir}/{name}")),
        }
    }
}
