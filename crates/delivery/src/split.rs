//! The recipients of one message, lot by lot, for as many threads as have time.
//!
//! A lot is what one transaction serves. Whoever has done one hands in what became
//! of it, and before anybody takes another the outcomes that were handed in are
//! durable: at any time each thread has one lot that may be repeated after a crash,
//! and no more. No recipient must ever be in two lots, nor in none.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use lazaret_envelope::Envelope;
use lazaret_spool::{Message, SpoolError};

use crate::outcome::Handled;
use crate::parcel::{Damaged, Parcel};
use crate::task::{Fate, Task};

/// Some of the recipients, by where they stand in [`Split::places`].
type Lot = Range<usize>;

/// What became of a lot.
type Outcome = (Lot, Result<Handled, Damaged>);

/// A message at work, and who is left.
pub(crate) struct Split {
    message: Arc<Message>,
    /// The `Received:` field to put on top of it.
    trace: String,
    may_repeat: bool,
    places: Vec<usize>,
    /// Most recipients of a lot.
    size: usize,
    /// What was handed in and is not accounted for yet: so that those who wait while
    /// outcomes are made durable have theirs made so in one go.
    handed_in: Mutex<Vec<Outcome>>,
    state: Mutex<State>,
    /// Told when a lot is accounted for or given back.
    changed: Condvar,
}

/// How far it has come.
#[derive(Debug)]
pub(crate) struct State {
    /// `None` once all is done.
    pub(crate) task: Option<Task>,
    /// Where the recipients begin that nobody had yet.
    next: usize,
    given_back: Vec<Lot>,
    /// Lots that somebody has, or has handed in.
    in_hand: usize,
    /// There is no connection for those who would help.
    pub(crate) alone: bool,
    /// Nobody takes another lot, and why.
    pub(crate) end: Option<End>,
}

/// Why the others are not tried now.
#[derive(Debug)]
pub(crate) enum End {
    /// There is no connection to be had, or no next hop may be asked.
    PutOff,
    /// The message is to go there.
    Fate(Fate),
    /// The disk.
    Broken(SpoolError),
}

/// A lot in somebody's hands. Dropped, it is there for another one.
pub(crate) struct Hand<'a> {
    split: &'a Split,
    lot: Lot,
    kept: bool,
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("id", &self.envelope().id).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Split {
    pub(crate) fn new(
        message: &Arc<Message>,
        trace: String,
        task: Task,
        places: Vec<usize>,
        size: usize,
    ) -> Self {
        let may_repeat = task.outbound.may_repeat();
        let state =
            State { task: Some(task), next: 0, given_back: Vec::new(), in_hand: 0, alone: false, end: None };
        Self {
            message: Arc::clone(message),
            trace,
            may_repeat,
            places,
            size: size.max(1),
            handed_in: Mutex::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.message.envelope
    }

    pub(crate) fn parcel(&self) -> Parcel<'_> {
        Parcel { message: &self.message, trace: &self.trace, may_repeat: self.may_repeat }
    }

    /// Waits until nobody else makes anything durable.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// What was handed in since, with the places of the recipients.
    pub(crate) fn take_in(&self, state: &mut State) -> Vec<(&[usize], Result<Handled, Damaged>)> {
        let outcomes = std::mem::take(&mut *locked(&self.handed_in));
        state.in_hand -= outcomes.len();
        self.changed.notify_all();
        outcomes.into_iter().map(|(lot, handled)| (&self.places[lot], handled)).collect()
    }

    /// Whether something is to be done by somebody still.
    pub(crate) fn is_open(&self, state: &State) -> bool {
        state.in_hand > 0 || self.lots_left(state) > 0
    }

    /// Lots that nobody has.
    pub(crate) fn lots_left(&self, state: &State) -> usize {
        let fresh = (self.places.len() - state.next).div_ceil(self.size);
        if state.end.is_none() { state.given_back.len() + fresh } else { 0 }
    }

    /// Whether a lot is left, as far as can be told without waiting.
    pub(crate) fn may_need_help(&self) -> bool {
        match self.state.try_lock() {
            Ok(state) => !state.alone && self.lots_left(&state) > 0,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        }
    }

    /// The next lot, if there is one.
    pub(crate) fn take<'a>(&'a self, state: &mut State) -> Option<Hand<'a>> {
        if self.lots_left(state) == 0 {
            return None;
        }
        let lot = state.given_back.pop().unwrap_or_else(|| {
            let first = state.next;
            state.next = self.places.len().min(first + self.size);
            first..state.next
        });
        state.in_hand += 1;
        Some(Hand { split: self, lot, kept: true })
    }

    /// The places of all recipients whom nobody has; none are left then.
    pub(crate) fn rest(&self, state: &mut State) -> Vec<&[usize]> {
        let fresh = std::mem::replace(&mut state.next, self.places.len())..self.places.len();
        let lots = std::mem::take(&mut state.given_back).into_iter().chain([fresh]);
        lots.filter(|lot| !lot.is_empty()).map(|lot| &self.places[lot]).collect()
    }

    /// Waits until the others have done what they have in hand; whether they have left
    /// something to do.
    pub(crate) fn wait(&self) -> bool {
        let waits = |state: &mut State| state.in_hand > 0 && self.lots_left(state) == 0;
        let state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        self.lots_left(&state) > 0
    }

    /// Waits until the others have nothing in hand any more; whether they had.
    pub(crate) fn wait_for_others(&self) -> bool {
        let state = self.state();
        let others = state.in_hand > 0;
        let waits = |state: &mut State| state.in_hand > 0;
        drop(self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner));
        others
    }

    /// The message, when nobody has anything of it in hand; whether there are
    /// recipients who were not tried; and why. Only for who began it.
    pub(crate) fn finish(&self) -> (Task, bool, Option<End>) {
        let mut state = self.state();
        let untried = !self.rest(&mut state).is_empty();
        (state.task.take().expect("is finished once"), untried, state.end.take())
    }
}

