//! Sudden deaths: of the daemon in the middle of draining, and of cells in the
//! middle of parsing.
//!
//! What was acknowledged must never be lost: in the end it is in a mailbox, or
//! in quarantine because it was cut short twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::lab::{Config, Lab, submitted};
use crate::process::{is_running, kill_descendant};
use crate::random::Random;
use crate::smtp::Client;
use crate::spooldir::{Report, has_strike};
use crate::trial::{Case, figures};
use crate::wait::{Watch, until};

/// How often the daemon is killed.
const DAEMON_KILLS: usize = 20;

/// Messages that lie there when a daemon starts.
const PRELOADED: usize = 25;

/// Messages sent to it by SMTP while it lives.
const SENT: usize = 25;

/// Longest wait for a claim after which to kill.
const CLAIM_TIME_MAX: Duration = Duration::from_secs(3);

/// Longest time for what is left when nothing is killed any more.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(240);

/// How often a cell is killed.
const CELL_KILLS: usize = 30;

/// Messages that cells are killed over.
const HEAVY_MESSAGES: usize = 150;

/// One in so many cells that are seen at work is killed.
const CELL_ODDS: usize = 4;

/// Longest time for all kills of cells.
const CELL_KILLS_TIME_MAX: Duration = Duration::from_secs(240);

const RECIPIENT: &str = "desk@example.org";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("crash::daemon_killed_again_and_again", daemon_killed).alone(),
        Case::new("crash::cells_killed_while_parsing", cells_killed).alone(),
    ]
}

fn message(number: usize) -> String {
    format!("From: sender@example.com\r\nSubject: number {number}\r\n\r\ntext of {number}\r\n")
}

fn daemon_killed() {
    let mut random = Random::new("crash: daemon");
    let lab = Lab::new();
    lab.prepare();
    let spool = lab.spool();
    let mut acknowledged = BTreeSet::new();
    let (mut cut_short, mut struck) = (0, BTreeSet::new());
    for round in 0..DAEMON_KILLS {
        let first = round * (PRELOADED + SENT);
        acknowledged
            .extend((first..first + PRELOADED).map(|n| submitted(&lab, RECIPIENT, message(n).as_bytes())));
        let incoming = Watch::on(&[spool.path("incoming")]);
        let claims = Watch::on(&spool.workers());
        let daemon = lab.start();
        acknowledged.extend(send_until_killed(daemon, first + PRELOADED, claims, random.below(SENT)));
        cut_short += spool.names("claimed").len();
        note_strikes(incoming, &mut struck);
    }
    let incoming = Watch::on(&[spool.path("incoming")]);
    let daemon = lab.start();
    for number in acknowledged.len()..DAEMON_KILLS * (PRELOADED + SENT) {
        acknowledged.extend(send(daemon.smtp(), number..number + 1));
    }
    until(DRAIN_TIME_MAX, || spool.passing().is_empty() && spool.names("waiting").is_empty());
    note_strikes(incoming, &mut struck);
    let (delivered, repeated, deferred) = account_for(&lab, &acknowledged, "interrupted");
    figures(&format!(
        "crash, daemon: {} acknowledged, {DAEMON_KILLS} kills, {cut_short} cut short while claimed, {} struck; \
         {delivered} delivered, {repeated} of them repeated, {deferred} deferred",
        acknowledged.len(),
        struck.len(),
    ));
    assert_eq!(acknowledged.len(), DAEMON_KILLS * (PRELOADED + SENT));
    assert_eq!(spool.passing(), Vec::<String>::new(), "something is still on its way");
    assert!(!struck.is_empty(), "no kill hit a claimed message, so nothing was shown");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Adds the names with a strike that recovery put into incoming/. A kill that
/// cut recovery short shows the same name again, so names are counted once.
fn note_strikes(mut incoming: Watch, struck: &mut BTreeSet<String>) {
    struck.extend(incoming.drain().into_iter().filter(|name| has_strike(name)));
}

/// Sends messages while waiting for a claim to kill after; the ids that were
/// acknowledged in time.
fn send_until_killed(daemon: Daemon, first: usize, mut claims: Watch, skip: usize) -> Vec<String> {
    let address = daemon.smtp();
    // Those of the start are over; the kill is to land right behind a new one.
    claims.drain();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send(address, first..first + SENT));
        for _ in 0..=skip {
            if claims.next(CLAIM_TIME_MAX).is_none() {
                break;
            }
        }
        daemon.kill9();
        sender.join().expect("the sender does not panic")
    })
}

/// Sends messages in one session as long as that goes; the acknowledged ids.
fn send(address: SocketAddr, numbers: std::ops::Range<usize>) -> Vec<String> {
    let Ok(mut client) = Client::connect(address) else { return Vec::new() };
    numbers
        .map_while(|n| client.deliver("sender@example.com", &[RECIPIENT], message(n).as_bytes()).ok())
        .collect()
}

