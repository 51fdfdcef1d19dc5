//! Relief: another thread of the cell takes over, and the one whose message takes long
//! is left behind.
//!
//! To end a cell and to start the next costs as much as some messages. So a cell has
//! threads in reserve. Asked by its worker to leave its message, the one on duty calls
//! the next, which goes on with other mail, and waits for the cell's end, wherever in the
//! parser it was. To the program that is a thread that gets no processor any more: what
//! it holds stays as it is, and nobody touches it, but for the mapping of its message,
//! which the next one ends. The allocator, whose lock the others need, is left first.
//! Should it hold another lock, the next one that wants it never comes to say that it
//! takes long, and its worker ends the cell.
//!
//! Handlers run in the midst of anything: they must never allocate, lock, or change
//! `errno`. A thread that was left must never run again.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering, compiler_fence};

use rustix::process::{Pid, Signal, getppid};
use rustix::thread::futex;

use crate::alarm;
use crate::signal::{self, Mask};

/// Threads of a cell, of which one is on duty.
pub(crate) const THREADS: usize = 8;

/// The signal by which a worker asks.
pub(crate) const ASKS: Signal = Signal::USR1;

/// Signals for the thread on duty.
const FOR_DUTY: [i32; 2] = [ASKS.as_raw(), libc::SIGALRM];

/// The process that may ask.
static WORKER: AtomicI32 = AtomicI32::new(0);

/// Which threads have been called to duty.
static CALLED: [AtomicU32; THREADS] = [const { AtomicU32::new(0) }; THREADS];

/// The number of the one on duty.
static ON_DUTY: AtomicUsize = AtomicUsize::new(0);

/// Whether it has a message that it can leave.
static LEAVABLE: AtomicBool = AtomicBool::new(false);

/// Whether it is in the allocator …
static IN_ALLOCATOR: AtomicBool = AtomicBool::new(false);

/// … and was asked there.
static ASKED: AtomicBool = AtomicBool::new(false);

/// The message of the thread on duty can be left while this exists.
#[derive(Debug)]
pub(crate) struct Leavable(());

/// The thread on duty is in the allocator while this exists.
#[derive(Debug)]
pub(crate) struct InAllocator(());

/// To be called once, before there is a thread in reserve, by the first that will be on
/// duty. It has no message yet, and none may come before [`begin`].
pub(crate) fn install() -> io::Result<()> {
    WORKER.store(Pid::as_raw(getppid()), Ordering::Relaxed);
    signal::mask(Mask::Block, FOR_DUTY);
    // SAFETY: `asked` makes system calls, and works on atomics.
    unsafe { signal::on(ASKS.as_raw(), asked) }
}

/// Begins the duty of the first thread.
pub(crate) fn begin() {
    signal::mask(Mask::Unblock, FOR_DUTY);
}

/// Waits until a thread in reserve is called, and begins its duty. It takes over a message
/// that was left.
pub(crate) fn wait_for_duty(number: usize) {
    wait(&CALLED[number]);
    begin();
}

/// Whether the thread on duty is the last.
pub(crate) fn is_last() -> bool {
    ON_DUTY.load(Ordering::Relaxed) + 1 == THREADS
}

impl Leavable {
    /// From now on, until it is dropped.
    pub(crate) fn begin() -> Self {
        LEAVABLE.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Leavable {
    fn drop(&mut self) {
        LEAVABLE.store(false, Ordering::Relaxed);
        ASKED.store(false, Ordering::Relaxed);
    }
}

impl InAllocator {
    /// From now on, until it is dropped. The fence has the handler, which is this same
    /// thread, see it.
    pub(crate) fn enter() -> Self {
        IN_ALLOCATOR.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        Self(())
    }
}

impl Drop for InAllocator {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        IN_ALLOCATOR.store(false, Ordering::Relaxed);
        if ASKED.load(Ordering::Relaxed) {
            leave();
        }
    }
}

/// The handler.
extern "C" fn asked(_: i32, signal: &libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: a signal like this one, which the kernel never sends by itself, has a sender.
    let sender = unsafe { signal.si_pid() };
    if sender != WORKER.load(Ordering::Relaxed) {
        // Nobody else may have a message left: the worker would take it for the message's doing.
    } else if !LEAVABLE.load(Ordering::Relaxed) {
        // It is judged already, or not yet read: the worker has its answer, or ends it.
    } else if IN_ALLOCATOR.load(Ordering::Relaxed) {
        ASKED.store(true, Ordering::Relaxed);
    } else {
        leave();
    }
}

/// Hands the duty over and never returns, unless there is nobody to take it.
#[cold]
fn leave() {
    ASKED.store(false, Ordering::Relaxed);
    let next = ON_DUTY.load(Ordering::Relaxed) + 1;
    let Some(called) = CALLED.get(next) else { return };
    signal::mask(Mask::Block, FOR_DUTY);
    LEAVABLE.store(false, Ordering::Relaxed);
    alarm::forget();
    ON_DUTY.store(next, Ordering::Relaxed);
    called.store(1, Ordering::Release);
    // It can't fail: the word is there. Called before it waits, the next does not wait.
    let _ = futex::wake(called, futex::Flags::PRIVATE, 1);
    wait(&AtomicU32::new(0));
}

/// Waits until the word is not 0.
fn wait(word: &AtomicU32) {
    while word.load(Ordering::Acquire) == 0 {
        // Ends early for a signal, and at once if the word has changed: looked at again.
        let _ = futex::wait(word, futex::Flags::PRIVATE, 0, None);
    }
}
