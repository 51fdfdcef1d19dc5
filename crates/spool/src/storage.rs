//! What the spool needs of a disk: a handful of operations on named files in
//! known directories, a clock and a source of randomness.
//!
//! Everything durable goes through this trait, so that a simulated disk can
//! lose, tear and reorder what the real one may. An implementation must never
//! make anything durable that was not asked for by a sync.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lazaret_envelope::Timestamp;

use crate::layout::{Dir, VERSION_FILE, VERSION_TEXT, WorkerId};

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

impl Kind {
    /// The words for it in a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Special => "a FIFO, socket or device",
        }
    }
}

/// What is known of a name without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// The number of the inode.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The owner's user id.
    pub owner: u32,
    /// How many names it has.
    pub links: u64,
    /// When its bytes were changed last.
    pub modified: Timestamp,
}

/// Room that is left for new mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free bytes for this user.
    pub bytes: u64,
    /// Free inodes for this user; `None` where the file system has no such limit.
    pub inodes: Option<u64>,
}

/// An open file of the spool.
pub trait StoredFile: Send + Sync {
    /// Appends bytes.
    ///
    /// # Errors
    /// As write(2).
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Overwrites bytes that were written before.
    ///
    /// # Errors
    /// As pwrite(2).
    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads at an offset; 0 at the end of the file.
    ///
    /// # Errors
    /// As pread(2).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes durable.
    ///
    /// # Errors
    /// As fsync(2). Never try again.
    fn sync(&self) -> io::Result<()>;

    /// Makes everything durable that was done on the file system so far.
    ///
    /// # Errors
    /// As syncfs(2). Never try again.
    fn sync_all(&self) -> io::Result<()>;

    /// What is known of the file.
    ///
    /// # Errors
    /// As fstat(2).
    fn status(&self) -> io::Result<Status>;

    /// Takes the lock on the file if nobody else has it; the lock goes with
    /// the last descriptor.
    ///
    /// # Errors
    /// As flock(2).
    fn try_lock(&self) -> io::Result<bool>;

    /// Whether a name still leads to the file.
    ///
    /// # Errors
    /// As fstat(2).
    fn is_linked(&self) -> io::Result<bool>;

    /// The descriptor, where there is one to hand over.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// The file that the one owner of a spool holds locked, and that says who that is.
pub trait LockFile: Send {
    /// Takes the lock if nobody else has it; it goes with the descriptor.
    ///
    /// # Errors
    /// As flock(2).
    fn try_lock(&self) -> io::Result<bool>;

    /// What stands in it, up to [`LOCK_TEXT_BYTES_MAX`].
    ///
    /// # Errors
    /// As read(2).
    fn text(&mut self) -> io::Result<Vec<u8>>;

    /// Has it say something else, durably. A crash meanwhile may leave it torn, or
    /// the beginning of the one before the end of the other.
    ///
    /// # Errors
    /// As write(2), ftruncate(2) and fsync(2).
    fn replace(&mut self, text: &str) -> io::Result<()>;
}

/// Most bytes of the lock file that are read.
pub const LOCK_TEXT_BYTES_MAX: usize = 256;

/// Writes the file that says which version of the layout a spool has, durably.
pub(crate) fn write_version(storage: &dyn Storage) -> io::Result<()> {
    let mut file = storage.create(Dir::Top, VERSION_FILE)?;
    file.append(VERSION_TEXT.as_bytes())?;
    file.sync()?;
    storage.sync_dir(Dir::Top)
}

/// A disk that holds a spool.
pub trait Storage: Send + Sync {
    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    /// As open(2).
    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Opens a file for appending, creating it if need be; says whether it was
    /// created.
    ///
    /// # Errors
    /// As open(2).
    fn open_append(&self, dir: Dir, name: &str) -> io::Result<(Box<dyn StoredFile>, bool)>;

    /// Opens a file for reading; never follows a link, never waits for a FIFO.
    ///
    /// # Errors
    /// As open(2).
    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Moves a name; never replaces another one.
    ///
    /// # Errors
    /// As renameat2(2) with `RENAME_NOREPLACE`.
    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// As unlink(2).
    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()>;

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// As fsync(2) or syncfs(2). Never try again.
    fn sync_dir(&self, dir: Dir) -> io::Result<()>;

    /// Calls `visit` with each name in a directory, in no order. What is no
    /// UTF-8 comes with replacement characters and so is no name of ours.
    ///
    /// # Errors
    /// As getdents(2).
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&std::ffi::OsStr)) -> io::Result<()>;

    /// What is known of a name; never follows a link.
    ///
    /// # Errors
    /// As fstatat(2).
    fn status(&self, dir: Dir, name: &std::ffi::OsStr) -> io::Result<Status>;

    /// Moves any name, ours or not, to one of ours; never replaces another one.
    ///
    /// # Errors
    /// As renameat2(2) with `RENAME_NOREPLACE`.
    fn rename_foreign(&self, from: (Dir, &std::ffi::OsStr), to: (Dir, &str)) -> io::Result<()>;

    /// Whether the names under which a directory was opened still lead to it:
    /// neither it nor one above it was removed or renamed away. Opens it, if that
    /// was not done yet.
    ///
    /// # Errors
    /// As open(2) and fstat(2).
    fn is_in_place(&self, dir: Dir) -> io::Result<bool>;

    /// The workers that have a directory.
    ///
    /// # Errors
    /// As getdents(2).
    fn workers(&self) -> io::Result<Vec<WorkerId>>;

    /// Makes a directory with its mode, durably, if it is not there yet.
    ///
    /// # Errors
    /// As mkdir(2) and fsync(2).
    fn make_dir(&self, dir: Dir) -> io::Result<()>;

    /// Gives a file or directory another mode; never follows a link.
    ///
    /// # Errors
    /// As chmod(2).
    fn set_mode(&self, dir: Dir, name: &std::ffi::OsStr, mode: u32) -> io::Result<()>;

    /// Gives a file or directory to another user; never follows a link.
    ///
    /// # Errors
    /// As chown(2).
    fn set_owner(&self, dir: Dir, name: &std::ffi::OsStr, owner: u32) -> io::Result<()>;

    /// Opens the lock file, making it if need be.
    ///
    /// # Errors
    /// As open(2).
    fn lock_file(&self) -> io::Result<Box<dyn LockFile>>;

    /// Room that is left.
    ///
    /// # Errors
    /// As statvfs(3).
    fn room(&self) -> io::Result<Room>;

    /// Lets time pass.
    fn pause(&self, time: Duration);

    /// The time.
    fn now(&self) -> Timestamp;

    /// A number that nobody else draws; the low 80 bits count.
    fn unique(&self) -> u128;
}
