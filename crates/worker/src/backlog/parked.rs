//! Messages that gave way, and lie in `incoming/` until there is a place for them.
//!
//! Most of what takes long is poison, but now and then a healthy message meets a
//! busy moment. So the first wait is for a second look, which is short: the
//! smallest go first in every other turn, the oldest in the others. What took too
//! long in that, too, waits for a place in which it may use up its budget. A name
//! must never wait for both.

use std::collections::{BTreeMap, BTreeSet};

use lazaret_spool::Name;

/// Names held in memory, some 10 MiB. Should there be more, those that take long
/// hold up others, as if there were no places for them.
const PARKED_MAX: usize = 65_536;

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// For a second look, oldest first, with the size of each in bytes.
    ages: BTreeMap<Name, u64>,
    /// The same, smallest first.
    sizes: BTreeSet<(u64, Name)>,
    /// For as long as it takes, oldest first.
    last: BTreeSet<Name>,
    /// The smallest is next.
    smallest_next: bool,
}

impl Parked {
    /// Waits for a second look.
    pub(super) fn second(&mut self, name: Name, size: u64) {
        self.ages.insert(name, size);
        self.sizes.insert((size, name));
    }

    /// Waits for a place in which it takes as long as it takes.
    pub(super) fn last(&mut self, name: Name) {
        self.last.insert(name);
    }

    /// Next for a second look.
    pub(super) fn take_second(&mut self) -> Option<Name> {
        self.smallest_next = !self.smallest_next;
        let (size, name) = if self.smallest_next {
            *self.sizes.first()?
        } else {
            self.ages.first_key_value().map(|(&name, &size)| (size, name))?
        };
        self.ages.remove(&name);
        self.sizes.remove(&(size, name));
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
        self.ages.contains_key(name) || self.last.contains(name)
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
    fn the_smallest_and_the_oldest_take_turns() {
        let name = |millis| Name::first(MessageId::from_parts(millis, 0));
        let mut parked = Parked::default();
        for (millis, size) in [(1, 900), (2, 800), (3, 5), (4, 700), (5, 6)] {
            parked.second(name(millis), size);
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
