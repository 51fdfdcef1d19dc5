//! What was done about a message so far: one line each, appended and synced.
//!
//! A delivery that is cut short reads here which recipients are done, so that
//! a changed alias or a second routing repeats nothing, and of which of them the
//! sender was told. The last line may be torn by a crash; a line that can't be
//! read must never hide the others.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::io;

use lazaret_envelope::{Address, Attempt, Line, MessageId, Timestamp, take_path};

use crate::storage::StoredFile;

/// First line of every journal: the kind of document and its version.
const HEADING: &str = "lazaret-journal 1";

/// Longest journal that is read, in bytes.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;

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

/// What a journal says.
#[derive(Debug, Default)]
pub struct Journal {
    /// The recipients that have the message.
    pub delivered: HashSet<Key>,
    /// Those who will never get it, by original and final address: whichever
    /// transport refused them, the sender was told that they have failed.
    refused: HashSet<(Address, Address)>,
    /// What came to nothing, oldest first.
    pub attempts: Vec<Attempt>,
    /// Recipients that got it of whom the sender was not told.
    pub untold_successes: usize,
    /// Recipients that will never get it of whom the sender was not told.
    pub untold_failures: usize,
    /// The sender was told that it takes longer.
    pub delay_told: bool,
}

impl Journal {
    /// The text to append to a journal. Ends whatever stands before it, even if
    /// that reads well: after a failed fsync what is seen may not be what is on
    /// the disk. One of which a crash has left nothing but the name begins anew.
    pub(crate) fn text(file: &dyn StoredFile, done: &[Done]) -> io::Result<String> {
        let mut text = if file.status()?.size == 0 { format!("{HEADING}\n") } else { "\n".to_owned() };
        for line in done {
            let _ = writeln!(text, "{line}");
        }
        Ok(text)
    }

    /// Reads a journal, leaving out what can't be understood.
    pub(crate) fn read(file: &dyn StoredFile) -> io::Result<Self> {
        Ok(Self::parse(&bytes(file)?))
    }

    /// Reads a journal line by line, leaving out what can't be understood.
    pub(crate) fn visit(file: &dyn StoredFile, visit: &mut dyn FnMut(Done)) -> io::Result<()> {
        lines(&bytes(file)?).for_each(visit);
        Ok(())
    }

    /// Whether nothing more is to be done for a recipient.
    #[must_use]
    pub fn is_settled(&self, key: &Key) -> bool {
        let refused = || self.refused.contains(&(key.original.clone(), key.final_address.clone()));
        self.delivered.contains(key) || (!self.refused.is_empty() && refused())
    }

    /// Whether somebody will never get it.
    #[must_use]
    pub fn has_refusals(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether something stands there of which nothing can be read. An empty one,
    /// or one with a torn line, is what a crash may leave.
    pub(crate) fn says_nothing(file: &dyn StoredFile) -> io::Result<bool> {
        let mut heading = [0; HEADING.len()];
        let count = file.read_at(&mut heading, 0)?;
        if HEADING.as_bytes().starts_with(&heading[..count]) {
            return Ok(false);
        }
        let journal = Self::read(file)?;
        Ok(journal.delivered.is_empty() && journal.attempts.is_empty())
    }

    /// Parses a journal's text, leaving out what can't be understood.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut journal = Self::default();
        lines(bytes).for_each(|done| journal.take(done));
        journal
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Delivered { key, .. } | Done::Relayed { key, .. } => {
                self.delivered.insert(key);
                self.untold_successes += 1;
            }
            Done::Failed { time, key, reply } => self.came_to_nothing(time, &key, &reply),
            Done::Refused { time, key, reply } | Done::Expired { time, key, reply } => {
                self.came_to_nothing(time, &key, &reply);
                self.refused.insert((key.original, key.final_address));
                self.untold_failures += 1;
            }
            Done::Interrupted(attempt) => self.attempts.push(attempt),
            Done::Reported { .. } => (self.untold_successes, self.untold_failures) = (0, 0),
            Done::Delayed { .. } => self.delay_told = true,
            Done::Reopened { .. } => {
                self.refused.clear();
                self.untold_failures = 0;
            }
        }
    }

    fn came_to_nothing(&mut self, time: Timestamp, key: &Key, reply: &Line) {
        let what = Line::escaped(format!("<{}> via {}: {reply}", key.original, key.transport));
        self.attempts.push(Attempt { time, what });
    }
}

