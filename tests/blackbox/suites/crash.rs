//! Sudden deaths, at random: of the daemon, its cells, `lazaret submit` and an
//! operator's command, under load.
//!
//! What was acknowledged must never be lost: in the end it is in a mailbox or at
//! the next hop, or in quarantine because it was cut short too often.

use std::collections::{BTreeMap, BTreeSet};

use crate::crash::account::{Account, DELIVERIES_AT_A_TIME, Sums, account};
use crate::crash::campaign::{self, Outcome, Quota};
use crate::crash::census::{Census, Cut};
use crate::crash::copies::Copy;
use crate::crash::ledger::{BUSY, Kind, Ledger, Target, Way};
use crate::crash::window;
use crate::lab::Lab;
use crate::random::Random;
use crate::trial::{Case, figures, row};

/// Says how many kills there are to be.
const KILLS_VARIABLE: &str = "LAZARET_KILLS";

/// How many there are if nobody says.
const KILLS: usize = 300;

/// Campaigns that run side by side, each with a spool of its own.
const CAMPAIGNS: usize = 4;

/// Most findings that are shown.
const FINDINGS_SHOWN: usize = 20;

/// The id of a message that nobody sent.
const ID: &str = "01KAN3X0000000000000000000";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("crash::killed_at_random", killed_at_random).alone(),
        Case::new("crash::window_of_a_repeat", window_of_a_repeat).alone(),
        Case::new("crash::what_is_wrong_is_found", what_is_wrong_is_found),
    ]
}

fn killed_at_random() {
    let mut random = Random::new("crash");
    let given = std::env::var(KILLS_VARIABLE).ok().and_then(|kills| kills.parse().ok());
    let quota = Quota::of(given.unwrap_or(KILLS) / CAMPAIGNS);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let randoms: Vec<Random> = (0..CAMPAIGNS).map(|_| random.fork()).collect();
        let campaigns: Vec<_> =
            randoms.into_iter().map(|random| scope.spawn(move || campaign::run(quota, random))).collect();
        campaigns.into_iter().map(|campaign| campaign.join().expect("a campaign ends well")).collect()
    });
    let outcome = outcomes.into_iter().reduce(Outcome::add).expect("at least one campaign");
    print(&outcome);
    let wrong = &outcome.account.wrong;
    assert!(
        wrong.is_empty(),
        "{} findings, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(FINDINGS_SHOWN)].join("\n")
    );
    for process in ["daemon", "cell", "lazaret submit"] {
        let kills: usize = outcome.kills.iter().filter(|((of, _), _)| *of == process).map(|(_, n)| n).sum();
        assert!(kills > 0, "no {process} was killed, so nothing was shown");
    }
    let struck = outcome.found.get("claimed/: for the first time").is_some_and(|found| found.kills > 0);
    assert!(struck, "no kill hit a claimed message, so nothing was shown");
}

fn window_of_a_repeat() {
    for (transport, windows) in ["SMTP", "Maildir"].into_iter().zip(window::measure()) {
        let millis = |percent| format!("{:.2} ms", windows.percentile(percent).as_secs_f64() * 1e3);
        row(
            "windows",
            &[
                ("transport", transport.to_owned()),
                ("messages", windows.count().to_string()),
                ("median", millis(50)),
                ("99th percentile", millis(99)),
                ("longest", millis(100)),
            ],
        );
    }
}

/// The tables, and a line for the summary.
fn print(outcome: &Outcome) {
    for ((process, moment), kills) in &outcome.kills {
        let cells = [("process", (*process).to_owned()), ("moment", (*moment).to_owned())];
        row("kills", &[&cells[..], &[("kills", kills.to_string())]].concat());
    }
    for (state, found) in &outcome.found {
        row(
            "states",
            &[
                ("found by a kill of the daemon", (*state).to_owned()),
                ("kills", found.kills.to_string()),
                ("messages", found.messages.to_string()),
            ],
        );
    }
    let Account { ways, causes, repeats, wrong } = &outcome.account;
    for (way, sums) in ways {
        let number = |name, count: usize| (name, count.to_string());
        row(
            "mail",
            &[
                ("came in by", way.words().to_owned()),
                number("sent", sums.sent),
                number("acknowledged", sums.acknowledged),
                number("delivered", sums.delivered),
                number("deferred", sums.deferred),
                number("lost", sums.lost),
                number("unaccounted", sums.unaccounted),
                number("cut short, and there all the same", sums.unasked),
            ],
        );
    }
    for (cause, messages) in &outcome.deferred {
        let left = causes.get(cause).copied().unwrap_or_default();
        let cells = [("cause", cause.clone()), ("messages", messages.to_string())];
        row("quarantine", &[&cells[..], &[("left in the end", left.to_string())]].concat());
    }
    for (target, repeats) in repeats {
        row(
            "repeats",
            &[
                ("transport", target.words().to_owned()),
                ("copies", repeats.deliveries.to_string()),
                ("messages found delivered and not noted", repeats.windows.to_string()),
                ("copies repeated", repeats.repeated.to_string()),
                (
                    "messages repeated by one kill, at most",
                    format!("{} of {DELIVERIES_AT_A_TIME}", repeats.most),
                ),
                ("outside the window", repeats.outside.to_string()),
            ],
        );
    }
    let mail = |count: fn(&Sums) -> usize| -> usize { ways.values().map(count).sum() };
    let processes = outcome.kills.iter().fold(BTreeMap::new(), |mut sums, ((process, _), kills)| {
        *sums.entry(*process).or_insert(0) += kills;
        sums
    });
    figures(&format!(
        "crash: kills {processes:?}, {} clean stops; {} acknowledged, {} delivered, {} deferred, {} lost, \
         {} unaccounted; repeated {}; findings {}",
        outcome.stopped,
        mail(|sums| sums.acknowledged),
        mail(|sums| sums.delivered),
        mail(|sums| sums.deferred),
        mail(|sums| sums.lost),
        mail(|sums| sums.unaccounted),
        repeats.values().map(|repeats| repeats.repeated).sum::<usize>(),
        wrong.len(),
    ));
}

