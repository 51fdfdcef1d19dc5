//! What the world has seen, held against what is there in the end: the promises.
//!
//! It judges values only and must never look at a disk. Every sentence about a
//! promise that is broken begins with the letter's number.

use std::collections::{BTreeMap, BTreeSet};

use super::letters::{Kind, Letter};
use super::marks::Mark;
use super::scenario::{NOBODY, Scenario, TRIGGER};

/// A letter in a folder.
pub struct Delivered {
    pub number: usize,
    pub recipient: String,
    /// Whether all of it is there.
    pub whole: Result<(), String>,
}

/// A letter in quarantine.
pub struct Deferred {
    pub number: usize,
    /// As the report says.
    pub cause: String,
    pub detail: String,
}

/// What the marks say.
#[derive(Default)]
pub struct Seen {
    acked: BTreeSet<usize>,
    releasing: BTreeSet<usize>,
    released: BTreeSet<usize>,
    deleting: BTreeSet<usize>,
    deleted: BTreeSet<usize>,
    transactions: BTreeMap<usize, Vec<Transaction>>,
    stops: usize,
    /// How many clean stops there had been at each cut.
    stops_at_cut: Vec<usize>,
    stopped: bool,
    starting: bool,
}

/// What a next hop took in one go.
struct Transaction {
    recipients: Vec<String>,
    /// How often the power had been cut before.
    cuts: usize,
    /// How often the daemon had stopped cleanly before.
    stops: usize,
}

impl Seen {
    /// From all marks before the cut.
    pub fn new(marks: &[Mark]) -> Self {
        let mut seen = Self::default();
        for mark in marks {
            match mark {
                Mark::Acked(number) | Mark::Dropped(number) => drop(seen.acked.insert(*number)),
                Mark::Releasing(number) => drop(seen.releasing.insert(*number)),
                Mark::Released(number) => drop(seen.released.insert(*number)),
                Mark::Deleting(number) => drop(seen.deleting.insert(*number)),
                Mark::Deleted(number) => drop(seen.deleted.insert(*number)),
                Mark::Delivered(number, recipients) => {
                    let (cuts, stops) = (seen.stops_at_cut.len(), seen.stops);
                    let transaction = Transaction { recipients: recipients.clone(), cuts, stops };
                    seen.transactions.entry(*number).or_default().push(transaction);
                }
                Mark::Starting => (seen.stopped, seen.starting) = (false, true),
                Mark::Ready => seen.starting = false,
                Mark::Stopped => {
                    seen.stopped = true;
                    seen.stops += 1;
                }
                Mark::Again => {
                    (seen.stopped, seen.starting) = (false, false);
                    seen.stops_at_cut.push(seen.stops);
                }
                Mark::Cut => {}
            }
        }
        seen
    }

    /// Whether the last daemon had stopped cleanly.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether a daemon was starting, so that it was in recovery.
    pub fn in_start(&self) -> bool {
        self.starting
    }

    /// Whether an operator's command was at work.
    pub fn in_command(&self) -> bool {
        self.releasing.len() > self.released.len() || self.deleting.len() > self.deleted.len()
    }
}

/// How the promises were kept.
#[derive(Default)]
pub struct Verdict {
    /// Broken promises.
    pub wrong: Vec<String>,
    /// Letters that are nowhere.
    pub lost: usize,
    /// Recipients who got a letter twice, as the window allows.
    pub repeated: usize,
}

/// Holds what is there against what was seen.
pub fn audit(scenario: Scenario, seen: &Seen, delivered: &[Delivered], deferred: &[Deferred]) -> Verdict {
    let mut verdict = Verdict::default();
    let found = delivered.iter().map(|copy| copy.number).chain(deferred.iter().map(|there| there.number));
    let known = seen.acked.iter().chain(seen.transactions.keys()).copied().chain(scenario.held());
    for number in known.chain(found).collect::<BTreeSet<usize>>() {
        let case = Case {
            letter: scenario.letter(number),
            scenario,
            seen,
            delivered: delivered.iter().filter(|copy| copy.number == number).collect(),
            deferred: deferred.iter().filter(|there| there.number == number).collect(),
            transactions: seen.transactions.get(&number).map_or(&[], Vec::as_slice),
        };
        case.judge(&mut verdict);
    }
    verdict
}

/// One letter.
struct Case<'a> {
    letter: Letter,
    scenario: Scenario,
    seen: &'a Seen,
    delivered: Vec<&'a Delivered>,
    deferred: Vec<&'a Deferred>,
    transactions: &'a [Transaction],
}

