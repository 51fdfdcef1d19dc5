//! The memory that the machine has for cells: what it is, and whether the
//! configuration fits into it.
//!
//! Every cell may always hold what a message of [`SMALL_BYTES`] may cost, and what it
//! keeps of messages that it has left. What a larger one may cost beyond that comes out of one purse for all, in the order
//! in which it is asked for: so a machine that has no room for a largest message
//! in each cell takes few of them at a time, small mail never waits for large
//! mail, and large mail never waits for ever. A machine too small for a single
//! one is refused at start: it must never be left to the kernel to find out.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use lazaret_envelope::{Budget, ByteSize};

use crate::budget::WorkersConfig;
use crate::cell::LEFT_BYTES_MAX;
use crate::cgroup::Cgroup;
use crate::slow::{Delay, GivesWay, Slow};

/// Messages up to this size never wait for memory: nearly all of real mail.
const SMALL_BYTES: u64 = 256 << 10;

/// What part of the memory the cells may have together unless the configuration
/// says otherwise: one of so many.
const SHARE: u64 = 2;

/// Memory that is left to the program itself and to whatever else runs: a
/// configuration that needs more than the rest is refused.
const RESERVE_BYTES: u64 = 32 << 20;

/// How much memory there is, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Number of bytes.
    pub bytes: u64,
    /// The limit that is lowest, such as `the machine`.
    pub of: String,
}

impl Available {
    /// What this process can have: the machine's memory, or less if one of the
    /// control groups that it is in allows less.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn of_this_process() -> io::Result<Self> {
        Self::below(Path::new("/"))
    }

    /// The same for a tree of files that looks like `/`.
    fn below(root: &Path) -> io::Result<Self> {
        let machine = Self { bytes: total(root)?, of: "the machine".to_owned() };
        let groups = Cgroup::of_this_process(root);
        let limits = groups.iter().filter_map(Cgroup::memory_limit);
        let limits =
            limits.map(|(bytes, path)| Self { bytes, of: format!("the control group {}", path.display()) });
        Ok(limits.chain([machine]).min_by_key(|limit| limit.bytes).expect("there is the machine"))
    }
}

/// MemTotal: what is used now can be given back or swapped out.
fn total(root: &Path) -> io::Result<u64> {
    let path: PathBuf = root.join("proc/meminfo");
    let text = std::fs::read_to_string(&path)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let bytes = kib.and_then(|kib: u64| kib.checked_mul(1024));
    bytes
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{}: no MemTotal", path.display())))
}

/// The workers don't fit into the memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the workers need {} and {of} has {}: {large} for one message of workers.max_size = {max_size}, {small} for each \
     of {others} other cells, {reserve} for the rest; {advice}",
    human(*.need), human(*.bytes), large = human(*.large), small = human(*.small), reserve = human(RESERVE_BYTES)
)]
pub struct FitError {
    need: u64,
    bytes: u64,
    of: String,
    large: u64,
    max_size: ByteSize,
    small: u64,
    others: u64,
    advice: String,
}

/// Rounded to MiB as a person would say it.
fn human(bytes: u64) -> ByteSize {
    if bytes < MIB { ByteSize(bytes) } else { ByteSize(bytes.div_ceil(MIB).saturating_mul(MIB)) }
}

const MIB: u64 = 1 << 20;

/// What the cells of a configuration need.
#[derive(Debug, Clone, Copy)]
struct Need {
    /// A cell with one largest message.
    large: u64,
    /// A cell with a message that never waits.
    small: u64,
    cells: u64,
}

impl Need {
    fn of(config: &WorkersConfig) -> Self {
        let memory =
            |size: u64| config.budget(size.min(config.max_size.0)).memory.saturating_add(LEFT_BYTES_MAX);
        let cells = u64::from(config.threads().max(1));
        Self { large: memory(u64::MAX), small: memory(SMALL_BYTES), cells }
    }

    /// One largest message beside small ones.
    fn least(self) -> u64 {
        self.large.saturating_add(self.small.saturating_mul(self.cells - 1))
    }
}

/// Whether a configuration fits into the memory.
#[derive(Debug)]
pub struct Fit;

