//! Takes notice of what comes into the spool's directories, by inotify, and tells
//! whom it concerns.
//!
//! A notice is a hint that saves a look: everything is found without one too, a
//! little later. It must never move anything.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use lazaret_intake::Watch;
use lazaret_spool::{Dir, Name, Spool, SpoolError, Throttle};
use lazaret_worker::Backlog;
use tracing::warn;

use crate::queue::QueueNotes;
use crate::waiting::Notice;

/// How often the directories are looked at for what no notice came of.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Longest wait before a request to stop is seen.
const STOP_EVERY: Duration = Duration::from_millis(200);

/// Whom notices go to.
pub struct Watcher {
    pub backlog: Arc<Backlog>,
    pub waiting: Sender<Notice>,
    pub dropped: Sender<()>,
    pub queue: QueueNotes,
}

impl Watcher {
    /// Watches until `stop`.
    pub fn start(
        self,
        spool: &Spool,
        stop: Arc<AtomicBool>,
        on_broken: impl Fn(SpoolError) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let mut watch = Watch::new(spool, &[Dir::Incoming, Dir::Waiting, Dir::Drop])?;
        let spool = spool.clone();
        thread::Builder::new().name("watcher".into()).spawn(move || {
            let (mut looked, failing) = (Instant::now(), Throttle::default());
            while !stop.load(Ordering::Relaxed) {
                match watch.wait(STOP_EVERY) {
                    Ok(notices) => notices.iter().for_each(|(dir, name)| self.notice(*dir, name.as_deref())),
                    Err(error) => {
                        if let Some(unsaid) = failing.say() {
                            warn!(%error, unsaid, "watching the spool failed; looking every so often instead");
                        }
                        thread::sleep(STOP_EVERY);
                    }
                }
                if looked.elapsed() >= LOOK_EVERY {
                    looked = Instant::now();
                    // Nothing else would find out while there is no mail.
                    if let Err(error) = spool.expect_all_in_place() {
                        return on_broken(error);
                    }
                    [Dir::Incoming, Dir::Drop].into_iter().for_each(|dir| self.tell(dir, None));
                }
            }
        })
    }

    /// Tells of what has come; `None` where nobody knows what, and how much of it.
    fn notice(&self, dir: Dir, raw: Option<&OsStr>) {
        match (dir, raw) {
            (Dir::Incoming, Some(_)) => self.queue.came(),
            (Dir::Incoming, None) => self.queue.count(),
            _ => {}
        }
        self.tell(dir, raw);
    }

    /// `None`, or no name of ours: look at the whole directory.
    fn tell(&self, dir: Dir, raw: Option<&OsStr>) {
        let name: Option<Name> = raw.and_then(OsStr::to_str).and_then(|text| text.parse().ok());
        match (dir, name) {
            (Dir::Incoming, Some(name)) => self.backlog.arrived(name),
            (Dir::Incoming, None) => self.backlog.look_again(),
            // Both fail only when the other side has ended.
            (Dir::Waiting, name) => drop(self.waiting.send(name.map_or(Notice::Look, Notice::Came))),
            _ => drop(self.dropped.try_send(())),
        }
    }
}
