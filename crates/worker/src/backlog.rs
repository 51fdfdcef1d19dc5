//! What lies in `incoming/`, oldest first, and whose turn it is.
//!
//! Normal messages go out in batches, struck ones alone and in turn with them:
//! while a struck message is in its cell no other message of the spool is in
//! one, so that a second crash convicts it alone. The backlog holds a window of
//! the directory in memory and must never hold more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lazaret_envelope::Timestamp;
use lazaret_spool::{Dir, Name, Owner, SpoolError, Window};

/// Messages that a worker claims at a time. Beyond 16 a claim gets hardly
/// cheaper, and each message in it would be marked by a crash.
const BATCH_MAX: usize = 16;

/// Names held in memory, of each kind: some 10 MiB.
const WINDOW_MAX: usize = 65_536;

/// The messages that wait for a worker.
#[derive(Debug)]
pub struct Backlog {
    owner: Owner,
    state: Mutex<State>,
    changed: Condvar,
    cells: RwLock<()>,
}

#[derive(Debug)]
struct State {
    fresh: Window<Name>,
    struck: Window<Name>,
    /// Workers that have claimed something and are not done with it.
    busy: usize,
    /// A struck message is in some worker's hands.
    struck_in_hand: bool,
    /// The struck are next, if there are any.
    struck_turn: bool,
    scan: bool,
    paused: bool,
    stopped: bool,
}

/// What a worker does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Claims these.
    Batch(Vec<Name>),
    /// Claims this one while no cell has a message.
    Struck(Name),
    /// Ends.
    Stop,
}

impl Backlog {
    /// The backlog of a spool; it is looked at when the first worker asks.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        let state = State {
            fresh: Window::new(WINDOW_MAX),
            struck: Window::new(WINDOW_MAX),
            busy: 0,
            struck_in_hand: false,
            struck_turn: true,
            scan: true,
            paused: false,
            stopped: false,
        };
        Self { owner, state: Mutex::new(state), changed: Condvar::new(), cells: RwLock::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a message that came into `incoming/`.
    pub fn arrived(&self, name: Name) {
        let mut state = self.state();
        state.insert(name);
        drop(state);
        self.changed.notify_one();
    }

    /// Has the directory looked at again, for what no notice came of.
    pub fn look_again(&self) {
        self.state().scan = true;
        self.changed.notify_one();
    }

    /// Hands out nothing until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.state().paused = true;
    }

    /// Hands out messages again.
    pub fn resume(&self) {
        self.state().paused = false;
        self.changed.notify_all();
    }

    /// Hands out nothing any more.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// When the oldest message that waits here arrived.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let state = self.state();
        let first = state.fresh.first().into_iter().chain(state.struck.first()).min()?;
        Timestamp::from_millisecond(i64::try_from(first.id.millis()).ok()?).ok()
    }

    /// Whether `incoming/` is empty, by a look taken now, and no worker has
    /// anything in hand.
    ///
    /// # Errors
    /// The directory can't be listed.
    pub fn is_drained(&self) -> Result<bool, SpoolError> {
        let mut state = self.state();
        self.scan(&mut state)?;
        if !state.fresh.is_empty() || !state.struck.is_empty() {
            self.changed.notify_all();
        }
        Ok(state.busy == 0 && state.fresh.is_empty() && state.struck.is_empty())
    }

    /// Waits for something to do.
    pub(crate) fn next(&self) -> Result<Next, SpoolError> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return Ok(Next::Stop);
            }
            if !state.paused {
                if state.wants_scan() {
                    self.scan(&mut state)?;
                }
                if let Some(next) = state.take() {
                    return Ok(next);
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker has nothing in hand any more.
    pub(crate) fn finished(&self, struck: bool) {
        let mut state = self.state();
        state.busy -= 1;
        if struck {
            state.struck_in_hand = false;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn scan(&self, state: &mut State) -> Result<(), SpoolError> {
        state.scan = false;
        state.fresh.start_scan();
        state.struck.start_scan();
        let mut foreign = Vec::new();
        self.owner.spool().scan(Dir::Incoming, |name, raw| match name {
            Some(name) if name.strikes > 0 => state.struck.found(name),
            Some(name) => state.fresh.found(name),
            None => foreign.push(raw.to_owned()),
        })?;
        foreign.iter().try_for_each(|raw| self.owner.set_aside(Dir::Incoming, raw))
    }

    /// To be held while a normal message is in a cell.
    pub(crate) fn beside_others(&self) -> RwLockReadGuard<'_, ()> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a struck message is in a cell: waits until no other is.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.cells.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, name: Name) {
        if name.strikes > 0 { self.struck.insert(name) } else { self.fresh.insert(name) }
    }

    fn wants_scan(&self) -> bool {
        self.scan || self.fresh.needs_scan() || self.struck.needs_scan()
    }

    fn take(&mut self) -> Option<Next> {
        let struck = self.struck.first().copied().filter(|_| !self.struck_in_hand);
        if let Some(name) = struck
            && (self.struck_turn || self.fresh.is_empty())
        {
            self.struck.remove(&name);
            (self.struck_in_hand, self.struck_turn) = (true, false);
            self.busy += 1;
            return Some(Next::Struck(name));
        }
        let batch: Vec<Name> = self.fresh.iter().take(BATCH_MAX).copied().collect();
        if batch.is_empty() {
            return None;
        }
        for name in &batch {
            self.fresh.remove(name);
        }
        self.struck_turn = true;
        self.busy += 1;
        Some(Next::Batch(batch))
    }
}