/// All of a journal, as far as it is read.
fn bytes(file: &dyn StoredFile) -> io::Result<Vec<u8>> {
    let size = file.status()?.size.min(JOURNAL_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Done> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok().and_then(parse_line))
}

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

fn parse_line(line: &str) -> Option<Done> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        "2026-11-22T08:00:00Z".parse().unwrap()
    }

    fn key(to: &str) -> Key {
        Key {
            original: to.parse().unwrap(),
            transport: Line::escaped("reinject"),
            final_address: "\"x y>\"@b".parse().unwrap(),
        }
    }

    fn samples() -> Vec<Done> {
        let time = time();
        let notice = MessageId::from_parts(1, 2);
        vec![
            Done::Delivered { time, key: key("a@b"), reply: Line::escaped("250 2.0.0 queued as 7") },
            Done::Failed { time, key: key("c@d"), reply: Line::escaped("451 later") },
            Done::Relayed { time, key: key("e@f"), reply: Line::escaped("250 ok") },
            Done::Refused { time, key: key("g@h"), reply: Line::escaped("550 no") },
            Done::Expired { time, key: key("i@j"), reply: Line::escaped("450 later") },
            Done::Interrupted(Attempt { time, what: Line::escaped("worker 1: cut short") }),
            Done::Reported { time, notice },
            Done::Delayed { time, notice },
            Done::Reopened { time },
        ]
    }

    #[test]
    fn lines_round_trip_and_a_torn_one_is_none_or_as_good() {
        for (line, word) in samples().into_iter().zip(JOURNAL_WORDS) {
            let text = line.to_string();
            assert!(text.starts_with(&format!("{word} ")), "{text}");
            assert_eq!(parse_line(&text), Some(line));
        }
        let reopened = Done::Reopened { time: time() }.to_string();
        assert!((0..reopened.len()).all(|length| parse_line(&reopened[..length]).is_none()));
    }

    #[test]
    fn what_the_sender_was_told_is_told_once() {
        let parsed = |lines: &[Done]| {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            Journal::parse(text.as_bytes())
        };
        let mut lines = samples();
        let journal = parsed(&lines[..6]);
        assert_eq!((journal.untold_successes, journal.untold_failures), (2, 2));
        let settled = |to| journal.is_settled(&key(to));
        assert_eq!(["a@b", "c@d", "e@f", "g@h", "i@j"].map(settled), [true, false, true, true, true]);
        let elsewhere = Key { transport: Line::escaped("other"), ..key("g@h") };
        assert!(journal.is_settled(&elsewhere), "whichever transport");
        assert_eq!(journal.attempts.len(), 4);

        let journal = parsed(&lines[..8]);
        assert_eq!((journal.untold_successes, journal.untold_failures, journal.delay_told), (0, 0, true));
        assert!(journal.is_settled(&key("g@h")));
        let again = parsed(&lines);
        assert!(!again.is_settled(&key("g@h")) && again.is_settled(&key("a@b")) && !again.has_refusals());
        lines.extend(samples().drain(3..4));
        assert_eq!(parsed(&lines).untold_failures, 1);
    }

    #[test]
    fn a_torn_or_padded_line_hides_no_other() {
        let samples = samples();
        let [first, second, third] = [0, 1, 5].map(|place| &samples[place]);
        let torn = format!("{HEADING}\n{first}\ndelivered 2026-11-22T0\0\0\n{second}\n{third}\ninterru");
        let journal = Journal::parse(torn.as_bytes());
        assert_eq!((journal.delivered.len(), journal.attempts.len()), (1, 2));
        assert_eq!(journal.attempts[0].what.as_str(), "<c@d> via reinject: 451 later");
    }
}
