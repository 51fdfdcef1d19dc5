//! The threads of one transport and the queue before them.
//!
//! A next hop that hangs occupies its own pool's threads and no others. The
//! queue is bounded, and so is the list of those that wait on disk to be called
//! into it. Nobody must ever wait for room in a queue that moves slowly, or while
//! another transport has nothing to do.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
use lazaret_envelope::{Attempt, Line, Timestamp};
use lazaret_spool::Waiting;

use crate::next_hop::NextHopStatus;
use crate::outcome::Outcome;
use crate::parked::Parked;
use crate::split::Split;
use crate::task::Task;
use crate::transport::Transport;

/// Slower than this many messages a second a transport is not waited for: what
/// is behind the one message that it has no room for would wait as well.
const BRISK: u32 = 50;

/// The time over which that is measured.
const PACE_OVER: Duration = Duration::from_secs(1);

/// How often whoever waits for room looks whether that still makes sense.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A transport that had no mail for so long has no claim to be kept busy.
const RECENTLY: Duration = Duration::from_secs(10);

/// One transport at work.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: Line,
    pub(crate) transport: Transport,
    /// Whether what it has delivered is in its recipient's hands.
    pub(crate) is_final: bool,
    sender: Sender<Task>,
    pub(crate) queue: Receiver<Task>,
    /// Messages that a thread with nothing else to do may help with.
    splits: Mutex<Vec<Arc<Split>>>,
    /// Threads that help.
    helpers: AtomicUsize,
    waker: Sender<()>,
    /// There is something new to help with, for as many threads as it says so to.
    pub(crate) wakes: Receiver<()>,
    threads_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Messages in the queue, on their way into it, or in a thread's hands.
    load: AtomicUsize,
    /// Messages in a thread's hands.
    active: AtomicUsize,
    pace: Mutex<Pace>,
    /// When the latest message came.
    arrived: Mutex<Option<Instant>>,
    /// What waits on disk on its account.
    pub(crate) parked: Parked<Waiting>,
    delivered: AtomicU64,
    failed: AtomicU64,
    trouble: Mutex<Option<Attempt>>,
}

/// How a transport is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The transport's name.
    pub transport: Line,
    /// Messages that wait in memory.
    pub queued: usize,
    /// Messages that are being delivered.
    pub active: usize,
    /// Recipients that got their message since the start.
    pub delivered: u64,
    /// Tries that failed since the start, one for each recipient.
    pub failed: u64,
    /// What went wrong last, and when.
    pub trouble: Option<Attempt>,
    /// Messages that wait on disk to be called.
    pub parked: usize,
    /// Its next hops.
    pub next_hops: Vec<NextHopStatus>,
}

