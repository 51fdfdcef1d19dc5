//! A spool as anybody may see it: where it lies, what it holds, and the way to
//! put a message into it.
//!
//! Opening a spool changes nothing in it. What moves accepted mail must never
//! be here: that needs the [`Owner`](crate::Owner).

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lazaret_envelope::{MessageId, Timestamp};

use crate::disk::Disk;
use crate::error::{Context, SpoolError};
use crate::layout::{CLAIMED, CONTROL_SOCKET, Dir, VERSION_FILE, VERSION_TEXT};
use crate::name::Name;
use crate::storage::{Room, Storage};

/// A spool on some storage. Cheap to clone.
#[derive(Clone)]
pub struct Spool {
    pub(crate) storage: Arc<dyn Storage>,
    root: Arc<Path>,
    /// The id given out last: ids must go up, within a millisecond and even
    /// where the clock goes back.
    last_id: Arc<Mutex<MessageId>>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({})", self.root.display())
    }
}

/// Why a spool can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no spool.
    #[error(
        "there is no spool at {path}: start `lazaret run`, which makes it, or name another one in the configuration"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It was made by another version.
    #[error(
        "the spool at {path} has the layout {found:?}, and this version of Lazaret knows only {known:?}",
        known = VERSION_TEXT.trim_end()
    )]
    Version {
        /// Where it is.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// The operating system refused.
    #[error("failed to {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// How it was refused.
        source: io::Error,
    },
}

/// Mode of the top: others may go through it to `drop/`, and see nothing.
const ROOT_MODE: u32 = 0o711;

/// How many files each directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In `drop/`.
    pub drop: u64,
    /// In `incoming/`.
    pub incoming: u64,
    /// In `claimed/`, of all workers.
    pub claimed: u64,
    /// In `outbound/`.
    pub outbound: u64,
    /// In `waiting/`.
    pub waiting: u64,
    /// Messages in `deferred/`, reports not counted.
    pub deferred: u64,
}

impl Spool {
    /// Opens the spool at `root`.
    ///
    /// # Errors
    /// There is none, it is of another version, or it can't be read.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let version = root.join(VERSION_FILE);
        match fs::read_to_string(&version) {
            Ok(text) if text == VERSION_TEXT => {}
            Ok(text) => return Err(OpenError::Version { path: root.into(), found: text.trim_end().into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path: root.into() });
            }
            Err(source) => return Err(OpenError::Io { operation: "read", path: version, source }),
        }
        let disk = Disk::open(root).map_err(|source| OpenError::Io {
            operation: "open",
            path: root.into(),
            source,
        })?;
        Ok(Self::on(Arc::new(disk), root))
    }

    /// A spool on any storage.
    #[must_use]
    pub fn on(storage: Arc<dyn Storage>, root: &Path) -> Self {
        let last_id = Arc::new(Mutex::new(MessageId::from_parts(0, 0)));
        Self { storage, root: root.into(), last_id }
    }

    /// Makes whatever of a spool is missing at `root`, durably, and opens it.
    /// The version file comes last: a spool that was half made is no spool.
    ///
    /// # Errors
    /// A directory can't be made, or [`open`](Self::open) refuses.
    pub fn create(root: &Path) -> Result<Self, OpenError> {
        let error = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { operation, path, source }
        };
        let above = root.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(error("make", above))?;
        make_dir(root, ROOT_MODE).map_err(error("make", root))?;
        make_dir(&root.join(CLAIMED), 0o700).map_err(error("make", root))?;
        for dir in Dir::FIXED {
            let path = root.join(dir.to_string());
            make_dir(&path, dir.mode()).map_err(error("make", &path))?;
        }
        let version = root.join(VERSION_FILE);
        if !version.exists() {
            write_version(&version).map_err(error("write", &version))?;
        }
        for path in
            [root, root.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))]
        {
            fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(error("sync", path))?;
        }
        Self::open(root)
    }

    /// Where the spool lies.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The socket on which a running owner takes commands.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join(CONTROL_SOCKET)
    }

    /// Path of a directory, for messages and for watching it.
    #[must_use]
    pub fn path(&self, dir: Dir) -> PathBuf {
        self.root.join(dir.to_string())
    }

    /// Room that is left for new mail.
    ///
    /// # Errors
    /// The file system can't be asked.
    pub fn room(&self) -> Result<Room, SpoolError> {
        self.storage.room().context(|| format!("ask for the room left at {}", self.root.display()))
    }

    /// The time, as the spool's storage tells it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.storage.now()
    }

    /// Makes the names of a directory durable. Where that fails, whatever it is
    /// that failed, nobody knows what is durable: the spool is broken.
    pub(crate) fn sync_dir(&self, dir: Dir) -> Result<(), SpoolError> {
        self.storage.sync_dir(dir).context(|| format!("sync {dir}")).map_err(SpoolError::unsure)
    }

    /// A new id: later than every one that this process gave out before.
    pub(crate) fn new_id(&self) -> MessageId {
        let now = u64::try_from(self.storage.now().as_millisecond()).unwrap_or(0);
        let drawn = MessageId::from_parts(now, self.storage.unique());
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if drawn > *last { drawn } else { last.following(self.storage.unique()) };
        *last
    }

    /// Calls `visit` with the name of each message in a directory, in no order;
    /// `None` and the raw name for what is none.
    ///
    /// # Errors
    /// The directory can't be listed.
    pub fn scan(
        &self,
        dir: Dir,
        mut visit: impl FnMut(Option<Name>, &std::ffi::OsStr),
    ) -> Result<(), SpoolError> {
        let list = self.storage.list(dir, &mut |raw| {
            visit(raw.to_str().and_then(|text| text.parse().ok()), raw);
        });
        list.context(|| format!("list {dir}"))
    }

    /// Counts what the directories hold.
    ///
    /// # Errors
    /// A directory can't be listed.
    pub fn count(&self) -> Result<Counts, SpoolError> {
        let count = |dir| {
            let mut number = 0;
            self.scan(dir, |name, _| number += u64::from(name.is_some())).map(|()| number)
        };
        let mut dropped = 0;
        self.scan(Dir::Drop, |_, raw| dropped += u64::from(!raw.as_encoded_bytes().starts_with(b".")))?;
        let mut claimed = 0;
        for worker in self.storage.workers().context(|| "list claimed")? {
            claimed += count(Dir::Claimed(worker))?;
        }
        Ok(Counts {
            drop: dropped,
            incoming: count(Dir::Incoming)?,
            claimed,
            outbound: count(Dir::Outbound)?,
            waiting: count(Dir::Waiting)?,
            deferred: count(Dir::Deferred)?,
        })
    }
}

/// Makes a directory with exactly this mode. One that is there stays as it is:
/// its mode is the administrator's word.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_version(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(VERSION_TEXT.as_bytes())?;
    file.sync_all()
}
