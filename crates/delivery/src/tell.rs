//! The end of a round: what the sender has to be told before the message moves on.
//!
//! Whoever failed in a round is reported at its end, not when the last recipient is
//! settled: a mistyped address is told at once, though another recipient may wait
//! for days. What is told stands in the journal first, and is read from there, so
//! that a round cut short before its notice is made up for by the next. A message
//! must never be let go of while its sender is owed something.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lazaret_envelope::{Address, Envelope, Line, MessageId, RcptParams, Recipient, Timestamp};
use lazaret_spool::{Accepted, Done, History, Message, Severity, SpoolError, Told};
use tracing::{error, info};

use crate::asks::Asks;
use crate::config::RetryConfig;
use crate::notice::{Action, Entry, NOTICE_RECIPIENTS_MAX, Notice, Returned};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::task::{Fate, Task};

/// Whether somebody asks for it.
fn anybody(envelope: &Envelope, asks: impl Fn(Asks) -> bool) -> bool {
    envelope.transaction.recipients.iter().any(|recipient| asks(Asks::from(&recipient.params)))
}

/// Who makes notices, and for how long mail is tried.
pub(crate) struct Teller<'a> {
    pub(crate) hostname: &'a str,
    pub(crate) retry: &'a RetryConfig,
    /// Whether what this transport delivers is in its recipient's hands.
    pub(crate) is_final: &'a dyn Fn(&Line) -> bool,
}

impl Shared {
    /// Tells the sender of a message at the end of a round, and moves it on.
    pub(crate) fn settle(&self, mut task: Task, fate: Fate, message: &Message, pool: Option<&Pool>) {
        let fate = if self.is_stopping() && task.forget_failures() { Fate::PutBack } else { fate };
        match self.tell(&mut task, fate, message) {
            Ok(Fate::Wait) => self.wait(task, &message.envelope, pool),
            Ok(fate) => self.conclude(task, fate, Some(&message.envelope)),
            Err(error) if error.severity() == Severity::NoRoom => {
                error!(id = %message.envelope.id, %error, "no room for a notice to the sender; it waits");
                self.conclude(task, Fate::Wait, Some(&message.envelope));
            }
            Err(error) => self.landed(Err(error)),
        }
    }

    fn tell(&self, task: &mut Task, fate: Fate, message: &Message) -> Result<Fate, SpoolError> {
        let envelope = &message.envelope;
        if !matches!(fate, Fate::Done | Fate::Wait | Fate::PutBack) {
            return Ok(fate);
        }
        let delayed = fate == Fate::Wait && self.retry.is_late(age_of(envelope.id)) && !task.delay_told;
        let delay = delayed && anybody(envelope, |asks| asks.delay);
        if !task.has_refusals && !delay && !anybody(envelope, |asks| asks.success) {
            return Ok(fate);
        }
        if !self.note(task)? {
            return Ok(Fate::Wait);
        }
        let history = task.outbound.history();
        if envelope.transaction.sender.path.0.is_none() {
            return undeliverable(&history, task.has_refusals, fate);
        }
        let is_final = |name: &Line| self.is_final(name);
        let teller = Teller { hostname: &self.hostname, retry: &self.retry, is_final: &is_final };
        teller.outcomes(&history, message)?;
        if delay {
            teller.delay(&history, message, task)?;
        }
        Ok(fate)
    }
}

/// Nobody is ever told of mail from `<>`: when all else is done a person has to look
/// at it, and decides anew.
fn undeliverable(history: &History<'_>, has_refusals: bool, fate: Fate) -> Result<Fate, SpoolError> {
    if fate != Fate::Done || !has_refusals {
        return Ok(fate);
    }
    let time = Timestamp::now();
    history.note(&[Done::Reopened { time }])?;
    Ok(Fate::Undeliverable)
}

/// How old a message is, as its id tells; nothing where the clock has gone back.
pub(crate) fn age_of(id: MessageId) -> Duration {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    Duration::from_millis(now.saturating_sub(id.millis()))
}

