//! Faults after which the spool can't be trusted: the daemon says why, ends with a
//! status of its own, and the next start accounts for everything.

use std::fs;

use super::{
    Heard, RECIPIENT, TIME_MAX, assert_arrive, assert_logged, assert_submit_puts_off, connect, failing_spool,
    message, page, send,
};
use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::lab::{Config, Lab, submitted};
use crate::trial::figures;
use crate::wait::until;

/// The status that says: not again at once.
const BROKEN: i32 = 74;

/// Each kind of operation in each place where it is one of the protocol's steps.
const FAULTS: [&str; 14] = [
    "create:2:EIO:/tmp/",
    "write:2:EIO:/tmp/",
    "fsync:2:EIO:/tmp/",
    "rename:2:EIO:/incoming/",
    "fsyncdir:2:EIO:/incoming",
    "rename:2:EIO:/claimed/",
    "fsyncdir:2:EIO:/claimed/",
    "rename:2:EIO:/outbound/",
    "unlink:2:EIO:/outbound/",
    "fsyncdir:2:EIO:/outbound",
    "fsync:1:EIO:/deferred/",
    "fsyncdir:2:EIO:/deferred",
    "create:1:EIO:/journal/",
    "fsync:1:EIO:/journal/",
];

/// Most messages that are sent to a daemon until it ends.
const MESSAGES_MAX: usize = 50;

/// Sends mail until the daemon has ended, each message in a session of its own;
/// asserts that whoever was not acknowledged heard what the row says.
fn send_until_the_end(daemon: &mut Daemon, row: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..MESSAGES_MAX {
        let Ok(mut client) = crate::smtp::Client::connect(daemon.smtp()) else { break };
        match send(&mut client, number, 100) {
            Heard::Queued(id) => ids.push(id),
            Heard::Refused(told) => page::assert_told(row, &told),
            Heard::Nothing => page::assert_may_be_silent(row),
        }
        // What was sent is worked on meanwhile.
        if !ids.is_empty() && !daemon.is_alive() {
            break;
        }
    }
    ids
}

#[track_caller]
fn assert_ends(lab: &Lab, daemon: Daemon, row: &str) {
    assert_eq!(daemon.end(TIME_MAX).code(), Some(BROKEN), "{}", lab.log_tail());
    assert_logged(lab, row);
}

