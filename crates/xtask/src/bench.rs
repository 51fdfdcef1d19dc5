//! `cargo xtask bench`: what poison costs healthy mail, and what a cell costs.
//!
//! The first is measured by the black-box program, which knows how a daemon is
//! run and what poison is; the second by the worker's own benchmark. Whether a
//! target is met is for people to read; this must never fail because of a time.

use std::process::ExitCode;
use std::time::Duration;

use crate::exec::Line;
use crate::project;
use crate::tally::Tally;

/// Longest time for one benchmark, its build included.
const BENCH_TIME_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// The worker's benchmarks: what its cells, its jail and its allocator cost.
const CELL: &str = "cargo bench --package lazaret-worker --bench *";

/// Runs both; `words` are the parameters of the first.
pub fn run(words: &[&str]) -> ExitCode {
    let paired = Line::new("cargo test --release --quiet --package lazaret --test blackbox -- bench");
    let paired = words.iter().fold(paired, |line, word| line.arg(word));
    let asks_for_help = words.iter().any(|word| matches!(*word, "-h" | "--help"));
    let lines = [paired].into_iter().chain((!asks_for_help).then(|| Line::new(CELL)));
    let mut result = ExitCode::SUCCESS;
    for line in lines {
        if let Err(why) = line.run(&project::root(), BENCH_TIME_MAX, &mut Tally::default()) {
            eprintln!("{why}");
            result = ExitCode::FAILURE;
        }
    }
    result
}
