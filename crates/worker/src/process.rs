//! The few system calls about processes that no safe library offers.
//!
//! Each is one call with its argument checked; nothing here decides anything.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Pid;

/// Ends the process at once: no destructor runs, nothing is flushed.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no precondition and does not return.
    unsafe { libc::_exit(status) }
}

/// Makes a copy of this process, with this thread alone, whose parent is the parent
/// of this one; `None` in the copy. No other thread may hold a lock meanwhile that the
/// copy will want.
pub(crate) fn copy_of_this_process() -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(libc::CLONE_PARENT);
    let unused: libc::c_long = 0;
    // SAFETY: memory is copied, not shared, and the copy goes on on its copy of this
    // stack, as after fork(2). It has no other thread: the caller promises that it
    // can do without.
    match unsafe { libc::syscall(libc::SYS_clone, flags, unused, unused, unused, unused) } {
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// The CPU clock of a process: the time that all its threads have used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// That of this process.
    pub(crate) const OWN: Self = Self(libc::CLOCK_PROCESS_CPUTIME_ID);

    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: `clock` is valid for writing for the duration of the call.
        match unsafe { libc::clock_getcpuclockid(pid.as_raw_pid(), &raw mut clock) } {
            0 => Ok(Self(clock)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// What it shows now.
    pub(crate) fn time(self) -> io::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for writing for the duration of the call.
        if unsafe { libc::clock_gettime(self.0, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Ok(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

/// Waits for the end of a child of this process, which must not have been waited
/// for before; how it ended, and the CPU time that it used in all.
pub(crate) fn reap(pid: Pid) -> io::Result<(ExitStatus, Duration)> {
    let mut status: libc::c_int = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both are valid for writing for the duration of the call.
        let reaped = unsafe { libc::wait4(pid.as_raw_pid(), &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: all zeros are a `rusage`, and wait4(2) has filled it in.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let micros = u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + Duration::from_micros(micros)
    };
    Ok((ExitStatus::from_raw(status), time(usage.ru_utime) + time(usage.ru_stime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_process_can_be_read() {
        let own = CpuClock::of(rustix::process::getpid()).unwrap();
        let before = own.time().unwrap();
        let mut sum = 0_u64;
        while own.time().unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
