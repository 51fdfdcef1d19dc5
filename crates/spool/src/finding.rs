//! What can be wrong with a file of a spool, and what a repair does about it.
//!
//! Values only; the section "Check and repair" of `queue-layout.md` has the same
//! table in words. No remedy must ever delete a file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path};

use lazaret_envelope::{Cause, Line};

use crate::layout::{Dir, WorkerId};

/// A name in a directory of the spool, the spool's own or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The directory.
    pub dir: Dir,
    /// The name.
    pub name: OsString,
}

impl Place {
    pub(crate) fn new(dir: Dir, name: impl AsRef<OsStr>) -> Self {
        Self { dir, name: name.as_ref().to_owned() }
    }

    /// The place at a path from the top of the spool; `None` if nothing of a spool
    /// can stand there.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let named = |part| if let Component::Normal(name) = part { Some(name) } else { None };
        let mut names = path.components().map(named).collect::<Option<Vec<&OsStr>>>()?;
        let name = names.pop()?;
        let dir = match names[..] {
            [] => Dir::Top,
            [above] => Dir::below_top().into_iter().find(|dir| *above == *dir.to_string())?,
            [above, worker] if *above == *Dir::Workers.to_string() => {
                Dir::Claimed(WorkerId::from_name(worker)?)
            }
            _ => return None,
        };
        Some(Self::new(dir, name))
    }

    /// The path from the top of the spool.
    #[must_use]
    pub fn path(&self) -> OsString {
        match self.dir {
            Dir::Top => self.name.clone(),
            dir => Path::new(&dir.to_string()).join(&self.name).into_os_string(),
        }
    }
}

impl fmt::Display for Place {
    /// The path, fit to be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line::escaped(self.path().as_encoded_bytes()).fmt(f)
    }
}

/// Something in a spool that should not be as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of thing is wrong. Findings are in the order in which they are
    /// repaired: what is below needs what is above.
    pub trouble: Trouble,
    /// Where.
    pub place: Place,
    /// What is wrong, in a sentence.
    pub detail: Line,
}

/// What is wrong. A word must never change its meaning once released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The spool itself is of the wrong kind: a directory that is a file.
    WrongType,
    /// A directory is not there.
    MissingDirectory,
    /// `version` is not there or does not say a version.
    Version,
    /// Others may read or change it, or the owner may not.
    Mode,
    /// It belongs to another user than the spool does.
    Owner,
    /// A message has several names for the same id.
    Duplicate,
    /// A message whose writer ended before it was accepted.
    Unfinished,
    /// A file has a second name somewhere.
    HardLink,
    /// It has no name of the spool's.
    Foreign,
    /// A report whose message is nowhere.
    OrphanReport,
    /// A report whose message has left `deferred/`.
    LeftReport,
    /// A report that can't be read.
    Report,
    /// A journal whose message is nowhere.
    OrphanJournal,
    /// A journal of which nothing can be read.
    Journal,
    /// It has a message's name and is no regular file.
    NoFile,
    /// The envelope can't be read.
    Envelope,
    /// The file holds another message than its name says.
    OtherMessage,
    /// There are more bytes than were accepted, or fewer.
    Size,
    /// The bytes are others than were accepted.
    Digest,
    /// The end of the file was never written: it is zeros.
    NulTail,
    /// The operating system can't read it.
    Unreadable,
    /// A name carries a mark that does not belong into its directory.
    Misplaced,
}

/// What several files with one id have turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twins {
    /// Nobody has compared them yet.
    Unjudged,
    /// One message: one of its names is left.
    Same,
    /// Not verified to be one message: all are in `deferred/`.
    Different,
}

/// What a repair does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Makes the directory, durably.
    Make,
    /// Moves it aside and writes it anew.
    Anew,
    /// Gives it the right mode.
    Mode,
    /// Gives it to the spool's owner.
    Owner,
    /// Does what recovery does with second names.
    Twins(Twins),
    /// Moves it to `deferred/` under a new id.
    SetAside(Cause),
    /// Defers the message; one that is deferred gets the cause into its name.
    Defer(Cause),
    /// Renames the message without the mark.
    Rename,
    /// Nothing: a person has to decide.
    Tell(&'static str),
}

impl Trouble {
    /// Every kind, in the order of repairs.
    pub const ALL: [Self; 22] = [
        Self::WrongType,
        Self::MissingDirectory,
        Self::Version,
        Self::Mode,
        Self::Owner,
        Self::Duplicate,
        Self::Unfinished,
        Self::HardLink,
        Self::Foreign,
        Self::OrphanReport,
        Self::LeftReport,
        Self::Report,
        Self::OrphanJournal,
        Self::Journal,
        Self::NoFile,
        Self::Envelope,
        Self::OtherMessage,
        Self::Size,
        Self::Digest,
        Self::NulTail,
        Self::Unreadable,
        Self::Misplaced,
    ];

