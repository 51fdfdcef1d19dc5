//! The deliveries as the rest of the program sees them: start, hand over, look,
//! stop.
//!
//! A stop costs nothing: what is not finished goes back to `incoming/`. Once
//! the spool is broken it must never be touched again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, at, bounded, never, select};
use lazaret_spool::{Severity, SpoolError, Throttle, Waiting};
use tracing::{error, info, warn};

use crate::config::limits::default_queue;
use crate::config::{Config, ConfigError, Files, LOOP};
use crate::cutoff::CutOff;
use crate::job::{Job, TransportId, numbers};
use crate::parked::{PARKED_MAX, PARKED_TOTAL_MAX};
use crate::pool::{Pool, Status};
use crate::refuse::Refuse;
use crate::round::place;
use crate::shared::Shared;
use crate::sockets::Sockets;
use crate::task::{Fate, Task};
use crate::transport::{Hands, Transport};

/// How often it is looked whether something that waits on disk can be taken.
const CALL_EVERY: Duration = Duration::from_millis(50);

/// The deliveries. Dropping them stops them without grace.
pub struct Delivery {
    shared: Arc<Shared>,
    ids: BTreeMap<String, TransportId>,
    /// What tells the threads to stop: its end.
    stop: Mutex<Option<Sender<Infallible>>>,
    /// The thread that calls messages back.
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Ends with the last thread.
    ended: Receiver<Infallible>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("transports", &self.ids).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Starts the threads. Should the spool break, `on_broken` is told once,
    /// and nothing touches the spool any more.
    ///
    /// # Errors
    /// The configuration makes no sense, or no thread can be started.
    pub fn start(
        config: &Config,
        on_broken: impl Fn(SpoolError) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let sockets = Arc::new(Sockets::new(config.connections, config.connecting()));
        let cut_off = Arc::new(CutOff::new().map_err(ConfigError::Descriptor)?);
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let mut connecting = 0;
        let pools = config.transports.iter().map(|(name, transport)| {
            let number = connecting;
            connecting += usize::from(transport.connects());
            let (threads, queue, is_final) = (transport.threads(), transport.queue(), transport.is_final());
            let transport = Transport::new(transport, (number, name), &config.hostname, &sockets, &cut_off)?;
            let parked = (PARKED_TOTAL_MAX / config.transports.len().max(1)).min(PARKED_MAX);
            Ok(Pool::new(name, transport, is_final, (threads, queue), parked))
        });
        let mut pools =
            numbers().zip(pools).map(|(id, pool)| Ok((id, pool?))).collect::<Result<BTreeMap<_, _>, _>>()?;
        let loops = Transport::Refuse(Refuse);
        let loops = Pool::new(LOOP, loops, false, (1, default_queue()), PARKED_MAX);
        pools.insert(TransportId::LOOP, loops);
        let shared = Arc::new(Shared {
            hostname: config.hostname.clone(),
            retry: config.retry,
            pools,
            sockets,
            cut_off,
            in_flight: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            on_broken: Box::new(on_broken),
            no_room: Throttle::default(),
            stopped,
            alive: Mutex::new(Some(alive)),
        });
        let delivery = Self {
            ids: config.transports.keys().cloned().zip(numbers()).collect(),
            shared,
            stop: Mutex::new(Some(stop)),
            keeper: Mutex::default(),
            ended,
        };
        // One thread each, so that what is queued always has somebody to do it.
        for (name, &id) in &delivery.ids {
            let staffed = delivery.shared.staff(id, 0);
            staffed.map_err(|source| ConfigError::Thread { transport: name.clone(), source })?;
        }
        let shared = Arc::clone(&delivery.shared);
        let keeper = thread::Builder::new().name("call back".into()).spawn(move || shared.call_back());
        let all = || "all".to_owned();
        let keeper = keeper.map_err(|source| ConfigError::Thread { transport: all(), source })?;
        *locked(&delivery.keeper) = Some(keeper);
        Ok(delivery)
    }

    /// The transport of this name.
    #[must_use]
    pub fn transport(&self, name: &str) -> Option<TransportId> {
        self.ids.get(name).copied()
    }

    /// Connections that begin from now on go by files that were read again, of the
    /// configuration that this was started with.
    pub fn use_files(&self, files: Files) {
        for (name, security) in files.0 {
            if let Some(pool) = self.transport(&name).and_then(|id| self.shared.pool(id)) {
                pool.transport.secure_by(security);
            }
        }
    }

    /// Takes over a routed message. Waits for room in a transport's queue only
    /// while that transport is brisk and no other one starves; else the message
    /// waits on disk until it is called.
    pub fn submit(&self, job: Job) {
        let shared = &self.shared;
        shared.in_flight.fetch_add(1, SeqCst);
        let mut task = Task::new(job);
        let Some((id, pool)) = shared.choose(&mut task) else { return shared.overflow(task, None) };
        if pool.transport.refuses() {
            return shared.overflow(task, Some(pool));
        }
        let waits = || !shared.is_stopping() && !shared.pools.values().any(Pool::starves);
        match pool.queue(task, waits) {
            Ok(()) => shared.queued(id),
            Err(task) => shared.overflow(*task, Some(pool)),
        }
    }

