//! The bytes of a session on their way through its socket: as they are, or, after
//! STARTTLS, encrypted.
//!
//! Whatever a client sends, each step has a deadline, and what is held is bounded by
//! the records of TLS. Bytes that came unencrypted must never be read once the
//! handshake has begun.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use lazaret_envelope::Line;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use super::socket::Socket;

/// How the bytes go.
pub(super) enum Wire {
    Plain,
    Tls(Box<ServerConnection>),
}

/// What rustls reads from and writes to.
struct Raw<'a>(&'a Socket);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        let Self::Tls(tls) = self else { return socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a farewell cuts nothing short that has an end of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            flush(tls, socket, deadline)?;
            receive(tls, socket)?;
            too_late(deadline)?;
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
                    let written = tls.writer().write(bytes)?;
                    flush(tls, socket, deadline)?;
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
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> io::Result<Line> {
        let mut tls = Box::new(ServerConnection::new(config).map_err(io::Error::other)?);
        while tls.is_handshaking() {
            flush(&mut tls, socket, deadline)?;
            if tls.is_handshaking() && receive(&mut tls, socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            too_late(deadline)?;
        }
        flush(&mut tls, socket, deadline)?;
        let description = description(&tls);
        *self = Self::Tls(tls);
        Ok(description)
    }

    /// Says farewell, if that is usual.
    pub(super) fn close(&mut self, socket: &Socket, deadline: Instant) {
        if let Self::Tls(tls) = self {
            tls.send_close_notify();
            // Should the connection fail now, there is nobody left to tell.
            let _ = flush(tls, socket, deadline);
        }
    }
}

fn flush(tls: &mut ServerConnection, socket: &Socket, deadline: Instant) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut Raw(socket))?;
        if tls.wants_write() {
            too_late(deadline)?;
        }
    }
    Ok(())
}

/// Takes in what the client has sent; 0 at the end.
fn receive(tls: &mut ServerConnection, socket: &Socket) -> io::Result<usize> {
    let read = tls.read_tls(&mut Raw(socket))?;
    if let Err(error) = tls.process_new_packets() {
        // Says what was wrong, if there is somebody to hear it.
        let _ = tls.write_tls(&mut Raw(socket));
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(read)
}

/// Version and cipher suite, by their registered names.
fn description(tls: &ServerConnection) -> Line {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    // rustls tells the suites of 1.3 apart by a prefix that they do not have.
    Line::escaped(format!("{version} {}", suite.replace("TLS13_", "TLS_")))
}
