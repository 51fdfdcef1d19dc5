//! One life of an owner: what the daemon, its intake and its operator do to a
//! spool, written down in the ledger as it is promised.
//!
//! A promise is written down only when the call that makes it has returned, and
//! what may be lost before the call that may lose it. It must never look at the
//! spool to find out what it promised.

use std::ffi::OsStr;
use std::sync::Arc;

use lazaret_envelope::{Address, Cause, Line, MessageId, Protocol, Report, Transaction};

use super::ledger::NOTICES;
use super::place::{Place, places};
use super::world::Sim;
use crate::layout::journal_name;
use crate::storage::Storage;
use crate::{
    Canonical, CheckOptions, Claim, Dir, Done, Draft, Finding, History, Key, Name, OperatorError, Outbound,
    Outcome, Owner, Refused, Spool, SpoolError, TakeError, Taken, Told, Unreadable, WorkerId, check,
};

/// Recipients of every message.
pub(super) const RECIPIENTS: [u32; 2] = [1, 2];

/// Most bytes of a dropped message.
const SIZE_MAX: u64 = 1 << 20;

/// Why a life ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Take(#[from] TakeError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("message {0} is not where it was left")]
    Lost(u32),
    #[error("not repaired: {0}")]
    Unrepaired(String),
}

pub(super) type Step<T = ()> = Result<T, Halt>;

pub(super) struct Life {
    pub(super) sim: Sim,
    pub(super) owner: Owner,
}

/// What a message is known by.
pub(super) fn content(label: u32) -> String {
    format!("Subject: Mail {label}.\r\n\r\nText\r\n")
}

pub(super) fn is_notice(label: u32) -> bool {
    label >= NOTICES
}

/// Why recipients will never get a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// The next hop said so.
    Refused,
    /// They were tried for long enough.
    Expired,
}

pub(super) fn recipient(number: u32) -> Address {
    format!("r{number}@example.org").parse().expect("an address")
}

pub(super) fn delivery_key(number: u32) -> Key {
    Key { original: recipient(number), transport: Line::escaped("t"), final_address: recipient(number) }
}

fn transaction() -> Transaction {
    let recipients = RECIPIENTS.iter().map(|number| recipient(*number).into()).collect();
    Transaction { recipients, ..Transaction::default() }
}

impl Life {
    /// Takes the spool and brings it in order.
    pub(super) fn start(sim: &Sim) -> Step<Self> {
        let life = Self::take(sim)?;
        [0, 1].into_iter().try_for_each(|worker| life.owner.make_worker(WorkerId(worker)))?;
        life.owner.recover()?;
        Ok(life)
    }

    /// Takes the spool as it is.
    pub(super) fn take(sim: &Sim) -> Step<Self> {
        let spool = Spool::on(Arc::new(sim.clone()), "simulated".as_ref());
        Ok(Self { sim: sim.clone(), owner: Owner::take(spool)? })
    }

    /// A moment at which all may go down, between two calls.
    pub(super) fn moment(&self, what: &str) {
        let mut world = self.sim.world();
        let snapshot = world.snapshot(what);
        if let Some(recorded) = &mut world.recorded {
            recorded.push(snapshot);
        }
    }

    pub(super) fn mail<T>(&self, label: u32, change: impl FnOnce(&mut super::ledger::Mail) -> T) -> T {
        change(self.sim.world().ledger.mail(label))
    }

    pub(super) fn places(&self, dir: Dir) -> Vec<Place> {
        let mut places = places(&self.sim.world().disk);
        places.retain(|place| place.dir == dir);
        places
    }

    pub(super) fn name(&self, dir: Dir, label: u32) -> Step<Name> {
        let found = self.places(dir).into_iter().find(|place| place.label == Some(label));
        found.and_then(|place| place.name).ok_or(Halt::Lost(label))
    }

    pub(super) fn begin(&self, label: u32) -> Step<Draft> {
        self.mail(label, |_| ());
        Ok(self.owner.spool().begin(Protocol::Esmtp.into(), transaction())?)
    }

    pub(super) fn commit(&self, label: u32, mut draft: Draft) -> Step {
        draft.write(content(label).as_bytes())?;
        draft.commit()?;
        self.mail(label, |mail| mail.acknowledged = true);
        Ok(())
    }

    pub(super) fn accept(&self, label: u32) -> Step {
        self.commit(label, self.begin(label)?)
    }

