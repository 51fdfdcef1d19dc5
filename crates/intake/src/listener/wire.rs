//! The bytes of a session on their way through its socket: as they are, or, after
//! STARTTLS, encrypted.
//!
//! Whatever a client sends, each step has a deadline, and what is held is bounded by
//! the records of TLS. Bytes that came unencrypted must never be read once the
//! handshake has begun.

use std::io;
use std::time::Instant;

use lazaret_envelope::Line;
use lazaret_tls::{Carrier, Channel, Identity};

use super::socket::Socket;

/// How the bytes go.
pub(super) enum Wire {
    Plain,
    Tls(Channel),
}

/// The kernel ends a wait after a silence; between two of them the deadline is asked.
impl Carrier for Socket {
    fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        too_late(deadline)?;
        self.read(buffer)
    }

    fn write(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        too_late(deadline)?;
        self.write(bytes)
    }
}

/// A wait that took too long, as the kernel reports it.
fn too_late(deadline: Instant) -> io::Result<()> {
    if Instant::now() >= deadline { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

impl Wire {
    /// Reads what is there, or waits; 0 at the end. `WouldBlock` if the client was
    /// silent for too long, or has sent nothing whole until `deadline`.
    pub(super) fn read(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<usize> {
        match self {
            Self::Plain => socket.read(buffer),
            Self::Tls(tls) => tls.read(socket, buffer, deadline),
        }
    }

    /// Writes everything; a client that takes it in slowly has until `deadline`.
    pub(super) fn write_all(
        &mut self,
        socket: &Socket,
        mut bytes: &[u8],
        deadline: Instant,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Plain => socket.write(bytes)?,
                Self::Tls(tls) => {
                    let written = tls.take(bytes)?;
                    tls.flush(socket, deadline)?;
                    written
                }
            };
            bytes = &bytes[written..];
            if !bytes.is_empty() {
                too_late(deadline)?;
            }
        }
        Ok(())
    }

    /// Performs the handshake; version and cipher suite.
    pub(super) fn secure(
        &mut self,
        socket: &Socket,
        identity: &Identity,
        deadline: Instant,
    ) -> io::Result<Line> {
        let tls = Channel::accept(identity, socket, deadline)?;
        let description = tls.description();
        *self = Self::Tls(tls);
        Ok(description)
    }

    /// Says farewell, if that is usual.
    pub(super) fn close(&mut self, socket: &Socket, deadline: Instant) {
        if let Self::Tls(tls) = self {
            tls.close(socket, deadline);
        }
    }
}
