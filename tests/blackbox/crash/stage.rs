//! What the threads of a campaign know of each other: which daemon lives, how
//! far the kills have come, and whether more mail may be sent.
//!
//! A process id must never be used after its daemon was waited for: whoever
//! needs it holds the lock meanwhile.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::daemon::Daemon;

/// Longest wait for a daemon before a thread looks whether all is over.
const DAEMON_WAIT: Duration = Duration::from_millis(200);

/// The stage.
#[derive(Default)]
pub struct Stage {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    daemon: Option<(u32, SocketAddr)>,
    crowded: bool,
    done: f64,
    over: bool,
}

impl Stage {
    /// A daemon is ready.
    pub fn enters(&self, daemon: &Daemon) {
        self.now().daemon = Some((daemon.pid(), daemon.smtp()));
        self.changed.notify_all();
    }

    /// It is about to be waited for.
    pub fn leaves(&self) {
        self.now().daemon = None;
    }

    /// Where to send mail; `None` if there is no daemon for a while, or more
    /// mail there already than it can deal with.
    pub fn address(&self) -> Option<SocketAddr> {
        let closed = |now: &mut Now| (now.daemon.is_none() || now.crowded) && !now.over;
        let waited = self.changed.wait_timeout_while(self.now(), DAEMON_WAIT, closed);
        let now = waited.unwrap_or_else(PoisonError::into_inner).0;
        now.daemon.filter(|_| !now.crowded).map(|(_, address)| address)
    }

    /// Does something with the process id of the daemon that lives.
    pub fn with_daemon<T>(&self, act: impl FnOnce(u32) -> T) -> Option<T> {
        let now = self.now();
        now.daemon.map(|(pid, _)| act(pid))
    }

    /// Says whether the spool holds as much as is good for it.
    pub fn crowded(&self, crowded: bool) {
        self.now().crowded = crowded;
        self.changed.notify_all();
    }

    /// Whether it does.
    pub fn is_crowded(&self) -> bool {
        self.now().crowded
    }

    /// Which part of the daemon's kills is done.
    pub fn advance(&self, done: f64) {
        self.now().done = done;
    }

    /// Whether somebody who has done this part of his kills is behind.
    pub fn is_behind(&self, done: f64) -> bool {
        done <= self.now().done
    }

    /// Nothing more is to be sent.
    pub fn end(&self) {
        self.now().over = true;
        self.changed.notify_all();
    }

    /// Whether that is so.
    pub fn is_over(&self) -> bool {
        self.now().over
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
