//! The paired benchmark: how much poison, or a next hop that hangs, slows healthy
//! mail down.
//!
//! `cargo xtask bench` runs it. Each round is a run of healthy mail alone, one beside
//! benign mail of poison's sizes, and one beside poison, one after the other, so that what
//! else the machine does meets all of them. The first tells what poison costs, the second
//! what it costs more than any mail of so many bytes would. It says whether the targets are
//! met and must never fail because they are not.

mod hung;
mod load;
mod parameters;
mod report;
mod run;

pub use load::{Load, Mix};
pub use parameters::Parameters;
use report::Round;
pub use run::{Run, run};

use std::process::ExitCode;

/// The word that asks the test program for this instead of its cases.
pub const WORD: &str = "bench";

/// Exit status for parameters that are not understood.
const USAGE: u8 = 2;

/// Runs what the words after [`WORD`] ask for.
pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let parameters = match Parameters::parse(words) {
        Ok(Some(parameters)) => parameters,
        Ok(None) => {
            print!("{}", parameters::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("{why}\n\n{}", parameters::HELP);
            return ExitCode::from(USAGE);
        }
    };
    if let Some(hangs) = parameters.hung {
        hung::run(&parameters, hangs);
        return ExitCode::SUCCESS;
    }
    let load = Load::new(&parameters);
    println!("{}", report::about(&parameters, &load));
    let mut rounds = Vec::new();
    // To remove what a run left would slow down the next: a file system works on that for
    // a while, and ext4 without a journal looks past each inode that was freed lately.
    let mut labs = Vec::new();
    for number in 1..=parameters.rounds {
        let [alone, ballast, poisoned] = [Mix::Healthy, Mix::Ballast, Mix::Poisoned].map(|mix| {
            let (run, lab) = run(&parameters, &load, mix);
            println!("round {number} {}", report::line(mix, &run));
            labs.push(lab);
            run
        });
        let round = Round { alone, ballast, poisoned };
        report::ratios(&round).iter().for_each(|ratios| println!("round {number} {ratios}"));
        rounds.push(round);
    }
    print!("{}", report::summary(&rounds));
    ExitCode::SUCCESS
}
