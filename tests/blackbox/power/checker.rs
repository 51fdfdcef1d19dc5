//! Starts the program again in what a power cut has left, and judges what
//! becomes of the mail.
//!
//! It must never touch a file of the spool but as an administrator may: by a
//! move from `waiting/` to `incoming/`, so that nothing has to be waited for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::audit::{Deferred, Delivered, Seen, Verdict, audit};
use super::letters::number_at;
use super::scenario::{AFTERWARDS, Scenario};
use super::{marks, rig, rig_variable};
use crate::content::carries;
use crate::lab::{Lab, cli};
use crate::maildir::Maildirs;
use crate::spooldir::{SpoolDir, id_of};

/// Directories of a spool in which messages are.
const STATES: [&str; 8] =
    ["tmp", "drop", "incoming", "claimed", "outbound", "waiting", "deferred", "journal"];

/// What the lock says after a clean stop.
const STOPPED: &str = "stopped cleanly";

/// Holds a state to the promises; prints what is broken.
pub fn check(scenario: Scenario, folder: PathBuf) -> ExitCode {
    let seen = Seen::new(&marks::read(Path::new(&rig_variable("RIG_MARKS"))));
    let lab = Lab::at(folder, &scenario.config(None));
    let spool = lab.spool();
    let mut left = Left::look(&spool);
    let mut wrong = Vec::new();
    if seen.stopped() {
        wrong.extend(left.untidy(&spool));
    }
    if std::env::var_os(rig::TREE_VARIABLE).is_some() {
        restore_modes(&spool);
        restore_links(&spool);
        forget_socket(&spool);
    }
    clear_drop(&spool);
    drain(&lab, &mut wrong);
    if wake(&spool) {
        drain(&lab, &mut wrong);
    }
    let delivered = [lab.mail(), Maildirs::new(lab.path(AFTERWARDS))]
        .iter()
        .flat_map(|folder| delivered(scenario, folder))
        .collect::<Vec<_>>();
    let verdict = audit(scenario, &seen, &delivered, &deferred(&spool, &mut wrong));
    wrong.extend(still(&spool).into_iter().map(|path| format!("{path} is left")));
    let checked = cli(&lab, &["check"]);
    if checked.code != Some(0) {
        wrong.push(format!("lazaret check says: {}{}", checked.stdout, checked.stderr));
    }
    let before = everything(&lab);
    drain(&lab, &mut wrong);
    if everything(&lab) != before {
        wrong.push(format!("another start changed something:\n{before:?}\n{:?}", everything(&lab)));
    }
    left.count(&seen, &verdict);
    report(&left, wrong, verdict)
}

