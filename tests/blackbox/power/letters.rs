//! The mail of a workload: a letter's number says everything about it.
//!
//! The number stands in the first line of the content, so that it can be read
//! in a mailbox, at a next hop and in a spool's file alike. It must never depend
//! on anything but number and scenario.

use std::path::Path;

use crate::poison;

/// The field that bears the number.
const FIELD: &str = "X-Number: ";

/// Bytes of text in plain letters, by number: shorter and longer than a page,
/// than a block of a transfer, and than what a cell reads instead of mapping.
const TEXT_BYTES: [usize; 4] = [200, 3_000, 9_000, 70_000];

/// Parts that a message may have in these scenarios.
pub const PARTS_MAX: usize = 20;

/// How much of a file is searched for the number.
const SEARCHED_BYTES: usize = 16 << 10;

/// What a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A letter that nothing is wrong with.
    Plain,
    /// More parts than a message may have.
    Limit,
    /// Takes more memory than it may.
    Memory,
    /// Takes more time than it may.
    Time,
    /// Takes a minute, which it may.
    Slow,
}

impl Kind {
    /// The causes for which it must be deferred; none if it must not.
    pub const fn causes(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Limit => &["limit"],
            Self::Memory => &["memory"],
            Self::Time => &["cpu-time", "wall-time"],
            Self::Slow => &["interrupted"],
        }
    }
}

/// A letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its number.
    pub number: usize,
    /// What it is.
    pub kind: Kind,
    /// To whom it goes.
    pub recipients: Vec<&'static str>,
}

impl Letter {
    /// All bytes of it, with CRLF line ends.
    pub fn content(&self) -> Vec<u8> {
        let mut content = format!("{FIELD}{}\r\n", self.number).into_bytes();
        content.extend(match self.kind {
            Kind::Plain => plain(self.number),
            Kind::Limit => crowded(),
            Kind::Memory => poison::memory_hungry(),
            Kind::Time => poison::tiresome(),
            Kind::Slow => poison::slow(),
        });
        content
    }
}

fn plain(number: usize) -> Vec<u8> {
    let line = format!("line of letter {number}\r\n");
    let text = line.repeat(TEXT_BYTES[number % TEXT_BYTES.len()] / line.len() + 1);
    format!("From: anna@example.com\r\nSubject: letter {number}\r\n\r\n{text}").into_bytes()
}

/// Harmless, but for a limit.
fn crowded() -> Vec<u8> {
    let parts = "--p\r\n\r\npart\r\n".repeat(PARTS_MAX + 1);
    format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=p\r\n\r\n{parts}--p--\r\n")
        .into_bytes()
}

/// The number of the letter in a file or a message, if there is one.
pub fn number_in(bytes: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(SEARCHED_BYTES)]);
    let (_, rest) = head.split_once(FIELD)?;
    rest.lines().next()?.parse().ok()
}

/// The same for a file, which may be gone.
pub fn number_at(path: &Path) -> Option<usize> {
    number_in(&std::fs::read(path).ok()?)
}
