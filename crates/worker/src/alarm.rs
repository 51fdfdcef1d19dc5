//! The cell's alarm: a message that takes long says so, and makes way.
//!
//! The worker could see that by the cell's CPU clock. But it is woken up on the
//! processor where it slept, and may have to wait there for milliseconds in which the
//! message goes on with another one; and the clock goes on, too, while another virtual
//! machine has the processor. So the cell counts for itself, in short steps of which
//! none counts for more than it can have worked. After each it takes a short break, in
//! which the worker can do what it was woken up for, and once it has said that it takes
//! long, a longer one. All that is a courtesy: each limit is enforced by the worker, from
//! outside.
//!
//! The handler runs in the midst of anything: it must never allocate, lock, or change
//! `errno`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::SendFlags;
use rustix::thread::{Timespec, nanosleep};

use crate::frame;
use crate::process::CpuClock;
use crate::signal;

/// How long the cell sleeps after each step of work; the kernel makes 70 µs of it. One in
/// a hundred benign messages has such a break.
const BREAK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000 };

/// How long it sleeps at the end. Should the worker be late all the same, the message
/// goes on.
const LONG_BREAK: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Longest time to the next look at the CPU clock.
const STEP: Duration = Duration::from_micros(250);

/// Shortest time to it: a timer of none would never ring.
const STEP_MIN: Duration = Duration::from_micros(50);

/// More than a step and the way to the handler take is no work of this process.
const STEP_COUNTS_MAX: Duration = Duration::from_micros(300);

/// Nanoseconds of work that are left.
static LEFT: AtomicU64 = AtomicU64::new(NEVER);

/// What the process's CPU clock showed at the last look, in nanoseconds.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// The socket to the worker.
static SOCKET: AtomicI32 = AtomicI32::new(-1);

/// The task that it is about.
static TASK: AtomicU64 = AtomicU64::new(0);

const NEVER: u64 = u64::MAX;

/// An alarm that is set; it will not ring once it is dropped.
#[derive(Debug)]
pub(crate) struct Alarm(());

/// Has the process say so on this socket, which is never closed, when an alarm rings. To
/// be called once, before the first is set.
pub(crate) fn install(socket: &impl AsFd) -> io::Result<()> {
    SOCKET.store(socket.as_fd().as_raw_fd(), Ordering::Relaxed);
    // On the parser's stack, which is larger by far than the one for signals.
    // SAFETY: `rings` makes system calls, and works on atomics.
    unsafe { signal::on(libc::SIGALRM, rings) }
}

impl Alarm {
    /// Rings once this process has worked for so long at a task from now on.
    pub(crate) fn set(after: Duration, task: u64) -> Self {
        TASK.store(task, Ordering::Relaxed);
        SEEN.store(cpu(), Ordering::Relaxed);
        LEFT.store(nanos(after), Ordering::Relaxed);
        look_after(after);
        Self(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // First, lest a look that is due already asks for another one.
        forget();
        set_timer(Duration::ZERO);
    }
}

/// None rings any more.
pub(crate) fn forget() {
    LEFT.store(NEVER, Ordering::Relaxed);
}

/// The handler.
extern "C" fn rings(_: i32, _: &libc::siginfo_t, _: *mut libc::c_void) {
    look();
}

/// The timer goes by the clock, and the work may not be done yet.
fn look() {
    let left = LEFT.load(Ordering::Relaxed);
    if left == NEVER {
        return;
    }
    let now = cpu();
    let worked = now.saturating_sub(SEEN.swap(now, Ordering::Relaxed));
    let left = left.saturating_sub(worked.min(nanos(STEP_COUNTS_MAX)));
    if left > 0 {
        LEFT.store(left, Ordering::Relaxed);
        // Else others have the processor already.
        if worked >= nanos(STEP) {
            sleep(&BREAK);
        }
        return look_after(Duration::from_nanos(left));
    }
    forget();
    // SAFETY: it was open when it was stored, and whoever installed the handler keeps it.
    let socket = unsafe { BorrowedFd::borrow_raw(SOCKET.load(Ordering::Relaxed)) };
    let word = frame::takes_long(TASK.load(Ordering::Relaxed));
    // The worker looks at the clock all the same.
    let _ = rustix::net::send(socket, &word, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    sleep(&LONG_BREAK);
}

/// Cut short by a signal, as that which asks the cell to leave its message, it is short.
fn sleep(time: &Timespec) {
    let _ = nanosleep(time);
}

fn cpu() -> u64 {
    CpuClock::OWN.time().map_or(0, nanos)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

fn look_after(left: Duration) {
    set_timer(left.clamp(STEP_MIN, STEP));
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
    use std::io::Read;
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixStream;
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
    fn it_rings_when_so_much_work_is_done_unless_it_is_dropped() {
        let (mut worker, cell) = UnixStream::pair().unwrap();
        install(&cell).unwrap();
        let alarm = Alarm::set(Duration::from_secs(1000), 1);
        drop(alarm);
        assert_eq!(timer(), Duration::ZERO);
        look();
        assert_eq!(timer(), Duration::ZERO, "one that was due is not asked for again");

        let (before, deadline) = (cpu(), Instant::now() + Duration::from_secs(60));
        let _alarm = Alarm::set(Duration::from_millis(20), 7);
        while LEFT.load(Ordering::Relaxed) != NEVER {
            assert!(Instant::now() < deadline, "it never rings");
        }
        assert!(cpu() - before >= 20_000_000, "not before");
        let mut said = [0; frame::AnswerHead::BYTES];
        worker.read_exact(&mut said).unwrap();
        assert_eq!(said, frame::takes_long(7));

        let _alarm = Alarm::set(Duration::from_secs(1000), 1);
        let after = |worked: u64, left: u64| {
            set_timer(Duration::ZERO);
            LEFT.store(left, Ordering::Relaxed);
            SEEN.store(cpu() - worked, Ordering::Relaxed);
            let started = Instant::now();
            look();
            (LEFT.load(Ordering::Relaxed), started.elapsed())
        };
        let step = nanos(STEP);
        let (left, slept) = after(step, 10 * step);
        assert!(left <= 9 * step && slept >= Duration::from_micros(20), "a break after work: {slept:?}");
        let (left, _) = after(100 * step, 10 * step);
        assert!(left > 8 * step, "a clock that went on by itself counts {} ns", 10 * step - left);
        let (left, slept) = after(0, 1);
        assert!(left == NEVER && slept >= Duration::from_millis(2), "a long one at the end: {slept:?}");
        look();
        assert_eq!(timer(), Duration::ZERO, "and it is the end");
    }
}
