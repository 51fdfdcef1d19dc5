//! The black-box suites: they run the real binary in temporary spools and speak
//! to it only as an administrator or a mail server would.
//!
//! Only `lab`, `daemon` and what they stand on know how a program is run; a
//! suite knows what must come of it. With `bench` as its first word the program
//! is the paired benchmark instead, and with `power` a part of a run under the
//! power-loss rig, which need the same things. A suite must never use Lazaret's
//! crates.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program reports to people")]

mod bench;
mod cgroup;
mod content;
mod corpus;
mod crash;
mod daemon;
mod disk;
mod dkim;
mod generated;
mod lab;
mod maildir;
mod memory;
mod mta;
mod poison;
mod power;
mod process;
mod random;
mod sink;
mod smtp;
mod spooldir;
mod suites;
mod trial;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == bench::WORD).is_some() {
        return bench::main(words);
    }
    if words.next_if(|word| word == power::WORD).is_some() {
        return power::main(words);
    }
    trial::run(suites::all())
}
