//! The workers as a whole: prepared, started, asked how they do, stopped.
//!
//! What one worker does is in [`worker`](crate::worker). There are more threads
//! than workers that are busy at a time: where a message takes long, another
//! thread goes on with other mail. Stopping must never cost a message a mark.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;
use lazaret_envelope::{Digest, MessageId};
use lazaret_route::{RouteConfig, RouteTable, TableError};
use lazaret_spool::{Owner, SpoolError, Throttle, WorkerId};
use tracing::error;

use crate::backlog::Backlog;
use crate::budget::WorkersConfig;
use crate::child::CellError;
use crate::costs::{Costs, CostsStatus};
use crate::frame::Setup;
use crate::machine::{Available, Fit, FitError, Permits};
use crate::nursery::Nursery;
use crate::precedent::Precedent;
use crate::repeats::{Repeats, RepeatsStatus};
use crate::selftest::SelfTest;
use crate::shared::{Meter, Routed, Shared};
use crate::stop::Stop;
use crate::template::{Program, Template};
use crate::worker::Worker;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// The process id of its cell, if it has one.
    pub cell: Option<NonZeroU32>,
    /// Messages that got a verdict.
    pub judged: u64,
    /// Messages that faulted.
    pub faults: u64,
    /// Those of them that passed all the same.
    pub passed: u64,
    /// Cells that were started.
    pub cells_started: u64,
    /// The message in its cell.
    pub message: Option<MessageId>,
}

/// The workers of a spool.
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    meters: Vec<Arc<Meter>>,
}

/// Why the workers can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The routes are no good.
    #[error(transparent)]
    Routes(#[from] TableError),
    /// A worker's directory can't be made.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The cells can't be jailed as required.
    #[error(transparent)]
    Jail(#[from] CellError),
    /// The machine is too small.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The operating system refused.
    #[error("failed to start the workers: {0}")]
    Io(#[from] io::Error),
}

/// Workers that can be started: what can be refused was not. They have touched no
/// message, so others may be at work meanwhile.
pub struct PreparedPool {
    owner: Owner,
    config: WorkersConfig,
    setup: Setup,
    repeats: Repeats,
    permits: Permits,
    program: Program,
    stop: Stop,
    /// One for each worker.
    self_tests: Vec<SelfTest>,
}

impl PreparedPool {
    /// Has a first cell prove itself, and gets hold of whatever there may be too
    /// little of.
    ///
    /// # Errors
    /// Bad routes, or no resources.
    pub fn new(config: WorkersConfig, routes: Vec<RouteConfig>, owner: Owner) -> Result<Self, StartError> {
        RouteTable::compile(&routes)?;
        let permits = Fit::check(&config, &Available::of_this_process()?)?;
        let setup = Setup { routes, limits: config.limits.clone(), jail: config.jail };
        let (program, stop) = (Program::current()?, Stop::new()?);
        SelfTest::new()?.prove_jail(&mut Template::new(program.clone(), &setup)?, &stop)?;
        let repeats = Repeats::new(owner.spool().clone(), &config, &setup);
        repeats.rebuild()?;
        let ids = 0..config.threads();
        ids.clone().map(WorkerId).try_for_each(|id| owner.make_worker(id))?;
        let self_tests = ids.map(|_| SelfTest::new()).collect::<Result<_, _>>()?;
        Ok(Self { owner, config, setup, repeats, permits, program, stop, self_tests })
    }

    /// Starts the workers; others must have ended. Messages with a verdict go to
    /// `routed`; `on_broken` is called when the spool can keep its promises no longer.
    ///
    /// # Errors
    /// No thread; then none runs.
    pub fn start(
        self,
        backlog: Arc<Backlog>,
        routed: Sender<Routed>,
        on_broken: impl Fn(SpoolError) + Send + Sync + 'static,
    ) -> Result<Pool, StartError> {
        let Self { owner, config, setup, repeats, permits, program, stop, self_tests } = self;
        backlog.start(&config);
        let (costs, on_broken) = (Costs::default(), Box::new(on_broken));
        let shared = Shared {
            owner,
            backlog,
            config,
            setup,
            repeats,
            permits,
            precedent: Precedent::default(),
            costs,
            program,
            stop,
            routed,
            on_broken,
            failing: Throttle::default(),
        };
        let mut pool = Pool { threads: Vec::new(), meters: Vec::new(), shared: Arc::new(shared) };
        match pool.staff(self_tests) {
            Ok(()) => Ok(pool),
            Err(error) => {
                pool.stop();
                Err(error.into())
            }
        }
    }
}

impl Pool {
    fn staff(&mut self, self_tests: Vec<SelfTest>) -> io::Result<()> {
        let (nursery, thread) = Nursery::start(Arc::clone(&self.shared))?;
        self.threads.push(thread);
        for (id, self_test) in (0..).map(WorkerId).zip(self_tests) {
            let meter = Arc::new(Meter::default());
            let worker = Worker {
                id,
                shared: Arc::clone(&self.shared),
                meter: Arc::clone(&meter),
                self_test,
                nursery: nursery.clone(),
                cell: None,
            };
            self.threads
                .push(thread::Builder::new().name(format!("worker-{id}")).spawn(move || worker.run())?);
            self.meters.push(meter);
        }
        Ok(())
    }

    /// What each worker is doing.
    #[must_use]
    pub fn status(&self) -> Vec<WorkerStatus> {
        (0..)
            .zip(&self.meters)
            .map(|(worker, meter)| WorkerStatus {
                worker,
                cell: NonZeroU32::new(meter.cell.load(Ordering::Relaxed)),
                judged: meter.judged.load(Ordering::Relaxed),
                faults: meter.faults.load(Ordering::Relaxed),
                passed: meter.passed.load(Ordering::Relaxed),
                cells_started: meter.cells_started.load(Ordering::Relaxed),
                message: meter.message(),
            })
            .collect()
    }

    /// What messages have cost since the start.
    #[must_use]
    pub fn costs(&self) -> CostsStatus {
        self.shared.costs.status()
    }

    /// How many faults are remembered, and how many copies that spared a cell.
    #[must_use]
    pub fn repeats(&self) -> RepeatsStatus {
        self.shared.repeats.status()
    }

    /// Forgets what copies of a message are known by: it is to be tried again.
    pub fn forget(&self, fingerprint: Digest) {
        self.shared.repeats.forget(fingerprint);
    }

    /// Stops the workers at once: what is in a cell goes back without a mark.
    pub fn stop(&mut self) {
        self.shared.backlog.stop();
        self.shared.stop.ask();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a worker had ended by a panic; its claims are recovered at the next start");
            }
        }
    }
}