/// Every acknowledged message is in a mailbox, or deferred for `cause` after
/// two tries (or five interrupted deliveries). Gives how many were delivered, repeated and deferred.
#[track_caller]
fn account_for(lab: &Lab, acknowledged: &BTreeSet<String>, cause: &str) -> (usize, usize, usize) {
    let copies = lab.mail().copies();
    let spool = lab.spool();
    let (mut delivered, mut repeated, mut deferred) = (0, 0, 0);
    let mut wrong = Vec::new();
    for id in acknowledged {
        let copies = copies.get(id).map_or(0, Vec::len);
        let report = spool.report(id);
        delivered += usize::from(copies > 0);
        repeated += usize::from(copies > 1);
        deferred += usize::from(report.is_some());
        match report {
            None if copies == 0 => wrong.push(format!("{id} is lost")),
            Some(report) if !cut_short_often_enough(&report, cause) => {
                wrong.push(format!(
                    "{id}: deferred, cause {}, {} attempts",
                    report.cause(),
                    report.attempts()
                ));
            }
            // Delivered, cut short before that was noted, then deferred: both is no loss.
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), acknowledged.len(), wrong.join("\n"));
    (delivered, repeated, deferred)
}

/// Quarantined after exactly as many interruptions as the layout says: two while
/// it was under suspicion, five while it was being delivered. (The attempts in
/// the report are the message's whole history.)
fn cut_short_often_enough(report: &Report, cause: &str) -> bool {
    match report.cause() {
        "interrupted" => cause == "interrupted" && report.get("detail").contains(" went down 2 times "),
        "interrupted-delivery" => report.get("detail").contains(" went down 5 times "),
        found => found == cause && report.attempts() == 2,
    }
}

/// Harmless, but it keeps a parser busy: parts that look for a boundary that
/// does not come.
fn heavy(number: usize) -> Vec<u8> {
    const PARTS: usize = 2000;
    let part = "--here\r\nContent-Type: multipart/mixed; boundary=nowhere\r\n\r\n";
    let head = format!(
        "Subject: heavy {number}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=here\r\n\r\n"
    );
    (head + &part.repeat(PARTS) + "--here--\r\n").into_bytes()
}

fn cells_killed() {
    let mut random = Random::new("crash: cells");
    // The kills are to be the only thing that goes wrong, in a debug build too.
    let lab = Lab::with(&Config::parsing_everything().workers("cpu_time = \"60s\"\n"));
    let acknowledged: BTreeSet<String> =
        (0..HEAVY_MESSAGES).map(|number| submitted(&lab, RECIPIENT, &heavy(number))).collect();
    let mut daemon = lab.start();
    let (kills, parsing) = kill_cells(&lab, &daemon, &mut random);
    let spool = lab.spool();
    until(DRAIN_TIME_MAX, || spool.passing().is_empty());
    let (delivered, repeated, deferred) = account_for(&lab, &acknowledged, "killed");
    figures(&format!(
        "crash, cells: {} messages, {kills} kills, {parsing} of them at work on a message; \
         {delivered} delivered, {repeated} of them repeated, {deferred} deferred",
        acknowledged.len(),
    ));
    assert_eq!(repeated, 0, "a cell delivers nothing, so its death can't repeat anything");
    assert!(parsing > 0, "no kill landed while a cell parsed");
    assert!(daemon.is_alive(), "the daemon ended");
    let id = submitted(&lab, RECIPIENT, message(0).as_bytes());
    assert!(until(DRAIN_TIME_MAX, || lab.mail().count(&id) == 1), "mail does not go on");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Kills cells at random moments until enough were killed or nothing is left to
/// do. Gives how many, and how many of them ran with a message claimed: the
/// messages are such that a running cell parses.
fn kill_cells(lab: &Lab, daemon: &Daemon, random: &mut Random) -> (usize, usize) {
    let spool = lab.spool();
    let deadline = Instant::now() + CELL_KILLS_TIME_MAX;
    let (mut kills, mut parsing) = (0, 0);
    while kills < CELL_KILLS && Instant::now() < deadline && !spool.passing().is_empty() {
        for cell in daemon.cells() {
            let at_work = is_running(cell) && !spool.names("claimed").is_empty();
            if random.below(CELL_ODDS) == 0 && kill_descendant(cell) {
                kills += 1;
                parsing += usize::from(at_work);
                // The next one is for the cell that takes its place.
                until(CLAIM_TIME_MAX, || !daemon.cells().contains(&cell));
            }
        }
    }
    (kills, parsing)
}
