//! Memory that is short for real: intake closes before the machine suffers, mail
//! that is in the spool goes on, and intake opens by itself.
//!
//! A process in a group with too little memory reads a file again and again, no
//! more of it than the threshold asks for: the kernel's figure is the machine's,
//! and others run on it.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cgroup::{Controller, Group};
use crate::lab::{Config, Lab, cli, submitted};
use crate::smtp::{self, Client};
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest wait for something that takes some seconds: the figure is an average
/// of ten.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Memory that the process may have.
const GROUP_BYTES: u64 = 8 << 20;

/// What it reads: the page cache in its group can't hold it.
const FILE_BYTES: usize = 16 << 20;

/// How long intake may take to notice before more is read.
const NOTICE_TIME: Duration = Duration::from_secs(1);

/// Messages that are in the spool meanwhile.
const MESSAGES: usize = 20;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nTo: desk@example.org\r\nSubject: x\r\n\r\ntext\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    const NEEDS: &[Needs] = &[Needs::Group(Controller::Memory), Needs::MemoryPressure];
    vec![Case::new("pressure::intake_closes_and_opens_again", closes_and_opens).needs(NEEDS).alone()]
}

/// Why intake is closed, if it is.
fn closed(lab: &Lab) -> Option<String> {
    let status = cli(lab, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap_or_else(|e| panic!("{e}: {status:?}"));
    status["daemon"]["intake_paused"].as_str().map(str::to_owned)
}

/// A file on a disk (a file in memory could not be taken out of it) that is not in
/// the page cache.
fn uncached_file() -> NamedTempFile {
    let mut file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("failed to make a file");
    file.write_all(&vec![1; FILE_BYTES]).and_then(|()| file.as_file().sync_all()).expect("failed to fill it");
    rustix::fs::fadvise(file.as_file(), 0, None, rustix::fs::Advice::DontNeed).expect("failed to forget it");
    file
}

fn closes_and_opens() {
    let lab = Lab::new();
    let text = Config::default().text() + "[intake]\nmemory_pressure = \"1%\"\n";
    std::fs::write(lab.config(), text).expect("failed to write the configuration");
    let daemon = lab.start();
    assert!(until(TIME_MAX, || closed(&lab).is_none()), "memory is short without our doing");
    let mut session = Client::connect(daemon.smtp()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(cli(&lab, &["pause", "routing"]).code, Some(0));
    let ids: Vec<String> = (0..MESSAGES).map(|_| submitted(&lab, RECIPIENT, MESSAGE)).collect();
    let (group, file) = (Group::empty(Controller::Memory), uncached_file());
    group.limit(Some(GROUP_BYTES));
    let mut readings = 0;
    let thrash = |times: usize| (0..times).for_each(|_| group.run("cat", file.path()));
    let closes = until(TIME_MAX, || {
        readings += 1;
        thrash(readings);
        until(NOTICE_TIME, || closed(&lab).is_some())
    });
    assert!(closes, "intake stays open: {}", pressure());
    figures(&format!("pressure: intake closed at {}", pressure()));
    let why = closed(&lab).unwrap_or_default();
    assert!(why.contains("paused while the machine is short of memory"), "{why}");
    let turned_away = Client::connect(daemon.smtp()).err().expect("intake is closed").to_string();
    assert!(turned_away.contains("421") && turned_away.contains("short of memory"), "{turned_away}");
    let refused = session.begin("a@example.com", &[RECIPIENT]).expect_err("intake is closed").to_string();
    assert!(refused.contains("451 4.3.2") && refused.contains("short of memory"), "{refused}");
    assert_eq!(cli(&lab, &["resume", "routing"]).code, Some(0));
    let drained = until(TIME_MAX, || {
        thrash(readings);
        until(NOTICE_TIME, || ids.iter().all(|id| lab.mail().count(id) == 1))
    });
    assert!(drained, "what was in the spool stays there: {:?}", lab.spool().passing());
    assert!(closed(&lab).is_some(), "that was no proof: intake was open again");
    assert!(until(TIME_MAX, || closed(&lab).is_none()), "intake stays closed: {}", pressure());
    let id = smtp::deliver(daemon.smtp(), "a@example.com", &[RECIPIENT], MESSAGE);
    let id = id.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(until(TIME_MAX, || lab.mail().count(&id) == 1), "it does not arrive");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// What the kernel tells.
fn pressure() -> String {
    let text = std::fs::read_to_string("/proc/pressure/memory").unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
