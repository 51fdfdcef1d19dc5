//! The next entries of a queue that may be larger than memory should hold.
//!
//! Holds the smallest entries, up to a limit, and remembers whether there are
//! more on disk: then the directory is scanned again once these are used up.
//! Two million files cost a few dozen scans in all instead of a list of them.
//! It must never grow beyond its limit.

use std::collections::BTreeSet;

/// The smallest entries of a queue.
#[derive(Debug)]
pub struct Window<T> {
    entries: BTreeSet<T>,
    limit: usize,
    /// Entries above the largest one held may exist that are not held.
    more: bool,
}

impl<T: Ord + Copy> Window<T> {
    /// An empty window of a queue that was not looked at yet.
    ///
    /// # Panics
    /// If `limit` is zero.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        assert!(limit > 0, "a window has room for something");
        Self { entries: BTreeSet::new(), limit, more: true }
    }

    /// Takes note of an entry.
    pub fn insert(&mut self, entry: T) {
        // Above the horizon, what is not held can't be told from what is: leave
        // it to the next scan, or entries would overtake older ones.
        if self.more && self.entries.last().is_none_or(|last| entry > *last) {
            return;
        }
        self.put(entry);
    }

    fn put(&mut self, entry: T) {
        self.entries.insert(entry);
        if self.entries.len() > self.limit {
            self.entries.pop_last();
            self.more = true;
        }
    }

    /// Starts a scan: every entry of the queue is then [`found`](Self::found).
    pub fn start_scan(&mut self) {
        self.entries.clear();
        self.more = false;
    }

    /// Takes note of an entry that a scan found.
    pub fn found(&mut self, entry: T) {
        if !(self.more && self.entries.last().is_some_and(|last| entry > *last)) {
            self.put(entry);
        }
    }

    /// The smallest entry held.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.entries.first()
    }

    /// The entries held, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// Takes an entry out; whether it was held.
    pub fn remove(&mut self, entry: &T) -> bool {
        self.entries.remove(entry)
    }

    /// Whether a scan would find more than is held.
    #[must_use]
    pub fn needs_scan(&self) -> bool {
        self.more && self.entries.is_empty()
    }

    /// How many entries are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever arrives in between, everything comes out, the entries of one
        /// filling in order, and never more than the limit is held.
        #[test]
        fn everything_comes_out(start in prop::collection::btree_set(0_u32..1000, 0..60), later in prop::collection::vec(0_u32..1000, 0..60)) {
            let mut disk = start;
            let mut later = later.into_iter();
            let mut window = Window::new(7);
            loop {
                if let Some(entry) = later.next()
                    && disk.insert(entry)
                {
                    window.insert(entry);
                }
                if window.needs_scan() {
                    window.start_scan();
                    disk.iter().rev().for_each(|&entry| window.found(entry));
                }
                prop_assert!(window.len() <= 7);
                let Some(&first) = window.first() else { break };
                prop_assert_eq!(Some(&first), disk.first());
                window.remove(&first);
                disk.remove(&first);
            }
            prop_assert!(disk.is_empty() || later.next().is_some());
        }
    }
}