    /// Claims messages and looks at all of them.
    pub(super) fn claim(&self, worker: u16, labels: &[u32]) -> Step<Vec<Claim>> {
        let claims = self.claim_only(worker, labels)?;
        labels.iter().zip(&claims).try_for_each(|(label, claim)| self.look(*label, claim))?;
        self.moment("have the cell look");
        Ok(claims)
    }

    pub(super) fn look(&self, label: u32, claim: &Claim) -> Step {
        self.mail(label, |mail| mail.looked_at = true);
        claim.open()?.verify()?;
        Ok(())
    }

    pub(super) fn claim_only(&self, worker: u16, labels: &[u32]) -> Step<Vec<Claim>> {
        let names: Vec<Name> =
            labels.iter().map(|label| self.name(Dir::Incoming, *label)).collect::<Step<_>>()?;
        labels.iter().for_each(|label| self.mail(*label, |mail| mail.claimed = true));
        Ok(self.owner.claim(WorkerId(worker), &names)?)
    }

    pub(super) fn claim_one(&self, worker: u16, label: u32) -> Step<Claim> {
        self.claim(worker, &[label])?.pop().ok_or(Halt::Lost(label))
    }

    pub(super) fn routed(&self, label: u32, claim: Claim) -> Step<Outbound> {
        // The cell has answered: from here on it is not cut short any more.
        self.mail(label, |mail| (mail.looked_at, mail.cuts) = (false, 0));
        let outbound = claim.routed()?.ok_or(Halt::Lost(label))?;
        self.mail(label, super::ledger::Mail::judged);
        Ok(outbound)
    }

    /// Claims and routes.
    pub(super) fn route(&self, worker: u16, label: u32) -> Step<Outbound> {
        self.routed(label, self.claim_one(worker, label)?)
    }

