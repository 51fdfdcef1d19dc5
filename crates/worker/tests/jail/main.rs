//! The jail is tested by trying to leave it.
//!
//! This program is four, by its first argument: the tests; a prisoner, who goes
//! through the very functions that a cell goes through and then tries one thing;
//! a guard, whom the prisoner may attack; and a cell. Each attempt is made three
//! times: free, where it must succeed (or it would prove nothing), in a jail
//! whose door is open (all but seccomp), and in a jail that is shut. A test here
//! must never be one that can't fail.

mod attempts;
mod cells;
mod endings;
mod prisoner;
mod syscall;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[global_allocator]
static ALLOCATOR: lazaret_worker::Allocator = lazaret_worker::Allocator;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [lazaret_worker::CELL_COMMAND] => lazaret_worker::cell_main(),
        [prisoner::PRISONER, door, attempt, ref scene @ ..] => prisoner::main(door, attempt, scene),
        [prisoner::GUARD, door, attempt] => prisoner::guard(door, attempt),
        [prisoner::LOST_GUARD, before] => prisoner::lost_guard(before == "before"),
        [prisoner::LATE, guard] => prisoner::late(guard),
        [cells::WITHOUT, lacking, jail] => cells::without(lacking, jail),
        _ => {
            let trials: Vec<Trial> =
                attempts::trials().chain(endings::trials()).chain(cells::trials()).collect();
            libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
        }
    }
}
