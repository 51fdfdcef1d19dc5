//! A message that takes the machine down whenever a worker looks at it, or
//! whenever it is delivered, among others that do not: in every state that the
//! power cuts can leave this happens only so often, and the others are delivered.
//!
//! The daemon of this model hands out work as the real one does: batches, and
//! what bears a strike alone. It must never remember the message itself.

use std::collections::HashSet;

use super::explore::{decide, hash};
use super::judge::judge;
use super::life::{Life, Step};
use super::place::{Place, places};
use super::world::{Sim, Snapshot};
use crate::{Dir, INTERRUPTIONS_MAX, STRIKES_MAX};

/// Meetings beyond those allowed at which the model gives up.
const MEETINGS_TOO_MANY: usize = 2;

/// Where the message takes the machine down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Danger {
    Cell,
    Delivery,
}

impl Danger {
    /// Meetings that are allowed. The first in a delivery may count as a strike.
    pub(super) fn allowed(self) -> usize {
        match self {
            Self::Cell => usize::from(STRIKES_MAX) + 1,
            Self::Delivery => usize::from(INTERRUPTIONS_MAX) + 1,
        }
    }
}

/// The messages that are accepted.
const LABELS: [u32; 3] = [1, 2, 3];

/// What came of all that could happen.
pub(super) struct Poison {
    danger: Danger,
    pub(super) power_cuts: usize,
    pub(super) most_meetings: usize,
    pub(super) violations: Vec<String>,
    seen: HashSet<u64>,
    label: u32,
}

impl Poison {
    pub(super) fn new(danger: Danger) -> Self {
        Self {
            danger,
            power_cuts: 0,
            most_meetings: 0,
            violations: Vec::new(),
            seen: HashSet::new(),
            label: 0,
        }
    }

    /// Accepts messages, of which one is poison, and works until nothing is left.
    pub(super) fn play(&mut self, label: u32) {
        self.label = label;
        let sim = Sim::boot(Snapshot::blank());
        let accepted =
            Life::start(&sim).and_then(|life| LABELS.iter().try_for_each(|label| life.accept(*label)));
        accepted.expect("an empty spool takes messages");
        let snapshot = sim.world().snapshot("work");
        self.live(snapshot, 0);
    }

    /// One life, and every life that can follow it.
    fn live(&mut self, found: Snapshot, meetings: usize) {
        self.most_meetings = self.most_meetings.max(meetings);
        if meetings > self.danger.allowed() {
            self.violations.push(format!("message {} takes the machine down {meetings} times", self.label));
        }
        if meetings > self.danger.allowed() + MEETINGS_TOO_MANY {
            return;
        }
        let before = places(&found.disk);
        let sim = Sim::boot(found);
        let life = match Life::start(&sim) {
            Ok(life) => life,
            Err(error) => return self.violations.push(error.to_string()),
        };
        self.violations.extend(judge(&life, &before));
        decide(&sim);
        match self.work(&life) {
            Ok(None) => self.ended(&places(&sim.world().disk)),
            Ok(Some(mut met)) => {
                met.ledger.cut();
                for disk in met.disk.power_cuts() {
                    self.power_cuts += 1;
                    if self.seen.insert(hash(&disk, &met.ledger, (meetings, self.label))) {
                        self.live(met.with_disk(disk), meetings + 1);
                    }
                }
            }
            Err(error) => self.violations.push(error.to_string()),
        }
    }

    /// Works until the poison takes the machine down (then: the instant), or nothing is left.
    fn work(&self, life: &Life) -> Step<Option<Snapshot>> {
        while let Some(batch) = next(&life.places(Dir::Incoming)) {
            for (label, claim) in batch.iter().zip(life.claim_only(0, &batch)?) {
                life.look(*label, &claim)?;
                if *label == self.label && self.danger == Danger::Cell {
                    return Ok(Some(life.sim.world().snapshot("look at the poison")));
                }
                let outbound = life.routed(*label, claim)?;
                if *label == self.label {
                    return Ok(Some(life.sim.world().snapshot("deliver the poison")));
                }
                life.done(*label, outbound)?;
            }
        }
        life.flush()?;
        Ok(None)
    }

    fn ended(&mut self, left: &[Place]) {
        let deferred =
            matches!(left, [place] if place.label == Some(self.label) && place.dir == Dir::Deferred);
        if !deferred {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            self.violations.push(format!("left at the end: {}", left.join(", ")));
        }
    }
}

/// What is claimed next: one with a strike alone, or all of the others.
fn next(incoming: &[Place]) -> Option<Vec<u32>> {
    let struck = |place: &&Place| place.name.is_some_and(|name| name.strikes > 0);
    let labels = |places: Vec<&Place>| places.iter().filter_map(|place| place.label).collect::<Vec<u32>>();
    let alone = labels(incoming.iter().find(struck).into_iter().collect());
    let batch = if alone.is_empty() { labels(incoming.iter().collect()) } else { alone };
    (!batch.is_empty()).then_some(batch)
}
