//! Why a message lies in quarantine, and whose fault that was.
//!
//! One enum, one word each: the words stand in file names, reports, logs and
//! commands. A word must never change its meaning once released.

use std::fmt;
use std::str::FromStr;

/// Whose fault it was that a message could not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The message: processing it again would end the same way.
    Message,
    /// Nobody knows: the message may be innocent.
    Unknown,
    /// The disk or whoever wrote to it: what lies there is not what was accepted.
    Disk,
    /// The next hop refused it.
    NextHop,
    /// The configuration or the operator asked for it.
    Policy,
}

impl Blame {
    const fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Unknown => "unknown",
            Self::Disk => "disk",
            Self::NextHop => "next-hop",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a message was deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The memory budget was exceeded.
    Memory,
    /// The CPU budget was exceeded.
    CpuTime,
    /// The wall-time budget was exceeded.
    WallTime,
    /// The cell died of a signal that its own code raised.
    Crash,
    /// The cell panicked.
    Panic,
    /// A structure limit was exceeded.
    Limit,
    /// The part tree is malformed: it contains itself, or lost the message.
    Tree,
    /// The cell was killed from outside, twice.
    Killed,
    /// Reading the file failed in the cell (SIGBUS), twice, though its bytes are right.
    BusError,
    /// The cell answered nonsense, twice.
    InvalidVerdict,
    /// Lazaret or the machine went down twice while the message was claimed.
    Interrupted,
    /// Lazaret or the machine went down again and again during delivery.
    InterruptedDelivery,
    /// The bytes are not those that were accepted.
    Damaged,
    /// The envelope can't be read.
    Envelope,
    /// A file in `drop/` is no message that can be taken in.
    BadDrop,
    /// Not a message of the spool: a directory, a link, a foreign name.
    Foreign,
    /// Two different files bear the same id.
    Duplicate,
    /// No mail, or none that was ever acknowledged: what somebody was writing when
    /// he ended, a report or journal that belongs to nothing.
    LeftOver,
    /// No route matches one of the recipients.
    NoRoute,
    /// The next hop refused it for good.
    Undeliverable,
    /// An operator put it here by hand.
    ByHand,
}

impl Cause {
    /// Every cause, in the order in which documents list them.
    pub const ALL: [Self; 21] = [
        Self::Memory,
        Self::CpuTime,
        Self::WallTime,
        Self::Crash,
        Self::Panic,
        Self::Limit,
        Self::Tree,
        Self::Killed,
        Self::BusError,
        Self::InvalidVerdict,
        Self::Interrupted,
        Self::InterruptedDelivery,
        Self::Damaged,
        Self::Envelope,
        Self::BadDrop,
        Self::Foreign,
        Self::Duplicate,
        Self::LeftOver,
        Self::NoRoute,
        Self::Undeliverable,
        Self::ByHand,
    ];

    /// The word for it in file names, reports, logs and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::CpuTime => "cpu-time",
            Self::WallTime => "wall-time",
            Self::Crash => "crash",
            Self::Panic => "panic",
            Self::Limit => "limit",
            Self::Tree => "tree",
            Self::Killed => "killed",
            Self::BusError => "bus-error",
            Self::InvalidVerdict => "invalid-verdict",
            Self::Interrupted => "interrupted",
            Self::InterruptedDelivery => "interrupted-delivery",
            Self::Damaged => "damaged",
            Self::Envelope => "envelope",
            Self::BadDrop => "bad-drop",
            Self::Foreign => "foreign",
            Self::Duplicate => "duplicate",
            Self::LeftOver => "left-over",
            Self::NoRoute => "no-route",
            Self::Undeliverable => "undeliverable",
            Self::ByHand => "by-hand",
        }
    }

    /// Whose fault it was.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Memory
            | Self::CpuTime
            | Self::Crash
            | Self::Panic
            | Self::Limit
            | Self::Tree
            | Self::BadDrop => Blame::Message,
            Self::WallTime
            | Self::Killed
            | Self::BusError
            | Self::InvalidVerdict
            | Self::Interrupted
            | Self::InterruptedDelivery => Blame::Unknown,
            Self::Damaged | Self::Envelope | Self::Foreign | Self::Duplicate | Self::LeftOver => Blame::Disk,
            Self::Undeliverable => Blame::NextHop,
            Self::NoRoute | Self::ByHand => Blame::Policy,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|cause| cause.word() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("{text:?} is no cause; the causes are {words}")
        })
    }
}

/// How far a cell had come with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// It has no message.
    Idle = 0,
    /// It has been given the file.
    Taken = 1,
    /// It reads or maps the file and its envelope.
    Read = 2,
    /// It parses the header fields.
    Headers = 3,
    /// It parses the whole message.
    Parse = 4,
    /// It evaluates the routes.
    Route = 5,
    /// It gives back what the message took.
    TearDown = 6,
    /// It answers.
    Answer = 7,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Taken,
        Self::Read,
        Self::Headers,
        Self::Parse,
        Self::Route,
        Self::TearDown,
        Self::Answer,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Taken => "taken",
            Self::Read => "read",
            Self::Headers => "headers",
            Self::Parse => "parse",
            Self::Route => "route",
            Self::TearDown => "tear-down",
            Self::Answer => "answer",
        }
    }
}

impl From<u32> for Stage {
    /// The stage of that number; [`Idle`](Self::Idle) for one that is none.
    fn from(number: u32) -> Self {
        Self::ALL.into_iter().find(|&stage| stage as u32 == number).unwrap_or(Self::Idle)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|stage| stage.word() == text);
        known.ok_or_else(|| format!("{text:?} is no stage"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_word() {
        for cause in Cause::ALL {
            assert_eq!(cause.word().parse(), Ok(cause));
            assert!(
                cause.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "fits into a file name"
            );
        }
        assert!("no such".parse::<Cause>().unwrap_err().contains("memory, cpu-time"));
    }

    #[test]
    fn stages_are_numbers_and_words() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from(stage as u32), stage);
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
        assert_eq!(Stage::from(99), Stage::Idle);
    }
}
