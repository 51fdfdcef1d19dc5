//! Long histories drawn at random: lives of an owner, one after the other, each
//! ended by a crash at some change, in some state that it can leave.
//!
//! All is drawn from the seed: the same seed must always give the same history.

use super::disk::State;
use super::explore::{Explorer, decide};
use super::life::{Life, RECIPIENTS, Refusal, Step, is_notice};
use super::random::Random;
use super::world::{At, Fault, Sim, Snapshot};
use crate::{Claim, Dir, Outbound};
use rustix::io::Errno;

/// Lives in a history.
const LIVES: usize = 6;

/// Most things that are done in a life.
const ACTS_MAX: usize = 40;

/// Changes after which a life is ended, at the latest, where it is to be.
const CHANGES_MAX: usize = 120;

/// Messages that are claimed together.
const BATCH_MAX: usize = 3;

/// Messages in the spool beyond which none are added.
const MAILS_MAX: usize = 6;

/// One history.
pub(super) struct Long {
    random: Random,
    next_label: u32,
    claims: Vec<(u32, Claim)>,
    outbound: Vec<(u32, Outbound)>,
}

impl Long {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next_label: 1, claims: Vec::new(), outbound: Vec::new() }
    }

    pub(super) fn play(&mut self, seed: u64, explorer: &mut Explorer) {
        let mut found = Snapshot::blank();
        for life in 0..LIVES {
            explorer.begin(&format!("seed {seed}, life {life}"));
            // All that must hold of what the crash has left, on a copy of it.
            explorer.visit(found.clone(), 1);
            found = self.live(found);
        }
        explorer.begin(&format!("seed {seed}, the end"));
        explorer.visit(found, 1);
    }

    /// One life; what its crash leaves.
    fn live(&mut self, found: Snapshot) -> Snapshot {
        let sim = Sim::boot(found);
        let at = self.random.below(CHANGES_MAX);
        let fails = self.random.one_in(4);
        {
            let mut world = sim.world();
            world.crash_at = Some(at);
            let at = At::Change(self.random.below(CHANGES_MAX));
            world.fault = fails.then_some(Fault { at, error: Errno::IO, lasting: false });
        }
        let lived = self.acts(&sim);
        (self.claims, self.outbound) = (Vec::new(), Vec::new());
        let (crashed, at_end) = {
            let mut world = sim.world();
            (world.crashed.take(), world.snapshot("the end of a life"))
        };
        let failed = lived.is_err() && crashed.is_none();
        assert!(crashed.is_some() || fails || lived.is_ok(), "{}", lived.expect_err("just asked"));
        let mut last = crashed.unwrap_or(at_end);
        last.ledger.cut();
        // After an error only a new start of the machine helps: assumption 5.
        let disk = match self.random.below(6) {
            0 if !fails && !failed => last.disk.clone(),
            1 => last.disk.least(),
            2 => last.disk.both_names(),
            _ => State::any_cut(&last.disk, &mut self.random),
        };
        last.with_disk(disk)
    }

    fn acts(&mut self, sim: &Sim) -> Step {
        let mut life = Life::start(sim)?;
        decide(sim);
        for _ in 0..self.random.below(ACTS_MAX) {
            if sim.world().crashed.is_some() {
                break;
            }
            self.act(&mut life)?;
        }
        if self.random.one_in(3) {
            self.stop(&life)?;
        }
        Ok(())
    }

    fn act(&mut self, life: &mut Life) -> Step {
        match self.random.below(20) {
            0..=3 => self.bring_in(life),
            4 => life.take_in(),
            5..=8 => self.claim(life),
            9..=12 => self.judge(life),
            13..=15 => self.deliver(life),
            16 => self.wake(life),
            17 => self.operate(life),
            18 => self.by_hand(life),
            _ => life.flush(),
        }
    }

    fn bring_in(&mut self, life: &Life) -> Step {
        let mails = super::judge::there(&life.sim.world().disk).len();
        if mails >= MAILS_MAX {
            return Ok(());
        }
        let label = self.next_label;
        self.next_label += 1;
        match self.random.below(6) {
            0 => life.submit(label),
            1 => life.drop_in(label, &format!("no envelope. Mail {label}.\n")),
            _ => life.accept(label),
        }
    }

    fn pick(&mut self, life: &Life, dir: Dir) -> Option<u32> {
        let labels: Vec<u32> = life.places(dir).iter().filter_map(|place| place.label).collect();
        (!labels.is_empty()).then(|| labels[self.random.below(labels.len())])
    }

    fn claim(&mut self, life: &Life) -> Step {
        let incoming = life.places(Dir::Incoming);
        let struck = |place: &super::place::Place| place.name.is_some_and(|name| name.strikes > 0);
        let most = if incoming.iter().any(struck) { 1 } else { BATCH_MAX };
        // As the daemon does: what bears a strike alone, and first.
        let (mut first, others): (Vec<_>, Vec<_>) = incoming.into_iter().partition(struck);
        first.extend(others);
        let labels: Vec<u32> = first.iter().filter_map(|place| place.label).take(most).collect();
        if labels.is_empty() {
            return Ok(());
        }
        let worker = u16::from(self.random.one_in(2));
        self.claims.extend(labels.iter().copied().zip(life.claim(worker, &labels)?));
        Ok(())
    }

    fn judge(&mut self, life: &Life) -> Step {
        if self.claims.is_empty() {
            return Ok(());
        }
        let (label, claim) = self.claims.swap_remove(self.random.below(self.claims.len()));
        match self.random.below(6) {
            0 => life.put_back(label, claim),
            1 => life.fault(label, claim),
            _ => {
                self.outbound.push((label, life.routed(label, claim)?));
                Ok(())
            }
        }
    }

    fn deliver(&mut self, life: &Life) -> Step {
        if self.outbound.is_empty() {
            return Ok(());
        }
        let (label, outbound) = self.outbound.swap_remove(self.random.below(self.outbound.len()));
        let number = 1 + u32::from(self.random.one_in(2));
        match self.random.below(12) {
            0 => life.stop_delivery(label, outbound),
            1 => life.fault_in_delivery(label, outbound),
            2 => {
                life.tell(label, &outbound.history())?;
                life.wait(label, outbound)
            }
            3 | 4 => {
                life.note(label, &outbound, number)?;
                self.outbound.push((label, outbound));
                Ok(())
            }
            5 | 6 => {
                life.refuse(label, &outbound.history(), &[number], Refusal::Refused)?;
                self.outbound.push((label, outbound));
                Ok(())
            }
            7 => {
                life.refuse(label, &outbound.history(), &RECIPIENTS, Refusal::Refused)?;
                life.finish(label, outbound)
            }
            8 => {
                life.refuse(label, &outbound.history(), &RECIPIENTS, Refusal::Expired)?;
                life.finish(label, outbound)
            }
            _ => life.finish(label, outbound),
        }
    }

    fn wake(&mut self, life: &Life) -> Step {
        life.sim.world().pass(60);
        self.pick(life, Dir::Waiting).map_or(Ok(()), |label| life.wake(label))
    }

    fn operate(&mut self, life: &Life) -> Step {
        let Some(label) = self.pick(life, Dir::Deferred) else { return Ok(()) };
        match self.random.below(4) {
            0 => life.delete(label),
            1 if !is_notice(label) && !life.mail(label, |mail| mail.bad) => life.bounce(label),
            _ if life.mail(label, |mail| mail.bad) => Ok(()),
            _ => life.release(label),
        }
    }

    fn by_hand(&mut self, life: &Life) -> Step {
        let places = [Dir::Incoming, Dir::Waiting, Dir::Deferred];
        let (from, to) = (places[self.random.below(3)], places[self.random.below(3)]);
        match self.pick(life, from) {
            Some(label) if from != to && !life.mail(label, |mail| mail.bad) => life.by_hand(label, from, to),
            _ => Ok(()),
        }
    }

    fn stop(&mut self, life: &Life) -> Step {
        for (label, claim) in std::mem::take(&mut self.claims) {
            life.put_back(label, claim)?;
        }
        for (label, outbound) in std::mem::take(&mut self.outbound) {
            life.stop_delivery(label, outbound)?;
        }
        life.stop()
    }
}
