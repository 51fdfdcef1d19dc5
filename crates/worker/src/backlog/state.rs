//! Whose turn it is, decided on plain values.
//!
//! Four queues and what is in hand. Nothing here waits, reads or locks.

use std::time::{Duration, Instant};

use lazaret_spool::{Claim, Name, Window};

use super::parked::Parked;
use crate::slow::{Delay, GivesWay, Turn};
use crate::variety::Suspicion;

/// Messages that a worker claims at a time. Beyond 16 a claim gets hardly
/// cheaper, and each message in it would be marked by a crash.
const BATCH_MAX: usize = 16;

/// Names held in memory, of each kind: some 10 MiB.
const WINDOW_MAX: usize = 65_536;

/// How long other mail is still about after a worker has had some: what is judged
/// is delivered then, and who sent it sends more.
const BUSTLE: Duration = Duration::from_millis(50);

/// What a worker does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Claims these.
    Batch(Vec<Name>),
    /// Goes on with these, which another worker has claimed.
    Rest(Vec<Claim>),
    /// Claims this one, which took long, for a second look behind all others.
    Second(Name),
    /// Claims this one, which took long twice, behind all others.
    Slow(Name),
    /// Claims this one while no cell has a message.
    Struck(Name),
    /// Ends.
    Stop,
}

/// How a message that is in a worker's hands is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It holds up its worker, and is expected to be judged at once.
    Quick,
    /// It is not judged yet: another worker goes on with other mail.
    Lingering,
    /// It takes long and goes on behind all others, for a while.
    Second,
    /// So it does, for as long as it takes.
    Slow,
    /// It is struck: no other is in a cell, so that there is none to go before it.
    Alone,
}

#[derive(Debug)]
pub(super) struct State {
    /// How many workers may have something in hand that is judged at once, and how
    /// many something that lingers.
    workers: usize,
    /// How many messages that take long may be in cells beside them.
    slow_places: usize,
    /// Claimed by a worker whose message lingers.
    handed: Vec<Vec<Claim>>,
    fresh: Window<Name>,
    struck: Window<Name>,
    /// Took long when there was no place for such: tried again once there is one.
    parked: Parked,
    /// Workers that have claimed something and are not done with it.
    busy: usize,
    /// Those of them whose message lingers.
    lingering: usize,
    /// Those of them whose message is looked at for the second time.
    second: usize,
    /// Those of them whose message takes as long as it takes.
    slow: usize,
    /// When a worker had other mail last.
    bustle: Option<Instant>,
    /// Messages in cells.
    pub(super) in_cells: usize,
    /// A struck message is in some worker's hands.
    struck_in_hand: bool,
    /// No other message may go into a cell: a struck one is to be alone.
    pub(super) alone: bool,
    /// The struck are next, if there are any.
    struck_turn: bool,
    scan: bool,
    pub(super) paused: bool,
    pub(super) storm: bool,
    pub(super) stopped: bool,
}

impl State {
    pub(super) fn new(workers: usize, slow_places: usize) -> Self {
        Self {
            workers,
            slow_places,
            handed: Vec::new(),
            fresh: Window::new(WINDOW_MAX),
            struck: Window::new(WINDOW_MAX),
            parked: Parked::default(),
            busy: 0,
            lingering: 0,
            second: 0,
            slow: 0,
            bustle: None,
            in_cells: 0,
            struck_in_hand: false,
            alone: false,
            struck_turn: true,
            scan: true,
            paused: false,
            storm: false,
            stopped: false,
        }
    }

    /// As new, for these numbers of workers and places; an operator's pause goes on.
    pub(super) fn restart(&mut self, workers: usize, slow_places: usize) {
        *self = Self { paused: self.paused, ..Self::new(workers, slow_places) };
    }

    /// Takes note of a message that came into `incoming/`.
    pub(super) fn insert(&mut self, name: Name) {
        if name.strikes > 0 {
            self.struck.insert(name);
        } else if !self.parked.was_announced(&name) && !self.parked.contains(&name) {
            self.fresh.insert(name);
        }
    }

    pub(super) fn look_again(&mut self) {
        self.scan = true;
    }

    pub(super) fn wants_scan(&self) -> bool {
        self.scan || self.fresh.needs_scan() || self.struck.needs_scan()
    }

    /// Starts a scan of `incoming/`: every message is then [`found`](Self::found).
    pub(super) fn start_scan(&mut self) {
        self.scan = false;
        self.fresh.start_scan();
        self.struck.start_scan();
    }

    pub(super) fn found(&mut self, name: Name) {
        if name.strikes > 0 {
            self.struck.found(name);
        } else if !self.parked.contains(&name) {
            self.fresh.found(name);
        }
    }

    /// A message gives way, and will lie in `incoming/` under this name: notice of that is no
    /// reason to hand it out.
    pub(super) fn gives_way(&mut self, name: Name) {
        self.parked.announce(name);
    }

    /// It lies there, to wait for its turn.
    pub(super) fn park(&mut self, name: Name, suspicion: Suspicion, gave: GivesWay) {
        match gave {
            GivesWay::Once => self.parked.second(name, suspicion),
            GivesWay::Twice => self.parked.last(name),
        }
    }

