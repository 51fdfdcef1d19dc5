//! The length of the queue: says when no more mail is to come in, and when it may
//! again.
//!
//! Messages are counted by listing directories, which takes seconds where there are
//! millions. So they are not counted each time that one comes, but once so many have
//! come since the last count that there may be too many, and every so often while
//! there are. It must never hold up mail that was accepted.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use lazaret_spool::{Owner, Severity, SpoolError, Throttle};
use tracing::{info, warn};

/// The queue counts as full when less than this part of its length is left, one of
/// so many: a count must be good for some messages.
const FULL_BELOW: u64 = 16;

/// It counts as full no more when more than this part is left, one of so many.
const OPEN_ABOVE: u64 = 8;

/// Shortest pause between two counts while it is full, and pause after one that
/// failed for want of room or of descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause between two counts is so many times as long as a count takes at least:
/// no more than a tenth of one processor goes into counting.
const PAUSE_FACTOR: u32 = 10;

/// Whether a queue of this length is full.
fn is_full(length: u64, limit: u64, was_full: bool) -> bool {
    let left = limit / if was_full { OPEN_ABOVE } else { FULL_BELOW };
    length >= limit - left
}

#[derive(Debug)]
struct Shared {
    limit: AtomicU64,
    /// What came into `incoming/` so far. Some of it was here before, and has come
    /// back: that only has messages counted sooner.
    came: AtomicU64,
    /// When so much has come, messages are counted.
    count_at: AtomicU64,
}

/// Takes note of what comes into the queue. All clones are one.
#[derive(Debug, Clone)]
pub struct QueueNotes {
    shared: Arc<Shared>,
    count: Sender<()>,
}

impl QueueNotes {
    /// Something has come into `incoming/`.
    pub fn came(&self) {
        let came = self.shared.came.fetch_add(1, Ordering::Relaxed) + 1;
        if came >= self.shared.count_at.load(Ordering::Relaxed) {
            self.count();
        }
    }

    /// Has the messages counted: nobody knows how many have come.
    pub fn count(&self) {
        // There is one request to count at most, and nobody who counts when all ends.
        let _ = self.count.try_send(());
    }

    /// The queue has another limit from now on.
    pub fn limit(&self, limit: NonZeroU64) {
        self.shared.limit.store(limit.get(), Ordering::Relaxed);
        self.count();
    }
}

/// Looks after the length of the queue.
pub struct QueueWatch {
    owner: Owner,
    shared: Arc<Shared>,
    full: bool,
    failing: Throttle,
}

impl QueueWatch {
    /// Counts, and goes on in a thread of its own until the last of the notes is
    /// dropped.
    ///
    /// # Errors
    /// There can't be a thread.
    pub fn start(
        owner: Owner,
        limit: NonZeroU64,
        on_broken: impl FnOnce(SpoolError) + Send + 'static,
    ) -> io::Result<(QueueNotes, JoinHandle<()>)> {
        let (sender, requests) = bounded(1);
        let shared = Shared { limit: limit.get().into(), came: 0.into(), count_at: u64::MAX.into() };
        let notes = QueueNotes { shared: Arc::new(shared), count: sender };
        let shared = Arc::clone(&notes.shared);
        let mut watch = Self { owner, shared, full: false, failing: Throttle::default() };
        let first = watch.look();
        let thread = thread::Builder::new().name("queue".into()).spawn(move || {
            if let Err(error) = first.and_then(|pause| watch.run(pause, &requests)) {
                on_broken(error);
            }
        })?;
        Ok((notes, thread))
    }

    fn run(&mut self, mut pause: Duration, requests: &Receiver<()>) -> Result<(), SpoolError> {
        while let Some(requested) = pass(pause, requests) {
            if !self.full && !requested && requests.recv().is_err() {
                break;
            }
            pause = self.look()?;
        }
        Ok(())
    }

