//! Messages that wait on disk on account of one transport, and are called back
//! as soon as it can take them.
//!
//! A due time alone would make mail wait for a next hop that is well again, or
//! come back for nothing again and again. What is not listed here, for want of
//! room, comes back when due. It must never call more than there is room for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lazaret_envelope::MessageId;

/// Most messages that are listed for all transports together, some 30 MiB.
pub(crate) const PARKED_TOTAL_MAX: usize = 262_144;

/// Most messages that are listed for one transport.
pub(crate) const PARKED_MAX: usize = 65_536;

/// Most messages that are remembered because they have just failed.
const SUSPECTS_MAX: usize = 1000;

/// How long whatever was called may be on its way before others are called in
/// its place: somebody may have moved it.
const CALLED_FOR: Duration = Duration::from_secs(2);

/// Where in the list a message stands: those first that were tried least, so that
/// no two probes in a row take the same one, which may be what makes them fail;
/// then the oldest.
pub(crate) type Place = (u32, MessageId);

/// The list of one transport.
#[derive(Debug)]
pub(crate) struct Parked<T> {
    lot: Mutex<Lot<T>>,
    max: usize,
}

#[derive(Debug)]
struct Lot<T> {
    /// In the order in which they are called.
    messages: BTreeMap<Place, T>,
    /// What failed and waits for its time: the next hop's trouble may have been to
    /// blame.
    suspects: BTreeMap<Place, T>,
    /// How many were called and did not come yet, and when the last was.
    called: usize,
    called_at: Instant,
}

impl<T> Parked<T> {
    pub(crate) fn new(max: usize) -> Self {
        let lot = Lot {
            messages: BTreeMap::new(),
            suspects: BTreeMap::new(),
            called: 0,
            called_at: Instant::now(),
        };
        Self { lot: Mutex::new(lot), max }
    }

    fn lot(&self) -> MutexGuard<'_, Lot<T>> {
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a message; where there is no room, only if it comes before others.
    pub(crate) fn add(&self, place: Place, message: T) {
        let mut lot = self.lot();
        lot.messages.insert(place, message);
        if lot.messages.len() > self.max {
            lot.messages.pop_last();
        }
    }

    /// Remembers a message that has failed, the latest [`SUSPECTS_MAX`].
    pub(crate) fn suspect(&self, place: Place, message: T) {
        let mut lot = self.lot();
        lot.suspects.insert(place, message);
        if lot.suspects.len() > SUSPECTS_MAX {
            lot.suspects.pop_first();
        }
    }

    /// It was the next hop's trouble: they are listed like all others.
    pub(crate) fn acquit(&self) {
        let suspects = std::mem::take(&mut self.lot().suspects);
        suspects.into_iter().for_each(|(place, message)| self.add(place, message));
    }

    /// Whether there is no room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.lot().messages.len() >= self.max
    }

    pub(crate) fn len(&self) -> usize {
        self.lot().messages.len()
    }

    /// Whether none is listed and none is on its way.
    pub(crate) fn is_done(&self, now: Instant) -> bool {
        let lot = self.lot();
        lot.messages.is_empty() && lot.under_way(now) == 0
    }

    /// A message came to the transport: one that was called, or as good as that.
    pub(crate) fn came(&self) {
        let mut lot = self.lot();
        lot.called = lot.called.saturating_sub(1);
    }

    /// Takes out the first, as many as there is room for besides those that are
    /// on their way.
    pub(crate) fn call(&self, room: usize, now: Instant) -> Vec<T> {
        let mut lot = self.lot();
        let under_way = lot.under_way(now);
        let count = room.saturating_sub(under_way).min(lot.messages.len());
        if count > 0 {
            lot.called = under_way + count;
            lot.called_at = now;
        }
        (0..count).filter_map(|_| lot.messages.pop_first()).map(|(_, message)| message).collect()
    }
}

impl<T> Lot<T> {
    fn under_way(&self, now: Instant) -> usize {
        if now.saturating_duration_since(self.called_at) < CALLED_FOR { self.called } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> Place {
        (0, MessageId::from_parts(1, u128::from(number)))
    }

    #[test]
    fn the_oldest_stay_and_are_called_first_and_never_more_than_fit() {
        let (parked, now) = (Parked::new(3), Instant::now());
        for number in [5, 1, 4, 2, 3, 2] {
            parked.add(id(number), number);
        }
        assert!(parked.is_full() && parked.len() == 3);
        assert_eq!(parked.call(2, now), [1, 2]);
        assert_eq!(parked.call(2, now), [0; 0], "those are still on their way");
        parked.came();
        assert_eq!(parked.call(2, now), [3]);
        assert!(!parked.is_done(now));
        parked.came();
        parked.came();
        parked.came();
        assert!(parked.is_done(now));
    }

    #[test]
    fn who_was_tried_already_stands_behind_who_was_not() {
        let (parked, now) = (Parked::new(3), Instant::now());
        parked.add((1, id(1).1), "failed");
        parked.add(id(2), "new");
        assert_eq!(parked.call(9, now), ["new", "failed"]);
    }

    #[test]
    fn who_failed_is_called_only_if_it_was_the_next_hops_trouble() {
        let (parked, now) = (Parked::new(3), Instant::now());
        parked.suspect(id(1), 1);
        assert_eq!((parked.len(), parked.call(9, now)), (0, vec![]));
        parked.acquit();
        assert_eq!((parked.len(), parked.call(9, now)), (1, vec![1]));
    }

    #[test]
    fn who_never_comes_keeps_nobody_out_for_long() {
        let (parked, now) = (Parked::new(3), Instant::now());
        (0..3).for_each(|number| parked.add(id(number), number));
        assert_eq!(parked.call(1, now), [0]);
        assert_eq!(parked.call(1, now + CALLED_FOR), [1]);
    }
}
