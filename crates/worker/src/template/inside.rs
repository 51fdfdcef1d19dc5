//! The template as it is from inside: it reads its setup, and becomes a cell each
//! time that it is asked for one.
//!
//! It has one thread that does anything, on whose stack messages will be parsed. It
//! must never read more of what comes with a request than that it is one.

use std::convert::Infallible;
use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use lazaret_route::RouteTable;

use super::{Answer, COPY};
use crate::cell::{self, EXIT_PANIC, EXIT_PROTOCOL, STACK_BYTES};
use crate::frame::{SETUP_BYTES_MAX, Setup};
use crate::jail;
use crate::passing;
use crate::process::{copy_of_this_process, exit_now};

/// What ps(1) and top(1) call it; without it, by the number of the descriptor that it
/// was started from.
const NAME: &CStr = c"lazaret-nursery";

/// The body of the hidden subcommand: never returns.
pub fn main() -> ! {
    match run() {
        Ok(never) => match never {},
        Err(_) => exit_now(EXIT_PROTOCOL),
    }
}

fn run() -> io::Result<Infallible> {
    rustix::thread::set_name(NAME)?;
    // SAFETY: descriptor 0 was given to this process to own, and nothing reads
    // standard input by another way.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    jail::tie(&socket)?;
    jail::use_one_arena();
    let setup = read_setup(&mut socket)?;
    let table = RouteTable::compile(&setup.routes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let serve =
        move || -> Infallible { exit_now(serve(socket, &table, &setup).map_or(EXIT_PROTOCOL, |()| 0)) };
    match thread::Builder::new().stack_size(STACK_BYTES).spawn(serve)?.join() {
        Ok(never) => Ok(never),
        Err(_) => exit_now(EXIT_PANIC),
    }
}

/// Makes copies until the socket is closed.
fn serve(mut socket: UnixStream, table: &RouteTable, setup: &Setup) -> io::Result<()> {
    while let Some((COPY, [theirs, page])) = passing::receive(&socket)? {
        let answer: Answer = match copy_of_this_process() {
            Ok(None) => {
                // The cell's socket takes the place of the template's.
                let mut own = OwnedFd::from(socket);
                debug_assert_eq!(own.as_raw_fd(), 0);
                rustix::io::dup2(&theirs, &mut own)?;
                drop(theirs);
                match cell::run(&UnixStream::from(own), page, table, setup)? {}
            }
            Ok(Some(pid)) => pid.as_raw_pid(),
            Err(error) => error.raw_os_error().unwrap_or(libc::EAGAIN).saturating_neg(),
        };
        socket.write_all(&answer.to_le_bytes())?;
    }
    Ok(())
}

fn read_setup(socket: &mut UnixStream) -> io::Result<Setup> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > SETUP_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0; length];
    socket.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
