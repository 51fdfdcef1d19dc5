//! An encrypted connection: plain bytes on one side, records of TLS on the other.
//!
//! The handshake is over before there is a channel. Whatever the peer sends, each
//! wait ends at its deadline, and what is held is bounded by the records of TLS.
//! Bytes that came before the handshake must never be read behind it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use lazaret_envelope::Line;
use rustls::{ClientConnection, Connection, ProtocolVersion, ServerConnection};

use crate::{Identity, PeerName, Trust};

/// What takes encrypted bytes to the peer and back.
pub trait Carrier {
    /// Reads what is there, or waits for it; 0 at the end.
    ///
    /// # Errors
    /// The connection fails, or `deadline` has passed.
    fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize>;

    /// Writes what there is room for, waiting for room.
    ///
    /// # Errors
    /// The connection fails, or `deadline` has passed.
    fn write(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize>;
}

/// An encrypted connection.
pub struct Channel(Box<Connection>);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.description()).finish()
    }
}

impl Channel {
    /// The server's side of a handshake.
    ///
    /// # Errors
    /// Those of the carrier, and [`ErrorKind::InvalidData`] where the peer breaks the
    /// rules.
    pub fn accept(identity: &Identity, carrier: &impl Carrier, deadline: Instant) -> io::Result<Self> {
        let connection = ServerConnection::new(identity.0.clone()).map_err(io::Error::other)?;
        Self(Box::new(connection.into())).handshake(carrier, deadline)
    }

    /// The client's side of a handshake with `name`.
    ///
    /// # Errors
    /// Those of the carrier, and [`ErrorKind::InvalidData`] where the peer breaks the
    /// rules or is not to be believed.
    pub fn connect(
        trust: &Trust,
        name: &PeerName,
        carrier: &impl Carrier,
        deadline: Instant,
    ) -> io::Result<Self> {
        let connection = ClientConnection::new(trust.config.clone(), name.0.clone());
        Self(Box::new(connection.map_err(io::Error::other)?.into())).handshake(carrier, deadline)
    }

    fn handshake(mut self, carrier: &impl Carrier, deadline: Instant) -> io::Result<Self> {
        while self.0.is_handshaking() {
            self.flush(carrier, deadline)?;
            if self.0.is_handshaking() && self.pull(carrier, deadline)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush(carrier, deadline)?;
        Ok(self)
    }

    /// Reads what is there, or waits; 0 at the end.
    ///
    /// # Errors
    /// Those of the carrier, and [`ErrorKind::InvalidData`].
    pub fn read(
        &mut self,
        carrier: &impl Carrier,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end without a farewell cuts nothing short that has an end of its own.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.flush(carrier, deadline)?;
            self.pull(carrier, deadline)?;
        }
    }

    /// Takes in plain bytes, as many as there is room for, which is not none after a
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// None that the peer could bring about.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.writer().write(bytes)
    }

    /// Sends something of what was taken in; how many bytes that made, 0 if nothing is
    /// left.
    ///
    /// # Errors
    /// Those of the carrier; [`ErrorKind::WriteZero`] where it takes nothing.
    pub fn push(&mut self, carrier: &impl Carrier, deadline: Instant) -> io::Result<usize> {
        if !self.0.wants_write() {
            return Ok(0);
        }
        match self.0.write_tls(&mut Raw { carrier, deadline })? {
            0 => Err(ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// Sends all that was taken in.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self, carrier: &impl Carrier, deadline: Instant) -> io::Result<()> {
        while self.push(carrier, deadline)? > 0 {}
        Ok(())
    }

    /// Says farewell, as RFC 8446 section 6.1 asks for, if the peer still listens.
    pub fn close(&mut self, carrier: &impl Carrier, deadline: Instant) {
        self.0.send_close_notify();
        // Should the connection fail now, there is nobody left to tell.
        let _ = self.flush(carrier, deadline);
    }

    /// Takes in what the peer has sent; 0 at the end.
    fn pull(&mut self, carrier: &impl Carrier, deadline: Instant) -> io::Result<usize> {
        let count = self.0.read_tls(&mut Raw { carrier, deadline })?;
        if let Err(error) = self.0.process_new_packets() {
            // Says what was wrong, if there is somebody to hear it.
            let _ = self.flush(carrier, deadline);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(count)
    }

    /// Version and cipher suite, by their registered names.
    #[must_use]
    pub fn description(&self) -> Line {
        let version = match self.0.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        let suite = self.0.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        // rustls tells the suites of 1.3 apart by a prefix that they do not have.
        Line::escaped(format!("{version} {}", suite.unwrap_or("unknown").replace("TLS13_", "TLS_")))
    }
}

/// A carrier as rustls reads from and writes to it.
struct Raw<'a, C> {
    carrier: &'a C,
    deadline: Instant,
}

impl<C: Carrier> Read for Raw<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.carrier.read(buffer, self.deadline)
    }
}

impl<C: Carrier> Write for Raw<'_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.carrier.write(bytes, self.deadline)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
