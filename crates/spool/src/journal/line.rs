//! One line of a journal: what it says, and its text.
//!
//! A line that a crash has torn must never read as another one.

use std::fmt;

use lazaret_envelope::{Address, Attempt, Line, MessageId, Timestamp, take_path};

/// What a recipient's delivery is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The recipient in the envelope.
    pub original: Address,
    /// The transport that took it.
    pub transport: Line,
    /// The address that the transport was given.
    pub final_address: Address,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A recipient has the message.
    Delivered {
        /// When.
        time: Timestamp,
        /// Who, how, where.
        key: Key,
        /// The reply of the next hop, or where the copy lies.
        reply: Line,
    },
    /// A recipient could not be given the message for now.
    Failed {
        /// When.
        time: Timestamp,
        /// Who, how, where.
        key: Key,
        /// The reply of the next hop, or what else was wrong.
        reply: Line,
    },
    /// A recipient has been given to a next hop that will tell the sender nothing
    /// of it (RFC 3461 section 5.2.2: "relayed").
    Relayed {
        /// When.
        time: Timestamp,
        /// Who, how, where.
        key: Key,
        /// The reply of the next hop.
        reply: Line,
    },
    /// A recipient will never get it: the next hop said so.
    Refused {
        /// When.
        time: Timestamp,
        /// Who, how, where.
        key: Key,
        /// The reply of the next hop, or what else was wrong.
        reply: Line,
    },
    /// A recipient will never get it: it was tried for long enough.
    Expired {
        /// When.
        time: Timestamp,
        /// Who, how, where.
        key: Key,
        /// The last reply of the next hop, or what else was wrong.
        reply: Line,
    },
    /// The work on the message was cut short.
    Interrupted(Attempt),
    /// The sender was told of every recipient above.
    Reported {
        /// When.
        time: Timestamp,
        /// In which message.
        notice: MessageId,
    },
    /// The sender was told that it takes longer.
    Delayed {
        /// When.
        time: Timestamp,
        /// In which message.
        notice: MessageId,
    },
    /// Nobody is told of the refusals above, and they don't count any more: a
    /// person decides.
    Reopened {
        /// When.
        time: Timestamp,
    },
}

impl Done {
    /// The recipient for whom this line says that nothing more is to be done.
    #[must_use]
    pub fn settles(self) -> Option<Key> {
        match self {
            Self::Delivered { key, .. }
            | Self::Relayed { key, .. }
            | Self::Refused { key, .. }
            | Self::Expired { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// The words that lines of a journal begin with.
pub const JOURNAL_WORDS: [&str; 9] = [
    "delivered",
    "failed",
    "relayed",
    "refused",
    "expired",
    "interrupted",
    "reported",
    "delayed",
    "reopened",
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> {} <{}>", self.original, self.transport, self.final_address)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { time, key, reply } => write!(f, "delivered {time} {key} {reply}"),
            Self::Failed { time, key, reply } => write!(f, "failed {time} {key} {reply}"),
            Self::Relayed { time, key, reply } => write!(f, "relayed {time} {key} {reply}"),
            Self::Refused { time, key, reply } => write!(f, "refused {time} {key} {reply}"),
            Self::Expired { time, key, reply } => write!(f, "expired {time} {key} {reply}"),
            Self::Interrupted(Attempt { time, what }) => write!(f, "interrupted {time} {what}"),
            Self::Reported { time, notice } => write!(f, "reported {time} {notice}"),
            Self::Delayed { time, notice } => write!(f, "delayed {time} {notice}"),
            // A blank at the end: a time that was torn is none.
            Self::Reopened { time } => write!(f, "reopened {time} "),
        }
    }
}

pub(super) fn parse_line(line: &str) -> Option<Done> {
    let (word, rest) = line.split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let time = time.parse().ok()?;
    match word {
        "interrupted" => return Some(Done::Interrupted(Attempt { time, what: Line::parse(rest).ok()? })),
        "reported" => return Some(Done::Reported { time, notice: rest.parse().ok()? }),
        "delayed" => return Some(Done::Delayed { time, notice: rest.parse().ok()? }),
        "reopened" => return rest.is_empty().then_some(Done::Reopened { time }),
        _ => {}
    }
    let (original, rest) = take_path(rest).ok()?;
    let (transport, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let (final_address, rest) = take_path(rest).ok()?;
    let reply = Line::parse(rest.strip_prefix(' ')?).ok()?;
    let key = Key {
        original: original.0?,
        transport: Line::parse(transport).ok()?,
        final_address: final_address.0?,
    };
    match word {
        "delivered" => Some(Done::Delivered { time, key, reply }),
        "failed" => Some(Done::Failed { time, key, reply }),
        "relayed" => Some(Done::Relayed { time, key, reply }),
        "refused" => Some(Done::Refused { time, key, reply }),
        "expired" => Some(Done::Expired { time, key, reply }),
        _ => None,
    }
}
