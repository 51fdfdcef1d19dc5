//! What the end of each daemon left in the spool, held against what the one
//! before it had left: marks come only from what was cut short, and quarantine
//! only from marks, poison and killed cells.
//!
//! Reads directories while only senders run. It must never change anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;

use super::ledger::{BOXES, Kind, Ledger, number_in};
use crate::lab::Lab;
use crate::poison::Outcome;
use crate::spooldir::{Report, SpoolDir, count, id_of};

/// Interruptions in its name with which the next one sends a message to
/// quarantine.
const INTERRUPTIONS_LAST: u32 = 4;

/// Bytes of a file in quarantine that surely hold its number.
const TOP_BYTES: u64 = 8 << 10;

/// The directories in which messages lie.
const STATES: [&str; 5] = ["incoming", "claimed", "outbound", "waiting", "deferred"];

/// Where a message lay, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sighting {
    state: &'static str,
    name: String,
}

impl Sighting {
    fn count(&self, letter: char) -> u32 {
        count(&self.name, letter)
    }
}

/// A message in `outbound/` whose daemon was killed.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Which daemon.
    pub life: usize,
    /// Who stood in the journal as having it.
    pub noted: BTreeSet<String>,
}

/// How often a state was found.
#[derive(Clone, Copy, Default)]
pub struct Found {
    /// Kills that left it.
    pub kills: usize,
    /// Messages in it, all kills together.
    pub messages: usize,
}

/// Everything that was seen so far.
#[derive(Default)]
pub struct Census {
    last: HashMap<String, Sighting>,
    /// What kills found.
    pub found: BTreeMap<&'static str, Found>,
    /// Messages that came into quarantine, by cause.
    pub deferred: BTreeMap<String, usize>,
    /// Deliveries that were cut short, by id.
    pub cuts: HashMap<String, Vec<Cut>>,
    /// What must not be.
    pub wrong: Vec<String>,
}

impl Census {
    /// Looks at what daemon number `life` has left, killed or stopped.
    pub fn take(&mut self, life: usize, killed: bool, lab: &Lab, ledger: &Ledger) {
        let spool = lab.spool();
        let (now, twins) = sightings(&spool);
        self.wrong.extend(twins.iter().map(|id| format!("life {life}: {id} is in two places")));
        for (id, now) in &now {
            if let Err(why) = justified(self.last.get(id), now, &spool, id, ledger) {
                let before = self.last.get(id);
                self.wrong.push(format!("life {life}: {id}: {why}: {before:?}, then {now:?}"));
            }
            if now.state == "deferred" && self.last.get(id) != Some(now) {
                let cause =
                    spool.report(id).map_or("no report".to_owned(), |report| report.cause().to_owned());
                *self.deferred.entry(cause).or_default() += 1;
            }
            if !killed && ["claimed", "outbound"].contains(&now.state) {
                self.wrong.push(format!("life {life}: stopped cleanly and left {now:?}"));
            }
        }
        if killed {
            let outbound = now.iter().filter(|(_, now)| now.state == "outbound");
            for (id, _) in outbound {
                self.cuts.entry(id.clone()).or_default().push(Cut { life, noted: noted(&spool, id) });
            }
            self.count(&spool, lab, &now);
        }
        self.last = now;
    }

    /// How many messages are on their way.
    pub fn passing(&self) -> usize {
        self.last.values().filter(|seen| seen.state != "deferred").count()
    }

    /// Messages in quarantine that were perhaps innocent.
    pub fn releasable(&self, spool: &SpoolDir) -> Vec<String> {
        let deferred = self.last.iter().filter(|(_, seen)| seen.state == "deferred");
        let innocent = |id: &String| {
            let report = spool.report(id);
            report.is_some_and(|report| {
                ["interrupted", "interrupted-delivery", "killed"].contains(&report.cause())
            })
        };
        deferred.map(|(id, _)| id.clone()).filter(innocent).collect()
    }

