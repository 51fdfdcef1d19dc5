//! The black-box suites: they run the real binary in temporary spools and speak
//! to it only as an administrator or a mail server would.
//!
//! Only `lab`, `daemon` and what they stand on know how a program is run; a
//! suite knows what must come of it. A suite must never use Lazaret's crates.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program reports to people")]

mod content;
mod daemon;
mod generated;
mod lab;
mod maildir;
mod memory;
mod poison;
mod process;
mod random;
mod sink;
mod smtp;
mod spooldir;
mod suites;
mod trial;
mod wait;

fn main() {
    trial::run(suites::all());
}
