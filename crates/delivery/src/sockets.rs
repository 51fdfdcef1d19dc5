//! The open sockets of all deliveries: a stop that has run out of patience
//! shuts them down, and whoever waits on one wakes up.
//!
//! Also where a socket is connected, because that waiting too must end. It must
//! never keep a socket open that its user has dropped.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// Who has a socket open.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// No more sockets may be opened.
    shut: bool,
    sockets: Vec<Weak<TcpStream>>,
}

impl Sockets {
    /// Connects to an address; fails with [`io::ErrorKind::TimedOut`] where
    /// that takes longer than `limit`.
    pub(crate) fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<Arc<TcpStream>> {
        let deadline = Instant::now() + limit;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
        let socket = Arc::new(TcpStream::from(socket));
        self.register(&socket)?;
        match connect(&socket, &address) {
            Err(Errno::INPROGRESS) => wait_connected(&socket, deadline)?,
            result => result?,
        }
        socket.set_nonblocking(false)?;
        // The final dot is a packet of its own: it must not wait for an
        // acknowledgement of the one before.
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    fn register(&self, socket: &Arc<TcpStream>) -> io::Result<()> {
        let mut open = self.open();
        if open.shut {
            return Err(io::Error::other("deliveries are being stopped"));
        }
        open.sockets.retain(|other| other.strong_count() > 0);
        open.sockets.push(Arc::downgrade(socket));
        Ok(())
    }

    /// Ends every conversation, for good.
    pub(crate) fn shut_down(&self) {
        let mut open = self.open();
        open.shut = true;
        for socket in open.sockets.drain(..).filter_map(|socket| socket.upgrade()) {
            // One that is not connected any more is as good as shut down.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_shut_down_wakes_whoever_waits_and_lets_nobody_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets::default();
        let socket = sockets.connect(listener.local_addr().unwrap(), SOON).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| (&*socket).read(&mut [0]).unwrap());
            thread::sleep(Duration::from_millis(20));
            sockets.shut_down();
            assert_eq!(waiting.join().unwrap(), 0);
        });
        assert!(sockets.connect(listener.local_addr().unwrap(), SOON).is_err());
    }

    #[test]
    fn who_does_not_answer_is_given_up_in_time_or_at_a_shut_down() {
        // A listener that has no room for connections says nothing to them.
        let full = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&full, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let address = TcpStream::from(full.try_clone().unwrap()).local_addr().unwrap();
        let sockets = Sockets::default();
        let _first = sockets.connect(address, SOON).unwrap();
        let error = sockets.connect(address, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        thread::scope(|scope| {
            let start = Instant::now();
            let waiting = scope.spawn(|| sockets.connect(address, SOON * 10).is_err());
            thread::sleep(Duration::from_millis(20));
            sockets.shut_down();
            assert!(waiting.join().unwrap() && start.elapsed() < SOON);
        });
    }

    #[test]
    fn a_port_where_nobody_listens_is_told_at_once() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Sockets::default().connect(address, SOON).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn dropped_sockets_are_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets::default();
        for _ in 0..5 {
            sockets.connect(listener.local_addr().unwrap(), SOON).unwrap();
        }
        assert_eq!(sockets.open().sockets.len(), 1);
    }
}
