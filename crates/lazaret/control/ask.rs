//! A command's side of the daemon's socket: one question, one answer, within a time.
//!
//! A daemon that is stopped or hangs must never hold a command up: that is said with
//! its process id, and what to do about it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lazaret_operator::Request;
use lazaret_spool::Spool;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{Answer, short};
use crate::exit::{self, Failure};

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long is waited for an answer that takes a daemon no work. A reload, for which
/// others wait, takes up to three seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long is waited for one that does: a large message is read from a slow disk.
/// Whoever asks for work has asked for something else before.
const PATIENCE_FOR_WORK: Duration = Duration::from_secs(60);

fn patience(request: &Request) -> Duration {
    match request {
        Request::Status | Request::Pause(_) | Request::Resume(_) | Request::Retry => PATIENCE,
        Request::Release(_)
        | Request::Delete(_)
        | Request::Bounce(_)
        | Request::Repair(..)
        | Request::Reload => PATIENCE_FOR_WORK,
    }
}

/// Asks the daemon of a spool; `None` if none runs.
pub fn ask(spool: &Spool, request: &Request) -> Result<Option<Answer>, Failure> {
    let patience = patience(request);
    let connection = match connect(spool, patience) {
        Ok(connection) => connection,
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(no_answer(spool, None, patience, error.into())),
    };
    // Of whoever listens there.
    let pid = sockopt::socket_peercred(&connection).ok().map(|peer| peer.pid.as_raw_pid());
    let talk = || -> io::Result<Answer> {
        (&connection).write_all(&request.encode())?;
        let mut line = Vec::new();
        BufReader::new((&connection).take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut line)?;
        Ok(serde_json::from_slice(&line)?)
    };
    talk().map(Some).map_err(|error| no_answer(spool, pid, patience, error))
}

/// Waits no longer than that for the connection, and for each step on it.
fn connect(spool: &Spool, patience: Duration) -> Result<UnixStream, Errno> {
    let directory = fs::File::open(spool.root())
        .map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for timeout in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, timeout, Some(patience))?;
    }
    net::connect(&socket, &SocketAddrUnix::new(short(&directory, &spool.control_socket()))?)?;
    Ok(socket.into())
}

fn no_answer(spool: &Spool, pid: Option<i32>, patience: Duration, error: io::Error) -> Failure {
    let spool = spool.root().display();
    match (error.kind(), pid) {
        (io::ErrorKind::PermissionDenied, _) => {
            Failure::new(exit::FORBIDDEN, format!("failed to reach the daemon on {spool}: {error}"))
        }
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(pid)) => {
            let what = if is_stopped(pid) {
                format!(
                    "the daemon on {spool}, pid {pid}, does not answer: it was stopped by a signal (SIGSTOP, a \
                     terminal, a debugger); to let it go on: kill -CONT {pid}"
                )
            } else {
                format!(
                    "the daemon on {spool}, pid {pid}, does not answer for {} s: it is busy, or it hangs; try again and \
                     look at its log; if it stays so: kill {pid}, after a while kill -9 {pid}, and start it again, which \
                     loses no mail",
                    patience.as_secs()
                )
            };
            Failure::new(exit::TEMPORARY, what)
        }
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, None) => Failure::new(
            exit::TEMPORARY,
            format!(
                "the daemon on {spool} takes no more commands, too many wait for it already; is it stopped, or does it hang?"
            ),
        ),
        _ => Failure::new(exit::TEMPORARY, format!("the daemon on {spool} does not answer: {error}")),
    }
}

/// Whether a process is stopped (proc_pid_stat(5)); the name before its state may be
/// anything.
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}
