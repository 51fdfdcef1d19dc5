//! The transactions of one message: who does them, and what is durable between them.
//!
//! The thread that has the message does lot after lot of its recipients. Threads that
//! have nothing else to do help: a queue that is not empty comes first, and a message
//! has half of a transport's threads at most, so that a next hop that is slow with one
//! for very many does not keep the others waiting. No thread must ever begin a
//! transaction before what the one before it did is durable.

use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::Duration;

use lazaret_envelope::{Cause, Envelope, Line, Timestamp};
use lazaret_spool::{Message, Severity, SpoolError};
use tracing::{debug, error};

use crate::asks::Asks;
use crate::outcome::{Handled, Outcome};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::split::{End, Hand, Split, State};
use crate::task::{Fate, Task, key};
use crate::trace;
use crate::transport::Hands;

/// How often a journal without room on its disk is tried again.
const NOTE_TRIES: u32 = 30;

/// Pause between two tries.
const NOTE_PAUSE: Duration = Duration::from_secs(1);

/// Lines that are held before they are noted, where there may be very many.
const UNNOTED_MAX: usize = 1000;

impl Shared {
    /// All that one transport has to do for a message.
    pub(crate) fn transactions(
        self: &Arc<Self>,
        pool: &Pool,
        hands: &mut Hands,
        mut task: Task,
        message: &Arc<Message>,
    ) -> Result<(Task, Fate), SpoolError> {
        let journal = match task.outbound.journal() {
            Err(error) if error.severity() == Severity::NoRoom => return Ok((task, Fate::Wait)),
            journal => journal?,
        };
        let Some(id) = task.next_transport() else { return Ok((task, Fate::Wait)) };
        task.last_try = self.is_last_try(&task, &message.envelope);
        let places = match task.begin(&pool.name, &message.envelope, &journal) {
            Ok(places) => places,
            Err(fate) => return Ok((task, fate)),
        };
        drop(journal);
        let trace = trace::received(&message.envelope, &self.hostname);
        let split = Arc::new(Split::new(message, trace, task, places, pool.transport.recipients_max()));
        let helpers = pool.share(&split);
        (0..helpers).for_each(|_| self.staff_for(id, helpers));
        loop {
            while let Some(hand) = self.next_lot(pool, &split) {
                // Those who help may have all the connections.
                if !attempt(pool, hands, &split, hand) && !split.wait_for_others() {
                    split.state().end.get_or_insert(End::PutOff);
                }
            }
            if !split.wait() {
                break;
            }
        }
        pool.unshare(&split);
        let (mut task, untried, end) = split.finish();
        match end {
            Some(End::Broken(error)) => return Err(error),
            Some(End::Fate(fate)) => return Ok((task, fate)),
            Some(End::PutOff) if untried => task.put_off(id),
            Some(End::PutOff) | None => {}
        }
        let fate = task.fate();
        Ok((task, fate))
    }

    /// Does some of the transactions of a message that another thread has, as long as
    /// there is no other mail.
    pub(crate) fn help(&self, pool: &Pool, hands: &mut Hands, split: &Split) {
        while let Some(hand) = self.next_lot(pool, split) {
            let went = attempt(pool, hands, split, hand);
            if !went || !pool.queue.is_empty() {
                self.account_for(pool, split).alone |= !went;
                return;
            }
        }
    }

