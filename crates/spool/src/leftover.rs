//! Reports and journals whose message is elsewhere, or gone: a power cut brings
//! them back, or keeps the message from its report.
//!
//! A journal stays as long as its message is anywhere, a report as long as its
//! message is in `deferred/` or on its way there. Nothing that is missed at one
//! look must be removed: somebody may have moved the message meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use lazaret_envelope::MessageId;
use tracing::info;

use crate::error::SpoolError;
use crate::layout::{Dir, JOURNAL_SUFFIX, REPORT_SUFFIX, journal_name, report_name};
use crate::name::Name;
use crate::owner::Owner;
use crate::recovery::Recovered;
use crate::spool::Spool;

/// Looks at the messages before a journal or report is taken for left over. An
/// `mv` by hand that hides a message from one can't hide it from the next.
const LOOKS: usize = 2;

/// The id of the message that a report is about.
pub(crate) fn reported_id(raw: &OsStr) -> Option<MessageId> {
    raw.to_str()?.strip_suffix(REPORT_SUFFIX)?.parse().ok()
}

/// The id of the message that a journal belongs to.
pub(crate) fn journal_id(raw: &OsStr) -> Option<MessageId> {
    raw.to_str()?.strip_suffix(JOURNAL_SUFFIX)?.parse().ok()
}

impl Spool {
    /// Takes out of `ids` those that have a message in one of the directories,
    /// which may move while they are looked for.
    pub(crate) fn keep_missed(&self, ids: &mut BTreeSet<MessageId>, homes: &[Dir]) -> Result<(), SpoolError> {
        for &dir in std::iter::repeat_n(homes, LOOKS).flatten() {
            if ids.is_empty() {
                break;
            }
            self.scan(dir, |name, _| {
                if let Some(name) = name {
                    ids.remove(&name.id);
                }
            })?;
        }
        Ok(())
    }
}

impl Owner {
    /// At a start after an unclean end: costs 16 bytes of memory a journal, and a
    /// look at every directory.
    pub(crate) fn remove_left_journals(&self, recovered: &mut Recovered) -> Result<(), SpoolError> {
        self.remove_left(Dir::Journal, journal_id, journal_name, &self.spool.message_dirs()?, recovered)
    }

    /// At a start, when nothing is in anybody's hands any more.
    pub(crate) fn remove_left_reports(&self, recovered: &mut Recovered) -> Result<(), SpoolError> {
        self.remove_left(Dir::Deferred, reported_id, report_name, &[Dir::Deferred], recovered)
    }

    /// Removes what lies in `dir` about messages that are not in their `homes`.
    fn remove_left(
        &self,
        dir: Dir,
        id_of: fn(&OsStr) -> Option<MessageId>,
        name_of: fn(MessageId) -> String,
        homes: &[Dir],
        recovered: &mut Recovered,
    ) -> Result<(), SpoolError> {
        let mut left = BTreeSet::new();
        self.spool.scan(dir, |_, raw| left.extend(id_of(raw)))?;
        self.spool.keep_missed(&mut left, homes)?;
        for &id in &left {
            let name = name_of(id);
            // What only has the name of one is none, and stays for a check to name it.
            if self.spool.is_no_file(dir, name.as_ref())? {
                continue;
            }
            info!(%id, "{dir}/{name} is left over");
            self.remove_if_there(dir, &name)?;
            recovered.removed += 1;
        }
        if left.is_empty() { Ok(()) } else { self.sync_dir(dir) }
    }

    /// Removes, durably, the report of a message that is not in quarantine any
    /// more: left by an `mv` by hand, or by a release that was cut short. Found
    /// beside a claimed message after a crash, it would pass for a new one.
    pub(crate) fn forget_report(&self, id: MessageId) -> Result<(), SpoolError> {
        let name = report_name(id);
        self.remove_if_there(Dir::Deferred, &name)?;
        self.sync_dir(Dir::Deferred)
    }

    /// The same before a message is claimed. Asking is far cheaper than an unlink,
    /// which would need the directory for itself. If the name is gone, somebody
    /// else has claimed the message and may have deferred it: that report is no
    /// old one, so nobody may claim between the look and the removal.
    pub(crate) fn forget_old_report(&self, name: Name) -> Result<(), SpoolError> {
        if !self.exists(Dir::Deferred, &report_name(name.id))? {
            return Ok(());
        }
        let _alone = self.releasing();
        if self.exists(Dir::Incoming, &name.to_string())? { self.forget_report(name.id) } else { Ok(()) }
    }
}
