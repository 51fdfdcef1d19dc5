//! The router workers: they claim messages, have each one judged in a jailed
//! child process under a memory and a time budget, and decide whose fault it
//! was when that does not end well.
//!
//! A worker is a thread with a directory below `claimed/` and one child, its
//! cell. The worker claims and watches ([`pool`], [`backlog`]), the cell parses
//! and evaluates routes ([`cell`]); between them go frames ([`frame`]), one file
//! descriptor per message, and a page that both can see ([`page`]). What a death
//! means is one table ([`fault`]). What a cell could still do if a message took
//! it over is one directory ([`jail`]).
//!
//! This is the only crate with `unsafe` code: a global allocator, memory maps,
//! and a few system calls that no safe library offers. The parent side must
//! never look at what a message says.

mod alarm;
mod allocator;
mod backlog;
mod budget;
mod bypass;
mod cell;
mod cgroup;
mod child;
mod costs;
mod fault;
mod fingerprint;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod jail;
mod machine;
mod nursery;
mod offspring;
mod page;
mod passing;
mod pool;
mod precedent;
mod process;
mod relief;
mod repeats;
mod reports;
mod selftest;
mod shared;
mod signal;
mod slow;
mod specimen;
mod stop;
mod template;
mod variety;
mod watch;
mod worker;

pub use allocator::{Allocator, count_allocations};
pub use backlog::Backlog;
pub use budget::WorkersConfig;
pub use bypass::{FaultAction, Faults, Way};
pub use cgroup::memory_pressure_files;
pub use child::CellError;
pub use costs::{CostsStatus, Distribution};
pub use jail::{JailMode, JailState};
pub use machine::{Available, Fit, FitError, Permit, Permits};
pub use pool::{Pool, PreparedPool, StartError, WorkerStatus};
pub use repeats::RepeatsStatus;
#[doc(hidden)]
pub use selftest::MESSAGE as BUILT_IN_MESSAGE;
pub use shared::Routed;
#[doc(hidden)]
pub use specimen::{Fate, Specimen};
pub use template::{CELL_COMMAND, main as cell_main};