    /// Ends the pauses of next hops in trouble: each is probed with what comes next.
    pub fn hasten(&self) {
        let next_hops = self.shared.pools.values().flat_map(|pool| pool.transport.next_hops());
        next_hops.for_each(|next_hop| next_hop.hasten());
    }

    /// Messages that were taken over and are not moved on yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(SeqCst)
    }

    /// Whether nothing is in hand, nor waits on disk to be called.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // In this order: what is called is in neither until it comes.
        self.shared.pools.values().all(Pool::is_done) && self.in_flight() == 0
    }

    /// Connections to next hops that are open or being made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.sockets.used()
    }

    /// How each transport is doing, by name; of the built-in ones, those that had
    /// something to do.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let pools = self.shared.pools.iter().map(|(&id, pool)| (id, pool.status()));
        let shown = pools.filter(|(id, status)| *id != TransportId::LOOP || status.failed > 0);
        shown.map(|(_, status)| status).collect()
    }

    /// Starts nothing new, lets transactions that are under way finish within
    /// `grace`, cuts those off that don't, and puts back whatever is left.
    pub fn stop(&self, grace: Duration) {
        if self.shared.stopping.swap(true, SeqCst) {
            return;
        }
        drop(locked(&self.stop).take());
        drop(locked(&self.shared.alive).take());
        if self.ended.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
            warn!(grace = ?grace, "deliveries are cut off");
            self.shared.sockets.shut_down();
            self.shared.cut_off.now();
        }
        for thread in self.shared.pools.values().flat_map(Pool::take_threads) {
            if thread.join().is_err() {
                error!("a delivery thread panicked");
            }
        }
        if let Some(keeper) = locked(&self.keeper).take()
            && keeper.join().is_err()
        {
            error!("the thread that calls messages back panicked");
        }
        self.shared.pools.values().for_each(|pool| self.shared.put_back_queue(pool));
        info!("deliveries stopped");
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Calls back what waits on disk for transports that can take it now, again
    /// and again; at the stop, everything.
    fn call_back(&self) {
        while self.stopped.recv_timeout(CALL_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.pools.values().for_each(|pool| self.wake(pool, pool.call()));
        }
        // Whoever starts next knows nothing of this list.
        self.pools.values().for_each(|pool| self.wake(pool, pool.parked.call(usize::MAX, Instant::now())));
    }

    fn wake(&self, pool: &Pool, messages: Vec<Waiting>) {
        for message in messages {
            match message.wake() {
                _ if self.is_broken() => return,
                Ok(true) => {}
                // Somebody moved it.
                Ok(false) => pool.parked.came(),
                Err(error) if error.severity() == Severity::NoRoom => {
                    pool.parked.came();
                    pool.parked.add(place(&message), message);
                }
                Err(error) => return self.broken_by(error),
            }
        }
    }

    /// A message is in a queue: sees to it that somebody takes it out.
    pub(crate) fn queued(self: &Arc<Self>, id: TransportId) {
        self.staff_for(id, 0);
        // It may have come after the stop had emptied the queue.
        if self.is_stopping()
            && let Some(pool) = self.pool(id)
        {
            self.put_back_queue(pool);
        }
    }

    /// Starts another thread if there is work for it: a message in the queue, or so
    /// many lots of one.
    pub(crate) fn staff_for(self: &Arc<Self>, id: TransportId, lots: usize) {
        if let Err(error) = self.staff(id, lots) {
            // Those that are there will do it, later.
            warn!(%error, "failed to start another delivery thread");
        }
    }

    fn staff(self: &Arc<Self>, id: TransportId, lots: usize) -> io::Result<()> {
        let Some(pool) = self.pool(id) else { return Ok(()) };
        pool.staff(lots, || self.spawn(id, pool))
    }

    fn spawn(self: &Arc<Self>, id: TransportId, pool: &Pool) -> io::Result<JoinHandle<()>> {
        let alive = locked(&self.alive).clone();
        let shared = Arc::clone(self);
        thread::Builder::new().name(format!("deliver {}", pool.name)).spawn(move || {
            // At the stop there is nothing to take over any more.
            if alive.is_some()
                && let Some(pool) = shared.pool(id)
            {
                shared.serve(pool);
            }
        })
    }

    /// What each thread does.
    fn serve(self: &Arc<Self>, pool: &Pool) {
        let mut hands = Hands::default();
        while !self.is_stopping() {
            if pool.help(|split| self.help(pool, &mut hands, split)) {
                continue;
            }
            let idle = hands.idle_until().map_or_else(never, at);
            select! {
                recv(pool.queue) -> task => match task {
                    Ok(task) => pool.work(task, |task| self.work(pool, &mut hands, task)),
                    Err(_) => break,
                },
                recv(pool.wakes) -> _ => {}
                recv(self.stopped) -> _ => break,
                recv(idle) -> _ => hands.close(),
            }
        }
        hands.close();
    }

    fn put_back_queue(&self, pool: &Pool) {
        while let Ok(task) = pool.queue.try_recv() {
            pool.leaves();
            self.conclude(task, Fate::PutBack, None);
        }
    }
}
