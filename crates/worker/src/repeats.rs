//! Copies of messages that were to blame for a fault: known again, and deferred
//! without a cell.
//!
//! The same poison sent a thousand times costs one cell for each worker at most.
//! A fault is remembered as long as what it depends on beside the message stays
//! the same (the terms), for a time, and until an operator releases the message.
//! A copy of one that is late in its cell waits, without a cell, for what
//! comes of that: else the workers that take the place of slow ones would all
//! try copies of one slow poison.
//!
//! What a message costs that is no copy: nothing while nothing is remembered;
//! one look into a map if no remembered fault is of about its size; a read of its
//! top, some 4 KiB, if one is; and only if both are of exactly one size below
//! their trace fields is all of it hashed, at the speed of a read. What is late looks
//! alike if its first 8 KiB do, too: no more of it is read. What was not a
//! message's own fault must never be remembered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lazaret_envelope::{Blame, Cause, Digest, Fingerprint, Report, Stage, Timestamp};
use lazaret_spool::{Dir, Message, Name, Spool, SpoolError};
use tracing::{info, warn};

use crate::budget::WorkersConfig;
use crate::fingerprint::TRACE_BYTES_MAX;
use crate::frame::Setup;
use crate::repeats::known::{Fault, Glance, Key, Known, REPEATS_MAX};
pub(crate) use crate::repeats::likeness::Likeness;
use crate::slow::{Delay, GivesWay, Slow};

mod known;
mod likeness;

/// To find routes for so many recipients costs next to nothing: a fault on the
/// way is the content's. With more, it may be due to their number.
const ROUTED_MAX: usize = 100;

/// The faults that are remembered.
#[derive(Debug)]
pub(crate) struct Repeats {
    spool: Spool,
    terms: Digest,
    /// How long a fault is remembered; zero for not at all.
    keep: Duration,
    /// More recipients than this are a fault of the envelope, not of the content.
    recipients_max: usize,
    known: Mutex<Known>,
    /// A trial has ended.
    tried: Condvar,
    on_sight: AtomicU64,
}

/// A message that was known again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    pub(crate) cause: Cause,
    /// Names the message that was to blame first.
    pub(crate) detail: String,
    pub(crate) fingerprint: Fingerprint,
}

/// How many faults are remembered, and what that was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatsStatus {
    /// Faults that are remembered.
    pub known: u64,
    /// Copies that needed no cell.
    pub on_sight: u64,
}

impl Repeats {
    /// Nothing is remembered yet.
    pub(crate) fn new(spool: Spool, config: &WorkersConfig, setup: &Setup) -> Self {
        Self {
            spool,
            terms: terms(config, setup),
            keep: config.repeats.0,
            recipients_max: config.limits.recipients,
            known: Mutex::default(),
            tried: Condvar::new(),
            on_sight: AtomicU64::new(0),
        }
    }

    /// Knows a copy again. One of a message that is late in its cell is as late, and
    /// waits for what comes of that; so is one of a message that gave way.
    pub(crate) fn recall(
        &self,
        likeness: &Likeness<'_>,
        now: Timestamp,
        slow: &mut Slow<'_>,
    ) -> Result<Option<Repeat>, GivesWay> {
        // A message that can't be read is for others to find out.
        let Some(glance) = self.likely_copy(likeness, now) else { return Ok(None) };
        self.wait_for_trials(glance, slow)?;
        if !self.lock().has_fault_within(glance.bytes, glance.bytes) {
            return Ok(None);
        }
        let Ok(key) = likeness.key() else { return Ok(None) };
        let mut known = self.lock();
        let Some(Fault { first, time, cause, detail }) = known.faults.get(&key).cloned() else {
            return Ok(None);
        };
        if known.has_come_back(likeness.message.envelope.id) {
            // It was in quarantine and is back: whoever released it wants it tried.
            known.forget(key.1);
            return Ok(None);
        }
        drop(known);
        self.on_sight.fetch_add(1, Ordering::Relaxed);
        let detail = format!("same content as {first}, deferred at {time} for {cause}: {detail}");
        Ok(Some(Repeat { cause, detail, fingerprint: self.fingerprint(key) }))
    }

    /// What the message looks like, if there is anything that it may be a copy of.
    fn likely_copy(&self, likeness: &Likeness<'_>, now: Timestamp) -> Option<Glance> {
        let size = likeness.size();
        if !self.known(now).has_within(size.saturating_sub(TRACE_BYTES_MAX as u64), size) {
            return None;
        }
        let bytes = likeness.bytes().ok()?;
        if !self.lock().has_within(bytes, bytes) {
            return None;
        }
        likeness.glance().ok()
    }

    /// Waits until nothing that looks so is late any more.
    fn wait_for_trials(&self, glance: Glance, slow: &mut Slow<'_>) -> Result<(), GivesWay> {
        let mut known = self.lock();
        if let Some(delay) = known.suspect(glance) {
            drop(known);
            slow(delay)?;
            known = self.lock();
        }
        let mut told = None;
        while let Some(delay) = known.on_trial(glance) {
            if told.replace(delay) == Some(delay) {
                known = self.tried.wait(known).unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(known);
                slow(delay)?;
                known = self.lock();
            }
        }
        Ok(())
    }

