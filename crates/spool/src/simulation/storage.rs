//! The simulated disk as [`Storage`].
//!
//! It must never do what a real one does not.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use lazaret_envelope::Timestamp;

use super::disk::Key;
use super::file::{SimFile, directory_status, status};
use super::world::Sim;
use crate::layout::{Dir, LOCK_FILE, WorkerId};
use crate::storage::{Kind, LockFile, Room, Status, Storage, StoredFile};

impl Sim {
    fn handle(&self, inode: u64) -> SimFile {
        let mut world = self.world();
        world.handles += 1;
        SimFile { sim: self.clone(), inode, handle: world.handles }
    }
}

fn key(dir: Dir, name: &str) -> Key {
    (Some(dir), name.to_owned())
}

fn text(raw: &OsStr) -> &str {
    raw.to_str().expect("simulated names are UTF-8")
}

impl Storage for Sim {
    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut world = self.world();
        world.step(|| format!("create {dir}/{name}"))?;
        let inode = world.disk.create(&key(dir, name), dir.file_mode(), Kind::File)?;
        drop(world);
        Ok(Box::new(self.handle(inode)))
    }

    fn open_append(&self, dir: Dir, name: &str) -> io::Result<(Box<dyn StoredFile>, bool)> {
        match self.open(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((self.create(dir, name)?, true)),
            other => Ok((other?, false)),
        }
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut world = self.world();
        world.look()?;
        let inode = world.disk.find(&key(dir, name))?;
        drop(world);
        Ok(Box::new(self.handle(inode)))
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        let mut world = self.world();
        world.step(|| format!("rename {}/{} to {}/{}", from.0, from.1, to.0, to.1))?;
        Ok(world.disk.rename(&key(from.0, from.1), &key(to.0, to.1))?)
    }

    fn unlink(&self, dir: Dir, name: &str) -> io::Result<()> {
        let mut world = self.world();
        // What is not there is no change, and so no crash point.
        world.disk.find(&key(dir, name))?;
        world.step(|| format!("unlink {dir}/{name}"))?;
        Ok(world.disk.unlink(&key(dir, name))?)
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        let mut world = self.world();
        if let Err(error) = world.step(|| format!("sync {dir}")) {
            world.disk.sync_dir_failed(dir);
            return Err(error.into());
        }
        world.disk.sync_dir(dir);
        Ok(())
    }

    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        let mut world = self.world();
        world.look()?;
        let files = world.disk.names().filter(|(key, _)| key.0 == Some(dir)).map(|(key, _)| key.1.clone());
        let names: Vec<String> = files.chain(world.disk.directories(dir)).collect();
        drop(world);
        names.iter().for_each(|name| visit(OsStr::new(name)));
        Ok(())
    }

    fn status(&self, dir: Dir, name: &OsStr) -> io::Result<Status> {
        let mut world = self.world();
        world.look()?;
        if (dir, text(name)) == (Dir::Top, ".")
            || world.disk.directories(dir).any(|found| found == text(name))
        {
            return Ok(directory_status());
        }
        let inode = world.disk.find(&key(dir, text(name)))?;
        Ok(status(&world.disk, inode))
    }

    fn rename_foreign(&self, from: (Dir, &OsStr), to: (Dir, &str)) -> io::Result<()> {
        self.rename((from.0, text(from.1)), to)
    }

    fn workers(&self) -> io::Result<Vec<WorkerId>> {
        let mut world = self.world();
        world.look()?;
        Ok(world.disk.workers.clone())
    }

    /// Only those of workers are ever missing.
    fn make_dir(&self, dir: Dir) -> io::Result<()> {
        let mut world = self.world();
        if let Dir::Claimed(worker) = dir
            && !world.disk.workers.contains(&worker)
        {
            world.disk.workers.push(worker);
        }
        Ok(())
    }

    /// What a power cut makes of modes and owners is none of the simulation's.
    fn set_mode(&self, dir: Dir, name: &OsStr, mode: u32) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.disk.find(&key(dir, text(name)))?;
        world.disk.inodes.entry(inode).and_modify(|file| file.mode = mode);
        Ok(())
    }

    fn set_owner(&self, _: Dir, _: &OsStr, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn lock_file(&self) -> io::Result<Box<dyn LockFile>> {
        let mut world = self.world();
        let key = (None, LOCK_FILE.to_owned());
        let inode = match world.disk.find(&key) {
            Ok(inode) => inode,
            Err(_) => {
                world.step(|| "create the lock file".to_owned())?;
                world.disk.create(&key, 0o600, Kind::File)?
            }
        };
        drop(world);
        Ok(Box::new(self.handle(inode)))
    }

    fn room(&self) -> io::Result<Room> {
        Ok(Room { bytes: u64::MAX, inodes: None })
    }

    fn is_in_place(&self, _: Dir) -> io::Result<bool> {
        Ok(true)
    }

    fn pause(&self, time: Duration) {
        self.world().pass(i64::try_from(time.as_secs()).expect("a short pause"));
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.world().seconds).expect("a time in this century")
    }

    fn unique(&self) -> u128 {
        u128::from(self.world().random.next())
    }
}