    /// Counts, and says how long not to.
    fn look(&mut self) -> Result<Duration, SpoolError> {
        let started = Instant::now();
        match self.count() {
            Ok(()) => {
                let pause = started.elapsed() * PAUSE_FACTOR;
                Ok(if self.full { pause.max(PAUSE) } else { pause })
            }
            Err(error) if error.severity() == Severity::NoRoom => {
                if let Some(unsaid) = self.failing.say() {
                    warn!(%error, unsaid, "the messages in the queue are counted later");
                }
                self.shared.count_at.store(0, Ordering::Relaxed);
                Ok(PAUSE)
            }
            Err(error) => Err(error),
        }
    }

    fn count(&mut self) -> Result<(), SpoolError> {
        let Shared { limit, came, count_at } = &*self.shared;
        count_at.store(u64::MAX, Ordering::Relaxed);
        let (limit, came) = (limit.load(Ordering::Relaxed), came.load(Ordering::Relaxed));
        let length = self.owner.spool().queue_length()?;
        let full = is_full(length, limit, self.full);
        self.owner.mark_full(full)?;
        if full != self.full {
            self.full = full;
            say(length, limit, full);
        }
        if !full {
            count_at.store(came.saturating_add(limit - length), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Lets a pause pass; whether a count was asked for in it. `None` if nobody will ask
/// any more.
fn pass(pause: Duration, requests: &Receiver<()>) -> Option<bool> {
    let (until, mut requested) = (Instant::now() + pause, false);
    loop {
        match requests.recv_deadline(until) {
            Ok(()) => requested = true,
            Err(RecvTimeoutError::Timeout) => return Some(requested),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn say(length: u64, limit: u64, full: bool) {
    if full {
        warn!(
            "no new mail: {length} messages are in the queue, and intake.queue_length is {limit}; they go on, and \
             clients are told 452 until there are fewer: see what holds them (lazaret status), or raise the limit"
        );
    } else {
        info!("new mail again: {length} messages are in the queue");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_below_where_it_closed_and_a_count_is_good_for_some_messages() {
        for (length, limit, was_full, full) in [
            (0, 1, false, false),
            (1, 1, false, true),
            (0, 1, true, false),
            (7, 8, false, false),
            (8, 8, false, true),
            (7, 8, true, true),
            (6, 8, true, false),
            (149, 160, false, false),
            (150, 160, false, true),
            (140, 160, true, true),
            (139, 160, true, false),
            (u64::MAX, 1, true, true),
        ] {
            assert_eq!(is_full(length, limit, was_full), full, "{length} of {limit}, before {was_full}");
        }
    }

    #[test]
    fn messages_are_counted_when_there_may_be_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let spool = lazaret_spool::Spool::create(&folder.path().join("spool")).unwrap();
        let owner = Owner::take(spool.clone()).unwrap();
        let put = |number: u32| {
            let name = format!("01KAN97F0000000000000000{number:02}.g1");
            std::fs::write(spool.path(lazaret_spool::Dir::Waiting).join(name), "").unwrap();
        };
        let (sender, requests) = bounded(1);
        let shared = Shared { limit: 3.into(), came: 0.into(), count_at: u64::MAX.into() };
        let notes = QueueNotes { shared: Arc::new(shared), count: sender };
        let shared = Arc::clone(&notes.shared);
        let mut watch = QueueWatch { owner, shared, full: false, failing: Throttle::default() };
        put(1);
        watch.look().unwrap();
        notes.came();
        assert!(requests.try_recv().is_err(), "there can't be too many yet");
        notes.came();
        assert!(requests.try_recv().is_ok());
        watch.look().unwrap();
        assert!(!watch.full && !spool.is_full().unwrap(), "what came was here before");
        put(2);
        put(3);
        watch.look().unwrap();
        assert!(watch.full && spool.is_full().unwrap());
        notes.came();
        assert!(requests.try_recv().is_err(), "that can't make it any less");
        notes.limit(NonZeroU64::new(40).unwrap());
        assert!(requests.try_recv().is_ok());
        watch.look().unwrap();
        assert!(!watch.full && !spool.is_full().unwrap());
        drop(notes);
        assert_eq!(pass(Duration::from_secs(60), &requests), None);
    }
}
