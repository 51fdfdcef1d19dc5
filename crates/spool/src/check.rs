//! Looks at every file of a spool and names what is wrong.
//!
//! Reads only, so it may run beside the owner: what moves meanwhile is looked at
//! again before it is named. Names are not kept: 16 bytes of memory a message,
//! about 40 a report or journal, and a limited number of findings. It must never
//! change anything.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, MessageId};

use crate::error::{Context, SpoolError};
use crate::finding::{Finding, Place, Trouble};
use crate::layout::{Dir, VERSION_FILE, journal_name, report_name};
use crate::leftover::{journal_id, reported_id};
use crate::look::Look;
use crate::name::Name;
use crate::spool::Spool;
use crate::twins::is_told;

/// Most findings that are kept; of the others only the number.
pub const FINDINGS_MAX: usize = 100_000;

/// Pause between two looks at what may pass.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a spool is looked at.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// Whether every message is read whole and its digest compared.
    pub digests: bool,
    /// How long something may take that passes where somebody works on the spool:
    /// a report whose message is on its way, a journal that is about to go.
    pub patience: Duration,
}

impl Default for CheckOptions {
    /// Everything, of a spool at rest.
    fn default() -> Self {
        Self { digests: true, patience: Duration::ZERO }
    }
}

/// Everything that was found, and how much was looked at.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, in the order of repairs.
    pub findings: Vec<Finding>,
    /// What else is wrong, beyond [`FINDINGS_MAX`].
    pub more: u64,
    /// Messages that were found whole.
    pub messages: u64,
    /// Things in `deferred/` that are known to be no whole messages.
    pub set_aside: u64,
}

/// Goes through the whole spool; tells `progress` how many names it has looked at.
///
/// # Errors
/// A directory can't be listed.
pub fn check(
    spool: &Spool,
    options: CheckOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Checked, SpoolError> {
    let mut checker = Checker {
        spool,
        look: Look::new(spool, options.digests)?,
        checked: Checked::default(),
        passing: Vec::new(),
        reports: BTreeSet::new(),
        journals: BTreeSet::new(),
        names: 0,
    };
    checker.top();
    let workers = spool.storage.workers();
    // Of a spool without its directories is told what is not there.
    let workers = workers.or_else(|error| if is_no_directory(&error) { Ok(Vec::new()) } else { Err(error) });
    let workers = workers.context(|| "list claimed")?.into_iter().map(Dir::Claimed);
    for dir in [Dir::Top, Dir::Workers].into_iter().chain(Dir::FIXED).chain(workers) {
        checker.directory(dir, progress)?;
    }
    if checker.checked.findings.iter().all(|finding| finding.trouble > Trouble::MissingDirectory) {
        checker.twins()?;
        checker.settle(options.patience)?;
    }
    checker.finish()
}

/// Looks at the frame of a spool only: its directories and its version.
///
/// # Errors
/// It can't be looked at.
pub(crate) fn check_frame(spool: &Spool) -> Result<Vec<Finding>, SpoolError> {
    let mut look = Look::new(spool, false)?;
    Ok(frame().flat_map(|place| look.at(&place)).collect())
}

/// Everything without which there is no spool.
fn frame() -> impl Iterator<Item = Place> {
    let dirs = Dir::below_top().into_iter().map(|dir| Place::new(Dir::Top, dir.to_string()));
    [Place::new(Dir::Top, "."), Place::new(Dir::Top, VERSION_FILE)].into_iter().chain(dirs)
}

fn is_no_directory(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let kinds = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    kinds.iter().any(|kind| error.raw_os_error() == Some(kind.raw_os_error()))
}

struct Checker<'a> {
    spool: &'a Spool,
    look: Look<'a>,
    checked: Checked,
    /// What may pass, and has to be looked at again.
    passing: Vec<Finding>,
    /// Reports and journals, to be held against the messages.
    reports: BTreeSet<MessageId>,
    journals: BTreeSet<MessageId>,
    names: u64,
}

