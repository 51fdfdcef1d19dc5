//! Proof of crash safety by simulation: a disk in memory that loses what it may,
//! short histories gone through in every state, long ones drawn at random.
//!
//! Compiled for tests only. The simulation must never be made to pass by asking
//! less of the spool than `queue-layout.md` promises.

mod crash;
mod disk;
mod explore;
mod file;
mod histories;
mod judge;
mod ledger;
mod life;
mod long;
mod place;
mod poison;
mod random;
mod sabotaged;
mod storage;
mod world;

use explore::{Explorer, SIMULATION, print_figures};
use histories::HISTORIES;
use life::Life;
use long::Long;
use poison::{Danger, Poison};
use world::{Sim, Snapshot};

use lazaret_envelope::Transaction;

use crate::Dir;

/// Long histories that are drawn; how many if `LAZARET_SIMULATION=long`.
const SEEDS: std::ops::Range<u64> = 0..300;
const SEEDS_LONG: std::ops::Range<u64> = 0..5_000;

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

#[test]
fn every_failing_look_of_short_histories() {
    let mut explorer = Explorer::default();
    HISTORIES.iter().for_each(|history| explorer.blind(history));
    explorer.print_figures("short histories with failing looks");
    explorer.assert_none();
}

/// `LAZARET_SEED` draws one history only, `LAZARET_SIMULATION=long` many.
#[test]
fn long_histories_drawn_at_random() {
    let given = std::env::var("LAZARET_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let many = std::env::var("LAZARET_SIMULATION").is_ok_and(|size| size == "long");
    let seeds = given.map_or(if many { SEEDS_LONG } else { SEEDS }, |seed| seed..seed + 1);
    let mut explorer = Explorer::of_long_histories();
    for seed in seeds.clone() {
        Long::new(seed).play(seed, &mut explorer);
        assert!(explorer.violations == 0, "LAZARET_SEED={seed} repeats this: {:#?}", explorer.kept);
    }
    let drawn = usize::try_from(seeds.end - seeds.start).expect("a number of histories");
    let figures = [
        ("histories", drawn),
        ("lives and ends", explorer.histories),
        ("starts", explorer.starts),
        ("violations", explorer.violations),
    ];
    print_figures(SIMULATION, "long histories", &figures);
}

/// Ids go up as long as a process lives, and are never used again by the next one.
#[test]
fn ids_outlive_a_clock_that_goes_back() {
    const YEAR: i64 = 365 * 24 * 3600;
    let sim = Sim::boot(Snapshot::blank());
    let life = Life::start(&sim).expect("an empty spool can be started");
    sim.world().pass(YEAR);
    let before: Vec<_> = (0..3).map(|_| life.owner.spool().new_id()).collect();
    sim.world().pass(-YEAR);
    let after: Vec<_> = (0..3).map(|_| life.owner.spool().new_id()).collect();
    assert!(before.iter().chain(&after).is_sorted(), "{before:?} {after:?}");
    drop(life);
    sim.world().process_died();
    let next = Life::start(&sim).expect("the next daemon").owner.spool().new_id();
    assert!(next < before[0] && next.millis() < before[0].millis(), "told by the clock again");
}

/// A submit is a process of its own: the daemon's end and start leave it alone.
#[test]
fn a_submit_outlives_the_daemon() {
    let sim = Sim::boot(Snapshot::blank());
    let life = Life::start(&sim).expect("an empty spool can be started");
    let draft = life.begin(1).expect("a draft");
    let dropped = life.owner.spool().begin_drop(Transaction::default()).expect("a file in drop/");
    drop(life);
    let life = Life::start(&sim).expect("the next daemon");
    life.commit(1, draft).expect("is accepted by the old draft");
    dropped.commit().expect("is still there");
    assert_eq!(life.places(Dir::Incoming).len() + life.places(Dir::Drop).len(), 2);
}

#[test]
fn what_takes_the_machine_down_in_a_cell_does_so_at_most_twice() {
    play(Danger::Cell, "poison in a cell");
}

#[test]
fn what_takes_the_machine_down_in_delivery_does_so_at_most_six_times() {
    play(Danger::Delivery, "poison in delivery");
}

fn play(danger: Danger, title: &str) {
    let mut poison = Poison::new(danger);
    (1..=3).for_each(|label| poison.play(label));
    let figures = [
        ("histories", 3),
        ("power cuts", poison.power_cuts),
        ("most meetings", poison.most_meetings),
        ("violations", poison.violations.len()),
    ];
    print_figures(SIMULATION, title, &figures);
    assert!(poison.violations.is_empty(), "{:#?}", poison.violations);
    assert_eq!(poison.most_meetings, danger.allowed(), "no less is promised");
}
