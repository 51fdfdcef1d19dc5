//! What a run sends, in which order: healthy mail, and poison at places that
//! are the same in every run.
//!
//! Real mail and generated poison, all families of it, where test data is there,
//! else that of the repository. No two poisonous messages may be alike unless that
//! is asked for: copies of one cost nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Parameters;
use crate::content::{has_bare_cr, wire};
use crate::generated::Generated;
use crate::poison::{self, Expected, Poison};
use crate::smtp::stuffed;
use crate::trial::test_data;

/// Largest generated poison that is mixed in: larger ones would measure disk
/// and network …
const GENERATED_BYTES_MAX: usize = 1_100_000;

/// … unless a family has no smaller one: then up to this size.
const FAMILY_BYTES_MAX: u64 = 2_100_000;

/// What takes part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Healthy messages only.
    Healthy,
    /// Healthy messages, and benign ones in place of poison.
    Ballast,
    /// Healthy messages and poison.
    Poisoned,
}

/// One message of a run.
pub struct Item<'a> {
    /// A field before all others, or nothing.
    pub field: String,
    /// The rest, as it goes on the wire.
    pub stuffed: &'a [u8],
    /// Whether its delivery is measured.
    pub healthy: bool,
}

/// A poisonous message, and a benign one of its size.
struct Other {
    name: String,
    poison: Vec<u8>,
    ballast: Vec<u8>,
}

/// What there is to send, ready to go on the wire: the processor that a client uses is
/// one that the program has not.
pub struct Load {
    healthy: Vec<Vec<u8>>,
    others: Vec<Other>,
    messages: usize,
    percent: usize,
    copies: bool,
}

impl Load {
    /// Reads and makes it.
    pub fn new(parameters: &Parameters) -> Self {
        let data = !parameters.own && test_data().is_dir();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail");
        let mut healthy = Vec::new();
        read_mail(&if data { test_data().join("mail") } else { folder }, &mut healthy);
        assert!(!healthy.is_empty(), "no healthy mail");
        let mut all = poison::small();
        if data {
            all.extend(of_all_families());
        }
        let others = all
            .into_iter()
            .filter(|poison| !parameters.deadly || matches!(poison.expected, Expected::Quarantine(_)))
            // A listener refuses others, and mended they may be harmless.
            .filter(|poison| wire(&poison.bytes) == poison.bytes && !has_bare_cr(&poison.bytes))
            .map(|Poison { name, bytes, .. }| Other {
                name,
                poison: stuffed(&bytes),
                ballast: stuffed(&ballast(bytes.len())),
            })
            .collect();
        Self {
            healthy: healthy.iter().map(|bytes| stuffed(bytes)).collect(),
            others,
            messages: parameters.messages as usize,
            percent: parameters.poison as usize,
            copies: parameters.copies,
        }
    }

    /// Messages of a run, healthy ones and others.
    pub fn count(&self, mix: Mix) -> usize {
        self.messages + if mix == Mix::Healthy { 0 } else { self.others() }
    }

    /// Poisonous messages of a run.
    pub fn others(&self) -> usize {
        self.messages * self.percent / 100
    }

    /// Message `number` of a run.
    pub fn item(&self, mix: Mix, number: usize) -> Item<'_> {
        if mix == Mix::Healthy {
            return self.healthy(number);
        }
        // In each hundred healthy messages `percent` others, spread evenly.
        let (whole, others) = (100 + self.percent, |upto: usize| upto * self.percent / (100 + self.percent));
        debug_assert!(others(whole) == self.percent);
        let before = others(number);
        if others(number + 1) == before {
            return self.healthy(number - before);
        }
        let other = &self.others[before % self.others.len()];
        let unlike = if self.copies { String::new() } else { format!("X-Number: {before}\r\n") };
        let stuffed = if mix == Mix::Poisoned { &other.poison } else { &other.ballast };
        Item { field: unlike, stuffed, healthy: false }
    }

    fn healthy(&self, number: usize) -> Item<'_> {
        let stuffed = &self.healthy[number % self.healthy.len()];
        Item { field: String::new(), stuffed, healthy: true }
    }

    /// What is in it, for people.
    pub fn describe(&self) -> String {
        let mean = |sizes: &mut dyn Iterator<Item = usize>, count: usize| sizes.sum::<usize>() / count.max(1);
        format!(
            "{} healthy messages of {} bytes on average, {} poisonous of {}: {}",
            self.healthy.len(),
            mean(&mut self.healthy.iter().map(Vec::len), self.healthy.len()),
            self.others.len(),
            mean(&mut self.others.iter().map(|other| other.poison.len()), self.others.len()),
            self.others.iter().map(|other| other.name.as_str()).collect::<Vec<_>>().join(", "),
        )
    }
}

/// Generated poison of no great size, and of each family at least the smallest.
fn of_all_families() -> Vec<Poison> {
    let mut all: Vec<Poison> = Generated::make(Some(FAMILY_BYTES_MAX)).read().collect();
    all.sort_by_key(|poison| poison.bytes.len());
    let mut families = BTreeSet::new();
    all.retain(|poison| {
        let family = poison.name.split('-').next().unwrap_or_default().to_owned();
        families.insert(family) || poison.bytes.len() <= GENERATED_BYTES_MAX
    });
    all
}

/// Benign mail of a size.
fn ballast(size: usize) -> Vec<u8> {
    const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nothing comes of it.\r\n";
    let mut bytes =
        b"From: anna@example.org\r\nSubject: ballast\r\nContent-Type: text/plain\r\n\r\n".to_vec();
    while bytes.len() < size {
        bytes.extend_from_slice(LINE);
    }
    bytes
}

/// All messages below a folder that a listener takes, in the order of their paths.
fn read_mail(folder: &Path, into: &mut Vec<Vec<u8>>) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to list {folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_mail(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "eml") {
            let bytes =
                std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"));
            let bytes = wire(&bytes);
            into.extend((!has_bare_cr(&bytes)).then_some(bytes));
        }
    }
}