impl Checker<'_> {
    fn find(&mut self, finding: Finding) {
        if self.checked.findings.len() + self.passing.len() >= FINDINGS_MAX {
            self.checked.more += 1;
        } else if finding.trouble.may_pass() {
            self.passing.push(finding);
        } else {
            self.checked.findings.push(finding);
        }
    }

    fn top(&mut self) {
        for finding in frame().flat_map(|place| self.look.at(&place)).collect::<Vec<_>>() {
            self.find(finding);
        }
    }

    fn directory(&mut self, dir: Dir, progress: &mut dyn FnMut(u64)) -> Result<(), SpoolError> {
        let spool = self.spool;
        let listed = spool.storage.list(dir, &mut |raw| {
            let place = Place::new(dir, raw);
            if dir == Dir::Top && frame().any(|framed| framed == place) {
                return;
            }
            match dir {
                Dir::Deferred => self.reports.extend(reported_id(raw)),
                Dir::Journal => self.journals.extend(journal_id(raw)),
                _ => {}
            }
            for finding in self.look.at(&place) {
                self.find(finding);
            }
            self.names += 1;
            progress(self.names);
        });
        match listed {
            Err(error) if is_no_directory(&error) => Ok(()),
            other => other.context(|| format!("list {dir}")),
        }
    }

    /// Second names of one message. A name never comes back, so two that are there
    /// at a first look and again at a second were there together.
    fn twins(&mut self) -> Result<(), SpoolError> {
        for mut names in self.spool.twins()? {
            let there = |(name, dir): &(Name, Dir)| {
                self.spool.storage.status(*dir, name.to_string().as_ref()).is_ok()
            };
            names.retain(there);
            names.retain(there);
            if names.len() < 2 || names.iter().all(is_told) {
                continue;
            }
            let Some((name, dir)) = names.pop() else { continue };
            let others: Vec<String> = names.iter().map(|(name, dir)| format!("{dir}/{name}")).collect();
            let detail = Line::escaped(format!("the same id stands at {}", others.join(", ")));
            let place = Place::new(dir, name.to_string());
            self.find(Finding { trouble: Trouble::Duplicate, place, detail });
        }
        Ok(())
    }

    /// Looks again at what may pass, until it has passed or `patience` is over.
    fn settle(&mut self, patience: Duration) -> Result<(), SpoolError> {
        let end = Instant::now() + patience;
        loop {
            let look = &mut self.look;
            self.passing.retain(|finding| {
                look.at(&finding.place).iter().any(|again| again.trouble == finding.trouble)
            });
            self.keep_lonely()?;
            let settled = self.passing.is_empty() && self.reports.is_empty() && self.journals.is_empty();
            if settled || Instant::now() >= end {
                return self.beside();
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Keeps the journals whose message is nowhere, and the reports whose message
    /// is neither in `deferred/` nor on its way there.
    fn keep_lonely(&mut self) -> Result<(), SpoolError> {
        let homes = self.spool.message_dirs()?;
        self.spool.keep_missed(&mut self.journals, &homes)?;
        let quarantine: Vec<Dir> =
            homes.into_iter().filter(|dir| !matches!(dir, Dir::Tmp | Dir::Incoming | Dir::Waiting)).collect();
        self.spool.keep_missed(&mut self.reports, &quarantine)
    }

    /// What has stayed lonely.
    fn beside(&mut self) -> Result<(), SpoolError> {
        let mut nowhere = self.reports.clone();
        self.spool.keep_missed(&mut nowhere, &[Dir::Incoming, Dir::Waiting])?;
        let reports = std::mem::take(&mut self.reports).into_iter().map(|id| {
            let (trouble, detail) = if nowhere.contains(&id) {
                (Trouble::OrphanReport, "its message is nowhere")
            } else {
                (
                    Trouble::LeftReport,
                    "its message is not in deferred/ any more; it goes when that is claimed",
                )
            };
            (trouble, Place::new(Dir::Deferred, report_name(id)), detail)
        });
        let journals = std::mem::take(&mut self.journals).into_iter().map(|id| {
            (Trouble::OrphanJournal, Place::new(Dir::Journal, journal_name(id)), "its message is nowhere")
        });
        for (trouble, place, detail) in reports.chain(journals).collect::<Vec<_>>() {
            self.find(Finding { trouble, place, detail: Line::escaped(detail) });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Checked, SpoolError> {
        let storage = &self.spool.storage;
        let gone = |place: &Place| {
            let status = storage.status(place.dir, &place.name);
            matches!(status, Err(error) if error.kind() == io::ErrorKind::NotFound)
        };
        let mut findings = std::mem::take(&mut self.checked.findings);
        findings.append(&mut self.passing);
        // What is not where it was has moved on, and whoever moved it has it now.
        findings.retain(|Finding { trouble, place, .. }| {
            matches!(trouble, Trouble::MissingDirectory | Trouble::Version) || !gone(place)
        });
        findings.sort();
        let Look { messages, set_aside, .. } = self.look;
        Ok(Checked { findings, messages, set_aside, ..self.checked })
    }
}
