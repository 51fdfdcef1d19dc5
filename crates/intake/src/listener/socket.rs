//! The socket of one session, TCP or Unix.
//!
//! Reads and writes have a time limit in the kernel, set once, so that a wait
//! costs no system call of its own. It must never wait without one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use lazaret_envelope::Line;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketAddrAny, recv, send, shutdown};

use crate::network::Peer;

/// What a peer on a Unix socket is called.
const UNIX_PEER: &str = "unix";

/// A connected socket.
pub(super) struct Socket {
    fd: OwnedFd,
    peer: Peer,
    name: Line,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, peer: Option<&SocketAddrAny>) -> Self {
        let address = peer.and_then(|peer| SocketAddr::try_from(peer.clone()).ok());
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let address = address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let name = address.map_or(UNIX_PEER.to_owned(), |address| address.to_string());
        let peer = address.map_or(Peer::Unix, |address| Peer::Ip(address.ip()));
        Self { fd, peer, name: Line::escaped(name) }
    }

    /// Where the client is.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// The client's address and port, or `unix`.
    pub(super) fn name(&self) -> &Line {
        &self.name
    }

    /// Sets how long one read or write may wait.
    pub(super) fn prepare(&self, idle: Duration) -> io::Result<()> {
        set_socket_timeout(&self.fd, Timeout::Recv, Some(idle))?;
        set_socket_timeout(&self.fd, Timeout::Send, Some(idle))?;
        if self.peer != Peer::Unix {
            // Replies are gathered already; a delay would only add to the latency.
            set_tcp_nodelay(&self.fd, true)?;
        }
        Ok(())
    }

    /// Reads what is there, or waits; 0 at the end. `WouldBlock` if it took too long.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => return Ok(other?.0),
            }
        }
    }

    /// Writes what the kernel takes; `WouldBlock` if that took too long.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Writes what fits into the kernel's buffer, and does not wait.
    pub(super) fn say_at_once(&self, bytes: &[u8]) {
        let _ = send(&self.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Ends reading, or everything; wakes whoever waits.
    pub(super) fn shutdown(&self, how: Shutdown) {
        let _ = shutdown(&self.fd, how);
    }
}
