//! Brings messages back from `waiting/` when they are due.
//!
//! Holds a window of the directory in memory, soonest first; the due time is in
//! the name. It must never open a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use lazaret_envelope::Timestamp;
use lazaret_spool::{Dir, Name, Owner, SpoolError, Window};

/// Names held in memory: some 10 MiB.
const WINDOW_MAX: usize = 65_536;

/// How often `waiting/` is looked at again for what no notice came of.
const SCAN_EVERY: Duration = Duration::from_secs(60);

/// Longest wait between two looks at the clock, which may be set meanwhile.
const CLOCK_EVERY: Duration = Duration::from_secs(5);

/// The messages in `waiting/`, soonest first.
pub struct Waiting {
    owner: Owner,
    window: Window<(Timestamp, Name)>,
}

impl Waiting {
    pub fn new(owner: Owner) -> Self {
        Self { owner, window: Window::new(WINDOW_MAX) }
    }

    /// Looks at the directory. What is no message of ours is set aside.
    fn scan(&mut self) -> Result<(), SpoolError> {
        let mut foreign = Vec::new();
        self.window.start_scan();
        self.owner.spool().scan(Dir::Waiting, |name, raw| match name {
            Some(name) => self.window.found(key(name)),
            None => foreign.push(raw.to_owned()),
        })?;
        foreign.iter().try_for_each(|raw| self.owner.set_aside(Dir::Waiting, raw))
    }

    /// Moves everything that is due to `incoming/`.
    pub fn wake_due(&mut self) -> Result<(), SpoolError> {
        let now = self.owner.spool().now();
        loop {
            if self.window.needs_scan() {
                self.scan()?;
            }
            let Some(&(due, name)) = self.window.first().filter(|(due, _)| *due <= now) else {
                return Ok(());
            };
            self.window.remove(&(due, name));
            self.owner.wake(name)?;
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.owner.spool().now();
        let next = self.window.first().map(|(due, _)| due.duration_since(now));
        let wait = next.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(if next.is_some() {
            Duration::ZERO
        } else {
            CLOCK_EVERY
        });
        wait.min(CLOCK_EVERY)
    }

    /// Goes on until `stop`: wakes what is due, takes in what `notices` tells of
    /// (`None`: look at the whole directory).
    pub fn run(mut self, notices: &Receiver<Option<Name>>, stop: &AtomicBool) -> Result<(), SpoolError> {
        let mut scanned = std::time::Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.wake_due()?;
            match notices.recv_timeout(self.until_next()) {
                Ok(Some(name)) => self.window.insert(key(name)),
                Ok(None) => self.scan()?,
                Err(RecvTimeoutError::Timeout) if scanned.elapsed() >= SCAN_EVERY => {
                    self.scan()?;
                    scanned = std::time::Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The same in a thread of its own.
    pub fn start(
        self,
        notices: Receiver<Option<Name>>,
        stop: Arc<AtomicBool>,
        on_broken: impl FnOnce(SpoolError) + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("waiting".into()).spawn(move || {
            if let Err(error) = self.run(&notices, &stop) {
                on_broken(error);
            }
        })
    }
}

/// A name without a due time, moved there by hand, is due at once.
fn key(name: Name) -> (Timestamp, Name) {
    (name.due.unwrap_or(Timestamp::UNIX_EPOCH), name)
}
