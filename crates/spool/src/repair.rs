//! Repairs what a check finds: by moving, never by deleting a file.
//!
//! Each repair is one of the spool's own steps, and looks again before it acts;
//! cut short in any of them, recovery and the next repair go on. Nothing here must
//! touch what is in the hands of a worker, a delivery or an intake that runs.

use std::collections::BTreeSet;

use lazaret_envelope::{Cause, Line, Report};
use tracing::info;

use crate::check::{CheckOptions, Checked, check, check_frame};
use crate::error::{Context, Severity, SpoolError};
use crate::finding::{Finding, Place, Remedy, Trouble, Twins};
use crate::layout::{Dir, VERSION_FILE};
use crate::look::{Look, directory_named, meant_mode};
use crate::name::Name;
use crate::owner::Owner;
use crate::storage::write_version;

/// Times that a spool is looked at in one repair, since one thing hides another.
const PASSES_MAX: usize = 4;

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is repaired, in this way.
    Done(Remedy),
    /// Looked at again, it was not there any more.
    Gone,
    /// It is left, for this reason.
    Left(Line),
}

/// What a repair of everything has found and done.
#[derive(Debug, Default)]
pub struct Repaired {
    /// What was looked at. Its findings are those of `done`.
    pub checked: Checked,
    /// Each finding that was repaired or is left.
    pub done: Vec<(Finding, Outcome)>,
}

impl Outcome {
    /// How it was repaired, if it was.
    #[must_use]
    pub fn done(&self) -> Option<Remedy> {
        match self {
            Self::Done(remedy) => Some(*remedy),
            Self::Gone | Self::Left(_) => None,
        }
    }
}