impl Fit {
    /// Makes the purse.
    ///
    /// # Errors
    /// There is not even room for one largest message.
    pub fn check(config: &WorkersConfig, available: &Available) -> Result<Permits, FitError> {
        let need = Need::of(config);
        let configured = config.memory_total.map(|total| total.0);
        let usable = available.bytes.saturating_sub(RESERVE_BYTES);
        if need.least() > usable {
            return Err(too_small(config, need, available.clone()));
        }
        if let Some(bytes) = configured.filter(|&bytes| need.least() > bytes) {
            let bytes = bytes.saturating_add(RESERVE_BYTES);
            let error = too_small(config, need, Available { bytes, of: "workers.memory_total".to_owned() });
            return Err(FitError { advice: format!("raise it, or {}", error.advice), ..error });
        }
        let total = configured.unwrap_or(available.bytes / SHARE).clamp(need.least(), usable);
        // At least what a largest message needs beyond a small one: see `least`.
        Ok(Permits::new(need.small - LEFT_BYTES_MAX, total - need.small.saturating_mul(need.cells)))
    }
}

fn too_small(config: &WorkersConfig, need: Need, available: Available) -> FitError {
    let Available { bytes, of } = available;
    let usable = bytes.saturating_sub(RESERVE_BYTES);
    let others = need.cells - 1;
    FitError {
        need: need.least().saturating_add(RESERVE_BYTES),
        bytes,
        of,
        large: need.large,
        max_size: config.max_size,
        small: need.small,
        others,
        advice: advice(config, need, usable),
    }
}

/// What would fit.
fn advice(config: &WorkersConfig, need: Need, usable: u64) -> String {
    let others = need.small.saturating_mul(need.cells - 1);
    let its = usable.saturating_sub(others).saturating_sub(LEFT_BYTES_MAX).saturating_sub(config.memory.0);
    let size = its.checked_div(config.memory_per_byte).unwrap_or(0) / MIB * MIB;
    if size > SMALL_BYTES {
        return format!("set workers.max_size = \"{}\", which would fit", ByteSize(size));
    }
    if need.cells > 1 && need.large <= usable {
        return "lower workers.count and workers.spares, or workers.memory".to_owned();
    }
    "lower workers.memory".to_owned()
}

/// The memory for messages that are not small: one purse for all cells.
///
/// A worker takes a permit when its message has a place in a cell, never before:
/// so a message that is to be alone finds the purse full. Whoever has a permit
/// waits for a cell that has a message already, its own or that of a message
/// that it is a copy of, and for nothing else: so nobody waits for ever.
#[derive(Debug)]
pub struct Permits {
    small: u64,
    total: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u64,
    /// Numbers of those who wait, in the order in which they asked.
    queue: VecDeque<u64>,
    /// Number of the next one to ask.
    next: u64,
}

impl Permits {
    fn new(small: u64, total: u64) -> Self {
        let state = State { free: total, queue: VecDeque::new(), next: 0 };
        Self { small, total, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much a message takes out of the purse.
    fn share(&self, budget: Budget) -> u64 {
        budget.memory.saturating_sub(self.small).min(self.total)
    }

    /// Takes what a message may cost; a large one waits until it is its turn and
    /// there is enough. Before it does, `slow` is asked.
    ///
    /// # Errors
    /// It may not wait.
    pub(crate) fn take(&self, budget: Budget, slow: &mut Slow<'_>) -> Result<Permit<'_>, GivesWay> {
        let bytes = self.share(budget);
        if bytes > 0 {
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.queue.push_back(number);
            let mut asked = false;
            while state.queue.front() != Some(&number) || state.free < bytes {
                if std::mem::replace(&mut asked, true) {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                drop(state);
                // As long as what has the memory: not in the place for what is soon done.
                let may_wait = slow(Delay::TakesVeryLong);
                state = self.state();
                if let Err(gave) = may_wait {
                    state.queue.retain(|&waiting| waiting != number);
                    self.changed.notify_all();
                    return Err(gave);
                }
            }
            state.queue.pop_front();
            state.free -= bytes;
            self.changed.notify_all();
        }
        Ok(Permit { permits: self, bytes })
    }
}

/// What a message may cost, taken.
#[derive(Debug)]
#[must_use = "it is given back when this is dropped"]
pub struct Permit<'a> {
    permits: &'a Permits,
    bytes: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.permits.state().free += self.bytes;
            self.permits.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
