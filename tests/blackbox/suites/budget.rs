//! What mail may cost together: copies of one poison, more memory than there
//! is, and what is done about faults.
//!
//! Must never depend on how fast the machine is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::content::carries;
use crate::lab::{Config, Lab, cli, submitted};
use crate::poison;
use crate::smtp::Client;
use crate::spooldir::Report;
use crate::trial::{Case, figures};
use crate::wait::until;

/// Longest time for something that takes seconds at most.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time for all copies of a poison.
const COPIES_TIME_MAX: Duration = Duration::from_secs(240);

/// Copies of one poison that are sent.
const COPIES: usize = 1_000;

/// Copies of one that takes long: each is a MiB.
const SLOW_COPIES: usize = 200;

/// Different messages that take long.
const SLOW_MESSAGES: usize = 16;

/// Good messages that look like them.
const LOGS: usize = 3;

/// Good ones behind them.
const GOOD_MESSAGES: usize = 50;

/// Workers, as the lab configures them: so many copies may be in cells when the
/// first one faults.
const WORKERS: usize = 2;

/// After how many copies good mail is sent.
const GOOD_EVERY: usize = 50;

const RECIPIENT: &str = "desk@example.org";
const SENDER: &str = "sender@example.com";
const GOOD: &[u8] = b"Subject: good\r\n\r\nbeside the copies\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("budget::copies_of_a_poison_cost_a_cell_a_worker", fast_copies).alone(),
        Case::new("budget::copies_of_a_slow_poison_too", slow_copies).alone(),
        Case::new("budget::slow_mail_without_a_place_holds_up_nobody", slow_mail_without_a_place).alone(),
        Case::new("budget::released_copies_are_tried", released_copies_are_tried),
        Case::new("budget::too_small_a_machine_is_refused", too_small_a_machine),
        Case::new("budget::what_is_to_pass_arrives_untouched", passing),
        Case::new("budget::status_tells_what_mail_costs", costs),
    ]
}

fn status(lab: &Lab) -> Value {
    let status = cli(lab, &["status", "--json"]);
    serde_json::from_str(&status.stdout).unwrap_or_else(|e| panic!("{e}: {status:?}"))
}