    pub(super) fn done(&self, label: u32, outbound: Outbound) -> Step {
        let message = outbound.open()?;
        message.verify()?;
        self.moment("have the next hop take it");
        self.mail(label, |mail| {
            (mail.may_be_gone, mail.deliveries) = (true, mail.deliveries + 1);
        });
        outbound.done(&message.envelope)?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn flush(&self) -> Step {
        self.owner.flush()?;
        self.sim.world().ledger.flushed();
        Ok(())
    }

    pub(super) fn note(&self, label: u32, outbound: &Outbound, number: u32) -> Step {
        let (time, reply) = (self.owner.spool().now(), Line::escaped("250 ok"));
        outbound.note(&[Done::Delivered { time, key: delivery_key(number), reply }])?;
        self.mail(label, |mail| mail.noted.insert(number));
        Ok(())
    }

    /// Some recipients will never get it, and that is written down.
    pub(super) fn refuse(&self, label: u32, history: &History<'_>, numbers: &[u32], why: Refusal) -> Step {
        if numbers.is_empty() {
            return Ok(());
        }
        let (time, reply) = (self.owner.spool().now(), Line::escaped("no"));
        let line = |&number: &u32| {
            let (key, reply) = (delivery_key(number), reply.clone());
            match why {
                Refusal::Refused => Done::Refused { time, key, reply },
                Refusal::Expired => Done::Expired { time, key, reply },
            }
        };
        history.note(numbers.iter().map(line))?;
        self.mail(label, |mail| {
            mail.noted.extend(numbers);
            mail.refused.extend(numbers);
        });
        Ok(())
    }

    /// Tells the sender of what he was not told, as a delivery does at the end of
    /// its round.
    pub(super) fn tell(&self, label: u32, history: &History<'_>) -> Step {
        if is_notice(label) || history.journal()?.untold_failures == 0 {
            return Ok(());
        }
        let notice = self.sim.world().ledger.new_notice();
        self.mail(notice, |_| ());
        self.mail(label, |mail| mail.notices.insert(notice, mail.refused.clone()));
        let mut draft = history.begin_notice(transaction())?;
        draft.write(content(notice).as_bytes())?;
        history.tell(draft, Told::Outcomes)?;
        self.mail(notice, |mail| mail.acknowledged = true);
        Ok(())
    }

    /// The end of a message's last round: its sender is told, and it goes. A refusal of
    /// mail from nobody is left to a person, who may have it tried again.
    pub(super) fn finish(&self, label: u32, outbound: Outbound) -> Step {
        self.tell(label, &outbound.history())?;
        if !(is_notice(label) && outbound.journal()?.has_refusals()) {
            return self.done(label, outbound);
        }
        self.mail(label, super::ledger::Mail::reopened);
        outbound.note([Done::Reopened { time: self.owner.spool().now() }])?;
        self.fault_in_delivery(label, outbound)
    }

    /// An operator does not want it delivered: whoever has not got it never will, the
    /// sender is told, and it goes.
    pub(super) fn bounce(&self, label: u32) -> Step {
        let quarantined = self.owner.quarantined(self.name(Dir::Deferred, label)?.id)?;
        let journal = quarantined.history().journal()?;
        let open = RECIPIENTS.into_iter().filter(|number| !journal.is_settled(&delivery_key(*number)));
        let open: Vec<u32> = open.collect();
        self.refuse(label, &quarantined.history(), &open, Refusal::Refused)?;
        self.tell(label, &quarantined.history())?;
        self.mail(label, |mail| mail.may_be_gone = true);
        quarantined.delete()?;
        self.mail(label, |mail| mail.gone = true);
        Ok(())
    }

    pub(super) fn wait(&self, label: u32, outbound: Outbound) -> Step {
        let due = self.owner.spool().now();
        outbound.wait_until(due, &Line::default())?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn stand_by(&self, label: u32, outbound: Outbound) -> Step {
        outbound.stand_by(self.owner.spool().now())?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn wake(&self, label: u32) -> Step {
        self.owner.wake(self.name(Dir::Waiting, label)?)?;
        Ok(())
    }

    pub(super) fn put_back(&self, label: u32, claim: Claim) -> Step {
        self.mail(label, |mail| mail.looked_at = false);
        claim.put_back()?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn stop_delivery(&self, label: u32, outbound: Outbound) -> Step {
        outbound.put_back()?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    fn report(&self, id: MessageId) -> Report {
        Report::new(id, Cause::Memory, Line::escaped("too big"), self.owner.spool().now())
    }

    pub(super) fn fault(&self, label: u32, claim: Claim) -> Step {
        self.mail(label, |mail| (mail.looked_at, mail.faulted) = (false, true));
        let report = self.report(claim.name().id);
        claim.defer(&report)?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn fault_in_delivery(&self, label: u32, outbound: Outbound) -> Step {
        self.mail(label, |mail| mail.faulted = true);
        let report = self.report(outbound.name().id);
        outbound.defer(&report)?;
        self.mail(label, super::ledger::Mail::let_go);
        Ok(())
    }

    pub(super) fn release(&self, label: u32) -> Step {
        let id = self.name(Dir::Deferred, label)?.id;
        self.mail(label, super::ledger::Mail::pardoned);
        Ok(self.owner.release(id)?)
    }

    pub(super) fn delete(&self, label: u32) -> Step {
        let id = self.name(Dir::Deferred, label)?.id;
        self.mail(label, |mail| (mail.may_be_gone, mail.deleted) = (true, true));
        self.owner.delete(id)?;
        self.mail(label, |mail| mail.gone = true);
        Ok(())
    }

    /// `mv`, as an administrator may.
    pub(super) fn by_hand(&self, label: u32, from: Dir, to: Dir) -> Step {
        let name = self.name(from, label)?.to_string();
        if from == Dir::Deferred {
            self.mail(label, super::ledger::Mail::pardoned);
        }
        self.mail(label, |mail| mail.faulted |= to == Dir::Deferred);
        let moved = self.sim.rename((from, &name), (to, &name));
        moved.map_err(|error| Halt::Spool(SpoolError::new("mv", error)))
    }

    /// What an unprivileged user does.
    pub(super) fn submit(&self, label: u32) -> Step {
        self.mail(label, |_| ());
        let mut draft = self.owner.spool().begin_drop(transaction())?;
        draft.write(content(label).as_bytes())?;
        draft.commit()?;
        self.mail(label, |mail| mail.acknowledged = true);
        Ok(())
    }

    /// A file that another program has put into `drop/`, durably.
    pub(super) fn drop_in(&self, label: u32, text: &str) -> Step {
        let io = |error| Halt::Spool(SpoolError::new("drop", error));
        let name = format!(".by-hand{label}");
        let mut file = self.sim.create(Dir::Drop, &name).map_err(io)?;
        file.append(text.as_bytes()).map_err(io)?;
        file.sync().map_err(io)?;
        self.mail(label, |mail| mail.bad = true);
        self.sim.rename((Dir::Drop, &name), (Dir::Drop, &name[1..])).map_err(io)?;
        file.sync_all().map_err(io)?;
        self.mail(label, |mail| mail.acknowledged = true);
        Ok(())
    }

    /// Takes in what an earlier life had in hand, and what lies in `drop/`.
    pub(super) fn take_in(&self) -> Step {
        self.owner.take_unfinished()?.into_iter().try_for_each(take)?;
        for place in self.places(Dir::Drop) {
            if let Some(taken) = self.owner.take_dropped(OsStr::new(&place.text))? {
                take(taken)?;
            }
        }
        Ok(())
    }

    /// Something else writes over the end of a message that lies still.
    pub(super) fn damage(&self, label: u32, dir: Dir) -> Step {
        let name = self.name(dir, label)?.to_string();
        self.mail(label, |mail| (mail.bad, mail.faulted) = (true, true));
        self.sim.world().disk.rot(&(Some(dir), name));
        Ok(())
    }

    /// A writer that ended before its message was accepted.
    pub(super) fn leave_in_tmp(&self, label: u32) {
        let name = Name::first(self.owner.spool().new_id());
        self.sim.world().disk.put((Some(Dir::Tmp), name.to_string()), content(label).as_bytes());
    }

    /// A journal of a message that is nowhere.
    pub(super) fn leave_a_journal(&self) {
        let name = journal_name(self.owner.spool().new_id());
        self.sim.world().disk.put((Some(Dir::Journal), name), b"lazaret-journal 1\n");
    }

    /// `cp`, which an administrator may not, to the name of the next rename.
    pub(super) fn copy_by_hand(&self, label: u32, from: Dir, to: Dir) -> Step {
        self.copy(label, from, to, Name::next)
    }

    /// The same, keeping the name.
    pub(super) fn copy_with_its_name(&self, label: u32, from: Dir, to: Dir) -> Step {
        self.copy(label, from, to, |name| name)
    }

    fn copy(&self, label: u32, from: Dir, to: Dir, named: fn(Name) -> Name) -> Step {
        let name = self.name(from, label)?;
        let mut world = self.sim.world();
        let bytes = world.disk.bytes(&(Some(from), name.to_string()));
        world.disk.put((Some(to), named(name).to_string()), &bytes);
        Ok(())
    }

    /// `lazaret check --repair`; everything must be repaired by it.
    pub(super) fn repair(&self) -> Step {
        let repaired = self.owner.repair_all(CheckOptions::default(), &mut |_| ())?;
        let left = repaired.done.iter().find(|(_, outcome)| matches!(outcome, Outcome::Left(_)));
        let left = left.map(|(finding, _)| finding.clone());
        let again = check(self.owner.spool(), CheckOptions::default(), &mut |_| ())?.findings;
        match left.into_iter().chain(again).next() {
            Some(Finding { trouble, place, detail }) => {
                Err(Halt::Unrepaired(format!("{place}: {}: {detail}", trouble.word())))
            }
            None => Ok(()),
        }
    }

    /// A stop that puts back nothing: whatever was in hand was put back before.
    pub(super) fn stop(&self) -> Step {
        self.owner.stop_cleanly()?;
        self.sim.world().ledger.flushed();
        Ok(())
    }

    /// Works until nothing is left but what is in quarantine.
    pub(super) fn drain(&self) -> Step {
        self.take_in()?;
        for label in labels(&self.places(Dir::Waiting)) {
            self.wake(label)?;
        }
        // What is told on the way comes in, too.
        while let Some(label) = labels(&self.places(Dir::Incoming)).first().copied() {
            let claim = self.claim_only(0, &[label])?.pop().ok_or(Halt::Lost(label))?;
            match claim.open().and_then(|message| message.verify()) {
                Err(why) if why.cause().is_some() => self.fault(label, claim)?,
                _ => {
                    self.finish(label, self.routed(label, claim)?)?;
                }
            }
        }
        self.flush()
    }
}

fn labels(places: &[Place]) -> Vec<u32> {
    places.iter().filter_map(|place| place.label).collect()
}

fn take(taken: Taken) -> Step {
    match taken.accept(&mut AsIs, SIZE_MAX) {
        Err(Refused::Spool(error)) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Bytes as they are.
struct AsIs;

impl Canonical for AsIs {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(input);
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}
}
