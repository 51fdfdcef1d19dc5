//! The threads of one transport and the queue before them.
//!
//! A next hop that hangs occupies its own pool's threads and no others. The
//! queue is bounded; nobody must ever wait for room in a queue that does not
//! move.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
use lazaret_envelope::{Attempt, Line, Timestamp};

use crate::task::Task;
use crate::transport::{Outcome, Transport};

/// How long a full queue may stand still before further messages wait on disk.
pub(crate) const OVERFLOW_AFTER: Duration = Duration::from_secs(2);

/// How often whoever waits for room looks whether the queue still moves.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One transport at work.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: Line,
    pub(crate) transport: Transport,
    sender: Sender<Task>,
    pub(crate) queue: Receiver<Task>,
    threads_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Messages in the queue, on their way into it, or in a thread's hands.
    load: AtomicUsize,
    /// Messages in a thread's hands.
    active: AtomicUsize,
    /// When the next hop last did what it was asked, or had nothing to do.
    moved: Mutex<Instant>,
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
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new(name: &str, transport: Transport, threads_max: usize, queue_max: usize) -> Self {
        let (sender, queue) = bounded(queue_max);
        Self {
            name: Line::escaped(name),
            transport,
            sender,
            queue,
            threads_max,
            threads: Mutex::default(),
            load: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            moved: Mutex::new(Instant::now()),
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

    /// Queues a message, waiting for room as long as the queue moves; gives it
    /// back if it does not, or when deliveries are being stopped.
    pub(crate) fn queue(&self, task: Task, stopping: &AtomicBool) -> Result<(), Box<Task>> {
        self.arrives();
        let mut task = task;
        let mut patience = Duration::ZERO;
        loop {
            task = match self.sender.send_timeout(task, patience) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(task) | SendTimeoutError::Disconnected(task)) => task,
            };
            if stopping.load(SeqCst) || locked(&self.moved).elapsed() >= OVERFLOW_AFTER {
                self.leaves();
                return Err(Box::new(task));
            }
            patience = LOOK_EVERY;
        }
    }

    fn arrives(&self) {
        if self.load.fetch_add(1, SeqCst) == 0 {
            self.moves();
        }
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
        *locked(&self.moved) = Instant::now();
    }

    /// Starts another thread if there is more to do than threads to do it.
    pub(crate) fn staff(
        &self,
        spawn: impl FnOnce() -> std::io::Result<JoinHandle<()>>,
    ) -> std::io::Result<()> {
        let mut threads = locked(&self.threads);
        let wanted = self.load.load(SeqCst).clamp(1, self.threads_max);
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
            Outcome::Delivered(_) => drop(self.delivered.fetch_add(1, SeqCst)),
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
        }
    }
}
