//! A socket with deadlines: what a peer sends or takes in small portions buys
//! it no more time.
//!
//! Before each call to the operating system the time that is left is counted
//! anew. A call must never wait beyond its deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lazaret_envelope::Span;
use lazaret_smtp::client::Step;

use crate::config::Timeouts;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<TcpStream>,
    pub(super) timeouts: Timeouts,
}

/// Why nothing more goes over a wire.
#[derive(Debug)]
pub(super) enum WireError {
    /// The deadline has passed.
    Deadline,
    /// The peer closed the connection.
    Closed,
    /// The operating system says no.
    Io(io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Linux says EAGAIN where a timeout of a socket has passed.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Deadline,
            _ => Self::Io(error),
        }
    }
}

impl Wire {
    pub(super) fn new(socket: Arc<TcpStream>, timeouts: Timeouts) -> Self {
        Self { socket, timeouts }
    }

    /// Sends all of it.
    pub(super) fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), WireError> {
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Some(left(deadline)?))?;
            match (&*self.socket).write(bytes) {
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives at least one byte.
    pub(super) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<usize, WireError> {
        loop {
            self.socket.set_read_timeout(Some(left(deadline)?))?;
            match (&*self.socket).read(buffer) {
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How long the peer has for a reply.
    pub(super) fn limit(&self, step: Step) -> Duration {
        match step {
            Step::Greeting => self.timeouts.greeting,
            Step::Hello | Step::Mail | Step::Rcpt | Step::Data | Step::Rset => self.timeouts.command,
            Step::DataEnd => self.timeouts.end_of_data,
            Step::Quit => self.timeouts.command.min(QUIT_WAIT),
        }
    }

    /// What is wrong with a peer that does not reply.
    pub(super) fn silence(&self, step: Step) -> String {
        let limit = Span(self.limit(step));
        match step {
            Step::Greeting => format!("accepts connections, no banner for {limit}"),
            Step::DataEnd => format!("takes messages, no reply to the final dot for {limit}"),
            step => format!("no reply to {step} for {limit}"),
        }
    }
}

/// How long the reply to QUIT is waited for. RFC 5321 section 4.1.1.10: the
/// client "SHOULD wait until it receives the reply", but nothing hangs on it.
pub(super) const QUIT_WAIT: Duration = Duration::from_secs(1);

/// The time that is left, never zero: zero means for ever to a socket.
fn left(deadline: Instant) -> Result<Duration, WireError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(WireError::Deadline) } else { Ok(left) }
}