    /// What a worker has claimed and another one shall go on with.
    pub(super) fn hand_over(&mut self, claims: Vec<Claim>) {
        if !claims.is_empty() {
            self.handed.push(claims);
        }
    }

    /// A message is not judged at once: which place it has from now on, unless it has
    /// to give way.
    pub(super) fn delayed(&mut self, pace: Pace, delay: Delay) -> Result<Pace, GivesWay> {
        let slow = self.slow < self.slow_places || self.slow_places == 0;
        let to = match (pace, delay) {
            (Pace::Quick, Delay::Lingers) if self.lingering < self.workers => Pace::Lingering,
            (Pace::Slow | Pace::Alone, _) | (_, Delay::Lingers) | (Pace::Second, Delay::TakesLong) => pace,
            (_, Delay::TakesLong) if self.second < self.second_places(1) => Pace::Second,
            _ if slow || self.parked.is_full() => Pace::Slow,
            (_, Delay::TakesLong) => return Err(GivesWay::Once),
            (_, Delay::TakesVeryLong) => return Err(GivesWay::Twice),
        };
        self.leave(pace);
        self.enter(to);
        Ok(to)
    }

    /// How many messages may be looked at for the second time at a time, so many at most:
    /// that is soon done. None if nothing ever gives way.
    fn second_places(&self, most: usize) -> usize {
        if self.slow_places == 0 { 0 } else { most }
    }

    fn enter(&mut self, pace: Pace) {
        match pace {
            Pace::Quick | Pace::Alone => {}
            Pace::Lingering => self.lingering += 1,
            Pace::Second => self.second += 1,
            Pace::Slow => self.slow += 1,
        }
    }

    /// A message is in its place no more.
    pub(super) fn leave(&mut self, pace: Pace) {
        match pace {
            Pace::Quick | Pace::Alone => {}
            Pace::Lingering => self.lingering -= 1,
            Pace::Second => self.second -= 1,
            Pace::Slow => self.slow -= 1,
        }
    }

    /// Whose turn it is when a message takes long: first that of other mail, then that
    /// of second looks. Its end is waited for where a struck one is to be alone.
    pub(super) fn turn(&self, pace: Pace, now: Instant) -> Turn {
        let second = || pace == Pace::Slow && (self.second > 0 || self.parked.has_second());
        let others = self.is_busy(now) || second();
        if self.struck.is_empty() && others { Turn::Others } else { Turn::Its }
    }

    /// Whether there is other mail about than what takes long.
    fn is_busy(&self, now: Instant) -> bool {
        let lately = || self.bustle.is_some_and(|last| now.saturating_duration_since(last) < BUSTLE);
        self.quick() > 0 || lately()
    }

    /// A worker has nothing in hand any more.
    pub(super) fn finished(&mut self) {
        self.busy -= 1;
    }

    /// A worker is done with a struck message.
    pub(super) fn finished_struck(&mut self) {
        self.finished();
        self.struck_in_hand = false;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.handed.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.struck.is_empty() && self.parked.is_empty()
    }

    pub(super) fn first(&self) -> Option<Name> {
        [self.fresh.first(), self.struck.first(), self.parked.first()].into_iter().flatten().min().copied()
    }

    /// Whether a worker at full speed has nothing in hand.
    pub(super) fn has_worker(&self) -> bool {
        self.quick() < self.workers
    }

    /// Workers that have something in hand that is expected to be judged at once.
    fn quick(&self) -> usize {
        self.busy - self.lingering - self.second - self.slow
    }

    /// What a worker does next that is claimed already.
    pub(super) fn take_claimed(&mut self, now: Instant) -> Option<Next> {
        let claims = self.has_worker().then(|| self.handed.pop())??;
        self.busy += 1;
        self.bustle = Some(now);
        Some(Next::Rest(claims))
    }

    /// What a worker claims next; it has that in hand from now on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Next> {
        let next = self.slow_next(now).or_else(|| self.has_worker().then(|| self.next())?)?;
        self.busy += 1;
        if matches!(next, Next::Batch(_)) {
            self.bustle = Some(now);
        }
        Some(next)
    }

    /// None may go into a cell while the struck wait until all cells are free.
    fn slow_next(&mut self, now: Instant) -> Option<Next> {
        if !self.struck.is_empty() || self.struck_in_hand {
            return None;
        }
        let places = if self.is_busy(now) { 1 } else { self.workers };
        let second = (self.second < self.second_places(places)).then(|| self.parked.take_second()).flatten();
        if let Some(name) = second {
            self.enter(Pace::Second);
            return Some(Next::Second(name));
        }
        let name = (self.slow < self.slow_places).then(|| self.parked.take_last())??;
        self.enter(Pace::Slow);
        Some(Next::Slow(name))
    }

    fn next(&mut self) -> Option<Next> {
        // A slow message is not waited for: the struck have their turn after it.
        let struck =
            self.struck.first().copied().filter(|_| !self.struck_in_hand && self.second + self.slow == 0);
        if let Some(name) = struck
            && (self.struck_turn || self.fresh.is_empty())
        {
            self.struck.remove(&name);
            (self.struck_in_hand, self.struck_turn) = (true, false);
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
        Some(Next::Batch(batch))
    }
}

#[cfg(test)]
mod tests;
