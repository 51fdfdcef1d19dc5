//! A spool as anybody may see it: where it lies, what it holds, and the way to
//! put a message into it.
//!
//! Opening a spool changes nothing in it. What moves accepted mail must never
//! be here: that needs the [`Owner`](crate::Owner).

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lazaret_envelope::{Line, MessageId, Timestamp};

use crate::disk::Disk;
use crate::error::{Context, Severity, SpoolError};
use crate::layout::{CONTROL_SOCKET, Dir, VERSION_FILE, VERSION_TEXT};
use crate::name::Name;
use crate::storage::{Kind, Room, Storage, write_version};

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
        "the spool at {path} has the layout \"{found}\", and this version of Lazaret knows only \"{known}\"; \
         if that is no layout at all: lazaret check --repair",
        known = VERSION_TEXT.trim_end()
    )]
    Version {
        /// Where it is.
        path: PathBuf,
        /// What its version file says.
        found: Line,
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
        match fs::read(&version) {
            Ok(text) if text == VERSION_TEXT.as_bytes() => {}
            Ok(text) => {
                let found = Line::escaped(text.trim_ascii_end());
                return Err(OpenError::Version { path: root.into(), found });
            }
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

    /// Opens a spool whose version file may be missing or damaged, to look at it and
    /// to repair it. What lacks half of its directories as well is taken for no spool.
    ///
    /// # Errors
    /// There is none, it is of another version, or it can't be read.
    pub fn open_as_it_is(root: &Path) -> Result<Self, OpenError> {
        let refused = match Self::open(root) {
            Err(error @ (OpenError::Missing { .. } | OpenError::Version { .. })) => error,
            other => return other,
        };
        if let OpenError::Version { found, .. } = &refused
            && is_version(found.as_str())
        {
            return Err(refused);
        }
        let dirs = Dir::below_top();
        let there = dirs.iter().filter(|dir| root.join(dir.to_string()).is_dir()).count();
        match Disk::open(root) {
            Ok(disk) if there > dirs.len() / 2 => Ok(Self::on(Arc::new(disk), root)),
            _ => Err(refused),
        }
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
        make_top(root).map_err(error("make", root))?;
        let disk = Disk::open(root).map_err(error("open", root))?;
        for dir in Dir::below_top() {
            disk.make_dir(dir).map_err(error("make", &root.join(dir.to_string())))?;
        }
        let version = root.join(VERSION_FILE);
        if !version.exists() {
            write_version(&disk).map_err(error("write", &version))?;
        }
        fs::File::open(above).and_then(|dir| dir.sync_all()).map_err(error("sync", above))?;
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
        let room =
            self.storage.room().context(|| format!("ask for the room left at {}", self.root.display()));
        room.map_err(|error| self.or_displaced(&[Dir::Tmp], error))
    }

    /// The time, as the spool's storage tells it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.storage.now()
    }

    /// Makes the names of a directory durable. Where that fails, whatever it is
    /// that failed, nobody knows what is durable: the spool is broken. So it is
    /// where the directory is another one by now, in which nobody will look.
    pub(crate) fn sync_dir(&self, dir: Dir) -> Result<(), SpoolError> {
        self.storage.sync_dir(dir).context(|| format!("sync {dir}")).map_err(SpoolError::unsure)?;
        self.expect_in_place(dir)
    }

    fn expect_in_place(&self, dir: Dir) -> Result<(), SpoolError> {
        match self.storage.is_in_place(dir).context(|| format!("look at {dir}"))? {
            true => Ok(()),
            false => Err(SpoolError::displaced(dir)),
        }
    }

    /// Makes sure that every directory is where it belongs, and is open: later
    /// there may be no descriptor left for one.
    ///
    /// # Errors
    /// One was removed or renamed away, or can't be looked at.
    pub fn expect_all_in_place(&self) -> Result<(), SpoolError> {
        Dir::FIXED.into_iter().try_for_each(|dir| self.expect_in_place(dir))
    }

    /// A name of `dirs` was not found: where that is so because one of them is
    /// gone, it is what is wrong, and nobody moved a message.
    pub(crate) fn or_displaced(&self, dirs: &[Dir], error: SpoolError) -> SpoolError {
        if error.severity() != Severity::Gone {
            return error;
        }
        let missing = |dir: &&Dir| matches!(self.storage.is_in_place(**dir), Ok(false));
        dirs.iter().find(missing).map_or(error, |dir| SpoolError::displaced(*dir))
    }

    /// A new id: later than every one that this process gave out before.
    pub(crate) fn new_id(&self) -> MessageId {
        let now = u64::try_from(self.storage.now().as_millisecond()).unwrap_or(0);
        let drawn = MessageId::from_parts(now, self.storage.unique());
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if drawn > *last { drawn } else { last.following(self.storage.unique()) };
        *last
    }

    /// Whether something stands there that is no regular file.
    pub(crate) fn is_no_file(&self, dir: Dir, raw: &OsStr) -> Result<bool, SpoolError> {
        match self.storage.status(dir, raw) {
            Ok(status) => Ok(status.kind != Kind::File),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("look at {dir}/{}", raw.display())),
        }
    }

    /// Calls `visit` with the name of each message in a directory, in no order;
    /// `None` and the raw name for what is none.
    ///
    /// # Errors
    /// The directory can't be listed.
    pub fn scan(&self, dir: Dir, mut visit: impl FnMut(Option<Name>, &OsStr)) -> Result<(), SpoolError> {
        let list = self.storage.list(dir, &mut |raw| {
            visit(raw.to_str().and_then(|text| text.parse().ok()), raw);
        });
        list.context(|| format!("list {dir}"))
    }

    /// The directories of messages that are on their way.
    pub(crate) fn passing_dirs(&self) -> Result<impl Iterator<Item = Dir> + use<>, SpoolError> {
        let workers = self.storage.workers().context(|| "list claimed")?;
        let claimed = workers.into_iter().map(Dir::Claimed);
        Ok([Dir::Incoming].into_iter().chain(claimed).chain([Dir::Outbound, Dir::Waiting]))
    }

    /// Calls `visit` for each accepted message, directory by directory.
    ///
    /// # Errors
    /// A directory can't be listed.
    pub fn scan_messages(&self, mut visit: impl FnMut(Dir, Name)) -> Result<(), SpoolError> {
        for dir in self.passing_dirs()?.chain([Dir::Deferred]) {
            self.scan(dir, |name, _| {
                if let Some(name) = name {
                    visit(dir, name);
                }
            })?;
        }
        Ok(())
    }

    /// Counts what the directories hold.
    ///
    /// # Errors
    /// A directory can't be listed.
    pub fn count(&self) -> Result<Counts, SpoolError> {
        let mut counts = Counts::default();
        self.scan(Dir::Drop, |_, raw| counts.drop += u64::from(!raw.as_encoded_bytes().starts_with(b".")))?;
        self.scan_messages(|dir, _| match dir {
            Dir::Incoming => counts.incoming += 1,
            Dir::Claimed(_) => counts.claimed += 1,
            Dir::Outbound => counts.outbound += 1,
            Dir::Waiting => counts.waiting += 1,
            Dir::Deferred => counts.deferred += 1,
            Dir::Top | Dir::Tmp | Dir::Drop | Dir::Journal | Dir::Workers => {}
        })?;
        Ok(counts)
    }
}

/// Whether a version file says a version, known or not.
fn is_version(text: &str) -> bool {
    let kind = VERSION_TEXT.split(' ').next().unwrap_or(VERSION_TEXT);
    text.split_once(' ').is_some_and(|(word, number)| {
        word == kind && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Makes the top with exactly its mode. One that is there stays as it is: its mode
/// is the administrator's word.
fn make_top(path: &Path) -> io::Result<()> {
    let mode = Dir::Top.mode();
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
