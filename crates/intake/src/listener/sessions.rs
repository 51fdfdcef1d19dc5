//! The sessions of a listener: how many there are, and how they are ended.
//!
//! A session that has begun a message is left to finish it. Whether one has, and
//! whether it should stop, is decided under one lock, so that none must ever
//! begin a message after it was told to stop, nor be cut off in the middle of
//! one before the time that it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::net::Shutdown;

use super::socket::Socket;
use crate::gate::IntakeGate;

/// One session, as others see it.
pub(super) struct Place {
    pub(super) socket: Socket,
    phase: Mutex<Phase>,
}

#[derive(Default)]
struct Phase {
    in_message: bool,
    stopping: bool,
}

impl Place {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, phase: Mutex::default() }
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

    /// Whether the session has to end now.
    pub(super) fn must_end(&self) -> bool {
        let phase = self.phase();
        phase.stopping && !phase.in_message
    }

    fn ask_to_end(&self) {
        let mut phase = self.phase();
        phase.stopping = true;
        if !phase.in_message {
            self.socket.shutdown(Shutdown::Read);
        }
    }
}

/// Why a connection gets no session.
pub(super) enum Turned {
    Stopping,
    TooMany,
}

/// All sessions of a listener.
pub(super) struct Sessions {
    max: usize,
    gate: Arc<IntakeGate>,
    inner: Mutex<Inner>,
    emptied: Condvar,
}

#[derive(Default)]
struct Inner {
    stopping: bool,
    next: u64,
    open: BTreeMap<u64, Arc<Place>>,
}

impl Sessions {
    pub(super) fn new(max: usize, gate: Arc<IntakeGate>) -> Self {
        Self { max, gate, inner: Mutex::default(), emptied: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.inner().stopping
    }

    /// Counts a session in, until its ticket is dropped.
    pub(super) fn enter(self: &Arc<Self>, place: Arc<Place>) -> Result<Ticket, Turned> {
        let mut inner = self.inner();
        if inner.stopping {
            return Err(Turned::Stopping);
        }
        if inner.open.len() >= self.max {
            return Err(Turned::TooMany);
        }
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number, place);
        self.gate.session_opened();
        Ok(Ticket { sessions: Arc::clone(self), number })
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
            inner = self.emptied.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Shuts every socket down, and waits: what is left then is a write to the
    /// disk, which can't be cut short.
    pub(super) fn cut_and_wait(&self) {
        let mut inner = self.inner();
        inner.open.values().for_each(|place| place.socket.shutdown(Shutdown::Both));
        while !inner.open.is_empty() {
            inner = self.emptied.wait(inner).unwrap_or_else(PoisonError::into_inner);
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
        if inner.open.is_empty() {
            self.sessions.emptied.notify_all();
        }
    }
}