/// A harmless message that was sent.
fn sent(ledger: &Ledger, random: &mut Random, acknowledged: bool) -> (usize, Vec<&'static str>) {
    loop {
        let (number, recipients, _) = ledger.draw(Way::Smtp, random);
        if ledger.kind(number) == Some(Kind::Plain) && recipients.contains(&BUSY) && recipients.len() > 1 {
            if acknowledged {
                ledger.acknowledge(number, Some(ID.to_owned()));
            }
            return (number, recipients);
        }
    }
}

/// Accounts for one message that was delivered to `recipients` by these daemons,
/// of which the first was killed in the middle if `cut`.
fn accounted(random: &mut Random, acknowledged: bool, all: bool, lives: &[usize], cut: bool) -> Account {
    let (lab, ledger) = (Lab::new(), Ledger::new());
    let (number, recipients) = sent(&ledger, random, acknowledged);
    let reached = if all { recipients.len() } else { 1 };
    let to_one = |(to, life): (&&str, usize)| Copy { number, id: ID.into(), recipient: (*to).into(), life };
    let mut copies: Vec<Copy> = recipients.iter().take(reached).map(|to| to_one((to, lives[0]))).collect();
    copies.extend(lives[1..].iter().map(|&life| to_one((&BUSY, life))));
    let cuts = cut.then(|| (ID.to_owned(), vec![Cut { life: lives[0], noted: BTreeSet::new() }]));
    account(&ledger, &lab.spool(), &copies, &cuts.into_iter().collect())
}

fn what_is_wrong_is_found() {
    let sums = |account: &Account| {
        let sums = account.ways[&Way::Smtp];
        let repeats = account.repeats.get(&Target::Smtp).copied().unwrap_or_default();
        (sums.delivered, sums.lost, sums.unaccounted, repeats.repeated, repeats.outside)
    };
    let mut random = Random::new("crash: account");
    let mut accounted =
        |acknowledged, all, lives: &[usize], cut| accounted(&mut random, acknowledged, all, lives, cut);
    for (account, expected) in [
        (accounted(true, true, &[1], false), (1, 0, 0, 0, 0)),
        (accounted(true, true, &[1, 2], true), (1, 0, 0, 1, 0)),
        (accounted(true, true, &[1, 2], false), (1, 0, 0, 1, 1)),
        (accounted(true, true, &[1, 1], true), (1, 0, 0, 1, 1)),
        (accounted(true, true, &[2, 3, 4], true), (1, 0, 0, 2, 1)),
        (accounted(true, false, &[1], false), (0, 1, 0, 0, 0)),
        (accounted(false, false, &[1], false), (0, 0, 1, 0, 0)),
    ] {
        // Others that were drawn on the way were never acknowledged.
        assert_eq!(sums(&account), expected, "{:?}", account.wrong);
        assert_eq!(
            account.wrong.is_empty(),
            expected.1 + expected.2 + expected.4 == 0,
            "{:?}",
            account.wrong
        );
    }
    let census = |found: &[(&str, &str)]| {
        let (lab, ledger) = (Lab::new(), Ledger::new());
        let mut census = Census::default();
        for (life, (state, name)) in found.iter().enumerate() {
            let folder = lab.spool().path(state);
            std::fs::create_dir_all(&folder).expect("failed to make a folder");
            std::fs::write(folder.join(format!("{ID}.{name}")), "").expect("failed to write");
            let report = "cause interrupted\n";
            if *state == "deferred" {
                std::fs::write(folder.join(format!("{ID}.report")), report).expect("failed to write");
            }
            census.take(life, true, &lab, &ledger);
            std::fs::remove_file(folder.join(format!("{ID}.{name}"))).expect("failed to remove");
        }
        census.wrong.len()
    };
    assert_eq!(census(&[("claimed/1", "g1"), ("claimed/1", "g3.s1"), ("deferred", "g4.s1")]), 0);
    assert_eq!(census(&[("outbound", "g2"), ("incoming", "g3.i1")]), 0);
    assert_eq!(census(&[("incoming", "g1"), ("incoming", "g3.s1")]), 1, "a strike without a cause");
    assert_eq!(census(&[("outbound", "g2"), ("incoming", "g4.i2")]), 1, "two interruptions by one kill");
    assert_eq!(census(&[("claimed/1", "g1"), ("deferred", "g2")]), 1, "deferred at the first time");
}