fn report(left: &Left, mut wrong: Vec<String>, verdict: Verdict) -> ExitCode {
    wrong.extend(verdict.wrong);
    if let Some(tally) = std::env::var_os(rig::TALLY_VARIABLE) {
        let mut tally = File::options().append(true).open(tally).expect("failed to open the tally");
        tally.write_all(left.line().as_bytes()).expect("failed to write the tally");
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    if let Some(place) = std::env::var_os(rig::FINDINGS_VARIABLE) {
        let mut findings = File::options().append(true).open(place).expect("failed to open the findings");
        findings
            .write_all(format!("{}\n", wrong.join("\n")).as_bytes())
            .expect("failed to write the findings");
    }
    println!("{}", wrong.join("\n"));
    ExitCode::FAILURE
}

/// What was there before the program was started again: where the cut has hit.
struct Left {
    counts: Vec<(&'static str, usize)>,
}

impl Left {
    fn look(spool: &SpoolDir) -> Self {
        let mut counts: Vec<(&'static str, usize)> =
            STATES.iter().map(|&state| (state, spool.names(state).len())).collect();
        let names = STATES.iter().filter(|&&state| state != "journal").flat_map(|state| spool.names(state));
        let messages = names.filter(|name| !name.ends_with(".report"));
        let ids: Vec<String> = messages.filter_map(|name| id_of(&name)).collect();
        let twins = ids.len() - ids.iter().collect::<BTreeSet<_>>().len();
        let (deferred, names) = (spool.ids("deferred"), spool.names("deferred"));
        let reported = names.iter().filter_map(|name| name.strip_suffix(".report"));
        let reports = reported.filter(|&id| !deferred.contains(id)).count();
        counts.extend([("reports-alone", reports), ("twins", twins)]);
        Self { counts }
    }

    /// What a clean stop should not have left.
    fn untidy(&self, spool: &SpoolDir) -> Vec<String> {
        let mut wrong = Vec::new();
        for (state, count) in &self.counts {
            if ["claimed", "outbound"].contains(state) && *count > 0 {
                wrong.push(format!("{count} left in {state}/ by a clean stop"));
            }
        }
        let lock = fs::read_to_string(spool.path("lock")).unwrap_or_default();
        if lock.trim() != STOPPED {
            wrong.push(format!("the lock says {lock:?} after a clean stop"));
        }
        wrong
    }

    fn count(&mut self, seen: &Seen, verdict: &Verdict) {
        let (operator, start) = (seen.in_command(), seen.in_start());
        self.counts.extend([("in-command", usize::from(operator)), ("in-start", usize::from(start))]);
        self.counts.extend([("lost", verdict.lost), ("repeated", verdict.repeated)]);
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for (name, count) in &self.counts {
            let _ = write!(line, "{name}={count} ");
        }
        line + "\n"
    }
}

fn drain(lab: &Lab, wrong: &mut Vec<String>) {
    // 1: something was newly deferred, or waits.
    match lab.drain() {
        Some(0 | 1) => {}
        code => wrong.push(format!("run --drain ended with {code:?}")),
    }
}

/// Gives the files of messages the mode with which they were created.
fn restore_modes(spool: &SpoolDir) {
    let workers = spool.workers().into_iter();
    let fixed =
        STATES.iter().filter(|&&state| state != "drop" && state != "claimed").map(|state| spool.path(state));
    for path in workers.chain(fixed).flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path()) {
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("failed to set a mode");
    }
}

/// Makes one file again of a dropped one that has two names, half moved from
/// `drop/` to `tmp/`. No two letters are alike.
fn restore_links(spool: &SpoolDir) {
    let taken = spool.names("tmp").into_iter().filter(|name| name.starts_with("taken."));
    for taken in taken.map(|name| spool.path("tmp").join(name)) {
        let content = fs::read(&taken).expect("failed to read a dropped file");
        for dropped in spool.names("drop").into_iter().map(|name| spool.path("drop").join(name)) {
            if fs::read(&dropped).is_ok_and(|other| other == content) {
                fs::remove_file(&dropped)
                    .and_then(|()| fs::hard_link(&taken, &dropped))
                    .expect("failed to link");
            }
        }
    }
}

/// The tree has a plain file where the daemon's socket was; a start makes that anew.
fn forget_socket(spool: &SpoolDir) {
    let socket = spool.path("control");
    if fs::symlink_metadata(&socket).is_ok_and(|found| found.is_file()) {
        fs::remove_file(&socket).expect("failed to remove the socket");
    }
}

/// The other program removes what it had not finished.
fn clear_drop(spool: &SpoolDir) {
    let unfinished =
        |name: &&String| name.strip_prefix('.').is_some_and(|rest| rest.parse::<usize>().is_ok());
    for name in spool.names("drop").iter().filter(unfinished) {
        fs::remove_file(spool.path("drop").join(name)).expect("failed to clear drop/");
    }
}

/// Has everything come at once that waits for its time; says whether anything did.
fn wake(spool: &SpoolDir) -> bool {
    let names = spool.names("waiting");
    for name in &names {
        fs::rename(spool.path("waiting").join(name), spool.path("incoming").join(name))
            .expect("failed to wake");
    }
    !names.is_empty()
}

/// What has not come to its end.
fn still(spool: &SpoolDir) -> Vec<String> {
    let waiting = spool.names("waiting").into_iter().map(|name| format!("waiting/{name}"));
    spool.passing().into_iter().chain(waiting).collect()
}

fn delivered(scenario: Scenario, folder: &Maildirs) -> Vec<Delivered> {
    let one = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"));
        let number = super::letters::number_in(&bytes);
        // DOMAIN/LOCAL/new/FILE
        let part = |above: usize| {
            let folder = path.ancestors().nth(above).and_then(Path::file_name).unwrap_or_default();
            folder.to_string_lossy().into_owned()
        };
        let whole = match number {
            Some(number) => carries(&bytes, &scenario.letter(number).content()),
            None => Err(format!("{} bytes without a number", bytes.len())),
        };
        Delivered {
            number: number.unwrap_or(usize::MAX),
            recipient: format!("{}@{}", part(2), part(3)),
            whole,
        }
    };
    folder.copies().into_values().flatten().map(one).collect()
}

fn deferred(spool: &SpoolDir, wrong: &mut Vec<String>) -> Vec<Deferred> {
    let mut found = Vec::new();
    for name in spool.names("deferred").into_iter().filter(|name| !name.ends_with(".report")) {
        let report = id_of(&name).and_then(|id| spool.report(&id));
        let Some(number) = number_at(&spool.path("deferred").join(&name)) else {
            wrong.push(format!("deferred/{name} is no letter of ours"));
            continue;
        };
        let of = |key: &str| report.as_ref().map_or("no report", |report| report.get(key)).to_owned();
        found.push(Deferred { number, cause: of("cause"), detail: of("detail") });
    }
    found
}

/// Every name in the spool and in all mailboxes.
fn everything(lab: &Lab) -> Vec<String> {
    let spool = lab.spool();
    let names = STATES
        .iter()
        .flat_map(|state| spool.names(state).into_iter().map(move |name| format!("{state}/{name}")));
    let folders = [lab.mail(), Maildirs::new(lab.path(AFTERWARDS))];
    let copies = folders.iter().flat_map(|folder| folder.copies().into_values().flatten());
    names.chain(copies.map(|path| path.display().to_string())).collect()
}
