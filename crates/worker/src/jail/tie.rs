//! Ties a cell to its worker's process: it ends when that ends.
//!
//! Three things hold it: the kernel's signal at the parent's death, a look at
//! whether the parent had died before the signal was asked for, and the end of
//! the socket. A cell must never go on under another parent.

use std::io;
use std::os::fd::AsFd;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::state::{JailState, Piece};

/// The highest there is: this process first.
const OOM_SCORE_ADJ_MAX: &str = "1000";

/// Ties this process to the one that made its socket, and makes it the kernel's
/// first choice when memory runs out.
///
/// Nobody has to say who the parent is: the kernel remembers who made a pair of
/// sockets. The signal first, then the look: a parent that ends between the two
/// sends it, and one that had ended before them is no longer the parent.
///
/// # Errors
/// The parent is gone, or descriptor 0 is no socket of its making.
pub fn tie(socket: &impl AsFd) -> io::Result<JailState> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let maker = rustix::net::sockopt::socket_peercred(socket)?.pid;
    if getppid() != Some(maker) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the worker has ended"));
    }
    let mut state = JailState::FULL;
    // From inside: nobody but root may do so once the process can't be dumped.
    state.note(Piece::OomScore, std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ_MAX));
    Ok(state)
}
