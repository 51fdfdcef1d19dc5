//! When cells don't work at all: a bad release, a bad host. No message must be blamed
//! for that. A limit that no mail keeps would look the same and is refused.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cgroup::{Controller, Group};
use crate::daemon::Daemon;
use crate::lab::{Config, Lab, cli, submitted};
use crate::process::kill_descendant;
use crate::spooldir::has_strike;
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest wait for something that takes a few seconds at most.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Exit status for a configuration that is wrong (sysexits(3)).
const CONFIG: i32 = 78;

/// Messages that are there during a storm.
const MESSAGES: usize = 20;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\nTo: desk@example.org\nSubject: x\n\ntext\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("storm::program_that_does_not_start", program_that_does_not_start),
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

/// What a new cell is started from can't be executed any more; those that there are
/// end. Whoever wants mail judged has no cell that proves itself.
pub fn spoil(daemon: &Daemon, program: &Path) {
    set_mode(program, 0o644);
    for cell in daemon.cells() {
        kill_descendant(cell);
    }
}

/// The program can be executed again.
pub fn mend(program: &Path) {
    set_mode(program, 0o755);
}

fn set_mode(program: &Path, mode: u32) {
    std::fs::set_permissions(program, Permissions::from_mode(mode)).expect("failed to change a mode");
}

fn program_that_does_not_start() {
    let lab = Lab::with(&Config::parsing_everything());
    let (daemon, program) = lab.start_copy();
    let first = submit_all(&lab);
    assert_all_arrive(&lab, &first);
    spoil(&daemon, &program);
    let ids = submit_all(&lab);
    assert!(until(TIME_MAX, || routing_paused(&lab).is_some()), "claiming goes on");
    assert_nobody_is_blamed(&lab);
    assert!(lab.log().contains("ALARM"), "{}", lab.log_tail());
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_nobody_is_blamed(&lab);
    let daemon = lab.start();
    assert_all_arrive(&lab, &ids);
    assert_nobody_is_blamed(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// It would look like a bad release, and is a bad configuration: it is refused before
/// it can do harm, at start, at a reload, and when it is asked about.
fn limit_that_no_mail_keeps() {
    let lab = Lab::new();
    let daemon = lab.start();
    for (lines, key, least) in [
        ("limits = { header_count = 1 }\n", "limits.header_count", "at least 5:"),
        ("limits = { parts = 1 }\n", "limits.parts", "at least 3:"),
        ("memory = \"1KiB\"\n", "memory", "at least 64KiB:"),
    ] {
        lab.configure(&Config::default().workers(lines));
        let Err(start) = lab.try_start() else { panic!("{lines}: it starts") };
        assert_eq!(start.status.and_then(|status| status.code()), Some(CONFIG), "{start:?}");
        let [checked, reloaded] = [&["config", "check"][..], &["reload"]].map(|args| cli(&lab, args));
        assert_eq!((checked.code, reloaded.code), (Some(CONFIG), Some(CONFIG)), "{checked:?} {reloaded:?}");
        for said in [&start.log, &checked.stderr, &reloaded.stderr] {
            let told = said.contains(&format!("[workers] {key}: must be {least}"));
            assert!(told && said.contains("lazaret.toml:9:") && said.contains("raise it"), "{said}");
        }
        lab.configure(&Config::default());
        assert_all_arrive(&lab, &[submitted(&lab, RECIPIENT, MESSAGE)]);
    }
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
