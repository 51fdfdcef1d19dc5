//! Messages that kill or hang mail-parser 0.11.9 when it parses them whole, one
//! of each family.
//!
//! Made here, byte for byte the same on every run. They must never be larger
//! than it takes to be well above every budget.

use std::fmt::Write;

/// What a message attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The heap, or the stack, which ends the same cell.
    Memory,
    /// The processor.
    Time,
    /// Whoever walks the tree of parts.
    Tree,
}

impl Kind {
    /// The causes that fit. Until the heap is counted, running out of it shows
    /// as a crash or as a kill from outside.
    pub fn causes(self, strict: bool) -> &'static [&'static str] {
        match (self, strict) {
            (Self::Memory, true) => &["memory"],
            (Self::Memory, false) => &["memory", "crash", "killed"],
            (Self::Time, _) => &["cpu-time", "wall-time"],
            (Self::Tree, _) => &["tree"],
        }
    }
}

/// What must become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is harmless.
    Deliver,
    /// It is near a limit.
    Either,
    /// It is poison of one of these kinds.
    Quarantine(&'static [Kind]),
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered,
    /// It was deferred for this cause.
    Deferred(String),
}

impl Expected {
    /// Reads the word of a table: `deliver`, `either`, `quarantine:KIND`.
    pub fn parse(word: &str) -> Option<Self> {
        match word.split(' ').next()? {
            "deliver" => Some(Self::Deliver),
            "either" => Some(Self::Either),
            "quarantine:memory" => Some(Self::Quarantine(&[Kind::Memory])),
            "quarantine:time" => Some(Self::Quarantine(&[Kind::Time])),
            "quarantine:tree" => Some(Self::Quarantine(&[Kind::Tree])),
            _ => None,
        }
    }

    /// Whether that is what had to become of it.
    pub fn fits(self, outcome: &Outcome, strict: bool) -> bool {
        let is_one_of =
            |kinds: &[Kind], cause: &str| kinds.iter().any(|kind| kind.causes(strict).contains(&cause));
        match (self, outcome) {
            (Self::Deliver | Self::Either, Outcome::Delivered) => true,
            (Self::Either, Outcome::Deferred(cause)) => {
                is_one_of(&[Kind::Memory, Kind::Time, Kind::Tree], cause)
            }
            (Self::Quarantine(kinds), Outcome::Deferred(cause)) => is_one_of(kinds, cause),
            (Self::Deliver, Outcome::Deferred(_)) | (Self::Quarantine(_), Outcome::Delivered) => false,
        }
    }
}

/// One poisonous message.
pub struct Poison {
    /// Its family.
    pub name: &'static str,
    /// The message, with CRLF line ends.
    pub bytes: Vec<u8>,
    /// What it does.
    pub expected: Expected,
}

/// One of each family.
pub fn all() -> Vec<Poison> {
    const MEMORY: Expected = Expected::Quarantine(&[Kind::Memory]);
    const TIME: Expected = Expected::Quarantine(&[Kind::Time]);
    const TREE: Expected = Expected::Quarantine(&[Kind::Tree]);
    let poison = |name, bytes, expected| Poison { name, bytes, expected };
    vec![
        poison("encoded digest", encoded_digest(256 << 10), MEMORY),
        poison("encoded chain", encoded_chain(96 << 10), MEMORY),
        poison("chain of forwards", chain(4 << 20), MEMORY),
        poison("encoded words without end", endless_words(1 << 20), TIME),
        poison("boundaries that never occur", missing_boundaries(4 << 20), TIME),
        poison("names of parameters", parameter_names(1 << 20), TIME),
        poison("flood of parts", part_flood(2 << 20), MEMORY),
        poison("part that contains itself", cyclic_tree(), TREE),
    ]
}

