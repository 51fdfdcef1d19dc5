//! Open files of the simulated disk, the lock file among them.
//!
//! A file must never be changed but by way of the world, which counts.

use std::io;
use std::os::fd::BorrowedFd;

use lazaret_envelope::Timestamp;

use super::disk::State;
use super::world::{Sim, World};
use crate::layout::Dir;
use crate::storage::{Kind, LockFile, Status, StoredFile};

pub(super) fn status(disk: &State, inode: u64) -> Status {
    let file = &disk.inodes[&inode];
    let owner = rustix::process::geteuid().as_raw();
    let (size, links) = (file.cached.len() as u64, disk.links(inode));
    // Nothing there is ever old.
    let modified = Timestamp::MAX;
    Status { kind: file.kind, inode, size, mode: file.mode, owner, links, modified }
}

/// What is known of every directory: it is as it should be.
pub(super) fn directory_status() -> Status {
    let (owner, modified) = (rustix::process::geteuid().as_raw(), Timestamp::MAX);
    Status { kind: Kind::Directory, inode: 0, size: 0, mode: Dir::Journal.mode(), owner, links: 1, modified }
}

/// An open file; a lock on it goes with it.
pub(super) struct SimFile {
    pub(super) sim: Sim,
    pub(super) inode: u64,
    pub(super) handle: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.sim.world();
        if world.locks.get(&self.inode) == Some(&self.handle) {
            world.locks.remove(&self.inode);
        }
    }
}

impl SimFile {
    fn write(&self, bytes: &[u8], at: impl Fn(&World) -> usize, what: &str) -> io::Result<()> {
        let mut world = self.sim.world();
        let place = at(&world);
        if let Err(error) = world.step(|| format!("{what} {} bytes", bytes.len())) {
            // As write(2) may: some of it is there.
            world.disk.write(self.inode, place, &bytes[..bytes.len() / 2]);
            return Err(error.into());
        }
        world.disk.write(self.inode, place, bytes);
        Ok(())
    }

    fn lock(&self) -> io::Result<bool> {
        let mut world = self.sim.world();
        world.look()?;
        Ok(*world.locks.entry(self.inode).or_insert(self.handle) == self.handle)
    }

    fn fsync(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        if let Err(error) = world.step(|| "sync the file".to_owned()) {
            world.disk.sync_file_failed(self.inode);
            return Err(error.into());
        }
        world.disk.sync_file(self.inode);
        Ok(())
    }
}

impl StoredFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, |world| world.disk.inodes[&self.inode].cached.len(), "append")
    }

    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, |_| usize::try_from(offset).expect("a small file"), "overwrite")
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.sim.world();
        world.look()?;
        let bytes = world.disk.inodes[&self.inode].cached.clone();
        drop(world);
        let from = usize::try_from(offset).expect("a small file").min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.fsync()
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        world.step(|| "sync the file system".to_owned())?;
        world.disk.sync_all();
        Ok(())
    }

    fn status(&self) -> io::Result<Status> {
        let mut world = self.sim.world();
        world.look()?;
        Ok(status(&world.disk, self.inode))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.lock()
    }

    fn is_linked(&self) -> io::Result<bool> {
        let mut world = self.sim.world();
        world.look()?;
        Ok(world.disk.links(self.inode) > 0)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl LockFile for SimFile {
    fn try_lock(&self) -> io::Result<bool> {
        self.lock()
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.sim.world().disk.inodes[&self.inode].cached.to_vec())
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        self.write(text.as_bytes(), |_| 0, "write the lock file:")?;
        let mut world = self.sim.world();
        world.step(|| "cut the lock file".to_owned())?;
        world.disk.truncate(self.inode, text.len());
        drop(world);
        self.fsync()
    }
}
