//! The one process that may move accepted mail: it holds the spool's lock.
//!
//! It claims, scans and wakes messages, and makes the traces of finished ones
//! durable. Everything that one message can go through is in [`state`](crate::state);
//! what happened before this process started is [`recovery`](crate::recovery)'s.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use lazaret_envelope::{Line, MessageId};
use tracing::{debug, error, warn};

use crate::error::{Context, Severity, SpoolError};
use crate::layout::{Dir, LOCK_FILE, WorkerId, journal_name};
use crate::name::Name;
use crate::spool::Spool;
use crate::storage::{LOCK_TEXT_BYTES_MAX, LockFile};
use crate::table::{INTERRUPTIONS_MAX, STRIKES_MAX};
use crate::throttle::Throttle;

/// The owner of a spool. Cheap to clone; the lock goes with the last clone.
#[derive(Clone)]
pub struct Owner {
    pub(crate) spool: Spool,
    shared: Arc<Shared>,
}

struct Shared {
    lock: Mutex<Box<dyn LockFile>>,
    unsynced: Mutex<Unsynced>,
    /// Held while traces are made durable: who waits for it finds them so.
    flushing: Mutex<()>,
    /// Held by a release until the report is gone: a claim meanwhile could end in
    /// a new one, which the release must not take for the old.
    releasing: RwLock<()>,
    last_stop: LastStop,
    in_order: AtomicBool,
    /// Room is not waited for any more.
    stopping: AtomicBool,
    no_room: Throttle,
}

/// What messages that moved on or are finished left behind that is not durable
/// yet.
#[derive(Default)]
struct Unsynced {
    dirs: BTreeSet<Dir>,
    journals: Vec<MessageId>,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner of {:?}", self.spool)
    }
}

/// Why a spool can't be owned.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Somebody else has it.
    #[error("the spool at {path} is in use: {holder}; stop that one first, or name another spool")]
    Held {
        /// The spool.
        path: PathBuf,
        /// What the other one says of itself.
        holder: Line,
    },
    /// The lock file can't be used.
    #[error("failed to lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// How it was refused.
        source: io::Error,
    },
}

/// How often a lock that somebody holds is tried.
const LOCK_TRIES: u32 = 200;

/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock, and says whether that was possible. An owner that was killed
/// while it started a child leaves the lock with that one until it has become
/// another program: a lock that is held may be free in a moment.
fn wait_for(lock: &dyn LockFile) -> io::Result<bool> {
    for _ in 1..LOCK_TRIES {
        if lock.try_lock()? {
            return Ok(true);
        }
        thread::sleep(LOCK_PAUSE);
    }
    lock.try_lock()
}

/// What the lock file says after a clean stop.
const STOPPED: &str = "stopped cleanly\n";

/// How the owner before this one ended, as the lock file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastStop {
    /// There was none: the file is empty, and so new.
    Never,
    /// It stopped cleanly.
    Clean,
    /// It was its owner's to the end.
    Unclean,
}

impl LastStop {
    fn read(text: &[u8]) -> Self {
        match text {
            [] => Self::Never,
            text if text == STOPPED.as_bytes() => Self::Clean,
            _ => Self::Unclean,
        }
    }
}

impl fmt::Display for LastStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Clean => "clean",
            Self::Unclean => "unclean",
        })
    }
}

/// Pause between two looks for room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

impl Spool {
    /// Whether the last owner has stopped cleanly, and no other has come.
    #[must_use]
    pub fn was_left_cleanly(&self) -> bool {
        let mut text = vec![0; LOCK_TEXT_BYTES_MAX];
        let read = self.storage.open(Dir::Top, LOCK_FILE).and_then(|file| file.read_at(&mut text, 0));
        read.is_ok_and(|count| text[..count] == *STOPPED.as_bytes())
    }
}