/// The fault is gone: the next start loses nothing, and mail comes in again.
#[track_caller]
fn assert_recovers(lab: &Lab, ids: &[String]) {
    let daemon = lab.start();
    assert_arrive(lab, ids);
    let id = submitted(lab, RECIPIENT, &message(99, 100));
    assert_arrive(lab, &[id]);
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Where a fault hits deferring or journals, there must be some to be made.
fn config_for(fault: &str) -> Config {
    let config = Config::default();
    if fault.contains("/deferred") {
        // Beside what is deferred, mail that is delivered.
        config
            .workers("limits = { header_count = 5 }\n")
            .route("header = { Subject = \"never so\" }\ndeliver = \"mailboxes\"\n")
    } else if fault.contains("/journal/") {
        // Its folder can't be made: a failure to write down.
        config
            .tables("[transport.nowhere]\ntype = \"maildir\"\npath = \"/proc/nowhere\"\n")
            .route("recipient = \"nobody@example.org\"\ndeliver = \"nowhere\"\n")
    } else {
        config
    }
}

pub fn operations_fail() {
    let (mut acknowledged, mut silent) = (0, 0);
    for fault in FAULTS {
        let lab = Lab::with(&config_for(fault));
        let _disk = failing_spool(&lab, &[fault]);
        let mut daemon = lab.start();
        if fault.contains("/deferred") {
            submitted(&lab, RECIPIENT, &[b"X: 1\n".repeat(6), message(0, 10)].concat());
        } else if fault.contains("/journal/") {
            submitted(&lab, "nobody@example.org", &message(0, 10));
        }
        let ids = send_until_the_end(&mut daemon, page::IO_ERROR);
        assert_ends(&lab, daemon, page::IO_ERROR);
        acknowledged += ids.len();
        silent += usize::from(ids.is_empty());
        assert_recovers(&lab, &ids);
    }
    figures(&format!(
        "faults: {} operations failed with EIO, {acknowledged} messages acknowledged beside them, none lost; \
         {silent} times none was",
        FAULTS.len()
    ));
}

/// The kernel finds an error and makes the file system read-only, as it does for a
/// disk that fails; an administrator can't do it by mistake.
pub fn read_only() {
    let lab = Lab::with(&Config::default().tables("[intake]\nreserve = \"1MiB\"\nreserve_inodes = 50\n"));
    let disk = Disk::ext4(lab.path("spool"), "has_journal");
    let mut daemon = lab.start();
    assert_eq!(lab.log().matches(" is on ").count(), 0, "ext4 with a journal is fine: {}", lab.log());
    let mut client = connect(&daemon);
    let Heard::Queued(first) = send(&mut client, 0, 100) else { panic!("is not taken") };
    // What is being synced then may fail with another error.
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    let refused = disk.remount_read_only();
    assert!(refused.as_ref().is_err_and(|why| why.contains("busy")), "{refused:?}");
    disk.break_down();
    match send(&mut client, 1, 100) {
        Heard::Refused(told) => page::assert_told(page::READ_ONLY, &told),
        Heard::Nothing => page::assert_may_be_silent(page::READ_ONLY),
        Heard::Queued(id) => panic!("{id} is acknowledged"),
    }
    assert!(until(TIME_MAX, || !daemon.is_alive()), "it goes on");
    assert_submit_puts_off(&lab);
    assert_ends(&lab, daemon, page::READ_ONLY);
    drop(disk);
    let _disk = Disk::ext4(lab.path("spool"), "has_journal");
    assert_recovers(&lab, &[first]);
}

/// Each directory of the spool, removed or renamed away.
pub fn directories_vanish() {
    for (name, renamed) in [
        ("tmp", true),
        ("tmp", false),
        ("incoming", true),
        ("incoming", false),
        ("claimed", true),
        ("outbound", true),
        ("outbound", false),
    ] {
        let lab = Lab::new();
        let mut daemon = lab.start();
        let mut client = connect(&daemon);
        let Heard::Queued(first) = send(&mut client, 0, 100) else { panic!("is not taken") };
        assert_arrive(&lab, &[first]);
        assert!(until(TIME_MAX, || lab.spool().passing().is_empty()));
        let (place, away) = (lab.spool().path(name), lab.path("away"));
        if renamed { fs::rename(&place, &away) } else { fs::remove_dir(&place) }.expect("it can be done");
        let ids = send_until_the_end(&mut daemon, page::NO_DIRECTORY);
        assert_ends(&lab, daemon, page::NO_DIRECTORY);
        if renamed {
            fs::rename(&away, &place).expect("it can be put back");
        }
        assert_recovers(&lab, &ids);
    }
}

/// Nothing comes in or goes out that would find out.
pub fn directory_vanishes_while_idle() {
    let lab = Lab::new();
    let daemon = lab.start();
    let waiting = lab.spool().path("waiting");
    fs::rename(&waiting, lab.path("away")).expect("it can be done");
    assert_ends(&lab, daemon, page::NO_DIRECTORY);
    assert_recovers(&lab, &[]);
}

/// The spool as a whole, renamed away and put back; and removed with all in it.
pub fn spool_vanishes() {
    let lab = Lab::new();
    let mut daemon = lab.start();
    let (place, away) = (lab.path("spool"), lab.path("away"));
    fs::rename(&place, &away).expect("it can be done");
    let ids = send_until_the_end(&mut daemon, page::NO_SPOOL);
    assert_eq!(ids, Vec::<String>::new(), "acknowledged into a spool that nobody will look for");
    assert_ends(&lab, daemon, page::NO_SPOOL);
    fs::rename(&away, &place).expect("it can be put back");
    let mut daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, &message(0, 100));
    assert_arrive(&lab, &[id]);
    fs::remove_dir_all(&place).expect("it can be removed");
    assert_eq!(send_until_the_end(&mut daemon, page::NO_SPOOL), Vec::<String>::new());
    assert_ends(&lab, daemon, page::NO_SPOOL);
    assert_recovers(&lab, &[]);
}
