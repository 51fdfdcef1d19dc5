//! The open connections of all deliveries: how many there may be, and how they
//! are ended. A stop that has run out of patience shuts them down, and whoever
//! waits on one wakes up.
//!
//! Also where a connection is made, because that waiting too must end. It must
//! never keep a socket open that its user has dropped, nor let one transport
//! take the share of another.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lazaret_envelope::Line;
use lazaret_tls::Carrier;

use crate::endpoint::{Endpoint, Place, Socket};
use crate::lookup::Lookups;
use crate::shares::Shares;

/// Who has a connection.
#[derive(Debug)]
pub(crate) struct Sockets {
    open: Mutex<Open>,
    /// Told when somebody gives one back.
    given_back: Condvar,
    lookups: Arc<Lookups>,
}

#[derive(Debug)]
struct Open {
    /// No more sockets may be opened.
    shut: bool,
    sockets: Vec<Weak<Socket>>,
    shares: Shares,
}

/// A connected socket, counted as one of a transport's.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Arc<Socket>,
    _claim: Claim,
}

/// One of the connections that a transport may have.
#[derive(Debug)]
struct Claim {
    sockets: Arc<Sockets>,
    transport: usize,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// All that this transport may have are in use.
    NoneFree,
    /// It was not made; [`io::ErrorKind::TimedOut`] where that took too long.
    Failed(io::Error),
}

impl From<io::Error> for NoConnection {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Sockets {
    /// For so many connections of so many transports.
    pub(crate) fn new(connections: usize, transports: usize) -> Self {
        let shares = Shares::new(connections, transports);
        let open = Open { shut: false, sockets: Vec::new(), shares };
        Self { open: Mutex::new(open), given_back: Condvar::new(), lookups: Arc::new(Lookups::new()) }
    }

    /// The addresses of a next hop, within `limit`; else why there are none.
    pub(crate) fn places(&self, endpoint: &Endpoint, limit: Duration) -> Result<Vec<Place>, Line> {
        Ok(match endpoint {
            Endpoint::Tcp(name) => self.lookups.addresses(name, limit)?.into_iter().map(Place::Tcp).collect(),
            Endpoint::Unix(path) => vec![Place::Unix(path.clone())],
        })
    }

    /// Connects to an address within `limit`, for the transport of this number.
    pub(crate) fn connect(
        self: &Arc<Self>,
        transport: usize,
        place: &Place,
        limit: Duration,
    ) -> Result<Connection, NoConnection> {
        let deadline = Instant::now() + limit;
        let claim = self.claim(transport, deadline)?;
        let socket = Arc::new(Socket::new(place)?);
        self.register(&socket)?;
        socket.connect(place, deadline, || self.open().shut)?;
        Ok(Connection { socket, _claim: claim })
    }

    fn claim(self: &Arc<Self>, transport: usize, deadline: Instant) -> Result<Claim, NoConnection> {
        let mut open = self.open();
        while !open.shares.take(transport) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || open.shut {
                return Err(NoConnection::NoneFree);
            }
            let waited = self.given_back.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Claim { sockets: Arc::clone(self), transport })
    }

    fn register(&self, socket: &Arc<Socket>) -> io::Result<()> {
        let mut open = self.open();
        if open.shut {
            return Err(io::Error::other("deliveries are being stopped"));
        }
        open.sockets.retain(|other| other.strong_count() > 0);
        open.sockets.push(Arc::downgrade(socket));
        Ok(())
    }

    /// Connections in use.
    pub(crate) fn used(&self) -> usize {
        self.open().shares.used()
    }

    /// Ends every conversation, for good.
    pub(crate) fn shut_down(&self) {
        self.lookups.shut_down();
        let mut open = self.open();
        open.shut = true;
        self.given_back.notify_all();
        for socket in open.sockets.drain(..).filter_map(|socket| socket.upgrade()) {
            // One that is not connected any more is as good as shut down.
            let _ = socket.shutdown();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.sockets.open().shares.give_back(self.transport);
        self.sockets.given_back.notify_all();
    }
}

impl Carrier for Connection {
    fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        uninterrupted(|| self.socket.read(buffer, left(deadline)?))
    }

