//! What lies in `incoming/`, oldest first, and whose turn it is.
//!
//! Normal messages go out in batches, struck ones alone and in turn with them:
//! while a struck message is in its cell no other message of the spool is in
//! one, so that a second crash convicts it alone. So many workers have something
//! in hand as there are to be; one whose message is not judged at once counts no
//! more, and another goes on with what it has claimed. There are so many places
//! for what takes long; once they are taken, such a message gives way: it is
//! parked, and tried again in one of them. What is in such a place has its turn
//! when there is no other mail about. The backlog holds windows of the
//! directory in memory and must never hold more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lazaret_envelope::Timestamp;
use lazaret_spool::{Claim, Dir, Name, Owner, Severity, SpoolError, Throttle};
use tracing::{error, info, warn};

use crate::backlog::state::State;
pub(crate) use crate::backlog::state::{Next, Pace};
use crate::budget::WorkersConfig;
use crate::slow::{Delay, GivesWay, Turn};
use crate::variety::Suspicion;

mod parked;
mod state;

/// How long normal mail is held up so that a struck message can be alone. If
/// cells don't come free in this time, it is tried later.
const ALONE_WAIT_MAX: Duration = Duration::from_millis(500);

/// Pause after a look at the directory for which there was no descriptor.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The messages that wait for a worker.
#[derive(Debug)]
pub struct Backlog {
    owner: Owner,
    state: Mutex<State>,
    /// For workers that wait for something to do.
    work: Condvar,
    /// For messages that wait for a place in a cell.
    places: Condvar,
    failing: Throttle,
}

impl Backlog {
    /// The backlog of a spool; it is looked at when the first worker asks.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            state: Mutex::new(State::new(0, 0)),
            work: Condvar::new(),
            places: Condvar::new(),
            failing: Throttle::default(),
        }
    }

    /// Hands out to these workers from now on: at start, and once those before them
    /// have ended and put back what they had. An operator's pause goes on.
    pub(crate) fn start(&self, config: &WorkersConfig) {
        self.state().restart(config.workers().into(), config.spares().into());
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
        self.state().look_again();
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

    /// Why nothing is handed out, if that is so, and what has it go on.
    #[must_use]
    pub fn paused(&self) -> Option<&'static str> {
        match *self.state() {
            State { storm: true, .. } => Some(
                "cells fail on the built-in message: a bad release or a bad host; lazaret resume routing",
            ),
            State { paused: true, .. } => Some("paused by an operator; lazaret resume routing"),
            _ => None,
        }
    }

    /// Hands out nothing any more, until a new [`start`](Self::start).
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
        let first = self.state().first()?;
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
        Ok(state.is_idle() && state.is_empty())
    }

    /// Waits for something to do.
    pub(crate) fn next(&self) -> Result<Next, SpoolError> {
        let mut state = self.state();
        loop {
            if let Some(next) = state.take_claimed(Instant::now()) {
                return Ok(next);
            }
            if state.stopped {
                return Ok(Next::Stop);
            }
            if !state.paused && !state.storm {
                if state.has_worker()
                    && state.wants_scan()
                    && let Err(error) = self.scan(&mut state)
                {
                    state = self.look_later(state, error)?;
                    continue;
                }
                if let Some(next) = state.take(Instant::now()) {
                    return Ok(next);
                }
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Without a descriptor for a look there will be one in a while.
    fn look_later<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        error: SpoolError,
    ) -> Result<MutexGuard<'a, State>, SpoolError> {
        if error.severity() != Severity::NoRoom {
            return Err(error);
        }
        if let Some(unsaid) = self.failing.say() {
            warn!(%error, unsaid, "incoming mail is looked at later");
        }
        state.look_again();
        Ok(self.work.wait_timeout(state, LOOK_PAUSE).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// A message gives way: it goes back to `incoming/`, where it is left alone until it is its
    /// turn, though notice comes of it as of any other.
    ///
    /// # Errors
    /// The rename failed.
    pub(crate) fn park(&self, claim: Claim, suspicion: Suspicion, gave: GivesWay) -> Result<(), SpoolError> {
        self.state().gives_way(claim.name().next());
        if let Some(name) = claim.put_back()? {
            self.state().park(name, suspicion, gave);
            self.work.notify_one();
        }
        Ok(())
    }

    /// A worker has nothing in hand any more.
    pub(crate) fn finished(&self) {
        self.state().finished();
    }

    /// A worker is done with a struck message.
    pub(crate) fn finished_struck(&self) {
        self.state().finished_struck();
        self.work.notify_all();
    }

    fn scan(&self, state: &mut State) -> Result<(), SpoolError> {
        state.start_scan();
        let mut foreign = Vec::new();
        self.owner.spool().scan(Dir::Incoming, |name, raw| match name {
            Some(name) => state.found(name),
            None => foreign.push(raw.to_owned()),
        })?;
        foreign.iter().try_for_each(|raw| self.owner.set_aside(Dir::Incoming, raw))
    }

    /// Has another worker go on with what this one has claimed.
    pub(crate) fn hand_over(&self, claims: Vec<Claim>) {
        self.state().hand_over(claims);
        self.work.notify_one();
    }

    /// To be held while a normal message is in a cell; `pace` is that at which it
    /// was handed out.
    pub(crate) fn beside_others(&self, pace: Pace) -> Place<'_> {
        let mut state = self.state();
        while state.alone {
            state = self.places.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_cells += 1;
        Place { backlog: self, pace: pace.into() }
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
        Some(Place { backlog: self, pace: Pace::Alone.into() })
    }
}

/// A place in a cell for one message.
#[must_use]
pub(crate) struct Place<'a> {
    backlog: &'a Backlog,
    pace: std::cell::Cell<Pace>,
}

impl Place<'_> {
    /// The message is not judged at once; whether it holds up its worker no more.
    ///
    /// # Errors
    /// So many take long already that it has to give way.
    pub(crate) fn delayed(&self, delay: Delay) -> Result<bool, GivesWay> {
        let before = self.pace.get();
        let pace = self.backlog.state().delayed(before, delay)?;
        self.pace.set(pace);
        Ok(before == Pace::Quick && pace != Pace::Quick)
    }

    /// Whose turn it is, should the message take long.
    pub(crate) fn turn(&self) -> Turn {
        self.backlog.state().turn(self.pace.get(), Instant::now())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.backlog.state();
        state.leave(self.pace.get());
        if self.pace.get() != Pace::Quick {
            self.backlog.work.notify_all();
        }
        if self.pace.get() == Pace::Alone {
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
