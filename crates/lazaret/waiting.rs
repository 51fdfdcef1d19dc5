//! Brings messages back from `waiting/` when they are due.
//!
//! Holds a window of the directory in memory, soonest first; the due time is in
//! the name. The clock may be set: no message must ever wait for much longer than
//! the configuration says, and none is opened here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use lazaret_envelope::Timestamp;
use lazaret_spool::{Dir, Name, Owner, Severity, SpoolError, Throttle, Window};
use tracing::{info, warn};

/// Names held in memory: some 10 MiB.
const WINDOW_MAX: usize = 65_536;

/// How often `waiting/` is looked at again for what no notice came of.
const SCAN_EVERY: Duration = Duration::from_secs(60);

/// Longest wait between two looks at the clock, which may be set meanwhile.
const CLOCK_EVERY: Duration = Duration::from_secs(5);

/// Pause after a look for which there was no descriptor.
const NO_FILES_PAUSE: Duration = Duration::from_secs(1);

/// Longest time for which a message is sent to `waiting/`. All clones share it.
#[derive(Debug, Clone)]
pub struct LongestWait(Arc<Mutex<Duration>>);

impl LongestWait {
    pub fn new(longest: Duration) -> Self {
        Self(Arc::new(Mutex::new(longest)))
    }

    fn get(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it for every look from now on.
    pub fn set(&self, longest: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = longest;
    }
}

/// What the thread that looks after `waiting/` is told.
#[derive(Debug, Clone, Copy)]
pub enum Notice {
    /// A message has come.
    Came(Name),
    /// Something has: look at the whole directory.
    Look,
    /// An operator wants all mail tried now.
    Hurry,
}

/// The messages in `waiting/`, soonest first.
pub struct Waiting {
    owner: Owner,
    window: Window<(Timestamp, Name)>,
    longest: LongestWait,
    failing: Throttle,
}

impl Waiting {
    pub fn new(owner: Owner, longest: LongestWait) -> Self {
        Self { owner, window: Window::new(WINDOW_MAX), longest, failing: Throttle::default() }
    }

    /// Looks at the directory. What is no message of ours is set aside.
    fn scan(&mut self) -> Result<(), SpoolError> {
        let mut foreign = Vec::new();
        let (now, longest) = (self.owner.spool().now(), self.longest.get());
        self.window.start_scan();
        self.owner.spool().scan(Dir::Waiting, |name, raw| match name {
            Some(name) => self.window.found((due(name, now, longest), name)),
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

    /// Moves everything that waits to `incoming/`, at most [`WINDOW_MAX`] messages,
    /// soonest first. What fails again meanwhile waits as usual.
    fn wake_all(&mut self) -> Result<(), SpoolError> {
        self.scan()?;
        let names: Vec<_> = self.window.iter().copied().collect();
        info!(messages = names.len(), "waiting mail is tried now");
        for entry in names {
            self.window.remove(&entry);
            self.owner.wake(entry.1)?;
        }
        Ok(())
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

    /// Goes on until `stop`: wakes what is due, and does what it is told.
    pub fn run(mut self, notices: &Receiver<Notice>, stop: &AtomicBool) -> Result<(), SpoolError> {
        let mut scanned = std::time::Instant::now();
        let (mut look, mut hurry) = (false, false);
        while !stop.load(Ordering::Relaxed) {
            let done = match (std::mem::take(&mut hurry), look) {
                (true, _) => self.wake_all(),
                (false, true) => self.scan(),
                (false, false) => Ok(()),
            };
            let done = done.and_then(|()| self.wake_due());
            // What was not looked at has to be.
            look = done.is_err();
            if let Err(error) = done {
                self.put_off(error)?;
            }
            match notices.recv_timeout(self.until_next()) {
                Ok(Notice::Came(name)) => {
                    let due = due(name, self.owner.spool().now(), self.longest.get());
                    self.window.insert((due, name));
                }
                Ok(Notice::Look) => look = true,
                Ok(Notice::Hurry) => hurry = true,
                Err(RecvTimeoutError::Timeout) if scanned.elapsed() >= SCAN_EVERY => {
                    look = true;
                    scanned = std::time::Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Without a descriptor, or room, it is tried again.
    fn put_off(&self, error: SpoolError) -> Result<(), SpoolError> {
        if error.severity() != Severity::NoRoom {
            return Err(error);
        }
        if let Some(unsaid) = self.failing.say() {
            warn!(%error, unsaid, "waiting mail is looked at later");
        }
        thread::sleep(NO_FILES_PAUSE);
        Ok(())
    }

    /// The same in a thread of its own.
    pub fn start(
        self,
        notices: Receiver<Notice>,
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

/// When a message is due. One without a due time, moved there by hand, is due at
/// once; so is one that would wait for longer than any does: the clock was ahead
/// when it was sent here and has been set back since.
fn due(name: Name, now: Timestamp, longest: Duration) -> Timestamp {
    let latest = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    name.due.filter(|due| *due <= latest).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_waits_for_a_clock_that_was_wrong() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let due = |time: &str| {
            let name = format!("01KAN97F000000000000000001.g4.a1{time}").parse().unwrap();
            due(name, now, Duration::from_secs(3600))
        };
        assert_eq!(due(".d20261122T130000Z").to_string(), "2026-11-22T13:00:00Z");
        assert_eq!(due(".d20261122T110000Z").to_string(), "2026-11-22T11:00:00Z");
        for time in ["", ".d20261122T130001Z", ".d20990101T000000Z"] {
            assert_eq!(due(time), Timestamp::UNIX_EPOCH, "{time}");
        }
    }
}
