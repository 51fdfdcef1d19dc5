//! The workers: one thread each, that claims messages, has its cell judge them,
//! and acts on what comes of it.
//!
//! What a fault means is decided in [`fault`](crate::fault); here it is carried
//! out. A worker must never look into a message, and never end because of one.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;
use lazaret_envelope::{Attempt, Budget, Cause, Envelope, Line, MessageId, Report};
use lazaret_route::{RouteConfig, RouteTable, TableError, Verdict};
use lazaret_spool::{Claim, Message, Name, Outbound, Owner, SpoolError, Unreadable, WorkerId};
use tracing::{debug, error, warn};

use crate::backlog::{Backlog, Next};
use crate::budget::{WorkersConfig, address_space};
use crate::child::{Cell, CellError, Ended, Judged, Program};
use crate::fault::{self, cause_of};
use crate::frame::{Answer, Setup};
use crate::selftest::SelfTest;
use crate::stop::Stop;

/// A message with its verdict, on its way to delivery.
#[derive(Debug)]
pub struct Routed {
    /// The message.
    pub outbound: Outbound,
    /// A route for each recipient.
    pub verdict: Verdict,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// The process id of its cell; 0 while it has none.
    pub cell: u32,
    /// Messages that got a verdict.
    pub judged: u64,
    /// Messages that faulted.
    pub faults: u64,
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

/// What all workers need.
struct Shared {
    owner: Owner,
    backlog: Arc<Backlog>,
    config: WorkersConfig,
    setup: Setup,
    program: Program,
    stop: Stop,
    routed: Sender<Routed>,
    on_broken: Box<dyn Fn(SpoolError) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Meter {
    cell: AtomicU32,
    judged: AtomicU64,
    faults: AtomicU64,
    cells_started: AtomicU64,
    message: Mutex<Option<MessageId>>,
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
    /// The operating system refused.
    #[error("failed to start the workers: {0}")]
    Io(#[from] io::Error),
}

impl Pool {
    /// Starts the workers. Messages with a verdict go to `routed`; `on_broken` is
    /// called when the spool can keep its promises no longer.
    ///
    /// # Errors
    /// Bad routes, or no resources.
    pub fn start(
        config: WorkersConfig,
        routes: Vec<RouteConfig>,
        backlog: Arc<Backlog>,
        owner: Owner,
        routed: Sender<Routed>,
        on_broken: impl Fn(SpoolError) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        RouteTable::compile(&routes)?;
        let setup = Setup { routes, limits: config.limits.clone(), jail: config.jail };
        let (program, stop) = (Program::current()?, Stop::new()?);
        SelfTest::new()?.prove_jail(&program, &setup, &stop)?;
        let on_broken = Box::new(on_broken);
        let shared = Arc::new(Shared { owner, backlog, config, setup, program, stop, routed, on_broken });
        let mut pool = Self { threads: Vec::new(), meters: Vec::new(), shared };
        for id in (0..pool.shared.config.count.max(1)).map(WorkerId) {
            pool.shared.owner.make_worker(id)?;
            let meter = Arc::new(Meter::default());
            let worker = Worker {
                id,
                shared: Arc::clone(&pool.shared),
                meter: Arc::clone(&meter),
                self_test: SelfTest::new()?,
                cell: None,
            };
            pool.threads
                .push(thread::Builder::new().name(format!("worker-{id}")).spawn(move || worker.run())?);
            pool.meters.push(meter);
        }
        Ok(pool)
    }

    /// What each worker is doing.
    #[must_use]
    pub fn status(&self) -> Vec<WorkerStatus> {
        (0..)
            .zip(&self.meters)
            .map(|(worker, meter)| WorkerStatus {
                worker,
                cell: meter.cell.load(Ordering::Relaxed),
                judged: meter.judged.load(Ordering::Relaxed),
                faults: meter.faults.load(Ordering::Relaxed),
                cells_started: meter.cells_started.load(Ordering::Relaxed),
                message: *meter.message.lock().unwrap_or_else(PoisonError::into_inner),
            })
            .collect()
    }

    /// Stops the workers at once: what is in a cell goes back without a mark.
    pub fn stop(self) {
        self.shared.backlog.stop();
        self.shared.stop.ask();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a worker had ended by a panic; its claims are recovered at the next start");
            }
        }
    }
}

/// One worker.
struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    meter: Arc<Meter>,
    self_test: SelfTest,
    cell: Option<Cell>,
}

