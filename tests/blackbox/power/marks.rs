//! What the outside world has seen, in the rig's order: written by workloads,
//! read by the checker.
//!
//! A mark is a word, mostly a number, and for a delivery the recipients. Each
//! must stand for something that the program has promised or done, never for
//! what it is about to do, except where its name says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The program took the letter: 250, or exit status 0.
    Acked(usize),
    /// Another program put it into `drop/`, durably.
    Dropped(usize),
    /// The next hop has it, for these recipients, and is about to say so.
    Delivered(usize, Vec<String>),
    /// An operator is about to release it.
    Releasing(usize),
    /// The release was confirmed.
    Released(usize),
    /// An operator is about to delete it.
    Deleting(usize),
    /// The deletion was confirmed.
    Deleted(usize),
    /// A daemon is about to be started.
    Starting,
    /// It is ready: recovery is over.
    Ready,
    /// It stopped cleanly: exit status 0.
    Stopped,
    /// The power was cut; what follows happened after that.
    Again,
    /// A moment at which the rig is to cut the power.
    Cut,
}

impl Mark {
    /// The line of a mark.
    fn text(&self) -> String {
        match self {
            Self::Acked(number) => format!("acked {number}"),
            Self::Dropped(number) => format!("dropped {number}"),
            Self::Delivered(number, recipients) => format!("delivered {number} {}", recipients.join(" ")),
            Self::Releasing(number) => format!("releasing {number}"),
            Self::Released(number) => format!("released {number}"),
            Self::Deleting(number) => format!("deleting {number}"),
            Self::Deleted(number) => format!("deleted {number}"),
            Self::Starting => "starting".to_owned(),
            Self::Ready => "ready".to_owned(),
            Self::Stopped => "stopped".to_owned(),
            Self::Again => "again".to_owned(),
            Self::Cut => "cut".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let word = words.next()?;
        let number = words.next().map(str::parse);
        let recipients: Vec<String> = words.map(str::to_owned).collect();
        Some(match (word, number) {
            ("acked", Some(Ok(number))) => Self::Acked(number),
            ("dropped", Some(Ok(number))) => Self::Dropped(number),
            ("delivered", Some(Ok(number))) => Self::Delivered(number, recipients),
            ("releasing", Some(Ok(number))) => Self::Releasing(number),
            ("released", Some(Ok(number))) => Self::Released(number),
            ("deleting", Some(Ok(number))) => Self::Deleting(number),
            ("deleted", Some(Ok(number))) => Self::Deleted(number),
            ("starting", None) => Self::Starting,
            ("ready", None) => Self::Ready,
            ("stopped", None) => Self::Stopped,
            ("again", None) => Self::Again,
            ("cut", None) => Self::Cut,
            _ => return None,
        })
    }
}

/// Where marks are written.
#[derive(Clone)]
pub struct Marks(PathBuf);

impl Marks {
    /// To this file.
    pub fn to(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes one, in one go.
    pub fn put(&self, mark: &Mark) {
        let mut file =
            File::options().append(true).create(true).open(&self.0).expect("failed to open the marks");
        file.write_all(format!("{}\n", mark.text()).as_bytes()).expect("failed to write a mark");
    }
}

/// Reads the marks of a file.
pub fn read(path: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(path).expect("failed to read the marks");
    text.lines().map(|line| Mark::parse(line).unwrap_or_else(|| panic!("no mark: {line}"))).collect()
}
