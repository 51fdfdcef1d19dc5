//! What became of every message, once nothing is killed any more and the spool
//! is idle.
//!
//! An acknowledged message that a recipient does not have is lost, unless it
//! lies in quarantine; whatever else has no explanation is unaccounted. A copy
//! too many must never pass unless a kill that was seen explains it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::census::Cut;
use super::copies::Copy;
use super::ledger::{Kind, Ledger, Mail, Target, Way, number_in};
use crate::spooldir::SpoolDir;

/// Deliveries at a time of each transport, by default for Maildirs and as the
/// campaigns configure it for SMTP: so many transactions can be cut short by one
/// kill.
pub const DELIVERIES_AT_A_TIME: usize = 4;

/// What became of the mail that came in one way.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    /// Messages that somebody began to send.
    pub sent: usize,
    /// Those whose sender was told that they are safe.
    pub acknowledged: usize,
    /// Of these, delivered to every recipient.
    pub delivered: usize,
    /// Of these, not delivered to every one but in quarantine.
    pub deferred: usize,
    /// Of these, neither.
    pub lost: usize,
    /// Without an explanation.
    pub unaccounted: usize,
    /// Not acknowledged, and delivered or deferred all the same.
    pub unasked: usize,
}

/// What one transport did more than once.
#[derive(Clone, Copy, Default)]
pub struct Repeats {
    /// Copies, to one recipient each.
    pub deliveries: usize,
    /// Deliveries that a kill found made and not yet written down.
    pub windows: usize,
    /// Copies after the first.
    pub repeated: usize,
    /// Most messages that were repeated because of one kill.
    pub most: usize,
    /// Copies that no kill explains.
    pub outside: usize,
}

/// The account of one campaign, or of several.
#[derive(Default)]
pub struct Account {
    /// By the way in.
    pub ways: BTreeMap<Way, Sums>,
    /// Messages in quarantine, by cause.
    pub causes: BTreeMap<String, usize>,
    /// By transport.
    pub repeats: BTreeMap<Target, Repeats>,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
}

/// What a message came to.
#[derive(Default)]
struct End<'a> {
    copies: Vec<&'a Copy>,
    deferred: Option<(String, String)>,
}

/// Accounts for all mail of a campaign.
pub fn account(
    ledger: &Ledger,
    spool: &SpoolDir,
    copies: &[Copy],
    cuts: &HashMap<String, Vec<Cut>>,
) -> Account {
    let mut account = Account::default();
    let mut ends: HashMap<usize, End<'_>> = HashMap::new();
    for copy in copies {
        ends.entry(copy.number).or_default().copies.push(copy);
    }
    for id in spool.ids("deferred") {
        match quarantined(spool, &id, ledger) {
            Ok((number, cause)) => {
                *account.causes.entry(cause.clone()).or_default() += 1;
                if let Some((_, other)) = ends.entry(number).or_default().deferred.replace((cause, id)) {
                    account.wrong.push(format!("number {number} is in quarantine twice, also as {other}"));
                }
            }
            Err(why) => account.wrong.push(format!("deferred/{id}: {why}")),
        }
    }
    for (number, mail) in ledger.all().iter().enumerate() {
        let end = ends.remove(&number).unwrap_or_default();
        let mut wrong = unexplained(mail, &end);
        let sums = account.ways.entry(mail.way).or_default();
        let there = !end.copies.is_empty() || end.deferred.is_some();
        let has_it = |to: &&str| end.copies.iter().any(|copy| copy.recipient == *to);
        let missing: Vec<&str> = mail.recipients.iter().copied().filter(|to| !has_it(to)).collect();
        sums.sent += 1;
        match (mail.acknowledged, missing.is_empty(), end.deferred.is_some()) {
            (true, true, _) => sums.delivered += 1,
            (true, false, true) => sums.deferred += 1,
            (true, false, false) => {
                sums.lost += 1;
                account.wrong.push(format!("number {number}, {mail:?}: is lost for {}", missing.join(", ")));
            }
            (false, false, false) if there => {
                wrong.push(format!("was never acknowledged, and is there but for {}", missing.join(", ")));
            }
            (false, ..) => sums.unasked += usize::from(there),
        }
        sums.acknowledged += usize::from(mail.acknowledged);
        sums.unaccounted += usize::from(!wrong.is_empty());
        account.wrong.extend(wrong.into_iter().map(|why| format!("number {number}, {mail:?}: {why}")));
    }
    account.repeats(copies, cuts);
    account
}

/// Number and cause of a message in quarantine, whose bytes must be those that
/// were sent.
fn quarantined(spool: &SpoolDir, id: &str, ledger: &Ledger) -> Result<(usize, String), String> {
    let cause = spool.report(id).ok_or("no report")?.cause().to_owned();
    let names = spool.names("deferred");
    let name = names.iter().find(|name| name.starts_with(id) && !name.ends_with(".report")).ok_or("gone")?;
    let bytes = std::fs::read(spool.path("deferred").join(name)).map_err(|error| error.to_string())?;
    let number = number_in(&bytes).ok_or("no number")?;
    let kind = ledger.kind(number).ok_or_else(|| format!("number {number} was never sent"))?;
    let envelope_end = bytes.windows(5).position(|window| window == b"\nend\n").ok_or("no envelope")?;
    match bytes[envelope_end + 5..] == ledger.content(number, kind) {
        true => Ok((number, cause)),
        false => Err(format!("number {number} is not what was sent")),
    }
}

