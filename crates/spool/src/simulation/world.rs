//! The simulated disk as [`Storage`]: every change is counted and may be made
//! to fail, and what there was before each can be kept, together with what had
//! been promised by then.
//!
//! One lock guards the whole world, so that a snapshot is of one instant. It must
//! never read a real clock.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lazaret_envelope::Timestamp;
use rustix::io::Errno;

use super::disk::{Key, State};
use super::file::{SimFile, directory_status, status};
use super::ledger::Ledger;
use super::random::Random;
use crate::layout::{Dir, LOCK_FILE, WorkerId};
use crate::storage::{Kind, LockFile, Room, Status, Storage, StoredFile};

/// Seconds since 1970 at which simulations begin.
const START: i64 = 1_800_000_000;

/// One instant.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) disk: State,
    pub(super) ledger: Ledger,
    /// What was to happen next.
    pub(super) before: String,
    /// How many changes were made until then; `None` if no change was next.
    pub(super) step: Option<usize>,
    seconds: i64,
    random: Random,
}

impl Snapshot {
    /// The same instant with what a crash has made of the disk.
    pub(super) fn with_disk(&self, disk: State) -> Self {
        Self { disk, ..self.clone() }
    }

    /// An empty disk of which nothing was promised.
    pub(super) fn blank() -> Self {
        Self {
            disk: State::empty_spool(),
            ledger: Ledger::default(),
            before: String::new(),
            step: None,
            seconds: START,
            random: Random::new(7),
        }
    }
}

/// An operation, counted from the start of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// One that changes something.
    Change(usize),
    /// One that only looks.
    Look(usize),
}

/// An operation that fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) error: Errno,
    /// So does everything after it: the disk is gone.
    pub(super) lasting: bool,
}

pub(super) struct World {
    pub(super) disk: State,
    pub(super) ledger: Ledger,
    /// While it is there, what there was before every change is added.
    pub(super) recorded: Option<Vec<Snapshot>>,
    /// Changes that were made or failed.
    pub(super) steps: usize,
    /// Looks that were taken or failed.
    pub(super) looks: usize,
    pub(super) fault: Option<Fault>,
    /// The fault has begun, and lasts.
    gone: bool,
    /// Before which change all goes down: the instant is kept, and what goes on
    /// in this world after it counts for nothing.
    pub(super) crash_at: Option<usize>,
    pub(super) crashed: Option<Snapshot>,
    seconds: i64,
    random: Random,
    pub(super) locks: BTreeMap<u64, u64>,
    handles: u64,
}

impl World {
    pub(super) fn snapshot(&self, before: &str) -> Snapshot {
        Snapshot {
            disk: self.disk.clone(),
            ledger: self.ledger.clone(),
            before: before.to_owned(),
            step: None,
            seconds: self.seconds,
            random: self.random.clone(),
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.seconds += seconds;
    }

    /// The owner's process has ended: its locks are free, the disk is as it was.
    pub(super) fn process_died(&mut self) {
        self.locks.clear();
        self.ledger.cut();
    }

    /// A change is about to be made, unless it has to fail.
    pub(super) fn step(&mut self, what: impl Fn() -> String) -> Result<(), Errno> {
        if let Some(mut recorded) = self.recorded.take() {
            recorded.push(Snapshot { step: Some(self.steps), ..self.snapshot(&what()) });
            self.recorded = Some(recorded);
        }
        if self.crash_at == Some(self.steps) {
            self.crashed = Some(self.snapshot(&what()));
        }
        self.steps += 1;
        self.fail(At::Change(self.steps - 1))
    }

    /// Something is about to be looked at, unless that has to fail.
    pub(super) fn look(&mut self) -> Result<(), Errno> {
        self.looks += 1;
        self.fail(At::Look(self.looks - 1))
    }

    fn fail(&mut self, at: At) -> Result<(), Errno> {
        match self.fault {
            Some(fault) if fault.at == at || self.gone => {
                self.gone = fault.lasting;
                Err(fault.error)
            }
            _ => Ok(()),
        }
    }
}

/// A process's view of the world. Clones share it.
#[derive(Clone)]
pub(super) struct Sim(Arc<Mutex<World>>);

impl Sim {
    /// A machine that has just been started on the disk: nothing is locked.
    pub(super) fn boot(from: Snapshot) -> Self {
        let Snapshot { disk, ledger, seconds, random, .. } = from;
        let (locks, handles, steps, looks, gone) = Default::default();
        let (recorded, fault, crash_at, crashed) = (None, None, None, None);
        let world = World {
            disk,
            ledger,
            recorded,
            steps,
            looks,
            fault,
            gone,
            crash_at,
            crashed,
            seconds,
            random,
            locks,
            handles,
        };
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
