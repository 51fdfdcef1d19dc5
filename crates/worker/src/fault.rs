//! Whose fault it was, and what follows: one table.
//!
//! A message is blamed only for what it did itself. Where nobody knows, it gets
//! one more try, in a fresh cell; nothing may be tried without end.

use lazaret_envelope::{Blame, Cause};

use crate::allocator::EXIT_MEMORY;
use crate::cell::EXIT_PANIC;

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By a status of its own.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

impl From<std::process::ExitStatus> for Ending {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(signal) => Self::Signalled(signal),
            None => Self::Exited(status.code().unwrap_or(-1)),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled(signal) => f.write_str(&crate::signal::name(*signal)),
        }
    }
}

/// What a cell's own end says about the message that it had.
pub(crate) fn cause_of(ending: Ending) -> Cause {
    match ending {
        Ending::Exited(EXIT_MEMORY) => Cause::Memory,
        Ending::Exited(EXIT_PANIC) => Cause::Panic,
        Ending::Exited(_) => Cause::InvalidVerdict,
        Ending::Signalled(libc::SIGBUS) => Cause::BusError,
        // What a program's own fault ends it with (signal(7)).
        Ending::Signalled(
            libc::SIGSEGV | libc::SIGABRT | libc::SIGILL | libc::SIGFPE | libc::SIGSYS | libc::SIGTRAP,
        ) => Cause::Crash,
        // The kernel's OOM killer, a person, a shutdown: not the message's doing.
        Ending::Signalled(_) => Cause::Killed,
    }
}

/// What happens to a message after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// To quarantine.
    Defer,
    /// Once more, in a fresh cell.
    TryAgain,
}

/// Tries that a message gets when nobody knows whose fault it was.
pub(crate) const TRIES_MAX: u32 = 2;

/// The table: `tries` counts this one.
pub(crate) fn next(cause: Cause, tries: u32) -> Next {
    match cause.blame() {
        Blame::Unknown if tries < TRIES_MAX => Next::TryAgain,
        Blame::Unknown | Blame::Message | Blame::Disk | Blame::NextHop | Blame::Policy => Next::Defer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        use Cause::*;
        for (ending, cause, first, second) in [
            (Ending::Exited(EXIT_MEMORY), Memory, Next::Defer, Next::Defer),
            (Ending::Exited(EXIT_PANIC), Panic, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGSEGV), Crash, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGABRT), Crash, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGILL), Crash, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGFPE), Crash, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGSYS), Crash, Next::Defer, Next::Defer),
            (Ending::Signalled(libc::SIGTRAP), Crash, Next::Defer, Next::Defer),
            (Ending::Exited(0), InvalidVerdict, Next::TryAgain, Next::Defer),
            (Ending::Exited(1), InvalidVerdict, Next::TryAgain, Next::Defer),
            (Ending::Signalled(libc::SIGKILL), Killed, Next::TryAgain, Next::Defer),
            (Ending::Signalled(libc::SIGTERM), Killed, Next::TryAgain, Next::Defer),
            (Ending::Signalled(libc::SIGUSR2), Killed, Next::TryAgain, Next::Defer),
            (Ending::Signalled(libc::SIGXCPU), Killed, Next::TryAgain, Next::Defer),
            (Ending::Signalled(libc::SIGBUS), BusError, Next::TryAgain, Next::Defer),
        ] {
            assert_eq!(cause_of(ending), cause, "{ending}");
            assert_eq!((next(cause, 1), next(cause, 2)), (first, second), "{ending}");
        }
        for (cause, first) in [
            (CpuTime, Next::Defer),
            (Limit, Next::Defer),
            (Tree, Next::Defer),
            (WallTime, Next::TryAgain),
            (Damaged, Next::Defer),
            (Envelope, Next::Defer),
            (NoRoute, Next::Defer),
        ] {
            assert_eq!((next(cause, 1), next(cause, 2)), (first, Next::Defer), "{cause}");
        }
    }
}
