//! Goes through every crash point of a short history and every state that a
//! power cut can leave there; then starts, judges, starts again, and works off
//! what is left. Crashes during the start itself are gone through likewise.
//!
//! States that were seen, with the same promises, are not visited again. It must
//! never stop at the first violation: what else is wrong belongs to the finding.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::io::Write;

use lazaret_envelope::MessageId;
use rustix::io::Errno;

use super::disk::State;
use super::judge::{judge, there};
use super::ledger::Ledger;
use super::life::{Life, Step};
use super::place::places;
use super::world::{At, Fault, Sim, Snapshot};
use crate::Dir;

/// Kinds of violations that are kept; of the others only the number.
const VIOLATIONS_KEPT_MAX: usize = 50;

/// Crashes in a row that are gone through: one in the history, one in the start
/// after it.
const DEPTH: usize = 2;

/// A short history: what is done to a spool that has just been started.
pub(super) struct History {
    pub(super) name: &'static str,
    pub(super) run: fn(&mut Life) -> Step,
}

/// What was gone through, and what was wrong.
#[derive(Default)]
pub(super) struct Explorer {
    pub(super) histories: usize,
    pub(super) crash_points: usize,
    pub(super) starts: usize,
    pub(super) violations: usize,
    /// One example of each kind.
    pub(super) kept: BTreeMap<String, String>,
    seen: HashSet<u64>,
    seen_points: HashSet<u64>,
    /// Long histories are few: all is done for each.
    long: bool,
    history: String,
}

impl Explorer {
    /// For histories of which only one way is gone.
    pub(super) fn of_long_histories() -> Self {
        Self { long: true, ..Self::default() }
    }

    /// One line for whoever reads the log of the tests.
    pub(super) fn print_figures(&self, what: &str) {
        let figures = [
            ("histories", self.histories),
            ("crash points", self.crash_points),
            ("states visited", self.seen.len()),
            ("starts", self.starts),
            ("violations", self.violations),
        ];
        print_figures(SIMULATION, what, &figures);
    }

    /// Fails with everything that was kept.
    pub(super) fn assert_none(&self) {
        let kept: Vec<&str> = self.kept.values().map(String::as_str).collect();
        assert!(self.violations == 0, "{} violations, such as\n{}", self.violations, kept.join("\n"));
    }

    /// Every crash point of a history.
    pub(super) fn history(&mut self, history: &History) {
        self.begin(history.name);
        for snapshot in record(history, None) {
            self.crash(&snapshot, DEPTH, true);
        }
    }

    /// The history with each of its changes failing, and a crash after it.
    pub(super) fn failures(&mut self, history: &History) {
        for snapshot in record(history, None) {
            let Some(step) = snapshot.step else { continue };
            for (error, lasting) in [(Errno::IO, false), (Errno::IO, true), (Errno::NOSPC, false)] {
                let fault = Fault { at: At::Change(step), error, lasting };
                // After a failed fsync nothing is believed until the machine was
                // started anew: assumption 5.
                let killed = !lasting && !snapshot.before.starts_with("sync");
                self.failure(history, fault, &snapshot.before, killed);
            }
        }
    }

    /// The history with each of its looks failing, and a crash after it.
    pub(super) fn blind(&mut self, history: &History) {
        for look in 0..looks(history) {
            for error in [Errno::IO, Errno::MFILE] {
                self.failure(history, Fault { at: At::Look(look), error, lasting: false }, "a look", true);
            }
        }
    }

    fn failure(&mut self, history: &History, fault: Fault, what: &str, killed: bool) {
        self.begin(&format!("{} with {fault:?}, {what}", history.name));
        let last = record(history, Some(fault)).pop().expect("there is always an end");
        self.crash(&last, 1, killed);
    }

    pub(super) fn begin(&mut self, history: &str) {
        self.histories += 1;
        self.history = history.to_owned();
    }

    /// Everything that can come of all going down at one instant. `killed`: also
    /// that only the process does.
    fn crash(&mut self, at: &Snapshot, depth: usize, killed: bool) {
        let mut at = at.clone();
        at.ledger.cut();
        if !self.seen_points.insert(hash(&at.disk, &at.ledger, (depth, killed))) {
            return;
        }
        self.crash_points += 1;
        let mut disks = at.disk.power_cuts();
        if killed {
            disks.push(at.disk.clone());
        }
        for disk in disks {
            if self.seen.insert(hash(&disk, &at.ledger, depth)) {
                self.visit(at.with_disk(disk), depth);
            }
        }
    }

    /// One state in which a start finds the disk.
    pub(super) fn visit(&mut self, found: Snapshot, depth: usize) {
        let point = format!("{}, before: {}", self.history, found.before);
        let names = found.disk.listing();
        let mut wrong = if self.long { Vec::new() } else { self.repair_first(found.clone()) };
        wrong.extend(self.start(found, depth));
        self.violations += wrong.len();
        for what in wrong {
            if self.kept.len() < VIOLATIONS_KEPT_MAX {
                let example = format!("{point}, left [{names}]: {what}");
                self.kept.entry(kind(&what)).or_insert(example);
            }
        }
    }

    /// The same state is repaired first, as by an operator who does not start the
    /// daemon at once; then it must be as good as any.
    fn repair_first(&mut self, found: Snapshot) -> Vec<String> {
        let sim = Sim::boot(found);
        if let Err(error) = Life::take(&sim).and_then(|life| life.repair()) {
            return vec![format!("the repair failed: {error}")];
        }
        let before = places(&sim.world().disk);
        self.starts += 1;
        let wrong = match Life::start(&sim) {
            Ok(life) => judge(&life, &before),
            Err(error) => vec![format!("the start failed: {error}")],
        };
        wrong.into_iter().map(|what| format!("repaired first: {what}")).collect()
    }