/// A number that every worker counts.
fn sum(status: &Value, key: &str) -> u64 {
    let workers = status["daemon"]["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker[key].as_u64().expect("a number")).sum()
}

fn poison(name: &str) -> Vec<u8> {
    let found = poison::all().into_iter().find(|poison| poison.name == name);
    found.expect("a family of that name").bytes
}

/// A copy, as it looks when it came over another hop.
fn copy(poison: &[u8], number: usize) -> Vec<u8> {
    let received = format!(
        "Received: from a.example.net by b.example.net\r\n\twith ESMTP id {number};\r\n\t22 Nov 2026\r\n"
    );
    [received.as_bytes(), poison].concat()
}

/// Whether a cell had the message.
fn was_tried(report: &Report) -> bool {
    !report.all("stage").is_empty()
}

fn fast_copies() {
    copies("memory", &poison("encoded chain"), COPIES);
}

fn slow_copies() {
    copies("CPU time", &poison("names of parameters"), SLOW_COPIES);
}

fn copies(label: &str, poison: &[u8], count: usize) {
    let lab = Lab::with(&Config::parsing_everything());
    let mut daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a connection");
    let mut good = Vec::new();
    let mut sent = BTreeSet::new();
    for number in 0..count {
        sent.insert(client.deliver(SENDER, &[RECIPIENT], &copy(poison, number)).expect("a copy is taken"));
        if number % GOOD_EVERY == 0 {
            good.push(client.deliver(SENDER, &[RECIPIENT], GOOD).expect("good mail is taken"));
        }
    }
    let spool = lab.spool();
    assert!(until(COPIES_TIME_MAX, || spool.ids("deferred") == sent && spool.passing().is_empty()));
    assert!(until(TIME_MAX, || good.iter().all(|id| lab.mail().count(id) == 1)), "good mail beside it");
    let status = status(&lab);
    let reports = spool.reports();
    let tried: Vec<&Report> = reports.iter().filter(|report| was_tried(report)).collect();
    let cells = sum(&status, "cells_started");
    figures(&format!(
        "{count} copies of a poison ({label}): {} were in a cell, {cells} cells started",
        tried.len()
    ));
    assert!((1..=WORKERS).contains(&tried.len()), "{} copies were in a cell", tried.len());
    assert_eq!(sum(&status, "faults"), count as u64);
    assert_eq!(status["daemon"]["repeats_on_sight"], (count - tried.len()) as u64);
    let tried_ids: Vec<&str> = tried.iter().map(|report| report.get("id")).collect();
    let (cause, fingerprint) = (tried[0].cause(), tried[0].get("fingerprint"));
    for report in &reports {
        assert_eq!((report.cause(), report.get("fingerprint")), (cause, fingerprint), "{report:?}");
        let names =
            tried_ids.iter().any(|id| report.get("detail").contains(&format!("same content as {id}")));
        assert!(names || was_tried(report), "{report:?}");
    }
    assert!(daemon.is_alive());
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// More different messages that take long than have a place, all of them older than
/// the good mail.
fn slow_mail_without_a_place() {
    let lab = Lab::with(&Config::parsing_everything().workers("spares = 1\ncpu_time = \"300ms\"\n"));
    let daemon = lab.start();
    let paused = cli(&lab, &["pause", "routing"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    let slow = poison::tiresome();
    let slow_bytes = slow.len();
    let unlike = |number: usize| [format!("X-Number: {number}\r\n").as_bytes(), &slow].concat();
    let slow: BTreeSet<String> = (0..SLOW_MESSAGES).map(|n| submitted(&lab, RECIPIENT, &unlike(n))).collect();
    // Large, and the same again and again, as the slow ones: that counts against nobody.
    let log = [GOOD, &b"nothing has happened\r\n".repeat(slow_bytes / 20)].concat();
    let logs: Vec<String> = (0..LOGS).map(|_| submitted(&lab, RECIPIENT, &log)).collect();
    let good: Vec<String> = (0..GOOD_MESSAGES).map(|_| submitted(&lab, RECIPIENT, GOOD)).collect();
    let resumed = cli(&lab, &["resume", "routing"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(until(TIME_MAX, || good.iter().all(|id| lab.mail().count(id) == 1)), "good mail waits");
    let dealt_with = lab.spool().ids("deferred").len();
    figures(&format!(
        "{SLOW_MESSAGES} slow messages before {GOOD_MESSAGES} good ones, 1 place: {dealt_with} were dealt with when all \
         good ones had arrived"
    ));
    assert!(dealt_with < SLOW_MESSAGES, "good mail waited for all of the slow mail");
    assert!(until(COPIES_TIME_MAX, || lab.spool().ids("deferred") == slow));
    assert!(until(TIME_MAX, || logs.iter().all(|id| lab.mail().count(id) == 1)), "what looks like slow mail");
    for report in lab.spool().reports() {
        assert_eq!((report.cause(), report.attempts()), ("cpu-time", 1), "{report:?}");
    }
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(
        !lab.log().contains("somebody else moved it"),
        "what gave way was handed out twice: {}",
        lab.log()
    );
}

/// Waits for the report about a message.
#[track_caller]
fn deferred(lab: &Lab, id: &str) -> Report {
    assert!(until(TIME_MAX, || lab.spool().ids("deferred").contains(id)), "{id} is not deferred");
    lab.spool().report(id).expect("a report")
}

fn released_copies_are_tried() {
    let lab = Lab::with(&Config::parsing_everything());
    let poison = poison("part that contains itself");
    let daemon = lab.start();
    let first = submitted(&lab, RECIPIENT, &copy(&poison, 0));
    assert!(was_tried(&deferred(&lab, &first)));
    let second = submitted(&lab, RECIPIENT, &copy(&poison, 1));
    assert!(!was_tried(&deferred(&lab, &second)));
    // A start remembers.
    assert_eq!(daemon.terminate().code(), Some(0));
    let daemon = lab.start();
    let third = submitted(&lab, RECIPIENT, &copy(&poison, 2));
    let report = deferred(&lab, &third);
    assert!(!was_tried(&report) && report.get("detail").contains(&first), "{report:?}");
    release(&lab, &second);
    assert!(until(TIME_MAX, || lab.spool().report(&second).is_some_and(|report| was_tried(&report))));
    // It has faulted, so it is known again.
    let fourth = submitted(&lab, RECIPIENT, &copy(&poison, 3));
    let report = deferred(&lab, &fourth);
    assert!(!was_tried(&report) && report.get("detail").contains(&second), "{report:?}");
    // With routes that don't look at it nothing is wrong with it.
    assert_eq!(daemon.terminate().code(), Some(0));
    lab.configure(&Config::default());
    let daemon = lab.start();
    let fifth = submitted(&lab, RECIPIENT, &copy(&poison, 4));
    assert!(until(TIME_MAX, || lab.mail().count(&fifth) == 1), "the terms have changed");
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[track_caller]
fn release(lab: &Lab, id: &str) {
    let released = cli(lab, &["deferred", "release", id]);
    assert_eq!(released.code, Some(0), "{released:?}");
}

fn too_small_a_machine() {
    let lab = Lab::with(&Config::default().workers("memory = \"1TiB\"\n"));
    let Err(refused) = lab.try_start() else { panic!("a terabyte for each message fits nowhere") };
    assert_eq!(refused.status.and_then(|status| status.code()), Some(78), "{}", refused.log);
    for part in ["the workers need", "1048984MiB", "max_size = 50MiB", "lower workers.memory"] {
        assert!(refused.log.contains(part), "{part}: {}", refused.log);
    }
    let checked = cli(&lab, &["config", "check"]);
    let told = checked.stderr.contains("lazaret.toml:7:1: on this machine: the workers need");
    assert!(checked.code == Some(78) && told, "{checked:?}");
    lab.configure(&Config::default().workers("memory_total = \"300MiB\"\n"));
    let Err(refused) = lab.try_start() else { panic!("a message of 50 MiB may take 424 MiB") };
    assert!(refused.log.contains("432MiB") && refused.log.contains("would fit"), "{}", refused.log);
    lab.configure(&Config::default().workers("memory_total = \"300MiB\"\nmax_size = \"5MiB\"\n"));
    assert_eq!(lab.start().terminate().code(), Some(0));
}

fn passing() {
    const TRANSPORT: &str = "\n[transport.around]\ntype = \"maildir\"\npath = \"around/{domain}/{local}\"\n";
    let lab = Lab::with(&Config::parsing_everything().workers("faults = { tree = { pass = \"around\" } }\n"));
    let text = std::fs::read_to_string(lab.config()).expect("a configuration") + TRANSPORT;
    std::fs::write(lab.config(), text).expect("failed to write the configuration");
    let checked = cli(&lab, &["config", "check"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("passes unfiltered"), "{checked:?}");
    let around = crate::maildir::Maildirs::new(lab.path("around"));
    let poison = poison("part that contains itself");
    let daemon = lab.start();
    // The second one needs no cell and passes likewise.
    for number in 0..2 {
        let copy = copy(&poison, number);
        let id = submitted(&lab, RECIPIENT, &copy);
        assert!(until(TIME_MAX, || around.count(&id) == 1), "{id} does not arrive");
        assert_eq!(carries(&around.only(&id), &copy), Ok(()));
        assert_eq!(lab.mail().count(&id), 0, "no route was asked");
    }
    let status = status(&lab);
    assert_eq!((sum(&status, "faults"), sum(&status, "passed"), sum(&status, "judged")), (2, 2, 0));
    assert!(lab.log_tail().contains("PASSED UNROUTED"), "{}", lab.log_tail());
    assert_eq!(lab.spool().names("deferred"), Vec::<String>::new());
    assert_eq!(daemon.terminate().code(), Some(0));
    let id = submitted(&lab, RECIPIENT, &copy(&poison, 2));
    assert_eq!(lab.drain(), Some(0), "a drain waits for it, too");
    assert_eq!(around.count(&id), 1);
}

fn costs() {
    let lab = Lab::with(&Config::parsing_everything());
    let daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, GOOD);
    assert!(until(TIME_MAX, || lab.mail().count(&id) == 1));
    let told = status(&lab);
    for key in ["memory_peak_bytes", "cpu_time_us", "wall_time_us"] {
        let costs = &told["daemon"][key];
        assert_eq!(costs["count"], 1, "{key}: {costs}");
        let buckets = costs["buckets"].as_array().expect("buckets");
        let of = |bucket: &Value| (bucket["at_most"].as_u64(), bucket["count"].as_u64().expect("a count"));
        let full: Vec<_> = buckets.iter().map(of).filter(|(_, count)| *count > 0).collect();
        let [(Some(bound), 1)] = full[..] else { panic!("one message in one bucket: {costs}") };
        assert!(costs["max"].as_u64().is_some_and(|max| max <= bound), "{costs}");
    }
    let text = cli(&lab, &["status"]).stdout;
    assert!(text.contains("peak memory") && text.contains("p99"), "{text}");
    assert_eq!(daemon.terminate().code(), Some(0));
}
