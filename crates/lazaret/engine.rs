//! What takes mail from `incoming/` to its next hops: workers, dispatch and
//! delivery, as the one unit that a reload replaces.
//!
//! An engine is prepared first, which fails where something can be refused and
//! touches no message, so that another may be at work meanwhile. Stopping one
//! must never cost a message a mark, and nothing of it is replaced that can stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use lazaret_delivery::Delivery;
use lazaret_route::RouteTable;
use lazaret_spool::{Owner, SpoolError};
use lazaret_worker::{Backlog, Pool, PreparedPool, Routed, StartError};
use tracing::error;

use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::exit::{self, Failure};

/// How long deliveries may take to finish when they are stopped.
const DELIVERY_GRACE: Duration = Duration::from_secs(3);

/// Verdicts on their way to delivery.
const ROUTED_MAX: usize = 64;

/// Told when the spool can keep its promises no longer.
pub type OnBroken = Arc<dyn Fn(SpoolError) + Send + Sync>;

/// An engine that can be started.
pub struct Prepared {
    pool: PreparedPool,
    routed: Sender<Routed>,
    dispatch: JoinHandle<()>,
    dispatched: Arc<AtomicU64>,
    delivery: Arc<Delivery>,
    on_broken: OnBroken,
}

impl Prepared {
    /// Gets everything ready. Deliveries that are at work already may be `kept`.
    pub fn new(
        config: &Config,
        owner: &Owner,
        kept: Option<Arc<Delivery>>,
        on_broken: OnBroken,
    ) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::error::Error| Failure::new(exit::CONFIG, error);
        let table = RouteTable::compile(&config.routes).map_err(|error| wrong(&error))?;
        let pool = PreparedPool::new(config.workers.clone(), config.routes.clone(), owner.clone());
        let pool = pool.map_err(failure)?;
        let delivery = match kept {
            Some(delivery) => delivery,
            None => {
                let report = Arc::clone(&on_broken);
                let started = Delivery::start(&config.delivery(), move |error| report(error));
                Arc::new(started.map_err(|error| wrong(&error))?)
            }
        };
        let dispatch = Dispatch::new(&table, Arc::clone(&delivery));
        let dispatched = Arc::clone(&dispatch.dispatched);
        let (routed, receiver) = bounded(ROUTED_MAX);
        let dispatch = dispatch.start(receiver)?;
        Ok(Self { pool, routed, dispatch, dispatched, delivery, on_broken })
    }

    /// Starts it; no other may be at work on this backlog.
    pub fn start(self, backlog: Arc<Backlog>) -> Result<Engine, Failure> {
        let Self { pool, routed, dispatch, dispatched, delivery, on_broken } = self;
        let pool = pool.start(Arc::clone(&backlog), routed, move |error| on_broken(error));
        let pool = pool.map_err(failure)?;
        Ok(Engine { backlog, pool, delivery, dispatched, dispatchers: vec![dispatch] })
    }
}

fn failure(error: StartError) -> Failure {
    let status = if matches!(error, StartError::Fit(_)) { exit::CONFIG } else { exit::OS };
    Failure::new(status, error)
}

/// Workers, dispatch and delivery at work.
pub struct Engine {
    backlog: Arc<Backlog>,
    pub pool: Pool,
    pub delivery: Arc<Delivery>,
    dispatched: Arc<AtomicU64>,
    /// The thread of this engine, and of those before it that have something left
    /// to hand on.
    dispatchers: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Stops what is at work and starts the other in its place. Claims go back
    /// unmarked; what is routed is handed on to the deliveries that it was routed
    /// for, and comes back from them if they are stopped.
    ///
    /// On an error nothing is at work any more.
    pub fn replace(&mut self, prepared: Prepared) -> Result<(), Failure> {
        self.pool.stop();
        if !Arc::ptr_eq(&self.delivery, &prepared.delivery) {
            self.delivery.stop(DELIVERY_GRACE);
        }
        let mut next = prepared.start(Arc::clone(&self.backlog))?;
        next.dispatchers.extend(self.dispatchers.drain(..).filter(|thread| !thread.is_finished()));
        *self = next;
        Ok(())
    }

    /// Nothing waits for a worker, then nothing is between worker and transport,
    /// then nothing is in delivery: in this order, since mail goes that way.
    pub fn is_drained(&self) -> Result<bool, SpoolError> {
        if !self.backlog.is_drained()? {
            return Ok(false);
        }
        let routed: u64 = self.pool.status().iter().map(|worker| worker.judged + worker.passed).sum();
        let all_dispatched = self.dispatched.load(Ordering::Acquire) == routed;
        let (_, former) = self.dispatchers.split_first().expect("an engine has a dispatcher");
        let all_dispatched = all_dispatched && former.iter().all(JoinHandle::is_finished);
        Ok(all_dispatched && self.delivery.is_idle())
    }

    /// Stops everything. What is not finished goes back unmarked.
    pub fn stop(mut self) {
        self.pool.stop();
        self.delivery.stop(DELIVERY_GRACE);
        let Self { pool, dispatchers, .. } = self;
        // Its end is the dispatcher's.
        drop(pool);
        for thread in dispatchers {
            if thread.join().is_err() {
                error!("the dispatcher had ended by a panic");
            }
        }
    }
}
