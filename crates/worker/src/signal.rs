//! Signals: what has one handled, and their names, for reports that people read.

use std::io;
use std::mem::MaybeUninit;

/// Whether signals come through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mask {
    /// They wait.
    Block,
    /// They come.
    Unblock,
}

/// Is told the signal, where it comes from, and what it interrupts.
pub(crate) type Handler = extern "C" fn(i32, &libc::siginfo_t, *mut libc::c_void);

/// Has this process handle a signal, on the stack of the thread that it comes to.
///
/// # Safety
/// The handler does only what signal-safety(7) allows.
pub(crate) unsafe fn on(signal: i32, handler: Handler) -> io::Result<()> {
    // SAFETY: all zeros are a `sigaction`: no handler, no flags, an empty set.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
    // SAFETY: `action` is valid, and the caller answers for its handler.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Blocks or unblocks signals for this thread, and those that it will start. May be called
/// by a handler.
pub(crate) fn mask(how: Mask, signals: [i32; 2]) {
    let how = match how {
        Mask::Block => libc::SIG_BLOCK,
        Mask::Unblock => libc::SIG_UNBLOCK,
    };
    let mut set = MaybeUninit::zeroed();
    // SAFETY: `set` is valid for writing, and a set of signals from the first call on. No
    // call fails for signals that there are.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}

/// The name of a signal, or its number where it has none here.
pub(crate) fn name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
