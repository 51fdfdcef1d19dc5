//! One system call by its number, for what no library offers.
//!
//! Only the prisoner makes these; a test must never make one in the process
//! that runs the tests.

use std::io;

/// An argument of a system call.
pub(crate) type Argument = libc::c_long;

/// Makes a system call.
pub(crate) fn call(number: libc::c_long, arguments: &[Argument]) -> io::Result<libc::c_long> {
    let [a, b, c, d, e, f] = std::array::from_fn(|at| arguments.get(at).copied().unwrap_or(0));
    // SAFETY: the callers pass null or pointers to what outlives the call and is
    // as long as it says; calls that change this process's memory end it next.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The address of something, as an argument.
pub(crate) fn address<T: ?Sized>(of: &T) -> Argument {
    std::ptr::from_ref(of).cast::<u8>() as Argument
}

/// The address of something that the kernel may write to, as an argument.
pub(crate) fn room<T: ?Sized>(of: &mut T) -> Argument {
    std::ptr::from_mut(of).cast::<u8>() as Argument
}
