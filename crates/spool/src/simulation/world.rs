//! The world of the simulated disk: every change is counted and may be made
//! to fail, and what there was before each can be kept, together with what had
//! been promised by then.
//!
//! One lock guards the whole world, so that a snapshot is of one instant. It must
//! never read a real clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::disk::State;
use super::ledger::Ledger;
use super::random::Random;

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
    pub(super) gone: bool,
    /// Before which change all goes down: the instant is kept, and what goes on
    /// in this world after it counts for nothing.
    pub(super) crash_at: Option<usize>,
    pub(super) crashed: Option<Snapshot>,
    pub(super) seconds: i64,
    pub(super) random: Random,
    pub(super) locks: BTreeMap<u64, u64>,
    pub(super) handles: u64,
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
}
