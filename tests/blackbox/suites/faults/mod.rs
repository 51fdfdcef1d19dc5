//! Faults while running: each row of `docs/faults.md`, brought about for real,
//! while mail comes in by SMTP and `submit` and goes out.
//!
//! A client hears what the page says, the log says it in one line, nothing that
//! was acknowledged is lost, and it goes on as the page tells. A row must never be
//! without a case.

mod broken;
mod clock;
mod files;
mod ground;
mod page;
mod room;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::lab::{Lab, submit};
use crate::smtp::{Client, Failure};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest wait for something that takes a few seconds at most.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Most lines of warnings and errors that one fault may cost.
const TROUBLE_LINES_MAX: usize = 20;

/// For disks that are small, or of which a case fills all.
const NO_RESERVE: &str = "[intake]\nreserve = \"1KiB\"\nreserve_inodes = 1\n";

const SENDER: &str = "sender@example.com";
const RECIPIENT: &str = "desk@example.org";

const MOUNTS: &[Needs] = &[Needs::Mounts];
const LOOP: &[Needs] = &[Needs::Mounts, Needs::Device("/dev/loop-control"), Needs::Tool("mkfs.ext4")];
const RIG: &[Needs] = &[Needs::Mounts, Needs::TestData, Needs::Tool("python3")];

/// The cases, and the rows of the page that each brings about.
const CASES: &[(Case, &[&str])] = &[
    (Case::new("faults::disk_is_full", room::disk_is_full).needs(MOUNTS), &[page::DISK_FULL]),
    (
        Case::new("faults::large_message_does_not_fit", room::large_message).needs(MOUNTS),
        &[page::TOO_LARGE_NOW],
    ),
    (Case::new("faults::no_inodes_are_left", room::no_inodes).needs(MOUNTS), &[page::NO_INODES]),
    (Case::new("faults::queue_is_full", room::queue_is_full), &[page::QUEUE_FULL]),
    (
        Case::new("faults::queue_is_full_and_drop_stays_as_it_is", room::queue_is_full_for_drop),
        &[page::QUEUE_FULL],
    ),
    (
        Case::new("faults::nothing_fits_at_all", room::nothing_fits).needs(MOUNTS),
        &[page::NO_JOURNAL, page::NO_REPORT],
    ),
    (Case::new("faults::quota_is_reached", room::quota).needs(RIG), &[page::QUOTA]),
    (Case::new("faults::no_room_for_a_name", room::no_name).needs(RIG), &[page::NO_NAME]),
    (Case::new("faults::operations_fail", broken::operations_fail).needs(RIG), &[page::IO_ERROR]),
    (Case::new("faults::read_only", broken::read_only).needs(LOOP), &[page::READ_ONLY]),
    (Case::new("faults::directories_vanish", broken::directories_vanish), &[page::NO_DIRECTORY]),
    (
        Case::new("faults::directory_vanishes_while_idle", broken::directory_vanishes_while_idle),
        &[page::NO_DIRECTORY],
    ),
    (Case::new("faults::spool_vanishes", broken::spool_vanishes), &[page::NO_SPOOL]),
    (Case::new("faults::too_many_open_files", files::too_many), &[page::NO_FILES]),
    (Case::new("faults::clock_set_back", clock::set_back), &[page::CLOCK_BACK]),
    (Case::new("faults::clock_set_forward", clock::set_forward), &[page::CLOCK_FORWARD]),
    (Case::new("faults::spool_in_memory", ground::in_memory).needs(MOUNTS), &[page::IN_MEMORY]),
    (
        Case::new("faults::spool_without_journal", ground::without_journal).needs(LOOP),
        &[page::NO_JOURNALLING],
    ),
    (Case::new("faults::page_has_a_case_for_each_row", page_is_complete), &[]),
];

/// Rows that can't be brought about here, and where they are tested instead.
const ELSEWHERE: &[&str] = &[
    // A mount over the network: `ground` of lazaret-spool judges by its number.
    page::NETWORK,
    // The limit is the whole machine's: lazaret-spool's simulation and the tests of
    // severities go through it.
    page::MACHINE_FILES,
];

/// The cases.
pub fn cases() -> Vec<Case> {
    CASES.iter().map(|(case, _)| *case).collect()
}

fn page_is_complete() {
    let tested: BTreeSet<&str> = CASES.iter().flat_map(|(_, rows)| *rows).chain(ELSEWHERE).copied().collect();
    assert_eq!(page::rows(), tested);
}

fn message(number: usize, bytes: usize) -> Vec<u8> {
    let line = format!("{}\r\n", "x".repeat(70));
    let head = format!("From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: number {number}\r\n\r\n");
    (head + &line.repeat(bytes / line.len())).into_bytes()
}

/// What a client heard.
#[derive(Debug)]
enum Heard {
    Queued(String),
    Refused(String),
    Nothing,
}

impl Heard {
    fn of(outcome: Result<String, Failure>) -> Self {
        match outcome {
            Ok(id) => Self::Queued(id),
            Err(Failure::Refused(reply)) => Self::Refused(format!("{} {}", reply.code, reply.text)),
            Err(Failure::Broken(_)) => Self::Nothing,
        }
    }
}

fn send(client: &mut Client, number: usize, bytes: usize) -> Heard {
    Heard::of(client.deliver(SENDER, &[RECIPIENT], &message(number, bytes)))
}

#[track_caller]
fn connect(daemon: &Daemon) -> Client {
    Client::connect(daemon.smtp()).unwrap_or_else(|failure| panic!("no session: {failure}"))
}

/// Puts the lab's spool on a file system with faults.
fn failing_spool(lab: &Lab, faults: &[&str]) -> Disk {
    let disk = Disk::failing(lab.path("disk"), faults);
    symlink(lab.path("disk/fs"), lab.path("spool")).expect("failed to make a link");
    disk
}

/// `submit` puts a message off: an MTA keeps it.
#[track_caller]
fn assert_submit_puts_off(lab: &Lab) {
    let put_off = submit(lab, SENDER, &[RECIPIENT], b"Subject: later\n\nx\n");
    assert_eq!(put_off.exit, Some(75), "{put_off:?}");
    assert!(put_off.said.starts_with("lazaret submit: "), "{put_off:?}");
}

#[track_caller]
fn assert_arrive(lab: &Lab, ids: &[String]) {
    let arrived = until(TIME_MAX, || ids.iter().all(|id| lab.mail().count(id) >= 1));
    let missing: Vec<&String> = ids.iter().filter(|id| lab.mail().count(id) == 0).collect();
    assert!(
        arrived,
        "acknowledged and not delivered: {missing:?}; on their way: {:?}",
        lab.spool().passing()
    );
}

/// The log says what the row says, once, and not much besides.
#[track_caller]
fn assert_logged(lab: &Lab, row: &str) {
    let log = lab.log();
    let lines = page::lines_in(row, &log);
    assert_eq!(lines, 1, "{row}: not said once");
    let troubles = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).count();
    assert!(troubles <= TROUBLE_LINES_MAX, "{row}: {troubles} lines of trouble");
}
