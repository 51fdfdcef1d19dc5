//! Who could not be given a message in a round, told in few lines.
//!
//! A next hop may have another reply for each of 250,000 recipients, in each of a
//! hundred rounds. The journal gets one line for all who were told the same, and so
//! many lines a round. It must never hold more than that, nor name one recipient as
//! the only one where there were others.

use std::collections::HashMap;

use lazaret_envelope::{ATTEMPTS_MAX, Address, Line, Timestamp};
use lazaret_spool::{Done, Key};

use crate::notice::NOTICE_RECIPIENTS_MAX;

/// Most lines of a round. A report lists no more, whatever the journal says.
pub const FAILED_LINES_MAX: usize = ATTEMPTS_MAX;

/// What came to nothing in a round.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Who was told the same, by the first of them. The last one has all for whom
    /// there was no more room.
    groups: Vec<Group>,
    /// The latest reply for those whose sender may have to be told of a delay.
    latest: HashMap<Address, (Timestamp, Line)>,
}

#[derive(Debug)]
struct Group {
    time: Timestamp,
    first: Key,
    reply: Line,
    /// More recipients with this reply.
    same: usize,
    /// More recipients with other replies.
    other: usize,
}

impl Failures {
    /// One recipient failed, and so many others alike.
    pub(crate) fn add(&mut self, first: Key, others: usize, reply: Line, time: Timestamp) {
        let is_same = |group: &&mut Group| group.reply == reply && group.first.transport == first.transport;
        if let Some(group) = self.groups.iter_mut().find(is_same) {
            group.same += 1 + others;
        } else if self.groups.len() < FAILED_LINES_MAX {
            self.groups.push(Group { time, first, reply, same: others, other: 0 });
        } else if let Some(last) = self.groups.last_mut() {
            last.other += 1 + others;
        }
    }

    /// Remembers what was said of a recipient, for a notice that names him.
    pub(crate) fn remember(&mut self, recipient: &Address, reply: &Line, time: Timestamp) {
        if self.latest.len() < NOTICE_RECIPIENTS_MAX {
            self.latest.insert(recipient.clone(), (time, reply.clone()));
        }
    }

    /// What was said of a recipient in this round.
    pub(crate) fn latest(&self, recipient: &Address) -> Option<(Timestamp, Line)> {
        self.latest.get(recipient).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The lines of the journal; none are left.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = Done> {
        self.groups.drain(..).map(|Group { time, first, reply, same, other }| {
            let many = |count: usize, what: &str| match count {
                0 => String::new(),
                1 => format!(" (and 1 more recipient{what})"),
                count => format!(" (and {count} more recipients{what})"),
            };
            let more = many(same, "") + &many(other, " with other replies");
            Done::Failed { time, key: first, reply: Line::escaped(format!("{reply}{more}")) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize, transport: &str) -> Key {
        let address: Address = format!("u{number}@b").parse().unwrap();
        Key { original: address.clone(), transport: Line::escaped(transport), final_address: address }
    }

    fn texts(failures: &mut Failures) -> Vec<String> {
        failures.lines().map(|line| line.to_string()).collect()
    }

    #[test]
    fn who_is_told_the_same_shares_a_line() {
        let (mut failures, time) = (Failures::default(), Timestamp::UNIX_EPOCH);
        for (number, transport, reply) in
            [(0, "a", "450 x"), (1, "a", "450 y"), (2, "b", "450 x"), (3, "a", "450 x")]
        {
            failures.add(key(number, transport), 0, Line::escaped(reply), time);
        }
        failures.add(key(4, "a"), 7, Line::escaped("450 x"), time);
        let lines = texts(&mut failures);
        assert!(lines[0].ends_with("<u0@b> a <u0@b> 450 x (and 9 more recipients)"), "{lines:?}");
        assert!(lines[1].ends_with("<u1@b> a <u1@b> 450 y") && lines[2].ends_with("<u2@b> b <u2@b> 450 x"));
        assert!(lines.len() == 3 && failures.is_empty());
    }

    #[test]
    fn a_round_has_so_many_lines() {
        let (mut failures, time) = (Failures::default(), Timestamp::UNIX_EPOCH);
        for number in 0..5000 {
            let reply = Line::escaped(format!("450 {number}"));
            failures.remember(&key(number, "a").original, &reply, time);
            failures.add(key(number, "a"), 0, reply, time);
        }
        let lines = texts(&mut failures);
        assert_eq!(lines.len(), FAILED_LINES_MAX);
        assert!(lines[99].ends_with("450 99 (and 4900 more recipients with other replies)"), "{}", lines[99]);
        assert!(failures.latest(&key(999, "a").original).is_some());
        assert!(failures.latest(&key(1000, "a").original).is_none(), "no more than a notice names");
    }
}