impl Owner {
    /// Checks and repairs a spool on which nobody works. What recovery would do to
    /// messages that an earlier owner had in hand is left to it.
    ///
    /// # Errors
    /// The spool can't be read or changed. What was repaired by then is so.
    pub fn repair_all(
        &self,
        options: CheckOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Repaired, SpoolError> {
        let mut repaired = Repaired::default();
        // What was moved aside is missing then.
        for _ in 0..2 {
            self.repair_each(check_frame(&self.spool)?, &mut repaired)?;
        }
        if repaired.done.iter().any(|(_, outcome)| matches!(outcome, Outcome::Left(_))) {
            // Without its frame a spool can't be read: that comes first.
            return Ok(repaired);
        }
        if !self.was_clean() {
            // As recovery: nothing may be concluded from what is not durable.
            self.sync_all_dirs()?;
        }
        let mut options = options;
        for _ in 0..PASSES_MAX {
            let mut checked = check(&self.spool, options, progress)?;
            let before = repaired.done.len();
            self.repair_each(std::mem::take(&mut checked.findings), &mut repaired)?;
            repaired.checked = checked;
            let done = || repaired.done[before..].iter().filter_map(|(_, outcome)| outcome.done());
            if done().next().is_none() {
                break;
            }
            // One thing hides another: a second name that is gone leaves its report
            // alone. Only what could not be read before must be read again.
            options.digests &= done().any(|remedy| matches!(remedy, Remedy::Mode | Remedy::Owner));
        }
        self.forget_what_has_passed(&mut repaired)?;
        Ok(repaired)
    }

    fn repair_each(&self, findings: Vec<Finding>, repaired: &mut Repaired) -> Result<(), SpoolError> {
        for finding in findings {
            let outcome = self.repair(finding.trouble, &finding.place)?;
            if outcome != Outcome::Gone {
                repaired.done.push((finding, outcome));
            }
        }
        Ok(())
    }

    /// What was left in one pass and repaired, or left again, in the next.
    fn forget_what_has_passed(&self, repaired: &mut Repaired) -> Result<(), SpoolError> {
        let mut left = BTreeSet::new();
        for (finding, outcome) in std::mem::take(&mut repaired.done) {
            let stays = match outcome {
                Outcome::Left(_) => {
                    left.insert(finding.clone())
                        && self.look_again(finding.trouble, &finding.place)?.is_some()
                }
                Outcome::Done(_) | Outcome::Gone => true,
            };
            if stays {
                repaired.done.push((finding, outcome));
            }
        }
        Ok(())
    }

    /// Repairs one thing. Beside workers and deliveries only where
    /// [`Trouble::is_repaired_beside`] says so.
    ///
    /// # Errors
    /// The spool can't be changed.
    pub fn repair(&self, trouble: Trouble, place: &Place) -> Result<Outcome, SpoolError> {
        let Some(found) = self.look_again(trouble, place)? else { return Ok(Outcome::Gone) };
        let mut remedy = trouble.remedy();
        let mended = match remedy {
            Remedy::Tell(advice) => return Ok(Outcome::Left(Line::escaped(advice))),
            Remedy::Make => self.make_missing(place),
            Remedy::Anew => self.write_version_anew(place, &found),
            Remedy::Mode => self.mend_mode(place),
            Remedy::Owner => self.mend_owner(place),
            Remedy::Twins(_) => match message_name(place) {
                Some(name) => self.resolve_twins_of(name.id).map(|twins| remedy = Remedy::Twins(twins)),
                None => Ok(()),
            },
            Remedy::SetAside(cause) => self.set_aside_found(place, cause, &found),
            Remedy::Defer(cause) => self.defer_found(place, cause, &found),
            Remedy::Rename => self.rename_without_mark(place),
        };
        match mended {
            // It has gone since.
            Ok(()) if remedy == Remedy::Twins(Twins::Unjudged) => Ok(Outcome::Gone),
            Ok(()) => {
                info!(path = %place, trouble = trouble.word(), "repaired: {remedy}");
                Ok(Outcome::Done(remedy))
            }
            Err(error) if error.severity() == Severity::Forbidden => {
                Ok(Outcome::Left(Line::escaped(error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    /// What is wrong, if it still is.
    fn look_again(&self, trouble: Trouble, place: &Place) -> Result<Option<Finding>, SpoolError> {
        let spool = &self.spool;
        let needs_whole_spool = matches!(
            trouble,
            Trouble::Duplicate | Trouble::OrphanReport | Trouble::LeftReport | Trouble::OrphanJournal
        );
        if needs_whole_spool {
            let there = spool.storage.status(place.dir, &place.name).is_ok();
            let detail = Line::escaped("its message is not where it belongs");
            return Ok(there.then(|| Finding { trouble, place: place.clone(), detail }));
        }
        let found = Look::new(spool, true)?.at(place);
        Ok(found.into_iter().find(|found| found.trouble == trouble))
    }

    fn make_missing(&self, place: &Place) -> Result<(), SpoolError> {
        let dir = directory_named(&place.name);
        dir.map_or(Ok(()), |dir| self.spool.storage.make_dir(dir).context(|| format!("make {dir}")))
    }

    fn write_version_anew(&self, place: &Place, found: &Finding) -> Result<(), SpoolError> {
        if self.exists(Dir::Top, VERSION_FILE)? {
            self.set_aside_found(place, Cause::Foreign, found)?;
        }
        write_version(&*self.spool.storage).context(|| format!("write {VERSION_FILE}"))
    }

    fn mend_mode(&self, place: &Place) -> Result<(), SpoolError> {
        let Place { dir, name } = place;
        let storage = &self.spool.storage;
        let mode = storage.status(*dir, name).context(|| format!("look at {place}"))?.mode;
        let meant = meant_mode(*dir, name, mode);
        storage.set_mode(*dir, name, meant).context(|| format!("change the mode of {place}"))
    }

    fn mend_owner(&self, place: &Place) -> Result<(), SpoolError> {
        let owner = Look::new(&self.spool, false)?.owner();
        let given = self.spool.storage.set_owner(place.dir, &place.name, owner);
        given.context(|| format!("give {place} to user {owner}"))
    }

    fn set_aside_found(&self, place: &Place, cause: Cause, found: &Finding) -> Result<(), SpoolError> {
        let Place { dir, name } = place;
        let status = self.spool.storage.status(*dir, name).context(|| format!("look at {place}"))?;
        if let (Trouble::Unfinished, true, Some(text)) = (found.trouble, status.links > 1, name.to_str()) {
            // The power went while it was renamed: its other name is the one that
            // counts, and nothing is deleted with this one.
            self.remove_if_there(*dir, text)?;
            return self.sync_dir(*dir);
        }
        let detail = format!("{place}: {}", found.detail);
        self.set_aside_because(*dir, name, self.spool.new_id(), cause, &detail)
    }

    /// Where a report is there already, it stays, and the cause goes into the name.
    fn defer_found(&self, place: &Place, cause: Cause, found: &Finding) -> Result<(), SpoolError> {
        let Some(name) = message_name(place) else { return Ok(()) };
        let from = (place.dir, name);
        // Nothing may be claimed while its report is there and the message is not.
        let _unclaimed = self.releasing();
        if !self.exists(from.0, &name.to_string())? {
            return Ok(());
        }
        let reported = self.has_report(name.id)?;
        if place.dir == Dir::Deferred || reported {
            let to = (Dir::Deferred, Name { cause: Some(cause), ..name.next() });
            return self.move_durably(from, to).map(drop);
        }
        let report = Report::new(name.id, cause, found.detail.clone(), self.spool.now());
        let report = match self.spool.read(place.dir, name) {
            Ok(message) => report.about(&message.envelope),
            Err(_) => report,
        };
        if !self.defer(from, &report)? {
            self.forget_report(name.id)?;
        }
        Ok(())
    }

    fn rename_without_mark(&self, place: &Place) -> Result<(), SpoolError> {
        let Some(name) = message_name(place) else { return Ok(()) };
        let (due, cause) = match place.dir {
            Dir::Claimed(_) | Dir::Outbound => (None, None),
            _ => (name.due, name.cause),
        };
        self.move_durably((place.dir, name), (place.dir, Name { due, cause, ..name.next() })).map(drop)
    }
}

fn message_name(place: &Place) -> Option<Name> {
    place.name.to_str()?.parse().ok()
}