/// What about a message has no explanation.
fn unexplained(mail: &Mail, end: &End<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let delivered = end.copies.iter().map(|copy| copy.id.as_str());
    let deferred = end.deferred.iter().map(|(_, id)| id.as_str());
    let ids: BTreeSet<&str> = delivered.chain(deferred).chain(mail.id.as_deref()).collect();
    if ids.len() > 1 {
        wrong.push(format!("has several ids: {ids:?}"));
    }
    if matches!(mail.kind, Kind::Poison(_)) && !end.copies.is_empty() {
        wrong.push("is poison and was delivered".to_owned());
    }
    let strangers = end.copies.iter().filter(|copy| !mail.recipients.contains(&copy.recipient.as_str()));
    wrong.extend(strangers.map(|copy| format!("was delivered to {}", copy.recipient)));
    wrong
}

impl Account {
    fn repeats(&mut self, copies: &[Copy], cuts: &HashMap<String, Vec<Cut>>) {
        let mut lives: HashMap<&str, BTreeMap<&str, Vec<usize>>> = HashMap::new();
        for copy in copies {
            lives.entry(&copy.id).or_default().entry(&copy.recipient).or_default().push(copy.life);
            self.repeats.entry(copy.target()).or_default().deliveries += 1;
        }
        let mut by_kill: BTreeMap<(Target, usize), usize> = BTreeMap::new();
        for (id, recipients) in &mut lives {
            let cuts = cuts.get(*id).map_or(&[][..], Vec::as_slice);
            self.windows(recipients, cuts);
            let mut repeated = BTreeSet::new();
            for (recipient, lives) in recipients {
                lives.sort_unstable();
                let target = Target::of(recipient);
                for pair in lives.windows(2) {
                    self.repeats.entry(target).or_default().repeated += 1;
                    if is_explained(target, recipient, pair, cuts) {
                        repeated.insert((target, pair[0]));
                    } else {
                        self.repeats.entry(target).or_default().outside += 1;
                        self.wrong.push(format!("{id} was delivered to {recipient} again, by {pair:?}"));
                    }
                }
            }
            repeated.into_iter().for_each(|kill| *by_kill.entry(kill).or_default() += 1);
        }
        for ((target, life), messages) in by_kill {
            let repeats = self.repeats.entry(target).or_default();
            repeats.most = repeats.most.max(messages);
            if messages > DELIVERIES_AT_A_TIME {
                repeats.outside += messages - DELIVERIES_AT_A_TIME;
                self.wrong.push(format!("the end of daemon {life} repeated {messages} messages"));
            }
        }
    }

    /// Counts how often a kill found one message delivered and that not noted.
    fn windows(&mut self, recipients: &BTreeMap<&str, Vec<usize>>, cuts: &[Cut]) {
        for cut in cuts {
            let is_open = |(recipient, lives): &(&&str, &Vec<usize>)| {
                lives.iter().any(|life| *life <= cut.life) && !cut.noted.contains(**recipient)
            };
            let open = recipients.iter().filter(is_open);
            let targets: BTreeSet<Target> = open.map(|(recipient, _)| Target::of(recipient)).collect();
            targets.into_iter().for_each(|target| self.repeats.entry(target).or_default().windows += 1);
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        for (way, sums) in other.ways {
            let mine = self.ways.entry(way).or_default();
            mine.sent += sums.sent;
            mine.acknowledged += sums.acknowledged;
            mine.delivered += sums.delivered;
            mine.deferred += sums.deferred;
            mine.lost += sums.lost;
            mine.unaccounted += sums.unaccounted;
            mine.unasked += sums.unasked;
        }
        for (cause, count) in other.causes {
            *self.causes.entry(cause).or_default() += count;
        }
        for (target, repeats) in other.repeats {
            let mine = self.repeats.entry(target).or_default();
            mine.deliveries += repeats.deliveries;
            mine.windows += repeats.windows;
            mine.repeated += repeats.repeated;
            mine.most = mine.most.max(repeats.most);
            mine.outside += repeats.outside;
        }
        self.wrong.extend(other.wrong);
    }
}

/// Whether a message may have come to a recipient twice, from these two daemons:
/// the first was killed while it delivered it and had not noted that yet, and
/// nobody could find the first copy.
fn is_explained(target: Target, recipient: &str, pair: &[usize], cuts: &[Cut]) -> bool {
    let cut = |cut: &Cut| cut.life == pair[0] && !cut.noted.contains(recipient);
    let is_gone = [Target::Smtp, Target::Emptied].contains(&target);
    is_gone && pair[0] < pair[1] && cuts.iter().any(cut)
}
