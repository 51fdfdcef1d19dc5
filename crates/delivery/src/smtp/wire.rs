//! A socket with deadlines, encrypted or not: what a peer sends or takes in small
//! portions buys it no more time.
//!
//! Before each call to the operating system the time that is left is counted
//! anew. A call must never wait beyond its deadline.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use lazaret_envelope::{ByteSize, Line, Span};
use lazaret_smtp::client::Step;
use lazaret_tls::{Carrier, Channel, PeerName, Trust};

use super::config::Timeouts;
use crate::sockets::Connection;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Wire {
    connection: Connection,
    /// Once the handshake is over.
    tls: Option<Channel>,
    pub(super) timeouts: Timeouts,
    least_progress: u64,
}

/// Whether a peer takes what it is sent fast enough.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes that it has to take within the time.
    least: u64,
    within: Duration,
    /// What it took of these.
    taken: u64,
    deadline: Instant,
}

impl Progress {
    fn new(least: u64, within: Duration, now: Instant) -> Self {
        Self { least, within, taken: 0, deadline: now + within }
    }

    /// It took so many bytes.
    fn took(&mut self, count: usize, now: Instant) {
        self.taken += count as u64;
        if self.taken >= self.least {
            self.taken = 0;
            self.deadline = now + self.within;
        }
    }
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
            ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Wire {
    pub(super) fn new(connection: Connection, timeouts: Timeouts, least_progress: u64) -> Self {
        Self { connection, tls: None, timeouts, least_progress }
    }

    /// Begins to watch how content is taken.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.least_progress, self.timeouts.data, Instant::now())
    }

    /// Sends content, as long as it is taken fast enough.
    pub(super) fn send_content(
        &mut self,
        bytes: &[u8],
        progress: &mut Progress,
        whole: Instant,
    ) -> Result<(), WireError> {
        self.send_all(bytes, |count| {
            progress.took(count, Instant::now());
            whole.min(progress.deadline)
        })
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), WireError> {
        self.send_all(bytes, |_| deadline)
    }

    /// Sends all of it. `deadline` is told how much was taken each time, and says how
    /// long it may take now.
    fn send_all(
        &mut self,
        mut bytes: &[u8],
        mut deadline: impl FnMut(usize) -> Instant,
    ) -> Result<(), WireError> {
        let mut until = deadline(0);
        while !bytes.is_empty() {
            let Some(tls) = &mut self.tls else {
                match self.connection.write(bytes, until)? {
                    0 => return Err(WireError::Closed),
                    count => {
                        bytes = &bytes[count..];
                        until = deadline(count);
                    }
                }
                continue;
            };
            bytes = &bytes[tls.take(bytes)?..];
            loop {
                match tls.push(&self.connection, until)? {
                    0 => break,
                    count => until = deadline(count),
                }
            }
        }
        Ok(())
    }

    /// Receives at least one byte.
    pub(super) fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, WireError> {
        let received = match &mut self.tls {
            None => self.connection.read(buffer, deadline),
            Some(tls) => tls.read(&self.connection, buffer, deadline),
        };
        match received? {
            0 => Err(WireError::Closed),
            count => Ok(count),
        }
    }

    /// Performs the handshake of TLS.
    pub(super) fn secure(
        &mut self,
        trust: &Trust,
        name: &PeerName,
        deadline: Instant,
    ) -> Result<Line, WireError> {
        let tls = self.tls.insert(Channel::connect(trust, name, &self.connection, deadline)?);
        Ok(tls.description())
    }

    /// Says farewell, if that is usual.
    pub(super) fn close(&mut self, deadline: Instant) {
        if let Some(tls) = &mut self.tls {
            tls.close(&self.connection, deadline);
        }
    }

    /// How long the peer has for a reply.
    pub(super) fn limit(&self, step: Step) -> Duration {
        match step {
            Step::Greeting => self.timeouts.greeting,
            Step::Hello | Step::StartTls | Step::Auth | Step::Offer => self.timeouts.command,
            Step::Mail | Step::Rcpt | Step::Data | Step::Rset => self.timeouts.command,
            Step::DataEnd => self.timeouts.end_of_data,
            Step::Quit => self.timeouts.command.min(QUIT_WAIT),
        }
    }

    /// What is wrong with a peer that takes a message too slowly.
    pub(super) fn slowness(&self) -> String {
        let limit = Span(self.timeouts.data);
        format!("stalls after DATA, takes less than {} in {limit}", ByteSize(self.least_progress))
    }

    /// What is wrong with a peer with which there is no TLS.
    pub(super) fn unsecured(&self, error: &WireError) -> String {
        match error {
            WireError::Deadline => {
                format!("does not finish the TLS handshake for {}", Span(self.timeouts.command))
            }
            WireError::Closed => "closed the connection in the TLS handshake".to_owned(),
            WireError::Io(error) => format!("the TLS handshake failed: {error}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_enough_gets_more_time_and_nobody_else() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(100, Duration::from_secs(10), start);
        (1..9).for_each(|second| progress.took(1, at(second)));
        assert_eq!(progress.deadline, at(10), "a byte a second is not enough");
        progress.took(92, at(9));
        assert_eq!(progress.deadline, at(19));
        progress.took(1000, at(12));
        assert_eq!(progress.deadline, at(22), "more now is no credit for later");
    }
}