    fn write(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        uninterrupted(|| self.socket.write(bytes, left(deadline)?))
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The time that is left, never zero: zero means for ever to a socket.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;
    use std::thread::{self, Scope, ScopedJoinHandle};

    use crossbeam_channel::bounded;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use rustix::thread::gettid;

    const SOON: Duration = Duration::from_secs(5);

    fn sockets(connections: usize) -> Arc<Sockets> {
        Arc::new(Sockets::new(connections, 1))
    }

    fn place(listener: &TcpListener) -> Place {
        Place::Tcp(listener.local_addr().unwrap())
    }

    fn kind(result: Result<Connection, NoConnection>) -> io::ErrorKind {
        match result {
            Err(NoConnection::Failed(error)) => error.kind(),
            other => panic!("{other:?}"),
        }
    }

    /// A thread that does something and has come to where it waits in the kernel.
    fn waits<'scope, T: Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        let (tell, told) = bounded(1);
        let thread = scope.spawn(move || {
            tell.send(gettid()).unwrap();
            work()
        });
        let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap().as_raw_nonzero());
        // proc_pid_stat(5): the state, S if it sleeps, stands behind the name.
        let state = |stat: String| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('S'));
        let start = Instant::now();
        while !std::fs::read_to_string(&stat).ok().and_then(state).unwrap_or_default() {
            assert!(start.elapsed() < SOON, "it never waits");
            thread::yield_now();
        }
        thread
    }

    #[test]
    fn a_shut_down_wakes_whoever_waits_and_lets_nobody_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = sockets(9);
        let socket = sockets.connect(0, &place(&listener), SOON).unwrap();
        thread::scope(|scope| {
            let waiting = waits(scope, || socket.read(&mut [0], Instant::now() + SOON * 10).unwrap());
            sockets.shut_down();
            assert_eq!(waiting.join().unwrap(), 0);
        });
        assert!(sockets.connect(0, &place(&listener), SOON).is_err());
    }

    #[test]
    fn who_does_not_answer_is_given_up_in_time_or_at_a_shut_down() {
        // A listener that has no room for connections says nothing to them.
        let full = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&full, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let place = Place::Tcp(TcpStream::from(full.try_clone().unwrap()).local_addr().unwrap());
        let sockets = sockets(9);
        let _first = sockets.connect(0, &place, SOON).unwrap();
        assert_eq!(kind(sockets.connect(0, &place, Duration::from_millis(50))), io::ErrorKind::TimedOut);
        thread::scope(|scope| {
            let start = Instant::now();
            let waiting = waits(scope, || sockets.connect(0, &place, SOON * 10).is_err());
            sockets.shut_down();
            assert!(waiting.join().unwrap() && start.elapsed() < SOON);
        });
    }

    #[test]
    fn a_unix_socket_that_is_full_is_given_up_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let full = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&full, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let (sockets, place) = (sockets(9), Place::Unix(path));
        let _first = sockets.connect(0, &place, SOON).unwrap();
        assert_eq!(kind(sockets.connect(0, &place, Duration::from_millis(50))), io::ErrorKind::TimedOut);
    }

    #[test]
    fn where_nobody_listens_it_is_told_at_once() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(kind(sockets(9).connect(0, &Place::Tcp(closed), SOON)), io::ErrorKind::ConnectionRefused);
        let nowhere = Place::Unix("/nowhere/at/all".into());
        assert_eq!(kind(sockets(9).connect(0, &nowhere, SOON)), io::ErrorKind::NotFound);
    }

    #[test]
    fn who_finds_none_free_waits_for_one_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Unix(folder.path().join("s"));
        let Place::Unix(path) = &place else { unreachable!() };
        let _listener = UnixListener::bind(path).unwrap();
        let sockets = sockets(1);
        let first = sockets.connect(0, &place, SOON).unwrap();
        let none = sockets.connect(0, &place, Duration::from_millis(20));
        assert!(matches!(none, Err(NoConnection::NoneFree)));
        thread::scope(|scope| {
            let second = scope.spawn(|| sockets.connect(0, &place, SOON));
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
        assert_eq!(sockets.used(), 0);
    }

    #[test]
    fn dropped_sockets_are_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = sockets(9);
        for _ in 0..5 {
            sockets.connect(0, &place(&listener), SOON).unwrap();
        }
        assert_eq!(sockets.open().sockets.len(), 1);
    }
}
