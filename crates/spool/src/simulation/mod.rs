//! Proof of crash safety by simulation: a disk in memory that loses what it may,
//! short histories gone through in every state, long ones drawn at random.
//!
//! Compiled for tests only. The simulation must never be made to pass by asking
//! less of the spool than `queue-layout.md` promises.

mod crash;
mod disk;
mod explore;
mod histories;
mod judge;
mod ledger;
mod life;
mod random;
mod world;

use explore::Explorer;
use histories::HISTORIES;

#[test]
fn every_crash_point_of_short_histories() {
    let mut explorer = Explorer::default();
    HISTORIES.iter().for_each(|history| explorer.history(history));
    explorer.print_figures("short histories");
    explorer.assert_none();
}

#[test]
fn every_failing_change_of_short_histories() {
    let mut explorer = Explorer::default();
    HISTORIES.iter().for_each(|history| explorer.failures(history));
    explorer.print_figures("short histories with failing changes");
    explorer.assert_none();
}
