//! Messages that gave way, and lie in `incoming/` until there is a place for them.
//!
//! Most of what takes long is poison, but now and then a healthy message meets a
//! busy moment. So the first wait is for a second look, which is short: in every
//! other turn those go first that are the least likely to be poison, in the others
//! the oldest. What took too long in that, too, waits for a place in which it may
//! use up its budget. A name must never wait for both.

use std::collections::{BTreeMap, BTreeSet};

use lazaret_spool::Name;

use crate::variety::Suspicion;

/// Names held in memory, some 10 MiB. Should there be more, those that take long
/// hold up others, as if there were no places for them.
const PARKED_MAX: usize = 65_536;

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// There soon, or of late: notice of them is still to come.
    announced: BTreeSet<Name>,
    /// For a second look, oldest first.
    ages: BTreeMap<Name, Suspicion>,
    /// The same, the least suspicious first.
    suspicions: BTreeSet<(Suspicion, Name)>,
    /// For as long as it takes, oldest first.
    last: BTreeSet<Name>,
    /// The oldest is next.
    oldest_next: bool,
}

impl Parked {
    /// Will lie there: notice that it does is no news.
    pub(super) fn announce(&mut self, name: Name) {
        self.announced.insert(name);
        if self.announced.len() > PARKED_MAX {
            self.announced.pop_first();
        }
    }

    /// Notice has come, or will not; whether it was announced.
    pub(super) fn was_announced(&mut self, name: &Name) -> bool {
        self.announced.remove(name)
    }

    /// Waits for a second look.
    pub(super) fn second(&mut self, name: Name, suspicion: Suspicion) {
        self.ages.insert(name, suspicion);
        self.suspicions.insert((suspicion, name));
    }

    /// Waits for a place in which it takes as long as it takes.
    pub(super) fn last(&mut self, name: Name) {
        self.last.insert(name);
    }

    /// Next for a second look.
    pub(super) fn take_second(&mut self) -> Option<Name> {
        let (suspicion, name) = if self.oldest_next {
            self.ages.first_key_value().map(|(&name, &suspicion)| (suspicion, name))?
        } else {
            *self.suspicions.first()?
        };
        self.oldest_next = !self.oldest_next;
        self.ages.remove(&name);
        self.suspicions.remove(&(suspicion, name));
        Some(name)
    }

    /// Next for as long as it takes.
    pub(super) fn take_last(&mut self) -> Option<Name> {
        self.last.pop_first()
    }

    /// Whether any waits for a second look.
    pub(super) fn has_second(&self) -> bool {
        !self.ages.is_empty()
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.ages.contains_key(name) || self.last.contains(name) || self.announced.contains(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty() && self.last.is_empty()
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.ages.len() + self.last.len() >= PARKED_MAX
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&Name> {
        self.ages.keys().next().into_iter().chain(self.last.first()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazaret_envelope::MessageId;

    #[test]
    fn the_least_suspicious_and_the_oldest_take_turns() {
        let name = |millis| Name::first(MessageId::from_parts(millis, 0));
        let mut parked = Parked::default();
        for (millis, repetitive, size) in
            [(1, true, 900), (2, true, 4), (3, false, 50), (4, true, 700), (5, false, 60)]
        {
            parked.second(name(millis), Suspicion { repetitive, size });
        }
        parked.last(name(0));
        assert!(parked.contains(&name(0)) && parked.contains(&name(3)) && !parked.contains(&name(9)));
        assert_eq!(parked.first(), Some(&name(0)));
        let mut order = Vec::new();
        while let Some(next) = parked.take_second() {
            order.push(next);
        }
        assert_eq!(order, [3, 1, 5, 2, 4].map(name));
        assert!(!parked.is_empty());
        assert_eq!([parked.take_last(), parked.take_last()], [Some(name(0)), None]);
        assert!(parked.is_empty());
    }
}
