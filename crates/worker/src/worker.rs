//! One worker: a thread that claims messages, has its cell judge them, and acts
//! on what comes of it.
//!
//! What a fault means is decided in [`fault`]; here it is carried
//! out. Nothing is held against a message before a fresh cell has proved, on the
//! built-in benign one, that cells work at all. A worker must never look into a
//! message, and never end because of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lazaret_envelope::{Attempt, Budget, Cause, Envelope, Line, Report};
use lazaret_route::Verdict;
use lazaret_spool::{Claim, Message, Name, Severity, SpoolError, Unreadable, WorkerId};
use tracing::{debug, error, warn};

use crate::backlog::{Next, Pace};
use crate::budget::Allowance;
use crate::bypass::Way;
use crate::child::{Cell, CellError, Ended, Judged};
use crate::fault;
use crate::frame::Answer;
use crate::nursery::{Nursery, RESERVE};
use crate::repeats::{Likeness, Trial};
use crate::reports::{Reporter, fault_of};
use crate::selftest::SelfTest;
use crate::shared::{Meter, Routed, Shared};
use crate::slow::{Delay, GivesWay, Slow, Turn};
use crate::variety::Variety;

/// One worker.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) self_test: SelfTest,
    pub(crate) nursery: Nursery,
    pub(crate) cell: Option<Cell>,
}

/// What became of a message in a cell.
enum Outcome {
    Judged(Way),
    Fault(Box<Report>),
    /// Nothing that counts: it goes back as it was.
    PutBack,
    /// It takes long, and others that do have all the places.
    GaveWay(GivesWay),
}
/// There is no cell that works, or the worker is asked to stop.
struct NoCell;

/// Cells that may end on the way to a message before it is held against it.
const UNTAKEN_MAX: u32 = 3;

/// Cells that fail their self-test in a row, beside those that lay in reserve,
/// before that is a storm: one may be hit by somebody's kill.
const SELF_TESTS: u32 = 3;