    /// The word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WrongType => "wrong-type",
            Self::MissingDirectory => "missing-directory",
            Self::Version => "version",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Duplicate => "duplicate",
            Self::HardLink => "hard-link",
            Self::Foreign => "foreign",
            Self::NoFile => "no-file",
            Self::Envelope => "envelope",
            Self::OtherMessage => "other-message",
            Self::Size => "size",
            Self::Digest => "digest",
            Self::NulTail => "nul-tail",
            Self::Unreadable => "unreadable",
            Self::Misplaced => "misplaced",
            Self::Unfinished => "unfinished",
            Self::OrphanReport => "orphan-report",
            Self::LeftReport => "left-report",
            Self::Report => "report",
            Self::OrphanJournal => "orphan-journal",
            Self::Journal => "journal",
        }
    }

    /// What a repair does about it.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::MissingDirectory => Remedy::Make,
            Self::Version => Remedy::Anew,
            Self::Mode => Remedy::Mode,
            Self::Owner => Remedy::Owner,
            Self::Duplicate => Remedy::Twins(Twins::Unjudged),
            Self::HardLink => Remedy::Tell(
                "whoever has the other name can change the message: find it (find / -xdev -samefile FILE) and remove it",
            ),
            Self::Unreadable => {
                Remedy::Tell("look for the disk's errors in the kernel log; compare with a backup")
            }
            Self::WrongType | Self::Foreign => Remedy::SetAside(Cause::Foreign),
            Self::NoFile => Remedy::Defer(Cause::Foreign),
            Self::Envelope => Remedy::Defer(Cause::Envelope),
            Self::OtherMessage | Self::Size | Self::Digest | Self::NulTail => Remedy::Defer(Cause::Damaged),
            Self::Misplaced => Remedy::Rename,
            Self::Unfinished
            | Self::OrphanReport
            | Self::LeftReport
            | Self::Report
            | Self::OrphanJournal
            | Self::Journal => Remedy::SetAside(Cause::LeftOver),
        }
    }

    /// Whether it may be repaired in `dir` while a daemon works on the spool. What
    /// is in the hands of a worker, a delivery or an intake is theirs, and the
    /// spool's own frame nobody's.
    #[must_use]
    pub const fn is_repaired_beside(self, dir: Dir) -> bool {
        match (self, self.remedy()) {
            (_, Remedy::Mode | Remedy::Owner) => true,
            (Self::Foreign, _) | (_, Remedy::Defer(_) | Remedy::Rename) => {
                matches!(dir, Dir::Incoming | Dir::Waiting | Dir::Deferred)
            }
            _ => false,
        }
    }

    /// Whether a re-look may find it gone: what is just being written, or about to
    /// be removed, looks like it.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Unfinished | Self::OrphanReport | Self::LeftReport | Self::Report | Self::OrphanJournal
        )
    }
}

impl fmt::Display for Remedy {
    /// What will have been done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make => f.write_str("made, durably"),
            Self::Anew => f.write_str("moved to deferred/ and written anew"),
            Self::Mode => f.write_str("given the right mode"),
            Self::Owner => f.write_str("given to the spool's owner"),
            Self::Twins(Twins::Unjudged) => {
                f.write_str("the newer name stays if both are the same message, else both moved to deferred/")
            }
            Self::Twins(Twins::Same) => {
                f.write_str("the other is verified to be the same message and was removed; this one stays")
            }
            Self::Twins(Twins::Different) => {
                f.write_str("they are not the same message: all moved to deferred/, cause duplicate")
            }
            Self::SetAside(cause) => write!(f, "moved to deferred/ under a new id, cause {cause}"),
            Self::Defer(cause) => write!(f, "deferred, cause {cause}"),
            Self::Rename => f.write_str("renamed without the mark"),
            Self::Tell(advice) => f.write_str(advice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_its_own_word() {
        let mut words: Vec<&str> = Trouble::ALL.iter().map(|trouble| trouble.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Trouble::ALL.len());
        assert!(Trouble::ALL.is_sorted(), "the order of repairs is that of the enum");
    }

    #[test]
    fn a_path_is_a_place_and_a_place_a_path() {
        for path in ["incoming/x", "claimed/3/x", "claimed/3", "claimed", "version", "drop/a b"] {
            let place = Place::at(Path::new(path)).expect("a place");
            assert_eq!(place.path(), path);
        }
        for path in [
            "",
            ".",
            "..",
            "/",
            "/etc/passwd",
            "../x",
            "./x",
            "incoming/..",
            "incoming/x/y",
            "claimed/x/y",
            "x/y",
        ] {
            assert_eq!(Place::at(Path::new(path)), None, "{path}");
        }
        assert_eq!(Place::new(Dir::Drop, "a\x1b[2J\n").to_string(), "drop/a\\u{1b}[2J\\n");
    }
}
