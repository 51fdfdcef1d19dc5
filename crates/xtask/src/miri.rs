//! `cargo xtask miri`: tests of the crates that must hold whatever comes, interpreted by
//! Miri, which sees what a run on the processor does not: bytes that were never written,
//! references that were outlived, numbers that overflow.
//!
//! An interpreter takes a thousand times as long, and has no kernel: the selection is
//! what needs none, and proptest draws one case. It must never call tests well that did
//! not run: without Miri it says so, and ends with a status of its own.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::exec::Line;
use crate::project;
use crate::tally::Tally;

/// Longest time for one crate, its build included.
const CRATE_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Exit status where there is no Miri.
const NOT_HERE: u8 = 3;

/// What Miri may do that a test would not: ask the machine for the time and for
/// variables.
const FLAGS: &str = "-Zmiri-disable-isolation";

/// A crate, and what its test program is told.
struct Part {
    package: &'static str,
    words: &'static str,
}

/// What is run: all unit tests of the words of mail; those of the spool, on its simulated
/// disk, but for what goes through many histories, which would take hours, and for what
/// asks for files that have no name; and what a worker and its cell say to each other.
const PARTS: [Part; 3] = [
    Part { package: "lazaret-envelope", words: "" },
    Part {
        package: "lazaret-spool",
        words: "--skip simulation::every_ --skip simulation::sabotaged --skip simulation::long_ \
            --skip simulation::what_ --skip length::",
    },
    Part { package: "lazaret-worker", words: "frame::" },
];

/// Runs all of it.
pub fn run() -> ExitCode {
    if let Err(why) = provided() {
        eprintln!("{why}");
        return ExitCode::from(NOT_HERE);
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut result = ExitCode::SUCCESS;
    for part in &PARTS {
        if let Err(why) = part.line().run(&project::root(), CRATE_TIME_MAX, &mut tally) {
            eprintln!("{}: {why}", part.package);
            result = ExitCode::FAILURE;
        }
    }
    let took = started.elapsed().as_secs();
    println!("figures: miri: {} tests passed, {} failed, {took} s", tally.passed, tally.failed);
    result
}

/// Whether there is a Miri.
fn provided() -> Result<(), String> {
    let version = Command::new("cargo").args(["+nightly", "miri", "--version"]).stdin(Stdio::null()).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let add = "rustup toolchain install nightly --component miri --component rust-src";
    Err(format!("nothing was run: there is no Miri, which `{add}` brings where its servers can be reached"))
}

impl Part {
    fn line(&self) -> Line {
        let line = Line::new("cargo +nightly miri test --target-dir target/miri --lib --package")
            .arg(self.package)
            .arg("--")
            .env("MIRIFLAGS", FLAGS)
            .env("PROPTEST_CASES", "1")
            // Or blake3 has its assembler built: this is how its build script is told.
            .env("CARGO_FEATURE_PURE", "1");
        self.words.split_whitespace().fold(line, Line::arg)
    }
}
