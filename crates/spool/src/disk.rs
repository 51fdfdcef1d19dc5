//! The real disk: [`Storage`] by system calls relative to open directories.
//!
//! Nothing here decides anything. It must never follow a link inside of the
//! spool and never replace a name by a rename.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lazaret_envelope::Timestamp;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};

use crate::ground::{SyncNames, sync_names};
use crate::layout::{Dir, LOCK_FILE, WorkerId};
use crate::storage::{Kind, LOCK_TEXT_BYTES_MAX, LockFile, Room, Status, Storage, StoredFile};

/// A spool on a real file system.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    top: OwnedFd,
    /// Whose the spool is, where root makes files in it: they are to be his.
    heir: Option<Uid>,
    sync_names: SyncNames,
    open: Mutex<BTreeMap<Dir, Arc<OwnedFd>>>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const NEW_FILE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const APPEND: OFlags = OFlags::RDWR.union(OFlags::APPEND).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const LOCK: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

impl Disk {
    /// Opens the directory that holds a spool.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(root: &Path) -> io::Result<Self> {
        // Users who may only put mail into `drop/` can't read the top either; a
        // descriptor that leads on is all that is needed of it.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = fs::open(root, flags, Mode::empty())?;
        let owner = Uid::from_raw(fs::fstat(&top)?.st_uid);
        let heir = (geteuid().is_root() && !owner.is_root()).then_some(owner);
        let sync_names = sync_names(top.as_fd());
        Ok(Self { root: root.to_owned(), top, heir, sync_names, open: Mutex::default() })
    }

    /// Where the spool lies.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory's descriptor; opened once. Those who may only write into
    /// `drop/` can't open it for reading, which is why none is opened ahead.
    fn dir(&self, dir: Dir) -> io::Result<Arc<OwnedFd>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = open.get(&dir) {
            return Ok(Arc::clone(fd));
        }
        let path = dir.to_string();
        let fd = match fs::openat(&self.top, path.as_str(), DIRECTORY, Mode::empty()) {
            Err(Errno::ACCESS) => {
                fs::openat(&self.top, path.as_str(), DIRECTORY | OFlags::PATH, Mode::empty())?
            }
            other => other?,
        };
        let fd = Arc::new(fd);
        open.insert(dir, Arc::clone(&fd));
        Ok(fd)
    }

    /// What root has made belongs to the spool's owner, who could not use it else.
    fn hand_over(&self, made: &OwnedFd) -> io::Result<()> {
        Ok(self.heir.map_or(Ok(()), |owner| fs::fchown(made, Some(owner), None))?)
    }

    /// A descriptor of the file or directory itself, to change what is known of it.
    fn name_itself(&self, dir: Dir, name: &OsStr) -> io::Result<OwnedFd> {
        Ok(fs::openat(
            self.dir(dir)?,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }
}

impl Storage for Disk {
    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mode = Mode::from_raw_mode(dir.file_mode());
        let file = fs::openat(self.dir(dir)?, name, NEW_FILE, mode)?;
        self.hand_over(&file)?;
        if dir == Dir::Drop {
            // Whatever the user's umask: the owner of the spool must be able to read it.
            fs::fchmod(&file, mode)?;
        }
        Ok(Box::new(DiskFile(file.into())))
    }

    fn open_append(&self, dir: Dir, name: &str) -> io::Result<(Box<dyn StoredFile>, bool)> {
        let directory = self.dir(dir)?;
        let (file, created) = match fs::openat(&directory, name, APPEND, Mode::empty()) {
            Err(Errno::NOENT) => {
                let flags = APPEND | OFlags::CREATE | OFlags::EXCL;
                let file = fs::openat(&directory, name, flags, Mode::from_raw_mode(dir.file_mode()))?;
                self.hand_over(&file)?;
                (file, true)
            }
            other => (other?, false),
        };
        Ok((Box::new(DiskFile(file.into())), created))
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let file = fs::openat(self.dir(dir)?, name, READ, Mode::empty())?;
        Ok(Box::new(DiskFile(file.into())))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        self.rename_foreign((from.0, OsStr::new(from.1)), to)
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(self.dir(dir)?, name, AtFlags::empty())?)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        let dir = self.dir(dir)?;
        Ok(match self.sync_names {
            SyncNames::OfDirectory => fs::fsync(dir),
            SyncNames::OfFileSystem => fs::syncfs(dir),
        }?)
    }

    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        for entry in fs::Dir::read_from(self.dir(dir)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                visit(OsStr::from_bytes(name));
            }
        }
        Ok(())
    }

    fn status(&self, dir: Dir, name: &OsStr) -> io::Result<Status> {
        Ok(status(&fs::statat(self.dir(dir)?, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn rename_foreign(&self, from: (Dir, &OsStr), to: (Dir, &str)) -> io::Result<()> {
        Ok(fs::renameat_with(self.dir(from.0)?, from.1, self.dir(to.0)?, to.1, RenameFlags::NOREPLACE)?)
    }

    fn is_in_place(&self, dir: Dir) -> io::Result<bool> {
        let place = |stat: fs::Stat| (stat.st_dev, stat.st_ino);
        let held = place(fs::fstat(self.dir(dir)?)?);
        match fs::stat(self.root.join(dir.to_string())) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            named => Ok(place(named?) == held),
        }
    }

    fn workers(&self) -> io::Result<Vec<WorkerId>> {
        let mut workers = Vec::new();
        self.list(Dir::Workers, &mut |name| workers.extend(WorkerId::from_name(name)))?;
        workers.sort_unstable();
        Ok(workers)
    }

    fn make_dir(&self, dir: Dir) -> io::Result<()> {
        let mode = Mode::from_raw_mode(dir.mode());
        match fs::mkdirat(&self.top, dir.to_string(), mode) {
            Ok(()) => {}
            // Opened now: later there may be no descriptor left for it.
            Err(Errno::EXIST) => return self.dir(dir).map(drop),
            Err(error) => return Err(error.into()),
        }
        let made = self.dir(dir)?;
        fs::fchmod(&made, mode)?;
        self.hand_over(&made)?;
        self.sync_dir(if matches!(dir, Dir::Claimed(_)) { Dir::Workers } else { Dir::Top })
    }

    fn set_mode(&self, dir: Dir, name: &OsStr, mode: u32) -> io::Result<()> {
        let file = self.name_itself(dir, name)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // A link has no mode of its own, and none may be followed.
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
    }

    fn set_owner(&self, dir: Dir, name: &OsStr, owner: u32) -> io::Result<()> {
        let file = self.name_itself(dir, name)?;
        Ok(fs::chownat(&file, "", Some(Uid::from_raw(owner)), None, AtFlags::EMPTY_PATH)?)
    }

    fn lock_file(&self) -> io::Result<Box<dyn LockFile>> {
        let file = fs::openat(&self.top, LOCK_FILE, LOCK, Mode::RUSR | Mode::WUSR)?;
        self.hand_over(&file)?;
        Ok(Box::new(DiskLock(file.into())))
    }

    fn room(&self) -> io::Result<Room> {
        let system = fs::fstatvfs(&self.top)?;
        let bytes = fs2::available_space(&self.root)?;
        // btrfs allots inodes as it goes and says that it has none at all.
        Ok(Room { bytes, inodes: (system.f_files > 0).then_some(system.f_favail) })
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn unique(&self) -> u128 {
        let mut bytes = [0; 16];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                // getrandom(2) fails only where the call does not exist (before Linux 3.17).
                Err(error) => panic!("no randomness from the kernel: {error}"),
            }
        }
        u128::from_ne_bytes(bytes)
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl StoredFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.0)?)
    }

    fn status(&self) -> io::Result<Status> {
        Ok(status(&fs::fstat(&self.0)?))
    }

    fn try_lock(&self) -> io::Result<bool> {
        try_lock(&self.0)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(fs::fstat(&self.0)?.st_nlink > 0)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[derive(Debug)]
struct DiskLock(File);

impl LockFile for DiskLock {
    fn try_lock(&self) -> io::Result<bool> {
        try_lock(&self.0)
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut text = vec![0; LOCK_TEXT_BYTES_MAX];
        let count = self.0.read_at(&mut text, 0)?;
        text.truncate(count);
        Ok(text)
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        // Over what stands there: a daemon whose deliveries are to make room must
        // be able to start on a disk that has none.
        self.0.write_all_at(text.as_bytes(), 0)?;
        self.0.set_len(text.len() as u64)?;
        self.0.sync_all()
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        Err(error) => Err(error),
    }
}

fn status(stat: &fs::Stat) -> Status {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    };
    Status {
        kind,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        owner: stat.st_uid,
        links: stat.st_nlink,
        modified: Timestamp::from_second(stat.st_mtime).unwrap_or(Timestamp::MAX),
    }
}