/// Pause between self-tests in a storm, and before what had no room is tried
/// again.
const PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    pub(crate) fn run(mut self) {
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
                    let claims = self.shared.owner.claim(self.id, &names)?;
                    self.batch(claims)?;
                    backlog.finished();
                }
                Next::Rest(claims) => {
                    self.batch(claims)?;
                    backlog.finished();
                }
                Next::Second(name) => {
                    self.again(name, Pace::Second)?;
                    backlog.finished();
                }
                Next::Slow(name) => {
                    self.again(name, Pace::Slow)?;
                    backlog.finished();
                }
                Next::Struck(name) => {
                    self.struck(name)?;
                    backlog.finished_struck();
                }
            }
            self.replace_cell();
            self.weather_a_storm();
        }
    }

    /// Gets a cell in place of a lost one before anything else is claimed: others with
    /// a cell go on with what there is meanwhile.
    fn replace_cell(&mut self) {
        if self.cell.is_none() {
            let cell = self.new_cell(Ok).ok();
            self.keep_cell(cell);
        }
    }

    /// Takes one claim after the other to its next state. One that is not judged at
    /// once holds up no other: another worker goes on with the rest. Should the
    /// spool break, the rest goes back as far as it can.
    fn batch(&mut self, claims: Vec<Claim>) -> Result<(), SpoolError> {
        let backlog = Arc::clone(&self.shared.backlog);
        let mut rest = claims.into_iter();
        let mut worked = Ok(());
        while let Some(claim) = rest.next() {
            let place = backlog.beside_others(Pace::Quick);
            let mut slow = |delay| {
                if place.delayed(delay)? {
                    backlog.hand_over(rest.by_ref().collect());
                }
                Ok(place.turn())
            };
            worked = self.one(claim, Pace::Quick, &mut slow);
            if worked.is_err() {
                break;
            }
        }
        put_back(rest);
        worked
    }

    /// Claims a message that gave way before.
    fn again(&mut self, name: Name, pace: Pace) -> Result<(), SpoolError> {
        let backlog = Arc::clone(&self.shared.backlog);
        let place = backlog.beside_others(pace);
        for claim in self.shared.owner.claim(self.id, &[name])? {
            self.one(claim, pace, &mut |delay| place.delayed(delay).map(|_| place.turn()))?;
        }
        Ok(())
    }

    /// Claims a struck message while no cell has another one.
    fn struck(&mut self, name: Name) -> Result<(), SpoolError> {
        let backlog = Arc::clone(&self.shared.backlog);
        let Some(place) = backlog.alone() else {
            backlog.arrived(name);
            return Ok(());
        };
        for claim in self.shared.owner.claim(self.id, &[name])? {
            self.one(claim, Pace::Alone, &mut |_| Ok(Turn::Its))?;
        }
        drop(place);
        Ok(())
    }

    /// Takes one claim to its next state; `slow` is asked should it take long.
    fn one(&mut self, claim: Claim, pace: Pace, slow: &mut Slow<'_>) -> Result<(), SpoolError> {
        if self.shared.stop.is_asked() {
            return claim.put_back().map(drop);
        }
        let message = match claim.open() {
            Ok(message) => message,
            Err(Unreadable::Io(error)) if error.severity() == Severity::Gone => return Ok(()),
            Err(Unreadable::Io(error)) if error.severity() == Severity::NoRoom => {
                if let Some(unsaid) = self.shared.failing.say() {
                    warn!(id = %claim.name().id, %error, unsaid, "can't be opened now: put back");
                }
                self.shared.stop.wait(PAUSE);
                return claim.put_back().map(drop);
            }
            Err(Unreadable::Io(error)) => return Err(error),
            Err(why) => return self.unreadable(claim, &why),
        };
        self.meter.set_message(Some(claim.name().id));
        let variety = Variety::of(&message);
        let outcome = self.judge(&claim, &message, &variety, pace, slow)?;
        self.meter.set_message(None);
        match outcome {
            Outcome::PutBack => claim.put_back().map(drop),
            Outcome::GaveWay(gave) => self.shared.backlog.park(claim, variety.suspicion(), gave),
            Outcome::Fault(report) => self.faulted(claim, &report, &message.envelope),
            Outcome::Judged(way) => self.routed(claim, way, &self.meter.judged),
        }
    }

    fn unreadable(&self, claim: Claim, why: &Unreadable) -> Result<(), SpoolError> {
        self.meter.faults.fetch_add(1, Ordering::Relaxed);
        let cause = why.cause().unwrap_or(Cause::Damaged);
        let report = self.reporter(&claim).unreadable(cause, &why.to_string());
        claim.defer(&report)
    }

    /// To quarantine, unless such mail is to pass.
    fn faulted(&self, claim: Claim, report: &Report, envelope: &Envelope) -> Result<(), SpoolError> {
        self.meter.faults.fetch_add(1, Ordering::Relaxed);
        let Some(transport) = self.shared.config.faults.pass(report.cause) else {
            claim.defer(report)?;
            self.shared.repeats.deferred(report);
            return Ok(());
        };
        let Report { id, cause, ref detail, .. } = *report;
        warn!(%id, %cause, %detail, transport, "FAULTED, AND PASSED UNROUTED as [workers.faults] asks");
        let recipients = envelope.transaction.recipients.len();
        let way = Way::Bypass { transport: transport.to_owned(), recipients };
        self.routed(claim, way, &self.meter.passed)
    }

    fn routed(&self, claim: Claim, way: Way, counter: &AtomicU64) -> Result<(), SpoolError> {
        if let Some(outbound) = claim.routed()? {
            counter.fetch_add(1, Ordering::Release);
            // The receiver is gone only when everything ends; the message stays in
            // outbound/ then and is put back by whoever ends it, or recovered.
            let _ = self.shared.routed.send(Routed { outbound, way });
        }
        Ok(())
    }

    /// Has the message judged; again, if nobody knows whose fault it was.
    fn judge(
        &mut self,
        claim: &Claim,
        message: &Message,
        variety: &Variety<'_>,
        pace: Pace,
        slow: &mut Slow<'_>,
    ) -> Result<Outcome, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let envelope = &message.envelope;
        let size = envelope.content.size;
        // A cell reads all of the file, and an envelope of very many recipients is
        // most of it: they are no fault of the message.
        let whole = size.saturating_add(message.offset());
        let budget = self.shared.config.budget(whole);
        let reporter = self.reporter(claim);
        if size > self.shared.config.max_size.0 {
            let detail = format!("size: {size} bytes exceed max_size, {}", self.shared.config.max_size);
            return Ok(Outcome::Fault(Box::new(reporter.fault(Cause::Limit, &detail, envelope, budget))));
        }
        // Before the look for copies: while it waits its like may turn out to be poison.
        let _permit = match shared.permits.take(budget, slow) {
            Ok(permit) => permit,
            Err(gave) => return Ok(Outcome::GaveWay(gave)),
        };
        let likeness = Likeness::of(message);
        match self.shared.repeats.recall(&likeness, reporter.now, slow) {
            Ok(None) => {}
            Ok(Some(repeat)) => {
                return Ok(Outcome::Fault(Box::new(reporter.repeat(repeat, envelope, budget))));
            }
            Err(gave) => return Ok(Outcome::GaveWay(gave)),
        }
        let on_trial = |delay| shared.repeats.on_trial(&likeness, delay);
        let of_the_kind = || variety.is_large_and_repetitive();
        let expected = pace == Pace::Quick && shared.precedent.expects_long(of_the_kind);
        let behind = expected || matches!(pace, Pace::Second | Pace::Slow);
        let mut trial = behind.then(|| on_trial(Delay::TakesLong));
        let slow = &mut |delay| {
            // Before another worker goes on, perhaps with a copy.
            match &trial {
                Some(trial) => trial.delayed(delay),
                None => trial = Some(on_trial(delay)),
            }
            slow(delay).inspect_err(|&gave| {
                trial.take().into_iter().for_each(|trial: Trial<'_>| trial.gives_way(gave))
            })
        };
        if expected && let Err(gave) = slow(Delay::TakesLong) {
            return Ok(Outcome::GaveWay(gave));
        }
        let allowance = Allowance::new(budget, whole);
        let allowance = match pace {
            Pace::Alone => allowance.alone(),
            _ if behind => allowance.behind(),
            _ => allowance,
        };
        let mut attempts: Option<Vec<Attempt>> = None;
        let (mut tries, mut untaken) = (0, 0);
        loop {
            let Ok(judged) = self.in_cell(message, allowance, slow) else { return Ok(Outcome::PutBack) };
            if judged.taken {
                shared.precedent.note(judged.took_longer_than(allowance.slow), of_the_kind);
            }
            let (cause, detail) = match (fault_of(&judged), &judged.ended) {
                (Some(fault), _) => or_damage(message, fault),
                (None, Ended::Answered(Answer::Verdict(bytes))) => {
                    return Ok(self.verdict(reporter, envelope, budget, bytes));
                }
                (None, &Ended::GaveWay(gave)) => return Ok(Outcome::GaveWay(gave)),
                (None, _) => return Ok(Outcome::PutBack),
            };
            // Whose fault it was is open until cells are known to work.
            if self.prove_cell().is_err() {
                warn!(id = %envelope.id, %cause, %detail, "not held against the message: cells don't work at all");
                return Ok(Outcome::PutBack);
            }
            if !judged.taken && untaken < UNTAKEN_MAX {
                warn!(id = %envelope.id, %detail, "the cell ended before it took the message; another one");
                untaken += 1;
                continue;
            }
            tries += 1;
            let report = self.reporter(claim).judged(cause, &detail, envelope, budget, &judged);
            let attempts = match &mut attempts {
                Some(attempts) => attempts,
                none => none.insert(claim.journal()?.attempts.into()),
            };
            let what = format!("worker {}: {cause} at stage {}: {detail}", self.id, judged.stage);
            attempts.push(Attempt { time: report.time, what: Line::escaped(what) });
            if fault::next(cause, tries) == fault::Next::Defer {
                let mut report = Report { attempts: std::mem::take(attempts), ..report };
                self.shared.repeats.remember(&likeness, &mut report);
                return Ok(Outcome::Fault(Box::new(report)));
            }
            warn!(id = %envelope.id, %cause, stage = %judged.stage, %detail, tries, "faulted; once more, in a fresh cell");
        }
    }

    /// One go in a cell.
    fn in_cell(
        &mut self,
        message: &Message,
        allowance: Allowance,
        slow: &mut Slow<'_>,
    ) -> Result<Judged, NoCell> {
        let cell = match self.cell.take() {
            Some(cell) => cell,
            None => self.new_cell(Ok)?,
        };
        self.meter.cell.store(cell.pid(), Ordering::Relaxed);
        let envelope = &message.envelope;
        let task = (envelope.id, envelope.transaction.recipients.len());
        let file = message.descriptor().expect("a message on a real disk has a descriptor");
        let mut judged = cell.judge(task, file, allowance, &self.shared.stop, slow);
        debug!(id = %envelope.id, worker = %self.id, usage = ?judged.usage, ended = ?judged.ended, "judged");
        if judged.taken && !matches!(judged.ended, Ended::Stopped | Ended::GaveWay(_)) {
            self.shared.costs.note(judged.usage);
        }
        self.keep_cell(judged.cell.take());
        Ok(judged)
    }

    fn keep_cell(&mut self, cell: Option<Cell>) {
        self.meter.cell.store(cell.as_ref().map_or(0, Cell::pid), Ordering::Relaxed);
        self.cell = cell;
    }

    /// Gets a cell, which proved itself when it was started, and may have to once more.
    fn new_cell(&self, prove: impl Fn(Cell) -> Result<Cell, CellError>) -> Result<Cell, NoCell> {
        for _ in 0..RESERVE + SELF_TESTS {
            if self.shared.stop.is_asked() {
                return Err(NoCell);
            }
            let Some(cell) = self.nursery.next() else { return Err(NoCell) };
            self.meter.cells_started.fetch_add(1, Ordering::Relaxed);
            match cell.and_then(&prove) {
                Ok(cell) => {
                    debug!(worker = %self.id, pid = cell.pid(), "a new cell");
                    return Ok(cell);
                }
                // In a storm it was said why, and is tried every second.
                Err(error) if self.shared.backlog.is_storm() => {
                    debug!(worker = %self.id, %error, "still no cell");
                }
                Err(error) => {
                    warn!(worker = %self.id, %error, "a new cell does not work: another one is tried");
                }
            }
        }
        if !self.shared.stop.is_asked() {
            self.shared.backlog.storm();
        }
        Err(NoCell)
    }

    /// After a fault: makes sure that cells work. One that answered a fault is put
    /// to the test as it is; one that died gets a successor, which is put to the test
    /// though it has been before: it may have lain in reserve for long.
    fn prove_cell(&mut self) -> Result<(), NoCell> {
        let prove = |cell| self.self_test.judge(cell, &self.shared.stop);
        let proven = self.cell.take().and_then(|cell| prove(cell).ok());
        let cell = match proven {
            Some(cell) => cell,
            None => self.new_cell(prove)?,
        };
        self.keep_cell(Some(cell));
        Ok(())
    }

    /// In a storm, tries cells until one works; then claiming goes on.
    fn weather_a_storm(&mut self) {
        while self.shared.backlog.is_storm() && !self.shared.stop.is_asked() {
            if self.prove_cell().is_ok() {
                return self.shared.backlog.calm();
            }
            self.shared.stop.wait(PAUSE);
        }
    }

    /// A verdict is untrusted: checked against the task before it is believed.
    fn verdict(&self, reporter: Reporter, envelope: &Envelope, budget: Budget, bytes: &[u8]) -> Outcome {
        let recipients = &envelope.transaction.recipients;
        let (cause, detail) = match Verdict::decode(bytes, recipients.len(), self.shared.setup.routes.len()) {
            Ok(Verdict::Loop) => return Outcome::Judged(Way::Loop { recipients: recipients.len() }),
            Ok(Verdict::Routes(routes)) => {
                let without = routes.iter().position(Option::is_none);
                let Some(at) = without else {
                    return Outcome::Judged(Way::Routed(routes.into_iter().flatten().collect()));
                };
                (Cause::NoRoute, format!("no route matches recipient <{}>", recipients[at].address))
            }
            Err(error) => (Cause::InvalidVerdict, error.to_string()),
        };
        Outcome::Fault(Box::new(reporter.fault(cause, &detail, envelope, budget)))
    }

    fn reporter(&self, claim: &Claim) -> Reporter {
        Reporter { id: claim.name().id, worker: self.id, now: self.shared.owner.spool().now() }
    }
}

/// Damaged bytes can do anything to a parser: then it was the disk.
fn or_damage(message: &Message, (cause, detail): (Cause, String)) -> (Cause, String) {
    match message.verify() {
        Err(why) if why.cause().is_some() => (Cause::Damaged, format!("{why} (noticed after: {detail})")),
        _ => (cause, detail),
    }
}

/// Puts claims back unmarked. One that can't be stays where it is and is
/// recovered by the next start.
fn put_back(claims: impl Iterator<Item = Claim>) {
    for claim in claims {
        let id = claim.name().id;
        if let Err(error) = claim.put_back() {
            warn!(%id, %error, "a claim stays where it is; the next start recovers it");
        }
    }
}