impl Hand<'_> {
    /// The places of its recipients.
    pub(crate) fn places(&self) -> &[usize] {
        &self.split.places[self.lot.clone()]
    }

    /// Hands in what became of them.
    pub(crate) fn hand_in(mut self, handled: Result<Handled, Damaged>) {
        self.kept = false;
        locked(&self.split.handed_in).push((self.lot.clone(), handled));
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if self.kept {
            let mut state = self.split.state();
            state.in_hand -= 1;
            state.given_back.push(self.lot.clone());
            self.split.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use lazaret_envelope::Line;

    use super::*;
    use crate::test_spool::TestSpool;
    use crate::{Job, TransportId};

    fn split(spool: &TestSpool, count: usize, size: usize) -> Split {
        let outbound = spool.routed("<>", &["a@b"], "x\r\n");
        let message = Arc::new(outbound.open().unwrap());
        let task = Task::new(Job { outbound, transports: vec![TransportId::LOOP] });
        Split::new(&message, String::new(), task, (0..count).map(|place| place * 2).collect(), size)
    }

    fn take(split: &Split) -> Option<Hand<'_>> {
        split.take(&mut split.state())
    }

    #[test]
    fn every_recipient_is_in_one_lot_and_what_is_dropped_comes_again() {
        let spool = TestSpool::new();
        let split = split(&spool, 7, 3);
        let (first, second) = (take(&split).unwrap(), take(&split).unwrap());
        assert_eq!((first.places(), second.places()), (&[0, 2, 4][..], &[6, 8, 10][..]));
        first.hand_in(Ok(Handled::default()));
        drop(second);
        assert!(split.wait(), "something is left, though one is in hand");
        let again = take(&split).unwrap();
        let last = take(&split).unwrap();
        assert_eq!((again.places(), last.places()), (&[6, 8, 10][..], &[12][..]));
        assert!(take(&split).is_none() && split.is_open(&split.state()));
        again.hand_in(Ok(Handled::default()));
        last.hand_in(Err(Damaged(Line::default())));
        {
            let mut state = split.state();
            let places: Vec<_> = split.take_in(&mut state).into_iter().map(|(places, _)| places).collect();
            assert_eq!(places, [&[0, 2, 4][..], &[6, 8, 10], &[12]]);
            assert!(!split.is_open(&state) && split.rest(&mut state).is_empty());
        }
        assert!(!split.wait() && !split.finish().1);
        assert!(split.state().task.is_none(), "who comes late finds nothing");
    }

    #[test]
    fn the_rest_is_what_nobody_has() {
        let spool = TestSpool::new();
        let split = split(&spool, 10, 3);
        let (first, second) = (take(&split).unwrap(), take(&split).unwrap());
        drop(first);
        let mut state = split.state();
        assert_eq!(split.lots_left(&state), 3);
        assert_eq!(split.rest(&mut state), [&[0, 2, 4][..], &[12, 14, 16, 18]]);
        assert_eq!(split.lots_left(&state), 0);
        drop(state);
        drop(second);
        split.state().end = Some(End::PutOff);
        assert!(take(&split).is_none(), "it has come to an end");
        let (_, untried, end) = split.finish();
        assert!(untried && matches!(end, Some(End::PutOff)));
    }
}
