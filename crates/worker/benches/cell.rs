//! What a cell costs: to start one, jailed and not, and to have it judge.
//!
//! `cargo bench -p lazaret-worker` prints microseconds, median and 99th of a
//! hundred. With and without the jail take turns, so that other load falls on
//! both. This program is also the cell; it must never measure another one than
//! the worker's.

use std::time::{Duration, Instant};

use lazaret_worker::{JailMode, Specimen};

#[global_allocator]
static ALLOCATOR: lazaret_worker::Allocator = lazaret_worker::Allocator;

const STARTS: usize = 1_000;
const MESSAGES: usize = 50_000;
const JAILS: [JailMode; 2] = [JailMode::Off, JailMode::BestEffort];

fn main() {
    if std::env::args().nth(1).as_deref() == Some(lazaret_worker::CELL_COMMAND) {
        lazaret_worker::cell_main();
    }
    // From the start of a template until its first cell has judged the built-in message.
    report("template and cell, start to ready", STARTS, |jail| start(JAILS[jail]));
    let mut cells = JAILS.map(start);
    // The same for the cells that follow, one template for a few of them, and the end
    // of each one before.
    report("cell, start to ready", STARTS, |jail| cells[jail].replace().expect("a cell"));
    // The built-in message, to a cell and back.
    report("one message", MESSAGES, |jail| cells[jail].judge().expect("a cell that goes on"));
}

fn start(jail: JailMode) -> Specimen {
    Specimen::start(Vec::new(), jail).expect("a cell")
}

#[allow(clippy::print_stdout, reason = "a measurement is printed")]
fn report<T>(what: &str, rounds: usize, mut act: impl FnMut(usize) -> T) {
    let mut times = JAILS.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (jail, times) in times.iter_mut().enumerate() {
            let started = Instant::now();
            let made = act(jail);
            times.push(started.elapsed());
            drop(made);
        }
    }
    for (jail, mut times) in JAILS.into_iter().zip(times) {
        times.sort_unstable();
        let [median, p99] = [50, 99].map(|part| micros(times[times.len() * part / 100]));
        println!("{what}, jail {jail:?}: {median:.1} us, p99 {p99:.1} us");
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
