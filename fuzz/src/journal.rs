//! Journals: every whole line counts, whatever is torn or written over around it,
//! and nobody counts as served who is on no line.
//!
//! Text that begins as a journal does is read; any other bytes build lines, and say
//! where a crash tears them. A line that was synced must never be hidden by one
//! that was not.

use std::collections::HashSet;

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{Attempt, Line};
use lazaret_spool::{Done, Journal, Key};

use crate::{cost, words};

/// First line of a journal; what begins so is taken as text.
const HEADING: &str = "lazaret-journal 1\n";

/// Names that a transport may have.
const TRANSPORTS: [&str; 4] = ["mailboxes", "re-inject", "a", "X_1.b"];

/// Looks at one input.
pub fn check(data: &[u8]) {
    if data.starts_with(b"lazaret-") {
        let mut journal = Journal::default();
        cost::assert_linear(data.len(), || journal = Journal::parse(data));
        assert!(journal.delivered() + journal.attempts.len() <= data.split(|&byte| byte == b'\n').count());
    } else if let Ok((before, torn, after)) = build(&mut Unstructured::new(data)) {
        survives(&before, &torn, &after);
    }
}

/// `before` and `after` were synced; between them stands what a crash has left.
fn survives(before: &[Done], torn: &[u8], after: &[Done]) {
    let text = |lines: &[Done]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let bytes = [HEADING.as_bytes(), text(before).as_bytes(), torn, b"\n", text(after).as_bytes()].concat();
    let journal = Journal::parse(&bytes);
    let shown = String::from_utf8_lossy(&bytes);
    let synced = || before.iter().chain(after);
    let served: HashSet<&Key> = synced().filter_map(served).collect();
    assert!(served.iter().all(|key| journal.is_settled(key)), "{journal:?} of {shown}");
    let tried = synced().filter(|done| is_attempt(done)).count();
    assert!(journal.attempts.len() >= tried, "{journal:?} of {shown}");
    let last = synced()
        .rfind(|done| matches!(done, Done::Refused { .. } | Done::Expired { .. } | Done::Reopened { .. }));
    if torn.is_empty() {
        assert_eq!((journal.delivered(), journal.attempts.len()), (served.len(), tried));
        assert_eq!(journal.has_refusals(), last.is_some_and(|last| !matches!(last, Done::Reopened { .. })));
        assert_eq!(journal.delay_told, synced().any(|done| matches!(done, Done::Delayed { .. })));
    }
    if let (Some(Done::Refused { key, .. } | Done::Expired { key, .. }), true) = (last, torn.is_empty()) {
        assert!(journal.is_settled(key), "who was refused is not tried again");
    }
}

fn served(done: &Done) -> Option<&Key> {
    match done {
        Done::Delivered { key, .. } | Done::Relayed { key, .. } => Some(key),
        _ => None,
    }
}

fn is_attempt(done: &Done) -> bool {
    matches!(done, Done::Failed { .. } | Done::Refused { .. } | Done::Expired { .. } | Done::Interrupted(_))
}

fn build(u: &mut Unstructured<'_>) -> Result<(Vec<Done>, Vec<u8>, Vec<Done>)> {
    let lines =
        |u: &mut Unstructured<'_>| (0..u.int_in_range(0..=4)?).map(|_| done(u)).collect::<Result<Vec<_>>>();
    let before = lines(u)?;
    let torn = match u.int_in_range(0..=2)? {
        0 => Vec::new(),
        1 => <&[u8]>::arbitrary(u)?.to_vec(),
        _ => {
            let line = done(u)?.to_string();
            let length = u.int_in_range(0..=line.len())?;
            line.as_bytes()[..length].to_vec()
        }
    };
    Ok((before, torn, lines(u)?))
}

fn done(u: &mut Unstructured<'_>) -> Result<Done> {
    let time = words::time(u)?;
    match u.int_in_range(0..=11)? {
        0 => return Ok(Done::Interrupted(Attempt { time, what: words::line(u)? })),
        1 => return Ok(Done::Reported { time, notice: words::id(u)? }),
        2 => return Ok(Done::Delayed { time, notice: words::id(u)? }),
        3 => return Ok(Done::Reopened { time }),
        _ => {}
    }
    let key = Key {
        original: words::address(u)?,
        transport: Line::escaped(u.choose(&TRANSPORTS)?),
        final_address: words::address(u)?,
    };
    let reply = words::line(u)?;
    Ok(match u.int_in_range(0..=4)? {
        0 => Done::Failed { time, key, reply },
        1 => Done::Relayed { time, key, reply },
        2 => Done::Refused { time, key, reply },
        3 => Done::Expired { time, key, reply },
        _ => Done::Delivered { time, key, reply },
    })
}
