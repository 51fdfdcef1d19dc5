//! Reports about messages that a worker defers, and what a cell's end means in
//! words.
//!
//! What is known and nothing else: a report must never hold a guess.

use lazaret_envelope::{Budget, Cause, Envelope, Line, MessageId, Report, Timestamp};
use lazaret_spool::WorkerId;

use crate::child::{Ended, Judged};
use crate::fault::{Ending, cause_of};
use crate::frame::Answer;
use crate::repeats::Repeat;

/// What all reports of one worker about one message have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter {
    pub(crate) id: MessageId,
    pub(crate) worker: WorkerId,
    pub(crate) now: Timestamp,
}

impl Reporter {
    /// About a file that is no whole message.
    pub(crate) fn unreadable(self, cause: Cause, detail: &str) -> Report {
        let mut report = Report::new(self.id, cause, Line::escaped(detail), self.now);
        report.worker = Some(self.worker.0);
        report
    }

    /// About a message that was at fault without a cell's doing.
    pub(crate) fn fault(self, cause: Cause, detail: &str, envelope: &Envelope, budget: Budget) -> Report {
        let mut report = self.unreadable(cause, detail).about(envelope);
        report.budget = Some(budget);
        report
    }

    /// About a copy of a message that was to blame.
    pub(crate) fn repeat(self, repeat: Repeat, envelope: &Envelope, budget: Budget) -> Report {
        let mut report = self.fault(repeat.cause, &repeat.detail, envelope, budget);
        report.fingerprint = Some(repeat.fingerprint);
        report
    }

    /// About a message that was at fault in a cell.
    pub(crate) fn judged(
        self,
        cause: Cause,
        detail: &str,
        envelope: &Envelope,
        budget: Budget,
        judged: &Judged,
    ) -> Report {
        let mut report = self.fault(cause, detail, envelope, budget);
        report.stage = Some(judged.stage);
        report.usage = Some(judged.usage);
        if let Ended::Died(ending) = judged.ended {
            report.ending = Some(Line::escaped(ending.to_string()));
        }
        report
    }
}

/// What was at fault, in a word and in a sentence; `None` if nothing was.
pub(crate) fn fault_of(judged: &Judged) -> Option<(Cause, String)> {
    Some(match &judged.ended {
        Ended::Stopped | Ended::GaveWay(_) | Ended::Answered(Answer::Verdict(_)) => return None,
        Ended::Answered(Answer::Fault(cause, detail)) => (*cause, detail.to_string()),
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
    })
}

/// The sentence about a cell's death.
fn describe(cause: Cause, ending: Ending) -> String {
    match cause {
        Cause::Memory => "the memory budget is used up".to_owned(),
        Cause::Panic => "the parser panicked".to_owned(),
        Cause::Killed => format!("the cell was killed from outside, by {ending} (out of memory? a person?)"),
        Cause::BusError => format!("reading the file failed in the cell, by {ending}"),
        Cause::InvalidVerdict => format!("the cell ended by itself without an answer, {ending}"),
        _ => format!("the cell died of {ending}"),
    }
}
