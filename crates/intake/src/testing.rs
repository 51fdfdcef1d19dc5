//! What the tests of this crate share: a spool in a temporary folder, on a disk
//! that fails when it is told to.
//!
//! Must never be compiled into the program.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lazaret_envelope::Timestamp;
use lazaret_spool::layout::FULL_FILE;
use lazaret_spool::storage::{LockFile, Room, Status, Storage, StoredFile};
use lazaret_spool::{Dir, Disk, Spool, WorkerId};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::gate::IntakeGate;
use crate::room::Reserve;

/// A spool in a folder of its own.
pub(crate) struct Place {
    pub(crate) spool: Spool,
    pub(crate) faults: Faults,
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("spool");
        Spool::create(&root).unwrap();
        let faults = Faults::default();
        let disk = FaultyDisk { disk: Disk::open(&root).unwrap(), faults: faults.clone() };
        Self { spool: Spool::on(Arc::new(disk), &root), faults, folder }
    }
}

/// An open gate that keeps no reserve.
pub(crate) fn gate() -> Arc<IntakeGate> {
    Arc::new(IntakeGate::new(Reserve { bytes: 0, inodes: 0 }, |_| {}))
}

/// What the owner does to a spool whose queue is too long.
pub(crate) fn fill(spool: &Spool) {
    std::fs::write(spool.root().join(FULL_FILE), "").unwrap();
}

/// What he does once it is not.
pub(crate) fn unfill(spool: &Spool) {
    std::fs::remove_file(spool.root().join(FULL_FILE)).unwrap();
}

/// The names in a directory, sorted.
pub(crate) fn names(spool: &Spool, dir: Dir) -> Vec<String> {
    let mut names = Vec::new();
    spool.scan(dir, |_, raw| names.push(raw.to_string_lossy().into_owned())).unwrap();
    names.sort();
    names
}

/// The messages in `incoming/` without their envelopes, sorted by content: ids of
/// the same millisecond come in no order.
pub(crate) fn contents(spool: &Spool) -> Vec<Vec<u8>> {
    let read = |name: &String| {
        let file = std::fs::read(spool.path(Dir::Incoming).join(name)).unwrap();
        file[lazaret_envelope::text_length(&file).unwrap()..].to_vec()
    };
    let mut contents: Vec<_> = names(spool, Dir::Incoming).iter().map(read).collect();
    contents.sort();
    contents
}

/// What fails, and how.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<(String, Errno)>>>);

impl Faults {
    /// From now on operations that begin with `what` fail: a verb, and for some
    /// a directory or path.
    pub(crate) fn fail(&self, what: &str, error: Errno) {
        *self.0.lock().unwrap() = Some((what.into(), error));
    }

    pub(crate) fn mend(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn check(&self, operation: &str) -> io::Result<()> {
        match &*self.0.lock().unwrap() {
            Some((what, error)) if operation.starts_with(what) => Err((*error).into()),
            _ => Ok(()),
        }
    }
}

struct FaultyDisk {
    disk: Disk,
    faults: Faults,
}

impl FaultyDisk {
    fn wrap(&self, inner: Box<dyn StoredFile>) -> Box<dyn StoredFile> {
        Box::new(FaultyFile { inner, faults: self.faults.clone() })
    }
}

impl Storage for FaultyDisk {
    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        self.faults.check(&format!("create {dir}"))?;
        Ok(self.wrap(self.disk.create(dir, name)?))
    }

    fn open_append(&self, dir: Dir, name: &str) -> io::Result<(Box<dyn StoredFile>, bool)> {
        self.disk.open_append(dir, name)
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        Ok(self.wrap(self.disk.open(dir, name)?))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        self.faults.check(&format!("rename {}", to.0))?;
        self.disk.rename(from, to)
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        self.faults.check(&format!("unlink {dir}/{name}"))?;
        self.disk.unlink(dir, name)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        self.faults.check(&format!("sync_dir {dir}"))?;
        self.disk.sync_dir(dir)
    }

    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        self.disk.list(dir, visit)
    }

    fn status(&self, dir: Dir, name: &OsStr) -> io::Result<Status> {
        self.disk.status(dir, name)
    }

    fn rename_foreign(&self, from: (Dir, &OsStr), to: (Dir, &str)) -> io::Result<()> {
        self.faults.check(&format!("rename {}/{}", from.0, from.1.to_string_lossy()))?;
        self.disk.rename_foreign(from, to)
    }

    fn workers(&self) -> io::Result<Vec<WorkerId>> {
        self.disk.workers()
    }

    fn make_dir(&self, dir: Dir) -> io::Result<()> {
        self.disk.make_dir(dir)
    }

    fn set_mode(&self, dir: Dir, name: &OsStr, mode: u32) -> io::Result<()> {
        self.disk.set_mode(dir, name, mode)
    }

    fn set_owner(&self, dir: Dir, name: &OsStr, owner: u32) -> io::Result<()> {
        self.disk.set_owner(dir, name, owner)
    }

    fn lock_file(&self) -> io::Result<Box<dyn LockFile>> {
        self.disk.lock_file()
    }

    fn room(&self) -> io::Result<Room> {
        self.faults.check("room")?;
        self.disk.room()
    }

    fn is_in_place(&self, dir: Dir) -> io::Result<bool> {
        self.disk.is_in_place(dir)
    }

    fn pause(&self, time: Duration) {
        self.disk.pause(time);
    }

    fn now(&self) -> Timestamp {
        self.disk.now()
    }

    fn unique(&self) -> u128 {
        self.disk.unique()
    }
}

struct FaultyFile {
    inner: Box<dyn StoredFile>,
    faults: Faults,
}

impl StoredFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.check("append")?;
        self.inner.append(bytes)
    }

    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.overwrite(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check("sync_file")?;
        self.inner.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.faults.check("sync_all")?;
        self.inner.sync_all()
    }

    fn status(&self) -> io::Result<Status> {
        self.inner.status()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.inner.is_linked()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
