//! What a cell may send to its worker, and what the worker sends to it: nothing
//! is asked for beyond what the task allows, verdicts have one entry for each
//! recipient and no route that is none, and what is read is written alike.
//!
//! The cell is in the hands of whoever wrote its message: the input is all that it
//! sends. The number of recipients must never come from it.

use lazaret_route::{RouteTable, Verdict};
use lazaret_worker::frame::{Answer, AnswerHead, Said, Setup, Task, encode_answer, left, takes_long};

/// Longest text of a fault that a frame may announce, in bytes.
const FAULT_BYTES_MAX: usize = 512;

/// Looks at one input: what it says to a worker that asked about these recipients.
pub fn check(data: &[u8]) {
    if data.starts_with(b"{") {
        return setup(data);
    }
    for (recipients, routes) in [(0, 0), (1, 1), (2, 300), (700, 3)] {
        answer(data, recipients, routes);
        if let Ok(verdict) = Verdict::decode(data, recipients, routes) {
            sound(&verdict, data, recipients, routes);
        }
    }
    if let Some(bytes) = data.first_chunk() {
        assert_eq!(&Task::decode(bytes).encode(), bytes);
    }
}

fn answer(data: &[u8], recipients: usize, routes: usize) {
    let Some((head, body)) = data.split_first_chunk::<{ AnswerHead::BYTES }>() else { return };
    let task = u64::from_le_bytes(*head.first_chunk().expect("more than 8 bytes"));
    assert!(AnswerHead::decode(head, task.wrapping_add(1), recipients).is_err(), "it answers another task");
    let Ok((head, length)) = AnswerHead::decode(head, task, recipients) else { return };
    assert!(length <= FAULT_BYTES_MAX.max(2 * recipients), "no more is read than the task allows");
    let Some(body) = body.get(..length) else { return };
    let (peak, retire) = (head.peak, head.retire);
    let said = head.complete(body.to_vec());
    let answer = match &said {
        Said::Answer(answer) => answer,
        Said::TakesLong => return same(&takes_long(task), task, &said),
        Said::Left => return same(&left(task, peak, retire), task, &said),
    };
    match answer {
        Answer::Verdict(bytes) => {
            assert!(length <= 2 * recipients, "a verdict has two bytes a recipient");
            if let Ok(verdict) = Verdict::decode(bytes, recipients, routes) {
                sound(&verdict, bytes, recipients, routes);
            }
        }
        Answer::Fault(cause, text) => {
            assert!(["limit", "tree"].contains(&cause.word()), "{cause}: {text}");
        }
    }
    let again = encode_answer(task, peak, retire, answer);
    let (head, body) = again.split_first_chunk().expect("it has a head");
    let (head, length) = AnswerHead::decode(head, task, recipients).expect("what we write is read");
    assert_eq!((head.peak, head.retire, length), (peak, retire, body.len()));
    if !body.contains(&b'\\') {
        assert_eq!(head.complete(body.to_vec()), said);
    }
}

fn same(word: &[u8; AnswerHead::BYTES], task: u64, said: &Said) {
    let (head, length) = AnswerHead::decode(word, task, 0).expect("what we write is read");
    assert_eq!((length, &head.complete(Vec::new())), (0, said), "a word has nothing behind it");
}

fn sound(verdict: &Verdict, bytes: &[u8], recipients: usize, routes: usize) {
    if let Verdict::Routes(found) = verdict {
        assert_eq!(found.len(), recipients, "one entry for each recipient");
        assert!(found.iter().flatten().all(|id| usize::from(id.0) < routes), "no route that is none");
    }
    assert_eq!(verdict.encode(), bytes);
}

fn setup(data: &[u8]) {
    let Ok(setup) = serde_json::from_slice::<Setup>(data) else { return };
    let json = serde_json::to_vec(&setup).expect("it can be written");
    assert_eq!(serde_json::from_slice::<Setup>(&json).expect("what we write is read"), setup);
    if let Ok(table) = RouteTable::compile(&setup.routes) {
        assert_eq!(table.len(), setup.routes.len());
    }
}
