//! What must hold after every start, read off the disk itself and held against
//! the ledger.
//!
//! A judge must never change anything.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Key, State};
use super::ledger::{Ledger, Mail};
use super::life::{Life, RECIPIENTS, delivery_key, is_notice};
use super::place::{Place, places};
use crate::layout::{DROP_WRITING, report_name};
use crate::table::{INTERRUPTIONS_MAX, STRIKES_MAX};
use crate::{CheckOptions, Dir, Finding, Name, Trouble, check};

/// Deliveries that may be cut short: each of the five may cost a second one,
/// whose rename to `outbound/` was lost, so that it counts as a strike.
const DELIVERY_CUTS_MAX: u32 = 2 * INTERRUPTIONS_MAX as u32;

/// Times a message may be cut short in a worker's hands.
const CUTS_MAX: u32 = STRIKES_MAX as u32 + 1;

/// Everything that is wrong after a start. `before` is what the start found.
pub(super) fn judge(life: &Life, before: &[Place]) -> Vec<String> {
    let (after, ledger, leftovers) = {
        let world = life.sim.world();
        let leftover = |(key, _): (&Key, u64)| key.1.starts_with(DROP_WRITING).then(|| key.1.clone());
        let leftovers: Vec<String> = world.disk.names().filter_map(leftover).collect();
        (places(&world.disk), world.ledger.clone(), leftovers)
    };
    let mut wrong: Vec<String> = leftovers.iter().map(|name| format!("drop/{name} is left over")).collect();
    for (label, mail) in &ledger.mails {
        let here: Vec<&Place> = after.iter().filter(|place| place.label == Some(*label)).collect();
        wrong.extend(number_of_places(*label, mail, &here));
        wrong.extend(notice(life, *label, mail, &here, &ledger, &after));
        for place in here {
            let old: Vec<&Place> = before.iter().filter(|place| place.label == Some(*label)).collect();
            wrong.extend(state(mail, place).map(|what| format!("{place}: {what}")));
            wrong.extend(row(mail, place, &old).map(|what| format!("{place}: {what}")));
            wrong.extend(journal(life, mail, place));
        }
    }
    let known = |place: &&Place| place.label.is_some_and(|label| ledger.mails.contains_key(&label));
    wrong.extend(after.iter().filter(|place| !known(place)).map(|place| match &place.damage {
        Some(damage) => format!("{place}: is not whole: {damage}"),
        None => format!("{place} is of nobody"),
    }));
    wrong.extend(findings(life, &after, &ledger));
    wrong
}

/// What of the ledger's is still there.
pub(super) fn there(disk: &State) -> BTreeSet<u32> {
    places(disk).iter().filter_map(|place| place.label).collect()
}

fn number_of_places(label: u32, mail: &Mail, here: &[&Place]) -> Option<String> {
    let list = || here.iter().map(|place| place.to_string()).collect::<Vec<_>>().join(", ");
    match here.len() {
        0 if mail.acknowledged && !mail.may_be_gone && !mail.gone => {
            Some(format!("mail {label} was acknowledged and is lost"))
        }
        0 => None,
        _ if mail.gone => Some(format!("mail {label} was gone for good and is back: {}", list())),
        1 => None,
        _ => Some(format!("mail {label} is in more than one place: {}", list())),
    }
}

/// A sender is told of every refusal before the message is let go of, and before the
/// journal says so; unless it comes from nobody, or an operator has deleted it.
fn notice(
    life: &Life,
    label: u32,
    mail: &Mail,
    here: &[&Place],
    ledger: &Ledger,
    after: &[Place],
) -> Option<String> {
    let noted = here.first().and_then(|place| place.name).map(|name| life.owner.journal(name.id));
    let owed = match noted {
        Some(Ok(journal)) => journal.untold_failures > 0,
        Some(Err(_)) => true,
        None => false,
    };
    if owed || mail.deleted || is_notice(label) {
        return None;
    }
    let sent = |notice: &u32| {
        ledger.mails.get(notice).is_some_and(|mail| mail.acknowledged || mail.gone)
            || after.iter().any(|place| place.label == Some(*notice))
    };
    let told = mail.notices.iter().filter(|(notice, _)| sent(notice)).flat_map(|(_, numbers)| numbers);
    let untold = |number: &&u32| !told.clone().any(|told| told == *number);
    let untold = mail.refused.iter().find(untold)?;
    Some(format!("mail {label} was let go of and its sender not told of r{untold}"))
}

