//! How much memory a daemon and all its cells hold together, seen from outside.
//!
//! A thread reads /proc every few milliseconds. Private pages count once. Pages
//! of files (the program, a mapped message) count in each process that has them,
//! so the sum is never less than the truth; it must never be taken for less.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process;

/// Time between two looks.
const SAMPLE_EVERY: Duration = Duration::from_millis(3);

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    /// Resident bytes of the daemon and its cells, at one moment.
    pub together: u64,
    /// Those of the daemon alone.
    pub daemon: u64,
    /// Those of one cell alone.
    pub cell: u64,
    /// Most cells at a time.
    pub cells: usize,
    /// How often it was looked.
    pub samples: u64,
}

/// A thread that looks.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Peak>,
}

impl Sampler {
    /// Begins to look at a daemon.
    pub fn start(daemon: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut peak = Peak::default();
            while stopped.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout) {
                peak.look(daemon);
            }
            peak
        });
        Self { stop, thread }
    }

    /// Ends it; what it saw.
    pub fn finish(self) -> Peak {
        drop(self.stop);
        self.thread.join().expect("the sampler does not panic")
    }
}

impl Peak {
    fn look(&mut self, daemon: u32) {
        let cells: Vec<u64> =
            process::children(daemon).into_iter().filter_map(process::memory_resident).collect();
        let own = process::memory_resident(daemon).unwrap_or_default();
        self.together = self.together.max(own + cells.iter().sum::<u64>());
        self.daemon = self.daemon.max(own);
        self.cell = self.cell.max(cells.iter().copied().max().unwrap_or_default());
        self.cells = self.cells.max(cells.len());
        self.samples += 1;
    }
}
