//! The cell's alarm: a message that takes long makes way by itself.
//!
//! Whether it may go on is its worker's to say, but a worker is woken up on the
//! processor where it slept, and may have to wait there for milliseconds in which the
//! message goes on with another one. So the cell sleeps for a moment when its message
//! has used what others never use. That is a courtesy: each limit is enforced by the
//! worker, from outside.
//!
//! The handler runs in the midst of anything: it must never allocate, lock, or change
//! `errno`.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::{Timespec, nanosleep};

use crate::process::CpuClock;

/// How long the cell sleeps. The processor is free at once; should the worker be late
/// all the same, the message goes on.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Shortest time to the next look at the CPU clock: a timer of none would never ring.
const LOOK_MIN: Duration = Duration::from_micros(50);

/// When to sleep, in nanoseconds of the process's CPU clock.
static WHEN: AtomicU64 = AtomicU64::new(NEVER);

const NEVER: u64 = u64::MAX;

/// An alarm that is set; it will not ring once it is dropped.
#[derive(Debug)]
pub(crate) struct Alarm(());

/// Has the process sleep when an alarm rings. To be called once, before the first is set.
pub(crate) fn install() -> io::Result<()> {
    // SAFETY: all zeros are a `sigaction`: no handler, no flags, an empty set.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = rings as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // On the parser's stack, which is larger by far than the one for signals.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is valid, and its handler does only what signal-safety(7) allows.
    match unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Alarm {
    /// Rings once this process has used so much CPU time from now on.
    pub(crate) fn set(after: Duration) -> Self {
        WHEN.store(cpu().saturating_add(nanos(after)), Ordering::Relaxed);
        look_after(after);
        Self(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // First, lest a look that is due already asks for another one.
        WHEN.store(NEVER, Ordering::Relaxed);
        set_timer(Duration::ZERO);
    }
}

/// The handler: the timer goes by the clock, and the CPU time may not be used up yet.
extern "C" fn rings(_: libc::c_int) {
    let when = WHEN.load(Ordering::Relaxed);
    if when == NEVER {
        return;
    }
    match when.saturating_sub(cpu()) {
        0 => {
            WHEN.store(NEVER, Ordering::Relaxed);
            // Cut short by a signal it is short.
            let _ = nanosleep(&MOMENT);
        }
        left => look_after(Duration::from_nanos(left)),
    }
}

fn cpu() -> u64 {
    CpuClock::OWN.time().map_or(0, nanos)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

fn look_after(left: Duration) {
    set_timer(left.max(LOOK_MIN));
}

/// Has SIGALRM come after this time on the clock; never, for none.
fn set_timer(after: Duration) {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_usec: libc::suseconds_t::from(after.subsec_micros()),
        },
    };
    // SAFETY: `timer` is valid for reading for the duration of the call, which fails
    // for no valid timer.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn timer() -> Duration {
        let mut timer = MaybeUninit::<libc::itimerval>::zeroed();
        // SAFETY: `timer` is valid for writing for the duration of the call, and all
        // zeros are one.
        let left = unsafe {
            libc::getitimer(libc::ITIMER_REAL, timer.as_mut_ptr());
            timer.assume_init().it_value
        };
        Duration::new(left.tv_sec as u64, left.tv_usec as u32 * 1000)
    }

    /// All in one test: there is one timer in a process.
    #[test]
    fn it_rings_when_so_much_cpu_time_is_used_unless_it_is_dropped() {
        install().unwrap();
        let alarm = Alarm::set(Duration::from_secs(1000));
        assert!(timer() > Duration::from_secs(900), "{:?}", timer());
        drop(alarm);
        assert_eq!(timer(), Duration::ZERO);
        rings(libc::SIGALRM);
        assert_eq!(timer(), Duration::ZERO, "one that was due is not asked for again");

        let (before, deadline) = (cpu(), Instant::now() + Duration::from_secs(60));
        let _alarm = Alarm::set(Duration::from_millis(20));
        while WHEN.load(Ordering::Relaxed) != NEVER {
            assert!(Instant::now() < deadline, "it never rings");
        }
        assert!(cpu() - before >= 20_000_000, "not before");

        WHEN.store(cpu(), Ordering::Relaxed);
        let started = Instant::now();
        rings(libc::SIGALRM);
        assert!(started.elapsed() >= Duration::from_millis(2), "it sleeps");
        rings(libc::SIGALRM);
        assert_eq!(timer(), Duration::ZERO, "and does so once");
    }
}
