//! The sessions of a listener: how many there are, for whom, and how they are ended.
//!
//! Where all are taken, a client that makes no progress gives its session up to one
//! that has none.
//!
//! A session that has begun a message is left to finish it. Whether one has, and
//! whether it should stop, is decided under one lock, so that none must ever
//! begin a message after it was told to stop, nor be cut off in the middle of
//! one before the time that it was given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;

use super::socket::Socket;
use crate::config::ListenConfig;
use crate::gate::IntakeGate;
use crate::network::{Peer, masked};

/// One session, as others see it.
pub(super) struct Place {
    pub(super) socket: Socket,
    phase: Mutex<Phase>,
}

struct Phase {
    in_message: bool,
    stopping: bool,
    evicted: bool,
    /// Since when the client is waited for without progress; `None` while we have
    /// something to do ourselves.
    stalled: Option<Instant>,
}

/// Why a session has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The program stops.
    Stopping,
    /// Others want its place, and it makes no progress.
    Evicted,
}

impl Place {
    pub(super) fn new(socket: Socket) -> Self {
        let stalled = Some(Instant::now());
        Self {
            socket,
            phase: Mutex::new(Phase { in_message: false, stopping: false, evicted: false, stalled }),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to begin a message; `false` if the session has to end instead.
    pub(super) fn begin_message(&self) -> bool {
        let mut phase = self.phase();
        phase.in_message = !phase.stopping;
        phase.in_message
    }

    /// The message is answered, or will be refused.
    pub(super) fn end_message(&self) {
        self.phase().in_message = false;
    }

    /// The client is waited for, and its last progress was at `since`. Says whether the
    /// session has to end instead.
    pub(super) fn wait_for_client(&self, since: Instant) -> Option<Ending> {
        let mut phase = self.phase();
        phase.stalled = Some(since);
        phase.ending()
    }

    /// The client is not waited for any more: what it has sent is seen to, unless the
    /// session has to end.
    pub(super) fn see_to_client(&self) -> Option<Ending> {
        let mut phase = self.phase();
        phase.stalled = None;
        phase.ending()
    }

    /// When the client has made progress last, if it is waited for.
    fn stalled(&self) -> Option<Instant> {
        let phase = self.phase();
        phase.stalled.filter(|_| !phase.evicted)
    }

    /// Ends the session if the client is still waited for.
    fn evict(&self) {
        let mut phase = self.phase();
        if phase.stalled.is_some() {
            phase.evicted = true;
            self.socket.shutdown(Shutdown::Read);
        }
    }

    fn ask_to_end(&self) {
        let mut phase = self.phase();
        phase.stopping = true;
        if !phase.in_message {
            self.socket.shutdown(Shutdown::Read);
        }
    }
}

impl Phase {
    fn ending(&self) -> Option<Ending> {
        if self.evicted {
            return Some(Ending::Evicted);
        }
        (self.stopping && !self.in_message).then_some(Ending::Stopping)
    }
}

/// Why a connection gets no session.
pub(super) enum Turned {
    Stopping,
    TooMany,
    /// This client has as many as one may have.
    TooManyOfOne,
}

/// How long a session that is to give up its place has for its last words.
const EVICTION_TIME_MAX: Duration = Duration::from_millis(500);

/// Bits of an IPv6 address that tell one client from another.
const IPV6_CLIENT_BITS: u8 = 64;

/// How many sessions there may be, and of one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    all: usize,
    one: Option<usize>,
    /// Without progress for so long, a session is given to another client.
    stalled: Duration,
}

impl Share {
    pub(super) fn of(config: &ListenConfig) -> Self {
        let one = config.sessions_per_client.map(NonZeroUsize::get);
        Self { all: config.sessions.get(), one, stalled: config.crowded_timeout }
    }

    /// Most sessions of this client, if it may not have all.
    fn of_one(&self, client: IpAddr) -> Option<usize> {
        let usual = if client.is_loopback() { self.all } else { self.all.div_ceil(2) };
        Some(self.one.unwrap_or(usual)).filter(|&one| one < self.all)
    }
}

/// What tells one client from another; none for those of a Unix socket.
fn client(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Unix => None,
        Peer::Ip(address @ IpAddr::V4(_)) => Some(address),
        Peer::Ip(address @ IpAddr::V6(_)) => Some(masked(address, IPV6_CLIENT_BITS)),
    }
}

/// All sessions of a listener.
pub(super) struct Sessions {
    share: Share,
    gate: Arc<IntakeGate>,
    inner: Mutex<Inner>,
    /// Told whenever a session has ended.
    left: Condvar,
}

#[derive(Default)]
struct Inner {
    stopping: bool,
    next: u64,
    open: BTreeMap<u64, Arc<Place>>,
}

impl Inner {
    /// How many sessions a client has.
    fn of(&self, who: IpAddr) -> usize {
        self.open.values().filter(|place| client(place.socket.peer()) == Some(who)).count()
    }
}

impl Sessions {
    pub(super) fn new(share: Share, gate: Arc<IntakeGate>) -> Self {
        Self { share, gate, inner: Mutex::default(), left: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.inner().stopping
    }

    /// Counts a session in, until its ticket is dropped. Waits at most
    /// [`EVICTION_TIME_MAX`] for the place of one that has to end.
    pub(super) fn enter(self: &Arc<Self>, place: Arc<Place>) -> Result<Ticket, Turned> {
        let mut inner = self.inner();
        if inner.stopping {
            return Err(Turned::Stopping);
        }
        if let Some(client) = client(place.socket.peer())
            && self.share.of_one(client).is_some_and(|one| inner.of(client) >= one)
        {
            return Err(Turned::TooManyOfOne);
        }
        if inner.open.len() >= self.share.all {
            inner = self.make_room(inner)?;
        }
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number, place);
        self.gate.session_opened();
        Ok(Ticket { sessions: Arc::clone(self), number })
    }

    /// Ends the session that has made no progress for longest, if that is too long.
    fn make_room<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Result<MutexGuard<'a, Inner>, Turned> {
        let stalled = |place: &Arc<Place>| Some((place.stalled()?, Arc::clone(place)));
        let longest = inner.open.values().filter_map(stalled).min_by_key(|(since, _)| *since);
        let Some((since, place)) = longest else { return Err(Turned::TooMany) };
        if since.elapsed() < self.share.stalled {
            return Err(Turned::TooMany);
        }
        place.evict();
        let end = Instant::now() + EVICTION_TIME_MAX;
        while inner.open.len() >= self.share.all {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // It does not even take its last words in.
                place.socket.shutdown(Shutdown::Both);
                return Err(Turned::TooMany);
            }
            inner = self.left.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if inner.stopping { Err(Turned::Stopping) } else { Ok(inner) }
    }

    /// Lets no more in, and asks those that are here to end.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.stopping = true;
        inner.open.values().for_each(|place| place.ask_to_end());
    }

    /// Waits until all have ended; `false` if `deadline` came first.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        let mut inner = self.inner();
        while !inner.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.left.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Shuts every socket down, and waits: what is left then is a write to the
    /// disk, which can't be cut short.
    pub(super) fn cut_and_wait(&self) {
        let mut inner = self.inner();
        inner.open.values().for_each(|place| place.socket.shutdown(Shutdown::Both));
        while !inner.open.is_empty() {
            inner = self.left.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The right of a session to be here.
pub(super) struct Ticket {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.sessions.inner();
        inner.open.remove(&self.number);
        self.sessions.gate.session_closed();
        self.sessions.left.notify_all();
    }
}
