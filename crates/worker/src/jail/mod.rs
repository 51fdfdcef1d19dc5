//! The jail of a cell: what a process that may have been taken over by a
//! message can still do. Read from top to bottom, this is the order:
//!
//! 1. `tie`: it ends with its worker, and is the kernel's first choice when
//!    memory runs out.
//! 2. [`build`]: no descriptor but the socket, no way to look into it or to
//!    dump it, limits, no capabilities, no new privileges, no file system and
//!    no network (Landlock).
//! 3. [`Jail::shut`]: no new process or thread, and no system call but those on
//!    a list (seccomp).
//!
//! The template that cells are copies of goes no further than 1: it must be able
//! to copy itself, and never has a message.
//!
//! Then the cell says how far that went ([`JailState`]), and only then does it
//! take a message. What the kernel lacks is left out and said; the worker
//! decides whether that will do. The jail must never be opened again, and no
//! byte of a message may be read before it is shut.

mod landlock;
mod limits;
mod seccomp;
mod state;
mod tie;

use ::seccompiler::BpfProgram;

pub use self::limits::use_one_arena;
pub use self::seccomp::allowed_numbers;
pub use self::state::{JailMode, JailState, Piece};
pub use self::tie::tie;

/// A jail that is ready but for its door.
#[derive(Debug)]
pub struct Jail {
    state: JailState,
    /// The list of system calls, compiled; none if there is to be no jail.
    door: Option<BpfProgram>,
}

/// Builds all of the jail but for its door, on the only thread that there is: later
/// ones would inherit it. What was missing before is said in `state`.
///
/// Descriptors from 3 on are closed, and 1 and 2 lead nowhere from here on.
#[must_use]
pub fn build(mode: JailMode, mut state: JailState) -> Jail {
    if mode == JailMode::Off {
        return Jail { state: JailState::NONE, door: None };
    }
    state.note(Piece::Descriptors, limits::drop_descriptors());
    state.note(Piece::Undumpable, limits::forbid_dumps());
    state.note(Piece::Limits, limits::limit_resources());
    state.note(Piece::Capabilities, limits::drop_capabilities());
    state.note(Piece::NoNewPrivs, limits::forbid_new_privileges());
    landlock::restrict(&mut state);
    Jail { state, door: Some(seccomp::compile().unwrap_or_default()) }
}

impl Jail {
    /// Shuts the door behind all threads of this process; says what holds.
    #[must_use]
    pub fn shut(self) -> JailState {
        let Self { mut state, door } = self;
        if let Some(list) = door {
            state.note(Piece::Limits, limits::limit_processes());
            // An empty program is one that could not be compiled: refused as well.
            state.note(Piece::Seccomp, ::seccompiler::apply_filter_all_threads(&list));
        }
        state
    }
}
