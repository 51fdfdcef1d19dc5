//! What a worker and its cell say to each other over their socket.
//!
//! What the routes are is said once, to the template that cells are copies of; a
//! worker names one task after the other, each with the descriptor of a message. The cell
//! answers each with one frame, and may say before that it takes long. Asked by a signal
//! to leave a message, it says that it did instead.
//! Answers are untrusted: their size is limited before they are read, and
//! whatever is not exactly as expected is an error.

use std::time::Duration;

use lazaret_envelope::{Cause, Line, MessageId};
use lazaret_route::{Limits, RouteConfig};
use serde::{Deserialize, Serialize};

use crate::jail::JailMode;

/// What a cell must know before its first task. Goes as JSON behind its length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub routes: Vec<RouteConfig>,
    pub limits: Limits,
    pub jail: JailMode,
}

/// Longest setup in bytes.
pub const SETUP_BYTES_MAX: usize = 64 << 20;

/// A message to judge; its descriptor travels beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Counts up in the life of a cell, so that no answer is taken for another's.
    pub number: u64,
    /// Whose it is, to be compared with its envelope.
    pub id: MessageId,
    /// Heap that it may take, in bytes.
    pub memory: u64,
    /// CPU time after which the cell is to say that it takes long, if ever.
    pub makes_way: Option<Duration>,
}

/// Stands for no time at all.
const NEVER: u64 = u64::MAX;

impl Task {
    pub const BYTES: usize = 40;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.id.to_u128().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.memory.to_le_bytes());
        let makes_way =
            self.makes_way.map_or(NEVER, |after| u64::try_from(after.as_nanos()).unwrap_or(NEVER));
        bytes[32..].copy_from_slice(&makes_way.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let (number, rest) = bytes.split_first_chunk().expect("40 bytes");
        let (id, rest) = rest.split_first_chunk().expect("32 bytes");
        let (memory, makes_way) = rest.split_first_chunk().expect("16 bytes");
        let makes_way = u64::from_le_bytes(makes_way.try_into().expect("8 bytes"));
        Self {
            number: u64::from_le_bytes(*number),
            id: MessageId::from_u128(u128::from_le_bytes(*id)),
            memory: u64::from_le_bytes(*memory),
            makes_way: Some(makes_way).filter(|&after| after != NEVER).map(Duration::from_nanos),
        }
    }
}

/// What a cell answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The bytes of a verdict, still to be checked.
    Verdict(Vec<u8>),
    /// The message is at fault: [`Cause::Limit`] or [`Cause::Tree`], and what.
    Fault(Cause, Line),
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// What became of the message.
    Answer(Answer),
    /// It takes long; an answer follows, unless it is left.
    TakesLong,
    /// It was left.
    Left,
}

/// The first bytes of what a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    task: u64,
    /// Most heap that the message held, in bytes.
    pub peak: u64,
    /// The cell's heap has grown: it wants to be replaced.
    pub retire: bool,
    kind: u8,
    length: u32,
}

const KIND_VERDICT: u8 = 0;
const KIND_LIMIT: u8 = 1;
const KIND_TREE: u8 = 2;
const KIND_TAKES_LONG: u8 = 3;
const KIND_LEFT: u8 = 4;

/// Longest text of a fault, in bytes.
const FAULT_BYTES_MAX: usize = 512;

impl AnswerHead {
    /// Its length in bytes; what is said in a word is no more.
    pub const BYTES: usize = 24;

    fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.task.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.peak.to_le_bytes());
        bytes[16] = self.kind;
        bytes[17] = u8::from(self.retire);
        bytes[20..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// Reads the head of the answer to a task; says how many bytes follow.
    ///
    /// # Errors
    /// It is not an answer to this task of so many recipients.
    pub fn decode(bytes: &[u8; Self::BYTES], task: u64, recipients: usize) -> Result<(Self, usize), String> {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let head = Self {
            task: number(0),
            peak: number(8),
            kind: bytes[16],
            retire: bytes[17] == 1,
            length: u32::from_le_bytes(bytes[20..].try_into().expect("4 bytes")),
        };
        let most = match head.kind {
            KIND_VERDICT => recipients.saturating_mul(2),
            KIND_LIMIT | KIND_TREE => FAULT_BYTES_MAX,
            KIND_TAKES_LONG | KIND_LEFT => 0,
            kind => return Err(format!("an answer of unknown kind {kind}")),
        };
        if head.task != task {
            return Err(format!("an answer to task {} instead of {task}", head.task));
        }
        match usize::try_from(head.length) {
            Ok(length) if length <= most => Ok((head, length)),
            _ => Err(format!("an answer of {} bytes where {most} are the most", head.length)),
        }
    }

    /// Puts what is said together from its head and what followed.
    pub fn complete(self, body: Vec<u8>) -> Said {
        Said::Answer(match self.kind {
            KIND_TAKES_LONG => return Said::TakesLong,
            KIND_LEFT => return Said::Left,
            KIND_LIMIT => Answer::Fault(Cause::Limit, Line::escaped(body)),
            KIND_TREE => Answer::Fault(Cause::Tree, Line::escaped(body)),
            _ => Answer::Verdict(body),
        })
    }
}

