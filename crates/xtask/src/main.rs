//! The project's own commands: `cargo xtask TASK`.
//!
//! `main` parses one word, then one `match` runs the task. Another task is one
//! variant of [`Task`] more. It must never change a file of the repository.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command runner speaks to people")]

mod check;
mod exec;
mod project;
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
}

impl Task {
    const ALL: [Self; 1] = [Self::Check];

    const fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Check => {
                "all that must hold before a change goes in: format, lints, documentation, tests, black-box suites"
            }
        }
    }

    fn run(self) -> ExitCode {
        match self {
            Self::Check => check::run(),
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
        [word] if let Some(task) = Task::ALL.into_iter().find(|task| task.word() == word) => task.run(),
        _ => {
            eprint!("not understood: {}\n\n{}", words.join(" "), help());
            ExitCode::from(USAGE)
        }
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask TASK\n\ntasks:\n");
    for task in Task::ALL {
        text += &format!("  {:<12} {}\n", task.word(), task.help());
    }
    text + "\nenvironment:\n  \
        LAZARET_TESTDATA  folder of the larger suites' data (default: ../shared from the project's root)\n  \
        CI=true           a suite that lacks its tool is a failure\n"
}
