//! When cells don't work at all: a bad release, a bad host, a limit that no mail
//! keeps. No message must be blamed for that.

use std::time::Duration;

use serde_json::Value;

use crate::cgroup::{Controller, Group};
use crate::lab::{Config, Lab, cli, submitted};
use crate::process::kill_descendant;
use crate::spooldir::has_strike;
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest wait for something that takes a few seconds at most.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Messages that are there during a storm.
const MESSAGES: usize = 20;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\nTo: desk@example.org\nSubject: x\n\ntext\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("storm::limit_that_no_mail_keeps", limit_that_no_mail_keeps),
        Case::new("storm::host_without_processes", host_without_processes)
            .needs(&[Needs::Group(Controller::Pids)]),
        Case::new("storm::operator_pauses_and_resumes", operator_pauses_and_resumes),
    ]
}

fn routing_paused(lab: &Lab) -> Option<String> {
    let status = cli(lab, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap_or_else(|e| panic!("{e}: {status:?}"));
    status["daemon"]["routing_paused"].as_str().map(str::to_owned)
}

#[track_caller]
fn assert_nobody_is_blamed(lab: &Lab) {
    let spool = lab.spool();
    assert_eq!(spool.names("deferred"), Vec::<String>::new(), "somebody is blamed");
    let struck: Vec<String> = spool.passing().into_iter().filter(|path| has_strike(path)).collect();
    assert_eq!(struck, Vec::<String>::new(), "somebody bears a mark");
}

fn submit_all(lab: &Lab) -> Vec<String> {
    (0..MESSAGES).map(|_| submitted(lab, RECIPIENT, MESSAGE)).collect()
}

#[track_caller]
fn assert_all_arrive(lab: &Lab, ids: &[String]) {
    let arrived = until(TIME_MAX, || ids.iter().all(|id| lab.mail().count(id) == 1));
    assert!(arrived, "not everything arrives: {:?}", lab.spool().passing());
}

fn limit_that_no_mail_keeps() {
    let one_field = "limits = { header_count = 1 }\n";
    let by_subject = "header = { Subject = \"never so\" }\ndeliver = \"mailboxes\"\n";
    let lab = Lab::with(&Config::default().workers(one_field).route(by_subject));
    let daemon = lab.start();
    let ids = submit_all(&lab);
    assert!(until(TIME_MAX, || routing_paused(&lab).is_some()), "claiming goes on");
    assert_nobody_is_blamed(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
    lab.configure(&Config::default().route(by_subject));
    let daemon = lab.start();
    assert_all_arrive(&lab, &ids);
    assert_nobody_is_blamed(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn host_without_processes() {
    let lab = Lab::with(&Config::parsing_everything());
    let daemon = lab.start();
    let first = submit_all(&lab);
    assert_all_arrive(&lab, &first);
    let group = Group::around(&daemon, Controller::Pids);
    group.limit(Some(1));
    for cell in daemon.cells() {
        kill_descendant(cell);
    }
    let ids = submit_all(&lab);
    assert!(until(TIME_MAX, || routing_paused(&lab).is_some()), "claiming goes on");
    assert_nobody_is_blamed(&lab);
    assert_eq!(ids.iter().map(|id| lab.mail().count(id)).sum::<usize>(), 0);
    group.limit(None);
    assert_all_arrive(&lab, &ids);
    assert_eq!(routing_paused(&lab), None, "it resumes by itself");
    assert_nobody_is_blamed(&lab);
    drop(group);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn operator_pauses_and_resumes() {
    let lab = Lab::new();
    let daemon = lab.start();
    let told = cli(&lab, &["pause", "routing"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    assert!(routing_paused(&lab).is_some_and(|why| why.contains("operator")));
    assert_eq!(lab.spool().ids("incoming"), [id.clone()].into());
    assert_eq!(cli(&lab, &["resume", "routing"]).code, Some(0));
    assert_all_arrive(&lab, &[id]);
    assert_eq!(cli(&lab, &["pause", "intake"]).code, Some(0));
    let refused = crate::smtp::deliver(daemon.smtp(), "a@example.com", &[RECIPIENT], MESSAGE).unwrap_err();
    assert!(format!("{refused:?}").contains("421"), "{refused:?}");
    assert_eq!(cli(&lab, &["resume", "intake"]).code, Some(0));
    assert!(
        crate::smtp::deliver(daemon.smtp(), "a@example.com", &[RECIPIENT], b"Subject: x\r\n\r\n").is_ok()
    );
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_ne!(cli(&lab, &["pause", "routing"]).code, Some(0), "no daemon to pause");
}
