//! What was done about a message so far: one line each, appended and synced.
//!
//! A delivery that is cut short reads here which recipients are done, so that
//! a changed alias or a second routing repeats nothing. The last line may be
//! torn by a crash; a line that can't be read must never hide the others.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::io;

use lazaret_envelope::{Address, Attempt, Line, Timestamp, take_path};

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
    /// The work on the message was cut short.
    Interrupted(Attempt),
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Journal {
    /// The recipients that have the message.
    pub delivered: HashSet<Key>,
    /// What came to nothing, oldest first.
    pub attempts: Vec<Attempt>,
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
        let size = file.status()?.size.min(JOURNAL_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(Self::parse(&bytes[..filled]))
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

    fn parse(bytes: &[u8]) -> Self {
        let mut journal = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            match std::str::from_utf8(line).ok().and_then(parse_line) {
                Some(Done::Delivered { key, .. }) => drop(journal.delivered.insert(key)),
                Some(Done::Failed { time, key, reply }) => {
                    let what = Line::escaped(format!("<{}> via {}: {reply}", key.original, key.transport));
                    journal.attempts.push(Attempt { time, what });
                }
                Some(Done::Interrupted(attempt)) => journal.attempts.push(attempt),
                None => {}
            }
        }
        journal
    }
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
            Self::Interrupted(Attempt { time, what }) => write!(f, "interrupted {time} {what}"),
        }
    }
}

fn parse_line(line: &str) -> Option<Done> {
    let (word, rest) = line.split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let time = time.parse().ok()?;
    if word == "interrupted" {
        return Some(Done::Interrupted(Attempt { time, what: Line::parse(rest).ok()? }));
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
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Done> {
        let time: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let key = |to: &str| Key {
            original: to.parse().unwrap(),
            transport: Line::escaped("reinject"),
            final_address: "\"x y>\"@b".parse().unwrap(),
        };
        vec![
            Done::Delivered { time, key: key("a@b"), reply: Line::escaped("250 2.0.0 queued as 7") },
            Done::Failed { time, key: key("c@d"), reply: Line::escaped("451 later") },
            Done::Interrupted(Attempt { time, what: Line::escaped("worker 1: cut short") }),
        ]
    }

    #[test]
    fn lines_round_trip() {
        for line in lines() {
            assert_eq!(parse_line(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn a_torn_or_padded_line_hides_no_other() {
        let [first, second, third] = lines().try_into().unwrap();
        let torn = format!("{HEADING}\n{first}\ndelivered 2026-11-22T0\0\0\n{second}\n{third}\ninterru");
        let journal = Journal::parse(torn.as_bytes());
        assert_eq!((journal.delivered.len(), journal.attempts.len()), (1, 2));
        assert_eq!(journal.attempts[0].what.as_str(), "<c@d> via reinject: 451 later");
    }
}