impl Owner {
    /// Takes the spool's lock. There is one owner at a time.
    ///
    /// # Errors
    /// Somebody else holds the lock and goes on holding it, or it can't be used.
    pub fn take(spool: Spool) -> Result<Self, TakeError> {
        let path = spool.root().join(LOCK_FILE);
        let io = |source| TakeError::Io { path: path.clone(), source };
        let mut lock = spool.storage.lock_file().map_err(io)?;
        let locked = wait_for(&*lock).map_err(io)?;
        let text = lock.text().map_err(io)?;
        if !locked {
            let holder = Line::escaped(text.trim_ascii_end());
            return Err(TakeError::Held { path: spool.root().into(), holder });
        }
        let last_stop = LastStop::read(&text);
        let holder = format!(
            "pid {}, lazaret {}, since {}\n",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            spool.now().strftime("%FT%TZ")
        );
        lock.replace(&holder).map_err(io)?;
        let in_order = AtomicBool::new(last_stop == LastStop::Clean);
        let (unsynced, flushing, releasing, stopping, no_room) = Default::default();
        let shared = Shared {
            lock: Mutex::new(lock),
            unsynced,
            flushing,
            releasing,
            last_stop,
            in_order,
            stopping,
            no_room,
        };
        Ok(Self { spool, shared: Arc::new(shared) })
    }

    /// The spool.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Whether the owner before this one stopped cleanly, so that no message
    /// can have two names.
    #[must_use]
    pub(crate) fn was_clean(&self) -> bool {
        self.shared.last_stop == LastStop::Clean
    }

    pub(crate) fn last_stop(&self) -> LastStop {
        self.shared.last_stop
    }

