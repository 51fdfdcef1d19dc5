//! The project's own commands: `cargo xtask TASK`.
//!
//! `main` parses one word, then one `match` runs the task with the words after it. Another task is one
//! variant of [`Task`] more. It must never change a file of the repository but the one document that it writes whole.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command runner speaks to people")]

mod bench;
mod check;
mod coverage;
mod crash_table;
mod deny;
mod document;
mod exec;
mod fuzz;
mod miri;
mod mta;
mod project;
mod row;
mod rust;
mod summary;
mod tally;
mod tools;

use std::process::ExitCode;

/// Exit status for a command line that is not understood.
const USAGE: u8 = 2;

/// What can be asked for.
#[derive(Clone, Copy)]
enum Task {
    Check,
    Bench,
    CrashTable,
    Fuzz,
    Coverage,
    Miri,
}

impl Task {
    const ALL: [Self; 6] =
        [Self::Check, Self::Bench, Self::CrashTable, Self::Fuzz, Self::Coverage, Self::Miri];

    const fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Bench => "bench",
            Self::CrashTable => "crash-table",
            Self::Fuzz => "fuzz",
            Self::Coverage => "coverage",
            Self::Miri => "miri",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Check => {
                "all that must hold before a change goes in: format, lints, documentation, tests, black-box suites"
            }
            Self::Bench => {
                "healthy mail with and without poison, pair by pair, then what a cell costs; `bench --help` for parameters"
            }
            Self::CrashTable => {
                "10,000 random kills (--kills N), the long simulation and power cuts; writes docs/crash-safety.md \
                 (--text: only its text, around the same tables)"
            }
            Self::Fuzz => {
                "every fuzz target for 20 s (--minutes N: so long in all; --target NAME: that one; --sanitizer: with the \
                 nightly compiler's; --input FILE: that input and nothing else)"
            }
            Self::Coverage => {
                "which lines of the parsers are run by the unit and integration tests and by what is in the fuzzers' corpora"
            }
            Self::Miri => {
                "unit tests of envelope, spool (on a simulated disk) and worker (what cells say), interpreted by the nightly \
                 compiler's Miri; ends with status 3 where there is none"
            }
        }
    }

    fn run(self, words: &[&str]) -> ExitCode {
        match (self, words) {
            (Self::Check, []) => check::run(),
            (Self::Check, _) => not_understood(words),
            (Self::Bench, _) => bench::run(words),
            (Self::CrashTable, []) => crash_table::run(document::KILLS),
            (Self::CrashTable, ["--kills", kills]) => match kills.parse() {
                Ok(kills) => crash_table::run(kills),
                Err(_) => not_understood(words),
            },
            (Self::CrashTable, ["--text"]) => crash_table::rewrite(),
            (Self::CrashTable, _) => not_understood(words),
            (Self::Fuzz, _) => fuzz::Options::parse(words)
                .map_or_else(|| not_understood(words), |options| fuzz::run(&options)),
            (Self::Coverage, []) => coverage::run(),
            (Self::Coverage, _) => not_understood(words),
            (Self::Miri, []) => miri::run(),
            (Self::Miri, _) => not_understood(words),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["-h" | "--help" | "help"] => {
            print!("{}", help());
            ExitCode::SUCCESS
        }
        [word, ref rest @ ..] => match Task::ALL.into_iter().find(|task| task.word() == word) {
            Some(task) => task.run(rest),
            None => not_understood(&words),
        },
    }
}

fn not_understood(words: &[&str]) -> ExitCode {
    eprint!("not understood: {}\n\n{}", words.join(" "), help());
    ExitCode::from(USAGE)
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask TASK\n\ntasks:\n");
    for task in Task::ALL {
        text += &format!("  {:<12} {}\n", task.word(), task.help());
    }
    text + "\nenvironment:\n  \
        LAZARET_TESTDATA  folder of the larger suites' data (default: ../shared from the project's root)\n  \
        TMPDIR            where daemons of suites and benchmarks have their spools\n  \
        LAZARET_POWER     `long` cuts the power in hundreds of states more\n  \
        CI=true           a suite that lacks its tool, device or file system is a failure\n"
}
