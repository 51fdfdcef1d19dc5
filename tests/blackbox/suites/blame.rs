//! Whom a cell's death is blamed on when it was not the message's own doing: the
//! kernel that runs out of memory, and a stop.
//!
//! The causes are produced for real. Where that can't be done here, the case
//! must be reported as ignored.

use std::time::Duration;

use rustix::process::Signal;

use crate::cgroup::{Controller, Group};
use crate::lab::{Config, Lab, cli, submitted};
use crate::poison;
use crate::process::{is_running, kill_descendant, signal_descendant};
use crate::spooldir::has_strike;
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest wait for something that takes some seconds.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Less than the poison takes, and far more than the daemon and its idle cells.
const MEMORY_MAX: u64 = 160 << 20;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\nTo: desk@example.org\nSubject: x\n\ntext\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    const MEMORY: &[Needs] = &[Needs::Group(Controller::Memory)];
    vec![
        Case::new("blame::kernel_out_of_memory", kernel_out_of_memory).needs(MEMORY).alone(),
        Case::new("blame::signals_from_outside", signals_from_outside),
        Case::new("blame::clean_stop_while_parsing", clean_stop_while_parsing),
    ]
}

fn kernel_out_of_memory() {
    // Within its budget, but more than the host has.
    let config = Config::parsing_everything().workers("memory = \"1GiB\"\ncpu_time = \"60s\"\n");
    let lab = Lab::with(&config);
    let mut daemon = lab.start();
    let group = Group::around(&daemon, Controller::Memory);
    group.limit(Some(MEMORY_MAX));
    // Cells that were there before are not in the group: others take their place.
    for cell in daemon.cells() {
        kill_descendant(cell);
    }
    let hungry = poison::memory_hungry();
    let id = submitted(&lab, RECIPIENT, &hungry);
    let good = submitted(&lab, RECIPIENT, MESSAGE);
    let spool = lab.spool();
    assert!(until(TIME_MAX, || spool.report(&id).is_some()), "it is not deferred");
    let report = spool.report(&id).expect("a report");
    let kills = group.oom_kills();
    figures(&format!(
        "blame: {kills} cells killed by the kernel for want of memory; {}",
        report.get("detail")
    ));
    assert!(kills >= 2, "{kills} kills by the kernel");
    assert_eq!((report.cause(), report.get("blame"), report.attempts()), ("killed", "unknown", 2));
    assert!(until(TIME_MAX, || lab.mail().count(&good) == 1), "other mail does not arrive");
    assert!(daemon.is_alive(), "the daemon went with its cell");
    group.limit(None);
    drop(group);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Signals that no fault of a program brings about, to the cell that `status` names.
fn signals_from_outside() {
    let lab = Lab::with(&Config::parsing_everything().workers("cpu_time = \"600s\"\n"));
    let daemon = lab.start();
    let spool = lab.spool();
    let id = submitted(&lab, RECIPIENT, &poison::slow());
    let mut before = None;
    for signal in [Signal::USR2, Signal::XCPU] {
        let mut at_work = None;
        let found = until(TIME_MAX, || {
            at_work = cell_of(&lab, &id).filter(|&cell| Some(cell) != before && is_running(cell));
            at_work.is_some()
        });
        assert!(found, "status names no cell that is at work");
        assert!(at_work.is_some_and(|cell| signal_descendant(cell, signal)), "{at_work:?}");
        before = at_work;
    }
    assert!(until(TIME_MAX, || spool.report(&id).is_some()), "it is not deferred");
    let report = spool.report(&id).expect("a report");
    assert_eq!((report.cause(), report.get("blame"), report.attempts()), ("killed", "unknown", 2));
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// The cell that has a message, as `status` tells it.
fn cell_of(lab: &Lab, id: &str) -> Option<u32> {
    let status = cli(lab, &["status", "--json"]);
    let status: serde_json::Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    let workers = status["daemon"]["workers"].as_array().expect("a list of workers");
    let worker = workers.iter().find(|worker| worker["message"] == id)?;
    u32::try_from(worker["cell_pid"].as_u64()?).ok()
}

fn clean_stop_while_parsing() {
    let lab = Lab::with(&Config::parsing_everything().workers("cpu_time = \"600s\"\n"));
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, &poison::slow());
    let daemon = lab.start();
    let spool = lab.spool();
    let parsing =
        || !spool.names("claimed").is_empty() && daemon.cells().iter().any(|&cell| is_running(cell));
    assert!(until(TIME_MAX, parsing), "no cell is at work");
    assert_eq!(daemon.terminate().code(), Some(0));
    let names = spool.names("incoming");
    assert!(names.len() == 1 && names[0].starts_with(&id), "{names:?}");
    assert!(!has_strike(&names[0]), "a clean stop is nobody's fault: {names:?}");
}
