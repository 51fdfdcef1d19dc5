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
    /// The causes that fit. A machine under load may use up the time on the clock
    /// before the time on the processor.
    const fn causes(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["memory"],
            Self::Time => &["cpu-time", "wall-time"],
            Self::Tree => &["tree"],
        }
    }
}

/// Causes that fit a message near a limit: which budget it meets first depends
/// on the machine, and a limit of structure may come before all of them. A crash
/// or a panic never fits: no budget would have held.
const EITHER_CAUSES: [&str; 4] = ["memory", "cpu-time", "wall-time", "limit"];

/// What must become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is harmless.
    Deliver,
    /// It is near a limit.
    Either,
    /// It is poison of one of these kinds.
    Quarantine(Kind),
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
            "quarantine:memory" => Some(Self::Quarantine(Kind::Memory)),
            "quarantine:time" => Some(Self::Quarantine(Kind::Time)),
            "quarantine:tree" => Some(Self::Quarantine(Kind::Tree)),
            _ => None,
        }
    }

    /// Whether that is what had to become of it.
    pub fn fits(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Deliver | Self::Either, Outcome::Delivered) => true,
            (Self::Either, Outcome::Deferred(cause)) => EITHER_CAUSES.contains(&cause.as_str()),
            (Self::Quarantine(kind), Outcome::Deferred(cause)) => kind.causes().contains(&cause.as_str()),
            (Self::Deliver, Outcome::Deferred(_)) | (Self::Quarantine(_), Outcome::Delivered) => false,
        }
    }
}

/// One poisonous message.
pub struct Poison {
    /// Its family, or its file.
    pub name: String,
    /// The message, with CRLF line ends.
    pub bytes: Vec<u8>,
    /// What it does.
    pub expected: Expected,
}

/// A family: its name, what makes one of about so many bytes, the least size in
/// KiB that is well above the default budget, a size that a parser without
/// budgets does not survive, and what it attacks.
type Family = (&'static str, fn(usize) -> Vec<u8>, usize, usize, Kind);

const FAMILIES: [Family; 8] = [
    ("encoded digest", encoded_digest, 64, 256, Kind::Memory),
    ("encoded chain", encoded_chain, 96, 96, Kind::Memory),
    ("chain of forwards", chain, 1024, 4096, Kind::Memory),
    ("encoded words without end", endless_words, 256, 1024, Kind::Time),
    ("boundaries that never occur", missing_boundaries, 1024, 4096, Kind::Time),
    ("names of parameters", parameter_names, 512, 1024, Kind::Time),
    ("flood of parts", part_flood, 1024, 2048, Kind::Memory),
    ("part that contains itself", |_| cyclic_tree(), 1, 1, Kind::Tree),
];

/// One of each family, as large as makes it deadly.
pub fn all() -> Vec<Poison> {
    of_sizes(|_, large| large)
}

/// One of each family, hardly larger than makes it poison: many of them load a
/// machine by what they do and not by their bytes.
pub fn small() -> Vec<Poison> {
    of_sizes(|small, _| small)
}

/// A message that takes some 0.7 GB.
pub fn memory_hungry() -> Vec<u8> {
    encoded_digest(64 << 10)
}

/// A message that takes some seconds of CPU time.
pub fn tiresome() -> Vec<u8> {
    endless_words(256 << 10)
}

/// A message that takes a minute of CPU time and more.
pub fn slow() -> Vec<u8> {
    missing_boundaries(4 << 20)
}

fn of_sizes(choose: fn(usize, usize) -> usize) -> Vec<Poison> {
    let one = |(name, make, small, large, kind): Family| Poison {
        name: name.to_owned(),
        bytes: make(choose(small, large) << 10),
        expected: Expected::Quarantine(kind),
    };
    FAMILIES.into_iter().map(one).collect()
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