impl Case<'_> {
    fn judge(&self, verdict: &mut Verdict) {
        let number = self.letter.number;
        if self.is_lost() {
            verdict.lost += 1;
            verdict
                .wrong
                .push(format!("{number}: lost: some of {:?} did not get it", self.letter.recipients));
        }
        let mut wrong: Vec<String> = Vec::new();
        for copy in &self.delivered {
            wrong
                .extend(copy.whole.as_ref().err().map(|why| format!("to {} in part: {why}", copy.recipient)));
        }
        wrong.extend(self.deferred.iter().filter_map(|there| self.unexcused(there)));
        if self.deferred.len() > 1 {
            wrong.push(format!("{} times in deferred/", self.deferred.len()));
        }
        let stays = self.is_held() && !self.seen.releasing.contains(&number);
        if (stays || self.letter.kind != Kind::Plain) && self.is_delivered() {
            wrong.push("delivered out of quarantine".to_owned());
        }
        if self.seen.deleted.contains(&number) && !self.deferred.is_empty() {
            wrong.push("deleted, and back".to_owned());
        }
        verdict.repeated += self.repeats(&mut wrong);
        verdict.wrong.extend(wrong.into_iter().map(|what| format!("{number}: {what}")));
    }

    /// Whether somebody neither has it nor will be missed by an operator.
    fn is_lost(&self) -> bool {
        let number = self.letter.number;
        let promised = self.seen.acked.contains(&number) || self.is_held();
        let reached = self.letter.recipients.iter().all(|recipient| self.has(recipient));
        promised && !self.seen.deleting.contains(&number) && !reached && self.deferred.is_empty()
    }

    fn is_held(&self) -> bool {
        self.scenario.held().contains(&self.letter.number)
    }

    fn has(&self, recipient: &str) -> bool {
        self.delivered.iter().any(|copy| copy.recipient == recipient)
            || self.transactions.iter().any(|taken| taken.recipients.iter().any(|one| one == recipient))
    }

    fn is_delivered(&self) -> bool {
        !self.delivered.is_empty() || !self.transactions.is_empty()
    }

    /// What is wrong with its being in quarantine, if anything is.
    fn unexcused(&self, there: &Deferred) -> Option<String> {
        let number = self.letter.number;
        let trigger = number == TRIGGER;
        let excused = match there.cause.as_str() {
            "no-route" => self.is_held() && !self.seen.released.contains(&number),
            "undeliverable" => self.letter.recipients.contains(&NOBODY),
            // Of two cuts each must have found it in a worker's hands.
            "interrupted" => {
                let loops = self.scenario == Scenario::ParserLoop && trigger;
                (loops || self.scenario.follows_a_cut()) && there.detail.contains(" went down 2 times ")
            }
            "interrupted-delivery" => {
                let loops = self.scenario == Scenario::DeliveryLoop && trigger;
                loops && there.detail.contains(" went down 5 times ")
            }
            cause => self.letter.kind.causes().contains(&cause),
        };
        (!excused).then(|| format!("deferred for {}: {}", there.cause, there.detail))
    }

    /// Counts who got it more than once. What was delivered by anything but a
    /// letter's last transaction before a cut stood in its journal, and what was
    /// delivered before a clean stop is done.
    fn repeats(&self, wrong: &mut Vec<String>) -> usize {
        let mut repeated = 0;
        for (place, taken) in self.transactions.iter().enumerate() {
            let later = &self.transactions[place + 1..];
            let last = later.iter().all(|later| later.cuts > taken.cuts);
            let open = last && self.stops_before_next_cut(taken) == taken.stops;
            for recipient in &taken.recipients {
                let again = later.iter().filter(|later| later.recipients.contains(recipient)).count();
                let at_rest = self.delivered.iter().any(|copy| copy.recipient == *recipient);
                match again + usize::from(at_rest) {
                    0 => {}
                    _ if open => repeated += 1,
                    _ => wrong.push(format!("to {recipient} again, though it was settled")),
                }
            }
        }
        for (place, copy) in self.delivered.iter().enumerate() {
            if self.delivered[..place].iter().any(|other| other.recipient == copy.recipient) {
                wrong.push(format!("twice in the mailbox of {}", copy.recipient));
            }
        }
        repeated
    }

    /// How many clean stops there had been when the cut came that ended the
    /// life in which a transaction was made.
    fn stops_before_next_cut(&self, taken: &Transaction) -> usize {
        self.seen.stops_at_cut.get(taken.cuts).copied().unwrap_or(self.seen.stops)
    }
}
