//! What was done about a message so far: one line each, appended and synced.
//!
//! A delivery that is cut short reads here which recipients are done, so that
//! a changed alias or a second routing repeats nothing, and of which of them the
//! sender was told. The last line may be torn by a crash; a line that can't be
//! read must never hide the others.

mod line;

use std::borrow::Borrow;
use std::collections::{HashSet, VecDeque};
use std::fmt::{Display, Write as _};
use std::io::{self, BufRead, BufReader, Read, Write as _};

use lazaret_envelope::{ATTEMPTS_MAX, Attempt, LINE_BYTES_MAX, Line, Timestamp};

use crate::storage::StoredFile;
use line::parse_line;
pub use line::{Done, JOURNAL_WORDS, Key};

/// First line of every journal: the kind of document and its version.
const HEADING: &str = "lazaret-journal 1";

/// Bytes that are read or appended in one go, more or less.
const BLOCK_BYTES: usize = 64 << 10;

/// What a journal says, in memory that does not depend on its length but on the
/// recipients in it: 16 bytes each.
#[derive(Debug, Default)]
pub struct Journal {
    /// The recipients that have the message.
    delivered: HashSet<Trace>,
    /// Those who will never get it, by original and final address: whichever
    /// transport refused them, the sender was told that they have failed.
    refused: HashSet<Trace>,
    /// The latest of what came to nothing, oldest first, at most [`ATTEMPTS_MAX`].
    pub attempts: VecDeque<Attempt>,
    /// Recipients that got it of whom the sender was not told.
    pub untold_successes: usize,
    /// Recipients that will never get it of whom the sender was not told.
    pub untold_failures: usize,
    /// The sender was told that it takes longer.
    pub delay_told: bool,
}

/// What is kept of a recipient: half of a BLAKE3 digest. That two are the same is
/// as unlikely as that another message has the digest of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Trace([u8; 16]);

impl Trace {
    fn of(text: impl Display) -> Self {
        let mut hasher = blake3::Hasher::new();
        // A hasher takes whatever it is given.
        let _ = write!(hasher, "{text}");
        let mut trace = [0; 16];
        hasher.finalize_xof().fill(&mut trace);
        Self(trace)
    }

    /// Of a recipient, whichever the transport.
    fn anywhere(key: &Key) -> Self {
        Self::of(format_args!("<{}> <{}>", key.original, key.final_address))
    }
}

impl Journal {
    /// Appends to a journal and syncs it. Ends whatever stands before, even if
    /// that reads well: after a failed fsync what is seen may not be what is on
    /// the disk. One of which a crash has left nothing but the name begins anew.
    pub(crate) fn append(
        file: &mut dyn StoredFile,
        done: impl IntoIterator<Item: Borrow<Done>>,
    ) -> io::Result<()> {
        let mut text = if file.status()?.size == 0 { format!("{HEADING}\n") } else { "\n".to_owned() };
        for line in done {
            let _ = writeln!(text, "{}", line.borrow());
            if text.len() >= BLOCK_BYTES {
                file.append(text.as_bytes())?;
                text.clear();
            }
        }
        file.append(text.as_bytes())?;
        file.sync()
    }

    /// Reads a journal, leaving out what can't be understood.
    pub(crate) fn read(file: &dyn StoredFile) -> io::Result<Self> {
        let mut journal = Self::default();
        Self::visit(file, &mut |done| journal.take(done))?;
        Ok(journal)
    }

    /// Reads a journal line by line, leaving out what can't be understood.
    pub(crate) fn visit(file: &dyn StoredFile, visit: &mut dyn FnMut(Done)) -> io::Result<()> {
        lines(BufReader::with_capacity(BLOCK_BYTES, FromStart { file, offset: 0 }), visit)
    }

    /// Whether nothing more is to be done for a recipient.
    #[must_use]
    pub fn is_settled(&self, key: &Key) -> bool {
        (!self.delivered.is_empty() && self.delivered.contains(&Trace::of(key)))
            || (!self.refused.is_empty() && self.refused.contains(&Trace::anywhere(key)))
    }

    /// How many recipients have the message.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.delivered.len()
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
        let mut nothing = true;
        Self::visit(file, &mut |_| nothing = false)?;
        Ok(nothing)
    }

    /// Parses a journal's text, leaving out what can't be understood.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut journal = Self::default();
        // Bytes in memory can always be read.
        let _ = lines(bytes, &mut |done| journal.take(done));
        journal
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Delivered { key, .. } | Done::Relayed { key, .. } => {
                self.delivered.insert(Trace::of(&key));
                self.untold_successes += 1;
            }
            Done::Failed { time, key, reply } => self.came_to_nothing(time, &key, &reply),
            Done::Refused { time, key, reply } | Done::Expired { time, key, reply } => {
                self.came_to_nothing(time, &key, &reply);
                self.refused.insert(Trace::anywhere(&key));
                self.untold_failures += 1;
            }
            Done::Interrupted(attempt) => self.attempt(attempt),
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
        self.attempt(Attempt { time, what });
    }

    fn attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
    }
}

/// A file of the spool, read from its start.
struct FromStart<'a> {
    file: &'a dyn StoredFile,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Calls `visit` with each line that can be understood. One that is longer than a
/// line can be was none; no more of it is held.
fn lines(mut text: impl BufRead, visit: &mut dyn FnMut(Done)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut text).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_none() && line.len() == LINE_BYTES_MAX {
            text.skip_until(b'\n')?;
        } else if let Some(done) = std::str::from_utf8(&line).ok().and_then(parse_line) {
            visit(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use lazaret_envelope::MessageId;

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
        assert_eq!((journal.delivered(), journal.attempts.len()), (1, 2));
        assert_eq!(journal.attempts[0].what.as_str(), "<c@d> via reinject: 451 later");
    }

    #[test]
    fn what_no_line_can_be_hides_none_and_only_the_latest_attempts_are_kept() {
        let [first, second, third] = [0, 1, 5].map(|place| samples()[place].to_string());
        let endless = format!("{first}{}", "x".repeat(3 * LINE_BYTES_MAX));
        let journal = Journal::parse(format!("{HEADING}\n{endless}\n{first}\n{endless}").as_bytes());
        assert_eq!((journal.delivered(), journal.is_settled(&key("a@b"))), (1, true));
        let longest = format!("{third}{}", "x".repeat(Line::BYTES_MAX - 20));
        let many = format!("{longest}\n{}{third}", format!("{second}\n").repeat(2 * ATTEMPTS_MAX));
        let attempts = Journal::parse(many.as_bytes()).attempts;
        assert_eq!(
            (attempts.len(), attempts[0].what == attempts[ATTEMPTS_MAX - 2].what),
            (ATTEMPTS_MAX, true)
        );
        assert_eq!(attempts[ATTEMPTS_MAX - 1].what.as_str(), "worker 1: cut short");
    }
}