/// The bytes that say that a task takes long.
pub fn takes_long(task: u64) -> [u8; AnswerHead::BYTES] {
    AnswerHead { task, peak: 0, retire: false, kind: KIND_TAKES_LONG, length: 0 }.encode()
}

/// The bytes that say that a task was left, with so many bytes of heap.
pub fn left(task: u64, peak: u64, retire: bool) -> [u8; AnswerHead::BYTES] {
    AnswerHead { task, peak, retire, kind: KIND_LEFT, length: 0 }.encode()
}

/// The bytes of an answer.
pub fn encode_answer(task: u64, peak: u64, retire: bool, answer: &Answer) -> Vec<u8> {
    let (kind, body) = match answer {
        Answer::Verdict(bytes) => (KIND_VERDICT, &bytes[..]),
        Answer::Fault(Cause::Tree, text) => (KIND_TREE, text.as_str().as_bytes()),
        Answer::Fault(_, text) => (KIND_LIMIT, text.as_str().as_bytes()),
    };
    let body = if kind == KIND_VERDICT { body } else { &body[..body.len().min(FAULT_BYTES_MAX)] };
    let length = u32::try_from(body.len()).expect("a verdict has 2 bytes a recipient");
    let head = AnswerHead { task, peak, retire, kind, length };
    [&head.encode(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tasks_round_trip(number: u64, id: u128, memory: u64, makes_way: Option<u32>) {
            let makes_way = makes_way.map(|micros| Duration::from_micros(micros.into()));
            let task = Task { number, id: MessageId::from_u128(id), memory, makes_way };
            prop_assert_eq!(Task::decode(&task.encode()), task);
        }

        #[test]
        fn answers_round_trip(task: u64, peak: u64, retire: bool, body: Vec<u8>, kind in 0..3) {
            let answer = match kind {
                0 => Answer::Verdict(body.clone()),
                1 => Answer::Fault(Cause::Limit, Line::escaped("parts: 9")),
                _ => Answer::Fault(Cause::Tree, Line::escaped("part 1 contains part 1")),
            };
            let bytes = encode_answer(task, peak, retire, &answer);
            let (head, rest) = bytes.split_first_chunk().unwrap();
            let (head, length) = AnswerHead::decode(head, task, body.len().div_ceil(2)).unwrap();
            prop_assert_eq!((head.peak, head.retire, length), (peak, retire, rest.len()));
            prop_assert_eq!(head.complete(rest.to_vec()), Said::Answer(answer));
        }

        #[test]
        fn no_head_panics_or_asks_for_more_than_the_task_allows(bytes: [u8; AnswerHead::BYTES], task: u64, recipients in 0_usize..1000) {
            if let Ok((_, length)) = AnswerHead::decode(&bytes, task, recipients) {
                prop_assert!(length <= FAULT_BYTES_MAX.max(2 * recipients));
            }
        }
    }

    #[test]
    fn words_round_trip() {
        for (word, said) in [(takes_long(7), Said::TakesLong), (left(7, 8, true), Said::Left)] {
            let (head, length) = AnswerHead::decode(&word, 7, 0).unwrap();
            assert_eq!((head.retire, length), (said == Said::Left, 0));
            assert_eq!(head.complete(Vec::new()), said);
        }
    }

    #[test]
    fn answers_to_other_tasks_are_refused() {
        let bytes = encode_answer(7, 0, false, &Answer::Verdict(vec![0; 4]));
        let head = bytes.first_chunk().unwrap();
        assert!(AnswerHead::decode(head, 8, 2).unwrap_err().contains("task 7 instead of 8"));
        assert!(AnswerHead::decode(head, 7, 1).unwrap_err().contains("4 bytes where 2 are the most"));
    }
}