/// How many messages were dealt with of late: in the stretch of time that is not
/// over yet, and in the one before.
#[derive(Debug)]
struct Pace {
    /// When it last had nothing to do.
    begun: Instant,
    since: Instant,
    now: u32,
    before: u32,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { begun: now, since: now, now: 0, before: 0 }
    }

    fn turn(&mut self, now: Instant) {
        let stretches = now.saturating_duration_since(self.since).as_nanos() / PACE_OVER.as_nanos();
        if stretches > 0 {
            let before = if stretches == 1 { self.now } else { 0 };
            *self = Self { since: now, now: 0, before, ..*self };
        }
    }

    fn moved(&mut self, now: Instant) {
        self.turn(now);
        self.now = self.now.saturating_add(1);
    }

    fn is_brisk(&mut self, now: Instant) -> bool {
        self.turn(now);
        // Who has only begun is given credit.
        self.now.max(self.before) >= BRISK || now.saturating_duration_since(self.begun) < PACE_OVER
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new(
        name: &str,
        transport: Transport,
        is_final: bool,
        (threads_max, queue_max): (usize, usize),
        parked_max: usize,
    ) -> Self {
        let (sender, queue) = bounded(queue_max);
        let (waker, wakes) = bounded(threads_max);
        Self {
            name: Line::escaped(name),
            transport,
            is_final,
            sender,
            queue,
            splits: Mutex::default(),
            helpers: AtomicUsize::new(0),
            waker,
            wakes,
            threads_max,
            threads: Mutex::default(),
            load: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            pace: Mutex::new(Pace::new(Instant::now())),
            arrived: Mutex::default(),
            parked: Parked::new(parked_max),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    /// Queues a message if there is room at once; gives it back if not.
    pub(crate) fn try_queue(&self, task: Task) -> Result<(), Box<Task>> {
        self.arrives();
        self.sender.try_send(task).map_err(|error| {
            self.leaves();
            match error {
                TrySendError::Full(task) | TrySendError::Disconnected(task) => Box::new(task),
            }
        })
    }

    /// Queues a message, waiting for room as long as `waits` says so and the
    /// transport is brisk; gives the message back if not.
    pub(crate) fn queue(&self, task: Task, waits: impl Fn() -> bool) -> Result<(), Box<Task>> {
        self.arrives();
        let mut task = task;
        let mut patience = Duration::ZERO;
        loop {
            task = match self.sender.send_timeout(task, patience) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(task) | SendTimeoutError::Disconnected(task)) => task,
            };
            if !waits() || !locked(&self.pace).is_brisk(Instant::now()) {
                self.leaves();
                return Err(Box::new(task));
            }
            patience = LOOK_EVERY;
        }
    }

    fn arrives(&self) {
        if self.load.fetch_add(1, SeqCst) == 0 {
            locked(&self.pace).begun = Instant::now();
        }
        *locked(&self.arrived) = Some(Instant::now());
        self.parked.came();
    }

    /// Whether it had mail of late and soon has nothing to do.
    pub(crate) fn starves(&self) -> bool {
        self.load.load(SeqCst) < self.queue_max().div_ceil(2)
            && locked(&self.arrived).is_some_and(|arrived| arrived.elapsed() < RECENTLY)
            && !self.transport.refuses()
    }

    /// Messages from the list that there is something to do for now: as many as
    /// bring the queue to the half; one, where a probe decides how it goes on.
    pub(crate) fn call(&self) -> Vec<Waiting> {
        if self.transport.refuses() {
            self.parked.acquit();
            return Vec::new();
        }
        if self.parked.len() == 0 {
            return Vec::new();
        }
        let wanted = if self.transport.troubled_for().is_zero() { self.queue_max().div_ceil(2) } else { 1 };
        self.parked.call(wanted.saturating_sub(self.load.load(SeqCst)), Instant::now())
    }

    /// Whether nothing waits on disk that would be called.
    pub(crate) fn is_done(&self) -> bool {
        self.transport.refuses() || self.parked.is_done(Instant::now())
    }

    fn queue_max(&self) -> usize {
        self.sender.capacity().unwrap_or(usize::MAX)
    }

    /// Does the work on a message that was taken out of the queue.
    pub(crate) fn work(&self, task: Task, work: impl FnOnce(Task)) {
        self.active.fetch_add(1, SeqCst);
        work(task);
        self.active.fetch_sub(1, SeqCst);
        self.leaves();
    }

    /// A message is out of the queue and in nobody's hands.
    pub(crate) fn leaves(&self) {
        self.load.fetch_sub(1, SeqCst);
    }

    /// The next hop did what it was asked.
    pub(crate) fn moves(&self) {
        locked(&self.pace).moved(Instant::now());
    }

    /// Has threads that have nothing to do help with a message; how many may.
    pub(crate) fn share(&self, split: &Arc<Split>) -> usize {
        let helpers = split.lots_left(&split.state()).saturating_sub(1).min(self.helpers_max());
        if helpers > 0 {
            locked(&self.splits).push(Arc::clone(split));
        }
        for _ in 0..helpers {
            // Where there is no room, all are being woken already.
            let _ = self.waker.try_send(());
        }
        helpers
    }

    /// Nobody helps with a message any more.
    pub(crate) fn unshare(&self, split: &Arc<Split>) {
        locked(&self.splits).retain(|other| !Arc::ptr_eq(other, split));
    }

    /// Helps with a message, if there is no other mail and one that needs help;
    /// whether it did.
    pub(crate) fn help(&self, help: impl FnOnce(&Split)) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        let Some(split) = locked(&self.splits).iter().find(|split| split.may_need_help()).cloned() else {
            return false;
        };
        let more = |helpers| (helpers < self.helpers_max()).then_some(helpers + 1);
        if self.helpers.fetch_update(SeqCst, SeqCst, more).is_err() {
            return false;
        }
        help(&split);
        self.helpers.fetch_sub(1, SeqCst);
        true
    }

    /// A message has half of the threads at most, with the one that has it: the others
    /// are there for other mail.
    fn helpers_max(&self) -> usize {
        self.threads_max.saturating_sub(1) / 2
    }

    /// Starts another thread if there is more to do than threads to do it: messages,
    /// and so many lots of one.
    pub(crate) fn staff(
        &self,
        lots: usize,
        spawn: impl FnOnce() -> std::io::Result<JoinHandle<()>>,
    ) -> std::io::Result<()> {
        let mut threads = locked(&self.threads);
        let wanted = (self.load.load(SeqCst) + lots).clamp(1, self.threads_max);
        if threads.len() < wanted {
            threads.push(spawn()?);
        }
        Ok(())
    }

    /// The threads, to wait for their end.
    pub(crate) fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *locked(&self.threads))
    }

    /// Counts a recipient who was tried.
    pub(crate) fn count(&self, outcome: &Outcome, time: Timestamp) {
        match outcome {
            Outcome::Delivered(_) | Outcome::Relayed(_) => drop(self.delivered.fetch_add(1, SeqCst)),
            Outcome::Transient(reply) | Outcome::Permanent(reply) => {
                self.count_failed(1, reply.clone(), time);
            }
        }
    }

    /// Counts recipients who failed alike.
    pub(crate) fn count_failed(&self, count: usize, trouble: Line, time: Timestamp) {
        self.failed.fetch_add(count as u64, SeqCst);
        *locked(&self.trouble) = Some(Attempt { time, what: trouble });
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            transport: self.name.clone(),
            queued: self.queue.len(),
            active: self.active.load(SeqCst),
            delivered: self.delivered.load(SeqCst),
            failed: self.failed.load(SeqCst),
            trouble: locked(&self.trouble).clone(),
            parked: self.parked.len(),
            next_hops: self.transport.next_hops().iter().map(|next_hop| next_hop.status()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_of_late_is_brisk() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(start);
        assert!(pace.is_brisk(at(20)), "credit");
        pace.begun -= PACE_OVER;
        (1..BRISK).for_each(|_| pace.moved(at(10)));
        assert!(!pace.is_brisk(at(20)));
        pace.moved(at(30));
        assert!(pace.is_brisk(at(40)) && pace.is_brisk(at(1500)));
        assert!(!pace.is_brisk(at(3000)));
    }
}