    fn count(&mut self, spool: &SpoolDir, lab: &Lab, now: &HashMap<String, Sighting>) {
        let messages = |state: &str, fits: &dyn Fn(&str, &Sighting) -> bool| {
            now.iter().filter(|(id, seen)| seen.state == state && fits(id, seen)).count()
        };
        let journals: BTreeSet<String> =
            spool.names("journal").iter().filter_map(|name| id_of(name)).collect();
        let (tmp, reports) = (spool.names("tmp"), spool.names("deferred"));
        let reported: BTreeSet<&str> =
            reports.iter().filter_map(|name| name.strip_suffix(".report")).collect();
        let is_copy = |name: &&String| name.ends_with(".t");
        let is_taken = |name: &&String| name.starts_with("taken.");
        let maildirs = std::fs::read_dir(lab.path("mail").join(BOXES)).into_iter().flatten().flatten();
        let begun =
            maildirs.flat_map(|folder| std::fs::read_dir(folder.path().join("tmp"))).flatten().count();
        let ahead = now.iter().filter(|(id, seen)| {
            ["claimed", "outbound"].contains(&seen.state) && reported.contains(id.as_str())
        });
        let rows = [
            (
                "drop/: a file not yet taken",
                spool.names("drop").iter().filter(|n| !n.starts_with('.')).count(),
            ),
            ("tmp/: a message being written", tmp.iter().filter(|n| !is_copy(n) && !is_taken(n)).count()),
            ("tmp/: a dropped file in hand", tmp.iter().filter(is_taken).count()),
            ("tmp/: its whole copy", tmp.iter().filter(is_copy).count()),
            ("incoming/: unmarked", messages("incoming", &|_, seen| seen.count('s') + seen.count('i') == 0)),
            (
                "incoming/: with a mark",
                messages("incoming", &|_, seen| seen.count('s') + seen.count('i') > 0),
            ),
            ("claimed/: for the first time", messages("claimed", &|_, seen| seen.count('s') == 0)),
            ("claimed/: with a strike", messages("claimed", &|_, seen| seen.count('s') > 0)),
            ("outbound/: nothing in its journal", messages("outbound", &|id, _| !journals.contains(id))),
            ("outbound/: with a journal", messages("outbound", &|id, _| journals.contains(id))),
            ("outbound/: interrupted before", messages("outbound", &|_, seen| seen.count('i') > 0)),
            ("Maildir: a file half delivered", begun),
            ("waiting/", messages("waiting", &|_, _| true)),
            ("deferred/: a report whose message is not there yet", ahead.count()),
            ("deferred/: message and report", messages("deferred", &|id, _| reported.contains(id))),
            (
                "journal/: of a message that is done",
                journals.iter().filter(|id| !now.contains_key(*id)).count(),
            ),
        ];
        for (words, messages) in rows {
            let found = self.found.entry(words).or_default();
            found.kills += usize::from(messages > 0);
            found.messages += messages;
        }
    }
}

/// Where each message lies, and the ids of those that lie in two places.
fn sightings(spool: &SpoolDir) -> (HashMap<String, Sighting>, Vec<String>) {
    let (mut found, mut twins) = (HashMap::new(), Vec::new());
    for state in STATES {
        for name in spool.names(state).into_iter().filter(|name| !name.ends_with(".report")) {
            if let Some(id) = id_of(&name) {
                let second = found.insert(id.clone(), Sighting { state, name }).is_some();
                twins.extend(second.then_some(id));
            }
        }
    }
    (found, twins)
}

/// Recipients that a message's journal says have it.
fn noted(spool: &SpoolDir, id: &str) -> BTreeSet<String> {
    let journal =
        std::fs::read_to_string(spool.path("journal").join(format!("{id}.log"))).unwrap_or_default();
    let delivered = |line: &str| {
        let (_, rest) = line.strip_prefix("delivered ")?.split_once('<')?;
        Some(rest.split_once('>')?.0.to_owned())
    };
    journal.lines().filter_map(delivered).collect()
}

/// Whether a message may be where it is, one daemon after it was where it was.
fn justified(
    before: Option<&Sighting>,
    now: &Sighting,
    spool: &SpoolDir,
    id: &str,
    ledger: &Ledger,
) -> Result<(), String> {
    let was = |state: &str| before.is_some_and(|before| before.state == state);
    let had = |letter| before.map_or(0, |before| before.count(letter));
    if now.count('s') > had('s') && !(was("claimed") && now.count('s') == 1) {
        return Err("a strike, but it was not claimed".to_owned());
    }
    if now.count('i') > had('i') && !(was("outbound") && now.count('i') == had('i') + 1) {
        return Err("an interruption, but it was not in delivery".to_owned());
    }
    if now.state != "deferred" || before == Some(now) {
        return Ok(());
    }
    let report = spool.report(id).ok_or("deferred without a report")?;
    match report.cause() {
        "interrupted" if was("claimed") && had('s') == 1 => Ok(()),
        "interrupted-delivery" if was("outbound") && had('i') == INTERRUPTIONS_LAST => Ok(()),
        "killed" if tries(&report) == 2 => Ok(()),
        cause => {
            let number = number_of(spool, now);
            let kind = number.and_then(|number| ledger.kind(number)).unwrap_or(Kind::Plain);
            match ledger.expected(kind).fits(&Outcome::Deferred(cause.to_owned())) {
                true => Ok(()),
                false => Err(format!("deferred, but not rightly: {report:?}")),
            }
        }
    }
}

/// Cells that were killed over it. What its journal holds is older.
fn tries(report: &Report) -> usize {
    report.all("attempt").iter().filter(|attempt| attempt.contains(": killed at stage")).count()
}

/// The number of a message in quarantine.
fn number_of(spool: &SpoolDir, seen: &Sighting) -> Option<usize> {
    let mut top = Vec::new();
    File::open(spool.path(seen.state).join(&seen.name)).ok()?.take(TOP_BYTES).read_to_end(&mut top).ok()?;
    number_in(&top)
}
