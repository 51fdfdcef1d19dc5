//! A request to stop that a thread can wait for together with descriptors.
//!
//! Once asked for, it is asked for ever: there is no way back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Cheap to clone; all clones are one request.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Arc<OwnedFd>);

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(crate) fn ask(&self) {
        // Fails only where it was asked 2^64 - 2 times before.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits at most so long; whether it is asked to stop.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        poll(&mut descriptors, Some(&time)).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