    /// Makes a worker's directory.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make_worker(&self, worker: WorkerId) -> Result<(), SpoolError> {
        self.spool.storage.make_dir(Dir::Claimed(worker)).context(|| format!("make {}", Dir::Claimed(worker)))
    }

    /// Moves a message that is due from `waiting/` to `incoming/`; whether it
    /// was still there. Need not be durable: it would only become due again.
    ///
    /// # Errors
    /// The rename failed.
    pub fn wake(&self, name: Name) -> Result<bool, SpoolError> {
        let there = self.move_lazily((Dir::Waiting, name), (Dir::Incoming, name.next()))?;
        if there {
            debug!(id = %name.id, attempts = name.attempts, "woken");
        }
        Ok(there)
    }

    /// Makes the traces of finished messages durable; to be called at least
    /// every 100 ms while there are any. A power cut before it may bring a
    /// message back that was delivered already; one after it may not, whichever
    /// directories the message came through.
    ///
    /// # Errors
    /// A sync failed: the traces may come back, and nothing may be believed.
    pub fn flush(&self) -> Result<(), SpoolError> {
        let _flushing = self.shared.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let Unsynced { dirs, journals } = std::mem::take(&mut *self.unsynced());
        for dir in dirs {
            self.sync_dir(dir)?;
        }
        for id in journals {
            self.remove_if_there(Dir::Journal, &journal_name(id))?;
        }
        Ok(())
    }

    /// To be held while messages are claimed. None leaves quarantine meanwhile.
    pub(crate) fn unreleased(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.releasing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a message leaves quarantine and its report goes. Nothing
    /// is claimed meanwhile.
    pub(crate) fn releasing(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.releasing.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_in_order(&self) {
        self.shared.in_order.store(true, Ordering::Relaxed);
    }

    /// Writes down that nothing is in hand any more, unless an earlier owner
    /// ended badly and nobody has recovered the spool since. The lock goes when
    /// the last clone does.
    ///
    /// # Errors
    /// The traces of finished messages can't be made durable.
    pub fn stop_cleanly(&self) -> Result<(), SpoolError> {
        self.flush()?;
        if !self.shared.in_order.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.sync_all_dirs()?;
        let mut lock = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.replace(STOPPED).context(|| "write the lock file")
    }

    pub(crate) fn note_unsynced(&self, dirs: impl IntoIterator<Item = Dir>, journal: Option<MessageId>) {
        let mut unsynced = self.unsynced();
        unsynced.dirs.extend(dirs);
        unsynced.journals.extend(journal);
    }

    fn unsynced(&self) -> std::sync::MutexGuard<'_, Unsynced> {
        self.shared.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sync_dir(&self, dir: Dir) -> Result<(), SpoolError> {
        self.spool.sync_dir(dir)
    }

    /// Makes every name of the spool durable as it is now.
    pub(crate) fn sync_all_dirs(&self) -> Result<(), SpoolError> {
        let workers = self.spool.storage.workers().context(|| "list claimed")?;
        Dir::FIXED
            .into_iter()
            .chain(workers.into_iter().map(Dir::Claimed))
            .try_for_each(|dir| self.sync_dir(dir))
    }

    /// Moves a message to another state. Not durable; but its old name, which a
    /// power cut may bring back, is gone for good with the next flush, and so
    /// before anything believes that the message is.
    pub(crate) fn move_lazily(&self, from: (Dir, Name), to: (Dir, Name)) -> Result<bool, SpoolError> {
        let moved = self.try_rename(from, to)?;
        if moved {
            self.note_unsynced([from.0], None);
        }
        Ok(moved)
    }

    /// Moves a message back to `incoming/` without a mark. Where one mark more
    /// would send it to quarantine, that must not depend on a power cut.
    pub(crate) fn put_back(&self, from: (Dir, Name)) -> Result<Option<Name>, SpoolError> {
        self.move_unmarked(from, (Dir::Incoming, from.1.next()))
    }

    /// Moves a message out of hands that did nothing to it; `None` if it is gone.
    pub(crate) fn move_unmarked(
        &self,
        from: (Dir, Name),
        to: (Dir, Name),
    ) -> Result<Option<Name>, SpoolError> {
        let Name { strikes, interruptions, .. } = from.1;
        let moved = if strikes >= STRIKES_MAX || interruptions.saturating_add(1) >= INTERRUPTIONS_MAX {
            self.move_durably(from, to)
        } else {
            self.move_lazily(from, to)
        };
        Ok(moved?.then_some(to.1))
    }

    /// Renames a message; `false` if the name is gone. A directory without room
    /// for the name is waited for, until the owner is to stop: mail on its way
    /// out makes some.
    pub(crate) fn try_rename(&self, from: (Dir, Name), to: (Dir, Name)) -> Result<bool, SpoolError> {
        let (old, new) = (from.1.to_string(), to.1.to_string());
        loop {
            let renamed = self.spool.storage.rename((from.0, &old), (to.0, &new));
            let renamed = renamed.context(|| format!("rename {}/{old} to {}/{new}", from.0, to.0));
            let Err(error) = renamed.map_err(|error| self.spool.or_displaced(&[from.0, to.0], error)) else {
                return Ok(true);
            };
            match error.severity() {
                // Who waits for a time and for a next hop is called by either.
                Severity::Gone if from.0 == Dir::Waiting => {
                    debug!(id = %from.1.id, "{}/{old} is gone: it was woken already", from.0);
                    return Ok(false);
                }
                Severity::Gone => {
                    warn!(id = %from.1.id, "{}/{old} is gone: somebody else moved it", from.0);
                    return Ok(false);
                }
                Severity::NoRoom if !self.shared.stopping.load(Ordering::Relaxed) => {
                    if let Some(unsaid) = self.shared.no_room.say() {
                        error!(id = %from.1.id, %error, unsaid,
                            "no room for a name in a directory: what is in hand waits until there is some; \
                             make room on the spool's disk");
                    }
                    self.spool.storage.pause(ROOM_PAUSE);
                }
                _ => return Err(error),
            }
        }
    }

    /// From now on nothing waits for room any more: what has none stays where it is.
    pub fn wait_no_more(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Moves a message to another state, durably; `false` if it is gone.
    pub(crate) fn move_durably(&self, from: (Dir, Name), to: (Dir, Name)) -> Result<bool, SpoolError> {
        let moved = self.try_rename(from, to)?;
        if moved {
            self.sync_dir(to.0)?;
            self.sync_dir(from.0)?;
        }
        Ok(moved)
    }

    /// Removes a name that may be gone already.
    pub(crate) fn remove_if_there(&self, dir: Dir, name: &str) -> Result<bool, SpoolError> {
        match self.spool.storage.unlink(dir, name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("remove {dir}/{name}")),
        }
    }
}