impl Teller<'_> {
    /// Tells of every recipient in the journal of whom the sender was not told. The
    /// notice, if there was anything to tell.
    pub(crate) fn outcomes(
        &self,
        history: &History<'_>,
        message: &Message,
    ) -> Result<Option<Accepted>, SpoolError> {
        let mut owed = Owed::new(&message.envelope);
        history.visit(|done| owed.take(done, self.is_final))?;
        self.send(history, message, owed, Told::Outcomes)
    }

    /// Tells of every recipient who has not got it yet, with what was said of him in
    /// this round.
    fn delay(
        &self,
        history: &History<'_>,
        message: &Message,
        task: &Task,
    ) -> Result<Option<Accepted>, SpoolError> {
        let envelope = &message.envelope;
        let mut owed = Owed::new(envelope);
        let mut open = unsettled(history, envelope)?;
        let now = Timestamp::now();
        for Recipient { address, .. } in &envelope.transaction.recipients {
            if open.remove(address) {
                let (time, reply) = task.failures.latest(address).unwrap_or_else(|| (now, task.trouble()));
                owed.add(address, Action::Delayed, time, reply);
            }
        }
        self.send(history, message, owed, Told::Delay)
    }

    fn send(
        &self,
        history: &History<'_>,
        message: &Message,
        owed: Owed<'_>,
        told: Told,
    ) -> Result<Option<Accepted>, SpoolError> {
        let Owed { entries, more, .. } = owed;
        if entries.is_empty() {
            return Ok(None);
        }
        let envelope = &message.envelope;
        let notice = Notice {
            envelope,
            hostname: self.hostname,
            entries,
            more,
            now: Timestamp::now(),
            lifetime: self.retry.lifetime,
        };
        let returned = Returned::read(message, notice.tells_of_failure());
        let Some(composed) = notice.compose(&returned) else { return Ok(None) };
        let mut draft = history.begin_notice(composed.transaction)?;
        draft.write(&composed.content)?;
        let accepted = history.tell(draft, told)?;
        info!(id = %envelope.id, notice = %accepted.id, ?told, recipients = notice.entries.len() as u64 + more,
            "sender told");
        Ok(Some(accepted))
    }
}

/// The recipients of whom the journal does not say that nothing more is to be done.
pub(crate) fn unsettled<'a>(
    history: &History<'_>,
    envelope: &'a Envelope,
) -> Result<HashSet<&'a Address>, SpoolError> {
    let recipients = envelope.transaction.recipients.iter();
    let mut open: HashSet<&Address> = recipients.map(|recipient| &recipient.address).collect();
    history.visit(|done| {
        if let Some(key) = done.settles() {
            open.remove(&key.original);
        }
    })?;
    Ok(open)
}

/// What a sender is to be told, in bounded memory.
struct Owed<'a> {
    params: HashMap<&'a Address, &'a RcptParams>,
    entries: Vec<Entry>,
    more: u64,
}

impl<'a> Owed<'a> {
    fn new(envelope: &'a Envelope) -> Self {
        let recipients = &envelope.transaction.recipients;
        let params = recipients.iter().map(|recipient| (&recipient.address, &recipient.params)).collect();
        Self { params, entries: Vec::new(), more: 0 }
    }

    /// Takes in a line of the journal. What was told before is forgotten.
    fn take(&mut self, done: Done, is_final: &dyn Fn(&Line) -> bool) {
        match done {
            Done::Delivered { time, key, reply } if is_final(&key.transport) => {
                self.add(&key.original, Action::Delivered, time, reply);
            }
            Done::Relayed { time, key, reply } => self.add(&key.original, Action::Relayed, time, reply),
            Done::Refused { time, key, reply } => self.add(&key.original, Action::Failed, time, reply),
            Done::Expired { time, key, reply } => self.add(&key.original, Action::Expired, time, reply),
            Done::Reported { .. } => (self.entries, self.more) = (Vec::new(), 0),
            Done::Reopened { .. } => {
                self.entries.retain(|entry| !matches!(entry.action, Action::Failed | Action::Expired));
            }
            Done::Delivered { .. } | Done::Failed { .. } | Done::Interrupted(_) | Done::Delayed { .. } => {}
        }
    }

    fn asks(&self, recipient: &Address) -> Asks {
        let nothing = Asks { success: false, failure: false, delay: false };
        self.params.get(recipient).map_or(nothing, |params| Asks::from(*params))
    }

    fn add(&mut self, recipient: &Address, action: Action, time: Timestamp, reply: Line) {
        let asks = self.asks(recipient);
        let wanted = match action {
            Action::Failed | Action::Expired => asks.failure,
            Action::Delayed => asks.delay,
            Action::Delivered | Action::Relayed => asks.success,
        };
        match self.params.get(recipient) {
            Some(params) if wanted && self.entries.len() < NOTICE_RECIPIENTS_MAX => {
                let (recipient, params) = (recipient.clone(), (*params).clone());
                self.entries.push(Entry { recipient, params, action, time, reply });
            }
            _ => self.more += u64::from(wanted),
        }
    }
}
