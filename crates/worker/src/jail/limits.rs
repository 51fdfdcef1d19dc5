//! The parts of the jail that every kernel has: descriptors, dumps, limits,
//! capabilities.
//!
//! Each function is one part, and none depends on another. None may be undone
//! from inside later: limits are lowered hard, and the means to raise them go.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Descriptors that a cell may have: the socket, two that lead nowhere, and
/// one message.
const DESCRIPTORS_MAX: u32 = 4;

/// First descriptor that is not one of the standard three.
const DESCRIPTORS_OWN: u32 = 3;

/// Closes whatever was inherited by accident, and has standard output (the
/// shared page, mapped by now) and standard error lead nowhere: what is printed
/// by accident fails there, and no message's descriptor takes their numbers.
pub(super) fn drop_descriptors() -> io::Result<()> {
    // SAFETY: the cell owns no descriptor from 3 on at this point, so none is
    // closed under somebody who uses it. The call touches no memory.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, DESCRIPTORS_OWN, u32::MAX, 0) };
    let failed = (closed != 0).then(io::Error::last_os_error);
    // The reading end of a pipe that nobody can write to.
    let (nowhere, _) = rustix::pipe::pipe()?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    failed.map_or(Ok(()), Err)
}

/// No core file with mail in it, and no debugger but root's.
pub(super) fn forbid_dumps() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Address space has no limit here: the worker sets one for each message.
pub(super) fn limit_resources() -> rustix::io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, 0)?;
    lower(Resource::Nofile, DESCRIPTORS_MAX.into())
}

/// No process and no thread more. Not for root, where seccomp alone does it.
pub(super) fn limit_processes() -> rustix::io::Result<()> {
    lower(Resource::Nproc, 0)
}

fn lower(resource: Resource, most: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// A daemon that runs as root has cells without root's rights.
pub(super) fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// No program that is executed can have more rights; Landlock and seccomp ask
/// for this.
pub(super) fn forbid_new_privileges() -> rustix::io::Result<()> {
    set_no_new_privs(true)
}

/// Has all threads allocate from one heap; to be called before there is a second one.
/// The GNU library gives each thread a heap of its own otherwise, and opens a file
/// below /proc when it first makes one smaller: no cell can do that.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) has no precondition; there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
