//! A child process from its start until it is reaped: its death to wait for, its
//! CPU clock, and its end.
//!
//! It is named by its process descriptor, so nobody else can be meant. One that
//! is dropped is ended; none must ever be left behind.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal, setpriority_process,
};

use crate::process::{CpuClock, reap};
use crate::relief;

/// The lowest priority of setpriority(2). SCHED_IDLE is lower still and harms others
/// more: Linux takes a processor with nothing else on it for an idle one, has others
/// wake up there, and then lets them wait for the next tick, 4 ms on many a kernel.
const LOWEST_PRIORITY: i32 = 19;

/// A child process.
#[derive(Debug)]
pub(crate) struct Offspring {
    pid: Pid,
    death: OwnedFd,
    clock: CpuClock,
    end: Option<(ExitStatus, Duration)>,
}

impl Offspring {
    /// Takes charge of a child that nobody has waited for.
    pub(crate) fn new(pid: Pid) -> io::Result<Self> {
        let held = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        match held.and_then(|death| Ok((death, CpuClock::of(pid)?))) {
            Ok((death, clock)) => Ok(Self { pid, death, clock, end: None }),
            Err(error) => {
                kill_process(pid, Signal::KILL)?;
                reap(pid)?;
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// CPU time that it has used so far, of all its threads; all that it used
    /// once it is reaped.
    pub(crate) fn cpu(&self) -> Duration {
        match self.end {
            Some((_, cpu)) => cpu,
            None => self.clock.time().unwrap_or_default(),
        }
    }

    /// Waits for its end.
    pub(crate) fn reap(&mut self) -> io::Result<ExitStatus> {
        if let Some((status, _)) = self.end {
            return Ok(status);
        }
        let end = reap(self.pid)?;
        self.end = Some(end);
        Ok(end.0)
    }

    /// Has it rest, or go on. One that rests can be ended all the same.
    pub(crate) fn rest(&self, rests: bool) {
        // Fails only where it has ended already.
        let _ = pidfd_send_signal(&self.death, if rests { Signal::STOP } else { Signal::CONT });
    }

    /// Asks a cell to leave its message.
    pub(crate) fn ask_to_leave(&self) {
        // Fails only where it has ended already.
        let _ = pidfd_send_signal(&self.death, relief::ASKS);
    }

    /// Has it come after all others from now on: at the lowest priority, which each of its
    /// threads has for itself (setpriority(2), "C library/kernel differences").
    pub(crate) fn run_last(&self) {
        // Fails only where it has ended already.
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_pid())).into_iter().flatten();
        for thread in threads.flatten() {
            let thread = thread.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?));
            let _ = thread.map(|thread| setpriority_process(Some(thread), LOWEST_PRIORITY));
        }
    }

    /// Ends it, whatever it is doing, and sees it off.
    pub(crate) fn end(&mut self) {
        if self.end.is_none() {
            // Fails only where it has ended already.
            let _ = pidfd_send_signal(&self.death, Signal::KILL);
            let _ = self.reap();
        }
    }
}

impl AsFd for Offspring {
    /// Readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.death.as_fd()
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    fn offspring(command: &mut Command) -> Offspring {
        Offspring::new(Pid::from_child(&command.spawn().unwrap())).unwrap()
    }

    #[test]
    fn its_end_and_its_cost_are_known() {
        let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7";
        let mut child = offspring(Command::new("sh").args(["-c", busy]));
        assert_eq!(child.reap().unwrap().code(), Some(7));
        assert!(child.cpu() > Duration::ZERO, "it is known after the end, too");
        assert_eq!(child.reap().unwrap().code(), Some(7), "and once reaped it is not waited for again");
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let mut child = offspring(Command::new("sleep").arg("1000"));
        child.end();
        assert_eq!(child.reap().unwrap().signal(), Some(libc::SIGKILL));
    }
}