/// What is wrong with a message where it is.
fn state(mail: &Mail, place: &Place) -> Option<String> {
    if let Some(damage) = &place.damage
        && !(mail.bad && matches!(place.dir, Dir::Deferred | Dir::Incoming))
    {
        return Some(format!("is not whole: {damage}"));
    }
    if mail.cuts > CUTS_MAX || (mail.cuts == CUTS_MAX && place.dir != Dir::Deferred) {
        return Some(format!("was cut short {} times in a worker's hands and goes on", mail.cuts));
    }
    if mail.cuts > 0 && place.name.is_some_and(|name| name.strikes == 0) && place.dir != Dir::Deferred {
        return Some("was cut short in a worker's hands and bears no mark".to_owned());
    }
    if mail.delivery_cuts > DELIVERY_CUTS_MAX {
        return Some(format!("was cut short {} times in delivery", mail.delivery_cuts));
    }
    match (place.dir, place.name) {
        (Dir::Claimed(_) | Dir::Outbound, _) => Some("is in nobody's hands".to_owned()),
        (Dir::Incoming | Dir::Waiting, Some(name)) if name.interruptions >= INTERRUPTIONS_MAX => {
            Some("has had all its interruptions and goes on".to_owned())
        }
        _ => None,
    }
}

/// Whether the start did with a message what the table says. `old` is where it
/// found it; the newest name counts.
fn row(mail: &Mail, place: &Place, old: &[&Place]) -> Option<String> {
    let now = place.name?;
    let newest = old.iter().filter_map(|place| place.name).map(|name| name.generation).max()?;
    let newest: Vec<(Dir, Name)> = (old.iter())
        .filter_map(|place| place.name.map(|name| (place.dir, name)))
        .filter(|(_, name)| name.generation == newest)
        .collect();
    let justified = newest.iter().any(|(dir, was)| match (dir, place.dir) {
        (Dir::Claimed(_), Dir::Incoming) => now.strikes == was.strikes + 1 && was.strikes < STRIKES_MAX,
        (Dir::Claimed(_), Dir::Deferred) => mail.faulted || (was.strikes == STRIKES_MAX && mail.cut_claimed),
        (Dir::Outbound, Dir::Incoming) => now.interruptions == was.interruptions + 1 && now.strikes == 0,
        (Dir::Outbound, Dir::Deferred) => mail.faulted || was.interruptions + 1 >= INTERRUPTIONS_MAX,
        (Dir::Tmp, Dir::Incoming) => was.taken && now == was.next(),
        (dir, now_in) => *dir == now_in && now == *was,
    });
    (!justified).then(|| {
        let found: Vec<String> = newest.iter().map(|(dir, name)| format!("{dir}/{name}")).collect();
        format!("the table has no such row for {}", found.join(", "))
    })
}

fn journal(life: &Life, mail: &Mail, place: &Place) -> Option<String> {
    let id = place.name?.id;
    let journal = match life.owner.journal(id) {
        Ok(journal) => journal,
        Err(error) => return Some(format!("{place}: {error}")),
    };
    let missing = RECIPIENTS
        .iter()
        .filter(|number| mail.noted.contains(number) && !journal.is_settled(&delivery_key(**number)));
    let missing: Vec<String> = missing.map(|number| format!("r{number}")).collect();
    (!missing.is_empty()).then(|| format!("{place}: the journal has forgotten {}", missing.join(", ")))
}

/// Whether it is a torn report of something that has its cause in its name.
fn is_stood_in_for(life: &Life, finding: &Finding) -> bool {
    let world = life.sim.world();
    let deferred = world.disk.names().filter(|(key, _)| key.0 == Some(Dir::Deferred));
    let names = deferred.filter_map(|(key, _)| key.1.parse::<Name>().ok());
    let mut named = names.filter(|name| name.cause.is_some()).map(|name| report_name(name.id));
    finding.trouble == Trouble::Report && named.any(|report| *finding.place.name == *report)
}

/// What `check` finds: nothing but, by construction, what a history has damaged,
/// and what a failed fsync leaves torn: a journal of which nothing was promised, and
/// a report whose cause went into the name instead.
fn findings(life: &Life, after: &[Place], ledger: &Ledger) -> Vec<String> {
    let bad: BTreeMap<String, ()> = (after.iter())
        .filter(|place| place.label.and_then(|label| ledger.mails.get(&label)).is_some_and(|mail| mail.bad))
        .map(|place| (place.to_string(), ()))
        .collect();
    match check(life.owner.spool(), CheckOptions::default(), &mut |_| ()) {
        Ok(checked) => (checked.findings.into_iter())
            .filter(|finding| !bad.contains_key(&finding.place.to_string()))
            .filter(|finding| finding.trouble != Trouble::Journal && !is_stood_in_for(life, finding))
            .map(|finding| format!("check finds {}: {}", finding.place, finding.detail))
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}
