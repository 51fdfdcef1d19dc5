//! The end of a stop's patience, to wait for beside descriptors.
//!
//! Once it has come it stays: there must never be a way back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Whether transactions under way are cut off.
#[derive(Debug)]
pub(crate) struct CutOff(OwnedFd);

impl CutOff {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Tells everybody.
    pub(crate) fn now(&self) {
        // Fails only where it was told 2^64 - 2 times before.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for CutOff {
    /// Readable from then on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
