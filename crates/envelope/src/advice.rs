//! What an operator can do next about a message in quarantine: one list for each
//! cause, put into words for whoever asks.
//!
//! The report beside a message says it for any spool; `lazaret deferred show` knows the
//! configuration and the files as well, and completes it. Nothing may be advised that
//! fails when it is typed.

use crate::cause::Cause;
use crate::id::MessageId;

/// A command that an operator can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try the message again.
    Release,
    /// Tell its sender that it is given up.
    Bounce,
    /// Delete it.
    Delete,
    /// Have the daemon read its configuration.
    Reload,
}

impl Step {
    /// Its words behind the name of the program.
    #[must_use]
    pub fn arguments(self, id: MessageId) -> String {
        match self {
            Self::Release => format!("deferred release {id}"),
            Self::Bounce => format!("deferred bounce {id}"),
            Self::Delete => format!("deferred delete {id}"),
            Self::Reload => "reload".to_owned(),
        }
    }
}

/// One thing to do, or to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// A sentence, and nothing to type.
    Say(&'static str),
    /// A sentence that ends in a command.
    Give(&'static str, Step),
    /// What the message has exceeded may be raised: the keys are those of the report.
    Raise,
    /// The file is to be mended by hand and handed in again.
    Mend,
    /// There are several files: all but one have to go.
    Choose,
    /// It is to be removed; a directory by hand.
    Remove,
}

const AGAIN: Advice = Advice::Give("try it again", Step::Release);
const BOUNCE: Advice = Advice::Give("if it can't be delivered, tell its sender", Step::Bounce);
const DELETE: Advice = Advice::Give("if nobody wants it", Step::Delete);
const REROUTE: Advice =
    Advice::Give("if it is good mail, route it before a rule that parses it; then", Step::Reload);

impl Cause {
    /// What the operator can do next.
    #[must_use]
    pub const fn advice(self) -> &'static [Advice] {
        match self {
            Self::Memory | Self::CpuTime | Self::WallTime | Self::Limit => {
                &[Advice::Raise, AGAIN, BOUNCE, DELETE]
            }
            Self::Crash | Self::Panic | Self::Tree => &[REROUTE, AGAIN, BOUNCE, DELETE],
            Self::Killed
            | Self::BusError
            | Self::Interrupted
            | Self::InterruptedDelivery
            | Self::InvalidVerdict => &[
                Advice::Say("find out what ended the process (kernel log: out of memory? power? a person?)"),
                AGAIN,
                BOUNCE,
                DELETE,
            ],
            Self::Damaged | Self::Envelope => &[
                Advice::Say("look for the disk's errors in the kernel log; compare with a backup"),
                Advice::Mend,
                DELETE,
            ],
            Self::BadDrop => &[
                Advice::Say("whoever put it into drop/ wrote no message: have that program mended"),
                Advice::Mend,
                DELETE,
            ],
            Self::Foreign => &[
                Advice::Say(
                    "it was not put there by Lazaret: find out who writes into the spool; mail from other programs belongs into drop/",
                ),
                Advice::Remove,
            ],
            Self::Duplicate => &[Advice::Choose],
            Self::LeftOver => &[
                Advice::Say(
                    "no sender was told that this is safe: read the file if you want to know what it was",
                ),
                Advice::Remove,
            ],
            Self::NoRoute => &[
                Advice::Give(
                    "add a route for the recipient (a last [[route]] without conditions takes everything); then",
                    Step::Reload,
                ),
                AGAIN,
                BOUNCE,
                DELETE,
            ],
            Self::Undeliverable => &[
                Advice::Say("read the next hop's reply above; mend the route or the next hop"),
                AGAIN,
                DELETE,
            ],
            Self::ByHand => &[AGAIN, BOUNCE, DELETE],
        }
    }

    /// The keys of the configuration of which the message has exceeded one; `detail` is
    /// the report's.
    #[must_use]
    pub fn keys(self, detail: &str) -> Vec<String> {
        let budget = |names: [&str; 2]| names.map(|name| format!("workers.{name}")).to_vec();
        match self {
            Self::Memory => budget(["memory", "memory_per_byte"]),
            Self::CpuTime => budget(["cpu_time", "cpu_time_per_mib"]),
            Self::WallTime => vec!["workers.wall_time".to_owned()],
            Self::Limit => {
                let name = detail.split(':').next().unwrap_or_default();
                let is_key = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                if is_key {
                    vec![format!("workers.limits.{name}")]
                } else {
                    vec!["workers.limits".to_owned()]
                }
            }
            _ => Vec::new(),
        }
    }
}

/// The advice for a message; one from `<>` has no sender to tell.
pub fn advice(cause: Cause, is_bounce: bool) -> impl Iterator<Item = Advice> {
    cause.advice().iter().copied().filter(move |advice| !is_bounce || *advice != BOUNCE)
}

/// The sentence about keys of the configuration that may be raised.
#[must_use]
pub fn raise(keys: &str) -> String {
    format!("if it is good mail, raise {keys}, or route it before a rule that parses it; then")
}

impl Advice {
    /// The advice as a report gives it, which may be read on any machine.
    pub(crate) fn for_report(self, id: MessageId, keys: &[String]) -> String {
        let command = |step: Step| format!("lazaret {}", step.arguments(id));
        match self {
            Self::Say(what) => what.to_owned(),
            Self::Give(when, step) => format!("{when}: {}", command(step)),
            Self::Raise => format!("{}: {}", raise(&keys.join(" or ")), command(Step::Reload)),
            Self::Mend => {
                "it can't be released as it is: copy the file out, mend it, and put it into drop/".to_owned()
            }
            Self::Choose => {
                "compare the files of this id, keep one, and remove the others by hand".to_owned()
            }
            Self::Remove => format!(
                "if nobody wants it: {}; a directory is removed by hand, and this report with it",
                command(Step::Delete)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_says_what_comes_next() {
        for cause in Cause::ALL {
            assert!(!cause.advice().is_empty(), "{cause}");
            let can_be_raised = cause.advice().contains(&Advice::Raise);
            assert_eq!(can_be_raised, !cause.keys("parts: 3 exceeds").is_empty(), "{cause}");
        }
        assert!(advice(Cause::NoRoute, false).any(|advice| advice == BOUNCE));
        assert!(!advice(Cause::NoRoute, true).any(|advice| advice == BOUNCE));
    }

    #[test]
    fn what_was_exceeded_is_named() {
        assert_eq!(Cause::Limit.keys("parts: 9 exceeds the limit of 3"), ["workers.limits.parts"]);
        assert_eq!(Cause::Limit.keys("../x: y"), ["workers.limits"]);
        assert_eq!(Cause::WallTime.keys(""), ["workers.wall_time"]);
        let id = MessageId::from_parts(0, 1);
        let keys = Cause::Limit.keys("parts: 9");
        assert!(Advice::Raise.for_report(id, &keys).contains("raise workers.limits.parts, or route it"));
    }
}
