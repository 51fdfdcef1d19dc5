//! What was sent: every message by its number, who was to get it, and whether
//! somebody was told that it is safe.
//!
//! A message's bytes follow from its number and kind, so that what arrives can be
//! compared whole. A message must never be forgotten, acknowledged or not.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::poison::{self, Expected, Poison};
use crate::random::Random;

/// Who sends everything.
pub const SENDER: &str = "sender@example.com";

/// The field that tells a message's number; it is the first.
const NUMBER_FIELD: &str = "X-Number: ";

/// How far into a delivered or deferred file its number is looked for.
const NUMBER_WITHIN: usize = 4 << 10;

/// One in so many messages keeps a parser busy.
const HEAVY_ODDS: usize = 30;

/// One in so many messages is poison.
const POISON_ODDS: usize = 40;

/// Poison above this size takes longer to send than it takes to fault.
const POISON_BYTES_MAX: usize = 128 << 10;

/// Parts of a message that keeps a parser busy for tens of milliseconds.
const HEAVY_PARTS: usize = 1000;

/// Most lines of a message that does not.
const LINES_MAX: usize = 100;

/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 4;

/// How a message comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// An SMTP session.
    Smtp,
    /// `lazaret submit`.
    Submit,
    /// A file renamed into `drop/`.
    Drop,
}

impl Way {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Submit => "lazaret submit",
            Self::Drop => "drop/",
        }
    }
}

/// Where a recipient's mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To a next hop by SMTP.
    Smtp,
    /// Into a Maildir that nobody reads.
    Left,
    /// Into a Maildir whose reader moves each file to `cur/` at once.
    Read,
    /// Into a Maildir whose reader takes each file away at once.
    Emptied,
}

impl Target {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Left => "Maildir that nobody reads",
            Self::Read => "Maildir, read at once (moved to cur/)",
            Self::Emptied => "Maildir, emptied at once",
        }
    }

    /// Where this recipient's mail goes.
    pub fn of(recipient: &str) -> Self {
        match recipient {
            LEFT => Self::Left,
            READ => Self::Read,
            EMPTIED => Self::Emptied,
            _ => Self::Smtp,
        }
    }
}

/// The domain of the Maildirs.
pub const BOXES: &str = "boxes.example.org";

/// The domain behind the next hop.
pub const NEXT_HOP: &str = "sink.example.org";

/// Whom the next hop often refuses for now.
pub const BUSY: &str = "busy@sink.example.org";

const LEFT: &str = "left@boxes.example.org";
const READ: &str = "read@boxes.example.org";
const EMPTIED: &str = "emptied@boxes.example.org";

/// Everybody.
const RECIPIENTS: [&str; 6] = [LEFT, READ, EMPTIED, BUSY, "one@sink.example.org", "two@sink.example.org"];

/// What a message is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Small and harmless.
    Plain,
    /// Harmless, but it keeps a parser busy.
    Heavy,
    /// It must end in quarantine; a number of the ledger's poison.
    Poison(usize),
}

/// A message that was sent, or that somebody began to send.
#[derive(Clone, Debug)]
pub struct Mail {
    /// How it came in.
    pub way: Way,
    /// What it is like.
    pub kind: Kind,
    /// Who was to get it.
    pub recipients: Vec<&'static str>,
    /// Whether its sender was told that it is safe.
    pub acknowledged: bool,
    /// The id that the sender was told.
    pub id: Option<String>,
}

/// All mail of a campaign.
pub struct Ledger {
    mails: Mutex<Vec<Mail>>,
    poison: Vec<Poison>,
}

impl Ledger {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        let poison = poison::small().into_iter().filter(|poison| poison.bytes.len() <= POISON_BYTES_MAX);
        Self { mails: Mutex::default(), poison: poison.collect() }
    }

    /// A message to send: its number, its recipients, its bytes.
    pub fn draw(&self, way: Way, random: &mut Random) -> (usize, Vec<&'static str>, Vec<u8>) {
        let kind = match random.below(POISON_ODDS * HEAVY_ODDS) {
            pick if pick % POISON_ODDS == 0 => Kind::Poison(pick % self.poison.len()),
            pick if pick % HEAVY_ODDS == 1 => Kind::Heavy,
            _ => Kind::Plain,
        };
        // What is large goes where it is not kept in memory.
        let recipients = if kind == Kind::Heavy { vec![EMPTIED] } else { some(random) };
        let mail = Mail { way, kind, recipients: recipients.clone(), acknowledged: false, id: None };
        let number = {
            let mut mails = self.mails();
            mails.push(mail);
            mails.len() - 1
        };
        (number, recipients, self.content(number, kind))
    }

    /// The sender was told that a message is safe, and perhaps its id.
    pub fn acknowledge(&self, number: usize, id: Option<String>) {
        let mail = &mut self.mails()[number];
        mail.acknowledged = true;
        mail.id = id;
    }

    /// What a message is like; `None` if it was never sent.
    pub fn kind(&self, number: usize) -> Option<Kind> {
        self.mails().get(number).map(|mail| mail.kind)
    }

    /// Everything that was sent, by number.
    pub fn all(&self) -> Vec<Mail> {
        self.mails().clone()
    }

    /// What must become of a message in its cell.
    pub fn expected(&self, kind: Kind) -> Expected {
        match kind {
            Kind::Plain | Kind::Heavy => Expected::Deliver,
            Kind::Poison(family) => self.poison[family].expected,
        }
    }

    /// The bytes of a message, in canonical form.
    pub fn content(&self, number: usize, kind: Kind) -> Vec<u8> {
        let mut bytes = format!("{NUMBER_FIELD}{number}\r\n").into_bytes();
        match kind {
            Kind::Plain => {
                bytes.extend_from_slice(b"Subject: to be counted\r\n\r\n");
                for line in 0..number % LINES_MAX {
                    bytes.extend_from_slice(format!("line {line} of message {number}\r\n").as_bytes());
                }
            }
            Kind::Heavy => bytes.extend_from_slice(heavy().as_bytes()),
            Kind::Poison(family) => bytes.extend_from_slice(&self.poison[family].bytes),
        }
        bytes
    }

    fn mails(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the message that a file holds.
pub fn number_in(bytes: &[u8]) -> Option<usize> {
    let top = String::from_utf8_lossy(&bytes[..bytes.len().min(NUMBER_WITHIN)]);
    let (_, rest) = top.split_once(NUMBER_FIELD)?;
    rest.split(['\r', '\n']).next()?.parse().ok()
}

/// Some of all recipients, one more often than several.
fn some(random: &mut Random) -> Vec<&'static str> {
    let mut all = RECIPIENTS;
    let count = if random.one_in(2) { 1 } else { 2 + random.below(RECIPIENTS_MAX - 1) };
    for place in 0..count {
        let other = place + random.below(all.len() - place);
        all.swap(place, other);
    }
    all[..count].to_vec()
}

/// Parts that look for a boundary that does not come.
fn heavy() -> String {
    let part = "--here\r\nContent-Type: multipart/mixed; boundary=nowhere\r\n\r\n";
    let head = "Subject: heavy\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=here\r\n\r\n";
    head.to_owned() + &part.repeat(HEAVY_PARTS) + "--here--\r\n"
}