    fn start(&mut self, found: Snapshot, depth: usize) -> Vec<String> {
        let before = places(&found.disk);
        let sim = Sim::boot(found);
        if depth > 1 {
            sim.world().recorded = Some(Vec::new());
        }
        self.starts += 1;
        let life = match Life::start(&sim) {
            Ok(life) => life,
            Err(error) => return vec![format!("the start failed: {error}")],
        };
        let mut wrong = judge(&life, &before);
        decide(&sim);
        life.moment("go on after the start");
        let recorded = sim.world().recorded.take().unwrap_or_default();
        wrong.extend(self.again(life));
        wrong.extend(self.work_off(&sim, depth == DEPTH || self.long));
        for snapshot in recorded {
            self.crash(&snapshot, depth - 1, true);
        }
        wrong
    }

    /// Recovery once more by the same owner, then by another: nothing changes.
    fn again(&mut self, life: Life) -> Option<String> {
        let before = life.sim.world().disk.visible();
        let sim = life.sim.clone();
        let once_more = life.owner.recover();
        drop(life);
        let next = Life::start(&sim);
        self.starts += 1;
        let after = sim.world().disk.visible();
        if let Err(error) = once_more {
            return Some(format!("recovering again failed: {error}"));
        }
        if let Err(error) = next {
            return Some(format!("the next start failed: {error}"));
        }
        (before != after).then(|| "recovering again changed something".to_owned())
    }

    /// Delivers what is left and stops cleanly; `again`: then has the machine go
    /// down once more, and nothing may come back.
    fn work_off(&mut self, sim: &Sim, again: bool) -> Vec<String> {
        let worked = Life::start(sim).and_then(|life| life.drain().and_then(|()| life.stop()));
        if let Err(error) = worked {
            return vec![format!("working off what was left failed: {error}")];
        }
        let end = sim.world().snapshot("end");
        let left = places(&end.disk).into_iter().filter(|place| place.dir != Dir::Deferred);
        let mut wrong: Vec<String> = left.map(|place| format!("{place} is never worked off")).collect();
        if !again {
            return wrong;
        }
        for disk in [end.disk.least(), end.disk.both_names()] {
            let before = places(&disk);
            let sim = Sim::boot(end.with_disk(disk));
            self.starts += 1;
            match Life::start(&sim) {
                Ok(life) => wrong.extend(judge(&life, &before)),
                Err(error) => wrong.push(format!("the start after a clean stop failed: {error}")),
            }
        }
        wrong.iter().map(|what| format!("worked off: {what}")).collect()
    }
}

pub(super) fn hash(disk: &State, ledger: &Ledger, more: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    disk.hash_into(&mut hasher);
    (ledger, more).hash(&mut hasher);
    hasher.finish()
}

/// A violation without its ids.
fn kind(what: &str) -> String {
    let word =
        |word: &str| if word.len() > MessageId::TEXT_BYTES { "…".to_owned() } else { word.to_owned() };
    what.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A start has been judged: what it found is so.
pub(super) fn decide(sim: &Sim) {
    let mut world = sim.world();
    let there = there(&world.disk);
    world.ledger.decided(&there);
}

/// Runs a history; the instant before each change, and the end.
fn record(history: &History, fault: Option<Fault>) -> Vec<Snapshot> {
    let sim = Sim::boot(Snapshot::blank());
    let mut life = Life::start(&sim).expect("an empty spool can be started");
    {
        let mut world = sim.world();
        world.recorded = Some(Vec::new());
        // Those of the start don't count.
        world.looks = 0;
        world.fault = fault;
    }
    let ended = (history.run)(&mut life);
    assert!(fault.is_some() || ended.is_ok(), "{}: {}", history.name, ended.unwrap_err());
    life.moment("the end of the history");
    let recorded = sim.world().recorded.take();
    recorded.expect("was recorded")
}

/// How often a history looks at something, once it has begun.
fn looks(history: &History) -> usize {
    let sim = Sim::boot(Snapshot::blank());
    let mut life = Life::start(&sim).expect("an empty spool can be started");
    sim.world().looks = 0;
    let ended = (history.run)(&mut life);
    assert!(ended.is_ok(), "{}: {}", history.name, ended.unwrap_err());
    sim.world().looks
}

impl State {
    /// Every name, in words.
    fn listing(&self) -> String {
        let name = |dir: Option<Dir>, name: &str| dir.map_or(name.to_owned(), |dir| format!("{dir}/{name}"));
        let names: Vec<String> = self.names().map(|(key, _)| name(key.0, &key.1)).collect();
        names.join(" ")
    }
}

/// The table of what the simulation went through.
pub(super) const SIMULATION: &str = "simulation";

/// Past the capture of the test harness: figures are for every log, and as a row
/// of a table for `docs/crash-safety.md`. Both in one go, since others print too.
pub(super) fn print_figures(table: &str, what: &str, figures: &[(&str, usize)]) {
    let text: Vec<String> = figures.iter().map(|(name, number)| format!("{name} {number}")).collect();
    let row: String = figures.iter().map(|(name, number)| format!(" | {name}={number}")).collect();
    let _ = writeln!(
        std::io::stdout().lock(),
        "figures: {table}: {what}: {}\nrow: {table} | what={what}{row}",
        text.join(", ")
    );
}
