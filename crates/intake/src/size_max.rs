//! The largest message that may come in. It may change while intake is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that all clones share. A session keeps the one that it has
/// announced.
#[derive(Debug, Clone)]
pub struct SizeMax(Arc<AtomicU64>);

impl SizeMax {
    /// What it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it for what comes from now on.
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

impl From<u64> for SizeMax {
    fn from(bytes: u64) -> Self {
        Self(Arc::new(bytes.into()))
    }
}
