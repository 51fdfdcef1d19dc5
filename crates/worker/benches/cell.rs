//! What a cell costs: to start one, jailed and not, and to have it judge.
//!
//! `cargo bench -p lazaret-worker` prints microseconds. This program is also the
//! cell; it must never measure another one than the worker's.

use std::time::{Duration, Instant};

use lazaret_worker::{JailMode, Specimen};

#[global_allocator]
static ALLOCATOR: lazaret_worker::Allocator = lazaret_worker::Allocator;

const STARTS: usize = 300;
const MESSAGES: usize = 20_000;

#[allow(clippy::print_stdout, reason = "a measurement is printed")]
fn main() {
    if std::env::args().nth(1).as_deref() == Some(lazaret_worker::CELL_COMMAND) {
        lazaret_worker::cell_main();
    }
    for round in 1..=3 {
        for jail in [JailMode::Off, JailMode::BestEffort] {
            let (start, message) = (starts(jail), messages(jail));
            let [start, message] = [start, message].map(|(median, p99)| {
                format!("{:7.1} (p99 {:7.1})", median.as_secs_f64() * 1e6, p99.as_secs_f64() * 1e6)
            });
            println!("round {round}, jail {jail:?}: start to ready {start} us, message {message} us");
        }
    }
}

/// From the start of a cell until it has judged the built-in message.
fn starts(jail: JailMode) -> (Duration, Duration) {
    median((0..STARTS).map(|_| {
        let started = Instant::now();
        let cell = Specimen::start(Vec::new(), jail).expect("a cell");
        let took = started.elapsed();
        drop(cell);
        took
    }))
}

/// The built-in message, to a cell and back.
fn messages(jail: JailMode) -> (Duration, Duration) {
    let mut cell = Specimen::start(Vec::new(), jail).expect("a cell");
    median((0..MESSAGES).map(|_| {
        let started = Instant::now();
        cell.judge().expect("a cell that goes on");
        started.elapsed()
    }))
}

fn median(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
