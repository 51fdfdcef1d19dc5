//! What lies in `incoming/`, oldest first, and whose turn it is.
//!
//! Normal messages go out in batches, struck ones alone and in turn with them:
//! while a struck message is in its cell no other message of the spool is in
//! one, so that a second crash convicts it alone. So many workers have something
//! in hand as there are to be; one whose message takes long counts no more, and
//! another takes its place. The backlog holds a window of the directory in
//! memory and must never hold more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lazaret_envelope::Timestamp;
use lazaret_spool::{Dir, Name, Owner, SpoolError, Window};
use tracing::{error, info};

/// Messages that a worker claims at a time. Beyond 16 a claim gets hardly
/// cheaper, and each message in it would be marked by a crash.
const BATCH_MAX: usize = 16;

/// Names held in memory, of each kind: some 10 MiB.
const WINDOW_MAX: usize = 65_536;

/// How long normal mail is held up so that a struck message can be alone. If
/// cells don't come free in this time, it is tried later.
const ALONE_WAIT_MAX: Duration = Duration::from_millis(500);

/// The messages that wait for a worker.
#[derive(Debug)]
pub struct Backlog {
    owner: Owner,
    /// How many workers may have something in hand that is not slow.
    workers: usize,
    state: Mutex<State>,
    /// For workers that wait for something to do.
    work: Condvar,
    /// For messages that wait for a place in a cell.
    places: Condvar,
}

#[derive(Debug)]
struct State {
    fresh: Window<Name>,
    struck: Window<Name>,
    /// Workers that have claimed something and are not done with it.
    busy: usize,
    /// Those of them whose message takes long.
    slow: usize,
    /// Messages in cells.
    in_cells: usize,
    /// A struck message is in some worker's hands.
    struck_in_hand: bool,
    /// No other message may go into a cell: a struck one is to be alone.
    alone: bool,
    /// The struck are next, if there are any.
    struck_turn: bool,
    scan: bool,
    paused: bool,
    storm: bool,
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
    /// The backlog of a spool for so many workers; it is looked at when the first
    /// of them asks.
    #[must_use]
    pub fn new(owner: Owner, workers: u16) -> Self {
        let state = State {
            fresh: Window::new(WINDOW_MAX),
            struck: Window::new(WINDOW_MAX),
            busy: 0,
            slow: 0,
            in_cells: 0,
            struck_in_hand: false,
            alone: false,
            struck_turn: true,
            scan: true,
            paused: false,
            storm: false,
            stopped: false,
        };
        Self {
            owner,
            workers: usize::from(workers),
            state: Mutex::new(state),
            work: Condvar::new(),
            places: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a message that came into `incoming/`.
    pub fn arrived(&self, name: Name) {
        self.state().insert(name);
        self.work.notify_one();
    }

    /// Has the directory looked at again, for what no notice came of.
    pub fn look_again(&self) {
        self.state().scan = true;
        self.work.notify_one();
    }

    /// Hands out nothing until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.state().paused = true;
    }

    /// Hands out messages again, in a storm too.
    pub fn resume(&self) {
        let mut state = self.state();
        (state.paused, state.storm) = (false, false);
        self.work.notify_all();
    }

    /// Why nothing is handed out, if that is so.
    #[must_use]
    pub fn paused(&self) -> Option<&'static str> {
        match *self.state() {
            State { storm: true, .. } => {
                Some("cells fail on the built-in message: a bad release or a bad host")
            }
            State { paused: true, .. } => Some("paused by an operator"),
            _ => None,
        }
    }

    /// Hands out nothing any more.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.work.notify_all();
    }

    /// Cells fail on the built-in message too: until one works, nothing is handed
    /// out, so that no mail is blamed for a bad release or a bad host.
    pub(crate) fn storm(&self) {
        if !std::mem::replace(&mut self.state().storm, true) {
            error!(
                "ALARM: new cells fail on the built-in benign message; claiming pauses and no message is blamed \
                 until one works (a bad release, a changed library, a broken host?)"
            );
        }
    }

    /// A cell works again.
    pub(crate) fn calm(&self) {
        if std::mem::replace(&mut self.state().storm, false) {
            info!("cells work again; claiming goes on");
        }
        self.work.notify_all();
    }

    pub(crate) fn is_storm(&self) -> bool {
        self.state().storm
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
        if !state.is_empty() {
            self.work.notify_all();
        }
        Ok(state.busy == 0 && state.is_empty())
    }

    /// Waits for something to do.
    pub(crate) fn next(&self) -> Result<Next, SpoolError> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return Ok(Next::Stop);
            }
            if !state.paused && !state.storm && state.busy - state.slow < self.workers {
                if state.wants_scan() {
                    self.scan(&mut state)?;
                }
                if let Some(next) = state.take() {
                    return Ok(next);
                }
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker has nothing of its batch in hand any more.
    pub(crate) fn finished(&self) {
        self.state().busy -= 1;
    }

    /// A worker is done with a struck message.
    pub(crate) fn finished_struck(&self) {
        let mut state = self.state();
        state.busy -= 1;
        state.struck_in_hand = false;
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
    pub(crate) fn beside_others(&self) -> Place<'_> {
        let mut state = self.state();
        while state.alone {
            state = self.places.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_cells += 1;
        Place { backlog: self, slow: false.into(), alone: false }
    }

    /// To be held while a struck message is in a cell: waits until no other is;
    /// `None` if one takes too long.
    pub(crate) fn alone(&self) -> Option<Place<'_>> {
        let until = Instant::now() + ALONE_WAIT_MAX;
        let mut state = self.state();
        state.alone = true;
        while state.in_cells > 0 {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                state.alone = false;
                self.places.notify_all();
                return None;
            };
            let waited = self.places.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Place { backlog: self, slow: false.into(), alone: true })
    }
}

/// A place in a cell for one message.
#[must_use]
pub(crate) struct Place<'a> {
    backlog: &'a Backlog,
    slow: std::cell::Cell<bool>,
    alone: bool,
}

impl Place<'_> {
    /// The message takes long: another worker may go on with other mail.
    pub(crate) fn is_slow(&self) {
        if !self.slow.replace(true) {
            self.backlog.state().slow += 1;
            self.backlog.work.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.backlog.state();
        if self.slow.get() {
            state.slow -= 1;
        }
        if self.alone {
            state.alone = false;
            self.backlog.places.notify_all();
        } else {
            state.in_cells -= 1;
            if state.alone && state.in_cells == 0 {
                self.backlog.places.notify_all();
            }
        }
    }
}

impl State {
    fn insert(&mut self, name: Name) {
        if name.strikes > 0 { self.struck.insert(name) } else { self.fresh.insert(name) }
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.struck.is_empty()
    }

    fn wants_scan(&self) -> bool {
        self.scan || self.fresh.needs_scan() || self.struck.needs_scan()
    }

    fn take(&mut self) -> Option<Next> {
        // A slow message is not waited for: the struck have their turn after it.
        let struck = self.struck.first().copied().filter(|_| !self.struck_in_hand && self.slow == 0);
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
