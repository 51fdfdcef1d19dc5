//! What is remembered of faults, in memory: by content, by age, by message.
//!
//! Plain maps and lists, each with a limit. Whether something is to be remembered
//! is not decided here, and nothing here must ever wait or read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lazaret_envelope::{Cause, Line, MessageId, Timestamp};

use crate::slow::{Delay, GivesWay};

/// Most faults that are remembered, the latest: some 3 MiB. Also the most
/// reports that are read at a start.
pub(crate) const REPEATS_MAX: usize = 10_000;

/// Most contents that are remembered because they were late and were no fault of
/// the message: their copies need not wait for each other again.
const CLEARED_MAX: usize = 64;

/// Most contents that are remembered because they gave way; beyond, their copies
/// are tried like others.
const SUSPECTS_MAX: usize = 65_536;

/// Content, by what tells most apart at no cost: number of bytes, then digest.
pub(super) type Key = (u64, [u8; 32]);

/// What content looks like at a glance: how many bytes it has, and the digest of the first
/// of them. Contents that are alike in this may differ further down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glance {
    pub(super) bytes: u64,
    pub(super) top: [u8; 32],
}

pub(super) const LOWEST: [u8; 32] = [0; 32];
const HIGHEST: [u8; 32] = [u8::MAX; 32];

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) faults: BTreeMap<Key, Fault>,
    /// The keys, oldest first.
    pub(super) ages: BTreeMap<(Timestamp, MessageId), Key>,
    /// The messages that went to quarantine for what is remembered, the latest.
    deferred: BTreeSet<MessageId>,
    /// What contents look like that are late in a cell, as often as they are.
    on_trial: Vec<(Glance, Delay)>,
    /// What those look like that took long and gave way before it was known what comes of
    /// it.
    suspects: BTreeMap<Glance, GivesWay>,
    /// What those look like that were late and are not to blame, oldest first.
    cleared: VecDeque<Glance>,
}

/// What is remembered of a fault.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) first: MessageId,
    pub(super) time: Timestamp,
    pub(super) cause: Cause,
    pub(super) detail: Line,
}

impl Known {
    /// Whether any content of `least` to `most` bytes is known or takes long.
    pub(super) fn has_within(&self, least: u64, most: u64) -> bool {
        let glance = |bytes, top| Glance { bytes, top };
        self.has_fault_within(least, most)
            || self.suspects.range(glance(least, LOWEST)..=glance(most, HIGHEST)).next().is_some()
            || self.on_trial.iter().any(|(found, _)| (least..=most).contains(&found.bytes))
    }

    /// Whether any content of `least` to `most` bytes is known.
    pub(super) fn has_fault_within(&self, least: u64, most: u64) -> bool {
        self.faults.range((least, LOWEST)..=(most, HIGHEST)).next().is_some()
    }

    pub(super) fn insert(&mut self, key: Key, fault: Fault) {
        if self.faults.contains_key(&key) {
            return;
        }
        self.ages.insert((fault.time, fault.first), key);
        self.faults.insert(key, fault);
        if self.ages.len() > REPEATS_MAX {
            self.drop_oldest();
        }
    }

    /// Forgets all content of this digest; whether there was any.
    pub(super) fn forget(&mut self, digest: [u8; 32]) -> bool {
        let before = self.faults.len();
        self.faults.retain(|&(_, found), _| found != digest);
        self.ages.retain(|_, (_, found)| *found != digest);
        self.faults.len() < before
    }

    /// Forgets the oldest for as long as they are `over`.
    pub(super) fn drop_old(&mut self, over: impl Fn(Timestamp) -> bool) {
        while self.ages.first_key_value().is_some_and(|(&(time, _), _)| over(time)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_first() {
            self.faults.remove(&key);
        }
    }

    /// A message is in quarantine.
    pub(super) fn deferred(&mut self, id: MessageId) {
        self.deferred.insert(id);
        if self.deferred.len() > REPEATS_MAX {
            self.deferred.pop_first();
        }
    }

    /// Whether a message was in quarantine and has come back since.
    pub(super) fn has_come_back(&mut self, id: MessageId) -> bool {
        self.deferred.remove(&id)
    }

    /// Content that looks so is late in a cell; `false` if it was found not to blame before.
    pub(super) fn begin_trial(&mut self, glance: Glance, delay: Delay) -> bool {
        let wanted = !self.cleared.contains(&glance);
        if wanted {
            self.on_trial.push((glance, delay));
        }
        wanted
    }

    /// So late it is by now; `false` if it was before.
    pub(super) fn delay_trial(&mut self, glance: Glance, delay: Delay) -> bool {
        self.position(glance).is_some_and(|at| std::mem::replace(&mut self.on_trial[at].1, delay) != delay)
    }

    /// How late content is that looks so and is in a cell.
    pub(super) fn on_trial(&self, glance: Glance) -> Option<Delay> {
        self.position(glance).map(|at| self.on_trial[at].1)
    }

    /// How late content is that looks so, gave way and was not tried since.
    pub(super) fn suspect(&self, glance: Glance) -> Option<Delay> {
        self.suspects.get(&glance).map(|gave| match gave {
            GivesWay::Once => Delay::TakesLong,
            GivesWay::Twice => Delay::TakesVeryLong,
        })
    }

    fn position(&self, glance: Glance) -> Option<usize> {
        self.on_trial.iter().position(|(found, _)| *found == glance)
    }

    /// It gave way and is tried again later.
    pub(super) fn adjourn_trial(&mut self, glance: Glance, gave: GivesWay) {
        self.drop_trial(glance);
        if self.suspects.len() < SUSPECTS_MAX || self.suspects.contains_key(&glance) {
            self.suspects.insert(glance, gave);
        }
    }

    /// It has ended. If nothing is remembered of its size by now it is cleared.
    pub(super) fn end_trial(&mut self, glance: Glance) {
        self.drop_trial(glance);
        self.suspects.remove(&glance);
        if !self.has_fault_within(glance.bytes, glance.bytes) {
            self.cleared.push_back(glance);
            if self.cleared.len() > CLEARED_MAX {
                self.cleared.pop_front();
            }
        }
    }

    fn drop_trial(&mut self, glance: Glance) {
        if let Some(at) = self.position(glance) {
            self.on_trial.swap_remove(at);
        }
    }
}
