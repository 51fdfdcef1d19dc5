//! Waiting, always with an end: for a condition, and for what happens in a
//! directory.
//!
//! Nothing here may wait without a deadline, and none of it may stand for an
//! event that could be waited for directly.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// How often a condition is looked at that gives no event (the state of several
/// directories, or of a process).
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Room for the events of one read.
const EVENT_BYTES: usize = 16 << 10;

/// Waits until `condition` holds; says whether it did before `limit` was over.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL_EVERY);
    }
}

/// Waits until `fd` is readable; says whether it is.
pub fn readable(fd: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a limit of sensible length");
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("failed to poll: {error}"),
        }
    }
}

/// Tells of every name that appears in some directories, or goes, from now on.
pub struct Watch {
    events: OwnedFd,
    names: VecDeque<String>,
}

impl Watch {
    /// Begins to watch. The directories must be there.
    pub fn on<P: AsRef<Path>>(directories: &[P]) -> Self {
        Self::of(directories, WatchFlags::MOVED_TO | WatchFlags::CREATE)
    }

    /// Begins to watch for names that go.
    pub fn going<P: AsRef<Path>>(directories: &[P]) -> Self {
        Self::of(directories, WatchFlags::MOVED_FROM | WatchFlags::DELETE)
    }

    fn of<P: AsRef<Path>>(directories: &[P], flags: WatchFlags) -> Self {
        let events =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("failed to set up inotify");
        for directory in directories {
            let directory = directory.as_ref();
            inotify::add_watch(&events, directory, flags)
                .unwrap_or_else(|error| panic!("failed to watch {}: {error}", directory.display()));
        }
        Self { events, names: VecDeque::new() }
    }

    /// The next such name, waiting for one at most `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<String> {
        if self.names.is_empty() && readable(&self.events, limit) {
            self.read();
        }
        self.names.pop_front()
    }

    /// All such names so far.
    pub fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next(Duration::ZERO)).collect()
    }

    fn read(&mut self) {
        let mut buffer = [const { MaybeUninit::uninit() }; EVENT_BYTES];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    self.names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
                Err(error) => panic!("failed to read inotify events: {error}"),
            }
            if reader.is_buffer_empty() {
                return;
            }
        }
    }
}
