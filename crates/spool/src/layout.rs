//! The names of everything in a spool: directories, files beside them, modes.
//!
//! `queue-layout.md` describes the same in words, and a test compares the two.
//! No other module may spell a name of the spool.

use std::ffi::OsStr;
use std::fmt;

use lazaret_envelope::MessageId;

/// Number of a router worker; it names the worker's directory below `claimed/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The worker whose directory has this name.
    #[must_use]
    pub fn from_name(name: &OsStr) -> Option<Self> {
        let text = name.to_str()?;
        text.parse().ok().map(Self).filter(|worker| worker.to_string() == text)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A directory of the spool. A message's directory is its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// Being written by an intake that holds a lock on the file.
    Tmp,
    /// Drop-box for other programs and unprivileged users: untrusted.
    Drop,
    /// Accepted, waiting for a worker.
    Incoming,
    /// In the hands of a router worker: under suspicion.
    Claimed(WorkerId),
    /// Routed; a delivery is at work on it.
    Outbound,
    /// Comes back to [`Incoming`](Self::Incoming) when due.
    Waiting,
    /// Quarantine: messages and their reports.
    Deferred,
    /// What deliveries have done so far, by message.
    Journal,
    /// The top of the spool: the other directories and the files beside them.
    Top,
    /// The directory above those of the workers.
    Workers,
}

impl Dir {
    /// Every directory that holds messages or what belongs to them, but for those
    /// of the workers.
    pub const FIXED: [Self; 7] =
        [Self::Tmp, Self::Drop, Self::Incoming, Self::Outbound, Self::Waiting, Self::Deferred, Self::Journal];

    /// Every directory below the top that is always there.
    #[must_use]
    pub fn below_top() -> [Self; 8] {
        let [a, b, c, d, e, f, g] = Self::FIXED;
        [a, b, c, d, e, f, g, Self::Workers]
    }

    /// Mode of the directory: only Lazaret's user may look inside. Whoever is in
    /// the group of `drop/` may put files there, but not list or remove others'.
    /// Others may go through the top to `drop/`, and see nothing.
    #[must_use]
    pub const fn mode(self) -> u32 {
        match self {
            Self::Drop => 0o1730,
            Self::Top => 0o711,
            _ => 0o700,
        }
    }

    /// The mode that a directory found with `mode` should have: an administrator
    /// may open `drop/` to more users and the top to fewer, but never so that
    /// somebody else lists or removes files.
    #[must_use]
    pub const fn mended_mode(self, mode: u32) -> u32 {
        const STICKY: u32 = 0o1000;
        match self {
            Self::Drop if mode & 0o022 != 0 => mode & !0o044 | 0o700 | STICKY,
            Self::Drop => mode & !0o044 | 0o700,
            Self::Top => mode & !0o022 | 0o700,
            _ => mode & !0o077 | 0o700,
        }
    }

    /// Mode of a file in the directory. Those in `drop/` belong to whoever put
    /// them there, and the spool's owner must be able to read them; that nobody
    /// else can find them is the directory's work.
    #[must_use]
    pub const fn file_mode(self) -> u32 {
        match self {
            Self::Drop | Self::Top => 0o644,
            _ => 0o600,
        }
    }
}

impl fmt::Display for Dir {
    /// The path from the top of the spool.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tmp => f.write_str("tmp"),
            Self::Drop => f.write_str("drop"),
            Self::Incoming => f.write_str("incoming"),
            Self::Claimed(worker) => write!(f, "{CLAIMED}/{worker}"),
            Self::Outbound => f.write_str("outbound"),
            Self::Waiting => f.write_str("waiting"),
            Self::Deferred => f.write_str("deferred"),
            Self::Journal => f.write_str("journal"),
            Self::Top => f.write_str("."),
            Self::Workers => f.write_str(CLAIMED),
        }
    }
}

/// The directory above the workers' directories.
pub const CLAIMED: &str = "claimed";

/// What a file system that is a spool's own has at its top.
pub const LOST_AND_FOUND: &str = "lost+found";

/// The file that says which version of this layout the spool has.
pub const VERSION_FILE: &str = "version";

/// What stands in [`VERSION_FILE`].
pub const VERSION_TEXT: &str = "lazaret-spool 1\n";

/// The file that the one owner of the spool holds locked.
pub const LOCK_FILE: &str = "lock";

/// The socket on which the owner takes commands.
pub const CONTROL_SOCKET: &str = "control";

/// The file that is there while the queue is too long for more mail to come in.
pub const FULL_FILE: &str = "full";

/// Ending of the report beside a deferred message.
pub const REPORT_SUFFIX: &str = ".report";

/// Ending of a message's journal.
pub const JOURNAL_SUFFIX: &str = ".log";

/// In `drop/`, a file of this beginning is still being written.
pub const DROP_WRITING: &str = ".writing.";

/// In `tmp/`, a dropped file that is being taken in under the id that follows.
pub const TAKEN: &str = "taken.";

/// The name of a message's report.
#[must_use]
pub fn report_name(id: MessageId) -> String {
    format!("{id}{REPORT_SUFFIX}")
}

/// The name of a message's journal.
#[must_use]
pub fn journal_name(id: MessageId) -> String {
    format!("{id}{JOURNAL_SUFFIX}")
}