/// Fields that every message has, so that there is something to route by.
fn head(subject: &str) -> String {
    format!(
        "From: Mallory <mallory@example.net>\r\nTo: desk@example.org\r\nSubject: {subject}\r\n\
         Date: Tue, 3 Nov 2026 11:00:00 +0000\r\nMessage-ID: <{subject}@example.net>\r\nMIME-Version: 1.0\r\n"
    )
}

/// Adds `unit` until the text has about `size` bytes.
fn filled(mut text: String, unit: &str, size: usize) -> String {
    while text.len() + unit.len() <= size {
        text += unit;
    }
    text
}

/// A message inside a quoted-printable message/rfc822.
fn encoded(subject: &str, inner: &str) -> Vec<u8> {
    let outer = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    (head(subject) + outer + &inner.replace('=', "=3D")).into_bytes()
}

/// The decoded message is copied whole for each message of the digest.
fn encoded_digest(size: usize) -> Vec<u8> {
    let digest = "Content-Type: multipart/digest; boundary=leaf\r\n\r\n".to_owned();
    encoded("digest", &(filled(digest, "--leaf\r\n\r\n\r\n", size) + "--leaf--\r\n"))
}

/// Each level copies all the levels below it, and recurses into them.
fn encoded_chain(size: usize) -> Vec<u8> {
    let levels = filled(String::new(), "Content-Type: message/rfc822\r\n\r\n", size);
    encoded("chain", &(levels + "Subject: bottom\r\n\r\nbottom\r\n"))
}

/// A tree as deep as the message is long: even dropping it recurses.
fn chain(size: usize) -> Vec<u8> {
    let levels = filled(head("forwards"), "Content-Type: message/rfc822\r\n\r\n", size);
    (levels + "Subject: bottom\r\n\r\nbottom\r\n").into_bytes()
}

/// Each start of an encoded word searches the rest of the field for its end. The
/// character set is one that also reads as two hexadecimal digits: else the
/// search would stop at the next `=`.
fn endless_words(size: usize) -> Vec<u8> {
    let line = format!("\r\n {}", "=?ee?Q?o".repeat(100));
    (filled(head("words") + "Content-Description:", &line, size) + "\r\n\r\ntext\r\n").into_bytes()
}

/// Each part is a multipart that looks for its boundary up to the very end.
fn missing_boundaries(size: usize) -> Vec<u8> {
    let outer = head("boundaries") + "Content-Type: multipart/mixed; boundary=here\r\n\r\n";
    let part = "--here\r\nContent-Type: multipart/mixed; boundary=nowhere\r\n\r\n";
    (filled(outer, part, size) + "--here--\r\n").into_bytes()
}

/// Each continued parameter is searched for among all the earlier ones.
fn parameter_names(size: usize) -> Vec<u8> {
    let mut text = head("names") + "Content-Type: application/octet-stream";
    for number in 0.. {
        let fold = if number % 64 == 0 { "\r\n " } else { "" };
        write!(text, ";{fold}p{number:x}*1=v").expect("a String takes everything");
        if text.len() >= size {
            break;
        }
    }
    (text + "\r\n\r\ntext\r\n").into_bytes()
}

/// Each part costs a hundred times its bytes.
fn part_flood(size: usize) -> Vec<u8> {
    let outer = head("parts") + "Content-Type: multipart/mixed; boundary=p\r\n\r\n";
    (filled(outer, "--p\r\nq:\r\n\r\n", size) + "--p--\r\n").into_bytes()
}

/// One delimiter closes two messages at once, and the tree gets a cycle.
fn cyclic_tree() -> Vec<u8> {
    let message = "Content-Type: message/rfc822\r\n\r\n";
    let body = format!(
        "Content-Type: multipart/mixed; boundary=ring\r\n\r\n--ring\r\n{message}From: someone.else@example.com\r\n\
         Subject: inside\r\n{message}Subject: deeper\r\n\r\none\r\n--ring\r\n{message}Subject: beside\r\n\r\ntwo\r\n\
         --ring--\r\n"
    );
    (head("tree") + &body).into_bytes()
}
