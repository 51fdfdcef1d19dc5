//! What the power-loss rig runs: this program with [`WORD`] and a mode before the
//! name of a scenario.
//!
//! `setup` makes the spool; `run`, in the life of which the power is cut, sends
//! mail and writes what the outside world has seen into the rig's marks;
//! `resume` goes on after a first cut; `check` starts the program again in what
//! a cut has left and holds it to the marks. The modes know of each other only
//! by the number of each letter. They must never know more of the spool than an
//! administrator does.

mod audit;
mod checker;
mod letters;
mod marks;
mod rig;
mod scenario;
mod workload;

pub use rig::{Disk, Explored, Plan, explore, repeat, unmountable};
pub use scenario::Scenario;

use std::path::PathBuf;
use std::process::ExitCode;

/// The word that asks the test program for this instead of its cases.
pub const WORD: &str = "power";

/// Exit status for words that are not understood.
const USAGE: u8 = 2;

/// What the rig asks for.
#[derive(Clone, Copy)]
enum Mode {
    Setup,
    Run,
    Resume,
    Check,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Setup, Self::Run, Self::Resume, Self::Check];

    const fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Run => "run",
            Self::Resume => "resume",
            Self::Check => "check",
        }
    }
}

/// Does what the words after [`WORD`] ask for: a mode, a scenario, and a seed for `run`.
pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = words.collect();
    let understood = match &words[..] {
        [mode, scenario, rest @ ..] => {
            let mode = Mode::ALL.into_iter().find(|known| known.word() == mode);
            mode.zip(Scenario::parse(scenario)).zip(seed(rest))
        }
        _ => None,
    };
    let Some(((mode, scenario), seed)) = understood else {
        eprintln!("usage: {WORD} setup|run|resume|check SCENARIO [SEED]");
        return ExitCode::from(USAGE);
    };
    let folder = PathBuf::from(rig_variable("RIG_DIR"));
    match mode {
        Mode::Setup => workload::setup(scenario, folder),
        Mode::Run => workload::run(scenario, folder, seed),
        Mode::Resume => workload::resume(scenario, folder),
        Mode::Check => return checker::check(scenario, folder),
    }
    ExitCode::SUCCESS
}

fn seed(words: &[String]) -> Option<u64> {
    match words {
        [] => Some(1),
        [seed] => seed.parse().ok(),
        _ => None,
    }
}

fn rig_variable(name: &str) -> std::ffi::OsString {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: only the rig runs this"))
}
