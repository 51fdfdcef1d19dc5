//! The paired benchmark: how much poison, or a next hop that hangs, slows healthy
//! mail down.
//!
//! `cargo xtask bench` runs it. Each pair is a run without poison and one with
//! it, one after the other, so that what else the machine does meets both. It
//! says whether the targets are met and must never fail because they are not.

mod hung;
mod load;
mod parameters;
mod report;
mod run;

pub use load::{Load, Mix};
pub use parameters::Parameters;
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
    let mut pairs = Vec::new();
    // To remove what a run left would slow down the next: a file system works on that for
    // a while, and ext4 without a journal looks past each inode that was freed lately.
    let mut labs = Vec::new();
    for number in 1..=parameters.pairs {
        let before = if parameters.ballast { Mix::Ballast } else { Mix::Healthy };
        let [without, with] = [before, Mix::Poisoned].map(|mix| {
            let (run, lab) = run(&parameters, &load, mix);
            println!("pair {number} {}", report::line(mix, &run));
            labs.push(lab);
            run
        });
        println!("pair {number} {}", report::ratios(&without, &with));
        pairs.push((without, with));
    }
    println!("{}", report::summary(&pairs));
    ExitCode::SUCCESS
}
