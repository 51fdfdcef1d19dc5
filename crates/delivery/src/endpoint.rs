//! Where a next hop listens, and a connection to it.
//!
//! TCP and Unix sockets are the same to whoever speaks over them. A connection
//! must never be attempted without a limit on the time.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::trace;

/// What the path of a Unix socket is written behind.
const UNIX: &str = "unix:";

/// How often a Unix socket whose queue of connections is full is tried again.
const FULL_EVERY: Duration = Duration::from_millis(20);

/// A next hop, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `host:port`
    Tcp(String),
    /// `unix:/path`
    Unix(PathBuf),
}

/// One address of a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A socket, connected or on its way.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Endpoint {
    /// Reads `host:port`, `[::1]:port` or `unix:/path`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix(UNIX) {
            let fits = !path.is_empty() && SocketAddrUnix::new(path).is_ok();
            return fits.then(|| Self::Unix(path.into()));
        }
        is_host_and_port(text).then(|| Self::Tcp(text.to_owned()))
    }

    /// The same text with a relative path made absolute.
    pub(crate) fn based_on(text: &str, base: &Path) -> String {
        match text.strip_prefix(UNIX) {
            Some(path) if !path.is_empty() => format!("{UNIX}{}", base.join(path).display()),
            _ => text.to_owned(),
        }
    }

    /// The host's name or address, without brackets; a Unix socket has none.
    pub(crate) fn host(&self) -> Option<&str> {
        let Self::Tcp(text) = self else { return None };
        let (host, _) = text.rsplit_once(':')?;
        Some(host.trim_matches(['[', ']']))
    }
}

impl Place {
    /// Whether what goes there stays on this host.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// `127.0.0.1:25`, `mx.example.org:25` or `[::1]:25`.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => trace::is_host_name(host),
    };
    host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl Socket {
    /// One that is not connected yet.
    pub(crate) fn new(place: &Place) -> io::Result<Self> {
        let family = match place {
            Place::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Place::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Place::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
        Ok(match place {
            Place::Tcp(_) => Self::Tcp(socket.into()),
            Place::Unix(_) => Self::Unix(socket.into()),
        })
    }

    /// Connects it; fails with [`io::ErrorKind::TimedOut`] at the deadline.
    /// `given_up` is asked now and then.
    pub(crate) fn connect(
        &self,
        place: &Place,
        deadline: Instant,
        given_up: impl Fn() -> bool,
    ) -> io::Result<()> {
        match (self, place) {
            (Self::Tcp(socket), Place::Tcp(address)) => {
                match connect(socket, address) {
                    Err(Errno::INPROGRESS) => wait_connected(socket, deadline)?,
                    result => result?,
                }
                socket.set_nonblocking(false)?;
                // The final dot is a packet of its own: it must not wait for an
                // acknowledgement of the one before.
                socket.set_nodelay(true)
            }
            (Self::Unix(socket), Place::Unix(path)) => {
                let address = SocketAddrUnix::new(path)?;
                // unix(7): where the queue is full, there is nothing to wait on.
                while let Err(error) = connect(socket, &address) {
                    if error != Errno::AGAIN {
                        return Err(error.into());
                    }
                    if Instant::now() >= deadline || given_up() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    thread::sleep(FULL_EVERY);
                }
                socket.set_nonblocking(false)
            }
            (Self::Tcp(_), Place::Unix(_)) | (Self::Unix(_), Place::Tcp(_)) => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
        }
    }

    /// Receives what there is, waiting for it at most `limit`, which is not zero.
    pub(crate) fn read(&self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => {
                socket.set_read_timeout(Some(limit))?;
                (&*socket).read(buffer)
            }
            Self::Unix(socket) => {
                socket.set_read_timeout(Some(limit))?;
                (&*socket).read(buffer)
            }
        }
    }

    /// Sends what there is room for, waiting for room at most `limit`, which is not
    /// zero.
    pub(crate) fn write(&self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => {
                socket.set_write_timeout(Some(limit))?;
                (&*socket).write(bytes)
            }
            Self::Unix(socket) => {
                socket.set_write_timeout(Some(limit))?;
                (&*socket).write(bytes)
            }
        }
    }
}

/// Waits until a connection is there or has failed.
fn wait_connected(socket: &TcpStream, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(sockopt::socket_error(socket)??),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_as_they_are_written() {
        for text in ["127.0.0.1:25", "[::1]:25", "mx.example.org:10026"] {
            assert_eq!(Endpoint::parse(text), Some(Endpoint::Tcp(text.to_owned())));
        }
        assert_eq!(Endpoint::parse("unix:run/x"), Some(Endpoint::Unix("run/x".into())));
        let long = format!("unix:/{}", "x".repeat(200));
        for text in ["", "host", "host:", "host:0", ":25", "::1:25", "unix:", &long] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
        let based = |text: &str| Endpoint::based_on(text, Path::new("/etc/lazaret"));
        assert_eq!(based("unix:run/x"), "unix:/etc/lazaret/run/x");
        assert_eq!(based("unix:/run/x"), "unix:/run/x");
        assert_eq!(based("a:25"), "a:25");
        for (text, host) in [("a.b:25", Some("a.b")), ("[::1]:25", Some("::1")), ("unix:/x", None)] {
            assert_eq!(Endpoint::parse(text).unwrap().host(), host);
        }
    }
}
