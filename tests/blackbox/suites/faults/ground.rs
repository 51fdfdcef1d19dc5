//! What is below the spool is judged at the start, in one line of the log.
//!
//! Must never depend on what the machine's own file systems are.

use super::{NO_RESERVE, assert_logged, page};
use crate::disk::Disk;
use crate::lab::{Config, Lab};

fn is_named(lab: &Lab, row: &str) {
    let daemon = lab.start();
    assert_logged(lab, row);
    assert_eq!(daemon.terminate().code(), Some(0));
}

pub fn in_memory() {
    let lab = Lab::with(&Config::default().tables(NO_RESERVE));
    let _disk = Disk::in_memory(lab.path("spool"), 1 << 20, 1_000);
    is_named(&lab, page::IN_MEMORY);
}

pub fn without_journal() {
    let lab = Lab::with(&Config::default().tables(NO_RESERVE));
    let _disk = Disk::ext4(lab.path("spool"), "^has_journal");
    is_named(&lab, page::NO_JOURNALLING);
}