    /// The message is late in its cell: copies wait for what comes of it, as long as
    /// the value that is returned is held.
    pub(crate) fn on_trial(&self, likeness: &Likeness<'_>, delay: Delay) -> Trial<'_> {
        let glance = if self.keep.is_zero() { None } else { likeness.glance().ok() };
        Trial { repeats: self, glance: glance.filter(|&glance| self.lock().begin_trial(glance, delay)) }
    }

    /// Remembers a message that was to blame itself; its report says then what
    /// copies are known by.
    pub(crate) fn remember(&self, likeness: &Likeness<'_>, report: &mut Report) {
        if report.cause.blame() != Blame::Message || self.may_be_the_envelope(likeness.message, report) {
            return;
        }
        match likeness.key() {
            Ok(key) => report.fingerprint = Some(self.fingerprint(key)),
            Err(error) => return warn!(id = %report.id, %error, "no fingerprint"),
        }
        self.take(report, report.time);
    }

    /// Forgets content, so that it is tried again; whether it was known.
    pub(crate) fn forget(&self, digest: Digest) -> bool {
        self.lock().forget(digest.0)
    }

    /// Takes note that a message is in quarantine: should it come back it was
    /// released, even if by hand.
    pub(crate) fn deferred(&self, report: &Report) {
        if report.fingerprint.is_some() {
            self.lock().deferred(report.id);
        }
    }

    /// Remembers what the latest reports in quarantine tell of. Those of copies
    /// don't count: a fault is remembered as long as the message that had it in a
    /// cell is there.
    pub(crate) fn rebuild(&self) -> Result<(), SpoolError> {
        if self.keep.is_zero() {
            return Ok(());
        }
        let mut latest = BTreeSet::<Name>::new();
        self.spool.scan(Dir::Deferred, |name, _| {
            latest.extend(name);
            if latest.len() > REPEATS_MAX {
                latest.pop_first();
            }
        })?;
        let now = self.spool.now();
        for name in latest {
            match self.spool.report(name.id) {
                Ok(Some(report)) => {
                    self.deferred(&report);
                    if report.stage.is_some() {
                        self.take(&report, now);
                    }
                }
                Ok(None) => {}
                Err(error) => warn!(id = %name.id, %error, "a report can't be read"),
            }
        }
        match self.status().known {
            0 => {}
            known => info!(known, "faults of messages in quarantine are remembered: copies need no cell"),
        }
        Ok(())
    }

    pub(crate) fn status(&self) -> RepeatsStatus {
        let known = self.lock().faults.len() as u64;
        RepeatsStatus { known, on_sight: self.on_sight.load(Ordering::Relaxed) }
    }

    /// Whether a copy for fewer recipients might be fine.
    fn may_be_the_envelope(&self, message: &Message, report: &Report) -> bool {
        let recipients = message.envelope.transaction.recipients.len();
        let routing = report.stage == Some(Stage::Route) && recipients > ROUTED_MAX;
        routing || recipients > self.recipients_max
    }

    fn fingerprint(&self, (bytes, digest): Key) -> Fingerprint {
        Fingerprint { digest: Digest(digest), bytes, terms: self.terms }
    }

    /// Takes up what a report tells of, unless it holds no longer or is known.
    fn take(&self, report: &Report, now: Timestamp) {
        let Some(fingerprint) = report.fingerprint.filter(|found| found.terms == self.terms) else { return };
        if report.cause.blame() != Blame::Message || self.keep.is_zero() {
            return;
        }
        let Report { id, time, cause, ref detail, .. } = *report;
        let fault = Fault { first: id, time, cause, detail: detail.clone() };
        self.lock().insert((fingerprint.bytes, fingerprint.digest.0), fault);
        drop(self.known(now));
    }

    /// What is remembered and still holds.
    fn known(&self, now: Timestamp) -> MutexGuard<'_, Known> {
        let mut known = self.lock();
        let over =
            |time: Timestamp| now.duration_since(time).try_into().is_ok_and(|age: Duration| age > self.keep);
        known.drop_old(over);
        known
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is late in its cell.
#[must_use = "the trial ends when this is dropped"]
pub(crate) struct Trial<'a> {
    repeats: &'a Repeats,
    glance: Option<Glance>,
}

impl Trial<'_> {
    /// It is later than it was.
    pub(crate) fn delayed(&self, delay: Delay) {
        if self.glance.is_some_and(|glance| self.repeats.lock().delay_trial(glance, delay)) {
            self.repeats.tried.notify_all();
        }
    }

    /// It is tried again later: its copies shall give way, too, without a cell.
    pub(crate) fn gives_way(mut self, gave: GivesWay) {
        if let Some(glance) = self.glance.take() {
            self.repeats.lock().adjourn_trial(glance, gave);
            self.repeats.tried.notify_all();
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(glance) = self.glance {
            self.repeats.lock().end_trial(glance);
            self.repeats.tried.notify_all();
        }
    }
}

/// What an outcome depends on beside the message: with a larger budget, another
/// parser, or a route that does not look at the body, it may be another.
fn terms(config: &WorkersConfig, setup: &Setup) -> Digest {
    let WorkersConfig { memory, memory_per_byte, cpu_time, cpu_time_per_mib, wall_time, .. } = config;
    let budget = (memory, memory_per_byte, cpu_time, cpu_time_per_mib, wall_time);
    let terms = (env!("CARGO_PKG_VERSION"), budget, &setup.limits, &setup.routes);
    let terms = serde_json::to_vec(&terms).expect("a setup is sent as JSON, too");
    Digest(*blake3::hash(&terms).as_bytes())
}

#[cfg(test)]
mod tests;
