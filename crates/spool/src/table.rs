//! The recovery table: what is found at a start, and what is done about it.
//!
//! Values only; `queue-layout.md` has the same table in words. No row must ever
//! delete accepted mail.

use lazaret_envelope::Cause;

/// Strikes that a message may have and still be tried again.
pub const STRIKES_MAX: u8 = 1;

/// Deliveries that may be cut short before a message is deferred.
pub const INTERRUPTIONS_MAX: u8 = 5;

/// What recovery found in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// `tmp/`, or a file of `lazaret submit` in `drop/`: its writer holds the lock.
    BeingWritten,
    /// The same, but nobody holds the lock; never acknowledged.
    LeftUnfinished,
    /// `drop/`: whatever else lies there; intake takes it in.
    Dropped,
    /// `tmp/`: a dropped file in hand; it is taken in again.
    TakenOriginal,
    /// `tmp/`: the whole copy of a dropped file.
    TakenCopy {
        /// The original is still there.
        original: bool,
    },
    /// `claimed/`: cut short in a worker's hands.
    Claimed {
        /// Strikes in its name.
        strikes: u8,
        /// A whole report was written: it was being deferred.
        report: bool,
    },
    /// `outbound/`: cut short in delivery.
    Outbound {
        /// Interruptions in its name.
        interruptions: u8,
        /// A whole report was written: it was being deferred.
        report: bool,
    },
    /// `tmp/`, `claimed/` or `outbound/`: no name of ours.
    NoMessage,
}

/// What recovery does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leaves it alone.
    Leave,
    /// Removes it: it was never acknowledged, or another copy is accepted.
    Remove,
    /// Accepts it into `incoming/`.
    Accept,
    /// Back to `incoming/` with a strike.
    Strike,
    /// Back to `incoming/` with an interruption.
    Interrupt,
    /// To `deferred/`, with a report.
    Defer(Cause),
    /// To `deferred/`, beside the report that is there already.
    FinishDefer,
    /// To `deferred/` as something foreign.
    SetAside,
}

/// The table.
pub(crate) fn decide(found: Found) -> Action {
    match found {
        Found::BeingWritten | Found::TakenOriginal | Found::Dropped => Action::Leave,
        Found::LeftUnfinished | Found::TakenCopy { original: true } => Action::Remove,
        Found::TakenCopy { original: false } => Action::Accept,
        Found::Claimed { report: true, .. } | Found::Outbound { report: true, .. } => Action::FinishDefer,
        Found::Claimed { strikes, .. } if strikes >= STRIKES_MAX => Action::Defer(Cause::Interrupted),
        Found::Claimed { .. } => Action::Strike,
        Found::Outbound { interruptions, .. } if interruptions.saturating_add(1) >= INTERRUPTIONS_MAX => {
            Action::Defer(Cause::InterruptedDelivery)
        }
        Found::Outbound { .. } => Action::Interrupt,
        Found::NoMessage => Action::SetAside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row, in words; `queue-layout.md` has the same.
    #[test]
    fn every_row_of_the_table() {
        for (found, action) in [
            (Found::BeingWritten, Action::Leave),
            (Found::TakenOriginal, Action::Leave),
            (Found::Dropped, Action::Leave),
            (Found::LeftUnfinished, Action::Remove),
            (Found::TakenCopy { original: true }, Action::Remove),
            (Found::TakenCopy { original: false }, Action::Accept),
            (Found::Claimed { strikes: 0, report: false }, Action::Strike),
            (Found::Claimed { strikes: 1, report: false }, Action::Defer(Cause::Interrupted)),
            (Found::Claimed { strikes: 255, report: false }, Action::Defer(Cause::Interrupted)),
            (Found::Claimed { strikes: 0, report: true }, Action::FinishDefer),
            (Found::Claimed { strikes: 1, report: true }, Action::FinishDefer),
            (Found::Outbound { interruptions: 0, report: false }, Action::Interrupt),
            (Found::Outbound { interruptions: 3, report: false }, Action::Interrupt),
            (Found::Outbound { interruptions: 4, report: false }, Action::Defer(Cause::InterruptedDelivery)),
            (Found::Outbound { interruptions: 0, report: true }, Action::FinishDefer),
            (Found::NoMessage, Action::SetAside),
        ] {
            assert_eq!(decide(found), action, "{found:?}");
        }
    }
}