    /// The next lot, when what was done so far is durable.
    fn next_lot<'a>(&self, pool: &Pool, split: &'a Split) -> Option<Hand<'a>> {
        let mut state = self.account_for(pool, split);
        if self.is_stopping() && split.lots_left(&state) > 0 {
            state.end.get_or_insert(End::Fate(Fate::PutBack));
        }
        split.take(&mut state)
    }

    /// Takes in what was handed in, and makes it durable unless the message is done
    /// with: then its end says it.
    fn account_for<'a>(&self, pool: &Pool, split: &'a Split) -> MutexGuard<'a, State> {
        let mut state = split.state();
        let Some(mut task) = state.task.take() else { return state };
        for (places, handled) in split.take_in(&mut state) {
            let accounted = match handled {
                Ok(handled) => self.account(pool, (&mut task, split, &mut *state), places, handled),
                Err(damaged) => Ok(Some(Fate::Quarantine(Cause::Damaged, damaged.0))),
            };
            end(&mut state, accounted);
        }
        if split.is_open(&state) {
            let noted = self.note(&mut task).map(|noted| (!noted).then_some(Fate::Wait));
            end(&mut state, noted);
        }
        state.task = Some(task);
        state
    }

    /// Takes in what became of one lot; where the message goes if nobody else is to be
    /// tried now.
    fn account(
        &self,
        pool: &Pool,
        (task, split, state): (&mut Task, &Split, &mut State),
        places: &[usize],
        handled: Handled,
    ) -> Result<Option<Fate>, SpoolError> {
        let (envelope, time) = (split.envelope(), Timestamp::now());
        let tried = handled.outcomes.len();
        for (&place, outcome) in places.iter().zip(handled.outcomes) {
            pool.count(&outcome, time);
            let key = key(envelope, place, &pool.name);
            if let Outcome::Delivered(reply) | Outcome::Relayed(reply) = &outcome {
                debug!(id = %envelope.id, to = %key.original, transport = %pool.name, %reply, "recipient delivered");
            }
            let asks = Asks::from(&envelope.transaction.recipients[place].params);
            task.take(key, outcome, asks, time);
        }
        let Some(trouble) = handled.trouble else {
            pool.moves();
            return Ok(None);
        };
        let mut untried = split.rest(state);
        untried.insert(0, &places[tried..]);
        let count = untried.iter().map(|places| places.len()).sum();
        pool.count_failed(count, trouble.clone(), time);
        if task.last_try && !self.is_stopping() {
            for places in untried {
                if !self.give_up(pool, task, envelope, places, &trouble)? {
                    return Ok(Some(Fate::Wait));
                }
            }
        } else if let Some(&first) = untried.into_iter().flatten().next() {
            task.skip(key(envelope, first, &pool.name), count, trouble, time);
        }
        Ok(None)
    }

    /// Who was not even tried in the last round has failed for good, however many
    /// they are: noted lot by lot. `false` if there is no room for that.
    pub(crate) fn give_up(
        &self,
        pool: &Pool,
        task: &mut Task,
        envelope: &Envelope,
        places: &[usize],
        trouble: &Line,
    ) -> Result<bool, SpoolError> {
        let time = Timestamp::now();
        for lot in places.chunks(UNNOTED_MAX) {
            if !self.note(task)? {
                return Ok(false);
            }
            for &place in lot {
                let asks = Asks::from(&envelope.transaction.recipients[place].params);
                let outcome = Outcome::Transient(trouble.clone());
                task.take(key(envelope, place, &pool.name), outcome, asks, time);
            }
        }
        Ok(true)
    }

    /// Makes durable what was done so far; `false` if there is no room for it.
    pub(crate) fn note(&self, task: &mut Task) -> Result<bool, SpoolError> {
        if task.unnoted.is_empty() {
            return Ok(true);
        }
        for attempt in 1..=NOTE_TRIES {
            match task.outbound.note(&task.unnoted) {
                Err(error) if error.severity() == Severity::NoRoom => {
                    if let Some(unsaid) = self.no_room.say() {
                        error!(id = %task.outbound.name().id, %error, attempt, unsaid,
                            "no room to write down what was delivered; waiting for some");
                    }
                }
                noted => {
                    task.unnoted.clear();
                    return noted.map(|()| true);
                }
            }
            if self.is_stopping() {
                break;
            }
            thread::sleep(NOTE_PAUSE);
        }
        error!(id = %task.outbound.name().id, lines = task.unnoted.len(),
            "what was delivered could not be written down and may be delivered again");
        task.unnoted.clear();
        Ok(false)
    }
}

/// One transaction; `false` if it never came to one, and no next hop can be asked.
fn attempt(pool: &Pool, hands: &mut Hands, split: &Split, hand: Hand<'_>) -> bool {
    match pool.transport.transaction(hands, &split.parcel(), hand.places()) {
        Ok(handled) if handled.outcomes.is_empty() && handled.trouble.is_none() => false,
        handled => {
            hand.hand_in(handled);
            true
        }
    }
}

/// Nobody takes another lot if the message is to go somewhere. A broken disk is told
/// before all else.
fn end(state: &mut State, accounted: Result<Option<Fate>, SpoolError>) {
    match accounted {
        Ok(None) => {}
        Ok(Some(fate)) => drop(state.end.get_or_insert(End::Fate(fate))),
        Err(error) => state.end = Some(End::Broken(error)),
    }
}
