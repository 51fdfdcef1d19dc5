//! What the spool has promised about each message, and what was done with it:
//! kept by whoever drives a history, beside the disk and never on it.
//!
//! A message is known by a number in its content, since ids may be given late.
//! Nothing here must be learnt from the spool but what a crash has decided.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers from here on are those of notices, which come from nobody.
pub(super) const NOTICES: u32 = 1000;

/// What is known of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Mail {
    /// Its sender was told that it is safe.
    pub(super) acknowledged: bool,
    /// It is no good, and goes to quarantine as it is.
    pub(super) bad: bool,
    /// done() or delete() was called: it may be gone.
    pub(super) may_be_gone: bool,
    /// Its unlink was flushed, or a start found it gone: it may not come back.
    pub(super) gone: bool,
    /// claim() was called, and no verdict reached.
    pub(super) claimed: bool,
    /// Its content is being looked at by a worker.
    pub(super) looked_at: bool,
    /// routed() has returned.
    pub(super) routed: bool,
    /// Times it was cut short while looked at, since the last verdict or an
    /// operator's word.
    pub(super) cuts: u32,
    /// Times it was cut short in delivery, since an operator's word.
    pub(super) delivery_cuts: u32,
    /// Whether it was claimed, without a verdict, when all went down last.
    pub(super) cut_claimed: bool,
    /// defer() was called.
    pub(super) faulted: bool,
    /// Recipients of whom was noted that nothing more is to be done.
    pub(super) noted: BTreeSet<u32>,
    /// Those of them who were refused, or expired.
    pub(super) refused: BTreeSet<u32>,
    /// How often done() was called.
    pub(super) deliveries: u32,
    /// The notices to its sender, and whom each of them names; each counts once it
    /// is accepted.
    pub(super) notices: BTreeMap<u32, BTreeSet<u32>>,
    /// An operator has deleted it: nobody has to be told.
    pub(super) deleted: bool,
}

/// Everything that was promised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    pub(super) mails: BTreeMap<u32, Mail>,
}

impl Mail {
    /// A verdict was reached.
    pub(super) fn judged(&mut self) {
        (self.claimed, self.routed) = (false, true);
    }

    /// Nobody has it in hand any more.
    pub(super) fn let_go(&mut self) {
        (self.claimed, self.looked_at, self.routed) = (false, false, false);
    }

    /// Refusals don't count any more, or soon won't.
    pub(super) fn reopened(&mut self) {
        for number in std::mem::take(&mut self.refused) {
            self.noted.remove(&number);
        }
    }

    /// An operator wants it tried again.
    pub(super) fn pardoned(&mut self) {
        (self.cuts, self.delivery_cuts, self.faulted) = (0, 0, false);
    }
}

impl Ledger {
    /// A number that no notice has.
    pub(super) fn new_notice(&self) -> u32 {
        self.mails.keys().next_back().map_or(NOTICES, |last| NOTICES.max(last + 1))
    }

    pub(super) fn mail(&mut self, label: u32) -> &mut Mail {
        self.mails.entry(label).or_default()
    }

    /// The process, or the machine, went down.
    pub(super) fn cut(&mut self) {
        for mail in self.mails.values_mut() {
            mail.cuts += u32::from(mail.looked_at);
            mail.delivery_cuts += u32::from(mail.routed);
            mail.cut_claimed |= mail.claimed;
            (mail.looked_at, mail.claimed, mail.routed) = (false, false, false);
        }
    }

    /// A start has brought everything in order: what is there stays, what is not
    /// there is gone for ever.
    pub(super) fn decided(&mut self, there: &BTreeSet<u32>) {
        for (label, mail) in &mut self.mails {
            let there = there.contains(label);
            mail.gone |= !there;
            mail.may_be_gone = !there;
            // Whoever was not told will send it again; this one is delivered too.
            mail.acknowledged |= there;
            mail.cut_claimed = false;
        }
    }

    /// Everything that was removed is durably so.
    pub(super) fn flushed(&mut self) {
        self.mails.values_mut().for_each(|mail| mail.gone |= mail.may_be_gone);
    }
}
