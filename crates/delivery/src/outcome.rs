//! What a transport answers: what became of each recipient.
//!
//! It must never say less than one outcome for each recipient of a transaction.

use lazaret_envelope::Line;

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has the message; with the reply, or where the copy lies.
    Delivered(Line),
    /// It was given to a next hop that will tell the sender nothing of it.
    Relayed(Line),
    /// It may work later.
    Transient(Line),
    /// It will never work.
    Permanent(Line),
}

impl Outcome {
    /// The outcome where the sender wants to be told of successes, or does not: then
    /// it matters little who would tell him.
    pub(crate) fn told_if(self, wanted: bool) -> Self {
        match self {
            Self::Relayed(reply) if !wanted => Self::Delivered(reply),
            outcome => outcome,
        }
    }
}

/// What became of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Handled {
    /// One for each recipient that was handed over, in that order; none at all
    /// where it never came to a transaction, and none without trouble where no
    /// next hop may be asked now.
    pub(crate) outcomes: Vec<Outcome>,
    /// The next hop is in no state for another transaction, and why.
    pub(crate) trouble: Option<Line>,
}