/// What became of a message in a cell.
enum Outcome {
    Verdict(Verdict),
    Fault(Box<Report>),
    /// Nothing that counts: it goes back as it was.
    PutBack,
}

/// Cells that may end on the way to a message before it is held against it.
const UNTAKEN_MAX: u32 = 3;

/// Pause before a cell is started again after one could not be.
const START_PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    fn run(mut self) {
        if let Err(error) = self.work() {
            error!(worker = %self.id, %error, "worker stops: the spool can't be trusted");
            (self.shared.on_broken)(error);
        }
    }

    fn work(&mut self) -> Result<(), SpoolError> {
        let backlog = Arc::clone(&self.shared.backlog);
        loop {
            match backlog.next()? {
                Next::Stop => return Ok(()),
                Next::Batch(names) => {
                    self.batch(&names)?;
                    backlog.finished(false);
                }
                Next::Struck(name) => {
                    let alone = backlog.alone();
                    for claim in self.shared.owner.claim(self.id, &[name])? {
                        self.one(claim, || ())?;
                    }
                    drop(alone);
                    backlog.finished(true);
                }
            }
        }
    }

    /// Claims a batch and takes one after the other to its next state. Should the
    /// spool break meanwhile, the rest goes back as far as it can.
    fn batch(&mut self, names: &[Name]) -> Result<(), SpoolError> {
        let backlog = Arc::clone(&self.shared.backlog);
        let mut claims = self.shared.owner.claim(self.id, names)?.into_iter();
        let worked = claims.by_ref().try_for_each(|claim| self.one(claim, || backlog.beside_others()));
        for claim in claims {
            if let Err(error) = claim.put_back() {
                warn!(%error, "a claim stays where it is; the next start recovers it");
            }
        }
        worked
    }

    /// Takes one claim to its next state. `guard` is held while it is in the cell.
    fn one<G>(&mut self, claim: Claim, guard: impl Fn() -> G) -> Result<(), SpoolError> {
        if self.shared.stop.is_asked() {
            return claim.put_back();
        }
        let message = match claim.open() {
            Ok(message) => message,
            Err(Unreadable::Io(error)) if error.severity() == lazaret_spool::Severity::Gone => return Ok(()),
            Err(Unreadable::Io(error)) if error.severity() == lazaret_spool::Severity::NoRoom => {
                warn!(id = %claim.name().id, %error, "put back");
                thread::sleep(START_PAUSE);
                return claim.put_back();
            }
            Err(why) => return self.unreadable(claim, why),
        };
        *self.meter.message.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim.name().id);
        let outcome = self.judge(&claim, &message, guard)?;
        *self.meter.message.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match outcome {
            Outcome::PutBack => claim.put_back(),
            Outcome::Fault(report) => {
                self.meter.faults.fetch_add(1, Ordering::Relaxed);
                claim.defer(&report)
            }
            Outcome::Verdict(verdict) => self.routed(claim, verdict),
        }
    }

    fn unreadable(&self, claim: Claim, why: Unreadable) -> Result<(), SpoolError> {
        let Some(cause) = why.cause() else {
            let Unreadable::Io(error) = why else { unreachable!("only an I/O error has no cause") };
            return Err(error);
        };
        self.meter.faults.fetch_add(1, Ordering::Relaxed);
        let mut report = Report::new(claim.name().id, cause, Line::escaped(why.to_string()), self.now());
        report.worker = Some(self.id.0);
        claim.defer(&report)
    }

    fn routed(&self, claim: Claim, verdict: Verdict) -> Result<(), SpoolError> {
        self.meter.judged.fetch_add(1, Ordering::Relaxed);
        if let Some(outbound) = claim.routed()? {
            // The receiver is gone only when everything ends; the message stays in
            // outbound/ then and is put back by whoever ends it, or recovered.
            let _ = self.shared.routed.send(Routed { outbound, verdict });
        }
        Ok(())
    }

    /// Has the message judged; again, if nobody knows whose fault it was.
    fn judge<G>(
        &mut self,
        claim: &Claim,
        message: &Message,
        guard: impl Fn() -> G,
    ) -> Result<Outcome, SpoolError> {
        let envelope = &message.envelope;
        let size = envelope.content.size;
        let budget = self.shared.config.budget(size);
        if size > self.shared.config.max_size.0 {
            let detail = format!("size: {size} bytes exceed max_size, {}", self.shared.config.max_size);
            return Ok(self.fault(claim, envelope, budget, Cause::Limit, &detail));
        }
        let mut attempts = claim.journal()?.attempts;
        let (mut tries, mut untaken) = (0, 0);
        loop {
            let _guard = guard();
            let judged = match self.in_cell(message, budget) {
                Some(judged) => judged,
                None => return Ok(Outcome::PutBack),
            };
            let Some((cause, detail)) = self.fault_of(&judged, message) else {
                return Ok(match judged.ended {
                    Ended::Answered(Answer::Verdict(bytes)) => self.verdict(claim, envelope, budget, &bytes),
                    _ => Outcome::PutBack,
                });
            };
            if !judged.taken && untaken < UNTAKEN_MAX {
                warn!(id = %envelope.id, %detail, "the cell ended before it took the message; another one");
                untaken += 1;
                continue;
            }
            tries += 1;
            let report = self.fault_report(claim, envelope, budget, (cause, &detail), &judged);
            let stage = judged.stage;
            attempts.push(Attempt {
                time: report.time,
                what: Line::escaped(format!("worker {}: {cause} at stage {stage}: {detail}", self.id)),
            });
            if fault::next(cause, tries) == fault::Next::Defer {
                return Ok(Outcome::Fault(Box::new(Report { attempts, ..report })));
            }
            warn!(id = %envelope.id, %cause, %stage, %detail, tries, "faulted; once more, in a fresh cell");
        }
    }

    /// One go in a cell; `None` when asked to stop before there was one.
    fn in_cell(&mut self, message: &Message, budget: Budget) -> Option<Judged> {
        let cell = self.take_cell()?;
        let envelope = &message.envelope;
        let task = (envelope.id, envelope.transaction.recipients.len());
        let space = address_space(budget, envelope.content.size);
        let file = message.descriptor().expect("a message on a real disk has a descriptor");
        let mut judged = cell.judge(task, file, (budget, space), &self.shared.stop);
        debug!(id = %envelope.id, worker = %self.id, usage = ?judged.usage, ended = ?judged.ended, "judged");
        self.cell = judged.cell.take();
        self.meter.cell.store(self.cell.as_ref().map_or(0, Cell::pid), Ordering::Relaxed);
        Some(judged)
    }

    /// The worker's cell; a new one, proven on the built-in message, if it has
    /// none. Tries until there is one or it is asked to stop.
    fn take_cell(&mut self) -> Option<Cell> {
        if let Some(cell) = self.cell.take() {
            return Some(cell);
        }
        while !self.shared.stop.is_asked() {
            self.meter.cells_started.fetch_add(1, Ordering::Relaxed);
            match self.self_test.start(&self.shared.program, &self.shared.setup, &self.shared.stop) {
                Ok(cell) => {
                    debug!(worker = %self.id, pid = cell.pid(), "cell started");
                    self.meter.cell.store(cell.pid(), Ordering::Relaxed);
                    return Some(cell);
                }
                Err(error) => error!(worker = %self.id, %error, "no cell; trying again"),
            }
            thread::sleep(START_PAUSE);
        }
        None
    }

    /// What was at fault, if anything was.
    fn fault_of(&self, judged: &Judged, message: &Message) -> Option<(Cause, String)> {
        let (cause, detail) = match &judged.ended {
            Ended::Stopped | Ended::Answered(Answer::Verdict(_)) => return None,
            Ended::Answered(Answer::Fault(cause, detail)) => return Some((*cause, detail.to_string())),
            Ended::OverCpu => (Cause::CpuTime, "the CPU budget is used up".to_owned()),
            Ended::OverWall => {
                (Cause::WallTime, "the wall-time budget is used up, with CPU time to spare".to_owned())
            }
            Ended::Nonsense(what) => (Cause::InvalidVerdict, what.clone()),
            Ended::Died(ending) => {
                let cause = cause_of(*ending);
                let note = judged.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
                (cause, describe(cause, *ending) + &note)
            }
        };
        // Damaged bytes can do anything to a parser: then it was the disk.
        match message.verify() {
            Err(why) if why.cause().is_some() => {
                Some((Cause::Damaged, format!("{why} (noticed after: {detail})")))
            }
            _ => Some((cause, detail)),
        }
    }

    /// A verdict is untrusted: checked against the task before it is believed.
    fn verdict(&self, claim: &Claim, envelope: &Envelope, budget: Budget, bytes: &[u8]) -> Outcome {
        let recipients = &envelope.transaction.recipients;
        match Verdict::decode(bytes, recipients.len(), self.shared.setup.routes.len()) {
            Ok(verdict) => match verdict.routes.iter().position(Option::is_none) {
                None => Outcome::Verdict(verdict),
                Some(at) => {
                    let detail = format!("no route matches recipient <{}>", recipients[at].address);
                    self.fault(claim, envelope, budget, Cause::NoRoute, &detail)
                }
            },
            Err(error) => self.fault(claim, envelope, budget, Cause::InvalidVerdict, &error.to_string()),
        }
    }

    /// A fault that needed no death.
    fn fault(
        &self,
        claim: &Claim,
        envelope: &Envelope,
        budget: Budget,
        cause: Cause,
        detail: &str,
    ) -> Outcome {
        let mut report =
            Report::new(claim.name().id, cause, Line::escaped(detail), self.now()).about(envelope);
        report.worker = Some(self.id.0);
        report.budget = Some(budget);
        Outcome::Fault(Box::new(report))
    }

    fn fault_report(
        &self,
        claim: &Claim,
        envelope: &Envelope,
        budget: Budget,
        (cause, detail): (Cause, &str),
        judged: &Judged,
    ) -> Report {
        let mut report =
            Report::new(claim.name().id, cause, Line::escaped(detail), self.now()).about(envelope);
        report.worker = Some(self.id.0);
        report.stage = Some(judged.stage);
        report.usage = Some(judged.usage);
        report.budget = Some(budget);
        if let Ended::Died(ending) = judged.ended {
            report.ending = Some(Line::escaped(ending.to_string()));
        }
        report
    }

    fn now(&self) -> lazaret_envelope::Timestamp {
        self.shared.owner.spool().now()
    }
}

/// The sentence about a cell's death.
fn describe(cause: Cause, ending: fault::Ending) -> String {
    match cause {
        Cause::Memory => "the memory budget is used up".to_owned(),
        Cause::Panic => "the parser panicked".to_owned(),
        Cause::Killed => format!("the cell was killed from outside, by {ending} (out of memory? a person?)"),
        Cause::BusError => format!("reading the file failed in the cell, by {ending}"),
        Cause::InvalidVerdict => format!("the cell ended by itself without an answer, {ending}"),
        _ => format!("the cell died of {ending}"),
    }
}
